// A block of windows over a partition that is too much for one task. A window sees whole
// groups, so slices of the partition won't do; but its rows come apart by order, as an
// ORDER BY's do. The planner leaves a second form of the block behind, fed by three
// stages that have tasks for the partitions that turn out to be heavy, often none:
//
//   slices are sampled by (PARTITION BY, ORDER BY)  -> SampleExchange
//   slices are scattered by bounds from the samples -> RangeExchange
//   each part is summed up                          -> CombineExchange
//
// The block itself has a task for each part then: it computes the windows of the part's
// rows alone and adds what lies before and behind, from the other parts' sums: rows to a
// row_number, rows of other values to a dense_rank, sums to a sum, boundary rows to what
// looks past the boundary (window_values.c). It is a prefix sum in two passes (Blelloch,
// Prefix Sums and Their Applications, 1990).
//
// Only a part's first and last group can go on in others, so a part's summary has one row
// or two. Rows of one key (K, O) are in one part where a window tells such rows from
// others: rank, RANGE frames. Other windows may number them in any order, but all of a
// block in the same: for those that name rows a number of their own orders them
// (duck/tie.c).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/window_form.h"

#define TIE_BREAK "shoal_tie()"
#define SOME_ROWS "((random() < 0.5) AND true)"

// ---- the stages before, and the form

// "p.k0, p.k1": as many as there are keys, each between head and tail.
static void list_keys(const struct form *form, struct text *out, const char *head,
                      const char *tail) {
    for (size_t i = 0; i < json_array_size(form->keys); i++)
        text_printf(out, "%s%s%zu%s", i ? ", " : "", head, i, tail);
}

static void select_keys(const struct form *form, struct text *out, const char *alias) {
    for (size_t i = 0; i < json_array_size(form->keys); i++)
        text_printf(out, "%s.k%zu AS k%zu, ", alias, i, i);
}

// One row for the first and one for the last group of a part: all others are whole in it.
static char *summary_sql(const struct form *form) {
    struct text sql = {0};
    text_append(&sql, "SELECT g.*");
    if (form->placed)
        text_append(&sql, ", (SELECT q.number FROM shoal_number AS q) AS o");
    text_append(&sql, " FROM (SELECT ");
    select_keys(form, &sql, "i");
    text_printf(&sql, "count(*) AS n%s", form->dense ? ", count(DISTINCT i.d) AS d" : "");
    text_append(&sql, form->partial.data != NULL ? form->partial.data : "");
    text_append(&sql, ", create_sort_key(");
    list_keys(form, &sql, "i.k", ", 'ASC NULLS LAST'");
    text_append(&sql, ") AS s FROM shoal_rows AS i GROUP BY ");
    list_keys(form, &sql, "i.k", "");
    text_append(&sql,
                ") AS g QUALIFY ((g.s = min(g.s) OVER ()) OR (g.s = max(g.s) OVER ()))");
    sql.failed = sql.failed || form->partial.failed;
    return text_take(&sql);
}

// "((x.k0 IS NOT DISTINCT FROM b.k0) AND ...)"
static void same_keys(const struct form *form, struct text *sql, const char *left,
                      const char *right) {
    text_append(sql, "(");
    for (size_t i = 0; i < json_array_size(form->keys); i++)
        text_printf(sql, "%s(%s.k%zu IS NOT DISTINCT FROM %s.k%zu)", i ? " AND " : "",
                    left, i, right, i);
    text_append(sql, ")");
}

