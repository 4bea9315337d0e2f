// The values of windows, each made of what the part has that its row is in and of what
// the other parts bring (window_parts.c): which windows can be, and the SQL that does it.
//
// The SQL is written over x, the part's rows with the windows over them alone (l0, l1,
// ...), and b and a, what all parts before and behind have of the row's group: rows (n),
// keys (d) and for window number i a partial result (a<i>). A part's own partial results
// are aggregates over its rows i: v<i> is the window's argument there, f<i> its filter.
#include <stdio.h>
#include <string.h>

#include "dist/window_form.h"

#define LAG_MOST 64  // rows past a boundary, which each row of the group brings along
#define TILES_MOST 1000000000

// One window of the block.
struct call {
    const json_t *window;
    const char *name;
    size_t number;
    bool from_first, to_last;       // the frame has all rows before; all behind
    bool ranged_start, ranged_end;  // it ends there where a key does, not at a row
};

// ---- which windows come apart

static bool is_ranged(const char *bound) {
    return strcmp(bound, "CURRENT_ROW_RANGE") == 0 ||
           strcmp(bound, "CURRENT_ROW_GROUPS") == 0;
}

static size_t count_of(const json_t *object, const char *list) {
    return json_array_size(json_object_get(object, list));
}

// False: the frame ends somewhere else.
static bool find_frame(struct call *call) {
    const char *start = tree_text(call->window, "start");
    const char *end = tree_text(call->window, "end");
    bool all_peers = count_of(call->window, "orders") == 0;
    bool ranged_start = is_ranged(start), ranged_end = is_ranged(end);
    bool first = strcmp(start, "UNBOUNDED_PRECEDING") == 0;
    bool last = strcmp(end, "UNBOUNDED_FOLLOWING") == 0;
    if (!first && !ranged_start && strcmp(start, "CURRENT_ROW_ROWS") != 0) return false;
    if (!last && !ranged_end && strcmp(end, "CURRENT_ROW_ROWS") != 0) return false;
    call->from_first = first || (ranged_start && all_peers);
    call->to_last = last || (ranged_end && all_peers);
    call->ranged_start = ranged_start && !all_peers;
    call->ranged_end = ranged_end && !all_peers;
    return tree_is(call->window, "exclude_clause", "NO_OTHER");
}

static const json_t *argument(const struct call *call, size_t number) {
    return json_object_get(
        json_array_get(json_object_get(call->window, "arguments"), number), "expression");
}

static bool add_number(struct form *form, const struct call *call);
static bool add_dense(struct form *form, const struct call *call);
static bool add_percent(struct form *form, const struct call *call);
static bool add_cumulative(struct form *form, const struct call *call);
static bool add_tile(struct form *form, const struct call *call);
static bool add_lag(struct form *form, const struct call *call);
static bool add_value(struct form *form, const struct call *call);
static bool add_count(struct form *form, const struct call *call);
static bool add_average(struct form *form, const struct call *call);
static bool add_merged(struct form *form, const struct call *call);

