// Exchanges: where rows change hands. exchange_place() ends a fragment with a stage that
// selects the columns still needed (and the hash of the keys, first, when the rows are to
// be partitioned) and gives back a fragment that reads what it wrote. A fragment below an
// exchange is never touched again.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/planner.h"

struct need {
    const json_t *counts;   // in the whole query
    json_t *inside;         // key -> count, in the item
    const json_t *aliases;  // of the fragment
    json_t *set;
};

static void split_key(const char *key, char *alias, size_t size) {
    const char *mark = strchr(key, '\x01');
    size_t length = mark ? (size_t)(mark - key) : 0;
    if (length >= size) length = size - 1;
    memcpy(alias, key, length);
    alias[length] = '\0';
}

#define MARK_KEY "\x01__mark_join_marker"

// One-part references are the marker of a MARK join, which the pseudo-alias "" stands
// for, or parameters of lambdas, which are no columns.
static bool belongs(const json_t *aliases, const char *key) {
    if (key[0] == '\x01' && strcmp(key, MARK_KEY) != 0) return false;
    char alias[64];
    split_key(key, alias, sizeof alias);
    return json_object_get(aliases, alias) != NULL;
}

static void count_inside(void *ctx, const char *key) {
    struct need *need = ctx;
    json_int_t seen = json_integer_value(json_object_get(need->inside, key));
    json_object_set_new(need->inside, key, json_integer(seen + 1));
}

static void add_mentioned(void *ctx, const char *key) {
    struct need *need = ctx;
    if (belongs(need->aliases, key)) json_object_set_new(need->set, key, json_true());
}

json_t *columns_needed(struct planner *planner, const json_t *item,
                       const struct fragment *from) {
    struct need need = {.counts = planner->references,
                        .inside = tree_own(&planner->trees, json_object()),
                        .aliases = from->aliases,
                        .set = tree_own(&planner->trees, json_object())};
    tree_each_column(item, count_inside, &need);
    const char *key;
    json_t *count;
    json_object_foreach((json_t *)need.counts, key, count) {
        if (!belongs(from->aliases, key)) continue;
        json_int_t inside = json_integer_value(json_object_get(need.inside, key));
        if (json_integer_value(count) > inside)
            json_object_set_new(need.set, key, json_true());
    }
    if (json_object_get(from->aliases, "") != NULL) {
        json_object_set_new(need.set, MARK_KEY, json_true());
    }
    return need.set;
}

json_t *columns_mentioned(struct planner *planner, const json_t *expressions,
                          const struct fragment *from) {
    struct need need = {.aliases = from->aliases,
                        .set = tree_own(&planner->trees, json_object())};
    tree_each_column(expressions, add_mentioned, &need);
    return need.set;
}

json_t *hash_expression(struct planner *planner, json_t *keys, const json_t *columns) {
    json_t *hash = tree_expression(&planner->trees, "hash(1)");
    json_t *arguments = json_object_get(hash, "arguments");
    json_t *model = tree_copy(&planner->trees, json_array_get(arguments, 0));
    json_array_clear(arguments);
    size_t i;
    json_t *key;
    json_array_foreach(keys, i, key) {
        json_t *argument = json_deep_copy(model);
        json_t *bare = tree_aliased(&planner->trees, key, "");
        json_object_set(argument, "expression",
                        tree_rename_columns(&planner->trees, bare, columns));
        json_array_append_new(arguments, argument);
    }
    return tree_aliased(&planner->trees, hash, "shoal_hash");
}

char *keys_text(struct planner *planner, json_t *keys) {
    json_t *node = tree_select(&planner->trees, keys, NULL, NULL);
    char *sql = tree_deparse(&planner->trees, node, planner->err);
    if (sql != NULL && strncmp(sql, "SELECT ", 7) == 0)
        memmove(sql, sql + 7, strlen(sql) - 6);
    return sql;
}

uint32_t exchange_new(struct planner *planner, enum exchange_kind kind, json_t *keys) {
    struct exchange_draft *exchanges =
        realloc(planner->exchanges, (planner->exchange_count + 1) * sizeof *exchanges);
    if (exchanges == NULL) {
        planner->trees.failed = true;
        return 0;
    }
    planner->exchanges = exchanges;
    exchanges[planner->exchange_count] = (struct exchange_draft){
        .kind = kind, .keys = keys, .bounds_from = UINT32_MAX, .like = UINT32_MAX};
    return (uint32_t)planner->exchange_count++;
}

