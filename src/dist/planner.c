// From one SELECT to stages. The query's canonical SQL is read as a syntax tree; each
// relation becomes a fragment bottom-up, and where a relation needs its rows placed
// otherwise than its input gives them, an exchange ends the fragment there. What is not
// known is refused with its name: the caller then runs the query embedded. There is never
// a guess.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "dist/planner.h"

// These put aggregate states, or joins of a table with itself by row number, into the
// canonical SQL; a scan in splits can't honour either.
#define PLANNING_DISABLED                                            \
    "grouping_sets,partial_aggregate_pushdown,late_materialization," \
    "top_n_window_elimination,window_self_join"

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

void planner_note(struct planner *planner, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char **notes = realloc(planner->notes, (planner->note_count + 1) * sizeof *notes);
    if (notes == NULL) return;
    planner->notes = notes;
    notes[planner->note_count] = strdup(text);
    if (notes[planner->note_count] != NULL) planner->note_count++;
}

static void copy_name(void *ctx, const char *key) {
    json_t *pair = ctx;  // [names, found]
    json_t *name = json_object_get(json_array_get(pair, 0), key);
    if (name != NULL) json_array_append(pair, name);
}

void planner_named(struct planner *planner, const char *alias, const char *column,
                   const json_t *expression) {
    if (!tree_is(expression, "class", "COLUMN_REF")) return;
    json_t *found = tree_own(&planner->trees, json_pack("[O]", planner->names));
    tree_each_column(expression, copy_name, found);
    json_t *key = tree_column_key(&planner->trees, alias, column);
    if (json_array_size(found) == 2) {
        json_object_set(planner->names, json_string_value(key), json_array_get(found, 1));
    }
}

