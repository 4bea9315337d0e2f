// Canonical SQL reuses aliases: two subqueries may both call a table r0, and a subquery
// may have the alias of a table inside it. The planner moves expressions between blocks,
// so it first gives each FROM item an alias that is unique in the whole query. No
// correlated reference is left in canonical SQL, so a SELECT block's references resolve
// among its own FROM items, whatever stands above or below.
#include <stdio.h>
#include <string.h>

#include "plan/tree.h"

struct renamer {
    struct trees *trees;
    unsigned next;
    struct shoal_error *err;
};

static shoal_status rename_node(struct renamer *renamer, json_t *node);

// Renames the FROM item and those joined below it; old alias -> new alias goes to scope.
static shoal_status rename_item(struct renamer *renamer, json_t *item, json_t *scope) {
    if (tree_is(item, "type", "JOIN")) {
        shoal_status status = rename_item(renamer, json_object_get(item, "left"), scope);
        if (status != SHOAL_OK) return status;
        return rename_item(renamer, json_object_get(item, "right"), scope);
    }
    if (tree_is(item, "type", "SUBQUERY")) {
        json_t *inner = json_object_get(json_object_get(item, "subquery"), "node");
        shoal_status status = rename_node(renamer, inner);
        if (status != SHOAL_OK) return status;
    }
    if (tree_is(item, "type", "EMPTY")) return SHOAL_OK;
    char fresh[24];
    (void)snprintf(fresh, sizeof fresh, "t%u", renamer->next++);
    const char *old = tree_text(item, "alias");
    if (*old == '\0') old = tree_text(item, "table_name");
    if (json_object_get(scope, old) != NULL) {
        return shoal_fail(renamer->err, SHOAL_UNSUPPORTED, "two FROM items are called %s",
                          old);
    }
    json_object_set_new(scope, old, json_string(fresh));
    json_object_set_new(item, "alias", json_string(fresh));
    return SHOAL_OK;
}

// References in an expression; never enters a subquery of FROM.
static void rename_references(json_t *node, const json_t *scope) {
    size_t i;
    const char *name;
    json_t *value;
    if (json_is_array(node)) {
        json_array_foreach(node, i, value) rename_references(value, scope);
    } else if (json_is_object(node)) {
        json_t *names = json_object_get(node, "column_names");
        if (tree_is(node, "class", "COLUMN_REF") && json_array_size(names) >= 2) {
            json_t *to =
                json_object_get(scope, json_string_value(json_array_get(names, 0)));
            if (to != NULL) json_array_set_new(names, 0, json_deep_copy(to));
            return;
        }
        json_object_foreach(node, name, value) rename_references(value, scope);
    }
}

static void rename_conditions(json_t *item, const json_t *scope) {
    if (tree_is(item, "type", "JOIN")) {
        rename_conditions(json_object_get(item, "left"), scope);
        rename_conditions(json_object_get(item, "right"), scope);
        rename_references(json_object_get(item, "condition"), scope);
    } else if (tree_is(item, "type", "TABLE_FUNCTION")) {
        rename_references(json_object_get(item, "function"), scope);
    } else if (tree_is(item, "type", "EXPRESSION_LIST")) {
        rename_references(json_object_get(item, "values"), scope);
    }
}

static shoal_status rename_ctes(struct renamer *renamer, json_t *node) {
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(json_object_get(node, "cte_map"), "map"), i,
                       entry) {
        json_t *inner = json_object_get(json_object_get(entry, "value"), "query_node");
        shoal_status status = rename_node(renamer, inner);
        if (status != SHOAL_OK) return status;
    }
    return SHOAL_OK;
}

static shoal_status rename_node(struct renamer *renamer, json_t *node) {
    shoal_status status = rename_ctes(renamer, node);
    if (status != SHOAL_OK) return status;
    if (tree_is(node, "type", "SET_OPERATION_NODE")) {
        size_t i;
        json_t *child;
        json_array_foreach(json_object_get(node, "children"), i, child) {
            status = rename_node(renamer, child);
            if (status != SHOAL_OK) return status;
        }
        return SHOAL_OK;
    }
    if (tree_is(node, "type", "RECURSIVE_CTE_NODE")) {
        status = rename_node(renamer, json_object_get(node, "left"));
        if (status != SHOAL_OK) return status;
        return rename_node(renamer, json_object_get(node, "right"));
    }
    if (!tree_is(node, "type", "SELECT_NODE")) {
        return shoal_fail(
            renamer->err, SHOAL_UNSUPPORTED, "%s is not planned yet",
            *tree_text(node, "type") ? tree_text(node, "type") : "this statement");
    }
    json_t *scope = tree_own(renamer->trees, json_object());
    json_t *from = json_object_get(node, "from_table");
    status = rename_item(renamer, from, scope);
    if (status != SHOAL_OK) return status;
    rename_conditions(from, scope);
    static const char *const parts[] = {"select_list",       "where_clause",
                                        "group_expressions", "having",
                                        "qualify",           "modifiers"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        rename_references(json_object_get(node, parts[i]), scope);
    }
    return SHOAL_OK;
}

shoal_status tree_unique_aliases(struct trees *trees, json_t *node,
                                 struct shoal_error *err) {
    struct renamer renamer = {.trees = trees, .err = err};
    return rename_node(&renamer, node);
}
