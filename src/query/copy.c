#include "query/copy.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/memory.h"
#include "duck/duck.h"

static char *text_between(const char *from, const char *to) {
    while (to > from && strchr(" \t\r\n", to[-1]) != NULL) to--;
    return strndup(from, (size_t)(to - from));
}

// (SELECT ...), or a table's name with or without columns. Returns what follows it.
static const char *parse_source(const char *at, struct copy *copy) {
    struct text query = {0};
    if (*at == '(') {
        const char *end = duck_token_past(at);
        if (end != NULL) copy->query = text_between(at + 1, end - 1);
        return end == NULL ? NULL : duck_token_start(end);
    }
    const char *name = at;
    while (*at && *at != '(' && !duck_token_is(at, "to") && !duck_token_is(at, "from"))
        at = duck_token_next(at);
    const char *name_end = at;
    text_append(&query, "SELECT ");
    if (*at == '(') {
        const char *end = duck_token_past(at);
        if (end == NULL) {
            text_free(&query);
            return NULL;
        }
        text_append_bytes(&query, at + 1, (size_t)(end - at) - 2);
        at = duck_token_start(end);
    } else {
        text_append(&query, "*");
    }
    text_append(&query, " FROM ");
    text_append_bytes(&query, name, (size_t)(name_end - name));
    copy->query = text_take(&query);
    return at;
}

struct option {
    char *name, *value;  // value "" when there is none
};

static bool equals(const struct option *option, const char *name) {
    return strcasecmp(option->name, name) == 0;
}

static char *plain_word(const char *value) {
    char *word = *value == '\'' ? duck_token_unquoted(value, '\'') : strdup(value);
    for (char *c = word; c != NULL && *c; c++) {
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + 32);
    }
    return word;
}

// The text of a value between quotes. NULL with true: it is none. False: out of memory.
static bool unquote(const char *value, char **text) {
    *text = duck_token_unquoted(value, '\'');
    return *text != NULL || !duck_token_quoted(value, '\'');
}

struct parsing {
    struct copy *copy;
    struct text rest;       // of the options, for a task's COPY
    struct text rewriting;  // and for one that puts its files together
    char *compression;
    bool row_groups;        // their size is given
    bool kept;              // files are as DuckDB wrote them
    const char *refused;    // an option of DuckDB's that shoal leaves to it
    const char *own;        // one that DuckDB doesn't have
    const char *not_delta;  // one that a Delta table's files can't have
    const char *mode;       // the one that says the write mode
    bool flat;              // the partitions' folders may have other names than k=v
    struct text others;     // rest without PARTITION_BY
    struct shoal_error *err;
};

static bool is_word_of(const char *value, const char *const *words) {
    for (; *words != NULL; words++) {
        if (strcasecmp(value, *words) == 0) return true;
    }
    return false;
}

static shoal_status read_bool(const struct parsing *parsing, const struct option *option,
                              bool *on) {
    static const char *const yes[] = {"", "true", "1", "on", "'true'", NULL};
    static const char *const no[] = {"false", "0", "off", "'false'", NULL};
    *on = is_word_of(option->value, yes);
    if (*on || is_word_of(option->value, no)) return SHOAL_OK;
    return shoal_fail(parsing->err, SHOAL_USER, "%s is true or false, not %s",
                      option->name, option->value);
}

static const struct {
    const char *name;
    enum write_mode mode;
    bool own;
} modes[] = {{"ERROR_IF_EXISTS", WRITE_ERROR_IF_EXISTS, true},
             {"OVERWRITE", WRITE_OVERWRITE, false},
             {"APPEND", WRITE_APPEND, false},
             {"OVERWRITE_PARTITIONS", WRITE_OVERWRITE_PARTITIONS, true}};
#define MODES (sizeof modes / sizeof *modes)

static shoal_status take_mode(struct parsing *parsing, size_t which, bool on) {
    if (modes[which].own) parsing->own = modes[which].name;
    if (!on) return SHOAL_OK;
    if (parsing->mode != NULL) {
        return shoal_fail(parsing->err, SHOAL_USER,
                          "COPY has both %s and %s: give one of ERROR_IF_EXISTS, "
                          "OVERWRITE, APPEND and OVERWRITE_PARTITIONS",
                          parsing->mode, modes[which].name);
    }
    parsing->mode = modes[which].name;
    parsing->copy->mode = modes[which].mode;
    return SHOAL_OK;
}

