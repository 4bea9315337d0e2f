// A shuffle that turns out not to be needed: the stage that would have fed it is put into
// the one that reads it.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/stages.h"

// "(SELECT c0, c1 FROM (the stage))": its rows, without their hash.
static char *as_item(const struct stage *stage, const char *sql) {
    struct text item = {0};
    if (sql == NULL) return NULL;
    text_append(&item, "(SELECT ");
    for (size_t i = 0; i < stage->schema.count; i++) {
        text_append(&item, i ? ", " : "");
        text_append_identifier(&item, stage->schema.columns[i].name);
    }
    text_printf(&item, " FROM (%s))", sql);
    return text_take(&item);
}

// One of the reader's forms, `text`, with the leaf's name replaced.
static char *put_in(const struct stage *reader, const char *text, size_t leaf,
                    const char *item) {
    char **names = calloc(reader->leaf_count + 1, sizeof *names);
    char *sql = NULL;
    bool both = text != NULL && item != NULL;
    for (size_t l = 0; names != NULL && both && l < reader->leaf_count; l++)
        names[l] = l == leaf ? (char *)(uintptr_t)item : reader->leaves[l].placeholder;
    if (names != NULL && both) sql = stage_substitute(reader, text, names);
    free(names);
    return sql;
}

const struct stage_cut *stage_plain_cut(const struct stage *stage, size_t leaf) {
    for (size_t c = 0; c < stage->cut_count; c++) {
        const struct stage_cut *cut = &stage->cuts[c];
        if (cut->leaf == leaf && cut->sql == NULL && cut->rest_sql == NULL) return cut;
    }
    return NULL;
}

static void drop_cuts(struct stage *stage) {
    for (size_t c = 0; c < stage->cut_count; c++) {
        free(stage->cuts[c].sql);
        free(stage->cuts[c].rest_sql);
    }
    free(stage->cuts);
    stage->cuts = NULL;
    stage->cut_count = 0;
}

// The feeder's leaves come in the place of the one that read it.
static bool move_leaves(struct stage *reader, size_t leaf, struct stage *feeder) {
    size_t count = reader->leaf_count - 1 + feeder->leaf_count;
    struct stage_leaf *leaves = calloc(count + 1, sizeof *leaves);
    size_t at = 0;
    if (leaves == NULL) return false;
    for (size_t l = 0; l < feeder->leaf_count; l++) leaves[at++] = feeder->leaves[l];
    for (size_t l = 0; l < reader->leaf_count; l++) {
        if (l == leaf) {
            free(reader->leaves[l].placeholder);
            continue;
        }
        leaves[at] = reader->leaves[l];
        if (leaves[at].kind == LEAF_PARTITION) leaves[at].kind = LEAF_ORDERED;
        at++;
    }
    free(reader->leaves);
    reader->leaves = leaves;
    reader->leaf_count = count;
    feeder->leaf_count = 0;
    return true;
}

bool stages_fuse(struct stage *reader, size_t leaf, struct stage *feeder) {
    char *item = as_item(feeder, feeder->sql);
    char *without = as_item(feeder, feeder->unfiltered_sql);
    char *sql = put_in(reader, reader->sql, leaf, item);
    char *plain = put_in(reader, reader->plain_sql, leaf, item);
    char *unfiltered = put_in(reader, reader->sql, leaf, without);
    bool ok = sql != NULL && (reader->plain_sql == NULL || plain != NULL) &&
              (feeder->unfiltered_sql == NULL || unfiltered != NULL) &&
              move_leaves(reader, leaf, feeder);
    free(item);
    free(without);
    if (!ok) {
        free(sql);
        free(plain);
        free(unfiltered);
        return false;
    }
    free(reader->sql);
    free(reader->plain_sql);
    reader->sql = sql;
    reader->plain_sql = plain;
    reader->unfiltered_sql = unfiltered;
    reader->filter_leaf = feeder->filter_leaf;
    reader->filter_most = feeder->filter_most;
    reader->wide = feeder->wide;
    reader->repeatable = reader->repeatable && feeder->repeatable;
    drop_cuts(reader);
    return true;
}
