#include "net/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/relay.h"
#include "net/socket.h"
#include "net/tls.h"

// What who accepts says first.
#define GREETING 8
static const char says_plain[GREETING] = "shoal-p\n";
static const char says_tls[GREETING] = "shoal-t\n";

struct channel {
    int fd;
    char peer[NET_ADDRESS];
    struct tls *tls;  // NULL: plain
    struct relay *relay;
    _Atomic double timeout;
    atomic_bool shut;
};

// ---- which of the two

static shoal_status wants_tls(int fd, bool *wants, struct shoal_error *err) {
    const char *text = getenv("SHOAL_TLS");
    *wants = true;
    if (text != NULL && strcmp(text, "always") != 0)
        return shoal_fail(err, SHOAL_USAGE,
                          "SHOAL_TLS is \"%.40s\"; it can be \"always\", or not be set",
                          text);
    if (text == NULL) *wants = !socket_is_loopback(fd);
    return SHOAL_OK;
}

// A socket just made has room for 8 bytes; what is wrong with it shows in the next read.
static void greet(int fd, bool tls) {
    (void)send(fd, tls ? says_tls : says_plain, GREETING, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static shoal_status read_greeting(const struct channel *channel, double deadline,
                                  char greeting[GREETING], struct shoal_error *err) {
    size_t have = 0, got = 0;
    while (have < GREETING) {
        enum step step = socket_read(channel->fd, channel->peer, greeting + have,
                                     GREETING - have, &got, err);
        have += got;
        if (step == STEP_FAILED) return SHOAL_LOST;
        if (step == STEP_ENDED)
            return shoal_fail(err, SHOAL_LOST,
                              "%s closed the connection before it said anything",
                              channel->peer);
        if (step == STEP_READS && !socket_wait(channel->fd, step, deadline))
            return shoal_fail(err, SHOAL_LOST,
                              "%s takes connections, but says nothing in time: it is "
                              "busy, or no process of this run",
                              channel->peer);
    }
    return SHOAL_OK;
}

// Whether the two agree on TLS.
static shoal_status agree(const struct channel *channel, bool wants, double deadline,
                          bool *tls, struct shoal_error *err) {
    char greeting[GREETING] = {0};
    shoal_status status = read_greeting(channel, deadline, greeting, err);
    if (status != SHOAL_OK) return status;
    *tls = memcmp(greeting, says_tls, GREETING) == 0;
    if (*tls) return SHOAL_OK;
    if (memcmp(greeting, says_plain, GREETING) != 0)
        return shoal_fail(err, SHOAL_CORRUPT,
                          "%s is no process of this run: it begins with something else",
                          channel->peer);
    if (!wants) return SHOAL_OK;
    return shoal_fail(err, SHOAL_USAGE,
                      "%s takes this connection for one inside its own machine and goes "
                      "without TLS, which is refused from here: a tunnel or proxy stands "
                      "between; connect directly, or set SHOAL_TLS=always for driver and "
                      "workers",
                      channel->peer);
}

// ---- made and freed

static shoal_status make(int fd, double timeout, struct channel **channel,
                         struct shoal_error *err) {
    *channel = calloc(1, sizeof **channel);
    if (*channel == NULL) {
        close(fd);
        return shoal_no_memory(err);
    }
    (*channel)->fd = fd;
    atomic_init(&(*channel)->timeout, timeout);
    atomic_init(&(*channel)->shut, false);
    socket_peer(fd, (*channel)->peer);
    return SHOAL_OK;
}

// Gives up what failed on the way.
static shoal_status done(struct channel **channel, shoal_status status) {
    if (status == SHOAL_OK) return SHOAL_OK;
    channel_free(*channel);
    *channel = NULL;
    return status;
}

static shoal_status connect_to(struct channel *channel, const uint8_t *secret,
                               double deadline, struct shoal_error *err) {
    bool wants = true, tls = true;
    shoal_status status = wants_tls(channel->fd, &wants, err);
    if (status == SHOAL_OK) status = agree(channel, wants, deadline, &tls, err);
    if (status == SHOAL_OK && tls)
        status = tls_open(channel->fd, channel->peer, secret, false, &channel->tls, err);
    if (status == SHOAL_OK && tls) status = tls_handshake(channel->tls, deadline, err);
    return status;
}

shoal_status channel_connect(const char *address, const uint8_t *secret,
                             double timeout_seconds, struct channel **channel,
                             struct shoal_error *err) {
    double deadline = socket_deadline(timeout_seconds);
    int fd = -1;
    *channel = NULL;
    shoal_status status = socket_connect(address, deadline, &fd, err);
    if (status == SHOAL_OK) status = make(fd, timeout_seconds, channel, err);
    if (status != SHOAL_OK) return status;
    return done(channel, connect_to(*channel, secret, deadline, err));
}

static shoal_status accept_as(struct channel *channel, const uint8_t *secret,
                              struct shoal_error *err) {
    bool tls = true;
    shoal_status status = wants_tls(channel->fd, &tls, err);
    if (status == SHOAL_OK && tls)
        status = tls_open(channel->fd, channel->peer, secret, true, &channel->tls, err);
    if (status == SHOAL_OK) greet(channel->fd, tls);
    return status;
}

shoal_status channel_accept(int fd, const uint8_t *secret, double timeout_seconds,
                            struct channel **channel, struct shoal_error *err) {
    double deadline = socket_deadline(timeout_seconds);
    shoal_status status = make(fd, timeout_seconds, channel, err);
    if (status != SHOAL_OK) return status;
    status = accept_as(*channel, secret, err);
    if (status == SHOAL_OK && (*channel)->tls != NULL)
        status = tls_handshake((*channel)->tls, deadline, err);
    return done(channel, status);
}

static shoal_status describe(struct channel *channel, double deadline, int *descriptor,
                             struct shoal_error *err) {
    *descriptor = channel->fd;
    if (channel->tls == NULL) return SHOAL_OK;
    shoal_status status = SHOAL_OK;
    if (channel->relay == NULL)
        status = relay_start(channel->tls, channel->fd, channel->peer, deadline,
                             &channel->relay, err);
    *descriptor = status == SHOAL_OK ? relay_descriptor(channel->relay) : -1;
    return status;
}

shoal_status channel_accept_descriptor(int fd, const uint8_t *secret,
                                       double timeout_seconds, struct channel **channel,
                                       int *descriptor, struct shoal_error *err) {
    double deadline = socket_deadline(timeout_seconds);
    *descriptor = -1;
    shoal_status status = make(fd, timeout_seconds, channel, err);
    if (status != SHOAL_OK) return status;
    status = accept_as(*channel, secret, err);
    if (status == SHOAL_OK) status = describe(*channel, deadline, descriptor, err);
    return done(channel, status);
}

shoal_status channel_descriptor(struct channel *channel, int *descriptor,
                                struct shoal_error *err) {
    return describe(channel, socket_deadline(0), descriptor, err);
}

void channel_shutdown(struct channel *channel) {
    atomic_store(&channel->shut, true);
    (void)shutdown(channel->fd, SHUT_RDWR);
    if (channel->relay != NULL) relay_shutdown(channel->relay);
}

void channel_free(struct channel *channel) {
    if (channel == NULL) return;
    if (channel->relay != NULL) {
        relay_free(channel->relay);
    } else if (channel->tls != NULL) {
        (void)tls_end(channel->tls);
    }
    tls_free(channel->tls);
    close(channel->fd);
    free(channel);
}

// ---- used

// What a step that could not go means; SHOAL_OK: it can by now.
static shoal_status go_on(struct channel *channel, enum step step,
                          struct shoal_error *err) {
    double timeout = atomic_load(&channel->timeout);
    bool waits = step == STEP_READS || step == STEP_WRITES;
    if (waits && socket_wait(channel->fd, step, socket_deadline(timeout)))
        return SHOAL_OK;
    if (atomic_load(&channel->shut))
        return shoal_fail(err, SHOAL_CANCELLED,
                          "the connection with %s was given up here", channel->peer);
    if (step == STEP_FAILED) return SHOAL_LOST;
    if (step == STEP_ENDED)
        return shoal_fail(err, SHOAL_LOST, "%s closed the connection", channel->peer);
    return shoal_fail(err, SHOAL_LOST, "%s %s for %.1f s", channel->peer,
                      step == STEP_READS ? "was silent" : "took no data", timeout);
}

shoal_status channel_read(struct channel *channel, void *data, size_t size,
                          struct shoal_error *err) {
    char *at = data;
    shoal_status status = SHOAL_OK;
    while (status == SHOAL_OK && size > 0) {
        size_t got = 0;
        enum step step =
            channel->tls ? tls_read(channel->tls, at, size, &got, err)
                         : socket_read(channel->fd, channel->peer, at, size, &got, err);
        at += got;
        size -= got;
        if (step != STEP_DONE) status = go_on(channel, step, err);
    }
    return status;
}

shoal_status channel_write(struct channel *channel, const void *data, size_t size,
                           struct shoal_error *err) {
    const char *at = data;
    shoal_status status = SHOAL_OK;
    while (status == SHOAL_OK && size > 0) {
        size_t sent = 0;
        enum step step =
            channel->tls ? tls_write(channel->tls, at, size, &sent, err)
                         : socket_write(channel->fd, channel->peer, at, size, &sent, err);
        at += sent;
        size -= sent;
        if (step != STEP_DONE) status = go_on(channel, step, err);
    }
    return status;
}

void channel_set_timeout(struct channel *channel, double seconds) {
    atomic_store(&channel->timeout, seconds);
}

static shoal_status why_plain(struct channel *channel, struct shoal_error *err) {
    char byte;
    ssize_t count;
    while ((count = recv(channel->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT)) < 0 &&
           errno == EINTR)
        continue;
    if (count > 0 || (count < 0 && errno == EAGAIN)) return SHOAL_OK;
    if (count == 0 && socket_was_silent(channel->fd))
        return shoal_fail(
            err, SHOAL_LOST,
            "%s closed the connection before it said anything: where a "
            "tunnel or proxy stands between, it wants TLS (SHOAL_TLS=always "
            "for driver and workers), and its own log says so",
            channel->peer);
    if (count == 0)
        return shoal_fail(err, SHOAL_LOST, "%s closed the connection", channel->peer);
    return shoal_fail(err, SHOAL_LOST, "the connection with %s broke: %s", channel->peer,
                      strerror(errno));
}

shoal_status channel_why(struct channel *channel, struct shoal_error *err) {
    return channel->relay != NULL ? relay_why(channel->relay, err)
                                  : why_plain(channel, err);
}

bool channel_is_encrypted(const struct channel *channel) {
    return channel->tls != NULL;
}

const char *channel_peer(const struct channel *channel) {
    return channel->peer;
}
