// From one SELECT to stages. The query's canonical SQL is read as a syntax tree; each
// relation becomes a fragment bottom-up, and where a relation needs its rows placed
// otherwise than its input gives them, an exchange ends the fragment there. What is not
// known is refused with its name: the caller then runs the query embedded. There is never
// a guess.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "dist/planner.h"

// These put aggregate states, or joins of a table with itself by row number, into the
// canonical SQL; a scan in splits can't honour either.
#define PLANNING_DISABLED                                            \
    "grouping_sets,partial_aggregate_pushdown,late_materialization," \
    "top_n_window_elimination,window_self_join,partitioned_execution"

struct fragment *refuse(struct planner *planner, const char *format, ...) {
    char reason[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    shoal_fail(planner->err, SHOAL_UNSUPPORTED, "%s", reason);
    return NULL;
}

json_t *planner_column_names(struct planner *planner, size_t count) {
    json_t *names = tree_own(&planner->trees, json_array());
    for (size_t i = 0; i < count; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "c%zu", i);
        json_array_append_new(names, json_string(name));
    }
    return names;
}

const char *planner_name(struct planner *planner, const char *prefix) {
    char name[32];
    (void)snprintf(name, sizeof name, "%s%u", prefix, planner->next_name++);
    json_t *string = tree_own(&planner->trees, json_string(name));
    return string ? json_string_value(string) : "";
}

__attribute__((format(printf, 3, 0))) static void add_line(char ***lines, size_t *count,
                                                           const char *format,
                                                           va_list args) {
    char text[512];
    (void)vsnprintf(text, sizeof text, format, args);
    char **grown = realloc(*lines, (*count + 1) * sizeof *grown);
    if (grown == NULL) return;
    *lines = grown;
    grown[*count] = strdup(text);
    if (grown[*count] != NULL) (*count)++;
}

void planner_note(struct planner *planner, const char *format, ...) {
    va_list args;
    va_start(args, format);
    add_line(&planner->notes, &planner->note_count, format, args);
    va_end(args);
}

void planner_warn(struct planner *planner, const char *format, ...) {
    va_list args;
    va_start(args, format);
    add_line(&planner->warnings, &planner->warning_count, format, args);
    va_end(args);
}

static void find_entry(void *ctx, const char *key) {
    json_t *pair = ctx;  // [map, found]
    json_t *entry = json_object_get(json_array_get(pair, 0), key);
    if (entry != NULL) json_array_append(pair, entry);
}

// What map says of a column reference; NULL of anything else.
static json_t *look_up(struct planner *planner, json_t *map, const json_t *expression) {
    if (!tree_is(expression, "class", "COLUMN_REF")) return NULL;
    json_t *found = tree_own(&planner->trees, json_pack("[O]", map));
    tree_each_column(expression, find_entry, found);
    return json_array_get(found, 1);
}

json_t *planner_origin(struct planner *planner, const json_t *key) {
    return look_up(planner, planner->origins, key);
}

void planner_named(struct planner *planner, const char *alias, const char *column,
                   const json_t *expression) {
    json_t *key = tree_column_key(&planner->trees, alias, column);
    json_t *name = look_up(planner, planner->names, expression);
    json_t *origin = look_up(planner, planner->origins, expression);
    if (name != NULL) json_object_set(planner->names, json_string_value(key), name);
    if (origin != NULL) json_object_set(planner->origins, json_string_value(key), origin);
}

