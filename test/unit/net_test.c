// Addresses, listeners and channels over loopback, plain and by TLS: what goes through
// both ways, and what is said when a peer is wrong, slow or gone.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <openssl/ec.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/frame.h"
#include "base/proof.h"
#include "net/address.h"
#include "net/channel.h"
#include "net/listener.h"
#include "net/tls.h"
#include "support/harness.h"

#define LONG 20.0  // seconds in which all goes that goes at all
#define SHORT 0.3  // seconds that something silent gets
#define MIB (1 << 20)

static const uint8_t secret[PROOF_SECRET] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t other_secret[PROOF_SECRET] = {1, 2, 3, 4, 5, 6, 7, 9};
static struct shoal_error err;

static void want_tls(bool always) {
    if (always) {
        (void)setenv("SHOAL_TLS", "always", 1);
    } else {
        (void)unsetenv("SHOAL_TLS");
    }
}

#define assert_ok(status)                                     \
    do {                                                      \
        shoal_status status_ = (status);                      \
        if (status_ != SHOAL_OK) fail_msg("%s", err.message); \
    } while (0)
#define assert_says(text)                                                            \
    do {                                                                             \
        if (strstr(err.message, text) == NULL) fail_msg("it says: %s", err.message); \
    } while (0)

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

struct ends {
    struct channel *near, *far;  // who connected, who accepted
    struct listener listener;
    shoal_status status;  // of who accepted
    struct shoal_error why;
    const uint8_t *secret;
    double timeout;
};

static int next_connection(struct listener *listener) {
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

static shoal_status meet_with(struct ends *ends, const char *host, const uint8_t *own) {
    pthread_t thread;
    assert_ok(net_listen(host, 0, 0, &ends->listener, &err));
    assert_int_equal(pthread_create(&thread, NULL, accept_one, ends), 0);
    shoal_status status =
        channel_connect(ends->listener.address, own, ends->timeout, &ends->near, &err);
    pthread_join(thread, NULL);
    return status;
}

static void meet_at(struct ends *ends, const char *host, bool tls) {
    want_tls(tls);
    *ends = (struct ends){.secret = secret, .timeout = LONG};
    assert_ok(meet_with(ends, host, secret));
    assert_int_equal(ends->status, SHOAL_OK);
    assert_int_equal(channel_is_encrypted(ends->near), tls);
    assert_int_equal(channel_is_encrypted(ends->far), tls);
}

static void meet(struct ends *ends, bool tls) {
    meet_at(ends, "127.0.0.1", tls);
}

static void part(struct ends *ends) {
    channel_free(ends->near);
    channel_free(ends->far);
    listener_close(&ends->listener);
}

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
            channel_connect("127.0.0.1:40004", secret, SHORT, &channel, &err),
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
    ends = (struct ends){.secret = secret, .timeout = LONG};
    assert_ok(meet_with(&ends, host, secret));
    assert_int_equal(ends.status, SHOAL_OK);
    assert_true(channel_is_encrypted(ends.near) && channel_is_encrypted(ends.far));
    assert_int_equal(strncmp(channel_peer(ends.far), "10.9.8.7:", 9), 0);
    part(&ends);
    meet(&ends, false);
    part(&ends);
    ends = (struct ends){.secret = other_secret, .timeout = LONG};
    assert_int_equal(meet_with(&ends, host, secret), SHOAL_CORRUPT);
    listener_close(&ends.listener);
    connect_to_oneself();
}

static int result_of(pid_t child) {
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
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

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fill(uint8_t *data, size_t size, uint64_t *random) {
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word = next_random(random);
        memcpy(data + i, &word, 8);
    }
}

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
    assert_ok(tls_open(bare->fds[0], "far", secret, false, &bare->near, &err));
    assert_ok(tls_open(bare->fds[1], "near", secret, true, &bare->far, &err));
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

// ---- peers that are wrong

static void another_secret(void **state) {
    struct ends ends = {.secret = other_secret, .timeout = LONG};
    (void)state;
    want_tls(true);
    assert_int_equal(meet_with(&ends, "127.0.0.1", secret), SHOAL_CORRUPT);
    assert_says("the peer does not know the run's secret");
    assert_null(ends.near);
    assert_int_equal(ends.status, SHOAL_CORRUPT);
    err = ends.why;
    assert_says("the peer does not know the run's secret");
    assert_null(ends.far);
    listener_close(&ends.listener);
}

