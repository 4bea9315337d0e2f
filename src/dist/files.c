// The Parquet files of a query: which there are, their rows, bytes and columns. Looked at
// once, before planning, whatever the number of scans.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

#define FOOTERS_MOST 1000  // files: reading more would take longer than planning

bool reads_parquet(const json_t *item) {
    const char *name = tree_text(json_object_get(item, "function"), "function_name");
    return tree_is(item, "type", "TABLE_FUNCTION") &&
           (strcmp(name, "parquet_scan") == 0 || strcmp(name, "read_parquet") == 0);
}

bool is_parquet_scan(const json_t *item) {
    const json_t *function = json_object_get(item, "function");
    return reads_parquet(item) &&
           json_array_size(json_object_get(function, "arguments")) == 1;
}

// The scan's one argument as SQL. Nearly always it is a path: no need to ask DuckDB then.
static char *scan_argument(struct planner *planner, const json_t *item) {
    json_t *arguments = json_object_get(json_object_get(item, "function"), "arguments");
    json_t *given = json_object_get(json_array_get(arguments, 0), "expression");
    const json_t *inner = given;
    if (tree_is(inner, "class", "CAST")) inner = json_object_get(inner, "child");
    const json_t *literal = json_object_get(inner, "literal");
    if (tree_is(inner, "class", "CONSTANT") && tree_is(literal, "kind", "STRING")) {
        struct text text = {0};
        text_append_literal(&text, tree_text(literal, "text"));
        return text_take(&text);
    }
    return keys_text(planner, tree_own(&planner->trees, json_pack("[O]", given)));
}

static bool add_scan(struct planner *planner, const json_t *item) {
    char *argument = scan_argument(planner, item);
    if (argument == NULL) return false;
    for (size_t i = 0; i < planner->file_set_count; i++) {
        if (strcmp(planner->file_sets[i].argument, argument) == 0) {
            free(argument);
            return true;
        }
    }
    struct text call = {0};
    text_printf(&call, "parquet_scan(%s)", argument);
    struct file_set *sets =
        realloc(planner->file_sets, (planner->file_set_count + 1) * sizeof *sets);
    if (sets != NULL) planner->file_sets = sets;
    if (sets == NULL || call.failed) {
        free(argument);
        text_free(&call);
        return false;
    }
    sets[planner->file_set_count++] =
        (struct file_set){.argument = argument, .scan_call = text_take(&call)};
    return true;
}

// True, which ends the search, when a scan could not be added.
static bool find_scan(void *ctx, const json_t *object) {
    return is_parquet_scan(object) && !add_scan(ctx, object);
}

static bool add_file(struct file_set *set, const char *path, const char *rows,
                     const char *bytes) {
    struct scan_file *files = realloc(set->files, (set->file_count + 1) * sizeof *files);
    char *copy = strdup(path);
    if (files != NULL) set->files = files;
    if (files == NULL || copy == NULL) {
        free(copy);
        return false;
    }
    files[set->file_count++] = (struct scan_file){.path = copy,
                                                  .rows = strtoull(rows, NULL, 10),
                                                  .bytes = strtoull(bytes, NULL, 10)};
    return true;
}

static bool list_files(struct planner *planner) {
    struct text sql = {0};
    for (size_t i = 0; i < planner->file_set_count; i++) {
        text_printf(&sql,
                    "%sSELECT '%zu', file_name, num_rows::VARCHAR, "
                    "file_size_bytes::VARCHAR FROM parquet_file_metadata(%s)",
                    i ? " UNION ALL " : "", i, planner->file_sets[i].argument);
    }
    struct duck_result *result = NULL;
    bool ok = !sql.failed && duck_query_text(planner->trees.conn, sql.data, &result,
                                             planner->err) == SHOAL_OK;
    text_free(&sql);
    for (size_t i = 0; ok && i < duck_result_rows(result); i++) {
        size_t set = strtoull(duck_result_text(result, 0, i), NULL, 10);
        const char *rows = duck_result_text(result, 2, i);
        const char *bytes = duck_result_text(result, 3, i);
        ok = add_file(&planner->file_sets[set], duck_result_text(result, 1, i),
                      rows ? rows : "0", bytes ? bytes : "0");
    }
    duck_result_free(result);
    return ok;
}

static bool describe_files(struct planner *planner) {
    size_t count = planner->file_set_count;
    char **calls = calloc(count, sizeof *calls);
    struct schema *schemas = calloc(count, sizeof *schemas);
    bool ok = calls != NULL && schemas != NULL;
    for (size_t i = 0; ok && i < count; i++) calls[i] = planner->file_sets[i].scan_call;
    ok = ok && describe_items(planner, "", calls, count, schemas) == SHOAL_OK;
    for (size_t i = 0; schemas != NULL && i < count; i++) {
        planner->file_sets[i].schema = schemas[i];
    }
    free(calls);
    free(schemas);
    return ok;
}

bool find_files(struct planner *planner, const json_t *node) {
    if (tree_any(node, find_scan, planner)) return false;
    return planner->file_set_count == 0 ||
           (list_files(planner) && describe_files(planner));
}

struct file_set *scan_files(struct planner *planner, const json_t *item) {
    char *argument = scan_argument(planner, item);
    struct file_set *found = NULL;
    for (size_t i = 0; argument != NULL && i < planner->file_set_count; i++) {
        struct file_set *set = &planner->file_sets[i];
        if (strcmp(set->argument, argument) == 0) found = set;
    }
    free(argument);
    return found;
}

bool read_footers(struct file_set *set) {
    struct shoal_error ignored;
    if (set->looked) return set->footers != NULL;
    set->looked = true;
    if (set->file_count > FOOTERS_MOST) return false;
    set->footers = calloc(set->file_count + 1, sizeof *set->footers);
    for (size_t i = 0; set->footers != NULL && i < set->file_count; i++) {
        if (parquet_footer_read(set->files[i].path, &set->footers[i], &ignored) ==
            SHOAL_OK) {
            continue;
        }
        for (size_t f = 0; f <= i; f++) parquet_footer_free(&set->footers[f]);
        free(set->footers);
        set->footers = NULL;
    }
    return set->footers != NULL;
}

size_t footer_column(const struct parquet_footer *footer, const char *name) {
    for (size_t c = 0; c < footer->column_count; c++) {
        if (strcmp(footer->columns[c].name, name) == 0) return c;
    }
    return SIZE_MAX;
}

const struct parquet_range *footer_range(const struct parquet_footer *footer,
                                         size_t group, size_t column) {
    return &footer->ranges[group * footer->column_count + column];
}

void file_sets_free(struct planner *planner) {
    for (size_t i = 0; i < planner->file_set_count; i++) {
        struct file_set *set = &planner->file_sets[i];
        for (size_t f = 0; set->footers != NULL && f < set->file_count; f++)
            parquet_footer_free(&set->footers[f]);
        free(set->footers);
        scan_files_free(set->files, set->file_count);
        free(set->argument);
        free(set->scan_call);
        schema_free(&set->schema);
    }
    free(planner->file_sets);
}
