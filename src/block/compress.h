// Internal to src/block: chunks as LZ4.
#ifndef SHOAL_BLOCK_COMPRESS_H
#define SHOAL_BLOCK_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct compressor {
    uint8_t *plain;   // the pieces in one place
    uint8_t *packed;  // what became of them
    size_t plain_size, packed_size;
};

// Compresses the pieces without the first `skip` bytes into compressor->packed, of which
// the size comes back. 0: they are too many, out of memory, or don't get smaller by a
// sixteenth; they are good as they are then.
size_t compress_pieces(struct compressor *compressor, const struct iovec *pieces,
                       size_t count, size_t skip);
void compressor_free(struct compressor *compressor);

// False if that is not LZ4 of exactly plain_size bytes.
bool decompress(const uint8_t *packed, size_t packed_size, uint8_t *plain,
                size_t plain_size);

// The most bytes that LZ4 can make of so many.
uint64_t decompress_most(uint64_t packed_size);

#endif
