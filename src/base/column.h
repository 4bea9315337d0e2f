// A column of values in memory, Arrow's way: validity bits, offsets, data, children. The
// neutral form between DuckDB's vectors and block files.
//
// Layouts: FIXED (width bytes a value), STRING (offsets into data: varchar, blob, bit,
// bignum), LIST (offsets into one child; a MAP is a LIST of STRUCT), ARRAY (width
// elements of the child a row), STRUCT (children row by row; a UNION is a STRUCT with its
// tag first).
#ifndef SHOAL_BASE_COLUMN_H
#define SHOAL_BASE_COLUMN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pack.h"

enum column_layout {
    COLUMN_FIXED = 1,
    COLUMN_STRING,
    COLUMN_LIST,
    COLUMN_ARRAY,
    COLUMN_STRUCT
};

// Grows by column_reserve; capacity 0 with data means borrowed from a block.
struct column_buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

struct column {
    enum column_layout layout;
    uint32_t width;
    struct packing packing;  // of a FIXED column's data, when it is read from a block
    uint64_t rows;
    struct column_buffer
        validity;  // a bit a row, 1 is valid; empty while there is no NULL
    struct column_buffer offsets;  // uint32_t, rows + 1 of them, once there is a row
    struct column_buffer data;
    struct column *children;
    uint32_t child_count;
};

// Makes room for size bytes more behind buffer->size; false when out of memory.
bool column_reserve(struct column_buffer *buffer, size_t size);
// The same layout with no rows; false when out of memory.
bool column_copy_shape(struct column *to, const struct column *from);
bool column_same_shape(const struct column *a, const struct column *b);
void column_clear(struct column *column);  // keeps the memory
void column_free(struct column *column);
// Bytes that its buffers hold.
size_t column_bytes(const struct column *column);

static inline bool column_valid(const struct column *column, uint64_t row) {
    return column->validity.size == 0 ||
           (column->validity.data[row / 8] >> (row % 8) & 1);
}

static inline const uint32_t *column_offsets(const struct column *column) {
    return (const uint32_t *)(const void *)column->offsets.data;
}

// Appends the given rows of from, which has the same shape; false when out of memory or
// past 4 GiB of offsets.
bool column_append(struct column *to, const struct column *from, const uint32_t *rows,
                   size_t n);
// Room for n more offsets, and the first 0 of an empty column; NULL when out of memory.
uint32_t *column_reserve_offsets(struct column *column, size_t n);

// Records whether the next n rows are valid: bit rows[i] of valid, as in a column's own
// validity (NULL: all are). Call before rows grows.
bool column_add_validity(struct column *column, const uint8_t *valid,
                         const uint32_t *rows, size_t n);
// Appends values[rows[i]] to the data of a FIXED column, width bytes each; false when out
// of memory. rows is the caller's to count.
bool column_add_fixed(struct column *to, const void *values, const uint32_t *rows,
                      size_t n);

#endif
