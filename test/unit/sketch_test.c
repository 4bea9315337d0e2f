// Sketches of keys: what is frequent is found within the bound that comes with it,
// nothing else is, whatever the rows' order, and merges of many know as much as one.
#include "base/sketch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/harness.h"

static uint64_t seed = 7;

static uint64_t draw(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

// SplitMix64 (Steele, Lea, Flood 2014).
static uint64_t mix(uint64_t key) {
    key += 0x9e3779b97f4a7c15u;
    key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9u;
    key = (key ^ key >> 27) * 0x94d049bb133111ebu;
    return key ^ key >> 31;
}

// Rows to come, and how many each of the first keys has.
#define CHUNK 2048
#define TOLD 1000
struct rows {
    struct sketcher *sketcher;
    uint64_t keys[CHUNK], hashes[CHUNK];
    size_t waiting;
    uint64_t count;
    uint64_t told[TOLD];
};

static struct rows *rows_new(void) {
    struct rows *rows = calloc(1, sizeof *rows);
    assert_non_null(rows);
    rows->sketcher = sketcher_new(draw());
    assert_non_null(rows->sketcher);
    return rows;
}

static void flush(struct rows *rows) {
    for (size_t i = 0; i < rows->waiting; i++) rows->hashes[i] = mix(rows->keys[i]);
    sketcher_add(rows->sketcher, rows->keys, rows->hashes, rows->waiting);
    rows->waiting = 0;
}

static void add(struct rows *rows, uint64_t key) {
    rows->keys[rows->waiting++] = key;
    rows->count++;
    if (key < TOLD) rows->told[key]++;
    // Chunks of all sizes: most are full, as DuckDB's are.
    if (rows->waiting == CHUNK || draw() % 30000 == 0) flush(rows);
}

static void take(struct rows *rows, struct sketch *sketch) {
    flush(rows);
    sketcher_take(rows->sketcher, sketch);
    assert_int_equal(sketch->rows, rows->count);
}

static void rows_free(struct rows *rows) {
    sketcher_free(rows->sketcher);
    free(rows);
}

static uint64_t apart(uint64_t a, uint64_t b) {
    return a > b ? a - b : b - a;
}

static size_t checked, beyond;

// By chance three of a thousand may be off by more than they say.
static void check_error(uint64_t rows, uint64_t told, uint64_t error) {
    checked++;
    beyond += apart(rows, told) > error;
    if (apart(rows, told) > error + error / 2)
        fail_msg("%llu, not %llu +- %llu", (unsigned long long)told,
                 (unsigned long long)rows, (unsigned long long)error);
}

// Each frequent key is there, and its count is as far off as it says at most; so is what
// it knows of the others. Of many rows, no error is so large that it says nothing. told:
// rows of each key. How many have at least one percent.
static size_t check(const struct sketch *sketch, const uint64_t *told) {
    struct sketch_key keys[SKETCH_COUNTERS];
    uint64_t percent = sketch->rows / 100;
    size_t count = sketch_heavy(sketch, 1, keys), frequent = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0) assert_true(keys[i].rows <= keys[i - 1].rows);
        uint64_t rows = keys[i].key < TOLD ? told[keys[i].key] : 0;
        if (keys[i].key >= TOLD) continue;
        check_error(keys[i].rows, rows, keys[i].error);
        if (rows >= percent && sketch->rows >= 1000000)
            assert_true(keys[i].error <= rows / 5 + sketch->missed + rows / 20);
    }
    for (uint64_t key = 0; key < TOLD; key++) {
        bool found = false;
        for (size_t i = 0; i < count; i++) found = found || keys[i].key == key;
        frequent += told[key] > 0 && told[key] >= percent;
        if (!found) check_error(0, told[key], sketch_unseen(sketch));
        if (sketch->rows >= 100000 && told[key] > 0 && told[key] >= percent)
            assert_true(found);
    }
    assert_true(sketch->missed <= sketch->rows / 100 + 3);
    return frequent;
}

static void there_and_back(struct sketch *sketch) {
    struct shoal_error err;
    struct sketch back;
    json_t *json = sketch_to_json(sketch);
    assert_non_null(json);
    char *text = json_dumps(json, JSON_COMPACT);
    assert_true(strlen(text) < 12000);
    free(text);
    shoal_status status = sketch_from_json(json, &back, &err);
    if (status != SHOAL_OK) fail_msg("%s", err.message);
    json_decref(json);
    *sketch = back;
}

