// When a task counts as hung, and what is done about it, on clocks of the test's own; and
// what a heartbeat may say.
#include "engine/watchdog.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/harness.h"

static struct watchdog dog;
static double worker_time, cpu;
static uint64_t io;

static int set_up(void **state) {
    (void)state;
    dog = (struct watchdog){.options = {.hang_seconds = 120, .grace_seconds = 10}};
    worker_time = 5000;
    cpu = 3;
    io = 1000;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    watchdog_free(&dog);
    return 0;
}

// A second later: the tasks' progress, their process' work meanwhile.
static void beat(double cpu_more, uint64_t io_more, double first, double second) {
    struct heartbeat_task tasks[] = {{1, 0, first}, {2, 3, second}};
    struct heartbeat heartbeat = {.time = worker_time += 1,
                                  .cpu_seconds = cpu += cpu_more,
                                  .io_bytes = io += io_more,
                                  .tasks = tasks,
                                  .count = 2};
    watchdog_hear(&dog, &heartbeat);
}

static void fine(double now) {
    struct watched which;
    assert_int_equal(watchdog_next(&dog, now, &which), WATCHDOG_FINE);
}

static void one_that_stands_still_is_cancelled_then_killed(void **state) {
    (void)state;
    struct watched which;
    struct shoal_error err;
    assert_true(watchdog_start(&dog, 1, 0));
    beat(0, 0, 43, -1);
    for (int second = 1; second < 120; second++) {
        beat(0.005, 0, 43, -1);
        fine(second);
    }
    beat(0.005, 0, 43, -1);
    assert_int_equal(watchdog_next(&dog, 777, &which), WATCHDOG_CANCEL);
    assert_int_equal(which.task, 1);
    fine(777);
    beat(1, 1, 44, -1);  // too late
    fine(786.9);
    assert_int_equal(watchdog_next(&dog, 787, &which), WATCHDOG_KILL);
    assert_int_equal(which.task, 1);
    watchdog_explain(&dog, &which, 6, true, &err);
    assert_int_equal(err.status, SHOAL_TIMEOUT);
    assert_true(err.retriable);
    assert_non_null(strstr(err.message,
                           "task 1 (attempt 0) hung on worker 6: for 120 s "
                           "it stayed at 43%"));
    assert_non_null(strstr(err.message, "did not answer for 10 s"));
    assert_true(watchdog_end(&dog, 1, 0, &which));
    fine(10000);
}

static void an_answer_in_time_ends_it(void **state) {
    (void)state;
    struct watched which;
    struct shoal_error err;
    assert_true(watchdog_start(&dog, 1, 0));
    for (int second = 0; second <= 120; second++) beat(0, 0, -1, -1);
    assert_int_equal(watchdog_next(&dog, 1, &which), WATCHDOG_CANCEL);
    assert_true(watchdog_end(&dog, 1, 0, &which));
    watchdog_explain(&dog, &which, 6, false, &err);
    assert_null(strstr(err.message, "%"));
    assert_null(strstr(err.message, "killed"));
    fine(1000);
    // One that ended by itself was never hung.
    assert_true(watchdog_start(&dog, 1, 0));
    assert_false(watchdog_end(&dog, 1, 0, &which));
    assert_false(watchdog_end(&dog, 1, 0, &which));
}

static void work_of_any_kind_counts(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        watchdog_free(&dog);
        set_up(NULL);
        assert_true(watchdog_start(&dog, 1, 0));
        for (int second = 0; second < 1000; second++) {
            // Every 100 seconds a little of it.
            bool works = second % 100 == 0;
            beat(kind == 0 && works ? 0.011 : 0, kind == 1 && works,
                 kind == 2 ? floor(second / 100.0) : -1, -1);
            fine(second);
        }
    }
}

static void each_task_has_its_own_progress(void **state) {
    (void)state;
    struct watched which;
    assert_true(watchdog_start(&dog, 1, 0));
    assert_true(watchdog_start(&dog, 2, 3));
    for (int second = 0; second <= 120; second++) beat(0, 0, second * 0.5, 7);
    assert_int_equal(watchdog_next(&dog, 0, &which), WATCHDOG_CANCEL);
    assert_int_equal(which.task, 2);
    assert_int_equal(which.attempt, 3);
    fine(0);
}

