// A block server whose reader knows the secret and asks for anything: it gives what is in
// its folder, or says that it doesn't, and never more than was asked for; what is no
// request ends the connection.
//
// The input is what the reader sends after it has proved itself.
#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/server.h"
#include "block/wire.h"
#include "fuzz/fuzz.h"

#define LOGICAL "/fuzz"
#define FILE_BYTES 70000u  // more than is sent in one way

static const uint8_t secret[PROOF_SECRET] = {7};
static struct block_server *server;
static uint8_t content[FILE_BYTES];

static void put_file(const char *folder, const char *name, size_t size) {
    char path[FUZZ_FOLDER + 32];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    FUZZ_CHECK(file != NULL && fwrite(content, 1, size, file) == size);
    FUZZ_CHECK(fclose(file) == 0);
}

static char folder[FUZZ_FOLDER];

static void clean(void) {
    static const char *const names[] = {"/file", "/none", "/link", "/pipe", ""};
    char path[FUZZ_FOLDER + 32];
    block_server_stop(server);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s%s", folder, names[i]);
        (void)remove(path);
    }
}

static void make_server(void) {
    struct shoal_error err;
    char path[FUZZ_FOLDER + 32];
    struct server_folder below = {LOGICAL, folder};
    struct server_options options = {
        .host = "127.0.0.1", .secret = secret, .folders = &below, .folder_count = 1};
    for (size_t i = 0; i < FILE_BYTES; i++) content[i] = (uint8_t)(i * 31 >> 4);
    // What this registers for the end comes after clean(), which waits for the threads
    // that have memory of OpenSSL's.
    FUZZ_CHECK(OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL) == 1);
    fuzz_make_folder(folder);
    put_file(folder, "file", FILE_BYTES);
    put_file(folder, "none", 0);
    (void)snprintf(path, sizeof path, "%s/link", folder);
    FUZZ_CHECK(symlink("/etc/passwd", path) == 0);
    (void)snprintf(path, sizeof path, "%s/pipe", folder);
    FUZZ_CHECK(mkfifo(path, 0600) == 0);
    FUZZ_CHECK(block_server_start(&options, &server, &err) == SHOAL_OK);
    FUZZ_CHECK(atexit(clean) == 0);
}

struct input {
    struct channel *channel;
    int fd;
    const uint8_t *data;
    size_t size;
};

static void *send_input(void *argument) {
    struct input *input = argument;
    // Whoever is gone takes no more.
    (void)channel_write(input->channel, input->data, input->size, NULL);
    (void)shutdown(input->fd, SHUT_WR);
    return NULL;
}

// The request at `at`, after which the next one is; false: there is none, or no sound
// one.
static bool next_request(const uint8_t *data, size_t size, size_t *at,
                         struct wire_request *request) {
    if (size - *at < sizeof *request) return false;
    memcpy(request, data + *at, sizeof *request);
    const uint8_t *path = data + *at + sizeof *request;
    if (!wire_request_is_good(request) ||
        request->path_size > size - *at - sizeof *request ||
        memchr(path, '\0', request->path_size) != NULL)
        return false;
    *at += sizeof *request + request->path_size;
    return true;
}

// False: the server ended the connection.
static bool hear_answer(struct channel *channel, const struct wire_request *request,
                        const uint8_t *path) {
    static uint8_t bytes[WIRE_READ_MOST];
    struct wire_answer answer;
    bool file = request->path_size == 10 && memcmp(path, "/fuzz/file", 10) == 0;
    bool none = request->path_size == 10 && memcmp(path, "/fuzz/none", 10) == 0;
    if (channel_read(channel, &answer, sizeof answer, NULL) != SHOAL_OK) return false;
    FUZZ_CHECK(wire_answer_is_good(&answer, request));
    FUZZ_CHECK(answer.outcome != WIRE_DONE || file || none);
    if (answer.outcome != WIRE_DONE) return true;
    FUZZ_CHECK(answer.file_size == (file ? FILE_BYTES : 0));
    if (channel_read(channel, bytes, answer.size, NULL) != SHOAL_OK) return false;
    uint64_t from =
        request->kind == WIRE_TAIL ? answer.file_size - answer.size : request->offset;
    FUZZ_CHECK(from + answer.size <= answer.file_size);
    FUZZ_CHECK(memcmp(bytes, content + from, answer.size) == 0);
    return true;
}

static void hear(struct channel *channel, const uint8_t *data, size_t size) {
    struct wire_request request;
    size_t end = 0, at = 0;
    uint8_t more;
    while (next_request(data, size, &end, &request)) continue;
    // What makes no sense may overtake answers on their way, as it ends the connection.
    bool sound = end == size, goes_on = true;
    while (goes_on && next_request(data, size, &at, &request))
        goes_on = hear_answer(channel, &request, data + at - request.path_size);
    FUZZ_CHECK(goes_on || !sound);
    FUZZ_CHECK(channel_read(channel, &more, 1, NULL) != SHOAL_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pthread_t sends;
    struct shoal_error err;
    struct input input = {.data = data, .size = size};
    if (server == NULL) make_server();
    FUZZ_CHECK(channel_connect(block_server_address(server), secret, 10, &input.channel,
                               &err) == SHOAL_OK);
    FUZZ_CHECK(wire_greet(input.channel, secret, &err) == SHOAL_OK);
    FUZZ_CHECK(channel_descriptor(input.channel, &input.fd, &err) == SHOAL_OK);
    FUZZ_CHECK(pthread_create(&sends, NULL, send_input, &input) == 0);
    hear(input.channel, data, size);
    (void)shutdown(input.fd, SHUT_RDWR);
    FUZZ_CHECK(pthread_join(sends, NULL) == 0);
    channel_free(input.channel);
    return 0;
}
