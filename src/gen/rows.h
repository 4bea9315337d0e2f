// What is in row i of a table: a pure function of the options and i, so that files can be
// made in any order, at once. Inside src/gen.
#ifndef SHOAL_GEN_ROWS_H
#define SHOAL_GEN_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/skew.h"
#include "gen/zipf.h"

// A permutation of 0..n-1: i goes to (i * step + start) mod n. step is the first number
// from ratio * n on that has no divisor in common with n, so neighbours go far apart.
struct spread {
    uint64_t n, step, start;
};

void spread_init(struct spread *spread, uint64_t n, double ratio, uint64_t start);
uint64_t spread_at(const struct spread *spread, uint64_t i);

struct rows {
    struct skew_options options;
    struct zipf zipf;
    struct spread keys;   // from rank - 1
    struct spread times;  // from the fact table's row
    struct spread dims;   // from the dimension's row
    uint64_t dim_rows;
    uint64_t tick;       // microseconds between two times
    uint64_t starts[8];  // of the streams of random numbers
};

struct fact_row {
    bool has_key;
    int64_t key;
    int64_t ts;  // microseconds since 1970
    int32_t quantity;
    double amount;
    int32_t note;
};

struct dim_row {
    int64_t key;
    int32_t segment;
    int32_t weight;
};

void rows_init(struct rows *rows, const struct skew_options *options);
uint64_t rows_key(const struct rows *rows, uint64_t rank);
struct fact_row rows_fact(const struct rows *rows, uint64_t i);
struct dim_row rows_dim(const struct rows *rows, uint64_t i);

#endif
