// The sink behind DuckDB's COPY: scatters chunks of rows into a block file.
#include <stdlib.h>
#include <string.h>

#include "block/format.h"
#include "block/registry.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static shoal_status no_memory(struct shoal_error *err) {
    return shoal_fail(err, SHOAL_NOMEM, "out of memory");
}

struct sink {
    struct block_writer *writer;
    struct output *output;          // lives until block_take_output, after the COPY
    struct block_output_file file;  // filled at the end
    size_t place;                   // of the file in the output
    size_t columns;
    uint32_t partitions;
    bool keyed;  // the first column says where a row goes, and is not stored
    struct keys sample;
    uint64_t seen;  // rows that the sample is of
    uint64_t random;
    uint32_t *rows;  // scratch: row numbers sorted by partition, and their starts
    uint32_t *starts;
    uint32_t *parts;
    size_t capacity;
};

static void sink_close(void *state) {
    struct sink *sink = state;
    if (sink == NULL) return;
    block_writer_close(sink->writer);
    keys_free(&sink->sample);
    free(sink->rows);
    free(sink->starts);
    free(sink->parts);
    free(sink);
}

static void *sink_open(const char *path, const struct column *shapes, size_t columns,
                       struct shoal_error *err) {
    struct output *output = registry_output(path);
    if (output == NULL) {
        shoal_fail(err, SHOAL_INTERNAL, "no output was registered for %s", path);
        return NULL;
    }
    enum block_scatter scatter = output->scatter;
    bool hash = columns > 0 && shapes[0].layout == COLUMN_FIXED && shapes[0].width == 8;
    bool bytes = columns > 0 && shapes[0].layout == COLUMN_STRING;
    if ((scatter == BLOCK_HASH && !hash) ||
        ((scatter == BLOCK_RANGE || scatter == BLOCK_SAMPLE) && !bytes)) {
        shoal_fail(err, SHOAL_INTERNAL, "the first column of %s is no %s", path,
                   scatter == BLOCK_HASH ? "hash" : "sort key");
        return NULL;
    }
    struct sink *sink = calloc(1, sizeof *sink);
    if (sink != NULL) {
        sink->output = output;
        sink->keyed = output->scatter != BLOCK_WHOLE;
        sink->partitions = output->partitions;
        sink->columns = columns - sink->keyed;
        sink->random = XXH3_64bits(path, strlen(path)) | 1;
        sink->starts = calloc(sink->partitions + 1, sizeof *sink->starts);
    }
    if (sink == NULL || sink->starts == NULL) {
        no_memory(err);
        sink_close(sink);
        return NULL;
    }
    if (block_writer_open(path, shapes + sink->keyed, sink->columns, sink->partitions,
                          &sink->writer, err) != SHOAL_OK) {
        sink_close(sink);
        return NULL;
    }
    if (!registry_add_file(output, path, &sink->place, &sink->file)) {
        no_memory(err);
        sink_close(sink);
        return NULL;
    }
    return sink;
}

static bool reserve_rows(struct sink *sink, size_t n) {
    if (n <= sink->capacity) return true;
    free(sink->rows);
    free(sink->parts);
    sink->rows = calloc(n, sizeof *sink->rows);
    sink->parts = calloc(n, sizeof *sink->parts);
    sink->capacity = sink->rows && sink->parts ? n : 0;
    return sink->capacity >= n;
}

static void place_by_hash(struct sink *sink, const uint64_t *hashes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint64_t remixed = block_remix(hashes[i]);
        uint32_t part = block_partition(remixed, sink->partitions);
        sink->parts[i] = part;
        sink->starts[part + 1]++;
        sink->file.fingerprint[part] += remixed;
    }
}

static void place_by_bounds(struct sink *sink, const struct duck_chunk *chunk, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t size = 0;
        const uint8_t *key = duck_chunk_bytes(chunk, 0, i, &size);
        uint32_t part = (uint32_t)keys_at_or_below(sink->output->bounds, key, size);
        sink->parts[i] = part;
        sink->starts[part + 1]++;
    }
}

// Sorts the chunk's row numbers by partition (a counting sort).
static void sort_rows(struct sink *sink, const struct duck_chunk *chunk, size_t n) {
    memset(sink->starts, 0, (sink->partitions + 1) * sizeof *sink->starts);
    if (sink->output->scatter == BLOCK_HASH) {
        place_by_hash(sink, duck_chunk_u64(chunk, 0), n);
    } else {
        place_by_bounds(sink, chunk, n);
    }
    for (uint32_t p = 0; p < sink->partitions; p++)
        sink->starts[p + 1] += sink->starts[p];
    // Filling from the back leaves starts at each partition's first row.
    for (size_t i = n; i-- > 0;)
        sink->rows[--sink->starts[sink->parts[i] + 1]] = (uint32_t)i;
    memmove(sink->starts, sink->starts + 1, sink->partitions * sizeof *sink->starts);
    sink->starts[sink->partitions] = (uint32_t)n;
}