// What all parts on one side have of the row's group: " LEFT JOIN (of each group) AS b ON
// ...". Where there is one group, and so one row, a join would find it again for each row
// and copy its lists: " CROSS JOIN (of that) AS b".
static void join_side(const struct form *form, struct text *sql, const char *table,
                      const char *alias, const struct text *columns, bool one) {
    text_append(sql, one ? " CROSS JOIN (SELECT " : " LEFT JOIN (SELECT ");
    if (!one) select_keys(form, sql, "s");
    text_printf(sql, "CAST(sum(s.n) AS BIGINT) AS n%s%s FROM %s AS s",
                form->dense ? ", CAST(sum(s.d) AS BIGINT) AS d" : "",
                columns->data != NULL ? columns->data : "", table);
    if (one) {
        text_append(sql, " JOIN (SELECT ");
        for (size_t i = 0; i < json_array_size(form->keys); i++)
            text_printf(sql, "%smin(i.k%zu) AS k%zu", i ? ", " : "", i, i);
        text_printf(sql, " FROM shoal_key_%s AS i) AS q ON ", alias);
        same_keys(form, sql, "s", "q");
        text_printf(sql, ") AS %s", alias);
        return;
    }
    text_append(sql, " GROUP BY ");
    list_keys(form, sql, "s.k", "");
    text_printf(sql, ") AS %s ON ", alias);
    same_keys(form, sql, "x", alias);
}

// Its select list has the windows' values, in their order.
static char *final_sql(const struct form *form, bool one) {
    struct text sql = {0};
    if (form->before.failed || form->after.failed || form->finals.failed) return NULL;
    text_printf(&sql, "SELECT %s FROM shoal_rows AS x", form->finals.data);
    if (form->adds_before) join_side(form, &sql, "shoal_before", "b", &form->before, one);
    if (form->adds_after) join_side(form, &sql, "shoal_after", "a", &form->after, one);
    return text_take(&sql);
}

static json_t *sort_key(struct form *form, json_t *orders, const char *name) {
    struct trees *trees = &form->planner->trees;
    return tree_aliased(trees, sort_key_expression(form->planner, orders, form->to_part),
                        name);
}

// Where a row is in its group's order: a number, or a sort key.
static json_t *place(struct form *form) {
    struct trees *trees = &form->planner->trees;
    const json_t *order = json_array_get(form->orders, 0);
    json_t *tie = tree_column(trees, "p", "t");
    char type[64] = "";
    bool exact = false;
    if (json_array_size(form->orders) == 1)
        type_find(form->planner, "p", form->types,
                  form_in_part(form, json_object_get(order, "expression")), type,
                  sizeof type);
    if (type_ordered_as(type, &exact) == NULL || !exact) {
        json_t *orders = tree_own(trees, json_copy(form->orders));
        json_array_append(orders, form_order_by(form, tie));
        return sort_key(form, orders, "o");
    }
    json_t *values[] = {form_in_part(form, json_object_get(order, "expression")), tie};
    struct text text = {0};
    text_printf(&text, "shoal_sort_place(0, 0, %s)", sort_flags(order));
    json_t *call = text.failed ? NULL : tree_expression(trees, text.data);
    trees->failed = trees->failed || text.failed;
    text_free(&text);
    for (size_t i = 0; i < 2; i++)
        json_object_set(json_array_get(json_object_get(call, "arguments"), i),
                        "expression", values[i]);
    return tree_aliased(trees, call, "o");
}

// The rows of a part as they are summed up, and as the windows see them.
static void add_shared(struct form *form) {
    size_t i;
    json_t *key;
    json_array_foreach(form->keys, i, key) {
        form_add_column(form, form->summed, form_in_part(form, key), "k", i);
        form_add_column(form, form->local, form_in_part(form, key), "k", i);
    }
    if (form->dense) json_array_append(form->summed, sort_key(form, form->orders, "d"));
    if (form->placed) json_array_append(form->summed, place(form));
}

static bool feed(struct planner *planner, uint32_t exchange, json_t *node,
                 const struct fragment *from, enum block_scatter scatter) {
    if (!exchange_feed(planner, exchange, node, from, scatter)) return false;
    struct stage_draft *stage = &planner->stages[planner->stage_count - 1];
    stage->combines = planner->combine_groups;
    stage->rows = 0;
    return true;
}

static json_t *filtered(struct planner *planner, json_t *list, const json_t *block,
                        const struct fragment *from) {
    struct trees *trees = &planner->trees;
    json_t *where = json_object_get(block, "where_clause");
    json_t *node = tree_select(trees, list, from->tree, NULL);
    if (json_is_object(where))
        json_object_set(node, "where_clause",
                        tree_rename_columns(trees, where, from->columns));
    return node;
}

