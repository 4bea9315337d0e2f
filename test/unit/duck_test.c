// DuckDB's door: results as text, errors by kind, statements, syntax trees.
#include "duck/duck.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/harness.h"

static struct duck *duck;
static struct duck_conn *conn;

static int set_up(void **state) {
    (void)state;
    struct shoal_error err;
    struct duck_options options = {.threads = 2};
    if (duck_open(&duck, &options, &err) != SHOAL_OK) return -1;
    return duck_connect(duck, &conn, &err) == SHOAL_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    duck_disconnect(conn);
    duck_close(duck);
    return 0;
}

static struct duck_result *query(const char *sql) {
    struct shoal_error err;
    struct duck_result *result = NULL;
    if (duck_query(conn, sql, &result, &err) != SHOAL_OK) fail_msg("%s", err.message);
    return result;
}

static void cells_are_duckdbs_own_text(void **state) {
    (void)state;
    static const struct {
        const char *sql, *type, *text;
    } cases[] = {
        {"SELECT 12.50::DECIMAL(5,2)", "DECIMAL(5,2)", "12.50"},
        {"SELECT -170141183460469231731687303715884105728", "HUGEINT",
         "-170141183460469231731687303715884105728"},
        {"SELECT [1, NULL]", "INTEGER[]", "[1, NULL]"},
        {"SELECT {'a': 1, 'b': [DATE '2024-02-29']}", "STRUCT(a INTEGER, b DATE[])",
         "{'a': 1, 'b': [2024-02-29]}"},
        {"SELECT MAP {'k': 0.5}", "MAP(VARCHAR, DECIMAL(2,1))", "{k=0.5}"},
        {"SELECT '\\xAB'::BLOB", "BLOB", "\\xAB"},
        {"SELECT INTERVAL '1 month 2 days'", "INTERVAL", "1 month 2 days"},
        {"SELECT 'nan'::DOUBLE", "DOUBLE", "nan"},
        {"SELECT ''", "VARCHAR", ""},
        {"SELECT NULL::VARCHAR", "VARCHAR", NULL},
        {"-- a comment\n(VALUES (7))", "INTEGER", "7"},
        {"FROM (SELECT true)", "BOOLEAN", "true"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct duck_result *result = query(cases[i].sql);
        assert_int_equal(duck_result_rows(result), 1);
        assert_string_equal(duck_result_type(result, 0), cases[i].type);
        const char *text = duck_result_text(result, 0, 0);
        if (cases[i].text == NULL) {
            assert_null(text);
        } else {
            assert_string_equal(text, cases[i].text);
        }
        duck_result_free(result);
    }
}

static void order_and_names_survive(void **state) {
    (void)state;
    struct duck_result *result = query(
        "SELECT i AS a, i AS a, 'x' AS \"b \"\"c\" FROM range(5000) r(i) "
        "ORDER BY i DESC");
    assert_int_equal(duck_result_columns(result), 3);
    assert_int_equal(duck_result_rows(result), 5000);
    assert_string_equal(duck_result_name(result, 2), "b \"c");
    assert_string_equal(duck_result_text(result, 0, 0), "4999");
    assert_string_equal(duck_result_text(result, 1, 4999), "0");
    duck_result_free(result);
}

static void errors_keep_their_kind(void **state) {
    (void)state;
    struct shoal_error err;
    assert_int_equal(duck_run(conn, "SELEC 1", &err), SHOAL_USER);
    assert_non_null(strstr(err.message, "SELEC"));
    assert_false(err.retriable);
    assert_int_equal(duck_run(conn, "SELECT 'x'::INTEGER", &err), SHOAL_USER);
    assert_non_null(strstr(err.message, "'x'"));
    struct duck_result *result = NULL;
    assert_int_equal(duck_query(conn, "SELECT * FROM nowhere", &result, &err),
                     SHOAL_USER);
    assert_null(result);
    assert_non_null(strstr(err.message, "nowhere"));
}

// Too little memory and too little space are told apart: what helps is not the same.
static void memory_and_disk_are_told_apart(void **state) {
    (void)state;
    // A list can't be spilled, sorted rows can.
    static const char *const statements[] = {
        "SELECT len(list(repeat(hash(i)::VARCHAR, 4))) FROM range(3000000) r(i)",
        "CREATE TABLE sorted AS SELECT hash(i) AS h, repeat(h::VARCHAR, 4) AS s "
        "FROM range(3000000) r(i) ORDER BY h"};
    char folder[] = "/tmp/duck_test_XXXXXX";
    struct shoal_error err;
    assert_non_null(mkdtemp(folder));
    for (int spills = 0; spills < 2; spills++) {
        struct duck *small = NULL;
        struct duck_conn *one = NULL;
        struct duck_options options = {.threads = 1,
                                       .memory_bytes = 40 << 20,
                                       .temp_dir = folder,
                                       .temp_bytes = 1 << 20};
        assert_int_equal(duck_open(&small, &options, &err), SHOAL_OK);
        assert_int_equal(duck_connect(small, &one, &err), SHOAL_OK);
        assert_int_equal(duck_run(one, statements[spills], &err),
                         spills ? SHOAL_DISK_FULL : SHOAL_NOMEM);
        assert_non_null(strstr(err.message, spills ? "--temp-limit" : "--memory"));
        assert_int_equal(err.retriable, spills);
        duck_disconnect(one);
        duck_close(small);
    }
    rmdir(folder);
}

static void *interrupt_soon(void *done) {
    while (!__atomic_load_n((bool *)done, __ATOMIC_ACQUIRE)) {
        usleep(20000);
        duck_interrupt(conn);
    }
    return NULL;
}

static void an_interrupt_is_a_cancel(void **state) {
    (void)state;
    bool done = false;
    pthread_t thread;
    struct shoal_error err;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, &done), 0);
    shoal_status status = duck_run(
        conn,
        "SELECT sum(hash(a.range + b.range)) FROM range(1000000) a, range(1000000) b",
        &err);
    __atomic_store_n(&done, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    assert_int_equal(status, SHOAL_CANCELLED);
    assert_int_equal(duck_run(conn, "SELECT 1", &err), SHOAL_OK);
}

