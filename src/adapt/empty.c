// A join whose one side has no rows in a partition gives none there, whatever the other
// has: its task need not run, and the other's rows need not be read.
#include "adapt/adapt.h"

static bool is_empty(const struct adapt_stage *stage, uint32_t partition) {
    for (size_t i = 0; i < stage->input_count; i++) {
        const struct adapt_input *input = &stage->inputs[i];
        if (input->needed && input->rows[partition] == 0) return true;
    }
    return false;
}

bool adapt_drop_empty(const struct adapt_stage *stage, struct adapt_pieces *pieces) {
    size_t kept = 0;
    uint64_t rows = 0;
    if (stage->only_slices || (stage->fixed && stage->skew != ADAPT_RANDOM)) return true;
    for (size_t i = 0; i < pieces->count; i++) {
        uint32_t partition = pieces->list[i].first;
        bool last = kept == 0 && i + 1 == pieces->count;  // one must say: no rows
        bool whole = pieces->list[i].cut == ADAPT_WHOLE;
        if (whole && !last && is_empty(stage, partition)) {
            rows += adapt_cost(stage, partition);
        } else {
            pieces->list[kept++] = pieces->list[i];
        }
    }
    // Where no input has rows there is nothing to say.
    if (rows > 0) {
        text_printf(&pieces->reasons,
                    "%zu of %zu partitions have no task: what must match %llu rows there "
                    "has none\n",
                    pieces->count - kept, pieces->count, (unsigned long long)rows);
    }
    pieces->count = kept;
    return true;
}