static shoal_status take_answer(struct parsing *parsing, enum copy_answer answer,
                                bool on) {
    struct copy *copy = parsing->copy;
    if (on && copy->answer != ANSWER_COUNT && copy->answer != answer) {
        return shoal_fail(parsing->err, SHOAL_USER,
                          "COPY has both RETURN_FILES and RETURN_STATS: give one");
    }
    if (on) copy->answer = answer;
    return SHOAL_OK;
}

// Those that are true or false, and that shoal heeds itself; *taken: it was one.
static shoal_status take_switch(struct parsing *parsing, const struct option *option,
                                bool *taken) {
    size_t mode = 0;
    bool on = false;
    while (mode < MODES && !equals(option, modes[mode].name)) mode++;
    bool folder = equals(option, "per_thread_output");
    bool files = equals(option, "return_files");
    *taken = mode < MODES || folder || files || equals(option, "return_stats");
    if (!*taken) return SHOAL_OK;
    shoal_status status = read_bool(parsing, option, &on);
    if (status != SHOAL_OK) return status;
    if (mode < MODES) return take_mode(parsing, mode, on);
    if (!folder)
        return take_answer(parsing, files ? ANSWER_FILES : ANSWER_STATISTICS, on);
    parsing->copy->folder = parsing->copy->folder || on;
    return SHOAL_OK;
}

// Names of files that other writers know of are DuckDB's to give.
static const char *const refused[] = {"overwrite_or_ignore", "filename_pattern", NULL};

static const char *const row_group_options[] = {"row_group_size", "row_group_size_bytes",
                                                "chunk_size", NULL};
// With these, files can't be read back, or have as many row groups as they should.
static const char *const kept_options[] = {"encryption_config", "row_groups_per_file",
                                           NULL};
// These are about the folder, not about one file in it.
static const char *const folder_options[] = {
    "partition_by",      "file_size_bytes", "write_partition_columns",
    "hive_file_pattern", "preserve_order",  NULL};

static bool is_one_of(const struct option *option, const char *const *names) {
    return is_word_of(option->name, names);
}

// DuckDB's name is ORDER_BY: rows are sorted in each file, in a folder.
static shoal_status take_sort(struct parsing *parsing, const struct option *option) {
    struct copy *copy = parsing->copy;
    const char *end = duck_token_past(option->value);
    if (copy->sort_by != NULL || *option->value != '(' || end == NULL || *end != '\0') {
        return shoal_fail(parsing->err, SHOAL_USER,
                          "%s is one list of columns in parentheses, (a DESC, b)",
                          option->name);
    }
    copy->folder = copy->nested = true;
    copy->sort_by = text_between(option->value + 1, end - 1);
    text_printf(&parsing->rest, ", ORDER_BY %s", option->value);
    text_printf(&parsing->others, ", ORDER_BY %s", option->value);
    return copy->sort_by == NULL ? shoal_no_memory(parsing->err) : SHOAL_OK;
}

// The log says where partitions are, and what their files hold.
static const char *const not_delta[] = {"hive_file_pattern", "write_partition_columns",
                                        "encryption_config", NULL};

static void append_option(struct text *list, const struct option *option) {
    text_printf(list, ", %s %s", option->name, option->value);
}

static shoal_status take_job(struct parsing *parsing, const struct option *option) {
    free(parsing->copy->job_id);
    if (!unquote(option->value, &parsing->copy->job_id))
        return shoal_no_memory(parsing->err);
    parsing->own = "JOB_ID";
    if (parsing->copy->job_id != NULL && *parsing->copy->job_id != '\0') return SHOAL_OK;
    return shoal_fail(parsing->err, SHOAL_USER, "JOB_ID is a text between quotes, not %s",
                      *option->value ? option->value : "nothing");
}

