// What the planner must know of a function: does it aggregate, and may two calls differ?
// DuckDB's catalog knows, but listing it the first time takes longer than planning a
// query, so the names that queries use every day are here too. A test holds both tables
// against the catalog of the library that is linked.
#include "plan/functions.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// clang-format off
static const char *const aggregates[] = {
    "any_value", "approx_count_distinct", "approx_quantile", "arg_max", "arg_min", "avg",
    "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "corr", "count", "count_star",
    "covar_pop", "covar_samp", "first", "histogram", "last", "list", "max", "median",
    "min", "mode", "product", "quantile", "quantile_cont", "quantile_disc", "stddev",
    "stddev_pop", "stddev_samp", "string_agg", "sum", "sum_no_overflow", "var_pop",
    "var_samp", "variance",
};

static const char *const plain[] = {
    "!~~", "!~~*", "%", "&", "*", "+", "-", "/", "//", "<<", ">>", "@>", "^", "abs", "ceil",
    "concat", "concat_ws", "contains", "create_sort_key", "cume_dist", "date_diff",
    "date_part", "date_sub", "date_trunc", "day", "dense_rank", "epoch", "first_value",
    "flatten", "floor", "greatest", "hash", "hour", "lag", "last_value", "lead", "least",
    "left", "len", "length", "like_escape", "list_contains", "list_extract", "list_slice",
    "list_value", "ln", "lower", "ltrim", "md5", "minute", "mod", "month",
    "not_like_escape", "nth_value", "ntile", "parquet_scan", "percent_rank", "pow",
    "prefix", "quarter", "range", "rank", "read_parquet", "regexp_extract",
    "regexp_full_match", "regexp_matches", "regexp_replace", "replace", "right", "round",
    "row", "row_number", "rtrim", "second", "sqrt", "starts_with", "strftime",
    "string_split", "strptime", "struct_extract", "struct_pack", "substr", "substring",
    "suffix", "trim", "upper", "week", "xor", "year", "|", "||", "~~", "~~*",
};
// Volatile, but any process gives as good a value.
static const char *const anywhere[] = {
    "gen_random_uuid", "random", "uuid", "uuidv4", "uuidv7",
};
// clang-format on

static int compare(const void *name, const void *item) {
    return strcmp(name, *(const char *const *)item);
}

#define LISTED(table, name)                                                             \
    (bsearch(name, table, sizeof(table) / sizeof *(table), sizeof *(table), compare) != \
     NULL)

static shoal_status load(struct functions *functions, struct shoal_error *err) {
    struct duck_result *result = NULL;
    shoal_status status = duck_query_text(
        functions->conn,
        "SELECT function_name, bool_or(function_type = 'aggregate')::INT::VARCHAR, "
        "bool_or(stability = 'VOLATILE')::INT::VARCHAR FROM duckdb_functions() GROUP BY "
        "1",
        &result, err);
    if (status != SHOAL_OK) return status;
    functions->kinds = json_object();
    for (size_t row = 0; row < duck_result_rows(result); row++) {
        const char *aggregate = duck_result_text(result, 1, row);
        const char *isvolatile = duck_result_text(result, 2, row);
        int kind = (aggregate && *aggregate == '1' ? FUNCTION_AGGREGATE : 0) |
                   (isvolatile && *isvolatile == '1' ? FUNCTION_VOLATILE : 0);
        json_object_set_new(functions->kinds, duck_result_text(result, 0, row),
                            json_integer(kind));
    }
    duck_result_free(result);
    return functions->kinds ? SHOAL_OK : shoal_no_memory(err);
}

unsigned functions_catalog_kind(struct functions *functions, const char *name) {
    if (functions->kinds == NULL && functions->status == SHOAL_OK) {
        functions->status = load(functions, &functions->error);
    }
    return (unsigned)json_integer_value(json_object_get(functions->kinds, name));
}

unsigned functions_kind(struct functions *functions, const char *name) {
    if (LISTED(plain, name)) return 0;
    if (LISTED(aggregates, name)) return FUNCTION_AGGREGATE;
    if (LISTED(anywhere, name)) return FUNCTION_VOLATILE;
    // Volatile in the catalog so that it is not folded; it gives no value that could
    // differ. It guards scalar subqueries against a second row.
    if (strcmp(name, "error") == 0) return 0;
    unsigned kind = functions_catalog_kind(functions, name);
    return kind & FUNCTION_VOLATILE ? kind | FUNCTION_SESSION : kind;
}

void functions_each_listed(void (*visit)(void *ctx, const char *name), void *ctx) {
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) visit(ctx, plain[i]);
    for (size_t i = 0; i < sizeof aggregates / sizeof *aggregates; i++) {
        visit(ctx, aggregates[i]);
    }
    for (size_t i = 0; i < sizeof anywhere / sizeof *anywhere; i++)
        visit(ctx, anywhere[i]);
}

void functions_free(struct functions *functions) {
    json_decref(functions->kinds);
    functions->kinds = NULL;
}
