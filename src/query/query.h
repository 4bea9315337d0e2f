// One session and its queries, from text to result.
#ifndef SHOAL_QUERY_QUERY_H
#define SHOAL_QUERY_QUERY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "adapt/adapt.h"
#include "base/status.h"
#include "dist/stages.h"
#include "engine/engine.h"

enum result_format { FORMAT_TABLE, FORMAT_CSV, FORMAT_JSON };

// AUTO: where the spool is on a network file system.
enum spool_compression { COMPRESSION_AUTO, COMPRESSION_ON, COMPRESSION_OFF };

#define SPLIT_ROWS 100000  // fewer are read before a task has begun
#define MERGE_SEGMENTS 1000000
#define TASK_SECONDS 120

struct session_options {
    uint32_t workers;  // 0: embedded
    uint32_t threads;  // of each worker (default 1), or of the embedded engine (all)
    // Of a job that goes on elsewhere: workers and threads that there are now; the two
    // above are what its plans were made for. 0: the same.
    uint32_t hosts, host_threads;
    uint64_t plan_bytes;  // of a worker's memory, that plans are made for; 0: what it has
    struct job *job;      // that keeps what is done; NULL: none
    uint32_t partitions;  // of hash exchanges; 0: chosen, and small ones read together
    int64_t broadcast_rows;  // at or below: broadcast; BROADCAST_NEVER, BROADCAST_AUTO
    uint64_t sort_rows;      // ORDER BY from this many estimated rows on: in parts
    int64_t cluster_rows;    // cut clustered inputs of as many rows by key; -1: never
    uint64_t split_rows;     // a scan's task reads at least as many
    int64_t merge_segments;  // a hash exchange of more small segments takes two levels;
                             // -1: never
    enum adapt_skew skew;    // what becomes of heavy partitions
    uint64_t skew_seed;      // of ADAPT_RANDOM
    uint64_t memory_bytes;   // of all processes together; 0: 80% of the machine's
    uint64_t temp_bytes;   // of spill, and of a query's block files on disk; 0: no limit
    const char *db;        // attached; may be NULL
    const char *init_sql;  // run first, here and in workers; may be NULL
    const char *temp_dir;  // block files and spill; NULL: $TMPDIR or /tmp
    const char *memory_dir;  // block files while they fit; NULL: /dev/shm; "none"
    enum spool_compression compression;  // of block files on disk
    const char *rejects_dir;         // keeps rows of text files that can't be read; NULL:
                                     // they are errors
    uint64_t rejects_limit;          // more are an error; UINT64_MAX: none
    const char *const *allowed;      // folders that workers' SQL may read and write in
    size_t allowed_count;            // 0: any
    double task_seconds;             // without a sign of life a task is hung; 0: never
    const char *program;             // this program, for workers
    struct cluster_options cluster;  // that hosts workers; its url NULL: this machine
    bool progress;                   // draw on stderr
    const volatile sig_atomic_t *cancelled;
};

// One thread uses a session at a time, except session_interrupt.
struct session;

shoal_status session_open(const struct session_options *options, struct session **session,
                          struct shoal_error *err);
// Everything that is done from now on is kept in the folder (query/job.h), for a process
// that goes on if this one dies. Needs workers. close with job_close after the session.
shoal_status session_keep_job(struct session *session, const char *folder,
                              const char *sql, const char *format, bool replace,
                              struct job **job, struct shoal_error *err);
// The next statement's number.
void session_number(struct session *session, uint32_t number);
// Runs one statement and writes its rows, if it gives any, to out.
shoal_status session_query(struct session *session, const char *sql,
                           enum result_format format, FILE *out, struct shoal_error *err);
// Is it a statement to explain: a SELECT, a COPY of one to files, or, as the last of all,
// a CREATE TABLE or INSERT of one? Others, such as CREATE VIEW, prepare for one.
bool session_explains(const char *sql, bool last);
// Writes the distributed plan, or why there is none; analyze also runs it.
shoal_status session_explain(struct session *session, const char *sql, bool analyze,
                             bool json, FILE *out, struct shoal_error *err);
// Stops the statement that runs; any thread. options.cancelled should be set before.
void session_interrupt(struct session *session);
// Is what the statement writes there, so that it is too late to stop it?
bool session_is_committed(const struct session *session);
// Before this process ends where it stands: kills the workers of all sessions and removes
// their temporary files, once what is about to become a target has become it. Any thread;
// what still uses these fails, or waits for ever.
void session_abandon(void);
void session_close(struct session *session);  // stops workers, removes temporary files

#endif