static shoal_status take_rejects(struct parsing *parsing, const struct option *option) {
    struct copy *copy = parsing->copy;
    char *end = NULL;
    if (equals(option, "rejects")) {
        free(copy->rejects);
        if (!unquote(option->value, &copy->rejects)) return shoal_no_memory(parsing->err);
        if (copy->rejects != NULL && *copy->rejects != '\0') return SHOAL_OK;
        return shoal_fail(parsing->err, SHOAL_USER,
                          "REJECTS is a folder between quotes, not %s",
                          *option->value ? option->value : "nothing");
    }
    copy->rejects_limit = strtoull(option->value, &end, 10);
    if (*option->value >= '0' && *option->value <= '9' && *end == '\0') return SHOAL_OK;
    return shoal_fail(parsing->err, SHOAL_USER,
                      "REJECTS_LIMIT is a number of rows, not %s",
                      *option->value ? option->value : "nothing");
}

// The word in place of the one before; NULL: the quotes are not closed. False: out of
// memory.
static bool take_word(char **word, const struct option *option) {
    const char *value = option->value;
    free(*word);
    *word = plain_word(value);
    return *word != NULL || (*value == '\'' && !duck_token_quoted(value, '\''));
}

static bool take_partitions(struct copy *copy, const struct option *option) {
    copy->partitioned = copy->nested = true;
    free(copy->partition_by);
    copy->partition_by = strdup(option->value);
    return copy->partition_by != NULL;
}

static shoal_status take_option(struct parsing *parsing, const struct option *option) {
    struct copy *copy = parsing->copy;
    bool taken = false, partitions = equals(option, "partition_by");
    for (size_t i = 0; refused[i] != NULL; i++) {
        if (equals(option, refused[i])) parsing->refused = refused[i];
    }
    for (size_t i = 0; not_delta[i] != NULL; i++) {
        if (equals(option, not_delta[i])) parsing->not_delta = not_delta[i];
    }
    if (equals(option, "job_id")) return take_job(parsing, option);
    if (equals(option, "rejects") || equals(option, "rejects_limit"))
        return take_rejects(parsing, option);
    shoal_status status = take_switch(parsing, option, &taken);
    if (status != SHOAL_OK || taken) return status;
    if (equals(option, "file_extension")) {
        if (!take_word(&copy->extension, option)) return shoal_no_memory(parsing->err);
    } else if (equals(option, "format")) {
        return take_word(&copy->format, option) ? SHOAL_OK
                                                : shoal_no_memory(parsing->err);
    } else if (equals(option, "compression")) {
        if (!take_word(&parsing->compression, option))
            return shoal_no_memory(parsing->err);
    }
    parsing->flat = parsing->flat || equals(option, "hive_file_pattern");
    if (equals(option, "file_size_bytes")) {
        char *size = NULL;
        if (!take_word(&size, option)) return shoal_no_memory(parsing->err);
        if (size == NULL || !memory_parse(size, &copy->file_bytes)) copy->file_bytes = 0;
        free(size);
    }
    if (partitions && !take_partitions(copy, option))
        return shoal_no_memory(parsing->err);
    parsing->row_groups = parsing->row_groups || is_one_of(option, row_group_options);
    parsing->kept = parsing->kept || is_one_of(option, kept_options);
    copy->nested = copy->nested || equals(option, "file_size_bytes") ||
                   equals(option, "row_groups_per_file");
    if (equals(option, "preserve_order")) {
        bool keeps = false;
        status = read_bool(parsing, option, &keeps);
        copy->keeps_order = true;
        copy->any_order = !keeps;
        if (status != SHOAL_OK) return status;
    }
    if (equals(option, "sort_by") || equals(option, "order_by"))
        return take_sort(parsing, option);
    append_option(&parsing->rest, option);
    if (!partitions) append_option(&parsing->others, option);
    if (!is_one_of(option, folder_options)) append_option(&parsing->rewriting, option);
    return SHOAL_OK;
}

