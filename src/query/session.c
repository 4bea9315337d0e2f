// A session: an embedded DuckDB, and workers when a query is distributed. What can't be
// distributed runs embedded, and EXPLAIN says why: no query fails for being
// undistributable.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "block/block.h"
#include "delta/delta.h"
#include "plan/limits.h"
#include "query/delta_sink.h"
#include "query/memory_tier.h"
#include "query/session.h"
#include "task/rejects.h"

static shoal_status run_init(struct session *session, struct shoal_error *err) {
    char **statements = NULL;
    size_t count = 0;
    shoal_status status = duck_split(session->options.init_sql, &statements, &count, err);
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        char *rewritten = NULL;
        status = delta_rewrite(session->conn, statements[i], &rewritten, err);
        if (status == SHOAL_OK)
            status = duck_run(session->conn, rewritten ? rewritten : statements[i], err);
        free(rewritten);
        if (status == SHOAL_OK) worker_state_keep(session, statements[i]);
    }
    duck_split_free(statements, count);
    if (status != SHOAL_OK) {
        struct shoal_error why = *err;
        shoal_fail(err, status, "in the statements of --init: %.3900s", why.message);
    }
    return status;
}

static shoal_status prepare_session(struct session *session, struct shoal_error *err) {
    const struct session_options *options = &session->options;
    struct text sql = {0};
    shoal_status status = SHOAL_OK;
    if (options->db != NULL) {
        text_append(&sql, "ATTACH ");
        text_append_literal(&sql, options->db);
        text_append(&sql,
                    " AS shoal_db (READ_ONLY); "
                    "SET search_path='memory.main,shoal_db.main'");
        status =
            sql.failed ? shoal_no_memory(err) : duck_run(session->conn, sql.data, err);
        text_free(&sql);
    }
    if (status == SHOAL_OK && options->init_sql != NULL) status = run_init(session, err);
    if (status == SHOAL_OK && session->worker_sql.failed) {
        status = shoal_no_memory(err);
    }
    return status;
}

#define WORKER_BYTES_LEAST (128u << 20)
#define BLOCKS_SHARE 5  // of all memory a fifth

// Block files get their share of all memory if the others have enough then. Of the rest,
// this process gets half of what a worker gets: it plans, and runs the last stage.
// Embedded it gets all.
static shoal_status divide_memory(struct session *session, uint64_t *driver,
                                  struct shoal_error *err) {
    const struct session_options *options = &session->options;
    uint64_t all =
        options->memory_bytes ? options->memory_bytes : memory_of_machine() / 5 * 4;
    *driver = options->memory_bytes;  // DuckDB's own default is the same 80%
    if (options->workers == 0) return SHOAL_OK;
    uint64_t least = (uint64_t)WORKER_BYTES_LEAST * (options->workers + 1);
    uint64_t blocks = all > least ? all - least : 0;
    uint64_t space = 0;
    if (blocks > all / BLOCKS_SHARE) blocks = all / BLOCKS_SHARE;
    if (memory_tier_parent(options->memory_dir, &space) == NULL) blocks = 0;
    session->block_bytes = blocks < space ? blocks : space;
    uint64_t part = (all - session->block_bytes) / (2 * (uint64_t)options->workers + 1);
    *driver = part;
    session->worker_bytes = 2 * part;
    if (options->memory_bytes == 0 || 2 * part >= WORKER_BYTES_LEAST) return SHOAL_OK;
    return shoal_fail(err, SHOAL_USAGE,
                      "--memory: %u workers and this process need %llu MiB at least",
                      options->workers, (unsigned long long)(least >> 20));
}

shoal_status session_open_spools(struct session *session, struct shoal_error *err) {
    const struct session_options *options = &session->options;
    uint64_t space = 0;
    const char *parent = memory_tier_parent(options->memory_dir, &space);
    shoal_status status =
        spool_open(&session->spool, options->temp_dir, "--temp-dir", err);
    if (status != SHOAL_OK) return status;
    struct spool_space disk = {0};
    session->compress = options->compression == COMPRESSION_ON ||
                        (options->compression == COMPRESSION_AUTO &&
                         spool_space(session->spool.path, &disk) && disk.remote);
    if (parent == NULL) return SHOAL_OK;
    if (options->memory_dir != NULL) {
        status = spool_open(&session->memory, parent, "--memory-dir", err);
        if (status != SHOAL_OK) session_close_spools(session);
    } else if (session->block_bytes > 0) {
        struct shoal_error ignored;  // then blocks go to disk
        (void)spool_open(&session->memory, parent, "--memory-dir", &ignored);
    }
    return status;
}