size_t node_width(const json_t *node) {
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

static struct fragment *named(struct planner *planner, json_t *item,
                              enum distribution dist, uint64_t rows) {
    struct fragment *fragment =
        fragment_new(planner, tree_copy(&planner->trees, item), dist, rows);
    if (fragment != NULL) {
        json_object_set_new(fragment->aliases, tree_text(item, "alias"), json_true());
    }
    return fragment;
}

static bool list_files(struct planner *planner, const char *argument,
                       struct leaf_draft *leaf) {
    struct text sql = {0};
    text_printf(&sql,
                "SELECT file_name, num_rows::VARCHAR, file_size_bytes::VARCHAR "
                "FROM parquet_file_metadata(%s)",
                argument);
    struct duck_result *result = NULL;
    shoal_status status =
        duck_query_text(planner->trees.conn, sql.data, &result, planner->err);
    text_free(&sql);
    if (status != SHOAL_OK) return false;
    leaf->files = calloc(duck_result_rows(result) + 1, sizeof *leaf->files);
    for (size_t i = 0; leaf->files != NULL && i < duck_result_rows(result); i++) {
        const char *rows = duck_result_text(result, 1, i);
        const char *bytes = duck_result_text(result, 2, i);
        leaf->files[i].path = strdup(duck_result_text(result, 0, i));
        leaf->files[i].rows = strtoull(rows ? rows : "0", NULL, 10);
        leaf->files[i].bytes = strtoull(bytes ? bytes : "0", NULL, 10);
        leaf->file_count++;
    }
    duck_result_free(result);
    return leaf->files != NULL;
}

// The scan's one argument as SQL. Nearly always it is a path: no need to ask DuckDB then.
static char *scan_argument(struct planner *planner, json_t *expression) {
    const json_t *inner = expression;
    if (tree_is(inner, "class", "CAST")) inner = json_object_get(inner, "child");
    const json_t *literal = json_object_get(inner, "literal");
    if (tree_is(inner, "class", "CONSTANT") && tree_is(literal, "kind", "STRING")) {
        struct text text = {0};
        text_append_literal(&text, tree_text(literal, "text"));
        return text_take(&text);
    }
    return keys_text(planner, tree_own(&planner->trees, json_pack("[O]", expression)));
}

// Files and schema of a scan; from an earlier scan of the same in this query, if any.
static bool describe_scan(struct planner *planner, const char *argument,
                          struct leaf_draft *leaf) {
    for (struct leaf_draft *other = planner->leaves; other < leaf; other++) {
        if (other->scan_call == NULL || strcmp(other->scan_call, leaf->scan_call) != 0)
            continue;
        leaf->files = calloc(other->file_count + 1, sizeof *leaf->files);
        for (size_t i = 0; leaf->files != NULL && i < other->file_count; i++) {
            leaf->files[i] = other->files[i];
            leaf->files[i].path = strdup(other->files[i].path);
            leaf->file_count++;
            if (leaf->files[i].path == NULL) return false;
        }
        return leaf->files != NULL && schema_copy(&leaf->all, &other->all);
    }
    struct text probe = {0};
    text_printf(&probe, "SELECT * FROM %s", leaf->scan_call);
    bool ok = !probe.failed && list_files(planner, argument, leaf) &&
              duck_describe(planner->trees.conn, probe.data, &leaf->all, planner->err) ==
                  SHOAL_OK;
    text_free(&probe);
    return ok;
}

// The columns of the scan that the query mentions, with their names in it; the first when
// it mentions none, for the rows' sake. NULL when out of memory.
static json_t *prune_scan(struct planner *planner, json_t *item,
                          struct leaf_draft *leaf) {
    struct trees *trees = &planner->trees;
    const char *alias = tree_text(item, "alias");
    json_t *given = json_object_get(item, "column_name_alias");
    json_t *names = tree_own(trees, json_array());
    json_t *whole = tree_column_key(trees, "", alias);  // the row as one value
    bool all = json_object_get(planner->references, json_string_value(whole)) != NULL;
    for (int pass = 0; pass < 2 && leaf->schema.count == 0; pass++) {
        for (size_t i = 0; i < leaf->all.count; i++) {
            const struct schema_column *column = &leaf->all.columns[i];
            const char *name = json_string_value(json_array_get(given, i));
            if (name == NULL) name = column->name;
            json_t *key = tree_column_key(trees, alias, name);
            bool used =
                json_object_get(planner->references, json_string_value(key)) != NULL;
            if (!used && !all && !(pass == 1 && i == 0)) continue;
            if (!schema_add(&leaf->schema, column->name, column->type)) return NULL;
            json_array_append_new(names, json_string(name));
            json_object_set_new(planner->names, json_string_value(key),
                                json_pack("[s]", column->name));
        }
    }
    return names;
}

static struct fragment *plan_scan(struct planner *planner, json_t *item) {
    json_t *arguments = json_object_get(json_object_get(item, "function"), "arguments");
    json_t *first = json_array_get(arguments, 0);
    if (json_array_size(arguments) != 1) {
        return refuse(planner, "read_parquet with options is not planned yet");
    }
    char *argument = scan_argument(planner, json_object_get(first, "expression"));
    if (argument == NULL) return NULL;
    json_t *table =
        exchange_read(planner, UINT32_MAX, LEAF_SCAN, tree_text(item, "alias"));
    if (table == NULL) {
        free(argument);
        return NULL;
    }
    struct leaf_draft *leaf = &planner->leaves[planner->leaf_count - 1];
    struct text call = {0};
    text_printf(&call, "parquet_scan(%s)", argument);
    leaf->scan_call = text_take(&call);
    bool ok = leaf->scan_call != NULL && describe_scan(planner, argument, leaf);
    free(argument);
    json_t *names = ok ? prune_scan(planner, item, leaf) : NULL;
    if (names == NULL) return NULL;
    json_object_set(table, "column_name_alias", names);
    uint64_t rows = 0;
    for (size_t i = 0; i < leaf->file_count; i++) rows += leaf->files[i].rows;
    return named(planner, table, DIST_RANDOM, rows);
}

static void find_column(void *ctx, const char *key) {
    (void)key;
    *(bool *)ctx = true;
}

static struct fragment *plan_function(struct planner *planner, json_t *item) {
    json_t *function = json_object_get(item, "function");
    const char *name = tree_text(function, "function_name");
    if (strcmp(name, "parquet_scan") == 0 || strcmp(name, "read_parquet") == 0) {
        return plan_scan(planner, item);
    }
    bool lateral = false;
    tree_each_column(function, find_column, &lateral);
    static const char *const pure[] = {"range", "generate_series", "unnest", "repeat",
                                       NULL};
    for (int i = 0; pure[i] != NULL && !lateral; i++) {
        if (strcmp(pure[i], name) == 0)
            return named(planner, item, DIST_REPLICATED, 1000);
    }
    return refuse(planner, "%s() as a table is not planned yet", name);
}

static struct fragment *plan_table(struct planner *planner, json_t *item, json_t *ctes) {
    json_t *cte = json_object_get(ctes, tree_text(item, "table_name"));
    if (cte == NULL) {
        return refuse(planner,
                      "table %s lives in a database: only files are distributed yet",
                      tree_text(item, "table_name"));
    }
    uint32_t exchange = (uint32_t)json_integer_value(json_object_get(cte, "exchange"));
    uint64_t rows = (uint64_t)json_integer_value(json_object_get(cte, "rows"));
    json_t *table =
        exchange_read(planner, exchange, LEAF_SPLIT, tree_text(item, "alias"));
    if (table == NULL) return NULL;
    json_t *names = json_object_get(item, "column_name_alias");
    json_t *columns = json_object_get(cte, "columns");
    if (json_array_size(names) == 0) names = columns;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *column = json_string_value(json_array_get(columns, i));
        planner_named(
            planner, tree_text(item, "alias"),
            json_string_value(json_array_get(names, i)),
            tree_column(&planner->trees, tree_text(cte, "alias"), column ? column : ""));
    }
    json_object_set(table, "column_name_alias", names);
    return named(planner, table, DIST_RANDOM, rows);
}

