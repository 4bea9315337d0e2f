#include "base/pack.h"

#include <stdbool.h>
#include <string.h>

#define FEW_VALUES 16  // nothing is gained on fewer
#define FIRST_VALUES 64

struct wide {
    uint64_t lower;
    int64_t upper;
};

static bool is_valid(const uint8_t *valid, size_t at) {
    return valid == NULL || (valid[at / 8] >> (at % 8) & 1);
}

struct extent {
    int64_t min, max;
};

// One loop a width, without branches, so that the compiler makes vectors of it.
#define EXTENT(type)                                    \
    do {                                                \
        const type *from = values;                      \
        type min = from[first], max = from[first];      \
        for (size_t i = first; i < n; i++) {            \
            type value = from[i];                       \
            if (valid && !is_valid(valid, i)) continue; \
            min = value < min ? value : min;            \
            max = value > max ? value : max;            \
        }                                               \
        return (struct extent){min, max};               \
    } while (0)

static struct extent extent_16(const void *values, const uint8_t *valid, size_t first,
                               size_t n) {
    EXTENT(int16_t);
}

static struct extent extent_32(const void *values, const uint8_t *valid, size_t first,
                               size_t n) {
    EXTENT(int32_t);
}

static struct extent extent_64(const void *values, const uint8_t *valid, size_t first,
                               size_t n) {
    EXTENT(int64_t);
}

// False when a value is no number of 64 bits.
static bool extent_128(const struct wide *values, const uint8_t *valid, size_t first,
                       size_t n, struct extent *extent) {
    int64_t min = (int64_t)values[first].lower, max = min;
    for (size_t i = first; i < n; i++) {
        if (!is_valid(valid, i)) continue;
        int64_t value = (int64_t)values[i].lower;
        if (values[i].upper != value >> 63) return false;
        min = value < min ? value : min;
        max = value > max ? value : max;
    }
    *extent = (struct extent){min, max};
    return true;
}

// The bytes that values [first, n) need, and the smallest; `width`: no fewer.
static struct packing needed(const void *values, uint32_t width, const uint8_t *valid,
                             size_t first, size_t n) {
    struct packing none = {.width = width};
    struct extent extent;
    switch (width) {
        case 2:
            extent = extent_16(values, valid, first, n);
            break;
        case 4:
            extent = extent_32(values, valid, first, n);
            break;
        case 8:
            extent = extent_64(values, valid, first, n);
            break;
        default:
            if (!extent_128(values, valid, first, n, &extent)) return none;
            break;
    }
    uint64_t range = (uint64_t)extent.max - (uint64_t)extent.min;
    uint32_t bytes = range <= UINT8_MAX    ? 1
                     : range <= UINT16_MAX ? 2
                     : range <= UINT32_MAX ? 4
                                           : 8;
    return bytes < width ? (struct packing){bytes, extent.min} : none;
}

struct packing pack_choose(const void *values, uint32_t width, const uint8_t *valid,
                           size_t n) {
    struct packing none = {0};
    size_t first = 0;
    if (n < FEW_VALUES || width < 2) return none;
    while (first < n && !is_valid(valid, first)) first++;
    if (first == n) return (struct packing){.width = 1};
    // Where a few already need all bytes, the others are not looked at.
    size_t few = n - first > FIRST_VALUES ? first + FIRST_VALUES : n;
    struct packing packing = needed(values, width, valid, first, few);
    if (few < n && packing.width < width)
        packing = needed(values, width, valid, first, n);
    return packing.width < width ? packing : none;
}

#define WRITE(from_type, to_type, low)                                 \
    do {                                                               \
        const from_type *from = values;                                \
        for (size_t i = 0; i < n; i++) {                               \
            to_type value = (to_type)((uint64_t)(from[i] low) - base); \
            memcpy(to + i * sizeof value, &value, sizeof value);       \
        }                                                              \
    } while (0)

#define WRITE_FROM(from_type, low)           \
    switch (packing.width) {                 \
        case 1:                              \
            WRITE(from_type, uint8_t, low);  \
            break;                           \
        case 2:                              \
            WRITE(from_type, uint16_t, low); \
            break;                           \
        case 4:                              \
            WRITE(from_type, uint32_t, low); \
            break;                           \
        default:                             \
            WRITE(from_type, uint64_t, low); \
            break;                           \
    }

void pack_write(const void *values, uint32_t width, const uint8_t *valid, size_t n,
                struct packing packing, uint8_t *restrict to) {
    uint64_t base = (uint64_t)packing.base;
    switch (width) {
        case 2:
            WRITE_FROM(int16_t, )
            break;
        case 4:
            WRITE_FROM(int32_t, )
            break;
        case 8:
            WRITE_FROM(int64_t, )
            break;
        default:
            WRITE_FROM(struct wide, .lower)
            break;
    }
    for (size_t i = 0; valid != NULL && i < n; i++) {
        if (!is_valid(valid, i)) memset(to + i * packing.width, 0, packing.width);
    }
}

#define READ(from_type, to_type)                                     \
    do {                                                             \
        to_type *to = values;                                        \
        for (size_t i = 0; i < n; i++) {                             \
            from_type value;                                         \
            memcpy(&value, packed + i * sizeof value, sizeof value); \
            to[i] = (to_type)(value + base);                         \
        }                                                            \
    } while (0)

#define READ_WIDE(from_type)                                         \
    do {                                                             \
        struct wide *to = values;                                    \
        for (size_t i = 0; i < n; i++) {                             \
            from_type value;                                         \
            memcpy(&value, packed + i * sizeof value, sizeof value); \
            to[i].lower = value + base;                              \
            to[i].upper = (int64_t)to[i].lower >> 63;                \
        }                                                            \
    } while (0)

void pack_read(const uint8_t *restrict packed, struct packing packing, uint32_t width,
               size_t n, void *restrict values) {
    uint64_t base = (uint64_t)packing.base;
    switch (width * 16 + packing.width) {
        case 2 * 16 + 1:
            READ(uint8_t, uint16_t);
            break;
        case 4 * 16 + 1:
            READ(uint8_t, uint32_t);
            break;
        case 4 * 16 + 2:
            READ(uint16_t, uint32_t);
            break;
        case 8 * 16 + 1:
            READ(uint8_t, uint64_t);
            break;
        case 8 * 16 + 2:
            READ(uint16_t, uint64_t);
            break;
        case 8 * 16 + 4:
            READ(uint32_t, uint64_t);
            break;
        case 16 * 16 + 1:
            READ_WIDE(uint8_t);
            break;
        case 16 * 16 + 2:
            READ_WIDE(uint16_t);
            break;
        case 16 * 16 + 4:
            READ_WIDE(uint32_t);
            break;
        case 16 * 16 + 8:
            READ_WIDE(uint64_t);
            break;
        default:
            break;
    }
}
