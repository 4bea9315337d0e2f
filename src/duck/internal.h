// What the files of src/duck share. The only header that brings duckdb.h in.
#ifndef SHOAL_DUCK_INTERNAL_H
#define SHOAL_DUCK_INTERNAL_H

#include <duckdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "duck/duck.h"

struct duck {
    duckdb_database db;
};

struct duck_conn {
    struct duck *duck;
    duckdb_connection conn;
    duckdb_prepared_statement parse, deparse;  // prepared at their first use
    duckdb_result *rows;                       // what shoal_rows() reads, for a moment
    bool has_rows;                             // there is a shoal_rows()
};

struct duck_chunk {
    duckdb_data_chunk chunk;
    size_t rows;
    size_t before;  // columns of it before those that the sink sees
};

// Errors of shoal's own functions go through DuckDB, which knows only texts: duck_mark
// writes the status into the text, duck_fail reads it back. `text` is DUCK_MARKED bytes.
#define DUCK_MARKED (sizeof(((struct shoal_error *)0)->message) + 32)
const char *duck_mark(const struct shoal_error *err, char *text);
const char *duck_mark_no_memory(char *text);
shoal_status duck_fail(duckdb_result *result, struct shoal_error *err);

// What a call of a scalar function remembers in a thread: zeroed, given back by end.
// NULL: out of memory, and DuckDB has been told.
void *duck_call_state(duckdb_init_info info, size_t size, duckdb_delete_callback_t end);

// ---- scalar.c: what scalar functions are made of

typedef __int128 hugeint;
#define DECIMAL_SUM_DIGITS 38  // of DuckDB's sum() of any DECIMALs

// valid: of a vector; NULL: all rows are.
static inline bool scalar_is_valid(const uint64_t *valid, size_t row) {
    return valid == NULL ||
           duckdb_validity_row_is_valid((uint64_t *)(uintptr_t)valid, row);
}
void scalar_set_null(duckdb_vector result, size_t row);
// Of DECIMALs with so many digits; destroyed by who made it, or given away to a
// parameter.
duckdb_logical_type scalar_type(duckdb_type of, int digits, int scale);
void scalar_add_parameter(duckdb_scalar_function function, duckdb_logical_type type);
// Function number i, without a name, if it is one of kernel's; else NULL.
typedef duckdb_scalar_function scalar_make(size_t i, const char *kernel, int scale);
// Registers those of count functions that are kernel's, under its name, with the scale
// behind if there is one (-1: none).
bool scalar_register_set(struct duck_conn *conn, const char *kernel, int scale,
                         scalar_make *make, size_t count);
// What the calls of a statement share, of all its threads: the head of it. In bind(), a
// zeroed one of so many bytes becomes the function's bind data; end, which may be NULL,
// frees what is in it.
struct scalar_shared {
    atomic_uint users;
    pthread_mutex_t lock;
    void (*end)(struct scalar_shared *shared);
};
void scalar_bind_shared(duckdb_bind_info info, size_t size,
                        void (*end)(struct scalar_shared *shared));

// The place that DuckDB's message shows is in the user's statement: what shoal writes
// before it is one line, taken off the line number here.
void duck_hide_line(struct shoal_error *err);

// rows.c: the rows of a materialised result as text, and their types. rows is used up.
shoal_status duck_rows_text(struct duck_conn *conn, duckdb_result *rows,
                            duckdb_result *text, struct schema *schema,
                            struct shoal_error *err);

// running.c: shoal_running_count(n, starts, BOOLEAN), shoal_running_rank(n, starts,
// BOOLEAN) and shoal_running_sum(n, starts, value), over rows that n numbers in their
// order: of the row's group so far. Values are BIGINT, UBIGINT or DOUBLE, and what DuckDB
// casts to them; shoal_running_decimal_sum_2's are DECIMAL(DUCK_RUNNING_DIGITS, 2).
shoal_status running_register(struct duck_conn *conn, struct shoal_error *err);

// runs.c: shoal_run_edge(key), shoal_run_count(key, BOOLEAN), shoal_run_sum(key, value),
// shoal_run_min(key, value) and shoal_run_max(key, value), of rows of one BIGINT that
// follow each other. Sums are of BIGINT, UBIGINT or DOUBLE, and what DuckDB casts to
// them; shoal_run_decimal_sum_2's of DECIMAL(DUCK_RUNNING_DIGITS, 2); the smallest and
// the largest of BIGINT, DATE or TIMESTAMP.
shoal_status runs_register(struct duck_conn *conn, struct shoal_error *err);

// sort_words.c: shoal_sort_head(group, ordered, descending, nulls_first), a UINTEGER, and
// shoal_sort_place(ordered, tie, descending, nulls_first), a HUGEINT. The group is a
// BIGINT or a BLOB, what rows are ordered by a BIGINT, a DATE, a TIME, any TIMESTAMP, of
// a head a DOUBLE too, or what DuckDB casts to them; the tie is a UINTEGER.
shoal_status sort_words_register(struct duck_conn *conn, struct shoal_error *err);

// tie.c: shoal_tie(), a UINTEGER for each row; of one statement's thread all differ.
shoal_status tie_register(struct duck_conn *conn, struct shoal_error *err);

#endif
