// Which partition rows go to by the hash of their keys. Hashes are remixed first: the
// hash tables of a partition index by hash()'s own low bits, and are to fill evenly.
#include "base/wide.h"
#include "block/block.h"
#include "block/format.h"

static inline uint32_t partition_of(uint64_t remixed, uint32_t partitions) {
    return (uint32_t)((remixed >> 32) * partitions >> 32);
}

// In two loops, as the compiler makes better vectors of one width at a time.
WIDE_VECTORS static void remix(const uint64_t *restrict hashes,
                               uint64_t *restrict remixed, size_t n) {
    for (size_t i = 0; i < n; i++) remixed[i] = block_remix(hashes[i]);
}

WIDE_VECTORS static void place(const uint64_t *restrict remixed, uint32_t partitions,
                               uint32_t *restrict parts, size_t n) {
    for (size_t i = 0; i < n; i++) parts[i] = partition_of(remixed[i], partitions);
}

void block_place_all(const uint64_t *hashes, uint32_t partitions, uint64_t *remixed,
                     uint32_t *parts, size_t n) {
    remix(hashes, remixed, n);
    place(remixed, partitions, parts, n);
}

uint32_t block_place(uint64_t hash, uint32_t partitions) {
    return partition_of(block_remix(hash), partitions);
}
