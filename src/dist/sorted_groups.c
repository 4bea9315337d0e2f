// A GROUP BY of rows that are sorted by its key: files are often written in the order of
// what they are grouped by later, and a scan that is cut in ranges of the key (cluster.c)
// reads each range in that order. Groups are then runs of rows, which functions of our
// own aggregate chunk by chunk (duck/runs.c); DuckDB's hash table takes 80 ns for each
// new group. A run at the edge of a chunk may go on in the next: those few are grouped as
// ever. Spark and ClickHouse have such an aggregation too, of sorted inputs.
//
//   rows    k and the calls' arguments, as the scan reads them
//   groups  one row a run: k, the aggregates, and whether it is at an edge
//   result  whole runs as they are, and those at edges by GROUP BY
//
// Whether a file is sorted its footer doesn't say, so a few rows are read when the query
// is planned. Should others not be sorted, the functions see it, and all runs are
// grouped.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

#define ROWS_TABLE "shoal_rows"
#define LOOKED_AT 10000  // rows of a row group

struct sorted {
    struct planner *planner;
    const char *alias;          // of the scan
    json_t *types;              // its columns' names -> types
    json_t *rows;               // k, v0, ...
    json_t *values;             // tree_key of a call -> the column that it is
    struct text runs, regroup;  // aggregates of rows i, and of runs w: "sum(w.a0) AS a0"
    struct text passed;         // columns of runs: "w.a0 AS a0"
};

static const json_t *argument(const json_t *call) {
    return json_object_get(json_array_get(json_object_get(call, "arguments"), 0),
                           "expression");
}

// ---- is it sorted?

bool rows_ascend(struct planner *planner, const struct file_set *set,
                 const char *column) {
    const struct scan_file *file = &set->files[set->file_count / 2];
    const struct parquet_footer *footer = &set->footers[set->file_count / 2];
    struct text sql = {0};
    struct shoal_error ignored;
    char *falls = NULL;
    text_append(&sql,
                "SELECT count(*) FROM (SELECT k < lag(k) OVER () AS falls FROM "
                "(SELECT ");
    text_append_identifier(&sql, column);
    text_append(&sql, " AS k FROM parquet_scan(");
    text_append_literal(&sql, file->path);
    text_printf(&sql, ") WHERE file_row_group_number = %zu LIMIT %d)) WHERE falls",
                footer->group_count / 2, LOOKED_AT);
    bool sorted =
        !sql.failed &&
        duck_scalar(planner->trees.conn, sql.data, &falls, &ignored) == SHOAL_OK &&
        falls != NULL && strcmp(falls, "0") == 0;
    free(falls);
    text_free(&sql);
    return sorted;
}

// ---- calls

// Adds the argument to the rows; its name.
static const char *add_value(struct sorted *sorted, const json_t *expression) {
    struct trees *trees = &sorted->planner->trees;
    char name[24];
    (void)snprintf(name, sizeof name, "v%zu", json_array_size(sorted->rows) - 1);
    json_array_append(sorted->rows,
                      tree_aliased(trees, (json_t *)(uintptr_t)expression, name));
    const json_t *added = json_array_get(sorted->rows, json_array_size(sorted->rows) - 1);
    return tree_text(added, "alias");
}

static void type_of(struct sorted *sorted, const json_t *call, char *type, size_t size) {
    *type = '\0';
    if (argument(call) != NULL)
        type_find(sorted->planner, sorted->alias, sorted->types, argument(call), type,
                  size);
}

static bool add_count(struct sorted *sorted, const json_t *call, const char *column,
                      struct text *value) {
    if (argument(call) == NULL)
        text_append(&sorted->runs, "shoal_run_count(i.k, true)");
    else
        text_printf(&sorted->runs, "shoal_run_count(i.k, (i.%s IS NOT NULL))",
                    add_value(sorted, argument(call)));
    text_printf(&sorted->regroup, "CAST(sum(w.%s) AS BIGINT)", column);
    text_printf(value, "r.%s", column);
    return true;
}

static bool add_sum(struct sorted *sorted, const json_t *call, const char *column,
                    struct text *value) {
    char type[64];
    int scale;
    type_of(sorted, call, type, sizeof type);
    if (!type_summed(type, &scale)) return false;
    const char *name = add_value(sorted, argument(call));
    if (scale < 0)
        text_printf(&sorted->runs, "shoal_run_sum(i.k, i.%s)", name);
    else
        text_printf(&sorted->runs,
                    "shoal_run_decimal_sum_%d(i.k, CAST(i.%s AS DECIMAL(%d, %d)))", scale,
                    name, DUCK_RUNNING_DIGITS, scale);
    text_printf(&sorted->regroup, "sum(w.%s)", column);
    text_printf(value, "r.%s", column);
    return true;
}