// Zipf: the key of rank r has a share of r^-s; drawn by bisection in the sums.
#define ZIPF_KEYS 100000
static double zipf_sums[ZIPF_KEYS];

static void make_zipf(double exponent) {
    double sum = 0;
    for (size_t k = 0; k < ZIPF_KEYS; k++)
        zipf_sums[k] = sum += pow((double)k + 1, -exponent);
}

static uint64_t draw_zipf(void) {
    double at = (double)(draw() >> 11) * 0x1p-53 * zipf_sums[ZIPF_KEYS - 1];
    size_t low = 0, high = ZIPF_KEYS - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (zipf_sums[middle] < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// Half of the rows, if that is wanted, have key 0, keys 1 and 2 have somewhat more than
// one of a hundred each, the others hardly any.
static uint64_t draw_hot(bool half) {
    uint64_t drawn = draw() >> 8;
    if (half && drawn % 2 == 0) return 0;
    drawn = drawn / 2 % (half ? 40 : 80);
    if (drawn < 2) return 1 + drawn;
    return TOLD + draw() % 1000000;
}

static void check_rows(uint64_t count, int kind) {
    struct rows *rows = rows_new();
    struct sketch sketch;
    for (uint64_t i = 0; i < count; i++)
        add(rows, kind < 2 ? draw_zipf() : draw_hot(kind == 2));
    take(rows, &sketch);
    for (int wire = 0; wire < 2; wire++) {
        size_t found = check(&sketch, rows->told);
        if (kind >= 2 && count >= 100000) assert_int_equal(found, kind == 2 ? 3 : 2);
        assert_true(found > 0 && found < 40);
        there_and_back(&sketch);
    }
    rows_free(rows);
}

static void frequent_keys_are_found(void **state) {
    (void)state;
    static const uint64_t counts[] = {1000, 4096, 4097, 10000, 150000, 3000000};
    for (int kind = 0; kind < 4; kind++) {
        if (kind < 2) make_zipf(kind == 0 ? 1.2 : 1.5);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            check_rows(counts[i], kind);
    }
}

static void few_rows_are_counted_exactly(void **state) {
    (void)state;
    struct rows *rows = rows_new();
    struct sketch sketch;
    struct sketch_key keys[SKETCH_COUNTERS];
    for (uint64_t i = 0; i < 4000; i++) add(rows, i % 100 < 30 ? 5 : i % 50);
    take(rows, &sketch);
    assert_int_equal(sketch_heavy(&sketch, 1, keys), 50);
    assert_int_equal(sketch_distinct(&sketch), 50);
    assert_int_equal(sketch_unseen(&sketch), 0);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(keys[i].rows, rows->told[keys[i].key]);
        assert_int_equal(keys[i].error, 0);
    }
    // Taking it changed nothing.
    for (uint64_t i = 0; i < 50; i++) add(rows, i);
    take(rows, &sketch);
    assert_int_equal(sketch_heavy(&sketch, 1, keys), 50);
    assert_int_equal(keys[0].key, 5);
    assert_int_equal(keys[0].rows, rows->told[5]);
    rows_free(rows);
}

// Rows that come in periods, sorted, or with the frequent key in one run.
static void no_order_fools_it(void **state) {
    (void)state;
    struct sketch_key keys[SKETCH_COUNTERS];
    struct sketch sketch;
    for (uint64_t period = 2; period <= 64; period *= 2) {
        struct rows *rows = rows_new();
        for (uint64_t i = 0; i < 1000000; i++) add(rows, i % period);
        take(rows, &sketch);
        assert_int_equal(check(&sketch, rows->told), period);
        rows_free(rows);
    }
    struct rows *rows = rows_new();
    for (uint64_t i = 0; i < 2000000; i++)
        add(rows, i / 100 == 77 ? 3 : i < 1500000 ? TOLD + i : i < 1530000 ? 4 : i);
    take(rows, &sketch);
    assert_int_equal(check(&sketch, rows->told), 1);
    assert_int_equal(sketch_heavy(&sketch, 20000, keys), 1);
    assert_int_equal(keys[0].key, 4);
    rows_free(rows);
}

static void uniform_rows_have_no_frequent_key(void **state) {
    (void)state;
    static const uint64_t keys[] = {1000, 20000, UINT64_MAX};
    for (size_t k = 0; k < 3; k++) {
        for (uint64_t count = 1000; count <= 1000000; count *= 10) {
            struct sketch_key heavy[SKETCH_COUNTERS];
            struct sketch sketch;
            struct rows *rows = rows_new();
            for (uint64_t i = 0; i < count; i++) add(rows, draw() % keys[k]);
            take(rows, &sketch);
            check(&sketch, rows->told);
            assert_int_equal(sketch_heavy(&sketch, count / 100, heavy), 0);
            there_and_back(&sketch);
            // Nearly none is sent.
            if (sketch.count > 32)
                fail_msg("%u of %llu rows are sent", sketch.count,
                         (unsigned long long)count);
            rows_free(rows);
        }
    }
}

static void many_merge_into_one(void **state) {
    (void)state;
    for (int wire = 0; wire < 2; wire++) {
        static uint64_t told[TOLD];
        struct sketch all, sketch;
        struct sketch_key keys[SKETCH_COUNTERS];
        sketch_clear(&all);
        memset(told, 0, sizeof told);
        for (int file = 0; file < 100; file++) {
            // A file of few rows, of many, and one where a key is that others have not.
            uint64_t count = file % 3 == 0 ? 3000 : 40000;
            struct rows *rows = rows_new();
            for (uint64_t i = 0; i < count; i++)
                add(rows, i % 4 == 0 ? 10 + (uint64_t)file : draw_hot(false));
            take(rows, &sketch);
            if (wire) there_and_back(&sketch);
            sketch_merge(&all, &sketch);
            for (size_t k = 0; k < TOLD; k++) told[k] += rows->told[k];
            rows_free(rows);
        }
        check(&all, told);
        size_t count = sketch_heavy(&all, all.rows / 200, keys);
        assert_int_equal(count, 2);
        assert_true(keys[0].key + keys[1].key == 3);
        double distinct = sketch_distinct(&all);
        assert_true(distinct > 0.85 * 890000 && distinct < 1.15 * 890000);
    }
}

// A key that loses its counter and gets it again, in files that are counted exactly: what
// it may have had meanwhile is in its error, without which the bound would not hold.
static void a_key_that_comes_and_goes_stays_within_its_error(void **state) {
    (void)state;
    struct sketch all, sketch;
    struct sketch_key keys[SKETCH_COUNTERS];
    uint64_t told = 0;
    sketch_clear(&all);
    for (uint64_t file = 0; file < 60; file++) {
        struct rows *rows = rows_new();
        // Ten rows in each, but for one file; more keys than there are counters, of each
        // file its own, have 13.
        uint64_t others = file == 30 ? 1000 : 290 * 13;
        for (uint64_t i = 0; i < others; i++) add(rows, TOLD + file * 300 + i % 290);
        for (uint64_t i = 0; i < (file == 30 ? 3000 : 10); i++) add(rows, 7);
        take(rows, &sketch);
        assert_int_equal(sketch.every, 1);
        sketch_merge(&all, &sketch);
        told += rows->told[7];
        size_t count = sketch_heavy(&all, 1, keys), at = 0;
        while (at < count && keys[at].key != 7) at++;
        if (at == count) {
            assert_true(told <= sketch_unseen(&all));
        } else {
            assert_true(keys[at].rows <= told && told <= keys[at].rows + keys[at].error);
        }
        rows_free(rows);
    }
}

// A merge is of the rows of both, whichever is merged into which, and into nothing too.
static void merges_are_alike(void **state) {
    (void)state;
    struct sketch a, b, ab, ba;
    struct rows *rows = rows_new();
    for (uint64_t i = 0; i < 3000; i++) add(rows, i % 300);
    take(rows, &a);
    rows_free(rows);
    rows = rows_new();
    for (uint64_t i = 0; i < 100000; i++) add(rows, i % 350);
    take(rows, &b);
    rows_free(rows);
    sketch_clear(&ab);
    sketch_merge(&ab, &a);
    assert_memory_equal(ab.counters, a.counters, a.count * sizeof *a.counters);
    sketch_merge(&ab, &b);
    ba = b;
    sketch_merge(&ba, &a);
    assert_int_equal(ab.rows, 103000);
    assert_int_equal(ab.missed, ba.missed);
    assert_int_equal(ab.count, ba.count);
    assert_int_equal(sketch_distinct(&ab), 350);
    assert_int_equal(sketch_distinct(&ba), 350);
}

static void check_distinct(uint64_t keys, uint64_t rows_most) {
    struct sketch sketch;
    struct rows *rows = rows_new();
    for (uint64_t i = 0; i < keys; i++) add(rows, TOLD + i * 977);
    for (uint64_t i = keys; i < rows_most; i++) add(rows, TOLD + draw() % keys * 977);
    take(rows, &sketch);
    for (int wire = 0; wire < 2; wire++) {
        double off = sketch_distinct(&sketch) / (double)keys - 1;
        if (fabs(off) > 0.15)
            fail_msg("%llu keys, %.0f", (unsigned long long)keys,
                     sketch_distinct(&sketch));
        if (keys <= 256) assert_true(sketch_distinct(&sketch) == (double)keys);
        there_and_back(&sketch);
    }
    rows_free(rows);
}

static void distinct_keys_are_about_right(void **state) {
    (void)state;
    for (uint64_t keys = 10; keys <= 10000000; keys *= 10) {
        check_distinct(keys, 0);
        check_distinct(keys, 400000);
        if (keys < 10000000) check_distinct(keys * 3, 0);
    }
    check_distinct(256, 0);
    check_distinct(257, 0);
    check_distinct(513, 1000000);
}

// New keys after a long time without any, when few rows are looked at.
static void late_keys_are_seen(void **state) {
    (void)state;
    struct sketch sketch;
    struct rows *rows = rows_new();
    for (uint64_t i = 0; i < 1000000; i++) add(rows, i % 10);
    for (uint64_t i = 0; i < 5000; i++) add(rows, TOLD + i);
    take(rows, &sketch);
    double distinct = sketch_distinct(&sketch);
    assert_true(distinct > 0.85 * 5010 && distinct < 1.15 * 5010);
    rows_free(rows);
}

// A task of a second level has the rows of one partition, whose hashes begin alike.
static void hashes_of_one_partition_are_as_good(void **state) {
    (void)state;
    struct sketcher *sketcher = sketcher_new(1);
    struct sketch sketch;
    static uint64_t keys[CHUNK], hashes[CHUNK];
    for (uint64_t i = 0; i < 200 * CHUNK; i++) {
        keys[i % CHUNK] = i;
        hashes[i % CHUNK] = mix(i) >> 10 | 77ull << 54;
        if (i % CHUNK == CHUNK - 1) sketcher_add(sketcher, keys, hashes, CHUNK);
    }
    sketcher_take(sketcher, &sketch);
    sketcher_free(sketcher);
    assert_true(fabs(sketch_distinct(&sketch) / (200 * CHUNK) - 1) < 0.15);
}

static void refused(const char *text) {
    struct sketch sketch;
    struct shoal_error err;
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    if (sketch_from_json(json, &sketch, &err) != SHOAL_CORRUPT)
        fail_msg("%s was taken", text);
    json_decref(json);
}

#define COUNTERS "\"counters\":\"BwAAAAAAAAAFAAAAAAAAAAAAAAAAAAAA\""  // 7: 5, exact
#define HASHES "\"hashes\":\"//////////8JAAAAAAAAAA==\""              // no limit; 9

static void errors_are_as_likely_as_they_say(void **state) {
    (void)state;
    static uint64_t far;
    for (int n = 0; n < 400; n++) {
        struct rows *rows = rows_new();
        struct sketch sketch;
        struct sketch_key keys[SKETCH_COUNTERS];
        for (uint64_t i = 0; i < 200000; i++) add(rows, i % 25);
        take(rows, &sketch);
        check(&sketch, rows->told);
        assert_int_equal(sketch_heavy(&sketch, 1, keys), 25);
        // Two thirds are within one deviation, a third of the bound.
        for (int k = 0; k < 25; k++) far += apart(keys[k].rows, 8000) > keys[k].error / 3;
        rows_free(rows);
    }
    if (far > 400 * 25 * 4 / 10 || far < 400 * 25 / 10)
        fail_msg("%llu of 10000", (unsigned long long)far);
    if (beyond * 100 > checked) fail_msg("%zu of %zu are too far off", beyond, checked);
}

static void a_peer_cannot_send_what_is_no_sketch(void **state) {
    (void)state;
    struct sketch sketch;
    struct shoal_error err;
    json_t *json = json_loads(
        "{\"rows\":9,\"missed\":1,\"every\":1," COUNTERS "," HASHES "}", 0, NULL);
    assert_int_equal(sketch_from_json(json, &sketch, &err), SHOAL_OK);
    json_decref(json);
    assert_int_equal(sketch.counters[0].key, 7);
    assert_int_equal(sketch.counters[0].count, 5);
    assert_int_equal(sketch.hashes[0], 9);
    assert_int_equal(sketch_from_json(NULL, &sketch, &err), SHOAL_CORRUPT);
    refused("7");
    refused("{}");
    refused("{\"rows\":9,\"missed\":1,\"every\":1," COUNTERS "}");
    refused("{\"rows\":9,\"missed\":1,\"every\":1," HASHES "}");
    refused("{\"rows\":-9,\"missed\":1,\"every\":1," COUNTERS "," HASHES "}");
    refused("{\"rows\":0,\"missed\":0,\"every\":1," COUNTERS "," HASHES "}");
    refused("{\"rows\":9,\"missed\":99,\"every\":1," COUNTERS "," HASHES "}");
    refused("{\"rows\":9,\"missed\":1,\"every\":0," COUNTERS "," HASHES "}");
    refused("{\"rows\":9,\"missed\":1,\"every\":33," COUNTERS "," HASHES "}");
    refused("{\"rows\":9000000000000000,\"missed\":1,\"every\":1," COUNTERS "," HASHES
            "}");
#define REFUSED_COUNTERS(text) \
    refused("{\"rows\":9,\"missed\":1,\"every\":1,\"counters\":\"" text "\"," HASHES "}")
    REFUSED_COUNTERS("BwAA");
    REFUSED_COUNTERS("BwAAAAAAAAAFAAAAAAAAAAAAAAA=");      // half a number
    REFUSED_COUNTERS("BwAAAAAAAAAFAAAAAAAAAA==");          // two of three
    REFUSED_COUNTERS("BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");  // no rows
    REFUSED_COUNTERS("BwAAAAAAAAD/AAAAAAAAAAAAAAAAAAAA");  // more than there are
    REFUSED_COUNTERS("BwAAAAAAAAAFAAAAAAAAAP////////8A");  // nor as an error
    REFUSED_COUNTERS("BwAAAAAAAAAFAAAAAAAAAAAAAAAAAAAABwAAAAAAAAAFAAAAAAAAAAAAAAAAAAAA");
#define REFUSED_HASHES(text)                                                       \
    refused("{\"rows\":9,\"missed\":1,\"every\":1," COUNTERS ",\"hashes\":\"" text \
            "\""                                                                   \
            "}")
    REFUSED_HASHES("");
    REFUSED_HASHES("!!!!");
    REFUSED_HASHES("AAAAAAAAAAA=");                      // nothing is up to 0
    REFUSED_HASHES("CAAAAAAAAAAJAAAAAAAAAA==");          // above the limit
    REFUSED_HASHES("//////////8AAAAAAAAAAA==");          // 0
    REFUSED_HASHES("//////////8JAAAAAAAAAAkAAAAAAAAA");  // twice
    // Too many.
    static char many[6000];
    size_t size = (size_t)snprintf(many, sizeof many,
                                   "{\"rows\":9,\"missed\":1,\"every\":1," COUNTERS
                                   ",\"hashes\":\"");
    memset(many + size, 'A', 258 * 32 / 3);
    memcpy(many + size + 258 * 32 / 3, "\"}", 3);
    refused(many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequent_keys_are_found),
        cmocka_unit_test(few_rows_are_counted_exactly),
        cmocka_unit_test(no_order_fools_it),
        cmocka_unit_test(uniform_rows_have_no_frequent_key),
        cmocka_unit_test(many_merge_into_one),
        cmocka_unit_test(a_key_that_comes_and_goes_stays_within_its_error),
        cmocka_unit_test(merges_are_alike),
        cmocka_unit_test(distinct_keys_are_about_right),
        cmocka_unit_test(late_keys_are_seen),
        cmocka_unit_test(hashes_of_one_partition_are_as_good),
        cmocka_unit_test(errors_are_as_likely_as_they_say),
        cmocka_unit_test(a_peer_cannot_send_what_is_no_sketch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
