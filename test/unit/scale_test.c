// The driver at size: a shuffle of 20,000 map tasks into 20,000 partitions, in one level
// and in two, with the real scheduler on a virtual cluster and the real books of what
// tasks wrote. Each runs in a process of its own, whose memory is the driver's.
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
    uint32_t groups, slices;  // of a first level; 0: there is none
    uint64_t *rows, *bytes;   // scratch: of one output
    struct sketch keys;       // that each output comes with
    uint64_t random, messages, message_bytes;
    uint64_t segments;  // of the inputs that messages name
};

static bool said(const struct shoal_error *err) {
    fprintf(stderr, "%s\n", err->message);
    return false;
}

// A task's rows: 64 to 191 in each partition of [first, last], in one of 16 none; and
// their bytes.
static void draw_rows(struct driver *driver, uint32_t first, uint32_t last) {
    uint64_t random = driver->random;
    memset(driver->rows, 0, TASKS * sizeof *driver->rows);
    memset(driver->bytes, 0, TASKS * sizeof *driver->bytes);
    for (uint32_t p = first; p <= last; p++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        driver->rows[p] = random % 16 == 0 ? 0 : 64 + (random >> 32) % 128;
        // Of four short columns, and of long strings in one of a thousand.
        if (driver->rows[p] == 0) continue;
        driver->bytes[p] = 512 + driver->rows[p] * 24 * (p % 1000 == 3 ? 100 : 1);
    }
    driver->random = random;
}

static bool make_output(struct driver *driver, uint32_t stage, uint32_t task,
                        struct task_output *output) {
    const struct stage *of = &driver->run.stages->stages[stage];
    uint32_t partitions = run_partitions(&driver->run, of), first = 0;
    uint32_t last = partitions - 1;
    if (of->leaf_count > 0) {  // of one group
        uint64_t group = task / driver->slices;
        first = (uint32_t)(group * TASKS / driver->groups);
        last = (uint32_t)(((group + 1) * TASKS - 1) / driver->groups);
    }
    draw_rows(driver, first, last);
    struct text path = {0};
    text_printf(&path, "%s/s%u.t%u.a0.w%u", driver->run.folder, stage, task, task % 1000);
    *output = (struct task_output){.count = 1, .partitions = partitions};
    output->files = calloc(1, sizeof *output->files);
    if (output->files == NULL) return false;
    output->files[0].path = text_take(&path);
    output->files[0].keys = malloc(sizeof driver->keys);
    if (output->files[0].keys == NULL) return false;
    *output->files[0].keys = driver->keys;
    return output->files[0].path != NULL &&
           task_file_count(&output->files[0], driver->rows, driver->bytes, partitions);
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
    if (driver->run.stages->stages[stage].scatter != BLOCK_HASH) return true;
    bool ok = make_output(driver, stage, task, &output);
    if (ok && task % MESSAGE_EVERY == 0) ok = send(driver, &output);
    if (ok) run_learn_keys(&driver->run, stage, &output);
    ok = ok && (run_keep_files(state, task, &output, &err) == SHOAL_OK || said(&err));
    task_output_free(&output);
    return ok;
}

// How many files a task should read.
static bool is_likely(const struct driver *driver, const struct task *task) {
    size_t count = task->inputs[0].count;
    bool first = driver->run.stages->stages[task->stage].scatter == BLOCK_HASH;
    if (driver->groups == 0) return count > TASKS / 2 && count < TASKS;
    return first ? count > 0 && count <= TASKS / driver->slices + 1
                 : count > driver->slices / 2 && count <= driver->slices * 2;
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
    bool ok = task->input_count == 0 || is_likely(driver, task);
    for (size_t i = 0; i < task->input_count; i++)
        driver->segments += task->inputs[i].count;
    free(json);
    task_free(task);
    return ok;
}

// Maps that feed exchange 0, and what reads it.
static struct stages *make_stages(void) {
    static const struct stage_leaf leaf = {.kind = LEAF_PARTITION};
    struct stages *stages = calloc(1, sizeof *stages);
    struct stage *list = calloc(3, sizeof *list);
    struct exchange *exchanges = calloc(2, sizeof *exchanges);
    assert_true(stages != NULL && list != NULL && exchanges != NULL);
    list[0] = (struct stage){.sql = strdup("SELECT 1"), .scatter = BLOCK_HASH};
    list[1] = (struct stage){.sql = strdup("SELECT * FROM __leaf_0__"),
                             .leaves = calloc(1, sizeof leaf),
                             .leaf_count = 1,
                             .exchange = 1};
    list[2] = (struct stage){.sql = strdup("SELECT 1"), .exchange = UINT32_MAX};
    assert_non_null(list[1].leaves);
    list[1].leaves[0] = leaf;
    list[1].leaves[0].placeholder = strdup("__leaf_0__");
    exchanges[0].kind = EXCHANGE_HASH;
    exchanges[1] = (struct exchange){.id = 1, .kind = EXCHANGE_GATHER};
    assert_true(schema_add(&exchanges[0].schema, "c0", "BIGINT"));
    *stages = (struct stages){
        .stages = list, .count = 3, .exchanges = exchanges, .exchange_count = 2};
    return stages;
}

