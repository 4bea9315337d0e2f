// Frames over a socket pair: what is sent comes, in order, and a frame that was lost,
// repeated, overtaken or cut is noticed at the latest with the next one.
#include "base/frame.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/harness.h"

static int sockets[2];
static struct frame_writer writer;
static struct frame_reader reader;

static int fault_now;
static int fault_once(enum fault_point point, const char *path) {
    (void)path;
    int fault = point == FAULT_WORKER_SEND ? fault_now : FAULT_NONE;
    fault_now = FAULT_NONE;
    return fault;
}

static int connect_both(void **state) {
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    writer = (struct frame_writer){.fd = sockets[0], .point = FAULT_WORKER_SEND};
    fault_hook = fault_once;
    return 0;
}

static int close_both(void **state) {
    (void)state;
    frame_writer_free(&writer);
    frame_reader_free(&reader);
    close(sockets[0]);
    close(sockets[1]);
    fault_hook = NULL;
    return 0;
}

static shoal_status send_text(const char *text, int fault) {
    struct shoal_error err;
    fault_now = fault;
    return frame_send(&writer, FRAME_DONE, text, strlen(text), &err);
}

// The payloads that come, each with a comma behind it, and how that ends.
static const char *received(shoal_status *status, bool *closed, struct shoal_error *err) {
    static char all[200];
    size_t size = 0;
    bool found = true;
    all[0] = '\0';
    *status = frame_receive(&reader, sockets[1], closed, err);
    while (*status == SHOAL_OK && found) {
        enum frame_type type;
        const char *payload = NULL;
        size_t bytes = 0;
        *status = frame_next(&reader, &found, &type, &payload, &bytes, err);
        if (*status != SHOAL_OK || !found) break;
        assert_int_equal(type, FRAME_DONE);
        int wrote = snprintf(all + size, sizeof all - size, "%.*s,", (int)bytes, payload);
        size += (size_t)wrote;
    }
    return all;
}

static void expect(const char *payloads, shoal_status expected, const char *part) {
    shoal_status status;
    bool closed = false;
    struct shoal_error err;
    assert_string_equal(received(&status, &closed, &err), payloads);
    assert_int_equal(status, expected);
    if (part != NULL && strstr(err.message, part) == NULL) fail_msg("%s", err.message);
}

static void all_come_in_order(void **state) {
    (void)state;
    send_text("one", 0);
    send_text("", 0);
    send_text("three", 0);
    expect("one,,three,", SHOAL_OK, NULL);
    send_text("four", 0);
    expect("four,", SHOAL_OK, NULL);
}

static void one_that_is_lost(void **state) {
    (void)state;
    send_text("one", 0);
    assert_int_equal(send_text("two", FAULT_DROP), SHOAL_OK);
    expect("one,", SHOAL_OK, NULL);
    send_text("three", 0);
    expect("", SHOAL_CORRUPT, "frame 2 came where frame 1 was due");
}

static void one_that_is_repeated(void **state) {
    (void)state;
    assert_int_equal(send_text("one", FAULT_DUPLICATE), SHOAL_OK);
    expect("one,", SHOAL_CORRUPT, "frame 0 came where frame 1 was due");
}

static void one_that_is_overtaken(void **state) {
    (void)state;
    assert_int_equal(send_text("one", FAULT_REORDER), SHOAL_OK);
    send_text("two", 0);
    expect("", SHOAL_CORRUPT, "frame 1 came where frame 0 was due");
}

static void one_that_is_cut(void **state) {
    shoal_status status;
    bool closed = false;
    struct shoal_error err;
    (void)state;
    send_text("one", 0);
    assert_int_equal(send_text("a longer one", FAULT_SHORT), SHOAL_LOST);
    assert_string_equal(received(&status, &closed, &err), "one,");
    if (!closed) received(&status, &closed, &err);
    assert_true(closed);
}

static void a_length_past_the_limit(void **state) {
    (void)state;
    static const uint8_t header[9] = {255, 255, 255, 255, 0, 0, 0, 0, FRAME_DONE};
    assert_int_equal(write(sockets[0], header, sizeof header), sizeof header);
    expect("", SHOAL_CORRUPT, "a message of 4294967295 bytes");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_come_in_order, connect_both, close_both),
        cmocka_unit_test_setup_teardown(one_that_is_lost, connect_both, close_both),
        cmocka_unit_test_setup_teardown(one_that_is_repeated, connect_both, close_both),
        cmocka_unit_test_setup_teardown(one_that_is_overtaken, connect_both, close_both),
        cmocka_unit_test_setup_teardown(one_that_is_cut, connect_both, close_both),
        cmocka_unit_test_setup_teardown(a_length_past_the_limit, connect_both,
                                        close_both)};
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