const json_t *item_below(struct planner *planner, const json_t *item, bool *filtered) {
    static const char *const empty[] = {"modifiers", "group_expressions", "group_sets"};
    static const char *const none[] = {"having", "sample", "qualify"};
    struct trees *trees = &planner->trees;
    *filtered = false;
    while (tree_is(item, "type", "SUBQUERY")) {
        const json_t *node = json_object_get(json_object_get(item, "subquery"), "node");
        json_t *list = json_object_get(node, "select_list");
        json_t *calls = tree_own(trees, json_array());
        if (!tree_is(node, "type", "SELECT_NODE")) return NULL;
        for (size_t i = 0; i < 3; i++) {
            if (json_array_size(json_object_get(node, empty[i])) > 0) return NULL;
            if (json_is_object(json_object_get(node, none[i]))) return NULL;
        }
        tree_aggregates(trees, list, calls);
        tree_windows(list, calls);
        if (json_array_size(calls) > 0) return NULL;
        *filtered = *filtered || json_is_object(json_object_get(node, "where_clause"));
        item = json_object_get(node, "from_table");
    }
    return item;
}

size_t node_width(const json_t *node) {
    if (tree_is(node, "type", "RECURSIVE_CTE_NODE")) {
        return node_width(json_object_get(node, "left"));
    }
    if (!tree_is(node, "type", "SELECT_NODE")) {
        return node_width(json_array_get(json_object_get(node, "children"), 0));
    }
    json_t *from = json_object_get(node, "from_table");
    json_t *list = json_object_get(node, "select_list");
    if (tree_is(from, "type", "EXPRESSION_LIST") &&
        tree_is(json_array_get(list, 0), "class", "STAR")) {
        return json_array_size(json_array_get(json_object_get(from, "values"), 0));
    }
    return json_array_size(list);
}

struct fragment *fragment_named(struct planner *planner, json_t *item,
                                enum distribution dist, uint64_t rows) {
    struct fragment *fragment =
        fragment_new(planner, tree_copy(&planner->trees, item), dist, rows);
    if (fragment != NULL) {
        json_object_set_new(fragment->aliases, tree_text(item, "alias"), json_true());
    }
    return fragment;
}

struct fragment *plan_from(struct planner *planner, json_t *item, json_t *ctes) {
    if (json_is_object(json_object_get(item, "sample"))) {
        return refuse(planner, "TABLESAMPLE of a FROM item");
    }
    if (tree_is(item, "type", "EMPTY"))
        return fragment_named(planner, item, DIST_REPLICATED, 1);
    if (tree_is(item, "type", "TABLE_FUNCTION")) return plan_function(planner, item);
    if (tree_is(item, "type", "BASE_TABLE")) return plan_table(planner, item, ctes);
    if (tree_is(item, "type", "EXPRESSION_LIST")) {
        return fragment_named(planner, item, DIST_REPLICATED,
                              json_array_size(json_object_get(item, "values")));
    }
    if (tree_is(item, "type", "SUBQUERY")) {
        json_t *node = json_object_get(json_object_get(item, "subquery"), "node");
        return plan_node(planner, node, tree_text(item, "alias"),
                         json_object_get(item, "column_name_alias"), ctes);
    }
    if (tree_is(item, "type", "JOIN")) return plan_join(planner, item, ctes);
    return refuse(planner, "%s in FROM is not planned yet", tree_text(item, "type"));
}

// The columns of a fragment that is one block, by its own alias, as a SELECT list.
static json_t *all_columns(struct planner *planner, const struct fragment *from,
                           const char *alias, json_t *columns) {
    struct trees *trees = &planner->trees;
    json_t *list = tree_own(trees, json_array());
    size_t i;
    json_t *name;
    json_array_foreach(columns, i, name) {
        json_t *column = tree_column(trees, alias, json_string_value(name));
        json_t *moved = tree_rename_columns(trees, column, from->columns);
        json_array_append(list, tree_aliased(trees, moved, json_string_value(name)));
    }
    return list;
}

