// Block files: every type goes through a scatter and comes back, and what was damaged on
// the way is an error with its place.
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "block/format.h"
#include "support/harness.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static struct duck *duck;
static struct duck_conn *conn;
static char folder[] = "/tmp/shoal_block_XXXXXX";
static char memory[] = "/tmp/shoal_memory_XXXXXX";
static uint64_t grant;  // of what is written; 0: to disk at once
static size_t lent;     // bytes of each of two spares beside it
static ino_t lent_first;
static bool compress;
static bool counted;
static bool in_order;  // one file, written as the rows come

static bool make_folder(char *template) {
    memset(template + strlen(template) - 6, 'X', 6);
    return mkdtemp(template) != NULL;
}

static int set_up(void **state) {
    (void)state;
    struct shoal_error err;
    struct duck_options options = {.threads = 2};
    if (!make_folder(folder) || !make_folder(memory)) return -1;
    if (duck_open(&duck, &options, &err) != SHOAL_OK) return -1;
    if (duck_connect(duck, &conn, &err) != SHOAL_OK) return -1;
    return block_register(conn, &err) == SHOAL_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    duck_disconnect(conn);
    duck_close(duck);
    return rmdir(folder) == 0 ? rmdir(memory) : -1;
}

static void run(const char *sql) {
    struct shoal_error err;
    if (duck_run(conn, sql, &err) != SHOAL_OK) fail_msg("%s\n%s", sql, err.message);
}

static char *value_of(const char *sql) {
    struct shoal_error err;
    char *value = NULL;
    if (duck_scalar(conn, sql, &value, &err) != SHOAL_OK)
        fail_msg("%s\n%s", sql, err.message);
    return value;
}

// Two files of rubbish for what is written at that path.
static void lend(const char *path) {
    for (unsigned i = 0; i < 2 && lent > 0; i++) {
        struct text name = {0};
        text_printf(&name, BLOCK_SPARE, path, i);
        FILE *file = fopen(name.data, "wx");
        assert_non_null(file);
        char rubbish[4096];
        memset(rubbish, 0x5a, sizeof rubbish);
        for (size_t b = 0; b < lent; b += sizeof rubbish)
            assert_int_equal(fwrite(rubbish, sizeof rubbish, 1, file), 1);
        struct stat info;
        assert_int_equal(fstat(fileno(file), &info), 0);
        if (i == 0) lent_first = info.st_ino;
        assert_int_equal(fclose(file), 0);
        text_free(&name);
    }
}

static void take_back(const char *path) {
    for (unsigned i = 0; i < 2 && lent > 0; i++) {
        struct text name = {0};
        text_printf(&name, BLOCK_SPARE, path, i);
        (void)unlink(name.data);
        text_free(&name);
    }
}

// Writes a SELECT; its files, and the status of the statement, come back.
static shoal_status write_blocks(const char *select, uint32_t partitions,
                                 enum block_scatter scatter, bool per_thread,
                                 struct block_output *output, struct shoal_error *err) {
    static int number;
    struct text target = {0};
    struct text names = {0};
    text_printf(&target, "%s/t%d", folder, number);
    text_printf(&names, "%s/t%d", memory, number++);
    struct block_storage storage = {names.data, grant, compress, true, counted};
    assert_int_equal(
        block_bind_output(target.data, &storage, partitions, scatter, NULL, err),
        SHOAL_OK);
    enum block_order order = in_order     ? BLOCK_IN_ORDER
                             : per_thread ? BLOCK_EACH_THREAD
                                          : BLOCK_ANY_ORDER;
    if (order == BLOCK_EACH_THREAD) assert_int_equal(mkdir(target.data, 0700), 0);
    lend(names.data);
    shoal_status status = block_write_select(conn, select, target.data, order, err);
    block_take_output(target.data, output);
    take_back(names.data);
    rmdir(target.data);  // of threads' files: all of them may be in memory
    text_free(&names);
    text_free(&target);
    return status;
}

static void remove_blocks(struct block_output *output) {
    for (size_t i = 0; i < output->count; i++) {
        unlink(output->files[i].path);
        char *slash = strrchr(output->files[i].path, '/');
        *slash = '\0';
        if (strncmp(output->files[i].path, folder, sizeof folder - 1) == 0 &&
            strcmp(output->files[i].path, folder) != 0) {
            rmdir(output->files[i].path);
        }
    }
    block_output_free(output);
}

static void bind_part(const char *key, const struct block_output *output,
                      int32_t partition, struct block_read how) {
    struct shoal_error err;
    struct block_segment *segments = calloc(output->count + 1, sizeof *segments);
    for (size_t i = 0; i < output->count; i++) {
        segments[i] = (struct block_segment){
            output->files[i].path, partition < 0 ? 0 : (uint32_t)partition,
            partition < 0 ? BLOCK_LAST : (uint32_t)partition};
    }
    assert_int_equal(block_bind_input(key, 0, segments, output->count, &how, &err),
                     SHOAL_OK);
    free(segments);
}

static void bind_all(const char *key, const struct block_output *output,
                     int32_t partition) {
    bind_part(key, output, partition, (struct block_read){0});
}

// Tells multisets of rows apart: how many there are, and the sum of their hashes.
static char *rows_of(const char *source) {
    struct text sql = {0};
    text_printf(&sql,
                "SELECT count(*) || ', ' || coalesce(sum(CAST(hash(r) AS HUGEINT)), 0) "
                "FROM %s AS r",
                source);
    char *rows = value_of(sql.data);
    text_free(&sql);
    return rows;
}

