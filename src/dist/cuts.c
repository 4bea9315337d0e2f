// How a partition that is too much for one task may be cut: which inputs of a stage can
// be read in slices, each beside all of the others, so that the sub-tasks' rows together
// are those of the whole.
//
// A stage is a tree; an input can be cut if everything on its way to the root works on
// each row by itself. A join does, for the side of which it keeps each row at most once
// per partner: both of INNER, the left of LEFT, SEMI, ANTI, MARK and SINGLE, the right of
// their mirrors. An outer join whose other side is to be cut is taken apart: what
// matches, by slices, and once what its kept side has alone:
//
//   L FULL R  =  slice(L) LEFT R, for each,   and  (R ANTI L) LEFT L ON false
//   L LEFT R  =  L INNER slice(R), for each,  and  (L ANTI R) LEFT R ON false
//
// The second term has the columns of the side that is missing as NULLs. A partial
// aggregate or top-n may see its input in any parts. A whole aggregate may not; where it
// can be split, the planner left its other form behind (combine.c), and the cut goes
// through that.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

struct cutting {
    struct planner *planner;
    const struct stage_draft *draft;
    size_t leaf;          // the planner's, that is to be cut
    const json_t *block;  // or a SELECT node of which there are parts
    const char *why;      // it can't be; NULL: it can
    json_t *outer;        // the join to be taken apart, if any
    bool outer_left;      // the leaf is on its left
    bool needed;          // no rows of the leaf: none of the stage
    bool rows;            // joins see its rows, not groups or windows of them
    json_t *partners;     // leaves with whose rows its rows multiply, an array of numbers
};

// What a join does for one of its sides.
enum side { SIDE_FREE, SIDE_OUTER, SIDE_WHOLE };
static const struct join_rule {
    const char *type;
    enum side left, right;
    bool left_needed, right_needed;  // no rows there: none of the join
} join_rules[] = {
    {"INNER", SIDE_FREE, SIDE_FREE, true, true},
    {"CROSS", SIDE_FREE, SIDE_FREE, true, true},
    {"LEFT", SIDE_FREE, SIDE_OUTER, true, false},
    {"RIGHT", SIDE_OUTER, SIDE_FREE, false, true},
    {"FULL", SIDE_OUTER, SIDE_OUTER, false, false},
    {"SEMI", SIDE_FREE, SIDE_WHOLE, true, true},
    {"ANTI", SIDE_FREE, SIDE_WHOLE, true, false},
    {"MARK", SIDE_FREE, SIDE_WHOLE, true, false},
    {"SINGLE", SIDE_FREE, SIDE_WHOLE, true, false},
    {"RIGHT_SEMI", SIDE_WHOLE, SIDE_FREE, true, true},
    {"RIGHT_ANTI", SIDE_WHOLE, SIDE_FREE, false, true},
};

static const char *join_type(const json_t *join) {
    return tree_is(join, "ref_type", "CROSS") ? "CROSS" : tree_text(join, "join_type");
}

static const struct join_rule *find_rule(const json_t *join) {
    for (size_t i = 0; i < sizeof join_rules / sizeof *join_rules; i++) {
        if (strcmp(join_rules[i].type, join_type(join)) == 0) return &join_rules[i];
    }
    return NULL;
}

static void block(struct cutting *cutting, const char *why) {
    if (cutting->why == NULL) cutting->why = why;
}

// Leaves below item that are read by partition, but not through a GROUP BY, which leaves
// one row of a key.
static void add_partners(struct cutting *cutting, const json_t *item) {
    size_t leaf = leaf_index(cutting->planner, item);
    if (leaf < cutting->planner->leaf_count) {
        if (cutting->planner->leaves[leaf].kind == LEAF_PARTITION)
            json_array_append_new(cutting->partners, json_integer((json_int_t)leaf));
    } else if (tree_is(item, "type", "SUBQUERY")) {
        const json_t *node = json_object_get(json_object_get(item, "subquery"), "node");
        if (tree_is(node, "type", "SELECT_NODE") &&
            json_array_size(json_object_get(node, "group_expressions")) == 0)
            add_partners(cutting, json_object_get(node, "from_table"));
    } else if (tree_is(item, "type", "JOIN")) {
        static const char *const left_only[] = {"SEMI", "ANTI", "MARK", "SINGLE", NULL};
        add_partners(cutting, json_object_get(item, "left"));
        if (!text_one_of(tree_text(item, "join_type"), left_only))
            add_partners(cutting, json_object_get(item, "right"));
    }
}

static bool is_sampled(void *ctx, const json_t *object) {
    (void)ctx;
    return json_is_object(json_object_get(object, "sample"));
}

// Every sub-task computes it again: would it come out otherwise?
static bool differs(struct cutting *cutting, const json_t *item) {
    struct trees *trees = &cutting->planner->trees;
    return tree_volatile(trees, item) != NULL || tree_any(item, is_sampled, NULL);
}

