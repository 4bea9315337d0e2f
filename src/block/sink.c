// The sink that a SELECT's rows go to: scatters chunks of them into a block file.
#include <stdlib.h>
#include <string.h>

#include "block/format.h"
#include "block/registry.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

// From this many partitions on, a chunk of 2,048 rows has too few for each: rows are
// staged first, and scattered so many for each at a time, of which a column still fits a
// core's own cache.
#define STAGE_PARTITIONS 33
#define STAGE_ROWS_EACH 256
#define STAGE_ROWS 131072
#define STAGE_BYTES (4u << 20)

// Rows wait for scatter(): their columns, and where each goes.
struct stage {
    struct column *columns;  // NULL: chunks are scattered as they come
    size_t rows;
};

struct sink {
    struct block_writer *writer;
    struct output *output;  // lives until block_take_output, after the statement
    size_t columns;
    uint32_t partitions;
    bool keyed;        // the first column says where a row goes, and is not stored
    uint64_t counted;  // sum of the last, which is not stored, of an output that counts
    struct placer placer;
    struct keys sample;
    uint64_t seen;              // keys that the sample is of
    struct sketcher *sketcher;  // of BLOCK_HASH
    uint64_t random;
    struct stage stage;
    uint32_t *parts;         // of the rows at hand
    struct duck_blob *keys;  // of a chunk's rows, where they are sort keys
    uint32_t *rows;  // scratch: their numbers sorted by partition, where each starts, and
    uint32_t *starts, *behind;  // where the next one of the second half goes
    struct column **targets;    // scratch: each partition's columns
    size_t capacity;
};

static void sink_close(void *state) {
    struct sink *sink = state;
    if (sink == NULL) return;
    block_writer_close(sink->writer);
    keys_free(&sink->sample);
    sketcher_free(sink->sketcher);
    placer_free(&sink->placer);
    for (size_t c = 0; sink->stage.columns != NULL && c < sink->columns; c++)
        column_free(&sink->stage.columns[c]);
    free(sink->stage.columns);
    free(sink->rows);
    free(sink->starts);
    free(sink->behind);
    free(sink->parts);
    free(sink->keys);
    free(sink->targets);
    free(sink);
}

static bool open_stage(struct sink *sink, const struct column *shapes) {
    sink->stage.columns = calloc(sink->columns + 1, sizeof *sink->stage.columns);
    for (size_t c = 0; sink->stage.columns != NULL && c < sink->columns; c++) {
        if (!column_copy_shape(&sink->stage.columns[c], &shapes[c])) return false;
    }
    return sink->stage.columns != NULL;
}

static bool is_number(const struct column *shape) {
    return shape->layout == COLUMN_FIXED && shape->width == 8;
}

static void *sink_open(const char *path, const struct column *shapes, size_t columns,
                       struct shoal_error *err) {
    struct output *output = registry_output(path);
    if (output == NULL) {
        shoal_fail(err, SHOAL_INTERNAL, "no output was registered for %s", path);
        return NULL;
    }
    enum block_scatter scatter = output->scatter;
    bool hash = columns > 0 && is_number(&shapes[0]);
    bool bytes = columns > 0 && shapes[0].layout == COLUMN_STRING;
    if ((scatter == BLOCK_HASH && !hash) ||
        ((scatter == BLOCK_RANGE || scatter == BLOCK_SAMPLE) && !bytes)) {
        shoal_fail(err, SHOAL_INTERNAL, "the first column of %s is no %s", path,
                   scatter == BLOCK_HASH ? "hash" : "sort key");
        return NULL;
    }
    if (output->counts && (columns < 2 || !is_number(&shapes[columns - 1]))) {
        shoal_fail(err, SHOAL_INTERNAL, "the last column of %s is no count", path);
        return NULL;
    }
    struct sink *sink = calloc(1, sizeof *sink);
    if (sink != NULL) {
        sink->output = output;
        sink->keyed = output->scatter != BLOCK_WHOLE;
        sink->partitions = output->partitions;
        sink->columns = columns - sink->keyed - output->counts;
        sink->random = XXH3_64bits(path, strlen(path)) | 1;
        sink->starts = calloc(sink->partitions + 1, sizeof *sink->starts);
        sink->behind = calloc(sink->partitions, sizeof *sink->behind);
        sink->targets = calloc(sink->partitions, sizeof *sink->targets);
    }
    bool bounded = sink != NULL && scatter == BLOCK_RANGE;
    bool hashed = sink != NULL && scatter == BLOCK_HASH && !output->blind;
    if (hashed) sink->sketcher = sketcher_new(sink->random);
    if (sink == NULL || sink->starts == NULL || sink->behind == NULL ||
        sink->targets == NULL || (hashed && sink->sketcher == NULL) ||
        (bounded && !placer_make(&sink->placer, output->bounds, sink->random))) {
        shoal_no_memory(err);
        sink_close(sink);
        return NULL;
    }
    if (block_writer_open(output, path, shapes + sink->keyed, sink->columns,
                          &sink->writer, err) != SHOAL_OK) {
        sink_close(sink);
        return NULL;
    }
    if (sink->partitions >= STAGE_PARTITIONS && !open_stage(sink, shapes + sink->keyed)) {
        shoal_no_memory(err);
        sink_close(sink);
        return NULL;
    }
    return sink;
}