// Each row of v is one of the source's, and the other way round; told exactly of a few
// rows, as that takes long of many.
#define FEW_ROWS 10000

static void same_rows(const char *create, const char *source, uint64_t rows) {
    char *written = rows_of("v");
    char *found = rows_of(source);
    if (strcmp(written, found) != 0)
        fail_msg("%s: rows differ (count, sum of hashes): %s, not %s", create, found,
                 written);
    free(written);
    free(found);
    if (rows > FEW_ROWS) return;
    struct text sql = {0};
    text_printf(&sql,
                "SELECT (SELECT count(*) FROM (FROM v EXCEPT ALL FROM %s)) "
                "+ (SELECT count(*) FROM (FROM %s EXCEPT ALL FROM v))",
                source, source);
    char *differences = value_of(sql.data);
    if (strcmp(differences, "0") != 0)
        fail_msg("%s: %s rows differ", create, differences);
    free(differences);
    text_free(&sql);
}

// The types are in a table v; out and back must give the same multiset, whatever the
// number of partitions.
static void round_trip(const char *create, uint32_t partitions, bool per_thread) {
    struct shoal_error err;
    struct block_output output;
    struct schema schema;
    run(create);
    shoal_status status = write_blocks("SELECT hash(v), * FROM v", partitions, BLOCK_HASH,
                                       per_thread, &output, &err);
    if (status != SHOAL_OK) fail_msg("%s", err.message);
    assert_int_equal(duck_describe(conn, "SELECT * FROM v", &schema, &err), SHOAL_OK);
    bind_all("all", &output, -1);
    char *source = block_input_sql("all", 0, &schema);
    char *rows = value_of("SELECT count(*) FROM v");
    uint64_t row_count = strtoull(rows, NULL, 10);
    free(rows);
    same_rows(create, source, row_count);
    free(source);
    block_release_inputs("all");

    uint64_t in_memory = 0;
    for (size_t f = 0; f < output.count; f++) in_memory += output.files[f].memory;
    assert_true(in_memory <= grant);

    // The partitions are disjoint, complete and counted.
    uint64_t total = 0;
    for (uint32_t p = 0; p < partitions; p++) {
        uint64_t told = 0;
        for (size_t f = 0; f < output.count; f++) told += output.files[f].rows[p];
        bind_all("part", &output, (int32_t)p);
        struct text sql = {0};
        source = block_input_sql("part", 0, &schema);
        text_printf(&sql, "SELECT count(*) FROM %s", source);
        char *count = value_of(sql.data);
        assert_int_equal(strtoull(count, NULL, 10), told);
        total += told;
        free(count);
        text_free(&sql);
        free(source);
        block_release_inputs("part");
    }
    assert_int_equal(row_count, total);
    schema_free(&schema);
    remove_blocks(&output);
    run("DROP TABLE v");
}

static void every_type_comes_back(void **state) {
    (void)state;
    static const char *const values[] = {
        "i::TINYINT, i::UTINYINT, i::SMALLINT, i::USMALLINT, i::INTEGER, i::UINTEGER",
        "i::BIGINT, i::UBIGINT, i::HUGEINT * 1000000000000000000000, i::UHUGEINT, "
        "i::FLOAT",
        "i::DECIMAL(4,1), i::DECIMAL(9,2), i::DECIMAL(18,3), i::DECIMAL(38,4), i % 2 = 0",
        "DATE '2000-01-01' + i::INTEGER, TIME '10:00:00' + to_seconds(i), "
        "TIMESTAMP '2000-01-01' + to_days(i::INTEGER), TIMESTAMPTZ '2000-01-01 "
        "00:00:00+02'",
        "TIMESTAMP_S '2001-01-01', TIMESTAMP_MS '2001-01-01', TIMESTAMP_NS '2001-01-01'",
        "INTERVAL (i) MONTH, uuid(), 'x' || i, repeat('ab', i::INTEGER), ('b' || "
        "i)::BLOB",
        "'10101'::BIT, CASE i % 3 WHEN 0 THEN 'nan'::DOUBLE WHEN 1 THEN '-inf' ELSE -0.0 "
        "END",
        "range(i % 7), [[i, NULL], NULL, []], ['x' || i], [{'a': i, 'b': [NULL, 'q' || "
        "i]}]",
        "{'a': i, 'b': {'c': 'z' || i, 'd': [i]}}, MAP {i: 'v', i + 1: NULL}",
        "[i, i + 1, NULL]::INTEGER[3], union_value(n := i)::UNION(n BIGINT, s VARCHAR)",
        "(CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END)::ENUM('a', 'b'), (i * "
        "7)::VARCHAR::BIGNUM",
    };
    static const uint32_t partitions[] = {1, 7, 64};
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
        for (size_t p = 0; p < 3; p++) {
            struct text sql = {0};
            compress = (v + p) % 2;
            text_printf(&sql,
                        "CREATE TABLE v AS SELECT CASE WHEN i %% 5 = 3 THEN NULL ELSE "
                        "COLUMNS(*) END FROM (SELECT i, %s FROM range(100) r(i))",
                        values[v]);
            round_trip(sql.data, partitions[p], p == 2);
            text_free(&sql);
        }
    }
    compress = false;
}