// A child that connects as it is told and says, by its exit code, what came of it.
static pid_t connect_in_child(const char *address, bool tls) {
    struct channel *channel = NULL;
    pid_t child = fork();
    if (child != 0) return child;
    want_tls(tls);
    shoal_status status = channel_connect(address, secret, LONG, &channel, &err);
    char got = 0;
    if (status == SHOAL_OK) status = channel_read(channel, &got, 1, &err);
    int result = (int)status;
    if (status == SHOAL_OK && channel_is_encrypted(channel)) result = 100;
    if (status == SHOAL_USAGE && strstr(err.message, "a tunnel or proxy") == NULL)
        result = 101;
    channel_free(channel);
    _exit(result);
}

static void plain_here_tls_there(void **state) {
    struct listener listener;
    struct channel *channel = NULL;
    int descriptor = -1;
    char byte;
    (void)state;
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = connect_in_child(listener.address, true);
    want_tls(false);
    assert_ok(channel_accept_descriptor(next_connection(&listener), secret, LONG,
                                        &channel, &descriptor, &err));
    assert_int_equal(recv(descriptor, &byte, 1, 0), 0);
    assert_int_equal(channel_why(channel, &err), SHOAL_LOST);
    assert_says("SHOAL_TLS=always");
    channel_free(channel);
    assert_int_equal(result_of(child), SHOAL_USAGE);
    listener_close(&listener);
}

static void tls_here_plain_there(void **state) {
    struct listener listener;
    struct channel *channel = NULL;
    (void)state;
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = connect_in_child(listener.address, false);
    want_tls(true);
    assert_ok(channel_accept(next_connection(&listener), secret, LONG, &channel, &err));
    assert_ok(channel_write(channel, "x", 1, &err));
    assert_int_equal(result_of(child), 100);
    channel_free(channel);
    listener_close(&listener);
}

static void a_wrong_setting(void **state) {
    struct channel *channel = NULL;
    struct listener listener;
    int fds[2];
    (void)state;
    (void)setenv("SHOAL_TLS", "never", 1);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    assert_int_equal(channel_connect(listener.address, secret, LONG, &channel, &err),
                     SHOAL_USAGE);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(channel_accept(fds[0], secret, LONG, &channel, &err), SHOAL_USAGE);
    assert_says("SHOAL_TLS");
    close(fds[1]);
    listener_close(&listener);
    want_tls(false);
}

// What a thread says to whoever connects to it.
struct speaker {
    struct listener listener;
    const char *text;
    SSL_CTX *context;  // or what it shakes hands with
};

static void *speak(void *ctx) {
    struct speaker *speaker = ctx;
    char ignored[1000];
    int fd = next_connection(&speaker->listener);
    (void)send(fd, speaker->text, strlen(speaker->text), MSG_NOSIGNAL);
    if (speaker->context != NULL) {
        sigset_t pipe;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);  // OpenSSL's own sockets raise it
        pthread_sigmask(SIG_BLOCK, &pipe, NULL);
        SSL *ssl = SSL_new(speaker->context);
        SSL_set_fd(ssl, fd);
        (void)SSL_accept(ssl);
        SSL_free(ssl);
    } else {
        while (recv(fd, ignored, sizeof ignored, 0) > 0) continue;
    }
    close(fd);
    return NULL;
}

static shoal_status connect_to_speaker(const char *text, SSL_CTX *context,
                                       double timeout) {
    struct speaker speaker = {.text = text, .context = context};
    struct channel *channel = NULL;
    pthread_t thread;
    assert_ok(net_listen("127.0.0.1", 0, 0, &speaker.listener, &err));
    assert_int_equal(pthread_create(&thread, NULL, speak, &speaker), 0);
    shoal_status status =
        channel_connect(speaker.listener.address, secret, timeout, &channel, &err);
    pthread_join(thread, NULL);
    channel_free(channel);
    listener_close(&speaker.listener);
    return status;
}

static void something_else_listens(void **state) {
    (void)state;
    want_tls(false);
    assert_int_equal(connect_to_speaker("220 mail.example ESMTP\r\n", NULL, LONG),
                     SHOAL_CORRUPT);
    assert_says("is no process of this run");
    assert_int_equal(
        connect_to_speaker("shoal-t\nHTTP/1.1 400 Bad Request\r\n", NULL, LONG),
        SHOAL_CORRUPT);
    assert_says("does not speak TLS");
    assert_int_equal(connect_to_speaker("shoal", NULL, SHORT), SHOAL_LOST);
    assert_says("says nothing in time");
    assert_int_equal(connect_to_speaker("shoal-t\n", NULL, SHORT), SHOAL_LOST);
    assert_says("did not end the TLS handshake in time");
}

