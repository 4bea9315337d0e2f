// Aggregates. Where the rows of a group are already together, the block runs as it is.
// Else, if every aggregate can be split by rewriting, a partial aggregate runs before the
// exchange and a final one after it; if one can't, the rows themselves are exchanged on
// the group keys and aggregated once.
//
// The split is by a whitelist of name and arity, without DISTINCT and ORDER BY: by name
// alone max(x, 2) would give wrong rows. An ungrouped partial over no rows must send
// nothing (HAVING count(*) > 0), or first() would pick its NULL; counts are coalesced to
// 0 at the end. GROUPING SETS: the partial also sends GROUPING(all keys), and the final
// groups by it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

// Aggregates that meet as states: DuckDB exports a partial state as a value of this type,
// combines such values and finalises them. All take DOUBLEs (canonical SQL has the casts)
// but approx_count_distinct, whose state is the same for every type.

#define VARIANCE "STRUCT(count UBIGINT, mean DOUBLE, dsquared DOUBLE)"
#define COVARIANCE "STRUCT(count UBIGINT, meanx DOUBLE, meany DOUBLE, co_moment DOUBLE)"
#define CORRELATION \
    "STRUCT(cov_pop " COVARIANCE ", dev_pop_x " VARIANCE ", dev_pop_y " VARIANCE ")"
#define SLOPE "STRUCT(cov_pop " COVARIANCE ", var_pop " VARIANCE ")"
#define AVERAGE "STRUCT(sum DOUBLE, count UBIGINT)"

// The one table that says how each aggregate is split: by name and number of arguments.
// A partial result column p0 (p1) becomes the final value by `final`, or, where there is
// a state type, by combining states. What is not here, or has DISTINCT or ORDER BY, is
// aggregated whole, where its group's rows are brought together.
static const struct split_rule {
    const char *name;
    int arity;
    const char *partial[2];  // function names
    const char *final;
    const char *state;
} split_rules[] = {
    {"sum", 1, {"sum"}, "sum(p.p0)", NULL},
    {"count", 1, {"count"}, "CAST(coalesce(sum(p.p0), 0) AS BIGINT)", NULL},
    {"count", 0, {"count"}, "CAST(coalesce(sum(p.p0), 0) AS BIGINT)", NULL},
    {"count_star", 0, {"count_star"}, "CAST(coalesce(sum(p.p0), 0) AS BIGINT)", NULL},
    {"min", 1, {"min"}, "min(p.p0)", NULL},
    {"max", 1, {"max"}, "max(p.p0)", NULL},
    {"bool_and", 1, {"bool_and"}, "bool_and(p.p0)", NULL},
    {"bool_or", 1, {"bool_or"}, "bool_or(p.p0)", NULL},
    {"bit_and", 1, {"bit_and"}, "bit_and(p.p0)", NULL},
    {"bit_or", 1, {"bit_or"}, "bit_or(p.p0)", NULL},
    {"bit_xor", 1, {"bit_xor"}, "bit_xor(p.p0)", NULL},
    {"first", 1, {"first"}, "first(p.p0)", NULL},
    {"any_value", 1, {"any_value"}, "any_value(p.p0)", NULL},
#define AVG "(CAST(sum(p.p0) AS DOUBLE) / CAST(nullif(sum(p.p1), 0) AS DOUBLE))"
    {"avg", 1, {"sum", "count"}, AVG, NULL},
    {"mean", 1, {"sum", "count"}, AVG, NULL},
    {"stddev", 1, {"stddev"}, NULL, VARIANCE},
    {"stddev_pop", 1, {"stddev_pop"}, NULL, VARIANCE},
    {"stddev_samp", 1, {"stddev_samp"}, NULL, VARIANCE},
    {"variance", 1, {"variance"}, NULL, VARIANCE},
    {"var_pop", 1, {"var_pop"}, NULL, VARIANCE},
    {"var_samp", 1, {"var_samp"}, NULL, VARIANCE},
    {"sem", 1, {"sem"}, NULL, VARIANCE},
    {"covar_pop", 2, {"covar_pop"}, NULL, COVARIANCE},
    {"covar_samp", 2, {"covar_samp"}, NULL, COVARIANCE},
    {"corr", 2, {"corr"}, NULL, CORRELATION},
    {"regr_avgx", 2, {"regr_avgx"}, NULL, AVERAGE},
    {"regr_avgy", 2, {"regr_avgy"}, NULL, AVERAGE},
    {"regr_slope", 2, {"regr_slope"}, NULL, SLOPE},
    {"approx_count_distinct",
     1,
     {"approx_count_distinct"},
     NULL,
     "STRUCT(\"precision\" UTINYINT, registers UTINYINT[])"},
};

