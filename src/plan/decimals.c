// Canonical SQL spells out the casts that DuckDB's binder made, and is bound again: there
// a sum or a difference of DECIMALs comes out one digit wider than it is written.
//
// The binder types a + b, of w1 and w2 digits at the larger scale s of both, as
// DECIMAL(max(w1, w2) + 1, s), and casts both to that. 1 - discount, of DECIMAL(15, 2),
// is written CAST(CAST(1.00 AS DECIMAL(16, 2)) - discount AS DECIMAL(16, 2)); bound from
// that it is a DECIMAL(17, 2), and the outer cast checks each row: a tenth of TPC-H's q1.
// So an argument that is cast to the result's own type is cast to one digit less, which
// is what it had before: then nothing is left of either cast. One that two sums share is
// computed below them, and stays.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/tree.h"

#define WIDTH_MAX 38  // a result is cut to it: its arguments may have as many digits

struct decimal {
    int width, scale;
};

static bool integer_of(const json_t *node, int *out) {
    const json_t *literal = json_object_get(node, "literal");
    if (!tree_is(literal, "kind", "INTEGER")) return false;
    *out = (int)strtol(tree_text(literal, "text"), NULL, 10);
    return true;
}

// Is the node CAST(... AS DECIMAL(width, scale))?
static bool is_decimal_cast(const json_t *node, struct decimal *type) {
    const json_t *named = json_object_get(node, "type_expr");
    const json_t *sizes = json_object_get(named, "children");
    return tree_is(node, "class", "CAST") &&
           json_is_false(json_object_get(node, "try_cast")) &&
           tree_is(named, "type_name", "DECIMAL") && json_array_size(sizes) == 2 &&
           integer_of(json_array_get(sizes, 0), &type->width) &&
           integer_of(json_array_get(sizes, 1), &type->scale);
}

static bool adds(const json_t *call) {
    const char *name = tree_text(call, "function_name");
    return tree_is(call, "class", "FUNCTION") &&
           (strcmp(name, "+") == 0 || strcmp(name, "-") == 0) &&
           json_array_size(json_object_get(call, "arguments")) == 2;
}

static void narrow(json_t *cast, int width) {
    json_t *sizes = json_object_get(json_object_get(cast, "type_expr"), "children");
    json_t *literal = json_object_get(json_array_get(sizes, 0), "literal");
    char text[16];
    (void)snprintf(text, sizeof text, "%d", width);
    json_object_set_new(literal, "text", json_string(text));
}

void tree_narrow_decimals(json_t *node) {
    struct decimal sum, argument;
    const char *name;
    json_t *value, *call;
    size_t i;
    if (json_is_array(node)) {
        json_array_foreach(node, i, value) tree_narrow_decimals(value);
        return;
    }
    if (!json_is_object(node)) return;
    json_object_foreach(node, name, value) tree_narrow_decimals(value);
    call = json_object_get(node, "child");
    if (!is_decimal_cast(node, &sum) || sum.width >= WIDTH_MAX || !adds(call)) return;
    json_array_foreach(json_object_get(call, "arguments"), i, value) {
        json_t *cast = json_object_get(value, "expression");
        if (is_decimal_cast(cast, &argument) && argument.width == sum.width &&
            argument.scale == sum.scale)
            narrow(cast, sum.width - 1);
    }
}
