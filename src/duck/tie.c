// shoal_tie(): a number for each row that orders rows which nothing else does, to stay
// with them. Of one statement's thread no two are the same before 2^32 of them: they are
// a Weyl sequence, of steps as large as the golden ratio's part of the range (Knuth, The
// Art of Computer Programming 3, 6.4). Where it begins is random.
//
// DuckDB's random() and the cast of what it gives take 20 ns a row, this takes one.
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "duck/internal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define NAME "shoal_tie"
#define GOLDEN 2654435769u  // odd

static atomic_uint_fast64_t started;  // threads of statements, of the process

static uint32_t begin(const void *state) {
    struct {
        struct timespec now;
        uint64_t number;
        const void *state;  // differs from process to process
    } seed = {.number = atomic_fetch_add(&started, 1), .state = state};
    (void)clock_gettime(CLOCK_MONOTONIC, &seed.now);
    return (uint32_t)XXH3_64bits(&seed, sizeof seed);
}

static void on_init(duckdb_init_info info) {
    uint32_t *last = duck_call_state(info, sizeof *last, free);
    if (last != NULL) *last = begin(last);
}

static void on_rows(duckdb_function_info info, duckdb_data_chunk input,
                    duckdb_vector result) {
    uint32_t *last = duckdb_scalar_function_get_state(info);
    uint32_t *numbers = duckdb_vector_get_data(result);
    size_t rows = duckdb_data_chunk_get_size(input);
    for (size_t i = 0; i < rows; i++) numbers[i] = *last += GOLDEN;
}

shoal_status tie_register(struct duck_conn *conn, struct shoal_error *err) {
    duckdb_scalar_function function = duckdb_create_scalar_function();
    duckdb_logical_type type = duckdb_create_logical_type(DUCKDB_TYPE_UINTEGER);
    duckdb_scalar_function_set_name(function, NAME);
    duckdb_scalar_function_set_return_type(function, type);
    duckdb_scalar_function_set_volatile(function);
    duckdb_scalar_function_set_init(function, on_init);
    duckdb_scalar_function_set_function(function, on_rows);
    bool ok = duckdb_register_scalar_function(conn->conn, function) == DuckDBSuccess;
    duckdb_destroy_logical_type(&type);
    duckdb_destroy_scalar_function(&function);
    if (ok) return SHOAL_OK;
    return shoal_fail(err, SHOAL_INTERNAL, "cannot register " NAME "()");
}