// How each window's value is made of the parts'; false: not for these arguments.
static const struct window_rule {
    const char *name;
    size_t arity_least, arity_most;
    bool (*add)(struct form *form, const struct call *call);
    bool aggregate;     // has a frame and a filter; the others have neither
    bool ordered;       // says nothing without an ORDER BY
    bool peers;         // tells rows of one key from others
    bool names_rows;    // its value is a row's
    const char *merge;  // of an aggregate: two partial results as one
} window_rules[] = {
    {"row_number", 0, 0, add_number, .names_rows = true},
    {"rank", 0, 0, add_number, .ordered = true, .peers = true},
    {"dense_rank", 0, 0, add_dense, .ordered = true, .peers = true},
    {"percent_rank", 0, 0, add_percent, .ordered = true, .peers = true},
    {"cume_dist", 0, 0, add_cumulative, .ordered = true, .peers = true},
    {"ntile", 1, 1, add_tile, .names_rows = true},
    {"lag", 1, 3, add_lag, .ordered = true, .names_rows = true},
    {"lead", 1, 3, add_lag, .ordered = true, .names_rows = true},
    {"first_value", 1, 1, add_value, .ordered = true, .names_rows = true},
    {"last_value", 1, 1, add_value, .ordered = true, .names_rows = true},
    {"count", 0, 1, add_count, .aggregate = true},
    {"count_star", 0, 0, add_count, .aggregate = true},
    {"avg", 1, 1, add_average, .aggregate = true},
    {"mean", 1, 1, add_average, .aggregate = true},
    {"sum", 1, 1, add_merged, .aggregate = true, .merge = "(%s + %s)"},
    {"min", 1, 1, add_merged, .aggregate = true, .merge = "least(%s, %s)"},
    {"max", 1, 1, add_merged, .aggregate = true, .merge = "greatest(%s, %s)"},
    {"bool_and", 1, 1, add_merged, .aggregate = true, .merge = "(%s AND %s)"},
    {"bool_or", 1, 1, add_merged, .aggregate = true, .merge = "(%s OR %s)"},
    {"bit_and", 1, 1, add_merged, .aggregate = true, .merge = "(%s & %s)"},
    {"bit_or", 1, 1, add_merged, .aggregate = true, .merge = "(%s | %s)"},
    {"bit_xor", 1, 1, add_merged, .aggregate = true, .merge = "xor(%s, %s)"},
};

static const struct window_rule *find_rule(const struct call *call) {
    size_t arity = count_of(call->window, "arguments");
    for (size_t i = 0; i < sizeof window_rules / sizeof *window_rules; i++) {
        const struct window_rule *rule = &window_rules[i];
        if (strcmp(rule->name, call->name) == 0 && arity >= rule->arity_least &&
            arity <= rule->arity_most)
            return rule;
    }
    return NULL;
}

// Rows of one key may not be told by the part that they are in.
static bool tells_peers(const struct window_rule *rule, const struct call *call) {
    if (strcmp(call->name, "first_value") == 0) return call->ranged_start;
    if (strcmp(call->name, "last_value") == 0) return call->ranged_end;
    return rule->peers || call->ranged_start || call->ranged_end;
}

// Why the window can't be put together from parts; NULL: it can.
static const char *why_whole(const struct window_rule *rule, const struct call *call) {
    const json_t *window = call->window;
    if (rule == NULL) return "sees whole groups";
    if (json_is_true(json_object_get(window, "distinct")) ||
        count_of(window, "arg_orders") > 0 ||
        json_is_true(json_object_get(window, "ignore_nulls")))
        return "with DISTINCT, ORDER BY or IGNORE NULLS inside sees whole groups";
    if (!rule->aggregate && json_is_object(json_object_get(window, "filter_expr")))
        return "with a FILTER sees whole groups";
    if (rule->ordered && count_of(window, "orders") == 0)
        return "without ORDER BY sees whole groups";
    return NULL;
}

// ---- columns of a part's rows

json_t *form_in_part(struct form *form, const json_t *expression) {
    return tree_rename_columns(&form->planner->trees, expression, form->to_part);
}

void form_add_column(struct form *form, json_t *list, json_t *expression,
                     const char *prefix, size_t number) {
    char name[32];
    (void)snprintf(name, sizeof name, "%s%zu", prefix, number);
    json_array_append(list, tree_aliased(&form->planner->trees, expression, name));
}

json_t *form_order_by(struct form *form, json_t *expression) {
    return tree_own(&form->planner->trees,
                    json_pack("{s:s, s:s, s:O}", "type", "ASCENDING", "null_order",
                              "NULLS LAST", "expression", expression));
}

// What a local window differs in from the query's: function NULL is its own.
struct local {
    const char *type, *function;
    bool rows;   // rows of one key are ordered among themselves
    bool group;  // the frame is the group
};

// A window over the part's rows alone; its column is l<number>.
static size_t add_local(struct form *form, const struct call *call,
                        const struct local *local) {
    struct trees *trees = &form->planner->trees;
    json_t *window = tree_copy(trees, form_in_part(form, call->window));
    if (local->function != NULL) {
        json_t *path = json_object_get(json_object_get(window, "qualified_name"), "path");
        json_object_set_new(window, "type", json_string(local->type));
        json_object_set_new(window, "function_name", json_string(local->function));
        json_array_set_new(path, json_array_size(path) - 1, json_string(local->function));
    }
    json_t *orders = json_object_get(window, "orders");
    if (local->group) json_array_clear(orders);
    if (local->rows && form->ties)
        json_array_append(orders, form_order_by(form, tree_column(trees, "p", "t")));
    form_add_column(form, form->local, window, "l", form->locals);
    return form->locals++;
}

