// What a call that reads files says, and what of it a call must say that reads only some
// of them, or a part of one.
//
// The schema of a scan is bound once, for all its files. DuckDB finds the types of text
// files by looking into them, so a call for one of them alone could find others, and read
// 007 as 7. Therefore what detects types is left out of a task's call and the types that
// were found for all are pinned, by name: the dialect of each CSV file, its header and
// the order of its columns stay its own.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/json.h"
#include "base/text.h"
#include "dist/planner.h"
#include "lines/faults.h"

static const struct {
    const char *function;
    enum scan_kind kind;
} functions[] = {
    {"parquet_scan", SCAN_PARQUET}, {"read_parquet", SCAN_PARQUET},
    {"read_csv", SCAN_CSV},         {"read_csv_auto", SCAN_CSV},
    {"read_json", SCAN_JSON},       {"read_json_auto", SCAN_JSON},
    {"read_ndjson", SCAN_JSON},     {"read_ndjson_auto", SCAN_JSON},
};

bool source_kind(const char *function, enum scan_kind *kind) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(functions[i].function, function) != 0) continue;
        *kind = functions[i].kind;
        return true;
    }
    return false;
}

// What is done with an option in the call of a task.
enum use {
    USE_KEEP,     // it stays
    USE_DIALECT,  // it stays for whole files; for a part, what is found in its file
    USE_WHOLE,    // the same, and files are not cut: a record may depend on others
    USE_DETECT,   // it goes: the schema is pinned
    USE_PATH,     // it stays: columns of the files' paths
    USE_SCHEMA,   // it stays, and is the pinned schema
    USE_NAMES,    // files lack columns
    USE_REJECTS,  // as USE_WHOLE, where tasks keep what is rejected
    USE_IGNORE,   // as USE_WHOLE; where tasks keep what is rejected, they say it
    USE_MARK,     // it goes: it says that they do
    USE_FORMAT,   // how JSON records follow each other
};

#define PARQUET (1u << SCAN_PARQUET)
#define CSV (1u << SCAN_CSV)
#define JSON (1u << SCAN_JSON)

// Absent: the driver reads the files.
static const struct option {
    const char *name;
    unsigned kinds;
    enum use use;
} options[] = {
    {"hive_partitioning", PARQUET | CSV | JSON, USE_PATH},
    {"hive_types", PARQUET | CSV | JSON, USE_PATH},
    {"hive_types_autocast", PARQUET | CSV | JSON, USE_DETECT},
    {"filename", PARQUET | CSV | JSON, USE_PATH},
    {"union_by_name", PARQUET, USE_NAMES},
    {"union_by_name", JSON, USE_DETECT},
    {"binary_as_string", PARQUET, USE_KEEP},
    {"file_row_number", PARQUET, USE_KEEP},
    {"auto_detect", CSV, USE_WHOLE},
    {"compression", CSV | JSON, USE_WHOLE},
    {"sample_size", CSV, USE_DIALECT},
    {"sample_size", JSON, USE_DETECT},
    {"dateformat", CSV, USE_DIALECT},
    {"dateformat", JSON, USE_KEEP},
    {"date_format", CSV, USE_DIALECT},
    {"date_format", JSON, USE_KEEP},
    {"timestampformat", CSV, USE_DIALECT},
    {"timestampformat", JSON, USE_KEEP},
    {"timestamp_format", CSV, USE_DIALECT},
    {"timestamp_format", JSON, USE_KEEP},
    {"ignore_errors", CSV, USE_WHOLE},
    {"ignore_errors", JSON, USE_IGNORE},
    {FAULTS_MARK, JSON, USE_MARK},
    {"columns", CSV | JSON, USE_SCHEMA},
    {"types", CSV, USE_DETECT},
    {"dtypes", CSV, USE_DETECT},
    {"column_types", CSV, USE_DETECT},
    {"all_varchar", CSV, USE_DETECT},
    {"auto_type_candidates", CSV, USE_DETECT},
    {"files_to_sniff", CSV, USE_DETECT},
    {"names", CSV, USE_WHOLE},
    {"column_names", CSV, USE_WHOLE},
    {"sep", CSV, USE_DIALECT},
    {"delim", CSV, USE_DIALECT},
    {"quote", CSV, USE_DIALECT},
    {"escape", CSV, USE_DIALECT},
    {"comment", CSV, USE_WHOLE},
    {"header", CSV, USE_DIALECT},
    {"skip", CSV, USE_DIALECT},
    {"new_line", CSV, USE_DIALECT},
    {"nullstr", CSV, USE_KEEP},
    {"decimal_separator", CSV, USE_KEEP},
    {"thousands", CSV, USE_KEEP},
    {"force_not_null", CSV, USE_KEEP},
    {"allow_quoted_nulls", CSV, USE_KEEP},
    {"store_rejects", CSV, USE_REJECTS},
    {"rejects_table", CSV, USE_REJECTS},
    {"rejects_scan", CSV, USE_REJECTS},
    {"max_line_size", CSV, USE_WHOLE},
    {"maximum_line_size", CSV, USE_WHOLE},
    {"buffer_size", CSV, USE_WHOLE},
    {"parallel", CSV, USE_WHOLE},
    {"null_padding", CSV, USE_WHOLE},
    {"encoding", CSV, USE_WHOLE},
    {"format", JSON, USE_FORMAT},
    {"maximum_object_size", JSON, USE_KEEP},
    {"records", JSON, USE_WHOLE},
    {"maximum_depth", JSON, USE_DETECT},
    {"maximum_sample_files", JSON, USE_DETECT},
    {"field_appearance_threshold", JSON, USE_DETECT},
    {"map_inference_threshold", JSON, USE_DETECT},
    {"convert_strings_to_integers", JSON, USE_DETECT},
};

