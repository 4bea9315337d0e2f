// CREATE TABLE ... AS and INSERT INTO ... SELECT, read as far as shoal runs them: what is
// selected, over workers, and what stands before it, which the driver's DuckDB runs over
// the rows that come. One statement, so one transaction: all rows or none.
#ifndef SHOAL_QUERY_INSERT_H
#define SHOAL_QUERY_INSERT_H

#include <stdbool.h>

#include "base/status.h"
#include "duck/duck.h"

struct insert {
    char *
        head;  // "CREATE TABLE t AS", "INSERT INTO t (a)"; NULL: the statement is no such
    char *query;  // a SELECT
    bool create;
};

// Is it a CREATE TABLE whose table stays (not a temporary one)?
bool insert_creates_table(const char *sql);
// The name in such a CREATE TABLE, if it says no schema; else NULL.
const char *insert_plain_name(const char *sql);
// Does the statement begin as one of these do?
bool insert_begins(const char *sql);
// SHOAL_UNSUPPORTED with the reason when DuckDB has to run it alone. Free with
// insert_free in any case.
shoal_status insert_parse(const char *sql, struct insert *insert,
                          struct shoal_error *err);
// Would DuckDB run the query for it? Not for a table that is there already, or a
// statement that doesn't bind: SHOAL_UNSUPPORTED then, and DuckDB says what it has to
// say.
shoal_status insert_check(struct duck_conn *conn, const struct insert *insert,
                          struct shoal_error *err);
void insert_free(struct insert *insert);

#endif
