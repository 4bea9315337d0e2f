// CREATE TABLE ... AS and INSERT as they are read: where the query begins, and what is
// left to DuckDB.
#include "query/insert.h"

#include "support/harness.h"

struct expected {
    const char *sql, *head, *query;
};

static void test_reads(void **state) {
    static const struct expected statements[] = {
        {"CREATE TABLE t AS SELECT 1", "CREATE TABLE t AS", "SELECT 1"},
        {" create /* x */ or Replace table if not exists \"a as b\".t AS\nFROM x -- y",
         "create /* x */ or Replace table if not exists \"a as b\".t AS", "FROM x -- y"},
        {"CREATE OR REPLACE TEMPORARY TABLE t AS FROM x",
         "CREATE OR REPLACE TEMPORARY TABLE t AS", "FROM x"},
        {"CREATE TABLE t (a, b) AS (SELECT 1, 2)", "CREATE TABLE t (a, b) AS",
         "(SELECT 1, 2)"},
        {"CREATE TABLE t AS WITH data AS (FROM x) FROM data", "CREATE TABLE t AS",
         "WITH data AS (FROM x) FROM data"},
        {"INSERT INTO s.t (a, \"select\") SELECT 1, 2", "INSERT INTO s.t (a, \"select\")",
         "SELECT 1, 2"},
        {"INSERT OR REPLACE INTO t BY NAME FROM x", "INSERT OR REPLACE INTO t BY NAME",
         "FROM x"},
        {"INSERT INTO t (SELECT returning FROM x)", "INSERT INTO t",
         "(SELECT returning FROM x)"}};
    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        struct insert insert;
        struct shoal_error err;
        if (insert_parse(statements[i].sql, &insert, &err) != SHOAL_OK)
            fail_msg("%s: %s", statements[i].sql, err.message);
        assert_string_equal(insert.head, statements[i].head);
        assert_string_equal(insert.query, statements[i].query);
        insert_free(&insert);
    }
}

static void test_leaves(void **state) {
    static const char *const others[] = {
        "CREATE TABLE t (a INTEGER)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE t AS EXECUTE p(1)",
        "CREATE TABLE t AS SELECT 1 WITH NO DATA",
        "CREATE TABLE t AS",
        "CREATE TABLE",
        "INSERT INTO t DEFAULT VALUES",
        "INSERT INTO t VALUES (DEFAULT, (SELECT 1 FROM x))",
        "INSERT INTO t SELECT 1 ON CONFLICT DO NOTHING",
        "INSERT INTO t SELECT 1 RETURNING a",
        "INSERT INTO t (a",
        "INSERT",
        "UPDATE t SET a = 1",
        ""};
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct insert insert;
        struct shoal_error err;
        if (insert_parse(others[i], &insert, &err) != SHOAL_UNSUPPORTED)
            fail_msg("%s was read", others[i]);
        insert_free(&insert);
    }
    assert_string_equal(insert_plain_name("CREATE TABLE IF NOT EXISTS \"a.b\" (x int)"),
                        "\"a.b\" (x int)");
    assert_string_equal(insert_plain_name("CREATE OR REPLACE TABLE t AS FROM s.t"),
                        "t AS FROM s.t");
    assert_null(insert_plain_name("CREATE TABLE s.t AS FROM t"));
    assert_null(insert_plain_name("CREATE TABLE s . t AS FROM t"));
    assert_null(insert_plain_name("CREATE TEMP TABLE t AS FROM t"));
    assert_null(insert_plain_name("CREATE VIEW t AS FROM t"));
    assert_true(insert_creates_table("create or replace table x (a int)"));
    assert_false(insert_creates_table("CREATE TEMP TABLE x (a int)"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads),
                                       cmocka_unit_test(test_leaves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
