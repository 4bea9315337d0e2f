// Windows over heavy partitions (dist/window_parts.c): where a partition's parts begin,
// and which tasks read them.
//
//   the sampler's tasks read slices of it, by the rules of src/adapt;
//   the scatterer's read the same slices, once the samples say where the parts begin;
//   the summing stage, and the one that has the windows, have a task for each part.
#include <stdlib.h>
#include <string.h>

#include "query/run.h"

// Each part's task reads a summary of each of the others.
#define PARTS_MOST 256

static const struct stage_leaf *find_leaf(const struct stage *stage,
                                          enum leaf_kind kind) {
    for (size_t l = 0; l < stage->leaf_count; l++) {
        if (stage->leaves[l].kind == kind) return &stage->leaves[l];
    }
    return NULL;
}

const struct run_part *run_find_part(const struct stage_run *scatterer,
                                     uint32_t partition) {
    for (size_t i = 0; i < scatterer->part_count; i++) {
        if (scatterer->parts[i].partition == partition) return &scatterer->parts[i];
    }
    return NULL;
}

void run_parts_free(struct stage_run *stage) {
    for (size_t i = 0; i < stage->part_count; i++) bounds_free(&stage->parts[i].bounds);
    free(stage->parts);
    stage->parts = NULL;
    stage->part_count = 0;
}

// Of the PARTITION BY, a sort key's first columns.
struct group_keys {
    const struct schema *schema;
    size_t count;
};

// In a sort key (DuckDB's create_sort_key, 'ASC NULLS LAST') a byte says that a value is
// NULL, or another that its bytes follow; 0 ends a text.
#define KEY_NULL 2

static size_t group_bytes(const void *context, const struct key *key) {
    const struct group_keys *keys = context;
    size_t at = 0;
    if (keys->schema->count < keys->count) return 0;
    for (size_t i = 0; i < keys->count; i++) {
        const char *type = keys->schema->columns[i].type;
        size_t bytes = type_bytes(type);
        if (at >= key->size) return 0;
        if (key->data[at++] == KEY_NULL) continue;
        if (bytes == 0) {
            const uint8_t *end = strcmp(type, "VARCHAR") == 0 && at < key->size
                                     ? memchr(key->data + at, 0, key->size - at)
                                     : NULL;
            if (end == NULL) return 0;
            bytes = (size_t)(end - (key->data + at)) + 1;
        }
        at += bytes;
    }
    return at <= key->size ? at : 0;
}

// The partition's bounds, from what the tasks that read it have sampled.
static bool cut_partition(const struct run *run, const struct stage_run *sampler,
                          const struct exchange *to, struct run_part *part) {
    struct weighted_key *samples = NULL;
    size_t count = 0;
    bool ok = true;
    for (size_t f = 0; ok && f < sampler->file_count; f++) {
        const struct adapt_piece *piece = &sampler->pieces.list[sampler->file_tasks[f]];
        if (piece->first == part->partition)
            ok = run_add_samples(&sampler->files[f], &samples, &count);
    }
    bool always = run->session->options.skew == ADAPT_ALWAYS;
    struct group_keys keys = {&run->stages->exchanges[to->bounds_from].schema,
                              to->group_keys};
    ok = ok && (to->spread ? bounds_cut(samples, count, part->count,
                                        always ? 0 : SPREAD_SHARE, &part->bounds)
                           : bounds_cut_groups(samples, count, part->count, group_bytes,
                                               &keys, &part->bounds));
    free(samples);
    if (!ok) return false;
    size_t bounds = part->bounds.keys.count;
    part->count = bounds == 0 ? 1 : part->bounds.spans[bounds - 1].above + 1;
    return true;
}

// What the sampler read in slices is read in the same, and scattered into as many parts.
static bool scatter_partitions(struct run *run, size_t index, const struct stage_run *by,
                               const struct exchange *to) {
    struct stage_run *state = &run->runs[index];
    uint32_t most = 1;
    state->parts = calloc(by->pieces.count + 1, sizeof *state->parts);
    if (state->parts == NULL) return false;
    for (size_t i = 0; i < by->pieces.count; i++) {
        const struct adapt_piece *piece = &by->pieces.list[i];
        if (!adapt_add(&state->pieces, *piece)) return false;
        if (run_find_part(state, piece->first) != NULL) continue;
        struct run_part *part = &state->parts[state->part_count++];
        uint32_t count = piece->slices < PARTS_MOST ? piece->slices : PARTS_MOST;
        *part = (struct run_part){.partition = piece->first, .count = count};
        if (!cut_partition(run, by, to, part)) return false;
        if (part->count > most) most = part->count;
    }
    run->partitions[to->id] = most;
    return true;
}

