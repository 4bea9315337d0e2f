#include "block/compress.h"

#include <limits.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN_MOST (4u << 20)  // a chunk is a sixteenth of it, but for long rows

static bool reserve(uint8_t **data, size_t *size, size_t want) {
    if (want <= *size) return true;
    free(*data);
    *data = malloc(want);
    *size = *data != NULL ? want : 0;
    return *data != NULL;
}

size_t compress_pieces(struct compressor *compressor, const struct iovec *pieces,
                       size_t count, size_t skip) {
    size_t plain = 0;
    for (size_t i = 0; i < count; i++) plain += pieces[i].iov_len;
    if (plain <= skip || plain > PLAIN_MOST) return 0;
    size_t most = (plain - skip) - (plain - skip) / 16;
    if (!reserve(&compressor->plain, &compressor->plain_size, plain) ||
        !reserve(&compressor->packed, &compressor->packed_size, most)) {
        return 0;
    }
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(compressor->plain + at, pieces[i].iov_base, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    // 0 when it does not fit.
    int packed =
        LZ4_compress_default((const char *)compressor->plain + skip,
                             (char *)compressor->packed, (int)(plain - skip), (int)most);
    return packed > 0 ? (size_t)packed : 0;
}

void compressor_free(struct compressor *compressor) {
    free(compressor->plain);
    free(compressor->packed);
    *compressor = (struct compressor){0};
}

bool decompress(const uint8_t *packed, size_t packed_size, uint8_t *plain,
                size_t plain_size) {
    if (packed_size > INT_MAX || plain_size > INT_MAX) return false;
    return LZ4_decompress_safe((const char *)packed, (char *)plain, (int)packed_size,
                               (int)plain_size) == (int)plain_size;
}

uint64_t decompress_most(uint64_t packed_size) {
    return packed_size > INT_MAX ? 0 : packed_size * 255;
}