// Each CTE is materialised once, whatever its number of readers.
static json_t *plan_ctes(struct planner *planner, json_t *node, json_t *ctes) {
    struct trees *trees = &planner->trees;
    json_t *map = json_object_get(json_object_get(node, "cte_map"), "map");
    if (json_array_size(map) == 0) return ctes;
    json_t *scope = tree_own(trees, json_copy(ctes));
    size_t i;
    json_t *entry;
    json_array_foreach(map, i, entry) {
        json_t *query = json_object_get(json_object_get(entry, "value"), "query_node");
        json_t *columns = planner_column_names(planner, node_width(query));
        const char *alias = planner_name(planner, "cte");
        struct fragment *body = tree_is(query, "type", "RECURSIVE_CTE_NODE")
                                    ? plan_recursive(planner, entry, alias, columns)
                                    : plan_node(planner, query, alias, columns, scope);
        if (body == NULL) return NULL;
        uint32_t exchange = exchange_new(planner, EXCHANGE_ROUND_ROBIN, NULL);
        json_t *select = tree_select(trees, all_columns(planner, body, alias, columns),
                                     body->tree, NULL);
        exchange_feed(planner, exchange, select, body, BLOCK_WHOLE);
        json_object_set_new(
            scope, tree_text(entry, "key"),
            json_pack("{s:I, s:I, s:f, s:O, s:s, s:O*}", "exchange", (json_int_t)exchange,
                      "rows", (json_int_t)body->rows, "kept", body->kept, "columns",
                      columns, "alias", alias, "scans",
                      hint_scans(planner, query, scope)));
    }
    return scope;
}

struct sharing {
    struct planner *planner;
    bool takes;  // the leaves are to be so; else only whether they may
    bool may;
};

static bool share_leaf(void *ctx, const json_t *object) {
    struct sharing *sharing = ctx;
    size_t index = leaf_index(sharing->planner, object);
    if (index >= sharing->planner->leaf_count) return false;
    struct leaf_draft *leaf = &sharing->planner->leaves[index];
    bool scan = leaf->kind == LEAF_SCAN && leaf->source.kind == SCAN_PARQUET;
    if (scan && sharing->takes) leaf->kind = LEAF_UNION;
    sharing->may =
        sharing->may && (scan || !leaf_drives(leaf->kind) || leaf->kind == LEAF_UNION);
    return false;
}

// The inputs of a UNION ALL that scan Parquet files, and may join them with what is in
// each task, stay in one stage, where each task has a split of one of them: the others
// read nothing there. Nothing is moved, then.
static bool share_tasks(struct planner *planner, struct fragment **inputs, size_t count) {
    struct sharing sharing = {.planner = planner, .may = true};
    for (size_t i = 0; sharing.may && i < count; i++) {
        const struct fragment *input = inputs[i];
        sharing.may = input->dist == DIST_RANDOM && !input->once &&
                      input->unfiltered == NULL && input->cut == NO_CUT;
        (void)tree_any(input->tree, share_leaf, &sharing);
    }
    sharing.takes = sharing.may;
    for (size_t i = 0; sharing.takes && i < count; i++)
        (void)tree_any(inputs[i]->tree, share_leaf, &sharing);
    return sharing.takes;
}

