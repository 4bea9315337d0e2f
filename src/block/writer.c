// The writer. Memory is bounded by what all partitions hold together: past WRITER_BYTES
// the largest go out first, so that skew makes large chunks, not many small ones.
#include <stdlib.h>
#include <string.h>

#include "base/fingerprint.h"
#include "block/target.h"

#define CHUNK_BYTES (1u << 18)    // a partition's rows become a chunk at this size
#define WRITER_BYTES (32u << 20)  // all partitions together, at most
#define WRITER_BYTES_LEAST (2u << 20)

struct partition {
    struct column *columns;
    uint64_t rows;
    size_t bytes;
};

struct block_writer {
    struct target target;
    struct column *shapes;
    size_t columns;
    uint32_t partitions;
    struct partition *parts;
    size_t bytes;
    bool full;      // a partition has a chunk's bytes
    uint8_t *head;  // of the chunk that is being written: header and directory
    size_t head_size;
    struct iovec *pieces;
    size_t most_buffers;  // that head and pieces have room for
    uint8_t *packed;      // its packed columns
    size_t packed_size;
};

static _Atomic uint64_t writer_bytes = WRITER_BYTES;

uint64_t block_limit_writers(uint64_t bytes) {
    if (bytes > WRITER_BYTES) bytes = WRITER_BYTES;
    if (bytes < WRITER_BYTES_LEAST) bytes = WRITER_BYTES_LEAST;
    writer_bytes = bytes;
    return bytes;
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

shoal_status block_writer_open(struct output *output, const char *path,
                               const struct column *shapes, size_t columns,
                               struct block_writer **out, struct shoal_error *err) {
    *out = NULL;
    struct block_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL) return no_memory(err);
    shoal_status status =
        target_init(&writer->target, output, path, shapes, columns, err);
    writer->shapes = calloc(columns + 1, sizeof *writer->shapes);
    writer->parts = calloc(output->partitions, sizeof *writer->parts);
    if (status == SHOAL_OK && (writer->shapes == NULL || writer->parts == NULL))
        status = no_memory(err);
    for (size_t c = 0; status == SHOAL_OK && c < columns; c++) {
        writer->columns++;
        if (!column_copy_shape(&writer->shapes[c], &shapes[c])) status = no_memory(err);
    }
    if (status != SHOAL_OK) {
        block_writer_close(writer);
        return status;
    }
    writer->partitions = output->partitions;
    *out = writer;
    return SHOAL_OK;
}

