// The end of a COPY to a folder: who writes the last rows, and the commit.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "query/run.h"
#include "task/executor.h"

#define WAVES 3  // of merges: what the first makes is nearly always right

// Where no worker does it: one job after the other.
static shoal_status merge_here(struct session *session, const struct sink *sink,
                               const struct merge *merge, uint32_t wave,
                               struct task_output *written, struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    written->files = calloc(merge->job_count + 1, sizeof *written->files);
    if (written->files == NULL) return shoal_no_memory(err);
    for (size_t i = 0; status == SHOAL_OK && i < merge->job_count; i++) {
        struct task *task = calloc(1, sizeof *task);
        struct task_output one = {0};
        struct text folder = {0};
        if (task == NULL) return shoal_no_memory(err);
        text_printf(&folder, "m%u.t%zu", wave, i);
        task->output = folder.failed ? NULL : sink_staged_path(sink, folder.data);
        text_free(&folder);
        status = merge_task(sink, merge, i, task) && task->output != NULL
                     ? duck_copy_task(session->conn, task, &one, err)
                     : shoal_no_memory(err);
        if (status == SHOAL_OK) {
            written->files[written->count++] = one.files[0];
            one.count = 0;
        }
        task_output_free(&one);
        task_free(task);
    }
    return status;
}

// Can staged files be cut and sorted? Their rows are told apart by their numbers in the
// file, which DuckDB makes, unless a column has that name; what they are sorted by may be
// the partition's, which is in no file.
static shoal_status can_merge(struct session *session, const struct sink *sink, bool *can,
                              struct shoal_error *err) {
    struct text sql = {0};
    struct schema schema = {0};
    text_append(&sql, "FROM read_parquet(");
    if (sink->staged_count > 0) text_append_literal(&sql, sink->staged[0].source);
    text_append(&sql, ", hive_partitioning = false)");
    if (sink->copy->sort_by != NULL)
        text_printf(&sql, " ORDER BY %s", sink->copy->sort_by);
    shoal_status status = sql.failed
                              ? shoal_no_memory(err)
                              : duck_describe(session->conn, sql.data, &schema, err);
    *can = status == SHOAL_OK && schema_find(&schema, "file_row_number") == NULL;
    schema_free(&schema);
    text_free(&sql);
    return status == SHOAL_USER ? SHOAL_OK : status;
}

static void count_merged(struct run *run, const struct merge *merge) {
    if (run->stats == NULL) return;
    struct stage_stats *stats =
        &run->stats[stages_last(run->stages) - run->stages->stages];
    for (size_t g = 0; g < merge->group_count; g++)
        stats->files_merged += merge->groups[g].count;
    stats->files_made += merge->job_count;
}

// Files of about the size that the statement asks for. run NULL: nothing on workers.
static shoal_status merge_files(struct session *session, struct sink *sink,
                                struct run *run, struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    bool more = sink->copy->rewrite_options != NULL && sink->staged_count > 0;
    if (more) status = can_merge(session, sink, &more, err);
    for (uint32_t wave = 0; status == SHOAL_OK && more && wave < WAVES; wave++) {
        struct merge merge;
        struct task_output written = {0};
        status = merge_plan(sink, &merge, err);
        more = merge.job_count > 0;
        if (status == SHOAL_OK && more) {
            status = run != NULL ? run_merge(run, &merge, wave, &written, err)
                                 : merge_here(session, sink, &merge, wave, &written, err);
        }
        if (status == SHOAL_OK && more && run != NULL) count_merged(run, &merge);
        if (status == SHOAL_OK && more)
            status = merge_take(sink, &merge, written.files, err);
        task_output_free(&written);
        merge_free(&merge);
    }
    return status;
}

static shoal_status commit(struct session *session, struct sink *sink,
                           const struct task_output *output, struct run *run,
                           struct shoal_error *err) {
    struct sink_part *parts = calloc(output->count + 1, sizeof *parts);
    if (parts == NULL) return shoal_no_memory(err);
    for (size_t i = 0; i < output->count; i++) {
        const struct task_file *file = &output->files[i];
        parts[i] = (struct sink_part){.folder = file->path,
                                      .rows = file->rows.total,
                                      .files = file->written,
                                      .file_count = file->written_count};
    }
    shoal_status status = sink_stage(sink, parts, output->count, err);
    free(parts);
    if (status == SHOAL_OK) status = merge_files(session, sink, run, err);
    // The last chance: from here on what is done counts.
    const volatile sig_atomic_t *cancelled = session->options.cancelled;
    if (status == SHOAL_OK && cancelled != NULL && *cancelled)
        status = shoal_fail(err, SHOAL_CANCELLED, "cancelled");
    atomic_store(&session->committed, status == SHOAL_OK);
    if (status == SHOAL_OK) status = sink_commit(sink, err);
    if (status != SHOAL_OK) atomic_store(&session->committed, false);
    return status;
}