static void scalars(void **state) {
    (void)state;
    struct shoal_error err;
    char *value = NULL;
    assert_int_equal(duck_scalar(conn, "SELECT 40 + 2", &value, &err), SHOAL_OK);
    assert_string_equal(value, "42");
    free(value);
    assert_int_equal(duck_scalar(conn, "SELECT 1 WHERE false", &value, &err), SHOAL_OK);
    assert_null(value);
}

// Against DuckDB's own windows, over groups that begin with NULLs, and many chunks.
static void running_functions_are_windows(void **state) {
    (void)state;
    static const char *const sums[][2] = {
        {"sum", "nullif(v % 13, v % 3) - 5"},
        {"sum", "9223372036854775807 - v"},
        {"sum", "(v % 256)::UTINYINT"},
        {"sum", "(v + 18446744073709000000)::UBIGINT"},
        {"sum", "(v % 8 - 3)::DOUBLE / 4"},
        {"sum", "v::FLOAT"},
        {"sum", "(v % 9)::USMALLINT"},
        {"sum", "v::UINTEGER"},
        {"sum", "(v % 100)::TINYINT"},
        {"sum", "v::SMALLINT"},
        {"sum", "NULL::INTEGER"},
        {"decimal_sum_0", "(v - 5000)::DECIMAL(18, 0)"},
        {"decimal_sum_3", "(v / 8 - 600)::DECIMAL(18, 3)"},
        {"decimal_sum_17", "nullif(v % 7, 0)::DECIMAL(18, 17)"},
        {"decimal_sum_18", "(v / 20000 - 0.3)::DECIMAL(18, 18)"},
    };
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        char sql[1024];
        (void)snprintf(
            sql, sizeof sql,
            "WITH runs AS MATERIALIZED (SELECT *, shoal_running_%s(n, starts, x) AS s, "
            "shoal_running_count(n, starts, x IS NOT NULL) AS c, "
            "shoal_running_rank(n, starts, v %% 5 = 0) AS r FROM (SELECT v // 700 AS g, "
            "v %% 700 = 0 AS starts, v, row_number() OVER () AS n, %s AS x FROM (SELECT "
            "range AS v FROM range(10000) ORDER BY range))) SELECT count(*), count(*) "
            "FILTER (WHERE s IS DISTINCT FROM t OR c <> d OR r <> e OR typeof(s) <> "
            "typeof(t)) FROM (SELECT *, sum(x) OVER w AS t, count(x) OVER w AS d, rank() "
            "OVER (PARTITION BY g ORDER BY v // 5) AS e FROM runs WINDOW w AS "
            "(PARTITION BY g ORDER BY v))",
            sums[i][0], sums[i][1]);
        struct duck_result *result = query(sql);
        assert_string_equal(duck_result_text(result, 0, 0), "10000");
        if (strcmp(duck_result_text(result, 1, 0), "0") != 0)
            fail_msg("%s: %s rows differ", sums[i][1], duck_result_text(result, 1, 0));
        duck_result_free(result);
    }
}

