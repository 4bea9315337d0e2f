// Workers find faults of JSON files in their tasks. Here is what the driver does: it
// marks the calls in the statement's text, and where it runs the statement alone, it
// reads each call's files once more before, as the rows of a statement go out as they
// come. That fails if there are faults; only then they are looked for, and the call
// becomes a subquery of the good rows.
#include "query/json_rejects.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lines/faults.h"
#include "task/rejects.h"

#define LINES ", format = 'newline_delimited'"

bool json_call_begins(const char *at) {
    static const char *const names[] = {"read_json", "read_json_auto", "read_ndjson",
                                        "read_ndjson_auto", NULL};
    return duck_token_one_of(at, names) && *duck_token_next(at) == '(';
}

// One argument of a call, [begin, end).
struct argument {
    const char *begin, *end;
    bool named;
};

// The argument that begins at `at`, and where the next begins: past a comma, or at ")".
static struct argument argument_at(const char *at, const char **next) {
    struct argument argument = {.begin = at, .end = at};
    const char *sign = duck_token_next(at);
    argument.named =
        (sign[0] == '=' && sign[1] != '=') || (sign[0] == ':' && sign[1] == '=');
    while (*at && *at != ',' && *at != ')') {
        bool opens = *at == '(' || *at == '[' || *at == '{';
        const char *past = opens ? duck_token_past(at) : NULL;
        argument.end = past != NULL ? past : duck_token_end(at);
        at = past != NULL ? duck_token_start(past) : duck_token_next(at);
    }
    *next = *at == ',' ? duck_token_next(at) : at;
    return argument;
}

static const char *first_argument(const char *call) {
    return duck_token_next(duck_token_next(call));
}

static bool has_argument(const char *call, const char *const *names) {
    for (const char *at = first_argument(call), *next; *at && *at != ')'; at = next) {
        struct argument argument = argument_at(at, &next);
        if (argument.named && duck_token_one_of(argument.begin, names)) return true;
    }
    return false;
}

// Appends the call's arguments, those that are named (or not) by the list, each after
// the first with a comma before.
static void append_arguments(struct text *out, const char *call, bool listed,
                             const char *const *names) {
    for (const char *at = first_argument(call), *next; *at && *at != ')'; at = next) {
        struct argument argument = argument_at(at, &next);
        bool known = argument.named && duck_token_one_of(argument.begin, names);
        if (argument.named && known != listed) continue;
        text_append(out, at == first_argument(call) ? "" : ", ");
        text_append_bytes(out, argument.begin, (size_t)(argument.end - argument.begin));
    }
}

bool json_call_keeps(const char *at) {
    static const char *const own[] = {"ignore_errors", "records",   "array",
                                      "geojson",       FAULTS_MARK, NULL};
    return !has_argument(at, own) && duck_token_past(duck_token_next(at)) != NULL;
}

static bool is_marked(const char *call) {
    static const char *const mark[] = {FAULTS_MARK, NULL};
    return has_argument(call, mark) && duck_token_past(duck_token_next(call)) != NULL;
}

// In each file, are most of the lines objects?
static bool are_lines(struct duck_conn *trial, const char *call) {
    static const char *const packed[] = {"compression", "maximum_object_size", NULL};
    struct text sql = {0};
    struct shoal_error ignored;
    char *other = NULL;
    text_append(&sql, "SELECT 1 FROM read_ndjson_objects(");
    append_arguments(&sql, call, true, packed);
    text_append(&sql, ", " FAULTS_IGNORED
                      ", filename = true) GROUP BY filename HAVING 2 * count(*) FILTER "
                      "(json_type(json) = 'OBJECT') <= count(*) LIMIT 1");
    bool lines = !sql.failed &&
                 duck_scalar(trial, sql.data, &other, &ignored) == SHOAL_OK &&
                 other == NULL;
    free(other);
    text_free(&sql);
    return lines;
}

// Did reading the call's files fail as DuckDB took one for other than lines, and only
// because it begins with a faulty one?
static bool needs_lines(struct duck_conn *trial, const char *call,
                        const struct shoal_error *err) {
    static const char *const format[] = {"format", NULL};
    return strstr(err->message, "Parse errors cannot be ignored") != NULL &&
           !has_argument(call, format) && are_lines(trial, call);
}

