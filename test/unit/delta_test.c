// The reader of Delta logs, over logs made here: what counts, what is refused, and that
// nothing in a log makes it fall over. And how tables are found in a statement.
#include "support/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/spool.h"
#include "base/text.h"
#include "delta/delta.h"
#include "delta/types.h"

static struct duck *duck;
static struct duck_conn *conn;
static char dir[64];  // a table's, new for each test

#define FIELD(name, type)                               \
    "{\\\"name\\\":\\\"" name "\\\",\\\"type\\\":" type \
    ",\\\"nullable\\\":true,\\\"metadata\\\":{}}"
#define SCHEMA(fields) "{\\\"type\\\":\\\"struct\\\",\\\"fields\\\":[" fields "]}"
#define METADATA(fields, partitions, configuration)                                     \
    "{\"metaData\":{\"id\":\"1\",\"format\":{\"provider\":\"parquet\",\"options\":{}}," \
    "\"schemaString\":\"" SCHEMA(fields) "\",\"partitionColumns\":[" partitions         \
                                         "],"                                           \
                                         "\"configuration\":{" configuration "}}}\n"
#define PROTOCOL "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n"
#define INT "\\\"integer\\\""
#define STRING "\\\"string\\\""
#define PLAIN PROTOCOL METADATA(FIELD("a", INT), "", "")
#define ADD(path) "{\"add\":{\"path\":\"" path "\",\"partitionValues\":{},\"size\":1}}\n"
#define REMOVE(path) "{\"remove\":{\"path\":\"" path "\",\"dataChange\":true}}\n"

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
    (void)snprintf(log, sizeof log, "%s/_delta_log", dir);
    return mkdir(log, 0700);
}

static int teardown(void **state) {
    (void)state;
    spool_remove_tree(dir);
    return 0;
}

static void put(const char *name, const char *text, size_t size) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/_delta_log/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void commit(int version, const char *text) {
    char name[64];
    (void)snprintf(name, sizeof name, "%020d.json", version);
    put(name, text, strlen(text));
}

static void drop(const char *name) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/_delta_log/%s", dir, name);
    assert_int_equal(unlink(path), 0);
}

// The JSON lines of a commit as a Parquet file of the log.
static void checkpoint(const char *name, const char *select) {
    struct text sql = {0};
    struct shoal_error err;
    text_printf(&sql, "COPY (%s) TO '%s/_delta_log/%s' (FORMAT parquet)", select, dir,
                name);
    shoal_status status = duck_run(conn, sql.data, &err);
    if (status != SHOAL_OK) print_error("%s\n", err.message);
    assert_int_equal(status, SHOAL_OK);
    text_free(&sql);
}

// A data file with these columns.
static void data_of(const char *path, const char *columns) {
    struct text sql = {0}, file = {0};
    struct shoal_error err;
    text_printf(&file, "%s/%s", dir, path);
    for (char *at = file.data + strlen(dir) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(file.data, 0700);
        *at = '/';
    }
    text_printf(&sql, "COPY (SELECT %s) TO ", columns);
    text_append_literal(&sql, file.data);
    text_append(&sql, " (FORMAT parquet)");
    assert_int_equal(duck_run(conn, sql.data, &err), SHOAL_OK);
    text_free(&sql);
    text_free(&file);
}

static void data(const char *path) {
    data_of(path, "7::INTEGER AS a");
}

// The names of the live files, with blanks between.
static void live(int64_t version, const char *expected) {
    struct delta_snapshot *snapshot = NULL;
    struct shoal_error err;
    struct text names = {0};
    const char *key;
    json_t *add;
    shoal_status status = delta_snapshot_open(conn, dir, version, &snapshot, &err);
    if (status != SHOAL_OK) print_error("%s\n", err.message);
    assert_int_equal(status, SHOAL_OK);
    text_append(&names, "");
    json_object_foreach(snapshot->files, key, add) {
        char *path = NULL;
        assert_int_equal(delta_file_path(snapshot, add, &path, &err), SHOAL_OK);
        text_printf(&names, "%s%s", names.size ? " " : "", strrchr(path, '/') + 1);
        free(path);
    }
    assert_string_equal(names.data, expected);
    text_free(&names);
    delta_snapshot_free(snapshot);
}

