// Finds the Delta tables of a statement by its tokens, without parsing it: a call of
// delta_scan, and a text or a quoted name where a table stands, if it is a folder with a
// log. Where a table stands is known from the clause that a parenthesis is in.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "delta/delta.h"

// One level of parentheses.
struct level {
    bool in_from;   // a comma separates tables
    bool operands;  // FROM separates operands: extract(year FROM x)
};

struct table {
    char *dir;  // as realpath has it
    int64_t version;
    char *sql;
};

struct rewrite {
    struct duck_conn *conn;
    const char *sql;
    const char *copied;  // what is before is in `out`
    struct text out;
    struct level *levels;
    size_t depth, room;
    struct table *tables;
    size_t table_count;
    struct shoal_error *err;
};

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_quoted(const char *at, char quote) {
    const char *end = duck_token_end(at);
    return *at == quote && end >= at + 2 && end[-1] == quote;
}

// ---- tables

// The table's subquery; all mentions of it have the first one's.
static shoal_status subquery(struct rewrite *rewrite, const char *dir, int64_t version,
                             const char **sql) {
    char *real = realpath(dir, NULL);
    struct delta_snapshot *snapshot = NULL;
    struct text text = {0};
    *sql = NULL;
    for (size_t i = 0; real != NULL && i < rewrite->table_count; i++) {
        const struct table *table = &rewrite->tables[i];
        if (strcmp(table->dir, real) == 0 && table->version == version) *sql = table->sql;
    }
    if (*sql != NULL) {
        free(real);
        return SHOAL_OK;
    }
    shoal_status status =
        delta_snapshot_open(rewrite->conn, dir, version, &snapshot, rewrite->err);
    if (status == SHOAL_OK)
        status = delta_scan_sql(rewrite->conn, snapshot, &text, rewrite->err);
    struct table *tables =
        realloc(rewrite->tables, (rewrite->table_count + 1) * sizeof *tables);
    if (tables != NULL) rewrite->tables = tables;
    if (status == SHOAL_OK && (tables == NULL || real == NULL))
        status = shoal_no_memory(rewrite->err);
    if (status == SHOAL_OK) {
        *sql = text_take(&text);
        tables[rewrite->table_count++] = (struct table){real, version, (char *)*sql};
    } else {
        free(real);
    }
    text_free(&text);
    delta_snapshot_free(snapshot);
    return status;
}

static shoal_status replace(struct rewrite *rewrite, const char *at, const char *end,
                            const char *before, const char *dir, int64_t version) {
    const char *sql = NULL;
    shoal_status status = subquery(rewrite, dir, version, &sql);
    if (status != SHOAL_OK) return status;
    text_append_bytes(&rewrite->out, rewrite->copied, (size_t)(at - rewrite->copied));
    text_append(&rewrite->out, before);
    text_append(&rewrite->out, sql);
    rewrite->copied = end;
    return SHOAL_OK;
}

// ---- delta_scan('dir', version := 3)

static shoal_status bad_call(const struct rewrite *rewrite, const char *what) {
    return shoal_fail(rewrite->err, SHOAL_USER,
                      "%s: write delta_scan('folder') or delta_scan('folder', version := "
                      "3)",
                      what);
}

// ":= 3", "=> 3" or "= 3", and the parenthesis; *end is past it.
static shoal_status parse_version(const struct rewrite *rewrite, const char *at,
                                  int64_t *version, const char **end) {
    if (!duck_token_is(at, "version"))
        return bad_call(rewrite, "delta_scan has no other option than version");
    at = duck_token_next(at);
    if (strncmp(at, ":=", 2) == 0 || strncmp(at, "=>", 2) == 0) {
        at = duck_token_start(at + 2);
    } else if (*at == '=') {
        at = duck_token_start(at + 1);
    }
    const char *past = duck_token_end(at);
    *version = 0;
    for (const char *c = at; c < past; c++) {
        if (*c < '0' || *c > '9' || *version > INT64_MAX / 10 - 1)
            return bad_call(rewrite, "the version of delta_scan is no whole number");
        *version = *version * 10 + (*c - '0');
    }
    const char *closing = duck_token_start(past);
    if (past == at || *closing != ')')
        return bad_call(rewrite, "delta_scan is not understood");
    *end = closing + 1;
    return SHOAL_OK;
}