// Keys of some rows; the rows themselves stay. The columns beside are there to be typed.
#define SAMPLED 100000       // of the estimated rows,
#define SAMPLED_ONE_IN 2000  // or such a part of them: enough for each part of theirs

// Such a share of those that the WHERE keeps, which may be none.
static json_t *some_rows(struct trees *trees, double share, json_t *where) {
    json_t *both = tree_expression(trees, SOME_ROWS);
    json_t *chance = json_array_get(json_object_get(both, "children"), 0);
    json_t *literal = json_object_get(json_object_get(chance, "right"), "literal");
    char number[32];
    (void)snprintf(number, sizeof number, "%.12f", share);
    json_object_set_new(literal, "text", json_string(number));
    if (!json_is_object(where)) return chance;
    json_array_set(json_object_get(both, "children"), 1, where);
    return both;
}

static uint32_t feed_sample(struct form *form, const json_t *block, json_t *orders,
                            const struct fragment *from) {
    struct planner *planner = form->planner;
    struct trees *trees = &planner->trees;
    json_t *list = tree_own(trees, json_array());
    size_t i;
    json_t *order;
    json_array_append(list, sort_key_expression(planner, orders, from->columns));
    json_array_foreach(orders, i, order) {
        json_t *key = json_object_get(order, "expression");
        form_add_column(form, list, tree_rename_columns(trees, key, from->columns), "c",
                        i);
    }
    json_t *node = filtered(planner, list, block, from);
    double share = (double)SAMPLED / (double)from->rows;
    if (share < 1.0 / SAMPLED_ONE_IN) share = 1.0 / SAMPLED_ONE_IN;
    share = share * SAMPLED_SLICE < 1 ? share * SAMPLED_SLICE : 1;
    if (from->rows > SAMPLED)
        json_object_set(node, "where_clause",
                        some_rows(trees, share, json_object_get(node, "where_clause")));
    uint32_t exchange = exchange_new(planner, EXCHANGE_SAMPLE, orders);
    feed(planner, exchange, node, from, BLOCK_SAMPLE);
    return exchange;
}

static uint32_t feed_parts(struct form *form, const json_t *block, json_t *orders,
                           const struct fragment *from, json_t *columns,
                           uint32_t sampled) {
    struct planner *planner = form->planner;
    struct trees *trees = &planner->trees;
    json_t *list = tree_own(trees, json_array());
    json_array_append(list, sort_key_expression(planner, orders, from->columns));
    form->to_part = exchange_columns(planner, from, columns, "p", list);
    if (form->ties)
        json_array_append(list,
                          tree_aliased(trees, tree_expression(trees, TIE_BREAK), "t"));
    uint32_t exchange = exchange_new(planner, EXCHANGE_PARTS, orders);
    planner->exchanges[exchange].spread = !form->peers;
    planner->exchanges[exchange].group_keys = (uint32_t)json_array_size(form->keys);
    if (feed(planner, exchange, filtered(planner, list, block, from), from, BLOCK_RANGE))
        exchange_bounds(planner, sampled);
    return exchange;
}

// "Window partial functions=[sum, lag]", each once.
static void name_functions(json_t *node, json_t *windows) {
    struct text words = {0};
    size_t i, before;
    json_t *window;
    text_append(&words, "Window partial functions=[");
    json_array_foreach(windows, i, window) {
        const char *name = tree_text(window, "function_name");
        for (before = 0; before < i; before++) {
            if (tree_is(json_array_get(windows, before), "function_name", name)) break;
        }
        if (before == i) text_printf(&words, "%s%s", i ? ", " : "", name);
    }
    text_append(&words, "]");
    if (!words.failed) json_object_set_new(node, STANDS_FOR, json_string(words.data));
    text_free(&words);
}