static bool walk_item(struct cutting *cutting, json_t *item);

static void pass_join(struct cutting *cutting, json_t *join, bool left) {
    const struct join_rule *rule = find_rule(join);
    bool asof = tree_is(join, "ref_type", "ASOF");
    if (rule == NULL || (asof && !left)) {
        block(cutting, "an ASOF join looks for the nearest of all rows");
        cutting->needed = false;
        return;
    }
    enum side side = left ? rule->left : rule->right;
    const json_t *other = json_object_get(join, left ? "right" : "left");
    if (!(left ? rule->left_needed : rule->right_needed)) cutting->needed = false;
    if (side == SIDE_WHOLE) {
        block(cutting, "the other side of a semi join is looked up as a whole");
    } else if (side == SIDE_OUTER && cutting->outer != NULL) {
        block(cutting, "two outer joins keep rows without a partner");
    } else if (side == SIDE_OUTER) {
        cutting->outer = join;
        cutting->outer_left = left;
    }
    // What an outer join's cut side gives is compared with it once more, by the rest.
    if (differs(cutting, side == SIDE_OUTER ? join : other))
        block(cutting, "what each slice repeats is random");
    static const char *const multiply[] = {"INNER", "LEFT", "RIGHT", "FULL", NULL};
    if (!asof && text_one_of(rule->type, multiply)) add_partners(cutting, other);
}

static bool is_grouped(struct planner *planner, json_t *node) {
    json_t *found = tree_own(&planner->trees, json_array());
    json_t *list = json_object_get(node, "select_list");
    json_t *having = json_object_get(node, "having");
    tree_aggregates(&planner->trees, list, found);
    if (json_is_object(having)) tree_aggregates(&planner->trees, having, found);
    return json_array_size(found) > 0 ||
           json_array_size(json_object_get(node, "group_expressions")) > 0 ||
           json_array_size(json_object_get(node, "group_sets")) > 0;
}

static void pass_modifiers(struct cutting *cutting, const json_t *node) {
    size_t i;
    json_t *modifier;
    json_array_foreach(json_object_get(node, "modifiers"), i, modifier) {
        // A top-n is taken again from all tasks' rows.
        if (tree_is(node, AGGREGATE_STEP, "partial")) break;
        block(cutting, tree_is(modifier, "type", "DISTINCT_MODIFIER")
                           ? "DISTINCT compares all rows"
                           : "the rows are sorted");
    }
}

static void pass_select(struct cutting *cutting, json_t *node) {
    json_t *windows = tree_own(&cutting->planner->trees, json_array());
    bool grouped = is_grouped(cutting->planner, node);
    const char *whole = tree_text(node, WHOLE_GROUPS);
    bool whole_groups = grouped && !tree_is(node, AGGREGATE_STEP, "partial");
    if (whole_groups) block(cutting, *whole ? whole : "an aggregate takes whole groups");
    // Without a row there is still one row of GROUP BY (), but for a partial one's
    // HAVING.
    bool keyed = json_array_size(json_object_get(node, "group_expressions")) > 0 ||
                 (tree_is(node, AGGREGATE_STEP, "partial") &&
                  json_is_object(json_object_get(node, "having")));
    if (grouped && (!keyed || json_array_size(json_object_get(node, "group_sets")) > 1))
        cutting->needed = false;
    tree_windows(json_object_get(node, "select_list"), windows);
    tree_windows(json_object_get(node, "qualify"), windows);
    if (whole_groups || json_array_size(windows) > 0 ||
        json_array_size(json_object_get(node, "modifiers")) > 0)
        cutting->rows = false;
    if (json_array_size(windows) > 0)
        block(cutting, *whole ? whole : "a window sees whole groups");
    pass_modifiers(cutting, node);
}

// Is the leaf below, and what does the way to it ask for?
static bool walk_node(struct cutting *cutting, json_t *node) {
    if (node == cutting->block) return true;
    if (tree_is(node, "type", "SELECT_NODE")) {
        if (!walk_item(cutting, json_object_get(node, "from_table"))) return false;
        pass_select(cutting, node);
        return true;
    }
    size_t i;
    json_t *child;
    json_array_foreach(json_object_get(node, "children"), i, child) {
        if (!walk_node(cutting, child)) continue;
        block(cutting, "a set operation compares all rows");
        cutting->needed = cutting->rows = false;
        return true;
    }
    return false;
}

static bool walk_item(struct cutting *cutting, json_t *item) {
    if (tree_is(item, "type", "SUBQUERY"))
        return walk_node(cutting,
                         json_object_get(json_object_get(item, "subquery"), "node"));
    if (!tree_is(item, "type", "JOIN"))
        return leaf_index(cutting->planner, item) == cutting->leaf;
    bool left = walk_item(cutting, json_object_get(item, "left"));
    if (!left && !walk_item(cutting, json_object_get(item, "right"))) return false;
    pass_join(cutting, item, left);
    return true;
}

