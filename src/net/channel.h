// A stream between two processes of a run, who both know its secret. It is plain where
// both of its ends lie on loopback, and TLS 1.3 with the secret as key everywhere else
// (tls.h). Whoever accepts says first which it is, in 8 bytes, from the addresses that it
// sees; whoever connects agrees to TLS always, and to plain only where it sees loopback
// too. So what stands between (a tunnel, a proxy) can turn a connection into TLS, but
// never out of it.
//
// A plain channel proves nothing: frames do it by themselves (engine/handshake.h), and so
// must any other protocol on it.
//
// SHOAL_TLS=always in the environment of a process makes it want TLS on loopback as well.
// Tests do that, and who has a tunnel between driver and workers: set it for both.
//
// No call raises SIGPIPE. A channel belongs to one thread, except that one thread may
// read while another writes, and that channel_shutdown is for any. Free all channels
// before the process ends by exit(): OpenSSL's own memory goes then.
#ifndef SHOAL_NET_CHANNEL_H
#define SHOAL_NET_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct channel;

// Connects and shakes hands, for at most so long (0: no limit; looking up a name is not
// counted). The timeout then is that of each read and write. SHOAL_LOST: nobody answers
// there; SHOAL_CORRUPT: it is no process of this run; SHOAL_USAGE: the address is wrong,
// or it wants to go without TLS where this end sees a way out of the machine.
shoal_status channel_connect(const char *address, const uint8_t *secret,
                             double timeout_seconds, struct channel **channel,
                             struct shoal_error *err);
// The other end, of an accepted socket (listener.h), which it owns from now on, whatever
// happens. Waits for the TLS handshake.
shoal_status channel_accept(int fd, const uint8_t *secret, double timeout_seconds,
                            struct channel **channel, struct shoal_error *err);
// The same for an event loop: never waits, and has the descriptor at once, as
// channel_descriptor gives it. A handshake that fails or takes too long shows as its end.
shoal_status channel_accept_descriptor(int fd, const uint8_t *secret,
                                       double timeout_seconds, struct channel **channel,
                                       int *descriptor, struct shoal_error *err);

// All of the bytes. SHOAL_LOST: the peer is gone, or was silent for the timeout (each
// byte that comes begins it anew); SHOAL_CANCELLED: channel_shutdown was called. After an
// error only channel_free makes sense.
shoal_status channel_read(struct channel *channel, void *data, size_t size,
                          struct shoal_error *err);
shoal_status channel_write(struct channel *channel, const void *data, size_t size,
                           struct shoal_error *err);
// Of each read and write from the next on; 0: none.
void channel_set_timeout(struct channel *channel, double seconds);

// A socket with which frames can be sent and received, as blocking or not as the caller
// likes (MSG_DONTWAIT, poll), with half-closes either way: the connection itself where it
// is plain, else one end of a pair, the other end of which a thread relays (relay.h). It
// stays the channel's: don't close it. channel_read and channel_write are over with it.
shoal_status channel_descriptor(struct channel *channel, int *descriptor,
                                struct shoal_error *err);
// Why the descriptor is at its end: SHOAL_CORRUPT, a peer without the secret; SHOAL_LOST,
// one that went or was too slow. SHOAL_OK: it isn't at its end.
shoal_status channel_why(struct channel *channel, struct shoal_error *err);

bool channel_is_encrypted(const struct channel *channel);
// The other end's address, for messages. Valid as long as the channel is.
const char *channel_peer(const struct channel *channel);
// From any thread: reads and writes that wait end, and all after them fail; a descriptor
// is at its end.
void channel_shutdown(struct channel *channel);
// What was written to a relayed descriptor goes out first, for at most a second, unless
// channel_shutdown was called. Who must know that the peer got all half-closes the
// descriptor and reads to its end before. NULL is nothing.
void channel_free(struct channel *channel);

#endif
