// One distributed query: stages to tasks, tasks to workers, events to the scheduler,
// until the last stage's inputs are there; that stage runs here, in the driver.
//
// Only what the scheduler accepts counts: an attempt that reports late has its files
// ignored, and the query's folder is removed as a whole in the end, whoever wrote into
// it.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "block/block.h"
#include "query/session.h"

// A scan's tasks: enough to level out uneven ones and to lose little with a worker, few
// enough that what each repeats (binding, a broadcast side's hash table) stays small.
#define TASKS_A_WORKER 4
#define SPLIT_ROWS_MIN 100000
#define SPLIT_ROWS_MAX 20000000
#define FILES_MAX 1000  // small files packed into one task

struct stage_run {
    uint32_t tasks;
    uint64_t first_task;  // id of task 0
    struct scan_split *splits;
    struct task_file *files;  // of accepted attempts, by task
    uint32_t *file_tasks;     // which task wrote each
    size_t file_count;
    struct keys bounds;  // of a RANGE exchange that it feeds, once known
    bool bounded;
};

struct run {
    struct session *session;
    const struct stages *stages;
    struct stage_run *runs;
    struct stage_stats *stats;
    struct sched *sched;
    struct progress progress;
    char *folder;
    uint32_t slots;
    uint32_t partitions;
};

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static shoal_status no_memory(struct shoal_error *err) {
    return shoal_fail(err, SHOAL_NOMEM, "out of memory");
}

static const struct stage_leaf *driving_leaf(const struct stage *stage) {
    for (size_t i = 0; i < stage->leaf_count; i++) {
        const struct stage_leaf *leaf = &stage->leaves[i];
        if (leaf->kind == LEAF_SCAN || leaf->kind == LEAF_SPLIT ||
            leaf->kind == LEAF_PARTITION) {
            return leaf;
        }
    }
    return NULL;
}

static shoal_status cut_scan(struct run *run, const struct stage_leaf *leaf,
                             struct stage_run *stage, struct shoal_error *err) {
    uint64_t rows = 0;
    for (size_t i = 0; i < leaf->file_count; i++) rows += leaf->files[i].rows;
    uint64_t size = rows / (TASKS_A_WORKER * (uint64_t)run->session->options.workers) + 1;
    if (size < SPLIT_ROWS_MIN) size = SPLIT_ROWS_MIN;
    if (size > SPLIT_ROWS_MAX) size = SPLIT_ROWS_MAX;
    // Each file gives at most its parts, one of them begun in the task before.
    size_t most = leaf->file_count + 1 + (size_t)(rows / size);
    if (leaf->file_count == 0 || most > UINT32_MAX / 8) {
        return shoal_fail(err, SHOAL_UNSUPPORTED, "a scan would be cut into %zu tasks",
                          most);
    }
    stage->splits = calloc(most, sizeof *stage->splits);
    if (stage->splits == NULL) return no_memory(err);
    for (size_t i = 0; i < leaf->file_count;) {
        const struct scan_file *file = &leaf->files[i];
        if (file->rows > size) {
            // Equal parts, so that the last is no crumb.
            uint64_t parts = (file->rows + size - 1) / size;
            for (uint64_t p = 0; p < parts; p++) {
                stage->splits[stage->tasks++] =
                    (struct scan_split){file, 1, true, p * file->rows / parts,
                                        (p + 1) * file->rows / parts - 1};
            }
            i++;
            continue;
        }
        // Small files together, as many as make one task's work.
        uint64_t packed = 0;
        size_t first = i;
        while (i < leaf->file_count && i - first < FILES_MAX &&
               (i == first || packed + leaf->files[i].rows <= size)) {
            packed += leaf->files[i++].rows;
        }
        stage->splits[stage->tasks++] =
            (struct scan_split){.files = file, .count = i - first};
    }
    return SHOAL_OK;
}

