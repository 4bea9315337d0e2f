// Commits to Delta tables beside those of other writers, which are put into the log
// between the start of a write and its commit; and what is refused before any of it.
#include "support/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/spool.h"
#include "base/text.h"
#include "delta/write.h"

static struct duck *duck;
static struct duck_conn *conn;
static char dir[64], table[80];

#define FIELD(name, type, rest) \
    "{\\\"name\\\":\\\"" name "\\\",\\\"type\\\":" type ",\\\"nullable\\\":true," rest "}"
#define PLAIN_FIELD(name, type) FIELD(name, "\\\"" type "\\\"", "\\\"metadata\\\":{}")
#define METADATA(fields, configuration)                                       \
    "{\"metaData\":{\"id\":\"1\",\"format\":{\"provider\":\"parquet\"},"      \
    "\"schemaString\":\"{\\\"type\\\":\\\"struct\\\",\\\"fields\\\":[" fields \
    "]}\",\"partitionColumns\":[\"g\"],\"configuration\":{" configuration "}}}\n"
#define FIELDS PLAIN_FIELD("a", "integer") "," PLAIN_FIELD("g", "string")
#define PROTOCOL "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n"
#define ADD(path, g)                                                \
    "{\"add\":{\"path\":\"" path "\",\"partitionValues\":{\"g\":" g \
    "},\"size\":1,"                                                 \
    "\"dataChange\":true}}\n"
#define REMOVE(path, g) \
    "{\"remove\":{\"path\":\"" path "\",\"partitionValues\":{\"g\":" g "}}}\n"
#define INFO "{\"commitInfo\":{\"operation\":\"OTHER\"}}\n"
#define BASE PROTOCOL METADATA(FIELDS, "") ADD("g=x/1%20a", "\"x\"") ADD("g=y/2", "\"y\"")

static int setup_all(void **state) {
    struct duck_options options = {.threads = 1};
    struct shoal_error err;
    (void)state;
    return duck_open(&duck, &options, &err) != SHOAL_OK ||
           duck_connect(duck, &conn, &err) != SHOAL_OK;
}

static int teardown_all(void **state) {
    (void)state;
    duck_disconnect(conn);
    duck_close(duck);
    return 0;
}

static int setup(void **state) {
    char log[96];
    (void)state;
    strncpy(dir, "/tmp/shoal-delta-XXXXXX", sizeof dir - 1);
    if (mkdtemp(dir) == NULL) return 1;
    (void)snprintf(table, sizeof table, "%s/t", dir);
    (void)snprintf(log, sizeof log, "%s/_delta_log", table);
    return mkdir(table, 0700) != 0 || mkdir(log, 0700) != 0;
}

static int teardown(void **state) {
    (void)state;
    spool_remove_tree(dir);
    return 0;
}

