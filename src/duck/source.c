// The table function: FROM name('key', index, CAST(NULL AS STRUCT(...))).
#include <stdlib.h>
#include <string.h>

#include "duck/functions.h"
#include "duck/internal.h"
#include "duck/vector.h"

struct bound {
    const struct duck_source *source;
    void *state;
};

struct projection {
    size_t *columns;
    size_t count;
};

struct reader {
    const struct duck_source *source;
    void *state;
};

static void free_bound(void *data) {
    struct bound *bound = data;
    bound->source->close(bound->state);
    free(bound);
}

static void free_projection(void *data) {
    struct projection *projection = data;
    free(projection->columns);
    free(projection);
}

static void free_reader(void *data) {
    struct reader *reader = data;
    reader->source->end(reader->state);
    free(reader);
}

static void on_bind(duckdb_bind_info info) {
    struct shoal_error err;
    (void)shoal_no_memory(&err);  // unless it is something else
    const struct duck_source *source = duckdb_bind_get_extra_info(info);
    duckdb_value key = duckdb_bind_get_parameter(info, 0);
    duckdb_value index = duckdb_bind_get_parameter(info, 1);
    duckdb_value model = duckdb_bind_get_parameter(info, 2);
    duckdb_logical_type type = duckdb_get_value_type(model);  // lives as long as model
    struct bound *bound = calloc(1, sizeof *bound);
    char *name = duckdb_get_varchar(key);
    idx_t columns = duckdb_get_type_id(type) == DUCKDB_TYPE_STRUCT
                        ? duckdb_struct_type_child_count(type)
                        : 0;
    struct column *shapes = calloc(columns + 1, sizeof *shapes);
    idx_t shaped = 0;
    bool ok = bound != NULL && shapes != NULL && name != NULL && columns > 0;
    if (columns == 0)
        shoal_fail(&err, SHOAL_INTERNAL, "%s: no column types", source->name);
    for (; ok && shaped < columns; shaped++) {
        duckdb_logical_type child = duckdb_struct_type_child_type(type, shaped);
        char *column = duckdb_struct_type_child_name(type, shaped);
        ok = vector_shape(child, &shapes[shaped], &err) == SHOAL_OK;
        if (ok) duckdb_bind_add_result_column(info, column, child);
        duckdb_free(column);
        duckdb_destroy_logical_type(&child);
    }
    uint64_t rows = 0;
    if (ok) {
        bound->source = source;
        bound->state = source->open(name, (size_t)duckdb_get_int64(index), shapes,
                                    columns, &rows, &err);
        ok = bound->state != NULL;
    }
    if (ok) {
        duckdb_bind_set_cardinality(info, rows, true);
        duckdb_bind_set_bind_data(info, bound, free_bound);
    } else {
        duckdb_bind_set_error(info, duck_mark(&err, (char[DUCK_MARKED]){0}));
        free(bound);
    }
    for (idx_t i = 0; shapes != NULL && i < shaped; i++) column_free(&shapes[i]);
    free(shapes);
    duckdb_free(name);
    duckdb_destroy_value(&key);
    duckdb_destroy_value(&index);
    duckdb_destroy_value(&model);
}

static void on_init(duckdb_init_info info) {
    const struct bound *bound = duckdb_init_get_bind_data(info);
    struct projection *projection = calloc(1, sizeof *projection);
    idx_t count = duckdb_init_get_column_count(info);
    if (projection != NULL) projection->columns = calloc(count + 1, sizeof(size_t));
    if (projection == NULL || projection->columns == NULL) {
        free(projection);
        duckdb_init_set_error(info, duck_mark_no_memory((char[DUCK_MARKED]){0}));
        return;
    }
    projection->count = count;
    for (idx_t i = 0; i < count; i++) {
        projection->columns[i] = duckdb_init_get_column_index(info, i);
    }
    duckdb_init_set_max_threads(info, bound->source->parallel(bound->state));
    duckdb_init_set_init_data(info, projection, free_projection);
}

static void on_local_init(duckdb_init_info info) {
    const struct bound *bound = duckdb_init_get_bind_data(info);
    struct reader *reader = calloc(1, sizeof *reader);
    if (reader != NULL) {
        reader->source = bound->source;
        reader->state = bound->source->begin(bound->state);
    }
    if (reader == NULL || reader->state == NULL) {
        free(reader);
        duckdb_init_set_error(info, duck_mark_no_memory((char[DUCK_MARKED]){0}));
        return;
    }
    duckdb_init_set_init_data(info, reader, free_reader);
}

static void on_rows(duckdb_function_info info, duckdb_data_chunk output) {
    struct shoal_error err;
    struct reader *reader = duckdb_function_get_local_init_data(info);
    const struct projection *projection = duckdb_function_get_init_data(info);
    const struct column *columns = NULL;
    uint64_t first = 0;
    size_t count = 0;
    if (reader->source->next(reader->state, &columns, &first, &count, &err) != SHOAL_OK) {
        duckdb_function_set_error(info, duck_mark(&err, (char[DUCK_MARKED]){0}));
        return;
    }
    idx_t width = duckdb_data_chunk_get_column_count(output);
    for (idx_t c = 0; count > 0 && c < width && c < projection->count; c++) {
        // A scan for count(*) only asks for DuckDB's own row id column.
        if (projection->columns[c] == SIZE_MAX) continue;
        if (!vector_fill(duckdb_data_chunk_get_vector(output, c),
                         &columns[projection->columns[c]], first, count)) {
            duckdb_function_set_error(info, duck_mark_no_memory((char[DUCK_MARKED]){0}));
            return;
        }
    }
    duckdb_data_chunk_set_size(output, count);
}

shoal_status duck_register_source(struct duck_conn *conn,
                                  const struct duck_source *source,
                                  struct shoal_error *err) {
    duckdb_table_function function = duckdb_create_table_function();
    static const duckdb_type types[] = {DUCKDB_TYPE_VARCHAR, DUCKDB_TYPE_BIGINT,
                                        DUCKDB_TYPE_ANY};
    duckdb_table_function_set_name(function, source->name);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        duckdb_logical_type type = duckdb_create_logical_type(types[i]);
        duckdb_table_function_add_parameter(function, type);
        duckdb_destroy_logical_type(&type);
    }
    duckdb_table_function_set_extra_info(function, (void *)(uintptr_t)source, NULL);
    duckdb_table_function_set_bind(function, on_bind);
    duckdb_table_function_set_init(function, on_init);
    duckdb_table_function_set_local_init(function, on_local_init);
    duckdb_table_function_set_function(function, on_rows);
    duckdb_table_function_supports_projection_pushdown(function, true);
    duckdb_state state = duckdb_register_table_function(conn->conn, function);
    duckdb_destroy_table_function(&function);
    if (state == DuckDBSuccess) return SHOAL_OK;
    return shoal_fail(err, SHOAL_INTERNAL, "cannot register the table function %s",
                      source->name);
}
