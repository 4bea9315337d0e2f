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
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "block/block.h"
#include "block/remote.h"
#include "query/replay.h"
#include "query/run.h"

// ---- events

shoal_status run_adapt_readers(struct run *run, uint32_t stage, struct shoal_error *err) {
    uint32_t exchange = run->stages->stages[stage].exchange;
    shoal_status status = run_try_broadcast(run, stage, err);
    for (uint32_t s = stage + 1; status == SHOAL_OK && s + 1 < run->stages->count; s++) {
        if (!stage_reads(&run->stages->stages[s], exchange) || !run_is_ready(run, s))
            continue;
        status = run_adapt(run, s, err);
        if (status == SHOAL_OK) run_locate(run, s);
    }
    return status;
}

shoal_status run_accept(struct run *run, uint32_t stage, uint32_t task,
                        struct task_output *output, struct shoal_error *err) {
    struct stage_run *state = &run->runs[stage];
    bool again = state->progress[task] & TASK_WAS_DONE;
    bool other = run_is_other(run, stage, task, output);
    uint64_t rows = 0, bytes = 0, on_disk = 0;
    shoal_status kept = record_done(run, stage, task, other, output, err);
    if (kept != SHOAL_OK) return kept;
    for (size_t i = 0; i < output->count; i++) {
        const struct task_file *file = &output->files[i];
        rows += file->rows.total;
        bytes += file->bytes;
        if (file->memory == 0 && !run->stages->stages[stage].sink) on_disk += file->bytes;
    }
    if (output->rejects != NULL && run->session->rejects != NULL &&
        !(state->progress[task] & TASK_REJECTED)) {
        if (!rejects_add(run->session->rejects, output->rejects))
            return shoal_no_memory(err);
        state->progress[task] |= TASK_REJECTED;
    }
    if (!again) run_learn_keys(run, stage, output);
    if (!again) run_judge(run, stage, task, output->counted, rows);
    kept = run_keep_files(state, task, output, err);
    if (kept != SHOAL_OK) return kept;
    state->progress[task] |= TASK_IS_DONE | TASK_WAS_DONE;
    if (other) kept = run_differ(run, stage, err);
    if (kept != SHOAL_OK) return kept;
    if (!again) run->progress.rows += rows;
    if (!again) run->progress.bytes += bytes;
    run->disk_bytes += on_disk;
    if (run->stats != NULL && !again) {
        run->stats[stage].rows += rows;
        run->stats[stage].bytes += bytes;
        run->stats[stage].disk_bytes += on_disk;
    }
    uint64_t limit = run->session->options.temp_bytes;
    if (limit > 0 && run->past == NULL && run->disk_bytes > limit) {
        return shoal_fail(
            err, SHOAL_DISK_FULL,
            "the query's block files take %llu bytes on disk, more than --temp-limit: "
            "raise it, or filter earlier",
            (unsigned long long)run->disk_bytes);
    }
    if (++state->done == state->tasks) {
        run_drop_inputs(run, stage);
        shoal_status status = run_adapt_readers(run, stage, err);
        if (status != SHOAL_OK) return status;
    }
    if (run->stats != NULL) {
        run->stats[stage].again += again;
        if (!stats_add_task(&run->stats[stage], output->seconds))
            return shoal_no_memory(err);
    }
    return SHOAL_OK;
}

// Of a worker: not those that the plan was made for, if a job goes on elsewhere.
static uint32_t host_threads(const struct session *session) {
    const struct session_options *options = &session->options;
    return options->host_threads > 0 ? options->host_threads : options->threads;
}

