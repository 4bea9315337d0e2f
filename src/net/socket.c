#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>  // glibc's own has not all of struct tcp_info
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define KEEPALIVE_IDLE 10  // seconds of silence until the peer's machine is asked
#define KEEPALIVE_EVERY 5  // and asked again
#define KEEPALIVE_TIMES 3
#define SENT_MOST_MS 30000  // what was sent is acknowledged by then

void socket_prepare(int fd) {
    static const struct {
        int level, name, value;
    } options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
                   {SOL_SOCKET, SO_KEEPALIVE, 1},
                   {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE},
                   {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY},
                   {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_TIMES},
                   {IPPROTO_TCP, TCP_USER_TIMEOUT, SENT_MOST_MS}};
    // None of them changes what a connection means: without one it is only slower.
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof options[i].value);
}

double socket_deadline(double seconds) {
    return seconds > 0 ? clock_seconds() + seconds : INFINITY;
}

bool socket_wait(int fd, enum step step, double deadline) {
    struct pollfd one = {.fd = fd, .events = step == STEP_WRITES ? POLLOUT : POLLIN};
    for (;;) {
        int limit = -1;
        if (!isinf(deadline)) {
            double left = ceil((deadline - clock_seconds()) * 1e3);
            limit = left < 0 ? 0 : left > 1e9 ? 1000000000 : (int)left;
        }
        int ready = poll(&one, 1, limit);
        if (ready > 0) return true;
        if (ready == 0 && clock_seconds() >= deadline) return false;
        if (ready < 0 && errno != EINTR && errno != ENOMEM) return true;
    }
}

bool socket_is_loopback(int fd) {
    struct sockaddr_storage own = {0}, peer = {0};
    socklen_t own_size = sizeof own, peer_size = sizeof peer;
    return getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 &&
           getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0 &&
           net_is_loopback(&own) && net_is_loopback(&peer);
}

void socket_peer(int fd, char text[NET_ADDRESS]) {
    struct sockaddr_storage peer = {0};
    socklen_t size = sizeof peer;
    (void)getpeername(fd, (struct sockaddr *)&peer, &size);
    net_write_address(&peer, text);
}

bool socket_was_silent(int fd) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           size >= offsetof(struct tcp_info, tcpi_bytes_received) +
                       sizeof info.tcpi_bytes_received &&
           info.tcpi_bytes_received <= 1;  // the end of the stream counts as one
}

// On one machine a port that nobody listens at may be the one that this socket got: then
// it is connected with itself.
static bool is_connected_with_itself(int fd) {
    struct sockaddr_storage own = {0}, peer = {0};
    socklen_t own_size = sizeof own, peer_size = sizeof peer;
    char texts[2][NET_ADDRESS];
    if (getsockname(fd, (struct sockaddr *)&own, &own_size) != 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_size) != 0)
        return false;
    net_write_address(&own, texts[0]);
    net_write_address(&peer, texts[1]);
    return strcmp(texts[0], texts[1]) == 0;
}

static int connect_one(int fd, const struct addrinfo *to, double deadline) {
    int why = 0;
    socklen_t size = sizeof why;
    if (connect(fd, to->ai_addr, to->ai_addrlen) != 0 && errno != EINPROGRESS &&
        errno != EINTR)
        return errno;
    if (!socket_wait(fd, STEP_WRITES, deadline)) return ETIMEDOUT;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size) != 0) return errno;
    return why == 0 && is_connected_with_itself(fd) ? ECONNREFUSED : why;
}

shoal_status socket_connect(const char *address, double deadline, int *fd,
                            struct shoal_error *err) {
    struct addrinfo *found = NULL;
    size_t left = 0;
    int why = 0;
    *fd = -1;
    shoal_status status = net_lookup(address, &found, err);
    if (status != SHOAL_OK) return status;
    for (const struct addrinfo *to = found; to != NULL; to = to->ai_next) left++;
    for (const struct addrinfo *to = found; *fd < 0 && to != NULL; to = to->ai_next) {
        // Each has its part of the time: the first may lead nowhere.
        double part = (deadline - clock_seconds()) / (double)left--;
        *fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (*fd < 0) {
            status = shoal_fail(err, SHOAL_IO, "cannot make a socket to %s: %s", address,
                                strerror(errno));
            continue;
        }
        why = connect_one(*fd, to, clock_seconds() + part);
        if (why == 0) break;
        close(*fd);
        *fd = -1;
        status = shoal_fail(err, SHOAL_LOST, "cannot connect to %s: %s", address,
                            strerror(why));
    }
    freeaddrinfo(found);
    if (*fd < 0) return status;
    (void)fcntl(*fd, F_SETFL, fcntl(*fd, F_GETFL) & ~O_NONBLOCK);
    socket_prepare(*fd);
    return SHOAL_OK;
}

enum step socket_read(int fd, const char *peer, void *data, size_t size, size_t *got,
                      struct shoal_error *err) {
    ssize_t count;
    *got = 0;
    while ((count = recv(fd, data, size, MSG_DONTWAIT)) < 0 && errno == EINTR) continue;
    if (count > 0) {
        *got = (size_t)count;
        return STEP_DONE;
    }
    if (count == 0) return STEP_ENDED;
    if (errno == EAGAIN) return STEP_READS;
    shoal_fail(err, SHOAL_LOST, "the connection with %s broke: %s", peer,
               strerror(errno));
    return STEP_FAILED;
}

enum step socket_write(int fd, const char *peer, const void *data, size_t size,
                       size_t *sent, struct shoal_error *err) {
    ssize_t count;
    *sent = 0;
    while ((count = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0 &&
           errno == EINTR)
        continue;
    if (count >= 0) {
        *sent = (size_t)count;
        return STEP_DONE;
    }
    if (errno == EAGAIN) return STEP_WRITES;
    shoal_fail(err, SHOAL_LOST, "the connection with %s broke: %s", peer,
               strerror(errno));
    return STEP_FAILED;
}
