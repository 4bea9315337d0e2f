// The worker process: one connection to the driver, served by an I/O thread, and as many
// task threads as it has slots.
#ifndef SHOAL_WORKER_WORKER_H
#define SHOAL_WORKER_WORKER_H

#include "base/proof.h"
#include "task/executor.h"

struct worker_options {
    int fd;                        // to the driver
    uint8_t secret[PROOF_SECRET];  // of the run (engine/handshake.h)
    // Of one that a cluster hosts: which of those that the driver asked for it is, and
    // the cluster's name for the machine that it is on. NULL: it is a child of the
    // driver.
    uint32_t number;
    const char *node;
    const char *host;  // where the others reach this machine
};

// Serves the driver until it says bye or goes away. Returns the process's exit code.
int worker_serve(const struct worker_options *options,
                 const struct executor_ops *executor);

// `shoal worker --fd N --secret-fd M`, of a child of the driver, and
// `shoal worker --connect HOST:PORT --number N --node NAME --secret-fd M`, of one that a
// cluster hosts.
int worker_main(int argc, char **argv);

#endif
