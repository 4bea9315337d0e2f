// The executor of tasks on DuckDB: what memory a task gets, alone and beside others.
#include "task/executor.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/spool.h"
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_there_is_more),
        cmocka_unit_test(the_rest_is_locked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
