// The worker's side of engine/handshake.h: it proves itself, sees the driver's proof, and
// only then takes anything from it.
#ifndef SHOAL_WORKER_GREETING_H
#define SHOAL_WORKER_GREETING_H

#include <jansson.h>
#include <stddef.h>

#include "base/proof.h"
#include "task/executor.h"

struct greeting {
    uint8_t secret[PROOF_SECRET];
    struct proof_nonces nonces;
    bool challenged, trusted;
    uint32_t number;  // of a hosted worker, as worker_options has them
    const char *node;
};

// Reads the secret, which is all that there is to read, and closes fd.
shoal_status greeting_read_secret(int fd, uint8_t secret[PROOF_SECRET],
                                  struct shoal_error *err);
// The driver's challenge -> the worker's proof; free *json.
shoal_status greeting_answer(struct greeting *greeting, const char *version,
                             const char *challenge, size_t size, char **json,
                             struct shoal_error *err);
// The driver's hello: SHOAL_CORRUPT when it does not prove that it is this run's driver.
// options point into *root and *allowed, which the caller frees.
shoal_status greeting_trust(struct greeting *greeting, const char *hello, size_t size,
                            json_t **root, const char ***allowed,
                            struct executor_options *options, struct shoal_error *err);

#endif
