#include "support/ends.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

const uint8_t ends_secret[PROOF_SECRET] = {1, 2, 3, 4, 5, 6, 7, 8};
const uint8_t ends_other_secret[PROOF_SECRET] = {1, 2, 3, 4, 5, 6, 7, 9};
static struct shoal_error err;

void want_tls(bool always) {
    if (always) {
        (void)setenv("SHOAL_TLS", "always", 1);
    } else {
        (void)unsetenv("SHOAL_TLS");
    }
}

int next_connection(struct listener *listener) {
    struct pollfd one = {.fd = listener->fd, .events = POLLIN};
    struct shoal_error ignored;
    int fd = -1;
    if (poll(&one, 1, (int)(LONG * 1e3)) != 1) return -1;
    return net_accept(listener, &fd, &ignored) == SHOAL_OK ? fd : -1;
}

static void *accept_one(void *ctx) {
    struct ends *ends = ctx;
    int fd = next_connection(&ends->listener);
    ends->status =
        fd < 0 ? SHOAL_INTERNAL
               : channel_accept(fd, ends->secret, ends->timeout, &ends->far, &ends->why);
    return NULL;
}

shoal_status meet_with(struct ends *ends, const char *host, const uint8_t *own,
                       struct shoal_error *why) {
    pthread_t thread;
    assert_ok(net_listen(host, 0, 0, &ends->listener, &err));
    assert_int_equal(pthread_create(&thread, NULL, accept_one, ends), 0);
    shoal_status status =
        channel_connect(ends->listener.address, own, ends->timeout, &ends->near, why);
    pthread_join(thread, NULL);
    return status;
}

void meet_at(struct ends *ends, const char *host, bool tls) {
    want_tls(tls);
    *ends = (struct ends){.secret = ends_secret, .timeout = LONG};
    assert_ok(meet_with(ends, host, ends_secret, &err));
    assert_int_equal(ends->status, SHOAL_OK);
    assert_int_equal(channel_is_encrypted(ends->near), tls);
    assert_int_equal(channel_is_encrypted(ends->far), tls);
}

void meet(struct ends *ends, bool tls) {
    meet_at(ends, "127.0.0.1", tls);
}

void part(struct ends *ends) {
    channel_free(ends->near);
    channel_free(ends->far);
    listener_close(&ends->listener);
}

pid_t connect_in_child(const char *address, bool tls) {
    struct channel *channel = NULL;
    pid_t child = fork();
    if (child != 0) return child;
    want_tls(tls);
    shoal_status status = channel_connect(address, ends_secret, LONG, &channel, &err);
    char got = 0;
    if (status == SHOAL_OK) status = channel_read(channel, &got, 1, &err);
    int result = (int)status;
    if (status == SHOAL_OK && channel_is_encrypted(channel)) result = 100;
    if (status == SHOAL_USAGE && strstr(err.message, "a tunnel or proxy") == NULL)
        result = 101;
    channel_free(channel);
    _exit(result);
}

void go_half_way(const char *address, bool described) {
    struct channel *channel = NULL;
    uint8_t *data = calloc(1, MIB);
    int fd = -1;
    if (channel_connect(address, ends_secret, LONG, &channel, &err) != SHOAL_OK) _exit(1);
    if (described) {
        if (channel_descriptor(channel, &fd, &err) != SHOAL_OK) _exit(1);
        if (send(fd, data, MIB / 2, 0) != MIB / 2) _exit(1);
    } else if (channel_write(channel, data, MIB / 2, &err) != SHOAL_OK) {
        _exit(1);
    }
    char byte = 0;  // until the other end has it all
    if (described) {
        (void)recv(fd, &byte, 1, 0);
    } else {
        (void)channel_read(channel, &byte, 1, &err);
    }
    (void)raise(SIGKILL);
}

int result_of(pid_t child) {
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

size_t receive_all(int fd, uint8_t *data, size_t size) {
    size_t have = 0;
    while (have < size) {
        ssize_t got = recv(fd, data + have, size - have, 0);
        if (got <= 0) break;
        have += (size_t)got;
    }
    return have;
}

uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

void fill(uint8_t *data, size_t size, uint64_t *random) {
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word = next_random(random);
        memcpy(data + i, &word, 8);
    }
}
