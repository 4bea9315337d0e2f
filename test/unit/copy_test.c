// COPY ... TO as it is read: what is selected, where it goes, which options stay
// DuckDB's.
#include "support/harness.h"

#include "query/copy.h"

struct expected {
    const char *sql, *query, *path, *options, *extension;
    bool folder, nested, overwrite;
};

static const struct expected statements[] = {
    {"COPY (SELECT 1) TO 'a.parquet'", "SELECT 1", "a.parquet", "FORMAT parquet",
     "parquet", false, false, false},
    {" copy /* x */ t\nTO 'it''s.csv'", "SELECT * FROM t\n", "it's.csv", "FORMAT csv",
     "csv", false, false, false},
    {"COPY \"my t\".u (a, \"b)\") TO 'd' (FORMAT 'Parquet', PER_THREAD_OUTPUT)",
     "SELECT a, \"b)\" FROM \"my t\".u ", "d", "FORMAT parquet", "parquet", true, false,
     false},
    {"COPY (SELECT ')' AS x -- )\n) TO 'd' WITH (PER_THREAD_OUTPUT true, FORMAT json)",
     "SELECT ')' AS x -- )", "d", "FORMAT json", "json", true, false, false},
    {"COPY (FROM t) TO 'd' (PER_THREAD_OUTPUT false, FORMAT csv, COMPRESSION gzip)",
     "FROM t", "d", "FORMAT csv, COMPRESSION gzip", "csv.gz", false, false, false},
    {"COPY (FROM t) TO 'd' (FORMAT parquet, COMPRESSION zstd, PER_THREAD_OUTPUT)",
     "FROM t", "d", "FORMAT parquet, COMPRESSION zstd", "parquet", true, false, false},
    {"COPY (FROM t) TO 'd' (FORMAT csv, PARTITION_BY (a, b), OVERWRITE, DELIMITER ',')",
     "FROM t", "d", "FORMAT csv, PARTITION_BY (a, b), DELIMITER ','", "csv", true, true,
     true},
    {"COPY (FROM t) TO 'd' (FILE_SIZE_BYTES '1MB', OVERWRITE false, FILE_EXTENSION 'PQ', "
     "FORMAT parquet)",
     "FROM t", "d", "FORMAT parquet, FILE_SIZE_BYTES '1MB', FILE_EXTENSION 'PQ'", "pq",
     true, true, false},
};

static void test_reads(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        const struct expected *want = &statements[i];
        struct shoal_error err;
        struct copy copy;
        assert_int_equal(copy_parse(want->sql, &copy, &err), SHOAL_OK);
        assert_string_equal(copy.query, want->query);
        assert_string_equal(copy.path, want->path);
        assert_string_equal(copy.options, want->options);
        assert_string_equal(copy.extension, want->extension);
        assert_int_equal(copy.folder, want->folder);
        assert_int_equal(copy.nested, want->nested);
        assert_int_equal(copy.overwrite, want->overwrite);
        copy_free(&copy);
    }
}

// DuckDB runs these alone, and says what is wrong with the broken ones.
static void test_leaves(void **state) {
    static const char *const others[] = {
        "COPY t FROM 'a.csv'",
        "COPY (SELECT 1) TO 'd' (FORMAT xlsx)",
        "COPY (SELECT 1) TO 'd' (FORMAT parquet, RETURN_FILES)",
        "COPY (SELECT 1) TO 'd' (FORMAT parquet, append true)",
        "COPY (SELECT 1) TO 'd' (FORMAT parquet) x",
        "COPY (SELECT 1) TO",
        "COPY (SELECT 1",
        "COPY",
        "COPY (SELECT 1) TO 'd' (FORMAT",
        "COPY (SELECT 1) TO 'd' (FORMAT parquet, PER_THREAD_OUTPUT",
        "COPY (SELECT 1) TO d",
        "COPY DATABASE a TO b",
        "SELECT 1",
        ""};
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct shoal_error err;
        struct copy copy;
        assert_int_equal(copy_parse(others[i], &copy, &err), SHOAL_UNSUPPORTED);
        assert_int_not_equal(err.message[0], '\0');
        copy_free(&copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads),
                                       cmocka_unit_test(test_leaves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
