// A fingerprint of rows that doesn't depend on their order: the sum of a hash of each.
// Two attempts of a task that gave the same rows, in whatever order and cut into whatever
// chunks, have the same; others all but never do. It is no defence against someone who
// makes rows collide on purpose.
#ifndef SHOAL_BASE_FINGERPRINT_H
#define SHOAL_BASE_FINGERPRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/column.h"

// Adds the rows of the columns, of one partition, to *print. False when out of memory.
// The columns hold plain values: none is packed.
bool fingerprint_add(const struct column *columns, size_t count, uint64_t rows,
                     uint32_t partition, uint64_t *print);

#endif
