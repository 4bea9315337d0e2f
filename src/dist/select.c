// One SELECT block: FROM, WHERE, aggregates or windows, then DISTINCT, ORDER BY and
// LIMIT.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

// key_sets as the block's own output columns see them.
static json_t *key_sets_through(struct planner *planner, const json_t *list,
                                const char *alias, json_t *columns,
                                const json_t *key_sets) {
    struct trees *trees = &planner->trees;
    json_t *seen = tree_own(trees, json_array());
    size_t i, c;
    json_t *set;
    json_t *expression;
    if (json_array_size(key_sets) == 0) return seen;
    json_t *keys = tree_own(trees, json_array());  // of list: made once, not for each set
    json_array_foreach((json_t *)list, c, expression) {
        json_array_append_new(keys, json_string(tree_key(trees, expression)));
    }
    json_array_foreach((json_t *)key_sets, i, set) {
        json_t *out = tree_own(trees, json_object());
        json_t *key;
        json_array_foreach(keys, c, key) {
            if (json_object_get(set, json_string_value(key)) == NULL) continue;
            const char *name = json_string_value(json_array_get(columns, c));
            json_object_set_new(out, tree_key(trees, tree_column(trees, alias, name)),
                                json_true());
        }
        if (json_object_size(out) == 0) return tree_own(trees, json_array());
        json_array_append(seen, out);
    }
    return seen;
}

// node's expressions are in the query's terms; they are renamed to where input's columns
// are.
struct fragment *wrap_block(struct planner *planner, json_t *node, const char *alias,
                            json_t *columns, const struct fragment *input,
                            uint64_t rows) {
    struct trees *trees = &planner->trees;
    json_t *block = tree_own(trees, json_copy(node));
    size_t column;
    json_t *expression;
    json_array_foreach(json_object_get(node, "select_list"), column, expression) {
        planner_named(planner, alias, json_string_value(json_array_get(columns, column)),
                      expression);
    }
    json_object_set(block, "from_table", input->tree);
    json_object_set_new(block, "cte_map", json_pack("{s:[]}", "map"));
    static const char *const parts[] = {"select_list",       "where_clause",
                                        "group_expressions", "having",
                                        "qualify",           "modifiers"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        json_t *part = json_object_get(block, parts[i]);
        if (part != NULL) {
            json_object_set(block, parts[i],
                            tree_rename_columns(trees, part, input->columns));
        }
    }
    struct fragment *out = fragment_new(
        planner, tree_subquery(trees, block, alias, columns), input->dist, rows);
    if (out == NULL) return NULL;
    out->kept = input->kept;
    out->once = input->once;
    out->cut = input->cut;
    json_object_set_new(out->aliases, alias, json_true());
    out->key_sets = key_sets_through(planner, json_object_get(node, "select_list"), alias,
                                     columns, input->key_sets);
    return out;
}

