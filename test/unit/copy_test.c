// COPY ... TO as it is read: what is selected, where it goes, which options stay
// DuckDB's.
#include "support/harness.h"

#include <stdio.h>
#include <string.h>

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
     "FROM t", "d",
     "FORMAT parquet, FILE_SIZE_BYTES '1MB', FILE_EXTENSION 'PQ', "
     "ROW_GROUP_SIZE_BYTES 200001",
     "pq", true, true, false},
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
        assert_int_equal(copy.mode == WRITE_OVERWRITE, want->overwrite);
        copy_free(&copy);
    }
}

// DuckDB runs these alone, and says what is wrong with the broken ones.
static void test_leaves(void **state) {
    static const char *const others[] = {
        "COPY t FROM 'a.csv'",
        "COPY (SELECT 1) TO 'd' (FORMAT xlsx)",
        "COPY (SELECT 1) TO 'd' (FORMAT parquet, FILENAME_PATTERN '{uuid}', APPEND)",
        "COPY (SELECT 1) TO 'd' (FORMAT parquet, overwrite_or_ignore true)",
        "COPY (SELECT 1) TO 's3://b/d' (FORMAT parquet, PER_THREAD_OUTPUT)",
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

struct mode {
    const char *options;
    enum write_mode mode;
    enum copy_answer answer;
};

static void test_modes(void **state) {
    static const struct mode modes[] = {
        {"PER_THREAD_OUTPUT", WRITE_ERROR_IF_EXISTS, ANSWER_COUNT},
        {"PER_THREAD_OUTPUT, error_if_exists", WRITE_ERROR_IF_EXISTS, ANSWER_COUNT},
        {"PER_THREAD_OUTPUT, OVERWRITE, APPEND false", WRITE_OVERWRITE, ANSWER_COUNT},
        {"PER_THREAD_OUTPUT, Append true, RETURN_FILES", WRITE_APPEND, ANSWER_FILES},
        {"PARTITION_BY a, OVERWRITE_PARTITIONS 1, RETURN_STATS, RETURN_FILES false",
         WRITE_OVERWRITE_PARTITIONS, ANSWER_STATISTICS}};
    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char sql[200];
        struct shoal_error err;
        struct copy copy;
        (void)snprintf(sql, sizeof sql, "COPY t TO 'd' (FORMAT parquet, %s)",
                       modes[i].options);
        assert_int_equal(copy_parse(sql, &copy, &err), SHOAL_OK);
        assert_int_equal(copy.mode, modes[i].mode);
        assert_int_equal(copy.answer, modes[i].answer);
        assert_true(copy.folder);
        assert_null(strstr(copy.options, "RETURN"));
        copy_free(&copy);
    }
    struct shoal_error err;
    struct copy copy;  // one file is DuckDB's to answer for
    assert_int_equal(
        copy_parse("COPY t TO 'f' (FORMAT parquet, RETURN_STATS)", &copy, &err),
        SHOAL_OK);
    assert_string_equal(copy.options, "FORMAT parquet, RETURN_STATS");
    copy_free(&copy);
}

struct rewriting {
    const char *options, *rewrite, *sort;
    uint64_t bytes;
};

static void test_sizes(void **state) {
    static const struct rewriting list[] = {
        {"FILE_SIZE_BYTES 1000, PARTITION_BY (a, b), COMPRESSION zstd",
         "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE_BYTES 201", NULL, 1000},
        {"FILE_SIZE_BYTES '2KiB', ROW_GROUP_SIZE 7, PRESERVE_ORDER false",
         "FORMAT parquet, ROW_GROUP_SIZE 7", NULL, 2048},
        {"SORT_BY (a DESC NULLS LAST, f(b)), FILE_SIZE_BYTES '5 MB'",
         "FORMAT parquet, ROW_GROUP_SIZE_BYTES 1000001", "a DESC NULLS LAST, f(b)",
         5000000},
        {"ORDER_BY (a)", NULL, "a", 0},
        {"FILE_SIZE_BYTES 'much', PARTITION_BY a", NULL, NULL, 0},
        {"FILE_SIZE_BYTES 9, ROW_GROUPS_PER_FILE 3", NULL, NULL, 9},
        {"FILE_SIZE_BYTES 9, FORMAT csv", NULL, NULL, 9}};
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        char sql[200];
        struct shoal_error err;
        struct copy copy;
        (void)snprintf(sql, sizeof sql, "COPY t TO 'd' (FORMAT parquet, %s)",
                       list[i].options);
        if (copy_parse(sql, &copy, &err) != SHOAL_OK) fail_msg("%s", err.message);
        assert_int_equal(copy.file_bytes, list[i].bytes);
        assert_true(copy.folder && copy.nested);
        if (list[i].rewrite == NULL) assert_null(copy.rewrite_options);
        if (list[i].rewrite != NULL)
            assert_string_equal(copy.rewrite_options, list[i].rewrite);
        if (list[i].sort == NULL) assert_null(copy.sort_by);
        if (list[i].sort != NULL) assert_string_equal(copy.sort_by, list[i].sort);
        copy_free(&copy);
    }
}

// What DuckDB would do otherwise than the statement says, or not at all.
static void test_contradictions(void **state) {
    static const char *const options[] = {
        "PER_THREAD_OUTPUT, APPEND, OVERWRITE",
        "PER_THREAD_OUTPUT, ERROR_IF_EXISTS, OVERWRITE true",
        "PER_THREAD_OUTPUT, OVERWRITE maybe",
        "PER_THREAD_OUTPUT, RETURN_FILES, RETURN_STATS",
        "PER_THREAD_OUTPUT, OVERWRITE_PARTITIONS",
        "PARTITION_BY a, HIVE_FILE_PATTERN false, OVERWRITE_PARTITIONS",
        "PARTITION_BY a, OVERWRITE_PARTITIONS, FILENAME_PATTERN 'x'",
        "SORT_BY a",
        "SORT_BY (a), ORDER_BY (b)",
        "APPEND",
        "ERROR_IF_EXISTS",
        "FORMAT csv, PER_THREAD_OUTPUT, RETURN_STATS",
        "FORMAT xlsx, PER_THREAD_OUTPUT, ERROR_IF_EXISTS"};
    (void)state;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        char sql[200];
        struct shoal_error err;
        struct copy copy;
        (void)snprintf(sql, sizeof sql, "COPY t TO 'd' (FORMAT parquet, %s)", options[i]);
        assert_int_equal(copy_parse(sql, &copy, &err), SHOAL_USER);
        assert_int_not_equal(err.message[0], '\0');
        copy_free(&copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads), cmocka_unit_test(test_modes),
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_leaves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
