#include "plan/tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

json_t *tree_own(struct trees *trees, json_t *node) {
    if (node == NULL || json_array_append_new(trees->keep, node) != 0) {
        trees->failed = true;
        return NULL;
    }
    return node;
}

json_t *tree_copy(struct trees *trees, const json_t *node) {
    return tree_own(trees, json_deep_copy(node));
}

bool trees_failed(const struct trees *trees) {
    return trees->failed || memory_failures() != trees->memory_failures;
}

void trees_init(struct trees *trees, struct duck_conn *conn, struct shoal_error *err) {
    *trees = (struct trees){.conn = conn,
                            .memory_failures = memory_failures(),
                            .keep = json_array(),
                            .templates = json_object(),
                            .functions = {.conn = conn},
                            .err = err};
}

void trees_reset(struct trees *trees) {
    json_decref(trees->keep);
    json_decref(trees->templates);
    functions_free(&trees->functions);
    *trees = (struct trees){0};
}

// DuckDB writes "no location" as 2^64-1, which is past jansson's integers. The pattern
// can't match inside a JSON string, where its quotes would be escaped.
static void clear_locations(char *text) {
    static const char pattern[] = "\"query_location\":18446744073709551615";
    const size_t keep = sizeof "\"query_location\":" - 1;
    for (char *at = text; (at = strstr(at, pattern)) != NULL;) {
        at[keep] = '0';
        memset(at + keep + 1, ' ', sizeof pattern - 1 - keep - 1);
        at += sizeof pattern - 1;
    }
}

// The statements of a text, as an array.
static json_t *parse_all(struct trees *trees, const char *text) {
    char *json = NULL;
    if (duck_parse(trees->conn, text, &json, trees->err) != SHOAL_OK) return NULL;
    clear_locations(json);
    json_t *root = json_read(json, strlen(json), 0, NULL);
    free(json);
    if (tree_own(trees, root) == NULL || trees_failed(trees)) {
        if (memory_failures() != trees->memory_failures) {
            shoal_no_memory(trees->err);
        } else {
            shoal_fail(trees->err, SHOAL_INTERNAL, "DuckDB's syntax tree is not JSON");
        }
        return NULL;
    }
    return json_object_get(root, "statements");
}

// Nearly every plan needs these: they are parsed with the first statement.
#define SELECT_ONE "SELECT 1"
#define SELECT_SUBQUERY "SELECT 1 FROM (SELECT 1) AS x(c0)"
#define SELECT_TABLE "SELECT 1 FROM t AS x"

static const char *const common_templates[] = {
    SELECT_ONE,         SELECT_SUBQUERY,
    SELECT_TABLE,       "SELECT hash(1)",
    "SELECT sum(p.p0)", "SELECT CAST(coalesce(sum(p.p0), 0) AS BIGINT)"};

json_t *tree_parse(struct trees *trees, const char *select) {
    const size_t count = json_object_size(trees->templates) > 0
                             ? 0
                             : sizeof common_templates / sizeof *common_templates;
    struct text all = {0};
    for (size_t i = 0; i < count; i++) text_printf(&all, "%s;", common_templates[i]);
    text_append(&all, select);
    json_t *statements = all.failed ? NULL : parse_all(trees, all.data);
    text_free(&all);
    if (statements == NULL) return NULL;
    for (size_t i = 0; i < count; i++) {
        json_object_set(trees->templates, common_templates[i],
                        json_object_get(json_array_get(statements, i), "node"));
    }
    json_t *node = json_object_get(json_array_get(statements, count), "node");
    if (node == NULL)
        shoal_fail(trees->err, SHOAL_INTERNAL, "the syntax tree has no SELECT");
    return node;
}

char *tree_deparse_all(struct trees *trees, json_t *nodes, struct shoal_error *err) {
    json_t *statements = tree_own(trees, json_array());
    size_t i;
    json_t *node;
    json_array_foreach(nodes, i, node) {
        json_array_append_new(statements,
                              json_pack("{s:O, s:[]}", "node", node, "named_param_map"));
    }
    json_t *root =
        tree_own(trees, json_pack("{s:b, s:O}", "error", 0, "statements", statements));
    char *json = root == NULL ? NULL : json_text(root, JSON_COMPACT);
    char *sql = NULL;
    if (json == NULL) {
        shoal_fail(err, SHOAL_NOMEM, "out of memory while writing a stage's SQL");
    } else {
        duck_deparse(trees->conn, json, &sql, err);
    }
    free(json);
    return sql;
}

