// The files of a query: which there are, their rows, bytes and columns. Looked at
// once, before planning, whatever the number of scans.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "dist/planner.h"

#define FOOTERS_MOST 1000  // files: reading more would take longer than planning

bool is_file_scan(const json_t *item) {
    enum scan_kind kind;
    const json_t *function = json_object_get(item, "function");
    return tree_is(item, "type", "TABLE_FUNCTION") &&
           source_kind(tree_text(function, "function_name"), &kind);
}

static json_t *arguments_of(const json_t *item) {
    return json_object_get(json_object_get(item, "function"), "arguments");
}

// The scan's first argument as SQL. Nearly always it is a path: no need to ask DuckDB
// then.
static char *first_argument(struct planner *planner, const json_t *item) {
    json_t *given = json_object_get(json_array_get(arguments_of(item), 0), "expression");
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

// The whole call as SQL, by which scans of the same files are one.
static char *call_text(struct planner *planner, const json_t *item,
                       const char *argument) {
    struct text call = {0};
    const char *name = tree_text(json_object_get(item, "function"), "function_name");
    json_t *options = tree_own(&planner->trees, json_array());
    size_t i;
    json_t *given;
    text_printf(&call, "%s(%s", name, argument);
    json_array_foreach(arguments_of(item), i, given) {
        if (i > 0) json_array_append(options, json_object_get(given, "expression"));
    }
    if (json_array_size(options) > 0) {
        char *text = keys_text(planner, options);
        text_printf(&call, ", %s", text ? text : "");
        call.failed = call.failed || text == NULL;
        free(text);
    }
    text_append(&call, ")");
    return text_take(&call);
}

// A folder stands for the files in it that end as those of its reader do, at any depth.
// What lists files here knows only paths and patterns.
static bool spell_folders(struct file_set *set) {
    struct text spelled = {0};
    struct stat at;
    bool any = false;
    if (set->source.kind == SCAN_PARQUET) return true;
    for (const char *token = duck_token_start(set->argument); *token;
         token = duck_token_next(token)) {
        char *path = *token == '\'' ? duck_token_unquoted(token, '\'') : NULL;
        if (path != NULL && stat(path, &at) == 0 && S_ISDIR(at.st_mode)) {
            struct text pattern = {0};
            any = true;
            size_t length = strlen(path);
            text_printf(&pattern, "%s%s**/*.%s", path,
                        length > 0 && path[length - 1] == '/' ? "" : "/",
                        set->source.kind == SCAN_CSV ? "csv" : "json");
            text_append_literal(&spelled, pattern.failed ? "" : pattern.data);
            spelled.failed = spelled.failed || pattern.failed;
            text_free(&pattern);
        } else {
            text_append_bytes(&spelled, token, (size_t)(duck_token_end(token) - token));
        }
        spelled.failed = spelled.failed || (*token == '\'' && path == NULL);
        text_append(&spelled, " ");
        free(path);
    }
    char *argument = text_take(&spelled);
    if (argument == NULL) return false;
    if (!any) {
        free(argument);
        return true;
    }
    free(set->argument);
    set->argument = argument;
    return true;
}

static bool add_scan(struct planner *planner, const json_t *item) {
    struct file_set set = {.argument = first_argument(planner, item)};
    if (set.argument != NULL) set.scan_call = call_text(planner, item, set.argument);
    struct file_set *sets =
        realloc(planner->file_sets, (planner->file_set_count + 1) * sizeof *sets);
    if (sets != NULL) planner->file_sets = sets;
    bool known = false;
    for (size_t i = 0; set.scan_call != NULL && i < planner->file_set_count; i++)
        known = known || strcmp(planner->file_sets[i].scan_call, set.scan_call) == 0;
    bool ok = sets != NULL && set.scan_call != NULL;
    if (!ok || known) {
        free(set.argument);
        free(set.scan_call);
        return ok;
    }
    sets[planner->file_set_count] = set;
    struct file_set *added = &sets[planner->file_set_count++];
    return source_options(planner, item, added) && spell_folders(added);
}

// True, which ends the search, when a scan could not be added.
static bool find_scan(void *ctx, const json_t *object) {
    return is_file_scan(object) && !add_scan(ctx, object);
}

// What a file is when its rows are known: the tasks must find it so.
static bool add_file(struct planner *planner, struct file_set *set, const char *path,
                     const char *rows, const char *bytes) {
    struct scan_file *files = realloc(set->files, (set->file_count + 1) * sizeof *files);
    char *copy = strdup(path);
    if (files != NULL) set->files = files;
    if (files == NULL || copy == NULL) {
        free(copy);
        return false;
    }
    struct scan_file *file = &files[set->file_count++];
    *file = (struct scan_file){.path = copy,
                               .rows = strtoull(rows, NULL, 10),
                               .bytes = strtoull(bytes, NULL, 10),
                               .state = file_state_read(path)};
    struct file_state listed = file->state;
    listed.bytes = file->bytes;
    return file_state_check(path, &listed, planner->err) == SHOAL_OK;
}

// Parquet files with their rows; of text files the bytes say how many there may be.
static bool list_files(struct planner *planner) {
    struct text sql = {0};
    for (size_t i = 0; i < planner->file_set_count; i++) {
        const struct file_set *set = &planner->file_sets[i];
        if (set->refused != NULL) continue;
        text_printf(&sql, "%sSELECT '%zu', ", sql.size ? " UNION ALL " : "", i);
        text_printf(&sql,
                    set->source.kind == SCAN_PARQUET
                        ? "file_name, num_rows::VARCHAR, file_size_bytes::VARCHAR "
                          "FROM parquet_file_metadata(%s)"
                        : "filename, '', size::VARCHAR FROM read_blob(%s)",
                    set->argument);
    }
    if (sql.size == 0) return !sql.failed;
    struct duck_result *result = NULL;
    bool ok = !sql.failed && duck_query_text(planner->trees.conn, sql.data, &result,
                                             planner->err) == SHOAL_OK;
    text_free(&sql);
    for (size_t i = 0; ok && i < duck_result_rows(result); i++) {
        size_t set = strtoull(duck_result_text(result, 0, i), NULL, 10);
        const char *rows = duck_result_text(result, 2, i);
        const char *bytes = duck_result_text(result, 3, i);
        ok = add_file(planner, &planner->file_sets[set], duck_result_text(result, 1, i),
                      rows ? rows : "0", bytes ? bytes : "0");
    }
    duck_result_free(result);
    return ok;
}

#define PACKED_BYTES 5  // of text in a byte that is compressed

static void estimate_rows(struct file_set *set) {
    if (set->source.kind == SCAN_PARQUET || set->file_count == 0) return;
    double rows = source_rows_a_byte(set->files[0].path);
    for (size_t i = 0; i < set->file_count; i++) {
        struct scan_file *file = &set->files[i];
        double bytes = (double)file->bytes;
        if (scan_file_packed(file->path)) bytes *= PACKED_BYTES;
        file->rows = (uint64_t)(bytes * rows);
    }
}

// The schemas of the calls in one DESCRIBE. bare: without what paths give, of the sets
// whose schema may have it.
static bool describe_calls(struct planner *planner, bool bare, struct schema *schemas) {
    size_t count = 0;
    char **calls = calloc(planner->file_set_count + 1, sizeof *calls);
    size_t *of = calloc(planner->file_set_count + 1, sizeof *of);
    struct schema *found = calloc(planner->file_set_count + 1, sizeof *found);
    bool ok = calls != NULL && of != NULL && found != NULL;
    for (size_t i = 0; ok && i < planner->file_set_count; i++) {
        struct file_set *set = &planner->file_sets[i];
        if (set->refused != NULL || (bare && !set->paths)) continue;
        of[count] = i;
        calls[count] = bare ? source_bare_call(set) : set->scan_call;
        ok = calls[count++] != NULL;
    }
    ok = ok && describe_items(planner, "", calls, count, found) == SHOAL_OK;
    for (size_t i = 0; found != NULL && i < count; i++) schemas[of[i]] = found[i];
    for (size_t i = 0; bare && calls != NULL && i < count; i++) free(calls[i]);
    free(calls);
    free(of);
    free(found);
    return ok;
}

static bool describe_files(struct planner *planner) {
    size_t count = planner->file_set_count;
    struct schema *all = calloc(count, sizeof *all);
    struct schema *bare = calloc(count, sizeof *bare);
    bool ok = all != NULL && bare != NULL && describe_calls(planner, false, all) &&
              describe_calls(planner, true, bare);
    for (size_t i = 0; i < count; i++) {
        struct file_set *set = &planner->file_sets[i];
        if (all != NULL) set->schema = all[i];
        if (ok && set->refused == NULL)
            ok = source_pin(planner, set, set->paths ? &bare[i] : &set->schema);
        if (bare != NULL) schema_free(&bare[i]);
    }
    free(all);
    free(bare);
    return ok;
}

// Do folders of the paths give columns, as far as their names tell?
static bool has_hive_folders(const struct file_set *set) {
    for (size_t i = 0; i < set->file_count; i++) {
        const char *last = strrchr(set->files[i].path, '/');
        const char *sign = strchr(set->files[i].path, '=');
        if (last == NULL || sign == NULL || sign > last) return false;
    }
    return set->file_count > 0;
}

bool find_files(struct planner *planner, const json_t *node) {
    if (tree_any(node, find_scan, planner)) return false;
    if (planner->file_set_count == 0) return true;
    if (!list_files(planner)) return false;
    for (size_t i = 0; i < planner->file_set_count; i++) {
        struct file_set *set = &planner->file_sets[i];
        estimate_rows(set);
        bool text = set->source.kind != SCAN_PARQUET;
        set->paths = text && (set->source.filename != NULL || has_hive_folders(set));
    }
    return describe_files(planner);
}

struct file_set *scan_files(struct planner *planner, const json_t *item) {
    char *argument = first_argument(planner, item);
    char *call = argument == NULL ? NULL : call_text(planner, item, argument);
    struct file_set *found = NULL;
    for (size_t i = 0; call != NULL && i < planner->file_set_count; i++) {
        struct file_set *set = &planner->file_sets[i];
        if (strcmp(set->scan_call, call) == 0) found = set;
    }
    free(argument);
    free(call);
    return found;
}

bool read_footers(struct file_set *set) {
    struct shoal_error ignored;
    if (set->source.kind != SCAN_PARQUET) return false;
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
        free(set->refused);
        text_free(&set->path_options);
        text_free(&set->layout);
        text_free(&set->columns);
        scan_source_free(&set->source);
        schema_free(&set->schema);
    }
    free(planner->file_sets);
}
