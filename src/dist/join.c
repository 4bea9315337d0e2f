// Joins. Where both sides are already hashed alike nothing moves; where one side is small
// and may be broadcast, only that side moves; else both are hashed on the equality keys.
//
// Which side may be broadcast follows from which side must see all of the other exactly
// once: the right for LEFT, SEMI, ANTI, MARK, SINGLE; the left for the mirrored ones;
// either for INNER and CROSS; none for FULL. A hashed join gives: INNER both sides' keys,
// LEFT only the left's (the right's are NULL where nothing matched), FULL none.
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

struct join {
    json_t *item;
    const char *type;
    struct fragment *left, *right;
    json_t *left_keys, *right_keys;  // of the equality conjuncts
    json_t *key_types;               // of their comparisons
    bool null_safe;                  // all conjuncts are IS NOT DISTINCT FROM
    bool keeps_left, keeps_right;    // the preserved side
    json_t *left_scans,
        *right_scans;  // what hints know the sides by; NULL: there are none
};

struct alias_check {
    const json_t *aliases;
    bool any, all;
};

static void check_alias(void *ctx, const char *key) {
    struct alias_check *check = ctx;
    char alias[64];
    const char *mark = strchr(key, '\x01');
    size_t length = (size_t)(mark - key);
    if (length >= sizeof alias) length = sizeof alias - 1;
    memcpy(alias, key, length);
    alias[length] = '\0';
    check->any = true;
    if (json_object_get(check->aliases, alias) == NULL) check->all = false;
}

static bool only_from(const json_t *expression, const struct fragment *fragment) {
    struct alias_check check = {.aliases = fragment->aliases, .all = true};
    tree_each_column(expression, check_alias, &check);
    return check.any && check.all;
}

static void find_keys(struct planner *planner, struct join *join) {
    json_t *conjuncts = tree_own(&planner->trees, json_array());
    tree_conjuncts(json_object_get(join->item, "condition"), conjuncts);
    join->left_keys = tree_own(&planner->trees, json_array());
    join->right_keys = tree_own(&planner->trees, json_array());
    join->key_types = tree_own(&planner->trees, json_array());
    join->null_safe = true;
    size_t i;
    json_t *conjunct;
    json_array_foreach(conjuncts, i, conjunct) {
        bool equal = tree_is(conjunct, "type", "COMPARE_EQUAL");
        bool same = tree_is(conjunct, "type", "COMPARE_NOT_DISTINCT_FROM");
        if (!same) join->null_safe = false;
        if (!equal && !same) continue;
        json_t *a = json_object_get(conjunct, "left");
        json_t *b = json_object_get(conjunct, "right");
        if (only_from(a, join->left) && only_from(b, join->right)) {
            json_array_append(join->left_keys, a);
            json_array_append(join->right_keys, b);
        } else if (only_from(b, join->left) && only_from(a, join->right)) {
            json_array_append(join->left_keys, b);
            json_array_append(join->right_keys, a);
        } else {
            continue;
        }
        json_array_append(join->key_types, json_object_get(conjunct, "type"));
    }
}

// Most joins are of a key with its references: each row of the larger side finds one of
// the smaller, unless a filter below has dropped it.
static uint64_t estimate(const struct join *join, double *kept) {
    const struct fragment *left = join->left, *right = join->right;
    if (json_array_size(join->left_keys) == 0 && !join->keeps_left &&
        !join->keeps_right) {
        double rows = (double)left->rows * (double)right->rows;
        *kept = left->kept * right->kept;
        return rows < 1e15 ? (uint64_t)rows : (uint64_t)1e15;
    }
    static const char *const drops[] = {"SEMI", "RIGHT_SEMI", "INNER", NULL};
    const struct fragment *large = left->rows >= right->rows ? left : right;
    if (join->keeps_left) large = left;
    if (join->keeps_right) large = right;
    double share =
        text_one_of(join->type, drops) ? (large == left ? right : left)->kept : 1;
    *kept = large->kept * share;
    return (uint64_t)((double)large->rows * share) + 1;
}

