// Which partition rows go to by the hash of their keys. Hashes are remixed first: the
// hash tables of a partition index by hash()'s own low bits, and are to fill evenly.
#include "base/wide.h"
#include "block/block.h"
#include "block/format.h"

WIDE_VECTORS static void remix(const uint64_t *restrict hashes,
                               uint64_t *restrict remixed, size_t n) {
    for (size_t i = 0; i < n; i++) remixed[i] = block_remix(hashes[i]);
}

WIDE_VECTORS static void place(const uint64_t *restrict remixed, uint32_t partitions,
                               uint32_t *restrict parts, size_t n) {
    for (size_t i = 0; i < n; i++)
        parts[i] = (uint32_t)((remixed[i] >> 32) * partitions >> 32);
}

void block_remix_all(const uint64_t *hashes, uint64_t *remixed, size_t n) {
    remix(hashes, remixed, n);
}

void block_place_all(const uint64_t *remixed, uint32_t partitions, uint32_t *parts,
                     size_t n) {
    place(remixed, partitions, parts, n);
}

uint32_t block_place(uint64_t hash, uint32_t partitions) {
    return (uint32_t)((block_remix(hash) >> 32) * partitions >> 32);
}
