// What a stage does, for EXPLAIN: its operators from its tree, outermost first, in the
// words of Spark's plans.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

#define TEXT_MAX 160  // of one expression

struct summary {
    struct planner *planner;
    const struct stage *stage;
    struct text *out;
};

static void line_start(struct summary *summary, int depth) {
    for (int i = 0; i < depth && i < 40; i++) text_append(summary->out, "  ");
}

// Canonical SQL names every function in full.
static void shorten(char *text) {
    static const char prefix[] = "\"system\".main.";
    for (char *at; (at = strstr(text, prefix)) != NULL;) {
        memmove(at, at + sizeof prefix - 1, strlen(at + sizeof prefix - 1) + 1);
    }
}

// Expressions as text, in the names that the files give the columns.
static char *readable(struct planner *planner, json_t *list) {
    char *text =
        keys_text(planner, tree_rename_columns(&planner->trees, list, planner->names));
    if (text != NULL) shorten(text);
    return text;
}

// label=[expressions], shortened.
static void expressions(struct summary *summary, const char *label, json_t *list) {
    char *text = json_array_size(list) == 0 ? NULL : readable(summary->planner, list);
    if (text == NULL) return;
    bool cut = strlen(text) > TEXT_MAX;
    text_printf(summary->out, " %s=[%.*s%s]", label, TEXT_MAX, text, cut ? " ..." : "");
    free(text);
}

static const struct stage_leaf *find_leaf(const struct summary *summary,
                                          const json_t *item) {
    for (size_t i = 0; i < summary->stage->leaf_count; i++) {
        const struct stage_leaf *leaf = &summary->stage->leaves[i];
        if (strcmp(leaf->placeholder, tree_text(item, "table_name")) == 0) return leaf;
    }
    return NULL;
}

// Does a leaf cut its rows into tasks? If none does, each task has all of them.
static bool is_divided(void *ctx, const json_t *object) {
    const struct stage_leaf *leaf = find_leaf(ctx, object);
    return leaf != NULL && leaf->kind != LEAF_ALL && leaf->kind != LEAF_ORDERED &&
           leaf->kind != LEAF_SCAN_ALL && leaf->kind != LEAF_NUMBER &&
           leaf->kind != LEAF_BEFORE && leaf->kind != LEAF_AFTER;
}

static bool is_range(void *ctx, const json_t *object) {
    const struct stage_leaf *leaf = find_leaf(ctx, object);
    return leaf != NULL && leaf->kind == LEAF_RANGE;
}

// The keys of a sort with their directions, as DuckDB writes them.
static char *orders_text(struct planner *planner, json_t *orders) {
    static const char mark[] = "ORDER BY ";
    struct trees *trees = &planner->trees;
    json_t *one = tree_own(trees, json_pack("[O]", tree_expression(trees, "1")));
    json_t *node = tree_select(trees, one, NULL, NULL);
    json_t *named = tree_rename_columns(trees, orders, planner->names);
    json_object_set_new(
        node, "modifiers",
        json_pack("[{s:s, s:O}]", "type", "ORDER_MODIFIER", "orders", named));
    char *text = tree_deparse(trees, node, planner->err);
    char *keys = text ? strstr(text, mark) : NULL;
    if (keys != NULL) {
        memmove(text, keys + sizeof mark - 1, strlen(keys + sizeof mark - 1) + 1);
        shorten(text);
    }
    return text;
}

static void write_order(struct summary *summary, json_t *order) {
    char *keys = orders_text(summary->planner, json_object_get(order, "orders"));
    if (keys != NULL) {
        text_printf(summary->out, " keys=[%.*s%s]", TEXT_MAX, keys,
                    strlen(keys) > TEXT_MAX ? " ..." : "");
    }
    free(keys);
}

