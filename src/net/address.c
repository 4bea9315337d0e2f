#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PORT_TEXT 6  // of "65535"

static shoal_status copy_host(const char *address, const char *from, size_t length,
                              char host[NET_HOST], struct shoal_error *err) {
    if (length == 0)
        return shoal_fail(err, SHOAL_USAGE, "the address \"%.200s\" has no host",
                          address);
    if (length >= NET_HOST)
        return shoal_fail(err, SHOAL_USAGE,
                          "the address \"%.200s...\" has a host of more than %d bytes",
                          address, NET_HOST - 1);
    memcpy(host, from, length);
    host[length] = '\0';
    return SHOAL_OK;
}

static shoal_status copy_port(const char *address, const char *from, char port[PORT_TEXT],
                              struct shoal_error *err) {
    size_t length = strlen(from);
    if (length == 0 || length >= PORT_TEXT || strspn(from, "0123456789") != length ||
        strtoul(from, NULL, 10) == 0 || strtoul(from, NULL, 10) > UINT16_MAX)
        return shoal_fail(err, SHOAL_USAGE,
                          "the address \"%.200s\" has no port of 1 to 65535 after its "
                          "host, as host:port",
                          address);
    memcpy(port, from, length + 1);
    return SHOAL_OK;
}

// Where the host ends and what comes after it: "" where there is no port.
static shoal_status split(const char *address, char host[NET_HOST], const char **after,
                          struct shoal_error *err) {
    const char *colon = strchr(address, ':');
    if (address[0] == '[') {
        const char *end = strchr(address, ']');
        if (end == NULL || (end[1] != ':' && end[1] != '\0'))
            return shoal_fail(err, SHOAL_USAGE,
                              "the address \"%.200s\" begins as [IPv6 address]:port and "
                              "goes on as something else",
                              address);
        *after = end + 1;
        return copy_host(address, address + 1, (size_t)(end - address) - 1, host, err);
    }
    if (colon == NULL) colon = address + strlen(address);
    *after = colon;
    return copy_host(address, address, (size_t)(colon - address), host, err);
}

static bool is_bare_v6(const char *text) {
    const char *colon = strchr(text, ':');
    return text[0] != '[' && colon != NULL && strchr(colon + 1, ':') != NULL;
}

shoal_status net_lookup_host(const char *host, const char *port, struct addrinfo **found,
                             struct shoal_error *err) {
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    *found = NULL;
    int result = getaddrinfo(host, port, &hints, found);
    switch (result) {
        case 0:
            return SHOAL_OK;
        case EAI_MEMORY:
            return shoal_no_memory(err);
        case EAI_AGAIN:
        case EAI_FAIL:
        case EAI_SYSTEM:
            return shoal_fail(
                err, SHOAL_IO,
                "cannot look up the host %s: %s; see the machine's resolver", host,
                result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
        default:
            return shoal_fail(err, SHOAL_USAGE, "the host %s is not known here: %s", host,
                              gai_strerror(result));
    }
}

shoal_status net_lookup(const char *address, struct addrinfo **found,
                        struct shoal_error *err) {
    char host[NET_HOST], port[PORT_TEXT];
    const char *after = "";
    *found = NULL;
    if (is_bare_v6(address))
        return shoal_fail(err, SHOAL_USAGE,
                          "the address \"%.200s\" has more than one colon: an IPv6 "
                          "address stands in brackets, as [::1]:7000",
                          address);
    shoal_status status = split(address, host, &after, err);
    if (status == SHOAL_OK)
        status = copy_port(address, *after == ':' ? after + 1 : after, port, err);
    return status == SHOAL_OK ? net_lookup_host(host, port, found, err) : status;
}

shoal_status net_resolve(const char *address, struct sockaddr_storage *to,
                         socklen_t *size, struct shoal_error *err) {
    struct addrinfo *found = NULL;
    shoal_status status = net_lookup(address, &found, err);
    if (status != SHOAL_OK) return status;
    memset(to, 0, sizeof *to);
    memcpy(to, found->ai_addr, found->ai_addrlen);
    *size = found->ai_addrlen;
    freeaddrinfo(found);
    return SHOAL_OK;
}

bool net_is_loopback(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_UNIX) return true;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->ss_family != AF_INET6) return false;
    const struct in6_addr *in6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(in6)) return in6->s6_addr[12] == IN_LOOPBACKNET;
    return IN6_IS_ADDR_LOOPBACK(in6);
}

static bool write_host(const struct sockaddr_storage *address, char *host, size_t size) {
    return getnameinfo((const struct sockaddr *)address, sizeof *address, host,
                       (socklen_t)size, NULL, 0, NI_NUMERICHOST) == 0;
}

void net_write_address(const struct sockaddr_storage *address, char text[NET_ADDRESS]) {
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE];
    bool v6 = address->ss_family == AF_INET6;
    if ((!v6 && address->ss_family != AF_INET) ||
        !write_host(address, host, sizeof host)) {
        (void)snprintf(text, NET_ADDRESS, "a local socket");
        return;
    }
    in_port_t port = v6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                        : ((const struct sockaddr_in *)address)->sin_port;
    (void)snprintf(text, NET_ADDRESS, v6 ? "[%s]:%u" : "%s:%u", host,
                   (unsigned)ntohs(port));
}

// A datagram socket that is connected sends nothing, but has its route.
static bool find_source(const struct addrinfo *to, struct sockaddr_storage *source) {
    socklen_t size = sizeof *source;
    int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    memset(source, 0, sizeof *source);
    bool found = connect(fd, to->ai_addr, to->ai_addrlen) == 0 &&
                 getsockname(fd, (struct sockaddr *)source, &size) == 0;
    int why = errno;
    close(fd);
    errno = why;
    return found;
}

shoal_status net_route_to(const char *head, char *host, size_t size,
                          struct shoal_error *err) {
    char name[NET_HOST], port[PORT_TEXT] = "9";  // any will do: "discard"
    const char *after = "";
    struct addrinfo *found = NULL;
    struct sockaddr_storage source;
    shoal_status status = is_bare_v6(head)
                              ? copy_host(head, head, strlen(head), name, err)
                              : split(head, name, &after, err);
    if (status == SHOAL_OK && *after == ':')
        status = copy_port(head, after + 1, port, err);
    if (status == SHOAL_OK) status = net_lookup_host(name, port, &found, err);
    if (status != SHOAL_OK) return status;
    const struct addrinfo *to = found;
    while (to != NULL && !find_source(to, &source)) to = to->ai_next;
    if (to == NULL) {
        status = shoal_fail(err, SHOAL_IO, "this machine has no way to %s: %s", head,
                            strerror(errno));
    } else if (!write_host(&source, host, size)) {
        status = shoal_fail(err, SHOAL_INTERNAL,
                            "no room for the address that leads to "
                            "%s",
                            head);
    }
    freeaddrinfo(found);
    return status;
}
