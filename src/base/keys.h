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
// How many keys are at or below this one; keys must be sorted.
size_t keys_at_or_below(const struct keys *keys, const uint8_t *data, size_t size);

// As JSON: an array of hexadecimal strings. NULL: out of memory.
json_t *keys_to_json(const struct keys *keys);
// Appends; SHOAL_CORRUPT for what is no such array.
shoal_status keys_from_json(const json_t *array, struct keys *keys,
                            struct shoal_error *err);

#endif
