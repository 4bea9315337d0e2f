#include "base/proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/random.h>

static shoal_status draw(uint8_t *bytes, size_t size, struct shoal_error *err) {
    if (getrandom(bytes, size, 0) == (ssize_t)size) return SHOAL_OK;
    return shoal_fail(err, SHOAL_IO, "the system gives no random bytes");
}

static void to_text(const uint8_t bytes[PROOF_SECRET], char text[PROOF_TEXT]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < PROOF_SECRET; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * PROOF_SECRET] = '\0';
}

shoal_status proof_make_secret(uint8_t secret[PROOF_SECRET], struct shoal_error *err) {
    return draw(secret, PROOF_SECRET, err);
}

shoal_status proof_make_nonce(char nonce[PROOF_TEXT], struct shoal_error *err) {
    uint8_t bytes[PROOF_SECRET];
    shoal_status status = draw(bytes, sizeof bytes, err);
    if (status == SHOAL_OK) to_text(bytes, nonce);
    return status;
}

bool proof_copy_nonce(const char *text, char nonce[PROOF_TEXT]) {
    if (text == NULL || strlen(text) != PROOF_TEXT - 1 ||
        strspn(text, "0123456789abcdef") != PROOF_TEXT - 1)
        return false;
    memcpy(nonce, text, PROOF_TEXT);
    return true;
}

shoal_status proof_make(const uint8_t secret[PROOF_SECRET], enum proof_side side,
                        const struct proof_nonces *nonces, char proof[PROOF_TEXT],
                        struct shoal_error *err) {
    unsigned char message[1 + 2 * (PROOF_TEXT - 1)], mac[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    message[0] = (unsigned char)"dwrs"[side];
    memcpy(message + 1, nonces->driver, PROOF_TEXT - 1);
    memcpy(message + PROOF_TEXT, nonces->worker, PROOF_TEXT - 1);
    if (HMAC(EVP_sha256(), secret, PROOF_SECRET, message, sizeof message, mac, &size) ==
            NULL ||
        size != PROOF_SECRET)
        return shoal_fail(err, SHOAL_INTERNAL, "OpenSSL makes no HMAC-SHA-256");
    to_text(mac, proof);
    return SHOAL_OK;
}

bool proof_holds(const uint8_t secret[PROOF_SECRET], enum proof_side side,
                 const struct proof_nonces *nonces, const char *claimed) {
    char wanted[PROOF_TEXT];
    struct shoal_error ignored;
    return claimed != NULL && strlen(claimed) == PROOF_TEXT - 1 &&
           proof_make(secret, side, nonces, wanted, &ignored) == SHOAL_OK &&
           CRYPTO_memcmp(wanted, claimed, PROOF_TEXT - 1) == 0;
}

void proof_forget(uint8_t secret[PROOF_SECRET]) {
    OPENSSL_cleanse(secret, PROOF_SECRET);
}