static bool reserve_rows(struct sink *sink, size_t n) {
    if (n <= sink->capacity) return true;
    uint32_t *parts = realloc(sink->parts, n * sizeof *parts);
    if (parts != NULL) sink->parts = parts;
    uint32_t *rows = realloc(sink->rows, n * sizeof *rows);
    if (rows != NULL) sink->rows = rows;
    if (parts == NULL || rows == NULL) return false;
    sink->capacity = n;
    return true;
}

#define BLOCK_ROWS 256  // remixed hashes of so many stay in the first cache

static void place_hashed(struct sink *sink, const uint64_t *hashes, uint32_t *parts,
                         size_t n) {
    uint64_t remixed[BLOCK_ROWS];
    for (size_t first = 0; first < n; first += BLOCK_ROWS) {
        size_t count = n - first < BLOCK_ROWS ? n - first : BLOCK_ROWS;
        block_place_all(hashes + first, sink->partitions, remixed, parts + first, count);
        if (sink->sketcher != NULL)
            sketcher_add(sink->sketcher, hashes + first, remixed, count);
    }
}

// Where each row of the chunk goes; parts are of the rows behind those that are staged.
static void place_rows(struct sink *sink, const struct duck_chunk *chunk, size_t n) {
    uint32_t *parts = sink->parts + sink->stage.rows;
    if (sink->output->scatter == BLOCK_HASH) {
        place_hashed(sink, duck_chunk_u64(chunk, 0), parts, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct duck_blob *key = &sink->keys[i];
        parts[i] = placer_part(&sink->placer, key->data, key->size);
    }
}

// Sorts row numbers by partition (a counting sort): those of partition p are
// rows[starts[p]] to rows[starts[p + 1]]. Two halves side by side, each with places of
// its own: rows of one partition that follow each other, as a hot key's do, would each
// wait for the one before.
static void sort_rows(struct sink *sink, size_t n) {
    const uint32_t *parts = sink->parts;
    uint32_t *rows = sink->rows, *starts = sink->starts, *behind = sink->behind;
    size_t half = n / 2, from = n - half;
    memset(starts, 0, (sink->partitions + 1) * sizeof *starts);
    memset(behind, 0, sink->partitions * sizeof *behind);
    for (size_t i = 0; i < half; i++) {
        starts[parts[i]]++;
        behind[parts[from + i]]++;
    }
    if (half < from) starts[parts[half]]++;
    uint32_t at = 0;
    for (uint32_t p = 0; p < sink->partitions; p++) {
        uint32_t first = starts[p], second = behind[p];
        starts[p] = at;
        behind[p] = at + first;
        at += first + second;
    }
    for (size_t i = 0; i < half; i++) {
        rows[starts[parts[i]]++] = (uint32_t)i;
        rows[behind[parts[from + i]]++] = (uint32_t)(from + i);
    }
    if (half < from) rows[starts[parts[half]]++] = (uint32_t)half;
    // Each half's places have moved to where its next would be: a partition ends where
    // its second half does, and there the next begins.
    starts[0] = 0;
    for (uint32_t p = 0; p < sink->partitions; p++) starts[p + 1] = behind[p];
}

// All rows go to partition 0.
static void all_rows(struct sink *sink, size_t n) {
    for (size_t i = 0; i < n; i++) sink->rows[i] = (uint32_t)i;
    sink->starts[0] = 0;
    for (uint32_t p = 1; p <= sink->partitions; p++) sink->starts[p] = (uint32_t)n;
}

// Each row of the file is in the sample with the same chance (Vitter's algorithm R,
// 1985).
#define SAMPLE_KEYS 1000
#define SAMPLE_BYTES 128        // where a key may be cut, at the earliest
#define SAMPLE_BYTES_MOST 4096  // and at the latest

static bool sample_rows(struct sink *sink, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (sink->keys[i].data == NULL) continue;
        uint64_t place = sink->seen++;
        if (place >= SAMPLE_KEYS) {
            sink->random ^= sink->random << 13;
            sink->random ^= sink->random >> 7;
            sink->random ^= sink->random << 17;
            place = sink->random % sink->seen;
            if (place >= SAMPLE_KEYS) continue;
        }
        const uint8_t *key = sink->keys[i].data;
        size_t size = sink->keys[i].size;
        if (size > SAMPLE_BYTES_MOST) size = SAMPLE_BYTES_MOST;
        bool ok = place < sink->sample.count ? keys_set(&sink->sample, place, key, size)
                                             : keys_add(&sink->sample, key, size);
        if (!ok) return false;
    }
    return true;
}

