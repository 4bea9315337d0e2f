// Aggregates of whole groups, in parts. Where rows are hashed on the group keys already,
// as after a join on them, a block aggregates each partition at once, and a partition of
// too many rows couldn't be cut. So the planner leaves a second form of the block behind
// (aggregate.c): a stage that reads slices and aggregates in part, and a block that makes
// the groups of what that wrote. The stage has tasks for the partitions that turn out to
// be heavy, often none; all others are aggregated at once, in the first form.
//
// A stage has one second form: the innermost block whose inputs can be cut.
#include <stdlib.h>
#include <string.h>

#include "dist/planner.h"

struct search {
    struct planner *planner;
    json_t *found;  // blocks, an outer one before those inside it
};

static bool collect(void *ctx, const json_t *object) {
    struct search *search = ctx;
    if (json_object_get(object, COMBINED_FORM) != NULL)
        json_array_append(search->found, (json_t *)(uintptr_t)object);
    return false;
}

// The leaf through which a combined form reads; it is all of its FROM.
static size_t read_by(struct planner *planner, const json_t *final) {
    return leaf_index(planner, json_object_get(final, "from_table"));
}

static struct stage_draft *feeder(struct planner *planner, size_t leaf) {
    for (size_t s = 0; s < planner->stage_count; s++) {
        if (planner->stages[s].exchange == planner->leaves[leaf].exchange)
            return &planner->stages[s];
    }
    return NULL;
}

// Chooses the stage's second form, and takes the mark off all that could be.
static void choose(struct planner *planner, struct stage_draft *draft, bool *used) {
    struct search search = {planner, tree_own(&planner->trees, json_array())};
    (void)tree_any(draft->node, collect, &search);
    for (size_t i = json_array_size(search.found); i-- > 0;) {
        json_t *block = json_array_get(search.found, i);
        json_t *final =
            tree_own(&planner->trees, json_incref(json_object_get(block, COMBINED_FORM)));
        json_object_del(block, COMBINED_FORM);
        size_t leaf = read_by(planner, final);
        struct stage_draft *before = feeder(planner, leaf);
        if (draft->combined != NULL || draft->unfiltered != NULL || before == NULL ||
            before->cut_count == 0)
            continue;
        draft->combined = tree_with(&planner->trees, draft->node, block, final);
        draft->combine_leaf = leaf;
        used[before - planner->stages] = true;
    }
}

bool find_combined(struct planner *planner) {
    bool *used = calloc(planner->stage_count + 1, sizeof *used);
    size_t kept = 0;
    if (used == NULL) return false;
    // From the last on: what an inner block reads is of a stage that comes before.
    for (size_t s = planner->stage_count; s-- > 0;) {
        if (!planner->stages[s].combines) choose(planner, &planner->stages[s], used);
    }
    for (size_t s = 0; s < planner->stage_count; s++) {
        if (planner->stages[s].combines && !used[s]) {
            free(planner->stages[s].cuts);
            continue;
        }
        planner->stages[kept++] = planner->stages[s];
    }
    planner->stage_count = kept;
    free(used);
    return true;
}