// Why the others move rows instead.
static const struct whole_rule {
    const char *name, *why;
} whole_rules[] = {
    {"list", "its result is all of its values"},
    {"array_agg", "its result is all of its values"},
    {"string_agg", "its result is all of its values"},
    {"group_concat", "its result is all of its values"},
    {"listagg", "its result is all of its values"},
    {"median", "its state is all of its values"},
    {"mad", "its state is all of its values"},
    {"quantile", "its state is all of its values"},
    {"quantile_cont", "its state is all of its values"},
    {"quantile_disc", "its state is all of its values"},
    {"mode", "its state is all of its values"},
    {"histogram", "DuckDB exports no state of it"},
    {"histogram_exact", "DuckDB exports no state of it"},
    {"entropy", "DuckDB exports no state of it"},
    {"bitstring_agg", "DuckDB exports no state of it"},
    {"reservoir_quantile", "DuckDB exports no state of it"},
    {"approx_quantile", "digests that meet in parts give another estimate"},
    {"approx_top_k", "sketches that meet in parts give another estimate"},
    {"arg_min_null", "first and last by an order compare rows, not values"},
    {"arg_max_null", "first and last by an order compare rows, not values"},
};

static const char *why_whole(const json_t *aggregate) {
    const char *name = tree_text(aggregate, "function_name");
    json_t *orders = json_object_get(json_object_get(aggregate, "order_bys"), "orders");
    if (json_is_true(json_object_get(aggregate, "distinct")))
        return "DISTINCT needs all values of a group";
    if (json_array_size(orders) > 0) return "ORDER BY inside needs all values of a group";
    for (size_t i = 0; i < sizeof whole_rules / sizeof *whole_rules; i++) {
        if (strcmp(whole_rules[i].name, name) == 0) return whole_rules[i].why;
    }
    return "it has no partial form here";
}

static const struct split_rule *find_rule(const json_t *aggregate) {
    const char *name = tree_text(aggregate, "function_name");
    size_t arity = json_array_size(json_object_get(aggregate, "arguments"));
    if (json_is_true(json_object_get(aggregate, "distinct"))) return NULL;
    if (json_is_true(json_object_get(aggregate, "export_state"))) return NULL;
    json_t *orders = json_object_get(json_object_get(aggregate, "order_bys"), "orders");
    if (json_array_size(orders) > 0) return NULL;
    for (size_t i = 0; i < sizeof split_rules / sizeof *split_rules; i++) {
        const struct split_rule *rule = &split_rules[i];
        if (strcmp(rule->name, name) == 0 && (size_t)rule->arity == arity) return rule;
    }
    return NULL;
}

// What a rule's final value is, as SQL over p.p0 and p.p1.
static json_t *final_expression(struct trees *trees, const struct split_rule *rule) {
    if (rule->state == NULL) return tree_expression(trees, rule->final);
    struct text sql = {0};
    text_append(&sql, "finalize(combine_aggr(to_aggregate_state(p.p0, ");
    text_append_literal(&sql, rule->name);
    text_printf(&sql, ", [%s%s])))", "get_type(CAST(NULL AS DOUBLE))",
                rule->arity == 2 ? ", get_type(CAST(NULL AS DOUBLE))" : "");
    json_t *final = sql.failed ? NULL : tree_expression(trees, sql.data);
    text_free(&sql);
    return final;
}

// The aggregate call as one of the rule's partial results.
static json_t *partial_call(struct trees *trees, const struct split_rule *rule, int part,
                            const json_t *call) {
    json_t *partial = tree_copy(trees, call);
    json_object_set_new(partial, "function_name", json_string(rule->partial[part]));
    json_t *path = json_object_get(json_object_get(partial, "qualified_name"), "path");
    json_array_set_new(path, json_array_size(path) - 1, json_string(rule->partial[part]));
    if (rule->state == NULL) return partial;
    json_object_set_new(partial, "export_state", json_true());
    struct text sql = {0};
    text_printf(&sql, "CAST(x AS %s)", rule->state);
    json_t *cast = sql.failed ? NULL : tree_expression(trees, sql.data);
    text_free(&sql);
    json_object_set(cast, "child", partial);
    return cast;
}

