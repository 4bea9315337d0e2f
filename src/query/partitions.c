// How many partitions an exchange has, and how many of them a task reads.
//
// Before anything ran there are only estimates, and a partition cannot be cut later: so
// there are as many as the estimate asks for. When the rows are there, neighbours that
// are small together become one task (Spark's adaptive execution coalesces the same way).
#include <stdlib.h>

#include "query/run.h"

#define SORTED_ROWS 2000000  // of a RangeExchange's: sorting gains little from a cache
#define PARTITIONS_A_SLOT 4  // at least, to level out uneven ones
#define PARTITIONS_MOST 1024
#define TASK_ROWS_LEAST 50000  // fewer rows take less time than starting a task

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
    uint32_t given = options->partitions;
    size_t count = stages->exchange_count;
    uint64_t least = (uint64_t)options->workers * options->threads * PARTITIONS_A_SLOT;
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
        partitions[e] = given ? given : (uint32_t)wanted;
        if (stages->exchanges[e].groups > 0) partitions[e] = stages->exchanges[e].groups;
    }
    free(parents);
    free(rows);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

// Rows of each partition, about, over all exchanges that the stage reads by partition.
static void count_rows(const struct run *run, const struct stage *stage, uint64_t *rows) {
    for (size_t l = 0; l < stage->leaf_count; l++) {
        if (stage->leaves[l].kind != LEAF_PARTITION) continue;
        for (size_t s = 0; s + 1 < run->stages->count; s++) {
            if (run->stages->stages[s].exchange != stage->leaves[l].exchange) continue;
            for (size_t f = 0; f < run->runs[s].file_count; f++)
                sizes_add_to(&run->runs[s].files[f].rows, rows);
        }
    }
}

// Ends of runs of neighbours of about as many rows as a task should have. Returns how
// many there are.
static uint32_t put_together(const uint64_t *rows, uint32_t partitions, uint32_t slots,
                             uint32_t *ends) {
    uint64_t total = 0, sum = 0;
    uint32_t tasks = 0;
    for (uint32_t p = 0; p < partitions; p++) total += rows[p];
    uint64_t most = total / ((uint64_t)slots * PARTITIONS_A_SLOT);
    if (most > PARTITION_ROWS) most = PARTITION_ROWS;
    if (most < TASK_ROWS_LEAST) most = TASK_ROWS_LEAST;
    for (uint32_t p = 0; p < partitions; p++) {
        if (sum > 0 && sum + rows[p] / 2 > most) {
            ends[tasks++] = p;
            sum = 0;
        }
        sum += rows[p];
    }
    ends[tasks++] = partitions;
    return tasks;
}

shoal_status run_coalesce(struct run *run, uint32_t index, struct shoal_error *err) {
    const struct stage *stage = &run->stages->stages[index];
    struct stage_run *state = &run->runs[index];
    const struct stage_leaf *leaf = NULL;
    for (size_t l = 0; l < stage->leaf_count; l++) {
        if (stage->leaves[l].kind == LEAF_PARTITION) leaf = &stage->leaves[l];
    }
    if (leaf == NULL || state->ends != NULL || run->session->options.partitions != 0)
        return SHOAL_OK;
    uint32_t partitions = run->partitions[leaf->exchange];
    uint64_t *rows = calloc(partitions, sizeof *rows);
    state->ends = calloc(partitions, sizeof *state->ends);
    if (rows == NULL || state->ends == NULL) {
        free(rows);
        return shoal_no_memory(err);
    }
    count_rows(run, stage, rows);
    uint32_t tasks = put_together(rows, partitions, run->slots, state->ends);
    free(rows);
    if (!sched_resize_stage(run->sched, state->in_sched, tasks)) {
        return shoal_fail(err, SHOAL_INTERNAL,
                          "stage %u is to have %u tasks, but has begun", index, tasks);
    }
    state->tasks = tasks;
    if (run->stats != NULL) run->stats[index].partitions = partitions;
    return SHOAL_OK;
}

void run_task_partitions(const struct stage_run *stage, uint32_t task, uint32_t *first,
                         uint32_t *last) {
    if (stage->ends == NULL) {
        *first = *last = task;
        return;
    }
    *first = task == 0 ? 0 : stage->ends[task - 1];
    *last = stage->ends[task] - 1;
}
