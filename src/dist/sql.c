// A stage's SQL for one task: its placeholders replaced by what this task reads.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/stages.h"

const struct stage *stages_last(const struct stages *stages) {
    for (size_t i = 0; i < stages->count; i++) {
        if (stages->stages[i].sink) return &stages->stages[i];
    }
    return &stages->stages[stages->count - 1];
}

bool stage_reads(const struct stage *stage, uint32_t exchange) {
    for (size_t i = 0; i < stage->leaf_count; i++) {
        const struct stage_leaf *leaf = &stage->leaves[i];
        if (leaf->scan_call == NULL && leaf->exchange == exchange) return true;
    }
    return false;
}

char *stage_substitute(const struct stage *stage, const char *sql,
                       char *const *leaf_sql) {
    struct text out = {0};
    const char *at = sql;
    for (;;) {
        const char *mark = strstr(at, "__leaf_");
        if (mark == NULL) break;
        size_t which = stage->leaf_count;
        for (size_t i = 0; i < stage->leaf_count; i++) {
            size_t length = strlen(stage->leaves[i].placeholder);
            if (strncmp(mark, stage->leaves[i].placeholder, length) == 0) which = i;
        }
        if (which == stage->leaf_count) {  // the user's own text
            text_append_bytes(&out, at, (size_t)(mark - at) + 7);
            at = mark + 7;
            continue;
        }
        size_t length = strlen(stage->leaves[which].placeholder);
        bool quoted = mark > at && mark[-1] == '"' && mark[length] == '"';
        text_append_bytes(&out, at, (size_t)(mark - at) - quoted);
        if (leaf_sql[which] == NULL) {
            text_free(&out);
            return NULL;
        }
        text_append(&out, leaf_sql[which]);
        at = mark + length + quoted;
    }
    text_append(&out, at);
    return text_take(&out);
}

// The values of hive partitions (year=2026/...) stay text until the cast: one file alone
// could be read as another type than all of them together.
static void append_files(struct text *out, const struct scan_split *split) {
    text_append(out, "parquet_scan([");
    for (size_t i = 0; i < split->count; i++) {
        text_append(out, i ? ", " : "");
        text_append_literal(out, split->files[i].path);
    }
    text_append(out, "], hive_types_autocast=false)");
    if (split->part == PART_WHOLE) return;
    const char *number =
        split->part == PART_ROWS ? "file_row_number" : "file_row_group_number";
    text_append(out, " WHERE ");
    if (split->first > 0)
        text_printf(out, "%s >= %llu", number, (unsigned long long)split->first);
    if (split->first > 0 && split->last != SPLIT_TO_END) text_append(out, " AND ");
    if (split->last != SPLIT_TO_END)
        text_printf(out, "%s <= %llu", number, (unsigned long long)split->last);
}

static void append_columns(struct text *out, const struct stage_leaf *leaf) {
    text_append(out, "(SELECT ");
    for (size_t i = 0; i < leaf->schema.count; i++) {
        text_append(out, i ? ", CAST(" : "CAST(");
        text_append_identifier(out, leaf->schema.columns[i].name);
        text_printf(out, " AS %s) AS ", leaf->schema.columns[i].type);
        text_append_identifier(out, leaf->schema.columns[i].name);
    }
    text_append(out, " FROM ");
}

char *stage_scan_sql(const struct stage_leaf *leaf, const struct scan_split *split) {
    struct text out = {0};
    append_columns(&out, leaf);
    if (split == NULL) {
        text_append(&out, leaf->scan_call);
    } else {
        append_files(&out, split);
    }
    text_append(&out, ")");
    return text_take(&out);
}

char *stage_range_sql(const struct stage_leaf *leaf, const struct scan_range *range) {
    struct text out = {0};
    append_columns(&out, leaf);
    text_append(&out, "parquet_scan([");
    for (size_t i = 0; i < range->file_count; i++) {
        text_append(&out, i ? ", " : "");
        text_append_literal(&out, range->files[i]->path);
    }
    text_printf(&out, "], hive_types_autocast=false) WHERE %s)", range->where);
    return text_take(&out);
}

char *stage_empty_sql(const struct schema *schema) {
    struct text out = {0};
    text_append(&out, "(SELECT ");
    for (size_t i = 0; i < schema->count; i++) {
        text_printf(&out, "%sCAST(NULL AS %s) AS ", i ? ", " : "",
                    schema->columns[i].type);
        text_append_identifier(&out, schema->columns[i].name);
    }
    text_append(&out, " WHERE false)");
    return text_take(&out);
}
