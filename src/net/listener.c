#include "net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "net/socket.h"

#define WAITING_MOST 1024  // connections that nobody has taken yet

static void set_port(struct addrinfo *at, uint16_t port) {
    if (at->ai_family == AF_INET6) {
        ((struct sockaddr_in6 *)at->ai_addr)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)at->ai_addr)->sin_port = htons(port);
    }
}

// -1, with errno.
static int listen_at(struct addrinfo *at, uint16_t port) {
    int on = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    set_port(at, port);
    // A port of the range that a run before this one has left is free at once.
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, WAITING_MOST) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static shoal_status cannot_listen(const char *host, uint16_t first, uint16_t last,
                                  struct shoal_error *err) {
    int why = errno;
    if (why == EADDRNOTAVAIL)
        return shoal_fail(err, SHOAL_USAGE,
                          "cannot listen at %s: this machine has no such address", host);
    if (why == EADDRINUSE)
        return shoal_fail(
            err, SHOAL_IO,
            "cannot listen at %s: no port of %u to %u is free; give a wider "
            "range",
            host, first, last);
    return shoal_fail(err, why == EACCES ? SHOAL_USAGE : SHOAL_IO,
                      "cannot listen at %s, ports %u to %u: %s", host, first, last,
                      strerror(why));
}

shoal_status net_listen(const char *host, uint16_t first, uint16_t last,
                        struct listener *listener, struct shoal_error *err) {
    struct addrinfo *found = NULL;
    struct sockaddr_storage got;
    socklen_t size = sizeof got;
    *listener = (struct listener){.fd = -1};
    if (first > last || (first == 0 && last != 0))
        return shoal_fail(
            err, SHOAL_USAGE,
            "%u to %u is no range of ports; give first and last, 1 to 65535", first,
            last);
    shoal_status status = net_lookup_host(host, "0", &found, err);
    if (status != SHOAL_OK) return status;
    errno = EADDRINUSE;
    for (unsigned port = first; listener->fd < 0 && port <= last; port++) {
        listener->fd = listen_at(found, (uint16_t)port);
        if (listener->fd < 0 && errno != EADDRINUSE) break;
    }
    if (listener->fd < 0) {
        status = cannot_listen(host, first, last, err);
    } else {
        memset(&got, 0, sizeof got);
        (void)getsockname(listener->fd, (struct sockaddr *)&got, &size);
        net_write_address(&got, listener->address);
    }
    freeaddrinfo(found);
    return status;
}

shoal_status net_accept(struct listener *listener, int *fd, struct shoal_error *err) {
    for (;;) {
        *fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (*fd >= 0) {
            socket_prepare(*fd);
            return SHOAL_OK;
        }
        switch (errno) {
            case EINTR:
            case ECONNABORTED:  // and what the network says of a connection that broke
            case EPROTO:
            case ENETDOWN:
            case ENETUNREACH:
            case EHOSTDOWN:
            case EHOSTUNREACH:
            case ENOPROTOOPT:
            case ENONET:
                continue;
            case EAGAIN:
                return SHOAL_OK;
            case EMFILE:
            case ENFILE:
                return shoal_fail(err, SHOAL_IO,
                                  "cannot take a connection at %s: %s; raise the limit "
                                  "(ulimit -n)",
                                  listener->address, strerror(errno));
            default:
                return shoal_fail(err, SHOAL_IO, "cannot take a connection at %s: %s",
                                  listener->address, strerror(errno));
        }
    }
}

void listener_close(struct listener *listener) {
    if (listener->fd >= 0) close(listener->fd);
    listener->fd = -1;
}