// at is the name; *end is past the call.
static shoal_status replace_call(struct rewrite *rewrite, const char *at,
                                 const char **end) {
    const char *literal = duck_token_next(duck_token_next(at));
    int64_t version = DELTA_LATEST;
    shoal_status status = SHOAL_OK;
    if (!is_quoted(literal, '\''))
        return bad_call(rewrite, "delta_scan takes its folder as a text between quotes");
    const char *past = duck_token_next(literal);
    *end = past + 1;
    if (*past == ',') {
        status = parse_version(rewrite, duck_token_next(past), &version, end);
    } else if (*past != ')') {
        status = bad_call(rewrite, "delta_scan is not understood");
    }
    char *dir = duck_token_unquoted(literal, *literal);
    if (dir == NULL) status = shoal_no_memory(rewrite->err);
    if (status == SHOAL_OK && strstr(dir, "://") != NULL) {
        status = shoal_fail(rewrite->err, SHOAL_USER,
                            "delta_scan reads local folders, not %s", dir);
    }
    if (status == SHOAL_OK) status = replace(rewrite, at, *end, "", dir, version);
    free(dir);
    return status;
}

// ---- FROM 'dir', FROM "dir"

// name AS (...), name AS MATERIALIZED (...), name(a, b) AS (...): no table of DuckDB's.
static bool is_cte(const struct rewrite *rewrite, const char *name) {
    static const char *const after[] = {"materialized", "not", NULL};
    for (const char *at = duck_token_start(rewrite->sql); *at; at = duck_token_next(at)) {
        char *text = is_quoted(at, '"') ? duck_token_unquoted(at, *at)
                                        : strndup(at, (size_t)(duck_token_end(at) - at));
        bool same = text != NULL && strcasecmp(text, name) == 0;
        free(text);
        if (!same) continue;
        const char *next = duck_token_next(at);
        if (*next == '(') return true;
        if (!duck_token_is(next, "as")) continue;
        next = duck_token_next(next);
        if (*next == '(' || duck_token_one_of(next, after)) return true;
    }
    return false;
}

static shoal_status is_in_catalog(const struct rewrite *rewrite, const char *name,
                                  bool *is) {
    struct text sql = {0};
    struct duck_result *result = NULL;
    text_append(&sql,
                "SELECT name FROM (SELECT table_name AS name FROM duckdb_tables() UNION "
                "ALL SELECT view_name FROM duckdb_views()) WHERE lower(name) = lower(");
    text_append_literal(&sql, name);
    text_append(&sql, ") LIMIT 1");
    shoal_status status =
        sql.failed ? shoal_no_memory(rewrite->err)
                   : duck_query_text(rewrite->conn, sql.data, &result, rewrite->err);
    *is = status == SHOAL_OK && duck_result_rows(result) > 0;
    duck_result_free(result);
    text_free(&sql);
    return status;
}

// A table of the session comes before a folder of its name.
static shoal_status replace_name(struct rewrite *rewrite, const char *at,
                                 const char *before) {
    const char *end = duck_token_end(at);
    const char *next = duck_token_start(end);
    char *name = duck_token_unquoted(at, *at);
    bool other = *next == '.' || *next == '(';
    shoal_status status = name == NULL ? shoal_no_memory(rewrite->err) : SHOAL_OK;
    if (status == SHOAL_OK && (other || !delta_is_table(name))) {
        free(name);
        return SHOAL_OK;
    }
    if (status == SHOAL_OK && *at == '"') {
        other = is_cte(rewrite, name);
        if (!other) status = is_in_catalog(rewrite, name, &other);
    }
    if (status == SHOAL_OK && !other)
        status = replace(rewrite, at, end, before, name, DELTA_LATEST);
    free(name);
    return status;
}

// ---- the walk

static bool push(struct rewrite *rewrite, struct level level) {
    if (rewrite->depth == rewrite->room) {
        size_t room = rewrite->room ? rewrite->room * 2 : 16;
        struct level *levels = realloc(rewrite->levels, room * sizeof *levels);
        if (levels == NULL) return false;
        rewrite->levels = levels;
        rewrite->room = room;
    }
    rewrite->levels[rewrite->depth++] = level;
    return true;
}