// Reading the newest version fails with these words.
static void refused(const char *words) {
    struct delta_snapshot *snapshot = NULL;
    struct shoal_error err;
    struct text sql = {0};
    shoal_status status = delta_snapshot_open(conn, dir, DELTA_LATEST, &snapshot, &err);
    if (status == SHOAL_OK) status = delta_scan_sql(conn, snapshot, &sql, &err);
    assert_int_equal(status, SHOAL_USER);
    if (strstr(err.message, words) == NULL) print_error("%s\n", err.message);
    assert_non_null(strstr(err.message, words));
    delta_snapshot_free(snapshot);
    text_free(&sql);
}

static void scanned(const char *words) {
    struct delta_snapshot *snapshot = NULL;
    struct shoal_error err;
    struct text sql = {0};
    assert_int_equal(delta_snapshot_open(conn, dir, DELTA_LATEST, &snapshot, &err),
                     SHOAL_OK);
    shoal_status status = delta_scan_sql(conn, snapshot, &sql, &err);
    if (status != SHOAL_OK) print_error("%s\n", err.message);
    assert_int_equal(status, SHOAL_OK);
    if (strstr(sql.data, words) == NULL) print_error("%s\n", sql.data);
    assert_non_null(strstr(sql.data, words));
    delta_snapshot_free(snapshot);
    text_free(&sql);
}

// ---- what counts

static void test_commits(void **state) {
    (void)state;
    commit(0, PLAIN ADD("one") ADD("two"));
    commit(1, REMOVE("one") ADD("three"));
    commit(2, "\n" ADD("one") "\r\n" REMOVE("two") REMOVE("never"));
    put("00000000000000000003.json.tmp", "x", 1);
    put(".00000000000000000003.json.crc", "x", 1);
    put("3.json", "x", 1);
    live(0, "one two");
    live(1, "two three");
    live(2, "three one");
    live(DELTA_LATEST, "three one");
}

static void test_names(void **state) {
    (void)state;
    commit(0, PLAIN ADD("a%20b%2F..%25") ADD("c:d%zz%4"));
    live(0, "..% c:d%zz%4");
}

// A vector that replaces none: the file is gone without it and there with it.
static void test_vectors(void **state) {
    (void)state;
    commit(0, PLAIN ADD("one"));
    commit(1,
           "{\"add\":{\"path\":\"one\",\"partitionValues\":{},\"deletionVector\":"
           "{\"storageType\":\"u\",\"pathOrInlineDv\":\"x\"}}}\n" REMOVE("one"));
    live(0, "one");
    refused("a deletion vector for the file one");
}

#define ROW(add, remove, metadata, protocol)                 \
    "SELECT " add " AS add, " remove " AS remove, " metadata \
    " AS \"metaData\", " protocol " AS protocol"
#define NO_ADD                                                                      \
    "CAST(NULL AS STRUCT(path VARCHAR, \"partitionValues\" MAP(VARCHAR, VARCHAR), " \
    "size BIGINT))"
#define AN_ADD(path)                                                \
    "{'path': '" path                                               \
    "', 'partitionValues': CAST(MAP {} AS MAP(VARCHAR, VARCHAR)), " \
    "'size': 1::BIGINT}"
#define NO_REMOVE "CAST(NULL AS STRUCT(path VARCHAR))"
#define NO_METADATA \
    "CAST(NULL AS STRUCT(\"schemaString\" VARCHAR, \"partitionColumns\" VARCHAR[]))"
#define NO_PROTOCOL "CAST(NULL AS STRUCT(\"minReaderVersion\" INTEGER))"
#define HEAD                                                                           \
    ROW(NO_ADD, NO_REMOVE,                                                             \
        "{'schemaString': '{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":" \
        "\"integer\"}]}', 'partitionColumns': CAST([] AS VARCHAR[])}",                 \
        NO_PROTOCOL)                                                                   \
    " UNION ALL " ROW(NO_ADD, NO_REMOVE, NO_METADATA, "{'minReaderVersion': 1}")
#define FILE_ROW(path) ROW(AN_ADD(path), NO_REMOVE, NO_METADATA, NO_PROTOCOL)

