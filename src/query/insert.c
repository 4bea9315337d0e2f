#include "query/insert.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

// Past the token, or past the parentheses that it opens.
static const char *past(const char *at) {
    size_t depth = 0;
    do {
        if (*at == '(') depth++;
        if (*at == ')' && depth > 0) depth--;
        at = duck_token_next(at);
    } while (depth > 0 && *at);
    return at;
}

// Past "CREATE [OR REPLACE] [TEMP] TABLE"; NULL when it is something else.
static const char *past_create_table(const char *sql, bool *temporary) {
    static const char *const temp[] = {"temp", "temporary", NULL};
    const char *at = duck_token_start(sql);
    if (!duck_token_is(at, "create")) return NULL;
    at = duck_token_next(at);
    if (duck_token_is(at, "or")) at = duck_token_next(duck_token_next(at));
    *temporary = duck_token_one_of(at, temp);
    if (*temporary) at = duck_token_next(at);
    return duck_token_is(at, "table") ? duck_token_next(at) : NULL;
}

bool insert_creates_table(const char *sql) {
    bool temporary = false;
    return past_create_table(sql, &temporary) != NULL && !temporary;
}

const char *insert_plain_name(const char *sql) {
    bool temporary = false;
    const char *at = past_create_table(sql, &temporary);
    if (temporary) return NULL;
    if (at != NULL && duck_token_is(at, "if"))
        at = duck_token_next(duck_token_next(duck_token_next(at)));  // NOT EXISTS
    return at == NULL || *at == '\0' || *duck_token_next(at) == '.' ? NULL : at;
}

bool insert_begins(const char *sql) {
    bool temporary = false;
    return past_create_table(sql, &temporary) != NULL ||
           duck_token_is(duck_token_start(sql), "insert");
}

// Where the query of CREATE TABLE begins.
static const char *query_of_create(const char *at) {
    while (*at && !duck_token_is(at, "as")) at = past(at);
    return *at ? duck_token_next(at) : NULL;
}

static bool begins_query(const char *at) {
    static const char *const words[] = {"select", "from",    "with", "pivot",
                                        "table",  "unpivot", NULL};
    return duck_token_one_of(at, words);
}

// Where the query of INSERT begins: behind the table, its alias and its columns. What
// VALUES says may be DEFAULT, and is little.
static const char *query_of_insert(const char *at) {
    while (*at && !duck_token_is(at, "into")) at = duck_token_next(at);
    at = duck_token_next(at);
    // A table may be called table.
    for (at = duck_token_next(at); *at == '.'; at = duck_token_next(at))
        at = duck_token_next(at);
    while (*at && !begins_query(at)) {
        if (duck_token_is(at, "values")) return NULL;
        if (*at == '(' && duck_is_select(at)) return at;
        at = past(at);
    }
    return *at ? at : NULL;
}

// WITH [NO] DATA ends the statement; a CTE may have that name.
static bool is_with_data(const char *at) {
    if (!duck_token_is(at, "with")) return false;
    at = duck_token_next(at);
    if (duck_token_is(at, "no")) at = duck_token_next(at);
    return duck_token_is(at, "data") && *duck_token_next(at) == '\0';
}

// What stands behind the query and says more than where its rows go.
static const char *find_clause(const char *query) {
    for (const char *at = query; *at; at = past(at)) {
        if (duck_token_is(at, "returning")) return "RETURNING";
        if (duck_token_is(at, "on") && duck_token_is(duck_token_next(at), "conflict"))
            return "ON CONFLICT";
        if (is_with_data(at)) return "WITH [NO] DATA";
    }
    return NULL;
}

static char *text_between(const char *from, const char *to) {
    while (to > from && strchr(" \t\r\n", to[-1]) != NULL) to--;
    return strndup(from, (size_t)(to - from));
}

shoal_status insert_parse(const char *sql, struct insert *insert,
                          struct shoal_error *err) {
    const char *start = duck_token_start(sql);
    bool temporary = false;
    const char *create = past_create_table(start, &temporary);
    const char *query = create != NULL ? query_of_create(create)
                        : duck_token_is(start, "insert")
                            ? query_of_insert(duck_token_next(start))
                            : NULL;
    *insert = (struct insert){.create = create != NULL};
    if (query == NULL || !duck_is_select(query)) {
        return shoal_fail(err, SHOAL_UNSUPPORTED,
                          "of CREATE TABLE and INSERT, those of a SELECT's rows are "
                          "distributed");
    }
    const char *clause = find_clause(query);
    if (clause != NULL) {
        return shoal_fail(err, SHOAL_UNSUPPORTED, "%s with %s is not distributed",
                          create != NULL ? "CREATE TABLE" : "INSERT", clause);
    }
    insert->head = text_between(start, query);
    insert->query = strdup(query);
    return insert->head && insert->query ? SHOAL_OK : shoal_no_memory(err);
}

// Nothing stands between the rows of a CSV file and the table: DuckDB reads its values as
// the table's types then, 1.50 as '1.50' where the column is a text.
static bool reads_csv_into(const char *plan) {
    static const char title[] = "╭─ ";
    static const char *const plain[] = {"Insert ", "Batch Insert ", "Projection ",
                                        "Read Csv "};
    bool csv = false;
    for (const char *at = strstr(plan, title); at != NULL; at = strstr(at, title)) {
        bool known = false;
        at += strlen(title);
        for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
            known = known || strncmp(at, plain[i], strlen(plain[i])) == 0;
        if (!known) return false;
        csv = csv || strncmp(at, "Read Csv ", strlen("Read Csv ")) == 0;
    }
    return csv;
}

shoal_status insert_check(struct duck_conn *conn, const struct insert *insert,
                          struct shoal_error *err) {
    struct text sql = {0};
    struct duck_result *plan = NULL;
    text_printf(&sql, "EXPLAIN %s %s", insert->head, insert->query);
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : duck_query(conn, sql.data, &plan, err);
    text_free(&sql);
    if (status != SHOAL_OK)
        return status == SHOAL_USER ? err->status = SHOAL_UNSUPPORTED : status;
    // A table that is there: DuckDB only creates, and says so or does nothing.
    bool runs = !insert->create, csv = false;
    for (size_t row = 0; row < duck_result_rows(plan); row++) {
        const char *text =
            duck_result_columns(plan) > 1 ? duck_result_text(plan, 1, row) : NULL;
        runs = runs || (text != NULL && strstr(text, "Create Table As") != NULL);
        csv = csv || (text != NULL && reads_csv_into(text));
    }
    duck_result_free(plan);
    if (csv)
        return shoal_fail(err, SHOAL_UNSUPPORTED,
                          "DuckDB reads a CSV file's values as the table's types where "
                          "nothing else is done to them");
    return runs ? SHOAL_OK
                : shoal_fail(err, SHOAL_UNSUPPORTED, "the table is there already");
}

void insert_free(struct insert *insert) {
    free(insert->head);
    free(insert->query);
    *insert = (struct insert){0};
}