// DuckDB groups below a join (its partial_aggregate_pushdown) where few rows are dropped,
// and tables are as unequal as this; a task's statement has no estimates, and then it
// always does. Who aggregates above other joins says so by this key (aggregate.c).
#define GROUPED_BELOW_KEPT 0.7
#define GROUPED_BELOW_TIMES 4

static json_t *partner(struct trees *trees, const struct join *join,
                       const json_t *columns) {
    const struct fragment *left = join->left, *right = join->right;
    bool left_large = left->rows >= right->rows;
    const struct fragment *small = left_large ? right : left;
    const struct fragment *large = left_large ? left : right;
    const char *type = json_string_value(json_array_get(join->key_types, 0));
    if (strcmp(join->type, "INNER") != 0 || type == NULL ||
        strcmp(type, "COMPARE_EQUAL") != 0)
        return NULL;
    if (small->kept >= GROUPED_BELOW_KEPT &&
        (double)small->rows * GROUPED_BELOW_TIMES <= (double)large->rows)
        return NULL;
    json_t *keys = left_large ? join->right_keys : join->left_keys;
    return tree_rename_columns(trees, json_array_get(keys, 0), columns);
}

// The joined fragment over what left and right have become.
static struct fragment *joined(struct planner *planner, struct join *join,
                               enum distribution dist, json_t *key_sets) {
    struct trees *trees = &planner->trees;
    json_t *tree = tree_own(trees, json_copy(join->item));
    json_t *columns = tree_own(trees, json_copy(join->left->columns));
    json_object_update(columns, join->right->columns);
    json_object_set(tree, "left", join->left->tree);
    json_object_set(tree, "right", join->right->tree);
    json_object_set(
        tree, "condition",
        tree_rename_columns(trees, json_object_get(join->item, "condition"), columns));
    double kept = 1;
    uint64_t rows = estimate(join, &kept);
    struct fragment *out = fragment_new(planner, tree, dist, rows);
    if (out == NULL) return NULL;
    out->kept = kept;
    out->partner = partner(trees, join, columns);
    out->once = join->left->once || join->right->once;
    out->cut = join->left->cut != NO_CUT ? join->left->cut : join->right->cut;
    static const char *const right_only[] = {"RIGHT_SEMI", "RIGHT_ANTI", NULL};
    static const char *const left_only[] = {"SEMI", "ANTI", "MARK", NULL};
    if (!text_one_of(join->type, right_only))
        json_object_update(out->aliases, join->left->aliases);
    if (!text_one_of(join->type, left_only))
        json_object_update(out->aliases, join->right->aliases);
    if (strcmp(join->type, "MARK") == 0)
        json_object_set_new(out->aliases, "", json_true());
    const char *key;
    json_t *where;
    json_object_foreach(columns, key, where) json_object_set(out->columns, key, where);
    if (key_sets != NULL) out->key_sets = key_sets;
    return out;
}

// Positions in keys that match the fragment's hash keys one for one, or NULL.
static json_t *match_keys(struct planner *planner, const struct fragment *from,
                          json_t *keys) {
    if (from->dist != DIST_HASH || from->cut != NO_CUT ||
        json_array_size(from->key_sets) == 0) {
        return NULL;
    }
    json_t *positions = tree_own(&planner->trees, json_array());
    size_t i;
    json_t *set;
    json_array_foreach(from->key_sets, i, set) {
        size_t k;
        json_t *key;
        bool found = false;
        json_array_foreach(keys, k, key) {
            if (json_object_get(set, tree_key(&planner->trees, key)) == NULL) continue;
            json_array_append_new(positions, json_integer((json_int_t)k));
            found = true;
            break;
        }
        if (!found) return NULL;
    }
    return positions;
}

