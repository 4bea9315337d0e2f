// memcpy of sizes that only the data knows and that are mostly small, as strings are:
// up to 32 bytes without a call, in two copies of a fixed size that may overlap.
#ifndef SHOAL_COPY_H
#define SHOAL_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void copy_short(uint8_t *to, const void *data, size_t size) {
    const uint8_t *from = data;
    if (size > 32) {
        memcpy(to, from, size);
    } else if (size >= 16) {
        memcpy(to, from, 16);
        memcpy(to + size - 16, from + size - 16, 16);
    } else if (size >= 8) {
        memcpy(to, from, 8);
        memcpy(to + size - 8, from + size - 8, 8);
    } else if (size >= 4) {
        memcpy(to, from, 4);
        memcpy(to + size - 4, from + size - 4, 4);
    } else if (size > 0) {
        to[0] = from[0];
        to[size / 2] = from[size / 2];
        to[size - 1] = from[size - 1];
    }
}

#endif
