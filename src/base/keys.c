#include "base/keys.h"

#include <stdlib.h>
#include <string.h>

static int compare(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) {
    size_t common = a_size < b_size ? a_size : b_size;
    int order = common ? memcmp(a, b, common) : 0;
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

int key_compare(const struct key *a, const struct key *b) {
    return compare(a->data, a->size, b->data, b->size);
}

static bool copy(struct key *key, const uint8_t *data, size_t size) {
    uint8_t *bytes = malloc(size + 1);
    if (bytes == NULL) return false;
    if (size > 0) memcpy(bytes, data, size);
    *key = (struct key){bytes, size};
    return true;
}

bool keys_add(struct keys *keys, const uint8_t *data, size_t size) {
    // Grows at powers of two.
    if ((keys->count & (keys->count - 1)) == 0) {
        size_t capacity = keys->count ? keys->count * 2 : 1;
        struct key *list = realloc(keys->list, capacity * sizeof *list);
        if (list == NULL) return false;
        keys->list = list;
    }
    if (!copy(&keys->list[keys->count], data, size)) return false;
    keys->count++;
    return true;
}

bool keys_set(struct keys *keys, size_t index, const uint8_t *data, size_t size) {
    struct key key;
    if (!copy(&key, data, size)) return false;
    free(keys->list[index].data);
    keys->list[index] = key;
    return true;
}

void keys_free(struct keys *keys) {
    for (size_t i = 0; i < keys->count; i++) free(keys->list[i].data);
    free(keys->list);
    *keys = (struct keys){0};
}

// Up to eight bytes as a number of the same order, zeros behind the end.
static uint64_t number_of(const uint8_t *data, size_t size) {
    uint64_t number = 0;
    if (size >= sizeof number) {
        memcpy(&number, data, sizeof number);
        return __builtin_bswap64(number);
    }
    for (size_t i = 0; i < size; i++) number |= (uint64_t)data[i] << (56 - 8 * i);
    return number;
}

bool key_index_make(struct key_index *index, const struct keys *keys) {
    *index = (struct key_index){.keys = keys};
    index->numbers = calloc(keys->count + 1, sizeof *index->numbers);
    if (index->numbers == NULL) return false;
    // They are sorted: what the first and the last begin with, all do.
    for (size_t i = 0; keys->count > 0; i++) {
        const struct key *first = &keys->list[0], *last = &keys->list[keys->count - 1];
        if (i == first->size || i == last->size || first->data[i] != last->data[i]) break;
        index->common = i + 1;
    }
    for (size_t i = 0; i < keys->count; i++) {
        index->numbers[i] = number_of(keys->list[i].data + index->common,
                                      keys->list[i].size - index->common);
    }
    return true;
}

size_t key_index_at_or_below(const struct key_index *index, const uint8_t *data,
                             size_t size) {
    const struct keys *keys = index->keys;
    size_t common = index->common, low = 0, count = keys->count;
    if (count == 0) return 0;
    int order = memcmp(data, keys->list[0].data, size < common ? size : common);
    if (order < 0 || (order == 0 && size < common)) return 0;
    if (order > 0) return count;
    uint64_t number = number_of(data + common, size - common);
    // The first that is not below. No branch depends on the key: it would be guessed
    // wrong every other time.
    for (; count > 1; count -= count / 2) {
        size_t half = count / 2;
        low += half & -(size_t)(index->numbers[low + half - 1] < number);
    }
    low += index->numbers[low] < number;
    while (low < keys->count && index->numbers[low] == number &&
           compare(keys->list[low].data, keys->list[low].size, data, size) <= 0)
        low++;
    return low;
}

void key_index_free(struct key_index *index) {
    free(index->numbers);
    *index = (struct key_index){0};
}

json_t *keys_to_json(const struct keys *keys) {
    static const char digits[] = "0123456789abcdef";
    json_t *array = json_array();
    for (size_t i = 0; i < keys->count; i++) {
        const struct key *key = &keys->list[i];
        char *hex = malloc(key->size * 2 + 1);
        if (hex == NULL) {
            json_decref(array);
            return NULL;
        }
        for (size_t b = 0; b < key->size; b++) {
            hex[b * 2] = digits[key->data[b] >> 4];
            hex[b * 2 + 1] = digits[key->data[b] & 15];
        }
        bool added = json_array_append_new(array, json_stringn(hex, key->size * 2)) == 0;
        free(hex);
        if (!added) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

shoal_status keys_from_json(const json_t *array, struct keys *keys,
                            struct shoal_error *err) {
    size_t i;
    json_t *item;
    if (!json_is_array(array)) {
        return shoal_fail(err, SHOAL_CORRUPT, "a list of keys is missing");
    }
    json_array_foreach((json_t *)array, i, item) {
        const char *hex = json_string_value(item);
        size_t size = json_string_length(item);
        uint8_t *bytes = malloc(size / 2 + 1);
        if (bytes == NULL) return shoal_no_memory(err);
        bool ok = hex != NULL && size % 2 == 0;
        for (size_t b = 0; ok && b < size / 2; b++) {
            int high = digit(hex[b * 2]), low = digit(hex[b * 2 + 1]);
            ok = high >= 0 && low >= 0;
            if (ok) bytes[b] = (uint8_t)(high << 4 | low);
        }
        if (!ok) {
            free(bytes);
            return shoal_fail(err, SHOAL_CORRUPT, "key %zu is not hexadecimal", i);
        }
        bool added = keys_add(keys, bytes, size / 2);
        free(bytes);
        if (!added) return shoal_no_memory(err);
    }
    return SHOAL_OK;
}