static void round_trip_sizes(void) {
    round_trip("CREATE TABLE v AS SELECT 1 AS a, 'x' AS b WHERE false", 7, false);
    round_trip("CREATE TABLE v AS SELECT repeat('y', 3000000) AS s, NULL::INTEGER AS n",
               3, false);
    round_trip(
        "CREATE TABLE v AS SELECT i, i % 10 AS k, 'row ' || i AS s, "
        "CASE WHEN i % 1000 = 7 THEN [i, i] END AS l FROM range(400000) r(i)",
        16, true);
    // Staged; past what the writer keeps in memory; and rows too long to stage with
    // others.
    round_trip(
        "CREATE TABLE v AS SELECT i, CASE WHEN i % 9 > 0 THEN 'a string of some "
        "length, number ' || i END AS s, [i, NULL] AS l, {'a': i, 'b': 's' || i} AS r "
        "FROM range(700000) r(i)",
        200, false);
    round_trip(
        "CREATE TABLE v AS SELECT i, repeat('z', CASE WHEN i % 500 = 3 THEN 9000000 "
        "ELSE i % 7 END) AS s FROM range(3000) r(i)",
        40, false);
}

// Short strings are in their place, longer ones' bytes elsewhere; both lie side by side,
// among nulls, alone and in lists, as they come and staged.
static void strings_of_each_length_come_back(void **state) {
    (void)state;
    static const uint32_t partitions[] = {1, 5, 50};
    for (size_t p = 0; p < sizeof partitions / sizeof *partitions; p++) {
        round_trip(
            "CREATE TABLE v AS SELECT i, "
            "if(i % 7 = 0, NULL, left(repeat(md5(i::VARCHAR), 2), (i % 41)::INT)) AS s, "
            "repeat('\xF0\x9F\x90\x9F', (i % 5)::INT) AS wide, "
            "[if((i + k) % 5 = 0, NULL, left(md5(k::VARCHAR), ((i * 13 + k) % 33)::INT)) "
            "FOR k IN range(i % 4)] AS l, "
            "if(i % 1000 = 0, repeat(i::VARCHAR, 30000), 'x') AS long "
            "FROM range(9000) r(i)",
            partitions[p], false);
    }
}

static void sizes_from_nothing_to_many_chunks(void **state) {
    (void)state;
    round_trip_sizes();
    compress = true;
    round_trip_sizes();
    compress = false;
}

// What the grant has no room for goes to a second file, whoever gets there first.
static void blocks_fill_memory_first(void **state) {
    (void)state;
    static const char select[] =
        "SELECT hash(i), i, 'row ' || i AS s FROM range(200000) r(i)";
    static const uint64_t grants[] = {1, 5000, 100000, 1000000, 1u << 30};
    struct shoal_error err;
    struct block_output output;
    for (size_t g = 0; g < sizeof grants / sizeof *grants; g++) {
        grant = grants[g];
        for (uint32_t partitions = 1; partitions < 50; partitions += 47) {
            round_trip(
                "CREATE TABLE v AS SELECT i, 'row ' || i AS s FROM range(300000) r(i)",
                partitions, partitions > 1);
        }
        assert_int_equal(write_blocks(select, 4, BLOCK_HASH, false, &output, &err),
                         SHOAL_OK);
        uint64_t there = 0, rows = 0;
        for (size_t f = 0; f < output.count; f++) {
            struct stat stat_of;
            assert_int_equal(stat(output.files[f].path, &stat_of), 0);
            bool in_memory = output.files[f].memory > 0;
            assert_int_equal(
                strncmp(output.files[f].path, memory, sizeof memory - 1) == 0, in_memory);
            if (in_memory) there += (uint64_t)stat_of.st_size;
            for (uint32_t p = 0; p < 4; p++) rows += output.files[f].rows[p];
        }
        assert_int_equal(rows, 200000);
        assert_int_equal(output.count, grant > 100000 && grant < 1u << 30 ? 2 : 1);
        assert_true(there <= grant && (there > 0) == (grant > 100000));
        remove_blocks(&output);
    }
    grant = 0;
}

// Spares that are longer than what is written, or shorter, leave no trace, by one writer
// or two.
static void spares_are_written_over(void **state) {
    (void)state;
    static const char select[] =
        "SELECT hash(i), i, 'row ' || i AS s FROM range(20000) r(i)";
    static const size_t sizes[] = {1, 100000, 16u << 20};
    struct shoal_error err;
    struct block_output output;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (int way = 0; way < 3; way++) {
            lent = sizes[s];
            grant = way == 2 ? 1000000 : 1u << 30;
            round_trip(
                "CREATE TABLE v AS SELECT i, 'row ' || i AS s FROM range(300000) r(i)", 5,
                way > 0);
        }
        struct stat written;
        grant = 1u << 30;
        assert_int_equal(write_blocks(select, 4, BLOCK_HASH, false, &output, &err),
                         SHOAL_OK);
        assert_int_equal(output.count, 1);
        assert_int_equal(stat(output.files[0].path, &written), 0);
        assert_int_equal(written.st_ino, lent_first);
        assert_int_equal(output.files[0].memory,
                         ((uint64_t)written.st_size + 4095) / 4096 * 4096);
        remove_blocks(&output);
    }
    grant = lent = 0;
}

