// The source behind shoal_input(): reads the chunks of block files, several threads at
// once.
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "block/format.h"
#include "block/registry.h"
#include "block/slices.h"

struct place {
    uint32_t file, chunk;
    uint64_t first, end;  // rows of it
};

struct source {
    char *key;  // of the input, and its number
    size_t index;
    struct block_file *files;
    size_t count;
    struct column *shapes;
    size_t columns;
    bool ordered;
    struct place *places;  // of the chunks that match, over all files
    size_t chunks;
    atomic_size_t taken;  // of them
};

struct reader {
    struct source *source;
    struct block_chunk chunk;
    uint64_t at, end;  // rows of the chunk that are left
};

static void source_close(void *state) {
    struct source *source = state;
    if (source == NULL) return;
    for (size_t i = 0; i < source->count; i++) block_file_close(&source->files[i]);
    for (size_t c = 0; c < source->columns; c++) column_free(&source->shapes[c]);
    free(source->files);
    free(source->places);
    free(source->shapes);
    free(source->key);
    free(source);
}

// Adds the file's chunks of these partitions to the list.
static bool list_chunks(struct source *source, size_t file,
                        const struct input_segment *segment, uint64_t *rows) {
    size_t all = source->files[file].chunks;
    struct place *places =
        realloc(source->places, (source->chunks + all + 1) * sizeof *places);
    if (places == NULL) return false;
    source->places = places;
    for (size_t k = 0; k < all; k++) {
        const struct block_index_entry *chunk = &source->files[file].index[k];
        if (chunk->partition < segment->first || chunk->partition > segment->last)
            continue;
        places[source->chunks++] =
            (struct place){(uint32_t)file, (uint32_t)k, 0, chunk->rows};
        *rows += chunk->rows;
    }
    return true;
}

// Leaves the slice's part of the chunks that are listed.
static bool take_slice(struct source *source, const struct block_read *how,
                       uint64_t *rows) {
    struct slicing slicing = slicing_of(how->slice, how->slices, source->chunks);
    size_t each = slicing.units / slicing.slices + 1;
    struct place *places = calloc(source->chunks * each + 1, sizeof *places);
    size_t count = 0;
    if (places == NULL) return false;
    *rows = 0;
    for (size_t i = 0; i < source->chunks; i++) {
        struct place place = source->places[i];
        uint64_t all = place.end;
        for (size_t unit = slicing_next(&slicing, i, 0); unit < slicing.units;
             unit = slicing_next(&slicing, i, unit + 1)) {
            place.first = slicing_row(&slicing, all, unit);
            place.end = slicing_row(&slicing, all, unit + 1);
            if (place.first == place.end) continue;
            places[count++] = place;
            *rows += place.end - place.first;
        }
    }
    free(source->places);
    source->places = places;
    source->chunks = count;
    return true;
}

static void *source_open(const char *key, size_t index, const struct column *shapes,
                         size_t columns, uint64_t *rows, struct shoal_error *err) {
    struct input *input = registry_input(key, index, err);
    if (input == NULL) return NULL;
    struct source *source = calloc(1, sizeof *source);
    shoal_status status = source == NULL ? shoal_no_memory(err) : SHOAL_OK;
    if (source != NULL) {
        source->key = strdup(key);
        source->index = index;
        source->ordered = input->how.ordered;
        source->files = calloc(input->count + 1, sizeof *source->files);
        source->shapes = calloc(columns + 1, sizeof *source->shapes);
        if (source->files == NULL || source->shapes == NULL || source->key == NULL) {
            status = shoal_no_memory(err);
        }
    }
    for (size_t c = 0; status == SHOAL_OK && c < columns; c++) {
        if (column_copy_shape(&source->shapes[c], &shapes[c])) {
            source->columns++;
        } else {
            status = shoal_no_memory(err);
        }
    }
    *rows = 0;
    for (size_t i = 0; status == SHOAL_OK && i < input->count; i++) {
        const struct input_segment *segment = &input->segments[i];
        status = block_file_open(&source->files[i], segment->path, shapes, columns, err);
        if (status == SHOAL_OK) source->count++;
        if (status != SHOAL_OK) registry_note_lost(key, index, segment->path, err);
        if (status == SHOAL_OK && !list_chunks(source, i, segment, rows))
            status = shoal_no_memory(err);
    }
    if (status == SHOAL_OK && input->how.slices > 0 &&
        !take_slice(source, &input->how, rows))
        status = shoal_no_memory(err);
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

static shoal_status reader_next(void *state, const struct column **columns,
                                uint64_t *first, size_t *count, struct shoal_error *err) {
    struct reader *reader = state;
    *count = 0;
    while (reader->at >= reader->end) {
        const struct source *source = reader->source;
        size_t n = atomic_fetch_add(&reader->source->taken, 1);
        if (n >= source->chunks) return SHOAL_OK;
        const struct place *place = &source->places[n];
        const struct block_file *file = &source->files[place->file];
        shoal_status status =
            block_chunk_read(&reader->chunk, file, &file->index[place->chunk], err);
        if (status != SHOAL_OK) {
            registry_note_lost(source->key, source->index, file->path, err);
            return status;
        }
        reader->at = place->first;
        reader->end = place->end;
    }
    uint64_t left = reader->end - reader->at;
    *columns = reader->chunk.columns;
    *first = reader->at;
    *count = left < 2048 ? (size_t)left : 2048;
    reader->at += *count;
    return SHOAL_OK;
}

const struct duck_source block_source = {.name = "shoal_input",
                                         .open = source_open,
                                         .close = source_close,
                                         .parallel = source_parallel,
                                         .begin = reader_begin,
                                         .end = reader_end,
                                         .next = reader_next};
