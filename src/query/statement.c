// One statement, from its text to its rows: distributed if it can be, else embedded, and
// EXPLAIN says why; no query fails for being undistributable.
//
// On its way the text is rewritten where shoal adds what DuckDB doesn't have: calls of
// read_csv and read_json that keep what is rejected, Delta tables as subqueries over
// their files.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "delta/delta.h"
#include "plan/limits.h"
#include "query/delta_sink.h"
#include "query/job_sink.h"
#include "query/json_rejects.h"
#include "query/session.h"
#include "query/settings.h"
#include "task/rejects.h"

static bool nested_pivot(const struct shoal_error *err) {
    return strstr(err->message, "PIVOT statements with pivot elements extracted") != NULL;
}

// What a plan is made for, beside the session's options.
struct purpose {
    bool sink, explain;
    bool uncut;        // reading parts of JSON files has failed
    bool files_whole;  // reading some of the files has failed
    uint32_t times;    // as many partitions as usual, as tasks were too large; 0: once
    const struct hints *hints;
};

static shoal_status note_times(struct stages *stages, struct shoal_error *err) {
    struct text note = {0};
    char **notes = realloc(stages->notes, (stages->note_count + 1) * sizeof *notes);
    if (notes == NULL) return shoal_no_memory(err);
    stages->notes = notes;
    text_printf(&note,
                "shuffles have %u times as many partitions, as a task was too "
                "large for its memory before",
                stages->times);
    notes[stages->note_count] = text_take(&note);
    return notes[stages->note_count++] == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

static shoal_status plan(struct session *session, const char *sql,
                         const struct purpose *purpose, struct stages **stages,
                         struct shoal_error *err) {
    struct plan_options options = {
        .workers = session->options.workers,
        .broadcast_rows = session->options.broadcast_rows,
        .broadcast_bytes = session_plan_bytes(session) / BROADCAST_SHARE /
                           (purpose->times > 0 ? purpose->times : 1),
        .sort_rows = session->options.sort_rows,
        .slots = session->options.workers * session->options.threads,
        .split_rows = session->options.split_rows,
        .cluster_rows = session->options.cluster_rows,
        .sink = purpose->sink,
        .rejects = session->rejects != NULL,
        .uncut = purpose->uncut,
        .files_whole = purpose->files_whole,
        .hints = purpose->hints,
        .parts_rows = session->options.skew == ADAPT_AUTO ? ADAPT_TASK_ROWS_LEAST : 0,
        .no_parts = session->options.skew == ADAPT_OFF,
        .summaries = purpose->explain};
    shoal_status status = limits_check(sql, err);
    if (status == SHOAL_OK) {
        status = stages_plan(session->conn, sql, &options, stages, err);
    }
    if (status == SHOAL_OK && purpose->times > 1) {
        (*stages)->times = purpose->times;
        status = note_times(*stages, err);
    }
    if (status == SHOAL_OK) {
        status = levels_add(&session->options, *stages, err);
    }
    if (status == SHOAL_UNSUPPORTED && nested_pivot(err)) {
        return shoal_fail(err, SHOAL_UNSUPPORTED, "a nested PIVOT without an IN list");
    }
    return status;
}

// Too many rejects take back what a statement changed.
static shoal_status run_guarded(struct session *session, const char *sql,
                                struct duck_result **result, struct shoal_error *err) {
    struct shoal_error ignored;
    bool begun = duck_run(session->conn, "BEGIN", &ignored) == SHOAL_OK;
    shoal_status status = duck_query(session->conn, sql, result, err);
    if (status == SHOAL_OK) status = rejects_settle(session->rejects, session->conn, err);
    if (begun && status == SHOAL_OK) {
        status = duck_run(session->conn, "COMMIT", err);
    } else if (begun) {
        (void)duck_run(session->conn, "ROLLBACK", &ignored);
    }
    return status;
}

static shoal_status run_embedded(struct session *session, const char *sql,
                                 struct duck_result **result, struct shoal_error *err) {
    if (session->rejects != NULL && session->rejects->limit != REJECTS_NO_LIMIT &&
        !duck_is_select(sql))
        return run_guarded(session, sql, result, err);
    shoal_status status = limits_pipe(sql)
                              ? duck_query_once(session->conn, sql, result, err)
                              : duck_query_batches(session->conn, sql, result, err);
    if (status == SHOAL_OK) worker_state_keep(session, sql);
    return status;
}

// Did a task fail to read its files as all of them together were found to be? A later
// file differs from the first, a part of a text file was cut wrongly, or there is an
// error that only one reader can name the line of. The stages were bound here: what
// doesn't bind in a task is a file without a column.
static bool failed_in_files(const struct stages *stages, const struct shoal_error *err) {
    static const char *const words[] = {"Binder Error",
                                        "CSV Error",
                                        "Malformed JSON",
                                        "JSON transform error",
                                        "map keys cannot be NULL",
                                        "do not exist in the CSV File",
                                        "Error when sniffing file",
                                        "Schema mismatch between globbed files",
                                        NULL};
    bool reading = false, scans = false;
    for (size_t i = 0; words[i] != NULL; i++)
        reading = reading || strstr(err->message, words[i]) != NULL;
    for (size_t s = 0; stages != NULL && s < stages->count; s++) {
        for (size_t l = 0; l < stages->stages[s].leaf_count; l++)
            scans = scans || stages->stages[s].leaves[l].scan_call != NULL;
    }
    return reading && scans;
}

// Were JSON files cut, whose records that can't be read are to be kept? In whole files
// tasks find them.
static bool cuts_for_rejects(const struct stages *stages) {
    bool cuts = false;
    for (size_t s = 0; s < stages->count; s++) {
        for (size_t l = 0; l < stages->stages[s].leaf_count; l++) {
            const struct scan_source *source = &stages->stages[s].leaves[l].source;
            cuts = cuts || (source->rejects && source->cuts);
        }
    }
    return cuts;
}

#define TIMES_MORE 4
#define TIMES_MOST 16

static void add_words(struct shoal_error *err, const char *words) {
    size_t length = strlen(err->message);
    (void)snprintf(err->message + length, sizeof err->message - length, "\n%s", words);
}

// A task was out of memory though it had all workers' memory: smaller ones may do. True:
// the purpose says so, and the statement is to run again. Its rows are staged.
static bool plan_smaller(const struct session *session, const struct stages *stages,
                         struct purpose *purpose, struct shoal_error *err) {
    if (stages == NULL || !stages->too_large) return false;
    if (session->options.partitions > 0 || stages->partitions > 0) return false;
    if (session->options.job != NULL) {
        add_words(err,
                  "The plan of a job stays as it is: begin anew with more "
                  "--partitions and --replace");
        return false;
    }
    if (purpose->times == TIMES_MOST) {
        add_words(err,
                  "Even 16 times as many partitions did not help: a group or key "
                  "alone may have too many rows");
        return false;
    }
    purpose->times = purpose->times == 0 ? TIMES_MORE : purpose->times * TIMES_MORE;
    fprintf(stderr,
            "shoal: %.*s: the statement runs again, with %u times as many partitions\n",
            (int)strcspn(err->message, "\n"), err->message, purpose->times);
    return true;
}

// Is the statement, that failed, to be planned in another way? The purpose says how.
static bool plan_otherwise(const struct session *session, const struct stages *stages,
                           shoal_status status, struct purpose *purpose,
                           struct shoal_error *err) {
    if (status == SHOAL_NOMEM) return plan_smaller(session, stages, purpose, err);
    if (status != SHOAL_USER || purpose->files_whole || !failed_in_files(stages, err))
        return false;
    purpose->files_whole = purpose->uncut || !cuts_for_rejects(stages);
    purpose->uncut = true;
    return true;
}

// The SELECT, its rows to where the statement says, or as the result.
static shoal_status run_planned(struct session *session,
                                const struct statement *statement,
                                const struct hints *hints, struct duck_result **result,
                                struct shoal_error *err) {
    struct stages *stages = NULL;
    const char *select = statement->select;
    struct purpose purpose = {.sink = statement->copy.folder, .hints = hints};
    // They start while the query is planned. Without FROM there is nothing for them.
    shoal_status status = strcasestr(select, "from") == NULL
                              ? SHOAL_OK
                              : session_start_workers(session, err);
    for (bool again = status == SHOAL_OK, first = true; again; first = false) {
        stages_free(stages);
        stages = NULL;
        status = plan(session, select, &purpose, &stages, err);
        for (size_t i = 0; status == SHOAL_OK && first && i < stages->warning_count; i++)
            fprintf(stderr, "shoal: %s\n", stages->warnings[i]);
        if (status == SHOAL_OK && statement->copy.path != NULL)
            status = copy_check(session->conn, &statement->copy,
                                &stages_last(stages)->schema, err);
        if (status == SHOAL_OK)
            status = run_stages(session, stages, statement, NULL, result, err);
        again = plan_otherwise(session, stages, status, &purpose, err);
    }
    // DuckDB minds a column that a file lacks only where the query reads it.
    if (status == SHOAL_USER && strcasestr(err->message, "schema mismatch") != NULL)
        status = SHOAL_UNSUPPORTED;
    stages_free(stages);
    return status;
}

static bool is_copy(const char *sql) {
    return duck_token_is(duck_token_start(sql), "copy");
}

static void statement_free(struct statement *statement) {
    free(statement->select);
    copy_free(&statement->copy);
    insert_free(&statement->insert);
}

// What a statement asks for, if it can be distributed: a SELECT, and where its rows go.
// SHOAL_UNSUPPORTED with the reason when it can't. Free it with statement_free in any
// case.
static shoal_status read_statement(struct session *session, const char *sql,
                                   struct delta_write *table, struct statement *statement,
                                   struct shoal_error *err) {
    const char *query = sql;
    *statement = (struct statement){0};
    shoal_status status = settings_apply(session, err);
    if (status != SHOAL_OK) return status;
    if (is_copy(sql)) {
        status = copy_parse(sql, &statement->copy, err);
        if (status == SHOAL_OK)
            status = delta_sink_attach(session->conn, table, &statement->copy, err);
        query = statement->copy.query;
    } else if (insert_begins(sql)) {
        status = insert_parse(sql, &statement->insert, err);
        query = statement->insert.query;
        if (status == SHOAL_OK)
            status = insert_check(session->conn, &statement->insert, err);
    }
    if (status == SHOAL_OK && !duck_is_select(query)) {
        status = shoal_fail(err, SHOAL_UNSUPPORTED,
                            "only SELECT statements, and what writes their rows, are "
                            "distributed");
    }
    if (status == SHOAL_OK)
        status = session_expand_pivot(session, query, &statement->select, err);
    if (status == SHOAL_OK && statement->select == NULL)
        statement->select = strdup(query);
    return status == SHOAL_OK && statement->select == NULL ? shoal_no_memory(err)
                                                           : status;
}

// DuckDB doesn't know the options about rejects.
static shoal_status copy_to_file(struct session *session, const struct copy *copy,
                                 struct duck_result **result, struct shoal_error *err) {
    struct text sql = {0};
    if (session->rejects->limit != REJECTS_NO_LIMIT) {
        return shoal_fail(err, SHOAL_USER,
                          "REJECTS_LIMIT can't keep %s from being replaced: write to a "
                          "folder (PER_THREAD_OUTPUT), or give --workers",
                          copy->path);
    }
    text_printf(&sql, "COPY (%s) TO ", copy->query);
    copy_append_target(&sql, copy);
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : run_embedded(session, sql.data, result, err);
    text_free(&sql);
    return status;
}

// In this process alone; a folder that a COPY writes appears as over workers.
static shoal_status run_here(struct session *session, const char *sql,
                             struct delta_write *table, struct duck_result **result,
                             struct shoal_error *err) {
    struct copy copy = {0};
    shoal_status status = is_copy(sql)
                              ? copy_parse(sql, &copy, err)
                              : shoal_fail(err, SHOAL_UNSUPPORTED, "this is no COPY");
    if (status == SHOAL_OK) status = delta_sink_attach(session->conn, table, &copy, err);
    if (status == SHOAL_OK && copy.folder && duck_is_select(copy.query)) {
        status = write_embedded(session, &copy, result, err);
    } else if (status == SHOAL_OK && copy.path != NULL && session->rejects != NULL) {
        status = copy_to_file(session, &copy, result, err);
    } else if (status == SHOAL_OK || status == SHOAL_UNSUPPORTED) {
        status = run_embedded(session, sql, result, err);
    }
    copy_free(&copy);
    return status;
}

static const char alone[] = "the statement runs in one process";

// Of a statement that is not distributed.
static const char *why_not(const struct hint *hint, const char *why) {
    return hint->kind == HINT_REFUSED ? hint->why : why;
}

static void warn_hints(const struct hints *hints, const char *why) {
    for (size_t h = 0; h < hints->count; h++)
        fprintf(stderr, "shoal: hint %s is not followed: %s\n", hints->list[h].text,
                why_not(&hints->list[h], why));
}

static shoal_status run_alone(struct session *session, const char *sql,
                              struct delta_write *table, struct duck_result **result,
                              struct shoal_error *err) {
    char *good = NULL;
    shoal_status status = SHOAL_OK;
    if (session->rejects != NULL) {
        // A try over workers may have left some.
        status = rejects_clear(session->conn, err);
        if (status == SHOAL_OK)
            status = json_rejects_find(session->conn, session->trial, sql, &good, err);
    }
    if (status == SHOAL_OK)
        status = run_here(session, good ? good : sql, table, result, err);
    free(good);
    return status;
}

static shoal_status run_statement(struct session *session, const char *sql,
                                  struct delta_write *table, struct duck_result **result,
                                  struct shoal_error *err) {
    struct statement statement = {0};
    struct hints hints;
    shoal_status status = hints_read(sql, &hints, err);
    if (status == SHOAL_OK && session->options.workers == 0) {
        status = shoal_fail(err, SHOAL_UNSUPPORTED, "%s", alone);
    } else if (status == SHOAL_OK) {
        status = read_statement(session, sql, table, &statement, err);
        if (status == SHOAL_OK)
            status = run_planned(session, &statement, &hints, result, err);
    }
    // A defect of the planner must not cost the user an answer.
    if (status == SHOAL_INTERNAL || status == SHOAL_UNSUPPORTED) {
        warn_hints(&hints, err->message);
        status = run_alone(session, sql, table, result, err);
    }
    hints_free(&hints);
    statement_free(&statement);
    return status;
}

// With Delta tables, read and written, as DuckDB knows them.
static shoal_status run_rewritten(struct session *session, const char *sql,
                                  struct duck_result **result, struct shoal_error *err) {
    static const char nothing[] = "SELECT CAST(0 AS BIGINT) AS \"Count\"";
    struct delta_write *table = NULL;
    char *rewritten = NULL;
    const struct job *job = session->options.job;
    char id[40];
    if (job != NULL) (void)snprintf(id, sizeof id, "%s/%u", job_id(job), job->statement);
    shoal_status status =
        delta_sink_open(session->conn, sql, job != NULL ? id : NULL, &table, err);
    if (status == SHOAL_OK && delta_sink_is_done(table)) {
        const char *before = job != NULL ? job_answer(job) : NULL;
        status =
            duck_query_batches(session->conn, before ? before : nothing, result, err);
    } else if (status == SHOAL_OK) {
        status = delta_rewrite(session->conn, sql, &rewritten, err);
        if (status == SHOAL_OK)
            status =
                run_statement(session, rewritten ? rewritten : sql, table, result, err);
    }
    delta_write_free(table);
    free(rewritten);
    return status;
}

// A job's COPY into one file is done, and is not done again by who resumes it: what the
// statements behind it read of the file would be of another. Its answer is a count, in
// *result.
static shoal_status note_file(struct session *session, const char *sql,
                              struct duck_result **result, struct shoal_error *err) {
    struct copy copy = {0};
    struct text answer = {0};
    struct shoal_error ignored;
    bool more = false;
    if (session->options.job == NULL || session->rejects != NULL || !is_copy(sql))
        return SHOAL_OK;
    bool file = copy_parse(sql, &copy, &ignored) == SHOAL_OK && !copy.folder &&
                copy.answer == ANSWER_COUNT;
    copy_free(&copy);
    if (!file || duck_result_columns(*result) != 1) return SHOAL_OK;
    shoal_status status = duck_result_next(*result, &more, err);
    const char *count =
        duck_result_rows(*result) == 1 ? duck_result_text(*result, 0, 0) : "0";
    text_printf(&answer, "SELECT CAST(%s AS BIGINT) AS \"Count\"", count);
    duck_result_free(*result);
    *result = NULL;
    if (status == SHOAL_OK && answer.failed) status = shoal_no_memory(err);
    if (status == SHOAL_OK)
        status = job_append(session->options.job,
                            json_pack("{s:s, s:s}", "r", "over", "answer", answer.data),
                            true, err);
    if (status == SHOAL_OK)
        status = duck_query_batches(session->conn, answer.data, result, err);
    text_free(&answer);
    return status;
}

shoal_status session_rows(struct session *session, const char *sql,
                          struct duck_result **result, struct shoal_error *err) {
    char *own = NULL;
    const struct job *job = session->options.job;
    *result = NULL;
    if (job != NULL && job_find(job, "over") != NULL) {
        job_sink_clean(job);
        return duck_query_batches(session->conn, job_answer(job), result, err);
    }
    shoal_status status = limits_balanced(sql, err);
    if (status == SHOAL_OK) status = settings_change(session, sql, &own, err);
    if (status == SHOAL_OK && own != NULL) {
        status = duck_query_batches(session->conn, own, result, err);
        free(own);
        return status;
    }
    if (status == SHOAL_OK) status = database_enter(session, sql, &own, err);
    if (status != SHOAL_OK) return status;
    if (own != NULL) sql = own;
    status = run_rewritten(session, sql, result, err);
    if (database_retry(session, &status, err))
        status = run_rewritten(session, sql, result, err);
    if (status == SHOAL_OK && job != NULL &&
        duck_token_is(duck_token_start(sql), "attach"))
        status = database_check_job(session, err);
    if (status == SHOAL_OK) status = note_file(session, sql, result, err);
    free(own);
    return status;
}

// Does the statement keep what is rejected? Then *rewritten reads its files so; else it
// is NULL. keeper and copy are to live as long as the statement.
static shoal_status open_rejects(struct session *session, const char *sql,
                                 struct rejects *keeper, struct copy *copy,
                                 char **rewritten, struct shoal_error *err) {
    struct shoal_error ignored;
    *keeper = (struct rejects){.folder = session->options.rejects_dir,
                               .limit = session->options.rejects_limit};
    *rewritten = NULL;
    if (is_copy(sql)) (void)copy_parse(sql, copy, &ignored);  // whose errors come later
    if (copy->rejects != NULL) keeper->folder = copy->rejects;
    if (copy->rejects_limit != REJECTS_NO_LIMIT) keeper->limit = copy->rejects_limit;
    if (keeper->folder == NULL && copy->rejects_limit != REJECTS_NO_LIMIT)
        return shoal_fail(err, SHOAL_USER, "REJECTS_LIMIT goes with REJECTS 'folder'");
    if (keeper->folder == NULL) return SHOAL_OK;
    const struct job *job = session->options.job;
    if (job != NULL) {
        (void)snprintf(keeper->job, sizeof keeper->job, "%s.%u", job_id(job),
                       job->statement);
        keeper->began = job_began(job);
    }
    shoal_status status = rejects_clear(session->conn, err);
    if (status == SHOAL_OK) status = rejects_rewrite(session->trial, sql, rewritten, err);
    if (status == SHOAL_OK) session->rejects = keeper;
    return status;
}

static void close_rejects(struct session *session, struct rejects *keeper) {
    struct shoal_error ignored;
    if (session->rejects != NULL) (void)rejects_clear(session->conn, &ignored);
    session->rejects = NULL;
    rejects_free(keeper);
}

// A job's SELECT whose rows were all given out can be run again only while what it reads
// is there. A statement behind it may have changed that since.
static shoal_status skip_shown(struct session *session, const char *sql,
                               shoal_status status) {
    const struct job *job = session->options.job;
    if (status != SHOAL_USAGE || job == NULL || !duck_is_select(sql) ||
        job_find(job, "shown") == NULL)
        return status;
    fprintf(
        stderr,
        "shoal: statement %u of the job was done, and what it reads has changed since: "
        "its rows are not printed again\n",
        job->statement + 1);
    return SHOAL_OK;
}

static shoal_status note_shown(struct session *session, const char *sql,
                               struct shoal_error *err) {
    struct job *job = session->options.job;
    if (job == NULL || !duck_is_select(sql) || job_find(job, "shown") != NULL)
        return SHOAL_OK;
    return job_append(job, json_pack("{s:s}", "r", "shown"), false, err);
}

shoal_status session_query(struct session *session, const char *sql,
                           enum result_format format, FILE *out,
                           struct shoal_error *err) {
    struct duck_result *result = NULL;
    struct rejects keeper;
    struct copy copy = {.rejects_limit = REJECTS_NO_LIMIT};
    char *rewritten = NULL;
    atomic_store(&session->committed, false);
    shoal_status status = open_rejects(session, sql, &keeper, &copy, &rewritten, err);
    if (status == SHOAL_OK)
        status = session_rows(session, rewritten ? rewritten : sql, &result, err);
    status = skip_shown(session, sql, status);
    if (status == SHOAL_OK && result != NULL && duck_result_has_rows(result)) {
        status = format_result(result, format, out, err);
        if (status == SHOAL_OK) status = note_shown(session, sql, err);
    }
    duck_result_free(result);
    if (status == SHOAL_OK && session->rejects != NULL)
        status = rejects_settle(session->rejects, session->conn, err);
    close_rejects(session, &keeper);
    copy_free(&copy);
    free(rewritten);
    // Who was told that nothing came of a COPY would run it again.
    bool committed = atomic_exchange(&session->committed, false);
    if (!committed && session->options.cancelled != NULL && *session->options.cancelled) {
        status = shoal_fail(err, SHOAL_CANCELLED, "cancelled");
    }
    return status;
}

static shoal_status explain_stages(struct session *session, struct stages *stages,
                                   const struct statement *statement, bool analyze,
                                   bool json, FILE *out, struct shoal_error *err) {
    struct stage_stats *stats = calloc(stages->count, sizeof *stats);
    struct duck_result *result = NULL;
    struct text text = {0};
    char *plan_json = NULL;
    shoal_status status = SHOAL_OK;
    if (stats == NULL) return shoal_no_memory(err);
    if (analyze) status = run_stages(session, stages, statement, stats, &result, err);
    for (bool more = analyze; status == SHOAL_OK && more;) {
        status = duck_result_next(result, &more, err);
        if (statement->copy.path == NULL && statement->insert.head == NULL)
            stats[stages->count - 1].rows += duck_result_rows(result);
    }
    if (status == SHOAL_OK && json) {
        status = stages_explain_json(stages, analyze ? stats : NULL, &plan_json, err);
        if (status == SHOAL_OK) fprintf(out, "%s\n", plan_json);
    } else if (status == SHOAL_OK) {
        stages_explain(stages, analyze ? stats : NULL, &text);
        if (text.failed) status = shoal_no_memory(err);
        if (status == SHOAL_OK) fputs(text.data, out);
    }
    free(plan_json);
    text_free(&text);
    duck_result_free(result);
    stats_free(stats, stages->count);
    return status;
}

// For EXPLAIN: where the rows go, if they are not the result.
static shoal_status name_target(struct stages *stages, const struct statement *statement,
                                struct shoal_error *err) {
    struct text target = {0};
    if (statement->copy.path != NULL) {
        text_append(&target, "CopyTo ");
        copy_append_target(&target, &statement->copy);
    } else if (statement->insert.head != NULL) {
        text_append(&target, statement->insert.head);
    } else {
        return SHOAL_OK;
    }
    stages->target = text_take(&target);
    return stages->target == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

static void explain_embedded(const char *reason, const struct hints *hints, bool json,
                             FILE *out) {
    if (!json) {
        fprintf(out, "Runs embedded, in one process: %s\n", reason);
        for (size_t h = 0; h < hints->count; h++)
            fprintf(out, "Warning: hint %s is not followed: %s\n", hints->list[h].text,
                    why_not(&hints->list[h], alone));
        return;
    }
    json_t *warnings = json_array();
    for (size_t h = 0; h < hints->count; h++)
        json_array_append_new(
            warnings, json_sprintf("hint %s is not followed: %s", hints->list[h].text,
                                   why_not(&hints->list[h], alone)));
    json_t *why = json_pack("{s:b, s:s, s:o}", "embedded", 1, "reason", reason,
                            "warnings", warnings);
    json_dumpf(why, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(why);
}

bool session_explains(const char *sql, bool last) {
    struct copy copy = {0};
    struct insert insert = {0};
    struct shoal_error ignored;
    bool explains = duck_is_select(sql);
    if (!explains && is_copy(sql)) {
        (void)copy_parse(sql, &copy, &ignored);
        explains = copy.path != NULL;
    } else if (!explains && last && insert_begins(sql)) {
        (void)insert_parse(sql, &insert, &ignored);
        explains = insert.head != NULL;
    }
    copy_free(&copy);
    insert_free(&insert);
    return explains;
}

static shoal_status explain_statement(struct session *session, const char *sql,
                                      bool analyze, bool json, FILE *out,
                                      struct shoal_error *err) {
    struct stages *stages = NULL;
    struct statement statement = {0};
    struct delta_write *table = NULL;
    struct hints hints = {0};
    char *rewritten = NULL;
    bool planned = false;
    shoal_status status = hints_read(sql, &hints, err);
    if (status == SHOAL_OK)
        status = delta_sink_open(session->conn, sql, NULL, &table, err);
    bool done = status != SHOAL_OK || delta_sink_is_done(table);
    if (!done) status = delta_rewrite(session->conn, sql, &rewritten, err);
    if (!done && status == SHOAL_OK)
        status =
            read_statement(session, rewritten ? rewritten : sql, table, &statement, err);
    struct purpose purpose = {
        .sink = statement.copy.folder, .explain = true, .hints = &hints};
    for (bool again = !done && status == SHOAL_OK; again;) {
        stages_free(stages);
        stages = NULL;
        status = plan(session, statement.select, &purpose, &stages, err);
        planned = stages != NULL && status == SHOAL_OK;
        if (planned) status = name_target(stages, &statement, err);
        if (planned && status == SHOAL_OK)
            status = explain_stages(session, stages, &statement, analyze, json, out, err);
        again = status == SHOAL_NOMEM && plan_smaller(session, stages, &purpose, err);
    }
    if (!planned && (status == SHOAL_UNSUPPORTED || status == SHOAL_INTERNAL)) {
        explain_embedded(err->message, &hints, json, out);
        status = SHOAL_OK;
    }
    hints_free(&hints);
    stages_free(stages);
    delta_write_free(table);
    statement_free(&statement);
    free(rewritten);
    return status;
}

static shoal_status explain_entered(struct session *session, const char *sql,
                                    bool analyze, bool json, FILE *out,
                                    struct shoal_error *err) {
    char *own = NULL;
    // To show how a table would be made makes no database.
    bool only_shown =
        session->database == DATABASE_MISSING && !analyze && insert_creates_table(sql);
    shoal_status status = limits_balanced(sql, err);
    if (status == SHOAL_OK && !only_shown)
        status = database_enter(session, sql, &own, err);
    if (status == SHOAL_OK)
        status = explain_statement(session, own ? own : sql, analyze, json, out, err);
    free(own);
    return status;
}

shoal_status session_explain(struct session *session, const char *sql, bool analyze,
                             bool json, FILE *out, struct shoal_error *err) {
    atomic_store(&session->committed, false);
    struct rejects keeper;
    struct copy copy = {.rejects_limit = REJECTS_NO_LIMIT};
    char *rewritten = NULL;
    shoal_status status = open_rejects(session, sql, &keeper, &copy, &rewritten, err);
    if (status == SHOAL_OK)
        status = explain_entered(session, rewritten ? rewritten : sql, analyze, json, out,
                                 err);
    close_rejects(session, &keeper);
    copy_free(&copy);
    free(rewritten);
    return status;
}
