// Running counts, ranks and sums by group, as scalar functions over rows that come in
// order: shoal_running_count(n, starts, counted), shoal_running_rank(n, starts, begins)
// and shoal_running_sum(n, starts, value), where n numbers all rows from 1 on, starts
// says which begin a group and begins which begin a run of equal keys in it. Each call
// goes on where the one before ended: a segmented scan (Schwartz, "Ultracomputers",
// 1980).
//
// They stand above a streaming window, which has made n: the rows of a pipeline with one
// come in order, to one thread. Should they not, the numbers show it, and the statement
// fails. The functions are volatile, so that no optimizer moves, drops or repeats them.
//
// DuckDB's windows with a PARTITION BY build a tree over each group for such a frame, and
// its streaming ones have no groups and take 80 ns a row, where these take 5.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "duck/internal.h"

#define COUNT "shoal_running_count"
#define RANK "shoal_running_rank"
#define SUM "shoal_running_sum"
#define DECIMAL_SUM "shoal_running_decimal_sum"

// What a call has seen.
struct running {
    uint64_t rows;
    bool any;  // the group has had a value
    hugeint sum;
    int64_t rank;
    double real;
};

struct scan {
    struct running *running;
    const bool *starts;
    const void *values;
    uint64_t *valid;  // of the values; NULL: all are
    size_t rows;
};

static bool has_value(const struct scan *scan, size_t row) {
    return scalar_is_valid(scan->valid, row);
}

static void count_rows(const struct scan *scan, duckdb_vector result) {
    const bool *counted = scan->values;
    int64_t *counts = duckdb_vector_get_data(result);
    hugeint sum = scan->running->sum;
    for (size_t i = 0; i < scan->rows; i++) {
        if (scan->starts[i]) sum = 0;
        sum += has_value(scan, i) && counted[i];
        counts[i] = (int64_t)sum;
    }
    scan->running->sum = sum;
}

static void rank_rows(const struct scan *scan, duckdb_vector result) {
    const bool *begins = scan->values;
    int64_t *ranks = duckdb_vector_get_data(result);
    hugeint rows = scan->running->sum;
    int64_t rank = scan->running->rank;
    for (size_t i = 0; i < scan->rows; i++) {
        rows = scan->starts[i] ? 1 : rows + 1;
        if (scan->starts[i] || begins[i]) rank = (int64_t)rows;
        ranks[i] = rank;
    }
    scan->running->sum = rows;
    scan->running->rank = rank;
}

#define SUM_OF(name, type, field, sum_type)                           \
    static void name(const struct scan *scan, duckdb_vector result) { \
        const type *values = scan->values;                            \
        sum_type *sums = duckdb_vector_get_data(result);              \
        struct running running = *scan->running;                      \
        for (size_t i = 0; i < scan->rows; i++) {                     \
            if (scan->starts[i]) {                                    \
                running.field = 0;                                    \
                running.any = false;                                  \
            }                                                         \
            if (has_value(scan, i)) {                                 \
                running.field += values[i];                           \
                running.any = true;                                   \
            }                                                         \
            sums[i] = running.field;                                  \
            if (!running.any) scalar_set_null(result, i);             \
        }                                                             \
        *scan->running = running;                                     \
    }
SUM_OF(sum_signed, int64_t, sum, hugeint)
SUM_OF(sum_unsigned, uint64_t, sum, hugeint)
SUM_OF(sum_real, double, real, double)

