// ORDER BY of many rows: a sample sort (Frazer and McKellar, 1970; every engine's
// terasort). Three stages end in the gathered parts, in order:
//
//   write the rows, sampling their sort keys  -> RoundRobinExchange
//   scatter them by bounds from the samples   -> RangeExchange
//   sort each part                            -> GatherExchange, read in the parts' order
//
// Where the rows come from Parquet files and nothing else, the first stage takes some row
// groups' keys alone ("SampleExchange"), and the second reads the files: the rows are
// written once.
//
// The keys are DuckDB's own create_sort_key(), whose bytes compare as the ORDER BY does:
// directions, NULLS FIRST and every type are right by construction. They only place rows;
// a part is sorted by the ORDER BY itself. Rows of a key that is a tenth of a part or
// more are spread over the parts that they fill (base/bounds.h).
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

// "DESC NULLS FIRST": the second argument of create_sort_key.
static const char *direction(const json_t *order) {
    bool descending = tree_is(order, "type", "DESCENDING");
    bool first = tree_is(order, "null_order", "NULLS FIRST");
    if (descending) return first ? "DESC NULLS FIRST" : "DESC NULLS LAST";
    return first ? "ASC NULLS FIRST" : "ASC NULLS LAST";
}

const char *sort_flags(const json_t *order) {
    bool descending = tree_is(order, "type", "DESCENDING");
    bool first = tree_is(order, "null_order", "NULLS FIRST");
    if (descending) return first ? "true, true" : "true, false";
    return first ? "false, true" : "false, false";
}

json_t *sort_key_expression(struct planner *planner, json_t *orders,
                            const json_t *columns) {
    struct trees *trees = &planner->trees;
    json_t *call = tree_expression(trees, "create_sort_key(1)");
    json_t *arguments = json_object_get(call, "arguments");
    json_t *model = tree_copy(trees, json_array_get(arguments, 0));
    json_array_clear(arguments);
    size_t i;
    json_t *order;
    json_array_foreach(orders, i, order) {
        struct text text = {0};
        text_append_literal(&text, direction(order));
        json_t *pair[2] = {tree_aliased(trees, json_object_get(order, "expression"), ""),
                           text.failed ? NULL : tree_expression(trees, text.data)};
        text_free(&text);
        for (int p = 0; p < 2; p++) {
            json_t *argument = json_deep_copy(model);
            json_object_set(argument, "expression",
                            tree_rename_columns(trees, pair[p], columns));
            json_array_append_new(arguments, argument);
        }
    }
    // Keys of a few bytes would come as a BIGINT; a string behind them keeps them a BLOB.
    static const char *const tail[] = {"CAST('' AS VARCHAR)", "'ASC NULLS LAST'"};
    for (size_t t = 0; t < 2; t++) {
        json_t *argument = json_deep_copy(model);
        json_object_set(argument, "expression", tree_expression(trees, tail[t]));
        json_array_append_new(arguments, argument);
    }
    return tree_aliased(trees, call, "shoal_key");
}

// A key costs more than all else that is done to a row there: few rows get one, the
// others NULL. Each file keeps a thousand of them (block/sink.c).
#define SAMPLED 200000  // of the estimated rows

json_t *sampled_key_expression(struct planner *planner, json_t *orders,
                               const json_t *columns, uint64_t rows) {
    struct trees *trees = &planner->trees;
    json_t *key = sort_key_expression(planner, orders, columns);
    struct text text = {0};
    if (rows <= SAMPLED) return key;
    text_printf(&text, "CASE WHEN (random() < %.12f) THEN 1 END",
                (double)SAMPLED / (double)rows);
    json_t *choice = text.failed ? NULL : tree_expression(trees, text.data);
    text_free(&text);
    json_t *check = json_array_get(json_object_get(choice, "case_checks"), 0);
    json_object_set(check, "then_expr", tree_aliased(trees, key, ""));
    return tree_aliased(trees, choice, "shoal_key");
}

// Canonical SQL says COLLATE C of every text that has no other: its bytes are compared,
// as a sort key's are.
bool sort_collates(const json_t *expression) {
    bool bytes =
        tree_is(expression, "class", "COLLATE") && tree_is(expression, "collation", "C");
    if (bytes) expression = json_object_get(expression, "child");
    return tree_has(expression, "class", "COLLATE");
}

static json_t *find_order(json_t *modifiers) {
    size_t i;
    json_t *modifier;
    json_array_foreach(modifiers, i, modifier) {
        if (tree_is(modifier, "type", "ORDER_MODIFIER")) return modifier;
    }
    return NULL;
}

