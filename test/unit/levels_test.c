// When an exchange takes two levels, and how many pieces are read then.
#include <stdlib.h>

#include "query/session.h"
#include "support/harness.h"

#define GB 1000000000u

static void large_segments_are_left_alone(void **state) {
    (void)state;
    assert_int_equal(levels_choose(1000, 1000, GB, MERGE_SEGMENTS).groups, 0);
    assert_int_equal(levels_choose(1000, 1001, GB, MERGE_SEGMENTS).groups, 32);
    // A terabyte in two million segments: 500 kB each.
    assert_int_equal(levels_choose(2000, 1000, 1000ull * GB, MERGE_SEGMENTS).groups, 0);
    assert_int_equal(levels_choose(1, 1, 0, 0).groups, 1);
}

// 20,000 x 20,000 and 10 TB: 25 kB each.
static void few_pieces_are_left(void **state) {
    (void)state;
    uint64_t files = 20000, partitions = 20000;
    struct levels levels =
        levels_choose(files, (uint32_t)partitions, 10000ull * GB, MERGE_SEGMENTS);
    assert_int_equal(levels.groups, 142);
    assert_int_equal(levels.slices, 142);
    uint64_t pieces = files * levels.groups + levels.slices * partitions;
    assert_true(pieces * 70 < files * partitions);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_segments_are_left_alone),
        cmocka_unit_test(few_pieces_are_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
