// The table function behind DuckDB's COPY: FROM shoal_skew('fact', file, CAST(NULL AS
// STRUCT(...))) gives the rows of one file. Inside src/gen.
#ifndef SHOAL_GEN_SOURCE_H
#define SHOAL_GEN_SOURCE_H

#include <stdatomic.h>

#include "base/text.h"
#include "duck/functions.h"
#include "gen/rows.h"

// What is being written: one at a time in a process, as DuckDB hands a table function no
// more than texts and numbers.
struct making {
    struct rows rows;
    uint32_t fact_files, dim_files;
    atomic_bool failed;  // a file: no other needs to be finished
};

// making is borrowed until this is called with NULL.
void skew_source_set(struct making *making);
extern const struct duck_source skew_source;
// A SELECT of a file's rows, as they are in the file.
void skew_source_select(struct text *sql, bool fact, uint32_t file);

#endif
