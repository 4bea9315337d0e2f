// The doors through which rows enter and leave DuckDB: a scalar function (into.c) and a
// COPY function (sink.c) that a sink stands behind, and a table function (source.c) that
// a source stands behind. Sinks and sources see columns (base/column.h), never DuckDB's
// vectors.
#ifndef SHOAL_DUCK_FUNCTIONS_H
#define SHOAL_DUCK_FUNCTIONS_H

#include "base/column.h"
#include "base/status.h"
#include "duck/duck.h"

struct duck_chunk;  // up to 2,048 rows that DuckDB hands to a sink

size_t duck_chunk_rows(const struct duck_chunk *chunk);
// Column c as 64-bit values, for the hash column.
const uint64_t *duck_chunk_u64(const struct duck_chunk *chunk, size_t c);
// Column c, BLOBs, into blobs[rows]; they are valid while the chunk is. data of NULL is
// NULL.
struct duck_blob {
    const uint8_t *data;
    size_t size;
};
void duck_chunk_blobs(const struct duck_chunk *chunk, size_t c, struct duck_blob *blobs);
// Bytes of all rows of column c, which is of strings.
uint64_t duck_chunk_string_bytes(const struct duck_chunk *chunk, size_t c);
// Appends the given rows of column c; false when out of memory or past 4 GiB of offsets.
bool duck_chunk_append(const struct duck_chunk *chunk, size_t c, const uint32_t *rows,
                       size_t n, struct column *to);
// The same of the first n rows, which rows then has the numbers of: 0 to n - 1.
bool duck_chunk_append_all(const struct duck_chunk *chunk, size_t c, const uint32_t *rows,
                           size_t n, struct column *to);

// What stands behind COPY (SELECT ...) TO 'path' (FORMAT name). open, append, finish and
// close of one sink are never called at once for different paths' state, but different
// sinks run in parallel.
struct duck_sink {
    const char *name;
    void *(*open)(const char *path, const struct column *shapes, size_t columns,
                  struct shoal_error *err);  // NULL on failure
    shoal_status (*append)(void *sink, const struct duck_chunk *chunk,
                           struct shoal_error *err);
    shoal_status (*finish)(void *sink, struct shoal_error *err);
    void (*close)(void *sink);  // always, finished or not
};
shoal_status duck_register_sink(struct duck_conn *conn, const struct duck_sink *sink,
                                struct shoal_error *err);

// into.c: the same without COPY, and without the copy of all rows that one costs.
shoal_status duck_register_into(struct duck_conn *conn, const struct duck_sink *sink,
                                struct shoal_error *err);
// The rows of the SELECT, in no order, go to a state of the sink that is opened with the
// path or, for each thread, to one of its own: path/data_0 and so on. None is opened when
// there are no rows.
shoal_status duck_run_into(struct duck_conn *conn, const struct duck_sink *sink,
                           const char *select, const char *path, bool each,
                           struct shoal_error *err);

// FROM name('key', index, CAST(NULL AS STRUCT(column type, ...))): the third argument
// only brings the column names and types, so that DuckDB itself parses them.
struct duck_source {
    const char *name;
    // Called when a statement binds; *rows is how many will come.
    void *(*open)(const char *key, size_t index, const struct column *shapes,
                  size_t columns, uint64_t *rows, struct shoal_error *err);
    void (*close)(void *source);
    size_t (*parallel)(const void *source);  // threads that can read at once
    void *(*begin)(void *source);            // one reader a thread; NULL: out of memory
    void (*end)(void *reader);
    // The next rows [*first, *first + *count) of *columns, at most 2,048; *count 0: done.
    // *columns stays valid until the next call.
    shoal_status (*next)(void *reader, const struct column **columns, uint64_t *first,
                         size_t *count, struct shoal_error *err);
};
shoal_status duck_register_source(struct duck_conn *conn,
                                  const struct duck_source *source,
                                  struct shoal_error *err);

#endif
