// A test file as records. The format is line by line: a record is a command with its
// arguments, then for statements and queries the SQL up to an empty line, a comment or
// ----, then the expected rows up to an empty line. skipif, onlyif, distributed and
// embedded are lines of their own before it.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slt.h"

void *need(void *memory) {
    if (memory != NULL) return memory;
    fputs("out of memory\n", stderr);
    exit(3);
}

void lines_add(struct lines *lines, const char *text, size_t size) {
    if ((lines->count & (lines->count + 1)) == 0) {
        size_t room = lines->count * 2 + 2;
        lines->line = need(realloc(lines->line, room * sizeof *lines->line));
    }
    lines->line[lines->count++] = need(strndup(text, size));
}

void lines_free(struct lines *lines) {
    for (size_t i = 0; i < lines->count; i++) free(lines->line[i]);
    free(lines->line);
    *lines = (struct lines){0};
}

struct lines lines_of_words(const char *text) {
    struct lines words = {0};
    while (*text != '\0') {
        size_t blank = strspn(text, " \t");
        size_t size = strcspn(text + blank, " \t");
        if (size > 0) lines_add(&words, text + blank, size);
        text += blank + size;
    }
    return words;
}

static shoal_status read_lines(const char *path, struct lines *lines,
                               struct shoal_error *err) {
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    if (file == NULL) {
        return shoal_fail(err, SHOAL_USAGE, "cannot open %s: %s", path, strerror(errno));
    }
    while ((size = getline(&line, &room, file)) >= 0) {
        while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r')) size--;
        lines_add(lines, line, (size_t)size);
    }
    bool failed = ferror(file);
    free(line);
    fclose(file);
    return failed ? shoal_fail(err, SHOAL_IO, "cannot read %s", path) : SHOAL_OK;
}

static const struct {
    const char *name;
    enum record_kind kind;
} commands[] = {
    {"statement", RECORD_STATEMENT},
    {"query", RECORD_QUERY},
    {"loop", RECORD_LOOP},
    {"foreach", RECORD_FOREACH},
    {"endloop", RECORD_ENDLOOP},
    {"halt", RECORD_HALT},
    {"mode", RECORD_MODE},
    {"require", RECORD_REQUIRE},
    {"require-env", RECORD_REQUIRE_ENV},
    {"test-env", RECORD_TEST_ENV},
    {"restart", RECORD_RESTART},
    {"load", RECORD_LOAD},
    // Results are always compared value by value, however many there are.
    {"hash-threshold", RECORD_IGNORED},
    {"set", RECORD_IGNORED},
    {"reset", RECORD_IGNORED},
    {"tags", RECORD_IGNORED},
    {"concurrentloop", RECORD_UNSUPPORTED},
    {"concurrentforeach", RECORD_UNSUPPORTED},
    {"reconnect", RECORD_UNSUPPORTED},
    {"sleep", RECORD_UNSUPPORTED},
    {"unzip", RECORD_UNSUPPORTED},
    {"include", RECORD_UNSUPPORTED},
    {"continue", RECORD_UNSUPPORTED},
};

static bool empty_or_comment(const char *line) {
    return *line == '\0' || *line == '#';
}

static char *join(const struct lines *lines, size_t from, size_t to,
                  const char *between) {
    struct text text = {0};
    for (size_t i = from; i < to; i++) {
        if (i > from) text_append(&text, between);
        text_append(&text, lines->line[i]);
    }
    return need(text_take(&text));
}

// skipif, onlyif, distributed, embedded: whether the line was one of them.
static bool read_prefix(const char *line, struct record *record) {
    struct lines words = lines_of_words(line);
    const char *name = words.count > 0 ? words.line[0] : "";
    bool found = true;
    if (strcmp(name, "skipif") == 0 || strcmp(name, "onlyif") == 0) {
        size_t room = (record->condition_count + 1) * sizeof *record->conditions;
        record->conditions = need(realloc(record->conditions, room));
        record->conditions[record->condition_count++] = (struct condition){
            .skip = *name == 's', .text = join(&words, 1, words.count, "")};
    } else if (strcmp(name, "distributed") == 0) {
        record->placement = PLACE_DISTRIBUTED;
    } else if (strcmp(name, "embedded") == 0) {
        record->placement = PLACE_EMBEDDED;
        free(record->reason);
        record->reason = join(&words, 1, words.count, " ");
    } else {
        found = false;
    }
    lines_free(&words);
    return found;
}