static struct fragment *plan_set_operation(struct planner *planner, json_t *node,
                                           const char *alias, json_t *columns,
                                           json_t *ctes) {
    struct trees *trees = &planner->trees;
    json_t *children = json_object_get(node, "children");
    if (json_array_size(json_object_get(node, "modifiers")) > 0) {
        return refuse(planner, "ORDER BY or LIMIT on a set operation is not planned yet");
    }
    size_t count = json_array_size(children);
    struct fragment **inputs = calloc(count + 1, sizeof *inputs);
    const char **aliases = calloc(count + 1, sizeof *aliases);
    struct fragment *out = NULL;
    if (inputs == NULL || aliases == NULL) {
        planner->trees.failed = true;
        goto done;
    }
    uint64_t rows = 0;
    double unfiltered = 1;
    bool whole = true;
    for (size_t i = 0; i < count; i++) {
        aliases[i] = planner_name(planner, "u");
        inputs[i] =
            plan_node(planner, json_array_get(children, i), aliases[i], columns, ctes);
        if (inputs[i] == NULL) goto done;
        rows += inputs[i]->rows;
        unfiltered += (double)inputs[i]->rows / inputs[i]->kept;
        whole = whole && inputs[i]->dist >= DIST_SINGLE;
    }
    bool union_all = tree_is(node, "setop_type", "UNION") &&
                     json_is_true(json_object_get(node, "setop_all"));
    json_t *block = tree_own(trees, json_copy(node));
    json_object_set_new(block, "cte_map", json_pack("{s:[]}", "map"));
    json_t *parts = tree_own(trees, json_array());
    json_object_set(block, "children", parts);
    enum distribution dist = DIST_SINGLE;
    if (!union_all && !whole &&
        (planner->collated || tree_has(children, "class", "COLLATE"))) {
        refuse(planner, "%s of columns with a collation", tree_text(node, "setop_type"));
        goto done;
    }
    if (union_all && !whole && share_tasks(planner, inputs, count)) {
        for (size_t i = 0; i < count; i++) {
            json_t *list = all_columns(planner, inputs[i], aliases[i], columns);
            json_array_append(parts, tree_select(trees, list, inputs[i]->tree, NULL));
        }
        out = fragment_named(planner, tree_subquery(trees, block, alias, columns),
                             DIST_RANDOM, rows);
        goto done;
    }
    if (union_all && !whole) {
        uint32_t exchange = exchange_new(planner, EXCHANGE_ROUND_ROBIN, NULL);
        for (size_t i = 0; i < count; i++) {
            json_t *list = all_columns(planner, inputs[i], aliases[i], columns);
            exchange_feed(planner, exchange,
                          tree_select(trees, list, inputs[i]->tree, NULL), inputs[i],
                          BLOCK_WHOLE);
        }
        json_t *table = exchange_read(planner, exchange, LEAF_SPLIT, alias);
        json_object_set(table, "column_name_alias", columns);
        out = fragment_named(planner, table, DIST_RANDOM, rows);
        goto done;
    }
    uint32_t like = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        json_t *list = all_columns(planner, inputs[i], aliases[i], columns);
        if (whole) {
            json_array_append(parts, tree_select(trees, list, inputs[i]->tree, NULL));
            continue;
        }
        dist = DIST_HASH;
        json_t *keys = tree_own(trees, json_array());
        size_t c;
        json_t *column;
        json_array_foreach(list, c, column) json_array_append(keys, column);
        json_t *empty = tree_own(trees, json_object());
        json_t *sent = tree_own(trees, json_copy(list));
        json_array_insert(sent, 0, hash_expression(planner, keys, empty));
        uint32_t exchange = exchange_new(planner, EXCHANGE_HASH, keys);
        planner->exchanges[exchange].like = like;
        like = exchange;
        json_t *feeds = tree_select(trees, sent, inputs[i]->tree, NULL);
        if (!json_is_true(json_object_get(node, "setop_all"))) {
            // Of duplicates one is enough.
            json_t *distinct = tree_select_template(trees, "SELECT DISTINCT 1");
            json_object_set(feeds, "modifiers", json_object_get(distinct, "modifiers"));
            json_object_set_new(feeds, AGGREGATE_STEP, json_string("partial"));
        }
        exchange_feed(planner, exchange, feeds, inputs[i], BLOCK_HASH);
        const char *reader = planner_name(planner, "x");
        json_t *table = exchange_read(planner, exchange, LEAF_PARTITION, reader);
        json_t *read = tree_own(trees, json_array());
        json_array_foreach(columns, c, column) {
            const char *name = json_string_value(column);
            json_array_append(
                read, tree_aliased(trees, tree_column(trees, reader, name), name));
        }
        json_array_append(parts, tree_select(trees, read, table, NULL));
    }
    out =
        fragment_named(planner, tree_subquery(trees, block, alias, columns), dist, rows);
    if (out != NULL && dist == DIST_HASH) {
        size_t c;
        json_t *column;
        json_array_foreach(columns, c, column) {
            json_t *key = tree_column(trees, alias, json_string_value(column));
            json_array_append_new(out->key_sets,
                                  json_pack("{s:b}", tree_key(trees, key), 1));
        }
    }
