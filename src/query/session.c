// A session: an embedded DuckDB, and workers when a query is distributed. statement.c
// says which is.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "block/block.h"
#include "delta/delta.h"
#include "plan/limits.h"
#include "query/job.h"
#include "query/memory_tier.h"
#include "query/session.h"
#include "query/settings.h"

static shoal_status run_init(struct session *session, struct shoal_error *err) {
    char **statements = NULL;
    size_t count = 0;
    shoal_status status = duck_split(session->options.init_sql, &statements, &count, err);
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        char *rewritten = NULL;
        status = settings_change(session, statements[i], &rewritten, err);
        if (status == SHOAL_OK && rewritten == NULL)
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
    shoal_status status = database_attach(session, err);
    if (status == SHOAL_OK && options->init_sql != NULL) status = run_init(session, err);
    if (status == SHOAL_OK && session->worker_sql.failed) {
        status = shoal_no_memory(err);
    }
    return status;
}

#define WORKER_BYTES_LEAST (128u << 20)
#define BLOCKS_SHARE 5  // of all memory a fifth

// Each worker has what the cluster was asked for; --memory is this process's alone, but
// for the block files that it keeps.
static shoal_status divide_hosted(struct session *session, uint64_t all,
                                  uint64_t *driver) {
    uint64_t space = 0, blocks = all / BLOCKS_SHARE;
    if (memory_tier_parent(session->options.memory_dir, &space) == NULL) blocks = 0;
    session->block_bytes = blocks < space ? blocks : space;
    session->worker_bytes = session->options.cluster.memory_bytes;
    *driver = all - session->block_bytes;
    return SHOAL_OK;
}

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
    if (options->cluster.memory_bytes > 0) return divide_hosted(session, all, driver);
    uint32_t workers = options->hosts > 0 ? options->hosts : options->workers;
    uint64_t least = (uint64_t)WORKER_BYTES_LEAST * (workers + 1);
    uint64_t blocks = all > least ? all - least : 0;
    uint64_t space = 0;
    if (blocks > all / BLOCKS_SHARE) blocks = all / BLOCKS_SHARE;
    if (memory_tier_parent(options->memory_dir, &space) == NULL) blocks = 0;
    session->block_bytes = blocks < space ? blocks : space;
    uint64_t part = (all - session->block_bytes) / (2 * (uint64_t)workers + 1);
    *driver = part;
    session->worker_bytes = 2 * part;
    if (options->memory_bytes == 0 || 2 * part >= WORKER_BYTES_LEAST) return SHOAL_OK;
    return shoal_fail(err, SHOAL_USAGE,
                      "--memory: %u workers and this process need %llu MiB at least",
                      workers, (unsigned long long)(least >> 20));
}

uint64_t session_plan_bytes(const struct session *session) {
    uint64_t planned = session->options.plan_bytes;
    return planned > 0 ? planned : session->worker_bytes;
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

// What this process's DuckDB spills has a folder of its own, so that what is left when it
// is killed is known for a dead one's.
static shoal_status open_spill(struct session *session, const char **temp_dir,
                               struct shoal_error *err) {
    const struct session_options *options = &session->options;
    shoal_status status =
        spool_open(&session->spill, options->temp_dir, "--temp-dir", err);
    // Who has asked for no folder may not need one: then nothing is spilled.
    bool needless = options->temp_dir == NULL && options->workers == 0;
    *temp_dir = session->spill.path != NULL ? session->spill.path : "";
    return status == SHOAL_IO && needless ? SHOAL_OK : status;
}

void session_close_spools(struct session *session) {
    spool_close(&session->spool);
    spool_close(&session->memory);
    spares_free(&session->spares);
}

shoal_status session_open(const struct session_options *options, struct session **out,
                          struct shoal_error *err) {
    *out = NULL;
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) return shoal_no_memory(err);
    session->options = *options;
    session->spool.lock = session->memory.lock = session->spill.lock = -1;
    bool distributed = options->workers > 0;
    if (distributed && options->threads == 0) session->options.threads = 1;
    // With workers the driver plans and runs the last stage, with as many threads as they
    // have together.
    uint32_t threads =
        distributed ? options->workers * session->options.threads : options->threads;
    struct duck_options duck = {.threads = (int)threads};
    if (options->temp_bytes > 0)
        duck.temp_bytes = options->temp_bytes / (options->workers + 1);
    shoal_status status = divide_memory(session, &duck.memory_bytes, err);
    if (status == SHOAL_OK) status = open_spill(session, &duck.temp_dir, err);
    if (status == SHOAL_OK) status = duck_open(&session->duck, &duck, err);
    if (status == SHOAL_OK) status = duck_connect(session->duck, &session->conn, err);
    if (status == SHOAL_OK) status = duck_connect(session->duck, &session->trial, err);
    // Views, planning and the last stage read the same Parquet footers: parse them once.
    if (status == SHOAL_OK && distributed) {
        status = duck_run(session->conn, "SET parquet_metadata_cache=true", err);
    }
    if (status == SHOAL_OK) status = settings_register(session, err);
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

shoal_status session_keep_job(struct session *session, const char *folder,
                              const char *sql, const char *format, bool replace,
                              struct job **job, struct shoal_error *err) {
    session->options.plan_bytes = session->worker_bytes;
    shoal_status status = database_check_job(session, err);
    if (status == SHOAL_OK)
        status = job_create(folder, sql, format, &session->options, replace, job, err);
    session->options.job = *job;
    return status;
}

void session_number(struct session *session, uint32_t number) {
    if (session->options.job != NULL) job_begin_statement(session->options.job, number);
}

void session_close(struct session *session) {
    if (session == NULL) return;
    session_stop_workers(session);
    duck_disconnect(session->trial);
    duck_disconnect(session->conn);
    duck_close(session->duck);
    spool_close(&session->spill);
    free(session->extensions);
    text_free(&session->worker_sql);
    free(session->up);
    free(session);
}

void session_abandon(void) {
    engine_local_abandon();
    spool_abandon_all();
}

bool session_is_committed(const struct session *session) {
    return atomic_load(&session->committed);
}

void session_result_key(const struct session *session, char key[SESSION_KEY]) {
    (void)snprintf(key, SESSION_KEY, "result.%u", (unsigned)session->next_query);
}

void session_interrupt(struct session *session) {
    if (session_is_committed(session)) return;
    char key[SESSION_KEY];
    session_result_key(session, key);
    duck_interrupt(session->conn);
    duck_interrupt(session->trial);
    block_interrupt(key);
}