bool exchange_feed(struct planner *planner, uint32_t exchange, json_t *node,
                   const struct fragment *from, enum block_scatter scatter) {
    struct stage_draft *stages =
        realloc(planner->stages, (planner->stage_count + 1) * sizeof *stages);
    if (stages == NULL) {
        planner->trees.failed = true;
        return false;
    }
    planner->stages = stages;
    stages[planner->stage_count++] = (struct stage_draft){.node = node,
                                                          .exchange = exchange,
                                                          .dist = from->dist,
                                                          .scatter = scatter,
                                                          .rows = from->rows};
    return true;
}

void leaf_name(const struct planner *planner, size_t index, char *name) {
    (void)snprintf(name, LEAF_NAME_SIZE, "__leaf_%u_%zu__", planner->salt, index);
}

size_t leaf_index(const struct planner *planner, const json_t *item) {
    unsigned salt;
    size_t leaf;
    int end = 0;
    const char *name = tree_text(item, "table_name");
    if (sscanf(name, "__leaf_%u_%zu__%n", &salt, &leaf, &end) != 2 || end == 0 ||
        name[end] || salt != planner->salt) {
        return SIZE_MAX;
    }
    return leaf;
}

json_t *exchange_read(struct planner *planner, uint32_t exchange, enum leaf_kind kind,
                      const char *alias) {
    struct leaf_draft *leaves =
        realloc(planner->leaves, (planner->leaf_count + 1) * sizeof *leaves);
    if (leaves == NULL) {
        planner->trees.failed = true;
        return NULL;
    }
    planner->leaves = leaves;
    leaves[planner->leaf_count] =
        (struct leaf_draft){.kind = kind, .exchange = exchange, .cut = NO_CUT};
    char name[LEAF_NAME_SIZE];
    leaf_name(planner, planner->leaf_count++, name);
    return tree_table(&planner->trees, name, alias);
}

void exchange_bounds(struct planner *planner, uint32_t sampled) {
    struct stage_draft *stage = &planner->stages[planner->stage_count - 1];
    planner->exchanges[stage->exchange].bounds_from = sampled;
    if (exchange_read(planner, sampled, LEAF_SAMPLED, "p") == NULL) return;
    stage->sampled_leaf = planner->leaf_count - 1;
    stage->samples = true;
}

// The stage can do without its filter.
static void filtered_stage(struct planner *planner, const struct fragment *from,
                           struct stage_draft *stage) {
    stage->unfiltered = tree_own(&planner->trees, json_copy(stage->node));
    json_object_set(stage->unfiltered, "from_table", from->unfiltered);
    stage->filter_leaf = from->filter_leaf;
    stage->filter_most = from->filter_most;
    stage->rows = (uint64_t)((double)stage->rows * from->filter_kept) + 1;
}

struct known {
    const json_t *moved;
    bool all;
};

static void check_known(void *ctx, const char *key) {
    struct known *known = ctx;
    if (json_object_get(known->moved, key) == NULL) known->all = false;
}

// SELECT hash(keys) AS h, keys in words AS k, of what the exchange brings: if that has
// all of the keys' columns.
static json_t *lookup_node(struct planner *planner, json_t *keys, json_t *moved,
                           const char *alias) {
    struct trees *trees = &planner->trees;
    struct known known = {.moved = moved, .all = true};
    tree_each_column(keys, check_known, &known);
    if (!known.all) return NULL;
    json_t *words = tree_expression(trees, "concat_ws(', ', CAST(x AS VARCHAR))");
    json_t *arguments = json_object_get(words, "arguments");
    json_t *model = tree_copy(trees, json_array_get(arguments, 1));
    json_array_remove(arguments, 1);
    size_t i;
    json_t *key;
    json_array_foreach(keys, i, key) {
        json_t *argument = json_deep_copy(model);
        json_t *word = tree_expression(trees, "coalesce(CAST(x AS VARCHAR), 'NULL')");
        json_object_set(json_array_get(json_object_get(word, "children"), 0), "child",
                        tree_rename_columns(trees, tree_aliased(trees, key, ""), moved));
        json_object_set(argument, "expression", word);
        json_array_append_new(arguments, argument);
    }
    json_t *list = tree_own(trees, json_array());
    json_array_append(list,
                      tree_aliased(trees, hash_expression(planner, keys, moved), "h"));
    json_array_append(list, tree_aliased(trees, words, "k"));
    return tree_select(trees, list, tree_table(trees, LOOKUP_BLOCKS, alias), NULL);
}

