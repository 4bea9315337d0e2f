// Aggregates of runs, rows of one key that follow each other, as scalar functions: each
// row's value is the aggregate of its run up to it, in one chunk of rows, so a run's last
// row there has all of it. Where rows come sorted by the key, most runs are whole groups,
// and no hash table has to find them: one takes 80 ns for each new group, this 3 ns a
// row.
//
//   shoal_run_edge(key)            0: the run goes on behind the row
//                                  1: it ends there, and began in this chunk
//                                  2: it may go on in a chunk before or behind, or its
//                                     key is NULL
//                                  3: as 2, and rows are not sorted
//   shoal_run_count(key, BOOLEAN)  rows for which it is true
//   shoal_run_sum(key, value), shoal_run_min(key, value), shoal_run_max(key, value)
//   shoal_run_decimal_sum_2(key, value)
//
// Without a 3 all runs with a 1 are whole groups: the rows of each chunk are in ascending
// order, and from its first key to its last no other chunk has any, but at its ends.
#include <stdlib.h>
#include <string.h>

#include "duck/internal.h"

struct run_input {
    const int64_t *keys;
    uint64_t *keyed;  // validity of the keys; NULL: all are
    const void *values;
    uint64_t *valid;
    size_t rows;
};

// Is the row its run's last in the chunk?
static inline bool ends(const struct run_input *input, size_t row) {
    if (row + 1 == input->rows) return true;
    if (input->keyed == NULL) return input->keys[row] != input->keys[row + 1];
    bool keyed = scalar_is_valid(input->keyed, row),
         next = scalar_is_valid(input->keyed, row + 1);
    return keyed != next || (keyed && input->keys[row] != input->keys[row + 1]);
}

static struct run_input read_input(duckdb_data_chunk chunk) {
    duckdb_vector keys = duckdb_data_chunk_get_vector(chunk, 0);
    struct run_input input = {.keys = duckdb_vector_get_data(keys),
                              .keyed = duckdb_vector_get_validity(keys),
                              .rows = duckdb_data_chunk_get_size(chunk)};
    if (duckdb_data_chunk_get_column_count(chunk) > 1) {
        duckdb_vector values = duckdb_data_chunk_get_vector(chunk, 1);
        input.values = duckdb_vector_get_data(values);
        input.valid = duckdb_vector_get_validity(values);
    }
    return input;
}

// ---- edges

struct interval {
    int64_t first, last;
};

// What a statement has seen, of all its threads: the chunks' keys, in order, of which no
// two overlap.
struct edges {
    struct scalar_shared shared;
    struct interval *seen;
    size_t count, capacity;
};

static bool is_before(const struct interval *a, const struct interval *b) {
    return a->first != b->first ? a->first < b->first : a->last < b->last;
}

// False: it overlaps one that was there before, or there is no memory to find that out.
static bool add_interval(struct edges *edges, const struct interval *added) {
    size_t at = edges->count;
    if (edges->count == edges->capacity) {
        size_t capacity = edges->capacity ? edges->capacity * 2 : 256;
        struct interval *grown = realloc(edges->seen, capacity * sizeof *grown);
        if (grown == NULL) return false;
        edges->seen = grown;
        edges->capacity = capacity;
    }
    if (at > 0 && is_before(added, &edges->seen[at - 1])) {
        size_t low = 0;
        while (low < at) {
            size_t middle = low + (at - low) / 2;
            if (is_before(added, &edges->seen[middle]))
                at = middle;
            else
                low = middle + 1;
        }
    }
    if (at > 0 && edges->seen[at - 1].last > added->first) return false;
    if (at < edges->count && edges->seen[at].first < added->last) return false;
    memmove(edges->seen + at + 1, edges->seen + at,
            (edges->count - at) * sizeof *edges->seen);
    edges->seen[at] = *added;
    edges->count++;
    return true;
}