done:
    if (out != NULL) out->kept = ((double)rows + 1) / unfiltered;
    free(inputs);
    free(aliases);
    return out;
}

struct fragment *plan_node(struct planner *planner, json_t *node, const char *alias,
                           json_t *columns, json_t *ctes) {
    json_t *scope = plan_ctes(planner, node, ctes);
    if (scope == NULL) return NULL;
    if (json_array_size(columns) == 0)
        columns = planner_column_names(planner, node_width(node));
    if (tree_is(node, "type", "SET_OPERATION_NODE")) {
        return plan_set_operation(planner, node, alias, columns, scope);
    }
    return plan_select(planner, node, alias, columns, scope);
}

static void count_reference(void *ctx, const char *key) {
    json_t *counts = ctx;
    json_int_t seen = json_integer_value(json_object_get(counts, key));
    json_object_set_new(counts, key, json_integer(seen + 1));
}

// All of the root's columns through an exchange: hashed by the keys, or gathered.
static struct fragment *place_root(struct planner *planner, struct fragment *root,
                                   json_t *columns, json_t *keys) {
    struct trees *trees = &planner->trees;
    json_t *needed = tree_own(trees, json_object());
    size_t i;
    json_t *name;
    json_array_foreach(columns, i, name) {
        json_t *key = tree_column_key(trees, "root", json_string_value(name));
        json_object_set_new(needed, json_string_value(key), json_true());
    }
    return exchange_place(planner, root, needed,
                          keys != NULL ? EXCHANGE_HASH : EXCHANGE_GATHER, keys, NULL);
}

// bitstring_agg(x): the bounds of x come from a table's statistics, which an exchange has
// not.
static bool asks_statistics(void *ctx, const json_t *node) {
    (void)ctx;
    return tree_is(node, "function_name", "bitstring_agg") &&
           json_array_size(json_object_get(node, "children")) +
                   json_array_size(json_object_get(node, "arguments")) ==
               1;
}

static bool plan_root(struct planner *planner, json_t *node, const struct schema *names) {
    struct trees *trees = &planner->trees;
    const char *function = tree_function(trees, node, FUNCTION_SESSION);
    if (function != NULL) {
        refuse(planner, "%s() depends on this session alone", function);
        return false;
    }
    if (tree_any(node, asks_statistics, NULL)) {
        refuse(planner, "bitstring_agg() without bounds needs a table's statistics");
        return false;
    }
    if (tree_unique_aliases(trees, node, planner->err) != SHOAL_OK) return false;
    tree_narrow_decimals(node);
    if (!find_files(planner, node)) return false;
    planner->query = node;
    planner->references = tree_own(trees, json_object());
    planner->names = tree_own(trees, json_object());
    planner->origins = tree_own(trees, json_object());
    tree_each_column(node, count_reference, planner->references);
    json_t *ctes = tree_own(trees, json_object());
    json_t *columns = planner_column_names(planner, node_width(node));
    if (json_array_size(columns) != names->count) {
        refuse(planner, "the canonical SQL has another number of columns than the query");
        return false;
    }
    struct fragment *root = plan_node(planner, node, "root", columns, ctes);
    if (root == NULL) return false;
    json_t *places = hint_keys(planner, root, names, columns);
    if (json_array_size(places) > 0) {
        root = place_root(planner, root, columns, places);
        planner->placed = (uint32_t)planner->exchange_count - 1;
    }
    if (root != NULL && root->dist < DIST_SINGLE && !planner->options->sink)
        root = place_root(planner, root, columns, NULL);
    if (root == NULL) return false;
    json_t *list = all_columns(planner, root, "root", columns);
    for (size_t i = 0; i < names->count; i++) {
        json_object_set_new(json_array_get(list, i), "alias",
                            json_string(names->columns[i].name));
    }
    if (planner->options->sink) return sink_place(planner, root, list);
    root->dist = DIST_SINGLE;
    return exchange_feed(planner, UINT32_MAX, tree_select(trees, list, root->tree, NULL),
                         root, BLOCK_WHOLE);
}

