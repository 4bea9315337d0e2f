#include "base/column.h"

#include <stdlib.h>
#include <string.h>

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

bool column_add_validity(struct column *column, const uint64_t *valid,
                         const uint32_t *rows, size_t n) {
    struct column_buffer *bits = &column->validity;
    bool any = bits->size > 0;
    for (size_t i = 0; !any && valid != NULL && i < n; i++) {
        any = !(valid[rows[i] / 64] >> (rows[i] % 64) & 1);
    }
    if (!any) return true;
    size_t had = bits->size;
    size_t need = (size_t)((column->rows + n + 7) / 8);
    if (!column_reserve(bits, need - had)) return false;
    memset(bits->data + had, 0xff, need - had);
    bits->size = need;
    for (size_t i = 0; valid != NULL && i < n; i++) {
        uint64_t at = column->rows + i;
        if (!(valid[rows[i] / 64] >> (rows[i] % 64) & 1)) {
            bits->data[at / 8] &= (uint8_t) ~(1u << (at % 8));
        }
    }
    return true;
}
