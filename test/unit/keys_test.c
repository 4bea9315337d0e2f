// The place of a key among sorted ones, against comparing it with each.
#include "support/harness.h"

#include <stdlib.h>
#include <string.h>

#include "base/keys.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t bound) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % bound;
}

// Few letters, zeros among them, so that keys are often equal or begin another.
static size_t random_key(uint8_t *data, size_t common, size_t most) {
    static const uint8_t letters[] = {0, 0, 1, 127, 128, 255};
    size_t size = common + random_below(most + 1);
    memset(data, 7, common);
    for (size_t i = common; i < size; i++)
        data[i] = letters[random_below(sizeof letters)];
    return size;
}

static int by_key(const void *a, const void *b) {
    return key_compare(a, b);
}

static void check(size_t count, size_t common, size_t most) {
    struct keys keys = {0};
    struct key_index index;
    uint8_t data[64];
    for (size_t i = 0; i < count; i++) {
        size_t size = random_key(data, common, most);
        assert_true(keys_add(&keys, data, size));
    }
    if (count > 0) qsort(keys.list, keys.count, sizeof *keys.list, by_key);
    assert_true(key_index_make(&index, &keys));
    for (int i = 0; i < 2000; i++) {
        // also keys that begin otherwise, or end before the common part does
        size_t size =
            random_key(data, random_below(4) ? common : random_below(common + 1),
                       random_below(4) ? most : 20);
        struct key key = {data, size};
        size_t expected = 0;
        for (size_t k = 0; k < keys.count; k++)
            expected += key_compare(&keys.list[k], &key) <= 0;
        assert_int_equal(key_index_at_or_below(&index, data, size), expected);
    }
    key_index_free(&index);
    keys_free(&keys);
}

static void finds_the_place(void **state) {
    (void)state;
    static const size_t counts[] = {0, 1, 2, 3, 17, 100};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (size_t common = 0; common < 20; common += 3) {
            for (size_t most = 0; most < 24; most += 5) check(counts[c], common, most);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_the_place)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
