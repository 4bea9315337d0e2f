// PIVOT without an IN list: which columns it gives depends on the data, so its values are
// asked for first, as DuckDB does, but by a distributed query; then it is a PIVOT with IN
// lists, which is planned as any other SELECT.
//
//   PIVOT source ON a, b USING ...   ->  SELECT DISTINCT a FROM source ... (and of b)
//                                    ->  PIVOT source ON (a) IN ('x', ...), (b) IN (...)
#include <stdlib.h>
#include <string.h>

#include "query/session.h"

struct span {
    const char *start, *end;
};

struct pivot {
    struct span source;
    struct span *on;
    size_t on_count;
    const char *rest;  // USING and what follows
    bool listed;       // an IN list is there already
};

static bool add_on(struct pivot *pivot, const char *start, const char *end) {
    struct span *on = realloc(pivot->on, (pivot->on_count + 1) * sizeof *on);
    if (on == NULL) return false;
    pivot->on = on;
    on[pivot->on_count++] = (struct span){start, end};
    return true;
}

// Finds the clauses outside all parentheses; false: not such a PIVOT, or out of memory.
static bool read_pivot(const char *sql, struct pivot *pivot) {
    const char *first = duck_first_word(sql);
    const char *at = duck_token_end(first);
    const char *item = NULL;  // the ON element that is being read
    int depth = 0;
    if (*first == '\0' ||
        (!duck_token_is(first, "pivot") && !duck_token_is(first, "pivot_wider")))
        return false;
    pivot->source.start = at;
    for (; *at != '\0'; at = duck_token_end(at)) {
        const char *end = duck_token_end(at);
        if (strchr("([{", *at)) depth++;
        if (strchr(")]}", *at)) depth--;
        if (depth > 0) continue;
        if (item == NULL && duck_token_is(at, "on")) {
            pivot->source.end = at;
            item = end;
        } else if (item != NULL && *at == ',') {
            if (!add_on(pivot, item, at)) return false;
            item = end;
        } else if (item != NULL && duck_token_is(at, "in")) {
            pivot->listed = true;
        } else if (item != NULL &&
                   (duck_token_is(at, "using") || duck_token_is(at, "group") ||
                    duck_token_is(at, "order") || duck_token_is(at, "limit"))) {
            break;
        }
    }
    pivot->rest = at;
    return item != NULL && add_on(pivot, item, at);
}

// Appends ('a', 'b'): the distinct values of one ON element as text, in order.
static shoal_status append_values(struct session *session, const struct pivot *pivot,
                                  const struct span *on, struct text *out,
                                  struct shoal_error *err) {
    struct text sql = {0};
    struct duck_result *result = NULL;
    bool more = true, any = false;
    int length = (int)(on->end - on->start);
    text_printf(&sql,
                "SELECT DISTINCT CAST((%.*s) AS VARCHAR) AS v FROM %.*s\n"
                " WHERE (%.*s) IS NOT NULL ORDER BY v",
                length, on->start, (int)(pivot->source.end - pivot->source.start),
                pivot->source.start, length, on->start);
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : session_rows(session, sql.data, &result, err);
    text_append(out, " IN (");
    while (status == SHOAL_OK && more) {
        status = duck_result_next(result, &more, err);
        for (size_t r = 0; status == SHOAL_OK && r < duck_result_rows(result); r++) {
            const char *value = duck_result_text(result, 0, r);
            if (any) text_append(out, ", ");
            text_append_literal(out, value ? value : "");
            any = true;
        }
    }
    text_append(out, ")");
    duck_result_free(result);
    text_free(&sql);
    if (status == SHOAL_OK && !any) {
        return shoal_fail(err, SHOAL_UNSUPPORTED, "a PIVOT whose ON has no values");
    }
    return status;
}

shoal_status session_expand_pivot(struct session *session, const char *sql,
                                  char **expanded, struct shoal_error *err) {
    struct pivot pivot = {0};
    struct text out = {0};
    shoal_status status = SHOAL_OK;
    *expanded = NULL;
    if (read_pivot(sql, &pivot) && !pivot.listed) {
        text_append(&out, "PIVOT");
        text_append_bytes(&out, pivot.source.start,
                          (size_t)(pivot.source.end - pivot.source.start));
        for (size_t i = 0; status == SHOAL_OK && i < pivot.on_count; i++) {
            const struct span *on = &pivot.on[i];
            text_append(&out, i ? ", (" : "ON (");
            text_append_bytes(&out, on->start, (size_t)(on->end - on->start));
            text_append(&out, ")");
            status = append_values(session, &pivot, on, &out, err);
        }
        text_append(&out, " ");
        text_append(&out, pivot.rest);
        if (status == SHOAL_OK && (*expanded = text_take(&out)) == NULL) {
            status = shoal_no_memory(err);
        }
    }
    text_free(&out);
    free(pivot.on);
    return status;
}