json_t *exchange_columns(struct planner *planner, const struct fragment *from,
                         json_t *columns, const char *alias, json_t *list) {
    struct trees *trees = &planner->trees;
    json_t *moved = tree_own(trees, json_object());
    const char *key;
    json_t *unused;
    size_t number = 0;
    json_object_foreach(columns, key, unused) {
        char source[64];
        char column[24];
        split_key(key, source, sizeof source);
        json_t *reference = tree_column(trees, source, strchr(key, '\x01') + 1);
        (void)snprintf(column, sizeof column, "c%zu", number++);
        json_array_append(
            list,
            tree_aliased(trees, tree_rename_columns(trees, reference, from->columns),
                         column));
        json_object_set_new(moved, key, json_pack("[s, s]", alias, column));
        planner_named(planner, alias, column, reference);
    }
    if (number == 0) {
        json_array_append(list,
                          tree_aliased(trees, tree_expression(trees, "true"), "c0"));
    }
    return moved;
}

struct fragment *exchange_place(struct planner *planner, struct fragment *from,
                                json_t *columns, enum exchange_kind kind, json_t *keys,
                                const struct before_exchange *before) {
    struct trees *trees = &planner->trees;
    const char *alias = planner_name(planner, "x");
    json_t *list = tree_own(trees, json_array());
    enum block_scatter scatter = kind == EXCHANGE_HASH               ? BLOCK_HASH
                                 : kind == EXCHANGE_RANGE            ? BLOCK_RANGE
                                 : before != NULL && before->sampled ? BLOCK_SAMPLE
                                                                     : BLOCK_WHOLE;
    if (scatter == BLOCK_HASH) {
        json_array_append(list, hash_expression(planner, keys, from->columns));
    } else if (scatter == BLOCK_SAMPLE) {
        json_array_append(
            list, sampled_key_expression(planner, keys, from->columns, from->rows));
    } else if (scatter == BLOCK_RANGE) {
        json_array_append(list, sort_key_expression(planner, keys, from->columns));
    }
    json_t *moved = exchange_columns(planner, from, columns, alias, list);
    json_t *node = tree_select(trees, list, from->tree, NULL);
    if (before != NULL && before->where != NULL && !json_is_null(before->where)) {
        json_object_set(node, "where_clause",
                        tree_rename_columns(trees, before->where, from->columns));
    }
    if (before != NULL && before->modifiers != NULL) {
        json_object_set(node, "modifiers",
                        tree_rename_columns(trees, before->modifiers, from->columns));
        // A sort is whole: its parts are read in order.
        if (!before->ordered)
            json_object_set_new(node, AGGREGATE_STEP, json_string("partial"));
    }
    bool ordered = before != NULL && before->ordered;
    // Duplicates that a task drops are dropped again behind the exchange.
    json_t *plain = NULL;
    if (before != NULL && before->modifiers != NULL && scatter == BLOCK_HASH &&
        counts_rows(planner, from)) {
        plain = tree_own(trees, json_copy(node));
        json_object_set_new(plain, "modifiers", json_array());
        json_object_del(plain, AGGREGATE_STEP);
    }
    uint32_t exchange =
        exchange_new(planner, kind, scatter == BLOCK_SAMPLE ? NULL : keys);
    if (scatter == BLOCK_HASH && planner->options->summaries && !planner->trees.failed)
        planner->exchanges[exchange].lookup = lookup_node(planner, keys, moved, alias);
    exchange_feed(planner, exchange, node, from, scatter);
    if (planner->stages != NULL) {
        struct stage_draft *stage = &planner->stages[planner->stage_count - 1];
        stage->ordered = ordered;
        stage->plain = plain;
        if (from->unfiltered != NULL) filtered_stage(planner, from, stage);
    }

    bool partitioned = kind == EXCHANGE_HASH || kind == EXCHANGE_RANGE;
    enum leaf_kind reads = partitioned                    ? LEAF_PARTITION
                           : kind == EXCHANGE_ROUND_ROBIN ? LEAF_SPLIT
                           : ordered                      ? LEAF_ORDERED
                                                          : LEAF_ALL;
    enum distribution dist = partitioned                    ? DIST_HASH
                             : kind == EXCHANGE_ROUND_ROBIN ? DIST_RANDOM
                             : kind == EXCHANGE_BROADCAST   ? DIST_REPLICATED
                                                            : DIST_SINGLE;
    struct fragment *to = fragment_new(
        planner, exchange_read(planner, exchange, reads, alias), dist, from->rows);
    if (to == NULL) return NULL;
    to->aliases = from->aliases;
    to->columns = moved;
    to->kept = from->kept;
    if (kind == EXCHANGE_HASH) {
        size_t i;
        json_t *expression;
        json_array_foreach(keys, i, expression) {
            json_array_append_new(to->key_sets,
                                  json_pack("{s:b}", tree_key(trees, expression), 1));
        }
    }
    return to;
}

