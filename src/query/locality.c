// Which node has most of what a task reads, where nodes keep block files in folders of
// their own. It is a wish: the scheduler starts the task there if a slot is free
// (sched/locality.c).
//
// Hashing spreads each partition evenly over all nodes, and then no task minds. One does
// that reads what few tasks made, a heavy key's rows of a clustered file, or blocks of a
// stage whose tasks were unequal. So a node is preferred only where it has clearly more
// than an even share: as Spark prefers one with a fifth of a reduce task's bytes
// (MapOutputTracker, REDUCER_PREF_LOCS_FRACTION), but measured by the nodes there are.
#include <stdlib.h>
#include <string.h>

#include "block/places.h"
#include "query/run.h"

#define EVEN_SHARES 1.25
// More files times partitions, or nodes times partitions, are not gone through, which
// takes a tenth of a second.
#define PAIRS_MOST (UINT64_C(1) << 24)

// Bytes of each column on each node. A column is a partition or, of a LEAF_SPLIT, a task.
struct shares {
    uint32_t nodes, columns;
    double *bytes;   // [nodes * columns]
    double *all;     // [columns], on any node or none
    uint64_t *rows;  // [columns], of one file
};

uint32_t run_node(const struct run *run, uint32_t worker) {
    const struct engine *engine = run->session->engine;
    bool knows = engine != NULL && engine->ops->node != NULL;
    return knows ? engine->ops->node(engine, worker) : SCHED_ANYWHERE;
}

static uint32_t file_node(const struct run *run, const struct task_file *file) {
    uint32_t writer = 0;
    return places_writer(file->path, &writer) ? run_node(run, writer) : SCHED_ANYWHERE;
}

void run_count_local(struct run *run, const struct sched_action *action) {
    const uint32_t *prefers = run->runs[action->stage].prefers;
    if (run->stats == NULL || prefers == NULL) return;
    uint32_t node = prefers[action->task];
    run->stats[action->stage].placed += node != SCHED_ANYWHERE;
    run->stats[action->stage].near +=
        node != SCHED_ANYWHERE && node == run_node(run, action->worker);
}

static void add_bytes(struct shares *shares, uint32_t node, uint32_t column,
                      double bytes) {
    shares->all[column] += bytes;
    if (node != SCHED_ANYWHERE)
        shares->bytes[(size_t)node * shares->columns + column] += bytes;
}

// What the file has of each partition, by its rows.
static void add_file(struct shares *shares, uint32_t node, const struct task_file *file) {
    if (file->rows.count != shares->columns || file->rows.total == 0) return;
    double width = (double)file->bytes / (double)file->rows.total;
    memset(shares->rows, 0, shares->columns * sizeof *shares->rows);
    sizes_add_to(&file->rows, shares->rows);
    for (uint32_t c = 0; c < shares->columns; c++)
        add_bytes(shares, node, c, width * (double)shares->rows[c]);
}

// The files that one leaf's tasks share out; shares NULL: only counts them, and the
// nodes.
static size_t each_file(const struct run *run, const struct stage_leaf *leaf,
                        struct shares *shares, uint32_t *nodes) {
    size_t number = 0;
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        const struct stage_run *from = &run->runs[s];
        if (run->stages->stages[s].exchange != leaf->exchange) continue;
        for (size_t f = 0; f < from->file_count; f++, number++) {
            uint32_t node = file_node(run, &from->files[f]);
            if (node != SCHED_ANYWHERE && node >= *nodes) *nodes = node + 1;
            if (shares == NULL) continue;
            if (leaf->kind == LEAF_SPLIT) {
                add_bytes(shares, node, (uint32_t)(number % shares->columns),
                          (double)from->files[f].bytes);
            } else {
                add_file(shares, node, &from->files[f]);
            }
        }
    }
    return number;
}

static bool shares_out(const struct stage_leaf *leaf) {
    return leaf->kind == LEAF_PARTITION || leaf->kind == LEAF_MERGE ||
           leaf->kind == LEAF_SPLIT;
}