const struct column *block_writer_shapes(const struct block_writer *writer) {
    return writer->shapes;
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

// A chunk's bytes as pieces: they are written from where they are.
struct pieces {
    uint8_t *packed;  // room for what is left to pack
    struct iovec *list;
    size_t count;
    uint64_t *directory;
    size_t slot;
    uint64_t at;
};

static const uint8_t padding[BLOCK_ALIGN];

static void put_bytes(struct pieces *pieces, const void *data, size_t size) {
    if (size == 0) return;
    pieces->list[pieces->count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    pieces->at += size;
}

static void put_entry(struct pieces *pieces, uint64_t first, uint64_t second) {
    pieces->directory[pieces->slot * 2] = first;
    pieces->directory[pieces->slot * 2 + 1] = second;
    pieces->slot++;
}

static void put_buffer(struct pieces *pieces, const uint8_t *data, size_t size) {
    put_entry(pieces, pieces->at, size);
    put_bytes(pieces, data, size);
    put_bytes(pieces, padding, block_align(pieces->at) - pieces->at);
}

static const uint8_t *validity_of(const struct column *column) {
    return column->validity.size > 0 ? column->validity.data : NULL;
}

// The data of a FIXED column in as few bytes as its values need.
static void put_packed(struct pieces *pieces, const struct column *column) {
    const struct packing *packing = &column->packing;
    size_t size = column->rows * packing->width;
    put_entry(pieces, (uint64_t)packing->base, block_packing_code(packing));
    pack_write(column->data.data, column->width, validity_of(column), column->rows,
               *packing, pieces->packed);
    put_buffer(pieces, pieces->packed, size);
    pieces->packed += block_align(size);
}

static void put_column(struct pieces *pieces, const struct column *column) {
    put_buffer(pieces, column->validity.data, column->validity.size);
    if (column->packing.width > 0) {
        put_packed(pieces, column);
    } else {
        if (column->layout == COLUMN_FIXED) {
            put_entry(pieces, 0, 0);
        } else {
            put_buffer(pieces, column->offsets.data, column->offsets.size);
        }
        put_buffer(pieces, column->data.data, column->data.size);
    }
    for (uint32_t i = 0; i < column->child_count; i++) {
        put_column(pieces, &column->children[i]);
    }
}

// Chooses how the column and its children are packed; returns the bytes of what is.
static size_t choose_packing(struct column *column) {
    size_t bytes = 0;
    if (column->layout == COLUMN_FIXED) {
        column->packing = pack_choose(column->data.data, column->width,
                                      validity_of(column), column->rows);
        bytes = block_align(column->rows * column->packing.width);
    }
    for (uint32_t i = 0; i < column->child_count; i++)
        bytes += choose_packing(&column->children[i]);
    return bytes;
}

static bool reserve_scratch(struct block_writer *writer, uint64_t head, size_t buffers,
                            size_t packed) {
    if (packed > writer->packed_size) {
        free(writer->packed);
        writer->packed = aligned_alloc(BLOCK_ALIGN, packed);
        writer->packed_size = writer->packed ? packed : 0;
    }
    if (head > writer->head_size) {
        free(writer->head);
        writer->head = aligned_alloc(BLOCK_ALIGN, head);
        writer->head_size = writer->head ? head : 0;
    }
    if (buffers > writer->most_buffers) {
        free(writer->pieces);
        writer->pieces = calloc(buffers * 2 + 1, sizeof *writer->pieces);
        writer->most_buffers = writer->pieces ? buffers : 0;
    }
    return writer->head_size >= head && writer->most_buffers >= buffers &&
           writer->packed_size >= packed;
}

static shoal_status flush(struct block_writer *writer, uint32_t partition,
                          struct shoal_error *err) {
    struct partition *part = &writer->parts[partition];
    if (part->rows == 0) return SHOAL_OK;
    size_t buffers = 0, packed = 0;
    for (size_t c = 0; c < writer->columns; c++) {
        buffers += count_buffers(&part->columns[c]);
        packed += choose_packing(&part->columns[c]);
        if (part->columns[c].rows != part->rows) {
            return shoal_fail(err, SHOAL_INTERNAL,
                              "a chunk of %llu rows has a column of %llu",
                              (unsigned long long)part->rows,
                              (unsigned long long)part->columns[c].rows);
        }
    }
    size_t directory = buffers * 2 * sizeof(uint64_t);
    uint64_t head = block_align(sizeof(struct block_chunk_header) + directory);
    if (!reserve_scratch(writer, head, buffers, packed)) return no_memory(err);
    memset(writer->head, 0, head);
    struct pieces pieces = {
        .packed = writer->packed,
        .list = writer->pieces,
        .directory =
            (uint64_t *)(void *)(writer->head + sizeof(struct block_chunk_header))};
    put_bytes(&pieces, writer->head, head);
    for (size_t c = 0; c < writer->columns; c++) put_column(&pieces, &part->columns[c]);
    struct block_chunk_header header = {
        .partition = partition, .rows = part->rows, .buffers = buffers};
    uint64_t print = 0;
    if (writer->target.output->print &&
        !fingerprint_add(part->columns, writer->columns, part->rows, partition, &print))
        return no_memory(err);
    shoal_status status =
        target_append(&writer->target, header, pieces.list, pieces.count, err);
    if (status != SHOAL_OK) return status;
    writer->target.file.print += print;
    writer->bytes -= part->bytes;
    part->rows = 0;
    part->bytes = 0;
    for (size_t c = 0; c < writer->columns; c++) column_clear(&part->columns[c]);
    return SHOAL_OK;
}

void block_writer_added(struct block_writer *writer, uint32_t partition, size_t rows) {
    struct partition *part = &writer->parts[partition];
    size_t bytes = 0;
    for (size_t c = 0; c < writer->columns; c++) bytes += column_bytes(&part->columns[c]);
    writer->bytes += bytes - part->bytes;
    writer->full = writer->full || bytes >= CHUNK_BYTES;
    part->bytes = bytes;
    part->rows += rows;
}

shoal_status block_writer_settle(struct block_writer *writer, struct shoal_error *err) {
    size_t limit = writer_bytes;
    bool over = writer->bytes >= limit;
    size_t share = limit / writer->partitions / 2;
    size_t most = over && share < CHUNK_BYTES ? share : CHUNK_BYTES;
    if (!over && !writer->full) return SHOAL_OK;
    for (uint32_t p = 0; p < writer->partitions; p++) {
        if (writer->parts[p].bytes < most) continue;
        shoal_status status = flush(writer, p, err);
        if (status != SHOAL_OK) return status;
    }
    writer->full = false;
    return SHOAL_OK;
}

shoal_status block_writer_finish(struct block_writer *writer,
                                 struct block_output_file *learned,
                                 struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    for (uint32_t p = 0; status == SHOAL_OK && p < writer->partitions; p++) {
        status = flush(writer, p, err);
    }
    return status == SHOAL_OK ? target_finish(&writer->target, learned, err) : status;
}

void block_writer_close(struct block_writer *writer) {
    if (writer == NULL) return;
    target_free(&writer->target);
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
    free(writer->head);
    free(writer->pieces);
    free(writer->packed);
    free(writer);
}