void session_close_spools(struct session *session) {
    spool_close(&session->spool);
    spool_close(&session->memory);
}

shoal_status session_open(const struct session_options *options, struct session **out,
                          struct shoal_error *err) {
    *out = NULL;
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) return shoal_no_memory(err);
    session->options = *options;
    session->spool.lock = session->memory.lock = -1;
    bool distributed = options->workers > 0;
    if (distributed && options->threads == 0) session->options.threads = 1;
    // With workers the driver plans and runs the last stage, with as many threads as they
    // have together.
    uint32_t threads =
        distributed ? options->workers * session->options.threads : options->threads;
    struct duck_options duck = {.threads = (int)threads, .temp_dir = options->temp_dir};
    if (options->temp_bytes > 0)
        duck.temp_bytes = options->temp_bytes / (options->workers + 1);
    shoal_status status = divide_memory(session, &duck.memory_bytes, err);
    if (status == SHOAL_OK) status = duck_open(&session->duck, &duck, err);
    if (status == SHOAL_OK) status = duck_connect(session->duck, &session->conn, err);
    // Views, planning and the last stage read the same Parquet footers: parse them once.
    if (status == SHOAL_OK && distributed) {
        status = duck_run(session->conn, "SET parquet_metadata_cache=true", err);
    }
    // Before any statement: what is registered in a transaction goes when it rolls back.
    if (status == SHOAL_OK) status = duck_register_rows(session->conn, err);
    if (status == SHOAL_OK && distributed) status = block_register(session->conn, err);
    if (status == SHOAL_OK && distributed)
        status = duck_prepare_trees(session->conn, err);
    if (status == SHOAL_OK) status = prepare_session(session, err);
    if (status != SHOAL_OK) {
        session_close(session);
        return status;
    }
    *out = session;
    return SHOAL_OK;
}

void session_close(struct session *session) {
    if (session == NULL) return;
    session_stop_workers(session);
    duck_disconnect(session->conn);
    duck_close(session->duck);
    text_free(&session->worker_sql);
    free(session->up);
    free(session);
}

void session_interrupt(struct session *session) {
    duck_interrupt(session->conn);
}

static bool nested_pivot(const struct shoal_error *err) {
    return strstr(err->message, "PIVOT statements with pivot elements extracted") != NULL;
}

#define BROADCAST_SHARE 4  // of a worker's memory that the hash table of a side may take

// What a plan is made for, beside the session's options.
struct purpose {
    bool sink, explain;
    bool files_whole;  // reading some of the files has failed
};

