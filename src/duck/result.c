// A small materialised result as text. DuckDB itself makes the text, by a cast of every
// column to VARCHAR around the SELECT, so nested types, decimals and huge integers read
// exactly as DuckDB prints them; the types are those of the SELECT itself.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "duck/internal.h"

struct duck_result {
    size_t columns, rows, capacity;
    char **names;
    char **types;
    const char **cells;  // row-major, into blocks
    char **blocks;
    size_t block_count;
    duckdb_result raw;
    bool open;   // raw has rows that are not in cells yet
    bool text;   // raw's columns are VARCHARs
    bool query;  // raw is of rows, not of a number of changes
};

static char *new_block(struct duck_result *result, size_t size) {
    char **blocks = realloc(result->blocks, (result->block_count + 1) * sizeof *blocks);
    if (blocks == NULL) return NULL;
    result->blocks = blocks;
    char *block = malloc(size + 1);
    if (block != NULL) blocks[result->block_count++] = block;
    return block;
}

static bool reserve_rows(struct duck_result *result, size_t rows) {
    size_t need = (result->rows + rows) * result->columns;
    if (need <= result->capacity) return true;
    const char **cells = realloc(result->cells, need * 2 * sizeof *cells);
    if (cells == NULL) return false;
    result->cells = cells;
    result->capacity = need * 2;
    return true;
}

static void drop_rows(struct duck_result *result) {
    for (size_t i = 0; i < result->block_count; i++) free(result->blocks[i]);
    result->block_count = 0;
    result->rows = 0;
}

// One column's texts, copied with their NULs into one block.
static bool add_column(struct duck_result *result, duckdb_vector vector, size_t c,
                       size_t rows) {
    uint64_t *validity = duckdb_vector_get_validity(vector);
    duckdb_string_t *strings = duckdb_vector_get_data(vector);
    size_t size = 0;
    for (size_t r = 0; r < rows; r++) {
        if (!duckdb_validity_row_is_valid(validity, r)) continue;
        size += duckdb_string_t_length(strings[r]) + 1;
    }
    char *at = new_block(result, size);
    if (at == NULL) return false;
    for (size_t r = 0; r < rows; r++) {
        const char **cell = &result->cells[(result->rows + r) * result->columns + c];
        *cell = NULL;
        if (!duckdb_validity_row_is_valid(validity, r)) continue;
        size_t length = duckdb_string_t_length(strings[r]);
        *cell = at;
        memcpy(at, duckdb_string_t_data(&strings[r]), length);
        at[length] = '\0';
        at += length + 1;
    }
    return true;
}

static bool add_chunk(struct duck_result *result, duckdb_data_chunk chunk) {
    size_t rows = duckdb_data_chunk_get_size(chunk);
    bool ok = reserve_rows(result, rows);
    for (size_t c = 0; ok && c < result->columns; c++) {
        ok = add_column(result, duckdb_data_chunk_get_vector(chunk, c), c, rows);
    }
    if (ok) result->rows += rows;
    return ok;
}

static bool copy_names(struct duck_result *out, duckdb_result *raw,
                       const struct schema *schema) {
    // Behind those that are described there may be one more; see start().
    out->columns = schema->count > 0 ? schema->count : duckdb_column_count(raw);
    out->names = calloc(out->columns + 1, sizeof *out->names);
    out->types = calloc(out->columns + 1, sizeof *out->types);
    if (out->names == NULL || out->types == NULL) return false;
    for (size_t c = 0; c < out->columns; c++) {
        bool known = c < schema->count;
        out->names[c] =
            strdup(known ? schema->columns[c].name : duckdb_column_name(raw, c));
        out->types[c] = strdup(known ? schema->columns[c].type : "VARCHAR");
        if (out->names[c] == NULL || out->types[c] == NULL) return false;
    }
    return true;
}

