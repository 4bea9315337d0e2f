// What scalar functions of our own are made of.
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
