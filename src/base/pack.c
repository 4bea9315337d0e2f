#include "base/pack.h"

#include <stdbool.h>
#include <string.h>

#include "base/wide.h"

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
    uint64_t differing;  // bits in which two values do
};

// One loop a width, without branches, so that the compiler makes vectors of it, and one
// for values of which some don't matter.
#define EXTENT(name, type)                                                           \
    WIDE_VECTORS static struct extent name(const void *values, const uint8_t *valid, \
                                           size_t first, size_t n) {                 \
        const type *from = values;                                                   \
        type min = from[first], max = from[first], differing = 0;                    \
        for (size_t i = first; valid == NULL && i < n; i++) {                        \
            min = from[i] < min ? from[i] : min;                                     \
            max = from[i] > max ? from[i] : max;                                     \
            differing = (type)(differing | (from[i] ^ from[first]));                 \
        }                                                                            \
        for (size_t i = first; valid != NULL && i < n; i++) {                        \
            type value = is_valid(valid, i) ? from[i] : from[first];                 \
            min = value < min ? value : min;                                         \
            max = value > max ? value : max;                                         \
            differing = (type)(differing | (value ^ from[first]));                   \
        }                                                                            \
        return (struct extent){min, max, (uint64_t)(int64_t)differing};              \
    }

EXTENT(extent_16, int16_t)
EXTENT(extent_32, int32_t)
EXTENT(extent_64, int64_t)

// False when a value is no number of 64 bits.
static bool extent_128(const struct wide *values, const uint8_t *valid, size_t first,
                       size_t n, struct extent *extent) {
    int64_t min = (int64_t)values[first].lower, max = min;
    uint64_t differing = 0;
    for (size_t i = first; i < n; i++) {
        if (!is_valid(valid, i)) continue;
        int64_t value = (int64_t)values[i].lower;
        if (values[i].upper != value >> 63) return false;
        min = value < min ? value : min;
        max = value > max ? value : max;
        differing |= values[i].lower ^ values[first].lower;
    }
    *extent = (struct extent){min, max, differing};
    return true;
}

// How values [first, n) are packed; `width`: not at all.
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
    // Values that are alike in their low bits are a multiple of their worth apart.
    uint32_t shift =
        extent.differing == 0 ? 0 : (uint32_t)__builtin_ctzll(extent.differing);
    uint64_t range = ((uint64_t)extent.max - (uint64_t)extent.min) >> shift;
    uint32_t bytes = range == 0 ? 1 : (71 - (uint32_t)__builtin_clzll(range)) / 8;
    return bytes < width ? (struct packing){bytes, shift, extent.min} : none;
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

// What follows is compiled for each width of values and of packed ones.
#define ALWAYS static inline __attribute__((always_inline))

#define LOAD(name, type)                      \
    ALWAYS uint64_t name(const uint8_t *at) { \
        type loaded;                          \
        memcpy(&loaded, at, sizeof loaded);   \
        return loaded;                        \
    }
LOAD(load_16, uint16_t)
LOAD(load_32, uint32_t)
LOAD(load_64, uint64_t)

ALWAYS uint64_t value_at(const void *values, uint32_t width, size_t i) {
    switch (width) {
        case 2:
            return (uint64_t)((const int16_t *)values)[i];
        case 4:
            return (uint64_t)((const int32_t *)values)[i];
        case 8:
            return ((const uint64_t *)values)[i];
        default:
            return ((const struct wide *)values)[i].lower;
    }
}

ALWAYS void set_value(void *values, uint32_t width, size_t i, uint64_t value) {
    switch (width) {
        case 2:
            ((uint16_t *)values)[i] = (uint16_t)value;
            break;
        case 4:
            ((uint32_t *)values)[i] = (uint32_t)value;
            break;
        case 8:
            ((uint64_t *)values)[i] = value;
            break;
        default:
            ((struct wide *)values)[i] = (struct wide){value, (int64_t)value >> 63};
            break;
    }
}

