// The windows over a part's rows alone, where all of them are of one group: as a stream.
// Such a part is sorted once, and what a window has is known from the rows before, row by
// row; DuckDB's streaming windows, those over (), take half the time of the others.
//
//   rows   the part's, sorted by the windows' ORDER BY
//   runs   and what streams over them: row numbers, running aggregates, lag and lead; and
//          which rows begin and end a run of equal keys, where a window asks for that
//
// A frame that ends where a run ends (RANGE, GROUPS) has what its last row has, which the
// other rows of the run look up; most often there are few such. What all rows have
// together is computed beside.
#include <string.h>

#include "base/text.h"
#include "dist/window_form.h"

#define STREAM "(ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
#define TWO_BRANCHES "SELECT u.a FROM (SELECT 1 AS a UNION ALL SELECT 2 AS a) AS u"
#define SORTED_TABLE "shoal_sorted"

struct stream {
    struct form *form;
    json_t *rows;       // columns of the rows, below the sort
    json_t *names;      // tree_key of an expression -> the column of rows that it is
    struct text over;   // what streams over them
    struct text ends;   // columns that the last row of a run has for all of it
    struct text whole;  // aggregates of all rows
    struct text values;
    bool runs;
};

// The column of the rows that the expression is.
static const char *name_of(struct stream *stream, const json_t *expression) {
    struct trees *trees = &stream->form->planner->trees;
    const char *key = tree_key(trees, expression);
    const char *known = json_string_value(json_object_get(stream->names, key));
    if (known != NULL) return known;
    struct text name = {0};
    text_printf(&name, "v%zu", json_object_size(stream->names));
    if (!name.failed) {
        json_array_append(
            stream->rows,
            tree_aliased(trees, (json_t *)(uintptr_t)expression, name.data));
        json_object_set_new(stream->names, key, json_string(name.data));
    }
    text_free(&name);
    known = json_string_value(json_object_get(stream->names, key));
    trees->failed = trees->failed || known == NULL;
    return known == NULL ? "" : known;
}

static const json_t *argument(const json_t *window, size_t number) {
    return json_object_get(json_array_get(json_object_get(window, "arguments"), number),
                           "expression");
}

// "sum(r.v3) FILTER (WHERE r.v4)"
static void append_call(struct stream *stream, struct text *out, const json_t *window,
                        const char *alias) {
    const json_t *filter = json_object_get(window, "filter_expr");
    const char *name = tree_text(window, "function_name");
    text_append_identifier(out, strcmp(name, "count_star") == 0 ? "count" : name);
    if (argument(window, 0) == NULL)
        text_append(out, "(*)");
    else
        text_printf(out, "(%s.%s)", alias, name_of(stream, argument(window, 0)));
    if (json_is_object(filter))
        text_printf(out, " FILTER (WHERE %s.%s)", alias, name_of(stream, filter));
}

static bool add_aggregate(struct stream *stream, const json_t *window, size_t number) {
    bool ordered = json_array_size(json_object_get(window, "orders")) > 0;
    const char *start = tree_text(window, "start"), *end = tree_text(window, "end");
    bool rows = strcmp(end, "CURRENT_ROW_ROWS") == 0;
    bool last = strcmp(end, "UNBOUNDED_FOLLOWING") == 0 || (!rows && !ordered);
    // Without an order all rows are of one key.
    if (strcmp(start, "UNBOUNDED_PRECEDING") != 0 &&
        (ordered || strcmp(start, "CURRENT_ROW_ROWS") == 0))
        return false;
    if (last) {
        text_append(&stream->whole, stream->whole.size > 0 ? ", " : "");
        append_call(stream, &stream->whole, window, "u");
        text_printf(&stream->whole, " AS m%zu", number);
        text_printf(&stream->values, "m.m%zu", number);
        return true;
    }
    text_append(&stream->over, ", ");
    append_call(stream, &stream->over, window, "r");
    text_printf(&stream->over, " OVER " STREAM " AS w%zu", number);
    if (rows) {
        text_printf(&stream->values, "z.w%zu", number);
        return true;
    }
    stream->runs = true;
    text_printf(&stream->ends, ", u.w%zu AS w%zu", number, number);
    text_printf(&stream->values, "CASE WHEN (e.run IS NULL) THEN z.w%zu ELSE e.w%zu END",
                number, number);
    return true;
}

