// The reader. Every size that a file says is checked against the file before it is used,
// and every byte that reaches DuckDB is under a checksum: a file that changed is an error
// with its path and place, never a wrong answer.
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/io.h"
#include "block/ahead.h"
#include "block/compress.h"
#include "block/format.h"
#include "block/places.h"

static shoal_status corrupt(const char *path, uint64_t offset, const char *what,
                            struct shoal_error *err) {
    return shoal_fail(err, SHOAL_CORRUPT, "corrupt block: %s at byte %llu: %s", path,
                      (unsigned long long)offset, what);
}

struct tail {
    uint8_t *data;
    size_t size;
};

static size_t count_codes(const struct column *column) {
    size_t count = 3;
    for (uint32_t i = 0; i < column->child_count; i++) {
        count += count_codes(&column->children[i]);
    }
    return count;
}

static uint32_t *put_codes(const struct column *column, uint32_t *at) {
    *at++ = (uint32_t)column->layout;
    *at++ = column->width;
    *at++ = column->child_count;
    for (uint32_t i = 0; i < column->child_count; i++)
        at = put_codes(&column->children[i], at);
    return at;
}

shoal_status block_shape_codes(const struct column *shapes, size_t columns,
                               uint32_t **codes, size_t *count, struct shoal_error *err) {
    *count = 0;
    for (size_t c = 0; c < columns; c++) *count += count_codes(&shapes[c]);
    *codes = calloc(*count + 1, sizeof **codes);
    if (*codes == NULL) return shoal_no_memory(err);
    uint32_t *at = *codes;
    for (size_t c = 0; c < columns; c++) at = put_codes(&shapes[c], at);
    return SHOAL_OK;
}

#define TAIL_BYTES (1u << 15)  // asked for with a remote file's size: most indexes fit

// Bytes of the file, wherever it is. tail: the last bytes of a remote one.
static shoal_status read_range(const struct block_file *file, const struct tail *tail,
                               void *data, size_t size, uint64_t offset,
                               struct shoal_error *err) {
    if (file->remote == NULL)
        return io_read_at(FAULT_BLOCK_READ, file->fd, file->local, data, size, offset,
                          err);
    uint64_t from = file->size - tail->size;
    if (offset >= from && size <= file->size - offset) {
        memcpy(data, tail->data + (offset - from), size);
        return SHOAL_OK;
    }
    if (size == 0) return SHOAL_OK;
    struct remote_answer *answer = remote_ask(file->remote, offset, size);
    shoal_status status =
        answer == NULL ? shoal_no_memory(err) : remote_wait(answer, file->key, err);
    if (status == SHOAL_OK) {
        uint8_t *bytes = remote_take(answer, &size);
        memcpy(data, bytes, size);
        free(bytes);
    }
    int why = errno;
    remote_answer_free(answer);
    errno = why;
    return status;
}

static shoal_status check_index(struct block_file *file, const struct tail *last,
                                const struct block_footer *footer,
                                const struct column *shapes, size_t columns,
                                struct shoal_error *err) {
    uint32_t *expected = NULL;
    size_t codes = 0;
    shoal_status status = block_shape_codes(shapes, columns, &expected, &codes, err);
    if (status != SHOAL_OK) return status;
    size_t index_size = footer->index_count * sizeof *file->index;
    uint8_t *tail = malloc(index_size + footer->shape_size + 1);
    if (tail == NULL) {
        free(expected);
        return shoal_no_memory(err);
    }
    status = read_range(file, last, tail, index_size + footer->shape_size,
                        footer->index_offset, err);
    if (status == SHOAL_OK &&
        XXH3_64bits(tail, index_size + footer->shape_size) != footer->checksum) {
        status = corrupt(file->path, footer->index_offset, "the index's checksum differs",
                         err);
    }
    if (status == SHOAL_OK && shapes != NULL &&
        (footer->columns != columns || footer->shape_size != codes * sizeof *expected ||
         memcmp(tail + index_size, expected, footer->shape_size) != 0)) {
        status = corrupt(file->path, footer->index_offset,
                         "its columns are not those that the plan expects", err);
    }
    free(expected);
    file->index = malloc(index_size + 1);
    if (status == SHOAL_OK && file->index == NULL) {
        status = shoal_no_memory(err);
    }
    if (status == SHOAL_OK) {
        memcpy(file->index, tail, index_size);
        file->chunks = footer->index_count;
    }
    free(tail);
    for (size_t i = 0; status == SHOAL_OK && i < file->chunks; i++) {
        const struct block_index_entry *entry = &file->index[i];
        if (entry->partition >= footer->partitions ||
            entry->offset > footer->index_offset ||
            entry->size > footer->index_offset - entry->offset ||
            entry->size < sizeof(struct block_chunk_header) ||
            entry->unpacked < entry->size ||
            (entry->unpacked > entry->size &&
             entry->unpacked > decompress_most(entry->size))) {
            status = corrupt(file->path, footer->index_offset,
                             "an index entry is out of range", err);
        }
    }
    return status;
}

