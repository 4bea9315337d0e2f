// Splitting a text into statements: a scanner that knows what may hide a semicolon.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "duck/duck.h"

static const char *skip_quoted(const char *at, char quote, bool escapes) {
    for (at++; *at; at++) {
        if (escapes && *at == '\\' && at[1]) {
            at++;
        } else if (*at == quote) {
            if (at[1] != quote) return at + 1;
            at++;
        }
    }
    return at;
}

static bool word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_';
}

// $$ ... $$ or $tag$ ... $tag$; at itself when it is neither.
static const char *skip_dollar(const char *at) {
    size_t tag = 1;
    while (word_char(at[tag])) tag++;
    if (at[tag] != '$') return at + 1;
    tag++;
    for (const char *end = at + tag; *end; end++) {
        if (strncmp(end, at, tag) == 0) return end + tag;
    }
    return at + strlen(at);
}

// DuckDB's block comments nest, as PostgreSQL's do.
static const char *skip_comment(const char *at) {
    size_t depth = 0;
    while (*at) {
        if (at[0] == '/' && at[1] == '*') {
            depth++;
            at += 2;
        } else if (at[0] == '*' && at[1] == '/') {
            at += 2;
            if (--depth == 0) return at;
        } else {
            at++;
        }
    }
    return at;
}

// Past the next token, comment or character; *blank stays true over space and comments.
static const char *step(const char *start, const char *at, bool *blank) {
    if (at[0] == '-' && at[1] == '-') return at + strcspn(at, "\n");
    if (at[0] == '/' && at[1] == '*') {
        return skip_comment(at);
    }
    if (strchr(" \t\r\n", *at)) return at + 1;
    *blank = false;
    if (*at == '\'') {
        bool escapes = at > start && (at[-1] == 'e' || at[-1] == 'E') &&
                       (at - 1 == start || !word_char(at[-2]));
        return skip_quoted(at, '\'', escapes);
    }
    if (*at == '"') return skip_quoted(at, '"', false);
    if (*at == '$' && (at == start || !word_char(at[-1]))) return skip_dollar(at);
    return at + 1;
}

shoal_status duck_split(const char *sql, char ***statements, size_t *count,
                        struct shoal_error *err) {
    const char *start = sql;
    const char *at = sql;
    bool blank = true;
    *statements = NULL;
    *count = 0;
    for (;;) {
        if (*at != '\0' && *at != ';') {
            at = step(start, at, &blank);
            continue;
        }
        if (!blank) {
            char **grown = realloc(*statements, (*count + 1) * sizeof *grown);
            if (grown != NULL) {
                *statements = grown;
                grown[*count] = strndup(start, (size_t)(at - start));
            }
            if (grown == NULL || grown[*count] == NULL) {
                duck_split_free(*statements, *count);
                *statements = NULL;
                *count = 0;
                return shoal_no_memory(err);
            }
            (*count)++;
        }
        if (*at == '\0') return SHOAL_OK;
        start = ++at;
        blank = true;
    }
}

void duck_split_free(char **statements, size_t count) {
    for (size_t i = 0; i < count; i++) free(statements[i]);
    free(statements);
}

const char *duck_first_word(const char *sql) {
    const char *at = sql;
    bool blank = true;
    for (;;) {
        const char *next = *at == '\0' ? at : step(sql, at, &blank);
        if (!blank && *at == '(') {
            blank = true;
        } else if (!blank || *at == '\0') {
            return at;
        }
        at = next;
    }
}

const char *duck_token_start(const char *at) {
    bool blank = true;
    for (;;) {
        const char *next = *at == '\0' ? at : step(at, at, &blank);
        if (!blank || *at == '\0') return at;
        at = next;
    }
}

const char *duck_token_end(const char *at) {
    bool blank = true;
    const char *end = at;
    while (word_char(*end)) end++;
    bool escapes = end == at + 1 && (*at == 'e' || *at == 'E') && *end == '\'';
    if (escapes) return skip_quoted(end, '\'', true);
    return end > at ? end : *at ? step(at, at, &blank) : at;
}

const char *duck_token_next(const char *at) {
    return duck_token_start(duck_token_end(at));
}

const char *duck_token_past(const char *at) {
    size_t depth = 0;
    for (; *at; at = duck_token_next(at)) {
        if (*at == '(' || *at == '[' || *at == '{') depth++;
        if (*at == ')' || *at == ']' || *at == '}') depth--;
        if (depth == 0) return at + 1;
    }
    return NULL;
}

bool duck_token_quoted(const char *at, char quote) {
    const char *end = duck_token_end(at);
    return *at == quote && end >= at + 2 && end[-1] == quote;
}

char *duck_token_unquoted(const char *at, char quote) {
    const char *end = duck_token_end(at);
    struct text out = {0};
    if (!duck_token_quoted(at, quote)) return NULL;
    text_append(&out, "");
    for (at++; at < end - 1; at++) {
        text_append_bytes(&out, at, 1);
        if (*at == quote) at++;
    }
    return text_take(&out);
}

bool duck_token_is(const char *at, const char *word) {
    size_t length = (size_t)(duck_token_end(at) - at);
    return length == strlen(word) && strncasecmp(at, word, length) == 0;
}

// A token's end is looked for once, and only of a word: statements are walked with this.
bool duck_token_one_of(const char *at, const char *const *words) {
    if (at == NULL || !word_char(*at)) return false;
    size_t length = (size_t)(duck_token_end(at) - at);
    for (; *words != NULL; words++) {
        if (strncasecmp(at, *words, length) == 0 && (*words)[length] == '\0') return true;
    }
    return false;
}

static bool begins_with_one_of(const char *sql, const char *const *words) {
    return duck_token_one_of(duck_first_word(sql), words);
}

// WITH ... INSERT, UPDATE, DELETE, MERGE: behind the CTEs stands what changes rows. A CTE
// may have such a name.
static bool is_with_change(const char *sql) {
    static const struct {
        const char *word, *next;  // NULL: a name
    } changes[] = {{"insert", "into"},
                   {"insert", "or"},
                   {"delete", "from"},
                   {"merge", "into"},
                   {"update", NULL}};
    size_t depth = 0;
    const char *at = duck_token_start(sql);
    if (!duck_token_is(at, "with")) return false;
    for (; *at; at = duck_token_next(at)) {
        if (*at == '(') depth++;
        if (*at == ')' && depth > 0) depth--;
        if (depth > 0) continue;
        if (duck_token_is(at, "select") || duck_token_is(at, "from")) return false;
        const char *next = duck_token_next(at);
        for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
            if (!duck_token_is(at, changes[i].word)) continue;
            bool named = *next != '(' && !duck_token_is(next, "as");
            if (changes[i].next ? duck_token_is(next, changes[i].next) : named)
                return true;
        }
    }
    return false;
}

bool duck_is_plain_select(const char *sql) {
    static const char *const words[] = {"select", "from", "with", "values", NULL};
    return begins_with_one_of(sql, words) && !is_with_change(sql);
}

bool duck_is_select(const char *sql) {
    static const char *const words[] = {
        "pivot", "pivot_wider", "unpivot", "pivot_longer", "summarize", "table", NULL};
    return duck_is_plain_select(sql) || begins_with_one_of(sql, words);
}