// ORDER BY (or DISTINCT ON) over an aggregate or window: an inner block computes what
// they need as hidden columns, an outer one sorts.
static struct fragment *split_modifiers(struct planner *planner, json_t *node,
                                        const char *alias, json_t *columns,
                                        json_t *ctes) {
    struct trees *trees = &planner->trees;
    const char *inner_alias = planner_name(planner, "m");
    json_t *inner = tree_own(trees, json_copy(node));
    json_t *list = tree_copy(trees, json_object_get(node, "select_list"));
    size_t visible = json_array_size(list);
    json_object_set_new(inner, "modifiers", json_array());
    json_t *modifiers = tree_copy(trees, json_object_get(node, "modifiers"));
    json_t *places = tree_own(trees, json_object());  // key -> position in list
    for (size_t at = visible; at-- > 0;) {
        json_object_set_new(places, tree_key(trees, json_array_get(list, at)),
                            json_integer((json_int_t)at));
    }
    size_t m;
    json_t *modifier;
    json_array_foreach(modifiers, m, modifier) {
        json_t *orders = json_object_get(modifier, "orders");
        json_t *targets = json_object_get(modifier, "distinct_on_targets");
        size_t count = orders ? json_array_size(orders) : json_array_size(targets);
        for (size_t i = 0; i < count; i++) {
            json_t *order = orders ? json_array_get(orders, i) : NULL;
            json_t *holder = order;
            json_t *expression =
                order ? json_object_get(order, "expression") : json_array_get(targets, i);
            while (tree_is(expression, "class", "COLLATE")) {
                holder = expression;
                expression = json_object_get(expression, "child");
            }
            const char *key = tree_key(trees, expression);
            json_t *place = json_object_get(places, key);
            size_t at = place ? (size_t)json_integer_value(place) : json_array_size(list);
            if (place == NULL) {
                json_array_append(list, tree_copy(trees, expression));
                json_object_set_new(places, key, json_integer((json_int_t)at));
            }
            char name[24];
            (void)snprintf(name, sizeof name, "c%zu", at);
            json_t *column = tree_column(trees, inner_alias, name);
            if (holder == NULL) {
                json_array_set(targets, i, column);
            } else {
                json_object_set(holder, holder == order ? "expression" : "child", column);
            }
        }
    }
    json_t *names = planner_column_names(planner, json_array_size(list));
    json_t *outer_list = tree_own(trees, json_array());
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        const char *name = json_string_value(json_array_get(names, i));
        json_object_set_new(item, "alias", json_string(name));
        if (i < visible) {
            json_array_append(
                outer_list,
                tree_aliased(trees, tree_column(trees, inner_alias, name), name));
        }
    }
    json_object_set(inner, "select_list", list);
    json_t *outer = tree_select(trees, outer_list,
                                tree_subquery(trees, inner, inner_alias, names), NULL);
    json_object_set(outer, "modifiers", modifiers);
    return plan_select(planner, outer, alias, columns, ctes);
}

bool constant_number(const json_t *node, uint64_t *value) {
    if (node == NULL || json_is_null(node)) {
        *value = 0;
        return true;
    }
    while (tree_is(node, "class", "CAST")) node = json_object_get(node, "child");
    const char *text = tree_text(json_object_get(node, "literal"), "text");
    char *end = NULL;
    *value = strtoull(text, &end, 10);
    return *text != '\0' && *end == '\0';
}

bool constant_null(const json_t *node) {
    while (tree_is(node, "class", "CAST")) node = json_object_get(node, "child");
    return tree_is(json_object_get(node, "literal"), "kind", "NULL_LITERAL");
}

// The modifiers that each task may apply before the gather: ORDER BY ... LIMIT
// limit+offset.
static json_t *partial_top_n(struct planner *planner, json_t *modifiers) {
    struct trees *trees = &planner->trees;
    json_t *partial = tree_copy(trees, modifiers);
    size_t i;
    json_t *modifier;
    bool limited = false;
    json_array_foreach(partial, i, modifier) {
        if (tree_is(modifier, "type", "ORDER_MODIFIER")) continue;
        if (!tree_is(modifier, "type", "LIMIT_MODIFIER")) return NULL;
        const char *type = tree_text(modifier, "limit_type");
        if (*type && strcmp(type, "ROW_COUNT") != 0) return NULL;
        uint64_t limit = 0, offset = 0;
        if (!json_is_object(json_object_get(modifier, "limit"))) return NULL;
        if (!constant_number(json_object_get(modifier, "limit"), &limit)) return NULL;
        if (!constant_number(json_object_get(modifier, "offset"), &offset)) return NULL;
        if (limit > 1000000 || offset > 1000000) return NULL;
        char number[32];
        (void)snprintf(number, sizeof number, "%llu",
                       (unsigned long long)(limit + offset));
        json_object_set(modifier, "limit", tree_expression(trees, number));
        json_object_set_new(modifier, "offset", json_null());
        limited = true;
    }
    return limited ? partial : NULL;
}