static void planner_reset(struct planner *planner) {
    for (size_t i = 0; i < planner->leaf_count; i++) {
        struct leaf_draft *leaf = &planner->leaves[i];
        scan_files_free(leaf->files, leaf->file_count);
        free(leaf->scan_call);
        scan_source_free(&leaf->source);
        schema_free(&leaf->schema);
    }
    free(planner->leaves);
    file_sets_free(planner);
    for (size_t i = 0; i < planner->cut_count; i++) free(planner->cuts[i].bounds);
    free(planner->cuts);
    free(planner->exchanges);
    for (size_t i = 0; i < planner->note_count; i++) free(planner->notes[i]);
    free(planner->notes);
    for (size_t i = 0; i < planner->stage_count; i++) free(planner->stages[i].cuts);
    for (size_t i = 0; i < planner->warning_count; i++) free(planner->warnings[i]);
    free(planner->warnings);
    free(planner->hints);
    free(planner->stages);
    while (planner->fragments != NULL) {
        struct fragment *next = planner->fragments->next;
        free(planner->fragments);
        planner->fragments = next;
    }
    trees_reset(&planner->trees);
}

struct fragment *fragment_new(struct planner *planner, json_t *tree,
                              enum distribution dist, uint64_t rows) {
    struct fragment *fragment = calloc(1, sizeof *fragment);
    if (fragment == NULL || tree == NULL) {
        free(fragment);
        planner->trees.failed = true;
        shoal_fail(planner->err, SHOAL_NOMEM, "out of memory while planning");
        return NULL;
    }
    *fragment = (struct fragment){.tree = tree,
                                  .aliases = tree_own(&planner->trees, json_object()),
                                  .columns = tree_own(&planner->trees, json_object()),
                                  .key_sets = tree_own(&planner->trees, json_array()),
                                  .dist = dist,
                                  .rows = rows,
                                  .kept = 1,
                                  .cut = NO_CUT,
                                  .next = planner->fragments};
    planner->fragments = fragment;
    return fragment;
}

// What a plan has that needs sort keys, which some types don't have.
struct sorted {
    bool ranges, parts;
};

static void enable_optimizers(struct duck_conn *conn, char *before) {
    struct text sql = {0};
    struct shoal_error ignored;
    text_append(&sql, "SET disabled_optimizers=");
    text_append_literal(&sql, before == NULL ? "" : before);
    (void)duck_run(conn, sql.failed ? "RESET disabled_optimizers" : sql.data, &ignored);
    text_free(&sql);
    free(before);
}

