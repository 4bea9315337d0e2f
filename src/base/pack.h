// Fixed-width values in fewer bytes: each as its distance to the smallest of them (frame
// of reference, as column stores call it), without the low bits in which all distances
// are zero: whole numbers as DOUBLE have many. Reading back is a shift and an addition a
// value, which costs no more than the copy that it takes the place of.
#ifndef SHOAL_BASE_PACK_H
#define SHOAL_BASE_PACK_H

#include <stddef.h>
#include <stdint.h>

struct packing {
    uint32_t width;  // bytes a value takes, 1 to 8; 0: not packed
    uint32_t shift;  // bits that it is moved up by, less than 64,
    int64_t base;    // before this is added
};

// How n values of 2, 4, 8 or 16 bytes are packed best. valid: a bit each, 0 where the
// value doesn't matter; NULL: all matter. Values of 16 bytes are packed where each is a
// number of 64 bits.
struct packing pack_choose(const void *values, uint32_t width, const uint8_t *valid,
                           size_t n);
// n * packing.width bytes into `packed`. Values that don't matter become the base.
void pack_write(const void *values, uint32_t width, const uint8_t *valid, size_t n,
                struct packing packing, uint8_t *packed);
// Back to n values of width bytes.
void pack_read(const uint8_t *packed, struct packing packing, uint32_t width, size_t n,
               void *values);

#endif