_Static_assert(sizeof options / sizeof *options <= 64, "a bit each in a file set");

static const struct option *find_option(enum scan_kind kind, const char *name) {
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcasecmp(options[i].name, name) == 0 && (options[i].kinds & 1u << kind))
            return &options[i];
    }
    return NULL;
}

bool source_given(const struct file_set *set, const char *name) {
    const struct option *option = find_option(set->source.kind, name);
    return option != NULL && (set->given >> (option - options) & 1) != 0;
}

// The driver reads the set's files then.
static bool refuse_set(struct file_set *set, const char *why_not, const char *name) {
    struct text why = {0};
    text_printf(&why, "%s%s", why_not, name);
    free(set->refused);
    set->refused = text_take(&why);
    return set->refused != NULL;
}

static bool says_true(const char *value) {
    return strcasestr(value, "true") != NULL || strcmp(value, "1") == 0;
}

// What the options of one call come to.
struct options_texts {
    struct text keep, dialect;
    struct text records;  // of a call of JSON files, what says where a record ends
};

static bool parts_records(const char *option) {
    static const char *const names[] = {"format", "compression", "maximum_object_size",
                                        NULL};
    return text_one_of(option, names);
}

static bool take_option(struct planner *planner, json_t *given, struct file_set *set,
                        struct options_texts *texts) {
    struct scan_source *source = &set->source;
    json_t *parts = json_object_get(json_object_get(given, "left"), "column_names");
    const char *name = json_string_value(json_array_get(parts, 0));
    if (!tree_is(given, "type", "COMPARE_EQUAL") || json_array_size(parts) != 1)
        return refuse_set(set, "it has more than one argument without a name", "");
    const struct option *option = find_option(source->kind, name);
    bool rejects =
        option != NULL && (option->use == USE_REJECTS || option->use == USE_MARK);
    if (option == NULL || (rejects && !planner->options->rejects))
        return refuse_set(set, "one reader is needed for its option ", name);
    set->given |= UINT64_C(1) << (option - options);
    if (option->use == USE_DETECT || option->use == USE_MARK) return true;
    if (option->use == USE_IGNORE && source->rejects) return true;
    json_t *value = json_object_get(given, "right");
    char *text = keys_text(planner, tree_own(&planner->trees, json_pack("[O]", value)));
    if (text == NULL) return false;
    struct text *to = &texts->keep;
    if (parts_records(option->name))
        text_printf(&texts->records, ", %s = %s", option->name, text);
    switch (option->use) {
        case USE_WHOLE:
        case USE_IGNORE:
        case USE_REJECTS:
            source->cuts = false;
            to = &texts->dialect;
            break;
        case USE_DIALECT:
            to = &texts->dialect;
            break;
        case USE_NAMES:
            source->by_name = says_true(text);
            break;
        case USE_SCHEMA:
            source->positional = source->kind == SCAN_CSV;
            to = &set->columns;
            break;
        case USE_FORMAT:
            if (strstr(text, "newline_delimited") == NULL && strstr(text, "auto") == NULL)
                source->cuts = false;
            to = &set->layout;
            break;
        case USE_PATH:
            to = &set->path_options;
            // They are found once for all files, and pinned.
            if (strcmp(option->name, "hive_types") == 0) {
                free(text);
                return true;
            }
            if (strcmp(option->name, "hive_partitioning") == 0)
                source->hive = says_true(text);
            if (strcmp(option->name, "filename") == 0 &&
                strcasestr(text, "false") == NULL) {
                source->filename = strdup("filename");
                to->failed = to->failed || source->filename == NULL;
            }
            break;
        case USE_KEEP:
        case USE_DETECT:
        case USE_MARK:
            break;
    }
    text_printf(to, ", %s = %s", option->name, text);
    free(text);
    return true;
}

