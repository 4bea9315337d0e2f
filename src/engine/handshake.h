// How driver and worker come to trust each other, before either tells the other anything:
//   driver  CHALLENGE  its nonce
//   worker  PROOF      its versions, its nonce, its proof that it knows the run's secret
//   driver  HELLO      its own proof, and what the worker is to open
//   worker  HELLO      whether it could
// Here is the driver's side, which any engine can use; the worker's is worker/greeting.c.
#ifndef SHOAL_ENGINE_HANDSHAKE_H
#define SHOAL_ENGINE_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/proof.h"
#include "engine/engine.h"

// What a hosted worker is told of the driver's folders (worker/shelter.h).
struct handshake_spool {
    char run[PROOF_TEXT];    // names the run
    char token[PROOF_TEXT];  // of a file in each of them
    enum cluster_spool mode;
};

struct handshake {
    const uint8_t *secret;
    const char *engine_version;
    struct proof_nonces nonces;
    bool proven;
    // Of a worker that a cluster hosts, once it has proved itself: its number, which the
    // driver asked for, and the cluster's name of its machine, malloc'd. NULL: a child.
    uint32_t number;
    int pid;
    char *node;
    char *serves;  // "host:port" of its block server; NULL: it keeps no files of its own
    const struct handshake_spool *spool;  // told to it; NULL: nothing, it is a child
};

void handshake_free(struct handshake *handshake);

// Each *json is freed by the caller.
shoal_status handshake_challenge(struct handshake *handshake, char **json,
                                 struct shoal_error *err);
// The worker's answer. SHOAL_USAGE: it is of another version; SHOAL_CORRUPT: it does not
// know the secret, or makes no sense.
shoal_status handshake_check(struct handshake *handshake, const char *json, size_t size,
                             struct shoal_error *err);
shoal_status handshake_hello(const struct handshake *handshake,
                             const struct executor_options *options, char **json,
                             struct shoal_error *err);
// The worker's last answer. SHOAL_USER: it can't open what it was told to.
shoal_status handshake_end(struct handshake *handshake, const char *json, size_t size,
                           struct shoal_error *err);

#endif
