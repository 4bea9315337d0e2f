// Names in a test file: ${x} of loops and the environment, __TEST_DIR__; and what they
// decide: conditions, requirements, the values of a loop.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slt.h"

static char *replace(char *text, const char *name, const char *value) {
    struct text out = {0};
    char *at = text, *found;
    text_append(&out, "");
    while ((found = strstr(at, name)) != NULL) {
        text_append_bytes(&out, at, (size_t)(found - at));
        text_append(&out, value);
        at = found + strlen(name);
    }
    text_append(&out, at);
    free(text);
    return need(text_take(&out));
}

char *names_expand(const struct names *names, const char *text) {
    char *out = need(strdup(text)), *name = NULL;
    for (size_t i = names->count; i-- > 0;) {
        if (asprintf(&name, "${%s}", names->variables[i].name) < 0) need(NULL);
        out = replace(out, name, names->variables[i].value);
        // The same name without the dollar.
        out = replace(out, name + 1, names->variables[i].value);
        free(name);
    }
    char here[4096];
    if (getcwd(here, sizeof here) == NULL) here[0] = '\0';
    out = replace(out, "__TEST_DIR__", names->test_dir);
    out = replace(out, "{TEST_DIR}", names->test_dir);
    out = replace(out, "{TEMP_DIR}", names->test_dir);
    out = replace(out, "__WORKING_DIRECTORY__", here);
    out = replace(out, "{DATA_DIR}", "data");
    return replace(out, "{WORKING_DIRECTORY}", here);
}

struct lines names_expand_lines(const struct names *names, const struct lines *lines) {
    struct lines out = {0};
    for (size_t i = 0; i < lines->count; i++) {
        char *line = names_expand(names, lines->line[i]);
        lines_add(&out, line, strlen(line));
        free(line);
    }
    return out;
}

void names_push(struct names *names, const char *name, const char *value) {
    size_t room = (names->count + 1) * sizeof *names->variables;
    names->variables = need(realloc(names->variables, room));
    names->variables[names->count++] =
        (struct variable){need(strdup(name)), need(strdup(value))};
}

void names_pop(struct names *names, size_t count) {
    while (names->count > count) {
        struct variable *last = &names->variables[--names->count];
        free(last->name);
        free(last->value);
    }
}

// ---- conditions and requirements

static bool compare(const char *left, const char *op, const char *right) {
    char *left_end, *right_end;
    long a = strtol(left, &left_end, 10), b = strtol(right, &right_end, 10);
    bool numbers = *left_end == '\0' && *right_end == '\0';
    long order = numbers ? (a > b) - (a < b) : strcmp(left, right);
    if (strcmp(op, "<>") == 0) return order != 0;
    if (strcmp(op, ">=") == 0) return order >= 0;
    if (strcmp(op, "<=") == 0) return order <= 0;
    if (strcmp(op, ">") == 0) return order > 0;
    return strcmp(op, "<") == 0 ? order < 0 : order == 0;
}

static const char *variable(const struct names *names, const char *name) {
    for (size_t i = names->count; i-- > 0;) {
        if (strcmp(names->variables[i].name, name) == 0) {
            return names->variables[i].value;
        }
    }
    return name;
}

// name, name=value, or several of these with && between.
static bool condition_holds(const struct names *names, const char *text) {
    char *copy = need(strdup(text)), *rest = copy, *part;
    bool holds = true;
    if (strpbrk(text, "=<>") == NULL) {
        holds = strcmp(text, "duckdb") == 0 || strcmp(text, "shoal") == 0 ||
                (names->sqlite && strcmp(text, "postgresql") == 0);
    }
    while (holds && strpbrk(text, "=<>") != NULL && (part = strsep(&rest, "&")) != NULL) {
        size_t name = strcspn(part, "=<>"), size = strspn(part + name, "=<>");
        char op[3] = {0};
        if (size == 0 || size > 2) continue;  // between the two of &&
        memcpy(op, part + name, size);
        part[name] = '\0';
        holds = compare(variable(names, part), op, part + name + size);
    }
    free(copy);
    return holds;
}

bool names_allow(const struct names *names, const struct record *record) {
    for (size_t i = 0; i < record->condition_count; i++) {
        const struct condition *condition = &record->conditions[i];
        if (condition_holds(names, condition->text) == condition->skip) return false;
    }
    return true;
}

