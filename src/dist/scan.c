// The leaves of a query: files, cut into splits; what only the driver can read;
// and CTEs, which are exchanges by now.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

// ---- files

// Columns that DuckDB gives a scan beside the files' own.
static const struct schema_column virtual_columns[] = {{"filename", "VARCHAR"},
                                                       {"file_row_number", "BIGINT"}};

static bool add_virtual(struct planner *planner, struct leaf_draft *leaf,
                        const char *alias, json_t *names) {
    for (size_t i = 0; i < sizeof virtual_columns / sizeof *virtual_columns; i++) {
        const struct schema_column *column = &virtual_columns[i];
        json_t *key = tree_column_key(&planner->trees, alias, column->name);
        bool own = false;
        for (size_t c = 0; c < json_array_size(names); c++) {
            own = own ||
                  strcmp(json_string_value(json_array_get(names, c)), column->name) == 0;
        }
        if (own || json_object_get(planner->references, json_string_value(key)) == NULL)
            continue;
        if (!schema_add(&leaf->schema, column->name, column->type)) return false;
        json_array_append_new(names, json_string(column->name));
    }
    return true;
}

// The columns of the scan that the query mentions, with their names in it; the first when
// it mentions none, for the rows' sake. NULL when out of memory.
static json_t *prune_scan(struct planner *planner, json_t *item,
                          const struct file_set *set, struct leaf_draft *leaf) {
    struct trees *trees = &planner->trees;
    const char *alias = tree_text(item, "alias");
    json_t *given = json_object_get(item, "column_name_alias");
    json_t *names = tree_own(trees, json_array());
    json_t *whole = tree_column_key(trees, "", alias);  // the row as one value
    bool all = json_object_get(planner->references, json_string_value(whole)) != NULL;
    for (int pass = 0; pass < 2 && leaf->schema.count == 0; pass++) {
        if (pass == 1 && !add_virtual(planner, leaf, alias, names)) return NULL;
        if (leaf->schema.count > 0) return names;
        for (size_t i = 0; i < set->schema.count; i++) {
            const struct schema_column *column = &set->schema.columns[i];
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
            json_object_set_new(
                planner->origins, json_string_value(key),
                json_pack("[I, s, s]", (json_int_t)(leaf - planner->leaves), column->name,
                          column->type));
        }
    }
    return add_virtual(planner, leaf, alias, names) ? names : NULL;
}

// ---- what only the driver can read

// Rows that a table function is taken to give, as nothing tells.
#define FUNCTION_ROWS 100000

struct mention {
    const char *alias;
    const struct schema *schema;
    const json_t *given;
    json_t *names;
};

static const char *visible_name(const struct mention *mention, size_t column) {
    const char *name = json_string_value(json_array_get(mention->given, column));
    return name ? name : mention->schema->columns[column].name;
}

// Appends the columns of the item that the query mentions, and what is mentioned but no
// column of it (rowid, filename).
static void find_mentioned(struct planner *planner, struct mention *mention) {
    struct trees *trees = &planner->trees;
    size_t length = strlen(mention->alias);
    json_t *whole = tree_column_key(trees, "", mention->alias);
    bool all = json_object_get(planner->references, json_string_value(whole)) != NULL;
    json_t *columns = tree_own(trees, json_object());
    for (size_t i = 0; i < mention->schema->count; i++) {
        const char *name = visible_name(mention, i);
        json_t *key = tree_column_key(trees, mention->alias, name);
        json_object_set_new(columns, json_string_value(key), json_true());
        json_object_set_new(planner->names, json_string_value(key),
                            json_pack("[s]", mention->schema->columns[i].name));
        if (all || json_object_get(planner->references, json_string_value(key)) != NULL) {
            json_array_append_new(mention->names, json_string(name));
        }
    }
    const char *key;
    json_t *count;
    json_object_foreach(planner->references, key, count) {
        if (strncmp(key, mention->alias, length) != 0 || key[length] != '\x01') continue;
        if (json_object_get(columns, key) != NULL) continue;
        json_array_append_new(mention->names, json_string(key + length + 1));
    }
    if (json_array_size(mention->names) == 0 && mention->schema->count > 0) {
        json_array_append_new(mention->names, json_string(visible_name(mention, 0)));
    }
}