// "(NAME value, ...)"; *end is what follows.
static shoal_status parse_options(const char *at, struct parsing *parsing,
                                  const char **end) {
    shoal_status status = SHOAL_OK;
    at = duck_token_next(at);
    while (*at && *at != ')' && status == SHOAL_OK) {
        struct option option = {.name = text_between(at, duck_token_end(at))};
        const char *value = at = duck_token_next(at);
        while (*at && *at != ',' && *at != ')') {
            bool opens = *at == '(' || *at == '[' || *at == '{';
            const char *past = opens ? duck_token_past(at) : NULL;
            at = past ? duck_token_start(past) : duck_token_next(at);
        }
        option.value = text_between(value, at);
        status = option.name && option.value ? take_option(parsing, &option)
                                             : shoal_no_memory(parsing->err);
        free(option.name);
        free(option.value);
        if (*at == ',') at = duck_token_next(at);
    }
    if (status == SHOAL_OK && *at != ')') {
        status = shoal_fail(parsing->err, SHOAL_UNSUPPORTED,
                            "the options of COPY are not closed");
    }
    *end = *at == ')' ? duck_token_next(at) : at;
    return status;
}

static char *default_extension(const struct parsing *parsing) {
    const char *pack = parsing->compression ? parsing->compression : "";
    bool whole =
        strcmp(parsing->copy->format, "parquet") != 0;  // the file, not its pages
    struct text extension = {0};
    text_printf(&extension, "%s%s", parsing->copy->format,
                !whole                      ? ""
                : strcmp(pack, "gzip") == 0 ? ".gz"
                : strcmp(pack, "zstd") == 0 ? ".zst"
                                            : "");
    return text_take(&extension);
}

// What a path ends with, behind the ending of a compressed file, in small letters; "":
// nothing.
static char *path_ending(const char *path) {
    static const char *const packs[] = {".gz", ".zst"};
    char *lower = strdup(path);
    if (lower == NULL) return NULL;
    for (char *at = lower; *at != '\0'; at++) *at = (char)tolower((unsigned char)*at);
    size_t length = strlen(lower);
    for (size_t i = 0; i < sizeof packs / sizeof *packs; i++) {
        size_t pack = strlen(packs[i]);
        if (length > pack && strcmp(lower + length - pack, packs[i]) == 0) {
            lower[length - pack] = '\0';
            break;
        }
    }
    const char *dot = strrchr(lower, '.');
    memmove(lower, dot == NULL ? "" : dot + 1, dot == NULL ? 1 : strlen(dot));
    return lower;
}

// Formats that DuckDB, or an extension of it, takes an ending for; any other ending is
// one of CSV.
static const char *const endings[] = {
    "parquet", "csv",   "json",   "ndjson", "jsonl", "geojson", "geojsonl",
    "xlsx",    "arrow", "arrows", "ipc",    "avro",  "vortex",  "lance",
    "gpkg",    "shp",   "fgb",    "kml",    "gml",   "blob",    NULL};

// By the path's ending, as DuckDB does, where no option says it.
static shoal_status find_format(struct parsing *parsing) {
    static const char *const formats[] = {"parquet", "csv", "json", NULL};
    static const char *const lines[] = {"ndjson", "jsonl", NULL};
    struct copy *copy = parsing->copy;
    if (copy->format == NULL) {
        char *ending = path_ending(copy->path);
        if (ending == NULL) return shoal_no_memory(parsing->err);
        copy->format = strdup(text_one_of(ending, endings) ? ending : "csv");
        free(ending);
    }
    if (copy->format == NULL) return shoal_no_memory(parsing->err);
    copy->delta = strcmp(copy->format, "delta") == 0;
    bool of_lines = text_one_of(copy->format, lines);
    if (of_lines && copy->extension == NULL) copy->extension = default_extension(parsing);
    if (copy->delta || of_lines) {
        free(copy->format);
        copy->format = strdup(copy->delta ? "parquet" : "json");
        if (copy->format == NULL) return shoal_no_memory(parsing->err);
    }
    if (copy->delta) {
        copy->folder = true;
        parsing->own = "FORMAT delta";
        return SHOAL_OK;
    }
    if (text_one_of(copy->format, formats)) return SHOAL_OK;
    return shoal_fail(parsing->err, SHOAL_UNSUPPORTED,
                      "COPY in format %s is not distributed", copy->format);
}

