// Addresses, listeners and channels over loopback, plain and by TLS: what goes through,
// both ways.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/address.h"
#include "net/tls.h"
#include "support/ends.h"

static struct shoal_error err;

// ---- addresses

static void addresses(void **state) {
    static const struct {
        const char *text, *says;
    } bad[] = {{"", "has no host"},
               {":7000", "has no host"},
               {"host", "has no port"},
               {"host:", "has no port"},
               {"host:0", "has no port"},
               {"host:65536", "has no port"},
               {"host:70a", "has no port"},
               {"host:-1", "has no port"},
               {"host:000001", "has no port"},
               {"::1:7000", "in brackets"},
               {"[::1", "[IPv6 address]:port"},
               {"[::1]7000", "[IPv6 address]:port"},
               {"[::1]", "has no port"},
               {"[]:7000", "has no host"},
               {"[10.0.0]x]:1", "[IPv6 address]:port"},
               {"no such host:7000", "is not known here"}};
    struct sockaddr_storage to;
    socklen_t size;
    char text[NET_ADDRESS], long_host[600];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(net_resolve(bad[i].text, &to, &size, &err), SHOAL_USAGE);
        assert_says(bad[i].says);
    }
    memset(long_host, 'h', sizeof long_host);
    memcpy(long_host + sizeof long_host - 4, ":70", 4);
    assert_int_equal(net_resolve(long_host, &to, &size, &err), SHOAL_USAGE);
    assert_says("more than 255 bytes");
    assert_ok(net_resolve("127.0.0.1:65535", &to, &size, &err));
    assert_int_equal(size, sizeof(struct sockaddr_in));
    net_write_address(&to, text);
    assert_string_equal(text, "127.0.0.1:65535");
    assert_ok(net_resolve("[fd00::7]:1", &to, &size, &err));
    net_write_address(&to, text);
    assert_string_equal(text, "[fd00::7]:1");
}

static void what_loopback_is(void **state) {
    static const char *const inside[] = {"127.0.0.1:1", "127.255.0.9:1", "[::1]:1",
                                         "[::ffff:127.0.0.1]:1"};
    static const char *const outside[] = {"10.0.0.1:1",  "128.0.0.1:1",
                                          "0.0.0.0:1",   "[::]:1",
                                          "[fe80::1]:1", "[::ffff:10.0.0.1]:1"};
    struct sockaddr_storage to;
    socklen_t size;
    (void)state;
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        assert_ok(net_resolve(inside[i], &to, &size, &err));
        assert_true(net_is_loopback(&to));
    }
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        assert_ok(net_resolve(outside[i], &to, &size, &err));
        assert_false(net_is_loopback(&to));
    }
}

static void routes(void **state) {
    static const struct {
        const char *head, *host;
    } known[] = {{"127.0.0.1", "127.0.0.1"},
                 {"127.0.0.1:6379", "127.0.0.1"},
                 {"::1", "::1"},
                 {"[::1]", "::1"},
                 {"[::1]:6379", "::1"}};
    char host[NET_ADDRESS];
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_ok(net_route_to(known[i].head, host, sizeof host, &err));
        assert_string_equal(host, known[i].host);
    }
    assert_int_equal(net_route_to("127.0.0.1:x", host, sizeof host, &err), SHOAL_USAGE);
    assert_int_equal(net_route_to("", host, sizeof host, &err), SHOAL_USAGE);
    assert_int_equal(net_route_to("no such host", host, sizeof host, &err), SHOAL_USAGE);
}

// ---- listeners