// A block of aggregates taken in two steps.
struct split {
    struct planner *planner;
    const char *alias;   // of the partial results in the final block
    json_t *replaced;    // key of a call or group expression -> what the exchange brings
    json_t *group_keys;  // array of those keys, in order
    json_t *list;        // what the partial block selects: g0, ..., a0, ...
    json_t *local_groups;  // its keys
    json_t *final_groups;  // those of the final block
    bool several_sets;
};

// GROUPING(a, b) in terms of the partial's GROUPING over all keys.
static json_t *grouping_bits(struct split *split, const json_t *call) {
    struct text sql = {0};
    json_t *children = json_object_get(call, "children");
    size_t all = json_array_size(split->group_keys);
    size_t count = json_array_size(children);
    text_append(&sql, "CAST(0");
    for (size_t i = 0; i < count; i++) {
        const char *key = tree_key(&split->planner->trees, json_array_get(children, i));
        for (size_t k = 0; k < all; k++) {
            if (strcmp(key, json_string_value(json_array_get(split->group_keys, k))) != 0)
                continue;
            text_printf(&sql, " + ((%s.gid >> %zu) & 1) * %llu", split->alias,
                        all - 1 - k, 1ULL << (count - 1 - i));
        }
    }
    text_append(&sql, " AS BIGINT)");
    json_t *bits = sql.failed ? NULL : tree_expression(&split->planner->trees, sql.data);
    text_free(&sql);
    return bits;
}

// Adds a GROUPING() to what is replaced. False, so that the search goes on to them all.
static bool replace_grouping(void *ctx, const json_t *object) {
    struct split *split = ctx;
    if (tree_is(object, "type", "GROUPING_FUNCTION")) {
        json_object_set(split->replaced, tree_key(&split->planner->trees, object),
                        grouping_bits(split, object));
    }
    return false;
}

static struct fragment *whole_groups(struct planner *planner, json_t *node,
                                     struct fragment *from, const char *alias,
                                     json_t *columns, const json_t *call) {
    struct trees *trees = &planner->trees;
    json_t *groups = json_object_get(node, "group_expressions");
    bool keyed = json_array_size(groups) > 0 &&
                 json_array_size(json_object_get(node, "group_sets")) <= 1;
    json_t *used = tree_own(
        trees, json_pack("[O, O]", json_object_get(node, "select_list"), groups));
    if (json_is_object(json_object_get(node, "having"))) {
        json_array_append(used, json_object_get(node, "having"));
    }
    struct before_exchange before = {.where = json_object_get(node, "where_clause")};
    struct fragment *moved = exchange_place(
        planner, from, columns_mentioned(planner, used, from),
        keyed ? EXCHANGE_HASH : EXCHANGE_GATHER, keyed ? groups : NULL, &before);
    if (moved == NULL) return NULL;
    const char *moved_how = keyed ? "exchanged by the group keys" : "gathered";
    if (call != NULL) {
        planner_note(planner, "%s(): %s, so rows are %s",
                     tree_text(call, "function_name"), why_whole(call), moved_how);
    } else {
        planner_note(planner, "a grouping set is there twice, so rows are %s", moved_how);
    }
    json_t *base = tree_own(trees, json_copy(node));
    json_object_set_new(base, "where_clause", json_null());
    if (call != NULL) {
        json_object_set_new(
            base, WHOLE_GROUPS,
            json_sprintf("%s() takes whole groups: %s", tree_text(call, "function_name"),
                         why_whole(call)));
    }
    return wrap_block(planner, base, alias, columns, moved, moved->rows / 3 + 1);
}

static bool twice(json_t *sets) {
    size_t count = json_array_size(sets);
    for (size_t a = 0; a < count; a++) {
        for (size_t b = 0; b < a; b++) {
            if (json_equal(json_array_get(sets, a), json_array_get(sets, b))) return true;
        }
    }
    return false;
}