char *tree_deparse(struct trees *trees, json_t *select_node, struct shoal_error *err) {
    json_t *nodes = tree_own(trees, json_pack("[O]", select_node));
    return tree_deparse_all(trees, nodes, err);
}

void tree_prepare(struct trees *trees, const char *const *selects, size_t count) {
    struct text all = {0};
    json_t *known = trees->templates;
    // NULL stands for one that is being parsed: one text may be there twice.
    for (size_t i = 0; i < count; i++) {
        if (json_object_get(known, selects[i]) != NULL) continue;
        text_printf(&all, "%s;", selects[i]);
        json_object_set_new(known, selects[i], json_null());
    }
    if (all.size == 0) return;
    json_t *statements = all.failed ? NULL : parse_all(trees, all.data);
    text_free(&all);
    trees->failed = trees->failed || statements == NULL;
    size_t next = 0;
    for (size_t i = 0; i < count; i++) {
        if (!json_is_null(json_object_get(known, selects[i]))) continue;
        json_t *node = json_object_get(json_array_get(statements, next++), "node");
        if (node == NULL)
            json_object_del(known, selects[i]);
        else
            json_object_set(known, selects[i], node);
    }
}

json_t *tree_select_template(struct trees *trees, const char *select) {
    json_t *node = json_object_get(trees->templates, select);
    if (node == NULL) {
        node = tree_parse(trees, select);
        if (node == NULL) {
            trees->failed = true;
            return NULL;
        }
        json_object_set(trees->templates, select, node);
    }
    return tree_copy(trees, node);
}

json_t *tree_expression(struct trees *trees, const char *expression) {
    struct text sql = {0};
    text_printf(&sql, "SELECT %s", expression);
    json_t *node = sql.failed ? NULL : tree_select_template(trees, sql.data);
    text_free(&sql);
    return json_array_get(json_object_get(node, "select_list"), 0);
}

const char *tree_text(const json_t *node, const char *field) {
    const char *value = json_string_value(json_object_get(node, field));
    return value == NULL ? "" : value;
}

bool tree_is(const json_t *node, const char *field, const char *value) {
    return strcmp(tree_text(node, field), value) == 0;
}

json_t *tree_column(struct trees *trees, const char *alias, const char *column) {
    json_t *names =
        *alias ? json_pack("[s, s]", alias, column) : json_pack("[s]", column);
    return tree_own(
        trees, json_pack("{s:s, s:s, s:s, s:i, s:i, s:o}", "class", "COLUMN_REF", "type",
                         "COLUMN_REF", "alias", "", "query_location", 0,
                         "query_location_length", 0, "column_names", names));
}

static void append_key(struct text *text, const char *alias, const char *column) {
    text_append(text, alias);
    text_append_bytes(text, "\x01", 1);
    text_append(text, column);
}

json_t *tree_column_key(struct trees *trees, const char *alias, const char *column) {
    struct text text = {0};
    append_key(&text, alias, column);
    json_t *key = tree_own(trees, text.failed ? NULL : json_string(text.data));
    text_free(&text);
    return key;
}

// The key of a column reference, into text.
static void reference_key(const json_t *node, struct text *text) {
    json_t *names = json_object_get(node, "column_names");
    const char *first = json_string_value(json_array_get(names, 0));
    const char *second = json_string_value(json_array_get(names, 1));
    append_key(text, second ? first : "", second ? second : first ? first : "");
}

void tree_each_column(const json_t *node, void (*visit)(void *ctx, const char *key),
                      void *ctx) {
    if (json_is_array(node)) {
        size_t i;
        json_t *item;
        json_array_foreach((json_t *)node, i, item) tree_each_column(item, visit, ctx);
        return;
    }
    if (!json_is_object(node)) return;
    if (tree_is(node, "class", "COLUMN_REF")) {
        struct text key = {0};
        reference_key(node, &key);
        if (!key.failed) visit(ctx, key.data);
        text_free(&key);
        return;
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)node, name, value) tree_each_column(value, visit, ctx);
}

