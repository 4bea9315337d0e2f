// Into how many tasks a scan is cut: slots have them in whole rounds.
#include "query/session.h"
#include "support/harness.h"

// Of a scan of one file, of which a hash exchange alone reads the rows.
static uint64_t tasks_of(uint64_t rows, uint32_t workers, uint32_t threads, bool wide) {
    struct scan_file file = {.rows = rows};
    struct stage_leaf leaf = {.kind = LEAF_SCAN, .files = &file, .file_count = 1};
    struct stage stage = {
        .leaves = &leaf, .leaf_count = 1, .wide = wide, .scatter = BLOCK_HASH};
    struct session_options options = {
        .workers = workers, .threads = threads, .split_rows = 1000};
    return session_scan_tasks(&options, &stage);
}

static void tasks_come_in_whole_rounds(void **state) {
    (void)state;
    // TPC-H's lineitem at scale 10: fifteen of four million rows would be enough.
    assert_int_equal(tasks_of(59986052, 2, 1, true), 16);
    assert_int_equal(tasks_of(59986052, 7, 1, true), 21);
    for (uint64_t rows = 5000000; rows < 500000000; rows = rows * 7 / 5) {
        for (uint32_t workers = 1; workers < 12; workers++) {
            assert_int_equal(tasks_of(rows, workers, 1, true) % workers, 0);
            assert_int_equal(tasks_of(rows, workers, 2, true) % workers, 0);
            assert_int_equal(tasks_of(rows, workers, 2, false) % (workers * 2), 0);
        }
    }
}

static void few_rows_are_few_tasks(void **state) {
    (void)state;
    assert_int_equal(tasks_of(0, 2, 1, true), 1);
    assert_int_equal(tasks_of(999, 2, 1, true), 1);
    assert_int_equal(tasks_of(2500, 8, 1, true), 3);  // of --split-rows at least
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_come_in_whole_rounds),
        cmocka_unit_test(few_rows_are_few_tasks),
    };
    return cmocka_run_group_tests_name("splits", tests, NULL, NULL);
}