static void a_range_of_ports(void **state) {
    struct listener first, second, third;
    char address[NET_ADDRESS];
    unsigned port = 0, next = 0;
    int fd = 0;
    (void)state;
    assert_ok(net_listen("127.0.0.1", 0, 0, &first, &err));
    assert_int_equal(sscanf(first.address, "127.0.0.1:%u", &port), 1);
    assert_ok(net_accept(&first, &fd, &err));
    assert_int_equal(fd, -1);
    // A port that is taken; with a few more, the next one that is free.
    uint16_t taken = (uint16_t)port;
    assert_int_equal(net_listen("127.0.0.1", taken, taken, &second, &err), SHOAL_IO);
    (void)snprintf(address, sizeof address, "no port of %u to %u", port, port);
    assert_says(address);
    assert_int_equal(second.fd, -1);
    if (taken < UINT16_MAX - 20) {
        assert_ok(net_listen("127.0.0.1", taken, taken + 20, &third, &err));
        assert_int_equal(sscanf(third.address, "127.0.0.1:%u", &next), 1);
        assert_in_range(next, port + 1, port + 20);
        listener_close(&third);
    }
    listener_close(&first);
    assert_ok(net_listen("127.0.0.1", taken, taken, &second, &err));
    listener_close(&second);
    listener_close(&second);
    assert_int_equal(net_listen("127.0.0.1", 9, 8, &first, &err), SHOAL_USAGE);
    assert_int_equal(net_listen("127.0.0.1", 0, 8, &first, &err), SHOAL_USAGE);
    assert_int_equal(net_listen("192.0.2.1", 0, 0, &first, &err), SHOAL_USAGE);
    assert_says("no such address");
    assert_int_equal(net_listen("no such host", 0, 0, &first, &err), SHOAL_USAGE);
}

// ---- two ends in one process

static void small_messages(void **state) {
    static const char *const hosts[] = {"127.0.0.1", "::1", "localhost"};
    char text[6];
    struct ends ends;
    (void)state;
    for (int i = 0; i < 6; i++) {
        meet_at(&ends, hosts[i / 2], i % 2 == 1);
        for (int n = 0; n < 10; n++) {
            assert_ok(channel_write(ends.near, "hello", 6, &err));
            assert_ok(channel_read(ends.far, text, 6, &err));
            assert_string_equal(text, "hello");
            assert_ok(channel_write(ends.far, "world", 6, &err));
            assert_ok(channel_read(ends.near, text, 6, &err));
            assert_string_equal(text, "world");
        }
        assert_ok(channel_read(ends.near, text, 0, &err));
        assert_string_equal(channel_peer(ends.near), ends.listener.address);
        part(&ends);
    }
}

// ---- between machines

// A child has a network of its own, where lo has an address as other machines see it.
// False: this process may not have one.
static bool enter_own_network(void) {
    struct ifreq request = {0};
    struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return false;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    bool done = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "lo:1");
    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a090807)};
    done = done && ioctl(fd, SIOCSIFADDR, &request) == 0;
    close(fd);
    return done;
}

// Where a connection gets one of few ports, it may get the one that it goes to, if nobody
// listens there: it is then its own peer.
static void connect_to_oneself(void) {
    struct channel *channel = NULL;
    int fd = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
    bool few = fd >= 0 && write(fd, "40000 40009", 11) == 11;
    if (fd >= 0) close(fd);
    for (int i = 0; few && i < 100; i++) {
        assert_int_equal(
            channel_connect("127.0.0.1:40004", ends_secret, SHORT, &channel, &err),
            SHOAL_LOST);
        assert_says("Connection refused");
    }
}

#define MAY_NOT 77

static void in_own_network(void **state) {
    char host[NET_ADDRESS];
    struct ends ends;
    (void)state;
    if (!enter_own_network()) _exit(MAY_NOT);
    want_tls(false);
    assert_ok(net_route_to("10.9.8.7:7000", host, sizeof host, &err));
    assert_string_equal(host, "10.9.8.7");
    ends = (struct ends){.secret = ends_secret, .timeout = LONG};
    assert_ok(meet_with(&ends, host, ends_secret, &err));
    assert_int_equal(ends.status, SHOAL_OK);
    assert_true(channel_is_encrypted(ends.near) && channel_is_encrypted(ends.far));
    assert_int_equal(strncmp(channel_peer(ends.far), "10.9.8.7:", 9), 0);
    part(&ends);
    meet(&ends, false);
    part(&ends);
    ends = (struct ends){.secret = ends_other_secret, .timeout = LONG};
    assert_int_equal(meet_with(&ends, host, ends_secret, &err), SHOAL_CORRUPT);
    listener_close(&ends.listener);
    connect_to_oneself();
}