// Are the chunk's rows in order? *any: not all are NULL.
static bool find_interval(const struct run_input *input, struct interval *interval,
                          bool *any) {
    bool sorted = true;
    *any = input->keyed == NULL;
    if (*any) {
        for (size_t i = 1; i < input->rows; i++)
            sorted &= input->keys[i] >= input->keys[i - 1];
        *interval = (struct interval){input->keys[0], input->keys[input->rows - 1]};
        return sorted;
    }
    for (size_t i = 0; i < input->rows; i++) {
        if (!scalar_is_valid(input->keyed, i)) continue;
        if (!*any) interval->first = interval->last = input->keys[i];
        sorted = sorted && input->keys[i] >= interval->last;
        interval->last = input->keys[i];
        *any = true;
    }
    return sorted;
}

static bool is_sorted(struct edges *edges, const struct run_input *input) {
    struct interval interval;
    bool any, sorted = find_interval(input, &interval, &any);
    if (!any || !sorted) return sorted;
    pthread_mutex_lock(&edges->shared.lock);
    sorted = add_interval(edges, &interval);
    pthread_mutex_unlock(&edges->shared.lock);
    return sorted;
}

static void on_edges(duckdb_function_info info, duckdb_data_chunk chunk,
                     duckdb_vector result) {
    struct edges *edges = duckdb_scalar_function_get_bind_data(info);
    struct run_input input = read_input(chunk);
    uint8_t *out = duckdb_vector_get_data(result);
    if (input.rows == 0) return;
    size_t first = 0;
    for (size_t i = 0; i < input.rows; i++)
        out[i] = !ends(&input, i) ? 0 : scalar_is_valid(input.keyed, i) ? 1 : 2;
    while (out[first] == 0) first++;
    out[first] = 2;
    out[input.rows - 1] = is_sorted(edges, &input) ? 2 : 3;
}

static void end_edges(struct scalar_shared *shared) {
    free(((struct edges *)shared)->seen);
}

static void on_bind(duckdb_bind_info info) {
    scalar_bind_shared(info, sizeof(struct edges), end_edges);
}

// ---- aggregates

static void count_runs(const struct run_input *input, duckdb_vector result) {
    const bool *counted = input->values;
    int64_t *counts = duckdb_vector_get_data(result), count = 0;
    for (size_t i = 0; i < input->rows; i++) {
        count += scalar_is_valid(input->valid, i) && counted[i];
        counts[i] = count;
        if (ends(input, i)) count = 0;
    }
}

// step: what a value does to `run`, of which there is one already if `any`.
#define RUNS_OF(name, type, run_type, step)                                 \
    static void name(const struct run_input *input, duckdb_vector result) { \
        const type *values = input->values;                                 \
        run_type *out = duckdb_vector_get_data(result), run = 0;            \
        bool any = false;                                                   \
        for (size_t i = 0; i < input->rows; i++) {                          \
            if (scalar_is_valid(input->valid, i)) {                         \
                type value = values[i];                                     \
                step;                                                       \
                any = true;                                                 \
            }                                                               \
            out[i] = run;                                                   \
            if (!any) scalar_set_null(result, i);                           \
            if (!ends(input, i)) continue;                                  \
            any = false;                                                    \
            run = 0;                                                        \
        }                                                                   \
    }
RUNS_OF(sum_signed, int64_t, hugeint, run += value)
RUNS_OF(sum_unsigned, uint64_t, hugeint, run += value)
RUNS_OF(sum_real, double, double, run += value)
RUNS_OF(min_64, int64_t, int64_t, run = any && run < value ? run : value)
RUNS_OF(max_64, int64_t, int64_t, run = any && run > value ? run : value)
RUNS_OF(min_32, int32_t, int32_t, run = any && run < value ? run : value)
RUNS_OF(max_32, int32_t, int32_t, run = any && run > value ? run : value)

#define EDGE "shoal_run_edge"
#define COUNT "shoal_run_count"
#define SUM "shoal_run_sum"
#define DECIMAL_SUM "shoal_run_decimal_sum"
#define MIN "shoal_run_min"
#define MAX "shoal_run_max"

