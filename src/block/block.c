// The registry that ties SQL text to block files, and the sink and source behind DuckDB's
// COPY and table functions. The registry's lock is held only to look up and to add; the
// files themselves belong to whoever writes or reads them.
#include "block/block.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "block/format.h"
#include "duck/functions.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

struct input {
    char *key;
    size_t index;
    char **paths;
    int32_t *partitions;
    size_t count;
    bool ordered;
    struct input *next;
};

struct output {
    char *path;
    uint32_t partitions;
    enum block_scatter scatter;
    const struct keys *bounds;
    struct block_output files;
    struct output *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct input *inputs;
static struct output *outputs;

static shoal_status no_memory(struct shoal_error *err) {
    return shoal_fail(err, SHOAL_NOMEM, "out of memory");
}

// ---- registry

static void input_free(struct input *input) {
    for (size_t i = 0; input->paths != NULL && i < input->count; i++)
        free(input->paths[i]);
    free(input->paths);
    free(input->partitions);
    free(input->key);
    free(input);
}

static struct input *input_new(const char *key, size_t index, size_t count) {
    struct input *input = calloc(1, sizeof *input);
    if (input == NULL) return NULL;
    input->key = strdup(key);
    input->index = index;
    input->paths = calloc(count + 1, sizeof *input->paths);
    input->partitions = calloc(count + 1, sizeof *input->partitions);
    if (input->key == NULL || input->paths == NULL || input->partitions == NULL) {
        input_free(input);
        return NULL;
    }
    return input;
}

static bool input_add(struct input *input, const char *path, int32_t partition) {
    input->partitions[input->count] = partition;
    input->paths[input->count] = strdup(path);
    return input->paths[input->count++] != NULL;
}

shoal_status block_bind_input(const char *key, size_t index,
                              const struct block_segment *segments, size_t count,
                              bool ordered, struct shoal_error *err) {
    struct input *input = input_new(key, index, count);
    if (input == NULL) return no_memory(err);
    input->ordered = ordered;
    for (size_t i = 0; i < count; i++) {
        if (!input_add(input, segments[i].path, segments[i].partition)) {
            input_free(input);
            return no_memory(err);
        }
    }
    pthread_mutex_lock(&mutex);
    input->next = inputs;
    inputs = input;
    pthread_mutex_unlock(&mutex);
    return SHOAL_OK;
}

void block_release_inputs(const char *key) {
    pthread_mutex_lock(&mutex);
    for (struct input **at = &inputs; *at != NULL;) {
        struct input *input = *at;
        if (strcmp(input->key, key) != 0) {
            at = &input->next;
            continue;
        }
        *at = input->next;
        input_free(input);
    }
    pthread_mutex_unlock(&mutex);
}

char *block_input_sql(const char *key, size_t index, const struct schema *schema) {
    struct text sql = {0};
    text_append(&sql, "shoal_input(");
    text_append_literal(&sql, key);
    text_printf(&sql, ", %zu, CAST(NULL AS STRUCT(", index);
    for (size_t i = 0; i < schema->count; i++) {
        if (i > 0) text_append(&sql, ", ");
        text_append_identifier(&sql, schema->columns[i].name);
        text_printf(&sql, " %s", schema->columns[i].type);
    }
    text_append(&sql, ")))");
    return text_take(&sql);
}

shoal_status block_bind_output(const char *path, uint32_t partitions,
                               enum block_scatter scatter, const struct keys *bounds,
                               struct shoal_error *err) {
    struct output *output = calloc(1, sizeof *output);
    if (output != NULL) output->path = strdup(path);
    if (output == NULL || output->path == NULL) {
        free(output);
        return no_memory(err);
    }
    output->partitions = partitions;
    output->scatter = scatter;
    output->bounds = bounds;
    output->files.partitions = partitions;
    pthread_mutex_lock(&mutex);
    output->next = outputs;
    outputs = output;
    pthread_mutex_unlock(&mutex);
    return SHOAL_OK;
}

void block_take_output(const char *path, struct block_output *files) {
    *files = (struct block_output){0};
    pthread_mutex_lock(&mutex);
    for (struct output **at = &outputs; *at != NULL; at = &(*at)->next) {
        struct output *output = *at;
        if (strcmp(output->path, path) != 0) continue;
        *at = output->next;
        *files = output->files;
        free(output->path);
        free(output);
        break;
    }
    pthread_mutex_unlock(&mutex);
}

static void file_free(struct block_output_file *file) {
    free(file->path);
    free(file->rows);
    free(file->bytes);
    free(file->fingerprint);
    keys_free(&file->sample);
}

void block_output_free(struct block_output *output) {
    for (size_t i = 0; i < output->count; i++) file_free(&output->files[i]);
    free(output->files);
    *output = (struct block_output){0};
}

// ---- the sink

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

static bool below(const char *path, const char *target) {
    size_t length = strlen(target);
    return strncmp(path, target, length) == 0 &&
           (path[length] == '\0' || path[length] == '/');
}

static struct output *find_output(const char *path) {
    struct output *found = NULL;
    pthread_mutex_lock(&mutex);
    for (struct output *o = outputs; o != NULL && found == NULL; o = o->next) {
        if (below(path, o->path)) found = o;
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

// Lists the file in its output from the moment that it exists, so that a failed task
// finds what to unlink. Its counts come when it is finished.
static bool list_file(struct sink *sink, const char *path) {
    struct block_output *files = &sink->output->files;
    pthread_mutex_lock(&mutex);
    struct block_output_file *grown =
        realloc(files->files, (files->count + 1) * sizeof *grown);
    bool ok = grown != NULL;
    if (ok) {
        files->files = grown;
        struct block_output_file *file = &grown[files->count];
        *file = (struct block_output_file){
            .path = strdup(path),
            .rows = calloc(sink->partitions, sizeof(uint64_t)),
            .bytes = calloc(sink->partitions, sizeof(uint64_t)),
            .fingerprint = calloc(sink->partitions, sizeof(uint64_t))};
        ok = file->path != NULL && file->rows != NULL && file->bytes != NULL &&
             file->fingerprint != NULL;
        if (ok) {
            sink->place = files->count++;
            sink->file = *file;  // the arrays do not move, only the list does
        } else {
            file_free(file);
        }
    }
    pthread_mutex_unlock(&mutex);
    return ok;
}

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
    struct output *output = find_output(path);
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
    if (!list_file(sink, path)) {
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
    pthread_mutex_lock(&mutex);  // the list may be growing
    sink->output->files.files[sink->place].sample = sink->sample;
    pthread_mutex_unlock(&mutex);
    sink->sample = (struct keys){0};
    return SHOAL_OK;
}

static const struct duck_sink shoal_sink = {.name = "shoal",
                                            .open = sink_open,
                                            .append = sink_append,
                                            .finish = sink_finish,
                                            .close = sink_close};

// ---- the source

struct source {
    struct block_file *files;
    int32_t *partitions;
    size_t count;
    struct column *shapes;
    size_t columns;
    bool ordered;
    size_t chunks;        // that match, over all files
    atomic_size_t taken;  // of them
};

struct reader {
    struct source *source;
    struct block_chunk chunk;
    uint64_t at;
};

static void source_close(void *state) {
    struct source *source = state;
    if (source == NULL) return;
    for (size_t i = 0; i < source->count; i++) block_file_close(&source->files[i]);
    for (size_t c = 0; c < source->columns; c++) column_free(&source->shapes[c]);
    free(source->files);
    free(source->partitions);
    free(source->shapes);
    free(source);
}

static struct input *copy_input(const char *key, size_t index, struct shoal_error *err) {
    struct input *copy = NULL;
    bool found = false;
    pthread_mutex_lock(&mutex);
    for (struct input *i = inputs; i != NULL && !found; i = i->next) {
        if (i->index != index || strcmp(i->key, key) != 0) continue;
        found = true;
        copy = input_new(key, index, i->count);
        if (copy != NULL) copy->ordered = i->ordered;
        for (size_t s = 0; copy != NULL && s < i->count; s++) {
            if (!input_add(copy, i->paths[s], i->partitions[s])) {
                input_free(copy);
                copy = NULL;
            }
        }
    }
    pthread_mutex_unlock(&mutex);
    if (!found) {
        shoal_fail(err, SHOAL_INTERNAL, "shoal_input('%s', %zu) is not registered", key,
                   index);
    } else if (copy == NULL) {
        no_memory(err);
    }
    return copy;
}

static bool matches(const struct source *source, size_t file, size_t chunk) {
    int32_t wanted = source->partitions[file];
    return wanted < 0 || source->files[file].index[chunk].partition == (uint32_t)wanted;
}

static void *source_open(const char *key, size_t index, const struct column *shapes,
                         size_t columns, uint64_t *rows, struct shoal_error *err) {
    struct input *input = copy_input(key, index, err);
    if (input == NULL) return NULL;
    struct source *source = calloc(1, sizeof *source);
    shoal_status status = source == NULL ? no_memory(err) : SHOAL_OK;
    if (source != NULL) {
        source->ordered = input->ordered;
        source->files = calloc(input->count + 1, sizeof *source->files);
        source->partitions = calloc(input->count + 1, sizeof *source->partitions);
        source->shapes = calloc(columns + 1, sizeof *source->shapes);
        if (source->files == NULL || source->partitions == NULL ||
            source->shapes == NULL) {
            status = no_memory(err);
        }
    }
    for (size_t c = 0; status == SHOAL_OK && c < columns; c++) {
        if (column_copy_shape(&source->shapes[c], &shapes[c])) {
            source->columns++;
        } else {
            status = no_memory(err);
        }
    }
    *rows = 0;
    for (size_t i = 0; status == SHOAL_OK && i < input->count; i++) {
        source->partitions[i] = input->partitions[i];
        status =
            block_file_open(&source->files[i], input->paths[i], shapes, columns, err);
        if (status == SHOAL_OK) source->count++;
        for (size_t k = 0; status == SHOAL_OK && k < source->files[i].chunks; k++) {
            if (!matches(source, i, k)) continue;
            source->chunks++;
            *rows += source->files[i].index[k].rows;
        }
    }
    input_free(input);
    if (status == SHOAL_OK) return source;
    source_close(source);
    return NULL;
}

static size_t source_parallel(const void *state) {
    const struct source *source = state;
    if (source->ordered) return 1;
    return source->chunks < 1 ? 1 : source->chunks > 64 ? 64 : source->chunks;
}

static void *reader_begin(void *state) {
    struct source *source = state;
    struct reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) return NULL;
    reader->source = source;
    if (block_chunk_init(&reader->chunk, source->shapes, source->columns, NULL) !=
        SHOAL_OK) {
        free(reader);
        return NULL;
    }
    return reader;
}

static void reader_end(void *state) {
    struct reader *reader = state;
    block_chunk_free(&reader->chunk);
    free(reader);
}

// The file and chunk of the n-th that match.
static bool locate(const struct source *source, size_t n, size_t *file, size_t *chunk) {
    for (*file = 0; *file < source->count; (*file)++) {
        for (*chunk = 0; *chunk < source->files[*file].chunks; (*chunk)++) {
            if (matches(source, *file, *chunk) && n-- == 0) return true;
        }
    }
    return false;
}

static shoal_status reader_next(void *state, const struct column **columns,
                                uint64_t *first, size_t *count, struct shoal_error *err) {
    struct reader *reader = state;
    *count = 0;
    while (reader->at >= reader->chunk.rows) {
        size_t file = 0;
        size_t chunk = 0;
        size_t n = atomic_fetch_add(&reader->source->taken, 1);
        if (!locate(reader->source, n, &file, &chunk)) return SHOAL_OK;
        shoal_status status =
            block_chunk_read(&reader->chunk, &reader->source->files[file],
                             &reader->source->files[file].index[chunk], err);
        if (status != SHOAL_OK) return status;
        reader->at = 0;
    }
    uint64_t left = reader->chunk.rows - reader->at;
    *columns = reader->chunk.columns;
    *first = reader->at;
    *count = left < 2048 ? (size_t)left : 2048;
    reader->at += *count;
    return SHOAL_OK;
}

static const struct duck_source shoal_source = {.name = "shoal_input",
                                                .open = source_open,
                                                .close = source_close,
                                                .parallel = source_parallel,
                                                .begin = reader_begin,
                                                .end = reader_end,
                                                .next = reader_next};

shoal_status block_register(struct duck_conn *conn, struct shoal_error *err) {
    shoal_status status = duck_register_sink(conn, &shoal_sink, err);
    return status == SHOAL_OK ? duck_register_source(conn, &shoal_source, err) : status;
}