static shoal_status plan_tasks(struct run *run, struct shoal_error *err) {
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        const struct stage *stage = &run->stages->stages[s];
        struct stage_run *to = &run->runs[s];
        const struct stage_leaf *leaf = stage->single ? NULL : driving_leaf(stage);
        shoal_status status = SHOAL_OK;
        if (leaf == NULL) {
            to->tasks = 1;
        } else if (leaf->kind == LEAF_SCAN) {
            status = cut_scan(run, leaf, to, err);
        } else {
            to->tasks = leaf->kind == LEAF_PARTITION ? run->partitions
                                                     : run->session->options.workers;
        }
        if (status != SHOAL_OK) return status;
        to->first_task = run->session->next_task;
        run->session->next_task += to->tasks;
        uint32_t *deps = calloc(s + 1, sizeof *deps);
        size_t count = 0;
        if (deps == NULL) return no_memory(err);
        for (uint32_t d = 0; d < s; d++) {
            bool reads = false;
            for (size_t l = 0; l < stage->leaf_count; l++) {
                const struct stage_leaf *input = &stage->leaves[l];
                reads = reads || (input->scan_call == NULL &&
                                  input->exchange == run->stages->stages[d].exchange);
            }
            if (reads) deps[count++] = d;
        }
        uint32_t id = sched_add_stage(run->sched, to->tasks, stage->wide, deps, count);
        free(deps);
        if (id == UINT32_MAX) return no_memory(err);
    }
    return SHOAL_OK;
}

// ---- a task's inputs

static bool add_segment(struct task_input *input, size_t *capacity, const char *path,
                        int32_t partition) {
    if (input->count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 16;
        struct task_segment *grown = realloc(input->segments, *capacity * sizeof *grown);
        if (grown == NULL) return false;
        input->segments = grown;
    }
    struct task_segment *segment = &input->segments[input->count];
    segment->partition = partition;
    segment->path = strdup(path);
    if (segment->path == NULL) return false;
    input->count++;
    return true;
}

// The segments that task number index of a stage of `tasks` reads through the leaf.
static bool gather_input(const struct run *run, const struct stage_leaf *leaf,
                         uint32_t index, uint32_t tasks, struct task_input *input) {
    size_t capacity = 0;
    size_t number = 0;
    input->ordered = leaf->kind == LEAF_ORDERED;
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        if (run->stages->stages[s].exchange != leaf->exchange) continue;
        for (size_t f = 0; f < run->runs[s].file_count; f++, number++) {
            const struct task_file *file = &run->runs[s].files[f];
            if (leaf->kind == LEAF_PARTITION && file->rows[index] == 0) continue;
            if (leaf->kind == LEAF_SPLIT && number % tasks != index) continue;
            int32_t partition = leaf->kind == LEAF_PARTITION ? (int32_t)index : -1;
            if (!add_segment(input, &capacity, file->path, partition)) return false;
        }
    }
    return true;
}

// The stage's SQL for one task, and its inputs.
static char *task_sql(const struct run *run, size_t s, uint32_t index, const char *key,
                      struct task_input *inputs, size_t *input_count) {
    const struct stage *stage = &run->stages->stages[s];
    const struct stage_run *state = &run->runs[s];
    char **leaves = calloc(stage->leaf_count + 1, sizeof *leaves);
    char *sql = NULL;
    bool ok = leaves != NULL;
    *input_count = 0;
    for (size_t l = 0; ok && l < stage->leaf_count; l++) {
        const struct stage_leaf *leaf = &stage->leaves[l];
        if (leaf->kind == LEAF_SCAN) {
            leaves[l] = stage_scan_sql(leaf, &state->splits[index]);
        } else if (leaf->kind == LEAF_SCAN_ALL) {
            leaves[l] = stage_scan_sql(leaf, NULL);
        } else {
            size_t number = (*input_count)++;
            ok = gather_input(run, leaf, index, state->tasks, &inputs[number]);
            leaves[l] = block_input_sql(key, number,
                                        &run->stages->exchanges[leaf->exchange].schema);
        }
        ok = ok && leaves[l] != NULL;
    }
    if (ok) sql = stage_substitute(stage, leaves);
    for (size_t l = 0; leaves != NULL && l < stage->leaf_count; l++) free(leaves[l]);
    free(leaves);
    return sql;
}

