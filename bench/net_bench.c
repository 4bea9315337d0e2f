// Channels alone, over loopback: one process sends to another. GB a second, and GB for
// each second of a core that either end takes, beside memcpy of as many bytes.
//
//     net_bench [GIB]   what each case moves, 4
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/proof.h"
#include "net/channel.h"
#include "net/listener.h"

#define PIECE (1 << 20)
#define TIMEOUT 60.0

static uint8_t secret[PROOF_SECRET];
static uint8_t data[PIECE];
static struct shoal_error err;

static void check(shoal_status status) {
    if (status == SHOAL_OK) return;
    fprintf(stderr, "net_bench: %s\n", err.message);
    exit(1);
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void wait_for(int fd) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    (void)select(fd + 1, &set, NULL, NULL, NULL);
}

// Of a descriptor, as frames go.
static void receive_all(int fd, uint64_t bytes) {
    while (bytes > 0) {
        ssize_t got = recv(fd, data, sizeof data, 0);
        if (got <= 0) exit(1);
        bytes -= (uint64_t)got < bytes ? (uint64_t)got : bytes;
    }
}

static void send_all(int fd, uint64_t bytes) {
    while (bytes > 0) {
        size_t most = bytes < sizeof data ? bytes : sizeof data;
        ssize_t sent = send(fd, data, most, MSG_NOSIGNAL);
        if (sent <= 0) exit(1);
        bytes -= (uint64_t)sent;
    }
}

static void receiver(const char *address, bool relayed, uint64_t bytes) {
    struct channel *channel = NULL;
    char done = 1;
    check(channel_connect(address, secret, TIMEOUT, &channel, &err));
    if (relayed) {
        int fd = -1;
        check(channel_descriptor(channel, &fd, &err));
        receive_all(fd, bytes);
        send_all(fd, 1);
    } else {
        for (uint64_t left = bytes; left > 0; left -= PIECE)
            check(channel_read(channel, data, PIECE, &err));
        check(channel_write(channel, &done, 1, &err));
    }
    channel_free(channel);
}

static void sender(int accepted, bool relayed, uint64_t bytes) {
    struct channel *channel = NULL;
    char done = 0;
    check(channel_accept(accepted, secret, TIMEOUT, &channel, &err));
    if (relayed) {
        int fd = -1;
        check(channel_descriptor(channel, &fd, &err));
        send_all(fd, bytes);
        receive_all(fd, 1);
    } else {
        for (uint64_t left = bytes; left > 0; left -= PIECE)
            check(channel_write(channel, data, PIECE, &err));
        check(channel_read(channel, &done, 1, &err));
    }
    channel_free(channel);
}

static void run_case(const char *name, bool tls, bool relayed, uint64_t bytes) {
    struct listener listener;
    struct rusage other;
    int fd = -1;
    if (tls) {
        (void)setenv("SHOAL_TLS", "always", 1);
    } else {
        (void)unsetenv("SHOAL_TLS");
    }
    check(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = fork();
    if (child == 0) {
        receiver(listener.address, relayed, bytes);
        _exit(0);
    }
    wait_for(listener.fd);
    check(net_accept(&listener, &fd, &err));
    double wall = seconds(CLOCK_MONOTONIC), own = seconds(CLOCK_PROCESS_CPUTIME_ID);
    sender(fd, relayed, bytes);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    own = seconds(CLOCK_PROCESS_CPUTIME_ID) - own;
    (void)wait4(child, NULL, 0, &other);
    double theirs = (double)(other.ru_utime.tv_sec + other.ru_stime.tv_sec) +
                    (double)(other.ru_utime.tv_usec + other.ru_stime.tv_usec) * 1e-6;
    double gb = (double)bytes * 1e-9;
    printf("%-14s %6.2f GB/s   sender %6.2f, receiver %6.2f GB a core second\n", name,
           gb / wall, gb / own, gb / theirs);
    listener_close(&listener);
}

static void copy_case(uint64_t bytes) {
    static uint8_t other[PIECE];
    double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t left = bytes; left > 0; left -= PIECE) {
        memcpy(other, data, PIECE);
        data[left % PIECE] ^= other[(left / 3) % PIECE];
    }
    printf("%-14s %6.2f GB a core second\n", "memcpy",
           (double)bytes * 1e-9 / (seconds(CLOCK_PROCESS_CPUTIME_ID) - start));
}

int main(int count, char **arguments) {
    double gib = count > 1 ? strtod(arguments[1], NULL) : 4;
    uint64_t bytes = (uint64_t)(gib * 1024) << 20;
    if (bytes == 0) {
        fprintf(stderr, "usage: net_bench [GIB]\n");
        return 2;
    }
    check(proof_make_secret(secret, &err));
    memset(data, 'x', sizeof data);
    copy_case(bytes);
    run_case("plain", false, false, bytes);
    run_case("TLS", true, false, bytes);
    run_case("TLS, relayed", true, true, bytes);
    return 0;
}