// A server with a certificate, and a key of its own instead of the run's.
static SSL_CTX *make_impostor(void) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    (void)X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    (void)X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    (void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                     (const unsigned char *)"shoal", -1, -1, 0);
    (void)X509_set_issuer_name(cert, name);
    (void)X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(context, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    return context;
}

static void a_certificate_proves_nothing(void **state) {
    SSL_CTX *context = make_impostor();
    (void)state;
    want_tls(true);
    assert_int_equal(connect_to_speaker("shoal-t\n", context, LONG), SHOAL_CORRUPT);
    assert_says("certificate verify failed");
    SSL_CTX_free(context);
}

static void nobody_listens(void **state) {
    struct listener listener;
    struct channel *channel = NULL;
    (void)state;
    want_tls(false);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    listener_close(&listener);
    assert_int_equal(channel_connect(listener.address, secret, LONG, &channel, &err),
                     SHOAL_LOST);
    assert_says("cannot connect to 127.0.0.1:");
    assert_int_equal(channel_connect("127.0.0.1", secret, LONG, &channel, &err),
                     SHOAL_USAGE);
}

// ---- peers that are slow

static void silence(void **state) {
    struct listener listener;
    struct channel *channel = NULL;
    struct ends ends;
    char byte;
    (void)state;
    want_tls(false);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));  // and never accepts
    double start = clock_seconds();
    assert_int_equal(channel_connect(listener.address, secret, SHORT, &channel, &err),
                     SHOAL_LOST);
    assert_says("says nothing in time");
    assert_true(clock_seconds() - start >= SHORT);
    listener_close(&listener);
    for (int tls = 0; tls < 2; tls++) {
        meet(&ends, tls);
        channel_set_timeout(ends.near, SHORT);
        assert_int_equal(channel_read(ends.near, &byte, 1, &err), SHOAL_LOST);
        assert_says("was silent for 0.3 s");
        part(&ends);
    }
}

static void a_peer_that_takes_nothing(void **state) {
    uint8_t *data = calloc(1, MIB);
    struct ends ends;
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        shoal_status status = SHOAL_OK;
        meet(&ends, tls);
        channel_set_timeout(ends.near, SHORT);
        for (int i = 0; status == SHOAL_OK && i < 100; i++)
            status = channel_write(ends.near, data, MIB, &err);
        assert_int_equal(status, SHOAL_LOST);
        assert_says("took no data for 0.3 s");
        part(&ends);
    }
    free(data);
}

