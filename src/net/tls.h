// TLS 1.3 over a connected socket, the run's secret as external pre-shared key (RFC 8446,
// 2.2): one cipher suite, a fresh key exchange for each connection, no certificates, no
// tickets. Both ends prove the secret by the handshake's own binder and Finished.
//
// Each step returns without waiting (socket.h). One thread may read while another writes.
// The socket stays its owner's, and open for as long as this is.
#ifndef SHOAL_NET_TLS_H
#define SHOAL_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "net/socket.h"

struct tls;

// After how many bytes of one direction it takes new keys, far from what AES-GCM may
// protect with one. Tests make it small, before there are connections.
extern uint64_t tls_update_bytes;

// secret: PROOF_SECRET bytes, forgotten with the handshake. peer is for messages.
shoal_status tls_open(int fd, const char *peer, const uint8_t *secret, bool accepts,
                      struct tls **tls, struct shoal_error *err);
// A step of the handshake; STEP_DONE: it is over, and the peer knows the secret.
// SHOAL_CORRUPT: it does not, or speaks no TLS; SHOAL_LOST: it went.
enum step tls_shake(struct tls *tls, struct shoal_error *err);
// All of it, waiting. SHOAL_LOST as well: it is not over by the deadline.
shoal_status tls_handshake(struct tls *tls, double deadline, struct shoal_error *err);
// What is said of a peer that isn't done in time.
shoal_status tls_too_late(const struct tls *tls, struct shoal_error *err);
enum step tls_read(struct tls *tls, void *data, size_t size, size_t *got,
                   struct shoal_error *err);
// After STEP_WRITES the same bytes come again, or more of them. A write that fails leaves
// what the peer had sent to be read.
enum step tls_write(struct tls *tls, const void *data, size_t size, size_t *sent,
                    struct shoal_error *err);
// How often this end has taken new keys.
uint64_t tls_updates(const struct tls *tls);
// Says that nothing more comes. STEP_DONE: it is said, or cannot be.
enum step tls_end(struct tls *tls);
void tls_free(struct tls *tls);

#endif