// SELECT list FROM item as text; NULL with the error set.
static char *select_text(struct planner *planner, json_t *item, const char *expression) {
    struct trees *trees = &planner->trees;
    json_t *list = tree_own(trees, json_pack("[O]", tree_expression(trees, expression)));
    return tree_deparse(trees, tree_select(trees, list, item, NULL), planner->err);
}

static uint64_t count_rows(struct planner *planner, json_t *item) {
    uint64_t rows = FUNCTION_ROWS;
    char *value = NULL;
    struct shoal_error ignored;
    char *sql = select_text(planner, item, "count(*)");
    if (sql != NULL &&
        duck_scalar(planner->trees.conn, sql, &value, &ignored) == SHOAL_OK &&
        value != NULL) {
        rows = strtoull(value, NULL, 10);
    }
    free(value);
    free(sql);
    return rows;
}

// Canonical SQL spells collations out, except that of a set operation, which its columns
// bring with them.
static bool has_collation(struct planner *planner, const json_t *item) {
    struct text sql = {0};
    char *found = NULL;
    struct shoal_error ignored;
    if (!tree_is(item, "type", "BASE_TABLE")) return false;
    text_append(&sql,
                "SELECT 1 FROM duckdb_tables() WHERE sql ILIKE '%collate%' AND "
                "table_name = ");
    text_append_literal(&sql, tree_text(item, "table_name"));
    bool known = !sql.failed &&
                 duck_scalar(planner->trees.conn, sql.data, &found, &ignored) == SHOAL_OK;
    bool collated = known && found != NULL;
    text_free(&sql);
    free(found);
    return collated;
}

// Tables of the session and table functions exist in the driver alone: it reads them and
// sends them round robin, as blocks.
static struct fragment *plan_driver_scan(struct planner *planner, json_t *item,
                                         uint64_t rows) {
    struct trees *trees = &planner->trees;
    struct schema schema = {0};
    json_t *bare = tree_own(trees, json_copy(item));
    json_object_set_new(bare, "column_name_alias", json_array());
    char *sql = select_text(planner, bare, "*");
    if (sql == NULL) return NULL;
    shoal_status status = duck_describe(trees->conn, sql, &schema, planner->err);
    free(sql);
    if (status != SHOAL_OK) return NULL;
    struct mention mention = {.alias = tree_text(item, "alias"),
                              .schema = &schema,
                              .given = json_object_get(item, "column_name_alias"),
                              .names = tree_own(trees, json_array())};
    find_mentioned(planner, &mention);
    schema_free(&schema);
    json_t *list = tree_own(trees, json_array());
    size_t i;
    json_t *name;
    json_array_foreach(mention.names, i, name) {
        json_t *column = tree_column(trees, mention.alias, json_string_value(name));
        char unique[24];  // the names of a function's columns need not be
        (void)snprintf(unique, sizeof unique, "c%zu", i);
        json_array_append(list, tree_aliased(trees, column, unique));
    }
    planner->collated = planner->collated || has_collation(planner, item);
    struct fragment sent = {.dist = DIST_SINGLE, .rows = rows};
    uint32_t exchange = exchange_new(planner, EXCHANGE_ROUND_ROBIN, NULL);
    if (!exchange_feed(planner, exchange, tree_select(trees, list, item, NULL), &sent,
                       BLOCK_WHOLE)) {
        return NULL;
    }
    planner->stages[planner->stage_count - 1].in_driver = true;
    json_t *table = exchange_read(planner, exchange, LEAF_SPLIT, mention.alias);
    if (table == NULL) return NULL;
    json_object_set(table, "column_name_alias", mention.names);
    return fragment_named(planner, table, DIST_RANDOM, rows);
}

