// Partial aggregates that bring as many groups as there were rows cost their hash table
// and save nothing: the tasks that are left pass rows on as groups of one.
//
// Where a half is saved, it is still dearer. Of 100 million rows of 20 million keys a row
// cost 140 ns in a task's table, which no cache holds, and a group that came of it 110 ns
// more; a row that was passed on 60, and 90 in a partition's small table. Those of a
// heavy key, NULL say, are cheaper than that. A network asks for fewer rows: so a half.
#include "adapt/adapt.h"

#define ENOUGH_ROWS 100000  // to judge by
#define REDUCES 0.5         // groups of the rows, from where on it doesn't

bool adapt_demote(uint64_t rows_read, uint64_t groups_made, enum adapt_skew skew,
                  uint64_t seed) {
    if (skew == ADAPT_ALWAYS) return true;
    if (skew == ADAPT_RANDOM) return (seed + groups_made) % 3 == 0;
    return rows_read >= ENOUGH_ROWS && (double)groups_made > REDUCES * (double)rows_read;
}
