// A GROUP BY above another, as count(DISTINCT x) by k is one by k above one by k and x.
//
// Rows that are hashed by the upper one's keys serve both: each group of the upper one is
// whole in a task, and a shuffle of the lower one's groups is spared. But there must be
// enough such groups for all tasks, and none that has much of the rows; the lower one's
// keys are many and even. No statistics say so, so a few rows of the file are looked at,
// if the keys are columns of one. Files are often in the order of a key, where the first
// rows have few groups: then the lower one's keys it is.
//
// They may also be even where the rest is not, and then one task has a key's rows,
// however many: whole groups of groups can't be cut. So it is done for as many rows only
// as one task can do with.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

#define REGROUPED "shoal_regrouped"  // on a SELECT node: which of its groups, by number
#define REGROUPED_ROWS 10000000      // at most, estimated
#define LOOKED_AT 10000              // rows
#define GROUPS_A_SLOT 64             // there must be, of those that filters leave
#define EVEN_SLOTS 8                 // a group has less than such a part of a slot's rows

// The number of the node's group that its column is; -1: of none. One that has no groups
// may have fewer expressions than columns: a * over VALUES.
static int find_group(struct trees *trees, const json_t *node, size_t column) {
    const json_t *list = json_object_get(node, "select_list");
    if (column >= json_array_size(list)) return -1;
    const char *key = tree_key(trees, json_array_get(list, column));
    size_t i;
    json_t *group;
    json_array_foreach(json_object_get(node, "group_expressions"), i, group) {
        if (strcmp(tree_key(trees, group), key) == 0) return (int)i;
    }
    return -1;
}

// The number of the item's column that the expression is; -1: it is none.
static int find_column(const json_t *item, const json_t *expression) {
    const json_t *names = json_object_get(expression, "column_names");
    const char *name = json_string_value(json_array_get(names, 1));
    size_t i;
    json_t *column;
    if (!tree_is(expression, "class", "COLUMN_REF") || name == NULL ||
        strcmp(json_string_value(json_array_get(names, 0)), tree_text(item, "alias")) !=
            0)
        return -1;
    json_array_foreach(json_object_get(item, "column_name_alias"), i, column) {
        if (strcmp(json_string_value(column), name) == 0) return (int)i;
    }
    return -1;
}

void regroup_mark(struct planner *planner, json_t *node) {
    struct trees *trees = &planner->trees;
    const json_t *item = json_object_get(node, "from_table");
    json_t *below = json_object_get(json_object_get(item, "subquery"), "node");
    json_t *numbers = tree_own(trees, json_array());
    size_t i;
    json_t *group;
    if (!tree_is(item, "type", "SUBQUERY") || !tree_is(below, "type", "SELECT_NODE") ||
        json_array_size(json_object_get(node, "group_sets")) > 1 ||
        json_array_size(json_object_get(below, "group_sets")) > 1 ||
        json_array_size(json_object_get(below, "modifiers")) > 0)
        return;
    json_array_foreach(json_object_get(node, "group_expressions"), i, group) {
        int column = find_column(item, group);
        int number = column < 0 ? -1 : find_group(trees, below, (size_t)column);
        if (number < 0) return;
        json_array_append_new(numbers, json_integer(number));
    }
    if (i > 0 && i < json_array_size(json_object_get(below, "group_expressions")))
        json_object_set(below, REGROUPED, numbers);
}

// The one scan whose columns the keys are; NULL: they are not.
static const struct leaf_draft *find_scan(struct planner *planner, json_t *keys) {
    size_t first = SIZE_MAX, i;
    json_t *key;
    json_array_foreach(keys, i, key) {
        json_t *origin = planner_origin(planner, key);
        size_t leaf = (size_t)json_integer_value(json_array_get(origin, 0));
        if (origin == NULL || (i > 0 && leaf != first)) return NULL;
        first = leaf;
    }
    const struct leaf_draft *leaf = first == SIZE_MAX ? NULL : &planner->leaves[first];
    bool scan = leaf != NULL && leaf->exchange == UINT32_MAX && leaf->file_count > 0 &&
                leaf->source.kind == SCAN_PARQUET;
    return scan ? leaf : NULL;
}

// "SELECT groups, rows of the largest, rows FROM (... the scan's first rows ...)"
static char *look_sql(struct planner *planner, const struct leaf_draft *leaf,
                      json_t *keys) {
    struct text list = {0}, sql = {0};
    size_t i;
    json_t *key;
    json_array_foreach(keys, i, key) {
        const json_t *origin = planner_origin(planner, key);
        text_append(&list, i > 0 ? ", " : "");
        text_append_identifier(&list, json_string_value(json_array_get(origin, 1)));
    }
    text_printf(&sql,
                "SELECT concat_ws(' ', count(*), max(n), sum(n)) FROM (SELECT count(*) "
                "AS n FROM (SELECT %s FROM %s LIMIT %d) GROUP BY %s)",
                list.failed ? "" : list.data, leaf->scan_call, LOOKED_AT,
                list.failed ? "" : list.data);
    sql.failed = sql.failed || list.failed;
    text_free(&list);
    return text_take(&sql);
}

json_t *regroup_keys(struct planner *planner, const json_t *node,
                     const struct fragment *from) {
    struct trees *trees = &planner->trees;
    json_t *numbers = json_object_get(node, REGROUPED);
    json_t *groups = json_object_get(node, "group_expressions");
    json_t *keys = tree_own(trees, json_array());
    size_t i;
    json_t *number;
    json_array_foreach(numbers, i, number) json_array_append(
        keys, json_array_get(groups, (size_t)json_integer_value(number)));
    bool few = numbers != NULL && from->rows <= REGROUPED_ROWS;
    const struct leaf_draft *leaf = few ? find_scan(planner, keys) : NULL;
    char *sql = leaf == NULL ? NULL : look_sql(planner, leaf, keys);
    char *value = NULL;
    struct shoal_error ignored;
    uint64_t found, largest, rows;
    double slots = planner->options->slots ? planner->options->slots : 2;
    bool even =
        sql != NULL && duck_scalar(trees->conn, sql, &value, &ignored) == SHOAL_OK &&
        value != NULL &&
        sscanf(value, "%" SCNu64 " %" SCNu64 " %" SCNu64, &found, &largest, &rows) == 3 &&
        (double)found * from->kept >= slots * GROUPS_A_SLOT &&
        (double)largest * slots * EVEN_SLOTS <= (double)rows;
    free(sql);
    free(value);
    return even ? numbers : NULL;
}
