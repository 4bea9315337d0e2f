// A statement that is too large to plan is refused by its text, before DuckDB sees it.
//
// EXPLAIN (SQL) also formats the plan it writes, and what that costs grows with the cube
// of the nesting: 100 scalar subqueries take 4 s, 300 take 90 s; 200 nested CASEs 1.4 s,
// 400 take 10 s. Nothing interrupts it. Each list element costs the driver six times what
// an embedded run does, as its tree is written and read several times: 0.1 ms each. A
// refused statement runs embedded, in DuckDB's own time.
//
// Only the statement is measured: what a view holds is not seen here.
//
// So is one that reads a pipe or a device (/dev/stdin): what planning sees of it is gone
// when the query runs.
#include "plan/limits.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "duck/duck.h"

#define TOKENS_MAX 100000
#define DEPTH_MAX 200      // parentheses and CASEs inside each other
#define SUBQUERIES_MAX 64  // SELECTs that no UNION, INTERSECT or EXCEPT adds
#define JOINS_MAX 100
#define OPEN_MAX 100  // fewer cost nothing, and DuckDB's message shows the place

struct measure {
    size_t tokens, depth, deepest, open, subqueries, joins;
    bool in_from;  // a comma is a join here
    bool added;    // the next SELECT is a set operation's branch
};

// Is the token a text, or a quoted name, that names a pipe or a device?
static bool names_pipe(const char *at) {
    char path[PATH_MAX];
    struct stat found;
    size_t size = (size_t)(duck_token_end(at) - at);
    if ((*at != '\'' && *at != '"') || size < 3 || size - 2 >= sizeof path) return false;
    memcpy(path, at + 1, size - 2);
    path[size - 2] = '\0';
    return strchr(path, '/') != NULL && stat(path, &found) == 0 &&
           !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode);
}

static void add(struct measure *measure, const char *at) {
    static const char *const sets[] = {"union", "intersect", "except", NULL};
    static const char *const after_from[] = {"where",  "group", "having", "order",
                                             "window", "limit", "select", NULL};
    measure->tokens++;
    measure->open += *at == '(';
    measure->open -= *at == ')' && measure->open > 0;
    if (*at == '(' || duck_token_is(at, "case")) {
        measure->depth++;
        if (measure->depth > measure->deepest) measure->deepest = measure->depth;
        if (*at == '(') measure->in_from = false;
    } else if (*at == ')' || duck_token_is(at, "end")) {
        if (measure->depth > 0) measure->depth--;
    } else if (duck_token_is(at, "join") || (*at == ',' && measure->in_from)) {
        measure->joins++;
    } else if (duck_token_one_of(at, sets)) {
        measure->added = true;
        measure->in_from = false;
    } else if (duck_token_is(at, "from")) {
        measure->in_from = true;
    } else if (duck_token_one_of(at, after_from)) {
        measure->in_from = false;
        if (!duck_token_is(at, "select")) return;
        if (!measure->added) measure->subqueries++;
        measure->added = false;
    }
}

static struct measure measure_text(const char *sql) {
    struct measure measure = {0};
    for (const char *at = sql; *at;) {
        const char *next = duck_token_end(at);
        bool comment =
            next - at > 1 && (strncmp(at, "--", 2) == 0 || strncmp(at, "/*", 2) == 0);
        if (!comment && strchr(" \t\r\n", *at) == NULL) {
            add(&measure, at);
        }
        at = next;
    }
    return measure;
}

shoal_status limits_balanced(const char *sql, struct shoal_error *err) {
    struct measure measure = measure_text(sql);
    if (measure.open <= OPEN_MAX) return SHOAL_OK;
    return shoal_fail(err, SHOAL_USER, "%zu parentheses of the statement are not closed",
                      measure.open);
}

bool limits_pipe(const char *sql) {
    for (const char *at = duck_token_start(sql); *at; at = duck_token_next(at)) {
        if (names_pipe(at)) return true;
    }
    return false;
}

shoal_status limits_check(const char *sql, struct shoal_error *err) {
    struct measure measure = measure_text(sql);
    const struct {
        size_t found, most;
        const char *what;
    } limits[] = {{measure.tokens, TOKENS_MAX, "words, numbers and signs"},
                  {measure.deepest, DEPTH_MAX, "parentheses and CASEs inside each other"},
                  {measure.subqueries, SUBQUERIES_MAX, "subqueries"},
                  {measure.joins, JOINS_MAX, "joins"}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        if (limits[i].found <= limits[i].most) continue;
        return shoal_fail(err, SHOAL_UNSUPPORTED,
                          "the statement has %zu %s, of which up to %zu are planned",
                          limits[i].found, limits[i].what, limits[i].most);
    }
    if (limits_pipe(sql))
        return shoal_fail(err, SHOAL_UNSUPPORTED,
                          "the statement reads a pipe, which can be read only once");
    return SHOAL_OK;
}