// The first aggregate that can't be split; NULL: all can.
static const json_t *find_whole(json_t *aggregates) {
    size_t i;
    json_t *call;
    json_array_foreach(aggregates, i, call) {
        if (find_rule(call) == NULL) return call;
    }
    return NULL;
}

static void split_groups(struct split *split, json_t *groups,
                         const struct fragment *from) {
    struct trees *trees = &split->planner->trees;
    size_t i;
    json_t *group;
    json_array_foreach(groups, i, group) {
        char name[24];
        (void)snprintf(name, sizeof name, "g%zu", i);
        const char *key = tree_key(trees, group);
        json_t *local = tree_rename_columns(trees, group, from->columns);
        json_array_append(split->local_groups, tree_aliased(trees, local, ""));
        json_array_append(split->list, tree_aliased(trees, local, name));
        json_t *column = tree_column(trees, split->alias, name);
        json_array_append(split->final_groups, column);
        json_object_set(split->replaced, key, column);
        planner_named(split->planner, split->alias, name, group);
        json_array_append_new(split->group_keys, json_string(key));
    }
}

static void split_calls(struct split *split, json_t *aggregates,
                        const struct fragment *from) {
    struct trees *trees = &split->planner->trees;
    size_t number = 0;
    size_t i;
    json_t *call;
    json_array_foreach(aggregates, i, call) {
        const char *key = tree_key(trees, call);
        if (json_object_get(split->replaced, key) != NULL) continue;
        const struct split_rule *rule = find_rule(call);
        json_t *names = tree_own(trees, json_object());
        for (int part = 0; part < 2 && rule->partial[part] != NULL; part++) {
            char name[24];
            char slot[24];
            (void)snprintf(name, sizeof name, "a%zu", number++);
            (void)snprintf(slot, sizeof slot, "p\x01p%d", part);
            json_t *renamed = tree_rename_columns(trees, call, from->columns);
            json_t *partial =
                tree_aliased(trees, partial_call(trees, rule, part, renamed), name);
            json_array_append(split->list, partial);
            json_object_set_new(names, slot, json_pack("[s, s]", split->alias, name));
        }
        json_object_set(split->replaced, key,
                        tree_rename_columns(trees, final_expression(trees, rule), names));
    }
}

// Fills *split; the partial block comes back.
static json_t *split_block(struct planner *planner, json_t *node,
                           const struct fragment *from, json_t *aggregates,
                           struct split *split) {
    struct trees *trees = &planner->trees;
    json_t *sets = json_object_get(node, "group_sets");
    json_t *select = json_object_get(node, "select_list");
    json_t *having = json_object_get(node, "having");
    *split = (struct split){.planner = planner,
                            .alias = planner_name(planner, "x"),
                            .replaced = tree_own(trees, json_object()),
                            .group_keys = tree_own(trees, json_array()),
                            .list = tree_own(trees, json_array()),
                            .local_groups = tree_own(trees, json_array()),
                            .final_groups = tree_own(trees, json_array()),
                            .several_sets = json_array_size(sets) > 1};
    split_groups(split, json_object_get(node, "group_expressions"), from);
    split_calls(split, aggregates, from);
    // GROUPING() of a single set may be asked for too: it is the same for all rows.
    (void)tree_any(select, replace_grouping, split);
    (void)tree_any(having, replace_grouping, split);
    bool asked = tree_has(select, "type", "GROUPING_FUNCTION") ||
                 tree_has(having, "type", "GROUPING_FUNCTION");
    if (split->several_sets || asked) {
        json_t *grouping = tree_expression(trees, "grouping(a)");
        json_object_set(grouping, "children", split->local_groups);
        json_array_append(split->list, tree_aliased(trees, grouping, "gid"));
        json_array_append(split->final_groups, tree_column(trees, split->alias, "gid"));
    }
    json_t *partial = tree_select(trees, split->list, from->tree, NULL);
    json_t *where = json_object_get(node, "where_clause");
    if (json_is_object(where)) {
        json_object_set(partial, "where_clause",
                        tree_rename_columns(trees, where, from->columns));
    }
    json_object_set(partial, "group_expressions", split->local_groups);
    json_object_set(partial, "group_sets", sets);
    json_object_set_new(partial, AGGREGATE_STEP, json_string("partial"));
    return partial;
}

