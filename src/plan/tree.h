// Syntax trees of canonical SQL, as DuckDB's JSON, and the few operations planning needs.
//
// Every node made while planning one query belongs to one `struct trees` and is freed
// with it: functions return borrowed references, no caller ever decrefs. An allocation
// that failed is remembered in `failed` and checked once, before the plan leaves the
// planner. Expressions stay opaque; shoal looks only at column references, at function
// names and at equality conjuncts.
#ifndef SHOAL_PLAN_TREE_H
#define SHOAL_PLAN_TREE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "duck/duck.h"
#include "plan/functions.h"

struct trees {
    struct duck_conn *conn;
    json_t *keep;       // owns every node
    json_t *templates;  // SQL text -> parsed node
    struct functions functions;
    bool failed;
    uint64_t memory_failures;  // that there were before
    struct shoal_error *err;
};

void trees_init(struct trees *trees, struct duck_conn *conn, struct shoal_error *err);
void trees_reset(struct trees *trees);
// Was there too little memory for a node?
bool trees_failed(const struct trees *trees);

// Takes ownership of a new reference and lends it back.
json_t *tree_own(struct trees *trees, json_t *node);
json_t *tree_copy(struct trees *trees, const json_t *node);

// The SELECT node of a statement; NULL with trees->err set.
json_t *tree_parse(struct trees *trees, const char *select);
char *tree_deparse(struct trees *trees, json_t *select_node, struct shoal_error *err);
// Several SELECT nodes, separated by semicolons: one call costs little more than for one.
char *tree_deparse_all(struct trees *trees, json_t *nodes, struct shoal_error *err);

// Parses templates that will be asked for: one call costs little more than for one. All
// are different.
void tree_prepare(struct trees *trees, const char *const *selects, size_t count);
// A fresh copy of a parsed template: a whole SELECT node, or the expression after SELECT.
json_t *tree_select_template(struct trees *trees, const char *select);
json_t *tree_expression(struct trees *trees, const char *expression);

const char *tree_text(const json_t *node, const char *field);  // "" when absent
bool tree_is(const json_t *node, const char *field, const char *value);

// Column references. A column is named by one string, "alias\x01column"; one-part
// references have an empty alias.
json_t *tree_column(struct trees *trees, const char *alias, const char *column);
json_t *tree_column_key(struct trees *trees, const char *alias, const char *column);
// Calls visit for each column reference; key is valid during the call.
void tree_each_column(const json_t *node, void (*visit)(void *ctx, const char *key),
                      void *ctx);
// A copy whose references found in map (key -> [alias, column]) are replaced.
json_t *tree_rename_columns(struct trees *trees, const json_t *node, const json_t *map);

// Does any object in node, itself included, pass the test? Each is asked before those
// inside it, until one does.
bool tree_any(const json_t *node, bool (*test)(void *ctx, const json_t *object),
              void *ctx);
// Is there a node, this one included, whose field has this value?
bool tree_has(const json_t *node, const char *field, const char *value);
// A copy whose expressions found in map (tree_key -> expression) are replaced; they keep
// their own alias.
json_t *tree_replace(struct trees *trees, json_t *node, const json_t *map);

// Text by which equal expressions compare equal (no alias, no location). Borrowed.
const char *tree_key(struct trees *trees, const json_t *node);
json_t *tree_aliased(struct trees *trees, const json_t *expression, const char *alias);

// SELECT list FROM from WHERE where; list is an array, from and where may be NULL.
json_t *tree_select(struct trees *trees, json_t *list, json_t *from, json_t *where);
// (node) AS alias(c0, ...); columns is an array of strings.
json_t *tree_subquery(struct trees *trees, json_t *node, const char *alias,
                      json_t *columns);
// The same of a SELECT node, whose columns keep the aliases that they have in it.
json_t *tree_derived(struct trees *trees, json_t *node, const char *alias);
// A base table called name, AS alias.
json_t *tree_table(struct trees *trees, const char *name, const char *alias);
// The first table of that name in node becomes the item, which brings its own alias.
void tree_put_table(json_t *node, const char *name, json_t *item);

// Appends the AND-ed conjuncts of condition to list (an array).
void tree_conjuncts(json_t *condition, json_t *list);
// Appends the aggregate calls in node that are not inside a window.
void tree_aggregates(struct trees *trees, json_t *node, json_t *list);
void tree_windows(json_t *node, json_t *list);
// The first function of this kind in node, or NULL.
const char *tree_function(struct trees *trees, const json_t *node, unsigned kind);
// The same of FUNCTION_VOLATILE.
const char *tree_volatile(struct trees *trees, const json_t *node);

// rename.c: gives every FROM item an alias that is unique in the whole tree.
shoal_status tree_unique_aliases(struct trees *trees, json_t *node,
                                 struct shoal_error *err);
// decimals.c: sums of DECIMALs, in canonical SQL, keep the types that they are written
// with when they are bound again. Changes the node.
void tree_narrow_decimals(json_t *node);

#endif