static void test_checkpoint(void **state) {
    (void)state;
    commit(0, "broken");
    commit(1, "broken");
    commit(2, ADD("three") REMOVE("one"));
    checkpoint(
        "00000000000000000001.checkpoint.parquet", HEAD
        " UNION ALL " FILE_ROW("one") " UNION ALL " FILE_ROW("two") " UNION ALL " ROW(
            NO_ADD, "{'path': 'two'}", NO_METADATA, NO_PROTOCOL));
    put("_last_checkpoint", "nonsense", 8);
    live(DELTA_LATEST, "two three");
    live(1, "one two");
    drop("00000000000000000000.json");
    drop("00000000000000000001.json");
    live(1, "one two");
    live(2, "two three");
    drop("00000000000000000002.json");
    live(DELTA_LATEST, "one two");
}

static void test_parts(void **state) {
    (void)state;
    checkpoint("00000000000000000004.checkpoint.0000000001.0000000002.parquet", HEAD);
    checkpoint("00000000000000000004.checkpoint.0000000002.0000000002.parquet",
               HEAD " UNION ALL " FILE_ROW("one"));
    put("00000000000000000005.checkpoint.0000000001.0000000002.parquet", "x", 1);
    commit(5, ADD("two"));
    live(DELTA_LATEST, "one two");
    drop("00000000000000000004.checkpoint.0000000001.0000000002.parquet");
    refused("00000000000000000000.json is missing");
}

#define UUID "01234567-0123-0123-0123-0123456789ab"

static void test_sidecars(void **state) {
    char sidecars[96];
    (void)state;
    (void)snprintf(sidecars, sizeof sidecars, "%s/_delta_log/_sidecars", dir);
    assert_int_equal(mkdir(sidecars, 0700), 0);
    checkpoint("_sidecars/s1.parquet", FILE_ROW("one"));
    checkpoint("_sidecars/s2.parquet", FILE_ROW("two"));
    static const char top[] = PLAIN
        "{\"checkpointMetadata\":{\"version\":3}}\n{\"sidecar\":{\"path\":\"s1.parquet\"}"
        "}\n"
        "{\"sidecar\":{\"path\":\"s2.parquet\"}}\n";
    put("00000000000000000003.checkpoint." UUID ".json", top, sizeof top - 1);
    commit(4, REMOVE("one"));
    live(3, "one two");
    live(4, "two");
}

// ---- what is refused

static void test_gaps(void **state) {
    (void)state;
    refused("has no commit");
    commit(1, ADD("one"));
    refused("00000000000000000000.json is missing");
    commit(0, PLAIN);
    commit(3, ADD("two"));
    refused("00000000000000000002.json is missing; restore");
    live(1, "one");
}

static void test_versions(void **state) {
    struct delta_snapshot *snapshot = NULL;
    struct shoal_error err;
    (void)state;
    commit(0, PLAIN);
    assert_int_equal(delta_snapshot_open(conn, dir, 1, &snapshot, &err), SHOAL_USER);
    assert_non_null(strstr(err.message, "no version 1: its log goes from 0 to 0"));
    assert_int_equal(delta_snapshot_open(conn, "/no/such", 1, &snapshot, &err),
                     SHOAL_USER);
    assert_int_equal(delta_snapshot_open(conn, "/", 1, &snapshot, &err), SHOAL_USER);
}

