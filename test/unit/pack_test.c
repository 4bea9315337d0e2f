// Packed values come back as they were, in as few bytes as they need.
#include "base/pack.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "support/harness.h"

#define MANY 1000

static uint64_t seed = 7;

static uint64_t draw(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

// Little-endian, sign-extended to the width.
static void put(uint8_t *values, uint32_t width, size_t at, int64_t value) {
    int64_t both[2] = {value, value >> 63};
    memcpy(values + at * width, both, width);
}

// What is written and read back, where valid says; the width it took.
static uint32_t round_trip(const uint8_t *values, uint32_t width, const uint8_t *valid,
                           size_t n) {
    struct packing packing = pack_choose(values, width, valid, n);
    if (packing.width == 0) return width;
    assert_true(packing.width < width);
    uint8_t *packed = malloc(n * packing.width);
    uint8_t *back = malloc(n * width);
    assert_non_null(packed);
    assert_non_null(back);
    pack_write(values, width, valid, n, packing, packed);
    pack_read(packed, packing, width, n, back);
    for (size_t i = 0; i < n; i++) {
        if (valid != NULL && !(valid[i / 8] >> (i % 8) & 1)) continue;
        assert_memory_equal(back + i * width, values + i * width, width);
    }
    free(packed);
    free(back);
    return packing.width;
}

static void every_width_takes_what_its_range_needs(void **state) {
    (void)state;
    static const struct {
        uint32_t width;
        uint64_t range;
        uint32_t expected;
    } cases[] = {
        {1, 1, 1},           {2, 255, 1},         {2, 256, 2},
        {4, 255, 1},         {4, 256, 2},         {4, 65535, 2},
        {4, 65536, 3},       {4, 1u << 24, 4},    {8, 255, 1},
        {8, 65535, 2},       {8, 1u << 23, 3},    {8, UINT32_MAX, 4},
        {8, 1ULL << 32, 5},  {8, 1ULL << 40, 6},  {8, 1ULL << 48, 7},
        {8, 1ULL << 56, 8},  {8, UINT64_MAX, 8},  {8, 0, 1},
        {16, 255, 1},        {16, 65535, 2},      {16, 1u << 17, 3},
        {16, UINT32_MAX, 4}, {16, 1ULL << 32, 5}, {16, 1ULL << 47, 6},
        {16, 1ULL << 55, 7}, {16, UINT64_MAX, 8},
    };
    uint8_t values[MANY * 16] = {0};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint32_t width = cases[c].width;
        uint64_t range = cases[c].range;
        // From the least value of the type, and across zero.
        int64_t lows[] = {width >= 8 ? INT64_MIN : -(1LL << (8 * width - 1)),
                          -(int64_t)(range / 2)};
        for (size_t l = 0; l < 2; l++) {
            for (size_t i = 0; i < MANY; i++) {
                uint64_t above = range == UINT64_MAX ? draw() : draw() % (range + 1);
                if (i < 2) above = i == 0 ? 0 : range;
                put(values, width, i, (int64_t)((uint64_t)lows[l] + above));
            }
            assert_int_equal(round_trip(values, width, NULL, MANY), cases[c].expected);
        }
    }
}

static void what_a_null_holds_does_not_count(void **state) {
    (void)state;
    uint8_t values[MANY * 16], valid[MANY / 8] = {0};
    static const uint32_t widths[] = {2, 4, 8, 16};
    for (size_t w = 0; w < 4; w++) {
        for (size_t i = 0; i < MANY; i++) {
            if (i % 3 == 1) {
                valid[i / 8] |= (uint8_t)(1u << (i % 8));
                put(values, widths[w], i, (int64_t)(i % 100) - 50);
            } else {
                for (uint32_t b = 0; b < widths[w]; b++)
                    values[i * widths[w] + b] = (uint8_t)draw();
            }
        }
        assert_int_equal(round_trip(values, widths[w], valid, MANY), 1);
        assert_int_equal(round_trip(values, widths[w], NULL, MANY), widths[w]);
    }
    memset(valid, 0, sizeof valid);
    assert_int_equal(round_trip(values, 16, valid, MANY), 1);
}

static void wide_values_that_are_no_numbers_of_64_bits_stay(void **state) {
    (void)state;
    uint64_t values[MANY * 2];
    for (size_t i = 0; i < MANY; i++) {
        values[i * 2] = i;
        values[i * 2 + 1] = 0;
    }
    assert_int_equal(round_trip((uint8_t *)values, 16, NULL, MANY), 2);
    values[999] = 1;
    assert_int_equal(round_trip((uint8_t *)values, 16, NULL, MANY), 16);
    values[999] = UINT64_MAX;  // its lower half says positive
    assert_int_equal(round_trip((uint8_t *)values, 16, NULL, MANY), 16);
}

// Whole numbers and quarters as DOUBLE, negative ones too; numbers that are all odd.
static void low_bits_that_are_alike_take_nothing(void **state) {
    (void)state;
    uint8_t values[MANY * 16];
    for (size_t i = 0; i < MANY; i++) {
        double quarters = (double)(draw() % 8000) / 4;
        memcpy(values + i * 8, &quarters, 8);
    }
    assert_in_range(round_trip(values, 8, NULL, MANY), 2, 3);
    for (size_t i = 0; i < MANY; i++) {
        double whole = (double)(draw() % 100) - 50;
        memcpy(values + i * 8, &whole, 8);
    }
    assert_in_range(round_trip(values, 8, NULL, MANY), 2, 3);
    static const uint32_t widths[] = {2, 4, 8, 16};
    for (size_t w = 0; w < 4; w++) {
        for (size_t i = 0; i < MANY; i++)
            put(values, widths[w], i, (int64_t)(draw() % 256 * 128) - 16383);
        assert_int_equal(round_trip(values, widths[w], NULL, MANY), 1);
        put(values, widths[w], MANY - 1, -16384);
        assert_int_equal(round_trip(values, widths[w], NULL, MANY), 2);
    }
    for (size_t i = 0; i < MANY; i++)
        put(values, 8, i, i % 2 == 0 ? INT64_MIN : (int64_t)1 << 62);
    assert_int_equal(round_trip(values, 8, NULL, MANY), 1);
}

static void few_values_stay(void **state) {
    (void)state;
    int64_t values[4] = {1, 2, 3, 4};
    assert_int_equal(pack_choose(values, 8, NULL, 4).width, 0);
    assert_int_equal(pack_choose(values, 8, NULL, 0).width, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_width_takes_what_its_range_needs),
        cmocka_unit_test(what_a_null_holds_does_not_count),
        cmocka_unit_test(wide_values_that_are_no_numbers_of_64_bits_stay),
        cmocka_unit_test(low_bits_that_are_alike_take_nothing),
        cmocka_unit_test(few_values_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