static uint32_t feed_summary(struct form *form, const struct fragment *from,
                             json_t *windows, uint32_t parts) {
    struct planner *planner = form->planner;
    struct trees *trees = &planner->trees;
    json_t *rows = tree_select(trees, form->summed,
                               exchange_read(planner, parts, LEAF_PART, "p"), NULL);
    json_t *node = tree_select_template(trees, form->summary);
    tree_put_table(node, "shoal_rows", tree_derived(trees, rows, "i"));
    if (form->placed)
        tree_put_table(node, "shoal_number",
                       exchange_read(planner, parts, LEAF_NUMBER, "q"));
    json_t *groups = json_object_get(
        json_object_get(json_object_get(node, "from_table"), "subquery"), "node");
    name_functions(groups, windows);
    uint32_t exchange = exchange_new(planner, EXCHANGE_COMBINE, NULL);
    feed(planner, exchange, node, from, BLOCK_WHOLE);
    return exchange;
}

// The user's columns as the part's rows have them: c0 of p is c0 of x.
static void pass_columns(struct form *form) {
    struct trees *trees = &form->planner->trees;
    const char *key;
    json_t *place;
    form->to_rows = tree_own(trees, json_object());
    json_object_foreach(form->to_part, key, place) {
        const char *name = json_string_value(json_array_get(place, 1));
        json_array_append(form->local,
                          tree_aliased(trees, tree_column(trees, "p", name), name));
        json_object_set_new(form->to_rows, key, json_pack("[s, s]", "x", name));
    }
}

// The block's select list and QUALIFY over the rows with the windows, each of which is
// what values, [windows], has.
static void put_values(struct form *form, json_t *node, const json_t *block,
                       json_t *windows, const json_t *values) {
    struct trees *trees = &form->planner->trees;
    json_t *map = tree_own(trees, json_object());
    json_t *kept = json_object_get(block, "qualify");
    size_t i;
    json_t *window;
    json_array_foreach(windows, i, window) {
        json_t *moved = tree_rename_columns(trees, window, form->to_rows);
        json_object_set(map, tree_key(trees, moved), json_array_get(values, i));
    }
    json_t *list =
        tree_rename_columns(trees, json_object_get(block, "select_list"), form->to_rows);
    json_object_set(node, "select_list", tree_replace(trees, list, map));
    if (json_is_object(kept)) {
        json_t *moved = tree_rename_columns(trees, kept, form->to_rows);
        json_object_set(node, "where_clause", tree_replace(trees, moved, map));
    }
}

// The keys of the part's rows, k0 and so on.
static json_t *read_keys(struct form *form, uint32_t parts) {
    json_t *list = tree_own(&form->planner->trees, json_array());
    size_t i;
    json_t *key;
    json_array_foreach(form->keys, i, key)
        form_add_column(form, list, form_in_part(form, key), "k", i);
    json_t *rows = tree_select(&form->planner->trees, list,
                               exchange_read(form->planner, parts, LEAF_PART, "p"), NULL);
    return tree_derived(&form->planner->trees, rows, "i");
}

static void put_side(struct form *form, json_t *node, const char *table,
                     enum leaf_kind kind, uint32_t summary) {
    tree_put_table(node, table, exchange_read(form->planner, summary, kind, "s"));
}

// A SELECT of the windows' values and the user's columns, from the part's rows with the
// windows over them alone and what the other parts bring.
static json_t *finish_rows(struct form *form, json_t *local, bool one, uint32_t parts,
                           uint32_t summary) {
    struct trees *trees = &form->planner->trees;
    json_t *node = tree_select_template(trees, one ? form->final_of_one : form->final);
    tree_put_table(node, "shoal_rows", tree_derived(trees, local, "x"));
    if (form->adds_before) put_side(form, node, "shoal_before", LEAF_BEFORE, summary);
    if (form->adds_after) put_side(form, node, "shoal_after", LEAF_AFTER, summary);
    if (one && form->adds_before)
        tree_put_table(node, "shoal_key_b", read_keys(form, parts));
    if (one && form->adds_after)
        tree_put_table(node, "shoal_key_a", read_keys(form, parts));
    json_t *list = json_object_get(node, "select_list");
    const char *key;
    json_t *place;
    json_object_foreach(form->to_rows, key, place) {
        const char *name = json_string_value(json_array_get(place, 1));
        json_array_append(list, tree_aliased(trees, tree_column(trees, "x", name), name));
    }
    return node;
}

