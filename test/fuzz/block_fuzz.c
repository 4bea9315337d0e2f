// Block files of any bytes, their checksums made right, and what a chunk's header and its
// index entry both say made alike: what the reader takes can be read row by row, and the
// rest is SHOAL_CORRUPT.
#include <sys/mman.h>
#include <unistd.h>

#include "block/format.h"
#include "fuzz/fuzz.h"
#include "support/examples.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define ROWS_MOST 100000u  // that are looked at: a STRUCT's rows take no bytes

static void seal_chunk(uint8_t *data, size_t size,
                       const struct block_index_entry *entry) {
    struct block_chunk_header header;
    if (entry->offset > size || entry->size > size - entry->offset ||
        entry->size < sizeof header)
        return;
    uint8_t *chunk = data + entry->offset;
    memcpy(&header, chunk, sizeof header);
    header.magic = BLOCK_CHUNK_MAGIC;
    header.partition = entry->partition;
    header.rows = entry->rows;
    header.size = entry->size;
    header.unpacked = entry->unpacked;
    header.checksum = 0;
    memcpy(chunk, &header, sizeof header);
    header.checksum = XXH3_64bits(chunk, entry->size);
    memcpy(chunk, &header, sizeof header);
}

// A byte that changes would only ever find the checksums.
static void seal(uint8_t *data, size_t size) {
    struct block_footer footer;
    if (size < sizeof footer) return;
    size_t body = size - sizeof footer;
    memcpy(&footer, data + body, sizeof footer);
    if (footer.index_offset > body) return;
    for (uint64_t i = 0; i < footer.index_count; i++) {
        struct block_index_entry entry;
        if ((body - footer.index_offset) / sizeof entry <= i) break;
        memcpy(&entry, data + footer.index_offset + i * sizeof entry, sizeof entry);
        seal_chunk(data, body, &entry);
    }
    footer.checksum = XXH3_64bits(data + footer.index_offset, body - footer.index_offset);
    memcpy(data + body, &footer, sizeof footer);
}

static uint64_t sum;  // so that nothing that is read is left out

static void touch(const struct column *column) {
    uint64_t rows = column->rows < ROWS_MOST ? column->rows : ROWS_MOST;
    for (uint64_t r = 0; r < rows; r++) sum += column_valid(column, r);
    if (column->layout == COLUMN_FIXED && column->packing.width > 0) {
        void *values = malloc(rows * column->width + 1);
        FUZZ_CHECK(values != NULL);
        pack_read(column->data.data, column->packing, column->width, rows, values);
        free(values);
    } else if (column->layout == COLUMN_FIXED && rows > 0) {
        sum += XXH3_64bits(column->data.data, rows * column->width);
    }
    for (uint64_t r = 0; column->layout == COLUMN_STRING && r < rows; r++) {
        const uint32_t *offsets = column_offsets(column);
        sum += XXH3_64bits(column->data.data + offsets[r], offsets[r + 1] - offsets[r]);
    }
    for (uint64_t r = 0; column->layout == COLUMN_LIST && r < rows; r++)
        FUZZ_CHECK(column_offsets(column)[r + 1] <= column->children[0].rows);
    for (uint32_t i = 0; i < column->child_count; i++) touch(&column->children[i]);
}

// With fewer columns nothing else bounds the rows of those that have offsets.
static void read_file(const char *path, bool all) {
    const struct column *shapes = all ? example_shapes() : example_offset_shapes();
    size_t columns = all ? EXAMPLE_COLUMNS : EXAMPLE_OFFSET_COLUMNS;
    struct block_file file;
    struct block_chunk chunk;
    struct shoal_error err = {0};
    shoal_status status = block_file_open(&file, path, shapes, columns, &err);
    FUZZ_CHECK(status == SHOAL_OK || (status == SHOAL_CORRUPT && err.message[0] != '\0'));
    if (status != SHOAL_OK) return;
    FUZZ_CHECK(block_chunk_init(&chunk, shapes, columns, &err) == SHOAL_OK);
    for (size_t i = 0; i < file.chunks; i++) {
        status = block_chunk_read(&chunk, &file, &file.index[i], &err);
        FUZZ_CHECK(status == SHOAL_OK || status == SHOAL_CORRUPT);
        for (size_t c = 0; status == SHOAL_OK && c < columns; c++)
            touch(&chunk.columns[c]);
    }
    block_chunk_free(&chunk);
    block_file_close(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    uint8_t *bytes = (uint8_t *)fuzz_text(data, size);
    int fd = memfd_create("block", MFD_CLOEXEC);
    seal(bytes, size);
    FUZZ_CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct block_footer footer = {0};
    if (size >= sizeof footer)
        memcpy(&footer, bytes + size - sizeof footer, sizeof footer);
    read_file(path, footer.columns != EXAMPLE_OFFSET_COLUMNS);
    close(fd);
    free(bytes);
    return 0;
}
