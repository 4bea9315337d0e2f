// One side of a join is there and came out small, the other has not begun: then the other
// side's tasks join as they scan, each with all of the small side, instead of writing
// rows that are read again to be joined. As the planner weighs it by estimates, here by
// what is there.
#include "adapt/adapt.h"

#define UNPACKED 2  // times its bytes in blocks

bool adapt_broadcast(const struct adapt_sides *sides) {
    uint64_t builds = sides->built_rows * sides->tasks;
    uint64_t table =
        sides->built_bytes * UNPACKED + sides->built_rows * ADAPT_BUILD_BYTES;
    if (sides->built_rows > sides->rows_most) return false;
    if (sides->bytes_most > 0 && table > sides->bytes_most) return false;
    // A row that is built costs about three that pass through a shuffle's write or read.
    return builds <= ADAPT_BUILDS_ALWAYS ||
           3 * builds < 2 * (sides->built_rows + sides->other_rows);
}