static void other(int version, const char *text) {
    char *path = delta_commit_path(table, version);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static bool has_version(int version) {
    char *path = delta_commit_path(table, version);
    bool has = access(path, F_OK) == 0;
    free(path);
    return has;
}

static void forget(int version) {
    char *path = delta_commit_path(table, version);
    (void)unlink(path);
    free(path);
}

static struct delta_write *begin(enum delta_mode mode, const char *job) {
    struct delta_write *write = NULL;
    struct shoal_error err;
    char *select = NULL;
    shoal_status status = delta_write_open(conn, table, mode, job, NULL, &write, &err);
    if (status == SHOAL_OK && write->committed < 0)
        status = delta_write_select(write, conn, "SELECT 1::INTEGER AS a, 'x' AS g",
                                    &select, &err);
    if (status != SHOAL_OK) print_error("%s\n", err.message);
    assert_int_equal(status, SHOAL_OK);
    free(select);
    return write;
}

// A file in partition x.
static const struct delta_file file = {
    .path = "g=x/new%20one",
    .bytes = 10,
    .rows = 3,
    .statistics =
        "{\"\\\"a\\\"\":{\"min\":\"1\",\"min_is_exact\":\"true\",\"max\":\"7\","
        "\"max_is_exact\":\"true\",\"null_count\":\"2\"}}",
    .partition = "{\"g\":\"x\"}"};

static void commits(struct delta_write *write, int64_t expected) {
    struct shoal_error err;
    int64_t version = -1;
    bool before = true;
    shoal_status status = delta_commit(write, &file, 1, dir, &version, &before, &err);
    if (status != SHOAL_OK) print_error("%s\n", err.message);
    assert_int_equal(status, SHOAL_OK);
    assert_false(before);
    assert_int_equal(version, expected);
    assert_true(has_version((int)expected));
    delta_write_free(write);
}

static void conflicts(struct delta_write *write, const char *words) {
    struct shoal_error err;
    int64_t version = -1;
    bool before = false;
    assert_int_equal(delta_commit(write, &file, 1, dir, &version, &before, &err),
                     SHOAL_USER);
    if (strstr(err.message, words) == NULL) print_error("%s\n", err.message);
    assert_non_null(strstr(err.message, words));
    assert_false(has_version(2));
    delta_write_free(write);
}

// ---- others

static void test_appends(void **state) {
    (void)state;
    other(0, BASE);
    struct delta_write *write = begin(DELTA_APPEND, NULL);
    other(1, INFO ADD("g=x/3", "\"x\"") REMOVE("g=y/2", "\"y\""));
    other(2, INFO);
    commits(write, 3);
}

static void test_schema_changes(void **state) {
    (void)state;
    for (enum delta_mode mode = DELTA_APPEND; mode <= DELTA_OVERWRITE_PARTITIONS;
         mode++) {
        other(0, BASE);
        struct delta_write *write = begin(mode, NULL);
        other(1, METADATA(FIELDS, "\"x\":\"y\""));
        conflicts(write, "committed version 1 of the Delta table");
        forget(1);
        write = begin(mode, NULL);
        other(1, PROTOCOL);
        conflicts(write,
                  "changed its schema or protocol: nothing was written; run again");
        forget(1);
    }
}

static void test_overwrites(void **state) {
    (void)state;
    other(0, BASE);
    struct delta_write *first = begin(DELTA_OVERWRITE, NULL);
    other(1, ADD("g=z/3", "\"z\""));
    conflicts(first, "changed what this replaces");
    struct delta_write *second = begin(DELTA_OVERWRITE, NULL);
    struct delta_write *third = begin(DELTA_OVERWRITE, NULL);
    other(2, INFO);
    commits(second, 3);
    struct shoal_error err;
    int64_t version = -1;
    bool before = false;
    assert_int_equal(delta_commit(third, &file, 1, dir, &version, &before, &err),
                     SHOAL_USER);
    assert_non_null(strstr(err.message, "committed version 3 of the Delta table"));
    delta_write_free(third);
}

struct partition_case {
    const char *other, *conflict;
};

static void test_partitions(void **state) {
    static const struct partition_case cases[] = {
        {ADD("g=y/3", "\"y\"") REMOVE("g=y/2", "\"y\""), NULL},
        {ADD("3", "null"), NULL},
        {ADD("g=x/3", "\"x\""), "changed what this replaces"},
        {REMOVE("g=x/1%20a", "\"x\""), "changed what this replaces"},
        {"{\"remove\":{\"path\":\"g=y/2\"}}\n", "changed what this replaces"},
        {"{\"add\":{\"path\":\"g=y/2\",\"partitionValues\":7}}\n",
         "changed what this replaces"},
        {"{\"add\":{\"pa", "is no JSON object"},
        {"", "is empty"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        forget(2);
        forget(1);
        other(0, BASE);
        struct delta_write *write = begin(DELTA_OVERWRITE_PARTITIONS, NULL);
        other(1, cases[i].other);
        if (cases[i].conflict == NULL) {
            commits(write, 2);
        } else {
            conflicts(write, cases[i].conflict);
        }
    }
}

static void test_jobs(void **state) {
    struct shoal_error err;
    int64_t version = -1;
    bool before = false;
    (void)state;
    other(0, BASE);
    struct delta_write *write = begin(DELTA_OVERWRITE, "my job");
    other(1, METADATA(FIELDS, "") "{\"txn\":{\"appId\":\"my job\",\"version\":1}}\n");
    assert_int_equal(delta_commit(write, &file, 1, dir, &version, &before, &err),
                     SHOAL_OK);
    assert_true(before);
    assert_int_equal(version, 1);
    assert_false(has_version(2));
    delta_write_free(write);
    write = begin(DELTA_OVERWRITE, "my job");
    assert_int_equal(write->committed, 1);
    delta_write_free(write);
    commits(begin(DELTA_APPEND, "my other job"), 2);
    write = begin(DELTA_ERROR_IF_EXISTS, "my other job");
    assert_int_equal(write->committed, 2);
    delta_write_free(write);
}

static void test_new_tables(void **state) {
    (void)state;
    commits(begin(DELTA_APPEND, NULL), 0);
    for (enum delta_mode mode = DELTA_ERROR_IF_EXISTS; mode <= DELTA_OVERWRITE; mode++) {
        forget(0);
        struct delta_write *write = begin(mode, NULL);
        other(0, BASE);
        conflicts(write, "made the table");
    }
}

// ---- what it says

static void test_actions(void **state) {
    json_t *actions = NULL, *line;
    struct shoal_error err;
    struct text names = {0};
    size_t i;
    (void)state;
    other(0, BASE);
    commits(begin(DELTA_OVERWRITE_PARTITIONS, "j"), 1);
    char *path = delta_commit_path(table, 1);
    assert_int_equal(delta_read_actions(path, &actions, &err), SHOAL_OK);
    free(path);
    json_array_foreach(actions, i, line) {
        const char *name;
        json_t *action;
        json_object_foreach(line, name, action) {
            const char *file_path = json_string_value(json_object_get(action, "path"));
            const char *statistics = json_string_value(json_object_get(action, "stats"));
            text_printf(&names, "%s%s%s%s%s;", name, file_path ? " " : "",
                        file_path ? file_path : "", statistics ? " " : "",
                        statistics ? statistics : "");
        }
    }
    assert_string_equal(
        names.data,
        "txn;commitInfo;add g=x/new%2520one {\"numRecords\":3,\"minValues\":{\"a\":1},"
        "\"maxValues\":{\"a\":7},\"nullCount\":{\"a\":2}};remove g=x/1%20a;");
    text_free(&names);
    json_decref(actions);
    struct delta_snapshot *snapshot = NULL;
    assert_int_equal(delta_snapshot_open(conn, table, DELTA_LATEST, &snapshot, &err),
                     SHOAL_OK);
    assert_int_equal(json_object_size(snapshot->files), 2);
    delta_snapshot_free(snapshot);
}

// What DuckDB may say of a file one day: no bounds rather than wrong ones.
static void test_statistics(void **state) {
    static const char *const texts[] = {
        NULL,
        "",
        "null",
        "[]",
        "{",
        "{}",
        "{\"\\\"a\\\"\":3}",
        "{\"\\\"a\\\"\":{\"min\":\"1\",\"max\":\"2\"}}",
        "{\"\\\"a\\\"\":{\"min\":\"1\",\"min_is_exact\":\"true\",\"max\":\"2\","
        "\"max_is_exact\":\"false\"}}",
        "{\"\\\"a\\\"\":{\"min\":\"x\",\"min_is_exact\":\"true\",\"max\":\"99999999999999"
        "999999\",\"max_is_exact\":\"true\"}}"};
    (void)state;
    other(0, BASE);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct delta_write *write = begin(DELTA_APPEND, NULL);
        struct delta_file odd = file;
        struct shoal_error err;
        int64_t version = -1;
        bool before = false;
        json_t *actions = NULL;
        odd.statistics = texts[i];
        odd.partition = i == 0 ? "{\"G\":null}" : i == 1 ? NULL : "{\"g\":\"x\"}";
        assert_int_equal(delta_commit(write, &odd, 1, dir, &version, &before, &err),
                         SHOAL_OK);
        char *path = delta_commit_path(table, version);
        assert_int_equal(delta_read_actions(path, &actions, &err), SHOAL_OK);
        const json_t *add = json_object_get(json_array_get(actions, 1), "add");
        assert_string_equal(json_string_value(json_object_get(add, "stats")),
                            "{\"numRecords\":3,\"minValues\":{},\"maxValues\":{},"
                            "\"nullCount\":{}}");
        free(path);
        json_decref(actions);
        delta_write_free(write);
    }
    struct delta_write *write = begin(DELTA_APPEND, NULL);
    struct delta_file odd = file;
    struct shoal_error err;
    int64_t version = -1;
    bool before = false;
    odd.partition = "{\"g\":\"\"}";
    assert_int_equal(delta_commit(write, &odd, 1, dir, &version, &before, &err),
                     SHOAL_USER);
    assert_non_null(strstr(err.message, "has an empty text"));
    delta_write_free(write);
}

// ---- checkpoints

static struct delta_snapshot *open_version(int64_t version) {
    struct delta_snapshot *snapshot = NULL;
    struct shoal_error err;
    shoal_status status = delta_snapshot_open(conn, table, version, &snapshot, &err);
    if (status != SHOAL_OK) print_error("%s\n", err.message);
    assert_int_equal(status, SHOAL_OK);
    return snapshot;
}

static bool has_checkpoint(int version) {
    char path[160];
    (void)snprintf(path, sizeof path, "%s/_delta_log/%020d.checkpoint.parquet", table,
                   version);
    return access(path, F_OK) == 0;
}

// What a checkpoint has to give back of an action: what is in it and not null.
static bool same_actions(const json_t *before, const json_t *after) {
    const char *key, *name;
    json_t *action, *value;
    json_object_foreach((json_t *)before, key, action) {
        const json_t *other_action = json_object_get(after, key);
        json_object_foreach(action, name, value) {
            if (strcmp(name, "dataChange") == 0 || json_is_null(value)) continue;
            if (!json_equal(value, json_object_get(other_action, name))) return false;
        }
    }
    return json_object_size(before) == json_object_size(after);
}

// Ten more versions, and then without the commits that are in the checkpoint.
static void test_checkpoints(void **state) {
    (void)state;
    other(0, PROTOCOL METADATA(FIELDS, "\"some.setting\":\"it's\"")
                 ADD("g=x/1%20a", "\"x\"") ADD("g=y/2", "\"y\"") ADD("3", "null"));
    for (int version = 1; version <= 9; version++) {
        struct delta_write *write =
            begin(DELTA_APPEND, version == 4 ? "my \"job\"" : NULL);
        struct delta_file one = file;
        struct shoal_error err;
        char path[32];
        int64_t made = -1;
        bool before = false;
        (void)snprintf(path, sizeof path, "g=x/%d", version);
        one.path = path;
        assert_int_equal(delta_commit(write, &one, 1, dir, &made, &before, &err),
                         SHOAL_OK);
        delta_write_free(write);
    }
    assert_false(has_checkpoint(9));
    commits(begin(DELTA_OVERWRITE_PARTITIONS, NULL), 10);
    assert_true(has_checkpoint(10));
    struct delta_snapshot *with = open_version(10);
    for (int version = 0; version <= 10; version++) forget(version);
    struct delta_snapshot *without = open_version(DELTA_LATEST);
    assert_int_equal(without->version, 10);
    assert_int_equal(json_object_size(without->files), 3);
    assert_int_equal(json_object_size(without->removes), 10);
    assert_true(same_actions(with->files, without->files));
    assert_true(same_actions(with->removes, without->removes));
    assert_true(same_actions(with->txns, without->txns));
    assert_true(json_equal(with->fields, without->fields));
    assert_true(json_equal(json_object_get(with->metadata, "configuration"),
                           json_object_get(without->metadata, "configuration")));
    delta_snapshot_free(with);
    delta_snapshot_free(without);
    commits(begin(DELTA_APPEND, NULL), 11);
}

// A table whose checkpoints may need what is not known here gets none.
static void test_no_checkpoint(void **state) {
    (void)state;
    other(0,
          "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":7,"
          "\"writerFeatures\":[\"domainMetadata\"]}}\n" METADATA(FIELDS, ""));
    for (int version = 1; version <= 9; version++) other(version, INFO);
    commits(begin(DELTA_APPEND, NULL), 10);
    assert_false(has_checkpoint(10));
}

// ---- what is refused

static void test_refused(void **state) {
#define WITH(metadata)                                                                \
    METADATA(FIELD("a", "\\\"integer\\\"",                                            \
                   "\\\"metadata\\\":{" metadata "}") "," PLAIN_FIELD("g", "string"), \
             "")
#define NESTED(type)   \
    PROTOCOL METADATA( \
        FIELD("a", type, "\\\"metadata\\\":{}") "," PLAIN_FIELD("g", "string"), "")
    static const struct {
        const char *log, *words;
    } tables[] = {
        {"{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":8}}\n" METADATA(
             FIELDS, ""),
         "writer version 8"},
        {"{\"protocol\":{\"minReaderVersion\":1}}\n" METADATA(FIELDS, ""),
         "writer version"},
        {"{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":7,"
         "\"writerFeatures\":"
         "[\"appendOnly\",\"rowTracking\"]}}\n" METADATA(FIELDS, ""),
         "the table feature rowTracking"},
        {"{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":7,"
         "\"writerFeatures\":"
         "[7]}}\n" METADATA(FIELDS, ""),
         "the table feature ?"},
        {PROTOCOL METADATA(FIELDS, "\"delta.constraints.c\":\"a > 0\""),
         "the constraint c"},
        {PROTOCOL METADATA(FIELDS, "\"delta.enableChangeDataFeed\":\"true\""),
         "the setting delta.enableChangeDataFeed"},
        {PROTOCOL METADATA(FIELDS, "\"delta.appendOnly\":\"TRUE\""), "append-only"},
        {PROTOCOL WITH("\\\"delta.invariants\\\":\\\"x\\\""),
         "an invariant on the column a"},
        {PROTOCOL WITH("\\\"delta.generationExpression\\\":\\\"x\\\""),
         "values of its own for the column a"},
        {PROTOCOL WITH("\\\"delta.identity.start\\\":1"),
         "values of its own for the column a"},
        {PROTOCOL WITH("\\\"CURRENT_DEFAULT\\\":\\\"1\\\""),
         "values of its own for the column a"},
        {NESTED("{\\\"type\\\":\\\"array\\\",\\\"elementType\\\":\\\"long\\\","
                "\\\"containsNull\\\":false}"),
         "must not be NULL inside the column a"},
        {NESTED("{\\\"type\\\":\\\"struct\\\",\\\"fields\\\":[{\\\"name\\\":\\\"b\\\","
                "\\\"type\\\":\\\"long\\\",\\\"nullable\\\":false}]}"),
         "must not be NULL inside the column a"},
        {"{\"protocol\":", "is no JSON object"}};
    (void)state;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        struct delta_write *write = NULL;
        struct shoal_error err;
        other(0, tables[i].log);
        assert_int_equal(
            delta_write_open(conn, table, DELTA_OVERWRITE, NULL, NULL, &write, &err),
            SHOAL_USER);
        if (strstr(err.message, tables[i].words) == NULL)
            print_error("%s\n", err.message);
        assert_non_null(strstr(err.message, tables[i].words));
        assert_null(write);
    }
}