// Sums have the types that DuckDB's sum() gives. 2^64 times the rows there can be is no
// overflow of 128 bits, nor 10^18 times them one of 38 digits.
static const struct kernel {
    const char *name;
    duckdb_type from, to;
    void (*scan)(const struct scan *scan, duckdb_vector result);
} kernels[] = {
    {COUNT, DUCKDB_TYPE_BOOLEAN, DUCKDB_TYPE_BIGINT, count_rows},
    {RANK, DUCKDB_TYPE_BOOLEAN, DUCKDB_TYPE_BIGINT, rank_rows},
    {SUM, DUCKDB_TYPE_BIGINT, DUCKDB_TYPE_HUGEINT, sum_signed},
    {SUM, DUCKDB_TYPE_UBIGINT, DUCKDB_TYPE_HUGEINT, sum_unsigned},
    {SUM, DUCKDB_TYPE_DOUBLE, DUCKDB_TYPE_DOUBLE, sum_real},
    {DECIMAL_SUM, DUCKDB_TYPE_DECIMAL, DUCKDB_TYPE_DECIMAL, sum_signed},
};

static void on_init(duckdb_init_info info) {
    (void)duck_call_state(info, sizeof(struct running), free);
}

static void on_rows(duckdb_function_info info, duckdb_data_chunk input,
                    duckdb_vector result) {
    const struct kernel *kernel = duckdb_scalar_function_get_extra_info(info);
    struct running *running = duckdb_scalar_function_get_state(info);
    size_t rows = duckdb_data_chunk_get_size(input);
    const int64_t *numbers =
        duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0));
    duckdb_vector values = duckdb_data_chunk_get_vector(input, 2);
    struct scan scan = {
        .running = running,
        .starts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 1)),
        .values = duckdb_vector_get_data(values),
        .valid = duckdb_vector_get_validity(values),
        .rows = rows};
    for (size_t i = 0; i < rows; i++) {
        if ((uint64_t)numbers[i] == running->rows + i + 1) continue;
        struct shoal_error err;
        char marked[DUCK_MARKED];
        (void)shoal_fail(&err, SHOAL_INTERNAL,
                         "%s() was called for row %lld after row %llu", kernel->name,
                         (long long)numbers[i], (unsigned long long)(running->rows + i));
        duckdb_scalar_function_set_error(info, duck_mark(&err, marked));
        return;
    }
    kernel->scan(&scan, result);
    running->rows += rows;
}

static duckdb_scalar_function make_function(size_t i, const char *name, int scale) {
    const struct kernel *kernel = &kernels[i];
    if (strcmp(kernel->name, name) != 0) return NULL;
    duckdb_scalar_function function = duckdb_create_scalar_function();
    duckdb_logical_type to = scalar_type(kernel->to, DECIMAL_SUM_DIGITS, scale);
    scalar_add_parameter(function, scalar_type(DUCKDB_TYPE_BIGINT, 0, 0));
    scalar_add_parameter(function, scalar_type(DUCKDB_TYPE_BOOLEAN, 0, 0));
    scalar_add_parameter(function, scalar_type(kernel->from, DUCK_RUNNING_DIGITS, scale));
    duckdb_scalar_function_set_return_type(function, to);
    duckdb_scalar_function_set_special_handling(function);  // of NULLs: it sees them
    duckdb_scalar_function_set_volatile(function);
    duckdb_scalar_function_set_extra_info(function, (void *)(uintptr_t)kernel, NULL);
    duckdb_scalar_function_set_init(function, on_init);
    duckdb_scalar_function_set_function(function, on_rows);
    duckdb_destroy_logical_type(&to);
    return function;
}

static bool register_set(struct duck_conn *conn, const char *kernel, int scale) {
    return scalar_register_set(conn, kernel, scale, make_function,
                               sizeof kernels / sizeof *kernels);
}

shoal_status running_register(struct duck_conn *conn, struct shoal_error *err) {
    bool ok = register_set(conn, COUNT, -1) && register_set(conn, RANK, -1) &&
              register_set(conn, SUM, -1);
    // DuckDB takes one DECIMAL for another when it chooses: each has a name of its own.
    for (int scale = 0; ok && scale <= DUCK_RUNNING_DIGITS; scale++)
        ok = register_set(conn, DECIMAL_SUM, scale);
    if (ok) return SHOAL_OK;
    return shoal_fail(err, SHOAL_INTERNAL, "cannot register the running functions");
}
