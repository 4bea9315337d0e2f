// Rows of CSV and JSON files that can't be read. Those of CSV files DuckDB keeps in two
// tables of the connection (store_rejects), as it reads; those of JSON files are looked
// for by a statement of their own (lines/faults.h) and put in a third. All are taken from
// there after a statement.
#ifndef SHOAL_TASK_REJECTS_H
#define SHOAL_TASK_REJECTS_H

#include "duck/duck.h"

// Options of a read_csv call that keep them: the tables' names are shoal's own.
#define REJECTS_OPTIONS                                       \
    "store_rejects = true, rejects_table = 'shoal_rejects', " \
    "rejects_scan = 'shoal_reject_scans'"

// Forgets what binding or an earlier statement left.
shoal_status rejects_clear(struct duck_conn *conn, struct shoal_error *err);
// Looks for those of JSON files, after which the rows of the others can be read
// (faults_append_good). select: faults_append_select's.
shoal_status rejects_find(struct duck_conn *conn, const char *select, uint64_t *faults,
                          struct shoal_error *err);
// Is it an error of a JSON file's records, which rejects_find would find?
bool rejects_explain(const struct shoal_error *err);
// Moves them to a Parquet file: file, line, byte_position, column, error, reason, text.
// *rows 0: there are none, and no file.
shoal_status rejects_take(struct duck_conn *conn, const char *path, uint64_t *rows,
                          struct shoal_error *err);

#endif