static void add_worker(struct run *run, uint32_t worker, double now) {
    sched_worker_up(run->sched, worker, host_threads(run->session), now);
    sched_worker_at(run->sched, worker, run_node(run, worker));
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

#define STALE_MOST 100000  // attempts that read what was lost before, in one query

// A task that couldn't read what another made is not to blame.
static void take_failure(struct run *run, const struct engine_event *event,
                         uint32_t stage, uint32_t task, double now) {
    uint32_t in_sched = run->runs[stage].in_sched;
    // One that nobody makes any more was lost, and is made again, while this task ran.
    bool blocked = event->lost != NULL;
    if (blocked) {
        (void)snprintf(run->loss, sizeof run->loss, "%.*s",
                       (int)strcspn(event->error.message, "\n"), event->error.message);
        blocked = run_lose_file(run, event->lost) || ++run->stale < STALE_MOST;
    }
    if (blocked) {
        (void)sched_task_blocked(run->sched, in_sched, task, event->attempt, now);
    } else {
        (void)sched_task_failed(run->sched, in_sched, task, event->attempt, &event->error,
                                now);
    }
}

void run_drop(const struct run *run, const char *path) {
    struct engine *engine = run->session->engine;
    if (engine != NULL && engine->ops->drop != NULL) engine->ops->drop(engine, path);
}

// What an attempt wrote that doesn't count.
static void drop_output(const struct run *run, const struct task_output *output) {
    for (size_t f = 0; f < output->count; f++) run_drop(run, output->files[f].path);
}

// This process reads rejected rows itself, when all are there; their worker may be gone
// then. *ours is false afterwards if it is gone by now: the task runs again.
static shoal_status fetch_rejects(struct run *run, uint32_t stage, uint32_t task,
                                  const struct task_output *output, bool *ours,
                                  struct shoal_error *err) {
    const char *path = output->rejects;
    if (path == NULL || access(path, F_OK) == 0) return SHOAL_OK;
    shoal_status status = remote_copy(path, path, err);
    if (status != SHOAL_IO && status != SHOAL_CORRUPT) return status;
    (void)snprintf(run->loss, sizeof run->loss, "%.390s", err->message);
    *ours = false;
    (void)sched_output_lost(run->sched, run->runs[stage].in_sched, task, clock_seconds());
    return SHOAL_OK;
}

static shoal_status take_event(struct run *run, struct engine_event *event,
                               struct shoal_error *err) {
    double now = clock_seconds();
    uint32_t stage = 0, task = 0;
    shoal_status status = SHOAL_OK;
    bool ours = (event->kind == ENGINE_DONE || event->kind == ENGINE_FAILED) &&
                run_find_task(run, event->task, &stage, &task);
    uint32_t in_sched = run->runs[stage].in_sched;
    switch (event->kind) {
        case ENGINE_UP:
            remember_up(run->session, event->worker);
            add_worker(run, event->worker, now);
            break;
        case ENGINE_DOWN:
            forget_up(run->session, event->worker);
            fprintf(stderr, "shoal: %s\n", event->error.message);
            memory_tier_lose(&run->memory, event->worker);
            sched_worker_down(run->sched, event->worker, now);
            // With a worker all that is kept on its node may be gone.
            run_lose_written(
                run, run->session->options.cluster.url == NULL ? &event->worker : NULL);
            break;
        case ENGINE_DONE:
            ours =
                ours && sched_task_done(run->sched, in_sched, task, event->attempt, now);
            if (ours && event->output.partitions !=
                            run_partitions(run, &run->stages->stages[stage])) {
                status =
                    shoal_fail(err, SHOAL_INTERNAL, "a worker's output has %u partitions",
                               event->output.partitions);
                ours = false;
            }
            if (ours)
                status = fetch_rejects(run, stage, task, &event->output, &ours, err);
            memory_tier_settle(&run->memory, event->task, event->attempt, &event->output,
                               ours);
            if (ours && status == SHOAL_OK) {
                status = run_accept(run, stage, task, &event->output, err);
            } else {
                drop_output(run, &event->output);
            }
            task_output_free(&event->output);
            break;
        case ENGINE_FAILED:
            memory_tier_settle(&run->memory, event->task, event->attempt, NULL, false);
            if (ours) take_failure(run, event, stage, task, now);
            free(event->lost);
            break;
        case ENGINE_NOTE:
            progress_end(&run->progress);
            fprintf(stderr, "shoal: %s\n", event->error.message);
            break;
        case ENGINE_NOTHING:
            break;
    }
    return status;
}

static shoal_status wait_event(struct run *run, struct shoal_error *err) {
    struct engine *engine = run->session->engine;
    struct engine_event event;
    shoal_status status = engine->ops->poll(engine, 100, &event, err);
    return status == SHOAL_OK ? take_event(run, &event, err) : status;
}

static shoal_status start_task(struct run *run, const struct sched_action *action,
                               struct shoal_error *err) {
    struct task *task = NULL;
    struct engine *engine = run->session->engine;
    shoal_status status = run_make_task(run, action, &task, err);
    if (status != SHOAL_OK) return status;
    run->runs[action->stage].begun = true;
    run_count_local(run, action);
    status = engine->ops->run(engine, action->worker, task, err);
    task_free(task);
    // A worker that went meanwhile is reported by poll, which frees its tasks.
    return status == SHOAL_LOST ? SHOAL_OK : status;
}

// The stages that read what only the driver has: before all others, as they wait for
// none.
static shoal_status run_driver_stages(struct run *run, struct shoal_error *err) {
    struct session *session = run->session;
    uint32_t threads = run->slots;
    run->driver_again = false;
    for (uint32_t s = 0; s + 1 < run->stages->count; s++) {
        if (!run->stages->stages[s].in_driver) continue;
        if (run->runs[s].progress[0] & TASK_IS_DONE) continue;
        struct sched_action action = {
            .stage = s, .worker = UINT32_MAX, .attempt = run->runs[s].driver_attempts++};
        struct task *task = NULL;
        struct task_output output = {0};
        shoal_status status = run_make_task(run, &action, &task, err);
        if (status == SHOAL_OK) {
            status = duck_run_task(session->conn, threads, task, &output, err);
        }
        if (task != NULL)
            memory_tier_settle(&run->memory, task->id, action.attempt, &output, true);
        if (status == SHOAL_OK) status = run_accept(run, s, 0, &output, err);
        task_output_free(&output);
        task_free(task);
        if (status != SHOAL_OK) return status;
    }
    return SHOAL_OK;
}

static void wish_workers(const struct run *run) {
    struct engine *engine = run->session->engine;
    struct sched_progress at;
    if (engine->ops->wish == NULL) return;
    sched_progress(run->sched, &at);
    engine->ops->wish(engine, at.tasks_waiting + at.tasks_running);
}

static shoal_status run_tasks(struct run *run, struct shoal_error *err) {
    struct session *session = run->session;
    for (;;) {
        double now = clock_seconds();
        if (run->driver_again) {
            shoal_status again = run_driver_stages(run, err);
            if (again != SHOAL_OK) return again;
        }
        if (session->options.cancelled != NULL && *session->options.cancelled) {
            sched_cancel(run->sched, now);
        }
        bool late = session->deadline > 0 && now > session->deadline;
        if (late) sched_cancel(run->sched, now);
        struct sched_action action = sched_next(run->sched, now);
        shoal_status status = SHOAL_OK;
        if (action.kind == SCHED_RUN || action.kind == SCHED_CANCEL) {
            action.stage = run->of_sched[action.stage];
        }
        switch (action.kind) {
            case SCHED_RUN:
                status = start_task(run, &action, err);
                break;
            case SCHED_CANCEL:
                session->engine->ops->cancel(session->engine, action.worker,
                                             run_task_id(run, action.stage, action.task),
                                             action.attempt);
                break;
            case SCHED_SUCCEEDED: {
                // Slower twins are ending: what they write must not come later.
                struct sched_progress progress;
                sched_progress(run->sched, &progress);
                if (progress.attempts_ending == 0) return SHOAL_OK;
                status = wait_event(run, err);
                break;
            }
            case SCHED_FAILED:
                *err = *sched_error(run->sched);
                if (late && err->status == SHOAL_CANCELLED)
                    shoal_fail(err, SHOAL_TIMEOUT,
                               "Query exceeded maximum execution time: it ran for longer "
                               "than max_execution_time");
                run->stages->too_large = err->status == SHOAL_NOMEM;
                if (err->status == SHOAL_CORRUPT && run->loss[0] != '\0') {
                    size_t length = strlen(err->message);
                    (void)snprintf(err->message + length, sizeof err->message - length,
                                   "; the last: %s", run->loss);
                }
                return err->status;
            case SCHED_NONE:
                progress_draw(&run->progress, run->sched, now);
                wish_workers(run);
                status = wait_event(run, err);
                break;
        }
        if (status != SHOAL_OK) return status;
    }
}

shoal_status session_start_workers(struct session *session, struct shoal_error *err) {
    if (session->engine != NULL) return SHOAL_OK;
    const struct session_options *options = &session->options;
    struct text init = {0};
    shoal_status status = worker_state_extensions(session, err);
    if (status == SHOAL_OK) status = session_open_spools(session, err);
    if (status != SHOAL_OK) return status;
    uint32_t hosts = options->hosts > 0 ? options->hosts : options->workers;
    // Extensions first: what follows may be settings of theirs.
    text_printf(&init, "%s\n%s", session->extensions ? session->extensions : "",
                session->worker_sql.size > 0 ? session->worker_sql.data : "");
    struct engine_options engine = {
        .workers = hosts,
        .program = options->program,
        .engine_version = duck_version(),
        .cluster = options->cluster,
        .watchdog = {.hang_seconds = options->task_seconds, .grace_seconds = 10},
        .worker = {.threads = host_threads(session),
                   .memory_bytes = session->worker_bytes,
                   .temp_bytes = options->temp_bytes / (hosts + 1),
                   .temp_dir = session->spool.path,
                   .memory_dir = session->memory.path,
                   .job_dir = options->job != NULL ? options->job->blocks : NULL,
                   .allowed = options->allowed,
                   .allowed_count = options->allowed_count,
                   .init_sql = init.data}};
    if (init.failed) {
        status = shoal_no_memory(err);
    } else if (engine.cluster.url != NULL) {
        status = engine_hosted_open(&engine, &session->engine, err);
    } else {
        status = engine_local_open(&engine, &session->engine, err);
    }
    text_free(&init);
    if (status != SHOAL_OK) session_close_spools(session);
    return status;
}

void session_stop_workers(struct session *session) {
    if (session->engine != NULL) session->engine->ops->close(session->engine);
    session->engine = NULL;
    session->up_count = 0;
    session_close_spools(session);
}

static shoal_status prepare(struct run *run, struct shoal_error *err) {
    struct session *session = run->session;
    struct sched_options options = {.max_attempts = 3, .poison_worker_deaths = 3};
    struct text folder = {0};
    run->runs = calloc(run->stages->count, sizeof *run->runs);
    run->sched = sched_new(&options);
    run->of_sched = calloc(run->stages->count, sizeof *run->of_sched);
    run->exchanges = calloc(run->stages->exchange_count + 1, sizeof *run->exchanges);
    if (run->runs == NULL || run->sched == NULL || run->of_sched == NULL ||
        run->exchanges == NULL) {
        return shoal_no_memory(err);
    }
    run->runs[run->stages->count - 1].tasks = 1;
    shoal_status status =
        partitions_choose(&session->options, run->stages, &run->partitions, err);
    if (status == SHOAL_OK) status = run_plan_tasks(run, err);
    if (status != SHOAL_OK || run->stages->count == 1) return status;
    status = session_start_workers(session, err);
    if (status != SHOAL_OK) return status;
    if (run->job != NULL) {
        // Apart from what processes before this one left half done.
        text_printf(&folder, "%s/q%u.%u", run->job->blocks, session->next_query,
                    run->job->lives);
    } else {
        text_printf(&folder, "%s/q%u", session->spool.path, session->next_query);
    }
    run->folder = text_take(&folder);
    if (run->folder == NULL) return shoal_no_memory(err);
    if (mkdir(run->folder, 0700) != 0) {
        return shoal_fail(err, SHOAL_IO, "cannot make the folder %s: %s", run->folder,
                          strerror(errno));
    }
    // What must outlive this process is on disk.
    if (session->memory.path != NULL && run->job == NULL) {
        uint64_t space = 0;
        memory_tier_parent(session->memory.path, &space);
        space += session->spares.bytes;
        status =
            memory_tier_open(&run->memory, session->memory.path, session->next_query,
                             session->block_bytes < space ? session->block_bytes : space,
                             &session->spares, err);
        if (status != SHOAL_OK) return status;
    }
    for (size_t i = 0; i < session->up_count; i++)
        add_worker(run, session->up[i], clock_seconds());
    return replay_plan(run, err);
}

static void release(struct run *run) {
    // A job's result can be asked for again until it is done.
    if (run->folder != NULL && run->job == NULL) {
        spool_remove_tree(run->folder);
        run_drop(run, run->folder);
    }
    if (run->memory.folder != NULL) run_drop(run, run->memory.folder);
    json_decref(run->past);
    memory_tier_close(&run->memory);
    for (size_t s = 0; run->runs != NULL && s < run->stages->count; s++) {
        struct task_output files = {.files = run->runs[s].files,
                                    .count = run->runs[s].file_count};
        task_output_free(&files);
        for (uint32_t t = 0; run->runs[s].splits != NULL && t < run->runs[s].tasks; t++)
            scan_split_free(&run->runs[s].splits[t]);
        free(run->runs[s].splits);
        adapt_pieces_free(&run->runs[s].pieces);
        free(run->runs[s].file_tasks);
        free(run->runs[s].progress);
        free(run->runs[s].prints);
        free(run->runs[s].prefers);
        bounds_free(&run->runs[s].bounds);
        run_parts_free(&run->runs[s]);
    }
    for (size_t e = 0; run->exchanges != NULL && e < run->stages->exchange_count; e++)
        exchange_stats_free(&run->exchanges[e]);
    free(run->exchanges);
    free(run->runs);
    free(run->partitions);
    free(run->of_sched);
    free(run->folder);
    sched_free(run->sched);
}

// Where this process writes, the ORDER BY is in its SQL.
static bool has_order(const struct stages *stages, const struct statement *statement) {
    const struct stage *last = stages_last(stages);
    return last->ordered || (!last->sink && copy_mentions_order(&statement->copy));
}

shoal_status run_stages(struct session *session, struct stages *stages,
                        const struct statement *statement, struct stage_stats *stats,
                        struct duck_result **result, struct shoal_error *err) {
    const struct session_options *options = &session->options;
    struct run run = {.session = session,
                      .stages = stages,
                      .statement = statement,
                      .job = options->job,
                      .stats = stats,
                      .slots = options->workers * options->threads};
    struct sink sink = {.staging = {.lock = -1}};
    *result = NULL;
    session->next_query++;
    if (statement->copy.folder) run.sink = &sink;
    progress_start(&run.progress, options->progress, clock_seconds());
    shoal_status status = SHOAL_OK;
    if (run.sink != NULL)
        status = sink_open(&sink, &statement->copy, has_order(stages, statement),
                           options->job, err);
    if (status == SHOAL_OK && sink.committed) {
        progress_end(&run.progress);
        status = run_answer(session, &sink, result, err);
        sink_close(&sink);
        return status;
    }
    if (status == SHOAL_OK) status = worker_state_extensions(session, err);
    if (status == SHOAL_OK) status = prepare(&run, err);
    if (status == SHOAL_OK) status = run_driver_stages(&run, err);
    for (bool again = status == SHOAL_OK, first = true; again; first = false) {
        again = false;
        if (stages->count > 1) status = run_tasks(&run, err);
        // Before anything is final.
        if (status == SHOAL_OK && first && session->rejects != NULL)
            status = rejects_settle(session->rejects, session->conn, err);
        progress_end(&run.progress);
        if (status == SHOAL_OK)
            status = run.sink != NULL ? run_write(&run, result, &again, err)
                                      : run_result(&run, result, &again, err);
    }
    // Workers may still be at a failed query's tasks: the next query gets fresh ones.
    if (status != SHOAL_OK) session_stop_workers(session);
    release(&run);
    // What its tasks rejected went with its folder; a second try begins anew.
    if (session->rejects != NULL) rejects_free(session->rejects);
    if (run.sink != NULL) sink_close(&sink);
    return status;
}

shoal_status run_merge(struct run *of, const struct merge *merge, uint32_t wave,
                       struct task_output *written, struct shoal_error *err) {
    static const char none[] = "";
    struct exchange exchange = {.kind = EXCHANGE_GATHER};
    struct stage both[] = {{.sql = (char *)(uintptr_t)none, .sink = true},
                           {.sql = (char *)(uintptr_t)none, .exchange = UINT32_MAX}};
    struct stages stages = {
        .stages = both, .count = 2, .exchanges = &exchange, .exchange_count = 1};
    struct run run = {.session = of->session,
                      .stages = &stages,
                      .statement = of->statement,
                      .sink = of->sink,
                      .merge = merge,
                      .wave = wave,
                      .slots = of->slots};
    run.session->next_query++;
    progress_start(&run.progress, of->session->options.progress, clock_seconds());
    shoal_status status = prepare(&run, err);
    if (status == SHOAL_OK) status = run_tasks(&run, err);
    progress_end(&run.progress);
    if (status == SHOAL_OK) {
        struct stage_run *done = &run.runs[0];
        *written = (struct task_output){.files = done->files, .count = done->file_count};
        done->files = NULL;
        done->file_count = 0;
    }
    release(&run);
    return status;
}