// The same of a function without arguments.
static size_t add_bare(struct form *form, const struct call *call,
                       const struct local *local) {
    struct trees *trees = &form->planner->trees;
    struct call bare = *call;
    json_t *window = tree_copy(trees, call->window);
    json_object_set_new(window, "arguments", json_array());
    json_object_set_new(window, "start", json_string("UNBOUNDED_PRECEDING"));
    json_object_set_new(window, "end", json_string("CURRENT_ROW_RANGE"));
    bare.window = window;
    return add_local(form, &bare, local);
}

static size_t row_in_part(struct form *form, const struct call *call) {
    size_t *row = &form->row[count_of(call->window, "orders") > 0];
    if (*row == 0)
        *row = 1 +
               add_bare(form, call,
                        &(struct local){"WINDOW_ROW_NUMBER", "row_number", .rows = true});
    return *row - 1;
}

static size_t rows_in_part(struct form *form, const struct call *call) {
    if (form->rows == 0)
        form->rows =
            1 + add_bare(form, call,
                         &(struct local){"WINDOW_AGGREGATE", "count", .group = true});
    return form->rows - 1;
}

// ---- values

#define ROWS_BEFORE "coalesce(b.n, 0)"

// Rows of the row's group in all parts.
static void append_total(struct form *form, struct text *out, const struct call *call) {
    form->adds_before = form->adds_after = true;
    text_printf(out, "(x.l%zu + " ROWS_BEFORE " + coalesce(a.n, 0))",
                rows_in_part(form, call));
}

static bool add_number(struct form *form, const struct call *call) {
    bool rows = strcmp(call->name, "row_number") == 0;
    size_t local = rows ? row_in_part(form, call)
                        : add_local(form, call, &(struct local){.function = NULL});
    form->adds_before = true;
    text_printf(&form->finals, "(x.l%zu + " ROWS_BEFORE ")", local);
    return true;
}

static bool add_dense(struct form *form, const struct call *call) {
    size_t local = add_local(form, call, &(struct local){.function = NULL});
    form->adds_before = form->dense = true;
    text_printf(&form->finals, "(x.l%zu + coalesce(b.d, 0))", local);
    return true;
}

// (rank - 1) / (rows - 1)
static bool add_percent(struct form *form, const struct call *call) {
    size_t local =
        add_local(form, call, &(struct local){.type = "WINDOW_RANK", .function = "rank"});
    struct text total = {0};
    append_total(form, &total, call);
    text_printf(&form->finals,
                "CASE WHEN (%s > 1) THEN (CAST((x.l%zu + " ROWS_BEFORE
                " - 1) AS DOUBLE) / CAST((%s - 1) AS DOUBLE)) ELSE CAST(0 AS DOUBLE) END",
                total.failed ? "" : total.data, local, total.failed ? "" : total.data);
    text_free(&total);
    return true;
}

// Rows up to the last of the row's key / rows
static bool add_cumulative(struct form *form, const struct call *call) {
    size_t local =
        add_bare(form, call, &(struct local){"WINDOW_AGGREGATE", "count", .rows = false});
    text_printf(&form->finals, "(CAST((x.l%zu + " ROWS_BEFORE ") AS DOUBLE) / CAST(",
                local);
    append_total(form, &form->finals, call);
    text_append(&form->finals, " AS DOUBLE))");
    return true;
}