// Who reads on in a file that became another's spare finds chunks of the same size there.
static void chunks_of_another_writer_are_told(void **state) {
    (void)state;
    struct shoal_error err;
    struct block_output outputs[2];
    struct schema schema;
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            write_blocks(i ? "SELECT hash(0), hash(i + 9) AS i FROM range(50000) r(i)"
                           : "SELECT hash(0), hash(i) AS i FROM range(50000) r(i)",
                         1, BLOCK_HASH, false, &outputs[i], &err),
            SHOAL_OK);
    FILE *old = fopen(outputs[0].files[0].path, "r+");
    FILE *other = fopen(outputs[1].files[0].path, "r");
    assert_true(old != NULL && other != NULL);
    struct block_footer footer;
    assert_int_equal(fseek(old, -(long)sizeof footer, SEEK_END), 0);
    assert_int_equal(fread(&footer, sizeof footer, 1, old), 1);
    uint8_t *body = malloc(footer.index_offset);
    assert_non_null(body);
    assert_int_equal(fread(body, footer.index_offset, 1, other), 1);
    assert_int_equal(fseek(old, 0, SEEK_SET), 0);
    assert_int_equal(fwrite(body, footer.index_offset, 1, old), 1);
    fclose(old);
    fclose(other);
    free(body);
    assert_int_equal(duck_describe(conn, "SELECT hash(0) AS i", &schema, &err), SHOAL_OK);
    bind_all("all", &outputs[0], -1);
    char *source = block_input_sql("all", 0, &schema);
    struct text sql = {0};
    char *value = NULL;
    text_printf(&sql, "SELECT max(i) FROM %s", source);
    assert_int_not_equal(duck_scalar(conn, sql.data, &value, &err), SHOAL_OK);
    if (strstr(err.message, "differs from the index") == NULL)
        fail_msg("%s", err.message);
    text_free(&sql);
    free(source);
    block_release_inputs("all");
    schema_free(&schema);
    for (int i = 0; i < 2; i++) remove_blocks(&outputs[i]);
}

// A sample is of all rows of its writer, in whichever files they are.
static void a_sample_knows_its_rows(void **state) {
    (void)state;
    struct shoal_error err;
    struct block_output output;
    grant = 1000000;
    assert_int_equal(
        write_blocks(
            "SELECT create_sort_key(i, 'ASC NULLS LAST'), i, 'row ' || i AS s FROM "
            "range(200000) r(i)",
            1, BLOCK_SAMPLE, false, &output, &err),
        SHOAL_OK);
    grant = 0;
    assert_int_equal(output.count, 2);
    assert_int_equal(output.files[0].sample.count, 0);
    assert_int_equal(output.files[1].sample.count, 1000);
    assert_int_equal(output.files[1].sample_rows, 200000);
    remove_blocks(&output);
}

// A key's hash as hash(keys) gives it.
static uint64_t hash_of(const char *key) {
    struct text sql = {0};
    text_printf(&sql, "SELECT hash(%s)", key);
    char *value = value_of(sql.data);
    uint64_t hash = strtoull(value, NULL, 10);
    free(value);
    text_free(&sql);
    return hash;
}

// Staged or not, by one writer or by several, in one file or in two.
static void frequent_keys_are_known(void **state) {
    (void)state;
    struct shoal_error err;
    for (int way = 0; way < 6; way++) {
        struct block_output output;
        struct sketch all;
        struct sketch_key keys[SKETCH_COUNTERS];
        size_t sketches = 0;
        grant = way % 3 == 2 ? 1000000 : 0;
        assert_int_equal(
            write_blocks("SELECT hash(k), k, i FROM (SELECT i, CASE WHEN i % 10 < 3 THEN "
                         "-1 WHEN i % 10 < 5 THEN NULL ELSE i END AS k FROM "
                         "range(1000000) r(i))",
                         way < 3 ? 16 : 100, BLOCK_HASH, way % 3 == 1, &output, &err),
            SHOAL_OK);
        sketch_clear(&all);
        for (size_t f = 0; f < output.count; f++) {
            if (output.files[f].keys == NULL) continue;
            sketch_merge(&all, output.files[f].keys);
            sketches++;
        }
        if (way % 3 == 1) {
            assert_int_equal(sketches, output.count);
        } else {
            assert_int_equal(sketches, 1);
            assert_int_equal(output.count, grant > 0 ? 2 : 1);
        }
        assert_int_equal(all.rows, 1000000);
        assert_int_equal(sketch_heavy(&all, 10000, keys), 2);
        assert_int_equal(keys[0].key, hash_of("-1::BIGINT"));
        assert_int_equal(keys[1].key, hash_of("NULL::BIGINT"));
        assert_true(keys[0].rows > 290000 && keys[0].rows < 310000);
        assert_true(keys[1].rows > 190000 && keys[1].rows < 210000);
        double distinct = sketch_distinct(&all);
        assert_true(distinct > 425000 && distinct < 575000);
        remove_blocks(&output);
    }
    grant = 0;
}

