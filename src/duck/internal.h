// What the files of src/duck share. The only header that brings duckdb.h in.
#ifndef SHOAL_DUCK_INTERNAL_H
#define SHOAL_DUCK_INTERNAL_H

#include <duckdb.h>

#include "duck/duck.h"

struct duck {
    duckdb_database db;
};

struct duck_conn {
    struct duck *duck;
    duckdb_connection conn;
    duckdb_prepared_statement parse, deparse;  // prepared at their first use
};

// Errors of shoal's own functions go through DuckDB, which knows only texts: duck_mark
// writes the status into the text, duck_fail reads it back. `text` is DUCK_MARKED bytes.
#define DUCK_MARKED (sizeof(((struct shoal_error *)0)->message) + 32)
const char *duck_mark(const struct shoal_error *err, char *text);
shoal_status duck_fail(duckdb_result *result, struct shoal_error *err);

#endif