// Tiles of equal size, the first ones with a row more. q is a tile's rows, m how many
// have one more, r the row from 0 on.
static bool add_tile(struct form *form, const struct call *call) {
    uint64_t tiles = 0;
    struct text total = {0};
    if (!constant_number(argument(call, 0), &tiles) || tiles == 0 || tiles > TILES_MOST)
        return false;
    size_t row = row_in_part(form, call);
    append_total(form, &total, call);
    if (total.failed) return false;
    char n[32], *t = total.data;
    (void)snprintf(n, sizeof n, "CAST(%llu AS BIGINT)", (unsigned long long)tiles);
    struct text r = {0}, q = {0}, m = {0};
    text_printf(&r, "(x.l%zu + " ROWS_BEFORE " - 1)", row);
    text_printf(&q, "(%s // least(%s, %s))", t, n, t);
    text_printf(&m, "(%s %% least(%s, %s))", t, n, t);
    bool ok = !r.failed && !q.failed && !m.failed;
    if (ok)
        text_printf(&form->finals,
                    "CASE WHEN (%s < (%s * (%s + 1))) THEN (1 + (%s // (%s + 1))) "
                    "ELSE (1 + %s + ((%s - (%s * (%s + 1))) // %s)) END",
                    r.data, m.data, q.data, r.data, q.data, m.data, r.data, m.data,
                    q.data, q.data);
    text_free(&r);
    text_free(&q);
    text_free(&m);
    text_free(&total);
    return ok;
}

// lag: parts before keep the last rows of their last group, the nearest first; lead:
// those behind the first of their first.
static bool add_lag(struct form *form, const struct call *call) {
    bool lag = strcmp(call->name, "lag") == 0;
    uint64_t n = 1;
    size_t i = call->number;
    const json_t *offset = argument(call, 1), *other = argument(call, 2);
    if ((offset != NULL && !constant_number(offset, &n)) || n > LAG_MOST) return false;
    size_t local = add_local(form, call, &(struct local){.rows = true});
    size_t row = row_in_part(form, call);
    struct text behind = {0};  // rows of the group on that side of the row, in the part
    if (lag) {
        text_printf(&behind, "(x.l%zu - 1)", row);
    } else {
        text_printf(&behind, "(x.l%zu - x.l%zu)", rows_in_part(form, call), row);
    }
    form_add_column(form, form->summed, form_in_part(form, argument(call, 0)), "v", i);
    if (other != NULL && constant_null(other)) other = NULL;
    if (other != NULL)
        form_add_column(form, form->local, form_in_part(form, other), "e", i);
    struct text *side = lag ? &form->before : &form->after;
    bool *adds = lag ? &form->adds_before : &form->adds_after;
    *adds = form->placed = true;
    int kept = (int)(n > 0 ? n : 1);
    const char *pick = lag ? "arg_max" : "arg_min";
    if (kept == 1) {  // a heap of one takes twice as long
        text_printf(&form->partial, ", list_value(%s({'v': i.v%zu}, i.o)) AS a%zu", pick,
                    i, i);
    } else {
        text_printf(&form->partial, ", %s({'v': i.v%zu}, i.o, %d) AS a%zu", pick, i, kept,
                    i);
    }
    text_printf(side,
                ", list_slice(flatten(list(s.a%zu ORDER BY s.o %s)), 1, %d) AS a%zu", i,
                lag ? "DESC" : "ASC", kept, i);
    const char *from = lag ? "b" : "a", *b = behind.failed ? "" : behind.data;
    text_printf(&form->finals,
                "CASE WHEN (%s >= %d) THEN x.l%zu WHEN (len(%s.a%zu) >= (%d - %s)) "
                "THEN struct_extract(list_extract(%s.a%zu, (%d - %s)), 'v')",
                b, (int)n, local, from, i, (int)n, b, from, i, (int)n, b);
    if (other != NULL) text_printf(&form->finals, " ELSE x.e%zu", i);
    text_append(&form->finals, " END");
    bool ok = !behind.failed;
    text_free(&behind);
    return ok;
}

// The first row of all parts before, or the last of all behind; where the frame begins or
// ends at the row itself, it is in the part.
static bool add_value(struct form *form, const struct call *call) {
    bool first = strcmp(call->name, "first_value") == 0;
    bool reaches = first ? call->from_first : call->to_last;
    size_t i = call->number;
    size_t local = add_local(form, call, &(struct local){.rows = reaches});
    if (!reaches) {
        text_printf(&form->finals, "x.l%zu", local);
        return true;
    }
    const char *pick = first ? "arg_min" : "arg_max", *from = first ? "b" : "a";
    bool *adds = first ? &form->adds_before : &form->adds_after;
    *adds = form->placed = true;
    form_add_column(form, form->summed, form_in_part(form, argument(call, 0)), "v", i);
    text_printf(&form->partial, ", %s({'v': i.v%zu}, i.o) AS a%zu", pick, i, i);
    text_printf(first ? &form->before : &form->after, ", %s(s.a%zu, s.o) AS a%zu", pick,
                i, i);
    text_printf(&form->finals,
                "CASE WHEN (%s.n IS NULL) THEN x.l%zu ELSE struct_extract(%s.a%zu, 'v') "
                "END",
                from, local, from, i);
    return true;
}

