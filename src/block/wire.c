#include "block/wire.h"

#include <string.h>

#define HELLO_MAGIC 0x524c424c414f4853u    // "SHOALBLR"
#define WELCOME_MAGIC 0x534c424c414f4853u  // "SHOALBLS"
#define REQUEST_MAGIC 0x51455242u
#define ANSWER_MAGIC 0x534e4142u
#define NONCE (PROOF_TEXT - 1)  // bytes of a nonce or a proof, without a NUL

struct hello {
    uint64_t magic;
    uint32_t version, reserved;
    char nonce[NONCE];
};

struct welcome {
    uint64_t magic;
    uint32_t version, reserved;
    char nonce[NONCE];
    char proof[NONCE];
};

static shoal_status unknown(const char *who, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_CORRUPT,
                      "the %s does not know the run's secret: another run's process "
                      "answers there",
                      who);
}

// A peer's nonce or proof as text; false: it is none.
static bool take_text(const char bytes[NONCE], char text[PROOF_TEXT]) {
    char whole[PROOF_TEXT];
    memcpy(whole, bytes, NONCE);
    whole[NONCE] = '\0';
    return proof_copy_nonce(whole, text);
}

static bool is_version(uint64_t magic, uint64_t expected, uint32_t version) {
    return magic == expected && version == WIRE_VERSION;
}

shoal_status wire_greet(struct channel *channel, const uint8_t secret[PROOF_SECRET],
                        struct shoal_error *err) {
    struct hello hello = {.magic = HELLO_MAGIC, .version = WIRE_VERSION};
    struct welcome welcome;
    struct proof_nonces nonces;
    char proof[PROOF_TEXT];
    shoal_status status = proof_make_nonce(nonces.driver, err);
    if (status != SHOAL_OK) return status;
    memcpy(hello.nonce, nonces.driver, NONCE);
    status = channel_write(channel, &hello, sizeof hello, err);
    if (status == SHOAL_OK) status = channel_read(channel, &welcome, sizeof welcome, err);
    if (status != SHOAL_OK) return status;
    if (!is_version(welcome.magic, WELCOME_MAGIC, welcome.version) ||
        !take_text(welcome.nonce, nonces.worker))
        return shoal_fail(err, SHOAL_CORRUPT, "it is no block server of this version");
    if (!take_text(welcome.proof, proof) ||
        !proof_holds(secret, PROOF_SERVER, &nonces, proof))
        return unknown("block server", err);
    status = proof_make(secret, PROOF_READER, &nonces, proof, err);
    return status == SHOAL_OK ? channel_write(channel, proof, NONCE, err) : status;
}

shoal_status wire_admit(struct channel *channel, const uint8_t secret[PROOF_SECRET],
                        struct shoal_error *err) {
    struct hello hello;
    struct welcome welcome = {.magic = WELCOME_MAGIC, .version = WIRE_VERSION};
    struct proof_nonces nonces;
    char proof[PROOF_TEXT], claimed[NONCE];
    shoal_status status = channel_read(channel, &hello, sizeof hello, err);
    if (status != SHOAL_OK) return status;
    if (!is_version(hello.magic, HELLO_MAGIC, hello.version) ||
        !take_text(hello.nonce, nonces.driver))
        return shoal_fail(err, SHOAL_CORRUPT, "it is no reader of this version");
    status = proof_make_nonce(nonces.worker, err);
    if (status == SHOAL_OK)
        status = proof_make(secret, PROOF_SERVER, &nonces, proof, err);
    if (status != SHOAL_OK) return status;
    memcpy(welcome.nonce, nonces.worker, NONCE);
    memcpy(welcome.proof, proof, NONCE);
    status = channel_write(channel, &welcome, sizeof welcome, err);
    if (status == SHOAL_OK) status = channel_read(channel, claimed, NONCE, err);
    if (status != SHOAL_OK) return status;
    if (!take_text(claimed, proof) || !proof_holds(secret, PROOF_READER, &nonces, proof))
        return unknown("reader", err);
    return SHOAL_OK;
}

void wire_make_request(struct wire_request *request, enum wire_kind kind,
                       uint16_t path_size, uint64_t offset, uint64_t size) {
    *request = (struct wire_request){.magic = REQUEST_MAGIC,
                                     .kind = (uint16_t)kind,
                                     .path_size = path_size,
                                     .offset = offset,
                                     .size = size};
}

bool wire_request_is_good(const struct wire_request *request) {
    bool tail = request->kind == WIRE_TAIL;
    return request->magic == REQUEST_MAGIC && (tail || request->kind == WIRE_READ) &&
           request->path_size > 0 && request->path_size < WIRE_PATH_MOST &&
           request->size > 0 &&
           request->size <= (tail ? WIRE_TAIL_MOST : WIRE_READ_MOST) &&
           request->offset <= INT64_MAX - WIRE_READ_MOST &&
           (!tail || request->offset == 0);
}

void wire_make_answer(struct wire_answer *answer, enum wire_outcome outcome) {
    *answer = (struct wire_answer){.magic = ANSWER_MAGIC, .outcome = outcome};
}

bool wire_answer_is_good(const struct wire_answer *answer,
                         const struct wire_request *request) {
    if (answer->magic != ANSWER_MAGIC || answer->outcome > WIRE_REFUSED) return false;
    if (answer->outcome != WIRE_DONE) return answer->size == 0;
    if (answer->file_size > INT64_MAX) return false;
    if (request->kind == WIRE_READ) return answer->size == request->size;
    return answer->size ==
           (answer->file_size < request->size ? answer->file_size : request->size);
}