// Is the FROM at `at` a clause that lists tables to read?
static bool lists_tables(const struct rewrite *rewrite, const char *before) {
    static const char *const others[] = {"distinct", "delete", NULL};
    bool copy =
        rewrite->depth == 1 && duck_token_is(duck_token_start(rewrite->sql), "copy");
    return !rewrite->levels[rewrite->depth - 1].operands && !copy &&
           !duck_token_one_of(before, others);
}

// Does a table stand behind the token `before`? in_from: of its level.
static bool stands_table(const struct rewrite *rewrite, const char *before,
                         bool after_from) {
    static const char *const words[] = {"join",  "describe", "summarize",
                                        "pivot", "unpivot",  NULL};
    const struct level *level = &rewrite->levels[rewrite->depth - 1];
    if (before == NULL) return false;
    if (after_from || duck_token_one_of(before, words)) return true;
    return level->in_from && (*before == ',' || *before == '(');
}

static bool ends_from(const char *at) {
    static const char *const words[] = {"where",  "group",     "order",   "having",
                                        "select", "limit",     "union",   "except",
                                        "values", "window",    "qualify", "intersect",
                                        "offset", "returning", "set",     NULL};
    return duck_token_one_of(at, words);
}

static shoal_status walk(struct rewrite *rewrite) {
    static const char *const operands[] = {"extract", "substring", "trim",
                                           "overlay", "position",  NULL};
    static const char *const shows[] = {"describe", "summarize", NULL};
    const char *before = NULL, *next;
    bool after_from = false;
    shoal_status status =
        push(rewrite, (struct level){0}) ? SHOAL_OK : shoal_no_memory(rewrite->err);
    for (const char *at = duck_token_start(rewrite->sql); status == SHOAL_OK && *at;
         before = at, at = next) {
        struct level *level = &rewrite->levels[rewrite->depth - 1];
        bool may_be = *at == '(' || *at == '\'' || *at == '"';
        bool table = may_be && stands_table(rewrite, before, after_from);
        next = duck_token_next(at);
        after_from = false;
        if (*at == '(' || *at == '[' || *at == '{') {
            struct level inner = {.in_from = table,
                                  .operands = duck_token_one_of(before, operands)};
            if (!push(rewrite, inner)) status = shoal_no_memory(rewrite->err);
        } else if (*at == ')' || *at == ']' || *at == '}') {
            if (rewrite->depth > 1) rewrite->depth--;
        } else if (table && (is_quoted(at, '\'') || is_quoted(at, '"'))) {
            status = replace_name(rewrite, at,
                                  duck_token_one_of(before, shows) ? "FROM " : "");
        } else if (!is_letter(*at)) {
            continue;
        } else if (duck_token_is(at, "from")) {
            after_from = level->in_from = lists_tables(rewrite, before);
        } else if (ends_from(at)) {
            level->in_from = false;
        } else if (*next == '(' && duck_token_is(at, "delta_scan") &&
                   (before == NULL || *before != '.')) {
            const char *end = next;
            status = replace_call(rewrite, at, &end);
            if (status == SHOAL_OK) next = duck_token_start(end);
        }
    }
    return status;
}

shoal_status delta_rewrite(struct duck_conn *conn, const char *sql, char **rewritten,
                           struct shoal_error *err) {
    struct rewrite rewrite = {.conn = conn, .sql = sql, .copied = sql, .err = err};
    *rewritten = NULL;
    shoal_status status = walk(&rewrite);
    if (status == SHOAL_OK && rewrite.copied != sql) {
        text_append(&rewrite.out, rewrite.copied);
        *rewritten = text_take(&rewrite.out);
        if (*rewritten == NULL) status = shoal_no_memory(err);
    }
    for (size_t i = 0; i < rewrite.table_count; i++) {
        free(rewrite.tables[i].dir);
        free(rewrite.tables[i].sql);
    }
    free(rewrite.tables);
    free(rewrite.levels);
    text_free(&rewrite.out);
    return status;
}
