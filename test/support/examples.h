// Examples of what shoal writes and sends, for the seeds of fuzzers and for tests: rich
// in what they have, and the same each time.
#ifndef SHOAL_TEST_EXAMPLES_H
#define SHOAL_TEST_EXAMPLES_H

#include "base/column.h"
#include "task/task.h"

// Columns of each layout.
#define EXAMPLE_COLUMNS 6
const struct column *example_shapes(void);
// Those of them that have offsets, side by side.
#define EXAMPLE_OFFSET_COLUMNS 2
static inline const struct column *example_offset_shapes(void) {
    return example_shapes() + 1;
}
// Up to 500 rows more, some NULL; false when out of memory.
bool example_add_rows(struct column *column, uint32_t first, size_t rows);

// Both are valid until the next call; rich: with all that such a message may have.
const struct task *example_task(bool rich);
const struct task_output *example_output(bool rich);

#endif
