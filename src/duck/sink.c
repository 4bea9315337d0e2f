// The COPY function, for rows that are wanted in order. DuckDB gives each file a global
// state of its own; a mutex covers the case of several threads into one file.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "duck/functions.h"
#include "duck/internal.h"
#include "duck/vector.h"

size_t duck_chunk_rows(const struct duck_chunk *chunk) {
    return chunk->rows;
}

static duckdb_vector column(const struct duck_chunk *chunk, size_t c) {
    return duckdb_data_chunk_get_vector(chunk->chunk, c + chunk->before);
}

const uint64_t *duck_chunk_u64(const struct duck_chunk *chunk, size_t c) {
    return duckdb_vector_get_data(column(chunk, c));
}

void duck_chunk_blobs(const struct duck_chunk *chunk, size_t c, struct duck_blob *blobs) {
    duckdb_vector vector = column(chunk, c);
    duckdb_string_t *strings = duckdb_vector_get_data(vector);
    uint64_t *valid = duckdb_vector_get_validity(vector);
    for (size_t i = 0; i < chunk->rows; i++) {
        const duckdb_string_t *string = &strings[i];
        uint32_t size = string->value.inlined.length;
        const char *data = size <= sizeof string->value.inlined.inlined
                               ? string->value.inlined.inlined
                               : string->value.pointer.ptr;
        bool is_null = valid != NULL && !(valid[i / 64] >> (i % 64) & 1);
        blobs[i] = is_null ? (struct duck_blob){0}
                           : (struct duck_blob){(const uint8_t *)data, size};
    }
}

uint64_t duck_chunk_string_bytes(const struct duck_chunk *chunk, size_t c) {
    return vector_string_bytes(column(chunk, c), chunk->rows);
}

bool duck_chunk_append(const struct duck_chunk *chunk, size_t c, const uint32_t *rows,
                       size_t n, struct column *to) {
    return vector_append(column(chunk, c), rows, n, to);
}

bool duck_chunk_append_all(const struct duck_chunk *chunk, size_t c, const uint32_t *rows,
                           size_t n, struct column *to) {
    return vector_append_all(column(chunk, c), rows, n, to);
}

struct shapes {
    struct column *columns;
    size_t count;
};

struct open_sink {
    const struct duck_sink *sink;
    void *state;
    pthread_mutex_t mutex;
};

static void free_shapes(void *data) {
    struct shapes *shapes = data;
    for (size_t i = 0; i < shapes->count; i++) column_free(&shapes->columns[i]);
    free(shapes->columns);
    free(shapes);
}

static void on_bind(duckdb_copy_function_bind_info info) {
    struct shoal_error err;
    idx_t count = duckdb_copy_function_bind_get_column_count(info);
    struct shapes *shapes = calloc(1, sizeof *shapes);
    if (shapes != NULL) shapes->columns = calloc(count + 1, sizeof *shapes->columns);
    if (shapes == NULL || shapes->columns == NULL) {
        free(shapes);
        duckdb_copy_function_bind_set_error(info,
                                            duck_mark_no_memory((char[DUCK_MARKED]){0}));
        return;
    }
    for (idx_t i = 0; i < count; i++) {
        duckdb_logical_type type = duckdb_copy_function_bind_get_column_type(info, i);
        shoal_status status = vector_shape(type, &shapes->columns[i], &err);
        duckdb_destroy_logical_type(&type);
        if (status != SHOAL_OK) {
            duckdb_copy_function_bind_set_error(info,
                                                duck_mark(&err, (char[DUCK_MARKED]){0}));
            free_shapes(shapes);
            return;
        }
        shapes->count++;
    }
    duckdb_copy_function_bind_set_bind_data(info, shapes, free_shapes);
}

static void close_sink(void *data) {
    struct open_sink *open = data;
    open->sink->close(open->state);
    pthread_mutex_destroy(&open->mutex);
    free(open);
}

static void on_open(duckdb_copy_function_global_init_info info) {
    struct shoal_error err;
    const struct duck_sink *sink = duckdb_copy_function_global_init_get_extra_info(info);
    const struct shapes *shapes = duckdb_copy_function_global_init_get_bind_data(info);
    struct open_sink *open = calloc(1, sizeof *open);
    if (open == NULL) {
        duckdb_copy_function_global_init_set_error(
            info, duck_mark_no_memory((char[DUCK_MARKED]){0}));
        return;
    }
    open->sink = sink;
    open->state = sink->open(duckdb_copy_function_global_init_get_file_path(info),
                             shapes->columns, shapes->count, &err);
    if (open->state == NULL) {
        duckdb_copy_function_global_init_set_error(
            info, duck_mark(&err, (char[DUCK_MARKED]){0}));
        free(open);
        return;
    }
    pthread_mutex_init(&open->mutex, NULL);
    duckdb_copy_function_global_init_set_global_state(info, open, close_sink);
}

static void on_chunk(duckdb_copy_function_sink_info info, duckdb_data_chunk data) {
    struct shoal_error err;
    struct open_sink *open = duckdb_copy_function_sink_get_global_state(info);
    struct duck_chunk chunk = {data, duckdb_data_chunk_get_size(data), 0};
    pthread_mutex_lock(&open->mutex);
    shoal_status status = open->sink->append(open->state, &chunk, &err);
    pthread_mutex_unlock(&open->mutex);
    if (status != SHOAL_OK)
        duckdb_copy_function_sink_set_error(info,
                                            duck_mark(&err, (char[DUCK_MARKED]){0}));
}

static void on_finish(duckdb_copy_function_finalize_info info) {
    struct shoal_error err;
    struct open_sink *open = duckdb_copy_function_finalize_get_global_state(info);
    if (open->sink->finish(open->state, &err) != SHOAL_OK) {
        duckdb_copy_function_finalize_set_error(info,
                                                duck_mark(&err, (char[DUCK_MARKED]){0}));
    }
}

shoal_status duck_register_sink(struct duck_conn *conn, const struct duck_sink *sink,
                                struct shoal_error *err) {
    duckdb_copy_function function = duckdb_create_copy_function();
    duckdb_copy_function_set_name(function, sink->name);
    duckdb_copy_function_set_extra_info(function, (void *)(uintptr_t)sink, NULL);
    duckdb_copy_function_set_bind(function, on_bind);
    duckdb_copy_function_set_global_init(function, on_open);
    duckdb_copy_function_set_sink(function, on_chunk);
    duckdb_copy_function_set_finalize(function, on_finish);
    duckdb_state state = duckdb_register_copy_function(conn->conn, function);
    duckdb_destroy_copy_function(&function);
    if (state == DuckDBSuccess) return SHOAL_OK;
    return shoal_fail(err, SHOAL_INTERNAL, "cannot register the COPY function %s",
                      sink->name);
}