static void rename_in_place(json_t *node, const json_t *map) {
    size_t i;
    const char *name;
    json_t *value;
    if (json_is_array(node)) {
        json_array_foreach(node, i, value) rename_in_place(value, map);
    } else if (json_is_object(node)) {
        if (tree_is(node, "class", "COLUMN_REF")) {
            struct text key = {0};
            reference_key(node, &key);
            json_t *to = key.failed ? NULL : json_object_get(map, key.data);
            if (to != NULL) json_object_set_new(node, "column_names", json_deep_copy(to));
            text_free(&key);
            return;
        }
        json_object_foreach(node, name, value) rename_in_place(value, map);
    }
}

json_t *tree_rename_columns(struct trees *trees, const json_t *node, const json_t *map) {
    if (node == NULL || json_is_null(node)) return (json_t *)node;
    json_t *copy = tree_copy(trees, node);
    rename_in_place(copy, map);
    return copy;
}

bool tree_any(const json_t *node, bool (*test)(void *ctx, const json_t *object),
              void *ctx) {
    size_t i;
    const char *name;
    json_t *child;
    if (json_is_array(node)) {
        json_array_foreach((json_t *)node, i, child) {
            if (tree_any(child, test, ctx)) return true;
        }
    } else if (json_is_object(node)) {
        if (test(ctx, node)) return true;
        json_object_foreach((json_t *)node, name, child) {
            if (tree_any(child, test, ctx)) return true;
        }
    }
    return false;
}

struct wanted {
    const char *field, *value;
};

static bool has_value(void *ctx, const json_t *object) {
    const struct wanted *wanted = ctx;
    return tree_is(object, wanted->field, wanted->value);
}

bool tree_has(const json_t *node, const char *field, const char *value) {
    struct wanted wanted = {field, value};
    return tree_any(node, has_value, &wanted);
}

json_t *tree_replace(struct trees *trees, json_t *node, const json_t *map) {
    size_t i;
    const char *name;
    json_t *value;
    if (json_is_array(node)) {
        json_t *copy = tree_own(trees, json_array());
        json_array_foreach(node, i, value)
            json_array_append(copy, tree_replace(trees, value, map));
        return copy;
    }
    if (!json_is_object(node)) return node;
    if (json_object_get(node, "class") != NULL) {
        json_t *to = json_object_get(map, tree_key(trees, node));
        if (to != NULL) return tree_aliased(trees, to, tree_text(node, "alias"));
    }
    json_t *copy = tree_own(trees, json_object());
    json_object_foreach(node, name, value)
        json_object_set(copy, name, tree_replace(trees, value, map));
    return copy;
}

static json_t *without_labels(const json_t *node) {
    size_t i;
    const char *name;
    json_t *value;
    if (json_is_array(node)) {
        json_t *copy = json_array();
        json_array_foreach((json_t *)node, i, value) {
            json_array_append_new(copy, without_labels(value));
        }
        return copy;
    }
    if (!json_is_object(node)) return json_incref((json_t *)node);
    json_t *copy = json_object();
    json_object_foreach((json_t *)node, name, value) {
        if (strcmp(name, "alias") == 0 || strncmp(name, "query_location", 14) == 0)
            continue;
        json_object_set_new(copy, name, without_labels(value));
    }
    return copy;
}

