// The two tiers. A chunk that the grant has no room for ends the file in memory; the
// writer goes on in one on disk. The grant may be more than the machine has: when the
// file in memory can't be written, what it holds moves to disk. Chunks know no place in
// their file, so that is a copy, and the index stays as it is.
#include "block/target.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/text.h"

#define PAGE 4096u  // a file in memory takes whole ones
#define COPY_BYTES (1u << 18)

// Files in memory are side by side, those on disk may be in a folder: "<grant>.data_0".
static char *memory_name(const struct output *output, const char *path) {
    struct text name = {0};
    text_printf(&name, "%s%s", output->memory_path, path + strlen(output->path));
    for (size_t i = strlen(output->memory_path); !name.failed && i < name.size; i++) {
        if (name.data[i] == '/') name.data[i] = '.';
    }
    return text_take(&name);
}

shoal_status target_init(struct target *target, struct output *output, const char *path,
                         const struct column *shapes, size_t columns,
                         struct shoal_error *err) {
    size_t codes = 0;
    *target = (struct target){.output = output, .fd = -1, .columns = (uint32_t)columns};
    target->path = strdup(path);
    target->writer = (uint32_t)XXH3_64bits(path, strlen(path));
    if (output->memory_path != NULL) target->memory_path = memory_name(output, path);
    if (target->path == NULL ||
        (output->memory_path != NULL && target->memory_path == NULL)) {
        return shoal_no_memory(err);
    }
    shoal_status status =
        block_shape_codes(shapes, columns, &target->shapes, &codes, err);
    target->shape_size = codes * sizeof *target->shapes;
    return status;
}

// Takes bytes of the grant; false when it has not as many.
static bool take(struct output *output, uint64_t bytes) {
    uint64_t left = atomic_load(&output->memory_left);
    do {
        if (left < bytes) return false;
    } while (!atomic_compare_exchange_weak(&output->memory_left, &left, left - bytes));
    return true;
}

// ---- one file

// Is a spare of the output's at path now? Whoever lends them has numbered them, and takes
// back what is left. No task needs what it held, but one that was given up may still read
// it: chunks say who wrote them, so it finds that the file changed.
static bool take_spare(struct output *output, const char *path) {
    struct text spare = {0};
    text_printf(&spare, BLOCK_SPARE, output->memory_path,
                atomic_fetch_add(&output->spares, 1));
    bool moved = !spare.failed && rename(spare.data, path) == 0;
    text_free(&spare);
    return moved;
}

static shoal_status open_file(struct target *target, const char *path, bool in_memory,
                              struct shoal_error *err) {
    if (!registry_add_file(target->output, path, &target->place, &target->file))
        return shoal_no_memory(err);
    target->in_memory = in_memory;
    target->position = 0;
    target->chunks = 0;
    target->reused = in_memory && take_spare(target->output, path);
    return target->reused ? io_reopen(FAULT_BLOCK_CREATE, path, &target->fd, err)
                          : io_create(FAULT_BLOCK_CREATE, path, &target->fd, err);
}

static shoal_status write_tail(struct target *target, struct shoal_error *err) {
    size_t index_size = target->chunks * sizeof *target->index;
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    if (index_size) XXH3_64bits_update(&hash, target->index, index_size);
    if (target->shape_size) XXH3_64bits_update(&hash, target->shapes, target->shape_size);
    struct block_footer footer = {.index_offset = target->position,
                                  .index_count = target->chunks,
                                  .shape_size = target->shape_size,
                                  .partitions = target->output->partitions,
                                  .columns = target->columns,
                                  .checksum = XXH3_64bits_digest(&hash),
                                  .magic = BLOCK_FOOTER_MAGIC};
    struct iovec pieces[] = {{target->index, index_size},
                             {target->shapes, target->shape_size},
                             {&footer, sizeof footer}};
    shoal_status status =
        io_write_pieces(FAULT_BLOCK_WRITE, target->fd, target->file.path, pieces, 3, err);
    if (status != SHOAL_OK || !target->in_memory) return status;
    uint64_t size = target->position + index_size + target->shape_size + sizeof footer;
    target->file.memory = (size + PAGE - 1) / PAGE * PAGE;
    return target->reused
               ? io_cut(FAULT_BLOCK_WRITE, target->fd, target->file.path, size, err)
               : SHOAL_OK;
}