// Does a call of JSON files keep what can't be read?
static bool is_marked(const json_t *arguments) {
    size_t i;
    json_t *argument;
    json_array_foreach(arguments, i, argument) {
        const json_t *left =
            json_object_get(json_object_get(argument, "expression"), "left");
        const char *name =
            json_string_value(json_array_get(json_object_get(left, "column_names"), 0));
        if (name != NULL && strcasecmp(name, FAULTS_MARK) == 0) return true;
    }
    return false;
}

static bool take_text(struct text *from, char **to) {
    *to = from->failed ? NULL : strdup(from->data ? from->data : "");
    text_free(from);
    return *to != NULL;
}

bool source_options(struct planner *planner, const json_t *item, struct file_set *set) {
    const json_t *function = json_object_get(item, "function");
    const char *name = tree_text(function, "function_name");
    struct options_texts texts = {0};
    bool ok = source_kind(name, &set->source.kind);
    bool text = set->source.kind != SCAN_PARQUET;
    size_t i;
    json_t *argument;
    set->source.cuts = text;
    set->source.rejects = planner->options->rejects && set->source.kind == SCAN_JSON &&
                          is_marked(json_object_get(function, "arguments"));
    if (set->source.rejects && planner->options->uncut) set->source.cuts = false;
    if (planner->options->files_whole)
        return refuse_set(set, "reading parts of it alone failed", "");
    set->lines = strncmp(name, "read_ndjson", 11) == 0;
    if (set->lines) {
        text_append(&set->layout, ", format = 'newline_delimited'");
        text_append(&texts.records, ", format = 'newline_delimited'");
    }
    json_array_foreach(json_object_get(function, "arguments"), i, argument) {
        json_t *given = json_object_get(argument, "expression");
        if (i > 0 && ok && set->refused == NULL)
            ok = take_option(planner, given, set, &texts);
    }
    text_append(&texts.records, ", " FAULTS_IGNORED ", hive_partitioning = false");
    ok = take_text(&texts.records, &set->source.texts) && ok;
    bool kept = take_text(&texts.keep, &set->source.options);
    return take_text(&texts.dialect, &set->source.dialect) && kept && ok;
}

static const char *layout_of(const struct file_set *set) {
    return set->layout.data != NULL ? set->layout.data : "";
}

static const char *columns_of(const struct file_set *set) {
    return set->columns.data != NULL ? set->columns.data : "";
}

char *source_bare_call(const struct file_set *set) {
    struct text call = {0};
    text_printf(&call, "%s(%s%s%s%s%s%s, hive_partitioning = false)",
                set->source.kind == SCAN_CSV ? "read_csv" : "read_json", set->argument,
                set->source.options, set->source.dialect, layout_of(set), columns_of(set),
                set->source.rejects ? ", " FAULTS_IGNORED : "");
    return text_take(&call);
}

void source_append_columns(struct text *out, const struct schema *schema) {
    text_append(out, "{");
    for (size_t i = 0; i < schema->count; i++) {
        text_append(out, i ? ", " : "");
        text_append_literal(out, schema->columns[i].name);
        text_append(out, ": ");
        text_append_literal(out, schema->columns[i].type);
    }
    text_append(out, "}");
}

// The columns that paths give are behind the files' own; the one of the path itself is
// the first of them. One that files have too is at its place there, and none of theirs:
// what the folder says counts. False: they are not so.
static bool split_schema(struct file_set *set, const struct schema *bare, bool *hive) {
    struct scan_source *source = &set->source;
    size_t own = bare->count, all = set->schema.count;
    bool folders = folders_count(set);
    *hive = false;
    for (size_t i = 0; i < own; i++) {
        const char *name = i < all ? set->schema.columns[i].name : "";
        if (strcmp(name, bare->columns[i].name) != 0) return false;
        if (folders && folder_gives(set->files[0].path, name, strlen(name)) != NULL) {
            *hive = true;
        } else if (!schema_add(&source->columns, name, set->schema.columns[i].type)) {
            return false;
        }
    }
    if (source->filename != NULL) {
        if (all == own) return false;
        free(source->filename);
        source->filename = strdup(set->schema.columns[own++].name);
    }
    *hive = *hive || all > own;
    return source->columns.count > 0 &&
           (set->source.filename != NULL || own == bare->count);
}

