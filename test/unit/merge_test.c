// Which staged files are put together: whatever the sizes, what comes out is within 30%
// of the size that was asked for, unless the folder's bytes can't be cut so.
#include "query/merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/harness.h"

#define TARGET 1000000
#define FOLDERS 3
#define FILES 40

static uint64_t seed;

static uint64_t random_below(uint64_t limit) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % limit;
}

static void add_file(struct sink *sink, unsigned folder, uint64_t bytes) {
    struct staged_file *file = &sink->staged[sink->staged_count++];
    char text[64];
    (void)snprintf(text, sizeof text, "/s/k=%u/%zu", folder, sink->staged_count);
    file->source = strdup(text);
    (void)snprintf(text, sizeof text, "k=%u", folder);
    file->facts =
        (struct written_file){.path = strdup(text), .rows = bytes, .bytes = bytes};
    sink->rows += bytes;
}

// What the jobs would write if a row were a byte: the rows that their SQL reads of one
// file can be counted, and are all read once.
static uint64_t rows_in_order(const struct sink *sink, const struct merge *merge) {
    uint64_t rows = 0;
    for (size_t g = 0; g < merge->group_count; g++) {
        const struct merge_group *group = &merge->groups[g];
        for (size_t i = 0; i < group->count; i++)
            rows += sink->staged[group->first + i].facts.rows;
    }
    return rows;
}

static void take(struct sink *sink, const struct merge *merge) {
    struct task_file *files = calloc(merge->job_count + 1, sizeof *files);
    size_t job = 0;
    assert_non_null(files);
    for (size_t g = 0; g < merge->group_count; g++) {
        uint64_t rows = 0, outputs = merge->groups[g].outputs;
        for (size_t i = 0; i < merge->groups[g].count; i++)
            rows += sink->staged[merge->groups[g].first + i].facts.rows;
        for (uint64_t o = 0; o < outputs; o++, job++) {
            uint64_t part = rows * (o + 1) / outputs - rows * o / outputs;
            files[job].path = strdup("/m");
            files[job].written = calloc(1, sizeof *files[job].written);
            files[job].written_count = 1;
            files[job].written[0] = (struct written_file){
                .path = strdup("data_0.parquet"), .rows = part, .bytes = part};
        }
    }
    assert_int_equal(job, merge->job_count);
    struct shoal_error err;
    assert_int_equal(merge_take(sink, merge, files, &err), SHOAL_OK);
    struct task_output output = {.files = files, .count = job};
    task_output_free(&output);
}

static void check_folder(const struct sink *sink, const char *folder) {
    uint64_t total = 0, least = UINT64_MAX, most = 0, count = 0;
    for (size_t i = 0; i < sink->staged_count; i++) {
        if (strcmp(sink->staged[i].facts.path, folder) != 0) continue;
        uint64_t bytes = sink->staged[i].facts.bytes;
        total += bytes;
        count++;
        if (bytes < least) least = bytes;
        if (bytes > most) most = bytes;
    }
    if (total < TARGET / 10 * 7) {
        assert_true(count <= 1);
    } else if (total <= TARGET / 10 * 13 || total >= TARGET / 10 * 14) {
        if (least < TARGET / 10 * 7 || most > TARGET / 10 * 13)
            fail_msg("seed %llu: %s has files of %llu to %llu", (unsigned long long)seed,
                     folder, (unsigned long long)least, (unsigned long long)most);
    }
}