// A key that is there twice, or begins as another, is not cut so that it can't be told.
static void samples_tell_long_keys_apart(void **state) {
    (void)state;
    struct shoal_error err;
    struct block_output output;
    assert_int_equal(
        write_blocks("SELECT (CASE WHEN i % 3 = 0 THEN repeat('x', 1000) WHEN i % 3 = 1 "
                     "THEN repeat('y', 500) || i ELSE i || repeat('z', 5000) END)::BLOB, "
                     "i FROM range(900) r(i)",
                     1, BLOCK_SAMPLE, false, &output, &err),
        SHOAL_OK);
    const struct keys *sample = &output.files[0].sample;
    size_t whole = 0, apart = 0, cut = 0;
    assert_int_equal(sample->count, 900);
    for (size_t k = 0; k < sample->count; k++) {
        const struct key *key = &sample->list[k];
        if (key->data[0] == 'x') {
            whole += key->size == 1000;
        } else if (key->data[0] == 'y') {
            bool same = k > 0 && key_compare(key, &sample->list[k - 1]) == 0;
            apart += !same && key->size > 500;
        } else {
            cut += key->size == 128;
        }
    }
    assert_int_equal(whole, 300);
    assert_int_equal(apart, 300);
    assert_int_equal(cut, 300);
    remove_blocks(&output);
}

// Rows of one key go to all parts that it fills, of each writer and also where rows are
// staged.
static void rows_of_one_key_fill_many_partitions(void **state) {
    (void)state;
    struct shoal_error err;
    struct key keys[] = {{(uint8_t *)"a", 1}, {(uint8_t *)"b", 1}, {(uint8_t *)"c", 1}};
    static const uint32_t counts[] = {4, 40};
    for (int c = 0; c < 2; c++) {
        struct weighted_key samples[] = {{&keys[0], 1}, {&keys[1], 2}, {&keys[2], 1}};
        struct block_output output;
        struct text target = {0};
        struct text sql = {0};
        struct bounds bounds;
        uint64_t rows[40] = {0};
        assert_true(bounds_cut(samples, 3, counts[c], SPREAD_SHARE, &bounds));
        text_printf(&target, "%s/range%d", folder, c);
        assert_int_equal(
            block_bind_output(target.data, NULL, counts[c], BLOCK_RANGE, &bounds, &err),
            SHOAL_OK);
        text_printf(&sql,
                    "COPY (SELECT (['a', 'b', 'b', 'c'])[i %% 4 + 1]::BLOB, i FROM "
                    "range(400000) r(i)) TO '%s' (FORMAT shoal, PER_THREAD_OUTPUT true)",
                    target.data);
        run(sql.data);
        block_take_output(target.data, &output);
        for (size_t f = 0; f < output.count; f++) {
            for (uint32_t p = 0; p < counts[c]; p++) rows[p] += output.files[f].rows[p];
        }
        for (uint32_t p = 0; p < counts[c]; p++) {
            uint64_t even = 400000 / counts[c];
            assert_in_range(rows[p], even - 100, even + 100);
        }
        remove_blocks(&output);
        bounds_free(&bounds);
        text_free(&target);
        text_free(&sql);
    }
}

static void expect_error(const char *sql, const char *part) {
    struct shoal_error err;
    assert_int_equal(duck_run(conn, sql, &err), SHOAL_CORRUPT);
    if (strstr(err.message, part) == NULL) fail_msg("%s", err.message);
    assert_true(err.retriable);
}

static uint64_t print_of(const char *select, uint32_t partitions, bool per_thread) {
    struct block_output output;
    struct shoal_error err;
    uint64_t print = 0;
    if (write_blocks(select, partitions, BLOCK_HASH, per_thread, &output, &err) !=
        SHOAL_OK)
        fail_msg("%s: %s", select, err.message);
    for (size_t i = 0; i < output.count; i++) print += output.files[i].print;
    remove_blocks(&output);
    return print;
}

static uint64_t rows_in(const struct block_output *output) {
    uint64_t rows = 0;
    for (size_t i = 0; i < output->count; i++) {
        for (uint32_t p = 0; p < output->partitions; p++)
            rows += output->files[i].rows[p];
    }
    return rows;
}

// Branches run one after the other, each with states of its own; one that fails in the
// midst takes the others' files along; no rows need no file.
static void branches_come_together(void **state) {
    (void)state;
    struct block_output output;
    struct shoal_error err;
    static const char select[] =
        "SELECT hash(i) AS h, i FROM range(100000) t(i) UNION ALL "
        "SELECT hash(i), i FROM range(200000) t(i) UNION ALL "
        "SELECT hash(i), i FROM range(300000) t(i) WHERE i % 3 = 0";
    static const char fails[] =
        "SELECT hash(i) AS h, i FROM range(100000) t(i) UNION ALL SELECT hash(i), "
        "CASE WHEN i = 250000 THEN error('stop here') ELSE i END FROM range(300000) t(i)";
    for (int per_thread = 0; per_thread < 2; per_thread++) {
        assert_int_equal(write_blocks(select, 7, BLOCK_HASH, per_thread, &output, &err),
                         SHOAL_OK);
        assert_int_equal(rows_in(&output), 400000);
        remove_blocks(&output);
        assert_int_equal(write_blocks(fails, 7, BLOCK_HASH, per_thread, &output, &err),
                         SHOAL_USER);
        assert_non_null(strstr(err.message, "stop here"));
        remove_blocks(&output);
        assert_int_equal(write_blocks("SELECT hash(i) AS h, i FROM range(0) t(i)", 7,
                                      BLOCK_HASH, per_thread, &output, &err),
                         SHOAL_OK);
        assert_int_equal(rows_in(&output), 0);
        remove_blocks(&output);
    }
}