static shoal_status plan_once(struct duck_conn *conn, const char *select,
                              const struct plan_options *options, struct stages **stages,
                              struct sorted *sorted, struct shoal_error *err) {
    double start = clock_seconds();
    struct planner planner = {.options = options, .err = err, .placed = UINT32_MAX};
    struct schema names = {0};
    char *canonical = NULL;
    *stages = NULL;
    err->status = SHOAL_OK;
    trees_init(&planner.trees, conn, err);
    char *disabled = NULL;
    shoal_status status =
        duck_disable_optimizers(conn, PLANNING_DISABLED, &disabled, err);
    if (status == SHOAL_OK) status = duck_describe(conn, select, &names, err);
    if (duck_is_nested_change(status, err))
        status =
            shoal_fail(err, SHOAL_UNSUPPORTED,
                       "its WITH changes rows or writes files, which one process does");
    bool binds = status == SHOAL_OK;
    if (binds) status = duck_canonical(conn, select, &canonical, err);
    enable_optimizers(conn, disabled);
    if (!binds) goto out;
    if (status != SHOAL_OK) {
        // The statement binds: this is a limit of the export.
        err->status = status = SHOAL_UNSUPPORTED;
        goto out;
    }
    char mark[LEAF_NAME_SIZE];
    do {
        (void)snprintf(mark, sizeof mark, "__leaf_%u_", ++planner.salt);
    } while (strstr(canonical, mark) != NULL);
    json_t *node = tree_parse(&planner.trees, canonical);
    if (node == NULL || !hints_open(&planner, select) ||
        !plan_root(&planner, node, &names)) {
        if (err->status == SHOAL_OK) shoal_fail(err, SHOAL_INTERNAL, "planning failed");
        status = err->status;
        goto out;
    }
    *stages = calloc(1, sizeof **stages);
    if (planner.trees.functions.status != SHOAL_OK) {
        *err = planner.trees.functions.error;
        status = err->status;
        goto out;
    }
    if (*stages == NULL || trees_failed(&planner.trees)) {
        status = shoal_fail(err, SHOAL_NOMEM, "out of memory while planning");
        goto out;
    }
    status = bind_stages(&planner, *stages);
    if (status != SHOAL_OK) goto out;
    const struct schema *bound = &stages_last(*stages)->schema;
    for (size_t i = 0; i < names.count; i++) {
        if (bound->count == names.count &&
            strcmp(bound->columns[i].type, names.columns[i].type) == 0) {
            continue;
        }
        status = shoal_fail(err, SHOAL_UNSUPPORTED,
                            "column %s would change its type from %s to %s",
                            names.columns[i].name, names.columns[i].type,
                            i < bound->count ? bound->columns[i].type : "nothing");
        goto out;
    }
    (*stages)->partitions = hints_close(&planner);
    (*stages)->shuffled = hints_shuffle(&planner);
    (*stages)->warnings = planner.warnings;
    (*stages)->warning_count = planner.warning_count;
    planner.warnings = NULL;
    planner.warning_count = 0;
    (*stages)->notes = planner.notes;
    (*stages)->note_count = planner.note_count;
    planner.notes = NULL;
    planner.note_count = 0;
    (*stages)->plan_seconds = clock_seconds() - start;
    if (options->summaries) status = summarise_stages(&planner, *stages);
out:
    // What it says for want of a node may be wrong, and a plan may lack one.
    if (trees_failed(&planner.trees))
        status = shoal_fail(err, SHOAL_NOMEM, "out of memory while planning");
    if (status != SHOAL_OK) {
        stages_free(*stages);
        *stages = NULL;
    }
    *sorted = (struct sorted){0};
    for (size_t i = 0; i < planner.exchange_count; i++) {
        sorted->ranges = sorted->ranges || planner.exchanges[i].kind == EXCHANGE_RANGE;
        sorted->parts = sorted->parts || planner.exchanges[i].kind == EXCHANGE_PARTS;
    }
    free(canonical);
    schema_free(&names);
    planner_reset(&planner);
    return status;
}

shoal_status stages_plan(struct duck_conn *conn, const char *select,
                         const struct plan_options *options, struct stages **stages,
                         struct shoal_error *err) {
    struct sorted sorted;
    struct plan_options less = *options;
    if (strcasestr(select, "disabled_optimizers") != NULL)
        return shoal_fail(err, SHOAL_UNSUPPORTED,
                          "it may ask for disabled_optimizers, which planning sets");
    shoal_status status = plan_once(conn, select, &less, stages, &sorted, err);
    if (status == SHOAL_UNSUPPORTED && sorted.parts) {
        less.no_parts = true;
        status = plan_once(conn, select, &less, stages, &sorted, err);
    }
    if (status != SHOAL_UNSUPPORTED || !sorted.ranges) return status;
    // A type without a sort key: its rows are sorted in one place.
    less.no_range = true;
    return plan_once(conn, select, &less, stages, &sorted, err);
}
