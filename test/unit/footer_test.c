// The reader of Parquet footers: what it says of a real file, and that no damage to one
// makes it read out of bounds (the ASan build sees that).
#include "parquet/footer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "duck/duck.h"
#include "support/harness.h"

static char path[64];
static uint8_t *footer_bytes;
static uint32_t footer_size;

static const char make[] =
    "COPY (SELECT i * 10 AS wide, (i - 3000)::INTEGER AS narrow, i::UINTEGER AS big, "
    "(i % 100)::UTINYINT AS small, (i / 4)::DECIMAL(9, 2) AS money, 'x' || i AS name, "
    "DATE '1970-01-02' + (i // 1000)::INTEGER AS day, {'a': i, 'b': i} AS pair, "
    "[i] AS list, CASE WHEN i >= 5000 THEN i END AS late, TIMESTAMP '2020-01-01' AS at, "
    "i AS last FROM range(6000) r(i)) TO '%s' (ROW_GROUP_SIZE 2048)";

static int write_file(void) {
    struct duck *duck = NULL;
    struct duck_conn *conn = NULL;
    struct shoal_error err;
    struct duck_options options = {.threads = 1};
    char sql[2048];
    (void)snprintf(path, sizeof path, "/tmp/footer_test.%d.parquet", (int)getpid());
    char *place = strstr(make, "%s");
    (void)snprintf(sql, sizeof sql, "%.*s%s%s", (int)(place - make), make, path,
                   place + 2);
    shoal_status status = duck_open(&duck, &options, &err);
    if (status == SHOAL_OK) status = duck_connect(duck, &conn, &err);
    if (status == SHOAL_OK) status = duck_run(conn, sql, &err);
    if (status != SHOAL_OK) print_error("%s\n", err.message);
    duck_disconnect(conn);
    duck_close(duck);
    return status == SHOAL_OK ? 0 : -1;
}

static int set_up(void **state) {
    (void)state;
    if (write_file() != 0) return -1;
    FILE *file = fopen(path, "re");
    if (file == NULL) return -1;
    bool ok = fseek(file, -8, SEEK_END) == 0 &&
              fread(&footer_size, sizeof footer_size, 1, file) == 1 &&
              fseek(file, -8 - (long)footer_size, SEEK_END) == 0;
    footer_bytes = ok ? malloc(footer_size) : NULL;
    ok = ok && footer_bytes != NULL &&
         fread(footer_bytes, 1, footer_size, file) == footer_size;
    fclose(file);
    return ok ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    free(footer_bytes);
    unlink(path);
    return 0;
}

static size_t find(const struct parquet_footer *footer, const char *name) {
    for (size_t c = 0; c < footer->column_count; c++) {
        if (strcmp(footer->columns[c].name, name) == 0) return c;
    }
    return SIZE_MAX;
}

static const struct parquet_range *range(const struct parquet_footer *footer,
                                         size_t group, const char *name) {
    size_t column = find(footer, name);
    assert_true(column != SIZE_MAX);
    return &footer->ranges[group * footer->column_count + column];
}

static void ranges_are_those_of_the_row_groups(void **state) {
    (void)state;
    struct parquet_footer footer;
    struct shoal_error err;
    assert_int_equal(parquet_footer_read(path, &footer, &err), SHOAL_OK);
    assert_int_equal(footer.group_count, 3);
    assert_int_equal(footer.rows[0], 2048);
    assert_int_equal(footer.rows[2], 6000 - 2 * 2048);
    for (size_t g = 0; g < 3; g++) {
        int64_t first = (int64_t)g * 2048;
        int64_t last = g == 2 ? 5999 : first + 2047;
        const struct parquet_range *wide = range(&footer, g, "wide");
        assert_true(wide->known && wide->no_nulls);
        assert_int_equal(wide->min, first * 10);
        assert_int_equal(wide->max, last * 10);
        assert_int_equal(range(&footer, g, "narrow")->min, first - 3000);
        assert_int_equal(range(&footer, g, "narrow")->max, last - 3000);
        assert_int_equal(range(&footer, g, "small")->max, 99);
        assert_int_equal(range(&footer, g, "day")->min, 1 + first / 1000);
        // Behind a column with several leaves, so their number is right.
        assert_int_equal(range(&footer, g, "last")->max, last);
    }
    assert_true(footer.columns[find(&footer, "day")].date);
    assert_false(footer.columns[find(&footer, "wide")].date);
    assert_false(range(&footer, 0, "late")->known);
    assert_true(range(&footer, 2, "late")->known);
    assert_false(range(&footer, 2, "late")->no_nulls);
    assert_int_equal(range(&footer, 2, "late")->min, 5000);
    parquet_footer_free(&footer);
}

static void other_types_are_not_listed(void **state) {
    (void)state;
    static const char *const others[] = {"big", "money", "name", "pair",
                                         "a",   "list",  "at"};
    struct parquet_footer footer;
    struct shoal_error err;
    assert_int_equal(parquet_footer_read(path, &footer, &err), SHOAL_OK);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_true(find(&footer, others[i]) == SIZE_MAX);
    }
    parquet_footer_free(&footer);
}

// A copy of exactly the size, so that ASan sees a byte too many.
static void parse(const uint8_t *data, size_t size) {
    struct parquet_footer footer;
    struct shoal_error err;
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    if (size > 0) memcpy(copy, data, size);
    shoal_status status = parquet_footer_parse(copy, size, &footer, &err);
    assert_true(status == SHOAL_OK || status == SHOAL_UNSUPPORTED);
    assert_true(footer.group_count <= size);
    parquet_footer_free(&footer);
    free(copy);
}

static void damage_is_survived(void **state) {
    (void)state;
    uint8_t *bytes = malloc(footer_size);
    uint64_t random = 88172645463325252u;
    assert_non_null(bytes);
    for (size_t size = 0; size < footer_size; size++) parse(footer_bytes, size);
    for (int round = 0; round < 20000; round++) {
        memcpy(bytes, footer_bytes, footer_size);
        for (int flip = 0; flip <= round % 4; flip++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes[random % footer_size] = (uint8_t)(random >> 40);
        }
        parse(bytes, footer_size);
    }
    free(bytes);
}

static void other_files_are_refused(void **state) {
    (void)state;
    struct parquet_footer footer;
    struct shoal_error err;
    assert_int_equal(parquet_footer_read("/proc/self/exe", &footer, &err),
                     SHOAL_UNSUPPORTED);
    assert_int_equal(parquet_footer_read("/nowhere", &footer, &err), SHOAL_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_those_of_the_row_groups),
        cmocka_unit_test(other_types_are_not_listed),
        cmocka_unit_test(damage_is_survived),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