static int write_modifiers(struct summary *summary, const json_t *node, int depth) {
    json_t *modifiers = json_object_get(node, "modifiers");
    json_t *sort = NULL, *limit = NULL, *modifier;
    size_t i;
    json_array_foreach(modifiers, i, modifier) {
        const char *type = tree_text(modifier, "type");
        if (strncmp(type, "ORDER", 5) == 0) {
            sort = modifier;
        } else if (strncmp(type, "LIMIT", 5) == 0) {
            limit = modifier;
        } else {
            line_start(summary, depth++);
            text_append(summary->out, "Deduplicate");
            expressions(summary, "keys",
                        json_object_get(modifier, "distinct_on_targets"));
            text_append(summary->out, "\n");
        }
    }
    if (sort == NULL && limit == NULL) return depth;
    line_start(summary, depth++);
    text_append(summary->out, sort && limit ? "TopN" : sort ? "Sort" : "Limit");
    if (sort != NULL) write_order(summary, sort);
    static const char *const numbers[] = {"limit", "offset"};
    for (size_t n = 0; limit != NULL && n < 2; n++) {
        json_t *value = json_object_get(limit, numbers[n]);
        while (tree_is(value, "class", "CAST")) value = json_object_get(value, "child");
        if (!json_is_object(value)) continue;
        expressions(summary, numbers[n],
                    tree_own(&summary->planner->trees, json_pack("[O]", value)));
    }
    text_append(summary->out, "\n");
    return depth;
}

static void write_node(struct summary *summary, const json_t *node, int depth);

// What the query asked for: not the count that tells whether a partial aggregate pays.
static json_t *without_count(struct trees *trees, const json_t *node) {
    json_t *list = json_object_get(node, "select_list");
    size_t last = json_array_size(list);
    if (last == 0 ||
        strcmp(tree_text(json_array_get(list, last - 1), "alias"), ROWS_COUNTED) != 0)
        return list;
    json_t *asked = tree_own(trees, json_copy(list));
    json_array_remove(asked, last - 1);
    return asked;
}

static bool find_rows(void *ctx, const json_t *object) {
    const json_t **rows = ctx;
    if (json_object_get(object, SORTED_ROWS) == NULL) return false;
    *rows = object;
    return true;
}

// A SELECT of runs as the aggregation that it is.
static void write_sorted(struct summary *summary, const json_t *node, int depth) {
    const json_t *rows = NULL;
    line_start(summary, depth);
    text_append(summary->out, "SortAggregate");
    expressions(summary, "keys", json_object_get(node, SORTED_GROUPS));
    expressions(summary, "functions", json_object_get(node, SORTED_CALLS));
    text_append(summary->out, "\n");
    if (tree_any(node, find_rows, &rows)) write_node(summary, rows, depth + 1);
}

static void write_select(struct summary *summary, const json_t *node, int depth) {
    struct trees *trees = &summary->planner->trees;
    if (json_object_get(node, SORTED_GROUPS) != NULL) {
        write_sorted(summary, node, depth);
        return;
    }
    json_t *select = without_count(trees, node);
    json_t *groups = json_object_get(node, "group_expressions");
    json_t *calls = tree_own(trees, json_array());
    depth = write_modifiers(summary, node, depth);
    tree_aggregates(trees, select, calls);
    if (tree_has(select, "class", "WINDOW")) {
        line_start(summary, depth++);
        text_append(summary->out, "Window\n");
    } else if (*tree_text(node, STANDS_FOR)) {
        line_start(summary, depth++);
        text_printf(summary->out, "%s\n", tree_text(node, STANDS_FOR));
    } else if (json_array_size(groups) > 0 || json_array_size(calls) > 0) {
        const char *step = tree_text(node, AGGREGATE_STEP);
        line_start(summary, depth++);
        text_printf(summary->out, "HashAggregate%s%s", *step ? " " : "", step);
        expressions(summary, "keys", groups);
        if (strcmp(step, "final") != 0) expressions(summary, "functions", calls);
        text_append(summary->out, "\n");
    }
    if (json_is_object(json_object_get(node, "where_clause"))) {
        line_start(summary, depth++);
        text_append(summary->out, "Filter");
        expressions(
            summary, "condition",
            tree_own(trees, json_pack("[O]", json_object_get(node, "where_clause"))));
        text_append(summary->out, "\n");
    }
    write_node(summary, json_object_get(node, "from_table"), depth);
}

