// Addresses of a run's processes as text: "host:port", "[v6 address]:port". A name is
// looked up by the system's resolver, which may take as long as that likes.
#ifndef SHOAL_NET_ADDRESS_H
#define SHOAL_NET_ADDRESS_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/status.h"

#define NET_ADDRESS 80  // room for "host:port" of numbers
#define NET_HOST 256    // room for a host's name

// All that the address stands for, in the order in which they are to be tried;
// freeaddrinfo(*found). SHOAL_USAGE names what is wrong with the text, or that nobody
// knows the host; SHOAL_IO: the resolver cannot say.
shoal_status net_lookup(const char *address, struct addrinfo **found,
                        struct shoal_error *err);
// The same for a host and the port's number as text.
shoal_status net_lookup_host(const char *host, const char *port, struct addrinfo **found,
                             struct shoal_error *err);
// The first of them.
shoal_status net_resolve(const char *address, struct sockaddr_storage *to,
                         socklen_t *size, struct shoal_error *err);
// Only this machine can be at the other end: 127.0.0.0/8, ::1, or no network at all.
bool net_is_loopback(const struct sockaddr_storage *address);
// The address of this machine from which packets go to head ("host" or "host:port"), in
// numbers, without a port: nothing is sent. Loopback if head is. host has room for size
// bytes; NET_ADDRESS is enough.
shoal_status net_route_to(const char *head, char *host, size_t size,
                          struct shoal_error *err);
// As text of numbers: "10.0.0.7:41000", "[fd00::7]:41000".
void net_write_address(const struct sockaddr_storage *address, char text[NET_ADDRESS]);

#endif