static int by_key(const void *a, const void *b) {
    return key_compare(a, b);
}

static size_t common_bytes(const struct key *a, const struct key *b) {
    size_t most = a->size < b->size ? a->size : b->size, common = 0;
    while (common < most && a->data[common] == b->data[common]) common++;
    return common;
}

// Long keys are cut: a prefix is as good a bound. Not one that another key begins with,
// which would no longer be told from it; so a key that is there more than once stays
// whole, and its rows can be spread (base/bounds.h).
static void cut_sample(struct keys *sample) {
    struct key *list = sample->list;
    size_t before = 0;  // bytes that a key shares with the one before it
    if (sample->count > 0) qsort(list, sample->count, sizeof *list, by_key);
    for (size_t i = 0; i < sample->count; i++) {
        size_t behind = i + 1 < sample->count ? common_bytes(&list[i], &list[i + 1]) : 0;
        size_t wanted = (before > behind ? before : behind) + 1;
        if (wanted < SAMPLE_BYTES) wanted = SAMPLE_BYTES;
        if (list[i].size > wanted) list[i].size = wanted;
        before = behind;
    }
}

// A chunk's offsets have 32 bits: with more bytes than this, rows go one by one.
#define LONG_BYTES (256u << 20)

static uint64_t string_bytes(const struct sink *sink, const struct column *shapes,
                             const struct duck_chunk *chunk) {
    uint64_t bytes = 0;
    for (size_t c = 0; c < sink->columns; c++) {
        if (shapes[c].layout == COLUMN_STRING)
            bytes += duck_chunk_string_bytes(chunk, c + sink->keyed);
    }
    return bytes;
}

static shoal_status too_much(struct shoal_error *err) {
    return shoal_fail(err, SHOAL_NOMEM,
                      "out of memory, or 4 GiB of one column in one chunk");
}

// n rows of a column, of the chunk or, without one, of those that are staged. They are
// in order, so as many as the chunk has are all of it.
static bool append_column(const struct sink *sink, const struct duck_chunk *chunk,
                          size_t c, const uint32_t *rows, size_t n, struct column *to) {
    size_t at = c + sink->keyed;
    if (chunk == NULL) return column_append(to, &sink->stage.columns[c], rows, n);
    return n == duck_chunk_rows(chunk) ? duck_chunk_append_all(chunk, at, rows, n, to)
                                       : duck_chunk_append(chunk, at, rows, n, to);
}

// The rows that are sorted to their partitions, a column at a time: one fits a core's
// cache, of a chunk the first, of staged rows the second.
static shoal_status scatter_rows(struct sink *sink, const struct duck_chunk *chunk,
                                 struct shoal_error *err) {
    const uint32_t *starts = sink->starts;
    for (uint32_t p = 0; p < sink->partitions; p++) {
        bool any = starts[p] < starts[p + 1];
        sink->targets[p] = any ? block_writer_columns(sink->writer, p) : NULL;
        if (any && sink->targets[p] == NULL) return shoal_no_memory(err);
    }
    for (size_t c = 0; c < sink->columns; c++) {
        for (uint32_t p = 0; p < sink->partitions; p++) {
            size_t n = starts[p + 1] - starts[p];
            if (n > 0 && !append_column(sink, chunk, c, sink->rows + starts[p], n,
                                        &sink->targets[p][c])) {
                return too_much(err);
            }
        }
    }
    for (uint32_t p = 0; p < sink->partitions; p++) {
        size_t n = starts[p + 1] - starts[p];
        if (n > 0) block_writer_added(sink->writer, p, n);
    }
    return block_writer_settle(sink->writer, err);
}

