// Which exchanges are done in two levels: those of so many segments that each is small
// (dist/levels.c says how).
#include <math.h>
#include <stdlib.h>

#include "query/session.h"

#define SEGMENT_BYTES (64u << 10)  // smaller ones are not worth a read each
#define COLUMN_BYTES 16            // of a value, guessed

struct levels levels_choose(uint64_t files, uint32_t partitions, uint64_t bytes,
                            uint64_t most) {
    uint64_t segments = files * partitions;
    struct levels levels = {0};
    if (segments <= most || bytes / SEGMENT_BYTES >= segments) return levels;
    // Square roots make the files of both levels few together, and a task of each reads
    // few: files * groups + slices * partitions segments.
    levels.groups = (uint32_t)ceil(sqrt(partitions));
    levels.slices = (uint32_t)ceil(sqrt((double)files));
    return levels;
}

// The block files that the stage will write, about.
static uint64_t count_files(const struct session_options *options,
                            const struct stage *stage, const uint32_t *partitions) {
    uint64_t scans = stage->single ? 0 : session_scan_tasks(options, stage);
    uint64_t tasks = scans > 0 ? scans : 1;
    for (size_t l = 0; !stage->single && l < stage->leaf_count; l++) {
        const struct stage_leaf *leaf = &stage->leaves[l];
        if (leaf->kind == LEAF_RANGE) tasks = leaf->range_count;
        if (leaf->kind == LEAF_SPLIT) tasks = options->workers;
        if (leaf->kind == LEAF_PARTITION) tasks = partitions[leaf->exchange];
    }
    return stage->wide ? tasks * options->threads : tasks;
}

shoal_status levels_add(const struct session_options *options, struct stages *stages,
                        struct shoal_error *err) {
    uint32_t *partitions = NULL;
    size_t count = stages->exchange_count;
    if (options->merge_segments < 0) return SHOAL_OK;
    shoal_status status = partitions_choose(options, stages, &partitions, err);
    for (uint32_t e = 0; status == SHOAL_OK && e < count; e++) {
        const struct exchange *exchange = &stages->exchanges[e];
        uint64_t files = 0, rows = 0;
        if (exchange->kind != EXCHANGE_HASH) continue;
        for (size_t s = 0; s < stages->count; s++) {
            if (stages->stages[s].exchange != e) continue;
            files += count_files(options, &stages->stages[s], partitions);
            rows += stages->stages[s].estimated_rows;
        }
        uint64_t bytes = rows * exchange->schema.count * COLUMN_BYTES;
        struct levels levels =
            levels_choose(files, partitions[e], bytes, (uint64_t)options->merge_segments);
        if (levels.groups > 0)
            status = stages_add_level(stages, e, levels.groups, levels.slices, err);
    }
    free(partitions);
    return status;
}