// Rows that don't come in order are found out.
static void running_functions_see_all_rows(void **state) {
    (void)state;
    struct duck_result *result = NULL;
    struct shoal_error err;
    assert_int_equal(
        duck_query(conn,
                   "SELECT max(shoal_running_sum(n, false, n)) FROM (SELECT row_number() "
                   "OVER () AS n FROM range(5000)) WHERE n <> 3000",
                   &result, &err),
        SHOAL_INTERNAL);
    assert_non_null(strstr(err.message, "was called for row 3001 after row 2999"));
}

// What sorts by it, the group and the order finds each group's rows together and in
// order: more groups than have a number, some of many rows, from several threads.
static void sort_heads_keep_groups_and_order(void **state) {
    (void)state;
    static const char *const groups[][2] = {
        // the group, and the first argument
        {"CASE WHEN v % 3 = 0 THEN 5 WHEN v % 7 <> 1 THEN hash(v, 1) % 4000 END::BIGINT",
         "g"},
        {"'g' || CASE WHEN v % 3 = 0 THEN 5 ELSE hash(v, 1) % 4000 END",
         "create_sort_key(g, 'ASC NULLS LAST')"},
        {"repeat('long', 30) || hash(v, 1) % 30", "create_sort_key(g, 'ASC NULLS LAST')"},
    };
    static const char *const orders[] = {
        "v",
        "v // 50",
        "nullif(v % 1000, 7)",
        "CASE v % 5 WHEN 0 THEN 9223372036854775807 WHEN 1 THEN -9223372036854775808 "
        "ELSE (v - 20000) * 70000000000000 END::BIGINT",
        "DATE '1500-01-01' + (v % 400000)::INTEGER",
        "CASE WHEN v % 50 = 0 THEN 'infinity' WHEN v % 50 = 1 THEN '-infinity' ELSE "
        "(DATE '2020-01-01' + (v % 4000)::INTEGER)::VARCHAR END::DATE",
        "CASE WHEN v % 50 = 0 THEN 'infinity'::TIMESTAMP WHEN v % 50 = 1 THEN "
        "'-infinity'::TIMESTAMP ELSE make_timestamp(1577836800000000 + v * 7000001) END",
        "make_timestamp(v * 7000001)::TIMESTAMP_NS",
        "make_timestamp(v * 7000001)::TIMESTAMPTZ",
        "(TIME '00:00:00' + to_microseconds(v * 700001))",
        "CASE v % 9 WHEN 0 THEN 'nan' WHEN 1 THEN 'inf' WHEN 2 THEN '-inf' WHEN 3 THEN "
        "'-0.0' WHEN 4 THEN '0.0' ELSE ((v - 20000) / 7)::VARCHAR END::DOUBLE",
        "exp((v % 1400) - 700)",
        "NULL::BIGINT",
    };
    static const char *const directions[][2] = {
        {"false, false", "ASC NULLS LAST"},
        {"true, false", "DESC NULLS LAST"},
        {"false, true", "ASC NULLS FIRST"},
        {"true, true", "DESC NULLS FIRST"},
    };
    size_t order_count = sizeof orders / sizeof *orders;
    for (size_t i = 0; i < 4 * order_count; i++) {
        const char *const *group = groups[i % 3], *const *direction = directions[i % 4];
        const char *order = orders[i / 4];
        char sql[2048];
        (void)snprintf(
            sql, sizeof sql,
            "WITH heads AS MATERIALIZED (SELECT *, shoal_sort_head(%s, o, %s) AS h FROM "
            "(SELECT v, %s AS g, %s AS o FROM (SELECT range AS v FROM range(40000) ORDER "
            "BY hash(range)))), sorted AS MATERIALIZED (SELECT *, row_number() OVER "
            "(ORDER BY h, g NULLS LAST, o %s, v) AS n, row_number() OVER (PARTITION BY g "
            "ORDER BY o %s, v) AS p FROM heads) SELECT count(*), count(*) FILTER (n - "
            "first <> p - 1), count(DISTINCT h) FROM (SELECT *, min(n) OVER (PARTITION "
            "BY g) AS first FROM sorted)",
            group[1], direction[0], group[0], order, direction[1], direction[1]);
        struct duck_result *result = query(sql);
        assert_string_equal(duck_result_text(result, 0, 0), "40000");
        if (strcmp(duck_result_text(result, 1, 0), "0") != 0)
            fail_msg("%s by %s %s: %s rows are elsewhere", group[0], order, direction[1],
                     duck_result_text(result, 1, 0));
        // It says more than the group does, and tells most of a heavy one's rows apart.
        if (i / 4 == 0 && i % 3 < 2)
            assert_true(atoi(duck_result_text(result, 2, 0)) > 10000);
        duck_result_free(result);
    }
}

