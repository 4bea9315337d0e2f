// A task's message: what it reads comes back, and what is no message is refused.
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/harness.h"

static char *encode(struct task_segment *segments, size_t count) {
    char sql[] = "SELECT 1", output[] = "/out";
    struct task_input inputs[] = {{segments, count, {.ordered = true}},
                                  {.how = {.slice = 4, .slices = 7}}};
    struct task task = {.id = 9,
                        .sql = sql,
                        .inputs = inputs,
                        .input_count = 2,
                        .output = output,
                        .counts = true,
                        .partitions = 3};
    struct shoal_error err;
    char *json = NULL;
    if (task_encode(&task, &json, &err) != SHOAL_OK) fail_msg("%s", err.message);
    return json;
}

static void round_trip(struct task_segment *segments, size_t count) {
    struct shoal_error err;
    struct task *task = NULL;
    char *json = encode(segments, count);
    if (task_decode(json, strlen(json), &task, &err) != SHOAL_OK)
        fail_msg("%s in %s", err.message, json);
    assert_int_equal(task->input_count, 2);
    assert_true(task->counts);
    assert_true(task->inputs[0].how.ordered);
    assert_int_equal(task->inputs[0].how.slices, 0);
    assert_int_equal(task->inputs[1].how.slice, 4);
    assert_int_equal(task->inputs[1].how.slices, 7);
    assert_int_equal(task->inputs[0].count, count);
    assert_int_equal(task->inputs[1].count, 0);
    for (size_t s = 0; s < count; s++) {
        const struct task_segment *segment = &task->inputs[0].segments[s];
        assert_string_equal(segment->path, segments[s].path);
        assert_int_equal(segment->first, segments[s].first);
        assert_int_equal(segment->last, segments[s].last);
    }
    free(json);
    task_free(task);
}

static void segments_come_back(void **state) {
    (void)state;
    char a[] = "/tmp/s0.t1/data_0.", b[] = "/tmp/s0.t1/data_0.x",
         c[] = "/tmp/s0.t2:3,4@/7", d[] = "/other", e[] = "12", f[] = "/tmp/\xc3\xa4",
         g[] = "/tmp/\xc3\xb6", h[] = "/tmp/\"\n\\";
    struct task_segment list[] = {{a, 7, 7},          {b, 7, 7},          {b, 0, 7},
                                  {c, 0, BLOCK_LAST}, {d, 0, BLOCK_LAST}, {e, 1, 1},
                                  {f, 1, 1},          {g, 1, 1},          {h, 1, 1},
                                  {h, 1, 1},          {a, 0, BLOCK_LAST}, {e, 0, 0}};
    for (size_t count = 0; count <= sizeof list / sizeof *list; count++)
        round_trip(list, count);
}

static void many_take_little(void **state) {
    (void)state;
    enum { COUNT = 20000 };
    static struct task_segment segments[COUNT];
    for (size_t s = 0; s < COUNT; s++) {
        char path[128];
        (void)snprintf(path, sizeof path,
                       "/var/tmp/shoal-12345/q1/s0.t%zu.a0.w%zu/data_0.", s,
                       s * 7 % 1000);
        segments[s] = (struct task_segment){strdup(path), 3, 3};
    }
    round_trip(segments, COUNT);
    char *json = encode(segments, COUNT);
    assert_true(strlen(json) < 700000);
    free(json);
    for (size_t s = 0; s < COUNT; s++) free(segments[s].path);
}