// f0, f1 and so on for the windows' values, then the user's columns.
static json_t *finished_names(struct form *form, const json_t *windows) {
    json_t *names = tree_own(&form->planner->trees, json_array());
    const char *key;
    json_t *place;
    for (size_t i = 0; i < json_array_size(windows); i++)
        json_array_append_new(names, json_sprintf("f%zu", i));
    json_object_foreach(form->to_rows, key, place)
        json_array_append(names, json_array_get(place, 1));
    return names;
}

// The block over the finished rows.
static json_t *finished_node(struct form *form, const json_t *block, json_t *windows,
                             json_t *rows) {
    struct trees *trees = &form->planner->trees;
    json_t *values = tree_own(trees, json_array());
    for (size_t i = 0; i < json_array_size(windows); i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "f%zu", i);
        json_array_append(values, tree_column(trees, "x", name));
    }
    json_t *node =
        tree_select(trees, NULL,
                    tree_subquery(trees, rows, "x", finished_names(form, windows)), NULL);
    put_values(form, node, block, windows, values);
    return node;
}

// Windows are streams where they can be.
static json_t *final_node(struct form *form, const json_t *block, json_t *windows,
                          uint32_t parts, uint32_t summary) {
    struct planner *planner = form->planner;
    json_t *read = exchange_read(planner, parts, LEAF_PART, "p");
    form->leaf = planner->leaf_count - 1;
    json_t *rows = window_stream(form, true, read, NULL);
    if (rows == NULL) rows = tree_select(&planner->trees, form->local, read, NULL);
    rows = finish_rows(form, rows, false, parts, summary);
    return finished_node(form, block, windows, rows);
}

// The same of a part that has one group: its rows are sorted faster, and have one row to
// add. NULL: they are no streams, or parts are not summed up, which says of how many
// groups they are.
static json_t *final_of_one(struct form *form, const json_t *block, json_t *windows,
                            uint32_t parts, uint32_t summary) {
    if (!form->adds_before && !form->adds_after) return NULL;
    json_t *read = exchange_read(form->planner, parts, LEAF_PART, "p");
    json_t *rows = window_stream(form, false, read, NULL);
    if (rows == NULL) return NULL;
    rows = finish_rows(form, rows, true, parts, summary);
    return finished_node(form, block, windows, rows);
}

// The block, not in parts, with windows that are streamed; NULL: they can't be, or it has
// no running aggregates: other windows take DuckDB as long.
static json_t *streamed_node(const struct form *form, const json_t *block,
                             json_t *windows, const struct fragment *from,
                             json_t *columns) {
    struct planner *planner = form->planner;
    struct trees *trees = &planner->trees;
    struct form alone = *form;
    json_t *list = tree_own(trees, json_array());
    json_t *values = tree_own(trees, json_array());
    bool running = false;
    size_t i;
    json_t *window;
    alone.ties = false;
    alone.local = tree_own(trees, json_array());
    pass_columns(&alone);
    json_array_foreach(windows, i, window) {
        char name[32];
        (void)snprintf(name, sizeof name, "l%zu", i);
        form_add_column(&alone, alone.local, form_in_part(&alone, window), "l", i);
        json_array_append(values, tree_column(trees, "x", name));
    }
    (void)exchange_columns(planner, from, columns, "p", list);
    json_t *item = tree_derived(trees, filtered(planner, list, block, from), "p");
    json_t *stream = window_stream(&alone, true, item, &running);
    if (stream == NULL || !running) return NULL;
    json_t *node = tree_select(trees, NULL, tree_derived(trees, stream, "x"), NULL);
    put_values(&alone, node, block, windows, values);
    return node;
}