static json_t *pick(struct planner *planner, json_t *keys, json_t *positions) {
    json_t *picked = tree_own(&planner->trees, json_array());
    size_t i;
    json_t *position;
    json_array_foreach(positions, i, position) {
        json_array_append(picked,
                          json_array_get(keys, (size_t)json_integer_value(position)));
    }
    return picked;
}

static struct fragment *hashed(struct planner *planner, struct join *join) {
    json_t *sets = tree_own(&planner->trees, json_array());
    if (join->keeps_left) {
        sets = join->left->key_sets;
    } else if (join->keeps_right) {
        sets = join->right->key_sets;
    } else if (strcmp(join->type, "INNER") == 0) {
        size_t i;
        json_t *set;
        json_array_foreach(join->left->key_sets, i, set) {
            json_t *both = json_copy(set);
            json_object_update(both, json_array_get(join->right->key_sets, i));
            json_array_append_new(sets, both);
        }
    }
    return joined(planner, join, DIST_HASH, sets);
}

// Can rows of this side that match nothing be left out before the join?
static bool may_filter(const struct join *join, bool left) {
    static const char *const drops_left[] = {"INNER",      "RIGHT",      "SEMI",
                                             "RIGHT_SEMI", "RIGHT_ANTI", NULL};
    static const char *const drops_right[] = {"INNER", "LEFT",       "SEMI",
                                              "ANTI",  "RIGHT_SEMI", NULL};
    return text_one_of(join->type, left ? drops_left : drops_right) &&
           !tree_is(join->item, "ref_type", "ASOF");
}

// k1 IS NOT NULL AND k2 IS NOT NULL ..., of the columns that are compared by =; NULL: of
// none.
static json_t *keys_present(struct planner *planner, const struct join *join, bool left) {
    struct trees *trees = &planner->trees;
    json_t *all = NULL;
    size_t i;
    json_t *key;
    json_array_foreach(left ? join->left_keys : join->right_keys, i, key) {
        const json_t *column = key;
        while (tree_is(column, "class", "CAST"))
            column = json_object_get(column, "child");
        // Others would be computed once more than now.
        if (!tree_is(column, "class", "COLUMN_REF") ||
            strcmp(json_string_value(json_array_get(join->key_types, i)),
                   "COMPARE_EQUAL") != 0)
            continue;
        json_t *present = tree_expression(trees, "(x IS NOT NULL)");
        json_array_set(json_object_get(present, "children"), 0,
                       tree_aliased(trees, key, ""));
        json_t *both = all == NULL ? present : tree_expression(trees, "(a AND b)");
        if (all != NULL) {
            json_array_set(json_object_get(both, "children"), 0, all);
            json_array_set(json_object_get(both, "children"), 1, present);
        }
        all = both;
    }
    return all;
}

// A row whose key is NULL matches nothing: where such rows are dropped, they need not go.
static struct fragment *shuffle_side(struct planner *planner, const struct join *join,
                                     bool left, json_t *keys) {
    struct fragment *side = left ? join->left : join->right;
    const json_t *item = json_object_get(join->item, left ? "left" : "right");
    struct before_exchange before = {0};
    if (may_filter(join, left)) before.where = keys_present(planner, join, left);
    return exchange_place(planner, side, columns_needed(planner, item, side),
                          EXCHANGE_HASH, keys, &before);
}

// Which of two small sides to send: one that filters a scan, else the smaller.
static bool prefer_right(struct planner *planner, const struct join *join) {
    bool right = broadcast_filters(planner, join->right, join->left);
    bool left = broadcast_filters(planner, join->left, join->right);
    return right != left ? right : join->right->rows <= join->left->rows;
}

// Is there a side too small to think about anything but sending it?
static bool tiny(struct planner *planner, const struct join *join, bool may_left,
                 bool may_right) {
    if (planner->options->broadcast_rows != BROADCAST_AUTO) return false;
    return (may_left && broadcast_tiny(planner, join->left, join->right)) ||
           (may_right && broadcast_tiny(planner, join->right, join->left));
}

