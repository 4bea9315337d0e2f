// Two ends of a connection in one process, or one of them in a child: for tests of net.
#ifndef SHOAL_TEST_ENDS_H
#define SHOAL_TEST_ENDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/proof.h"
#include "base/status.h"
#include "net/channel.h"
#include "net/listener.h"
#include "support/harness.h"

#define LONG 20.0  // seconds in which all goes that goes at all
#define SHORT 0.3  // seconds that something silent gets
#define MIB (1 << 20)

// With `struct shoal_error err` in sight.
#define assert_ok(status)                                     \
    do {                                                      \
        shoal_status status_ = (status);                      \
        if (status_ != SHOAL_OK) fail_msg("%s", err.message); \
    } while (0)
#define assert_says(text)                                                            \
    do {                                                                             \
        if (strstr(err.message, text) == NULL) fail_msg("it says: %s", err.message); \
    } while (0)

extern const uint8_t ends_secret[PROOF_SECRET], ends_other_secret[PROOF_SECRET];

// Is TLS used on loopback too?
void want_tls(bool always);

struct ends {
    struct channel *near, *far;  // who connected, who accepted
    struct listener listener;
    shoal_status status;  // of who accepted
    struct shoal_error why;
    const uint8_t *secret;
    double timeout;
};

// The descriptor of who connects next; -1: nobody did in time.
int next_connection(struct listener *listener);
// Connects with this secret of its own, *ends says what the other end has.
shoal_status meet_with(struct ends *ends, const char *host, const uint8_t *own,
                       struct shoal_error *err);
// Both have the same, and wait long.
void meet_at(struct ends *ends, const char *host, bool tls);
void meet(struct ends *ends, bool tls);
void part(struct ends *ends);

// A child that connects as it is told and says, by its exit code, what came of it.
pid_t connect_in_child(const char *address, bool tls);
// Connects, sends half a MiB, by a descriptor or not, and is killed once it is told to.
void go_half_way(const char *address, bool described);
// The exit code of a child, or the signal that ended it, negated.
int result_of(pid_t child);

// As far as it comes.
size_t receive_all(int fd, uint8_t *data, size_t size);
uint64_t next_random(uint64_t *state);
void fill(uint8_t *data, size_t size, uint64_t *random);

#endif
