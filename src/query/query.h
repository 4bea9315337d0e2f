// One session and its queries, from text to result.
#ifndef SHOAL_QUERY_QUERY_H
#define SHOAL_QUERY_QUERY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"
#include "dist/stages.h"

enum result_format { FORMAT_TABLE, FORMAT_CSV, FORMAT_JSON };

struct session_options {
    uint32_t workers;        // 0: embedded
    uint32_t threads;        // per worker, or of the embedded engine; 0: default
    uint32_t partitions;     // 0: chosen from workers * threads
    int64_t broadcast_rows;  // -1 never; see plan_options
    const char *db;          // attached read-only; may be NULL
    const char *init_sql;    // text of --init; may be NULL
    const char *temp_dir;    // spool and spill; NULL: $TMPDIR or /tmp
    const char *program;     // this program, for workers
    bool progress;           // draw on stderr
    volatile sig_atomic_t *cancelled;
};

struct session;

shoal_status session_open(const struct session_options *options, struct session **session,
                          struct shoal_error *err);
// Runs one statement and writes its rows to out.
shoal_status session_query(struct session *session, const char *sql,
                           enum result_format format, FILE *out, struct shoal_error *err);
// Writes the distributed plan (or why there is none); analyze also runs it.
shoal_status session_explain(struct session *session, const char *sql, bool analyze,
                             bool json, FILE *out, struct shoal_error *err);
struct duck_conn *session_conn(struct session *session);
void session_close(struct session *session);  // stops workers, removes the spool

#endif