// The block that makes the node's rows of partial results, which read brings.
static json_t *final_block(const struct split *split, json_t *node, json_t *read) {
    struct trees *trees = &split->planner->trees;
    json_t *select = json_object_get(node, "select_list");
    json_t *having = json_object_get(node, "having");
    json_t *final =
        tree_select(trees, tree_replace(trees, select, split->replaced), read, NULL);
    json_object_set(final, "group_expressions", split->final_groups);
    json_object_set_new(final, AGGREGATE_STEP, json_string("final"));
    if (json_array_size(split->group_keys) > 0) {
        json_t *all = json_array();
        for (size_t i = 0; i < json_array_size(split->final_groups); i++)
            json_array_append_new(all, json_integer((json_int_t)i));
        json_object_set_new(final, "group_sets", json_pack("[o]", all));
    } else {
        json_object_set(final, "group_sets", json_object_get(node, "group_sets"));
    }
    if (json_is_object(having))
        json_object_set(final, "having", tree_replace(trees, having, split->replaced));
    return final;
}

// The value that a partial result has for one row; NULL: it can't be written so.
static json_t *value_of_row(struct trees *trees, const char *partial, json_t *call) {
    static const char *const themselves[] = {"sum",       "min",     "max",    "bool_and",
                                             "bool_or",   "bit_and", "bit_or", "bit_xor",
                                             "any_value", "first",   NULL};
    json_t *filter = json_object_get(call, "filter");
    json_t *argument = json_object_get(
        json_array_get(json_object_get(call, "arguments"), 0), "expression");
    bool filtered = json_is_object(filter);
    bool counts = strcmp(partial, "count") == 0 || strcmp(partial, "count_star") == 0;
    json_t *value = argument;
    if (counts && argument != NULL) {
        value = tree_expression(trees, "CASE WHEN (x IS NOT NULL) THEN 1 ELSE 0 END");
        json_t *check = json_array_get(json_object_get(value, "case_checks"), 0);
        json_array_set(json_object_get(json_object_get(check, "when_expr"), "children"),
                       0, argument);
    } else if (counts) {
        value = tree_expression(trees, "1");
    } else if (!text_one_of(partial, themselves) || argument == NULL ||
               (filtered && strcmp(partial, "first") == 0)) {
        return NULL;  // a row that is filtered out would be first
    }
    if (!filtered) return value;
    json_t *kept = tree_expression(trees, counts ? "CASE WHEN (x) THEN 1 ELSE 0 END"
                                                 : "CASE WHEN (x) THEN 1 ELSE NULL END");
    json_t *check = json_array_get(json_object_get(kept, "case_checks"), 0);
    json_object_set(check, "when_expr", filter);
    json_object_set(check, "then_expr", value);
    return kept;
}

// The partial block with each row as a group of one; NULL where that can't be.
static json_t *plain_block(const struct split *split, json_t *partial, json_t *aggregates,
                           const struct fragment *from) {
    struct trees *trees = &split->planner->trees;
    json_t *list = tree_own(trees, json_array());
    size_t groups = json_array_size(split->local_groups);
    size_t at = groups;
    for (size_t i = 0; i < groups; i++)
        json_array_append(list, json_array_get(split->list, i));
    json_t *seen = tree_own(trees, json_object());
    size_t i;
    json_t *call;
    json_array_foreach(aggregates, i, call) {
        const char *key = tree_key(trees, call);
        if (json_object_get(seen, key) != NULL) continue;
        json_object_set_new(seen, key, json_true());
        const struct split_rule *rule = find_rule(call);
        if (rule->state != NULL) return NULL;
        json_t *renamed = tree_rename_columns(trees, call, from->columns);
        for (int part = 0; part < 2 && rule->partial[part] != NULL; part++) {
            json_t *value = value_of_row(trees, rule->partial[part], renamed);
            if (value == NULL) return NULL;
            const char *name = tree_text(json_array_get(split->list, at++), "alias");
            json_array_append(list, tree_aliased(trees, value, name));
        }
    }
    if (at != json_array_size(split->list)) return NULL;  // GROUPING()
    json_t *plain = tree_select(trees, list, from->tree, NULL);
    json_object_set(plain, "where_clause", json_object_get(partial, "where_clause"));
    return plain;
}

