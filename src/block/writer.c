// The writer. Memory is bounded by what all partitions hold together: past WRITER_BYTES
// the largest go out first, so that skew makes large chunks, not many small ones.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "block/format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CHUNK_BYTES (1u << 20)    // a partition's rows become a chunk at this size
#define WRITER_BYTES (32u << 20)  // all partitions together

struct partition {
    struct column *columns;
    uint64_t rows;
    size_t bytes;
};

struct block_writer {
    int fd;
    char *path;
    uint64_t position;
    struct column *shapes;
    size_t columns;
    uint32_t partitions;
    struct partition *parts;
    size_t bytes;
    struct block_index_entry *index;
    size_t chunks;
    size_t capacity;
    uint8_t *scratch;
    size_t scratch_size;
};

static uint64_t align(uint64_t size) {
    return (size + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
}

static size_t count_buffers(const struct column *column) {
    size_t count = 3;
    for (uint32_t i = 0; i < column->child_count; i++) {
        count += count_buffers(&column->children[i]);
    }
    return count;
}

static shoal_status no_memory(struct shoal_error *err) {
    return shoal_fail(err, SHOAL_NOMEM, "out of memory while writing a block");
}

shoal_status block_writer_open(const char *path, const struct column *shapes,
                               size_t columns, uint32_t partitions,
                               struct block_writer **out, struct shoal_error *err) {
    *out = NULL;
    struct block_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL) return no_memory(err);
    writer->fd = -1;
    writer->path = strdup(path);
    writer->shapes = calloc(columns + 1, sizeof *writer->shapes);
    writer->parts = calloc(partitions, sizeof *writer->parts);
    shoal_status status = SHOAL_OK;
    if (writer->path == NULL || writer->shapes == NULL || writer->parts == NULL) {
        status = no_memory(err);
    }
    for (size_t c = 0; status == SHOAL_OK && c < columns; c++) {
        writer->columns++;
        if (!column_copy_shape(&writer->shapes[c], &shapes[c])) status = no_memory(err);
    }
    if (status == SHOAL_OK) {
        writer->partitions = partitions;
        status = io_create(path, &writer->fd, err);
    }
    if (status != SHOAL_OK) {
        block_writer_close(writer);
        return status;
    }
    *out = writer;
    return SHOAL_OK;
}

struct column *block_writer_columns(struct block_writer *writer, uint32_t partition) {
    struct partition *part = &writer->parts[partition];
    if (part->columns != NULL) return part->columns;
    struct column *columns = calloc(writer->columns + 1, sizeof *columns);
    for (size_t c = 0; columns != NULL && c < writer->columns; c++) {
        if (!column_copy_shape(&columns[c], &writer->shapes[c])) {
            while (c-- > 0) column_free(&columns[c]);
            free(columns);
            columns = NULL;
        }
    }
    part->columns = columns;
    return columns;
}

static void put_buffer(uint8_t *chunk, uint64_t *directory, size_t *slot, uint64_t *at,
                       const struct column_buffer *buffer) {
    directory[*slot * 2] = *at;
    directory[*slot * 2 + 1] = buffer->size;
    if (buffer->size > 0) memcpy(chunk + *at, buffer->data, buffer->size);
    *at = align(*at + buffer->size);
    (*slot)++;
}

static void put_column(uint8_t *chunk, uint64_t *directory, size_t *slot, uint64_t *at,
                       const struct column *column) {
    put_buffer(chunk, directory, slot, at, &column->validity);
    put_buffer(chunk, directory, slot, at, &column->offsets);
    put_buffer(chunk, directory, slot, at, &column->data);
    for (uint32_t i = 0; i < column->child_count; i++) {
        put_column(chunk, directory, slot, at, &column->children[i]);
    }
}

