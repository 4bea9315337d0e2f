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
    char **cells;  // row-major
};

static bool add_chunk(struct duck_result *result, duckdb_data_chunk chunk) {
    idx_t rows = duckdb_data_chunk_get_size(chunk);
    size_t need = (result->rows + rows) * result->columns;
    if (need > result->capacity) {
        size_t capacity = need * 2;
        char **cells = realloc(result->cells, capacity * sizeof *cells);
        if (cells == NULL) return false;
        result->cells = cells;
        result->capacity = capacity;
    }
    for (size_t c = 0; c < result->columns; c++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, c);
        uint64_t *validity = duckdb_vector_get_validity(vector);
        duckdb_string_t *strings = duckdb_vector_get_data(vector);
        for (idx_t r = 0; r < rows; r++) {
            char **cell = &result->cells[(result->rows + r) * result->columns + c];
            *cell = NULL;
            if (!duckdb_validity_row_is_valid(validity, r)) continue;
            *cell = strndup(duckdb_string_t_data(&strings[r]),
                            duckdb_string_t_length(strings[r]));
        }
    }
    result->rows += rows;
    return true;
}

static bool copy_names(struct duck_result *out, duckdb_result *raw,
                       const struct schema *schema) {
    out->columns = duckdb_column_count(raw);
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

// Statements that are not SELECTs return few rows; DuckDB makes their text cell by cell.
static bool add_all(struct duck_result *out, duckdb_result *raw) {
    out->rows = duckdb_row_count(raw);
    out->cells = calloc(out->rows * out->columns + 1, sizeof *out->cells);
    if (out->cells == NULL) return false;
    for (size_t r = 0; r < out->rows; r++) {
        for (size_t c = 0; c < out->columns; c++) {
            char *text = duckdb_value_varchar(raw, c, r);
            out->cells[r * out->columns + c] = text ? strdup(text) : NULL;
            duckdb_free(text);
        }
    }
    return true;
}

static shoal_status query(struct duck_conn *conn, const char *sql, bool typed,
                          struct duck_result **result, struct shoal_error *err) {
    *result = NULL;
    struct duck_result *out = calloc(1, sizeof *out);
    if (out == NULL) return shoal_fail(err, SHOAL_NOMEM, "out of memory");
    duckdb_result raw;
    shoal_status status = SHOAL_OK;
    struct schema schema = {0};
    struct text text = {0};
    bool select = duck_is_select(sql);
    if (select) {
        // Types by binding, cells by casting: two cheap steps instead of one by hand.
        if (typed) status = duck_describe(conn, sql, &schema, err);
        if (status != SHOAL_OK) goto out;
        text_append(&text, "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (");
        text_append(&text, sql);
        text_append(&text, "\n)");
    } else {
        text_append(&text, sql);
    }
    if (duckdb_query(conn->conn, text.data, &raw) != DuckDBSuccess) {
        status = duck_fail(&raw, err);
        duckdb_destroy_result(&raw);
        goto out;
    }
    bool ok = copy_names(out, &raw, &schema);
    if (ok && !select) ok = add_all(out, &raw);
    while (ok && select) {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(raw);
        if (chunk == NULL) break;
        ok = add_chunk(out, chunk);
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&raw);
    if (!ok) status = shoal_fail(err, SHOAL_NOMEM, "out of memory for a result");
out:
    text_free(&text);
    schema_free(&schema);
    if (status != SHOAL_OK) {
        duck_result_free(out);
        out = NULL;
    }
    *result = out;
    return status;
}

shoal_status duck_query(struct duck_conn *conn, const char *sql,
                        struct duck_result **result, struct shoal_error *err) {
    return query(conn, sql, true, result, err);
}

shoal_status duck_query_text(struct duck_conn *conn, const char *select,
                             struct duck_result **result, struct shoal_error *err) {
    return query(conn, select, false, result, err);
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
    for (size_t i = 0; result->cells != NULL && i < result->rows * result->columns; i++) {
        free(result->cells[i]);
    }
    for (size_t c = 0; c < result->columns; c++) {
        if (result->names != NULL) free(result->names[c]);
        if (result->types != NULL) free(result->types[c]);
    }
    free(result->cells);
    free(result->names);
    free(result->types);
    free(result);
}