static shoal_status copy_chunks(const struct target *target, int from, int to,
                                struct shoal_error *err) {
    uint8_t *bytes = malloc(COPY_BYTES);
    shoal_status status = bytes == NULL ? shoal_no_memory(err) : SHOAL_OK;
    for (uint64_t at = 0; status == SHOAL_OK && at < target->position;) {
        uint64_t left = target->position - at;
        size_t size = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        status =
            io_read_at(FAULT_BLOCK_READ, from, target->file.path, bytes, size, at, err);
        if (status == SHOAL_OK)
            status = io_write(FAULT_BLOCK_WRITE, to, target->path, bytes, size, err);
        at += size;
    }
    free(bytes);
    return status;
}

// The file in memory could not be written: its whole chunks go to disk, and it with them.
static shoal_status move_to_disk(struct target *target, struct shoal_error *err) {
    int from = -1, to = -1;
    char *path = strdup(target->path);
    if (path == NULL) return shoal_no_memory(err);
    shoal_status status = io_create(FAULT_BLOCK_CREATE, path, &to, err);
    bool created = status == SHOAL_OK;
    if (status == SHOAL_OK && target->position > 0)
        status = io_open(FAULT_BLOCK_OPEN, target->file.path, &from, err);
    if (status == SHOAL_OK) status = copy_chunks(target, from, to, err);
    if (from >= 0) close(from);
    if (status != SHOAL_OK) {
        if (to >= 0) close(to);
        if (created) unlink(path);
        free(path);
        return status;
    }
    if (target->fd >= 0) close(target->fd);
    unlink(target->file.path);
    free(target->file.path);
    free(target->memory_path);
    target->memory_path = NULL;
    target->fd = to;
    target->in_memory = false;
    target->file.path = path;
    registry_set_file(target->output, target->place, &target->file);
    return SHOAL_OK;
}

// The file has its tail: counts what it holds.
static void close_file(struct target *target) {
    close(target->fd);
    target->fd = -1;
    for (size_t i = 0; i < target->chunks; i++) {
        const struct block_index_entry *entry = &target->index[i];
        target->file.rows[entry->partition] += entry->rows;
        target->file.bytes[entry->partition] += entry->size;
    }
    registry_set_file(target->output, target->place, &target->file);
}

// ---- all of them

// Opens a file that bytes more may go to, if none is open that they may go to.
static shoal_status make_room(struct target *target, uint64_t bytes,
                              struct shoal_error *err) {
    if (target->fd < 0 && target->memory_path != NULL) {
        uint64_t tail = target->shape_size + sizeof(struct block_footer) + PAGE;
        if (take(target->output, bytes + tail)) {
            shoal_status status = open_file(target, target->memory_path, true, err);
            bool fits = status != SHOAL_IO && status != SHOAL_DISK_FULL;
            return fits ? status : move_to_disk(target, err);
        }
    } else if (target->in_memory && !take(target->output, bytes)) {
        // What can't be ended there goes on, on disk.
        if (write_tail(target, err) != SHOAL_OK) return move_to_disk(target, err);
        close_file(target);
    }
    if (target->fd >= 0) return SHOAL_OK;
    free(target->memory_path);
    target->memory_path = NULL;
    return open_file(target, target->path, false, err);
}

static bool reserve_entry(struct target *target) {
    if (target->chunks < target->capacity) return true;
    size_t capacity = target->capacity ? target->capacity * 2 : 64;
    struct block_index_entry *index = realloc(target->index, capacity * sizeof *index);
    if (index == NULL) return false;
    target->index = index;
    target->capacity = capacity;
    return true;
}