static void test_sizes(void **state) {
    (void)state;
    char options[] = "FORMAT parquet";
    for (uint64_t round = 0; round < 3000; round++) {
        struct copy copy = {.file_bytes = TARGET, .rewrite_options = options};
        struct sink sink = {.copy = &copy, .ordered = round % 2 == 1};
        struct shoal_error err;
        seed = round;
        sink.staged = calloc(FOLDERS * FILES, sizeof *sink.staged);
        assert_non_null(sink.staged);
        for (unsigned f = 0; f < FOLDERS; f++) {
            uint64_t count = random_below(FILES), kind = random_below(4);
            for (uint64_t i = 0; i < count; i++) {
                uint64_t bytes = kind == 0   ? 1 + random_below(TARGET / 10)
                                 : kind == 1 ? 1 + random_below(TARGET * 6)
                                 : i % 3     ? TARGET + random_below(TARGET / 5)
                                             : 1 + random_below(TARGET);
                add_file(&sink, f, bytes);
            }
        }
        uint64_t before = sink.rows;
        for (int wave = 0; wave < 3; wave++) {
            struct merge merge;
            assert_int_equal(merge_plan(&sink, &merge, &err), SHOAL_OK);
            uint64_t read = rows_in_order(&sink, &merge), all = 0;
            assert_true(read <= before);
            take(&sink, &merge);
            for (size_t i = 0; i < sink.staged_count; i++)
                all += sink.staged[i].facts.rows;
            assert_int_equal(all, before);
            merge_free(&merge);
        }
        check_folder(&sink, "k=0");
        check_folder(&sink, "k=1");
        check_folder(&sink, "k=2");
        staged_files_free(sink.staged, sink.staged_count);
    }
}

// Good files are not read again.
static void test_leaves(void **state) {
    (void)state;
    char options[] = "FORMAT parquet";
    struct copy copy = {.file_bytes = TARGET, .rewrite_options = options};
    struct sink sink = {.copy = &copy, .ordered = true};
    struct merge merge;
    struct shoal_error err;
    sink.staged = calloc(8, sizeof *sink.staged);
    assert_non_null(sink.staged);
    static const uint64_t sizes[] = {1050000, 300000, 400000, 1100000, 900000};
    for (size_t i = 0; i < 5; i++) add_file(&sink, 0, sizes[i]);
    assert_int_equal(merge_plan(&sink, &merge, &err), SHOAL_OK);
    assert_int_equal(merge.group_count, 1);
    assert_int_equal(merge.groups[0].first, 1);
    assert_true(merge.groups[0].count <= 3);
    merge_free(&merge);
    copy.rewrite_options = NULL;
    assert_int_equal(merge_plan(&sink, &merge, &err), SHOAL_OK);
    assert_int_equal(merge.job_count, 0);
    merge_free(&merge);
    staged_files_free(sink.staged, sink.staged_count);
}

// The SQL of a cut: whole files in one scan, parts by the rows' numbers.
static void test_sql(void **state) {
    (void)state;
    char options[] = "FORMAT parquet";
    struct copy copy = {.file_bytes = TARGET, .rewrite_options = options};
    struct sink sink = {.copy = &copy, .ordered = true};
    struct merge merge;
    struct shoal_error err;
    sink.staged = calloc(8, sizeof *sink.staged);
    assert_non_null(sink.staged);
    static const uint64_t sizes[] = {500000, 100000, 300000, 1100000};
    for (size_t i = 0; i < 4; i++) add_file(&sink, 0, sizes[i]);
    assert_int_equal(merge_plan(&sink, &merge, &err), SHOAL_OK);
    assert_int_equal(merge.job_count, 1);
    assert_string_equal(merge.jobs[0].sql,
                        "FROM read_parquet(['/s/k=0/1', '/s/k=0/2', '/s/k=0/3'], "
                        "hive_partitioning = false)");
    merge_free(&merge);
    sink.staged[2].facts.rows = sink.staged[2].facts.bytes = 1900000;
    assert_int_equal(merge_plan(&sink, &merge, &err), SHOAL_OK);
    assert_int_equal(merge.job_count, 3);
    assert_string_equal(
        merge.jobs[0].sql,
        "FROM read_parquet(['/s/k=0/1', '/s/k=0/2'], hive_partitioning = false) UNION "
        "ALL FROM read_parquet(['/s/k=0/3'], hive_partitioning = false) WHERE "
        "file_row_number BETWEEN 0 AND 233332");
    merge_free(&merge);
    staged_files_free(sink.staged, sink.staged_count);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes),
                                       cmocka_unit_test(test_leaves),
                                       cmocka_unit_test(test_sql)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