// The last column is summed up over all threads' files, and no column of them; what is no
// number of 64 bits is refused.
static void counts_are_summed_up(void **state) {
    (void)state;
    struct block_output output;
    struct shoal_error err;
    static const char select[] =
        "SELECT hash(i) AS h, i, i % 3 AS n FROM range(300000) t(i)";
    counted = true;
    for (int per_thread = 0; per_thread < 2; per_thread++) {
        assert_int_equal(write_blocks(select, 7, BLOCK_HASH, per_thread, &output, &err),
                         SHOAL_OK);
        assert_int_equal(output.counted, 300000);
        remove_blocks(&output);
    }
    assert_int_not_equal(
        write_blocks("SELECT hash(i) AS h, i, i::INT AS n FROM range(9) t(i)", 7,
                     BLOCK_HASH, false, &output, &err),
        SHOAL_OK);
    assert_non_null(strstr(err.message, "is no count"));
    remove_blocks(&output);
    counted = false;
    assert_int_equal(write_blocks("SELECT hash(i) AS h, i AS n FROM range(9) t(i)", 7,
                                  BLOCK_HASH, false, &output, &err),
                     SHOAL_OK);
    assert_int_equal(output.counted, 0);
    remove_blocks(&output);
}

// The same rows in another order, by other threads, have the same; others have not, be it
// one value, one row, one NULL, one place in a list, or which values stand together.
static void a_fingerprint_tells_rows_apart(void **state) {
    (void)state;
    static const char same[] =
        "SELECT hash(i) AS h, i, (i %% 7)::UTINYINT AS b, (i %% 300)::SMALLINT AS s, "
        "CASE "
        "WHEN "
        "i %% 5 > 0 THEN 'text ' || i END AS t, repeat('long', (i %% 9)::INT) || i AS u, "
        "[i, NULL, i + 1] AS l, {'a': i, 'b': [i::VARCHAR]} AS r, [i, 2]::INT[2] AS y, "
        "i::HUGEINT AS w FROM (SELECT (i %% 30000)::INT AS i FROM range(20000) t(i)) "
        "ORDER BY %s";
    char one[1024], other[1024];
    (void)snprintf(one, sizeof one, same, "i");
    (void)snprintf(other, sizeof other, same, "hash(i)");
    uint64_t print = print_of(one, 16, false);
    assert_true(print == print_of(other, 16, true));
    assert_true(print != print_of(one, 17, false));
    static const char rows[] =
        "SELECT hash(1) AS h, * FROM (SELECT i::%s AS i, %s AS x FROM range(%d) t(i))";
    static const char *const others[][2] = {
        {"INT", "i"},
        {"INT", "CASE WHEN i = 2999 THEN 7 ELSE i END"},
        {"INT", "CASE WHEN i = 2999 THEN NULL ELSE i END"},
        {"INT", "2999 - i"},  // the same values, with others
        {"INT", "i::VARCHAR"},
        {"INT", "CASE WHEN i = 5 THEN 'a' ELSE i::VARCHAR END"},
        {"INT", "[i, 1]"},
        {"INT", "CASE WHEN i = 5 THEN [1, i] ELSE [i, 1] END"},
        {"INT", "CASE WHEN i = 5 THEN [i, 1, 0] ELSE [i, 1] END"},
        {"INT", "repeat('0123456789', 3) || i"},
        {"INT",
         "CASE i WHEN 5 THEN '0123456789012345678x01234567895' ELSE repeat('0123456789', "
         "3) || i END"},
        {"INT", "{'a': i, 'b': 1}"},
        {"INT", "{'a': i, 'b': CASE WHEN i = 5 THEN 2 ELSE 1 END}"},
        {"INT", "i::DOUBLE"},
        {"INT", "CASE WHEN i = 5 THEN 5.000000000000001 ELSE i::DOUBLE END"},
    };
    uint64_t seen[32];
    size_t count = 0;
    for (size_t k = 0; k < sizeof others / sizeof *others; k++) {
        for (int n = 2999; n < 3001; n++) {
            (void)snprintf(one, sizeof one, rows, others[k][0], others[k][1], n);
            seen[count] = print_of(one, 4, false);
            // The change is in the row that is not there.
            bool alike = (k == 1 || k == 2) && n == 2999;
            for (size_t s = 0; s < count && !alike; s++) {
                if (seen[s] == seen[count]) fail_msg("%zu and %zu: %s", s, count, one);
            }
            count++;
        }
    }
}

