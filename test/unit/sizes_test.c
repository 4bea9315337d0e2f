// Sizes in log scale: how far off they are, what is exact, and what a peer may send.
#include "base/sizes.h"

#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "support/harness.h"

static uint64_t seed = 5;

static uint64_t draw(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void check_value(uint64_t value) {
    uint64_t back = sizes_value(sizes_code(value));
    uint64_t off = back > value ? back - value : value - back;
    if (off * 16 > value) {
        fail_msg("%llu comes back as %llu", (unsigned long long)value,
                 (unsigned long long)back);
    }
}

static void a_value_is_at_most_a_sixteenth_off(void **state) {
    (void)state;
    for (uint64_t value = 0; value < 16; value++)
        assert_int_equal(sizes_value(sizes_code(value)), value);
    for (uint64_t value = 0; value < 1000000; value++) {
        check_value(value);
        assert_true(sizes_code(value) <= sizes_code(value + 1));
    }
    for (int i = 0; i < 1000000; i++) check_value(draw() >> (30 + draw() % 30));
    assert_int_equal(sizes_code(UINT64_MAX), 255);
    assert_int_equal(sizes_code(sizes_value(255)), 255);
}

static void same(const struct sizes *sizes, const uint64_t *values, uint32_t count) {
    uint64_t total = 0;
    uint64_t *sums = calloc(count, sizeof *sums);
    assert_non_null(sums);
    assert_int_equal(sizes->count, count);
    sizes_add_to(sizes, sums);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t expected = sizes_value(sizes_code(values[i]));
        total += values[i];
        assert_int_equal(sizes_get(sizes, i), expected);
        assert_int_equal(sums[i], expected);
        assert_int_equal(sizes_any(sizes, i, i), values[i] > 0);
    }
    assert_int_equal(sizes->total, total);
    for (int n = 0; n < 200; n++) {
        uint32_t first = (uint32_t)(draw() % count), last = first;
        last += (uint32_t)(draw() % (count - first));
        bool any = false;
        for (uint32_t i = first; i <= last; i++) any = any || values[i] > 0;
        assert_int_equal(sizes_any(sizes, first, last), any);
    }
    free(sums);
}

// One in `rarity` is more than zero.
static void round_trip(uint32_t count, uint32_t rarity) {
    uint64_t *values = calloc(count, sizeof *values);
    struct sizes sizes, back;
    struct shoal_error err;
    assert_non_null(values);
    for (uint32_t i = 0; i < count; i++)
        if (draw() % rarity == 0) values[i] = draw() >> (20 + draw() % 40);
    assert_true(sizes_make(&sizes, values, count));
    same(&sizes, values, count);
    json_t *json = sizes_to_json(&sizes);
    assert_int_equal(sizes_from_json(json, count, &back, &err), SHOAL_OK);
    same(&back, values, count);
    json_decref(json);
    sizes_free(&sizes);
    sizes_free(&back);
    free(values);
}

static void many_and_few_come_back(void **state) {
    (void)state;
    const uint32_t counts[] = {1, 2, 3, 7, 64, 1000, 20000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        round_trip(counts[i], 1);
        round_trip(counts[i], 3);
        round_trip(counts[i], 100);
        round_trip(counts[i], UINT32_MAX);  // nothing at all
    }
}

static void few_take_little(void **state) {
    (void)state;
    static uint64_t values[20000];
    struct sizes sizes;
    assert_true(sizes_make(&sizes, values, 20000));
    assert_int_equal(sizes.kept, 0);
    sizes_free(&sizes);
    values[19999] = 1;
    assert_true(sizes_make(&sizes, values, 20000));
    assert_int_equal(sizes.kept, 1);
    assert_int_equal(sizes_get(&sizes, 19999), 1);
    sizes_free(&sizes);
}

static void refused(const char *text, uint32_t count) {
    struct sizes sizes;
    struct shoal_error err;
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    if (sizes_from_json(json, count, &sizes, &err) != SHOAL_CORRUPT)
        fail_msg("%s was taken", text);
    json_decref(json);
}

static void a_peer_cannot_send_what_is_not_sizes(void **state) {
    (void)state;
    struct sizes sizes;
    struct shoal_error err;
    assert_int_equal(sizes_from_json(NULL, 3, &sizes, &err), SHOAL_CORRUPT);
    refused("7", 3);
    refused("{}", 3);
    refused("{\"total\": 1}", 3);
    refused("{\"total\": 1, \"codes\": 1}", 3);
    refused("{\"total\": -1, \"codes\": \"AQEB\"}", 3);
    refused("{\"total\": 3, \"codes\": \"AQE\"}", 3);  // no base64
    refused("{\"total\": 3, \"codes\": \"AQ!B\"}", 3);
    refused("{\"total\": 3, \"codes\": \"A=EB\"}", 3);
    refused("{\"total\": 3, \"codes\": \"AQE=\"}", 3);      // two
    refused("{\"total\": 3, \"codes\": \"AQEBAQEB\"}", 3);  // six
    refused("{\"total\": 0, \"codes\": \"AQEB\"}", 3);
    refused("{\"total\": 3, \"codes\": \"AAAA\"}", 3);
    refused("{\"total\": 1, \"codes\": \"AQ==\", \"at\": \"AAAA\"}", 3);      // too short
    refused("{\"total\": 1, \"codes\": \"AQ==\", \"at\": \"AwAAAA==\"}", 3);  // at 3
    refused("{\"total\": 1, \"codes\": \"AA==\", \"at\": \"AAAAAA==\"}", 3);  // a zero
    refused("{\"total\": 2, \"codes\": \"AQE=\", \"at\": \"AQAAAAEAAAA=\"}", 3);
    json_t *json = json_loads(
        "{\"total\": 2, \"codes\": \"AQE=\", \"at\": \"AQAAAAIAAAA=\"}", 0, NULL);
    assert_int_equal(sizes_from_json(json, 3, &sizes, &err), SHOAL_OK);
    assert_int_equal(sizes_get(&sizes, 0), 0);
    assert_int_equal(sizes_get(&sizes, 2), 1);
    sizes_free(&sizes);
    json_decref(json);
}

static void base64_is_the_known_one(void **state) {
    (void)state;
    const char *const known[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                 "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t n = 0; n <= 6; n++) {
        uint8_t back[8];
        size_t length = 0;
        char *text = base64_encode((const uint8_t *)"foobar", n, &length);
        assert_string_equal(text, known[n]);
        assert_int_equal(length, strlen(text));
        assert_int_equal(base64_decode(text, length, back), n);
        assert_memory_equal(back, "foobar", n);
        free(text);
    }
    uint8_t back[8];
    assert_true(base64_decode("Zm9", 3, back) == SIZE_MAX);
    assert_true(base64_decode("====", 4, back) == SIZE_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_at_most_a_sixteenth_off),
        cmocka_unit_test(many_and_few_come_back),
        cmocka_unit_test(few_take_little),
        cmocka_unit_test(a_peer_cannot_send_what_is_not_sizes),
        cmocka_unit_test(base64_is_the_known_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
