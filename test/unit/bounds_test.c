// Bounds of a RANGE exchange: parts are in order and even, whatever the keys are.
#include "base/bounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/harness.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t bound) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % bound;
}

// Rows of keys 0, 1, ...: a key of so many in a thousand each. Small keys have one byte,
// others begin with it.
struct keys_of {
    struct keys keys;
    uint64_t rows[2000];
};

static void make_keys(struct keys_of *of, size_t count) {
    *of = (struct keys_of){0};
    for (size_t k = 0; k < count; k++) {
        uint8_t data[] = {(uint8_t)(k / 100), (uint8_t)(k % 100)};
        assert_true(keys_add(&of->keys, data, k % 100 == 0 ? 1 : 2));
        of->rows[k] = 1;
    }
}

static void cut(const struct keys_of *of, uint32_t parts, struct bounds *bounds) {
    struct weighted_key samples[4000];
    size_t count = 0;
    for (size_t k = 0; k < of->keys.count; k++) {
        // In two files' samples.
        samples[count++] = (struct weighted_key){&of->keys.list[k], (double)of->rows[k]};
        samples[count++] =
            (struct weighted_key){&of->keys.list[k], (double)of->rows[k] / 2};
    }
    assert_true(bounds_cut(samples, count, parts, SPREAD_SHARE, bounds));
    assert_true(bounds->keys.count < parts);
}

// Places every row with each of so many writers and checks that parts are in order. The
// largest part, against an even one, comes back.
static double place(const struct keys_of *of, const struct bounds *bounds, uint32_t parts,
                    size_t writers) {
    uint64_t *rows = calloc(parts, sizeof *rows), most = 0, total = 0;
    struct placer placers[8];
    uint32_t highest = 0;
    assert_true(writers <= 8 && rows != NULL);
    for (size_t w = 0; w < writers; w++)
        assert_true(placer_make(&placers[w], bounds, random_state + w * 1000));
    for (size_t k = 0; k < of->keys.count; k++) {
        uint32_t before = highest;
        for (uint64_t r = 0; r < of->rows[k]; r++) {
            struct placer *placer = &placers[random_below(writers)];
            uint32_t part =
                placer_part(placer, of->keys.list[k].data, of->keys.list[k].size);
            assert_true(part >= before && part < parts);
            if (part > highest) highest = part;
            rows[part]++;
        }
        total += of->rows[k];
    }
    for (uint32_t p = 0; p < parts; p++) most = rows[p] > most ? rows[p] : most;
    for (size_t w = 0; w < writers; w++) placer_free(&placers[w]);
    free(rows);
    return (double)most * parts / (double)total;
}

static double uneven(const struct keys_of *of, uint32_t parts, size_t writers) {
    struct bounds bounds;
    cut(of, parts, &bounds);
    double most = place(of, &bounds, parts, writers);
    bounds_free(&bounds);
    return most;
}

static void a_heavy_key_fills_many_parts(void **state) {
    (void)state;
    static const uint32_t parts[] = {1, 2, 3, 7, 8, 64, 200};
    static const uint64_t shares[] = {1, 5, 40, 50, 90, 99};
    struct keys_of of;
    make_keys(&of, 1500);
    for (size_t s = 0; s < sizeof shares / sizeof *shares; s++) {
        for (size_t at = 0; at < 1500;
             at += 499) {  // the first, between, nearly the last
            for (size_t k = 0; k < 1500; k++) of.rows[k] = 20;
            of.rows[at] = 20 * 1499 * shares[s] / (100 - shares[s]);
            for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
                double most = uneven(&of, parts[p], 1 + p % 4);
                if (most > 1.25)
                    fail_msg("%llu%% in key %zu, %u parts: %.2f",
                             (unsigned long long)shares[s], at, parts[p], most);
            }
        }
    }
    keys_free(&of.keys);
}

static void random_weights(void **state) {
    (void)state;
    for (int i = 0; i < 300; i++) {
        struct keys_of of;
        uint64_t total = 0, light = 0;
        make_keys(&of, 1 + random_below(300));
        for (size_t k = 0; k < of.keys.count; k++) {
            of.rows[k] = random_below(8) ? random_below(40) : random_below(3000);
            total += of.rows[k];
        }
        uint32_t parts = (uint32_t)(1 + random_below(40));
        for (size_t k = 0; k < of.keys.count; k++) {
            // A key below a tenth of a part goes to one.
            if ((double)of.rows[k] * parts < 0.1 * (double)total && of.rows[k] > light)
                light = of.rows[k];
        }
        if (total > 2000) {
            double most = uneven(&of, parts, 3);
            double allowed =
                1.1 + ((double)light * 2 + 12) * parts / (double)total;  // 3 writers
            if (most > allowed) fail_msg("%d: %.2f, not %.2f", i, most, allowed);
        }
        keys_free(&of.keys);
    }
}