// Without SHOAL_TLS: what isn't loopback is TLS.
static void between_machines(void **state) {
    pid_t child = fork();
    (void)state;
    if (child == 0) {
        const struct CMUnitTest test[] = {cmocka_unit_test(in_own_network)};
        _exit(cmocka_run_group_tests_name("own network", test, NULL, NULL));
    }
    int result = result_of(child);
    if (result == MAY_NOT) {
        print_message("no network of its own for this process: skipped\n");
        skip();
    }
    assert_int_equal(result, 0);
}

// ---- much, both ways at once

struct flow {
    struct channel *channel;
    uint64_t bytes, seed;
    shoal_status status;
    bool differs;
};

#define PIECE 100000

static void *write_flow(void *ctx) {
    struct flow *flow = ctx;
    uint8_t *data = calloc(1, PIECE);
    uint64_t random = flow->seed;
    for (uint64_t i = 0; flow->status == SHOAL_OK && i < flow->bytes; i += PIECE) {
        fill(data, PIECE, &random);
        flow->status = channel_write(flow->channel, data, PIECE, NULL);
    }
    free(data);
    return NULL;
}

static void *read_flow(void *ctx) {
    struct flow *flow = ctx;
    uint8_t *data = calloc(1, PIECE), *expected = calloc(1, PIECE);
    uint64_t random = flow->seed;
    for (uint64_t i = 0; flow->status == SHOAL_OK && i < flow->bytes; i += PIECE) {
        fill(expected, PIECE, &random);
        flow->status = channel_read(flow->channel, data, PIECE, NULL);
        if (memcmp(data, expected, PIECE) != 0) flow->differs = true;
    }
    free(data);
    free(expected);
    return NULL;
}

static void flow_both_ways(struct ends *ends, uint64_t bytes) {
    struct flow flows[] = {{ends->near, bytes, 1, SHOAL_OK, false},
                           {ends->far, bytes, 1, SHOAL_OK, false},
                           {ends->far, bytes, 2, SHOAL_OK, false},
                           {ends->near, bytes, 2, SHOAL_OK, false}};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i % 2 == 0 ? write_flow : read_flow, &flows[i]),
                         0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(flows[i].status, SHOAL_OK);
        assert_false(flows[i].differs);
    }
}

static void much_both_ways(void **state) {
    struct ends ends;
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        meet(&ends, tls);
        flow_both_ways(&ends, 24 * MIB);
        part(&ends);
    }
}

static void keys_are_renewed(void **state) {
    struct ends ends;
    uint64_t before = tls_update_bytes;
    (void)state;
    tls_update_bytes = 300000;
    meet(&ends, true);
    flow_both_ways(&ends, 8 * MIB);
    part(&ends);
    tls_update_bytes = before;
}

// TLS alone, both ends by one thread: no step waits.
struct bare {
    struct tls *near, *far;
    int fds[2];
};

static void shake_hands(struct bare *bare) {
    enum step steps[2] = {STEP_READS, STEP_READS};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bare->fds), 0);
    assert_ok(tls_open(bare->fds[0], "far", ends_secret, false, &bare->near, &err));
    assert_ok(tls_open(bare->fds[1], "near", ends_secret, true, &bare->far, &err));
    assert_int_equal(tls_shake(bare->far, &err), STEP_READS);
    for (int i = 0; i < 4; i++)
        steps[i % 2] = tls_shake(i % 2 == 0 ? bare->near : bare->far, &err);
    assert_int_equal(steps[0], STEP_DONE);
    assert_int_equal(steps[1], STEP_DONE);
}

static void part_bare(struct bare *bare) {
    tls_free(bare->near);
    tls_free(bare->far);
    for (int i = 0; i < 2; i++) {
        if (bare->fds[i] >= 0) close(bare->fds[i]);
    }
}

