// COPY ... (FORMAT delta): what it writes to, between the statement's text and the sink.
#ifndef SHOAL_QUERY_DELTA_SINK_H
#define SHOAL_QUERY_DELTA_SINK_H

#include "delta/write.h"
#include "duck/duck.h"
#include "query/copy.h"

// The table that the statement writes, before anything that it reads is looked at; *table
// NULL: it writes none.
// job_id is the JOB_ID of a statement that gives none; NULL: none.
shoal_status delta_sink_open(struct duck_conn *conn, const char *sql, const char *job_id,
                             struct delta_write **table, struct shoal_error *err);
// Makes the parsed statement one that writes it: the query gives the table's columns, and
// the files are in its partitions' folders. table NULL: it writes none.
shoal_status delta_sink_attach(struct duck_conn *conn, struct delta_write *table,
                               struct copy *copy, struct shoal_error *err);
// Has this job been committed before? Then it says so, on stderr.
bool delta_sink_is_done(const struct delta_write *table);

#endif