json_t *tree_with(struct trees *trees, json_t *node, const json_t *from, json_t *to) {
    size_t i;
    const char *name;
    json_t *child;
    json_t *copy = NULL;
    if (node == from) return to;
    if (json_is_array(node)) {
        json_array_foreach(node, i, child) {
            json_t *other = tree_with(trees, child, from, to);
            if (other == child) continue;
            if (copy == NULL) copy = tree_own(trees, json_copy(node));
            json_array_set(copy, i, other);
        }
    } else if (json_is_object(node)) {
        json_object_foreach(node, name, child) {
            json_t *other = tree_with(trees, child, from, to);
            if (other == child) continue;
            if (copy == NULL) copy = tree_own(trees, json_copy(node));
            json_object_set(copy, name, other);
        }
    }
    return copy == NULL ? node : copy;
}

static json_t *rejoined(struct trees *trees, const json_t *join, const char *type,
                        json_t *left, json_t *right) {
    json_t *copy = tree_own(trees, json_copy((json_t *)(uintptr_t)join));
    json_object_set_new(copy, "join_type", json_string(type));
    json_object_set(copy, "left", left);
    json_object_set(copy, "right", right);
    return copy;
}

// The two terms that the outer join is taken apart into, as whole stages.
static void take_apart(const struct cutting *cutting, struct cut_draft *cut) {
    struct trees *trees = &cutting->planner->trees;
    json_t *join = cutting->outer;
    json_t *left = json_object_get(join, "left"), *right = json_object_get(join, "right");
    bool full = tree_is(join, "join_type", "FULL");
    const char *matches = !full ? "INNER" : cutting->outer_left ? "LEFT" : "RIGHT";
    json_t *cut_side = cutting->outer_left ? left : right;
    json_t *kept = cutting->outer_left ? right : left;
    json_t *alone = rejoined(trees, join, "ANTI", kept, cut_side);
    json_t *rest = rejoined(trees, join, "LEFT", alone, cut_side);
    json_object_set(rest, "condition", tree_expression(trees, "false"));
    cut->node = tree_with(trees, cutting->draft->node, join,
                          rejoined(trees, join, matches, left, right));
    cut->rest = tree_with(trees, cutting->draft->node, join, rest);
}

struct leaf_search {
    struct planner *planner;
    struct stage_draft *draft;
    bool failed;
};

static bool add_cut(struct leaf_search *search, const struct cutting *cutting) {
    struct stage_draft *draft = search->draft;
    struct cut_draft *grown =
        realloc(draft->cuts, (draft->cut_count + 1) * sizeof *grown);
    if (grown == NULL) return false;
    draft->cuts = grown;
    struct cut_draft *cut = &grown[draft->cut_count++];
    *cut = (struct cut_draft){.leaf = cutting->leaf, .partners = cutting->partners};
    if (cutting->outer != NULL) take_apart(cutting, cut);
    return true;
}

static bool look_at_leaf(void *ctx, const json_t *object) {
    struct leaf_search *search = ctx;
    struct planner *planner = search->planner;
    size_t leaf = leaf_index(planner, object);
    if (leaf >= planner->leaf_count || planner->leaves[leaf].kind != LEAF_PARTITION)
        return false;
    struct cutting cutting = {.planner = planner,
                              .draft = search->draft,
                              .leaf = leaf,
                              .needed = true,
                              .rows = true,
                              .partners = tree_own(&planner->trees, json_array())};
    if (!walk_node(&cutting, search->draft->node)) {
        cutting.needed = cutting.rows = false;
        block(&cutting, "it is read inside an expression");
    }
    planner->leaves[leaf].needed = cutting.needed;
    planner->leaves[leaf].rows = cutting.rows;
    if (planner->leaves[leaf].exchange == planner->placed)
        block(&cutting, "a hint places its rows");
    // The text of a taken-apart stage has its filter, which may be left out.
    if (cutting.outer != NULL && search->draft->unfiltered != NULL)
        block(&cutting, "a runtime filter and an outer join in one stage");
    if (cutting.why == NULL) {
        search->failed = !add_cut(search, &cutting);
    } else if (search->draft->whole == NULL) {
        search->draft->whole = cutting.why;
    }
    return search->failed;
}

bool find_cuts(struct planner *planner, struct stage_draft *draft) {
    struct leaf_search search = {.planner = planner, .draft = draft};
    (void)tree_any(draft->node, look_at_leaf, &search);
    if (search.failed) planner->trees.failed = true;
    return !search.failed;
}

const char *why_not_in_parts(struct planner *planner, struct stage_draft *draft,
                             const json_t *block) {
    struct cutting cutting = {.planner = planner,
                              .draft = draft,
                              .leaf = SIZE_MAX - 1,
                              .block = block,
                              .partners = tree_own(&planner->trees, json_array())};
    if (!walk_node(&cutting, draft->node)) return "it is read inside an expression";
    if (cutting.outer != NULL) return "an outer join keeps rows without a partner";
    return cutting.why;
}