static bool add_shift(struct stream *stream, const json_t *window, size_t number) {
    uint64_t rows = 1;
    const json_t *offset = argument(window, 1);
    if (offset != NULL && !constant_number(offset, &rows)) return false;
    text_printf(&stream->over, ", %s(r.%s, %d) OVER () AS w%zu",
                tree_text(window, "function_name"), name_of(stream, argument(window, 0)),
                (int)rows, number);
    text_printf(&stream->values, "z.w%zu", number);
    return true;
}

static bool add_first(struct stream *stream, const json_t *window, size_t number) {
    if (strcmp(tree_text(window, "start"), "UNBOUNDED_PRECEDING") != 0) return false;
    text_printf(&stream->over, ", first_value(r.%s) OVER " STREAM " AS w%zu",
                name_of(stream, argument(window, 0)), number);
    text_printf(&stream->values, "z.w%zu", number);
    return true;
}

static bool add_row(struct stream *stream, const json_t *window, size_t number) {
    (void)window;
    (void)number;
    text_append(&stream->values, "z.n");
    return true;
}

static bool add_rank(struct stream *stream, const json_t *window, size_t number) {
    (void)number;
    bool dense = tree_is(window, "function_name", "dense_rank");
    stream->runs = true;
    text_append(&stream->values, dense ? "z.run" : "z.begun");
    return true;
}

// Of windows over the part; what isn't here has no stream.
static const struct stream_rule {
    const char *name;
    bool (*add)(struct stream *stream, const json_t *window, size_t number);
} stream_rules[] = {
    {"row_number", add_row},    {"rank", add_rank},
    {"dense_rank", add_rank},   {"lag", add_shift},
    {"lead", add_shift},        {"first_value", add_first},
    {"count", add_aggregate},   {"count_star", add_aggregate},
    {"sum", add_aggregate},     {"min", add_aggregate},
    {"max", add_aggregate},     {"bool_and", add_aggregate},
    {"bool_or", add_aggregate}, {"bit_and", add_aggregate},
    {"bit_or", add_aggregate},  {"bit_xor", add_aggregate},
};

static bool add_window(struct stream *stream, const json_t *window, size_t number) {
    for (size_t i = 0; i < sizeof stream_rules / sizeof *stream_rules; i++) {
        if (tree_is(window, "function_name", stream_rules[i].name))
            return stream_rules[i].add(stream, window, number);
    }
    return false;
}

// "((r.v1 IS DISTINCT FROM lag(r.v1) OVER ()) OR ...)": of the row on that side.
static void append_changes(struct stream *stream, struct text *out, const char *side) {
    size_t i;
    json_t *order;
    json_array_foreach(stream->form->orders, i, order) {
        const char *name = name_of(
            stream, form_in_part(stream->form, json_object_get(order, "expression")));
        text_printf(out, " OR (r.%s IS DISTINCT FROM %s(r.%s) OVER ())", name, side,
                    name);
    }
}

// The sorted rows, and what streams over them.
static void append_runs(struct stream *stream, struct text *sql) {
    if (stream->runs)
        text_append(sql, "SELECT y.*, count(*) FILTER (WHERE y.begins) OVER " STREAM
                         " AS run, max(CASE WHEN y.begins THEN y.n END) OVER " STREAM
                         " AS begun FROM (");
    text_append(sql, "SELECT r.*, row_number() OVER () AS n");
    if (stream->over.data != NULL) text_append(sql, stream->over.data);
    if (stream->runs) {
        text_append(sql, ", ((row_number() OVER () = 1)");
        append_changes(stream, sql, "lag");
        text_append(sql, ") AS begins, ((lead(true) OVER () IS NULL)");
        append_changes(stream, sql, "lead");
        text_append(sql, ") AS ends");
    }
    text_append(sql, " FROM (SELECT q.* FROM " SORTED_TABLE " AS q ORDER BY 1) AS r");
    if (stream->runs) text_append(sql, ") AS y");
}

