// Which side of a join a hint means. Canonical SQL has no alias of the user's left, and
// the optimizer moves relations about; what it leaves is what a relation reads. So the
// relation that a hint names is looked for in the statement's own tree, made a query of
// its own (SELECT * FROM it), and the files and tables in that one's canonical SQL are
// what it is known by: a side of a join that reads nothing else is it, or a part of it.
//
// Two relations that read the same can't be told apart so: of a join of them the side
// that the estimates prefer is taken.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "dist/planner.h"

struct hint_state {
    const struct hint *hint;
    json_t *scans;    // what its relation reads, a set
    bool named;       // there is such a relation
    bool met;         // a side of a join is it
    bool followed;    // there at least
    const char *why;  // not
};

static bool names_relation(const struct hint *hint) {
    return hint->kind == HINT_BROADCAST || hint->kind == HINT_SHUFFLE;
}

// ---- what a part of canonical SQL reads

struct scans {
    struct planner *planner;
    const json_t *ctes;
    json_t *found;
};

static bool add_scan(void *ctx, const json_t *object) {
    struct scans *scans = ctx;
    struct trees *trees = &scans->planner->trees;
    if (tree_is(object, "type", "TABLE_FUNCTION")) {
        const json_t *function = json_object_get(object, "function");
        const json_t *first = json_array_get(json_object_get(function, "arguments"), 0);
        // Of files which they are; options may come with a filter.
        const json_t *what =
            is_file_scan(object) ? json_object_get(first, "expression") : function;
        json_object_set_new(scans->found, tree_key(trees, what), json_true());
    } else if (tree_is(object, "type", "BASE_TABLE")) {
        const json_t *name = json_object_get(object, "qualified_name");
        bool plain = json_array_size(json_object_get(name, "path")) == 1;
        json_t *cte = json_object_get(scans->ctes, tree_text(object, "table_name"));
        json_t *inside = plain ? json_object_get(cte, "scans") : NULL;
        if (inside != NULL) json_object_update(scans->found, inside);
        if (!plain) json_object_set_new(scans->found, tree_key(trees, name), json_true());
    }
    return false;
}

json_t *hint_scans(struct planner *planner, const json_t *node, const json_t *ctes) {
    if (planner->hint_count == 0) return NULL;
    struct scans scans = {planner, ctes, tree_own(&planner->trees, json_object())};
    (void)tree_any(node, add_scan, &scans);
    return scans.found;
}

// ---- the relations of the user's tree

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// t, or "dir/t.parquet", or what DuckDB calls that file in the query: t.
static bool has_name(const json_t *item, const char *name) {
    const char *table = tree_text(item, "table_name");
    const char *file = last_part(table);
    size_t stem = strcspn(file, ".");
    if (strcasecmp(tree_text(item, "alias"), name) == 0) return true;
    if (*table == '\0') return false;
    return strcasecmp(table, name) == 0 || (file[stem] == '.' && strlen(name) == stem &&
                                            strncasecmp(file, name, stem) == 0);
}

static bool is_relation(const json_t *object) {
    static const char *const types[] = {"BASE_TABLE", "TABLE_FUNCTION", "SUBQUERY", NULL};
    return json_object_get(object, "class") == NULL &&
           json_object_get(object, "column_name_alias") != NULL &&
           text_one_of(tree_text(object, "type"), types);
}

// Adds what the relation reads. That it can't be told (it doesn't bind alone, as a
// lateral one) is no error.
static void add_relation(struct planner *planner, struct hint_state *state, json_t *item,
                         const json_t *entries) {
    struct trees *trees = &planner->trees;
    struct shoal_error ignored, *err = trees->err;
    char *sql = NULL, *canonical = NULL;
    json_t *node = tree_select_template(trees, "SELECT * FROM t");
    json_t *none = tree_own(trees, json_object());
    state->named = true;
    if (node == NULL) return;
    json_object_set(node, "from_table", item);
    json_object_set_new(node, "cte_map", json_pack("{s:O}", "map", entries));
    trees->err = &ignored;
    sql = tree_deparse(trees, node, &ignored);
    if (sql != NULL &&
        duck_canonical(trees->conn, sql, &canonical, &ignored) == SHOAL_OK) {
        json_t *found = hint_scans(planner, tree_parse(trees, canonical), none);
        json_object_update(state->scans, found);
    }
    trees->err = err;
    free(sql);
    free(canonical);
}

// Looks at every relation below node; entries are the CTEs that it sees.
static void find_relations(struct planner *planner, json_t *node, json_t *entries) {
    size_t i;
    const char *key;
    json_t *child;
    if (json_is_array(node)) {
        json_array_foreach(node, i, child) find_relations(planner, child, entries);
        return;
    }
    if (!json_is_object(node)) return;
    json_t *own = json_object_get(json_object_get(node, "cte_map"), "map");
    if (json_array_size(own) > 0) {
        entries = tree_own(&planner->trees, json_copy(entries));
        json_array_extend(entries, own);
    }
    for (size_t h = 0; h < planner->hint_count && is_relation(node); h++) {
        struct hint_state *state = &planner->hints[h];
        if (names_relation(state->hint) && has_name(node, state->hint->name))
            add_relation(planner, state, node, entries);
    }
    json_object_foreach(node, key, child) find_relations(planner, child, entries);
}