// What is wrong with these options together.
static shoal_status check_options(const struct parsing *parsing) {
    const struct copy *copy = parsing->copy;
    struct shoal_error *err = parsing->err;
    if (parsing->refused != NULL) {
        return shoal_fail(err, SHOAL_UNSUPPORTED, "COPY with %s is not distributed",
                          parsing->refused);
    }
    if (copy->folder && strstr(copy->path, "://") != NULL) {
        return shoal_fail(err, SHOAL_UNSUPPORTED,
                          "COPY to %s: a folder that is not of this machine's files is "
                          "not distributed",
                          copy->path);
    }
    if (copy->answer == ANSWER_STATISTICS && strcmp(copy->format, "parquet") != 0) {
        return shoal_fail(err, SHOAL_USER,
                          "RETURN_STATS is of Parquet files, not of %s: use RETURN_FILES",
                          copy->format);
    }
    if (copy->sort_by != NULL && strcmp(copy->format, "json") == 0) {
        return shoal_fail(err, SHOAL_USER,
                          "SORT_BY is of Parquet and CSV files, not of JSON: DuckDB's "
                          "writer has none");
    }
    if (copy->job_id != NULL && !copy->delta) {
        return shoal_fail(err, SHOAL_USER,
                          "JOB_ID is for FORMAT delta, whose log keeps it");
    }
    if (copy->delta && parsing->not_delta != NULL) {
        return shoal_fail(err, SHOAL_USER, "FORMAT delta has no %s", parsing->not_delta);
    }
    if (copy->mode == WRITE_OVERWRITE_PARTITIONS && !copy->partitioned && !copy->delta) {
        return shoal_fail(err, SHOAL_USER,
                          "OVERWRITE_PARTITIONS needs PARTITION_BY: it says which "
                          "folders are replaced");
    }
    if (copy->mode == WRITE_OVERWRITE_PARTITIONS && parsing->flat) {
        return shoal_fail(err, SHOAL_USER,
                          "OVERWRITE_PARTITIONS replaces the partitions' folders, and "
                          "HIVE_FILE_PATTERN may make none");
    }
    if (parsing->mode != NULL && copy->mode != WRITE_OVERWRITE && !copy->folder) {
        return shoal_fail(err, SHOAL_USER,
                          "%s is for a folder of files, and %s would be one file: add "
                          "PER_THREAD_OUTPUT, PARTITION_BY or FILE_SIZE_BYTES",
                          parsing->mode, copy->path);
    }
    return SHOAL_OK;
}

#define ROW_GROUPS_A_FILE 5

// DuckDB ends a file at the first row group that reaches its size: so they must be small
// beside it. The size of a row group is one in memory, and nearly always less in the
// file.
static shoal_status size_files(struct parsing *parsing) {
    struct copy *copy = parsing->copy;
    struct text rewrite = {0};
    if (!parsing->row_groups) {
        unsigned long long bytes = copy->file_bytes / ROW_GROUPS_A_FILE + 1;
        text_printf(&parsing->rest, ", ROW_GROUP_SIZE_BYTES %llu", bytes);
        text_printf(&parsing->others, ", ROW_GROUP_SIZE_BYTES %llu", bytes);
        text_printf(&parsing->rewriting, ", ROW_GROUP_SIZE_BYTES %llu", bytes);
    }
    if (parsing->kept) return SHOAL_OK;
    text_printf(&rewrite, "FORMAT parquet%s",
                parsing->rewriting.size ? parsing->rewriting.data : "");
    copy->rewrite_options = text_take(&rewrite);
    return copy->rewrite_options == NULL ? shoal_no_memory(parsing->err) : SHOAL_OK;
}

static shoal_status finish_options(struct parsing *parsing) {
    struct copy *copy = parsing->copy;
    shoal_status status = find_format(parsing);
    if (status != SHOAL_OK) return status;
    copy->folder = copy->folder || copy->nested;
    status = check_options(parsing);
    if (status != SHOAL_OK) return status;
    struct text options = {0};
    if (copy->file_bytes > 0 && strcmp(copy->format, "parquet") == 0)
        status = size_files(parsing);
    const struct text *rest = copy->delta ? &parsing->others : &parsing->rest;
    text_printf(&options, "FORMAT %s%s", copy->format, rest->size ? rest->data : "");
    if (!copy->folder && copy->answer != ANSWER_COUNT) {
        text_append(&options,
                    copy->answer == ANSWER_FILES ? ", RETURN_FILES" : ", RETURN_STATS");
    }
    copy->options = text_take(&options);
    if (copy->extension == NULL) copy->extension = default_extension(parsing);
    if (status != SHOAL_OK) return status;
    return copy->options && copy->extension ? SHOAL_OK : shoal_no_memory(parsing->err);
}

