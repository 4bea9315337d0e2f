// Would another attempt of a stage's task give the same rows in each partition, in
// whatever order? Where that is certain, attempts need not be compared
// (base/fingerprint.h costs a sixth of the scatter). Only what is known to be is: SQL
// made of listed functions, without what takes some rows of many by their order; and no
// sum of floating point numbers, which depends on the order they come in.
#include <stdlib.h>
#include <string.h>

#include "dist/stages.h"
#include "duck/duck.h"

// clang-format off
// What stands before a parenthesis, in order; keywords and types too.
static const char *const known[] = {
    "!~~", "!~~*", "%", "&", "*", "+", "-", "/", "//", "<<", ">>", "^", "abs", "all",
    "and", "any", "array_extract", "array_value", "as", "ascii", "avg", "between",
    "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "by", "case", "cast", "ceil",
    "char", "chr", "coalesce", "concat", "contains", "count", "count_if", "count_star",
    "create_sort_key", "date_diff", "date_part", "date_sub", "date_trunc", "day",
    "decimal", "distinct", "else", "epoch", "epoch_ms", "except", "exists", "filter",
    "floor", "from", "greatest", "group", "hash", "having", "hour", "in", "instr",
    "intersect", "interval", "join", "last_day", "least", "left", "len", "length",
    "like_escape", "list_contains", "list_extract", "list_value", "lower", "ltrim",
    "make_date", "max", "md5", "min", "minute", "mod", "month", "not",
    "not_like_escape", "nullif", "numeric", "on", "or", "parquet_scan", "prefix",
    "quarter", "read_csv", "read_json", "read_parquet", "regexp_extract",
    "regexp_full_match", "regexp_matches", "regexp_replace", "replace", "right",
    "round", "row", "rtrim", "second", "select", "shoal_input", "sign", "sqrt",
    "starts_with", "strftime", "string_split", "strip_accents", "struct",
    "struct_extract", "struct_pack", "substr", "substring", "suffix", "sum",
    "sum_no_overflow", "then", "time", "timestamp", "to_days", "to_hours",
    "to_microseconds", "to_milliseconds", "to_minutes", "to_months", "to_seconds",
    "to_years", "trim", "trunc", "try_cast", "union", "upper", "using", "values",
    "varchar", "week", "when", "where", "with", "xor", "year", "|", "||", "~~", "~~*",
};
static const char *const sums[] = {"avg", "sum"};
static const char *const fractions[] = {"/", "avg", "epoch"};  // floating point of whole numbers
static const char *const some_rows[] = {"asof", "fetch", "limit", "offset", "over", "positional",
                                        "qualify", "sample", "tablesample", "window", NULL};
static const char *const floats[] = {"double", "float", "float4", "float8", "real", NULL};
// clang-format on

#define RUN_FUNCTIONS "shoal_run_"  // of whole runs, whatever chunks they come in

static int compare(const void *name, const void *item) {
    return strcasecmp(name, *(const char *const *)item);
}

#define LISTED(table, name)                                                             \
    (bsearch(name, table, sizeof(table) / sizeof *(table), sizeof *(table), compare) != \
     NULL)

struct reading {
    bool sums, floats;
    bool odd;  // something is not known
};

// The token's text without quotes, in a buffer; false: it is no name, or too long for one
// that is known.
static bool name_of(const char *at, char *name, size_t size) {
    size_t length = (size_t)(duck_token_end(at) - at);
    if (*at == '"' && length >= 2) {
        at++;
        length -= 2;
    }
    if (length == 0 || length >= size) return false;
    memcpy(name, at, length);
    name[length] = '\0';
    return true;
}

static void read_token(struct reading *reading, const char *at) {
    char name[32];
    const char *next = duck_token_next(at);
    bool word = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
    if (!word && *at != '"') return;
    bool called = *next == '(';
    bool named = name_of(at, name, sizeof name);
    if (!called) {
        if (!word) return;
        reading->odd = reading->odd || duck_token_one_of(at, some_rows) ||
                       (duck_token_is(at, "distinct") && duck_token_is(next, "on"));
        return;
    }
    bool of_run = named && strncmp(name, RUN_FUNCTIONS, strlen(RUN_FUNCTIONS)) == 0;
    if (!named || !(LISTED(known, name) || of_run)) {
        reading->odd = true;
        return;
    }
    reading->sums = reading->sums || LISTED(sums, name);
    reading->floats = reading->floats || LISTED(fractions, name);
}

static void read_sql(struct reading *reading, const char *sql) {
    const char *before = NULL;
    if (sql == NULL) return;
    for (const char *at = duck_token_start(sql); *at != '\0'; at = duck_token_next(at)) {
        // "AS t(a, b)" is no call, but "AS DOUBLE)" is a type.
        bool alias = before != NULL && duck_token_is(before, "as");
        reading->floats = reading->floats || duck_token_one_of(at, floats);
        if (!alias) read_token(reading, at);
        before = at;
    }
}

static bool floating(const struct schema *schema) {
    for (size_t c = 0; c < schema->count; c++) {
        const char *type = schema->columns[c].type;
        if (strcasestr(type, "double") != NULL || strcasestr(type, "float") != NULL)
            return true;
    }
    return false;
}

bool stage_is_repeatable(const struct stages *stages, const struct stage *stage) {
    struct reading reading = {0};
    // The rows of a frequent key go to parts in turn (base/bounds.h): the same rows, but
    // in others of its parts, and a reader of one part could miss them or see them twice.
    if (stage->scatter == BLOCK_RANGE) return false;
    read_sql(&reading, stage->sql);
    read_sql(&reading, stage->unfiltered_sql);
    read_sql(&reading, stage->plain_sql);
    read_sql(&reading, stage->combined_sql);
    read_sql(&reading, stage->of_one_sql);
    read_sql(&reading, stage->streamed_sql);
    for (size_t c = 0; c < stage->cut_count; c++) {
        read_sql(&reading, stage->cuts[c].sql);
        read_sql(&reading, stage->cuts[c].rest_sql);
    }
    reading.floats = reading.floats || floating(&stage->schema);
    for (size_t l = 0; l < stage->leaf_count; l++) {
        const struct stage_leaf *leaf = &stage->leaves[l];
        bool scans = leaf->scan_call != NULL;
        reading.floats =
            reading.floats ||
            floating(scans ? &leaf->schema : &stages->exchanges[leaf->exchange].schema);
        reading.odd = reading.odd || leaf->kind == LEAF_NUMBER;
    }
    return !reading.odd && !(reading.sums && reading.floats);
}