bool hints_open(struct planner *planner, const char *select) {
    const struct hints *hints = planner->options->hints;
    struct trees *trees = &planner->trees;
    struct shoal_error ignored, *err = trees->err;
    bool relations = false;
    if (hints == NULL || hints->count == 0) return true;
    planner->hints = calloc(hints->count, sizeof *planner->hints);
    if (planner->hints == NULL) {
        shoal_no_memory(planner->err);
        return false;
    }
    planner->hint_count = hints->count;
    for (size_t h = 0; h < hints->count; h++) {
        planner->hints[h] = (struct hint_state){.hint = &hints->list[h],
                                                .scans = tree_own(trees, json_object())};
        relations = relations || names_relation(&hints->list[h]);
    }
    if (!relations) return true;
    trees->err = &ignored;
    json_t *node = tree_parse(trees, select);
    trees->err = err;
    find_relations(planner, node, tree_own(trees, json_array()));
    return true;
}

// ---- joins

// Is the side the hint's relation, or a part of it?
static bool means(const struct hint_state *state, enum hint_kind kind,
                  const json_t *scans) {
    const char *key;
    json_t *unused;
    if (state->hint->kind != kind || json_object_size(scans) == 0) return false;
    json_object_foreach((json_t *)scans, key, unused) {
        if (json_object_get(state->scans, key) == NULL) return false;
    }
    return true;
}

const char *hint_asks(const struct planner *planner, enum hint_kind kind,
                      const json_t *scans) {
    for (size_t h = 0; h < planner->hint_count; h++) {
        if (means(&planner->hints[h], kind, scans)) return planner->hints[h].hint->text;
    }
    return NULL;
}

void hint_answer(struct planner *planner, enum hint_kind kind, const json_t *scans,
                 const char *why_not) {
    for (size_t h = 0; h < planner->hint_count; h++) {
        struct hint_state *state = &planner->hints[h];
        if (!means(state, kind, scans)) continue;
        state->met = true;
        state->followed = state->followed || why_not == NULL;
        if (why_not != NULL) state->why = why_not;
    }
}

// ---- where rows are written

// The columns that the result's rows are to be placed by, as references to the root's.
static json_t *places(struct planner *planner, const struct schema *names,
                      json_t *columns) {
    struct trees *trees = &planner->trees;
    json_t *keys = tree_own(trees, json_array());
    for (size_t h = 0; h < planner->hint_count; h++) {
        struct hint_state *state = &planner->hints[h];
        if (state->hint->kind != HINT_PLACE) continue;
        for (size_t i = 0; i < names->count; i++) {
            if (strcasecmp(names->columns[i].name, state->hint->name) != 0) continue;
            const char *column = json_string_value(json_array_get(columns, i));
            json_array_append(keys, tree_column(trees, "root", column));
            state->followed = true;
            break;
        }
    }
    return keys;
}

json_t *hint_keys(struct planner *planner, const struct fragment *root,
                  const struct schema *names, json_t *columns) {
    const char *why =
        !planner->options->sink ? "only what COPY writes to a folder has several places"
        : root->dist >= DIST_SINGLE ? "the rows are in one place, or in order"
                                    : NULL;
    if (why == NULL) return places(planner, names, columns);
    for (size_t h = 0; h < planner->hint_count; h++) {
        if (planner->hints[h].hint->kind == HINT_PLACE) planner->hints[h].why = why;
    }
    return tree_own(&planner->trees, json_array());
}

// ---- the end

static bool shuffles(const struct planner *planner) {
    for (size_t e = 0; e < planner->exchange_count; e++) {
        enum exchange_kind kind = planner->exchanges[e].kind;
        if (kind == EXCHANGE_HASH || kind == EXCHANGE_RANGE) return true;
    }
    return false;
}

static const char *why_not(const struct planner *planner,
                           const struct hint_state *state) {
    const struct hint *hint = state->hint;
    if (hint->kind == HINT_REFUSED) return hint->why;
    if (hint->kind == HINT_REPARTITION)
        return shuffles(planner) ? NULL : "the query shuffles nothing";
    if (hint->kind == HINT_PLACE && !state->followed)
        return state->why ? state->why : "the query selects no column of that name";
    if (state->followed) return NULL;
    if (!state->named) return "no relation of the query has that name";
    if (json_object_size(state->scans) == 0)
        return "the plan doesn't tell which part of it this relation is";
    if (!state->met) return "it is no side of a join";
    return state->why;
}

bool hints_shuffle(const struct planner *planner) {
    for (size_t h = 0; h < planner->hint_count; h++) {
        if (planner->hints[h].hint->kind == HINT_SHUFFLE) return true;
    }
    return false;
}

uint32_t hints_close(struct planner *planner) {
    uint32_t partitions = 0;
    for (size_t h = 0; h < planner->hint_count; h++) {
        const struct hint *hint = planner->hints[h].hint;
        const char *why = why_not(planner, &planner->hints[h]);
        if (why != NULL) {
            planner_warn(planner, "hint %s is not followed: %s", hint->text, why);
        } else if (hint->kind == HINT_REPARTITION) {
            partitions = hint->partitions;
            planner_note(planner, "shuffles have %u partitions, by the hint %s",
                         partitions, hint->text);
        }
    }
    return partitions;
}