// Of 3, 5, 6 and 7 bytes in two parts: a copy of so many would go through memory.
ALWAYS uint64_t packed_at(const uint8_t *from, uint32_t bytes) {
    switch (bytes) {
        case 1:
            return *from;
        case 2:
            return load_16(from);
        case 3:
            return load_16(from) | (uint64_t)from[2] << 16;
        case 4:
            return load_32(from);
        case 5:
            return load_32(from) | (uint64_t)from[4] << 32;
        case 6:
            return load_32(from) | load_16(from + 4) << 32;
        case 7:
            return load_32(from) | load_32(from + 3) << 24;
        default:
            return load_64(from);
    }
}

// Where a value's bytes are no type's, eight are stored, or loaded, at once: the next
// value's overwrite those that are too many. Not of the last few, behind which there may
// be nothing.
#define LAST_FEW 8

ALWAYS size_t at_once(uint32_t bytes, size_t n) {
    bool type = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
    return type || n < LAST_FEW ? 0 : n - LAST_FEW;
}

ALWAYS void write_values(const void *values, uint32_t width, struct packing packing,
                         uint32_t bytes, size_t n, uint8_t *restrict to) {
    size_t most = at_once(bytes, n);
    for (size_t i = 0; i < most; i++) {
        uint64_t value = value_at(values, width, i) - (uint64_t)packing.base;
        value >>= packing.shift;
        memcpy(to + i * bytes, &value, sizeof value);
    }
    for (size_t i = most; i < n; i++) {
        uint64_t value = value_at(values, width, i) - (uint64_t)packing.base;
        value >>= packing.shift;
        memcpy(to + i * bytes, &value, bytes);
    }
}

ALWAYS void read_values(void *restrict values, uint32_t width, struct packing packing,
                        uint32_t bytes, size_t n, const uint8_t *restrict packed) {
    size_t most = at_once(bytes, n);
    for (size_t i = 0; i < most; i++) {
        uint64_t value = load_64(packed + i * bytes) & (UINT64_MAX >> (64 - 8 * bytes));
        set_value(values, width, i, (value << packing.shift) + (uint64_t)packing.base);
    }
    for (size_t i = most; i < n; i++) {
        uint64_t value = packed_at(packed + i * bytes, bytes) << packing.shift;
        set_value(values, width, i, value + (uint64_t)packing.base);
    }
}

#define BYTES(all, of, bytes)                       \
    case bytes:                                     \
        all(values, of, packing, bytes, n, packed); \
        break;

#define FOR_BYTES(all, of)   \
    switch (packing.width) { \
        BYTES(all, of, 1)    \
        BYTES(all, of, 2)    \
        BYTES(all, of, 3)    \
        BYTES(all, of, 4)    \
        BYTES(all, of, 5)    \
        BYTES(all, of, 6)    \
        BYTES(all, of, 7)    \
        BYTES(all, of, 8)    \
    }

#define FOR_WIDTHS(all)        \
    switch (width) {           \
        case 2:                \
            FOR_BYTES(all, 2)  \
            break;             \
        case 4:                \
            FOR_BYTES(all, 4)  \
            break;             \
        case 8:                \
            FOR_BYTES(all, 8)  \
            break;             \
        default:               \
            FOR_BYTES(all, 16) \
            break;             \
    }

void pack_write(const void *values, uint32_t width, const uint8_t *valid, size_t n,
                struct packing packing, uint8_t *restrict packed) {
    FOR_WIDTHS(write_values)
    for (size_t i = 0; valid != NULL && i < n; i++) {
        if (!is_valid(valid, i)) memset(packed + i * packing.width, 0, packing.width);
    }
}

void pack_read(const uint8_t *restrict packed, struct packing packing, uint32_t width,
               size_t n, void *restrict values) {
    FOR_WIDTHS(read_values)
}
