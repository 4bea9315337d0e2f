// The block server: gives the files of some folders of this machine to processes of the
// same run on others (block/remote.h reads them). A thread takes connections, each then
// has one of its own. Whoever connects proves first that it knows the run's secret; where
// it does not come from this machine, all is encrypted besides (net/channel.h). Only
// regular files below the folders are read, and no link is followed.
#ifndef SHOAL_BLOCK_SERVER_H
#define SHOAL_BLOCK_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/proof.h"
#include "base/status.h"

// Files that are named below `logical` are looked for below `folder`; several folders for
// one `logical` are tried in their order. Both are absolute and plain.
struct server_folder {
    const char *logical, *folder;
};

struct server_options {
    const char *host;                // to listen at: a name or number, without a port
    uint16_t first_port, last_port;  // 0, 0: any
    const uint8_t *secret;           // PROOF_SECRET bytes, of the run
    const struct server_folder *folders;
    size_t folder_count;
    unsigned connections;  // at once, others wait; 0: 256
};

struct block_server;

// All is copied. SHOAL_IO, SHOAL_USAGE: it cannot listen there.
shoal_status block_server_start(const struct server_options *options,
                                struct block_server **server, struct shoal_error *err);
// "host:port", for places_served of other processes; the server's.
const char *block_server_address(const struct block_server *server);
// One folder more, from any thread.
shoal_status block_server_add(struct block_server *server,
                              const struct server_folder *folder,
                              struct shoal_error *err);
// Ends its connections, within the time that one may take to be set up; NULL is fine.
void block_server_stop(struct block_server *server);

#endif