static void type_columns(struct form *form) {
    const char *key;
    json_t *place;
    form->types = tree_own(&form->planner->trees, json_object());
    json_object_foreach(form->to_part, key, place) {
        const json_t *origin = json_object_get(form->planner->origins, key);
        if (origin != NULL)
            json_object_set(form->types, json_string_value(json_array_get(place, 1)),
                            json_array_get(origin, 2));
    }
}

// What is parsed for the form, in one call.
static bool prepare(struct form *form) {
    form->summary = summary_sql(form);
    form->final = final_sql(form, false);
    form->final_of_one = final_sql(form, true);
    if (form->summary == NULL || form->final == NULL || form->final_of_one == NULL)
        return false;
    const char *selects[] = {form->summary,
                             form->final,
                             form->final_of_one,
                             "SELECT create_sort_key(1)",
                             "SELECT CAST('' AS VARCHAR)",
                             "SELECT 'ASC NULLS LAST'",
                             "SELECT 'DESC NULLS LAST'",
                             "SELECT " TIE_BREAK,
                             "SELECT " SOME_ROWS};
    tree_prepare(&form->planner->trees, selects, sizeof selects / sizeof *selects);
    return !form->planner->trees.failed;
}

static void form_free(struct form *form) {
    free(form->summary);
    free(form->final);
    free(form->final_of_one);
    text_free(&form->partial);
    text_free(&form->before);
    text_free(&form->after);
    text_free(&form->finals);
}

static void keep_whole(json_t *block, const char *name, const char *why) {
    struct text reason = {0};
    text_printf(&reason, "%s() %s", name, why);
    if (!reason.failed)
        json_object_set_new(block, WHOLE_GROUPS, json_string(reason.data));
    text_free(&reason);
}

void window_combines(struct planner *planner, json_t *node, const struct fragment *from,
                     json_t *windows, json_t *columns, struct fragment *block) {
    struct trees *trees = &planner->trees;
    json_t *whole = json_object_get(json_object_get(block->tree, "subquery"), "node");
    struct form form = {.planner = planner,
                        .local = tree_own(trees, json_array()),
                        .summed = tree_own(trees, json_array())};
    const char *name = "";
    if (from->dist != DIST_HASH || from->cut != NO_CUT || from->once ||
        planner->collated || planner->options->no_parts ||
        (double)from->rows / from->kept < (double)planner->options->parts_rows)
        return;
    const char *why = form_find_whole(&form, windows, &name);
    // The calls name columns of a part's rows, which are known only then.
    form.to_part =
        exchange_columns(planner, from, columns, "p", tree_own(trees, json_array()));
    type_columns(&form);
    if (why == NULL && !form_add_calls(&form, windows, &name))
        why = "has an argument that is no small constant";
    if (why != NULL) keep_whole(whole, name, why);
    if (why != NULL || !prepare(&form)) {
        planner->trees.failed = planner->trees.failed || why == NULL;
        form_free(&form);
        return;
    }
    json_t *orders = tree_own(trees, json_array());
    size_t i;
    json_t *key;
    json_array_foreach(form.keys, i, key)
        json_array_append(orders, form_order_by(&form, key));
    json_array_extend(orders, form.orders);
    form.ties = form.ties || form.placed;
    planner->combine_groups++;
    uint32_t sampled = feed_sample(&form, node, orders, from);
    uint32_t parts = feed_parts(&form, node, orders, from, columns, sampled);
    add_shared(&form);
    uint32_t summary = feed_summary(&form, from, windows, parts);
    pass_columns(&form);
    json_t *final = final_node(&form, node, windows, parts, summary);
    json_t *one = final_of_one(&form, node, windows, parts, summary);
    json_t *combined =
        json_pack("{s:O, s:I, s:I, s:b}", "node", final, "leaf", (json_int_t)form.leaf,
                  "group", (json_int_t)planner->combine_groups, "parts", 1);
    if (one != NULL) json_object_set(combined, "one", one);
    json_t *streamed = streamed_node(&form, node, windows, from, columns);
    if (streamed != NULL) json_object_set(combined, "streamed", streamed);
    json_object_set_new(whole, COMBINED_FORM, combined);
    form_free(&form);
}
