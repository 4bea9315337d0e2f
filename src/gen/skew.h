// Two tables of known skew, in Parquet: a fact table whose keys are as skewed as is
// asked for, and the dimension that it joins to. docs/skew.md defines every column.
#ifndef SHOAL_GEN_SKEW_H
#define SHOAL_GEN_SKEW_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

// Of rows and of keys; products of two of them must stay below 2^64.
#define SKEW_MOST 4000000000

struct skew_options {
    uint64_t rows;      // of the fact table, 1..SKEW_MOST
    uint64_t keys;      // 1..SKEW_MOST
    double zipf;        // exponent; 0: uniform
    double hot_share;   // of all rows: those given to the hot keys, before any others
    uint64_t hot_keys;  // the first ranks, 1..keys; they share hot_share evenly
    double null_share;  // of all rows: without a key
    uint64_t dim_rows;  // that the dimension has of each hot key, at least 1
    uint64_t seed;
    uint32_t files;    // of each table, at least 1
    uint32_t threads;  // 0: all cores
    bool overwrite;
    const volatile sig_atomic_t *cancelled;  // may be NULL
};

// What was made.
struct skew_made {
    uint64_t dim_rows;  // of the dimension
    uint32_t fact_files, dim_files;
    uint64_t hot_key;  // the one of rank 1
    double hot_share;  // its expected share of the fact table's rows
};

// Is the dimension of these too large? SHOAL_USAGE says what to change.
shoal_status skew_check(const struct skew_options *options, struct shoal_error *err);
// Writes folder/fact/*.parquet and folder/dim/*.parquet; the folder appears when all is
// written. The same options but files, threads and overwrite give the same rows, in the
// same order. SHOAL_USER when it is there, and not empty, and overwrite is not set, or it
// holds other things than such tables.
shoal_status skew_write(const char *folder, const struct skew_options *options,
                        struct skew_made *made, struct shoal_error *err);

#endif