static void a_slow_handshake(void **state) {
    struct channel *channel = NULL;
    int fds[2], descriptor = -1;
    char byte;
    (void)state;
    want_tls(true);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(channel_accept(fds[0], secret, SHORT, &channel, &err), SHOAL_LOST);
    assert_says("in time");
    close(fds[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    double start = clock_seconds();
    assert_ok(
        channel_accept_descriptor(fds[0], secret, SHORT, &channel, &descriptor, &err));
    assert_true(clock_seconds() - start < SHORT);
    assert_int_equal(channel_why(channel, &err), SHOAL_OK);
    assert_int_equal(recv(descriptor, &byte, 1, 0), 0);
    assert_int_equal(channel_why(channel, &err), SHOAL_LOST);
    assert_says("in time");
    channel_free(channel);
    close(fds[1]);
}

// ---- peers that are gone

static void go_half_way(const char *address, bool described) {
    struct channel *channel = NULL;
    uint8_t *data = calloc(1, MIB);
    int fd = -1;
    if (channel_connect(address, secret, LONG, &channel, &err) != SHOAL_OK) _exit(1);
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

static void killed_between(bool tls) {
    struct listener listener;
    struct channel *channel = NULL;
    uint8_t *data = calloc(1, MIB);
    want_tls(tls);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = fork();
    if (child == 0) go_half_way(listener.address, false);
    assert_ok(channel_accept(next_connection(&listener), secret, LONG, &channel, &err));
    assert_ok(channel_read(channel, data, MIB / 2 - 10, &err));
    assert_ok(channel_write(channel, "x", 1, &err));
    assert_int_equal(channel_read(channel, data, MIB, &err), SHOAL_LOST);
    assert_int_equal(result_of(child), -SIGKILL);
    shoal_status status = SHOAL_OK;  // and no SIGPIPE
    for (int i = 0; status == SHOAL_OK && i < 100; i++)
        status = channel_write(channel, data, MIB, &err);
    assert_int_equal(status, SHOAL_LOST);
    channel_free(channel);
    listener_close(&listener);
    free(data);
}

static size_t receive_all(int fd, uint8_t *data, size_t size) {
    size_t have = 0;
    while (have < size) {
        ssize_t got = recv(fd, data + have, size - have, 0);
        if (got <= 0) break;
        have += (size_t)got;
    }
    return have;
}

static void killed_behind_a_descriptor(bool tls) {
    struct listener listener;
    struct channel *channel = NULL;
    uint8_t *data = calloc(1, MIB);
    int fd = -1;
    want_tls(tls);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = fork();
    if (child == 0) go_half_way(listener.address, true);
    assert_ok(channel_accept_descriptor(next_connection(&listener), secret, LONG,
                                        &channel, &fd, &err));
    assert_int_equal(receive_all(fd, data, MIB / 2), MIB / 2);
    assert_int_equal(channel_why(channel, &err), SHOAL_OK);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(recv(fd, data, MIB, 0) <= 0);
    assert_int_equal(result_of(child), -SIGKILL);
    assert_int_equal(channel_why(channel, &err), SHOAL_LOST);
    ssize_t sent = 0;
    for (int i = 0; sent >= 0 && i < 100; i++) sent = send(fd, data, MIB, MSG_NOSIGNAL);
    assert_int_equal(sent, -1);
    channel_free(channel);
    listener_close(&listener);
    free(data);
}

static void killed_peers(void **state) {
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        killed_between(tls);
        killed_behind_a_descriptor(tls);
    }
}

// ---- descriptors

static void describe(struct ends *ends, int *near, int *far) {
    assert_ok(channel_descriptor(ends->near, near, &err));
    assert_ok(channel_descriptor(ends->far, far, &err));
}

static void *send_much(void *ctx) {
    uint8_t *data = calloc(1, MIB);
    for (int i = 0; i < 8; i++) {
        memset(data, i, MIB);
        if (send(*(int *)ctx, data, MIB, MSG_NOSIGNAL) != MIB) break;
    }
    (void)shutdown(*(int *)ctx, SHUT_WR);
    free(data);
    return NULL;
}

static void receive_much(int fd) {
    uint8_t *data = calloc(1, MIB);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(receive_all(fd, data, MIB), MIB);
        for (int k = 0; k < MIB; k += 1000) assert_int_equal(data[k], i);
    }
    assert_int_equal(recv(fd, data, 1, 0), 0);
    free(data);
}

static void half_closes(void **state) {
    struct ends ends;
    int near, far;
    char text[6];
    pthread_t threads[2];
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        meet(&ends, tls);
        describe(&ends, &near, &far);
        assert_int_equal(send(near, "last", 5, MSG_NOSIGNAL), 5);
        assert_int_equal(shutdown(near, SHUT_WR), 0);
        assert_int_equal(receive_all(far, (uint8_t *)text, 6), 5);
        assert_string_equal(text, "last");
        for (int i = 0; i < 10; i++) {  // the other way still goes
            assert_int_equal(send(far, "still", 6, MSG_NOSIGNAL), 6);
            assert_int_equal(receive_all(near, (uint8_t *)text, 6), 6);
        }
        assert_int_equal(shutdown(far, SHUT_WR), 0);
        assert_int_equal(recv(near, text, 1, 0), 0);
        assert_int_equal(channel_why(ends.near, &err), SHOAL_LOST);
        assert_says("closed the connection");
        part(&ends);
        // Much, both ways at once, and both end it.
        meet(&ends, tls);
        describe(&ends, &near, &far);
        assert_int_equal(pthread_create(&threads[0], NULL, send_much, &near), 0);
        assert_int_equal(pthread_create(&threads[1], NULL, send_much, &far), 0);
        receive_much(near);
        receive_much(far);
        for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
        part(&ends);
    }
}

static void what_was_sent_last_arrives(void **state) {
    uint8_t data[70000] = {0};
    struct ends ends;
    int near, far;
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        meet(&ends, tls);
        describe(&ends, &near, &far);
        assert_int_equal(send(near, data, sizeof data, MSG_NOSIGNAL), sizeof data);
        channel_free(ends.near);
        ends.near = NULL;
        assert_int_equal(receive_all(far, data, sizeof data), sizeof data);
        assert_int_equal(recv(far, data, 1, 0), 0);
        part(&ends);
    }
}