// A task may read more files than a process may have open: some stay open, up to half of
// the limit, the others are opened again for each chunk.
static atomic_size_t files_open;

static void limit_open(struct block_file *file) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = 256;
    if (atomic_fetch_add(&files_open, 1) < limit.rlim_cur / 2) return;
    atomic_fetch_sub(&files_open, 1);
    close(file->fd);
    file->fd = -1;
}

static shoal_status read_here(const struct block_file *file,
                              const struct block_index_entry *entry, void *data,
                              struct shoal_error *err) {
    int fd = file->fd;
    shoal_status status =
        fd < 0 ? io_open(FAULT_BLOCK_OPEN, file->local, &fd, err) : SHOAL_OK;
    if (status == SHOAL_OK)
        status = io_read_at(FAULT_BLOCK_READ, fd, file->local, data, entry->size,
                            entry->offset, err);
    if (file->fd < 0 && fd >= 0) close(fd);
    return status;
}

// Its footer, and with it the index.
static shoal_status read_footer(struct block_file *file, const struct tail *tail,
                                const struct column *shapes, size_t columns,
                                struct shoal_error *err) {
    struct block_footer footer;
    const char *path = file->path;
    if (file->size < sizeof footer)
        return corrupt(path, file->size, "too short to be a block file", err);
    uint64_t body = file->size - sizeof footer;
    shoal_status status = read_range(file, tail, &footer, sizeof footer, body, err);
    if (status != SHOAL_OK) return status;
    if (footer.magic != BLOCK_FOOTER_MAGIC)
        return corrupt(path, body, "no footer: truncated, or not a block file", err);
    if (footer.index_offset > body || footer.shape_size > body ||
        footer.index_count > body / sizeof(struct block_index_entry) ||
        footer.index_offset + footer.shape_size +
                footer.index_count * sizeof(struct block_index_entry) !=
            body)
        return corrupt(path, body, "the footer does not fit the file", err);
    file->partitions = footer.partitions;
    return check_index(file, tail, &footer, shapes, columns, err);
}

static shoal_status open_here(struct block_file *file, const struct column *shapes,
                              size_t columns, struct shoal_error *err) {
    file->local = places_local(file->path);
    if (file->local == NULL) return shoal_no_memory(err);
    shoal_status status = io_open(FAULT_BLOCK_OPEN, file->local, &file->fd, err);
    if (status == SHOAL_OK) status = io_size(file->fd, file->local, &file->size, err);
    if (status == SHOAL_OK) status = read_footer(file, NULL, shapes, columns, err);
    if (status == SHOAL_OK) {
        limit_open(file);
    } else if (file->fd >= 0) {
        close(file->fd);
        file->fd = -1;
    }
    return status;
}

static shoal_status open_remote(struct block_file *file, struct remote_answer *answer,
                                const struct column *shapes, size_t columns,
                                struct shoal_error *err) {
    struct tail tail = {0};
    shoal_status status = remote_wait(answer, file->key, err);
    if (status != SHOAL_OK) return status;
    file->size = remote_file_size(answer);
    tail.data = remote_take(answer, &tail.size);
    status = read_footer(file, &tail, shapes, columns, err);
    free(tail.data);
    return status;
}

shoal_status block_file_ask(const char *path, struct remote_file **remote,
                            struct remote_answer **tail, struct shoal_error *err) {
    *tail = NULL;
    shoal_status status = remote_file_find(path, remote, err);
    if (status != SHOAL_OK || *remote == NULL) return status;
    *tail = remote_ask_tail(*remote, TAIL_BYTES);
    if (*tail != NULL) return SHOAL_OK;
    remote_file_free(*remote);
    *remote = NULL;
    return shoal_no_memory(err);
}

