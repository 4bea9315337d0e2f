// The layout of a block file, and the writer and the reader of one.
//
//   [chunk][chunk]...[index entries][shape codes][footer]
//
// A chunk holds rows of one partition: a header, a directory of (offset, size) for each
// buffer in preorder (validity, offsets, data, then children, for each column), and the
// buffers, each 64-byte aligned in the file. A FIXED column has no offsets: in their
// place the directory says how its data is packed (base, and width | shift << 8; see
// base/pack.h). What
// follows the header may be compressed, as one LZ4 block and zeros up to the alignment;
// the directory then speaks of the chunk as it was before. The header's checksum (xxh3,
// 64 bits) covers the whole chunk as it is in the file; the footer's covers index and
// shapes. Numbers are little-endian, as every machine that shoal runs on is. Files
// are written once, in order, and never change.
#ifndef SHOAL_BLOCK_FORMAT_H
#define SHOAL_BLOCK_FORMAT_H

#include "base/column.h"
#include "base/status.h"
#include "block/block.h"
#include "block/remote.h"

#define BLOCK_ALIGN 64
#define BLOCK_CHUNK_MAGIC 0x4b4e4843u  // "CHNK"
#define BLOCK_FOOTER_MAGIC 0x314b4c4253414853u

struct block_chunk_header {
    uint32_t magic;
    uint32_t partition;
    uint64_t rows;
    uint64_t size;  // of the whole chunk, header included, a multiple of BLOCK_ALIGN
    uint64_t buffers;
    uint64_t checksum;  // of the chunk, with 0 in this place
    uint64_t unpacked;  // its size before it was compressed
    uint64_t packed;    // bytes of LZ4; 0: it is not compressed
    uint32_t writer;    // as the index has it
    uint32_t reserved;
};

static inline uint64_t block_packing_code(const struct packing *packing) {
    return packing->width | (uint64_t)packing->shift << 8;
}

// Of a code below 2^14 the shift is below 64.
static inline struct packing block_packing(uint64_t base, uint64_t code) {
    return (struct packing){.width = code & UINT8_MAX,
                            .shift = (uint32_t)(code >> 8 & 63),
                            .base = (int64_t)base};
}

struct block_index_entry {
    uint64_t offset;
    uint64_t size;
    uint64_t rows;
    uint64_t unpacked;
    uint32_t partition;
    uint32_t writer;  // follows from the output's path: a chunk that another one wrote
                      // over this is told by it
};

struct block_footer {
    uint64_t index_offset;
    uint64_t index_count;
    uint64_t shape_size;
    uint32_t partitions;
    uint32_t columns;
    uint64_t checksum;
    uint64_t magic;
};

// ---- writer: one thread at a time. Buffers rows by partition; a partition's rows become
// a chunk when they are many enough, or all do when the whole is too large. Its files are
// listed in the output.
struct block_writer;
struct output;

shoal_status block_writer_open(struct output *output, const char *path,
                               const struct column *shapes, size_t columns,
                               struct block_writer **writer, struct shoal_error *err);
// The partition's columns, to append rows to. After appending call block_writer_added,
// and block_writer_settle, which writes what has become large, once all that was appended
// to is counted.
struct column *block_writer_columns(struct block_writer *writer, uint32_t partition);
const struct column *block_writer_shapes(const struct block_writer *writer);
void block_writer_added(struct block_writer *writer, uint32_t partition, size_t rows);
shoal_status block_writer_settle(struct block_writer *writer, struct shoal_error *err);
// What was learned of the rows, the sample, its rows and keys of *learned, becomes the
// output's.
shoal_status block_writer_finish(struct block_writer *writer,
                                 struct block_output_file *learned,
                                 struct shoal_error *err);
void block_writer_close(struct block_writer *writer);

// ---- reader
struct block_file {
    int fd;       // -1: too many are open, it is opened for each chunk; or it is remote
    char *path;   // its name (block/places.h)
    char *local;  // where it is, if it is here
    struct remote_file *remote;  // where it is served, if it is not; else NULL
    const char *key;             // of the statement that reads it; may be NULL, borrowed
    uint64_t size;
    uint32_t partitions;
    struct block_index_entry *index;
    size_t chunks;
};

// Opens the file, checks its footer, index and that its columns have these shapes; any
// will do where shapes is NULL.
shoal_status block_file_open(struct block_file *file, const char *path,
                             const struct column *shapes, size_t columns,
                             struct shoal_error *err);
// The same in two steps, so that many files that are not here can be asked for at once:
// block_file_ask gives NULL for what is here, or was served nowhere. The answer is the
// second step's.
shoal_status block_file_ask(const char *path, struct remote_file **remote,
                            struct remote_answer **tail, struct shoal_error *err);
shoal_status block_file_open_asked(struct block_file *file, const char *path,
                                   const char *key, struct remote_file *remote,
                                   struct remote_answer *tail,
                                   const struct column *shapes, size_t columns,
                                   struct shoal_error *err);
void block_file_close(struct block_file *file);

// A chunk in memory: columns borrow from data.
struct block_chunk {
    uint8_t *data;  // BLOCK_ALIGN-aligned
    size_t capacity;
    uint8_t *packed;  // the same before it was decompressed
    size_t packed_capacity;
    struct column *columns;
    size_t column_count;
    uint64_t rows;
};

shoal_status block_chunk_init(struct block_chunk *chunk, const struct column *shapes,
                              size_t columns, struct shoal_error *err);
shoal_status block_chunk_read(struct block_chunk *chunk, const struct block_file *file,
                              const struct block_index_entry *entry,
                              struct shoal_error *err);
// The same of a remote file, whose bytes were asked for before; the answer is freed.
shoal_status block_chunk_take(struct block_chunk *chunk, const struct block_file *file,
                              const struct block_index_entry *entry,
                              struct remote_answer *answer, struct shoal_error *err);
void block_chunk_free(struct block_chunk *chunk);

// Preorder codes of a list of columns, written to and compared with the file's.
shoal_status block_shape_codes(const struct column *shapes, size_t columns,
                               uint32_t **codes, size_t *count, struct shoal_error *err);

static inline uint64_t block_align(uint64_t size) {
    return (size + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
}

static inline uint64_t block_remix(uint64_t hash) {
    hash ^= hash >> 32;
    hash *= 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
    hash *= 0xbf58476d1ce4e5b9u;
    return hash ^ hash >> 32;
}

// place.c: the same of n hashes, and the partition of each row.
void block_place_all(const uint64_t *hashes, uint32_t partitions, uint64_t *remixed,
                     uint32_t *parts, size_t n);

#endif
