// How large each of many things is, a byte each: what the driver keeps of the partitions
// of a map task's output. 20,000 tasks of 20,000 partitions take 400 MB, not 3.2 GB.
//
// A size is kept in log scale, as Spark's MapStatus keeps its own: below 16 exactly,
// above as one of eight steps to a power of two, which is at most 1/16 (6.25%) off; what
// is more than 2^34 is kept as about that. The total is exact. When most are zero only
// the others are kept, five bytes each.
#ifndef SHOAL_BASE_SIZES_H
#define SHOAL_BASE_SIZES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct sizes {
    uint32_t count;
    uint32_t kept;   // codes there are: count, or fewer when `at` says of what
    uint32_t *at;    // ascending; NULL: of all
    uint8_t *codes;  // [kept]
    uint64_t total;  // exact
};

// False when out of memory.
bool sizes_make(struct sizes *sizes, const uint64_t *values, uint32_t count);
void sizes_free(struct sizes *sizes);

uint64_t sizes_get(const struct sizes *sizes, uint32_t index);
// Is any of [first, last], both included, more than zero?
bool sizes_any(const struct sizes *sizes, uint32_t first, uint32_t last);
// Adds each to its sum, sums[count].
void sizes_add_to(const struct sizes *sizes, uint64_t *sums);

// The code of a value, and a value of that code.
uint8_t sizes_code(uint64_t value);
uint64_t sizes_value(uint8_t code);

// As JSON: the total, and the rest as base64. NULL: out of memory.
json_t *sizes_to_json(const struct sizes *sizes);
// Of `count` sizes; SHOAL_CORRUPT for what is none.
shoal_status sizes_from_json(const json_t *json, uint32_t count, struct sizes *sizes,
                             struct shoal_error *err);

#endif