static void test_broken(void **state) {
    static const struct {
        const char *commit, *words;
    } logs[] = {
        {"", "00000000000000000000.json is empty"},
        {"\n \n", "00000000000000000000.json is empty"},
        {PLAIN "{\"add\":{\"pa", "line 3 of"},
        {PLAIN "[1]\n", "line 3 of"},
        {PLAIN "{\"add\":{}}\n", "an \"add\" without a path"},
        {PLAIN "{\"remove\":{\"path\":3}}\n", "a \"remove\" without a path"},
        {PLAIN "{\"txn\":{\"appId\":\"x\"}}\n", "a \"txn\" without"},
        {PLAIN "{\"add\":[]}{}\n", "line 3 of"},
        {PROTOCOL ADD("one"), "no metaData"},
        {METADATA(FIELD("a", INT), "", "") ADD("one"), "no protocol"},
        {PROTOCOL "{\"metaData\":{\"schemaString\":\"{\"}}\n", "no schema"},
        {PROTOCOL "{\"metaData\":{\"schemaString\":7}}\n", "no schema"},
        {PROTOCOL "{\"metaData\":{\"schemaString\":\"{\\\"fields\\\":[3]}\"}}\n",
         "no name or no type"},
        {PROTOCOL METADATA(FIELD("a", INT) "," FIELD("A", INT), "", ""), "the same name"},
        {PROTOCOL METADATA(FIELD("a", INT), "\"b\"", ""), "is none of the schema"},
        {PROTOCOL METADATA(FIELD("a", INT), "\"a\"", ""), "all columns are"},
        {PROTOCOL METADATA(
             FIELD("a", INT) "," FIELD("b", INT), "\"b\"",
             "") "{\"add\":{\"path\":\"one\",\"partitionValues\":{\"b\":3}}}\n",
         "no text for the partition column b"},
        {PROTOCOL METADATA(FIELD("a", INT) "," FIELD("b", INT), "\"b\"",
                           "") "{\"add\":{\"path\":\"one\"}}\n",
         "no text for the partition column b"},
        {PROTOCOL METADATA("", "", ""), "has no columns"},
        // what shoal does not read
        {PROTOCOL METADATA(FIELD("a", INT), "", "\"delta.columnMapping.mode\":\"name\""),
         "column mapping by name"},
        {"{\"protocol\":{\"minReaderVersion\":4}}\n" METADATA(FIELD("a", INT), "", ""),
         "reader version 4"},
        {"{\"protocol\":{\"minReaderVersion\":3,\"readerFeatures\":[\"deletionVectors\","
         "\"variantType\"]}}\n" METADATA(FIELD("a", INT), "", ""),
         "the table feature variantType"},
        {PROTOCOL METADATA(FIELD("a", "\\\"variant\\\""), "", "") ADD("one"),
         "type \"variant\", which is not read"},
        {PROTOCOL METADATA(FIELD("a", "{\\\"type\\\":\\\"array\\\"}"), "", "") ADD("one"),
         "which is not read"},
        {PROTOCOL METADATA(FIELD("a", "\\\"decimal(39,2)\\\""), "", "") ADD("one"),
         "which is not read"},
        {PROTOCOL METADATA(FIELD("a", INT) "," FIELD("b", "\\\"binary\\\""), "\"b\"", ""),
         "the partition column of binary b"},
        {PLAIN ADD("s3://bucket/one"), "not in a local folder: s3://bucket/one"},
        {PLAIN ADD("a%2Ab"), "* ? ["},
        {PLAIN ADD("a%00b"), "* ? ["},
    };
    (void)state;
    for (size_t i = 0; i < sizeof logs / sizeof *logs; i++) {
        commit(0, logs[i].commit);
        refused(logs[i].words);
    }
}

static void test_deep(void **state) {
    struct text log = {0};
    (void)state;
    text_append(
        &log, PROTOCOL
        "{\"metaData\":{\"partitionColumns\":[],\"schemaString\":\"{\\\"fields\\\":"
        "[{\\\"name\\\":\\\"a\\\",\\\"type\\\":");
    for (int i = 0; i < 500; i++)
        text_append(&log, "{\\\"type\\\":\\\"array\\\",\\\"elementType\\\":");
    text_append(&log, INT);
    for (int i = 0; i < 500; i++) text_append(&log, "}");
    text_append(&log, "}]}\"}}\n" ADD("one"));
    commit(0, log.data);
    refused("nested deeper than 100");
    text_free(&log);
}

// ---- the subquery

static void test_scans(void **state) {
    (void)state;
    data("it's");
    data("no statistics");
    commit(0, PLAIN);
    scanned("(SELECT CAST(NULL AS INTEGER) AS \"a\" WHERE false)");
    commit(1,
           "{\"add\":{\"path\":\"it's\",\"partitionValues\":{},\"stats\":\"{"
           "\\\"nullCount\\\":{\\\"a\\\":0}}\"}}\n");
    scanned("it''s'])");
    commit(2, ADD("no%20statistics"));
    scanned("/no statistics'], union_by_name = true)");
    commit(3, METADATA(FIELD("a", INT) "," FIELD("b", STRING), "", ""));
    scanned(
        "SELECT CAST(\"a\" AS INTEGER) AS \"a\", CAST(NULL AS VARCHAR) AS \"b\" FROM");
}