static void time_before_a_task_does_not_count(void **state) {
    (void)state;
    struct watched which;
    for (int second = 0; second < 500; second++) beat(0, 0, -1, -1);
    // Another attempt than the one that the heartbeats still name.
    assert_true(watchdog_start(&dog, 1, 1));
    for (int second = 0; second < 500; second++) beat(0, 0, -1, -1);
    fine(0);
    assert_false(watchdog_end(&dog, 1, 1, &which));
    assert_true(watchdog_start(&dog, 1, 0));
    for (int second = 0; second < 120; second++) beat(0, 0, -1, -1);
    fine(0);
    beat(0, 0, -1, -1);
    assert_int_equal(watchdog_next(&dog, 0, &which), WATCHDOG_CANCEL);
}

// The driver was busy: a hundred heartbeats come at once. The worker's clock counts.
static void a_driver_that_was_busy_sees_the_same(void **state) {
    (void)state;
    struct watched which;
    assert_true(watchdog_start(&dog, 1, 0));
    for (int second = 0; second <= 100; second++) beat(0, 0, -1, -1);
    fine(50);
    for (int second = 0; second < 20; second++) beat(0, 0, -1, -1);
    assert_int_equal(watchdog_next(&dog, 50, &which), WATCHDOG_CANCEL);
    fine(59);
}

static void never_is_possible(void **state) {
    (void)state;
    dog.options.hang_seconds = 0;
    assert_true(watchdog_start(&dog, 1, 0));
    for (int second = 0; second < 100000; second++) beat(0, 0, -1, -1);
    fine(100000);
}

// ---- heartbeats

static void a_heartbeat_goes_there_and_back(void **state) {
    (void)state;
    struct shoal_error err;
    struct heartbeat_task tasks[] = {{7, 2, 12.5}, {1ull << 60, 0, -1}};
    struct heartbeat in = {12345.25, 6.5, 1ull << 50, tasks, 2}, out;
    char *json = NULL;
    assert_int_equal(heartbeat_encode(&in, &json, &err), SHOAL_OK);
    assert_int_equal(heartbeat_decode(json, strlen(json), &out, &err), SHOAL_OK);
    free(json);
    assert_true(out.time == in.time && out.cpu_seconds == in.cpu_seconds);
    assert_int_equal(out.io_bytes, in.io_bytes);
    assert_int_equal(out.count, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(out.tasks[i].task, tasks[i].task);
        assert_int_equal(out.tasks[i].attempt, tasks[i].attempt);
        assert_true(out.tasks[i].progress == tasks[i].progress);
    }
    heartbeat_free(&out);
}

static void what_is_malformed_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        "[]",
        "{}",
        "{\"time\":1,\"cpu\":1,\"io\":1}",
        "{\"time\":-1,\"cpu\":1,\"io\":1,\"tasks\":[]}",
        "{\"time\":1,\"cpu\":\"1\",\"io\":1,\"tasks\":[]}",
        "{\"time\":1,\"cpu\":1e300,\"io\":1,\"tasks\":[]}",
        "{\"time\":1,\"cpu\":1,\"io\":-1,\"tasks\":[]}",
        "{\"time\":1,\"cpu\":1,\"io\":1.5,\"tasks\":[]}",
        "{\"time\":1,\"cpu\":1,\"io\":1,\"tasks\":[1]}",
        "{\"time\":1,\"cpu\":1,\"io\":1,\"tasks\":[{\"task\":1,\"attempt\":0}]}",
        "{\"time\":1,\"cpu\":1,\"io\":1,\"tasks\":[{\"task\":1,\"attempt\":0,"
        "\"progress\":101}]}",
        "{\"time\":1,\"cpu\":1,\"io\":1,\"tasks\":[{\"task\":1,\"attempt\":4294967296,"
        "\"progress\":1}]}"};
    struct shoal_error err;
    struct heartbeat beat;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(heartbeat_decode(wrong[i], strlen(wrong[i]), &beat, &err),
                         SHOAL_CORRUPT);
    // More tasks than any worker has slots.
    struct heartbeat many = {.count = HEARTBEAT_SLOTS + 1};
    many.tasks = calloc(many.count, sizeof *many.tasks);
    char *json = NULL;
    assert_int_equal(heartbeat_encode(&many, &json, &err), SHOAL_OK);
    assert_int_equal(heartbeat_decode(json, strlen(json), &beat, &err), SHOAL_CORRUPT);
    free(json);
    free(many.tasks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_stands_still_is_cancelled_then_killed,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_in_time_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(work_of_any_kind_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_task_has_its_own_progress, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(time_before_a_task_does_not_count, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_driver_that_was_busy_sees_the_same, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(never_is_possible, set_up, tear_down),
        cmocka_unit_test(a_heartbeat_goes_there_and_back),
        cmocka_unit_test(what_is_malformed_is_refused),
    };
    return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}
