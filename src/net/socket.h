// Stream sockets without waiting inside of a call: what a step could do, and for what to
// wait before the next. tls.h has steps of the same kind.
#ifndef SHOAL_NET_SOCKET_H
#define SHOAL_NET_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "net/address.h"

enum step {
    STEP_DONE,    // some bytes went
    STEP_READS,   // again when the socket can be read
    STEP_WRITES,  // again when it can be written
    STEP_ENDED,   // the peer sends no more
    STEP_FAILED,  // the error says why
};

// What each connection of a run has: small messages go at once, and a peer whose machine
// is gone shows within half a minute.
void socket_prepare(int fd);
// A moment on base/clock.h's clock; 0 seconds: never.
double socket_deadline(double seconds);
// Waits for STEP_READS or STEP_WRITES; false: the deadline came first. What is wrong with
// the socket shows in the step after.
bool socket_wait(int fd, enum step step, double deadline);
// Neither leads this connection out of this machine as this end sees it: see channel.h.
bool socket_is_loopback(int fd);
void socket_peer(int fd, char text[NET_ADDRESS]);
// Has the peer never sent a byte? False where the system doesn't say.
bool socket_was_silent(int fd);
// A connection to one of what the address stands for. SHOAL_LOST: nobody answers there.
shoal_status socket_connect(const char *address, double deadline, int *fd,
                            struct shoal_error *err);
enum step socket_read(int fd, const char *peer, void *data, size_t size, size_t *got,
                      struct shoal_error *err);
enum step socket_write(int fd, const char *peer, const void *data, size_t size,
                       size_t *sent, struct shoal_error *err);

#endif