static bool small(struct planner *planner, const struct join *join, bool left) {
    const struct fragment *side = left ? join->left : join->right;
    const json_t *item = json_object_get(join->item, left ? "left" : "right");
    return broadcast_pays(planner, side, columns_needed(planner, item, side),
                          left ? join->right : join->left);
}

static void note_broadcast(struct planner *planner, const struct join *join, bool left,
                           bool can_hash) {
    const struct fragment *sent = left ? join->left : join->right;
    const struct fragment *other = left ? join->right : join->left;
    const char *hint =
        hint_asks(planner, HINT_BROADCAST, left ? join->left_scans : join->right_scans);
    planner_note(
        planner, "%s JOIN broadcasts its %s side: about %llu rows against %llu%s%s%s",
        join->type, left ? "left" : "right", (unsigned long long)sent->rows,
        (unsigned long long)other->rows, can_hash ? "" : ", and no key to shuffle by",
        hint ? ", by the hint " : "", hint ? hint : "");
}

static const char *asked_side(struct planner *planner, const struct join *join,
                              enum hint_kind kind, bool left) {
    return hint_asks(planner, kind, left ? join->left_scans : join->right_scans);
}

static void answer(struct planner *planner, const struct join *join, enum hint_kind kind,
                   bool left, const char *why_not) {
    hint_answer(planner, kind, left ? join->left_scans : join->right_scans, why_not);
}

// A side is in every task, wherever it came from.
static struct fragment *joined_to(struct planner *planner, struct join *join, bool left) {
    static const char other[] = "the other side of its join is in every task";
    const struct fragment *stays = left ? join->right : join->left;
    answer(planner, join, HINT_BROADCAST, !left, other);
    answer(planner, join, HINT_BROADCAST, left, NULL);
    for (int side = 0; side < 2; side++)
        answer(planner, join, HINT_SHUFFLE, side == 0,
               "one side is small, or there is no key to shuffle by");
    return joined(planner, join, stays->dist, stays->key_sets);
}

// Nothing of the join is broadcast.
static struct fragment *not_sent(struct planner *planner, struct join *join,
                                 struct fragment *out) {
    const char *why =
        "that side's rows are kept if they match nothing, and so each must "
        "be in one task";
    if (out != NULL && out->dist == DIST_SINGLE) why = "its join runs in one place";
    for (int side = 0; side < 2; side++) {
        answer(planner, join, HINT_BROADCAST, side == 0, why);
        answer(planner, join, HINT_SHUFFLE, side == 0, NULL);
    }
    return out;
}

// It stays where the rows are.
static struct fragment *plan_lateral(struct planner *planner, struct join *join) {
    json_t *function = json_object_get(join->item, "right");
    join->right = fragment_named(
        planner, tree_rename_columns(&planner->trees, function, join->left->columns),
        DIST_REPLICATED, join->left->rows);
    if (join->right == NULL) return NULL;
    join->left_keys = join->right_keys = tree_own(&planner->trees, json_array());
    join->keeps_left = true;  // one row of the left gives many, but each is still there
    return joined(planner, join, join->left->dist, join->left->key_sets);
}

// Shuffles the sides for which keys are given, one that is filtered by the other's keys
// after that.
static void shuffle(struct planner *planner, struct join *join, json_t *left_keys,
                    json_t *right_keys) {
    bool filter_left = left_keys != NULL && may_filter(join, true) &&
                       filter_wanted(planner, join->left, join->right);
    bool filter_right = right_keys != NULL && may_filter(join, false) &&
                        filter_wanted(planner, join->right, join->left);
    // The smaller first: it may turn out small enough to be sent to the other.
    bool left_later =
        filter_left || (!filter_right && join->left->rows > join->right->rows);
    for (int step = 0; step < 2; step++) {
        bool left = (step == 0) != left_later;
        struct fragment **side = left ? &join->left : &join->right;
        const struct fragment *other = left ? join->right : join->left;
        json_t *keys = left ? left_keys : right_keys;
        if (keys == NULL || join->left == NULL || join->right == NULL) continue;
        struct filter_keys by = {.large = left ? join->left_keys : join->right_keys,
                                 .small = left ? join->right_keys : join->left_keys,
                                 .types = join->key_types};
        if (left ? filter_left : filter_right) filter_place(planner, *side, &by, other);
        *side = shuffle_side(planner, join, left, keys);
    }
}

