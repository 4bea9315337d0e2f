// A worker process: started, its log read, ended and reaped, whatever way it ends.
#ifndef SHOAL_ENGINE_CHILD_H
#define SHOAL_ENGINE_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/proof.h"
#include "engine/log_tail.h"

struct child {
    pid_t pid;   // 0: there is none, or it is reaped
    int fd;      // socket; -1 once the child is gone
    int log_fd;  // -1 once it has ended
    struct log_tail log;
};

// Runs `program worker --fd 3 --secret-fd 4`, a socket at the one, the secret to be read
// from the other; its output goes to its log.
shoal_status child_start(struct child *child, const char *program,
                         const uint8_t secret[PROOF_SECRET], struct shoal_error *err);
void child_read_log(struct child *child);
// Ends and reaps it; it has so many seconds to end by itself. how: in words, at least 64
// bytes.
void child_end(struct child *child, double patience, char *how, size_t size);
// Kills all that there are and waits until they are dead. From any thread, once: from
// then on none starts and none is reaped.
void child_kill_all(void);

#endif
