#include "net/relay.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

#define PIECE (64 << 10)
#define LINGER 1.0  // seconds for what is left once nobody reads any more

// One direction's bytes between where they were read and where they are written.
struct way {
    uint8_t *data;
    size_t at, size;
    bool ended;   // nothing more comes in
    bool closed;  // and that was passed on, or the other end takes nothing more
};

struct relay {
    struct tls *tls;
    int fd, inner, outer, wake;
    char peer[NET_ADDRESS];
    double deadline;          // of the handshake; of what is left
    struct way in, out;       // from the peer, to the peer
    enum step reads, writes;  // for what TLS waits in each
    bool shaken;              // the handshake is over
    bool left;                // its owner is done with it
    pthread_t thread;
    pthread_mutex_t mutex;
    struct shoal_error why;  // under it
};

// The first reason is the cause of those that follow.
static void note(struct relay *relay, const struct shoal_error *why) {
    pthread_mutex_lock(&relay->mutex);
    if (relay->why.status == SHOAL_OK) relay->why = *why;
    pthread_mutex_unlock(&relay->mutex);
}

static void note_end(struct relay *relay) {
    struct shoal_error why;
    shoal_fail(&why, SHOAL_LOST, "%s closed the connection", relay->peer);
    note(relay, &why);
}

// ---- from the peer

static bool take_in(struct relay *relay) {
    struct way *in = &relay->in;
    struct shoal_error why;
    enum step step = tls_read(relay->tls, in->data, PIECE, &in->size, &why);
    relay->reads = step;
    in->at = 0;
    if (step == STEP_FAILED) {
        note(relay, &why);
        relay->out = (struct way){relay->out.data, 0, 0, true, true};
    }
    if (step == STEP_ENDED) note_end(relay);
    if (step == STEP_ENDED || step == STEP_FAILED) in->ended = true;
    return step != STEP_READS && step != STEP_WRITES;
}

static bool pass_in(struct relay *relay) {
    struct way *in = &relay->in;
    ssize_t sent;
    while ((sent = send(relay->inner, in->data + in->at, in->size - in->at,
                        MSG_DONTWAIT | MSG_NOSIGNAL)) < 0 &&
           errno == EINTR)
        continue;
    if (sent < 0 && errno == EAGAIN) return false;
    if (sent < 0) {  // nobody reads any more
        in->ended = in->closed = true;
        in->at = in->size = 0;
        return true;
    }
    in->at += (size_t)sent;
    if (in->at == in->size) in->at = in->size = 0;
    return true;
}

static bool step_in(struct relay *relay) {
    struct way *in = &relay->in;
    if (in->size > 0) return pass_in(relay);
    if (!in->ended) return take_in(relay);
    if (in->closed) return false;
    (void)shutdown(relay->inner, SHUT_WR);
    return in->closed = true;
}

// ---- to the peer

static bool take_out(struct relay *relay) {
    struct way *out = &relay->out;
    ssize_t got;
    while ((got = recv(relay->inner, out->data, PIECE, MSG_DONTWAIT)) < 0 &&
           errno == EINTR)
        continue;
    if (got < 0 && errno == EAGAIN) return false;
    if (got > 0) {
        out->size = (size_t)got;
    } else {
        out->ended = true;
    }
    return true;
}

static bool pass_out(struct relay *relay) {
    struct way *out = &relay->out;
    struct shoal_error why;
    size_t sent = 0;
    enum step step =
        tls_write(relay->tls, out->data + out->at, out->size - out->at, &sent, &why);
    relay->writes = step;
    out->at += sent;
    if (step == STEP_FAILED) {  // what the peer has sent may still be read
        note(relay, &why);
        (void)shutdown(relay->inner, SHUT_RD);
        out->ended = out->closed = true;
        out->at = out->size;
    }
    if (out->at == out->size) out->at = out->size = 0;
    return step != STEP_READS && step != STEP_WRITES;
}

static bool step_out(struct relay *relay) {
    struct way *out = &relay->out;
    if (out->size > 0) return pass_out(relay);
    if (!out->ended) return take_out(relay);
    if (out->closed) return false;
    relay->writes = tls_end(relay->tls);
    return out->closed = relay->writes == STEP_DONE;
}

// ---- the thread

// What its owner has written goes out; nobody wants the rest.
static void note_left(struct relay *relay) {
    relay->left = true;
    relay->deadline = fmin(relay->deadline, clock_seconds() + LINGER);
    relay->in = (struct way){relay->in.data, 0, 0, true, true};
}

static short wanted(enum step step) {
    return step == STEP_WRITES ? POLLOUT : POLLIN;
}