const char *tree_key(struct trees *trees, const json_t *node) {
    json_t *bare = without_labels(node);
    char *text = json_text(bare, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    json_decref(bare);
    json_t *string = tree_own(trees, text ? json_string(text) : NULL);
    free(text);
    return string ? json_string_value(string) : "";
}

json_t *tree_aliased(struct trees *trees, const json_t *expression, const char *alias) {
    json_t *copy = tree_copy(trees, expression);
    json_object_set_new(copy, "alias", json_string(alias));
    return copy;
}

json_t *tree_select(struct trees *trees, json_t *list, json_t *from, json_t *where) {
    json_t *node = tree_select_template(trees, SELECT_ONE);
    json_object_set(node, "select_list", list);
    if (from != NULL) json_object_set(node, "from_table", from);
    if (where != NULL) json_object_set(node, "where_clause", where);
    return node;
}

json_t *tree_subquery(struct trees *trees, json_t *node, const char *alias,
                      json_t *columns) {
    json_t *select = tree_select_template(trees, SELECT_SUBQUERY);
    json_t *item = json_object_get(select, "from_table");
    json_object_set(json_object_get(item, "subquery"), "node", node);
    json_object_set_new(item, "alias", json_string(alias));
    json_object_set_new(item, "column_name_alias", json_deep_copy(columns));
    return item;
}

json_t *tree_table(struct trees *trees, const char *name, const char *alias) {
    json_t *select = tree_select_template(trees, SELECT_TABLE);
    json_t *item = json_object_get(select, "from_table");
    json_object_set_new(item, "table_name", json_string(name));
    json_object_set_new(item, "qualified_name", json_pack("{s:[s]}", "path", name));
    json_object_set_new(item, "alias", json_string(alias));
    return item;
}

json_t *tree_derived(struct trees *trees, json_t *node, const char *alias) {
    json_t *names = tree_own(trees, json_array());
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(node, "select_list"), i, item)
        json_array_append_new(names, json_string(tree_text(item, "alias")));
    return tree_subquery(trees, node, alias, names);
}

struct table {
    const char *name;
    json_t *item;
};

static bool fill_table(void *ctx, const json_t *object) {
    const struct table *table = ctx;
    json_t *item = (json_t *)(uintptr_t)object;
    if (!tree_is(object, "table_name", table->name)) return false;
    json_object_clear(item);
    json_object_update(item, table->item);
    return true;
}

void tree_put_table(json_t *node, const char *name, json_t *item) {
    struct table table = {name, item};
    (void)tree_any(node, fill_table, &table);
}

void tree_conjuncts(json_t *condition, json_t *list) {
    if (condition == NULL || json_is_null(condition)) return;
    if (!tree_is(condition, "type", "CONJUNCTION_AND")) {
        json_array_append(list, condition);
        return;
    }
    size_t i;
    json_t *child;
    json_array_foreach(json_object_get(condition, "children"), i, child) {
        tree_conjuncts(child, list);
    }
}

void tree_aggregates(struct trees *trees, json_t *node, json_t *list) {
    size_t i;
    const char *name;
    json_t *value;
    if (json_is_array(node)) {
        json_array_foreach(node, i, value) tree_aggregates(trees, value, list);
    } else if (json_is_object(node)) {
        if (tree_is(node, "class", "FUNCTION") &&
            (functions_kind(&trees->functions, tree_text(node, "function_name")) &
             FUNCTION_AGGREGATE)) {
            json_array_append(list, node);
            return;
        }
        json_object_foreach(node, name, value) tree_aggregates(trees, value, list);
    }
}

void tree_windows(json_t *node, json_t *list) {
    size_t i;
    const char *name;
    json_t *value;
    if (json_is_array(node)) {
        json_array_foreach(node, i, value) tree_windows(value, list);
    } else if (json_is_object(node)) {
        if (tree_is(node, "class", "WINDOW")) json_array_append(list, node);
        json_object_foreach(node, name, value) tree_windows(value, list);
    }
}

struct kind {
    struct functions *functions;
    unsigned kind;
    const char *found;
};

static bool is_of_kind(void *ctx, const json_t *object) {
    struct kind *kind = ctx;
    const char *function = tree_text(object, "function_name");
    if (*function == '\0' || !(functions_kind(kind->functions, function) & kind->kind))
        return false;
    kind->found = function;
    return true;
}

const char *tree_function(struct trees *trees, const json_t *node, unsigned kind) {
    struct kind wanted = {.functions = &trees->functions, .kind = kind};
    (void)tree_any(node, is_of_kind, &wanted);
    return wanted.found;
}

const char *tree_volatile(struct trees *trees, const json_t *node) {
    return tree_function(trees, node, FUNCTION_VOLATILE);
}
