// A SELECT into a sink, by a scalar function over its columns: each of DuckDB's threads
// hands its chunks over where they are. A COPY function, the other way (sink.c), sees
// copies of them, as DuckDB collects rows in batches before it calls one.
//
// The function is volatile: no optimizer moves it, drops it or calls it twice. Of its
// values, a constant each, an aggregate is taken, so that nothing comes back.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "duck/functions.h"
#include "duck/internal.h"
#include "duck/vector.h"

enum progress {
    OPEN,
    ENDING,  // a thread is at it
    ENDED,   // finished, if rows went well, and closed
};

// A state of the sink.
struct end {
    void *state;
    enum progress progress;
    shoal_status status;
    struct shoal_error err;
};

// A statement that runs.
struct into {
    uint32_t number;  // by which its SQL names it
    const struct duck_sink *sink;
    const char *path;
    bool each;              // every thread has a state of its own
    pthread_mutex_t mutex;  // of the one state that all share, while it is used
    struct end **ends;
    size_t count;
    struct into *next;
};

// Guards the list, and all of its statements but what has a mutex of its own.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static struct into *running;
static uint32_t last_number;

// What a thread has, or one after the other of a thread's pipelines. DuckDB ends it with
// the pipeline, or shortly after the statement.
struct part {
    uint32_t number;  // of the statement; 0: no rows came yet
    struct into *into;
    struct end *end;
};

// With the mutex. NULL: it is over.
static struct into *find(uint32_t number) {
    struct into *into = running;
    while (into != NULL && into->number != number) into = into->next;
    return into;
}

static void enter(struct into *into) {
    pthread_mutex_lock(&mutex);
    into->number = ++last_number;
    into->next = running;
    running = into;
    pthread_mutex_unlock(&mutex);
}

// With the mutex, which it lets go of for what takes long.
static void end_state(const struct duck_sink *sink, struct end *end, bool finish) {
    end->progress = ENDING;
    pthread_mutex_unlock(&mutex);
    if (finish && end->status == SHOAL_OK)
        end->status = sink->finish(end->state, &end->err);
    sink->close(end->state);
    pthread_mutex_lock(&mutex);
    end->progress = ENDED;
    pthread_cond_broadcast(&ended);
}

// Ends what no thread has ended: all are over, or about to be. *status is the
// statement's.
static void leave(struct into *into, shoal_status *status, struct shoal_error *err) {
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < into->count; i++) {
        struct end *end = into->ends[i];
        if (end->progress == OPEN) end_state(into->sink, end, *status == SHOAL_OK);
        while (end->progress != ENDED) pthread_cond_wait(&ended, &mutex);
        if (*status != SHOAL_OK || end->status == SHOAL_OK) continue;
        *status = end->status;
        *err = end->err;
    }
    struct into **at = &running;
    while (*at != into) at = &(*at)->next;
    *at = into->next;
    pthread_mutex_unlock(&mutex);
}

// ---- the function, whose first argument is the statement's number

#define BEFORE 1  // arguments before the columns

static shoal_status find_shapes(duckdb_data_chunk input, struct column *shapes,
                                size_t count, struct shoal_error *err) {
    for (size_t c = 0; c < count; c++) {
        duckdb_logical_type type = duckdb_vector_get_column_type(
            duckdb_data_chunk_get_vector(input, c + BEFORE));
        shoal_status status = vector_shape(type, &shapes[c], err);
        duckdb_destroy_logical_type(&type);
        if (status != SHOAL_OK) return status;
    }
    return SHOAL_OK;
}

// With the mutex.
static shoal_status open_state(struct into *into, duckdb_data_chunk input,
                               struct end **out, struct shoal_error *err) {
    size_t count = duckdb_data_chunk_get_column_count(input) - BEFORE;
    struct column *shapes = calloc(count + 1, sizeof *shapes);
    struct end **ends = realloc(into->ends, (into->count + 1) * sizeof(struct end *));
    struct end *end = calloc(1, sizeof *end);
    struct text path = {0};
    if (ends != NULL) into->ends = ends;
    text_append(&path, into->path);
    if (into->each) text_printf(&path, "/data_%zu", into->count);
    bool ok = shapes != NULL && ends != NULL && end != NULL && !path.failed;
    shoal_status status =
        ok ? find_shapes(input, shapes, count, err) : shoal_no_memory(err);
    if (status == SHOAL_OK) {
        end->state = into->sink->open(path.data, shapes, count, err);
        if (end->state == NULL) status = err->status;
    }
    if (status == SHOAL_OK) {
        into->ends[into->count++] = *out = end;
    } else {
        free(end);
    }
    for (size_t c = 0; shapes != NULL && c < count; c++) column_free(&shapes[c]);
    free(shapes);
    text_free(&path);
    return status;
}

