// Internal to src/query: the session, and what runs and shows a distributed query.
#ifndef SHOAL_QUERY_SESSION_H
#define SHOAL_QUERY_SESSION_H

#include <stdatomic.h>

#include "base/spool.h"
#include "base/text.h"
#include "dist/stages.h"
#include "duck/duck.h"
#include "engine/engine.h"
#include "query/copy.h"
#include "query/insert.h"
#include "query/query.h"
#include "query/rejects.h"
#include "query/spares.h"
#include "sched/sched.h"

// A statement that can be distributed.
struct statement {
    char *select;
    struct copy copy;      // its path NULL: it is no COPY
    struct insert insert;  // its head NULL: it is no CREATE TABLE and no INSERT
};

#define BROADCAST_SHARE 4  // of a worker's memory that the hash table of a side may take

enum database { DATABASE_NONE, DATABASE_MISSING, DATABASE_READ, DATABASE_WRITE };

struct session {
    struct session_options options;
    struct session_options initial;  // as the session began: what RESET goes back to
    struct duck *duck;
    struct duck_conn *conn;
    struct duck_conn *trial;  // for what may fail, which would end conn's transaction
    struct engine *engine;    // NULL until a query needs it, and again after a failure
    enum database database;   // how --db is attached
    uint64_t worker_bytes;    // of memory, each
    uint64_t block_bytes;     // of memory, for block files
    bool compress;            // those on disk
    uint32_t *up;             // numbers of the workers that are up
    size_t up_count;
    struct spool spool;    // open while there is an engine
    struct spool memory;   // the same, of block files in memory; none if block_bytes is 0
    struct spares spares;  // in that
    struct spool spill;    // of this process's DuckDB
    struct rejects *rejects;  // of the statement that runs, if it keeps them
    char *extensions;         // LOADs of what is loaded here, as workers had it; or NULL
    struct text worker_sql;   // what brings a new worker to this session's state
    bool unusual;             // what settings_apply asks for was set
    bool timed;               // max_execution_time was set
    double deadline;          // of the statement; 0: none
    _Atomic uint32_t next_query;  // also read by session_interrupt
    // What the statement writes is there, or comes there now: too late to stop it.
    atomic_bool committed;
};

// run.c: runs all stages but the last on workers, the last here. stats may be NULL, else
// [stages->count]. The result has no batch read yet; free it with duck_result_free. The
// statement says where the rows go.
shoal_status run_stages(struct session *session, struct stages *stages,
                        const struct statement *statement, struct stage_stats *stats,
                        struct duck_result **result, struct shoal_error *err);
// write.c: a COPY to a folder, its query run by this process's DuckDB.
shoal_status write_embedded(struct session *session, const struct copy *copy,
                            struct duck_result **result, struct shoal_error *err);
#define SESSION_KEY 32
// Of the inputs of the last stage, which this process reads itself (block/block.h).
void session_result_key(const struct session *session, char key[SESSION_KEY]);
// Of a worker's memory, that plans are made for.
uint64_t session_plan_bytes(const struct session *session);
// Returns at once: they come up while something else is done. Nothing when they run.
shoal_status session_start_workers(struct session *session, struct shoal_error *err);
void session_stop_workers(struct session *session);
// session.c: the folders of block files, on disk and, if there is one, in memory.
shoal_status session_open_spools(struct session *session, struct shoal_error *err);
void session_close_spools(struct session *session);

// database.c: --db
shoal_status database_attach(struct session *session, struct shoal_error *err);
// SHOAL_USER: the user has attached one that could be written, and a job can't tell after
// a crash whether it had.
shoal_status database_check_job(struct session *session, struct shoal_error *err);
// Before a statement runs: the database must be there, and be written if the statement
// looks like it. *own, not NULL, is to be run instead, and freed: a table is created in
// the database.
shoal_status database_enter(struct session *session, const char *sql, char **own,
                            struct shoal_error *err);
// A statement failed; true: only because the database was attached to be read, and now it
// is attached to be written. *status is the reason if that can't be.
bool database_retry(struct session *session, shoal_status *status,
                    struct shoal_error *err);

// statement.c: the rows of one statement, distributed if it can be.
shoal_status session_rows(struct session *session, const char *sql,
                          struct duck_result **result, struct shoal_error *err);
// partitions.c: how many partitions each exchange has, by estimate; the caller frees
// them. Exchanges that some stage reads side by side have the same number.
shoal_status partitions_choose(const struct session_options *options,
                               const struct stages *stages, uint32_t **partitions,
                               struct shoal_error *err);
// splits.c: into how many tasks the stage's scans are cut, about; 0: it has none.
uint64_t session_scan_tasks(const struct session_options *options,
                            const struct stage *stage);

// levels.c
struct levels {
    uint32_t groups, slices;  // 0: one level is enough
};
// For block files of so many partitions, and so many bytes together; at most `most`
// segments are left alone.
struct levels levels_choose(uint64_t files, uint32_t partitions, uint64_t bytes,
                            uint64_t most);
// Puts a level before each exchange that needs one.
shoal_status levels_add(const struct session_options *options, struct stages *stages,
                        struct shoal_error *err);

// worker_state.c: remembers a statement that just ran here if workers must repeat it, and
// ends those that run.
void worker_state_keep(struct session *session, const char *sql);
// Workers load no extension by themselves, this process does: ends those that lack one.
shoal_status worker_state_extensions(struct session *session, struct shoal_error *err);
// pivot.c: a PIVOT without IN lists, with them; *expanded NULL: the statement is no such.
shoal_status session_expand_pivot(struct session *session, const char *sql,
                                  char **expanded, struct shoal_error *err);

// format.c
// Reads the result's batches to the end.
shoal_status format_result(struct duck_result *result, enum result_format format,
                           FILE *out, struct shoal_error *err);

// progress.c: a line on stderr, drawn at most ten times a second.
struct progress {
    bool enabled;
    bool drawn;
    double started, last;
    uint64_t rows, bytes;
};
void progress_start(struct progress *progress, bool enabled, double now);
void progress_draw(struct progress *progress, const struct sched *sched, double now);
void progress_end(struct progress *progress);

#endif
