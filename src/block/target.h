// Internal to src/block: where one writer's chunks go. The first file is in memory, while
// the output's grant lasts; the next is on disk.
#ifndef SHOAL_BLOCK_TARGET_H
#define SHOAL_BLOCK_TARGET_H

#include "base/io.h"
#include "block/compress.h"
#include "block/format.h"
#include "block/registry.h"

struct target {
    struct output *output;
    char *path;                     // on disk
    char *memory_path;              // NULL: nothing goes to memory from now on
    struct block_output_file file;  // that is written; what it points to is the output's
    size_t place;                   // of that file in the output
    int fd;                         // -1: no file is open
    bool in_memory;
    bool reused;  // it was a spare, and may be longer than what was written
    uint64_t position;
    struct block_index_entry *index;  // of that file
    size_t chunks;
    size_t capacity;
    uint32_t *shapes;  // codes of the columns
    size_t shape_size;
    uint32_t columns;
    uint32_t writer;  // that its chunks are marked with
    struct compressor compressor;
};

// path is the one that DuckDB gave to this writer: the output's, or one below it. No file
// is made yet.
shoal_status target_init(struct target *target, struct output *output, const char *path,
                         const struct column *shapes, size_t columns,
                         struct shoal_error *err);
// A chunk: the first piece begins with room for its header, which is made here of the
// fields that *header has: partition, rows, buffers.
shoal_status target_append(struct target *target, struct block_chunk_header header,
                           const struct iovec *pieces, size_t count,
                           struct shoal_error *err);
// Ends the last file, an empty one if there was no chunk. What was learned of the rows
// (see block_writer_finish) becomes the output's.
shoal_status target_finish(struct target *target, struct block_output_file *learned,
                           struct shoal_error *err);
void target_free(struct target *target);

#endif