#define DETECTED_ROWS "20480"  // that DuckDB looks at

// Dates and times in a format that DuckDB detected: a call with pinned types has no part
// in it, and takes 26-12-31 for a day of the first century.
static bool is_dated(const char *type) {
    return strstr(type, "DATE") != NULL || strstr(type, "TIME") != NULL;
}

// id_1: DuckDB may have named it so for being another ID.
static bool is_numbered(const char *name) {
    size_t length = strlen(name), digits = 0;
    while (digits < length && strchr("0123456789", name[length - digits - 1]) != NULL)
        digits++;
    return digits > 0 && digits < length && name[length - digits - 1] == '_';
}

// Has the call with pinned columns the values that the one has which detects them?
static bool detected_fit(struct planner *planner, const struct file_set *set) {
    const struct schema *columns = &set->source.columns;
    struct text sql = {0};
    char *call = source_bare_call(set), *differ = NULL;
    struct shoal_error ignored;
    bool looks = false;
    text_printf(&sql,
                "SELECT 1 FROM (FROM %s LIMIT " DETECTED_ROWS
                ") a POSITIONAL JOIN (FROM "
                "read_json(%s%s%s%s%s, hive_partitioning = false, columns = ",
                call ? call : "", set->argument, set->source.options, set->source.dialect,
                layout_of(set), set->source.rejects ? ", " FAULTS_IGNORED : "");
    source_append_columns(&sql, columns);
    text_append(&sql, ") LIMIT " DETECTED_ROWS ") b WHERE false");
    for (size_t i = 0; i < columns->count; i++) {
        const struct schema_column *column = &columns->columns[i];
        if (!is_dated(column->type) && !is_numbered(column->name)) continue;
        looks = true;
        text_append(&sql, " OR a.");
        text_append_identifier(&sql, column->name);
        text_append(&sql, " IS DISTINCT FROM b.");
        text_append_identifier(&sql, column->name);
    }
    text_append(&sql, " LIMIT 1");
    bool fit = !looks || (call != NULL && !sql.failed &&
                          duck_scalar(planner->trees.conn, sql.data, &differ, &ignored) ==
                              SHOAL_OK &&
                          differ == NULL);
    free(differ);
    free(call);
    text_free(&sql);
    return fit;
}

static bool has_geometry(const struct schema *columns) {
    for (size_t i = 0; i < columns->count; i++) {
        if (strstr(columns->columns[i].type, "GEOMETRY") != NULL) return true;
    }
    return false;
}

#define LINES_LOOKED_AT 20
#define LINE_MOST 65536

// Are most of its first lines objects?
static bool is_lines(const char *path) {
    char *line = scan_file_packed(path) ? NULL : malloc(LINE_MOST);
    FILE *file = line == NULL ? NULL : fopen(path, "re");
    int objects = 0, others = 0;
    while (file != NULL && objects + others < LINES_LOOKED_AT &&
           fgets(line, LINE_MOST, file) != NULL) {
        json_t *object = json_read(line, strlen(line), 0, NULL);
        if (json_is_object(object)) {
            objects++;
        } else if (line[strspn(line, " \t\r\n")] != '\0') {
            others++;
        }
        json_decref(object);
    }
    if (file != NULL) fclose(file);
    free(line);
    return objects > others;
}

// DuckDB takes a file that begins with a faulty line for none of lines, and then no
// fault of it can be ignored.
static void pin_lines(struct file_set *set, char **texts) {
    bool lines = true;
    for (size_t i = 0; lines && i < set->file_count; i++)
        lines = is_lines(set->files[i].path);
    if (!lines) return;
    struct text all = {0};
    text_append(&set->layout, ", format = 'newline_delimited'");
    text_printf(&all, ", format = 'newline_delimited'%s", *texts);
    free(*texts);
    *texts = text_take(&all);
    set->layout.failed = set->layout.failed || *texts == NULL;
}

