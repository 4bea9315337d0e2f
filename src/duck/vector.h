// Columns from DuckDB's types and vectors, and back.
#ifndef SHOAL_DUCK_VECTOR_H
#define SHOAL_DUCK_VECTOR_H

#include <duckdb.h>

#include "base/column.h"
#include "base/status.h"

// The layout of a type; SHOAL_UNSUPPORTED names a type that can't be carried.
shoal_status vector_shape(duckdb_logical_type type, struct column *shape,
                          struct shoal_error *err);
// Appends the given rows; false when out of memory or past 4 GiB of offsets.
bool vector_append(duckdb_vector vector, const uint32_t *rows, size_t n,
                   struct column *to);
// The same of the first n rows, which rows then has the numbers of: 0 to n - 1.
bool vector_append_all(duckdb_vector vector, const uint32_t *rows, size_t n,
                       struct column *to);
// Bytes of the first n rows of a vector of strings.
uint64_t vector_string_bytes(duckdb_vector vector, size_t n);
// Fills vector with rows [first, first + n) of column.
bool vector_fill(duckdb_vector vector, const struct column *column, uint64_t first,
                 size_t n);

#endif