bool sort_wanted(const struct planner *planner, const struct fragment *from,
                 json_t *modifiers) {
    json_t *order = find_order(modifiers);
    size_t i;
    json_t *item;
    if (order == NULL || from->dist >= DIST_SINGLE || planner->options->no_range ||
        from->rows < planner->options->sort_rows) {
        return false;
    }
    json_array_foreach(modifiers, i, item) {
        if (tree_is(item, "type", "DISTINCT_MODIFIER")) return false;
    }
    json_array_foreach(json_object_get(order, "orders"), i, item) {
        if (sort_collates(json_object_get(item, "expression"))) return false;
    }
    return true;
}

// Can some of the rows be had for far less than all? Of one scan of Parquet files,
// without joins, whose row groups are small against a part: then bounds inside a file
// that is already sorted are as even.
static bool can_sample(struct planner *planner, const struct fragment *from) {
    const struct leaf_draft *leaf = only_leaf(planner, from->tree);
    if (leaf == NULL || from->dist != DIST_RANDOM || from->once ||
        from->unfiltered != NULL)
        return false;
    if (leaf->kind != LEAF_SCAN || !leaf->row_numbers || !leaf->group_numbers ||
        !read_footers(&planner->file_sets[leaf->file_set]))
        return false;
    const struct file_set *set = &planner->file_sets[leaf->file_set];
    uint64_t groups = 0;
    for (size_t f = 0; f < set->file_count; f++) groups += set->footers[f].group_count;
    return scan_files_rows(set->files, set->file_count) <= groups * SAMPLED_GROUP_ROWS;
}

#define SAMPLED_ONE_IN 2000  // of the rows, for EXPLAIN

// The keys alone, of some rows of the scan that `from` reads.
static uint32_t sample_scan(struct planner *planner, const struct fragment *from,
                            json_t *orders, json_t *where) {
    struct trees *trees = &planner->trees;
    json_t *list = tree_own(trees, json_array());
    struct fragment some = *from;
    some.rows = from->rows / SAMPLED_ONE_IN + 1;
    json_array_append(list, sort_key_expression(planner, orders, from->columns));
    (void)exchange_columns(planner, from, tree_own(trees, json_object()), "k", list);
    json_t *node = tree_select(trees, list, from->tree, NULL);
    if (where != NULL && !json_is_null(where))
        json_object_set(node, "where_clause",
                        tree_rename_columns(trees, where, from->columns));
    uint32_t exchange = exchange_new(planner, EXCHANGE_SAMPLE, orders);
    if (exchange_feed(planner, exchange, node, &some, BLOCK_SAMPLE))
        planner->stages[planner->stage_count - 1].some = true;
    return exchange;
}

static struct fragment *scatter_scan(struct planner *planner, struct fragment *from,
                                     json_t *columns, json_t *orders, json_t *where) {
    uint32_t sampled = sample_scan(planner, from, orders, where);
    struct before_exchange before = {.where = where};
    struct fragment *parts =
        exchange_place(planner, from, columns, EXCHANGE_RANGE, orders, &before);
    if (parts != NULL) exchange_bounds(planner, sampled);
    return parts;
}

static struct fragment *scatter_rows(struct planner *planner, struct fragment *from,
                                     json_t *columns, json_t *orders, json_t *where) {
    struct before_exchange before = {.where = where, .sampled = true};
    struct fragment *rows =
        exchange_place(planner, from, columns, EXCHANGE_ROUND_ROBIN, orders, &before);
    if (rows == NULL) return NULL;
    uint32_t sampled = (uint32_t)planner->exchange_count - 1;
    struct fragment *parts =
        exchange_place(planner, rows, columns, EXCHANGE_RANGE, orders, NULL);
    if (parts != NULL)
        planner->exchanges[planner->exchange_count - 1].bounds_from = sampled;
    return parts;
}

struct fragment *sort_place(struct planner *planner, struct fragment *from,
                            json_t *columns, json_t *modifiers, json_t *where) {
    struct trees *trees = &planner->trees;
    json_t *order = find_order(modifiers);
    json_t *orders = json_object_get(order, "orders");
    struct fragment *parts = can_sample(planner, from)
                                 ? scatter_scan(planner, from, columns, orders, where)
                                 : scatter_rows(planner, from, columns, orders, where);
    if (parts == NULL) return NULL;
    struct before_exchange sorted = {
        .modifiers = tree_own(trees, json_pack("[O]", order)), .ordered = true};
    return exchange_place(planner, parts, columns, EXCHANGE_GATHER, NULL, &sorted);
}

json_t *sort_rest(struct planner *planner, json_t *modifiers) {
    json_t *rest = tree_own(&planner->trees, json_array());
    size_t i;
    json_t *modifier;
    json_array_foreach(modifiers, i, modifier) {
        if (!tree_is(modifier, "type", "ORDER_MODIFIER")) {
            json_array_append(rest, modifier);
        }
    }
    return rest;
}
