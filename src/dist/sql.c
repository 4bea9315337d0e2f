// A stage's SQL for one task: its placeholders replaced by what this task reads.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/stages.h"
#include "lines/faults.h"

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

static const char *const readers[] = {
    [SCAN_PARQUET] = "parquet_scan", [SCAN_CSV] = "read_csv", [SCAN_JSON] = "read_json"};

// read_json(['x.json'
static void append_reader(struct text *out, const char *reader,
                          const struct scan_file *const *files, size_t count) {
    text_printf(out, "%s([", reader);
    for (size_t i = 0; i < count; i++) {
        text_append(out, i ? ", " : "");
        text_append_literal(out, files[i]->path);
    }
    text_append(out, "]");
}

static void append_call(struct text *out, const struct stage_leaf *leaf,
                        const struct scan_file *const *files, size_t count) {
    const struct scan_source *source = &leaf->source;
    append_reader(out, readers[source->kind], files, count);
    text_printf(out, "%s%s%s)", source->options, source->dialect, source->pinned);
}

static bool has_column(const struct schema *schema, const char *name) {
    for (size_t i = 0; i < schema->count; i++) {
        if (strcmp(schema->columns[i].name, name) == 0) return true;
    }
    return false;
}

// A file alone may lack columns that others have.
static void append_by_name(struct text *out, const struct stage_leaf *leaf) {
    if (!leaf->source.by_name) return;
    char *none = stage_empty_sql(&leaf->schema);
    text_printf(out, "(SELECT * FROM %s UNION ALL BY NAME SELECT *", none ? none : "");
    out->failed = out->failed || none == NULL;
    free(none);
    for (size_t i = 0; i < leaf->schema.count; i++) {  // * has no virtual columns
        const char *name = leaf->schema.columns[i].name;
        if (has_column(&leaf->source.columns, name)) continue;
        text_append(out, ", ");
        text_append_identifier(out, name);
    }
    text_append(out, " FROM ");
}

// Where records are to be kept that can't be read, every fault has to fail the first try.
static void append_read_all(struct text *out, const struct stage_leaf *leaf) {
    if (!leaf->source.rejects) return;
    text_append(out, " WHERE ");
    faults_append_read_all(out, &leaf->source.columns);
}

// NULL sets out->failed.
static const struct scan_file **files_of(struct text *out,
                                         const struct scan_split *split) {
    const struct scan_file **files = calloc(split->count + 1, sizeof *files);
    for (size_t i = 0; files != NULL && i < split->count; i++)
        files[i] = &split->files[i];
    out->failed = out->failed || files == NULL;
    return files;
}

static void append_split(struct text *out, const struct stage_leaf *leaf,
                         const struct scan_split *split, const char *pipe) {
    if (split->part == PART_BYTES) {
        text_printf(out, "%s(", readers[leaf->source.kind]);
        text_append_literal(out, pipe);
        text_printf(out, "%s)", split->options);
        append_read_all(out, leaf);
        return;
    }
    const struct scan_file **files = files_of(out, split);
    if (files != NULL) append_call(out, leaf, files, split->count);
    free(files);
    if (split->part == PART_WHOLE) {
        append_read_all(out, leaf);
        return;
    }
    const char *number =
        split->part == PART_ROWS ? "file_row_number" : "file_row_group_number";
    text_append(out, " WHERE ");
    if (split->part == PART_SOME) {
        text_append(out, split->where);
        return;
    }
    if (split->first > 0)
        text_printf(out, "%s >= %llu", number, (unsigned long long)split->first);
    if (split->first > 0 && split->last != SPLIT_TO_END) text_append(out, " AND ");
    if (split->last != SPLIT_TO_END)
        text_printf(out, "%s <= %llu", number, (unsigned long long)split->last);
}

// The column of the files' paths: one that the call asks for, or the virtual one.
static bool is_filename(const struct scan_source *source, const char *name) {
    if (source->filename != NULL && strcmp(source->filename, name) == 0) return true;
    return strcmp(name, "filename") == 0 && !has_column(&source->columns, name);
}