// An end of which nothing is wanted is left out: it may only say that it is at its end,
// again and again.
static void ask_for(const struct relay *relay, struct pollfd fds[3]) {
    const struct way *in = &relay->in, *out = &relay->out;
    short peer = 0, inner = 0;
    if (!relay->shaken) {
        peer = wanted(relay->reads);
    } else {
        if (!in->ended && in->size == 0) peer |= wanted(relay->reads);
        if (out->size > 0 || (out->ended && !out->closed)) peer |= wanted(relay->writes);
        if (in->size > 0) inner |= POLLOUT;
        if (!out->ended && out->size == 0) inner |= POLLIN;
    }
    fds[0] = (struct pollfd){.fd = peer ? relay->fd : -1, .events = peer};
    fds[1] = (struct pollfd){.fd = inner ? relay->inner : -1, .events = inner};
    fds[2] = (struct pollfd){.fd = relay->left ? -1 : relay->wake, .events = POLLIN};
}

// False: the deadline came.
static bool wait_for_more(struct relay *relay) {
    struct pollfd fds[3];
    ask_for(relay, fds);
    double left = (relay->deadline - clock_seconds()) * 1e3;
    int limit = isinf(left) ? -1 : (int)fmin(fmax(left, 0) + 1, 1e9);
    int ready = poll(fds, 3, limit);
    if (ready > 0 && fds[2].revents != 0) note_left(relay);
    return ready > 0 || clock_seconds() < relay->deadline;
}

static void shake(struct relay *relay) {
    struct shoal_error why;
    for (;;) {
        relay->reads = tls_shake(relay->tls, &why);
        if (relay->reads == STEP_DONE) break;
        if (relay->reads == STEP_FAILED) {
            note(relay, &why);
            return;
        }
        if (!wait_for_more(relay)) {
            tls_too_late(relay->tls, &why);
            note(relay, &why);
            return;
        }
    }
    relay->shaken = true;
    if (!relay->left) relay->deadline = INFINITY;
}

static void carry(struct relay *relay) {
    for (;;) {
        bool in = step_in(relay), out = step_out(relay);
        if (relay->in.closed && relay->out.closed) return;
        if (!in && !out && !wait_for_more(relay)) return;
    }
}

static void *relay_thread(void *ctx) {
    struct relay *relay = ctx;
    shake(relay);
    if (relay->shaken) carry(relay);
    note_end(relay);
    (void)shutdown(relay->inner, SHUT_RDWR);
    return NULL;
}

static void free_parts(struct relay *relay) {
    if (relay->inner >= 0) close(relay->inner);
    if (relay->outer >= 0) close(relay->outer);
    if (relay->wake >= 0) close(relay->wake);
    free(relay->in.data);
    free(relay->out.data);
    pthread_mutex_destroy(&relay->mutex);
    free(relay);
}

shoal_status relay_start(struct tls *tls, int fd, const char *peer, double deadline,
                         struct relay **out, struct shoal_error *err) {
    int pair[2] = {-1, -1};
    shoal_status status = SHOAL_OK;
    struct relay *relay = calloc(1, sizeof *relay);
    *out = NULL;
    if (relay == NULL) return shoal_no_memory(err);
    *relay = (struct relay){.tls = tls,
                            .fd = fd,
                            .wake = -1,
                            .deadline = deadline,
                            .reads = STEP_READS,
                            .writes = STEP_WRITES};
    pthread_mutex_init(&relay->mutex, NULL);
    (void)snprintf(relay->peer, sizeof relay->peer, "%s", peer);
    relay->in.data = malloc(PIECE);
    relay->out.data = malloc(PIECE);
    if (relay->in.data == NULL || relay->out.data == NULL) {
        status = shoal_no_memory(err);
    } else if ((relay->wake = eventfd(0, EFD_CLOEXEC)) < 0 ||
               socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        status = shoal_fail(err, SHOAL_IO, "cannot make a pair of sockets for %s: %s",
                            peer, strerror(errno));
    }
    relay->outer = pair[0];
    relay->inner = pair[1];
    if (status == SHOAL_OK &&
        pthread_create(&relay->thread, NULL, relay_thread, relay) != 0)
        status = shoal_fail(err, SHOAL_IO, "cannot start a thread for %s", peer);
    if (status != SHOAL_OK) {
        free_parts(relay);
        return status;
    }
    *out = relay;
    return SHOAL_OK;
}

int relay_descriptor(const struct relay *relay) {
    return relay->outer;
}

shoal_status relay_why(struct relay *relay, struct shoal_error *err) {
    pthread_mutex_lock(&relay->mutex);
    shoal_status status = relay->why.status;
    if (status != SHOAL_OK && err != NULL) *err = relay->why;
    pthread_mutex_unlock(&relay->mutex);
    return status;
}

void relay_shutdown(struct relay *relay) {
    (void)shutdown(relay->fd, SHUT_RDWR);
    (void)shutdown(relay->inner, SHUT_RDWR);
}

void relay_free(struct relay *relay) {
    uint64_t one = 1;
    if (relay == NULL) return;
    close(relay->outer);
    relay->outer = -1;
    while (write(relay->wake, &one, sizeof one) < 0 && errno == EINTR) continue;
    pthread_join(relay->thread, NULL);
    free_parts(relay);
}
