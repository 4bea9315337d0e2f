// There are as many partitions as the estimate asks for, or as level out; neighbours that
// are small together become one task.
#include "adapt/adapt.h"

// May b go to the task of a, which has so many rows so far?
static bool joins(const struct adapt_stage *stage, struct adapt_pieces *pieces,
                  const struct adapt_piece *a, const struct adapt_piece *b,
                  uint64_t rows) {
    if (a->cut != ADAPT_WHOLE || b->cut != ADAPT_WHOLE) return false;
    if (stage->skew == ADAPT_RANDOM) return adapt_random(pieces, 2) == 0;
    // Partitions between them have no task of their own, but are read too.
    for (uint32_t p = a->last + 1; p < b->first; p++) rows += adapt_cost(stage, p);
    return rows == 0 || rows + adapt_cost(stage, b->first) / 2 <= pieces->target;
}

bool adapt_coalesce(const struct adapt_stage *stage, struct adapt_pieces *pieces) {
    size_t kept = 0, whole = 0, tasks = 0;
    uint64_t rows = 0;
    if (stage->only_slices || (stage->fixed && stage->skew != ADAPT_RANDOM)) return true;
    for (size_t i = 0; i < pieces->count; i++) {
        struct adapt_piece piece = pieces->list[i];
        uint64_t more = adapt_cost(stage, piece.first);
        whole += piece.cut == ADAPT_WHOLE;
        if (kept > 0 && joins(stage, pieces, &pieces->list[kept - 1], &piece, rows)) {
            pieces->list[kept - 1].last = piece.last;
            rows += more;
            continue;
        }
        tasks += piece.cut == ADAPT_WHOLE;
        pieces->list[kept++] = piece;
        rows = more;
    }
    pieces->count = kept;
    if (tasks < whole) {
        text_printf(&pieces->reasons,
                    "%zu partitions are read by %zu tasks, about %llu rows each\n", whole,
                    tasks, (unsigned long long)pieces->target);
    }
    return true;
}