static char *stream_sql(struct stream *stream) {
    struct text sql = {0};
    bool again = stream->ends.size > 0 || stream->whole.size > 0;
    if (again) {
        text_append(&sql, "WITH shoal_runs AS MATERIALIZED (");
        append_runs(stream, &sql);
        text_append(&sql, ") ");
    }
    text_printf(&sql, "SELECT %s FROM ", stream->values.data);
    if (again) {
        text_append(&sql, "shoal_runs AS z");
    } else {
        text_append(&sql, "(");
        append_runs(stream, &sql);
        text_append(&sql, ") AS z");
    }
    if (stream->ends.size > 0)
        text_printf(
            &sql,
            " LEFT JOIN (SELECT u.run AS run%s FROM shoal_runs AS u WHERE (u.ends "
            "AND (NOT u.begins))) AS e ON (z.run = e.run)",
            stream->ends.data);
    if (stream->whole.size > 0)
        text_printf(&sql, " CROSS JOIN (SELECT %s FROM shoal_runs AS u) AS m",
                    stream->whole.data);
    sql.failed = sql.failed || stream->over.failed || stream->ends.failed ||
                 stream->whole.failed || stream->values.failed;
    return text_take(&sql);
}

// The template's SELECT from the sorted table has these rows, in this order.
struct sorted {
    json_t *rows, *orders;
};

static bool fill_sorted(void *ctx, const json_t *object) {
    const struct sorted *sorted = ctx;
    json_t *node = (json_t *)(uintptr_t)object;
    if (!tree_is(json_object_get(node, "from_table"), "table_name", SORTED_TABLE))
        return false;
    json_t *modifiers = json_object_get(node, "modifiers");
    if (json_array_size(sorted->orders) == 0)
        json_array_clear(modifiers);
    else
        json_object_set(json_array_get(modifiers, 0), "orders", sorted->orders);
    json_object_set(node, "from_table", sorted->rows);
    return true;
}

static json_t *column_of(struct stream *stream, const char *alias,
                         const json_t *expression) {
    return tree_column(&stream->form->planner->trees, alias, name_of(stream, expression));
}

// The windows' ORDER BY, in the rows' columns; before the rows are put together.
static json_t *sorted_orders(struct stream *stream) {
    struct form *form = stream->form;
    struct trees *trees = &form->planner->trees;
    json_t *orders = tree_own(trees, json_array());
    size_t i;
    json_t *order;
    json_array_foreach(form->orders, i, order) {
        json_t *own = tree_own(trees, json_copy(order));
        const json_t *key = form_in_part(form, json_object_get(order, "expression"));
        json_object_set(own, "expression", column_of(stream, "q", key));
        json_array_append(orders, own);
    }
    if (i > 0 && form->ties)
        json_array_append(
            orders,
            form_order_by(form, column_of(stream, "q", tree_column(trees, "p", "t"))));
    return orders;
}

// Columns that are no windows are the rows' own.
static bool add_locals(struct stream *stream) {
    struct trees *trees = &stream->form->planner->trees;
    size_t i;
    json_t *local;
    json_array_foreach(stream->form->local, i, local) {
        if (i > 0) text_append(&stream->values, ", ");
        if (!tree_is(local, "class", "WINDOW")) {
            text_printf(&stream->values, "z.%s", name_of(stream, local));
        } else if (!add_window(stream, local, i)) {
            return false;
        }
        text_printf(&stream->values, " AS %s", tree_text(local, "alias"));
    }
    return !trees->failed;
}

json_t *window_stream(struct form *form, uint32_t parts) {
    struct planner *planner = form->planner;
    struct trees *trees = &planner->trees;
    struct stream stream = {.form = form,
                            .rows = tree_own(trees, json_array()),
                            .names = tree_own(trees, json_object())};
    json_t *node = NULL;
    if (add_locals(&stream)) {
        json_t *orders = sorted_orders(&stream);
        char *sql = stream_sql(&stream);
        node = sql == NULL ? NULL : tree_select_template(trees, sql);
        trees->failed = trees->failed || node == NULL;
        free(sql);
        json_t *read = exchange_read(planner, parts, LEAF_GROUP, "p");
        json_t *rows = tree_select(trees, stream.rows, read, NULL);
        struct sorted sorted = {
            tree_subquery(trees, rows, "q", form_names(form, stream.rows)), orders};
        (void)tree_any(node, fill_sorted, &sorted);
    }
    text_free(&stream.over);
    text_free(&stream.ends);
    text_free(&stream.whole);
    text_free(&stream.values);
    return node;
}

json_t *window_either(struct form *form, json_t *groups, json_t *stream) {
    json_t *node = tree_select_template(&form->planner->trees, TWO_BRANCHES);
    node = json_object_get(
        json_object_get(json_object_get(node, "from_table"), "subquery"), "node");
    json_t *branches = json_object_get(node, "children");
    json_array_set(branches, 0, groups);
    json_array_set(branches, 1, stream);
    return node;
}