static bool add_extreme(struct sorted *sorted, const json_t *call, const char *column,
                        struct text *value) {
    static const char *const types[] = {"TINYINT",   "SMALLINT",  "INTEGER",  "BIGINT",
                                        "UTINYINT",  "USMALLINT", "UINTEGER", "DATE",
                                        "TIMESTAMP", NULL};
    const char *name = tree_text(call, "function_name");
    char type[64];
    type_of(sorted, call, type, sizeof type);
    if (!text_one_of(type, types)) return false;
    text_printf(&sorted->runs, "shoal_run_%s(i.k, i.%s)", name,
                add_value(sorted, argument(call)));
    text_printf(&sorted->regroup, "%s(w.%s)", name, column);
    text_printf(value, "CAST(r.%s AS %s)", column, type);
    return true;
}

// What isn't here is aggregated by a hash table.
static const struct run_rule {
    const char *name;
    size_t arity;
    bool (*add)(struct sorted *sorted, const json_t *call, const char *column,
                struct text *value);
} rules[] = {
    {"count", 0, add_count}, {"count", 1, add_count}, {"count_star", 0, add_count},
    {"sum", 1, add_sum},     {"min", 1, add_extreme}, {"max", 1, add_extreme},
};

static const struct run_rule *find_rule(const json_t *call) {
    size_t arity = json_array_size(json_object_get(call, "arguments"));
    if (json_is_true(json_object_get(call, "distinct")) ||
        json_is_object(json_object_get(call, "filter")) ||
        json_array_size(json_object_get(json_object_get(call, "order_bys"), "orders")) >
            0)
        return NULL;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (tree_is(call, "function_name", rules[i].name) && rules[i].arity == arity)
            return &rules[i];
    }
    return NULL;
}

static bool add_call(struct sorted *sorted, json_t *call) {
    struct trees *trees = &sorted->planner->trees;
    const struct run_rule *rule = find_rule(call);
    const char *key = tree_key(trees, call);
    struct text value = {0};
    char column[24];
    if (rule == NULL) return false;
    if (json_object_get(sorted->values, key) != NULL) return true;
    (void)snprintf(column, sizeof column, "a%zu", json_object_size(sorted->values));
    text_append(&sorted->runs, ", ");
    text_append(&sorted->regroup, ", ");
    bool ok = rule->add(sorted, call, column, &value) && !value.failed;
    text_printf(&sorted->runs, " AS %s", column);
    text_printf(&sorted->regroup, " AS %s", column);
    text_printf(&sorted->passed, ", w.%s AS %s", column, column);
    if (ok) json_object_set(sorted->values, key, tree_expression(trees, value.data));
    text_free(&value);
    return ok;
}

// ---- the block

#define SORTED "((SELECT max(m.e) FROM shoal_groups AS m) < 3)"

static json_t *groups_node(struct sorted *sorted) {
    struct trees *trees = &sorted->planner->trees;
    const char *runs = sorted->runs.data != NULL ? sorted->runs.data : "";
    const char *passed = sorted->passed.data != NULL ? sorted->passed.data : "";
    const char *regroup = sorted->regroup.data != NULL ? sorted->regroup.data : "";
    struct text sql = {0};
    text_printf(&sql,
                "WITH shoal_groups AS MATERIALIZED (SELECT g.* FROM (SELECT "
                "shoal_run_edge(i.k) AS e, i.k AS k%s FROM " ROWS_TABLE
                " AS i) AS g WHERE (g.e > 0)) SELECT w.k AS k%s FROM shoal_groups AS w "
                "WHERE ((w.e = 1) AND " SORTED
                ") UNION ALL SELECT w.k AS k%s FROM "
                "shoal_groups AS w WHERE ((w.e > 1) OR (NOT " SORTED ")) GROUP BY w.k",
                runs, passed, regroup);
    bool failed = sql.failed || sorted->runs.failed || sorted->passed.failed ||
                  sorted->regroup.failed;
    json_t *node = failed ? NULL : tree_select_template(trees, sql.data);
    text_free(&sql);
    return node;
}

