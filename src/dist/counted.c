// What a filter leaves of a small file is counted, not guessed, where a large side of a
// join depends on it.
//
// Stars are joined by filtered dimensions, and what a filter keeps of the dimension is
// taken for what it keeps of the facts (join.c). Guesses there are far off, and those of
// several joins multiply: a filtered dimension of 100,000 rows is read in a millisecond,
// a fact table that was broadcast by mistake costs a thousand times that.
//
// Facts refer to a part of a dimension only: sales of five years to days of two
// centuries. So rows are counted whose keys lie between the smallest and the largest of
// the facts' files, and set against as many as there are in that range.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

#define COUNTED_ROWS 250000  // of the file, at most
#define LARGE_ROWS 1000000   // of the other side, at least
#define LARGE_A_COUNTED 4    // and at least so many times the file's

// Appends " WHERE key BETWEEN ...", as the type of the key's column writes its values.
static bool append_range(struct planner *planner, struct text *sql, const json_t *key,
                         double min, double max) {
    static const char *const integers[] = {"TINYINT",  "SMALLINT",  "INTEGER", "BIGINT",
                                           "UTINYINT", "USMALLINT", NULL};
    const char *type = json_string_value(json_array_get(planner_origin(planner, key), 2));
    const json_t *names = json_object_get(key, "column_names");
    bool date = type != NULL && strcmp(type, "DATE") == 0;
    const char *unit = date ? "DATE '1970-01-01' + " : "";
    if (type == NULL || json_array_size(names) != 2 ||
        (!date && !text_one_of(type, integers)) || min < -9e15 || max > 9e15)
        return false;
    text_append(sql, " WHERE ");
    text_append_identifier(sql, json_string_value(json_array_get(names, 0)));
    text_append(sql, ".");
    text_append_identifier(sql, json_string_value(json_array_get(names, 1)));
    text_printf(sql, " BETWEEN %s(%" PRId64 ") AND %s(%" PRId64 ")", unit, (int64_t)min,
                unit, (int64_t)max);
    return true;
}

// The rows of the item, those whose key is in the range of the other's if that is known;
// then *share is that of the file's rows that are. False: they can't be counted.
static bool count(struct planner *planner, const json_t *item, json_t *keys,
                  json_t *other_keys, double *rows, double *share) {
    struct trees *trees = &planner->trees;
    struct shoal_error err;
    struct text sql = {0};
    char *value = NULL;
    json_t *list = tree_own(trees, json_array());
    json_array_append(list, tree_expression(trees, "count(*)"));
    char *text =
        tree_deparse(trees, tree_select(trees, list, tree_copy(trees, item), NULL), &err);
    if (text == NULL) return false;
    text_append(&sql, text);
    free(text);
    *share = 1;
    for (size_t i = 0; i < json_array_size(keys); i++) {
        double min, max;
        double reached = share_reached(planner, json_array_get(keys, i),
                                       json_array_get(other_keys, i), &min, &max);
        if (reached <= 0 ||
            !append_range(planner, &sql, json_array_get(keys, i), min, max))
            continue;
        *share = reached;
        break;
    }
    text = text_take(&sql);
    bool counted =
        text != NULL && duck_scalar(trees->conn, text, &value, &err) == SHOAL_OK;
    if (counted) *rows = strtod(value, NULL);
    free(text);
    free(value);
    return counted;
}

void count_filtered(struct planner *planner, struct fragment *side, const json_t *item,
                    json_t *keys, const struct fragment *other, json_t *other_keys) {
    double rows, share;
    bool filtered;
    if (other->rows < LARGE_ROWS) return;
    const json_t *below = item_below(planner, item, &filtered);
    if (!filtered || !tree_is(below, "type", "TABLE_FUNCTION")) return;
    const struct leaf_draft *leaf = driving_leaf(planner, side->tree);
    if (leaf == NULL || leaf->kind != LEAF_SCAN || side->once) return;
    struct file_set *set = &planner->file_sets[leaf->file_set];
    double all = (double)scan_files_rows(set->files, set->file_count);
    if (all < 1 || all > COUNTED_ROWS || all * LARGE_A_COUNTED > (double)other->rows ||
        !read_footers(set) || !count(planner, item, keys, other_keys, &rows, &share))
        return;
    double kept = rows / (all * share);
    side->rows = (uint64_t)rows + 1;
    side->kept = kept > 1 ? 1 : kept > 1e-6 ? kept : 1e-6;
}