static void write_filter(struct summary *summary, const json_t *node, int depth) {
    const struct stage *stage = summary->stage;
    line_start(summary, depth);
    text_printf(summary->out, "RuntimeFilter by exchange %u",
                stage->leaves[stage->filter_leaf].exchange);
    expressions(summary, "condition",
                tree_own(&summary->planner->trees,
                         json_pack("[O]", json_object_get(node, "condition"))));
    text_append(summary->out, "\n");
    write_node(summary, json_object_get(node, "left"), depth + 1);
}

static void write_join(struct summary *summary, const json_t *node, int depth) {
    if (*tree_text(node, RUNTIME_FILTER)) {
        write_filter(summary, node, depth);
        return;
    }
    bool left = tree_any(json_object_get(node, "left"), is_divided, summary);
    bool right = tree_any(json_object_get(node, "right"), is_divided, summary);
    json_t *condition = json_object_get(node, "condition");
    const char *type = tree_text(node, "join_type");
    line_start(summary, depth);
    text_printf(summary->out, "%s %s",
                left && right   ? tree_any(node, is_range, summary) ? "CoPartitionedJoin"
                                                                    : "ShuffledJoin"
                : left != right ? "BroadcastJoin"
                                : "Join",
                tree_is(node, "ref_type", "CROSS") ? "CROSS" : type);
    if (left != right) {
        text_printf(summary->out, ", %s side broadcast", left ? "right" : "left");
    }
    if (json_is_object(condition)) {
        expressions(summary, "condition",
                    tree_own(&summary->planner->trees, json_pack("[O]", condition)));
    }
    text_append(summary->out, "\n");
    write_node(summary, json_object_get(node, "left"), depth + 1);
    write_node(summary, json_object_get(node, "right"), depth + 1);
}

static void write_leaf(struct summary *summary, const struct stage_leaf *leaf,
                       int depth) {
    line_start(summary, depth);
    if (leaf->scan_call == NULL) {
        text_printf(summary->out, "Read exchange %u %s\n", leaf->exchange,
                    leaf->kind == LEAF_PARTITION ? "by partition"
                    : leaf->kind == LEAF_SPLIT   ? "in splits"
                    : leaf->kind == LEAF_ORDERED ? "in order"
                    : leaf->kind == LEAF_COMBINE ? "of the partition's slices"
                    : leaf->kind == LEAF_PART    ? "by part of the partition"
                                                 : "whole");
        return;
    }
    uint64_t rows = scan_files_rows(leaf->files, leaf->file_count);
    text_append(summary->out, "Scan ");
    bool list = strstr(leaf->scan_call, "list_value(") != NULL;
    if (list || (leaf->file_count == 1 && leaf->files_before == 0)) {
        text_append_literal(summary->out, leaf->file_count ? leaf->files[0].path : "");
        if (leaf->file_count > 1)
            text_printf(summary->out, " and %zu more", leaf->file_count - 1);
    } else {
        text_append(summary->out, leaf->scan_call);
    }
    text_printf(summary->out, ", %zu file%s", leaf->file_count,
                leaf->file_count == 1 ? "" : "s");
    if (leaf->files_before > 0) text_printf(summary->out, " of %zu", leaf->files_before);
    text_printf(summary->out, ", %s%llu rows%s",
                leaf->source.kind == SCAN_PARQUET ? "" : "about ",
                (unsigned long long)rows,
                leaf->kind == LEAF_SCAN_ALL    ? ", read whole by each task"
                : leaf->kind == LEAF_SCAN_SOME ? ", a sample of them"
                                               : "");
    if (leaf->kind == LEAF_RANGE) {
        text_printf(summary->out, ", in %zu ranges of %s", leaf->range_count,
                    leaf->range_column);
    }
    text_append(summary->out, "\n");
}