static void all_rows_equal(void **state) {
    (void)state;
    struct keys_of of;
    make_keys(&of, 1);
    of.rows[0] = 100000;
    for (uint32_t parts = 1; parts < 130; parts += 16)
        assert_true(uneven(&of, parts, 4) < 1.05);
    of.rows[0] = 0;
    struct bounds bounds;
    assert_true(bounds_cut(NULL, 0, 7, SPREAD_SHARE, &bounds));
    assert_int_equal(bounds.keys.count, 0);
    keys_free(&of.keys);
}

// What is no key that repeats costs nothing: rows are placed by their bounds alone.
static void light_keys_are_not_spread(void **state) {
    (void)state;
    struct keys_of of;
    struct bounds bounds;
    struct placer placer;
    make_keys(&of, 1500);
    cut(&of, 7, &bounds);
    assert_int_equal(bounds.keys.count, 6);
    assert_true(placer_make(&placer, &bounds, 1));
    assert_null(placer.places);
    for (uint32_t b = 0; b < 6; b++) {
        const struct key *key = &bounds.keys.list[b];
        assert_int_equal(placer_part(&placer, key->data, key->size), b + 1);
    }
    placer_free(&placer);
    bounds_free(&bounds);
    keys_free(&of.keys);
}

// A key that begins as a heavy bound does, and goes on, is larger.
static void a_longer_key_is_above(void **state) {
    (void)state;
    struct key key = {(uint8_t *)"ab", 2};
    struct weighted_key sample = {&key, 100};
    struct bounds bounds;
    struct placer placer;
    assert_true(bounds_cut(&sample, 1, 5, SPREAD_SHARE, &bounds));
    assert_true(placer_make(&placer, &bounds, 7));
    bool seen[5] = {false};
    for (int i = 0; i < 100; i++) {
        assert_int_equal(placer_part(&placer, (const uint8_t *)"abc", 3), 4);
        assert_int_equal(placer_part(&placer, (const uint8_t *)"aa", 2), 0);
        seen[placer_part(&placer, key.data, key.size)] = true;
    }
    for (int p = 0; p < 5; p++) assert_true(seen[p]);
    placer_free(&placer);
    bounds_free(&bounds);
}

// With skew off all rows of a key meet.
static void nothing_is_spread_if_not_asked(void **state) {
    (void)state;
    struct key keys[] = {{(uint8_t *)"a", 1}, {(uint8_t *)"b", 1}};
    struct weighted_key samples[] = {{&keys[0], 10}, {&keys[1], 90}};
    struct bounds bounds;
    struct placer placer;
    assert_true(bounds_cut(samples, 2, 5, 1e9, &bounds));
    assert_int_equal(bounds.keys.count, 1);
    assert_true(placer_make(&placer, &bounds, 7));
    assert_null(placer.places);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(placer_part(&placer, keys[0].data, 1), 0);
        assert_int_equal(placer_part(&placer, keys[1].data, 1), 4);
    }
    placer_free(&placer);
    bounds_free(&bounds);
}

static void they_come_back_from_json(void **state) {
    (void)state;
    struct shoal_error err;
    struct keys_of of;
    struct bounds bounds, copy, back = {0};
    make_keys(&of, 300);
    of.rows[70] = 1000;
    cut(&of, 9, &bounds);
    assert_true(bounds_copy(&copy, &bounds));
    json_t *json = bounds_to_json(&copy);
    assert_int_equal(bounds_from_json(json, 9, &back, &err), SHOAL_OK);
    assert_int_equal(back.keys.count, bounds.keys.count);
    for (size_t b = 0; b < back.keys.count; b++) {
        assert_int_equal(key_compare(&back.keys.list[b], &bounds.keys.list[b]), 0);
        assert_memory_equal(&back.spans[b].from, &bounds.spans[b].from, sizeof(double));
        assert_memory_equal(&back.spans[b].to, &bounds.spans[b].to, sizeof(double));
        assert_int_equal(back.spans[b].above, bounds.spans[b].above);
    }
    bounds_free(&back);
    assert_int_equal(bounds_from_json(json, 8, &back, &err), SHOAL_CORRUPT);
    bounds_free(&back);
    json_decref(json);
    bounds_free(&copy);
    bounds_free(&bounds);
    keys_free(&of.keys);
}

