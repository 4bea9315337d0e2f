// The end of a plan whose rows go to files: the last stage over many tasks selects the
// query's columns under their own names, and each of its tasks writes what it has.
// Without such a stage (an aggregate's one row, a top-n) the driver writes.
#include <string.h>

#include "dist/planner.h"

// The SELECT inside a FROM item, or NULL.
static json_t *inner_node(const json_t *item) {
    json_t *subquery = json_object_get(item, "subquery");
    json_t *node = json_object_get(subquery, "node");
    return tree_is(item, "type", "SUBQUERY") && tree_is(node, "type", "SELECT_NODE")
               ? node
               : NULL;
}

// Does the block only choose and compute columns, a row for a row?
static bool is_projection(struct planner *planner, json_t *node) {
    json_t *list = json_object_get(node, "select_list");
    json_t *calls = tree_own(&planner->trees, json_array());
    static const char *const parts[] = {"where_clause", "having", "qualify", "sample"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (json_is_object(json_object_get(node, parts[i]))) return false;
    }
    tree_aggregates(&planner->trees, list, calls);
    tree_windows(list, calls);
    return json_array_size(calls) == 0 &&
           json_array_size(json_object_get(node, "modifiers")) == 0 &&
           json_array_size(json_object_get(node, "group_expressions")) == 0 &&
           json_array_size(json_object_get(node, "group_sets")) == 0;
}

// The one stage that feeds the exchange; NULL when there are several.
static struct stage_draft *feeder(struct planner *planner, uint32_t exchange) {
    struct stage_draft *found = NULL;
    for (size_t i = 0; i < planner->stage_count; i++) {
        if (planner->stages[i].exchange != exchange) continue;
        if (found != NULL) return NULL;
        found = &planner->stages[i];
    }
    return found;
}

// The stage whose rows the item passes on as they come, and the leaf that reads them.
static struct stage_draft *source_stage(struct planner *planner, json_t *item,
                                        json_t **leaf_item) {
    for (json_t *node; (node = inner_node(item)) != NULL;) {
        if (!is_projection(planner, node)) return NULL;
        item = json_object_get(node, "from_table");
    }
    size_t index = leaf_index(planner, item);
    if (index >= planner->leaf_count) return NULL;
    const struct leaf_draft *leaf = &planner->leaves[index];
    bool whole = leaf->kind == LEAF_ALL || leaf->kind == LEAF_ORDERED;
    if (!whole || planner->exchanges[leaf->exchange].kind != EXCHANGE_GATHER) return NULL;
    struct stage_draft *stage = feeder(planner, leaf->exchange);
    *leaf_item = item;
    return stage == NULL || stage->in_driver || stage->dist >= DIST_SINGLE ? NULL : stage;
}

// The leaf that read the stage's exchange becomes the stage's own SELECT.
static void inline_stage(struct planner *planner, json_t *leaf, json_t *node) {
    json_t *names = tree_own(&planner->trees, json_array());
    json_t *column;
    size_t i;
    json_array_foreach(json_object_get(node, "select_list"), i, column) {
        json_array_append(names, json_object_get(column, "alias"));
    }
    json_t *block = tree_subquery(&planner->trees, node, tree_text(leaf, "alias"), names);
    json_object_clear(leaf);
    json_object_update(leaf, block);
}

static bool read_back(struct planner *planner, uint32_t exchange) {
    struct trees *trees = &planner->trees;
    json_t *none = tree_own(trees, json_array());
    json_array_append(none, tree_aliased(trees, tree_expression(trees, "true"), "c0"));
    struct fragment single = {.dist = DIST_SINGLE};
    json_t *table =
        exchange_read(planner, exchange, LEAF_ALL, planner_name(planner, "x"));
    return table != NULL &&
           exchange_feed(planner, UINT32_MAX, tree_select(trees, none, table, NULL),
                         &single, BLOCK_WHOLE);
}

bool sink_place(struct planner *planner, struct fragment *root, json_t *list) {
    struct trees *trees = &planner->trees;
    if (root->dist < DIST_SINGLE) {
        uint32_t exchange = exchange_new(planner, EXCHANGE_GATHER, NULL);
        if (!exchange_feed(planner, exchange, tree_select(trees, list, root->tree, NULL),
                           root, BLOCK_WHOLE))
            return false;
        planner->stages[planner->stage_count - 1].sink = true;
        return read_back(planner, exchange);
    }
    json_t *leaf = NULL;
    struct stage_draft *stage = source_stage(planner, root->tree, &leaf);
    if (stage == NULL) {
        return exchange_feed(planner, UINT32_MAX,
                             tree_select(trees, list, root->tree, NULL), root,
                             BLOCK_WHOLE);
    }
    inline_stage(planner, leaf, stage->node);
    stage->node = tree_select(trees, list, root->tree, NULL);
    stage->sink = true;
    return read_back(planner, stage->exchange);
}
