#include "plan/hints.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "duck/duck.h"

static bool blank(char c) {
    return c != '\0' && strchr(" \t\r\n", c) != NULL;
}

// Takes the texts, which may be NULL; false when out of memory.
static bool add(struct hints *hints, enum hint_kind kind, char *text, char *name,
                uint32_t partitions, const char *why) {
    struct hint *list = realloc(hints->list, (hints->count + 1) * sizeof *list);
    char *reason = why ? strdup(why) : NULL;
    if (list != NULL) hints->list = list;
    if (list == NULL || text == NULL || (why && reason == NULL)) {
        free(text);
        free(name);
        free(reason);
        return false;
    }
    list[hints->count++] = (struct hint){kind, text, name, partitions, reason};
    return true;
}

// ---- one hint: its word, and the arguments from `at` up to its closing parenthesis

struct call {
    const char *word, *arguments;  // arguments NULL: it has no parentheses
    const char *end;               // past it
};

static char *text_of(const char *from, const char *to) {
    while (to > from && blank(to[-1])) to--;
    return strndup(from, (size_t)(to - from));
}

// One argument, without its quotes: t, "my table", 'a.parquet', db.t. *at goes past it,
// and past a comma. *name NULL with true: it is none. False: out of memory.
static bool read_argument(const char **at, char **name) {
    struct text text = {0};
    const char *start = *at;
    while (**at != '\0' && **at != ',' && **at != ')') {
        if (**at == '"' || **at == '\'') {
            char *plain = duck_token_unquoted(*at, **at);
            if (plain != NULL) text_append(&text, plain);
            text.failed = text.failed || (plain == NULL && duck_token_quoted(*at, **at));
            free(plain);
        } else {
            text_append_bytes(&text, *at, (size_t)(duck_token_end(*at) - *at));
        }
        *at = duck_token_next(*at);
    }
    if (**at == ',') *at = duck_token_next(*at);
    if (*at == start && **at != ')') *at = duck_token_next(*at);
    *name = NULL;
    if (text.failed) {
        text_free(&text);
        return false;
    }
    if (text.size == 0) {
        text_free(&text);
        return true;
    }
    *name = text_take(&text);
    return *name != NULL;
}

static bool add_relations(struct hints *hints, enum hint_kind kind,
                          const struct call *call) {
    const char *at = call->arguments;
    bool any = false;
    while (at != NULL && *at != ')' && *at != '\0') {
        struct text text = {0};
        char *name = NULL;
        if (!read_argument(&at, &name)) return false;
        if (name == NULL) continue;
        text_append_bytes(&text, call->word,
                          (size_t)(duck_token_end(call->word) - call->word));
        text_printf(&text, "(%s)", name);
        any = true;
        if (!add(hints, kind, text_take(&text), name, 0, NULL)) return false;
    }
    return any || add(hints, HINT_REFUSED, text_of(call->word, call->end), NULL, 0,
                      "it names no relation");
}

static bool add_repartition(struct hints *hints, const struct call *call) {
    const char *at = call->arguments;
    char *number = NULL, *end = NULL;
    char *text = text_of(call->word, call->end);
    if (at != NULL && !read_argument(&at, &number)) {
        free(text);
        return false;
    }
    unsigned long partitions = number ? strtoul(number, &end, 10) : 0;
    bool ok = number != NULL && *number >= '0' && *number <= '9' && *end == '\0' &&
              partitions >= 1 && partitions <= HINT_PARTITIONS_MOST;
    free(number);
    if (!ok) {
        return add(hints, HINT_REFUSED, text, NULL, 0,
                   "it begins with a number of partitions, from 1 to 65536");
    }
    if (!add(hints, HINT_REPARTITION, text, NULL, (uint32_t)partitions, NULL))
        return false;
    while (*at != ')' && *at != '\0') {
        char *column = NULL;
        if (!read_argument(&at, &column)) return false;
        if (column != NULL &&
            !add(hints, HINT_PLACE, text_of(call->word, call->end), column, 0, NULL))
            return false;
    }
    return true;
}

static bool add_call(struct hints *hints, const struct call *call) {
    static const char *const broadcast[] = {"broadcast", "broadcastjoin", "mapjoin",
                                            NULL};
    static const char *const shuffle[] = {"shuffle_hash", "shuffle_merge", "merge",
                                          "mergejoin", NULL};
    static const char *const coalesce[] = {"coalesce", "rebalance", NULL};
    if (duck_token_one_of(call->word, broadcast))
        return add_relations(hints, HINT_BROADCAST, call);
    if (duck_token_one_of(call->word, shuffle))
        return add_relations(hints, HINT_SHUFFLE, call);
    if (duck_token_is(call->word, "repartition")) return add_repartition(hints, call);
    const char *why =
        "there is no such hint; there are BROADCAST(relation), "
        "SHUFFLE_HASH(relation), MERGE(relation), REPARTITION(number, columns)";
    if (duck_token_one_of(call->word, coalesce))
        why = "small partitions are put together, and large ones cut, without it";
    return add(hints, HINT_REFUSED, text_of(call->word, call->end), NULL, 0, why);
}

// The hints of one comment, whose inside is text.
static bool add_comment(struct hints *hints, const char *text) {
    for (const char *at = duck_token_start(text); *at != '\0';) {
        struct call call = {.word = at};
        const char *behind = duck_token_end(at);
        const char *next = duck_token_start(behind);
        call.end = behind;
        if (*next == '(') {
            call.arguments = duck_token_next(next);
            call.end = duck_token_past(next);
            if (call.end == NULL) call.end = next + strlen(next);
        }
        if (!add_call(hints, &call)) return false;
        at = duck_token_start(call.end);
        if (*at == ',') at = duck_token_next(at);
    }
    return true;
}

shoal_status hints_read(const char *sql, struct hints *hints, struct shoal_error *err) {
    bool behind_select = false, ok = true;
    *hints = (struct hints){0};
    if (strstr(sql, "/*+") == NULL) return SHOAL_OK;
    for (const char *at = sql, *end; ok && *at != '\0'; at = end) {
        end = duck_token_end(at);
        if (blank(*at)) continue;
        bool comment = end - at > 2 && strncmp(at, "/*", 2) == 0;
        if (comment && at[2] == '+') {
            const char *last = end - at >= 5 && end[-1] == '/' ? end - 2 : end;
            char *inside = strndup(at + 3, (size_t)(last - at - 3));
            ok = inside != NULL;
            if (ok && behind_select) {
                ok = add_comment(hints, inside);
            } else if (ok) {
                ok = add(hints, HINT_REFUSED, text_of(at, end), NULL, 0,
                         "hints stand behind SELECT");
            }
            free(inside);
        }
        if (!comment && strncmp(at, "--", 2) != 0)
            behind_select = duck_token_is(at, "select");
    }
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

void hints_free(struct hints *hints) {
    for (size_t i = 0; i < hints->count; i++) {
        free(hints->list[i].text);
        free(hints->list[i].name);
        free(hints->list[i].why);
    }
    free(hints->list);
    *hints = (struct hints){0};
}