static void damage_is_found(void **state) {
    (void)state;
    struct shoal_error err;
    struct block_output output;
    assert_int_equal(write_blocks("SELECT i AS a FROM range(100000) r(i)", 1, BLOCK_WHOLE,
                                  false, &output, &err),
                     SHOAL_OK);
    assert_int_equal(output.count, 1);
    const char *path = output.files[0].path;
    bind_all("damaged", &output, -1);
    static const char count[] =
        "SELECT sum(a) FROM shoal_input('damaged', 0, CAST(NULL AS STRUCT(a BIGINT)))";
    run(count);
    expect_error(
        "SELECT sum(a) FROM shoal_input('damaged', 0, CAST(NULL AS STRUCT(a INT)))",
        "not those that the plan expects");

    int fd = open(path, O_RDWR);
    uint8_t byte = 0;
    assert_int_equal(pread(fd, &byte, 1, 5000), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
    expect_error(count, "checksum differs");
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
    run(count);
    struct stat stat;
    assert_int_equal(fstat(fd, &stat), 0);
    assert_int_equal(ftruncate(fd, stat.st_size - 100), 0);
    expect_error(count, path);
    assert_int_equal(ftruncate(fd, 10), 0);
    expect_error(count, "too short");
    close(fd);
    block_release_inputs("damaged");
    remove_blocks(&output);
}

static uint64_t bytes_of(const struct block_output *output) {
    uint64_t bytes = 0;
    for (size_t f = 0; f < output->count; f++) {
        for (uint32_t p = 0; p < output->partitions; p++)
            bytes += output->files[f].bytes[p];
    }
    return bytes;
}

// What goes to disk gets smaller, what stays in memory stays as it is, and so does what
// LZ4 can't make smaller.
static void only_blocks_on_disk_are_compressed(void **state) {
    (void)state;
    static const char text[] =
        "SELECT 'a text that is often the same' AS s FROM range(20000)";
    static const char noise[] =
        "SELECT unhex(sha256('' || i)) AS s FROM range(20000) r(i)";
    struct shoal_error err;
    struct block_output output;
    uint64_t bytes[2][3];
    for (int kind = 0; kind < 2; kind++) {
        for (int way = 0; way < 3; way++) {
            compress = way > 0;
            grant = way == 2 ? 1u << 30 : 0;
            assert_int_equal(
                write_blocks(kind ? noise : text, 1, BLOCK_WHOLE, false, &output, &err),
                SHOAL_OK);
            bytes[kind][way] = bytes_of(&output);
            remove_blocks(&output);
        }
    }
    compress = false;
    grant = 0;
    assert_true(bytes[0][1] * 4 < bytes[0][0] && bytes[0][2] == bytes[0][0]);
    assert_true(bytes[1][1] <= bytes[1][0] && bytes[1][2] == bytes[1][0]);
}

static void write_byte(int fd, off_t at, uint8_t byte) {
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

// Makes the checksum of the first chunk right again, whatever its bytes are.
static void forge_checksum(int fd, size_t size) {
    struct block_chunk_header header;
    uint8_t *chunk = malloc(size);
    assert_non_null(chunk);
    assert_int_equal(pread(fd, chunk, size, 0), size);
    memcpy(&header, chunk, sizeof header);
    header.checksum = 0;
    memcpy(chunk, &header, sizeof header);
    header.checksum = XXH3_64bits(chunk, size);
    assert_int_equal(pwrite(fd, &header, sizeof header, 0), sizeof header);
    free(chunk);
}

// One bit after another of a compressed file. With a checksum that fits, what LZ4 is
// given is anything: it is an error, or other values.
static void damage_of_compressed_blocks_is_found(void **state) {
    (void)state;
    struct shoal_error err;
    struct block_output output;
    compress = true;
    assert_int_equal(write_blocks("SELECT 'text ' || i // 3 AS a FROM range(2000) r(i)",
                                  1, BLOCK_WHOLE, false, &output, &err),
                     SHOAL_OK);
    compress = false;
    bind_all("damaged", &output, -1);
    static const char read[] =
        "SELECT max(a) FROM shoal_input('damaged', 0, CAST(NULL AS STRUCT(a VARCHAR)))";
    run(read);
    int fd = open(output.files[0].path, O_RDWR);
    struct block_chunk_header header;
    struct stat stat;
    int found = 0;
    assert_int_equal(fstat(fd, &stat), 0);
    assert_int_equal(pread(fd, &header, sizeof header, 0), sizeof header);
    assert_true(header.packed > 0 && header.unpacked > header.size);
    for (off_t at = 0; at < stat.st_size; at += at < 200 ? 1 : 37) {
        uint8_t byte = 0;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        write_byte(fd, at, byte ^ (uint8_t)(1 << at % 8));
        assert_int_equal(duck_run(conn, read, &err), SHOAL_CORRUPT);
        if (at < (off_t)header.size) {
            forge_checksum(fd, header.size);
            shoal_status status = duck_run(conn, read, &err);
            assert_true(status == SHOAL_OK || status == SHOAL_CORRUPT);
            found += status == SHOAL_CORRUPT;
        }
        write_byte(fd, at, byte);
        assert_int_equal(pwrite(fd, &header, sizeof header, 0), sizeof header);
    }
    assert_true(found > 100);
    run(read);
    close(fd);
    block_release_inputs("damaged");
    remove_blocks(&output);
}

static int calls_before_fault;

static int fail_write(enum fault_point point, const char *path) {
    (void)path;
    if (point != FAULT_BLOCK_WRITE) return 0;
    return calls_before_fault-- == 0 ? ENOSPC : 0;
}

static void a_full_disk_names_the_file(void **state) {
    (void)state;
    struct shoal_error err;
    struct block_output output;
    for (int calls = 0; calls < 3; calls++) {
        calls_before_fault = calls;
        fault_hook = fail_write;
        shoal_status status = write_blocks("SELECT i AS a FROM range(300000) r(i)", 1,
                                           BLOCK_WHOLE, false, &output, &err);
        fault_hook = NULL;
        assert_int_equal(status, SHOAL_DISK_FULL);
        assert_true(err.retriable);
        assert_non_null(strstr(err.message, "No space left"));
        assert_non_null(strstr(err.message, folder));
        assert_non_null(strstr(err.message, "--temp-dir"));
        remove_blocks(&output);
    }
}

static int fail_in_memory(enum fault_point point, const char *path) {
    bool reads = point == FAULT_BLOCK_READ || point == FAULT_BLOCK_OPEN;
    if (reads || strncmp(path, memory, sizeof memory - 1) != 0) return 0;
    return calls_before_fault-- <= 0 ? ENOSPC : 0;
}

// Memory that is full before the grant is used: at the open, within a chunk, in the
// footer, of a file or of the last one. What was written there is on disk then.
static void full_memory_moves_to_disk(void **state) {
    (void)state;
    for (int some = 0; some < 2; some++) {
        int calls = 0;
        for (bool full = true; full; calls++) {
            grant = some ? 200000 : 1u << 30;
            calls_before_fault = calls;
            fault_hook = fail_in_memory;
            round_trip(
                "CREATE TABLE v AS SELECT i, 'row ' || i AS s FROM range(30000) r(i)", 5,
                false);
            fault_hook = NULL;
            full = calls_before_fault < 0;
        }
        assert_true(calls > 10);
    }
    grant = 0;
}

// Each row of a partition is in one of its slices, and they are about equal, wherever in
// the files the rows are.
static void slices_have_each_row_once(void **state) {
    (void)state;
    static const uint32_t slices[] = {1, 2, 3, 16, 143};
    struct shoal_error err;
    struct block_output output;
    struct schema schema;
    run("CREATE TABLE v AS SELECT i FROM range(100000) r(i)");
    // One key has all rows but a few, so one partition does.
    assert_int_equal(write_blocks("SELECT hash(if(i % 1000 = 0, i, 0)), i FROM v", 5,
                                  BLOCK_HASH, true, &output, &err),
                     SHOAL_OK);
    assert_int_equal(duck_describe(conn, "SELECT * FROM v", &schema, &err), SHOAL_OK);
    for (size_t n = 0; n < sizeof slices / sizeof *slices; n++) {
        struct text sql = {0};
        text_append(&sql,
                    "SELECT count(*) || ',' || count(DISTINCT i) || ',' || "
                    "(max(n) <= 2 * avg(n)) FROM (SELECT i, s, count(*) OVER "
                    "(PARTITION BY s) AS n FROM (SELECT NULL AS i, NULL AS s WHERE "
                    "false");
        for (uint32_t s = 0; s < slices[n]; s++) {
            char key[16];
            (void)snprintf(key, sizeof key, "slice%u", s);
            bind_part(key, &output, -1, (struct block_read){false, s, slices[n]});
            char *source = block_input_sql(key, 0, &schema);
            text_printf(&sql, " UNION ALL SELECT i, %u FROM %s", s, source);
            free(source);
        }
        text_append(&sql, "))");
        char *counts = value_of(sql.data);
        assert_string_equal(counts, "100000,100000,true");
        free(counts);
        text_free(&sql);
        for (uint32_t s = 0; s < slices[n]; s++) {
            char key[16];
            (void)snprintf(key, sizeof key, "slice%u", s);
            block_release_inputs(key);
        }
    }
    schema_free(&schema);
    remove_blocks(&output);
    run("DROP TABLE v");
}

static void an_unknown_key_is_an_error(void **state) {
    (void)state;
    struct shoal_error err;
    assert_int_not_equal(
        duck_run(conn, "FROM shoal_input('none', 0, CAST(NULL AS STRUCT(a BIGINT)))",
                 &err),
        SHOAL_OK);
    assert_non_null(strstr(err.message, "not registered"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_comes_back),
        cmocka_unit_test(strings_of_each_length_come_back),
        cmocka_unit_test(sizes_from_nothing_to_many_chunks),
        cmocka_unit_test(blocks_fill_memory_first),
        cmocka_unit_test(spares_are_written_over),
        cmocka_unit_test(chunks_of_another_writer_are_told),
        cmocka_unit_test(a_sample_knows_its_rows),
        cmocka_unit_test(frequent_keys_are_known),
        cmocka_unit_test(samples_tell_long_keys_apart),
        cmocka_unit_test(rows_of_one_key_fill_many_partitions),
        cmocka_unit_test(a_fingerprint_tells_rows_apart),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(only_blocks_on_disk_are_compressed),
        cmocka_unit_test(damage_of_compressed_blocks_is_found),
        cmocka_unit_test(a_full_disk_names_the_file),
        cmocka_unit_test(full_memory_moves_to_disk),
        cmocka_unit_test(slices_have_each_row_once),
        cmocka_unit_test(branches_come_together),
        cmocka_unit_test(counts_are_summed_up),
        cmocka_unit_test(an_unknown_key_is_an_error),
    };
    // Rows in order come to the same writer another way; who reads can't tell.
    const struct CMUnitTest ordered[] = {
        cmocka_unit_test(every_type_comes_back),
        cmocka_unit_test(sizes_from_nothing_to_many_chunks),
        cmocka_unit_test(blocks_fill_memory_first),
        cmocka_unit_test(a_sample_knows_its_rows),
        cmocka_unit_test(frequent_keys_are_known),
        cmocka_unit_test(a_fingerprint_tells_rows_apart),
        cmocka_unit_test(a_full_disk_names_the_file),
        cmocka_unit_test(full_memory_moves_to_disk),
        cmocka_unit_test(branches_come_together),
        cmocka_unit_test(counts_are_summed_up),
        cmocka_unit_test(an_unknown_key_is_an_error),
    };
    int failed = cmocka_run_group_tests_name("block", tests, set_up, tear_down);
    in_order = true;
    return failed +
           cmocka_run_group_tests_name("block, in order", ordered, set_up, tear_down);
}
