// Each value becomes a 64-bit word; a row's words are folded into one, column after
// column, so that it matters which values stand in one row; the rows' words are summed.
// Words of a block of rows at a time stay in the first cache, and the fold is a 32 by 32
// bit product, as in XXH3, which every x86-64 and ARM does on several rows at once.
#include "base/fingerprint.h"

#include <stdlib.h>
#include <string.h>

#include "base/wide.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define ROWS 512                           // of a block
#define NONE UINT64_C(0x9ae16a3b2f90404f)  // the word of a NULL

static inline uint64_t fold(uint64_t row, uint64_t word) {
    uint64_t x = row ^ word;
    return (uint64_t)(uint32_t)x * (x >> 32) + (x << 25) + (row >> 9);
}

WIDE_VECTORS static void fold_all(uint64_t *restrict rows, const uint64_t *restrict words,
                                  size_t n) {
    for (size_t i = 0; i < n; i++) rows[i] = fold(rows[i], words[i]);
}

// The last words reach all bits of it before rows are summed.
static inline uint64_t finish(uint64_t row) {
    return fold(fold(row, UINT64_C(0x9fb21c651e98df25)), row >> 32);
}

WIDE_VECTORS static uint64_t sum_all(const uint64_t *rows, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += finish(rows[i]);
    return sum;
}

// Values of 8 bytes without a NULL are their own words.
static const uint64_t *plain_words(const struct column *column, uint64_t first) {
    bool plain = column->layout == COLUMN_FIXED && column->width == 8 &&
                 column->validity.size == 0;
    return plain ? (const uint64_t *)(const void *)column->data.data + first : NULL;
}

static bool column_words(const struct column *column, uint64_t first, size_t n,
                         uint64_t *words);

static inline uint64_t spread(uint64_t value) {
    return value * UINT64_C(0x9e3779b97f4a7c15);
}

#define WORDS_OF(type)                                                  \
    do {                                                                \
        const type *restrict values = (const type *)(const void *)data; \
        for (size_t i = 0; i < n; i++) words[i] = values[i];            \
    } while (0)

static void fixed_words(const struct column *column, uint64_t first, size_t n,
                        uint64_t *restrict words) {
    const uint8_t *data = column->data.data + first * column->width;
    switch (column->width) {
        case 1:
            WORDS_OF(uint8_t);
            break;
        case 2:
            WORDS_OF(uint16_t);
            break;
        case 4:
            WORDS_OF(uint32_t);
            break;
        case 8:
            WORDS_OF(uint64_t);
            break;
        default:
            for (size_t i = 0; i < n; i++)
                words[i] = XXH3_64bits(data + i * column->width, column->width);
            break;
    }
}

static uint64_t bytes_word(const uint8_t *data, size_t size) {
    uint64_t low = 0, high = 0;
    if (size > 16) return XXH3_64bits(data, size);
    if (size >= 8) {
        memcpy(&low, data, 8);
        memcpy(&high, data + size - 8, 8);
    } else if (size >= 4) {
        uint32_t a, b;
        memcpy(&a, data, 4);
        memcpy(&b, data + size - 4, 4);
        low = a;
        high = b;
    } else if (size > 0) {
        low = data[0];
        high = (uint64_t)data[size / 2] << 8 | data[size - 1];
    }
    return fold(spread(low ^ size << 56), spread(high) + size);
}

static void string_words(const struct column *column, uint64_t first, size_t n,
                         uint64_t *words) {
    const uint32_t *offsets = column_offsets(column) + first;
    for (size_t i = 0; i < n; i++)
        words[i] =
            bytes_word(column->data.data + offsets[i], offsets[i + 1] - offsets[i]);
}

// Elements in their order: a list is one value.
static bool element_words(const struct column *child, uint64_t begin, uint64_t end,
                          uint64_t *word) {
    uint64_t some[64];
    uint64_t all = spread(end - begin + 1);
    for (uint64_t at = begin; at < end;) {
        size_t n = end - at < 64 ? (size_t)(end - at) : 64;
        if (!column_words(child, at, n, some)) return false;
        for (size_t i = 0; i < n; i++) all = finish(fold(all, some[i]));
        at += n;
    }
    *word = all;
    return true;
}

static bool list_words(const struct column *column, uint64_t first, size_t n,
                       uint64_t *words) {
    const uint32_t *offsets = column_offsets(column) + first;
    for (size_t i = 0; i < n; i++) {
        if (!element_words(&column->children[0], offsets[i], offsets[i + 1], &words[i]))
            return false;
    }
    return true;
}

static bool array_words(const struct column *column, uint64_t first, size_t n,
                        uint64_t *words) {
    for (size_t i = 0; i < n; i++) {
        uint64_t begin = (first + i) * column->width;
        if (!element_words(&column->children[0], begin, begin + column->width, &words[i]))
            return false;
    }
    return true;
}

static bool struct_words(const struct column *column, uint64_t first, size_t n,
                         uint64_t *words) {
    uint64_t *some = malloc((n + 1) * sizeof *some);
    bool ok = some != NULL;
    for (size_t i = 0; i < n; i++) words[i] = NONE;
    for (uint32_t c = 0; ok && c < column->child_count; c++) {
        ok = column_words(&column->children[c], first, n, some);
        if (ok) fold_all(words, some, n);
    }
    free(some);
    return ok;
}

static bool column_words(const struct column *column, uint64_t first, size_t n,
                         uint64_t *words) {
    bool ok = true;
    switch (column->layout) {
        case COLUMN_FIXED:
            fixed_words(column, first, n, words);
            break;
        case COLUMN_STRING:
            string_words(column, first, n, words);
            break;
        case COLUMN_LIST:
            ok = list_words(column, first, n, words);
            break;
        case COLUMN_ARRAY:
            ok = array_words(column, first, n, words);
            break;
        case COLUMN_STRUCT:
            ok = struct_words(column, first, n, words);
            break;
    }
    // What stands where a value is NULL says nothing.
    for (size_t i = 0; column->validity.size > 0 && i < n; i++) {
        if (!column_valid(column, first + i)) words[i] = NONE;
    }
    return ok;
}

bool fingerprint_add(const struct column *columns, size_t count, uint64_t rows,
                     uint32_t partition, uint64_t *print) {
    uint64_t folded[ROWS], words[ROWS];
    uint64_t sum = 0;
    for (uint64_t first = 0; first < rows; first += ROWS) {
        size_t n = rows - first < ROWS ? (size_t)(rows - first) : ROWS;
        uint64_t seed = spread(partition + UINT64_C(1));
        for (size_t i = 0; i < n; i++) folded[i] = seed;
        for (size_t c = 0; c < count; c++) {
            const uint64_t *plain = plain_words(&columns[c], first);
            if (plain == NULL && !column_words(&columns[c], first, n, words))
                return false;
            fold_all(folded, plain != NULL ? plain : words, n);
        }
        sum += sum_all(folded, n);
    }
    *print += sum;
    return true;
}
