// What scalar functions of our own are made of.
#include <stdio.h>
#include <stdlib.h>

#include "duck/internal.h"

duckdb_logical_type scalar_type(duckdb_type of, int digits, int scale) {
    return of == DUCKDB_TYPE_DECIMAL
               ? duckdb_create_decimal_type((uint8_t)digits, (uint8_t)scale)
               : duckdb_create_logical_type(of);
}

void scalar_add_parameter(duckdb_scalar_function function, duckdb_logical_type type) {
    duckdb_scalar_function_add_parameter(function, type);
    duckdb_destroy_logical_type(&type);
}

void scalar_set_null(duckdb_vector result, size_t row) {
    duckdb_vector_ensure_validity_writable(result);
    duckdb_validity_set_row_invalid(duckdb_vector_get_validity(result), row);
}

bool scalar_register_set(struct duck_conn *conn, const char *kernel, int scale,
                         scalar_make *make, size_t count) {
    char name[64];
    (void)snprintf(name, sizeof name, scale < 0 ? "%s" : "%s_%d", kernel, scale);
    duckdb_scalar_function_set set = duckdb_create_scalar_function_set(name);
    bool ok = true;
    for (size_t i = 0; i < count; i++) {
        duckdb_scalar_function function = make(i, kernel, scale);
        if (function == NULL) continue;
        duckdb_scalar_function_set_name(function, name);
        ok = duckdb_add_scalar_function_to_set(set, function) == DuckDBSuccess && ok;
        duckdb_destroy_scalar_function(&function);
    }
    ok = duckdb_register_scalar_function_set(conn->conn, set) == DuckDBSuccess && ok;
    duckdb_destroy_scalar_function_set(&set);
    return ok;
}

static void release(void *data) {
    struct scalar_shared *shared = data;
    if (shared == NULL || atomic_fetch_sub(&shared->users, 1) != 1) return;
    if (shared->end != NULL) shared->end(shared);
    pthread_mutex_destroy(&shared->lock);
    free(shared);
}

static void *share(void *data) {
    struct scalar_shared *shared = data;
    atomic_fetch_add(&shared->users, 1);
    return shared;
}

void scalar_bind_shared(duckdb_bind_info info, size_t size,
                        void (*end)(struct scalar_shared *shared)) {
    struct scalar_shared *shared = calloc(1, size);
    if (shared == NULL || pthread_mutex_init(&shared->lock, NULL) != 0) {
        free(shared);
        duckdb_scalar_function_bind_set_error(
            info, duck_mark_no_memory((char[DUCK_MARKED]){0}));
        return;
    }
    atomic_init(&shared->users, 1);
    shared->end = end;
    duckdb_scalar_function_set_bind_data(info, shared, release);
    duckdb_scalar_function_set_bind_data_copy(info, share);
}