struct fragment *plan_join(struct planner *planner, json_t *item, json_t *ctes) {
    static const char *const known[] = {"INNER",      "CROSS",      "LEFT",   "RIGHT",
                                        "FULL",       "SEMI",       "ANTI",   "MARK",
                                        "RIGHT_SEMI", "RIGHT_ANTI", "SINGLE", NULL};
    static const char *const left_kept[] = {"LEFT", "SEMI",   "ANTI",
                                            "MARK", "SINGLE", NULL};
    static const char *const right_kept[] = {"RIGHT", "RIGHT_SEMI", "RIGHT_ANTI", NULL};
    const char *reference = tree_text(item, "ref_type");
    struct join join = {.item = item, .type = tree_text(item, "join_type")};
    bool asof = strcmp(reference, "ASOF") == 0;
    if (strcmp(reference, "POSITIONAL") == 0) {
        return refuse(
            planner,
            "POSITIONAL JOIN pairs rows by their order, which tasks do not keep");
    }
    if (strcmp(reference, "REGULAR") != 0 && strcmp(reference, "CROSS") != 0 && !asof) {
        return refuse(planner, "%s JOIN is not planned yet", reference);
    }
    if (strcmp(reference, "CROSS") == 0) join.type = "CROSS";
    if (!text_one_of(join.type, known))
        return refuse(planner, "%s JOIN is not planned yet", join.type);
    if (json_array_size(json_object_get(item, "using_columns")) > 0) {
        return refuse(planner, "JOIN USING is not planned yet");
    }
    join.left_scans = hint_scans(planner, json_object_get(item, "left"), ctes);
    join.right_scans = hint_scans(planner, json_object_get(item, "right"), ctes);
    join.left = plan_from(planner, json_object_get(item, "left"), ctes);
    if (join.left == NULL) return NULL;
    if (is_lateral(json_object_get(item, "right"))) return plan_lateral(planner, &join);
    join.right = plan_from(planner, json_object_get(item, "right"), ctes);
    if (join.right == NULL) return NULL;
    if (tree_volatile(&planner->trees, json_object_get(item, "condition")) != NULL) {
        return refuse(planner, "a volatile function in a join's condition");
    }
    join.keeps_left = text_one_of(join.type, left_kept);
    join.keeps_right = text_one_of(join.type, right_kept);
    find_keys(planner, &join);
    // NOT IN needs all of the right side: one NULL anywhere in it changes every answer.
    bool not_in = strcmp(join.type, "MARK") == 0 && !join.null_safe;
    count_filtered(planner, join.left, json_object_get(item, "left"), join.left_keys,
                   join.right, join.right_keys);
    if (!not_in)
        count_filtered(planner, join.right, json_object_get(item, "right"),
                       join.right_keys, join.left, join.left_keys);
    if (asof && strcmp(join.type, "INNER") == 0) join.keeps_left = true;
    bool inner = strcmp(join.type, "INNER") == 0 || strcmp(join.type, "CROSS") == 0;
    bool may_right = inner || join.keeps_left;
    // An ASOF join picks one row of the whole right side for each of the left.
    bool may_left = !asof && (inner || join.keeps_right);
    if (asof) may_right = inner || strcmp(join.type, "LEFT") == 0;
    bool can_hash = json_array_size(join.left_keys) > 0 && !not_in;
    enum distribution l = join.left->dist, r = join.right->dist;
    if (l == DIST_REPLICATED && r == DIST_REPLICATED) {
        answer(planner, &join, HINT_BROADCAST, true, NULL);
        return joined_to(planner, &join, false);
    }
    if (r == DIST_REPLICATED && may_right) return joined_to(planner, &join, false);
    if (l == DIST_REPLICATED && may_left) return joined_to(planner, &join, true);
    if (l >= DIST_SINGLE && r >= DIST_SINGLE)
        return not_sent(planner, &join, joined(planner, &join, DIST_SINGLE, NULL));

