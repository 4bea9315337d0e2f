// Partial aggregates that bring as many groups as there were rows cost their hash table
// and save nothing: the tasks that are left pass rows on as groups of one.
#include "adapt/adapt.h"

#define ENOUGH_ROWS 100000  // to judge by
#define REDUCES 0.75        // groups of the rows, from where on it doesn't

bool adapt_demote(uint64_t rows_read, uint64_t groups_made, enum adapt_skew skew,
                  uint64_t seed) {
    if (skew == ADAPT_ALWAYS) return true;
    if (skew == ADAPT_RANDOM) return (seed + groups_made) % 3 == 0;
    return rows_read >= ENOUGH_ROWS && (double)groups_made > REDUCES * (double)rows_read;
}