// A table or table function, as it stands in the query.
static void write_item(struct summary *summary, const json_t *node, int depth) {
    static const char mark[] = " FROM ";
    struct trees *trees = &summary->planner->trees;
    json_t *item = tree_own(trees, json_copy((json_t *)node));
    json_t *one = tree_own(trees, json_pack("[O]", tree_expression(trees, "1")));
    json_object_set_new(item, "column_name_alias", json_array());
    json_object_set_new(item, "alias", json_string(""));
    char *text =
        tree_deparse(trees, tree_select(trees, one, item, NULL), summary->planner->err);
    char *from = text ? strstr(text, mark) : NULL;
    line_start(summary, depth);
    if (from != NULL) {
        shorten(from);
        text_printf(summary->out, "Scan %s", from + sizeof mark - 1);
    } else {
        text_append(summary->out, "Scan");
    }
    text_append(summary->out, "\n");
    free(text);
}

static void write_node(struct summary *summary, const json_t *node, int depth) {
    const struct stage_leaf *leaf = find_leaf(summary, node);
    size_t i;
    json_t *child;
    if (leaf != NULL) {
        write_leaf(summary, leaf, depth);
    } else if (tree_is(node, "type", "SELECT_NODE")) {
        write_select(summary, node, depth);
    } else if (tree_is(node, "type", "SUBQUERY")) {
        write_node(summary, json_object_get(json_object_get(node, "subquery"), "node"),
                   depth);
    } else if (tree_is(node, "type", "JOIN")) {
        write_join(summary, node, depth);
    } else if (tree_is(node, "type", "SET_OPERATION_NODE")) {
        line_start(summary, depth);
        text_printf(summary->out, "%s%s\n", tree_text(node, "setop_type"),
                    json_is_true(json_object_get(node, "setop_all")) ? " ALL" : "");
        json_array_foreach(json_object_get(node, "children"), i, child) {
            write_node(summary, child, depth + 1);
        }
    } else if (tree_is(node, "type", "BASE_TABLE") ||
               tree_is(node, "type", "TABLE_FUNCTION")) {
        write_item(summary, node, depth);
    } else if (!tree_is(node, "type", "EMPTY")) {
        line_start(summary, depth);
        text_append(summary->out, "Values\n");
    }
}

shoal_status summarise_stages(struct planner *planner, struct stages *stages) {
    for (size_t i = 0; i < stages->exchange_count; i++) {
        json_t *keys = planner->exchanges[i].keys;
        if (json_array_size(keys) == 0) continue;
        json_t *lookup = planner->exchanges[i].lookup;
        if (lookup != NULL)
            stages->exchanges[i].lookup =
                tree_deparse(&planner->trees, lookup, planner->err);
        enum exchange_kind kind = stages->exchanges[i].kind;
        bool ranges =
            kind == EXCHANGE_RANGE || kind == EXCHANGE_PARTS || kind == EXCHANGE_SAMPLE;
        stages->exchanges[i].keys =
            ranges ? orders_text(planner, keys) : readable(planner, keys);
    }
    for (size_t i = 0; i < stages->count; i++) {
        struct text text = {0};
        struct summary summary = {
            .planner = planner, .stage = &stages->stages[i], .out = &text};
        write_node(&summary, planner->stages[i].node, 0);
        stages->stages[i].summary = text_take(&text);
        if (stages->stages[i].summary == NULL) {
            return shoal_fail(planner->err, SHOAL_NOMEM, "out of memory in EXPLAIN");
        }
    }
    return SHOAL_OK;
}