    bool ask_right =
        may_right && asked_side(planner, &join, HINT_BROADCAST, false) != NULL;
    bool ask_left = may_left && asked_side(planner, &join, HINT_BROADCAST, true) != NULL;
    bool asked = ask_left || ask_right;
    bool unsent = !asked && (asked_side(planner, &join, HINT_SHUFFLE, true) != NULL ||
                             asked_side(planner, &join, HINT_SHUFFLE, false) != NULL);
    json_t *match_left = can_hash ? match_keys(planner, join.left, join.left_keys) : NULL;
    json_t *match_right =
        can_hash ? match_keys(planner, join.right, join.right_keys) : NULL;
    if (!asked && match_left != NULL && match_right != NULL &&
        json_equal(match_left, match_right)) {
        planner_note(planner,
                     "join without a shuffle: both sides are hashed on its keys");
        return not_sent(planner, &join, hashed(planner, &join));
    }
    if (!asked && can_hash && !tiny(planner, &join, may_left, may_right) &&
        cluster_join(planner, join.left, join.left_keys, join.right, join.right_keys)) {
        return not_sent(planner, &join, hashed(planner, &join));
    }
    bool small_right =
        asked ? ask_right : !unsent && may_right && small(planner, &join, false);
    bool small_left =
        asked ? ask_left : !unsent && may_left && small(planner, &join, true);
    if (!asked && (!can_hash || r == DIST_SINGLE || l == DIST_SINGLE)) {
        small_right = small_right || may_right;
        small_left = small_left || may_left;
    }
    if (small_right && small_left) {
        bool take_right =
            r == DIST_SINGLE || (l != DIST_SINGLE && prefer_right(planner, &join));
        small_left = !take_right;
        small_right = take_right;
    }
    if (small_right) {
        note_broadcast(planner, &join, false, can_hash);
        join.right = to_replicated(planner, join.right, json_object_get(item, "right"));
        return join.right == NULL ? NULL : joined_to(planner, &join, false);
    }
    if (small_left) {
        note_broadcast(planner, &join, true, can_hash);
        join.left = to_replicated(planner, join.left, json_object_get(item, "left"));
        return join.left == NULL ? NULL : joined_to(planner, &join, true);
    }
    if (!can_hash) {
        planner_note(planner, "%s JOIN without an equality key: both sides are gathered",
                     join.type);
        join.left = to_single(planner, join.left, json_object_get(item, "left"));
        join.right = to_single(planner, join.right, json_object_get(item, "right"));
        if (join.left == NULL || join.right == NULL) return NULL;
        return not_sent(planner, &join, joined(planner, &join, DIST_SINGLE, NULL));
    }
    planner_note(planner, "%s JOIN shuffles %s: about %llu and %llu rows, %s", join.type,
                 match_left    ? "its right side"
                 : match_right ? "its left side"
                               : "both sides",
                 (unsigned long long)join.left->rows,
                 (unsigned long long)join.right->rows,
                 unsent ? "as a hint asks" : "too many to broadcast");
    json_t *left_keys =
        match_right ? pick(planner, join.left_keys, match_right) : join.left_keys;
    json_t *right_keys =
        match_left ? pick(planner, join.right_keys, match_left) : join.right_keys;
    shuffle(planner, &join, match_left ? NULL : left_keys,
            match_right ? NULL : right_keys);
    if (join.left == NULL || join.right == NULL) return NULL;
    return not_sent(planner, &join, hashed(planner, &join));
}