// The node with most of the columns' bytes, if that is worth anything.
static uint32_t best_node(const struct shares *shares, uint32_t nodes_up, uint32_t first,
                          uint32_t last) {
    uint32_t best = SCHED_ANYWHERE;
    double most = 0, all = 0;
    for (uint32_t c = first; c <= last; c++) all += shares->all[c];
    for (uint32_t n = 0; n < shares->nodes; n++) {
        double bytes = 0;
        for (uint32_t c = first; c <= last; c++)
            bytes += shares->bytes[(size_t)n * shares->columns + c];
        if (bytes > most) {
            most = bytes;
            best = n;
        }
    }
    return most * nodes_up > all * EVEN_SHARES ? best : SCHED_ANYWHERE;
}

// Of the nodes where a worker is up; 0: no memory to count them.
static uint32_t count_nodes(const struct run *run) {
    const struct session *session = run->session;
    uint32_t count = 0;
    size_t most = 0;
    for (size_t i = 0; i < session->up_count; i++) {
        uint32_t node = run_node(run, session->up[i]);
        if (node != SCHED_ANYWHERE && node >= most) most = (size_t)node + 1;
    }
    if (most == 0) return 0;
    bool *seen = calloc(most, sizeof *seen);
    for (size_t i = 0; seen != NULL && i < session->up_count; i++) {
        uint32_t node = run_node(run, session->up[i]);
        if (node == SCHED_ANYWHERE || seen[node]) continue;
        seen[node] = true;
        count++;
    }
    free(seen);
    return count;
}

static void prefer(struct run *run, uint32_t index, const struct stage_leaf *leaf,
                   const struct shares *shares, uint32_t nodes_up) {
    struct stage_run *state = &run->runs[index];
    uint32_t *prefers = malloc((state->tasks + 1) * sizeof *prefers);
    if (prefers == NULL) return;
    for (uint32_t t = 0; t < state->tasks; t++) {
        struct adapt_piece piece = {.first = t, .last = t};
        if (leaf->kind == LEAF_PARTITION) piece = run_piece(state, t);
        if (leaf->kind == LEAF_MERGE) piece.first = piece.last = t / leaf->slices;
        prefers[t] = best_node(shares, nodes_up, piece.first, piece.last);
    }
    if (!sched_prefer(run->sched, state->in_sched, prefers)) {
        free(prefers);
        return;
    }
    free(state->prefers);
    state->prefers = prefers;
}

void run_locate(struct run *run, uint32_t index) {
    const struct stage *stage = &run->stages->stages[index];
    const struct stage_run *state = &run->runs[index];
    const struct stage_leaf *driving = NULL;
    uint32_t nodes_up = count_nodes(run);
    struct shares shares = {0};
    uint64_t files = 0;
    if (nodes_up < 2 || stage->in_driver || state->tasks == 0) return;
    for (size_t l = 0; l < stage->leaf_count; l++) {
        if (!shares_out(&stage->leaves[l])) continue;
        driving = &stage->leaves[l];
        files += each_file(run, driving, NULL, &shares.nodes);
    }
    if (driving == NULL || shares.nodes == 0) return;
    shares.columns =
        driving->kind == LEAF_SPLIT ? state->tasks : run->partitions[driving->exchange];
    size_t cells = (size_t)shares.nodes * shares.columns;
    if (files * shares.columns > PAIRS_MOST || cells > PAIRS_MOST) return;
    shares.bytes = calloc(cells + 1, sizeof *shares.bytes);
    shares.all = calloc(shares.columns + 1, sizeof *shares.all);
    shares.rows = calloc(shares.columns + 1, sizeof *shares.rows);
    if (shares.bytes != NULL && shares.all != NULL && shares.rows != NULL) {
        for (size_t l = 0; l < stage->leaf_count; l++) {
            if (shares_out(&stage->leaves[l]))
                (void)each_file(run, &stage->leaves[l], &shares, &shares.nodes);
        }
        prefer(run, index, driving, &shares, nodes_up);
    }
    free(shares.bytes);
    free(shares.all);
    free(shares.rows);
}