// The first file has less of a column than the second, and the statistics don't say so.
static void test_fields(void **state) {
    (void)state;
    data_of("1", "1 AS i, [{'a': 1}] AS a");
    data_of("2", "1 AS i, [{'a': 1, 'b': 2}] AS a");
#define COUNTED(path)                         \
    "{\"add\":{\"path\":\"" path              \
    "\",\"partitionValues\":{},\"stats\":\"{" \
    "\\\"nullCount\\\":{\\\"i\\\":0}}\"}}\n"
    commit(0, PROTOCOL METADATA(
                  FIELD("i", INT) "," FIELD(
                      "a", "{\\\"type\\\":\\\"array\\\",\\\"elementType\\\":" SCHEMA(
                               FIELD("a", INT) "," FIELD("b", INT)) "}"),
                  "", "") COUNTED("1"));
    commit(1, COUNTED("2"));
    scanned("union_by_name = true");
    commit(2, REMOVE("1"));
    scanned("/2'])");
}

#define TWO PROTOCOL METADATA(FIELD("a", INT) "," FIELD("g", STRING), "\"g\"", "")
#define IN(path, value) \
    "{\"add\":{\"path\":\"" path "\",\"partitionValues\":{\"g\":" value "}}}\n"

static void test_partitions(void **state) {
    static const struct {
        const char *files, *words;
    } tables[] = {
        {IN("g=x/1", "\"x\"") IN("g=a%2520b/1", "\"a b\"")
             IN("g=__HIVE_DEFAULT_PARTITION__/1", "null"),
         "hive_types = {\"g\": 'VARCHAR'}"},
        {IN("g=__HIVE_DEFAULT_PARTITION__/1", "\"\""), "hive_types = {\"g\": 'VARCHAR'}"},
        {IN("g=x/1", "\"y\""), "CAST('y' AS VARCHAR) AS \"g\""},
        {IN("g=null/1", "\"null\""), "CAST('null' AS VARCHAR) AS \"g\""},
        {IN("g=x/1", "null"), "CAST(NULL AS VARCHAR) AS \"g\""},
        {ADD("2"), "CAST(NULL AS VARCHAR) AS \"g\""},
        {IN("1", "\"it's\""), "CAST('it''s' AS VARCHAR) AS \"g\""},
        {IN("a=1/g=x/1", "\"x\""), "CAST('x' AS VARCHAR) AS \"g\""},
        {IN("g=x/1", "\"x\"") IN("2", "\"x\"") IN("3", "\"z\""), " UNION ALL SELECT"},
        {IN("g=x/1", "\"x\"") IN("2", "\"x\""), "hive_types = {\"g\": 'VARCHAR'}"},
    };
    static const char *const files[] = {
        "g=x/1",    "g=a%20b/1", "g=__HIVE_DEFAULT_PARTITION__/1",
        "g=null/1", "a=1/g=x/1", "1",
        "2",        "3"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) data(files[i]);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        struct text log = {0};
        text_printf(&log, "%s%s", TWO, tables[i].files);
        commit(0, log.data);
        scanned(tables[i].words);
        text_free(&log);
    }
}

static void test_many_partitions(void **state) {
    struct text log = {0};
    (void)state;
    text_append(&log, TWO);
    for (int i = 0; i < 501; i++)
        text_printf(&log,
                    "{\"add\":{\"path\":\"%d\",\"partitionValues\":{\"g\":\"%d\"}}}\n", i,
                    i);
    commit(0, log.data);
    refused("has 501 partitions whose values are not in the names of their folders");
    text_free(&log);
}

// ---- types

