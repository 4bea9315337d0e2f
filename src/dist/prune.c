// Partition pruning: files whose folders (day=2026-01-01/) say that a WHERE keeps none of
// their rows are in no task. DuckDB would not open them either; but tasks are cut by the
// rows of the files they get, and those of one day would be in one task.
//
// The folders' values are read as DuckDB reads them, if they are plain; a file with any
// other stays. The conditions that speak of nothing else are DuckDB's to evaluate, over
// the distinct folders.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

// The columns of a leaf that its files' folders give, by which files may be left out.
struct pruning {
    struct planner *planner;
    struct leaf_draft *leaf;
    struct schema columns;  // those that a condition mentions
    json_t *conditions;     // in terms of them
};

// The value of key in the path, as [start, size]; false when it is none, or is written in
// a way that only DuckDB reads.
static bool folder_value(const char *path, const char *key, const char **start,
                         size_t *size) {
    size_t length = strlen(key);
    for (const char *at = path; at != NULL; at = strchr(at, '/')) {
        if (*at == '/') at++;
        const char *end = strchr(at, '/');
        if (end == NULL) return false;  // the file's own name
        if (strncmp(at, key, length) != 0 || at[length] != '=') continue;
        *start = at + length + 1;
        *size = (size_t)(end - *start);
        size_t plain = strspn(*start,
                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "0123456789-_.:");
        bool null = (*size == 4 && strncasecmp(*start, "null", 4) == 0) ||
                    strncmp(*start, "__HIVE", 6) == 0;
        return *size > 0 && plain == *size && !null;
    }
    return false;
}

// Is the column one that folders give? Its name is in the path, and the call says so, or
// the files don't have it.
static bool of_folder(struct pruning *pruning, const char *name) {
    struct file_set *set = &pruning->planner->file_sets[pruning->leaf->file_set];
    struct parquet_footer footer = {0};
    struct shoal_error ignored;
    const char *start;
    size_t size;
    if (!folder_value(set->files[0].path, name, &start, &size)) return false;
    if (set->source.hive || set->source.kind != SCAN_PARQUET) return set->source.hive;
    if (set->source.by_name) return false;
    bool known = parquet_footer_read(set->files[0].path, &footer, &ignored) == SHOAL_OK;
    bool inside = known && footer_column(&footer, name) != SIZE_MAX;
    parquet_footer_free(&footer);
    return known && !inside;
}

struct mentions {
    struct pruning *pruning;
    json_t *map;  // column key -> [alias, column]
    bool others;  // something else is mentioned
};

static bool add_column(struct schema *columns, const char *name, const char *type) {
    for (size_t i = 0; i < columns->count; i++) {
        if (strcmp(columns->columns[i].name, name) == 0) return true;
    }
    return schema_add(columns, name, type);
}

static void mention(void *ctx, const char *key) {
    struct mentions *mentions = ctx;
    struct pruning *pruning = mentions->pruning;
    json_t *origin = json_object_get(pruning->planner->origins, key);
    const char *name = json_string_value(json_array_get(origin, 1));
    size_t leaf = (size_t)json_integer_value(json_array_get(origin, 0));
    if (origin == NULL || &pruning->planner->leaves[leaf] != pruning->leaf ||
        !of_folder(pruning, name)) {
        mentions->others = true;
        return;
    }
    json_object_set_new(mentions->map, key, json_pack("[s, s]", "v", name));
    if (!add_column(&pruning->columns, name,
                    json_string_value(json_array_get(origin, 2))))
        mentions->others = true;
}

// Takes the conjuncts that speak of folders alone.
static void take_conditions(struct pruning *pruning, json_t *where) {
    struct trees *trees = &pruning->planner->trees;
    json_t *conjuncts = tree_own(trees, json_array());
    size_t i;
    json_t *conjunct;
    tree_conjuncts(where, conjuncts);
    json_array_foreach(conjuncts, i, conjunct) {
        struct mentions mentions = {.pruning = pruning,
                                    .map = tree_own(trees, json_object())};
        tree_each_column(conjunct, mention, &mentions);
        if (mentions.others || json_object_size(mentions.map) == 0 ||
            tree_volatile(trees, conjunct) != NULL)
            continue;
        json_array_append(pruning->conditions,
                          tree_rename_columns(trees, conjunct, mentions.map));
    }
}

// "('1', '2026')", the folders' values of one file; false: not all are plain.
static bool append_values(struct text *out, const struct schema *columns,
                          const char *path) {
    struct text values = {0};
    bool plain = true;
    for (size_t c = 0; c < columns->count && plain; c++) {
        const char *start;
        size_t size;
        plain = folder_value(path, columns->columns[c].name, &start, &size);
        if (plain) text_printf(&values, "%s'%.*s'", c ? ", " : "", (int)size, start);
    }
    if (plain) text_printf(out, "%s", values.failed ? "" : values.data);
    out->failed = out->failed || values.failed;
    text_free(&values);
    return plain;
}

