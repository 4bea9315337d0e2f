// Recursive CTEs. The recursion is kept as it stands and runs in one task: each step
// needs all rows of the step before. What it reads (files, tables, other CTEs) that task
// reads whole; what reads the CTE is distributed again.
#include <string.h>

#include "dist/planner.h"

struct recursion {
    struct planner *planner;
    json_t *local;  // names of CTEs inside, itself included
    uint64_t rows;  // of the largest input
};

// A copy of the tree with each FROM item replaced by one that gives all of its rows.
static json_t *read_whole(struct recursion *recursion, json_t *node);

static json_t *whole_item(struct recursion *recursion, json_t *item) {
    struct planner *planner = recursion->planner;
    json_t *path = json_object_get(json_object_get(item, "qualified_name"), "path");
    bool function = tree_is(item, "type", "TABLE_FUNCTION");
    if (!function && json_array_size(path) <= 1 &&
        json_object_get(recursion->local, tree_text(item, "table_name")) != NULL) {
        return item;
    }
    struct fragment *leaf = function ? plan_function(planner, item) : NULL;
    if (function && leaf == NULL) return NULL;
    size_t index = leaf == NULL ? SIZE_MAX : leaf_index(planner, leaf->tree);
    bool parquet =
        index < planner->leaf_count && planner->leaves[index].kind == LEAF_SCAN;
    if (leaf == NULL || (index < planner->leaf_count && !parquet)) {
        refuse(planner, "a recursive CTE that reads other than Parquet files");
        return NULL;
    }
    if (parquet) planner->leaves[index].kind = LEAF_SCAN_ALL;
    if (leaf->rows > recursion->rows) recursion->rows = leaf->rows;
    return leaf->tree;
}

static json_t *read_whole(struct recursion *recursion, json_t *node) {
    struct trees *trees = &recursion->planner->trees;
    size_t i;
    const char *name;
    json_t *value;
    if (json_is_array(node)) {
        json_t *copy = tree_own(trees, json_array());
        json_array_foreach(node, i, value) {
            json_t *child = read_whole(recursion, value);
            if (child == NULL) return NULL;
            json_array_append(copy, child);
        }
        return copy;
    }
    if (!json_is_object(node)) return node;
    if (tree_is(node, "type", "TABLE_FUNCTION") || tree_is(node, "type", "BASE_TABLE")) {
        return whole_item(recursion, node);
    }
    json_t *copy = tree_own(trees, json_object());
    json_object_foreach(node, name, value) {
        json_t *child = read_whole(recursion, value);
        if (child == NULL) return NULL;
        json_object_set(copy, name, child);
    }
    return copy;
}

static void find_local(json_t *node, json_t *local) {
    size_t i;
    const char *name;
    json_t *value;
    if (json_is_array(node)) {
        json_array_foreach(node, i, value) find_local(value, local);
    } else if (json_is_object(node)) {
        json_t *map = json_object_get(json_object_get(node, "cte_map"), "map");
        json_array_foreach(map, i, value)
            json_object_set_new(local, tree_text(value, "key"), json_true());
        json_object_foreach(node, name, value) find_local(value, local);
    }
}

// A LIMIT that needs only some of its input.
static bool is_limited(void *ctx, const json_t *object) {
    size_t i;
    json_t *modifier;
    bool limit = false, order = false;
    (void)ctx;
    json_array_foreach(json_object_get(object, "modifiers"), i, modifier) {
        limit = limit || strncmp(tree_text(modifier, "type"), "LIMIT", 5) == 0;
        order = order || tree_is(modifier, "type", "ORDER_MODIFIER");
    }
    return limit && !order;
}

struct fragment *plan_recursive(struct planner *planner, json_t *entry, const char *alias,
                                json_t *columns) {
    struct trees *trees = &planner->trees;
    struct recursion recursion = {
        .planner = planner, .local = tree_own(trees, json_object()), .rows = 1000};
    const char *name = tree_text(entry, "key");
    if (tree_any(planner->query, is_limited, NULL)) {
        // As a stage it runs to its end, which may not exist; in one process the LIMIT
        // stops it.
        return refuse(planner, "a recursive CTE in a query with a LIMIT");
    }
    json_object_set_new(recursion.local, name, json_true());
    find_local(json_object_get(entry, "value"), recursion.local);
    json_t *kept = read_whole(&recursion, entry);
    if (kept == NULL) return NULL;
    const char *self = planner_name(planner, "r");
    json_t *table = tree_table(trees, name, self);
    json_object_set(table, "column_name_alias", columns);
    json_t *list = tree_own(trees, json_array());
    size_t i;
    json_t *column;
    json_array_foreach(columns, i, column) {
        const char *text = json_string_value(column);
        json_array_append(list,
                          tree_aliased(trees, tree_column(trees, self, text), text));
    }
    json_t *node = tree_select(trees, list, table, NULL);
    json_object_set_new(node, "cte_map", json_pack("{s:[O]}", "map", kept));
    planner_note(planner, "recursive CTE %s runs in one task", name);
    return fragment_named(planner, tree_subquery(trees, node, alias, columns),
                          DIST_SINGLE, recursion.rows);
}
