// The source behind shoal_input(): reads the chunks of block files, several threads at
// once.
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "block/ahead.h"
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
    struct ahead *ahead;  // of files that are not here; NULL: all are
};

struct reader {
    struct source *source;
    struct block_chunk chunk;
    uint64_t at, end;  // rows of the chunk that are left
};

static void source_close(void *state) {
    struct source *source = state;
    if (source == NULL) return;
    ahead_close(source->ahead);
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

// ---- files that are not here

#define OPEN_AHEAD 64  // files whose tails are asked for before their turn

struct opening {
    struct remote_file *remote;
    struct remote_answer *tail;
};

// Opens the files of all segments; those that are elsewhere are asked for side by side.
static shoal_status open_files(struct source *source, const struct input *input,
                               const struct column *shapes, size_t columns,
                               uint64_t *rows, struct shoal_error *err) {
    struct opening *openings = calloc(input->count + 1, sizeof *openings);
    size_t asked = 0;
    if (openings == NULL) return shoal_no_memory(err);
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < input->count; i++) {
        const struct input_segment *segment = &input->segments[i];
        for (; status == SHOAL_OK && asked < input->count && asked <= i + OPEN_AHEAD;
             asked++)
            status = block_file_ask(input->segments[asked].path, &openings[asked].remote,
                                    &openings[asked].tail, err);
        if (status != SHOAL_OK) break;
        status = block_file_open_asked(&source->files[i], segment->path, source->key,
                                       openings[i].remote, openings[i].tail, shapes,
                                       columns, err);
        openings[i] = (struct opening){0};
        if (status == SHOAL_OK) source->count++;
        if (status != SHOAL_OK)
            registry_note_lost(source->key, source->index, segment->path, err);
        if (status == SHOAL_OK && !list_chunks(source, i, segment, rows))
            status = shoal_no_memory(err);
    }
    for (size_t i = 0; i < asked; i++) {
        remote_answer_free(openings[i].tail);
        remote_file_free(openings[i].remote);
    }
    free(openings);
    return status;
}

static void place_at(const void *context, size_t n, const struct block_file **file,
                     const struct block_index_entry **entry) {
    const struct source *source = context;
    const struct place *place = &source->places[n];
    *file = &source->files[place->file];
    *entry = &(*file)->index[place->chunk];
}

// The writer of the place's file, from one that is this reader's own: tasks that read the
// same files begin at different ones.
static uint32_t turn_of(const struct source *source, const struct place *place,
                        uint32_t first) {
    const struct block_file *file = &source->files[place->file];
    return file->remote == NULL ? 0 : remote_file_writer(file->remote) - first;
}

struct turn {
    uint32_t writer;
    size_t number;  // of the place, among those of its writer and then among all
    struct place place;
};

static int by_writer(const void *a, const void *b) {
    const struct turn *x = a, *y = b;
    if (x->writer != y->writer) return x->writer < y->writer ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static int by_number(const void *a, const void *b) {
    const struct turn *x = a, *y = b;
    if (x->number != y->number) return x->number < y->number ? -1 : 1;
    return x->writer < y->writer ? -1 : x->writer > y->writer;
}

// One chunk of each writer, then the next of each: all nodes send at once.
static bool take_turns(struct source *source) {
    struct turn *turns = calloc(source->chunks + 1, sizeof *turns);
    uint32_t first = 0;
    if (turns == NULL) return false;
    for (const char *at = source->key; *at != '\0'; at++)
        first = first * 31 + (unsigned char)*at;
    for (size_t i = 0; i < source->chunks; i++)
        turns[i] = (struct turn){turn_of(source, &source->places[i], first), i,
                                 source->places[i]};
    qsort(turns, source->chunks, sizeof *turns, by_writer);
    for (size_t i = 0, number = 0; i < source->chunks; i++) {
        number = i > 0 && turns[i].writer == turns[i - 1].writer ? number + 1 : 0;
        turns[i].number = number;
    }
    qsort(turns, source->chunks, sizeof *turns, by_number);
    for (size_t i = 0; i < source->chunks; i++) source->places[i] = turns[i].place;
    free(turns);
    return true;
}

static shoal_status read_ahead(struct source *source, struct shoal_error *err) {
    bool remote = false;
    for (size_t i = 0; i < source->count && !remote; i++)
        remote = source->files[i].remote != NULL;
    if (!remote || source->chunks == 0) return SHOAL_OK;
    if (!source->ordered && !take_turns(source)) return shoal_no_memory(err);
    return ahead_open(&source->ahead, source->chunks, place_at, source, err);
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
    if (status == SHOAL_OK)
        status = open_files(source, input, shapes, columns, rows, err);
    if (status == SHOAL_OK && input->how.slices > 0 &&
        !take_slice(source, &input->how, rows))
        status = shoal_no_memory(err);
    if (status == SHOAL_OK) status = read_ahead(source, err);
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
            block_chunk_take(&reader->chunk, file, &file->index[place->chunk],
                             ahead_take(source->ahead, n), err);
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
