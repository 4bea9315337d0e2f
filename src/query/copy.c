#include "query/copy.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "duck/duck.h"

static const char *next_token(const char *at) {
    return duck_token_start(duck_token_end(at));
}

// Past the parenthesis that closes the one at `at`; NULL when none does.
static const char *past_parentheses(const char *at) {
    size_t depth = 0;
    for (; *at; at = next_token(at)) {
        if (*at == '(' || *at == '[' || *at == '{') depth++;
        if (*at == ')' || *at == ']' || *at == '}') depth--;
        if (depth == 0) return at + 1;
    }
    return NULL;
}

static char *text_between(const char *from, const char *to) {
    while (to > from && strchr(" \t\r\n", to[-1]) != NULL) to--;
    return strndup(from, (size_t)(to - from));
}

// 'it''s' without its quotes; NULL when the token is no such literal.
static char *unquoted(const char *at) {
    const char *end = duck_token_end(at);
    struct text out = {0};
    if (*at != '\'' || end < at + 2) return NULL;
    text_append(&out, "");
    for (at++; at < end - 1; at++) {
        text_append_bytes(&out, at, 1);
        if (*at == '\'') at++;
    }
    return text_take(&out);
}

// (SELECT ...), or a table's name with or without columns. Returns what follows it.
static const char *parse_source(const char *at, struct copy *copy) {
    struct text query = {0};
    if (*at == '(') {
        const char *end = past_parentheses(at);
        if (end != NULL) copy->query = text_between(at + 1, end - 1);
        return end == NULL ? NULL : duck_token_start(end);
    }
    const char *name = at;
    while (*at && *at != '(' && !duck_token_is(at, "to") && !duck_token_is(at, "from"))
        at = next_token(at);
    const char *name_end = at;
    text_append(&query, "SELECT ");
    if (*at == '(') {
        const char *end = past_parentheses(at);
        if (end == NULL) return NULL;
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

static bool is_on(const struct option *option) {
    static const char *const words[] = {"", "true", "1", "on", "'true'", NULL};
    return text_one_of(option->value, words);
}

static char *plain_word(const char *value) {
    char *word = *value == '\'' ? unquoted(value) : strdup(value);
    for (char *c = word; c != NULL && *c; c++) {
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + 32);
    }
    return word;
}

struct parsing {
    struct copy *copy;
    struct text rest;
    char *format, *compression;
    struct shoal_error *err;
};

// What needs all rows in one place, or files that the others know of.
static const char *const refused[] = {"return_files",        "return_stats",     "append",
                                      "overwrite_or_ignore", "filename_pattern", NULL};

static bool equals(const struct option *option, const char *name) {
    return strcasecmp(option->name, name) == 0;
}

static shoal_status take_option(struct parsing *parsing, const struct option *option) {
    struct copy *copy = parsing->copy;
    for (size_t i = 0; refused[i] != NULL; i++) {
        if (equals(option, refused[i])) {
            return shoal_fail(parsing->err, SHOAL_UNSUPPORTED,
                              "COPY with %s is not distributed", option->name);
        }
    }
    if (equals(option, "per_thread_output")) {
        copy->folder = copy->folder || is_on(option);
        return SHOAL_OK;
    }
    if (equals(option, "overwrite")) {
        copy->overwrite = is_on(option);
        return SHOAL_OK;
    }
    if (equals(option, "file_extension")) {
        free(copy->extension);
        copy->extension = plain_word(option->value);
    } else if (equals(option, "format")) {
        free(parsing->format);
        parsing->format = plain_word(option->value);
        return SHOAL_OK;
    } else if (equals(option, "compression")) {
        free(parsing->compression);
        parsing->compression = plain_word(option->value);
    }
    copy->nested = copy->nested || equals(option, "partition_by") ||
                   equals(option, "file_size_bytes");
    copy->keeps_order = copy->keeps_order || equals(option, "preserve_order");
    text_printf(&parsing->rest, "%s%s %s", parsing->rest.size ? ", " : "", option->name,
                option->value);
    return SHOAL_OK;
}

// "(NAME value, ...)"; *end is what follows.
static shoal_status parse_options(const char *at, struct parsing *parsing,
                                  const char **end) {
    shoal_status status = SHOAL_OK;
    at = next_token(at);
    while (*at && *at != ')' && status == SHOAL_OK) {
        struct option option = {.name = text_between(at, duck_token_end(at))};
        const char *value = at = next_token(at);
        while (*at && *at != ',' && *at != ')') {
            bool opens = *at == '(' || *at == '[' || *at == '{';
            const char *past = opens ? past_parentheses(at) : NULL;
            at = past ? duck_token_start(past) : next_token(at);
        }
        option.value = text_between(value, at);
        status = option.name && option.value ? take_option(parsing, &option)
                                             : shoal_no_memory(parsing->err);
        free(option.name);
        free(option.value);
        if (*at == ',') at = next_token(at);
    }
    if (status == SHOAL_OK && *at != ')') {
        status = shoal_fail(parsing->err, SHOAL_UNSUPPORTED,
                            "the options of COPY are not closed");
    }
    *end = *at == ')' ? next_token(at) : at;
    return status;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcasecmp(text + length - tail, end) == 0;
}

// Fills in the format by the path's ending, as DuckDB does, and the files' extension.
static shoal_status finish_options(struct parsing *parsing) {
    static const char *const formats[] = {"parquet", "csv", "json", NULL};
    struct copy *copy = parsing->copy;
    for (size_t i = 0; parsing->format == NULL && formats[i] != NULL; i++) {
        struct text ending = {0};
        text_printf(&ending, ".%s", formats[i]);
        if (!ending.failed && ends_with(copy->path, ending.data))
            parsing->format = strdup(formats[i]);
        text_free(&ending);
    }
    if (parsing->format == NULL) parsing->format = strdup("csv");
    if (parsing->format == NULL) return shoal_no_memory(parsing->err);
    if (!text_one_of(parsing->format, formats)) {
        return shoal_fail(parsing->err, SHOAL_UNSUPPORTED,
                          "COPY in format %s is not distributed", parsing->format);
    }
    struct text options = {0};
    text_printf(&options, "FORMAT %s%s%s", parsing->format,
                parsing->rest.size ? ", " : "",
                parsing->rest.size ? parsing->rest.data : "");
    copy->options = text_take(&options);
    if (copy->extension == NULL) {
        const char *pack = parsing->compression ? parsing->compression : "";
        bool whole = strcmp(parsing->format, "parquet") != 0;  // the file, not its pages
        struct text extension = {0};
        text_printf(&extension, "%s%s", parsing->format,
                    !whole                      ? ""
                    : strcmp(pack, "gzip") == 0 ? ".gz"
                    : strcmp(pack, "zstd") == 0 ? ".zst"
                                                : "");
        copy->extension = text_take(&extension);
    }
    copy->folder = copy->folder || copy->nested;
    return copy->options && copy->extension ? SHOAL_OK : shoal_no_memory(parsing->err);
}

shoal_status copy_parse(const char *sql, struct copy *copy, struct shoal_error *err) {
    struct parsing parsing = {.copy = copy, .err = err};
    const char *at = duck_token_start(sql);
    shoal_status status = SHOAL_OK;
    *copy = (struct copy){0};
    if (duck_token_is(at, "copy")) at = parse_source(next_token(at), copy);
    if (at == NULL || copy->query == NULL || !duck_token_is(at, "to")) {
        return shoal_fail(err, SHOAL_UNSUPPORTED, "COPY of this form is not distributed");
    }
    at = next_token(at);
    copy->path = unquoted(at);
    if (copy->path != NULL) at = next_token(at);
    if (duck_token_is(at, "with")) at = next_token(at);
    if (*at == '(') status = parse_options(at, &parsing, &at);
    if (status == SHOAL_OK && (copy->path == NULL || *at != '\0')) {
        status =
            shoal_fail(err, SHOAL_UNSUPPORTED, "COPY of this form is not distributed");
    }
    if (status == SHOAL_OK) status = finish_options(&parsing);
    free(parsing.format);
    free(parsing.compression);
    text_free(&parsing.rest);
    return status;
}

void copy_free(struct copy *copy) {
    free(copy->query);
    free(copy->path);
    free(copy->options);
    free(copy->extension);
    *copy = (struct copy){0};
}

void copy_append_target(struct text *out, const struct copy *copy) {
    text_append_literal(out, copy->path);
    text_printf(out, " (%s)", copy->options);
}