// ---- aggregates

// A partial result `column`, of `function`, in each part that the frame reaches; `again`
// makes one of several.
static void add_partial(struct form *form, const struct call *call, const char *function,
                        const char *again, const char *column) {
    size_t i = call->number;
    bool filtered = json_is_object(json_object_get(call->window, "filter_expr"));
    bool counts = strcmp(function, "count") == 0;
    text_printf(&form->partial, ", %s(", function);
    if (argument(call, 0) == NULL) {
        text_append(&form->partial, "*)");
    } else {
        text_printf(&form->partial, "i.v%zu)", i);
    }
    if (filtered) text_printf(&form->partial, " FILTER (WHERE i.f%zu)", i);
    text_printf(&form->partial, " AS %s%zu", column, i);
    struct text *sides[] = {&form->before, &form->after};
    for (int side = 0; side < 2; side++) {
        if (!(side == 0 ? call->from_first : call->to_last)) continue;
        text_printf(sides[side], ", %s%s(s.%s%zu)%s AS %s%zu", counts ? "CAST(" : "",
                    again, column, i, counts ? " AS BIGINT)" : "", column, i);
    }
}

static void open_aggregate(struct form *form, const struct call *call) {
    const json_t *filter = json_object_get(call->window, "filter_expr");
    if (argument(call, 0) != NULL)
        form_add_column(form, form->summed, form_in_part(form, argument(call, 0)), "v",
                        call->number);
    if (json_is_object(filter))
        form_add_column(form, form->summed, form_in_part(form, filter), "f",
                        call->number);
    form->adds_before = form->adds_before || call->from_first;
    form->adds_after = form->adds_after || call->to_last;
}

static size_t aggregate_local(struct form *form, const struct call *call,
                              const char *function) {
    return add_local(form, call,
                     &(struct local){"WINDOW_AGGREGATE", function,
                                     .rows = !call->ranged_start && !call->ranged_end &&
                                             !(call->from_first && call->to_last)});
}

static void append_count(struct form *form, const struct call *call, size_t local,
                         const char *column) {
    text_printf(&form->finals, "(x.l%zu", local);
    if (call->from_first)
        text_printf(&form->finals, " + coalesce(b.%s%zu, 0)", column, call->number);
    if (call->to_last)
        text_printf(&form->finals, " + coalesce(a.%s%zu, 0)", column, call->number);
    text_append(&form->finals, ")");
}

static bool add_count(struct form *form, const struct call *call) {
    open_aggregate(form, call);
    add_partial(form, call, "count", "sum", "a");
    append_count(form, call, aggregate_local(form, call, NULL), "a");
    return true;
}

// value and one.column as one, where either may be NULL, in place of value.
static void merge_with(struct text *value, const char *merge, const char *side,
                       size_t number) {
    struct text both = {0}, other = {0}, out = {0};
    text_printf(&other, "%s.a%zu", side, number);
    if (value->failed || other.failed) return;
    const char *at = strstr(merge, "%s"), *second = strstr(at + 2, "%s");
    text_append_bytes(&both, merge, (size_t)(at - merge));
    text_append(&both, value->data);
    text_append_bytes(&both, at + 2, (size_t)(second - at - 2));
    text_append(&both, other.data);
    text_append(&both, second + 2);
    text_printf(
        &out, "CASE WHEN (%s IS NULL) THEN %s WHEN (%s IS NULL) THEN %s ELSE %s END",
        other.data, value->data, value->data, other.data, both.failed ? "" : both.data);
    text_free(&both);
    text_free(&other);
    text_free(value);
    *value = out;
}

