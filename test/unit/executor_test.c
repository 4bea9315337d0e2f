// The executor of tasks on DuckDB: what memory a task gets, alone and beside others.
#include "task/executor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/spool.h"
#include "block/places.h"
#include "support/harness.h"

#define MEMORY (200u << 20)

static struct executor *open_executor(const char *folder, uint64_t temp_bytes) {
    struct executor_options options = {.threads = 1,
                                       .temp_dir = folder,
                                       .memory_bytes = MEMORY,
                                       .temp_bytes = temp_bytes};
    struct executor *executor = NULL;
    struct shoal_error err;
    if (duck_executor.open(&options, &executor, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    return executor;
}

// Of about a hundred megabytes that have to be somewhere at once.
static shoal_status sort(struct executor *executor, const char *folder,
                         uint64_t alone_bytes, struct shoal_error *err) {
    char sql[] = "SELECT hash(range) AS h, range FROM range(6000000) ORDER BY h";
    char output[256];
    struct task_output made;
    (void)snprintf(output, sizeof output, "%s/out", folder);
    struct task task = {.id = 1,
                        .sql = sql,
                        .output = output,
                        .partitions = 1,
                        .alone_bytes = alone_bytes};
    shoal_status status = duck_executor.run(executor, 0, &task, &made, err);
    if (status == SHOAL_OK) assert_int_equal(made.files[0].rows.total, 6000000);
    if (status != SHOAL_OK) assert_int_not_equal(access(output, F_OK), 0);
    task_output_free(&made);
    (void)unlink(output);
    return status;
}

static void make_folder(char *folder) {
    assert_non_null(mkdtemp(folder));
}

static void alone_there_is_more(void **state) {
    (void)state;
    char folder[] = "/tmp/shoal-executor-XXXXXX";
    struct shoal_error err;
    make_folder(folder);
    struct executor *executor = open_executor(folder, 1 << 20);
    // What may not be spilled lacks memory: it says so, or nobody would give it more.
    assert_int_equal(sort(executor, folder, 0, &err), SHOAL_NOMEM);
    assert_int_equal(sort(executor, folder, MEMORY, &err), SHOAL_NOMEM);
    if (sort(executor, folder, 5ull * MEMORY, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    // And afterwards it is as before.
    assert_int_equal(sort(executor, folder, 0, &err), SHOAL_NOMEM);
    duck_executor.close(executor);
    spool_remove_tree(folder);
}

static void the_rest_is_locked(void **state) {
    (void)state;
    char folder[] = "/tmp/shoal-executor-XXXXXX", output[80];
    char sql[] =
        "SELECT 1 WHERE NOT current_setting('lock_configuration') OR "
        "current_setting('allowed_configs') <> ['max_memory']";
    struct shoal_error err;
    struct task_output made;
    make_folder(folder);
    (void)snprintf(output, sizeof output, "%s/out", folder);
    struct executor *executor = open_executor(folder, 0);
    struct task task = {.id = 1, .sql = sql, .output = output, .partitions = 1};
    if (duck_executor.run(executor, 0, &task, &made, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    for (size_t f = 0; f < made.count; f++) assert_int_equal(made.files[f].rows.total, 0);
    task_output_free(&made);
    duck_executor.close(executor);
    spool_remove_tree(folder);
}

// The driver's folder is on no disk of this machine: what a task writes and reads is in
// the worker's own, and messages have the driver's names.
static void a_worker_keeps_files_in_a_spool_of_its_own(void **state) {
    (void)state;
    char folder[] = "/tmp/shoal-executor-XXXXXX";
    char logical[] = "/nowhere/shoal's", output[] = "/nowhere/shoal's/q0/s0.t0.a0.w1";
    char pipe[] = "/nowhere/shoal's/q0/s0.t0.a0.w1.pipe", text[64];
    char sql[] =
        "SELECT a::BIGINT AS a FROM read_csv('/nowhere/shoal''s/q0/s0.t0.a0.w1.pipe', "
        "header = false, columns = {'a': 'INTEGER'}, auto_detect = false)";
    char again[] = "/nowhere/shoal's/q0/s1.t0.a0.w1", key[TASK_KEY_SIZE], read[256];
    struct shoal_error err;
    struct task_output made;
    make_folder(folder);
    (void)snprintf(text, sizeof text, "%s/rows.csv", folder);
    FILE *file = fopen(text, "we");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++) fprintf(file, "%d\n", i);
    long size = ftell(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(places_keep(logical, folder, &err), SHOAL_OK);
    struct executor *executor = open_executor(logical, 0);
    struct task task = {.id = 1,
                        .sql = sql,
                        .output = output,
                        .partitions = 1,
                        .range = {pipe, text, 0, (uint64_t)size}};
    if (duck_executor.run(executor, 0, &task, &made, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    assert_int_equal(made.count, 1);
    assert_string_equal(made.files[0].path, output);
    assert_int_equal(made.files[0].rows.total, 1000);
    char *local = places_local(output);
    assert_int_equal(strncmp(local, folder, sizeof folder - 1), 0);
    assert_int_equal(access(local, F_OK), 0);
    task_output_free(&made);

    struct task_segment segment = {output, 0, BLOCK_LAST};
    struct task_input input = {.segments = &segment, .count = 1};
    struct task reader = {.id = 2,
                          .stage = 1,
                          .sql = read,
                          .output = again,
                          .partitions = 1,
                          .inputs = &input,
                          .input_count = 1};
    task_key(&reader, key);
    (void)snprintf(
        read, sizeof read,
        "SELECT sum(a) FROM shoal_input('%s', 0, CAST(NULL AS STRUCT(a BIGINT)))", key);
    if (duck_executor.run(executor, 0, &reader, &made, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    assert_string_equal(made.files[0].path, again);
    task_output_free(&made);

    // What is lost is told by its name; a failed task leaves nothing.
    places_remove(output);
    assert_int_not_equal(access(local, F_OK), 0);
    places_remove(again);
    assert_int_equal(duck_executor.run(executor, 0, &reader, &made, &err), SHOAL_IO);
    assert_string_equal(made.lost, output);
    task_output_free(&made);
    free(local);
    local = places_local(again);
    assert_int_not_equal(access(local, F_OK), 0);
    free(local);
    duck_executor.close(executor);
    places_forget();
    spool_remove_tree(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_there_is_more),
        cmocka_unit_test(the_rest_is_locked),
        cmocka_unit_test(a_worker_keeps_files_in_a_spool_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