// Sums have the types that DuckDB's sum() gives.
static const struct run_kernel {
    const char *name;
    duckdb_type from, to;
    void (*aggregate)(const struct run_input *input, duckdb_vector result);
} kernels[] = {
    {COUNT, DUCKDB_TYPE_BOOLEAN, DUCKDB_TYPE_BIGINT, count_runs},
    {SUM, DUCKDB_TYPE_BIGINT, DUCKDB_TYPE_HUGEINT, sum_signed},
    {SUM, DUCKDB_TYPE_UBIGINT, DUCKDB_TYPE_HUGEINT, sum_unsigned},
    {SUM, DUCKDB_TYPE_DOUBLE, DUCKDB_TYPE_DOUBLE, sum_real},
    {DECIMAL_SUM, DUCKDB_TYPE_DECIMAL, DUCKDB_TYPE_DECIMAL, sum_signed},
    {MIN, DUCKDB_TYPE_BIGINT, DUCKDB_TYPE_BIGINT, min_64},
    {MAX, DUCKDB_TYPE_BIGINT, DUCKDB_TYPE_BIGINT, max_64},
    {MIN, DUCKDB_TYPE_DATE, DUCKDB_TYPE_DATE, min_32},
    {MAX, DUCKDB_TYPE_DATE, DUCKDB_TYPE_DATE, max_32},
    {MIN, DUCKDB_TYPE_TIMESTAMP, DUCKDB_TYPE_TIMESTAMP, min_64},
    {MAX, DUCKDB_TYPE_TIMESTAMP, DUCKDB_TYPE_TIMESTAMP, max_64},
};

static void on_runs(duckdb_function_info info, duckdb_data_chunk chunk,
                    duckdb_vector result) {
    const struct run_kernel *kernel = duckdb_scalar_function_get_extra_info(info);
    struct run_input input = read_input(chunk);
    kernel->aggregate(&input, result);
}

// A function of runs; the first parameter is their key.
static duckdb_scalar_function make_function(duckdb_logical_type to) {
    duckdb_scalar_function function = duckdb_create_scalar_function();
    scalar_add_parameter(function, scalar_type(DUCKDB_TYPE_BIGINT, 0, 0));
    duckdb_scalar_function_set_return_type(function, to);
    duckdb_scalar_function_set_special_handling(function);  // of NULLs: it sees them
    duckdb_scalar_function_set_volatile(function);
    duckdb_destroy_logical_type(&to);
    return function;
}

static duckdb_scalar_function make_edge(size_t i, const char *name, int scale) {
    (void)i;
    (void)name;
    (void)scale;
    duckdb_scalar_function function =
        make_function(scalar_type(DUCKDB_TYPE_UTINYINT, 0, 0));
    duckdb_scalar_function_set_bind(function, on_bind);
    duckdb_scalar_function_set_function(function, on_edges);
    return function;
}

static duckdb_scalar_function make_aggregate(size_t i, const char *name, int scale) {
    const struct run_kernel *kernel = &kernels[i];
    if (strcmp(kernel->name, name) != 0) return NULL;
    duckdb_scalar_function function =
        make_function(scalar_type(kernel->to, DECIMAL_SUM_DIGITS, scale));
    scalar_add_parameter(function, scalar_type(kernel->from, DUCK_RUNNING_DIGITS, scale));
    duckdb_scalar_function_set_extra_info(function, (void *)(uintptr_t)kernel, NULL);
    duckdb_scalar_function_set_function(function, on_runs);
    return function;
}

static bool register_set(struct duck_conn *conn, const char *kernel, int scale) {
    return scalar_register_set(conn, kernel, scale, make_aggregate,
                               sizeof kernels / sizeof *kernels);
}

shoal_status runs_register(struct duck_conn *conn, struct shoal_error *err) {
    static const char *const sets[] = {COUNT, SUM, MIN, MAX};
    bool ok = scalar_register_set(conn, EDGE, -1, make_edge, 1);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        ok = ok && register_set(conn, sets[i], -1);
    for (int scale = 0; ok && scale <= DUCK_RUNNING_DIGITS; scale++)
        ok = register_set(conn, DECIMAL_SUM, scale);
    if (ok) return SHOAL_OK;
    return shoal_fail(err, SHOAL_INTERNAL, "cannot register the functions of runs");
}