static shoal_status begin(struct part *part, duckdb_data_chunk input,
                          struct shoal_error *err) {
    const uint32_t *numbers =
        duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0));
    shoal_status status = SHOAL_OK;
    pthread_mutex_lock(&mutex);
    struct into *into = find(numbers[0]);
    if (into == NULL)
        status =
            shoal_fail(err, SHOAL_INTERNAL, "no statement %u fills a sink", numbers[0]);
    else if (!into->each && into->count > 0)
        part->end = into->ends[0];
    else
        status = open_state(into, input, &part->end, err);
    pthread_mutex_unlock(&mutex);
    if (status != SHOAL_OK) return status;
    part->into = into;
    part->number = into->number;
    return SHOAL_OK;
}

static shoal_status append(struct part *part, duckdb_data_chunk input, size_t rows,
                           struct shoal_error *err) {
    struct duck_chunk chunk = {input, rows, BEFORE};
    shoal_status status = part->number == 0 ? begin(part, input, err) : SHOAL_OK;
    if (status != SHOAL_OK) return status;
    struct into *into = part->into;
    if (!into->each) pthread_mutex_lock(&into->mutex);
    status = into->sink->append(part->end->state, &chunk, err);
    if (status != SHOAL_OK) {
        part->end->status = status;
        part->end->err = *err;
    }
    if (!into->each) pthread_mutex_unlock(&into->mutex);
    return status;
}

// A thread's own state ends with its pipeline, in the thread, and gives its memory back.
static void on_end(void *data) {
    struct part *part = data;
    pthread_mutex_lock(&mutex);
    struct into *into = part->number == 0 ? NULL : find(part->number);
    if (into != NULL && into->each && part->end->progress == OPEN)
        end_state(into->sink, part->end, true);
    pthread_mutex_unlock(&mutex);
    free(part);
}

static void on_init(duckdb_init_info info) {
    (void)duck_call_state(info, sizeof(struct part), on_end);
}

static void on_rows(duckdb_function_info info, duckdb_data_chunk input,
                    duckdb_vector output) {
    struct shoal_error err;
    struct part *part = duckdb_scalar_function_get_state(info);
    size_t rows = duckdb_data_chunk_get_size(input);
    memset(duckdb_vector_get_data(output), 0, rows);
    if (rows > 0 && append(part, input, rows, &err) != SHOAL_OK)
        duckdb_scalar_function_set_error(info, duck_mark(&err, (char[DUCK_MARKED]){0}));
}

shoal_status duck_register_into(struct duck_conn *conn, const struct duck_sink *sink,
                                struct shoal_error *err) {
    duckdb_scalar_function function = duckdb_create_scalar_function();
    duckdb_logical_type number = duckdb_create_logical_type(DUCKDB_TYPE_UINTEGER);
    duckdb_logical_type any = duckdb_create_logical_type(DUCKDB_TYPE_ANY);
    duckdb_logical_type constant = duckdb_create_logical_type(DUCKDB_TYPE_UTINYINT);
    struct text name = {0};
    text_printf(&name, "%s_into", sink->name);
    duckdb_state state = DuckDBError;
    if (!name.failed) {
        duckdb_scalar_function_set_name(function, name.data);
        duckdb_scalar_function_add_parameter(function, number);
        duckdb_scalar_function_set_varargs(function, any);
        duckdb_scalar_function_set_return_type(function, constant);
        duckdb_scalar_function_set_special_handling(function);  // of NULLs: it sees them
        duckdb_scalar_function_set_volatile(function);
        duckdb_scalar_function_set_init(function, on_init);
        duckdb_scalar_function_set_function(function, on_rows);
        state = duckdb_register_scalar_function(conn->conn, function);
    }
    duckdb_destroy_logical_type(&number);
    duckdb_destroy_logical_type(&any);
    duckdb_destroy_logical_type(&constant);
    duckdb_destroy_scalar_function(&function);
    text_free(&name);
    if (state == DuckDBSuccess) return SHOAL_OK;
    return shoal_fail(err, SHOAL_INTERNAL, "cannot register the function %s_into",
                      sink->name);
}

// ---- the statement

shoal_status duck_run_into(struct duck_conn *conn, const struct duck_sink *sink,
                           const char *select, const char *path, bool each,
                           struct shoal_error *err) {
    struct into into = {.sink = sink, .path = path, .each = each};
    struct text sql = {0};
    pthread_mutex_init(&into.mutex, NULL);
    enter(&into);
    text_printf(&sql, "SELECT max(%s_into(%u::UINTEGER, *COLUMNS(*))) FROM (\n%s\n)",
                sink->name, into.number, select);
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : duck_run(conn, sql.data, err);
    if (status != SHOAL_OK) duck_hide_line(err);
    leave(&into, &status, err);
    for (size_t i = 0; i < into.count; i++) free(into.ends[i]);
    free(into.ends);
    pthread_mutex_destroy(&into.mutex);
    text_free(&sql);
    return status;
}