// Several threads take the first groups' numbers, and a group's rows are in all of them.
static void sort_heads_are_the_same_in_all_threads(void **state) {
    (void)state;
    duck_result_free(
        query("CREATE TEMP TABLE many AS SELECT range // 50 * 7919 % 3000 AS "
              "g, range % 50 AS o FROM range(1000000)"));
    for (int i = 0; i < 5; i++) {
        struct duck_result *result = query(
            "SELECT count(*), max(heads), sum(n) FILTER (first < 2147483648) > 500000 "
            "FROM (SELECT g, o, count(DISTINCT h) AS heads, min(h) AS first, count(*) AS "
            "n FROM (SELECT g, o, shoal_sort_head(g, o, false, false) AS h FROM many) "
            "GROUP BY g, o)");
        assert_string_equal(duck_result_text(result, 0, 0), "150000");
        assert_string_equal(duck_result_text(result, 1, 0), "1");
        assert_string_equal(duck_result_text(result, 2, 0), "true");
        duck_result_free(result);
    }
    duck_result_free(query("DROP TABLE many"));
}

static void sort_places_are_sort_keys(void **state) {
    (void)state;
    static const char *const orders[] = {
        "nullif(v % 1000, 7) - 500",
        "CASE v % 5 WHEN 0 THEN 9e18 WHEN 1 THEN -9e18 ELSE v END::BIGINT",
        "(DATE '1500-01-01' + (v % 4000)::INTEGER)",
        "make_timestamp(v // 4 * 7000001)",
    };
    static const char *const directions[][2] = {{"false, false", "ASC NULLS LAST"},
                                                {"true, false", "DESC NULLS LAST"},
                                                {"false, true", "ASC NULLS FIRST"},
                                                {"true, true", "DESC NULLS FIRST"}};
    for (size_t i = 0; i < 16; i++) {
        char sql[1024];
        (void)snprintf(
            sql, sizeof sql,
            "SELECT count(*), count(*) FILTER (n <> m) FROM (SELECT row_number() OVER "
            "(ORDER BY shoal_sort_place(o, t, %s)) AS n, row_number() OVER (ORDER BY o "
            "%s, t) AS m FROM (SELECT %s AS o, (v * 2654435769 %% 4294967296)::UINTEGER "
            "AS t FROM (SELECT range AS v FROM range(10000))))",
            directions[i % 4][0], directions[i % 4][1], orders[i / 4]);
        struct duck_result *result = query(sql);
        assert_string_equal(duck_result_text(result, 0, 0), "10000");
        if (strcmp(duck_result_text(result, 1, 0), "0") != 0)
            fail_msg("%s %s: %s rows are elsewhere", orders[i / 4], directions[i % 4][1],
                     duck_result_text(result, 1, 0));
        duck_result_free(result);
    }
}