struct driver {
    struct planner *planner;
    struct leaf_draft *leaf;
};

static bool is_driver(void *ctx, const json_t *object) {
    struct driver *driver = ctx;
    size_t index = leaf_index(driver->planner, object);
    if (index >= driver->planner->leaf_count) return false;
    driver->leaf = &driver->planner->leaves[index];
    return driver->leaf->kind == LEAF_SCAN || driver->leaf->kind == LEAF_SPLIT;
}

struct leaf_draft *driving_leaf(struct planner *planner, const json_t *node) {
    struct driver driver = {.planner = planner};
    return tree_any(node, is_driver, &driver) ? driver.leaf : NULL;
}

struct counted {
    struct planner *planner;
    size_t count, last;
};

static bool count_leaf(void *ctx, const json_t *object) {
    struct counted *counted = ctx;
    size_t leaf = leaf_index(counted->planner, object);
    counted->count += leaf < counted->planner->leaf_count;
    if (leaf < counted->planner->leaf_count) counted->last = leaf;
    return false;
}

struct leaf_draft *only_leaf(struct planner *planner, const json_t *node) {
    struct counted counted = {.planner = planner};
    (void)tree_any(node, count_leaf, &counted);
    bool joins = tree_has(node, "type", "JOIN");  // with rows that are no leaf's
    return counted.count == 1 && !joins ? &planner->leaves[counted.last] : NULL;
}

bool counts_rows(struct planner *planner, const struct fragment *from) {
    const struct leaf_draft *leaf = only_leaf(planner, from->tree);
    return leaf != NULL && (leaf->kind == LEAF_SCAN || leaf->kind == LEAF_SPLIT);
}

// Up to this many rows of a file are cheaper to read again in each task than to send.
#define READ_EVERYWHERE_ROWS 10000

struct fragment *to_replicated(struct planner *planner, struct fragment *from,
                               const json_t *item) {
    if (from->dist == DIST_REPLICATED) return from;
    struct leaf_draft *leaf = from->dist == DIST_RANDOM && !from->once
                                  ? driving_leaf(planner, from->tree)
                                  : NULL;
    if (leaf != NULL && leaf->kind == LEAF_SPLIT &&
        leaf_index(planner, from->tree) < planner->leaf_count) {
        leaf->kind = LEAF_ALL;
        from->dist = DIST_REPLICATED;
        return from;
    }
    if (leaf != NULL && leaf->kind == LEAF_SCAN) {
        uint64_t rows = scan_files_rows(leaf->files, leaf->file_count);
        // What is rejected is looked for once, and not in the stage that gives the
        // result.
        if (rows <= READ_EVERYWHERE_ROWS && !leaf->source.rejects) {
            leaf->kind = LEAF_SCAN_ALL;
            from->dist = DIST_REPLICATED;
            return from;
        }
    }
    return exchange_place(planner, from, columns_needed(planner, item, from),
                          EXCHANGE_BROADCAST, NULL, NULL);
}

struct fragment *to_single(struct planner *planner, struct fragment *from,
                           const json_t *item) {
    if (from->dist == DIST_REPLICATED) from->dist = DIST_SINGLE;
    if (from->dist == DIST_SINGLE) return from;
    return exchange_place(planner, from, columns_needed(planner, item, from),
                          EXCHANGE_GATHER, NULL, NULL);
}

bool hash_satisfies(struct planner *planner, const struct fragment *from, json_t *keys) {
    if (from->dist != DIST_HASH || json_array_size(from->key_sets) == 0) return false;
    size_t i, k;
    json_t *set;
    json_t *key;
    json_t *texts = tree_own(&planner->trees, json_array());
    json_array_foreach(keys, k, key) {
        json_array_append_new(texts, json_string(tree_key(&planner->trees, key)));
    }
    json_array_foreach(from->key_sets, i, set) {
        bool found = false;
        json_array_foreach(texts, k, key) {
            if (json_object_get(set, json_string_value(key)) != NULL) found = true;
        }
        if (!found) return false;
    }
    return true;
}