struct fragment *plan_from(struct planner *planner, json_t *item, json_t *ctes) {
    if (json_is_object(json_object_get(item, "sample"))) {
        return refuse(planner, "SAMPLE is not planned yet");
    }
    if (tree_is(item, "type", "EMPTY")) return named(planner, item, DIST_REPLICATED, 1);
    if (tree_is(item, "type", "TABLE_FUNCTION")) return plan_function(planner, item);
    if (tree_is(item, "type", "BASE_TABLE")) return plan_table(planner, item, ctes);
    if (tree_is(item, "type", "EXPRESSION_LIST")) {
        return named(planner, item, DIST_REPLICATED,
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
        struct fragment *body = plan_node(planner, query, alias, columns, scope);
        if (body == NULL) return NULL;
        uint32_t exchange = exchange_new(planner, EXCHANGE_ROUND_ROBIN, NULL);
        json_t *select = tree_select(trees, all_columns(planner, body, alias, columns),
                                     body->tree, NULL);
        exchange_feed(planner, exchange, select, body, BLOCK_WHOLE);
        json_object_set_new(
            scope, tree_text(entry, "key"),
            json_pack("{s:I, s:I, s:O, s:s}", "exchange", (json_int_t)exchange, "rows",
                      (json_int_t)body->rows, "columns", columns, "alias", alias));
    }
    return scope;
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
    bool whole = true;
    for (size_t i = 0; i < count; i++) {
        aliases[i] = planner_name(planner, "u");
        inputs[i] =
            plan_node(planner, json_array_get(children, i), aliases[i], columns, ctes);
        if (inputs[i] == NULL) goto done;
        rows += inputs[i]->rows;
        whole = whole && inputs[i]->dist >= DIST_SINGLE;
    }
    bool union_all = tree_is(node, "setop_type", "UNION") &&
                     json_is_true(json_object_get(node, "setop_all"));
    json_t *block = tree_own(trees, json_copy(node));
    json_object_set_new(block, "cte_map", json_pack("{s:[]}", "map"));
    json_t *parts = tree_own(trees, json_array());
    json_object_set(block, "children", parts);
    enum distribution dist = DIST_SINGLE;
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
        out = named(planner, table, DIST_RANDOM, rows);
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
        exchange_feed(planner, exchange, tree_select(trees, sent, inputs[i]->tree, NULL),
                      inputs[i], BLOCK_HASH);
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
    out = named(planner, tree_subquery(trees, block, alias, columns), dist, rows);
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

static bool plan_root(struct planner *planner, json_t *node, const struct schema *names) {
    struct trees *trees = &planner->trees;
    const char *function = tree_volatile(trees, node);
    if (function != NULL) {
        refuse(planner, "%s() is volatile: it is not distributed yet", function);
        return false;
    }
    if (tree_unique_aliases(trees, node, planner->err) != SHOAL_OK) return false;
    planner->references = tree_own(trees, json_object());
    planner->names = tree_own(trees, json_object());
    tree_each_column(node, count_reference, planner->references);
    json_t *ctes = tree_own(trees, json_object());
    json_t *columns = planner_column_names(planner, node_width(node));
    if (json_array_size(columns) != names->count) {
        refuse(planner, "the canonical SQL has another number of columns than the query");
        return false;
    }
    struct fragment *root = plan_node(planner, node, "root", columns, ctes);
    if (root == NULL) return false;
    if (root->dist < DIST_SINGLE) {
        json_t *needed = tree_own(trees, json_object());
        size_t i;
        json_t *name;
        json_array_foreach(columns, i, name) {
            json_t *key = tree_column_key(trees, "root", json_string_value(name));
            json_object_set_new(needed, json_string_value(key), json_true());
        }
        root = exchange_place(planner, root, needed, EXCHANGE_GATHER, NULL, NULL);
        if (root == NULL) return false;
    }
    json_t *list = all_columns(planner, root, "root", columns);
    for (size_t i = 0; i < names->count; i++) {
        json_object_set_new(json_array_get(list, i), "alias",
                            json_string(names->columns[i].name));
    }
    root->dist = DIST_SINGLE;
    return exchange_feed(planner, UINT32_MAX, tree_select(trees, list, root->tree, NULL),
                         root, BLOCK_WHOLE);
}

static void planner_reset(struct planner *planner) {
    for (size_t i = 0; i < planner->leaf_count; i++) {
        struct leaf_draft *leaf = &planner->leaves[i];
        for (size_t f = 0; f < leaf->file_count; f++) free(leaf->files[f].path);
        free(leaf->files);
        free(leaf->scan_call);
        schema_free(&leaf->all);
        schema_free(&leaf->schema);
    }
    free(planner->leaves);
    free(planner->exchanges);
    for (size_t i = 0; i < planner->note_count; i++) free(planner->notes[i]);
    free(planner->notes);
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
                                  .next = planner->fragments};
    planner->fragments = fragment;
    return fragment;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static shoal_status plan_once(struct duck_conn *conn, const char *select,
                              const struct plan_options *options, struct stages **stages,
                              bool *ranged, struct shoal_error *err) {
    double start = seconds();
    struct planner planner = {.options = options, .err = err};
    struct schema names = {0};
    char *canonical = NULL;
    *stages = NULL;
    err->status = SHOAL_OK;
    trees_init(&planner.trees, conn, err);
    struct shoal_error ignored;
    shoal_status status =
        duck_run(conn, "SET disabled_optimizers='" PLANNING_DISABLED "'", err);
    if (status == SHOAL_OK) status = duck_describe(conn, select, &names, err);
    bool binds = status == SHOAL_OK;
    if (binds) status = duck_canonical(conn, select, &canonical, err);
    duck_run(conn, "RESET disabled_optimizers", &ignored);
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
    if (node == NULL || !plan_root(&planner, node, &names)) {
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
    if (*stages == NULL || planner.trees.failed) {
        status = shoal_fail(err, SHOAL_NOMEM, "out of memory while planning");
        goto out;
    }
    status = bind_stages(&planner, *stages);
    if (status != SHOAL_OK) goto out;
    const struct schema *bound = &(*stages)->stages[(*stages)->count - 1].schema;
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
    (*stages)->notes = planner.notes;
    (*stages)->note_count = planner.note_count;
    planner.notes = NULL;
    planner.note_count = 0;
    (*stages)->plan_seconds = seconds() - start;
    if (options->summaries) status = summarise_stages(&planner, *stages);
out:
    if (status != SHOAL_OK) {
        stages_free(*stages);
        *stages = NULL;
    }
    *ranged = false;
    for (size_t i = 0; i < planner.exchange_count; i++) {
        *ranged = *ranged || planner.exchanges[i].kind == EXCHANGE_RANGE;
    }
    free(canonical);
    schema_free(&names);
    planner_reset(&planner);
    return status;
}

shoal_status stages_plan(struct duck_conn *conn, const char *select,
                         const struct plan_options *options, struct stages **stages,
                         struct shoal_error *err) {
    bool ranged = false;
    shoal_status status = plan_once(conn, select, options, stages, &ranged, err);
    if (status != SHOAL_UNSUPPORTED || !ranged) return status;
    // A type without a sort key: its rows are sorted in one place.
    struct plan_options gather = *options;
    gather.no_range = true;
    return plan_once(conn, select, &gather, stages, &ranged, err);
}
