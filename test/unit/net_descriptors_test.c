// Channels behind descriptors, plain and relayed by TLS.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/frame.h"
#include "support/ends.h"

static struct shoal_error err;

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
    assert_ok(channel_accept_descriptor(next_connection(&listener), ends_secret, LONG,
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
    assert_ok(channel_accept_descriptor(next_connection(&listener), ends_secret, 1,
                                        &channel, &fd, &err));
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_closes),
        cmocka_unit_test(what_was_sent_last_arrives),
        cmocka_unit_test(a_peer_that_takes_nothing_holds_up_no_end),
        cmocka_unit_test(killed_before_it_is_read),
        cmocka_unit_test(idle_descriptors),
        cmocka_unit_test(frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
