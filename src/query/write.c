// The end of a COPY to a folder: who writes the last rows, and the commit.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "query/run.h"
#include "task/executor.h"

static shoal_status commit(struct sink *sink, const struct task_file *files, size_t count,
                           struct shoal_error *err) {
    struct sink_part *parts = calloc(count + 1, sizeof *parts);
    if (parts == NULL) return shoal_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct sink_part){.folder = files[i].path,
                                      .rows = files[i].rows.total,
                                      .files = files[i].written,
                                      .file_count = files[i].written_count};
    }
    shoal_status status = sink_commit(sink, parts, count, err);
    free(parts);
    return status;
}

static shoal_status answer(struct session *session, const struct sink *sink,
                           struct duck_result **result, struct shoal_error *err) {
    char *sql = sink_answer(sink);
    shoal_status status = sql == NULL
                              ? shoal_no_memory(err)
                              : duck_query_batches(session->conn, sql, result, err);
    free(sql);
    return status;
}

// Where this process writes.
static bool set_output(const struct sink *sink, struct task *task) {
    free(task->output);
    task->output = sink_join(sink->staging.path, "driver");
    return task->output != NULL && sink_task(sink, task);
}

// No stage over several tasks has the rows last: they are written here.
static shoal_status write_here(struct run *run, struct task_output *output,
                               struct shoal_error *err) {
    struct sched_action action = {.stage = (uint32_t)run->stages->count - 1,
                                  .worker = UINT32_MAX};
    struct task *task = NULL;
    shoal_status status = run_make_task(run, &action, &task, err);
    if (status != SHOAL_OK) return status;
    status = set_output(run->sink, task)
                 ? duck_run_task(run->session->conn, run->slots, task, output, err)
                 : shoal_no_memory(err);
    task_free(task);
    if (status == SHOAL_OK && run->stats != NULL) {
        run->stats[run->stages->count - 1] =
            (struct stage_stats){.tasks = 1, .seconds = output->seconds};
    }
    return status;
}

shoal_status run_write(struct run *run, struct duck_result **result,
                       struct shoal_error *err) {
    const struct stage *stage = stages_last(run->stages);
    struct task_output here = {0};
    shoal_status status = SHOAL_OK;
    if (stage->sink) {
        const struct stage_run *state = &run->runs[stage - run->stages->stages];
        status = commit(run->sink, state->files, state->file_count, err);
    } else {
        status = write_here(run, &here, err);
        if (status == SHOAL_OK) status = commit(run->sink, here.files, here.count, err);
    }
    task_output_free(&here);
    return status == SHOAL_OK ? answer(run->session, run->sink, result, err) : status;
}

// ---- without workers

static bool mentions_order(const char *sql) {
    for (const char *at = duck_token_start(sql); *at;
         at = duck_token_start(duck_token_end(at))) {
        if (duck_token_is(at, "order")) return true;
    }
    return false;
}

// Each thread writes a file of its own where the rows' order says nothing.
static shoal_status write_by_threads(struct sink *sink, struct task *task,
                                     struct shoal_error *err) {
    struct text options = {0};
    if (sink->file == NULL || mentions_order(task->sql)) return SHOAL_OK;
    free(task->copy_file);
    task->copy_file = NULL;
    text_printf(&options, "%s, PER_THREAD_OUTPUT", task->copy_options);
    free(task->copy_options);
    task->copy_options = text_take(&options);
    return task->copy_options == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

shoal_status write_embedded(struct session *session, const struct copy *copy,
                            struct duck_result **result, struct shoal_error *err) {
    struct sink sink;
    struct task *task = calloc(1, sizeof *task);
    struct task_output output = {0};
    *result = NULL;
    shoal_status status = sink_open(&sink, copy, mentions_order(copy->query), err);
    if (status == SHOAL_OK) {
        if (task != NULL) task->sql = strdup(copy->query);
        if (task == NULL || task->sql == NULL || !set_output(&sink, task))
            status = shoal_no_memory(err);
    }
    if (status == SHOAL_OK) status = write_by_threads(&sink, task, err);
    if (status == SHOAL_OK) status = duck_copy_task(session->conn, task, &output, err);
    if (status == SHOAL_OK && session->rejects != NULL)
        status = rejects_settle(session->rejects, session->conn, err);
    if (status == SHOAL_OK) status = commit(&sink, output.files, output.count, err);
    if (status == SHOAL_OK) status = answer(session, &sink, result, err);
    task_output_free(&output);
    if (task != NULL) task_free(task);
    sink_close(&sink);
    return status;
}