// A tail whose bytes changed on the way is fetched once more.
static shoal_status reopen(struct block_file *file, const struct column *shapes,
                           size_t columns, struct shoal_error *err) {
    struct remote_answer *again = remote_ask_tail(file->remote, TAIL_BYTES);
    free(file->index);
    file->index = NULL;
    file->chunks = 0;
    shoal_status status = again == NULL ? shoal_no_memory(err)
                                        : open_remote(file, again, shapes, columns, err);
    int why = errno;
    remote_answer_free(again);
    errno = why;
    return status;
}

shoal_status block_file_open_asked(struct block_file *file, const char *path,
                                   const char *key, struct remote_file *remote,
                                   struct remote_answer *tail,
                                   const struct column *shapes, size_t columns,
                                   struct shoal_error *err) {
    *file =
        (struct block_file){.fd = -1, .path = strdup(path), .remote = remote, .key = key};
    shoal_status status = file->path == NULL ? shoal_no_memory(err)
                          : remote == NULL
                              ? open_here(file, shapes, columns, err)
                              : open_remote(file, tail, shapes, columns, err);
    if (status == SHOAL_CORRUPT && remote != NULL)
        status = reopen(file, shapes, columns, err);
    int why = errno;
    remote_answer_free(tail);
    if (status != SHOAL_OK) block_file_close(file);
    errno = why;
    return status;
}

shoal_status block_file_open(struct block_file *file, const char *path,
                             const struct column *shapes, size_t columns,
                             struct shoal_error *err) {
    struct remote_file *remote = NULL;
    struct remote_answer *tail = NULL;
    *file = (struct block_file){.fd = -1};
    shoal_status status = block_file_ask(path, &remote, &tail, err);
    return status != SHOAL_OK ? status
                              : block_file_open_asked(file, path, NULL, remote, tail,
                                                      shapes, columns, err);
}

void block_file_close(struct block_file *file) {
    if (file->fd >= 0) {
        close(file->fd);
        atomic_fetch_sub(&files_open, 1);
    }
    remote_file_free(file->remote);
    free(file->path);
    free(file->local);
    free(file->index);
    *file = (struct block_file){.fd = -1};
}

shoal_status block_chunk_init(struct block_chunk *chunk, const struct column *shapes,
                              size_t columns, struct shoal_error *err) {
    *chunk = (struct block_chunk){.columns = calloc(columns + 1, sizeof *chunk->columns)};
    for (size_t c = 0; chunk->columns != NULL && c < columns; c++) {
        if (!column_copy_shape(&chunk->columns[c], &shapes[c])) break;
        chunk->column_count++;
    }
    if (chunk->column_count == columns && chunk->columns != NULL) return SHOAL_OK;
    block_chunk_free(chunk);
    return shoal_no_memory(err);
}

void block_chunk_free(struct block_chunk *chunk) {
    for (size_t c = 0; c < chunk->column_count; c++) column_free(&chunk->columns[c]);
    free(chunk->columns);
    free(chunk->data);
    free(chunk->packed);
    *chunk = (struct block_chunk){0};
}

struct parse {
    const uint8_t *chunk;
    const struct block_chunk_header *header;
    const uint64_t *directory;
    size_t slot;
    uint64_t head;
};

static bool take_buffer(struct parse *parse, struct column_buffer *buffer) {
    if (parse->slot >= parse->header->buffers) return false;
    uint64_t offset = parse->directory[parse->slot * 2];
    uint64_t size = parse->directory[parse->slot * 2 + 1];
    parse->slot++;
    if (offset < parse->head || offset > parse->header->unpacked ||
        size > parse->header->unpacked - offset || offset % BLOCK_ALIGN != 0) {
        return false;
    }
    *buffer = (struct column_buffer){.data = (uint8_t *)(uintptr_t)parse->chunk + offset,
                                     .size = size};
    return true;
}

// Are the offsets rows + 1, rising, and within limit?
static bool good_offsets(const struct column *column, uint64_t limit) {
    if (column->rows == 0) return true;
    if (column->offsets.size != (column->rows + 1) * sizeof(uint32_t)) return false;
    const uint32_t *offsets = column_offsets(column);
    for (uint64_t i = 0; i < column->rows; i++) {
        if (offsets[i] > offsets[i + 1]) return false;
    }
    return offsets[column->rows] <= limit;
}