static bool simulate(struct driver *driver) {
    uint32_t merges = driver->groups * driver->slices;
    const struct sim_stage one[] = {{.tasks = TASKS},
                                    {.tasks = TASKS, .deps = {0}, .ndeps = 1}};
    const struct sim_stage two[] = {{.tasks = TASKS},
                                    {.tasks = merges, .deps = {0}, .ndeps = 1},
                                    {.tasks = TASKS, .deps = {1}, .ndeps = 1}};
    const struct sim_driver calls = {driver, on_start, on_done};
    const struct sim_options options = {.seed = 6,
                                        .workers = 1000,
                                        .slots = 4,
                                        .stages = merges == 0 ? one : two,
                                        .stages_size = merges == 0 ? 2 : 3,
                                        .death_rate = 0.001,
                                        .failure_rate = 0.001,
                                        .late_rate = 0.5,
                                        .driver = &calls};
    struct sim_result result;
    double start = clock_seconds();
    for (uint32_t s = 0; s < options.stages_size; s++)
        driver->run.runs[s].tasks = options.stages[s].tasks;
    bool ok = sim_run(&options, &result);
    printf("%u x %u in %u levels: %.1f s, %llu decisions, a task reads %llu files\n",
           TASKS, TASKS, options.stages_size - 1, clock_seconds() - start,
           (unsigned long long)result.decisions,
           (unsigned long long)(driver->segments * MESSAGE_EVERY / (TASKS + merges)));
    return ok && result.end == SCHED_SUCCEEDED && result.violation[0] == '\0' &&
           result.accepted == 2 * TASKS + merges;
}

// One key has half of the rows.
static bool make_keys(struct sketch *sketch) {
    static uint64_t keys[100000];
    struct sketcher *sketcher = sketcher_new(1);
    if (sketcher == NULL) return false;
    for (uint64_t i = 0; i < 100000; i++)
        keys[i] = i % 2 ? 1 : i * 0x9e3779b97f4a7c15u ^ i << 40;
    sketcher_add(sketcher, keys, keys, 100000);
    sketcher_take(sketcher, sketch);
    sketcher_free(sketcher);
    return true;
}

// The keys of all tasks are known as those of one are.
static bool knows_keys(const struct driver *driver) {
    struct sketch_key heavy[SKETCH_COUNTERS];
    const struct sketch *keys = driver->run.exchanges[0].keys;
    uint64_t tasks = driver->groups == 0 ? TASKS : driver->groups * driver->slices;
    if (keys == NULL || keys->rows != tasks * driver->keys.rows) return false;
    return sketch_heavy(keys, keys->rows / 100, heavy) == 1 && heavy[0].key == 1;
}

// In the child: 0 when all went well.
static int drive(bool two_levels) {
    char folder[] = "/var/tmp/shoal/spool-12345/q1";
    struct stage_run runs[4] = {0};
    uint32_t partitions[] = {TASKS, 1, 0};
    struct exchange_stats exchanges[3] = {0};
    struct shoal_error err;
    struct stages *stages = make_stages();
    struct session session = {.options = {.workers = 1000, .threads = 4}};
    struct driver driver = {.run = {.session = &session,
                                    .stages = stages,
                                    .runs = runs,
                                    .partitions = partitions,
                                    .exchanges = exchanges,
                                    .folder = folder},
                            .rows = calloc(TASKS, sizeof(uint64_t)),
                            .bytes = calloc(TASKS, sizeof(uint64_t)),
                            .random = 11};
    bool ok = driver.rows != NULL && driver.bytes != NULL && make_keys(&driver.keys);
    if (two_levels) {
        struct levels levels = levels_choose(TASKS, TASKS, 0, MERGE_SEGMENTS);
        driver.groups = partitions[2] = levels.groups;
        driver.slices = levels.slices;
        ok = ok && levels.groups > 0 &&
             stages_add_level(stages, 0, levels.groups, levels.slices, &err) == SHOAL_OK;
    }
    ok = ok && simulate(&driver) && knows_keys(&driver);
    for (size_t e = 0; e < 3; e++) free(exchanges[e].keys);
    for (size_t s = 0; s < stages->count; s++) {
        struct task_output files = {.files = runs[s].files, .count = runs[s].file_count};
        task_output_free(&files);
        free(runs[s].file_tasks);
    }
    stages_free(stages);
    free(driver.rows);
    free(driver.bytes);
    return ok ? 0 : 1;
}

static void run_in_child(bool two_levels) {
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int code = drive(two_levels);
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

static void a_large_shuffle_fits_a_small_driver(void **state) {
    (void)state;
    run_in_child(false);
}

static void two_levels_are_few_segments(void **state) {
    (void)state;
    run_in_child(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_shuffle_fits_a_small_driver),
        cmocka_unit_test(two_levels_are_few_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