void json_call_mark(struct text *out, struct duck_conn *trial, const char *at,
                    const char **end) {
    struct text marked = {0}, sql = {0};
    struct schema schema = {0};
    struct shoal_error err;
    *end = duck_token_past(duck_token_next(at));
    text_append_bytes(&marked, at, (size_t)(*end - 1 - at));
    text_append(&marked, ", " FAULTS_IGNORED ", " FAULTS_MARK " = false");
    text_printf(&sql, "FROM %s)", marked.failed ? "" : marked.data);
    if (!sql.failed && duck_describe(trial, sql.data, &schema, &err) == SHOAL_USER &&
        needs_lines(trial, at, &err))
        text_append(&marked, LINES);
    text_append(&marked, ")");
    out->failed = out->failed || marked.failed || sql.failed;
    if (!marked.failed) text_append(out, marked.data);
    schema_free(&schema);
    text_free(&marked);
    text_free(&sql);
}

void json_append_alias(struct text *out, const char *name, const char *end) {
    static const char *const clauses[] = {
        "where",      "group",       "order",   "limit",  "having", "window",
        "join",       "inner",       "left",    "right",  "full",   "cross",
        "semi",       "anti",        "asof",    "on",     "using",  "union",
        "except",     "intersect",   "qualify", "offset", "select", "natural",
        "positional", "tablesample", NULL};
    const char *next = duck_token_start(end);
    bool clause = *next == '\0' || *next == ')' || *next == ',' || *next == ';' ||
                  duck_token_one_of(next, clauses);
    if (!clause) return;
    text_append(out, " AS ");
    text_append_identifier(out, name);
}

// ---- in this process

// A marked call as it is written, as it was before, one for its rows, with NULLs in them,
// and one for its records' texts.
struct call {
    const char *at;
    char *strict, *rows, *texts;
    struct schema columns;
};

static void call_free_texts(struct call *call) {
    free(call->strict);
    free(call->rows);
    free(call->texts);
}

static void call_free(struct call *call) {
    call_free_texts(call);
    schema_free(&call->columns);
}

// lines: its files are lines, whatever DuckDB detects. False: out of memory.
static bool write_calls(struct call *call, bool lines) {
    static const char *const marks[] = {"ignore_errors", FAULTS_MARK, NULL};
    static const char *const columns[] = {"columns", NULL};
    static const char *const records[] = {"format", "compression", "maximum_object_size",
                                          NULL};
    struct text strict = {0}, rows = {0}, texts = {0};
    const char *open = duck_token_next(call->at);
    bool named = duck_token_is(call->at, "read_ndjson") ||
                 duck_token_is(call->at, "read_ndjson_auto");
    text_append_bytes(&strict, call->at, (size_t)(open - call->at));
    text_append(&strict, "(");
    append_arguments(&strict, call->at, false, marks);
    if (!strict.failed)
        text_printf(&rows, "%s, " FAULTS_IGNORED "%s%s)", strict.data,
                    has_argument(call->at, columns) ? ", " FAULTS_OBJECTS : "",
                    lines ? LINES : "");
    text_append(&strict, ")");
    text_append(&texts, "read_json_objects(");
    append_arguments(&texts, call->at, true, records);
    text_printf(&texts, "%s, " FAULTS_IGNORED ", hive_partitioning = false)",
                named || lines ? LINES : "");
    call_free_texts(call);
    call->strict = text_take(&strict);
    call->rows = text_take(&rows);
    call->texts = text_take(&texts);
    return call->strict != NULL && call->rows != NULL && call->texts != NULL;
}

static shoal_status read_call(struct duck_conn *conn, const char *at, struct call *call,
                              struct shoal_error *err) {
    struct text sql = {0};
    *call = (struct call){.at = at};
    if (!write_calls(call, false)) return shoal_no_memory(err);
    text_printf(&sql, "FROM %s", call->rows);
    shoal_status status = sql.failed ? shoal_no_memory(err)
                                     : duck_describe(conn, sql.data, &call->columns, err);
    text_free(&sql);
    return status;
}