struct block {
    struct planner *planner;
    json_t *node;  // a copy whose WHERE goes once an exchange has applied it
    struct fragment *from;
};

// The columns of the block's input that are used above its WHERE.
static json_t *columns_used(const struct block *block) {
    json_t *used = tree_own(&block->planner->trees, json_array());
    static const char *const parts[] = {"select_list", "having", "qualify", "modifiers"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        json_t *part = json_object_get(block->node, parts[i]);
        if (part != NULL) json_array_append(used, part);
    }
    return columns_mentioned(block->planner, used, block->from);
}

// Moves the block's input through an exchange that applies its WHERE first.
static bool move_input(struct block *block, enum exchange_kind kind, json_t *keys,
                       json_t *modifiers) {
    struct before_exchange before = {
        .where = json_object_get(block->node, "where_clause"), .modifiers = modifiers};
    block->from = exchange_place(block->planner, block->from, columns_used(block), kind,
                                 keys, &before);
    json_object_set_new(block->node, "where_clause", json_null());
    return block->from != NULL;
}

static bool place_windows(struct block *block, json_t *windows) {
    struct planner *planner = block->planner;
    if (block->from->dist >= DIST_SINGLE) return true;
    json_t *keys = window_common_keys(planner, windows);
    if (json_array_size(keys) > 0 && (hash_satisfies(planner, block->from, keys) ||
                                      cluster_keys(planner, block->from, keys, NULL))) {
        return true;
    }
    if (json_array_size(keys) > 0) return move_input(block, EXCHANGE_HASH, keys, NULL);
    planner_note(planner, "gathered: a window without PARTITION BY sees all rows");
    return move_input(block, EXCHANGE_GATHER, NULL, NULL);
}

static bool place_modifiers(struct block *block) {
    json_t *modifiers = json_object_get(block->node, "modifiers");
    if (json_array_size(modifiers) == 0 || block->from->dist >= DIST_SINGLE) return true;
    json_t *first = json_array_get(modifiers, 0);
    if (json_array_size(modifiers) == 1 && tree_is(first, "type", "DISTINCT_MODIFIER")) {
        json_t *on = json_object_get(first, "distinct_on_targets");
        json_t *keys =
            json_array_size(on) ? on : json_object_get(block->node, "select_list");
        // Any row of those that are equal there will do, of each task's rows too.
        return move_input(block, EXCHANGE_HASH, keys, modifiers);
    }
    json_t *partial = partial_top_n(block->planner, modifiers);
    if (partial != NULL || !sort_wanted(block->planner, block->from, modifiers)) {
        return move_input(block, EXCHANGE_GATHER, NULL, partial);
    }
    block->from = sort_place(block->planner, block->from, columns_used(block), modifiers,
                             json_object_get(block->node, "where_clause"));
    json_object_set_new(block->node, "where_clause", json_null());
    json_object_set(block->node, "modifiers", sort_rest(block->planner, modifiers));
    return block->from != NULL;
}

// Several windows of which not all see all rows: worth a block for each PARTITION BY.
static bool several_partitions(struct planner *planner, json_t *windows) {
    const char *first = NULL;
    size_t i;
    json_t *window;
    json_array_foreach(windows, i, window) {
        const char *keys =
            tree_key(&planner->trees, json_object_get(window, "partitions"));
        if (first == NULL) first = keys;
        if (strcmp(first, keys) != 0) return true;
    }
    return false;
}

// What would come out otherwise each time is computed in one place.
static void compute_once(struct fragment *fragment) {
    fragment->once = true;
    if (fragment->dist == DIST_REPLICATED) fragment->dist = DIST_SINGLE;
}

// A percentage of rows is a percentage of each task's rows. A number of rows, or a seed,
// needs them all in one place.
static bool place_sample(struct block *block, json_t *sample) {
    compute_once(block->from);
    if (block->from->dist == DIST_SINGLE) return true;
    if (json_is_true(json_object_get(sample, "is_percentage")) &&
        !json_is_true(json_object_get(sample, "repeatable"))) {
        return true;
    }
    planner_note(block->planner, "gathered: a sample of a number of rows, or repeatable");
    return move_input(block, EXCHANGE_GATHER, NULL, NULL);
}