// The frame's aggregate in the part, merged with those of the parts that it reaches.
static bool append_merged(struct form *form, const struct call *call, size_t local,
                          const char *merge) {
    struct text value = {0};
    text_printf(&value, "x.l%zu", local);
    if (call->from_first) merge_with(&value, merge, "b", call->number);
    if (call->to_last) merge_with(&value, merge, "a", call->number);
    bool ok = !value.failed;
    if (ok) text_append(&form->finals, value.data);
    text_free(&value);
    return ok;
}

static bool add_merged(struct form *form, const struct call *call) {
    open_aggregate(form, call);
    add_partial(form, call, call->name, call->name, "a");
    return append_merged(form, call, aggregate_local(form, call, NULL),
                         find_rule(call)->merge);
}

static bool add_average(struct form *form, const struct call *call) {
    open_aggregate(form, call);
    add_partial(form, call, "sum", "sum", "a");
    add_partial(form, call, "count", "sum", "m");
    size_t sum = aggregate_local(form, call, "sum");
    size_t count = aggregate_local(form, call, "count");
    text_append(&form->finals, "(CAST(");
    bool ok = append_merged(form, call, sum, "(%s + %s)");
    text_append(&form->finals, " AS DOUBLE) / CAST(nullif(");
    append_count(form, call, count, "m");
    text_append(&form->finals, ", 0) AS DOUBLE))");
    return ok;
}
// The windows have one PARTITION BY and one ORDER BY, if any; NULL: so it is.
static const char *find_order(struct form *form, json_t *windows, const char **name) {
    struct trees *trees = &form->planner->trees;
    size_t i;
    json_t *window;
    form->keys = json_object_get(json_array_get(windows, 0), "partitions");
    form->orders = tree_own(trees, json_array());
    json_array_foreach(windows, i, window) {
        json_t *orders = json_object_get(window, "orders");
        *name = tree_text(window, "function_name");
        if (strcmp(tree_key(trees, json_object_get(window, "partitions")),
                   tree_key(trees, form->keys)) != 0)
            return "has another PARTITION BY than a window beside it";
        if (json_array_size(orders) == 0) continue;
        if (json_array_size(form->orders) == 0) form->orders = orders;
        if (strcmp(tree_key(trees, orders), tree_key(trees, form->orders)) != 0)
            return "has another ORDER BY than a window beside it";
    }
    return NULL;
}

static bool has_collation(json_t *orders) {
    size_t i;
    json_t *order;
    json_array_foreach(orders, i, order) {
        if (sort_collates(json_object_get(order, "expression"))) return true;
    }
    return false;
}

// Why the block has no second form, and because of which function; NULL: it may have one.
const char *form_find_whole(struct form *form, json_t *windows, const char **name) {
    const char *why = find_order(form, windows, name);
    size_t i;
    json_t *window;
    if (why != NULL) return why;
    if (json_array_size(form->keys) == 0) return "without PARTITION BY sees all rows";
    if (has_collation(form->orders) || tree_has(form->keys, "class", "COLLATE"))
        return "compares by a collation";
    if (tree_has(windows, "class", "SUBQUERY")) return "has a subquery inside";
    json_array_foreach(windows, i, window) {
        struct call call = {.window = window,
                            .name = *name = tree_text(window, "function_name"),
                            .number = i};
        const struct window_rule *rule = find_rule(&call);
        why = why_whole(rule, &call);
        if (why != NULL) return why;
        bool framed = rule->aggregate || strstr(call.name, "_value") != NULL;
        if (framed && !find_frame(&call))
            return "over a frame that ends between rows sees whole groups";
        form->peers = form->peers || tells_peers(rule, &call);
        form->ties = form->ties || (rule->names_rows && count_of(window, "orders") > 0);
    }
    return NULL;
}

bool form_add_calls(struct form *form, json_t *windows, const char **name) {
    size_t i;
    json_t *window;
    json_array_foreach(windows, i, window) {
        struct call call = {.window = window,
                            .name = *name = tree_text(window, "function_name"),
                            .number = i};
        (void)find_frame(&call);
        if (i > 0) text_append(&form->finals, ", ");
        if (!find_rule(&call)->add(form, &call)) return false;
    }
    return true;
}
