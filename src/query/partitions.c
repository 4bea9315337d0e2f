// How many partitions an exchange has: before anything ran there are only estimates, and
// so there are as many as the estimate asks for. When the rows are there, adaptive.c says
// which task reads what of them.
#include <stdlib.h>

#include "query/run.h"

#define SORTED_ROWS 2000000  // of a RangeExchange's: sorting gains little from a cache
#define PARTITIONS_MOST 1024

static uint32_t root_of(const uint32_t *parents, uint32_t exchange) {
    while (parents[exchange] != exchange) exchange = parents[exchange];
    return exchange;
}

// Exchanges that one stage reads by partition are of one group.
static void find_groups(const struct stages *stages, uint32_t *parents) {
    for (uint32_t e = 0; e < stages->exchange_count; e++) parents[e] = e;
    for (size_t s = 0; s < stages->count; s++) {
        uint32_t first = UINT32_MAX;
        for (size_t l = 0; l < stages->stages[s].leaf_count; l++) {
            const struct stage_leaf *leaf = &stages->stages[s].leaves[l];
            if (leaf->kind != LEAF_PARTITION) continue;
            if (first == UINT32_MAX) first = leaf->exchange;
            parents[root_of(parents, leaf->exchange)] = root_of(parents, first);
        }
    }
}

shoal_status partitions_choose(const struct session_options *options,
                               const struct stages *stages, uint32_t **out,
                               struct shoal_error *err) {
    uint32_t given = stages->partitions ? stages->partitions : options->partitions;
    size_t count = stages->exchange_count;
    uint64_t least = (uint64_t)options->workers * options->threads * ADAPT_TASKS_A_SLOT;
    uint32_t *parents = calloc(count + 1, sizeof *parents);
    uint64_t *rows = calloc(count + 1, sizeof *rows);
    uint32_t *partitions = *out = calloc(count + 1, sizeof *partitions);
    bool ok = parents != NULL && rows != NULL && partitions != NULL;
    if (ok) find_groups(stages, parents);
    for (size_t s = 0; ok && s + 1 < stages->count; s++)
        rows[stages->stages[s].exchange] += stages->stages[s].estimated_rows;
    for (uint32_t e = 0; ok && e < count; e++) {
        uint64_t *most = &rows[root_of(parents, e)];
        if (rows[e] > *most) *most = rows[e];
    }
    for (uint32_t e = 0; ok && e < count; e++) {
        bool sorted = stages->exchanges[e].kind == EXCHANGE_RANGE;
        uint64_t wanted =
            rows[root_of(parents, e)] / (sorted ? SORTED_ROWS : PARTITION_ROWS);
        if (wanted > PARTITIONS_MOST) wanted = PARTITIONS_MOST;
        if (wanted < least) wanted = least;
        if (stages->times > 0) wanted *= stages->times;
        partitions[e] = given ? given : (uint32_t)wanted;
        if (stages->exchanges[e].groups > 0) partitions[e] = stages->exchanges[e].groups;
    }
    free(parents);
    free(rows);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}
