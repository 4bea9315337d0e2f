// What makes a TLS connection look like a plain socket to who polls and reads and writes
// descriptors: a thread that carries bytes between one end of a socket pair and TLS, both
// ways. It does the handshake first, so nobody waits for that.
//
// A half-close goes through either way. When the connection breaks, the descriptor is at
// its end, once what came before has been read. While the relay lives it alone uses the
// TLS connection. All calls are for one thread but relay_shutdown.
#ifndef SHOAL_NET_RELAY_H
#define SHOAL_NET_RELAY_H

#include "base/status.h"
#include "net/tls.h"

struct relay;

// tls and its socket fd stay the caller's, and outlive the relay. deadline: of the
// handshake, which may be over.
shoal_status relay_start(struct tls *tls, int fd, const char *peer, double deadline,
                         struct relay **relay, struct shoal_error *err);
// The outer end, the relay's own: not to be closed.
int relay_descriptor(const struct relay *relay);
// Why it ended: SHOAL_OK while it has not.
shoal_status relay_why(struct relay *relay, struct shoal_error *err);
// Ends it at once, from any thread.
void relay_shutdown(struct relay *relay);
// Sends what is left for at most a second, unless it was shut down, and frees it.
void relay_free(struct relay *relay);

#endif