bool stage_scan_cuts(const struct stage_leaf *leaf) {
    if (!leaf->source.cuts) return false;
    for (size_t i = 0; i < leaf->schema.count; i++) {
        const char *name = leaf->schema.columns[i].name;
        if (!has_column(&leaf->source.columns, name) && !is_filename(&leaf->source, name))
            return false;
    }
    return true;
}

// path: the file whose bytes are read through a pipe; else NULL.
static void append_columns(struct text *out, const struct stage_leaf *leaf,
                           const char *path) {
    text_append(out, "(SELECT ");
    for (size_t i = 0; i < leaf->schema.count; i++) {
        const char *name = leaf->schema.columns[i].name;
        text_append(out, i ? ", CAST(" : "CAST(");
        if (path != NULL && is_filename(&leaf->source, name)) {
            text_append_literal(out, path);
        } else {
            text_append_identifier(out, name);
        }
        text_printf(out, " AS %s) AS ", leaf->schema.columns[i].type);
        text_append_identifier(out, name);
    }
    text_append(out, " FROM ");
}

char *stage_scan_sql(const struct stage_leaf *leaf, const struct scan_split *split,
                     const char *pipe) {
    struct text out = {0};
    bool bytes = split != NULL && split->part == PART_BYTES;
    append_columns(&out, leaf, bytes ? split->files[0].path : NULL);
    if (split == NULL) {
        text_append(&out, leaf->scan_call);
    } else {
        append_by_name(&out, leaf);
        append_split(&out, leaf, split, pipe);
        text_append(&out, leaf->source.by_name ? ")" : "");
    }
    text_append(&out, ")");
    return text_take(&out);
}

// The two calls of a split that are read side by side; false: out of memory. Free what
// they are.
static bool pair_calls(const struct stage_leaf *leaf, const struct scan_split *split,
                       char **rows, char **texts) {
    const struct scan_source *source = &leaf->source;
    struct text row = {0}, text = {0};
    const struct scan_file **files = files_of(&row, split);
    if (files != NULL) {
        append_reader(&row, readers[source->kind], files, split->count);
        append_reader(&text, "read_json_objects", files, split->count);
    }
    text_printf(&row, "%s%s%s, " FAULTS_IGNORED ", " FAULTS_OBJECTS ")", source->options,
                source->dialect, source->pinned);
    text_append(&text, source->texts);
    text_append(&text, ")");
    free(files);
    *rows = text_take(&row);
    *texts = text_take(&text);
    return *rows != NULL && *texts != NULL;
}

char *stage_good_sql(const struct stage_leaf *leaf, const struct scan_split *split,
                     size_t scan) {
    struct text out = {0};
    char *rows = NULL, *texts = NULL;
    bool path = false;  // the virtual column
    for (size_t i = 0; i < leaf->schema.count; i++) {
        path = path || (leaf->source.filename == NULL &&
                        is_filename(&leaf->source, leaf->schema.columns[i].name));
    }
    append_columns(&out, leaf, NULL);
    if (pair_calls(leaf, split, &rows, &texts)) {
        faults_append_good(&out, path ? "*, filename" : "*", rows, scan);
    } else {
        out.failed = true;
    }
    text_append(&out, ")");
    free(rows);
    free(texts);
    return text_take(&out);
}

void stage_append_faults(struct text *out, const struct stage_leaf *leaf,
                         const struct scan_split *split, size_t scan) {
    char *rows = NULL, *texts = NULL;
    if (pair_calls(leaf, split, &rows, &texts)) {
        struct faults_calls calls = {rows, texts, &leaf->source.columns};
        faults_append_select(out, &calls, scan);
    } else {
        out->failed = true;
    }
    free(rows);
    free(texts);
}

char *stage_range_sql(const struct stage_leaf *leaf, const struct scan_range *range) {
    struct text out = {0};
    append_columns(&out, leaf, NULL);
    append_by_name(&out, leaf);
    append_call(&out, leaf, range->files, range->file_count);
    text_printf(&out, " WHERE %s%s)", range->where, leaf->source.by_name ? ")" : "");
    return text_take(&out);
}

char *stage_number_sql(uint32_t number) {
    struct text out = {0};
    text_printf(&out, "(SELECT CAST(%u AS UINTEGER) AS number)", number);
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