// Rows of these keys: how many groups are wrong that whole runs and those at edges make,
// and whether the runs are told not to be sorted.
static void check_runs(const char *rows, const char *expected) {
    char sql[1024];
    (void)snprintf(
        sql, sizeof sql,
        "WITH r AS MATERIALIZED (%s), g AS MATERIALIZED (FROM (SELECT shoal_run_edge(k) "
        "AS e, k, shoal_run_sum(k, v) AS s, shoal_run_count(k, v > 3) AS c, "
        "shoal_run_min(k, v) AS l FROM r) WHERE e > 0), q AS (SELECT k, s, c, l FROM g "
        "WHERE e = 1 UNION ALL SELECT k, sum(s), sum(c)::BIGINT, min(l) FROM g WHERE e > "
        "1 GROUP BY k), w AS (SELECT k, sum(v) AS s, count(*) FILTER (v > 3) AS c, "
        "min(v) AS l FROM r GROUP BY k) SELECT (SELECT count(*) FROM (FROM q EXCEPT ALL "
        "FROM w)) + (SELECT count(*) FROM (FROM w EXCEPT ALL FROM q)) || ' ' || (SELECT "
        "max(e) = 3 FROM g)",
        rows);
    struct duck_result *result = query(sql);
    if (strcmp(duck_result_text(result, 0, 0), expected) != 0)
        fail_msg("%s: %s, not %s", rows, duck_result_text(result, 0, 0), expected);
    duck_result_free(result);
}

static void runs_are_groups_of_sorted_rows(void **state) {
    (void)state;
    duck_result_free(
        query("CREATE TEMP TABLE sorted AS SELECT range // 3 AS k, nullif("
              "range % 7, 4)::INTEGER AS v FROM range(500000)"));
    check_runs("FROM sorted", "0 false");
    check_runs("SELECT k * 3 AS k, v FROM sorted", "0 false");
    check_runs("SELECT k // 5000 AS k, v FROM sorted", "0 false");
    check_runs("SELECT k - 80000 AS k, NULL::INTEGER AS v FROM sorted", "0 false");
    check_runs("SELECT nullif(k, k // 777 * 777) AS k, v FROM sorted", "0 false");
    check_runs("SELECT if(k < 100000, NULL, k) AS k, v FROM sorted", "0 false");
    check_runs("SELECT k, v FROM sorted WHERE k % 100 < 3", "0 false");
    check_runs("SELECT NULL::BIGINT AS k, v FROM sorted LIMIT 5000", "0 false");
    check_runs("SELECT k, v FROM sorted LIMIT 1", "0 false");
    duck_result_free(query("DROP TABLE sorted"));
}