// Which of the distinct folders, values[0 .. count), the conditions keep.
static bool ask(struct pruning *pruning, char *const *values, size_t count, bool *keep) {
    struct text sql = {0};
    struct duck_result *result = NULL;
    struct shoal_error ignored;
    size_t i;
    json_t *condition;
    text_append(&sql, "SELECT CAST(i AS VARCHAR) FROM (SELECT i");
    for (size_t c = 0; c < pruning->columns.count; c++) {
        text_printf(&sql, ", CAST(c%zu AS %s) AS ", c, pruning->columns.columns[c].type);
        text_append_identifier(&sql, pruning->columns.columns[c].name);
    }
    text_append(&sql, " FROM (VALUES ");
    for (size_t v = 0; v < count; v++)
        text_printf(&sql, "%s(%zu, %s)", v ? ", " : "", v, values[v]);
    text_append(&sql, ") f(i");
    for (size_t c = 0; c < pruning->columns.count; c++) text_printf(&sql, ", c%zu", c);
    text_append(&sql, ")) v WHERE true");
    json_array_foreach(pruning->conditions, i, condition) {
        char *text = keys_text(pruning->planner, tree_own(&pruning->planner->trees,
                                                          json_pack("[O]", condition)));
        text_printf(&sql, " AND (%s)", text ? text : "");
        sql.failed = sql.failed || text == NULL;
        free(text);
    }
    // A value that isn't of its type is an error where it is read, or nowhere.
    bool ok = !sql.failed && duck_query_text(pruning->planner->trees.conn, sql.data,
                                             &result, &ignored) == SHOAL_OK;
    for (size_t row = 0; ok && row < duck_result_rows(result); row++)
        keep[strtoull(duck_result_text(result, 0, row), NULL, 10)] = true;
    duck_result_free(result);
    text_free(&sql);
    return ok;
}

// The leaf reads these files only, which are a file set of their own from now on.
static bool set_files(struct pruning *pruning, const bool *wanted, size_t count) {
    struct planner *planner = pruning->planner;
    struct leaf_draft *leaf = pruning->leaf;
    struct file_set *sets =
        realloc(planner->file_sets, (planner->file_set_count + 1) * sizeof *sets);
    if (sets == NULL) return false;
    planner->file_sets = sets;
    struct file_set *from = &sets[leaf->file_set];
    struct file_set *to = &sets[planner->file_set_count];
    *to = (struct file_set){.argument = strdup(""), .scan_call = strdup("")};
    to->files = calloc(count + 1, sizeof *to->files);
    bool ok = scan_source_copy(&to->source, &from->source) &&
              schema_copy(&to->schema, &from->schema) && to->files != NULL;
    leaf->file_set = planner->file_set_count++;
    size_t kept = 0;
    for (size_t i = 0; ok && i < leaf->file_count; i++) {
        if (!wanted[i]) {
            free(leaf->files[i].path);
            continue;
        }
        to->files[to->file_count] = leaf->files[i];
        to->files[to->file_count].path = strdup(leaf->files[i].path);
        ok = to->files[to->file_count++].path != NULL;
        leaf->files[kept++] = leaf->files[i];
    }
    if (ok) leaf->file_count = kept;
    return ok && to->argument != NULL && to->scan_call != NULL;
}

// Finds each file's folders among the distinct ones, and leaves out what they don't keep.
static bool prune(struct pruning *pruning, struct fragment *from) {
    struct leaf_draft *leaf = pruning->leaf;
    char **values = calloc(leaf->file_count + 1, sizeof *values);
    size_t *of = calloc(leaf->file_count + 1, sizeof *of);
    bool *keep = calloc(leaf->file_count + 1, sizeof *keep);
    bool *wanted = calloc(leaf->file_count + 1, sizeof *wanted);
    json_t *known = tree_own(&pruning->planner->trees, json_object());
    size_t count = 0, left = 0;
    uint64_t rows = 0;
    bool ok = values != NULL && of != NULL && keep != NULL && wanted != NULL;
    for (size_t i = 0; ok && i < leaf->file_count; i++) {
        struct text text = {0};
        of[i] = SIZE_MAX;
        if (append_values(&text, &pruning->columns, leaf->files[i].path)) {
            json_t *at = json_object_get(known, text.data);
            of[i] = at == NULL ? count : (size_t)json_integer_value(at);
            if (at == NULL) {
                json_object_set_new(known, text.data, json_integer((json_int_t)count));
                values[count++] = text_take(&text);
                ok = values[count - 1] != NULL;
            }
        }
        ok = ok && !text.failed;
        text_free(&text);
    }
    bool asked = ok && count > 0 && ask(pruning, values, count, keep);
    for (size_t i = 0; asked && i < leaf->file_count; i++) {
        wanted[i] = of[i] == SIZE_MAX || keep[of[i]];
        left += wanted[i];
        if (wanted[i]) rows += leaf->files[i].rows;
    }
    if (asked && left == 0) {  // a scan has a file, if only to find no row in it
        wanted[0] = true;
        left = 1;
    }
    if (asked && left < leaf->file_count) {
        leaf->files_before = leaf->file_count;
        from->rows = rows;
        ok = set_files(pruning, wanted, left);
    }
    for (size_t i = 0; values != NULL && i < count; i++) free(values[i]);
    free(values);
    free(of);
    free(keep);
    free(wanted);
    return ok;
}

bool prune_files(struct planner *planner, struct fragment *from, json_t *where) {
    struct pruning pruning = {.planner = planner};
    size_t index = leaf_index(planner, from->tree);
    if (!json_is_object(where) || index >= planner->leaf_count) return true;
    pruning.leaf = &planner->leaves[index];
    if (pruning.leaf->kind != LEAF_SCAN || pruning.leaf->file_count < 2) return true;
    pruning.conditions = tree_own(&planner->trees, json_array());
    take_conditions(&pruning, where);
    bool ok = json_array_size(pruning.conditions) == 0 || prune(&pruning, from);
    schema_free(&pruning.columns);
    if (!ok) planner->trees.failed = true;
    return ok;
}
