// FROM shoal_rows(): the rows of a statement that ran on this connection, so that DuckDB
// itself can say their types and make their text. A SELECT needs no such thing (it can be
// wrapped); EXECUTE, CALL and INSERT ... RETURNING can't be written inside a SELECT.
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "duck/internal.h"

#define NAME "shoal_rows"

static void on_bind(duckdb_bind_info info) {
    const struct duck_conn *conn = duckdb_bind_get_extra_info(info);
    duckdb_result *rows = conn->rows;
    if (rows == NULL) {
        duckdb_bind_set_error(info, NAME "() is for shoal's own use");
        return;
    }
    for (idx_t c = 0; c < duckdb_column_count(rows); c++) {
        char name[24];  // those of a statement's columns need not be unique
        (void)snprintf(name, sizeof name, "c%llu", (unsigned long long)c);
        duckdb_logical_type type = duckdb_column_logical_type(rows, c);
        duckdb_bind_add_result_column(info, name, type);
        duckdb_destroy_logical_type(&type);
    }
}

static void on_init(duckdb_init_info info) {
    duckdb_init_set_max_threads(info, 1);
}

static void on_rows(duckdb_function_info info, duckdb_data_chunk output) {
    const struct duck_conn *conn = duckdb_function_get_extra_info(info);
    duckdb_data_chunk chunk = duckdb_fetch_chunk(*conn->rows);
    idx_t rows = 0;
    if (chunk != NULL) {
        for (idx_t c = 0; c < duckdb_data_chunk_get_column_count(chunk); c++) {
            duckdb_vector_reference_vector(duckdb_data_chunk_get_vector(output, c),
                                           duckdb_data_chunk_get_vector(chunk, c));
        }
        rows = duckdb_data_chunk_get_size(chunk);
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_data_chunk_set_size(output, rows);
}

shoal_status duck_register_rows(struct duck_conn *conn, struct shoal_error *err) {
    duckdb_table_function function = duckdb_create_table_function();
    duckdb_table_function_set_name(function, NAME);
    duckdb_table_function_set_extra_info(function, conn, NULL);
    duckdb_table_function_set_bind(function, on_bind);
    duckdb_table_function_set_init(function, on_init);
    duckdb_table_function_set_function(function, on_rows);
    conn->has_rows =
        duckdb_register_table_function(conn->conn, function) == DuckDBSuccess;
    duckdb_destroy_table_function(&function);
    if (conn->has_rows) return SHOAL_OK;
    return shoal_fail(err, SHOAL_INTERNAL, "cannot register the table function " NAME);
}

shoal_status duck_rows_text(struct duck_conn *conn, duckdb_result *rows,
                            duckdb_result *text, struct schema *schema,
                            struct shoal_error *err) {
    conn->rows = rows;
    shoal_status status = duck_describe(conn, "FROM " NAME "()", schema, err);
    if (status == SHOAL_OK &&
        duckdb_query(conn->conn, "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM " NAME "()",
                     text) != DuckDBSuccess) {
        status = duck_fail(text, err);
        duckdb_destroy_result(text);
    }
    conn->rows = NULL;
    return status;
}