shoal_status run_answer(struct session *session, const struct sink *sink,
                        struct duck_result **result, struct shoal_error *err) {
    char *sql = sink->committed ? strdup(sink->answer) : sink_answer(sink);
    shoal_status status = sql == NULL
                              ? shoal_no_memory(err)
                              : duck_query_batches(session->conn, sql, result, err);
    free(sql);
    return status;
}

// Where this process writes.
static bool set_output(const struct sink *sink, struct task *task) {
    free(task->output);
    task->output = sink_staged_path(sink, "driver");
    return task->output != NULL && sink_task(sink, task);
}

// No stage over several tasks has the rows last: they are written here.
static shoal_status write_here(struct run *run, struct task_output *output, bool *again,
                               struct shoal_error *err) {
    struct sched_action action = {.stage = (uint32_t)run->stages->count - 1,
                                  .worker = UINT32_MAX};
    struct task *task = NULL;
    shoal_status status = run_make_task(run, &action, &task, err);
    if (status != SHOAL_OK) return status;
    status = set_output(run->sink, task)
                 ? duck_run_task(run->session->conn, run->slots, task, output, err)
                 : shoal_no_memory(err);
    // What it wrote by then is in a folder that the next try needs.
    *again = output->lost != NULL && run_lose_file(run, output->lost);
    if (*again) spool_remove_tree(task->output);
    task_free(task);
    if (*again) return SHOAL_OK;
    if (status == SHOAL_OK && run->stats != NULL &&
        !stats_add_task(&run->stats[run->stages->count - 1], output->seconds))
        status = shoal_no_memory(err);
    return status;
}

shoal_status run_write(struct run *run, struct duck_result **result, bool *again,
                       struct shoal_error *err) {
    const struct stage *stage = stages_last(run->stages);
    struct task_output here = {0};
    shoal_status status = SHOAL_OK;
    if (stage->sink) {
        const struct stage_run *state = &run->runs[stage - run->stages->stages];
        const struct task_output all = {.files = state->files,
                                        .count = state->file_count};
        status = commit(run->session, run->sink, &all, run, err);
    } else {
        *again = !run_verify(run);
        if (!*again) status = write_here(run, &here, again, err);
        if (status == SHOAL_OK && !*again)
            status = commit(run->session, run->sink, &here, NULL, err);
    }
    task_output_free(&here);
    if (*again) return SHOAL_OK;
    return status == SHOAL_OK ? run_answer(run->session, run->sink, result, err) : status;
}

// ---- without workers

// Each thread writes a file of its own where the rows' order says nothing.
static shoal_status write_by_threads(struct sink *sink, struct task *task,
                                     struct shoal_error *err) {
    struct text options = {0};
    if (sink->file == NULL || sink->ordered) return SHOAL_OK;
    free(task->copy_file);
    task->copy_file = NULL;
    text_printf(&options, "%s, PER_THREAD_OUTPUT", task->copy_options);
    free(task->copy_options);
    task->copy_options = text_take(&options);
    return task->copy_options == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

// What DuckDB says of the query is of the user's text, without the COPY around it.
static shoal_status check_embedded(struct session *session, const struct copy *copy,
                                   struct shoal_error *err) {
    struct schema schema = {0};
    shoal_status status = duck_describe(session->conn, copy->query, &schema, err);
    if (status == SHOAL_OK) status = copy_check(session->conn, copy, &schema, err);
    schema_free(&schema);
    return status;
}

shoal_status write_embedded(struct session *session, const struct copy *copy,
                            struct duck_result **result, struct shoal_error *err) {
    struct sink sink;
    struct task *task = calloc(1, sizeof *task);
    struct task_output output = {0};
    *result = NULL;
    shoal_status status =
        sink_open(&sink, copy, copy_mentions_order(copy), session->options.job, err);
    if (status == SHOAL_OK && sink.committed) {
        status = run_answer(session, &sink, result, err);
        task_free(task);
        sink_close(&sink);
        return status;
    }
    if (status == SHOAL_OK) status = check_embedded(session, copy, err);
    if (status == SHOAL_OK) {
        if (task != NULL) task->sql = strdup(copy->query);
        if (task == NULL || task->sql == NULL || !set_output(&sink, task))
            status = shoal_no_memory(err);
    }
    if (status == SHOAL_OK) status = write_by_threads(&sink, task, err);
    if (status == SHOAL_OK) status = duck_copy_task(session->conn, task, &output, err);
    if (status == SHOAL_OK && session->rejects != NULL)
        status = rejects_settle(session->rejects, session->conn, err);
    if (status == SHOAL_OK) status = commit(session, &sink, &output, NULL, err);
    if (status == SHOAL_OK) status = run_answer(session, &sink, result, err);
    task_output_free(&output);
    if (task != NULL) task_free(task);
    sink_close(&sink);
    return status;
}