// How many rows a group is of. Beside an aggregate of a join's other side DuckDB doesn't
// group below the join, and a key of an inner join is never NULL.
static json_t *count_rows(struct trees *trees, const struct fragment *from) {
    if (from->partner == NULL) return tree_expression(trees, "count(*)");
    json_t *call = tree_expression(trees, "count(x)");
    json_t *argument = json_array_get(json_object_get(call, "arguments"), 0);
    json_object_set(argument, "expression", from->partner);
    return call;
}

// The block with one column more: how many rows each of its rows is of.
static json_t *with_count(struct trees *trees, json_t *block, json_t *count) {
    json_t *counted = tree_own(trees, json_copy(block));
    json_t *list = tree_own(trees, json_copy(json_object_get(block, "select_list")));
    json_array_append(list, tree_aliased(trees, count, ROWS_COUNTED));
    json_object_set(counted, "select_list", list);
    return counted;
}

// Of a list those with these numbers, or all.
static json_t *picked(struct trees *trees, json_t *list, json_t *numbers) {
    if (numbers == NULL) return list;
    json_t *some = tree_own(trees, json_array());
    size_t i;
    json_t *number;
    json_array_foreach(numbers, i, number)
        json_array_append(some, json_array_get(list, (size_t)json_integer_value(number)));
    return some;
}

// The partial block's rows behind the hash of their group keys, which are columns of it;
// of those with these numbers, if there is a list.
static json_t *with_hash(const struct split *split, json_t *partial, json_t *numbers) {
    struct planner *planner = split->planner;
    struct trees *trees = &planner->trees;
    const char *inner = planner_name(planner, "p");
    json_t *names = tree_own(trees, json_array());
    json_t *outer = tree_own(trees, json_array());
    json_t *keys = tree_own(trees, json_array());
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(partial, "select_list"), i, item) {
        const char *name = tree_text(item, "alias");
        json_array_append_new(names, json_string(name));
        json_t *column = tree_column(trees, inner, name);
        if (name[0] == 'g') json_array_append(keys, column);
        json_array_append(outer, tree_aliased(trees, column, name));
    }
    json_t *none = tree_own(trees, json_object());
    json_array_insert(outer, 0,
                      hash_expression(planner, picked(trees, keys, numbers), none));
    return tree_select(trees, outer, tree_subquery(trees, partial, inner, names), NULL);
}

// Sends partial results, hashed by the group keys with these numbers; returns the
// exchange.
static uint32_t send_groups(const struct split *split, json_t *partial, json_t *plain,
                            json_t *groups, json_t *numbers, const struct fragment *from,
                            uint64_t group_count, bool one_key, bool aggregates) {
    struct planner *planner = split->planner;
    uint32_t exchange =
        exchange_new(planner, EXCHANGE_HASH, picked(&planner->trees, groups, numbers));
    struct fragment sent = *from;
    sent.rows = group_count;
    // What a join makes of the rows that a task reads isn't known beforehand.
    bool counts = plain != NULL && !counts_rows(planner, from);
    if (counts) {
        struct trees *trees = &planner->trees;
        partial = with_count(trees, partial, count_rows(trees, from));
        plain = with_count(trees, plain, tree_expression(trees, "1"));
    }
    if (exchange_feed(planner, exchange, with_hash(split, partial, numbers), &sent,
                      BLOCK_HASH)) {
        struct stage_draft *stage = &planner->stages[planner->stage_count - 1];
        stage->groups = one_key;
        if (plain != NULL) stage->plain = with_hash(split, plain, numbers);
        // A guess at the groups of what is computed is no reason for small tasks.
        bool scan = leaf_index(planner, from->tree) < planner->leaf_count;
        stage->early = plain != NULL && !counts && (scan || one_key);
        stage->counts = counts;
        // Rows without aggregates are narrow, and seldom alike: little is lost by those
        // that are passed on in vain, and a hash table costs ten times as much.
        stage->hedged = counts && group_count >= from->rows / 4 && !aggregates;
    }
    return exchange;
}

// Sends the one row of each task that had any.
static uint32_t send_total(struct planner *planner, json_t *partial,
                           const struct fragment *from) {
    json_object_set(partial, "having",
                    tree_expression(&planner->trees, "(count(*) > 0)"));
    uint32_t exchange = exchange_new(planner, EXCHANGE_GATHER, NULL);
    struct fragment sent = *from;
    sent.rows = 1;
    exchange_feed(planner, exchange, partial, &sent, BLOCK_WHOLE);
    return exchange;
}