static void ranges_come_back(void **state) {
    (void)state;
    char sql[] = "SELECT 1", output[] = "/out", rejects[] = "/out.rejects";
    char path[] = "/data/a \"b\".csv", pipe[] = "/tmp/s0.pipe";
    char good[] = "SELECT 2", faults[] = "SELECT 3";
    struct task_source source = {path, {true, 1ull << 41, -5}};
    struct task from = {.sql = sql,
                        .output = output,
                        .partitions = 1,
                        .rejects = rejects,
                        .good_sql = good,
                        .faults_sql = faults,
                        .alone_bytes = 1ull << 33,
                        .sources = &source,
                        .source_count = 1,
                        .range = {pipe, path, 1ull << 40, (1ull << 40) + 7}};
    struct shoal_error err;
    struct task *task = NULL;
    char *json = NULL;
    assert_int_equal(task_encode(&from, &json, &err), SHOAL_OK);
    assert_int_equal(task_decode(json, strlen(json), &task, &err), SHOAL_OK);
    assert_string_equal(task->range.path, path);
    assert_string_equal(task->range.pipe, pipe);
    assert_int_equal(task->range.first, 1ull << 40);
    assert_int_equal(task->range.end, (1ull << 40) + 7);
    assert_int_equal(task->alone_bytes, 1ull << 33);
    assert_int_equal(task->source_count, 1);
    assert_string_equal(task->sources[0].path, path);
    assert_true(task->sources[0].state.known);
    assert_int_equal(task->sources[0].state.bytes, 1ull << 41);
    assert_int_equal(task->sources[0].state.changed, -5);
    assert_string_equal(task->rejects, rejects);
    assert_string_equal(task->good_sql, good);
    assert_string_equal(task->faults_sql, faults);
    task_free(task);
    free(json);
    from.good_sql = NULL;  // faults would be found, and their rows not be left out
    assert_int_equal(task_encode(&from, &json, &err), SHOAL_OK);
    assert_int_equal(task_decode(json, strlen(json), &task, &err), SHOAL_CORRUPT);
    free(json);
    from.good_sql = good;
    from.range.end = 6;
    assert_int_equal(task_encode(&from, &json, &err), SHOAL_OK);
    assert_int_equal(task_decode(json, strlen(json), &task, &err), SHOAL_CORRUPT);
    free(json);
}

static void refused(const char *segments) {
    char json[512];
    struct shoal_error err;
    struct task *task = NULL;
    (void)snprintf(
        json, sizeof json,
        "{\"task\": 1, \"attempt\": 0, \"stage\": 0, \"sql\": \"\", "
        "\"output\": \"\", \"partitions\": 1, \"scatter\": 0, \"bounds\": {\"keys\": [], "
        "\"spans\": []}, "
        "\"inputs\": [{\"segments\": %s}]}",
        segments);
    if (task_decode(json, strlen(json), &task, &err) != SHOAL_CORRUPT)
        fail_msg("%s was taken", segments);
    if (strstr(err.message, "segment") == NULL) fail_msg("%s", err.message);
}

static void what_is_no_segment_is_refused(void **state) {
    (void)state;
    refused("7");
    refused("[]");
    refused("\"x\"");
    refused("\"0,1:a\"");       // of no partition
    refused("\"1-0@0,1:a\"");   // the last before the first
    refused("\"0-0@0,2:a\"");   // shorter than it says
    refused("\"0-0@1,1:a\"");   // more than the path before has
    refused("\"0-0@0,0:\"");    // no path
    refused("\"0-0@0,1:a0\"");  // and half of one more
    refused("\"0-0@0,1:a2,1:b\"");
    refused("\"0-99999999999@0,1:a\"");
    refused("\"0-0@0,9999:a\"");
    refused("\"-0@0,1:a\"");
    refused("\"0-0,0,1:a\"");
}

static void written_files_come_back(void **state) {
    (void)state;
    struct shoal_error err;
    uint64_t rows = 12, id = 0;
    uint32_t attempt = 0;
    char folder[] = "/out", one[] = "k=\xc3\xa4/data_0.parquet", two[] = "data_1.parquet",
         statistics[] = "{\"\\\"i\\\"\":{\"min\":\"1\"}}", partition[] = "{\"k\":null}";
    struct written_file written[] = {
        {one, 5, 500, 50, 2, statistics, partition},
        {.path = two, .rows = 7},
    };
    struct task_file file = {.path = folder, .written = written, .written_count = 2};
    struct task_output out = {.files = &file, .count = 1, .partitions = 1}, back;
    char *json = NULL;
    assert_true(sizes_make(&file.rows, &rows, 1));
    assert_int_equal(task_output_encode(7, 3, &out, &json, &err), SHOAL_OK);
    assert_int_equal(task_output_decode(json, strlen(json), &id, &attempt, &back, &err),
                     SHOAL_OK);
    assert_int_equal(back.files[0].written_count, 2);
    const struct written_file *first = &back.files[0].written[0];
    assert_string_equal(first->path, one);
    assert_int_equal(first->rows, 5);
    assert_int_equal(first->bytes, 500);
    assert_int_equal(first->footer_bytes, 50);
    assert_int_equal(first->row_groups, 2);
    assert_string_equal(first->statistics, statistics);
    assert_string_equal(first->partition, partition);
    assert_string_equal(first[1].path, two);
    assert_int_equal(first[1].rows, 7);
    assert_null(first[1].statistics);
    assert_null(first[1].partition);
    task_output_free(&back);
    // A number that is none is refused, and nothing leaks.
    char *bytes = strstr(json, "\"footer_bytes\":50");
    assert_non_null(bytes);
    memcpy(bytes, "\"footer_bytes\":-5", 17);
    assert_int_equal(task_output_decode(json, strlen(json), &id, &attempt, &back, &err),
                     SHOAL_CORRUPT);
    free(json);
    sizes_free(&file.rows);
}