// Volatile functions are computed once a row: nothing that holds one is computed again by
// each reader, and none is a key, which would be computed to place a row and again to
// compare it.
static bool place_volatile(struct block *block) {
    struct planner *planner = block->planner;
    struct trees *trees = &planner->trees;
    json_t *node = block->node;
    static const char *const keys[] = {"group_expressions", "having", "qualify",
                                       "modifiers"};
    const char *function = NULL;
    for (size_t i = 0; function == NULL && i < sizeof keys / sizeof *keys; i++) {
        function = tree_volatile(trees, json_object_get(node, keys[i]));
    }
    json_t *list = json_object_get(node, "select_list");
    const char *listed = tree_volatile(trees, list);
    json_t *windows = tree_own(trees, json_array());
    tree_windows(list, windows);
    bool distinct = false;
    size_t i;
    json_t *modifier;
    json_array_foreach(json_object_get(node, "modifiers"), i, modifier) {
        distinct = distinct || tree_is(modifier, "type", "DISTINCT_MODIFIER");
    }
    if (function == NULL && listed != NULL && (distinct || json_array_size(windows) > 0))
        function = listed;
    if (function != NULL) {
        refuse(planner, "%s() as a key", function);
        return false;
    }
    if (listed == NULL &&
        tree_volatile(trees, json_object_get(node, "where_clause")) == NULL) {
        return true;
    }
    compute_once(block->from);
    return true;
}

// SELECT DISTINCT, which canonical SQL writes as DISTINCT ON what is selected, is a GROUP
// BY: duplicates go before the exchange. NULL: the node is none, or selects more.
static json_t *distinct_groups(struct planner *planner, json_t *node) {
    struct trees *trees = &planner->trees;
    json_t *modifiers = json_object_get(node, "modifiers");
    const json_t *first = json_array_get(modifiers, 0);
    json_t *list = json_object_get(node, "select_list");
    json_t *targets = json_object_get(first, "distinct_on_targets");
    json_t *windows = tree_own(trees, json_array());
    tree_windows(list, windows);
    if (json_array_size(modifiers) != 1 || !tree_is(first, "type", "DISTINCT_MODIFIER") ||
        json_array_size(windows) > 0 || json_is_object(json_object_get(node, "sample")))
        return NULL;
    json_t *groups = tree_own(trees, json_array());
    json_t *keys = tree_own(trees, json_object());
    json_t *set = tree_own(trees, json_array());
    size_t i;
    json_t *item;
    json_array_foreach(json_array_size(targets) > 0 ? targets : list, i, item) {
        json_array_append(groups, tree_aliased(trees, item, ""));
        json_array_append_new(set, json_integer((json_int_t)i));
        json_object_set_new(keys, tree_key(trees, item), json_true());
    }
    json_array_foreach(list, i, item) {
        if (json_object_get(keys, tree_key(trees, item)) == NULL) return NULL;
    }
    json_t *grouped = tree_own(trees, json_copy(node));
    json_object_set(grouped, "group_expressions", groups);
    json_object_set_new(grouped, "group_sets", json_pack("[O]", set));
    json_object_set_new(grouped, "modifiers", json_array());
    return grouped;
}