// The block's rows and lists are those of what it was, a GROUP BY.
static void replace_block(struct sorted *sorted, json_t *block, json_t *key,
                          json_t *calls) {
    struct trees *trees = &sorted->planner->trees;
    json_t *node = groups_node(sorted);
    json_t *rows =
        tree_select(trees, sorted->rows, json_object_get(block, "from_table"), NULL);
    json_t *having = json_object_get(block, "having");
    json_t *names = tree_own(trees, json_pack("[s]", "k"));
    if (node == NULL) return;
    json_object_set(rows, "where_clause", json_object_get(block, "where_clause"));
    tree_put_table(node, ROWS_TABLE, tree_derived(trees, rows, "i"));
    for (size_t i = 0; i < json_object_size(sorted->values); i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "a%zu", i);
        json_array_append_new(names, json_string(name));
    }
    json_object_set(sorted->values, tree_key(trees, key), tree_column(trees, "r", "k"));
    // EXPLAIN says what it was.
    json_object_set(block, SORTED_GROUPS, json_object_get(block, "group_expressions"));
    json_object_set(block, SORTED_CALLS, calls);
    json_object_set_new(rows, SORTED_ROWS, json_true());
    json_object_set(
        block, "select_list",
        tree_replace(trees, json_object_get(block, "select_list"), sorted->values));
    json_object_set(block, "from_table", tree_subquery(trees, node, "r", names));
    json_object_set(
        block, "where_clause",
        json_is_object(having) ? tree_replace(trees, having, sorted->values) : having);
    json_object_set_new(block, "having", json_null());
    json_object_set_new(block, "group_expressions", json_array());
    json_object_set_new(block, "group_sets", json_array());
}

// Types of the scan's columns, by their names in the tree.
static void type_columns(struct sorted *sorted) {
    const char *key;
    json_t *origin;
    size_t length = strlen(sorted->alias);
    json_object_foreach(sorted->planner->origins, key, origin) {
        if (strncmp(key, sorted->alias, length) == 0 && key[length] == '\x01')
            json_object_set(sorted->types, key + length + 1, json_array_get(origin, 2));
    }
}

// The scan that an item is, with filters and expressions above it and nothing else;
// SIZE_MAX: it is no such.
static size_t scanned_leaf(struct planner *planner, const json_t *item) {
    bool filtered;
    const json_t *below = item_below(planner, item, &filtered);
    bool unnests = tree_has(item, "function_name", "unnest");
    return below == NULL || unnests ? SIZE_MAX : leaf_index(planner, below);
}

// A scan that is grouped by one of its columns alone.
static bool groups_scan(struct planner *planner, json_t *node,
                        const struct fragment *from) {
    json_t *groups = json_object_get(node, "group_expressions");
    size_t leaf = scanned_leaf(planner, from->tree);
    const json_t *origin = planner_origin(planner, json_array_get(groups, 0));
    return leaf < planner->leaf_count && json_object_size(from->columns) == 0 &&
           json_array_size(groups) == 1 &&
           json_array_size(json_object_get(node, "group_sets")) <= 1 && origin != NULL &&
           (size_t)json_integer_value(json_array_get(origin, 0)) == leaf &&
           strcmp(json_string_value(json_array_get(origin, 2)), "DATE") != 0 &&
           !tree_has(node, "type", "GROUPING_FUNCTION");
}

// The block's calls, of which false says that not all can be made of runs. Free with
// free_calls in any case.
static bool add_calls(struct sorted *sorted, json_t *block, const struct fragment *from,
                      json_t *calls) {
    struct trees *trees = &sorted->planner->trees;
    json_t *key = json_array_get(json_object_get(block, "group_expressions"), 0);
    size_t i;
    json_t *call;
    sorted->alias = tree_text(from->tree, "alias");
    sorted->types = tree_own(trees, json_object());
    sorted->rows = tree_own(trees, json_array());
    sorted->values = tree_own(trees, json_object());
    type_columns(sorted);
    json_array_append(sorted->rows, tree_aliased(trees, key, "k"));
    tree_aggregates(trees, json_object_get(block, "select_list"), calls);
    tree_aggregates(trees, json_object_get(block, "having"), calls);
    json_array_foreach(calls, i, call) {
        if (!add_call(sorted, call)) return false;
    }
    return true;
}

static void free_calls(struct sorted *sorted) {
    text_free(&sorted->runs);
    text_free(&sorted->regroup);
    text_free(&sorted->passed);
}

bool sorted_groups_possible(struct planner *planner, json_t *node,
                            const struct fragment *from) {
    struct sorted sorted = {.planner = planner};
    json_t *calls = tree_own(&planner->trees, json_array());
    bool possible =
        groups_scan(planner, node, from) && add_calls(&sorted, node, from, calls);
    free_calls(&sorted);
    return possible;
}

void sorted_groups(struct planner *planner, const struct fragment *from,
                   struct fragment *block) {
    size_t leaf = scanned_leaf(planner, from->tree);
    struct sorted sorted = {.planner = planner};
    json_t *whole = json_object_get(json_object_get(block->tree, "subquery"), "node");
    json_t *key = json_array_get(json_object_get(whole, "group_expressions"), 0);
    json_t *calls = tree_own(&planner->trees, json_array());
    if (leaf >= planner->leaf_count || !planner->leaves[leaf].sorted) return;
    if (add_calls(&sorted, whole, from, calls)) replace_block(&sorted, whole, key, calls);
    free_calls(&sorted);
}