// ---- the bounds of a RANGE exchange, from the samples of the one before

struct sampled {
    const struct key *key;
    double weight;  // rows that it stands for
};

static int by_key(const void *a, const void *b) {
    return key_compare(((const struct sampled *)a)->key,
                       ((const struct sampled *)b)->key);
}

// The keys at equal distances in weight; the same key may come more than once.
static bool cut(struct sampled *samples, size_t count, double total, uint32_t partitions,
                struct keys *bounds) {
    double passed = 0;
    if (count > 0) qsort(samples, count, sizeof *samples, by_key);
    for (size_t i = 0; i < count; i++) {
        passed += samples[i].weight;
        while (bounds->count + 1 < partitions &&
               passed > total * (double)(bounds->count + 1) / partitions) {
            const struct key *key = samples[i].key;
            if (!keys_add(bounds, key->data, key->size)) return false;
        }
    }
    return true;
}

static shoal_status find_bounds(struct run *run, uint32_t stage,
                                struct shoal_error *err) {
    struct stage_run *to = &run->runs[stage];
    uint32_t exchange = run->stages->stages[stage].exchange;
    uint32_t sampled = run->stages->exchanges[exchange].bounds_from;
    size_t count = 0, capacity = 0;
    double total = 0;
    struct sampled *samples = NULL;
    if (to->bounded) return SHOAL_OK;
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        if (run->stages->stages[s].exchange != sampled) continue;
        for (size_t f = 0; f < run->runs[s].file_count; f++) {
            const struct task_file *file = &run->runs[s].files[f];
            capacity = count + file->sample.count;
            struct sampled *grown = realloc(samples, (capacity + 1) * sizeof *grown);
            if (grown == NULL) {
                free(samples);
                return no_memory(err);
            }
            samples = grown;
            for (size_t k = 0; k < file->sample.count; k++) {
                samples[count++] =
                    (struct sampled){&file->sample.list[k],
                                     (double)file->rows[0] / (double)file->sample.count};
            }
            total += (double)file->rows[0];
        }
    }
    to->bounded = cut(samples, count, total, run->partitions, &to->bounds);
    free(samples);
    return to->bounded ? SHOAL_OK : no_memory(err);
}

static uint32_t output_partitions(const struct run *run, const struct stage *stage) {
    bool many = stage->scatter == BLOCK_HASH || stage->scatter == BLOCK_RANGE;
    return many ? run->partitions : 1;
}

static shoal_status make_task(struct run *run, const struct sched_action *action,
                              struct task **out, struct shoal_error *err) {
    const struct stage *stage = &run->stages->stages[action->stage];
    struct task *task = calloc(1, sizeof *task);
    struct text output = {0};
    char key[TASK_KEY_SIZE];
    *out = NULL;
    if (task == NULL) return no_memory(err);
    task->id = run->runs[action->stage].first_task + action->task;
    task->attempt = action->attempt;
    task->stage = action->stage;
    task->scatter = stage->scatter;
    task->ordered = stage->ordered;
    task->partitions = output_partitions(run, stage);
    text_printf(&output, "%s/s%u.t%u.a%u.w%u", run->folder, action->stage, action->task,
                action->attempt, action->worker);
    task->output = text_take(&output);
    task->inputs = calloc(stage->leaf_count + 1, sizeof *task->inputs);
    task_key(task, key);
    if (task->inputs != NULL && task->output != NULL) {
        task->sql = task_sql(run, action->stage, action->task, key, task->inputs,
                             &task->input_count);
    }
    shoal_status status = task->sql == NULL ? no_memory(err) : SHOAL_OK;
    if (status == SHOAL_OK && stage->scatter == BLOCK_RANGE) {
        status = find_bounds(run, action->stage, err);
        const struct keys *bounds = &run->runs[action->stage].bounds;
        for (size_t i = 0; status == SHOAL_OK && i < bounds->count; i++) {
            const struct key *bound = &bounds->list[i];
            if (!keys_add(&task->bounds, bound->data, bound->size))
                status = no_memory(err);
        }
    }
    if (status != SHOAL_OK) {
        task_free(task);
        return status;
    }
    *out = task;
    return SHOAL_OK;
}

