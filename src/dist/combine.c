// Aggregates of whole groups, in parts. Where rows are hashed on the group keys already,
// as after a join on them, a block aggregates each partition at once, and a partition of
// too many rows couldn't be cut. So the planner leaves a second form of the block behind
// (aggregate.c): a stage that reads slices and aggregates in part, and a block that makes
// the groups of what that wrote. The stage has tasks for the partitions that turn out to
// be heavy, often none; all others are aggregated at once, in the first form.
//
// Windows have a second form too, in more stages and more tasks (window_parts.c).
//
// A stage has one second form: that of the innermost block whose inputs can be cut, or
// come in parts, as of a window below. The stages that serve it may have one themselves.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

// All second forms, taken off the trees: a stage that serves another may hold the same
// block, and has its form as well.
struct forms {
    struct planner *planner;
    const json_t **blocks;
    json_t **forms;
    size_t count;
};

static size_t find_form(const struct forms *forms, const json_t *block) {
    size_t at = 0;
    while (at < forms->count && forms->blocks[at] != block) at++;
    return at;
}

// True, which ends the search, when out of memory.
static bool take_form(void *ctx, const json_t *object) {
    struct forms *forms = ctx;
    json_t *form = json_object_get(object, COMBINED_FORM);
    if (form == NULL) return false;
    const json_t **blocks =
        realloc(forms->blocks, (forms->count + 1) * sizeof *forms->blocks);
    if (blocks != NULL) forms->blocks = blocks;
    json_t **list = realloc(forms->forms, (forms->count + 1) * sizeof *forms->forms);
    if (list != NULL) forms->forms = list;
    if (blocks == NULL || list == NULL) return true;
    blocks[forms->count] = object;
    list[forms->count++] = tree_own(&forms->planner->trees, json_incref(form));
    return false;
}

static bool take_forms(struct planner *planner, struct forms *forms) {
    *forms = (struct forms){.planner = planner};
    for (size_t s = 0; s < planner->stage_count; s++) {
        size_t before = forms->count;
        if (tree_any(planner->stages[s].node, take_form, forms)) return false;
        for (size_t i = before; i < forms->count; i++)
            json_object_del((json_t *)(uintptr_t)forms->blocks[i], COMBINED_FORM);
    }
    return true;
}

struct search {
    const struct forms *forms;
    json_t *found;  // numbers of forms, an outer block's before those inside it
};

static bool collect(void *ctx, const json_t *object) {
    struct search *search = ctx;
    size_t at = find_form(search->forms, object);
    if (at < search->forms->count)
        json_array_append_new(search->found, json_integer((json_int_t)at));
    return false;
}

static uint32_t form_group(const json_t *form) {
    return (uint32_t)json_integer_value(json_object_get(form, "group"));
}

// Have the stages that serve the form parts of a partition to read? The first of them
// says.
static bool is_cut(const struct planner *planner, uint32_t group) {
    size_t s = 0;
    while (s < planner->stage_count && planner->stages[s].combines != group) s++;
    return s < planner->stage_count &&
           (planner->stages[s].cut_count > 0 || planner->stages[s].combined != NULL);
}

// May the stage have the form in place of the block? Where it can't for what is above,
// the block says so.
static bool fits(struct planner *planner, struct stage_draft *draft, const json_t *block,
                 const json_t *form) {
    struct text reason = {0};
    if (draft->combined != NULL || draft->unfiltered != NULL) return false;
    if (!is_cut(planner, form_group(form))) return false;
    if (!json_is_true(json_object_get(form, "parts"))) return true;
    const char *why = why_not_in_parts(planner, draft, block);
    if (why == NULL) return true;
    text_printf(&reason, "%s, above a window", why);
    if (!reason.failed)
        json_object_set_new((json_t *)(uintptr_t)block, WHOLE_GROUPS,
                            json_string(reason.data));
    text_free(&reason);
    return false;
}

// Chooses the stage's second form.
static void choose(const struct forms *forms, struct stage_draft *draft) {
    struct trees *trees = &forms->planner->trees;
    struct search search = {forms, tree_own(trees, json_array())};
    (void)tree_any(draft->node, collect, &search);
    for (size_t i = json_array_size(search.found); i-- > 0;) {
        size_t at = (size_t)json_integer_value(json_array_get(search.found, i));
        const json_t *form = forms->forms[at];
        json_t *streamed = json_object_get(form, "streamed");
        if (streamed != NULL && draft->streamed == NULL && draft->combines == 0)
            draft->streamed = tree_with(trees, draft->node, forms->blocks[at], streamed);
        if (!fits(forms->planner, draft, forms->blocks[at], form)) continue;
        draft->combined = tree_with(trees, draft->node, forms->blocks[at],
                                    json_object_get(form, "node"));
        json_t *one = json_object_get(form, "one");
        if (one != NULL)
            draft->of_one = tree_with(trees, draft->node, forms->blocks[at], one);
        draft->combine_leaf = (size_t)json_integer_value(json_object_get(form, "leaf"));
        draft->combine_group = form_group(form);
    }
}

// The stages that serve a stage are needed, and those that serve them.
static void use(const struct planner *planner, const struct stage_draft *draft,
                bool *used) {
    for (size_t s = 0; draft->combined != NULL && s < planner->stage_count; s++) {
        if (planner->stages[s].combines != draft->combine_group || used[s]) continue;
        used[s] = true;
        use(planner, &planner->stages[s], used);
    }
}

// The first stages serve others; what those inside them need comes before.
static void choose_all(struct planner *planner, const struct forms *forms, bool *used) {
    for (int serving = 1; serving >= 0; serving--) {
        for (size_t s = 0; s < planner->stage_count; s++) {
            if ((planner->stages[s].combines > 0) == serving)
                choose(forms, &planner->stages[s]);
        }
    }
    for (size_t s = 0; s < planner->stage_count; s++) {
        if (planner->stages[s].combines == 0) use(planner, &planner->stages[s], used);
    }
}

bool find_combined(struct planner *planner) {
    bool *used = calloc(planner->stage_count + 1, sizeof *used);
    struct forms forms;
    size_t kept = 0;
    bool ok = take_forms(planner, &forms) && used != NULL;
    for (size_t s = 0; ok && s < planner->stage_count; s++) {
        if (planner->stages[s].combines > 0) ok = find_cuts(planner, &planner->stages[s]);
    }
    if (ok) choose_all(planner, &forms, used);
    for (size_t s = 0; ok && s < planner->stage_count; s++) {
        if (planner->stages[s].combines > 0 && !used[s]) {
            free(planner->stages[s].cuts);
            continue;
        }
        planner->stages[kept++] = planner->stages[s];
    }
    if (ok) planner->stage_count = kept;
    free(forms.blocks);
    free(forms.forms);
    free(used);
    return ok;
}
