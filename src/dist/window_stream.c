// Windows as a stream: their rows are sorted once, and what a window has is known from
// the rows before, row by row. DuckDB's windows with a PARTITION BY build a tree over
// each group for a running aggregate: a sum over groups of 10,000 rows takes them four
// times as long as one over groups of 5. A stream takes as long for any.
//
//   rows   sorted by (PARTITION BY, ORDER BY), numbered, with lag and lead over all of
//          them; which begin and end a run of equal keys, which begin a group
//   runs   and what shoal's own functions count, rank and sum in each group
//          (duck/running.c)
//
// Of the other aggregates DuckDB streams those over (): they are right where all rows are
// of one group.
//
// A frame that ends where a run ends (RANGE, GROUPS) has what its last row has, which the
// other rows of the run look up; most often there are few such. What a group has as a
// whole is computed beside.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/window_form.h"

#define STREAM "(ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
#define SORTED_TABLE "shoal_sorted"

struct stream {
    struct form *form;
    bool groups;          // of several; else all rows are of one
    json_t *rows;         // columns of the rows, below the sort
    json_t *names;        // tree_key of an expression -> the column of rows that it is
    struct text over;     // what DuckDB streams over the rows
    struct text running;  // what shoal's functions make of that
    struct text whole;    // aggregates of whole groups
    struct text values;
    struct text head;  // what the rows are ordered by first; empty: nothing
    bool first, ends;  // rows look up their group's first row; that their run ends with
    bool ranked;       // they know their run's first row's number,
    bool numbered;     // and their run's
    bool aggregates;   // a running one is there
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

// What the call takes of one row: "CASE WHEN e.v4 THEN e.v3 END", or true of count(*).
static void append_taken(struct stream *stream, struct text *out, const json_t *window,
                         const char *alias) {
    const json_t *filter = json_object_get(window, "filter_expr");
    bool filtered = json_is_object(filter);
    if (filtered)
        text_printf(out, "CASE WHEN %s.%s THEN ", alias, name_of(stream, filter));
    if (argument(window, 0) == NULL)
        text_append(out, "true");
    else
        text_printf(out, "%s.%s", alias, name_of(stream, argument(window, 0)));
    if (filtered) text_append(out, " END");
}

static json_t *key_of(struct stream *stream, size_t number) {
    return form_in_part(stream->form, json_array_get(stream->form->keys, number));
}

static json_t *order_of(struct stream *stream, size_t number) {
    return form_in_part(
        stream->form,
        json_object_get(json_array_get(stream->form->orders, number), "expression"));
}

// "((z.v0 IS NOT DISTINCT FROM e.v0) AND ...)": rows of one group, or of one run in it.
static void append_same(struct stream *stream, struct text *out, const char *left,
                        const char *right, bool run) {
    size_t keys = stream->groups ? json_array_size(stream->form->keys) : 0;
    size_t orders = run ? json_array_size(stream->form->orders) : 0;
    text_append(out, "(");
    for (size_t i = 0; i < keys + orders; i++) {
        const char *name =
            name_of(stream, i < keys ? key_of(stream, i) : order_of(stream, i - keys));
        text_printf(out, "%s(%s.%s IS NOT DISTINCT FROM %s.%s)", i ? " AND " : "", left,
                    name, right, name);
    }
    text_append(out, ")");
}

// The group's keys: "u.v0, u.v1".
static void append_keys(struct stream *stream, struct text *out) {
    for (size_t i = 0; i < json_array_size(stream->form->keys); i++)
        text_printf(out, "%su.%s", i ? ", " : "", name_of(stream, key_of(stream, i)));
}

// ---- values

static bool is_ranged(const json_t *window) {
    return !tree_is(window, "end", "CURRENT_ROW_ROWS");
}

// A row's number in its group.
static const char *number_column(const struct stream *stream) {
    return stream->groups ? "p" : "n";
}

// What the row that the frame ends with has.
static void append_last(struct stream *stream, struct text *out, const json_t *window,
                        const char *column) {
    if (!is_ranged(window)) {
        text_printf(out, "z.%s", column);
        return;
    }
    stream->ends = true;
    text_printf(out, "CASE WHEN (h.n IS NULL) THEN z.%s ELSE h.%s END", column, column);
}

// A call of one of shoal's functions, of what is there of each row.
static void open_running(struct stream *stream, const char *function) {
    text_printf(&stream->running, ", shoal_running_%s(y.n, %s, ", function,
                stream->groups ? "y.starts" : "false");
}

static void find_type(struct stream *stream, const json_t *expression, char *type,
                      size_t size) {
    type_find(stream->form->planner, "p", stream->form->types, expression, type, size);
}

// May the column be added up? *scale: of DECIMALs; -1 of other numbers.
static bool find_summed(struct stream *stream, const json_t *window, int *scale) {
    char type[64];
    find_type(stream, argument(window, 0), type, sizeof type);
    return type_summed(type, scale);
}

static void append_count(struct stream *stream, const json_t *window,
                         const char *column) {
    open_running(stream, "count");
    text_append(&stream->running, "(");
    append_taken(stream, &stream->running, window, "y");
    text_printf(&stream->running, " IS NOT NULL)) AS %s", column);
}

static void append_sum(struct stream *stream, const json_t *window, int scale,
                       const char *column) {
    char function[32] = "sum";
    if (scale >= 0) (void)snprintf(function, sizeof function, "decimal_sum_%d", scale);
    open_running(stream, function);
    if (scale >= 0) text_append(&stream->running, "CAST(");
    append_taken(stream, &stream->running, window, "y");
    if (scale >= 0)
        text_printf(&stream->running, " AS DECIMAL(%d, %d))", DUCK_RUNNING_DIGITS, scale);
    text_printf(&stream->running, ") AS %s", column);
}

static void append_whole(struct stream *stream, const json_t *window, size_t number) {
    text_append(&stream->whole, ", ");
    append_call(stream, &stream->whole, window, "u");
    text_printf(&stream->whole, " AS m%zu", number);
    text_printf(&stream->values, "m.m%zu", number);
}

static bool add_aggregate(struct stream *stream, const json_t *window, size_t number) {
    bool ordered = json_array_size(json_object_get(window, "orders")) > 0;
    const char *start = tree_text(window, "start"), *end = tree_text(window, "end");
    const char *name = tree_text(window, "function_name");
    bool counts = strcmp(name, "count") == 0 || strcmp(name, "count_star") == 0;
    // Without an order all rows are of one key.
    if (strcmp(start, "UNBOUNDED_PRECEDING") != 0 &&
        (ordered || strcmp(start, "CURRENT_ROW_ROWS") == 0))
        return false;
    if (strcmp(end, "UNBOUNDED_FOLLOWING") == 0 || (is_ranged(window) && !ordered)) {
        append_whole(stream, window, number);
        return true;
    }
    char column[24];
    int scale;
    (void)snprintf(column, sizeof column, "w%zu", number);
    stream->aggregates = true;
    if (counts) {
        append_count(stream, window, column);
    } else if (strcmp(name, "sum") == 0 && find_summed(stream, window, &scale)) {
        append_sum(stream, window, scale, column);
    } else if (stream->groups) {
        return false;
    } else {
        text_append(&stream->over, ", ");
        append_call(stream, &stream->over, window, "r");
        text_printf(&stream->over, " OVER " STREAM " AS %s", column);
    }
    append_last(stream, &stream->values, window, column);
    return true;
}

// What streams is of all rows: in a group the row must be in it.
static bool add_shift(struct stream *stream, const json_t *window, size_t number) {
    struct text *over = &stream->over, *out = &stream->values;
    bool lag = tree_is(window, "function_name", "lag");
    uint64_t rows = 1;
    const json_t *offset = argument(window, 1), *other = argument(window, 2);
    if (offset != NULL && !constant_number(offset, &rows)) return false;
    text_printf(over, ", %s(r.%s, %d) OVER () AS w%zu", lag ? "lag" : "lead",
                name_of(stream, argument(window, 0)), (int)rows, number);
    if (!stream->groups) {
        text_printf(out, "z.w%zu", number);
        return true;
    }
    if (lag) {
        text_printf(out, "CASE WHEN (z.p > %d)", (int)rows);
    } else {
        text_printf(over, ", ((lead(true, %d) OVER () IS NOT NULL)", (int)rows);
        for (size_t i = 0; i < json_array_size(stream->form->keys); i++) {
            const char *key = name_of(stream, key_of(stream, i));
            text_printf(over, " AND (r.%s IS NOT DISTINCT FROM lead(r.%s, %d) OVER ())",
                        key, key, (int)rows);
        }
        text_printf(over, ") AS q%zu", number);
        text_printf(out, "CASE WHEN z.q%zu", number);
    }
    text_printf(out, " THEN z.w%zu", number);
    if (other != NULL && !constant_null(other))
        text_printf(out, " ELSE z.%s", name_of(stream, other));
    text_append(out, " END");
    return true;
}

static bool add_first(struct stream *stream, const json_t *window, size_t number) {
    const char *name = name_of(stream, argument(window, 0));
    if (strcmp(tree_text(window, "start"), "UNBOUNDED_PRECEDING") != 0) return false;
    if (stream->groups) {
        stream->first = true;
        text_printf(&stream->values, "e.%s", name);
        return true;
    }
    text_printf(&stream->over, ", first_value(r.%s) OVER " STREAM " AS w%zu", name,
                number);
    text_printf(&stream->values, "z.w%zu", number);
    return true;
}

static bool add_row(struct stream *stream, const json_t *window, size_t number) {
    (void)window;
    (void)number;
    text_printf(&stream->values, "z.%s", number_column(stream));
    return true;
}

static bool add_rank(struct stream *stream, const json_t *window, size_t number) {
    bool dense = tree_is(window, "function_name", "dense_rank");
    (void)number;
    if (dense)
        stream->numbered = true;
    else
        stream->ranked = true;
    text_append(&stream->values, dense ? "z.run" : "z.rank");
    return true;
}

// What isn't here has no stream.
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

// ---- the SELECT

// " OR (r.v1 IS DISTINCT FROM lag(r.v1) OVER ())"
static void append_change(struct stream *stream, struct text *out, const json_t *of,
                          const char *side) {
    const char *name = name_of(stream, of);
    text_printf(out, " OR (r.%s IS DISTINCT FROM %s(r.%s) OVER ())", name, side, name);
}

// Is the row next to another group's, or another run's? On that side.
static void append_edge(struct stream *stream, struct text *out, const char *side,
                        bool run, const char *name) {
    text_printf(out, ", ((%s(true) OVER () IS NULL)", side);
    for (size_t i = 0; stream->groups && i < json_array_size(stream->form->keys); i++)
        append_change(stream, out, key_of(stream, i), side);
    for (size_t i = 0; run && i < json_array_size(stream->form->orders); i++)
        append_change(stream, out, order_of(stream, i), side);
    text_printf(out, ") AS %s", name);
}

// "create_sort_key(q.v0, 'ASC NULLS LAST', ...)"; false: not of all types.
static bool append_group(struct stream *stream, struct text *out) {
    size_t count = json_array_size(stream->form->keys);
    char type[64];
    for (size_t i = 0; i < count; i++) {
        find_type(stream, key_of(stream, i), type, sizeof type);
        if (!type_has_sort_key(type)) return false;
        const char *number = type_ordered_as(type, NULL);
        const char *name = name_of(stream, key_of(stream, i));
        if (count == 1 && number != NULL && strcmp(number, "BIGINT") == 0) {
            text_printf(out, "CAST(q.%s AS BIGINT)", name);
            return true;
        }
        text_printf(out, "%sq.%s, 'ASC NULLS LAST'", i ? ", " : "create_sort_key(", name);
    }
    text_append(out, ")");
    return true;
}

// A word that has both group and order, so that less is left to compare
// (duck/sort_words.c): "shoal_sort_head(...)". False: not where there is no order, or of
// other types.
static bool append_head(struct stream *stream, struct text *out) {
    const json_t *order = json_array_get(stream->form->orders, 0);
    const char *as;
    char type[64];
    if (!stream->groups || order == NULL) return false;
    find_type(stream, order_of(stream, 0), type, sizeof type);
    if ((as = type_ordered_as(type, NULL)) == NULL) return false;
    text_append(out, "shoal_sort_head(");
    if (!append_group(stream, out)) return false;
    text_printf(out, ", CAST(q.%s AS %s), %s)", name_of(stream, order_of(stream, 0)), as,
                sort_flags(order));
    return true;
}

static void append_rows(struct stream *stream, struct text *sql) {
    text_append(sql, "SELECT r.*, row_number() OVER () AS n");
    if (stream->over.data != NULL) text_append(sql, stream->over.data);
    if (stream->groups) append_edge(stream, sql, "lag", false, "starts");
    if (stream->ranked || stream->ends || stream->numbered)
        append_edge(stream, sql, "lag", true, "begins");
    if (stream->ends) append_edge(stream, sql, "lead", true, "ends");
    text_printf(sql, " FROM (SELECT q.* FROM " SORTED_TABLE " AS q ORDER BY %s) AS r",
                stream->head.data != NULL ? stream->head.data : "1");
}

static void append_runs(struct stream *stream, struct text *sql) {
    if (stream->ranked) {
        open_running(stream, "rank");
        text_append(&stream->running, "y.begins) AS rank");
    }
    if (stream->numbered) {
        open_running(stream, "count");
        text_append(&stream->running, "y.begins) AS run");
    }
    if (stream->groups) {
        open_running(stream, "count");
        text_append(&stream->running, "true) AS p");
    }
    if (stream->running.data == NULL) {
        append_rows(stream, sql);
        return;
    }
    text_printf(sql, "SELECT y.*%s FROM (", stream->running.data);
    append_rows(stream, sql);
    text_append(sql, ") AS y");
}

static void append_join(struct stream *stream, struct text *sql, const char *where,
                        const char *alias, bool run) {
    text_printf(sql, " LEFT JOIN (SELECT u.* FROM shoal_runs AS u WHERE %s) AS %s ON ",
                where, alias);
    append_same(stream, sql, "z", alias, run);
}

static void append_joins(struct stream *stream, struct text *sql) {
    if (stream->first) append_join(stream, sql, "u.starts", "e", false);
    if (stream->ends) append_join(stream, sql, "(u.ends AND (NOT u.begins))", "h", true);
    if (stream->whole.data == NULL) return;
    if (!stream->groups) {
        text_printf(sql, " CROSS JOIN (SELECT %s FROM shoal_runs AS u) AS m",
                    stream->whole.data + 2);
        return;
    }
    text_append(sql, " LEFT JOIN (SELECT ");
    append_keys(stream, sql);
    text_printf(sql, "%s FROM shoal_runs AS u GROUP BY ", stream->whole.data);
    append_keys(stream, sql);
    text_append(sql, ") AS m ON ");
    append_same(stream, sql, "z", "m", false);
}

static char *stream_sql(struct stream *stream) {
    struct text sql = {0}, joins = {0};
    append_joins(stream, &joins);
    if (joins.data != NULL) {
        text_append(&sql, "WITH shoal_runs AS MATERIALIZED (");
        append_runs(stream, &sql);
        text_printf(&sql, ") SELECT %s FROM shoal_runs AS z%s", stream->values.data,
                    joins.data);
    } else {
        text_printf(&sql, "SELECT %s FROM (", stream->values.data);
        append_runs(stream, &sql);
        text_append(&sql, ") AS z");
    }
    sql.failed = sql.failed || joins.failed || stream->over.failed ||
                 stream->running.failed || stream->whole.failed ||
                 stream->values.failed || stream->head.failed;
    text_free(&joins);
    return text_take(&sql);
}

// The template's SELECT from the sorted table has these rows, in this order, behind the
// head that it has.
struct sorted {
    json_t *rows, *orders;
    bool head;
};

static bool fill_sorted(void *ctx, const json_t *object) {
    const struct sorted *sorted = ctx;
    json_t *node = (json_t *)(uintptr_t)object;
    if (!tree_is(json_object_get(node, "from_table"), "table_name", SORTED_TABLE))
        return false;
    json_t *modifiers = json_object_get(node, "modifiers");
    json_t *orders = json_object_get(json_array_get(modifiers, 0), "orders");
    if (!sorted->head) json_array_clear(orders);
    json_array_extend(orders, sorted->orders);
    if (json_array_size(orders) == 0) json_array_clear(modifiers);
    json_object_set(node, "from_table", sorted->rows);
    return true;
}

static void append_order(struct stream *stream, json_t *orders, const json_t *like,
                         const json_t *key) {
    struct trees *trees = &stream->form->planner->trees;
    json_t *order = tree_own(trees, json_copy((json_t *)(uintptr_t)like));
    json_object_set(order, "expression", tree_column(trees, "q", name_of(stream, key)));
    json_array_append(orders, order);
}

// PARTITION BY and the windows' ORDER BY, in the rows' columns; before the rows are put
// together.
static json_t *sorted_orders(struct stream *stream) {
    struct form *form = stream->form;
    struct trees *trees = &form->planner->trees;
    json_t *orders = tree_own(trees, json_array());
    json_t *tie = form_order_by(form, tree_column(trees, "p", "t"));
    size_t count = json_array_size(form->orders);
    for (size_t i = 0; stream->groups && i < json_array_size(form->keys); i++)
        append_order(stream, orders, tie, key_of(stream, i));
    for (size_t i = 0; i < count; i++)
        append_order(stream, orders, json_array_get(form->orders, i),
                     order_of(stream, i));
    if (count > 0 && form->ties)
        append_order(stream, orders, tie, json_object_get(tie, "expression"));
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

// The SELECT of the locals over item, whose alias is p.
static json_t *stream_node(struct stream *stream, json_t *item) {
    struct trees *trees = &stream->form->planner->trees;
    json_t *orders = sorted_orders(stream);
    bool head = append_head(stream, &stream->head);
    if (!head) text_free(&stream->head);
    char *sql = stream_sql(stream);
    json_t *node = sql == NULL ? NULL : tree_select_template(trees, sql);
    trees->failed = trees->failed || node == NULL;
    free(sql);
    json_t *rows = tree_select(trees, stream->rows, item, NULL);
    struct sorted sorted = {tree_derived(trees, rows, "q"), orders, head};
    (void)tree_any(node, fill_sorted, &sorted);
    return node;
}

json_t *window_stream(struct form *form, bool groups, json_t *item, bool *running) {
    struct trees *trees = &form->planner->trees;
    struct stream stream = {.form = form,
                            .groups = groups,
                            .rows = tree_own(trees, json_array()),
                            .names = tree_own(trees, json_object())};
    json_t *node = add_locals(&stream) ? stream_node(&stream, item) : NULL;
    if (running != NULL) *running = stream.aggregates;
    text_free(&stream.over);
    text_free(&stream.running);
    text_free(&stream.whole);
    text_free(&stream.values);
    text_free(&stream.head);
    return node;
}