// SHOAL_USER: it fails, maybe of what only a second look tells.
static shoal_status try_call(struct duck_conn *trial, const struct call *call,
                             struct shoal_error *err) {
    struct text sql = {0};
    text_printf(&sql, "SELECT count(*) FROM %s WHERE ", call->strict);
    faults_append_read_all(&sql, &call->columns);
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : duck_run(trial, sql.data, err);
    text_free(&sql);
    return status;
}

// Where a record was no JSON, are its files such that others can be read?
static shoal_status try_texts(struct duck_conn *trial, struct call *call,
                              const struct shoal_error *why, struct shoal_error *err) {
    struct text sql = {0};
    if (strstr(why->message, "Malformed JSON") == NULL) return SHOAL_OK;
    text_printf(&sql, "SELECT count(json) FROM %s", call->texts);
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : duck_run(trial, sql.data, err);
    text_free(&sql);
    if (status != SHOAL_USER || !needs_lines(trial, call->at, err)) return status;
    return write_calls(call, true) ? SHOAL_OK : shoal_no_memory(err);
}

// The subquery of the call's good rows in its place, after its faults were found. why:
// reading them failed so.
static shoal_status replace_call(struct duck_conn *conn, struct call *call, size_t scan,
                                 const struct shoal_error *why, struct text *out,
                                 struct shoal_error *err) {
    struct faults_calls calls = {call->rows, call->texts, &call->columns};
    struct text select = {0};
    uint64_t found = 0;
    faults_append_select(&select, &calls, scan);
    shoal_status status = select.failed ? shoal_no_memory(err)
                                        : rejects_find(conn, select.data, &found, err);
    text_free(&select);
    // A key that detection has not seen is an error of the call as it was written alone.
    bool key = strstr(why->message, "has unknown key") != NULL;
    if (status == SHOAL_OK && found == 0 && !key && rejects_explain(why)) {
        *err = *why;
        return SHOAL_USER;
    }
    if (status == SHOAL_OK) faults_append_good(out, "*", call->rows, scan);
    return status == SHOAL_OK && out->failed ? shoal_no_memory(err) : status;
}

// Appends what stands for the call at `at`, if it has faults; *copied is past it then.
static shoal_status sift_call(struct duck_conn *conn, struct duck_conn *trial,
                              const char *at, size_t scan, struct text *out,
                              const char **copied, struct shoal_error *err) {
    struct call call;
    struct shoal_error why;
    shoal_status status = read_call(conn, at, &call, err);
    shoal_status tried = status == SHOAL_OK ? try_call(trial, &call, &why) : SHOAL_OK;
    if (tried == SHOAL_USER) {
        const char *past = duck_token_past(duck_token_next(at));
        char *name = strndup(at, (size_t)(duck_token_end(at) - at));
        status = try_texts(trial, &call, &why, err);
        text_append_bytes(out, *copied, (size_t)(at - *copied));
        if (status == SHOAL_OK) status = replace_call(conn, &call, scan, &why, out, err);
        json_append_alias(out, name ? name : "", past);
        out->failed = out->failed || name == NULL;
        free(name);
        *copied = past;
    } else if (tried != SHOAL_OK) {
        *err = why;
        status = tried;
    }
    call_free(&call);
    return status;
}

shoal_status json_rejects_find(struct duck_conn *conn, struct duck_conn *trial,
                               const char *sql, char **good, struct shoal_error *err) {
    struct text out = {0};
    const char *copied = sql;
    size_t scan = 0;
    shoal_status status = SHOAL_OK;
    *good = NULL;
    for (const char *at = duck_token_start(sql); status == SHOAL_OK && *at;
         at = duck_token_next(at)) {
        if (json_call_begins(at) && is_marked(at))
            status = sift_call(conn, trial, at, scan++, &out, &copied, err);
    }
    if (status == SHOAL_OK && copied != sql) {
        text_append(&out, copied);
        *good = text_take(&out);
        if (*good == NULL) status = shoal_no_memory(err);
    }
    text_free(&out);
    return status;
}
