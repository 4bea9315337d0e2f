// A port on which the run's other processes find this one. Its owner's thread polls fd
// and takes what waits.
#ifndef SHOAL_NET_LISTENER_H
#define SHOAL_NET_LISTENER_H

#include <stdint.h>

#include "base/status.h"
#include "net/address.h"

struct listener {
    int fd;                     // non-blocking
    char address[NET_ADDRESS];  // in numbers, with the port that it got
};

// The first free port of [first, last]; 0, 0: any. host is a name or an address of this
// machine, without a port. SHOAL_USAGE: there is no such host, address or range here;
// SHOAL_IO: all of the range is taken.
shoal_status net_listen(const char *host, uint16_t first, uint16_t last,
                        struct listener *listener, struct shoal_error *err);
// One connection that waits, as channel_accept takes it; *fd -1: none does. SHOAL_IO:
// this process may open no more files; the connection goes on waiting, so wait too.
shoal_status net_accept(struct listener *listener, int *fd, struct shoal_error *err);
// Twice does no harm.
void listener_close(struct listener *listener);

#endif