// ---- events

// The files of one task stay together, behind those of the tasks before it.
static shoal_status accept(struct run *run, uint32_t stage, uint32_t task,
                           struct task_output *output, struct shoal_error *err) {
    struct stage_run *state = &run->runs[stage];
    struct task_file *files =
        realloc(state->files, (state->file_count + output->count + 1) * sizeof *files);
    if (files == NULL) return no_memory(err);
    state->files = files;
    uint32_t *tasks = realloc(state->file_tasks,
                              (state->file_count + output->count + 1) * sizeof *tasks);
    if (tasks == NULL) return no_memory(err);
    state->file_tasks = tasks;
    size_t at = state->file_count;
    while (at > 0 && tasks[at - 1] > task) at--;
    memmove(files + at + output->count, files + at,
            (state->file_count - at) * sizeof *files);
    memmove(tasks + at + output->count, tasks + at,
            (state->file_count - at) * sizeof *tasks);
    state->file_count += output->count;
    for (size_t i = 0; i < output->count; i++) {
        uint64_t rows = 0, bytes = 0;
        for (uint32_t p = 0; p < output->partitions; p++) {
            rows += output->files[i].rows[p];
            bytes += output->files[i].bytes[p];
        }
        run->progress.rows += rows;
        run->progress.bytes += bytes;
        if (run->stats != NULL) {
            run->stats[stage].rows += rows;
            run->stats[stage].bytes += bytes;
        }
        files[at + i] = output->files[i];
        tasks[at + i] = task;
    }
    output->count = 0;  // the files are the stage's now
    if (run->stats != NULL) {
        run->stats[stage].tasks++;
        run->stats[stage].seconds += output->seconds;
    }
    return SHOAL_OK;
}

static bool find_task(const struct run *run, uint64_t id, uint32_t *stage,
                      uint32_t *task) {
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        uint64_t first = run->runs[s].first_task;
        if (id < first || id - first >= run->runs[s].tasks) continue;
        *stage = (uint32_t)s;
        *task = (uint32_t)(id - first);
        return true;
    }
    return false;  // of an earlier query
}

static void remember_up(struct session *session, uint32_t worker) {
    uint32_t *up = realloc(session->up, (session->up_count + 1) * sizeof *up);
    if (up == NULL) return;
    session->up = up;
    up[session->up_count++] = worker;
}

static void forget_up(struct session *session, uint32_t worker) {
    for (size_t i = 0; i < session->up_count; i++) {
        if (session->up[i] != worker) continue;
        session->up[i] = session->up[--session->up_count];
        return;
    }
}