static shoal_status plan(struct session *session, const char *sql,
                         const struct purpose *purpose, struct stages **stages,
                         struct shoal_error *err) {
    struct plan_options options = {
        .workers = session->options.workers,
        .broadcast_rows = session->options.broadcast_rows,
        .broadcast_bytes = session->worker_bytes / BROADCAST_SHARE,
        .sort_rows = session->options.sort_rows,
        .slots = session->options.workers * session->options.threads,
        .split_rows = session->options.split_rows,
        .cluster_rows = session->options.cluster_rows,
        .sink = purpose->sink,
        .rejects = session->rejects != NULL,
        .files_whole = purpose->files_whole,
        .summaries = purpose->explain};
    shoal_status status = limits_check(sql, err);
    if (status == SHOAL_OK) {
        status = stages_plan(session->conn, sql, &options, stages, err);
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
                                        "do not exist in the CSV File",
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

// The SELECT, its rows to where copy says, or as the result.
static shoal_status run_planned(struct session *session, const char *select,
                                const struct copy *copy, struct duck_result **result,
                                struct shoal_error *err) {
    struct stages *stages = NULL;
    struct purpose purpose = {.sink = copy != NULL && copy->folder};
    // They start while the query is planned. Without FROM there is nothing for them.
    shoal_status status = strcasestr(select, "from") == NULL
                              ? SHOAL_OK
                              : session_start_workers(session, err);
    if (status == SHOAL_OK) status = plan(session, select, &purpose, &stages, err);
    if (status == SHOAL_OK) status = run_stages(session, stages, copy, NULL, result, err);
    if (status == SHOAL_USER && failed_in_files(stages, err)) {
        stages_free(stages);
        purpose.files_whole = true;
        status = plan(session, select, &purpose, &stages, err);
        if (status == SHOAL_OK)
            status = run_stages(session, stages, copy, NULL, result, err);
    }
    stages_free(stages);
    return status;
}

static bool is_copy(const char *sql) {
    return duck_token_is(duck_token_start(sql), "copy");
}

// What a statement asks for, if it can be distributed: a SELECT, and whether it is copied
// to files. SHOAL_UNSUPPORTED with the reason when it can't. *select is to be freed.
static shoal_status read_statement(struct session *session, const char *sql,
                                   struct delta_write *table, struct copy *copy,
                                   char **select, struct shoal_error *err) {
    shoal_status status = is_copy(sql) ? copy_parse(sql, copy, err) : SHOAL_OK;
    if (status == SHOAL_OK) status = delta_sink_attach(session->conn, table, copy, err);
    const char *query = copy->query != NULL ? copy->query : sql;
    *select = NULL;
    if (status == SHOAL_OK && !duck_is_select(query)) {
        status = shoal_fail(err, SHOAL_UNSUPPORTED,
                            "only SELECT statements, and COPY of them, are distributed");
    }
    if (status == SHOAL_OK) status = session_expand_pivot(session, query, select, err);
    if (status == SHOAL_OK && *select == NULL) *select = strdup(query);
    return status == SHOAL_OK && *select == NULL ? shoal_no_memory(err) : status;
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
static shoal_status run_alone(struct session *session, const char *sql,
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

static shoal_status rows_of(struct session *session, const char *sql,
                            struct delta_write *table, struct duck_result **result,
                            struct shoal_error *err) {
    struct copy copy = {0};
    char *select = NULL;
    shoal_status status = SHOAL_OK;
    if (session->options.workers == 0) return run_alone(session, sql, table, result, err);
    status = read_statement(session, sql, table, &copy, &select, err);
    if (status == SHOAL_OK)
        status = run_planned(session, select, copy.path ? &copy : NULL, result, err);
    // A defect of the planner must not cost the user an answer.
    if (status == SHOAL_INTERNAL || status == SHOAL_UNSUPPORTED)
        status = run_alone(session, sql, table, result, err);
    free(select);
    copy_free(&copy);
    return status;
}

shoal_status session_rows(struct session *session, const char *sql,
                          struct duck_result **result, struct shoal_error *err) {
    static const char nothing[] = "SELECT CAST(0 AS BIGINT) AS \"Count\"";
    struct delta_write *table = NULL;
    char *rewritten = NULL;
    *result = NULL;
    shoal_status status = limits_balanced(sql, err);
    if (status == SHOAL_OK) status = delta_sink_open(session->conn, sql, &table, err);
    if (status == SHOAL_OK && delta_sink_is_done(table)) {
        status = duck_query_batches(session->conn, nothing, result, err);
    } else if (status == SHOAL_OK) {
        status = delta_rewrite(session->conn, sql, &rewritten, err);
        if (status == SHOAL_OK)
            status = rows_of(session, rewritten ? rewritten : sql, table, result, err);
    }
    delta_write_free(table);
    free(rewritten);
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
    shoal_status status = rejects_clear(session->conn, err);
    if (status == SHOAL_OK) status = rejects_rewrite(sql, rewritten, err);
    if (status == SHOAL_OK) session->rejects = keeper;
    return status;
}

static void close_rejects(struct session *session, struct rejects *keeper) {
    struct shoal_error ignored;
    if (session->rejects != NULL) (void)rejects_clear(session->conn, &ignored);
    session->rejects = NULL;
    rejects_free(keeper);
}

shoal_status session_query(struct session *session, const char *sql,
                           enum result_format format, FILE *out,
                           struct shoal_error *err) {
    struct duck_result *result = NULL;
    struct rejects keeper;
    struct copy copy = {.rejects_limit = REJECTS_NO_LIMIT};
    char *rewritten = NULL;
    shoal_status status = open_rejects(session, sql, &keeper, &copy, &rewritten, err);
    if (status == SHOAL_OK)
        status = session_rows(session, rewritten ? rewritten : sql, &result, err);
    if (status == SHOAL_OK && duck_result_has_rows(result)) {
        status = format_result(result, format, out, err);
    }
    duck_result_free(result);
    if (status == SHOAL_OK && session->rejects != NULL)
        status = rejects_settle(session->rejects, session->conn, err);
    close_rejects(session, &keeper);
    copy_free(&copy);
    free(rewritten);
    if (session->options.cancelled != NULL && *session->options.cancelled) {
        status = shoal_fail(err, SHOAL_CANCELLED, "cancelled");
    }
    return status;
}

static shoal_status explain_stages(struct session *session, const struct stages *stages,
                                   const struct copy *copy, bool analyze, bool json,
                                   FILE *out, struct shoal_error *err) {
    struct stage_stats *stats = calloc(stages->count, sizeof *stats);
    struct duck_result *result = NULL;
    struct text text = {0};
    char *plan_json = NULL;
    shoal_status status = SHOAL_OK;
    if (stats == NULL) return shoal_no_memory(err);
    if (analyze) status = run_stages(session, stages, copy, stats, &result, err);
    for (bool more = analyze; status == SHOAL_OK && more;) {
        status = duck_result_next(result, &more, err);
        if (copy == NULL) stats[stages->count - 1].rows += duck_result_rows(result);
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
    free(stats);
    return status;
}

// For EXPLAIN: where the rows go.
static shoal_status name_target(struct stages *stages, const struct copy *copy,
                                struct shoal_error *err) {
    struct text target = {0};
    copy_append_target(&target, copy);
    stages->target = text_take(&target);
    return stages->target == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

static void explain_embedded(const char *reason, bool json, FILE *out) {
    if (!json) {
        fprintf(out, "Runs embedded, in one process: %s\n", reason);
        return;
    }
    json_t *why = json_pack("{s:b, s:s}", "embedded", 1, "reason", reason);
    json_dumpf(why, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(why);
}

bool session_explains(const char *sql) {
    struct copy copy = {0};
    struct shoal_error ignored;
    bool explains = duck_is_select(sql);
    if (!explains && is_copy(sql)) {
        (void)copy_parse(sql, &copy, &ignored);
        explains = copy.path != NULL;
    }
    copy_free(&copy);
    return explains;
}

static shoal_status explain(struct session *session, const char *sql, bool analyze,
                            bool json, FILE *out, struct shoal_error *err) {
    struct stages *stages = NULL;
    struct copy copy = {0};
    struct delta_write *table = NULL;
    char *select = NULL, *rewritten = NULL;
    shoal_status status = limits_balanced(sql, err);
    if (status == SHOAL_OK) status = delta_sink_open(session->conn, sql, &table, err);
    if (status == SHOAL_OK && !delta_sink_is_done(table))
        status = delta_rewrite(session->conn, sql, &rewritten, err);
    if (status != SHOAL_OK || (table != NULL && table->committed >= 0)) {
        delta_write_free(table);
        return status;
    }
    if (rewritten != NULL) sql = rewritten;
    status = read_statement(session, sql, table, &copy, &select, err);
    struct purpose purpose = {.sink = copy.folder, .explain = true};
    if (status == SHOAL_OK) status = plan(session, select, &purpose, &stages, err);
    if (status == SHOAL_OK && copy.path != NULL) status = name_target(stages, &copy, err);
    if (status == SHOAL_OK) {
        status = explain_stages(session, stages, copy.path ? &copy : NULL, analyze, json,
                                out, err);
    } else if (status == SHOAL_UNSUPPORTED || status == SHOAL_INTERNAL) {
        explain_embedded(err->message, json, out);
        status = SHOAL_OK;
    }
    stages_free(stages);
    delta_write_free(table);
    free(select);
    free(rewritten);
    copy_free(&copy);
    return status;
}

shoal_status session_explain(struct session *session, const char *sql, bool analyze,
                             bool json, FILE *out, struct shoal_error *err) {
    struct rejects keeper;
    struct copy copy = {.rejects_limit = REJECTS_NO_LIMIT};
    char *rewritten = NULL;
    shoal_status status = open_rejects(session, sql, &keeper, &copy, &rewritten, err);
    if (status == SHOAL_OK)
        status = explain(session, rewritten ? rewritten : sql, analyze, json, out, err);
    close_rejects(session, &keeper);
    copy_free(&copy);
    free(rewritten);
    return status;
}
