// That a peer knows the run's secret, without showing it: an HMAC-SHA-256 over what both
// sides have drawn by chance, and over who says so. Nothing that was said once can be
// said again, nor by the other side.
#ifndef SHOAL_BASE_PROOF_H
#define SHOAL_BASE_PROOF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define PROOF_SECRET 32  // bytes
#define PROOF_TEXT 65    // of a nonce or a proof in hexadecimal, with its NUL

// A proof of one side is none of another's. A reader of blocks draws in the driver's
// place, the server that it asks in the worker's.
enum proof_side { PROOF_DRIVER, PROOF_WORKER, PROOF_READER, PROOF_SERVER };

struct proof_nonces {
    char driver[PROOF_TEXT], worker[PROOF_TEXT];
};

shoal_status proof_make_secret(uint8_t secret[PROOF_SECRET], struct shoal_error *err);
shoal_status proof_make_nonce(char nonce[PROOF_TEXT], struct shoal_error *err);
// Of a peer's message: is it 64 hexadecimal digits? Then it is copied. text may be NULL.
bool proof_copy_nonce(const char *text, char nonce[PROOF_TEXT]);
shoal_status proof_make(const uint8_t secret[PROOF_SECRET], enum proof_side side,
                        const struct proof_nonces *nonces, char proof[PROOF_TEXT],
                        struct shoal_error *err);
// Is it the proof that the side owes? Takes as long whatever is wrong with it. claimed
// may be NULL.
bool proof_holds(const uint8_t secret[PROOF_SECRET], enum proof_side side,
                 const struct proof_nonces *nonces, const char *claimed);
// Overwrites what must not stay in memory.
void proof_forget(uint8_t secret[PROOF_SECRET]);

#endif