static bool copy_files(struct leaf_draft *leaf, const struct file_set *set) {
    leaf->scan_call = strdup(set->scan_call);
    if (!scan_source_copy(&leaf->source, &set->source)) return false;
    leaf->files = calloc(set->file_count + 1, sizeof *leaf->files);
    if (leaf->scan_call == NULL || leaf->files == NULL) return false;
    for (size_t i = 0; i < set->file_count; i++) {
        leaf->files[i] = set->files[i];
        leaf->files[i].path = strdup(set->files[i].path);
        leaf->file_count++;
        if (leaf->files[i].path == NULL) return false;
    }
    return true;
}

static struct fragment *plan_scan(struct planner *planner, json_t *item) {
    const struct file_set *set = scan_files(planner, item);
    if (set != NULL && set->refused != NULL && set->source.rejects)
        return refuse(planner, "rejects of %s: %s", set->argument, set->refused);
    if (set != NULL && set->refused != NULL) {
        planner_note(planner, "the driver reads %s: %s", set->argument, set->refused);
        return plan_driver_scan(planner, item, FUNCTION_ROWS);
    }
    json_t *table =
        exchange_read(planner, UINT32_MAX, LEAF_SCAN, tree_text(item, "alias"));
    if (set == NULL || table == NULL) return NULL;
    struct leaf_draft *leaf = &planner->leaves[planner->leaf_count - 1];
    leaf->file_set = (size_t)(set - planner->file_sets);
    // A column of the files' own hides the virtual one of that name.
    leaf->row_numbers = schema_find(&set->schema, "file_row_number") == NULL;
    leaf->group_numbers = schema_find(&set->schema, "file_row_group_number") == NULL;
    json_t *names = copy_files(leaf, set) ? prune_scan(planner, item, set, leaf) : NULL;
    if (names == NULL) return NULL;
    json_object_set(table, "column_name_alias", names);
    return fragment_named(planner, table, DIST_RANDOM,
                          scan_files_rows(set->files, set->file_count));
}

// A parameter by name (header = true) is a comparison of a reference of one part; columns
// have two in canonical SQL.
bool is_lateral(const json_t *item) {
    json_t *function = json_object_get(item, "function");
    size_t i;
    json_t *argument;
    if (!tree_is(item, "type", "TABLE_FUNCTION")) return false;
    json_array_foreach(json_object_get(function, "arguments"), i, argument) {
        const json_t *value = json_object_get(argument, "expression");
        const json_t *name = json_object_get(value, "left");
        if (tree_is(value, "type", "COMPARE_EQUAL") &&
            tree_is(name, "class", "COLUMN_REF") &&
            json_array_size(json_object_get(name, "column_names")) == 1) {
            value = json_object_get(value, "right");
        }
        if (tree_has(value, "class", "COLUMN_REF")) return true;
    }
    return false;
}

struct fragment *plan_function(struct planner *planner, json_t *item) {
    json_t *function = json_object_get(item, "function");
    const char *name = tree_text(function, "function_name");
    if (is_file_scan(item)) return plan_scan(planner, item);
    bool lateral = is_lateral(item);
    static const char *const pure[] = {"range", "generate_series", "unnest", "repeat",
                                       NULL};
    for (int i = 0; pure[i] != NULL && !lateral; i++) {
        if (strcmp(pure[i], name) == 0)
            return fragment_named(planner, item, DIST_REPLICATED, 1000);
    }
    if (lateral)
        return refuse(planner, "%s() of a row's columns is not planned yet", name);
    return plan_driver_scan(planner, item, FUNCTION_ROWS);
}

struct fragment *plan_table(struct planner *planner, json_t *item, json_t *ctes) {
    json_t *path = json_object_get(json_object_get(item, "qualified_name"), "path");
    json_t *cte = json_array_size(path) > 1  // memory.main.t is no CTE of that name
                      ? NULL
                      : json_object_get(ctes, tree_text(item, "table_name"));
    if (cte == NULL) return plan_driver_scan(planner, item, count_rows(planner, item));
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
    struct fragment *out = fragment_named(planner, table, DIST_RANDOM, rows);
    if (out != NULL) out->kept = json_real_value(json_object_get(cte, "kept"));
    return out;
}
