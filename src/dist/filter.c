// Runtime filters. Where a join shuffles a large side only to find that most of its rows
// match nothing on a small, filtered side, the large side's stage waits for the small one
// and joins its rows to the keys there before it sends them (a semi-join reduction:
// Bernstein and Chiu, 1981; Spark's and Trino's runtime and dynamic filters). The keys
// are those that the small side's exchange holds anyway, and DuckDB hands their range and
// a bloom filter down into the scan.
//
// The estimate decides that there is a filter, the exchange's rows whether tasks use it.
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

#define FILTER_ROWS 1000000  // fewer are shuffled in the time that the others are awaited
#define FILTER_KEPT 0.5     // of the small side's rows, from where down it filters enough
#define FILTERED_A_BUILT 4  // rows that must be read for each that a hash table takes

struct source {
    struct planner *planner;
    const char *alias;
    struct leaf_draft *leaf;
};

static bool is_source(void *ctx, const json_t *object) {
    struct source *source = ctx;
    size_t index = leaf_index(source->planner, object);
    if (index >= source->planner->leaf_count ||
        strcmp(tree_text(object, "alias"), source->alias) != 0)
        return false;
    source->leaf = &source->planner->leaves[index];
    return source->leaf->exchange != UINT32_MAX;
}

// The exchange that the fragment reads the column from, and which of it: values of the
// key are all there. UINT32_MAX when it comes from elsewhere or is more than a column.
static uint32_t key_source(struct planner *planner, const struct fragment *from,
                           json_t *key, const char **column) {
    json_t *moved = tree_rename_columns(&planner->trees, key, from->columns);
    json_t *names = json_object_get(moved, "column_names");
    if (!tree_is(moved, "class", "COLUMN_REF") || json_array_size(names) != 2)
        return UINT32_MAX;
    struct source source = {.planner = planner,
                            .alias = json_string_value(json_array_get(names, 0))};
    *column = json_string_value(json_array_get(names, 1));
    return tree_any(from->tree, is_source, &source) ? source.leaf->exchange : UINT32_MAX;
}

// "large key = small column" for all keys that one exchange holds; which one it is.
static json_t *conditions(struct planner *planner, const struct filter_keys *keys,
                          const struct fragment *large, const struct fragment *small,
                          const char *alias, uint32_t *exchange) {
    struct trees *trees = &planner->trees;
    json_t *list = tree_own(trees, json_array());
    *exchange = UINT32_MAX;
    for (size_t i = 0; i < json_array_size(keys->large); i++) {
        const char *column = NULL;
        uint32_t from =
            key_source(planner, small, json_array_get(keys->small, i), &column);
        if (from == UINT32_MAX || (*exchange != UINT32_MAX && from != *exchange))
            continue;
        *exchange = from;
        json_t *equal = tree_expression(trees, "(1 = 2)");
        json_object_set(equal, "type", json_array_get(keys->types, i));
        json_object_set(
            equal, "left",
            tree_rename_columns(trees, json_array_get(keys->large, i), large->columns));
        json_object_set(equal, "right", tree_column(trees, alias, column));
        json_array_append(list, equal);
    }
    return list;
}

static json_t *semi_join(struct trees *trees, json_t *left, json_t *right, json_t *list) {
    json_t *node = tree_select_template(
        trees, "SELECT 1 FROM a SEMI JOIN b ON (((a.c = b.c) AND (a.d = b.d)))");
    json_t *join = json_object_get(node, "from_table");
    json_t *both = json_object_get(join, "condition");
    json_object_set(join, "left", left);
    json_object_set(join, "right", right);
    json_object_set_new(join, RUNTIME_FILTER, json_string("yes"));
    if (json_array_size(list) == 1) {
        json_object_set(join, "condition", json_array_get(list, 0));
    } else {
        json_object_set(both, "children", list);
    }
    return join;
}

bool filter_wanted(struct planner *planner, const struct fragment *large,
                   const struct fragment *small) {
    double builds = (double)small->rows * tasks_estimated(planner, large);
    return planner->options->broadcast_rows == BROADCAST_AUTO &&
           (large->dist == DIST_RANDOM || large->cut != NO_CUT) &&
           large->rows >= FILTER_ROWS && small->kept <= FILTER_KEPT &&
           builds * FILTERED_A_BUILT <= (double)large->rows;
}

void filter_place(struct planner *planner, struct fragment *large,
                  const struct filter_keys *keys, const struct fragment *small) {
    uint32_t exchange;
    const char *alias = planner_name(planner, "f");
    json_t *list = conditions(planner, keys, large, small, alias, &exchange);
    if (exchange == UINT32_MAX) return;
    json_t *read = exchange_read(planner, exchange, LEAF_ALL, alias);
    if (read == NULL) return;
    large->unfiltered = large->tree;
    large->filter_leaf = planner->leaf_count - 1;
    large->filter_most = (uint64_t)((double)large->rows / FILTERED_A_BUILT /
                                    tasks_estimated(planner, large));
    large->filter_kept = small->kept;
    large->tree = semi_join(&planner->trees, large->tree, read, list);
    planner_note(planner,
                 "rows are filtered by the keys of exchange %u before they are shuffled: "
                 "about %llu against %llu",
                 exchange, (unsigned long long)small->rows,
                 (unsigned long long)large->rows);
}