static bool take_parts(const struct stage_run *scatterer, struct adapt_pieces *pieces) {
    for (size_t i = 0; i < scatterer->part_count; i++) {
        const struct run_part *part = &scatterer->parts[i];
        struct adapt_piece piece = {.first = part->partition,
                                    .last = part->partition,
                                    .cut = ADAPT_COMBINED,
                                    .slices = part->count};
        for (; piece.slice < part->count; piece.slice++) {
            if (!adapt_add(pieces, piece)) return false;
        }
    }
    return true;
}

bool run_adapt_parts(struct run *run, uint32_t index, bool *done) {
    const struct stage *stage = &run->stages->stages[index];
    const struct stage_leaf *sampled = find_leaf(stage, LEAF_SAMPLED);
    const struct stage_leaf *part = stage->combines ? find_leaf(stage, LEAF_PART) : NULL;
    // A sort's bounds are one list, cut when its first task is made.
    if (stage->exchange == UINT32_MAX ||
        run->stages->exchanges[stage->exchange].kind != EXCHANGE_PARTS)
        sampled = NULL;
    *done = sampled != NULL || part != NULL;
    if (sampled != NULL)
        return scatter_partitions(run, index,
                                  &run->runs[run_feeder(run, sampled->exchange)],
                                  &run->stages->exchanges[stage->exchange]);
    return part == NULL || take_parts(&run->runs[run_feeder(run, part->exchange)],
                                      &run->runs[index].pieces);
}

void run_tell_parts(const struct run *run, uint32_t exchange, uint32_t *combined) {
    const struct stage_run *scatterer = &run->runs[run_feeder(run, exchange)];
    for (size_t i = 0; i < scatterer->part_count; i++)
        combined[scatterer->parts[i].partition] = scatterer->parts[i].count;
}

// The part's summary has a row for its first group and one for its last.
bool run_part_of_one(const struct run *run, const struct stage *stage,
                     const struct adapt_piece *piece) {
    const struct stage_leaf *leaf = find_leaf(stage, LEAF_BEFORE);
    if (leaf == NULL) leaf = find_leaf(stage, LEAF_AFTER);
    const struct stage_run *summary = &run->runs[run_feeder(run, leaf->exchange)];
    uint64_t rows = 0;
    for (size_t f = 0; f < summary->file_count; f++) {
        const struct adapt_piece *of = &summary->pieces.list[summary->file_tasks[f]];
        if (of->first == piece->first && of->slice == piece->slice)
            rows += summary->files[f].rows.total;
    }
    return rows == 1;
}

// Does the task of the piece read the file, which the task of `by` wrote?
static bool reads_file(enum leaf_kind kind, const struct adapt_piece *piece,
                       const struct adapt_piece *by, const struct task_file *file) {
    if (by->first != piece->first) return false;
    if (kind == LEAF_BEFORE) return by->slice < piece->slice;
    if (kind == LEAF_AFTER) return by->slice > piece->slice;
    return sizes_any(&file->rows, piece->slice, piece->slice);
}

bool run_add_parts(const struct run *run, const struct stage_leaf *leaf,
                   const struct adapt_piece *piece, struct task_input *input) {
    const struct stage_run *feeder = &run->runs[run_feeder(run, leaf->exchange)];
    bool part = leaf->kind == LEAF_PART;
    input->segments = calloc(feeder->file_count + 1, sizeof *input->segments);
    if (input->segments == NULL) return false;
    for (size_t f = 0; piece->cut == ADAPT_COMBINED && f < feeder->file_count; f++) {
        const struct task_file *file = &feeder->files[f];
        if (!reads_file(leaf->kind, piece, &feeder->pieces.list[feeder->file_tasks[f]],
                        file))
            continue;
        struct task_segment *segment = &input->segments[input->count];
        *segment = (struct task_segment){strdup(file->path), part ? piece->slice : 0,
                                         part ? piece->slice : BLOCK_LAST};
        if (segment->path == NULL) return false;
        input->count++;
    }
    return true;
}