#define HEAVY_LEAST 20  // times parts_rows: of fewer rows no partition is heavy

// Tasks that pass rows on, instead of aggregating them in part, send all of a frequent
// key's to one partition.
static void combine_final(struct planner *planner, json_t *final,
                          const struct fragment *from, const struct fragment *received,
                          struct fragment *block) {
    json_t *calls = tree_own(&planner->trees, json_array());
    const struct plan_options *options = planner->options;
    if (options->no_parts ||
        (double)from->rows / from->kept < HEAVY_LEAST * (double)options->parts_rows)
        return;
    tree_aggregates(&planner->trees, json_object_get(final, "select_list"), calls);
    tree_aggregates(&planner->trees, json_object_get(final, "having"), calls);
    aggregate_combines(planner, final, received, calls, block);
}

struct fragment *plan_aggregate(struct planner *planner, json_t *node,
                                struct fragment *from, json_t *aggregates,
                                const char *alias, json_t *columns) {
    json_t *groups = json_object_get(node, "group_expressions");
    const json_t *whole = find_whole(aggregates);
    // The final groups by GROUPING(), which is the same for both of a pair.
    if (whole != NULL || twice(json_object_get(node, "group_sets")))
        return whole_groups(planner, node, from, alias, columns, whole);
    struct split split;
    json_t *partial = split_block(planner, node, from, aggregates, &split);
    bool keyed = json_array_size(groups) > 0;
    double values = 0;
    uint64_t count =
        keyed ? (uint64_t)groups_estimated(planner, groups, from->rows, &values) : 1;
    json_t *plain = keyed && !split.several_sets
                        ? plain_block(&split, partial, aggregates, from)
                        : NULL;
    json_t *numbers = keyed ? regroup_keys(planner, node, from) : NULL;
    uint32_t exchange =
        keyed ? send_groups(&split, partial, plain, groups, numbers, from, count,
                            values >= (double)count, json_array_size(aggregates) > 0)
              : send_total(planner, partial, from);
    struct fragment *received = fragment_new(
        planner,
        exchange_read(planner, exchange, keyed ? LEAF_PARTITION : LEAF_ALL, split.alias),
        keyed ? DIST_HASH : DIST_SINGLE, count);
    if (received == NULL) return NULL;
    received->kept = from->kept;
    json_t *final = final_block(&split, node, received->tree);
    size_t i;
    json_t *group;
    json_array_foreach(picked(&planner->trees, split.final_groups, numbers), i, group) {
        if (!keyed || split.several_sets) break;
        json_array_append_new(received->key_sets,
                              json_pack("{s:b}", tree_key(&planner->trees, group), 1));
    }
    struct fragment *block =
        wrap_block(planner, final, alias, columns, received, received->rows);
    if (plain != NULL && block != NULL)
        combine_final(planner, final, from, received, block);
    return block;
}

void aggregate_combines(struct planner *planner, json_t *node,
                        const struct fragment *from, json_t *aggregates,
                        struct fragment *block) {
    if (from->dist != DIST_HASH || from->cut != NO_CUT || from->once ||
        json_array_size(json_object_get(node, "group_expressions")) == 0 ||
        find_whole(aggregates) != NULL)
        return;
    struct split split;
    json_t *partial = split_block(planner, node, from, aggregates, &split);
    uint32_t exchange = exchange_new(planner, EXCHANGE_COMBINE, NULL);
    if (!exchange_feed(planner, exchange, partial, from, BLOCK_WHOLE)) return;
    planner->stages[planner->stage_count - 1].combines = ++planner->combine_groups;
    planner->stages[planner->stage_count - 1].rows = 0;
    json_t *final = final_block(
        &split, node, exchange_read(planner, exchange, LEAF_COMBINE, split.alias));
    json_object_set_new(final, "cte_map", json_pack("{s:[]}", "map"));
    json_t *whole = json_object_get(json_object_get(block->tree, "subquery"), "node");
    json_object_set_new(whole, COMBINED_FORM,
                        json_pack("{s:O, s:I, s:I, s:b}", "node", final, "leaf",
                                  (json_int_t)planner->leaf_count - 1, "group",
                                  (json_int_t)planner->combine_groups, "parts", 0));
}
