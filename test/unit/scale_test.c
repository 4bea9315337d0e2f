// The driver at size: a shuffle of 20,000 map tasks into 20,000 partitions, with the real
// scheduler on a virtual cluster and the real books of what the map tasks wrote. It runs
// in a process of its own, whose memory is the driver's.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "query/run.h"
#include "sched/sim.h"
#include "support/harness.h"

#ifdef __SANITIZE_ADDRESS__
#define TASKS 2000u
#else
#define TASKS 20000u
#endif
#define MEMORY_MOST (1000L * 1000 * 1000)
#define MESSAGE_EVERY 100  // of the messages, one in so many is written

struct driver {
    struct run run;
    uint64_t *rows;  // scratch: of one output
    uint64_t *sums;  // of each partition
    uint64_t random, messages, message_bytes;
};

static bool said(const struct shoal_error *err) {
    fprintf(stderr, "%s\n", err->message);
    return false;
}

// Each partition gets 64 to 191 rows of a map task, one in 16 none.
static bool make_output(struct driver *driver, uint32_t task,
                        struct task_output *output) {
    char path[128];
    uint64_t random = driver->random;
    for (uint32_t p = 0; p < TASKS; p++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        driver->rows[p] = random % 16 == 0 ? 0 : 64 + (random >> 32) % 128;
    }
    driver->random = random;
    (void)snprintf(path, sizeof path, "/var/tmp/shoal/spool-12345/q1/s0.t%u.a0.w%u", task,
                   task % 1000);
    *output = (struct task_output){.count = 1, .partitions = TASKS};
    output->files = calloc(1, sizeof *output->files);
    if (output->files == NULL) return false;
    output->files[0].path = strdup(path);
    return output->files[0].path != NULL &&
           sizes_make(&output->files[0].rows, driver->rows, TASKS);
}

// Over the wire and back.
static bool send(struct driver *driver, struct task_output *output) {
    char *json = NULL;
    uint64_t id = 0;
    uint32_t attempt = 0;
    struct shoal_error err;
    shoal_status status = task_output_encode(1, 0, output, &json, &err);
    task_output_free(output);
    if (status != SHOAL_OK) return said(&err);
    driver->messages++;
    driver->message_bytes += strlen(json);
    status = task_output_decode(json, strlen(json), &id, &attempt, output, &err);
    free(json);
    return status == SHOAL_OK || said(&err);
}

static bool on_done(void *context, uint32_t stage, uint32_t task) {
    struct driver *driver = context;
    struct stage_run *state = &driver->run.runs[stage];
    struct task_output output = {0};
    struct shoal_error err;
    state->done++;
    if (stage > 0) return true;
    bool ok = make_output(driver, task, &output);
    if (ok && task % MESSAGE_EVERY == 0) ok = send(driver, &output);
    ok = ok && (run_keep_files(state, task, &output, &err) == SHOAL_OK || said(&err));
    task_output_free(&output);
    if (!ok || state->done < state->tasks) return ok;
    for (size_t f = 0; f < state->file_count; f++)
        sizes_add_to(&state->files[f].rows, driver->sums);
    return true;
}

static bool on_start(void *context, const struct sched_action *action) {
    struct driver *driver = context;
    struct task *task = NULL;
    struct shoal_error err;
    char *json = NULL;
    if (action->task % MESSAGE_EVERY > 0) return true;
    shoal_status status = run_make_task(&driver->run, action, &task, &err);
    if (status == SHOAL_OK) status = task_encode(task, &json, &err);
    if (status != SHOAL_OK) return said(&err);
    driver->messages++;
    driver->message_bytes += strlen(json);
    bool ok = action->stage == 0 ||
              (task->inputs[0].count > TASKS / 2 && task->inputs[0].count < TASKS);
    free(json);
    task_free(task);
    return ok;
}

// Within what 20,000 outputs of about 120 rows may be off.
static bool sums_are_right(const struct driver *driver) {
    double expected = 127.5 * 15 / 16 * TASKS;
    for (uint32_t p = 0; p < TASKS; p++) {
        double off = (double)driver->sums[p] / expected;
        if (off < 0.9 || off > 1.1) return false;
    }
    return true;
}

// In the child: 0 when all went well.
static int drive(void) {
    char sql[] = "SELECT 1", leaf_sql[] = "SELECT * FROM __leaf_0_0__";
    char placeholder[] = "__leaf_0_0__", folder[] = "/var/tmp/shoal/spool-12345/q1";
    char name[] = "c0", type[] = "BIGINT";
    struct schema_column column = {name, type};
    struct stage_leaf leaf = {.kind = LEAF_PARTITION, .placeholder = placeholder};
    struct stage list[] = {
        {.sql = sql, .scatter = BLOCK_HASH},
        {.sql = leaf_sql, .leaves = &leaf, .leaf_count = 1, .exchange = 1},
        {.sql = sql, .exchange = UINT32_MAX}};
    struct exchange exchanges[] = {{.schema = {&column, 1}}, {.id = 1}};
    struct stages stages = {
        .stages = list, .count = 3, .exchanges = exchanges, .exchange_count = 2};
    struct stage_run runs[3] = {{.tasks = TASKS}, {.tasks = TASKS, .first_task = TASKS}};
    uint32_t partitions[] = {TASKS, 1};
    struct driver driver = {.run = {.stages = &stages,
                                    .runs = runs,
                                    .partitions = partitions,
                                    .folder = folder},
                            .rows = calloc(TASKS, sizeof(uint64_t)),
                            .sums = calloc(TASKS, sizeof(uint64_t)),
                            .random = 11};
    const struct sim_stage shuffle[] = {{.tasks = TASKS},
                                        {.tasks = TASKS, .deps = {0}, .ndeps = 1}};
    const struct sim_driver calls = {&driver, on_start, on_done};
    const struct sim_options options = {.seed = 6,
                                        .workers = 1000,
                                        .slots = 4,
                                        .stages = shuffle,
                                        .stages_size = 2,
                                        .death_rate = 0.001,
                                        .failure_rate = 0.001,
                                        .late_rate = 0.5,
                                        .driver = &calls};
    struct sim_result result;
    double start = clock_seconds();
    bool ok = driver.rows != NULL && driver.sums != NULL && sim_run(&options, &result);
    double seconds = clock_seconds() - start;
    ok = ok && result.end == SCHED_SUCCEEDED && result.violation[0] == '\0' &&
         result.accepted == 2 * TASKS && sums_are_right(&driver);
    if (ok) {
        printf("%u x %u: %.1f s, %llu decisions, a message has %llu bytes\n", TASKS,
               TASKS, seconds, (unsigned long long)result.decisions,
               (unsigned long long)(driver.message_bytes / driver.messages));
    }
    struct task_output files = {.files = runs[0].files, .count = runs[0].file_count};
    task_output_free(&files);
    free(runs[0].file_tasks);
    free(driver.rows);
    free(driver.sums);
    return ok ? 0 : 1;
}

static void a_large_shuffle_fits_a_small_driver(void **state) {
    (void)state;
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int code = drive();
        fflush(stdout);
        _exit(code);
    }
    int status = 0;
    struct rusage usage;
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    printf("the driver's memory was at most %ld MB\n", usage.ru_maxrss * 1024 / 1000000);
    assert_true(usage.ru_maxrss * 1024 < MEMORY_MOST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_shuffle_fits_a_small_driver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