// The second entry of a FIXED column, which has no offsets.
static bool take_packing(struct parse *parse, struct column *column) {
    if (parse->slot >= parse->header->buffers) return false;
    uint64_t base = parse->directory[parse->slot * 2];
    uint64_t code = parse->directory[parse->slot * 2 + 1];
    column->packing = block_packing(base, code);
    parse->slot++;
    return code == 0 || (column->packing.width > 0 && column->packing.width <= 8 &&
                         column->packing.width < column->width && code >> 14 == 0);
}

// No column has more rows than offsets can tell apart: sizes that follow from them fit.
static bool take_column(struct parse *parse, struct column *column, uint64_t rows) {
    bool fixed = column->layout == COLUMN_FIXED;
    if (rows > UINT32_MAX || !take_buffer(parse, &column->validity) ||
        !(fixed ? take_packing(parse, column) : take_buffer(parse, &column->offsets)) ||
        !take_buffer(parse, &column->data)) {
        return false;
    }
    uint32_t width = column->packing.width > 0 ? column->packing.width : column->width;
    column->rows = rows;
    if (column->validity.size != 0 && column->validity.size < (rows + 7) / 8)
        return false;
    uint64_t below = rows;
    switch (column->layout) {
        case COLUMN_FIXED:
            if (column->data.size / width < rows) return false;
            break;
        case COLUMN_STRING:
            if (!good_offsets(column, column->data.size)) return false;
            break;
        case COLUMN_LIST:
            if (!good_offsets(column, UINT32_MAX)) return false;
            below = rows ? column_offsets(column)[rows] : 0;
            break;
        case COLUMN_ARRAY:
            below = rows * column->width;  // of 32 bits each
            break;
        case COLUMN_STRUCT:
            break;
    }
    for (uint32_t i = 0; i < column->child_count; i++) {
        if (!take_column(parse, &column->children[i], below)) return false;
    }
    return true;
}

// Room for size bytes, aligned.
static bool reserve(uint8_t **data, size_t *capacity, uint64_t size) {
    if (size <= *capacity) return true;
    free(*data);
    *capacity = block_align(size);
    *data = aligned_alloc(BLOCK_ALIGN, *capacity);
    if (*data == NULL) *capacity = 0;
    return *data != NULL;
}

static bool good_checksum(struct block_chunk_header header, const uint8_t *bytes) {
    uint64_t expected = header.checksum;
    XXH3_state_t hash;
    header.checksum = 0;
    XXH3_64bits_reset(&hash);
    XXH3_64bits_update(&hash, &header, sizeof header);
    XXH3_64bits_update(&hash, bytes + sizeof header, header.size - sizeof header);
    return XXH3_64bits_digest(&hash) == expected;
}

// What was asked for of a remote file takes the place of what the chunk had.
static shoal_status read_there(const struct block_file *file,
                               const struct block_index_entry *entry, uint8_t **data,
                               size_t *capacity, struct remote_answer *answer,
                               struct shoal_error *err) {
    if (answer == NULL) answer = remote_ask(file->remote, entry->offset, entry->size);
    shoal_status status =
        answer == NULL ? shoal_no_memory(err) : remote_wait(answer, file->key, err);
    int why = errno;
    if (status == SHOAL_OK) {
        free(*data);
        *data = remote_take(answer, capacity);
        *capacity = block_align(*capacity);
    }
    remote_answer_free(answer);
    errno = why;
    return status;
}

// The chunk's bytes as they are in the file.
static shoal_status read_bytes(struct block_chunk *chunk, const struct block_file *file,
                               const struct block_index_entry *entry,
                               struct remote_answer *answer, struct shoal_error *err) {
    bool packed = entry->unpacked > entry->size;
    uint8_t **data = packed ? &chunk->packed : &chunk->data;
    size_t *capacity = packed ? &chunk->packed_capacity : &chunk->capacity;
    bool room = file->remote != NULL || reserve(data, capacity, entry->size);
    if (packed) room = room && reserve(&chunk->data, &chunk->capacity, entry->unpacked);
    if (!room) {
        remote_answer_free(answer);
        return shoal_fail(err, SHOAL_NOMEM, "out of memory while reading %s", file->path);
    }
    return file->remote == NULL ? read_here(file, entry, *data, err)
                                : read_there(file, entry, data, capacity, answer, err);
}