static void what_are_no_bounds_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "7",
        "[]",
        "{\"keys\": []}",
        "{\"keys\": [\"00\"], \"spans\": []}",
        "{\"keys\": [\"00\"], \"spans\": [[0, 0, 0]]}",    // above no cut
        "{\"keys\": [\"00\"], \"spans\": [[0, 0, 4]]}",    // of more parts
        "{\"keys\": [\"00\"], \"spans\": [[-1, 0, 1]]}",   // before the first
        "{\"keys\": [\"00\"], \"spans\": [[1, 0.5, 1]]}",  // ends before it begins
        "{\"keys\": [\"00\"], \"spans\": [[0, 1e300, 1]]}",
        "{\"keys\": [\"00\"], \"spans\": [7]}",
        "{\"keys\": [\"00\", \"01\"], \"spans\": [[0, 1, 1], [0.5, 2, 2]]}",  // overlap
        "{\"keys\": [\"01\", \"00\"], \"spans\": [[0, 1, 1], [1, 2, 2]]}",
        "{\"keys\": [\"00\", \"00\"], \"spans\": [[0, 1, 1], [1, 2, 2]]}"};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        struct shoal_error err;
        struct bounds bounds = {0};
        json_t *json = json_loads(texts[t], JSON_DECODE_ANY, NULL);
        assert_non_null(json);
        if (bounds_from_json(json, 4, &bounds, &err) != SHOAL_CORRUPT)
            fail_msg("%s was taken", texts[t]);
        bounds_free(&bounds);
        json_decref(json);
    }
}

static size_t first_byte(const void *context, const struct key *key) {
    (void)context;
    return key->size > 0 ? 1 : 0;
}

static size_t no_group(const void *context, const struct key *key) {
    (void)context;
    (void)key;
    return 0;
}

// Groups are what keys begin with; some have more than a part's share, also the first and
// the last, with 255, and two that are neighbours.
static void heavy_groups_have_parts_of_their_own(void **state) {
    (void)state;
    static const struct {
        uint8_t group;
        size_t keys;
    } groups[] = {{0, 400}, {3, 10}, {4, 900}, {5, 300}, {9, 5}, {30, 60}, {255, 350}};
    struct keys keys = {0};
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        for (size_t k = 0; k < groups[g].keys; k++) {
            uint8_t data[] = {groups[g].group, (uint8_t)(k / 256), (uint8_t)k};
            assert_true(keys_add(&keys, data, sizeof data));
        }
    }
    struct weighted_key *samples = calloc(keys.count, sizeof *samples);
    for (size_t i = 0; i < keys.count; i++)
        samples[i] = (struct weighted_key){&keys.list[(i * 7) % keys.count], 3};
    for (uint32_t parts = 1; parts < 40; parts++) {
        struct bounds bounds;
        struct placer placer;
        uint64_t rows[60] = {0};
        uint8_t first[60], last[60];
        uint32_t before = 0;
        assert_true(
            bounds_cut_groups(samples, keys.count, parts, first_byte, NULL, &bounds));
        assert_true(bounds.keys.count < parts + 8);
        assert_true(placer_make(&placer, &bounds, 1));
        for (size_t k = 0; k < keys.count; k++) {
            uint32_t part = placer_part(&placer, keys.list[k].data, keys.list[k].size);
            assert_true(part == before || part == before + 1);
            if (rows[part]++ == 0) first[part] = keys.list[k].data[0];
            last[part] = keys.list[k].data[0];
            before = part;
        }
        double share = (double)keys.count / parts;
        for (uint32_t p = 0; p <= before; p++)
            assert_true((double)rows[p] <= 1.6 * share);
        for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
            if (parts == 1 || (double)groups[g].keys < share) continue;
            for (uint32_t p = 0; p <= before; p++) {
                bool has = first[p] <= groups[g].group && last[p] >= groups[g].group;
                if (has && first[p] != last[p])
                    fail_msg("%u parts: one has group %u and others", parts,
                             groups[g].group);
            }
        }
        placer_free(&placer);
        bounds_free(&bounds);
        assert_true(
            bounds_cut_groups(samples, keys.count, parts, no_group, NULL, &bounds));
        assert_int_equal(bounds.keys.count, parts - 1);
        bounds_free(&bounds);
    }
    free(samples);
    keys_free(&keys);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_heavy_key_fills_many_parts),
        cmocka_unit_test(heavy_groups_have_parts_of_their_own),
        cmocka_unit_test(random_weights),
        cmocka_unit_test(all_rows_equal),
        cmocka_unit_test(light_keys_are_not_spread),
        cmocka_unit_test(a_longer_key_is_above),
        cmocka_unit_test(nothing_is_spread_if_not_asked),
        cmocka_unit_test(they_come_back_from_json),
        cmocka_unit_test(what_are_no_bounds_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