#define RECORD 16384  // bytes of one, when there are many

static void steps(void **state) {
    static uint8_t data[MIB], got[MIB];
    struct bare bare;
    uint64_t before = tls_update_bytes, random = 5;
    size_t sent = 0, have = 0, count;
    (void)state;
    tls_update_bytes = RECORD;
    fill(data, MIB, &random);
    shake_hands(&bare);
    assert_int_equal(tls_read(bare.far, got, MIB, &count, &err), STEP_READS);
    while (have < MIB) {
        enum step step = sent < MIB ? STEP_DONE : STEP_WRITES;
        for (; step == STEP_DONE && sent < MIB; sent += count)
            step = tls_write(bare.near, data + sent, MIB - sent, &count, &err);
        if (sent < MIB) {  // again, as full as before
            step = tls_write(bare.near, data + sent, MIB - sent, &count, &err);
            assert_int_equal(step, STEP_WRITES);
        }
        step = tls_read(bare.far, got + have, MIB - have, &count, &err);
        assert_true(step == STEP_DONE || step == STEP_READS);
        have += count;
    }
    assert_memory_equal(data, got, MIB);
    assert_int_equal(tls_updates(bare.near), MIB / RECORD - 1);
    assert_int_equal(tls_end(bare.near), STEP_DONE);
    assert_int_equal(tls_read(bare.far, got, MIB, &count, &err), STEP_ENDED);
    part_bare(&bare);
    tls_update_bytes = before;
}

static void last_words(void **state) {
    static uint8_t data[MIB];
    struct bare bare;
    size_t count = 0;
    (void)state;
    shake_hands(&bare);
    assert_int_equal(tls_write(bare.far, "I am dying", 11, &count, &err), STEP_DONE);
    close(bare.fds[1]);
    bare.fds[1] = -1;
    assert_int_equal(tls_write(bare.near, data, MIB, &count, &err), STEP_FAILED);
    assert_int_equal(err.status, SHOAL_LOST);
    assert_int_equal(tls_write(bare.near, data, MIB, &count, &err), STEP_FAILED);
    assert_int_equal(tls_read(bare.near, data, MIB, &count, &err), STEP_DONE);
    assert_string_equal((char *)data, "I am dying");
    assert_int_equal(tls_read(bare.near, data, MIB, &count, &err), STEP_FAILED);
    assert_says("closed without a word");
    part_bare(&bare);
}

// ---- ended from another thread

static void *shut_soon(void *ctx) {
    struct pollfd none = {.fd = -1};
    (void)poll(&none, 1, 100);  // likely in the middle; before it, it holds as well
    channel_shutdown(ctx);
    return NULL;
}

static void shutdown_ends_what_waits(void **state) {
    uint8_t *data = calloc(1, MIB);
    struct ends ends;
    pthread_t thread;
    (void)state;
    for (int i = 0; i < 4; i++) {
        shoal_status status = SHOAL_OK;
        meet(&ends, i % 2 == 1);
        assert_int_equal(pthread_create(&thread, NULL, shut_soon, ends.near), 0);
        if (i < 2) {
            status = channel_read(ends.near, data, 1, &err);
        } else {
            while (status == SHOAL_OK) status = channel_write(ends.near, data, MIB, &err);
        }
        assert_int_equal(status, SHOAL_CANCELLED);
        pthread_join(thread, NULL);
        assert_int_equal(channel_read(ends.near, data, 1, &err), SHOAL_CANCELLED);
        part(&ends);
    }
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(what_loopback_is),
        cmocka_unit_test(routes),
        cmocka_unit_test(a_range_of_ports),
        cmocka_unit_test(small_messages),
        cmocka_unit_test(between_machines),
        cmocka_unit_test(much_both_ways),
        cmocka_unit_test(keys_are_renewed),
        cmocka_unit_test(steps),
        cmocka_unit_test(last_words),
        cmocka_unit_test(shutdown_ends_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