static shoal_status take_event(struct run *run, struct engine_event *event,
                               struct shoal_error *err) {
    double now = seconds();
    uint32_t stage = 0, task = 0;
    shoal_status status = SHOAL_OK;
    bool ours = (event->kind == ENGINE_DONE || event->kind == ENGINE_FAILED) &&
                find_task(run, event->task, &stage, &task);
    switch (event->kind) {
        case ENGINE_UP:
            remember_up(run->session, event->worker);
            sched_worker_up(run->sched, event->worker, run->session->options.threads,
                            now);
            break;
        case ENGINE_DOWN:
            forget_up(run->session, event->worker);
            fprintf(stderr, "shoal: %s\n", event->error.message);
            sched_worker_down(run->sched, event->worker, now);
            break;
        case ENGINE_DONE:
            if (ours && event->output.partitions !=
                            output_partitions(run, &run->stages->stages[stage])) {
                task_output_free(&event->output);
                return shoal_fail(err, SHOAL_INTERNAL,
                                  "a worker's output has %u partitions",
                                  event->output.partitions);
            }
            if (ours && sched_task_done(run->sched, stage, task, event->attempt, now)) {
                status = accept(run, stage, task, &event->output, err);
            }
            task_output_free(&event->output);
            break;
        case ENGINE_FAILED:
            if (ours)
                sched_task_failed(run->sched, stage, task, event->attempt, &event->error,
                                  now);
            break;
        case ENGINE_NOTHING:
            break;
    }
    return status;
}

static shoal_status start_task(struct run *run, const struct sched_action *action,
                               struct shoal_error *err) {
    struct task *task = NULL;
    struct engine *engine = run->session->engine;
    shoal_status status = make_task(run, action, &task, err);
    if (status != SHOAL_OK) return status;
    status = engine->ops->run(engine, action->worker, task, err);
    task_free(task);
    // A worker that went meanwhile is reported by poll, which frees its tasks.
    return status == SHOAL_LOST ? SHOAL_OK : status;
}

static shoal_status run_tasks(struct run *run, struct shoal_error *err) {
    struct session *session = run->session;
    for (;;) {
        double now = seconds();
        if (session->options.cancelled != NULL && *session->options.cancelled) {
            sched_cancel(run->sched, now);
        }
        struct sched_action action = sched_next(run->sched, now);
        shoal_status status = SHOAL_OK;
        switch (action.kind) {
            case SCHED_RUN:
                status = start_task(run, &action, err);
                break;
            case SCHED_CANCEL:
                session->engine->ops->cancel(
                    session->engine, action.worker,
                    run->runs[action.stage].first_task + action.task, action.attempt);
                break;
            case SCHED_SUCCEEDED:
                return SHOAL_OK;
            case SCHED_FAILED:
                *err = *sched_error(run->sched);
                return err->status;
            case SCHED_NONE: {
                struct engine_event event;
                progress_draw(&run->progress, run->sched, now);
                status = session->engine->ops->poll(session->engine, 100, &event, err);
                if (status == SHOAL_OK) status = take_event(run, &event, err);
                break;
            }
        }
        if (status != SHOAL_OK) return status;
    }
}

static shoal_status run_result(struct run *run, struct duck_result **result,
                               struct shoal_error *err) {
    struct session *session = run->session;
    size_t last = run->stages->count - 1;
    const struct stage *stage = &run->stages->stages[last];
    struct task_input *inputs = calloc(stage->leaf_count + 1, sizeof *inputs);
    size_t count = 0;
    char key[32];
    shoal_status status = SHOAL_OK;
    (void)snprintf(key, sizeof key, "result.%u", session->next_query);
    if (inputs == NULL) return no_memory(err);
    char *sql = task_sql(run, last, 0, key, inputs, &count);
    if (sql == NULL) status = no_memory(err);
    if (status == SHOAL_OK && !session->blocks_registered) {
        status = block_register(session->conn, err);
        session->blocks_registered = status == SHOAL_OK;
    }
    for (size_t i = 0; i < count; i++) {
        struct block_segment *segments = calloc(inputs[i].count + 1, sizeof *segments);
        for (size_t s = 0; segments != NULL && s < inputs[i].count; s++) {
            segments[s] = (struct block_segment){inputs[i].segments[s].path,
                                                 inputs[i].segments[s].partition};
        }
        if (segments == NULL) status = no_memory(err);
        if (status == SHOAL_OK) {
            status = block_bind_input(key, i, segments, inputs[i].count,
                                      inputs[i].ordered, err);
        }
        free(segments);
        for (size_t s = 0; s < inputs[i].count; s++) free(inputs[i].segments[s].path);
        free(inputs[i].segments);
    }
    double start = seconds();
    if (status == SHOAL_OK) status = duck_query_batches(session->conn, sql, result, err);
    if (status == SHOAL_OK && run->stats != NULL) {
        run->stats[last] = (struct stage_stats){.tasks = 1, .seconds = seconds() - start};
    }
    block_release_inputs(key);
    free(sql);
    free(inputs);
    return status;
}