static void seal(struct block_chunk_header *header, const struct iovec *pieces,
                 size_t count) {
    XXH3_state_t hash;
    header->checksum = 0;
    memcpy(pieces[0].iov_base, header, sizeof *header);
    XXH3_64bits_reset(&hash);
    for (size_t i = 0; i < count; i++)
        XXH3_64bits_update(&hash, pieces[i].iov_base, pieces[i].iov_len);
    header->checksum = XXH3_64bits_digest(&hash);
    memcpy(pieces[0].iov_base, header, sizeof *header);
}

// Writes the chunk to the file that is open, compressed if that is wanted and helps.
static shoal_status write_chunk(struct target *target, struct block_chunk_header *header,
                                const struct iovec *pieces, size_t count,
                                struct shoal_error *err) {
    uint8_t head[sizeof *header];
    uint8_t zeros[BLOCK_ALIGN] = {0};
    struct iovec packed[3];
    bool compress = target->output->compress && !target->in_memory;
    header->packed =
        compress ? compress_pieces(&target->compressor, pieces, count, sizeof *header)
                 : 0;
    uint64_t size = sizeof *header + header->packed;
    if (header->packed > 0 && block_align(size) < header->unpacked) {
        header->size = block_align(size);
        packed[0] = (struct iovec){head, sizeof head};
        packed[1] = (struct iovec){target->compressor.packed, header->packed};
        packed[2] = (struct iovec){zeros, header->size - size};
        pieces = packed;
        count = 3;
    } else {
        header->packed = 0;
        header->size = header->unpacked;
    }
    seal(header, pieces, count);
    return io_write_pieces(FAULT_BLOCK_WRITE, target->fd, target->file.path, pieces,
                           count, err);
}

shoal_status target_append(struct target *target, struct block_chunk_header header,
                           const struct iovec *pieces, size_t count,
                           struct shoal_error *err) {
    header.magic = BLOCK_CHUNK_MAGIC;
    header.writer = target->writer;
    for (size_t i = 0; i < count; i++) header.unpacked += pieces[i].iov_len;
    shoal_status status =
        make_room(target, header.unpacked + sizeof(struct block_index_entry), err);
    if (status != SHOAL_OK) return status;
    if (!reserve_entry(target)) return shoal_no_memory(err);
    status = write_chunk(target, &header, pieces, count, err);
    if (status != SHOAL_OK && target->in_memory) {
        status = move_to_disk(target, err);
        if (status == SHOAL_OK) status = write_chunk(target, &header, pieces, count, err);
    }
    if (status != SHOAL_OK) return status;
    target->index[target->chunks++] =
        (struct block_index_entry){.offset = target->position,
                                   .size = header.size,
                                   .rows = header.rows,
                                   .unpacked = header.unpacked,
                                   .partition = header.partition,
                                   .writer = header.writer};
    target->position += header.size;
    return SHOAL_OK;
}

shoal_status target_finish(struct target *target, struct block_output_file *learned,
                           struct shoal_error *err) {
    shoal_status status = target->fd < 0 ? make_room(target, 0, err) : SHOAL_OK;
    if (status == SHOAL_OK) status = write_tail(target, err);
    if (status != SHOAL_OK && target->in_memory) {
        status = move_to_disk(target, err);
        if (status == SHOAL_OK) status = write_tail(target, err);
    }
    if (status != SHOAL_OK) return status;
    close_file(target);
    target->file.sample = learned->sample;
    target->file.sample_rows = learned->sample_rows;
    target->file.keys = learned->keys;
    *learned = (struct block_output_file){0};
    registry_set_file(target->output, target->place, &target->file);
    return SHOAL_OK;
}

void target_free(struct target *target) {
    if (target->fd >= 0) close(target->fd);
    free(target->path);
    free(target->memory_path);
    free(target->index);
    free(target->shapes);
    compressor_free(&target->compressor);
    *target = (struct target){.fd = -1};
}