// Each row of the file is in the sample with the same chance (Vitter's algorithm R,
// 1985). Long keys are cut: a prefix is as good a bound.
#define SAMPLE_KEYS 1000
#define SAMPLE_BYTES 128

static bool sample_rows(struct sink *sink, const struct duck_chunk *chunk, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t size = 0;
        uint64_t place = sink->seen++;
        if (place >= SAMPLE_KEYS) {
            sink->random ^= sink->random << 13;
            sink->random ^= sink->random >> 7;
            sink->random ^= sink->random << 17;
            place = sink->random % sink->seen;
            if (place >= SAMPLE_KEYS) continue;
        }
        const uint8_t *key = duck_chunk_bytes(chunk, 0, i, &size);
        if (size > SAMPLE_BYTES) size = SAMPLE_BYTES;
        bool ok = place < sink->sample.count ? keys_set(&sink->sample, place, key, size)
                                             : keys_add(&sink->sample, key, size);
        if (!ok) return false;
    }
    return true;
}

// A chunk's offsets have 32 bits: rows with more bytes than this go in halves.
#define APPEND_BYTES (256u << 20)

static bool too_long(const struct sink *sink, const struct duck_chunk *chunk,
                     const struct column *columns, const uint32_t *rows, size_t n) {
    for (size_t c = 0; c < sink->columns; c++) {
        if (duck_chunk_string_bytes(chunk, c + sink->keyed, &columns[c], rows, n) >
            APPEND_BYTES)
            return true;
    }
    return false;
}

static shoal_status append_rows(struct sink *sink, const struct duck_chunk *chunk,
                                uint32_t partition, const uint32_t *rows, size_t n,
                                struct shoal_error *err) {
    struct column *columns = block_writer_columns(sink->writer, partition);
    if (columns == NULL) return no_memory(err);
    if (n > 1 && too_long(sink, chunk, columns, rows, n)) {
        shoal_status status = append_rows(sink, chunk, partition, rows, n / 2, err);
        return status == SHOAL_OK
                   ? append_rows(sink, chunk, partition, rows + n / 2, n - n / 2, err)
                   : status;
    }
    for (size_t c = 0; c < sink->columns; c++) {
        if (!duck_chunk_append(chunk, c + sink->keyed, rows, n, &columns[c])) {
            return shoal_fail(err, SHOAL_NOMEM,
                              "out of memory, or 4 GiB of one column in one chunk");
        }
    }
    return block_writer_added(sink->writer, partition, n, err);
}

static shoal_status sink_append(void *state, const struct duck_chunk *chunk,
                                struct shoal_error *err) {
    struct sink *sink = state;
    size_t n = duck_chunk_rows(chunk);
    if (!reserve_rows(sink, n)) return no_memory(err);
    enum block_scatter scatter = sink->output->scatter;
    if (scatter == BLOCK_SAMPLE && !sample_rows(sink, chunk, n)) return no_memory(err);
    if (scatter == BLOCK_HASH || scatter == BLOCK_RANGE) {
        sort_rows(sink, chunk, n);
    } else {
        for (size_t i = 0; i < n; i++) sink->rows[i] = (uint32_t)i;
        sink->starts[0] = 0;
        for (uint32_t p = 1; p <= sink->partitions; p++) sink->starts[p] = (uint32_t)n;
    }
    for (uint32_t p = 0; p < sink->partitions; p++) {
        size_t count = sink->starts[p + 1] - sink->starts[p];
        if (count == 0) continue;
        shoal_status status =
            append_rows(sink, chunk, p, sink->rows + sink->starts[p], count, err);
        if (status != SHOAL_OK) return status;
    }
    return SHOAL_OK;
}

static shoal_status sink_finish(void *state, struct shoal_error *err) {
    struct sink *sink = state;
    shoal_status status = block_writer_finish(sink->writer, &sink->file, err);
    if (status != SHOAL_OK || sink->sample.count == 0) return status;
    registry_set_sample(sink->output, sink->place, &sink->sample);
    sink->sample = (struct keys){0};
    return SHOAL_OK;
}

const struct duck_sink block_sink = {.name = "shoal",
                                     .open = sink_open,
                                     .append = sink_append,
                                     .finish = sink_finish,
                                     .close = sink_close};