// Rows that aren't: once in a chunk, between chunks, from both sides.
static void runs_tell_that_rows_are_not_sorted(void **state) {
    (void)state;
    static const char *const rows[] = {
        "SELECT if(range = 7000, 3, range) AS k FROM range(10000)",
        "SELECT if(range >= 8192, range - 7000, range) AS k FROM range(10240)",
        "SELECT range AS k FROM range(2048) UNION ALL FROM range(1000, 3048)",
        "SELECT range AS k FROM range(1000, 3048) UNION ALL FROM range(2048)",
        "SELECT range AS k FROM range(2048) UNION ALL FROM range(2048)",
        "SELECT nullif(if(range = 7000, 3, range), 6999) AS k FROM range(10000)",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char sql[512];
        (void)snprintf(sql, sizeof sql,
                       "SELECT max(e) FROM (SELECT shoal_run_edge(k) AS e FROM (%s))",
                       rows[i]);
        struct duck_result *result = query(sql);
        if (strcmp(duck_result_text(result, 0, 0), "3") != 0)
            fail_msg("%s: %s", rows[i], duck_result_text(result, 0, 0));
        duck_result_free(result);
    }
}

// Where they are written to, they stay with their rows.
static void ties_tell_rows_apart(void **state) {
    (void)state;
    char *counts = NULL;
    struct shoal_error err;
    shoal_status status = duck_scalar(
        conn,
        "WITH t AS MATERIALIZED (SELECT shoal_tie() AS t, shoal_tie() AS u FROM "
        "range(300000)) SELECT count(DISTINCT t) || ' ' || count(*) FILTER (t = u) || ' "
        "' "
        "|| max(t) // 4294900000 || typeof(max(t)) FROM t",
        &counts, &err);
    if (status != SHOAL_OK) fail_msg("%s", err.message);
    assert_string_equal(counts, "300000 0 1UINTEGER");
    free(counts);
}

static void describe_binds_without_running(void **state) {
    (void)state;
    struct shoal_error err;
    struct schema schema = {0};
    assert_int_equal(
        duck_describe(conn, "SELECT error('ran')::INTEGER AS a, [1.5] AS \"B\"", &schema,
                      &err),
        SHOAL_OK);
    assert_int_equal(schema.count, 2);
    assert_string_equal(schema.columns[0].name, "a");
    assert_string_equal(schema.columns[0].type, "INTEGER");
    assert_string_equal(schema.columns[1].name, "B");
    assert_string_equal(schema.columns[1].type, "DECIMAL(2,1)[]");
    schema_free(&schema);
}

static void statements_are_split_where_duckdb_would(void **state) {
    (void)state;
    static const char text[] =
        "SELECT 'a;''b'; -- c; d\n"
        "SELECT \"x;\"\"y\" /* ; */ FROM t;;\n"
        "SELECT $$a;b$$, $t$ $$; $t$; SELECT e'\\';', $1 ; /* only ; this */";
    static const char *const wanted[] = {"'a;''b'", "/* ; */ FROM t", "$t$ $$; $t$",
                                         "e'\\';', $1"};
    struct shoal_error err;
    char **statements = NULL;
    size_t count = 0;
    assert_int_equal(duck_split(text, &statements, &count, &err), SHOAL_OK);
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(strstr(statements[i], wanted[i]));
    }
    duck_split_free(statements, count);
    assert_int_equal(duck_split(" ; -- nothing\n;", &statements, &count, &err), SHOAL_OK);
    assert_int_equal(count, 0);
    duck_split_free(statements, count);
}

