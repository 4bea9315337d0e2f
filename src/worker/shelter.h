// Where this worker's files are. A worker that sees the driver's folders uses them. One
// that doesn't, on another machine without a shared file system, has folders of its own,
// together with the run's other workers on its node, and a block server that gives what
// is in them to the others (block/server.h). Names in messages stay the driver's.
#ifndef SHOAL_WORKER_SHELTER_H
#define SHOAL_WORKER_SHELTER_H

#include <jansson.h>

#include "base/proof.h"
#include "base/spool.h"
#include "block/server.h"
#include "task/executor.h"

struct shelter {
    struct spool disk, memory;  // its own; closed where it sees the driver's
    char *job, *no_tmpfs;       // in disk: of a job's blocks, of those in memory
    struct block_server *server;
};

// hello: the driver's, of which `options` are; `options` get the folders that are to be
// used. host: where this machine is reached by the others. node: the cluster's name of
// it. Nothing is done for a child of the driver, whose hello says nothing of it.
shoal_status shelter_open(struct shelter *shelter, const json_t *hello, const char *node,
                          const char *host, const uint8_t secret[PROOF_SECRET],
                          struct executor_options *options, struct shoal_error *err);
// "host:port" of its server; NULL: it has none.
const char *shelter_address(const struct shelter *shelter);
void shelter_close(struct shelter *shelter);

#endif
