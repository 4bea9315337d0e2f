// A list of byte strings, compared as memcmp does, a shorter one before its extensions:
// sort keys on their way from a sample to the bounds of a RANGE exchange.
#ifndef SHOAL_BASE_KEYS_H
#define SHOAL_BASE_KEYS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct key {
    uint8_t *data;
    size_t size;
};

struct keys {
    struct key *list;
    size_t count;
};

int key_compare(const struct key *a, const struct key *b);
// Appends a copy; false when out of memory.
bool keys_add(struct keys *keys, const uint8_t *data, size_t size);
// Replaces one key by a copy; false when out of memory.
bool keys_set(struct keys *keys, size_t index, const uint8_t *data, size_t size);
void keys_free(struct keys *keys);

// Sorted keys, to find one's place in them: what all begin with is compared once, then
// the eight bytes behind that as a number. The keys must stay as they are.
struct key_index {
    const struct keys *keys;
    uint64_t *numbers;  // [keys->count]
    size_t common;      // bytes that all begin with
};
bool key_index_make(struct key_index *index, const struct keys *keys);
// How many keys are at or below this one.
size_t key_index_at_or_below(const struct key_index *index, const uint8_t *data,
                             size_t size);
void key_index_free(struct key_index *index);

// As JSON: an array of hexadecimal strings. NULL: out of memory.
json_t *keys_to_json(const struct keys *keys);
// Appends; SHOAL_CORRUPT for what is no such array.
shoal_status keys_from_json(const json_t *array, struct keys *keys,
                            struct shoal_error *err);

#endif