static bool read_statement(struct record *record) {
    static const char *const words[] = {"ok", "error", "maybe"};
    const char *word = record->words.count > 0 ? record->words.line[0] : "";
    for (int i = 0; i < 3; i++) {
        if (strcmp(word, words[i]) != 0) continue;
        record->expectation = (enum expectation)i;
        if (record->words.count > 1) record->connection = record->words.line[1];
        return true;
    }
    return false;
}

static bool read_query(struct record *record) {
    const struct lines *words = &record->words;
    if (words->count == 0) return false;
    const char *style = words->count > 1 ? words->line[1] : "nosort";
    if (strcmp(style, "rowsort") == 0 || strcmp(style, "sort") == 0) {
        record->sort = SORT_BY_ROW;
    } else if (strcmp(style, "valuesort") == 0) {
        record->sort = SORT_BY_VALUE;
    } else if (strcmp(style, "nosort") != 0) {
        record->connection = words->line[1];
    }
    if (words->count > 2) record->label = words->line[2];
    return words->line[0][strspn(words->line[0], "ITRBD")] == '\0';
}

// The SQL and what is expected of it, from the line after the command. Returns the line
// after both.
static size_t read_body(const struct lines *lines, size_t at, struct record *record) {
    size_t from = at;
    while (at < lines->count && !empty_or_comment(lines->line[at]) &&
           strcmp(lines->line[at], "----") != 0) {
        at++;
    }
    record->sql = join(lines, from, at, "\n");
    record->expected_line = at;
    if (at < lines->count && strcmp(lines->line[at], "----") == 0) {
        for (at++; at < lines->count && lines->line[at][0] != '\0'; at++) {
            lines_add(&record->expected, lines->line[at], strlen(lines->line[at]));
        }
    }
    record->expected_end = at;
    return at;
}

static size_t read_record(const struct lines *lines, size_t at, struct record *record) {
    while (at < lines->count && read_prefix(lines->line[at], record)) at++;
    record->line = at + 1;
    record->kind = RECORD_UNKNOWN;
    record->words = lines_of_words(at < lines->count ? lines->line[at] : "");
    if (record->words.count == 0) lines_add(&record->words, "nothing", 7);
    record->command = record->words.line[0];
    record->words.count--;
    memmove(record->words.line, record->words.line + 1,
            record->words.count * sizeof *record->words.line);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(record->command, commands[i].name) == 0) {
            record->kind = commands[i].kind;
        }
    }
    at++;
    bool known = true;
    if (record->kind == RECORD_STATEMENT) known = read_statement(record);
    if (record->kind == RECORD_QUERY) known = read_query(record);
    if (record->kind == RECORD_STATEMENT || record->kind == RECORD_QUERY) {
        at = read_body(lines, at, record);
    }
    if (!known) record->kind = RECORD_UNKNOWN;
    return at;
}

shoal_status script_read(const char *path, struct script *script,
                         struct shoal_error *err) {
    *script = (struct script){.path = path};
    shoal_status status = read_lines(path, &script->lines, err);
    size_t at = 0;
    while (status == SHOAL_OK) {
        while (at < script->lines.count && empty_or_comment(script->lines.line[at])) at++;
        if (at >= script->lines.count) break;
        script->records =
            need(realloc(script->records, (script->count + 1) * sizeof *script->records));
        struct record *record = &script->records[script->count++];
        *record = (struct record){0};
        at = read_record(&script->lines, at, record);
    }
    return status;
}

void script_free(struct script *script) {
    for (size_t i = 0; i < script->count; i++) {
        struct record *record = &script->records[i];
        for (size_t c = 0; c < record->condition_count; c++) {
            free(record->conditions[c].text);
        }
        free(record->conditions);
        free(record->command);
        free(record->reason);
        free(record->sql);
        lines_free(&record->words);
        lines_free(&record->expected);
    }
    free(script->records);
    lines_free(&script->lines);
}

size_t script_loop_end(const struct script *script, size_t at) {
    size_t depth = 0;
    for (; at < script->count; at++) {
        enum record_kind kind = script->records[at].kind;
        depth += kind == RECORD_LOOP || kind == RECORD_FOREACH;
        if (kind == RECORD_ENDLOOP && --depth == 0) return at + 1;
    }
    return 0;
}