// Rows of many bytes: each alone.
static shoal_status scatter_long_rows(struct sink *sink, const struct duck_chunk *chunk,
                                      struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    for (uint32_t p = 0; p < sink->partitions; p++) {
        for (uint32_t at = sink->starts[p]; at < sink->starts[p + 1]; at++) {
            struct column *columns = block_writer_columns(sink->writer, p);
            if (columns == NULL) return shoal_no_memory(err);
            for (size_t c = 0; c < sink->columns; c++) {
                if (!append_column(sink, chunk, c, sink->rows + at, 1, &columns[c]))
                    return too_much(err);
            }
            block_writer_added(sink->writer, p, 1);
            status = block_writer_settle(sink->writer, err);
            if (status != SHOAL_OK) return status;
        }
    }
    return status;
}

static shoal_status scatter_stage(struct sink *sink, struct shoal_error *err) {
    struct stage *stage = &sink->stage;
    if (stage->rows == 0) return SHOAL_OK;
    sort_rows(sink, stage->rows);
    shoal_status status = scatter_rows(sink, NULL, err);
    for (size_t c = 0; c < sink->columns; c++) column_clear(&stage->columns[c]);
    stage->rows = 0;
    return status;
}

static shoal_status stage_chunk(struct sink *sink, const struct duck_chunk *chunk,
                                struct shoal_error *err) {
    struct stage *stage = &sink->stage;
    size_t n = duck_chunk_rows(chunk);
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) sink->rows[i] = (uint32_t)i;
    for (size_t c = 0; c < sink->columns; c++) {
        if (!append_column(sink, chunk, c, sink->rows, n, &stage->columns[c]))
            return too_much(err);
        bytes += column_bytes(&stage->columns[c]);
    }
    stage->rows += n;
    bool full = stage->rows >= STAGE_ROWS || bytes >= STAGE_BYTES ||
                stage->rows >= (size_t)sink->partitions * STAGE_ROWS_EACH;
    return full ? scatter_stage(sink, err) : SHOAL_OK;
}

static void add_counts(struct sink *sink, const struct duck_chunk *chunk, size_t n) {
    const uint64_t *counts = duck_chunk_u64(chunk, sink->keyed + sink->columns);
    for (size_t i = 0; i < n; i++) sink->counted += counts[i];
}

static shoal_status sink_append(void *state, const struct duck_chunk *chunk,
                                struct shoal_error *err) {
    struct sink *sink = state;
    size_t n = duck_chunk_rows(chunk);
    if (sink->output->counts) add_counts(sink, chunk, n);
    enum block_scatter scatter = sink->output->scatter;
    if (!reserve_rows(sink, sink->stage.rows + n)) return shoal_no_memory(err);
    if (scatter == BLOCK_SAMPLE || scatter == BLOCK_RANGE) {
        struct duck_blob *keys = realloc(sink->keys, n * sizeof *keys);
        if (keys == NULL && n > 0) return shoal_no_memory(err);
        sink->keys = keys;
        duck_chunk_blobs(chunk, 0, keys);
    }
    if (scatter == BLOCK_SAMPLE && !sample_rows(sink, n)) return shoal_no_memory(err);
    bool long_rows =
        string_bytes(sink, block_writer_shapes(sink->writer), chunk) > LONG_BYTES;
    bool placed = scatter == BLOCK_HASH || scatter == BLOCK_RANGE;
    if (placed && sink->stage.columns != NULL && !long_rows) {
        place_rows(sink, chunk, n);
        return stage_chunk(sink, chunk, err);
    }
    shoal_status status = scatter_stage(sink, err);
    if (status != SHOAL_OK) return status;
    if (placed) {
        place_rows(sink, chunk, n);
        sort_rows(sink, n);
    } else {
        all_rows(sink, n);
    }
    return long_rows ? scatter_long_rows(sink, chunk, err)
                     : scatter_rows(sink, chunk, err);
}

static shoal_status sink_finish(void *state, struct shoal_error *err) {
    struct sink *sink = state;
    shoal_status status = scatter_stage(sink, err);
    if (status != SHOAL_OK) return status;
    sink->output->counted += sink->counted;
    cut_sample(&sink->sample);
    struct block_output_file learned = {.sample = sink->sample,
                                        .sample_rows = sink->seen};
    if (sink->sketcher != NULL) {
        learned.keys = malloc(sizeof *learned.keys);
        if (learned.keys == NULL) return shoal_no_memory(err);
        sketcher_take(sink->sketcher, learned.keys);
    }
    status = block_writer_finish(sink->writer, &learned, err);
    sink->sample = learned.sample;  // if it is the output's, none
    free(learned.keys);
    return status;
}

const struct duck_sink block_sink = {.name = "shoal",
                                     .open = sink_open,
                                     .append = sink_append,
                                     .finish = sink_finish,
                                     .close = sink_close};