shoal_status copy_parse(const char *sql, struct copy *copy, struct shoal_error *err) {
    struct parsing parsing = {.copy = copy, .err = err};
    const char *at = duck_token_start(sql);
    shoal_status status = SHOAL_OK;
    *copy = (struct copy){.rejects_limit = UINT64_MAX};
    bool copies = duck_token_is(at, "copy");
    if (copies) at = parse_source(duck_token_next(at), copy);
    if (copies && at != NULL && duck_token_is(at, "to") && copy->query == NULL)
        return shoal_no_memory(err);
    if (at == NULL || copy->query == NULL || !duck_token_is(at, "to")) {
        return shoal_fail(err, SHOAL_UNSUPPORTED, "COPY of this form is not distributed");
    }
    at = duck_token_next(at);
    if (!unquote(at, &copy->path)) return shoal_no_memory(err);
    if (copy->path != NULL) at = duck_token_next(at);
    if (duck_token_is(at, "with")) at = duck_token_next(at);
    if (*at == '(') status = parse_options(at, &parsing, &at);
    if (status == SHOAL_OK && (copy->path == NULL || *at != '\0')) {
        status =
            shoal_fail(err, SHOAL_UNSUPPORTED, "COPY of this form is not distributed");
    }
    if (status == SHOAL_OK) status = finish_options(&parsing);
    if (status == SHOAL_UNSUPPORTED && parsing.own != NULL) {
        struct shoal_error why = *err;
        status = shoal_fail(err, SHOAL_USER, "%s needs shoal, but %.3900s", parsing.own,
                            why.message);
    }
    free(parsing.compression);
    text_free(&parsing.rest);
    text_free(&parsing.others);
    text_free(&parsing.rewriting);
    return status;
}

shoal_status copy_partition_names(const char *partition_by, json_t **names,
                                  struct shoal_error *err) {
    const char *at = duck_token_start(partition_by);
    bool closes = *at == '(', ok = true;
    *names = json_array();
    if (*names == NULL) return shoal_no_memory(err);
    uint64_t before = memory_failures();
    bool memory = true;
    if (closes) at = duck_token_next(at);
    while (ok && *at && *at != ')') {
        const char *end = duck_token_end(at);
        char *name = *at == '"' ? duck_token_unquoted(at, '"') : text_between(at, end);
        bool word = *at == '"' || *at == '_' || (*at | 32) >= 'a' || (*at & 0x80) != 0;
        ok =
            name != NULL && word && json_array_append_new(*names, json_string(name)) == 0;
        memory = memory && (name != NULL || (*at == '"' && !duck_token_quoted(at, '"')));
        free(name);
        at = duck_token_start(end);
        if (ok && *at == ',') at = duck_token_next(at);
    }
    if (ok && json_array_size(*names) > 0 && (*at == ')') == closes) return SHOAL_OK;
    json_decref(*names);
    *names = NULL;
    if (!memory || memory_failures() != before) return shoal_no_memory(err);
    return shoal_fail(err, SHOAL_USER,
                      "PARTITION_BY %s is not understood: write PARTITION_BY (a, b)",
                      partition_by);
}

bool copy_mentions_order(const struct copy *copy) {
    for (const char *at = duck_token_start(copy->query); *at; at = duck_token_next(at)) {
        if (duck_token_is(at, "order")) return true;
    }
    return false;
}

void copy_free(struct copy *copy) {
    free(copy->query);
    free(copy->path);
    free(copy->rejects);
    free(copy->options);
    free(copy->extension);
    free(copy->format);
    free(copy->partition_by);
    free(copy->job_id);
    free(copy->rewrite_options);
    free(copy->sort_by);
    *copy = (struct copy){0};
}

void copy_append_target(struct text *out, const struct copy *copy) {
    const char *options = copy->options;
    text_append_literal(out, copy->path);
    if (copy->delta) options += strlen("FORMAT parquet");
    text_printf(out, " (%s%s)", copy->delta ? "FORMAT delta" : "", options);
}