// Does the call say how values become those of their types? Then no cast tells whether a
// first line is one of values.
static bool casts_otherwise(const struct file_set *set) {
    static const char *const formats[] = {"dateformat",        "date_format",
                                          "timestampformat",   "timestamp_format",
                                          "decimal_separator", "thousands"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (source_given(set, formats[i])) return true;
    }
    return false;
}

bool source_pin(struct planner *planner, struct file_set *set,
                const struct schema *bare) {
    struct scan_source *source = &set->source;
    struct text pinned = {0};
    bool hive = false;
    if (source->kind == SCAN_PARQUET) {
        if (!schema_copy(&source->columns, &set->schema)) return false;
        folders_append_types(set, &set->path_options);
        return take_text(&set->path_options, &source->pinned);
    }
    if (!split_schema(set, bare, &hive))
        return refuse_set(set, "its paths give columns that its files have too", "");
    if (source->kind == SCAN_JSON && source->columns.count == 1 &&
        strcmp(source->columns.columns[0].name, "json") == 0)
        return refuse_set(set, "its values are no objects", "");
    bool detects = source->kind == SCAN_JSON && !source_given(set, "columns");
    if (detects && has_geometry(&source->columns))
        return refuse_set(set, "it is GeoJSON", "");
    if (detects && !detected_fit(planner, set))
        return refuse_set(set,
                          "its dates have a format that DuckDB detects, or its keys "
                          "differ in case alone",
                          "");
    source->seeks_header = source->positional && !source_given(set, "header");
    if (source->seeks_header && casts_otherwise(set)) source->cuts = false;
    const char *why = source->kind == SCAN_CSV ? dialect_pin(planner, set) : NULL;
    if (why != NULL) return refuse_set(set, why, "");
    if (source->rejects && !source_given(set, "format") && !set->lines)
        pin_lines(set, &source->texts);
    text_append(&pinned, layout_of(set));
    // Types that the session has made are spelled out.
    bool given = source_given(set, "columns");
    if (given && source->columns.count < bare->count) {
        text_append(&pinned, columns_of(set));
    } else {
        bool types = source->kind == SCAN_CSV && !given;
        text_append(&pinned, types ? ", types = " : ", columns = ");
        source_append_columns(&pinned, &source->columns);
    }
    if (set->path_options.data != NULL) text_append(&pinned, set->path_options.data);
    if (!source_given(set, "hive_partitioning"))
        text_append(&pinned,
                    hive ? ", hive_partitioning = true" : ", hive_partitioning = false");
    source->hive = hive;
    if (hive) folders_append_types(set, &pinned);
    return take_text(&pinned, &source->pinned);
}

// ---- text files

bool scan_file_packed(const char *path) {
    static const char *const endings[] = {".gz", ".zst", NULL};
    size_t length = strlen(path);
    for (size_t i = 0; endings[i] != NULL; i++) {
        size_t ending = strlen(endings[i]);
        if (length > ending && strcmp(path + length - ending, endings[i]) == 0)
            return true;
    }
    return false;
}

#define SAMPLE_BYTES 65536
#define RECORD_BYTES 100  // where no sample tells

double source_rows_a_byte(const char *path) {
    char *sample = malloc(SAMPLE_BYTES);
    int fd = scan_file_packed(path) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 || sample == NULL ? 0 : read(fd, sample, SAMPLE_BYTES);
    size_t rows = 0;
    for (ssize_t i = 0; i < size; i++) rows += sample[i] == '\n';
    if (fd >= 0) close(fd);
    free(sample);
    return rows > 0 ? (double)rows / (double)size : 1.0 / RECORD_BYTES;
}

void scan_source_free(struct scan_source *source) {
    free(source->options);
    free(source->dialect);
    free(source->pinned);
    free(source->filename);
    free(source->texts);
    schema_free(&source->columns);
    *source = (struct scan_source){0};
}

bool scan_source_copy(struct scan_source *to, const struct scan_source *from) {
    *to = (struct scan_source){.kind = from->kind,
                               .options = strdup(from->options),
                               .dialect = strdup(from->dialect),
                               .pinned = strdup(from->pinned),
                               .positional = from->positional,
                               .seeks_header = from->seeks_header,
                               .hive = from->hive,
                               .by_name = from->by_name,
                               .cuts = from->cuts,
                               .rejects = from->rejects,
                               .texts = strdup(from->texts)};
    if (from->filename != NULL) to->filename = strdup(from->filename);
    bool named = from->filename == NULL || to->filename != NULL;
    return to->options && to->dialect && to->pinned && to->texts && named &&
           schema_copy(&to->columns, &from->columns);
}