static shoal_status flush(struct block_writer *writer, uint32_t partition,
                          struct shoal_error *err) {
    struct partition *part = &writer->parts[partition];
    if (part->rows == 0) return SHOAL_OK;
    size_t buffers = 0;
    size_t bytes = 0;
    for (size_t c = 0; c < writer->columns; c++) {
        buffers += count_buffers(&part->columns[c]);
        bytes += column_bytes(&part->columns[c]);
    }
    uint64_t head =
        align(sizeof(struct block_chunk_header) + buffers * 2 * sizeof(uint64_t));
    size_t need = head + bytes + buffers * BLOCK_ALIGN;
    if (need > writer->scratch_size) {
        free(writer->scratch);
        writer->scratch_size = align(need);
        writer->scratch = aligned_alloc(BLOCK_ALIGN, writer->scratch_size);
        if (writer->scratch == NULL) {
            writer->scratch_size = 0;
            return no_memory(err);
        }
    }
    uint8_t *chunk = writer->scratch;
    memset(chunk, 0, need);
    uint64_t *directory = (uint64_t *)(void *)(chunk + sizeof(struct block_chunk_header));
    uint64_t at = head;
    size_t slot = 0;
    for (size_t c = 0; c < writer->columns; c++) {
        put_column(chunk, directory, &slot, &at, &part->columns[c]);
    }
    struct block_chunk_header header = {.magic = BLOCK_CHUNK_MAGIC,
                                        .partition = partition,
                                        .rows = part->rows,
                                        .size = at,
                                        .buffers = buffers};
    header.checksum = XXH3_64bits(chunk + sizeof header, at - sizeof header);
    memcpy(chunk, &header, sizeof header);
    if (writer->chunks == writer->capacity) {
        size_t capacity = writer->capacity ? writer->capacity * 2 : 64;
        struct block_index_entry *index =
            realloc(writer->index, capacity * sizeof *index);
        if (index == NULL) return no_memory(err);
        writer->index = index;
        writer->capacity = capacity;
    }
    shoal_status status = io_write(writer->fd, writer->path, chunk, at, err);
    if (status != SHOAL_OK) return status;
    writer->index[writer->chunks++] =
        (struct block_index_entry){.offset = writer->position,
                                   .size = at,
                                   .rows = part->rows,
                                   .partition = partition};
    writer->position += at;
    writer->bytes -= part->bytes;
    part->rows = 0;
    part->bytes = 0;
    for (size_t c = 0; c < writer->columns; c++) column_clear(&part->columns[c]);
    return SHOAL_OK;
}

shoal_status block_writer_added(struct block_writer *writer, uint32_t partition,
                                size_t rows, struct shoal_error *err) {
    struct partition *part = &writer->parts[partition];
    size_t bytes = 0;
    part->rows += rows;
    for (size_t c = 0; c < writer->columns; c++) bytes += column_bytes(&part->columns[c]);
    writer->bytes += bytes - part->bytes;
    part->bytes = bytes;
    if (bytes >= CHUNK_BYTES) return flush(writer, partition, err);
    if (writer->bytes < WRITER_BYTES) return SHOAL_OK;
    size_t share = WRITER_BYTES / writer->partitions / 2;
    for (uint32_t p = 0; p < writer->partitions; p++) {
        if (writer->parts[p].bytes <= share) continue;
        shoal_status status = flush(writer, p, err);
        if (status != SHOAL_OK) return status;
    }
    return SHOAL_OK;
}

shoal_status block_writer_finish(struct block_writer *writer,
                                 struct block_output_file *stats,
                                 struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    uint32_t *codes = NULL;
    size_t code_count = 0;
    for (uint32_t p = 0; status == SHOAL_OK && p < writer->partitions; p++) {
        status = flush(writer, p, err);
    }
    if (status == SHOAL_OK) {
        status =
            block_shape_codes(writer->shapes, writer->columns, &codes, &code_count, err);
    }
    if (status != SHOAL_OK) return status;
    size_t index_size = writer->chunks * sizeof *writer->index;
    size_t shape_size = code_count * sizeof *codes;
    XXH3_state_t *hash = XXH3_createState();
    if (hash == NULL) {
        free(codes);
        return no_memory(err);
    }
    XXH3_64bits_reset(hash);
    if (index_size) XXH3_64bits_update(hash, writer->index, index_size);
    if (shape_size) XXH3_64bits_update(hash, codes, shape_size);
    struct block_footer footer = {.index_offset = writer->position,
                                  .index_count = writer->chunks,
                                  .shape_size = shape_size,
                                  .partitions = writer->partitions,
                                  .columns = (uint32_t)writer->columns,
                                  .checksum = XXH3_64bits_digest(hash),
                                  .magic = BLOCK_FOOTER_MAGIC};
    XXH3_freeState(hash);
    status = io_write(writer->fd, writer->path, writer->index, index_size, err);
    if (status == SHOAL_OK)
        status = io_write(writer->fd, writer->path, codes, shape_size, err);
    if (status == SHOAL_OK) {
        status = io_write(writer->fd, writer->path, &footer, sizeof footer, err);
    }
    free(codes);
    for (size_t i = 0; status == SHOAL_OK && i < writer->chunks; i++) {
        stats->rows[writer->index[i].partition] += writer->index[i].rows;
        stats->bytes[writer->index[i].partition] += writer->index[i].size;
    }
    return status;
}

void block_writer_close(struct block_writer *writer) {
    if (writer == NULL) return;
    if (writer->fd >= 0) close(writer->fd);
    for (uint32_t p = 0; p < writer->partitions; p++) {
        struct partition *part = &writer->parts[p];
        for (size_t c = 0; part->columns != NULL && c < writer->columns; c++) {
            column_free(&part->columns[c]);
        }
        free(part->columns);
    }
    for (size_t c = 0; c < writer->columns; c++) column_free(&writer->shapes[c]);
    free(writer->shapes);
    free(writer->parts);
    free(writer->index);
    free(writer->scratch);
    free(writer->path);
    free(writer);
}