static void a_peer_that_takes_nothing_holds_up_no_end(void **state) {
    static uint8_t data[MIB];
    struct ends ends;
    int near, far;
    (void)state;
    meet(&ends, true);
    assert_ok(channel_descriptor(ends.near, &near, &err));
    far = 0;
    while (far >= 0 && far < 100 * MIB) {
        ssize_t sent = send(near, data, sizeof data, MSG_DONTWAIT | MSG_NOSIGNAL);
        struct pollfd one = {.fd = near, .events = POLLOUT};
        if (sent < 0 && poll(&one, 1, 200) == 0) break;
        if (sent > 0) far += (int)sent;
    }
    double start = clock_seconds();
    part(&ends);  // a second for what is left
    assert_true(clock_seconds() - start < LONG);
    meet(&ends, true);
    assert_ok(channel_descriptor(ends.near, &near, &err));
    channel_shutdown(ends.near);
    assert_true(recv(near, data, 1, 0) <= 0);
    part(&ends);
}

// Who sends to a peer that died, and does not read what came from it before, must not
// wait for ever.
static void killed_unread(bool tls) {
    static uint8_t data[MIB];
    struct listener listener;
    struct channel *channel = NULL;
    int fd = -1;
    want_tls(tls);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = fork();
    if (child == 0) go_half_way(listener.address, true);
    assert_ok(channel_accept_descriptor(next_connection(&listener), secret, LONG,
                                        &channel, &fd, &err));
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(result_of(child), -SIGKILL);
    ssize_t sent = 0;
    for (int i = 0; sent >= 0 && i < 100; i++) sent = send(fd, data, MIB, MSG_NOSIGNAL);
    assert_int_equal(sent, -1);
    channel_free(channel);
    listener_close(&listener);
}

static void killed_before_it_is_read(void **state) {
    (void)state;
    for (int tls = 0; tls < 2; tls++) killed_unread(tls);
}

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// The handshake's timeout is over with it; and an idle connection ends at once.
static void idle_descriptors(void **state) {
    struct ends ends[5];
    struct pollfd none = {.fd = -1};
    struct listener listener;
    struct channel *channel = NULL;
    int near[5], far[5], fd = -1;
    char byte;
    (void)state;
    want_tls(true);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = connect_in_child(listener.address, true);
    assert_ok(channel_accept_descriptor(next_connection(&listener), secret, 1, &channel,
                                        &fd, &err));
    (void)poll(&none, 1, 1500);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(result_of(child), 100);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    channel_free(channel);
    listener_close(&listener);
    for (int i = 0; i < 5; i++) meet(&ends[i], true);
    for (int i = 0; i < 5; i++) describe(&ends[i], &near[i], &far[i]);
    double start = clock_seconds();
    for (int i = 0; i < 5; i++) {
        channel_free(ends[i].near);
        ends[i].near = NULL;
    }
    assert_true(clock_seconds() - start < 4);  // a second each, were they waited for
    // The other ends know that their peers are gone, and wait without work.
    for (int i = 0; i < 5; i++) {
        assert_int_equal(recv(far[i], &byte, 1, 0), 0);
        assert_int_equal(send(far[i], "x", 1, MSG_NOSIGNAL), 1);
    }
    double used = cpu_seconds();
    (void)poll(&none, 1, 500);
    assert_true(cpu_seconds() - used < 0.25);
    for (int i = 0; i < 5; i++) part(&ends[i]);
}

static shoal_status await_frame(struct frame_reader *reader, int fd, size_t *size,
                                enum frame_type *type) {
    bool found = false, closed = false;
    const char *payload;
    struct pollfd one = {.fd = fd, .events = POLLIN};
    shoal_status status = frame_next(reader, &found, type, &payload, size, &err);
    while (status == SHOAL_OK && !found && !closed &&
           poll(&one, 1, (int)(LONG * 1e3)) == 1) {
        status = frame_receive(reader, fd, &closed, &err);
        if (status == SHOAL_OK)
            status = frame_next(reader, &found, type, &payload, size, &err);
    }
    return status == SHOAL_OK && !found ? SHOAL_LOST : status;
}

static void *send_frames(void *ctx) {
    struct frame_writer writer = {.fd = *(int *)ctx, .point = FAULT_DRIVER_SEND};
    char *data = calloc(1, 3 * MIB);
    for (int i = 0; i < 3; i++) (void)frame_send(&writer, FRAME_RUN, data, 3 * MIB, NULL);
    (void)frame_send(&writer, FRAME_BYE, "", 0, NULL);
    frame_writer_free(&writer);
    free(data);
    return NULL;
}