static void what_changes_rows_is_no_select(void **state) {
    (void)state;
    assert_true(duck_is_select("WITH insert AS (SELECT 1) FROM insert"));
    assert_true(
        duck_is_select("WITH update(a) AS (SELECT 1), delete AS (FROM update) "
                       "SELECT * FROM delete, update"));
    assert_true(duck_is_select("WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x"));
    assert_false(duck_is_select("WITH x AS (SELECT 1) INSERT INTO t FROM x"));
    assert_false(duck_is_select("with x as (select 1) insert or ignore into t from x"));
    assert_false(
        duck_is_select("WITH x AS (SELECT 1), update AS (FROM x) UPDATE t SET a "
                       "= 1 FROM update"));
    assert_false(duck_is_select("WITH x AS (SELECT 1) -- from\n DELETE FROM t USING x"));
    assert_false(duck_is_select("WITH x AS (SELECT 1) MERGE INTO t USING x ON true"));
}

static void block_comments_nest(void **state) {
    (void)state;
    struct shoal_error err;
    char **statements = NULL;
    size_t count = 0;
    static const char text[] = "SELECT 1 /* a /* b */ ; c */ + 1; SELECT 3";
    struct duck_result *result = NULL;
    bool nested =
        duck_query(conn, "SELECT 1 /* a /* b */ + 1 */", &result, &err) == SHOAL_OK;
    duck_result_free(result);
    assert_int_equal(duck_split(text, &statements, &count, &err), SHOAL_OK);
    assert_int_equal(count, nested ? 2 : 3);
    duck_split_free(statements, count);
}

static void a_syntax_tree_goes_there_and_back(void **state) {
    (void)state;
    struct shoal_error err;
    char *json = NULL;
    char *sql = NULL;
    assert_int_equal(duck_parse(conn, "SELECT 1 + 41 AS x", &json, &err), SHOAL_OK);
    assert_int_equal(duck_deparse(conn, json, &sql, &err), SHOAL_OK);
    struct duck_result *result = query(sql);
    assert_string_equal(duck_result_name(result, 0), "x");
    assert_string_equal(duck_result_text(result, 0, 0), "42");
    duck_result_free(result);
    free(json);
    free(sql);
}

static void canonical_sql_has_macros_and_variables_expanded(void **state) {
    (void)state;
    struct shoal_error err;
    char *sql = NULL;
    assert_int_equal(
        duck_run(conn, "CREATE MACRO twice(a) AS a * 2; SET VARIABLE v = 21", &err),
        SHOAL_OK);
    assert_int_equal(
        duck_canonical(conn, "SELECT twice(i + getvariable('v')) FROM range(3) r(i)",
                       &sql, &err),
        SHOAL_OK);
    assert_non_null(strstr(sql, "range"));
    assert_null(strstr(sql, "\"twice\"("));
    assert_non_null(strstr(sql, "21"));
    free(sql);
    assert_int_equal(duck_canonical(conn, "SELECT * FROM nowhere", &sql, &err),
                     SHOAL_USER);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_duckdbs_own_text),
        cmocka_unit_test(order_and_names_survive),
        cmocka_unit_test(errors_keep_their_kind),
        cmocka_unit_test(an_interrupt_is_a_cancel),
        cmocka_unit_test(scalars),
        cmocka_unit_test(running_functions_are_windows),
        cmocka_unit_test(running_functions_see_all_rows),
        cmocka_unit_test(sort_heads_keep_groups_and_order),
        cmocka_unit_test(sort_heads_are_the_same_in_all_threads),
        cmocka_unit_test(sort_places_are_sort_keys),
        cmocka_unit_test(runs_are_groups_of_sorted_rows),
        cmocka_unit_test(runs_tell_that_rows_are_not_sorted),
        cmocka_unit_test(ties_tell_rows_apart),
        cmocka_unit_test(describe_binds_without_running),
        cmocka_unit_test(statements_are_split_where_duckdb_would),
        cmocka_unit_test(what_changes_rows_is_no_select),
        cmocka_unit_test(block_comments_nest),
        cmocka_unit_test(memory_and_disk_are_told_apart),
        cmocka_unit_test(a_syntax_tree_goes_there_and_back),
        cmocka_unit_test(canonical_sql_has_macros_and_variables_expanded),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
