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

#endif