shoal_status session_start_workers(struct session *session, struct shoal_error *err) {
    if (session->engine != NULL) return SHOAL_OK;
    const struct session_options *options = &session->options;
    shoal_status status = spool_open(&session->spool, options->temp_dir, err);
    if (status != SHOAL_OK) return status;
    struct engine_options engine = {.workers = options->workers,
                                    .program = options->program,
                                    .engine_version = duck_version(),
                                    .worker = {.threads = options->threads,
                                               .temp_dir = session->spool.path,
                                               .init_sql = session->worker_sql.data}};
    status = engine_local_open(&engine, &session->engine, err);
    if (status != SHOAL_OK) spool_close(&session->spool);
    return status;
}

void session_stop_workers(struct session *session) {
    if (session->engine != NULL) session->engine->ops->close(session->engine);
    session->engine = NULL;
    session->up_count = 0;
    spool_close(&session->spool);
}

static shoal_status prepare(struct run *run, struct shoal_error *err) {
    struct session *session = run->session;
    struct sched_options options = {.max_attempts = 3, .poison_worker_deaths = 3};
    struct text folder = {0};
    run->runs = calloc(run->stages->count, sizeof *run->runs);
    run->sched = sched_new(&options);
    if (run->runs == NULL || run->sched == NULL) return no_memory(err);
    run->runs[run->stages->count - 1].tasks = 1;
    shoal_status status = plan_tasks(run, err);
    if (status != SHOAL_OK || run->stages->count == 1) return status;
    status = session_start_workers(session, err);
    if (status != SHOAL_OK) return status;
    text_printf(&folder, "%s/q%u", session->spool.path, session->next_query);
    run->folder = text_take(&folder);
    if (run->folder == NULL) return no_memory(err);
    if (mkdir(run->folder, 0700) != 0) {
        return shoal_fail(err, SHOAL_IO, "cannot make the folder %s: %s", run->folder,
                          strerror(errno));
    }
    for (size_t i = 0; i < session->up_count; i++) {
        sched_worker_up(run->sched, session->up[i], session->options.threads, seconds());
    }
    return SHOAL_OK;
}

shoal_status run_stages(struct session *session, const struct stages *stages,
                        struct stage_stats *stats, struct duck_result **result,
                        struct shoal_error *err) {
    const struct session_options *options = &session->options;
    struct run run = {.session = session,
                      .stages = stages,
                      .stats = stats,
                      .slots = options->workers * options->threads};
    run.partitions = options->partitions ? options->partitions : 4 * run.slots;
    *result = NULL;
    session->next_query++;
    progress_start(&run.progress, options->progress, seconds());
    shoal_status status = prepare(&run, err);
    if (status == SHOAL_OK && stages->count > 1) status = run_tasks(&run, err);
    progress_end(&run.progress);
    if (status == SHOAL_OK) status = run_result(&run, result, err);
    // Workers may still be at a failed query's tasks: the next query gets fresh ones.
    if (status != SHOAL_OK) session_stop_workers(session);
    if (run.folder != NULL) spool_remove_tree(run.folder);
    for (size_t s = 0; run.runs != NULL && s < stages->count; s++) {
        struct task_output files = {.files = run.runs[s].files,
                                    .count = run.runs[s].file_count};
        task_output_free(&files);
        free(run.runs[s].splits);
        free(run.runs[s].file_tasks);
        keys_free(&run.runs[s].bounds);
    }
    free(run.runs);
    free(run.folder);
    sched_free(run.sched);
    return status;
}
