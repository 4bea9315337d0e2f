// Delta Lake tables in SQL: delta_scan('dir'), delta_scan('dir', version := 3) and
// FROM 'dir' become subqueries over the Parquet files that the table's log names, before
// DuckDB sees the statement.
#ifndef SHOAL_DELTA_DELTA_H
#define SHOAL_DELTA_DELTA_H

#include "base/text.h"
#include "delta/log.h"

// The statement with its Delta tables replaced; *rewritten NULL: there are none. All
// mentions of a table, of no or the same version, see one version. free() it.
shoal_status delta_rewrite(struct duck_conn *conn, const char *sql, char **rewritten,
                           struct shoal_error *err);

// scan.c: appends "(SELECT ...)", one line, that gives the snapshot's rows with exactly
// its schema.
shoal_status delta_scan_sql(struct duck_conn *conn, const struct delta_snapshot *snapshot,
                            struct text *out, struct shoal_error *err);

#endif