static void test_columns(void **state) {
    static const struct {
        const char *query, *select;  // NULL: refused
    } queries[] = {
        {"SELECT 1 AS a, 'x' AS g", "SELECT 1 AS a, 'x' AS g"},
        {"SELECT 'x' AS g, 1 AS A",
         "SELECT \"A\" AS \"a\", \"g\" AS \"g\" FROM (\nSELECT 'x' AS g, 1 AS A\n)"},
        {"SELECT 1 AS a",
         "SELECT \"a\" AS \"a\", CAST(NULL AS VARCHAR) AS \"g\" FROM (\nSELECT 1 AS "
         "a\n)"},
        {"SELECT 1::BIGINT AS a, 'x' AS g", NULL},
        {"SELECT 1 AS a, 'x' AS g, 3 AS h", NULL},
        {"SELECT 1 AS a, 2 AS A", NULL},
        {"SELECT nothing", NULL}};
    (void)state;
    other(0, BASE);
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        struct delta_write *write = begin(DELTA_APPEND, NULL);
        struct shoal_error err;
        char *select = NULL;
        shoal_status status =
            delta_write_select(write, conn, queries[i].query, &select, &err);
        assert_int_equal(status, queries[i].select ? SHOAL_OK : SHOAL_USER);
        if (queries[i].select != NULL) assert_string_equal(select, queries[i].select);
        free(select);
        delta_write_free(write);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_appends),    TEST(test_schema_changes), TEST(test_overwrites),
        TEST(test_partitions), TEST(test_jobs),           TEST(test_new_tables),
        TEST(test_actions),    TEST(test_statistics),     TEST(test_refused),
        TEST(test_columns),    TEST(test_checkpoints),    TEST(test_no_checkpoint)};
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
