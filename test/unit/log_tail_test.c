// The end of a worker's log: bounded in lines and bytes, and cut from the front.
#include "engine/log_tail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/harness.h"

static void add_text(struct log_tail *tail, const char *text) {
    log_tail_add(tail, text, strlen(text));
}

static void the_last_lines_stay(void **state) {
    (void)state;
    struct log_tail tail = {0};
    char line[32], first[32];
    for (int i = 0; i < 200; i++) {
        // In pieces, as a pipe brings them.
        (void)snprintf(line, sizeof line, "line %d", i);
        add_text(&tail, line);
        add_text(&tail, "\n");
        int begins = i < 50 ? 0 : i - 49;
        (void)snprintf(first, sizeof first, "line %d\n", begins);
        assert_memory_equal(tail.bytes, first, strlen(first));
    }
    assert_string_equal(tail.bytes + tail.size - 9, "line 199\n");
    // A line that is not at its end counts too.
    add_text(&tail, "more");
    assert_memory_equal(tail.bytes, "line 151\n", 9);
}

static void bytes_are_bounded(void **state) {
    (void)state;
    struct log_tail tail = {0};
    char *large = malloc(20000);
    assert_non_null(large);
    for (int i = 0; i < 20000; i++) large[i] = (char)('a' + i % 26);
    log_tail_add(&tail, large, 20000);
    assert_int_equal(tail.size, LOG_TAIL_BYTES);
    assert_int_equal(tail.bytes[LOG_TAIL_BYTES - 1], large[19999]);
    log_tail_add(&tail, "\0x", 2);
    assert_int_equal(strlen(tail.bytes), LOG_TAIL_BYTES);
    assert_string_equal(tail.bytes + LOG_TAIL_BYTES - 2, "?x");
    free(large);
}

static void a_message_has_the_end_of_it(void **state) {
    (void)state;
    struct log_tail tail = {0};
    struct shoal_error err;
    shoal_fail(&err, SHOAL_LOST, "it was lost");
    log_tail_attach(&tail, &err);
    assert_string_equal(err.message, "it was lost");
    add_text(&tail, "one\ntwo\n\n");
    log_tail_attach(&tail, &err);
    assert_string_equal(err.message, "it was lost\nThe end of its log:\none\ntwo");
    // More than fits: the front goes, and no half of a character stays.
    tail = (struct log_tail){0};
    for (int i = 0; i < 3000; i++) add_text(&tail, "\xc3\xa4");
    add_text(&tail, " the end");
    for (int length = 0; length < 2; length++) {
        shoal_fail(&err, SHOAL_LOST, "%s", length ? "odd" : "even");
        log_tail_attach(&tail, &err);
        size_t size = strlen(err.message);
        assert_in_range(size, sizeof err.message - 3, sizeof err.message - 1);
        assert_string_equal(err.message + size - 8, " the end");
        const char *begin = strstr(err.message, "log:\n") + 5;
        assert_int_equal((unsigned char)*begin, 0xc3);
    }
    // No room at all.
    shoal_fail(&err, SHOAL_LOST, "%3990s", "full");
    log_tail_attach(&tail, &err);
    assert_int_equal(strlen(err.message), 3990);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_lines_stay),
        cmocka_unit_test(bytes_are_bounded),
        cmocka_unit_test(a_message_has_the_end_of_it),
    };
    return cmocka_run_group_tests_name("log_tail", tests, NULL, NULL);
}
