// Windows. Rows are hashed by the PARTITION BY keys that all windows of a block have in
// common. Where there are none, the block is split: an inner one computes the windows of
// one PARTITION BY, an outer one the others, each with an exchange of its own. A window
// without PARTITION BY sees all rows in one task.
#include <stdio.h>
#include <string.h>

#include "dist/planner.h"

json_t *window_common_keys(struct planner *planner, json_t *windows) {
    struct trees *trees = &planner->trees;
    json_t *common = NULL;
    size_t i;
    json_t *window;
    json_array_foreach(windows, i, window) {
        json_t *kept = tree_own(trees, json_array());
        size_t p;
        json_t *key;
        json_array_foreach(json_object_get(window, "partitions"), p, key) {
            bool found = common == NULL;
            for (size_t k = 0; !found && k < json_array_size(common); k++) {
                found = strcmp(tree_key(trees, json_array_get(common, k)),
                               tree_key(trees, key)) == 0;
            }
            if (found) json_array_append(kept, key);
        }
        common = kept;
    }
    return common;
}

struct inner {
    struct planner *planner;
    const char *alias;
    json_t *list, *names;  // of the inner block
    json_t *columns;       // column key -> [alias, name]
};

static const char *add(struct inner *inner, json_t *expression) {
    json_array_append(inner->list, expression);
    char name[24];
    (void)snprintf(name, sizeof name, "c%zu", json_array_size(inner->names));
    json_object_set_new(expression, "alias", json_string(name));
    json_array_append_new(inner->names, json_string(name));
    return json_string_value(
        json_array_get(inner->names, json_array_size(inner->names) - 1));
}

static void add_column(void *ctx, const char *key) {
    struct inner *inner = ctx;
    struct trees *trees = &inner->planner->trees;
    const char *mark = strchr(key, '\x01');
    // One-part names are parameters of lambdas.
    if (mark == key || json_object_get(inner->columns, key) != NULL) return;
    json_t *alias = tree_own(trees, json_stringn(key, (size_t)(mark - key)));
    if (strcmp(json_string_value(alias), inner->alias) == 0) return;  // computed
    json_t *column = tree_column(trees, json_string_value(alias), mark + 1);
    const char *name = add(inner, column);
    json_object_set_new(inner->columns, key, json_pack("[s, s]", inner->alias, name));
}

// The windows with the same PARTITION BY as the first that has one.
static json_t *first_group(struct trees *trees, json_t *windows) {
    json_t *group = tree_own(trees, json_array());
    const char *chosen = NULL;
    size_t i;
    json_t *window;
    json_array_foreach(windows, i, window) {
        json_t *keys = json_object_get(window, "partitions");
        if (json_array_size(keys) == 0) continue;
        if (chosen == NULL) chosen = tree_key(trees, keys);
        if (strcmp(chosen, tree_key(trees, keys)) == 0) json_array_append(group, window);
    }
    return group;
}

json_t *window_split(struct planner *planner, json_t *node, json_t *windows) {
    struct trees *trees = &planner->trees;
    json_t *group = first_group(trees, windows);
    if (json_array_size(group) == 0) return NULL;
    struct inner inner = {.planner = planner,
                          .alias = planner_name(planner, "w"),
                          .list = tree_own(trees, json_array()),
                          .names = tree_own(trees, json_array()),
                          .columns = tree_own(trees, json_object())};
    json_t *computed = tree_own(trees, json_object());
    size_t i;
    json_t *window;
    json_array_foreach(group, i, window) {
        const char *key = tree_key(trees, window);
        if (json_object_get(computed, key) != NULL) continue;
        const char *name = add(&inner, tree_copy(trees, window));
        json_object_set(computed, key, tree_column(trees, inner.alias, name));
    }
    static const char *const parts[] = {"select_list", "qualify", "modifiers"};
    json_t *outer = tree_own(trees, json_copy(node));
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        json_t *part = tree_replace(trees, json_object_get(node, parts[p]), computed);
        tree_each_column(part, add_column, &inner);
        if (part != NULL) json_object_set(outer, parts[p], part);
    }
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        json_t *part = json_object_get(outer, parts[p]);
        if (part != NULL) {
            json_object_set(outer, parts[p],
                            tree_rename_columns(trees, part, inner.columns));
        }
    }
    json_t *below = tree_own(trees, json_copy(node));
    json_object_set(below, "select_list", inner.list);
    json_object_set_new(below, "qualify", json_null());
    json_object_set_new(below, "modifiers", json_array());
    json_object_set(outer, "from_table",
                    tree_subquery(trees, below, inner.alias, inner.names));
    json_object_set_new(outer, "where_clause", json_null());
    json_object_set_new(outer, "cte_map", json_pack("{s:[]}", "map"));
    json_object_set_new(below, "cte_map", json_pack("{s:[]}", "map"));
    return outer;
}