// Bytes that rows don't tell come back, and the others about.
static void bytes_of_partitions_come_back(void **state) {
    (void)state;
    enum { PARTITIONS = 1000 };
    struct shoal_error err;
    static uint64_t rows[PARTITIONS], bytes[PARTITIONS];
    uint64_t id = 0;
    uint32_t attempt = 0;
    char path[] = "/out";
    char *json = NULL;
    for (int wide = 0; wide < 2; wide++) {
        struct task_file file = {.path = path};
        struct task_output out = {
            .files = &file, .count = 1, .partitions = PARTITIONS, .counted = 1u << 31};
        struct task_output back;
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            rows[p] = p % 50 == 7 ? 0 : 100 + p % 100;
            bytes[p] = rows[p] == 0 ? 0 : 300 + rows[p] * 20;
        }
        if (wide) bytes[500] *= 20;        // long strings
        if (wide) bytes[600] = rows[600];  // hardly any
        assert_true(task_file_count(&file, rows, bytes, PARTITIONS));
        assert_int_equal(file.odd_bytes.kept, wide ? 2 : 0);
        assert_int_equal(task_output_encode(7, 3, &out, &json, &err), SHOAL_OK);
        assert_int_equal(
            task_output_decode(json, strlen(json), &id, &attempt, &back, &err), SHOAL_OK);
        uint64_t total = 0, sums[PARTITIONS] = {0};
        task_file_add_bytes(&back.files[0], sums);
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            assert_int_equal(sums[p], task_file_bytes(&back.files[0], p));
            uint64_t told = task_file_bytes(&back.files[0], p);
            uint64_t off = told > bytes[p] ? told - bytes[p] : bytes[p] - told;
            if (off * 3 > bytes[p])
                fail_msg("%u: %llu, not %llu", p, (unsigned long long)told,
                         (unsigned long long)bytes[p]);
            total += bytes[p];
        }
        assert_int_equal(back.files[0].bytes, total);
        assert_int_equal(back.counted, out.counted);
        task_output_free(&back);
        free(json);
        sizes_free(&file.rows);
        sizes_free(&file.odd_bytes);
    }
}

static void keys_come_back(void **state) {
    (void)state;
    struct shoal_error err;
    uint64_t rows[] = {60, 40}, bytes[] = {600, 400}, id = 0;
    uint32_t attempt = 0;
    char path[] = "/out";
    char *json = NULL;
    struct sketch sketch;
    struct sketch_key heavy[SKETCH_COUNTERS];
    struct task_file file = {.path = path, .keys = &sketch};
    struct task_output out = {.files = &file, .count = 1, .partitions = 2}, back;
    sketch_clear(&sketch);
    sketch.rows = 100;
    sketch.counters[sketch.count++] = (struct sketch_counter){.key = 5, .count = 60};
    assert_true(task_file_count(&file, rows, bytes, 2));
    assert_int_equal(task_output_encode(7, 3, &out, &json, &err), SHOAL_OK);
    assert_int_equal(task_output_decode(json, strlen(json), &id, &attempt, &back, &err),
                     SHOAL_OK);
    assert_non_null(back.files[0].keys);
    assert_int_equal(sketch_heavy(back.files[0].keys, 1, heavy), 1);
    assert_int_equal(heavy[0].key, 5);
    assert_int_equal(heavy[0].rows, 60);
    task_output_free(&back);
    // A sketch that is none is refused, and nothing leaks.
    char *every = strstr(json, "\"every\":1");
    assert_non_null(every);
    memcpy(every, "\"every\":0", 9);
    assert_int_equal(task_output_decode(json, strlen(json), &id, &attempt, &back, &err),
                     SHOAL_CORRUPT);
    free(json);
    sizes_free(&file.rows);
    sizes_free(&file.odd_bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_files_come_back),
        cmocka_unit_test(bytes_of_partitions_come_back),
        cmocka_unit_test(keys_come_back),
        cmocka_unit_test(segments_come_back),
        cmocka_unit_test(ranges_come_back),
        cmocka_unit_test(many_take_little),
        cmocka_unit_test(what_is_no_segment_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