struct fragment *plan_select(struct planner *planner, json_t *node, const char *alias,
                             json_t *columns, json_t *ctes) {
    struct trees *trees = &planner->trees;
    json_t *groups = json_object_get(node, "group_expressions");
    json_t *scope = tree_own(trees, json_array());
    static const char *const parts[] = {"select_list", "having", "qualify"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        json_t *part = json_object_get(node, parts[i]);
        if (part != NULL && !json_is_null(part)) json_array_append(scope, part);
    }
    json_t *aggregates = tree_own(trees, json_array());
    json_t *windows = tree_own(trees, json_array());
    tree_aggregates(trees, scope, aggregates);
    tree_windows(scope, windows);
    json_t *real = tree_own(trees, json_array());
    size_t i;
    json_t *call;
    // An aggregate inside a window call's arguments would be of this block; canonical SQL
    // never has both in one.
    json_array_foreach(aggregates, i, call) {
        if (!tree_is(call, "class", "WINDOW")) json_array_append(real, call);
    }
    bool grouped = json_array_size(real) > 0 || json_array_size(groups) > 0 ||
                   json_array_size(json_object_get(node, "group_sets")) > 0;
    if (!grouped) {
        json_t *distinct = distinct_groups(planner, node);
        if (distinct != NULL) return plan_select(planner, distinct, alias, columns, ctes);
    }
    if (tree_has(json_object_get(node, "modifiers"), "class", "SUBQUERY")) {
        return refuse(planner, "LIMIT or OFFSET by a subquery");
    }
    if (grouped && json_array_size(windows) > 0) {
        return refuse(planner, "aggregates and windows in one SELECT block");
    }
    json_t *sample = json_object_get(node, "sample");
    json_t *where = json_object_get(node, "where_clause");
    if (json_is_object(sample) &&
        (grouped || json_array_size(windows) > 0 || json_is_object(where) ||
         json_array_size(json_object_get(node, "modifiers")) > 0)) {
        return refuse(planner, "SAMPLE beside WHERE, GROUP BY or ORDER BY in one block");
    }
    if (json_array_size(json_object_get(node, "modifiers")) > 0 &&
        (grouped || json_array_size(windows) > 0)) {
        return split_modifiers(planner, node, alias, columns, ctes);
    }
    if (json_array_size(windows) > 1 &&
        json_array_size(window_common_keys(planner, windows)) == 0) {
        json_t *outer = several_partitions(planner, windows)
                            ? window_split(planner, node, windows)
                            : NULL;
        if (outer != NULL) return plan_select(planner, outer, alias, columns, ctes);
    }
    struct block block = {.planner = planner, .node = tree_own(trees, json_copy(node))};
    if (grouped) regroup_mark(planner, node);
    block.from = plan_from(planner, json_object_get(node, "from_table"), ctes);
    if (block.from == NULL) return NULL;
    if (!place_volatile(&block)) return NULL;
    if (json_is_object(sample) && !place_sample(&block, sample)) return NULL;
    if (!prune_files(planner, block.from, where)) return NULL;
    if (json_is_object(where)) {
        double share = filter_share(planner, where);
        block.from->rows = (uint64_t)((double)block.from->rows * share) + 1;
        block.from->kept *= share;
    }
    uint64_t rows = block.from->rows;
    if (grouped) {
        bool together = block.from->dist >= DIST_SINGLE ||
                        (json_array_size(json_object_get(node, "group_sets")) <= 1 &&
                         (hash_satisfies(planner, block.from, groups) ||
                          cluster_keys(planner, block.from, groups, node)));
        if (!together)
            return plan_aggregate(planner, block.node, block.from, real, alias, columns);
        double values;
        rows = json_array_size(groups)
                   ? (uint64_t)groups_estimated(planner, groups, rows, &values)
                   : 1;
    } else if (json_array_size(windows) > 0) {
        if (!place_windows(&block, windows)) return NULL;
    }
    if (!place_modifiers(&block)) return NULL;
    struct fragment *whole =
        wrap_block(planner, block.node, alias, columns, block.from, rows);
    if (whole != NULL && grouped) {
        aggregate_combines(planner, block.node, block.from, real, whole);
        sorted_groups(planner, block.from, whole);
    }
    if (whole != NULL && json_array_size(windows) > 0)
        window_combines(planner, block.node, block.from, windows, columns_used(&block),
                        whole);
    return whole;
}
