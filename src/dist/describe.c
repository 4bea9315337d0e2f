// The columns of several FROM items, in one DESCRIBE: each costs DuckDB a fixed third of
// a millisecond, and a plan needs a dozen.
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

static void mark_name(const struct planner *planner, size_t item, char *name) {
    (void)snprintf(name, LEAF_NAME_SIZE, "__leaf_%u_item_%zu__", planner->salt, item);
}

shoal_status describe_items(struct planner *planner, const char *with, char *const *items,
                            size_t count, struct schema *schemas) {
    struct text list = {0};
    struct text from = {0};
    struct schema all = {0};
    char mark[LEAF_NAME_SIZE];
    if (count == 0) return SHOAL_OK;
    for (size_t i = 0; i < count; i++) {
        mark_name(planner, i, mark);
        text_printf(&list, "%s0 AS %s, i%zu.*", i ? ", " : "", mark, i);
        text_printf(&from, "%s%s AS i%zu", i ? ", " : "", items[i], i);
    }
    text_printf(&list, " FROM %s", from.failed ? "" : from.data);
    struct text select = {0};
    text_printf(&select, "%sSELECT %s", with, list.failed ? "" : list.data);
    bool failed = list.failed || from.failed || select.failed;
    shoal_status status =
        failed ? shoal_fail(planner->err, SHOAL_NOMEM, "out of memory while planning")
               : duck_describe(planner->trees.conn, select.data, &all, planner->err);
    size_t seen = 0;
    for (size_t i = 0; status == SHOAL_OK && i < all.count; i++) {
        mark_name(planner, seen, mark);
        if (strcmp(all.columns[i].name, mark) == 0) {
            seen++;
        } else if (seen == 0 || seen > count ||
                   !schema_add(&schemas[seen - 1], all.columns[i].name,
                               all.columns[i].type)) {
            status =
                shoal_fail(planner->err, SHOAL_NOMEM, "out of memory while planning");
        }
    }
    if (status == SHOAL_OK && seen != count) {
        status = shoal_fail(planner->err, SHOAL_INTERNAL,
                            "%zu inputs were described, not %zu", seen, count);
    }
    schema_free(&all);
    text_free(&list);
    text_free(&from);
    text_free(&select);
    return status;
}