static void test_types(void **state) {
    static const char *const both[] = {
        "VARCHAR",
        "BIGINT",
        "INTEGER",
        "SMALLINT",
        "TINYINT",
        "FLOAT",
        "DOUBLE",
        "BOOLEAN",
        "BLOB",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP WITH TIME ZONE",
        "DECIMAL(38,0)",
        "INTEGER[][]",
        "STRUCT(\"a\" INTEGER, \"b c\" STRUCT(\"d\"\"e\" VARCHAR[]))",
        "MAP(VARCHAR, MAP(DATE, DECIMAL(5,2))[])"};
    static const char *const none[] = {"HUGEINT",
                                       "UBIGINT",
                                       "TIME",
                                       "INTERVAL",
                                       "UUID",
                                       "ENUM('a', 'b')",
                                       "BIT",
                                       "TIMESTAMP_NS",
                                       "TIME WITH TIME ZONE",
                                       "STRUCT(a UUID)[]",
                                       "UNION(a INTEGER, b VARCHAR)",
                                       "",
                                       "MAP(",
                                       "INTEGER x"};
    (void)state;
    for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
        struct text back = {0};
        struct shoal_error err;
        json_t *type = NULL;
        bool ntz = false;
        assert_int_equal(delta_type_from_duck(both[i], "c", &type, &ntz, &err), SHOAL_OK);
        assert_int_equal(ntz, strcmp(both[i], "TIMESTAMP") == 0);
        assert_int_equal(delta_type_to_duck(type, "c", &back, &err), SHOAL_OK);
        assert_string_equal(back.data, both[i]);
        assert_true(delta_type_same(type, type));
        json_decref(type);
        text_free(&back);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct shoal_error err;
        json_t *type = NULL;
        bool ntz = false;
        assert_int_equal(delta_type_from_duck(none[i], "c", &type, &ntz, &err),
                         SHOAL_USER);
        assert_non_null(strstr(err.message, "can't hold the column c"));
    }
}

// ---- statements: @ stands for the table's folder, # for what it becomes

static char *fill(const char *pattern, char mark, const char *with) {
    struct text out = {0};
    text_append(&out, "");
    for (const char *c = pattern; *c; c++) {
        if (*c == mark) {
            text_append(&out, with);
        } else {
            text_append_bytes(&out, c, 1);
        }
    }
    return text_take(&out);
}

static void rewritten(const char *pattern, const char *expected) {
    char *sql = fill(pattern, '@', dir), *out = NULL;
    char *want = expected == NULL ? NULL
                                  : fill(expected, '#',
                                         "(SELECT CAST(NULL AS INTEGER) AS \"a\" WHERE "
                                         "false)");
    struct shoal_error err;
    assert_int_equal(delta_rewrite(conn, sql, &out, &err), SHOAL_OK);
    if (want == NULL) {
        if (out != NULL) print_error("%s\n", out);
        assert_null(out);
    } else {
        char *whole = fill(want, '@', dir);
        assert_non_null(out);
        assert_string_equal(out, whole);
        free(whole);
    }
    free(want);
    free(out);
    free(sql);
}

static void test_finds(void **state) {
    (void)state;
    commit(0, PLAIN);
    rewritten("SELECT * FROM delta_scan('@') t", "SELECT * FROM # t");
    rewritten("FROM Delta_Scan ( '@' , version => 0 ), '@'", "FROM #, #");
    rewritten("FROM range(1, 2) r, '@' JOIN \"@\" USING (a)",
              "FROM range(1, 2) r, # JOIN # USING (a)");
    rewritten("FROM ('@' JOIN '@' USING (a)) WHERE a IN (1, 2)",
              "FROM (# JOIN # USING (a)) WHERE a IN (1, 2)");
    rewritten("COPY (FROM '@') TO '@'", "COPY (FROM #) TO '@'");
    rewritten("INSERT INTO t FROM '@'", "INSERT INTO t FROM #");
    rewritten("DESCRIBE '@'", "DESCRIBE FROM #");
    rewritten("SELECT e'it\\'s', a FROM '@'", "SELECT e'it\\'s', a FROM #");
    rewritten("SELECT (SELECT max(a) FROM '@'), '@' FROM t, '@' GROUP BY a, '@'",
              "SELECT (SELECT max(a) FROM #), '@' FROM t, # GROUP BY a, '@'");
}

static void test_leaves(void **state) {
    static const char *const others[] = {
        "SELECT '@', a FROM t",
        "SELECT 1 IS NOT DISTINCT FROM '@', '@'",
        "SELECT trim('x' FROM '@')",
        "SELECT ' FROM ''@'' ' -- FROM '@'",
        "SELECT 1 /* delta_scan('@') */",
        "COPY t FROM '@'",
        "COPY (SELECT 1) TO '@'",
        "DELETE FROM \"@\" WHERE a = '@'",
        "FROM '@/none', 'no/such', ''",
        "FROM \"@\".t",
        "WITH \"@\" AS (SELECT 1) FROM \"@\"",
        "WITH \"@\"(a) AS MATERIALIZED (SELECT 1) FROM \"@\"",
        "SELECT x.delta_scan('@')",
        "SELECT delta_scan FROM delta_scan",
        "FROM '@",
        ""};
    struct shoal_error err;
    (void)state;
    commit(0, PLAIN);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        rewritten(others[i], NULL);
    char *create = fill("CREATE TEMP VIEW \"@\" AS SELECT 1", '@', dir);
    assert_int_equal(duck_run(conn, create, &err), SHOAL_OK);
    rewritten("FROM \"@\"", NULL);
    rewritten("FROM '@'", "FROM #");
    free(create);
}