// Checks them; they are not compressed then, in chunk->data.
static shoal_status check_bytes(struct block_chunk *chunk, const struct block_file *file,
                                const struct block_index_entry *entry,
                                struct block_chunk_header *header,
                                struct shoal_error *err) {
    bool packed = entry->unpacked > entry->size;
    uint8_t *bytes = packed ? chunk->packed : chunk->data;
    memcpy(header, bytes, sizeof *header);
    if (header->magic != BLOCK_CHUNK_MAGIC || header->size != entry->size ||
        header->rows != entry->rows || header->partition != entry->partition ||
        header->writer != entry->writer || header->unpacked != entry->unpacked ||
        (header->packed > 0) != packed) {
        return corrupt(file->path, entry->offset,
                       "a chunk's header differs from the index", err);
    }
    if (!good_checksum(*header, bytes)) {
        return corrupt(file->path, entry->offset, "a chunk's checksum differs", err);
    }
    if (packed &&
        (header->packed > entry->size - sizeof *header ||
         !decompress(bytes + sizeof *header, header->packed, chunk->data + sizeof *header,
                     entry->unpacked - sizeof *header))) {
        return corrupt(file->path, entry->offset, "a chunk can't be decompressed", err);
    }
    return SHOAL_OK;
}

// The chunk's bytes, checked and not compressed, in chunk->data. Those that changed on
// the way are fetched once more.
static shoal_status load(struct block_chunk *chunk, const struct block_file *file,
                         const struct block_index_entry *entry,
                         struct block_chunk_header *header, struct remote_answer *answer,
                         struct shoal_error *err) {
    shoal_status status = read_bytes(chunk, file, entry, answer, err);
    if (status == SHOAL_OK) status = check_bytes(chunk, file, entry, header, err);
    if (status != SHOAL_CORRUPT || file->remote == NULL) return status;
    status = read_bytes(chunk, file, entry, NULL, err);
    return status == SHOAL_OK ? check_bytes(chunk, file, entry, header, err) : status;
}

shoal_status block_chunk_read(struct block_chunk *chunk, const struct block_file *file,
                              const struct block_index_entry *entry,
                              struct shoal_error *err) {
    return block_chunk_take(chunk, file, entry, NULL, err);
}

shoal_status block_chunk_take(struct block_chunk *chunk, const struct block_file *file,
                              const struct block_index_entry *entry,
                              struct remote_answer *answer, struct shoal_error *err) {
    struct block_chunk_header header;
    shoal_status status = load(chunk, file, entry, &header, answer, err);
    if (status != SHOAL_OK) return status;
    if (header.buffers > (header.unpacked - sizeof header) / (2 * sizeof(uint64_t))) {
        return corrupt(file->path, entry->offset, "a chunk's directory is too long", err);
    }
    struct parse parse = {
        .chunk = chunk->data,
        .header = &header,
        .directory = (const uint64_t *)(const void *)(chunk->data + sizeof header),
        .head = sizeof header + header.buffers * 2 * sizeof(uint64_t)};
    for (size_t c = 0; c < chunk->column_count; c++) {
        if (!take_column(&parse, &chunk->columns[c], header.rows)) {
            return corrupt(file->path, entry->offset, "a chunk's columns do not fit it",
                           err);
        }
    }
    chunk->rows = header.rows;
    return SHOAL_OK;
}

static void verify_at(const void *context, size_t n, const struct block_file **file,
                      const struct block_index_entry **entry) {
    *file = context;
    *entry = &(*file)->index[n];
}

shoal_status block_verify(const char *path, bool rows, struct shoal_error *err) {
    struct block_file file;
    struct block_chunk chunk = {0};
    struct block_chunk_header header;
    struct ahead *ahead = NULL;
    shoal_status status = block_file_open(&file, path, NULL, 0, err);
    if (status == SHOAL_OK && rows && file.remote != NULL)
        status = ahead_open(&ahead, file.chunks, verify_at, &file, err);
    for (size_t i = 0; status == SHOAL_OK && rows && i < file.chunks; i++)
        status = load(&chunk, &file, &file.index[i], &header, ahead_take(ahead, i), err);
    ahead_close(ahead);
    block_chunk_free(&chunk);
    block_file_close(&file);
    return status;
}
