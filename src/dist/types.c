// Types of expressions, where those of the files' columns say them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

#define TIMESTAMP_TZ "TIMESTAMP WITH TIME ZONE"

// Columns as a FROM item, of their types.
struct typed {
    const json_t *types;
    struct text item;
    bool unknown;
};

static void add_typed(void *ctx, const char *key) {
    struct typed *typed = ctx;
    const char *name = strchr(key, '\x01') + 1;
    const json_t *type = json_object_get(typed->types, name);
    typed->unknown = typed->unknown || type == NULL;
    text_printf(&typed->item, ", CAST(NULL AS %s) AS ",
                typed->unknown ? "" : json_string_value(type));
    text_append_identifier(&typed->item, name);
}

void type_find(struct planner *planner, const char *alias, const json_t *types,
               const json_t *expression, char *type, size_t size) {
    struct trees *trees = &planner->trees;
    struct typed typed = {.types = types};
    struct shoal_error ignored;
    struct schema schema = {0};
    struct text select = {0};
    const json_t *names = json_object_get(expression, "column_names");
    if (tree_is(expression, "class", "COLUMN_REF") && json_array_size(names) == 2) {
        const char *column = json_string_value(json_array_get(names, 1));
        const char *known = json_string_value(json_object_get(types, column));
        (void)snprintf(type, size, "%s", known != NULL ? known : "");
        return;
    }
    json_t *list = tree_own(trees, json_array());
    *type = '\0';
    json_array_append(list, (json_t *)(uintptr_t)expression);
    tree_each_column(list, add_typed, &typed);
    char *sql = typed.unknown
                    ? NULL
                    : tree_deparse(trees, tree_select(trees, list, NULL, NULL), &ignored);
    if (sql != NULL) {
        text_printf(&select, "%s FROM (SELECT 0%s) AS ", sql,
                    typed.item.data == NULL ? "" : typed.item.data);
        text_append_identifier(&select, alias);
    }
    if (select.data != NULL && !select.failed && !typed.item.failed &&
        duck_describe(trees->conn, select.data, &schema, &ignored) == SHOAL_OK &&
        schema.count == 1)
        (void)snprintf(type, size, "%s", schema.columns[0].type);
    schema_free(&schema);
    text_free(&typed.item);
    text_free(&select);
    free(sql);
}

// Groups are equal where DuckDB's sort keys of them are; not so of floating point, which
// has two zeros, of INTERVALs and of what may have them inside.
bool type_has_sort_key(const char *type) {
    static const char *const types[] = {
        "BOOLEAN",    "TINYINT",   "SMALLINT",    "INTEGER",      "BIGINT",
        "HUGEINT",    "UTINYINT",  "USMALLINT",   "UINTEGER",     "UBIGINT",
        "UHUGEINT",   "VARCHAR",   "BLOB",        "UUID",         "DATE",
        "TIME",       "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS",
        TIMESTAMP_TZ, NULL};
    return text_one_of(type, types) || strncmp(type, "DECIMAL(", 8) == 0;
}

const char *type_ordered_as(const char *type, bool *exact) {
    static const char *const numbers[] = {"TINYINT",  "SMALLINT",  "INTEGER",  "BIGINT",
                                          "UTINYINT", "USMALLINT", "UINTEGER", NULL};
    static const char *const reals[] = {"FLOAT",   "DOUBLE",   "UBIGINT",
                                        "HUGEINT", "UHUGEINT", NULL};
    static const char *const times[] = {
        "DATE",         "TIME",         "TIMESTAMP",  "TIMESTAMP_S",
        "TIMESTAMP_MS", "TIMESTAMP_NS", TIMESTAMP_TZ, NULL};
    bool real = text_one_of(type, reals) || strncmp(type, "DECIMAL(", 8) == 0;
    if (exact != NULL) *exact = !real;
    if (text_one_of(type, numbers)) return "BIGINT";
    if (real) return "DOUBLE";
    return text_one_of(type, times) ? type : NULL;
}

bool type_summed(const char *type, int *scale) {
    static const char *const numbers[] = {"TINYINT",  "SMALLINT",  "INTEGER",  "BIGINT",
                                          "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
                                          "FLOAT",    "DOUBLE",    NULL};
    int digits = 0;
    *scale = -1;
    if (text_one_of(type, numbers)) return true;
    return sscanf(type, "DECIMAL(%d,%d)", &digits, scale) == 2 &&
           digits <= DUCK_RUNNING_DIGITS;
}