bool requirement_met(const struct lines *words) {
    static const char *const always[] = {"parquet",
                                         "json",
                                         "icu",
                                         "core_functions",
                                         "skip_reload",
                                         "notwindows",
                                         "notmusl",
                                         "notmingw",
                                         "longdouble",
                                         "64bit",
                                         "noforcestorage",
                                         "nothreadsan",
                                         "strinline",
                                         "ram",
                                         "disk_space",
                                         "no_alternative_verify",
                                         "no_block_verification",
                                         "no_vector_verification",
                                         "no_extension_autoloading",
                                         NULL};
    if (words->count == 0) return false;
    const char *name = words->line[0];
    const char *value = words->count > 1 ? words->line[1] : "";
    if (strcmp(name, "vector_size") == 0) return atol(value) <= 2048;
    if (strcmp(name, "exact_vector_size") == 0) return atol(value) == 2048;
    if (strcmp(name, "block_size") == 0) return atol(value) == 262144;
    for (int i = 0; always[i] != NULL; i++) {
        if (strcasecmp(name, always[i]) == 0) return true;
    }
    return false;
}

// A variable of the environment, or a default; NULL: the file can't run.
const char *environment_value(const struct record *record) {
    const struct lines *words = &record->words;
    const char *value = words->count > 0 ? getenv(words->line[0]) : NULL;
    const char *second = words->count > 1 ? words->line[1] : NULL;
    if (record->kind == RECORD_TEST_ENV) return value != NULL ? value : second;
    return value != NULL && second != NULL && strcmp(value, second) != 0 ? NULL : value;
}

// ---- loops

static void add_tokens(struct lines *tokens, const char *token) {
    static const struct {
        const char *names, *values;
    } groups[] = {
        {"<signed><integral><numeric><alltypes>",
         "tinyint smallint integer bigint hugeint"},
        {"<unsigned><integral><numeric><alltypes>",
         "utinyint usmallint uinteger ubigint uhugeint"},
        {"<numeric><alltypes>", "float double"},
        {"<alltypes>", "bool interval varchar"},
        {"<compression>", "none uncompressed rle bitpacking dictionary fsst alp alprd"},
        {"<all_types_columns>",
         "bool tinyint smallint int bigint hugeint uhugeint utinyint usmallint uint "
         "ubigint date time timestamp timestamp_s timestamp_ms timestamp_ns time_tz "
         "timestamp_tz float double dec_4_1 dec_9_4 dec_18_6 dec38_10 uuid interval "
         "varchar blob bit small_enum medium_enum large_enum int_array double_array "
         "date_array timestamp_array timestamptz_array varchar_array nested_int_array "
         "struct struct_of_arrays array_of_structs map union fixed_int_array "
         "fixed_varchar_array fixed_nested_int_array fixed_nested_varchar_array "
         "fixed_struct_array struct_of_fixed_array fixed_array_of_int_list "
         "list_of_fixed_int_array"},
    };
    bool group = false;
    for (size_t g = 0; *token == '<' && g < sizeof groups / sizeof *groups; g++) {
        if (strcasestr(groups[g].names, token) == NULL) continue;
        struct lines values = lines_of_words(groups[g].values);
        for (size_t i = 0; i < values.count; i++) {
            lines_add(tokens, values.line[i], strlen(values.line[i]));
        }
        lines_free(&values);
        group = true;
    }
    for (size_t i = 0; *token == '!' && !group && i < tokens->count; i++) {
        if (strcmp(tokens->line[i], token + 1) != 0) continue;
        free(tokens->line[i]);
        memmove(&tokens->line[i], &tokens->line[i + 1],
                (--tokens->count - i) * sizeof *tokens->line);
        group = true;
    }
    if (!group) lines_add(tokens, token, strlen(token));
}

struct lines names_loop_tokens(const struct names *names, const struct record *record) {
    const struct lines *words = &record->words;
    struct lines tokens = {0};
    for (size_t i = 1; record->kind == RECORD_FOREACH && i < words->count; i++) {
        char *token = names_expand(names, words->line[i]);
        add_tokens(&tokens, token);
        free(token);
    }
    if (record->kind == RECORD_LOOP && words->count == 3) {
        char *from = names_expand(names, words->line[1]),
             *to = names_expand(names, words->line[2]);
        for (long i = atol(from), end = atol(to); i < end; i++) {
            char number[32];
            (void)snprintf(number, sizeof number, "%ld", i);
            lines_add(&tokens, number, strlen(number));
        }
        free(from);
        free(to);
    }
    return tokens;
}

// foreach a,b 1,2 3,4 sets both at a time.
void names_push_token(struct names *names, const char *loop, const char *token) {
    size_t name, value;
    for (;; loop += name + 1, token += value + (token[value] != '\0')) {
        name = strcspn(loop, ",");
        value = loop[name] == '\0' ? strlen(token) : strcspn(token, ",");
        char *n = need(strndup(loop, name)), *v = need(strndup(token, value));
        names_push(names, n, v);
        free(n);
        free(v);
        if (loop[name] == '\0') return;
    }
}