// The rows that a statement other than a SELECT gave, as text.
static shoal_status rows_as_text(struct duck_conn *conn, struct duck_result *out,
                                 struct shoal_error *err) {
    struct schema schema = {0};
    duckdb_result text;
    shoal_status status = duck_rows_text(conn, &out->raw, &text, &schema, err);
    if (status == SHOAL_OK) {
        duckdb_destroy_result(&out->raw);
        out->raw = text;
        out->text = true;
        for (size_t c = 0; status == SHOAL_OK && c < out->columns; c++) {
            char *type = c < schema.count ? strdup(schema.columns[c].type) : NULL;
            if (type == NULL) status = shoal_no_memory(err);
            free(out->types[c]);
            out->types[c] = type;
        }
    }
    schema_free(&schema);
    return status;
}

// Statements that are not SELECTs return few rows; of other types than text DuckDB makes
// the text cell by cell.
static bool add_all(struct duck_result *result) {
    size_t rows = duckdb_row_count(&result->raw);
    if (!reserve_rows(result, rows)) return false;
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < result->columns; c++) {
            char *text = duckdb_value_varchar(&result->raw, c, r);
            char *copy = text ? new_block(result, strlen(text)) : NULL;
            bool lost = text != NULL && copy == NULL;
            if (copy != NULL) memcpy(copy, text, strlen(text) + 1);
            result->cells[r * result->columns + c] = copy;
            duckdb_free(text);
            if (lost) return false;
        }
    }
    result->rows = rows;
    return true;
}

// Adds raw's next rows to the cells; closes raw when there are none.
static bool add_next(struct duck_result *result) {
    bool ok = true;
    duckdb_data_chunk chunk = result->text ? duckdb_fetch_chunk(result->raw) : NULL;
    if (chunk != NULL) {
        ok = add_chunk(result, chunk);
        duckdb_destroy_data_chunk(&chunk);
        return ok;
    }
    if (!result->text) ok = add_all(result);
    duckdb_destroy_result(&result->raw);
    result->open = false;
    return ok;
}

static bool all_text(duckdb_result *raw) {
    for (idx_t c = 0; c < duckdb_column_count(raw); c++) {
        if (duckdb_column_type(raw, c) != DUCKDB_TYPE_VARCHAR) return false;
    }
    return true;
}

// Runs sql, with its columns cast to text when cast is set. Beside the casts there is a
// constant: without it DuckDB's type pushdown hands them down into a reader of CSV files,
// which would give a number as it is written there (007, 1.50), and not check that it is
// one.
static shoal_status start(struct duck_conn *conn, const char *sql, bool cast,
                          const struct schema *schema, struct duck_result *out,
                          struct shoal_error *err) {
    struct text text = {0};
    shoal_status status = SHOAL_OK;
    text_printf(
        &text, cast ? "SELECT CAST(COLUMNS(*) AS VARCHAR), '' FROM (\n%s\n)" : "%s", sql);
    if (text.failed) {
        status = shoal_no_memory(err);
    } else if (duckdb_query(conn->conn, text.data, &out->raw) != DuckDBSuccess) {
        status = duck_fail(&out->raw, err);
        if (cast) duck_hide_line(err);
        duckdb_destroy_result(&out->raw);
    } else {
        out->open = true;
        out->text = all_text(&out->raw);
        out->query =
            duckdb_result_return_type(out->raw) == DUCKDB_RESULT_TYPE_QUERY_RESULT;
        if (!copy_names(out, &out->raw, schema)) {
            status = shoal_fail(err, SHOAL_NOMEM, "out of memory for a result");
        }
        if (status == SHOAL_OK && out->query && !out->text && conn->has_rows) {
            status = rows_as_text(conn, out, err);
        }
    }
    text_free(&text);
    return status;
}