static void test_bad_calls(void **state) {
    static const char *const calls[] = {
        "FROM delta_scan()",
        "FROM delta_scan(x)",
        "FROM delta_scan('@', 3)",
        "FROM delta_scan('@', version := )",
        "FROM delta_scan('@' || 'x')",
        "FROM delta_scan('@', version := -1)",
        "FROM delta_scan('@', version := 99999999999999999999)",
        "FROM delta_scan('@', version := 0, x := 1)",
        "FROM delta_scan('@'",
        "FROM delta_scan('@', version",
        "FROM delta_scan('s3://b/t')",
        "FROM delta_scan('@/none')",
        "FROM delta_scan('@', version := 1)"};
    (void)state;
    commit(0, PLAIN);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char *sql = fill(calls[i], '@', dir), *out = NULL;
        struct shoal_error err;
        shoal_status status = delta_rewrite(conn, sql, &out, &err);
        if (status != SHOAL_USER) print_error("%s\n", sql);
        assert_int_equal(status, SHOAL_USER);
        assert_null(out);
        free(sql);
    }
}

// ---- anything at all

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

// A good log with bytes changed, left out and doubled, and tokens that mean something in
// the wrong place.
static void test_mutations(void **state) {
    static const char good[] = TWO IN("g=x/1", "\"x\"") IN("2", "null") REMOVE("2")
        "{\"txn\":{\"appId\":\"x\",\"version\":3}}\n{\"commitInfo\":{\"a\":[1.5,{}]}}\n";
    static const char *const pieces[] = {
        "null",      "{}",  "[]",        "\"\"", "1e999", "-1",
        "\\u0000",   "\n",  "{\"add\":", "true", "\\",    "99999999999999999999",
        "\"type\":", "%00", "\xff"};
    uint32_t seed = 7;
    size_t read = 0;
    (void)state;
    data("g=x/1");
    data("2");
    for (int round = 0; round < 3000; round++) {
        char log[4096];
        size_t size = sizeof good - 1;
        memcpy(log, good, size);
        for (uint32_t change = next_random(&seed) % 4 + 1; change > 0; change--) {
            size_t at = next_random(&seed) % size;
            const char *piece =
                pieces[next_random(&seed) % (sizeof pieces / sizeof *pieces)];
            size_t length = strlen(piece);
            switch (next_random(&seed) % 4) {
                case 0:
                    log[at] = (char)next_random(&seed);
                    break;
                case 1:
                    size = at + 1;
                    break;
                case 2:
                    memmove(log + at, log + at + 1, size - at - 1);
                    size -= size > 1;
                    break;
                default:
                    memmove(log + at + length, log + at, size - at);
                    memcpy(log + at, piece, length);
                    size += length;
            }
        }
        struct delta_snapshot *snapshot = NULL;
        struct shoal_error err = {0};
        struct text sql = {0};
        put("00000000000000000000.json", log, size);
        shoal_status status = delta_snapshot_open(conn, dir, 0, &snapshot, &err);
        if (status == SHOAL_OK) status = delta_scan_sql(conn, snapshot, &sql, &err);
        read += status == SHOAL_OK;
        assert_true(status == SHOAL_OK || (status == SHOAL_USER && err.message[0]));
        delta_snapshot_free(snapshot);
        text_free(&sql);
    }
    assert_true(read > 100 && read < 2900);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_commits),    TEST(test_names),           TEST(test_vectors),
        TEST(test_checkpoint), TEST(test_parts),           TEST(test_sidecars),
        TEST(test_gaps),       TEST(test_versions),        TEST(test_broken),
        TEST(test_deep),       TEST(test_scans),           TEST(test_fields),
        TEST(test_partitions), TEST(test_many_partitions), TEST(test_types),
        TEST(test_finds),      TEST(test_leaves),          TEST(test_bad_calls),
        TEST(test_mutations)};
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