static void frames(void **state) {
    struct ends ends;
    int fds[2];
    pthread_t threads[2];
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        meet(&ends, tls);
        describe(&ends, &fds[0], &fds[1]);
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, send_frames, &fds[i]), 0);
        for (int i = 0; i < 2; i++) {
            struct frame_reader reader = {0};
            enum frame_type type = FRAME_RUN;
            size_t size = 0;
            for (int n = 0; n < 3; n++) {
                assert_ok(await_frame(&reader, fds[1 - i], &size, &type));
                assert_int_equal(size, 3 * MIB);
            }
            assert_ok(await_frame(&reader, fds[1 - i], &size, &type));
            assert_int_equal(type, FRAME_BYE);
            frame_reader_free(&reader);
        }
        for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
        part(&ends);
    }
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

// ---- bytes by chance

// What a process of this run says first, as a connection brings it.
static size_t catch_hello(uint8_t *hello, size_t size) {
    struct listener listener;
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = connect_in_child(listener.address, true);
    int fd = next_connection(&listener);
    assert_int_equal(send(fd, "shoal-t\n", 8, MSG_NOSIGNAL), 8);
    assert_int_equal(receive_all(fd, hello, 5), 5);
    size_t length = 5 + ((size_t)hello[3] << 8) + hello[4];
    assert_true(length <= size);
    assert_int_equal(receive_all(fd, hello + 5, length - 5), length - 5);
    close(fd);
    assert_int_equal(result_of(child), SHOAL_LOST);
    listener_close(&listener);
    return length;
}

static unsigned open_files(void) {
    unsigned count = 0;
    for (int fd = 0; fd < 200; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

// Nothing that is sent to who accepts gets in, or does more harm than an error.
static void accept_bytes(const uint8_t *data, size_t size, bool described) {
    struct channel *channel = NULL;
    shoal_status status;
    int fds[2], descriptor = -1;
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(send(fds[1], data, size, MSG_NOSIGNAL), size);
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    if (described) {
        assert_ok(
            channel_accept_descriptor(fds[0], secret, LONG, &channel, &descriptor, &err));
        assert_int_equal(recv(descriptor, &byte, 1, 0), 0);
        status = channel_why(channel, &err);
    } else {
        status = channel_accept(fds[0], secret, LONG, &channel, &err);
        assert_null(channel);
    }
    assert_true(status == SHOAL_CORRUPT || status == SHOAL_LOST);
    assert_true(err.message[0] != '\0');
    channel_free(channel);
    close(fds[1]);
}

static void bytes_by_chance(void **state) {
    uint8_t hello[2000], data[2000];
    uint64_t random = 12345;
    size_t length = catch_hello(hello, sizeof hello);
    unsigned before = open_files();
    (void)state;
    want_tls(true);
    for (int i = 0; i < 600; i++) {
        size_t size = next_random(&random) % sizeof data;
        fill(data, sizeof data, &random);
        if (i % 3 == 0) memcpy(data, "\x16\x03\x01\x01\x10\x01\x00\x01\x0c\x03\x03", 11);
        if (i % 3 == 1) {  // a real one with a few bits changed, or cut off
            memcpy(data, hello, length);
            for (uint64_t k = next_random(&random) % 4; k > 0; k--)
                data[next_random(&random) % length] ^= 1 << next_random(&random) % 8;
            size = next_random(&random) % 4 == 0 ? size % length : length;
        }
        accept_bytes(data, size, i % 2 == 0);
    }
    assert_int_equal(open_files(), before);
    want_tls(false);
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
        cmocka_unit_test(another_secret),
        cmocka_unit_test(plain_here_tls_there),
        cmocka_unit_test(tls_here_plain_there),
        cmocka_unit_test(a_wrong_setting),
        cmocka_unit_test(something_else_listens),
        cmocka_unit_test(a_certificate_proves_nothing),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(silence),
        cmocka_unit_test(a_peer_that_takes_nothing),
        cmocka_unit_test(a_slow_handshake),
        cmocka_unit_test(killed_peers),
        cmocka_unit_test(half_closes),
        cmocka_unit_test(what_was_sent_last_arrives),
        cmocka_unit_test(a_peer_that_takes_nothing_holds_up_no_end),
        cmocka_unit_test(killed_before_it_is_read),
        cmocka_unit_test(idle_descriptors),
        cmocka_unit_test(frames),
        cmocka_unit_test(shutdown_ends_what_waits),
        cmocka_unit_test(bytes_by_chance)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