static shoal_status query_batches(struct duck_conn *conn, const char *sql, bool select,
                                  struct duck_result **result, struct shoal_error *err) {
    struct schema schema = {0};
    shoal_status status = SHOAL_OK;
    struct duck_result *out = calloc(1, sizeof *out);
    *result = NULL;
    if (out == NULL) return shoal_no_memory(err);
    // Types by binding, cells by casting: two cheap steps instead of one by hand.
    if (select) status = duck_describe(conn, sql, &schema, err);
    bool changes = duck_is_nested_change(status, err);
    if (changes) status = SHOAL_OK;
    if (status == SHOAL_OK)
        status = start(conn, sql, select && !changes, &schema, out, err);
    // Of one with a COPY in its WITH DuckDB says that it has no rows.
    if (status == SHOAL_OK && changes) out->query = true;
    schema_free(&schema);
    if (status != SHOAL_OK) {
        duck_result_free(out);
        out = NULL;
    }
    *result = out;
    return status;
}

shoal_status duck_query_batches(struct duck_conn *conn, const char *sql,
                                struct duck_result **result, struct shoal_error *err) {
    return query_batches(conn, sql, duck_is_select(sql), result, err);
}

shoal_status duck_query_once(struct duck_conn *conn, const char *sql,
                             struct duck_result **result, struct shoal_error *err) {
    return query_batches(conn, sql, false, result, err);
}

shoal_status duck_result_next(struct duck_result *result, bool *more,
                              struct shoal_error *err) {
    drop_rows(result);
    while (result->open && result->rows == 0) {
        if (!add_next(result))
            return shoal_fail(err, SHOAL_NOMEM, "out of memory for a result");
    }
    *more = result->rows > 0;
    return SHOAL_OK;
}

static shoal_status add_rest(struct duck_result **result, shoal_status status,
                             struct shoal_error *err) {
    while (status == SHOAL_OK && (*result)->open) {
        if (!add_next(*result))
            status = shoal_fail(err, SHOAL_NOMEM, "out of memory for a result");
    }
    if (status != SHOAL_OK) {
        duck_result_free(*result);
        *result = NULL;
    }
    return status;
}

shoal_status duck_query(struct duck_conn *conn, const char *sql,
                        struct duck_result **result, struct shoal_error *err) {
    return add_rest(result, duck_query_batches(conn, sql, result, err), err);
}

shoal_status duck_query_text(struct duck_conn *conn, const char *select,
                             struct duck_result **result, struct shoal_error *err) {
    struct schema none = {0};
    *result = calloc(1, sizeof **result);
    if (*result == NULL) return shoal_no_memory(err);
    return add_rest(result, start(conn, select, false, &none, *result, err), err);
}

shoal_status duck_scalar(struct duck_conn *conn, const char *sql, char **value,
                         struct shoal_error *err) {
    struct schema none = {0};
    struct duck_result *result = calloc(1, sizeof *result);
    *value = NULL;
    if (result == NULL) return shoal_no_memory(err);
    // Of a SELECT the type is of no interest: nothing is bound for it.
    shoal_status status = start(conn, sql, duck_is_select(sql), &none, result, err);
    status = add_rest(&result, status, err);
    if (status != SHOAL_OK) return status;
    if (result->rows > 0 && result->columns > 0) {
        const char *text = duck_result_text(result, 0, 0);
        if (text != NULL && (*value = strdup(text)) == NULL)
            status = shoal_no_memory(err);
    }
    duck_result_free(result);
    return status;
}

bool duck_result_has_rows(const struct duck_result *result) {
    return result->query;
}

size_t duck_result_columns(const struct duck_result *result) {
    return result->columns;
}

size_t duck_result_rows(const struct duck_result *result) {
    return result->rows;
}

const char *duck_result_name(const struct duck_result *result, size_t column) {
    return result->names[column];
}

const char *duck_result_type(const struct duck_result *result, size_t column) {
    return result->types[column];
}

const char *duck_result_text(const struct duck_result *result, size_t column,
                             size_t row) {
    return result->cells[row * result->columns + column];
}

void duck_result_free(struct duck_result *result) {
    if (result == NULL) return;
    if (result->open) duckdb_destroy_result(&result->raw);
    drop_rows(result);
    for (size_t c = 0; c < result->columns; c++) {
        if (result->names != NULL) free(result->names[c]);
        if (result->types != NULL) free(result->types[c]);
    }
    free(result->blocks);
    free((void *)result->cells);
    free(result->names);
    free(result->types);
    free(result);
}
