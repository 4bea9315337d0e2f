#include "base/column.h"

#include <stdlib.h>
#include <string.h>

#include "base/copy.h"

bool column_reserve(struct column_buffer *buffer, size_t size) {
    size_t need = buffer->size + size;
    if (buffer->data != NULL && need <= buffer->capacity) return true;
    size_t capacity = buffer->capacity ? buffer->capacity : 256;
    while (capacity < need) capacity *= 2;
    uint8_t *data = realloc(buffer->data, capacity);
    if (data == NULL) return false;
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

bool column_copy_shape(struct column *to, const struct column *from) {
    *to = (struct column){.layout = from->layout, .width = from->width};
    if (from->child_count == 0) return true;
    to->children = calloc(from->child_count, sizeof *to->children);
    if (to->children == NULL) return false;
    for (uint32_t i = 0; i < from->child_count; i++) {
        to->child_count++;
        if (!column_copy_shape(&to->children[i], &from->children[i])) {
            column_free(to);
            return false;
        }
    }
    return true;
}

bool column_same_shape(const struct column *a, const struct column *b) {
    if (a->layout != b->layout || a->width != b->width ||
        a->child_count != b->child_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->child_count; i++) {
        if (!column_same_shape(&a->children[i], &b->children[i])) return false;
    }
    return true;
}

void column_clear(struct column *column) {
    column->rows = 0;
    column->validity.size = column->offsets.size = column->data.size = 0;
    for (uint32_t i = 0; i < column->child_count; i++) column_clear(&column->children[i]);
}

static void buffer_free(struct column_buffer *buffer) {
    if (buffer->capacity > 0) free(buffer->data);
}

void column_free(struct column *column) {
    buffer_free(&column->validity);
    buffer_free(&column->offsets);
    buffer_free(&column->data);
    for (uint32_t i = 0; i < column->child_count; i++) column_free(&column->children[i]);
    free(column->children);
    *column = (struct column){0};
}

size_t column_bytes(const struct column *column) {
    size_t bytes = column->validity.size + column->offsets.size + column->data.size;
    for (uint32_t i = 0; i < column->child_count; i++) {
        bytes += column_bytes(&column->children[i]);
    }
    return bytes;
}

static bool bit_set(const uint8_t *bits, uint64_t at) {
    return bits == NULL || (bits[at / 8] >> (at % 8) & 1);
}

// Sets bits at, at + 1, ... to those of the rows; the last byte's others are 1. Without a
// branch: NULLs come as they like.
static void append_bits(uint8_t *bits, uint64_t at, const uint8_t *valid,
                        const uint32_t *rows, size_t n) {
    unsigned byte = at % 8 == 0 ? 0 : bits[at / 8] & ((1u << (at % 8)) - 1);
    for (size_t i = 0; i < n; i++) {
        byte |= (valid[rows[i] / 8] >> (rows[i] % 8) & 1u) << (at % 8);
        if (++at % 8 != 0) continue;
        bits[at / 8 - 1] = (uint8_t)byte;
        byte = 0;
    }
    if (at % 8 != 0) bits[at / 8] = (uint8_t)(byte | 0xffu << (at % 8));
}

bool column_add_validity(struct column *column, const uint8_t *valid,
                         const uint32_t *rows, size_t n) {
    struct column_buffer *bits = &column->validity;
    bool any = bits->size > 0;
    for (size_t i = 0; !any && valid != NULL && i < n; i++)
        any = !bit_set(valid, rows[i]);
    if (!any) return true;
    size_t had = bits->size;
    size_t need = (size_t)((column->rows + n + 7) / 8);
    if (!column_reserve(bits, need - had)) return false;
    memset(bits->data + had, 0xff, need - had);
    bits->size = need;
    if (valid != NULL) append_bits(bits->data, column->rows, valid, rows, n);
    return true;
}

uint32_t *column_reserve_offsets(struct column *column, size_t n) {
    if (!column_reserve(&column->offsets, (n + 1) * sizeof(uint32_t))) return NULL;
    if (column->offsets.size == 0) {
        memset(column->offsets.data, 0, sizeof(uint32_t));
        column->offsets.size = sizeof(uint32_t);
    }
    return (uint32_t *)(void *)(column->offsets.data + column->offsets.size);
}

// The loop in copies of fixed widths, so that the compiler turns each into plain loads
// and stores.
#define ADD_FIXED(type)                                               \
    do {                                                              \
        const type *from = values;                                    \
        type *into = (type *)(void *)(to->data.data + to->data.size); \
        for (size_t i = 0; i < n; i++) into[i] = from[rows[i]];       \
    } while (0)

struct wide {
    uint64_t lower, upper;
};

bool column_add_fixed(struct column *to, const void *values, const uint32_t *rows,
                      size_t n) {
    if (!column_reserve(&to->data, n * to->width)) return false;
    switch (to->width) {
        case 1:
            ADD_FIXED(uint8_t);
            break;
        case 2:
            ADD_FIXED(uint16_t);
            break;
        case 4:
            ADD_FIXED(uint32_t);
            break;
        case 8:
            ADD_FIXED(uint64_t);
            break;
        default:
            ADD_FIXED(struct wide);
            break;
    }
    to->data.size += n * to->width;
    return true;
}

// ---- one column to another

static bool copy_strings(struct column *to, const struct column *from,
                         const uint32_t *rows, size_t n) {
    const uint32_t *source = column_offsets(from);
    uint32_t *offsets = column_reserve_offsets(to, n);
    uint64_t end = to->data.size;
    if (offsets == NULL) return false;
    for (size_t i = 0; i < n; i++) {
        end += source[rows[i] + 1] - source[rows[i]];
        offsets[i] = (uint32_t)end;
    }
    if (end > UINT32_MAX || !column_reserve(&to->data, end - to->data.size)) return false;
    uint8_t *at = to->data.data + to->data.size;
    for (size_t i = 0; i < n; i++) {
        uint32_t length = source[rows[i] + 1] - source[rows[i]];
        copy_short(at, from->data.data + source[rows[i]], length);
        at += length;
    }
    to->data.size = end;
    to->offsets.size += n * sizeof(uint32_t);
    return true;
}

// The rows of the child that the picked lists (or arrays) are made of.
static bool copy_elements(struct column *to, const struct column *from,
                          const uint32_t *rows, size_t n) {
    bool lists = to->layout == COLUMN_LIST;
    const uint32_t *source = lists ? column_offsets(from) : NULL;
    uint32_t *offsets = lists ? column_reserve_offsets(to, n) : NULL;
    if (lists && offsets == NULL) return false;
    uint64_t total = lists ? 0 : (uint64_t)n * to->width;
    for (size_t i = 0; lists && i < n; i++)
        total += source[rows[i] + 1] - source[rows[i]];
    uint64_t end = to->children[0].rows;
    if (end + total > UINT32_MAX) return false;
    uint32_t *picked = malloc((total + 1) * sizeof *picked);
    if (picked == NULL) return false;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t first = lists ? source[rows[i]] : rows[i] * to->width;
        uint32_t past = lists ? source[rows[i] + 1] : first + to->width;
        while (first < past) picked[count++] = first++;
        if (lists) offsets[i] = (uint32_t)(end + count);
    }
    if (lists) to->offsets.size += n * sizeof(uint32_t);
    bool ok = column_append(&to->children[0], &from->children[0], picked, count);
    free(picked);
    return ok;
}

bool column_append(struct column *to, const struct column *from, const uint32_t *rows,
                   size_t n) {
    if (n == 0) return true;
    const uint8_t *valid = from->validity.size > 0 ? from->validity.data : NULL;
    if (!column_add_validity(to, valid, rows, n)) return false;
    bool ok = true;
    switch (to->layout) {
        case COLUMN_FIXED:
            ok = column_add_fixed(to, from->data.data, rows, n);
            break;
        case COLUMN_STRING:
            ok = copy_strings(to, from, rows, n);
            break;
        case COLUMN_LIST:
        case COLUMN_ARRAY:
            ok = copy_elements(to, from, rows, n);
            break;
        case COLUMN_STRUCT:
            for (uint32_t c = 0; ok && c < to->child_count; c++) {
                ok = column_append(&to->children[c], &from->children[c], rows, n);
            }
            break;
    }
    if (ok) to->rows += n;
    return ok;
}
