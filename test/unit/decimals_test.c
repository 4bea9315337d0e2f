// Sums of DECIMALs in canonical SQL, bound again.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/tree.h"
#include "support/harness.h"

static struct duck *duck;
static struct duck_conn *conn;

static int open_duck(void **state) {
    (void)state;
    struct duck_options options = {.threads = 1};
    struct shoal_error err;
    assert_int_equal(duck_open(&duck, &options, &err), SHOAL_OK);
    assert_int_equal(duck_connect(duck, &conn, &err), SHOAL_OK);
    assert_int_equal(
        duck_run(conn,
                 "CREATE TABLE t AS SELECT i::BIGINT AS x, (i % 10)::TINYINT AS tiny, "
                 "(i % 100)::DECIMAL(5,2) AS y, (i % 7777777)::DECIMAL(9,2) AS z, "
                 "(i % 1000000)::DECIMAL(15,2) AS price, (i / 3)::DECIMAL(18,4) AS wide, "
                 "(i / 3)::DECIMAL(37,3) AS wider, i::DECIMAL(38,2) AS widest "
                 "FROM range(99999999999900, 99999999999999) r(i)",
                 &err),
        SHOAL_OK);
    return 0;
}

static int close_duck(void **state) {
    (void)state;
    duck_disconnect(conn);
    duck_close(duck);
    return 0;
}

static char *canonical(const char *select) {
    struct shoal_error err;
    char *sql = NULL;
    if (duck_canonical(conn, select, &sql, &err) != SHOAL_OK)
        fail_msg("%s: %s", select, err.message);
    return sql;
}

static char *narrowed(const char *select) {
    struct trees trees;
    struct shoal_error err;
    trees_init(&trees, conn, &err);
    json_t *node = tree_parse(&trees, select);
    assert_non_null(node);
    tree_narrow_decimals(node);
    char *sql = tree_deparse(&trees, node, &err);
    assert_non_null(sql);
    trees_reset(&trees);
    return sql;
}

// Of all rows; free() it.
static char *print_of(const char *select) {
    char sql[8192];
    char *print = NULL;
    struct shoal_error err;
    (void)snprintf(sql, sizeof sql,
                   "SELECT (bit_xor(hash(s)) >> 1)::BIGINT FROM (%s) AS s", select);
    if (duck_scalar(conn, sql, &print, &err) != SHOAL_OK)
        fail_msg("%s: %s", sql, err.message);
    return print;
}

// How many sums and differences have another type than the one that is wanted of them.
static size_t count_changed(const char *sql) {
    static const char *const changed[] = {"CAST(CAST(\"system\".main.\"+\"(",
                                          "CAST(CAST(\"system\".main.\"-\"("};
    size_t count = 0;
    for (size_t i = 0; i < 2; i++) {
        for (const char *at = sql; (at = strstr(at, changed[i])) != NULL; at++) count++;
    }
    return count;
}

// What the SELECT's canonical SQL becomes has its rows and, bound again, the types that
// it had.
static void same_again(const char *expression) {
    char select[512];
    (void)snprintf(select, sizeof select, "SELECT %s AS e FROM t", expression);
    char *first = canonical(select);
    char *text = narrowed(first);
    char *again = canonical(text);
    char *rows = print_of(select), *same = print_of(text);
    assert_string_equal(rows, same);
    if (count_changed(again) != count_changed(first))
        fail_msg("%s\n\n%s\n\nis bound as\n\n%s", first, text, again);
    free(rows);
    free(same);
    free(first);
    free(text);
    free(again);
}

static void sums_keep_their_types(void **state) {
    (void)state;
    char *first = canonical("SELECT 1 - price AS e FROM t"), *again = canonical(first);
    assert_true(count_changed(again) > count_changed(first));  // if nothing is done
    free(first);
    free(again);
    static const char *const expressions[] = {
        "price * (1 - y)", "(1 - price) * (1 + y)",
        "1 - price",       "price - 0.25",
        "z + 1",           "1.005 - z",
        "z + tiny",        "y + x",
        "1 - (2.5 + y)",   "z - wide",
        "wide + 1",        "wide - 1.00001",
        "wider + 1",       "widest + 1.5",
        "-(z + 1)",        "z % 3.5",
        "y * 2 + 1",       "0.25 - y",
        "z + NULL",
    };
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++)
        same_again(expressions[i]);
}

// Casts that the statement has itself are of its values, which need all their digits.
static void others_casts_stay(void **state) {
    (void)state;
    same_again("CAST(CAST(x AS DECIMAL(16, 2)) - y AS DECIMAL(16, 2))");
    same_again("CAST(CAST(x AS DECIMAL(17, 2)) - y AS DECIMAL(18, 2))");
    same_again("CAST(CAST(x AS DECIMAL(36, 20)) - y AS DECIMAL(37, 20))");
    same_again("TRY_CAST(CAST(x AS DECIMAL(16, 2)) - y AS DECIMAL(16, 2))");
}

static void nothing_else_changes(void **state) {
    (void)state;
    static const char *const selects[] = {
        "SELECT CAST(a * CAST(2.0 AS DECIMAL(16, 2)) AS DECIMAL(16, 2))",
        "SELECT CAST(a + CAST(2.0 AS DECIMAL(16, 2)) AS DECIMAL(17, 2))",
        "SELECT CAST(a + CAST(2.0 AS DECIMAL(16, 3)) AS DECIMAL(16, 2))",
        "SELECT CAST(a + CAST(2.0 AS DECIMAL(38, 2)) AS DECIMAL(38, 2))",
        "SELECT CAST(a + TRY_CAST(2.0 AS DECIMAL(16, 2)) AS DECIMAL(16, 2))",
        "SELECT CAST(a + CAST(2.0 AS DOUBLE) AS DOUBLE)",
        "SELECT CAST(- CAST(2.0 AS DECIMAL(16, 2)) AS DECIMAL(16, 2))",
        "SELECT a + CAST(2.0 AS DECIMAL(16, 2))",
    };
    for (size_t i = 0; i < sizeof selects / sizeof *selects; i++) {
        struct trees trees;
        struct shoal_error err;
        trees_init(&trees, conn, &err);
        json_t *node = tree_parse(&trees, selects[i]);
        char *before = tree_deparse(&trees, node, &err);
        tree_narrow_decimals(node);
        char *after = tree_deparse(&trees, node, &err);
        assert_string_equal(before, after);
        free(before);
        free(after);
        trees_reset(&trees);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_keep_their_types),
        cmocka_unit_test(others_casts_stay),
        cmocka_unit_test(nothing_else_changes),
    };
    return cmocka_run_group_tests(tests, open_duck, close_duck);
}
