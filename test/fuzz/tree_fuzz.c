// Syntax trees as any JSON: the operations of planning walk them. DuckDB is not there;
// who asks it is told that it failed.
#include "fuzz/fuzz.h"
#include "plan/tree.h"

// ---- in place of src/duck

shoal_status duck_parse(struct duck_conn *conn, const char *select, char **json,
                        struct shoal_error *err) {
    (void)conn;
    (void)json;
    return shoal_fail(err, SHOAL_USER, "%s is not parsed", select);
}

shoal_status duck_deparse(struct duck_conn *conn, const char *json, char **sql,
                          struct shoal_error *err) {
    (void)conn;
    (void)sql;
    return shoal_fail(err, SHOAL_USER, "%s is not written", json);
}

shoal_status duck_query_text(struct duck_conn *conn, const char *select,
                             struct duck_result **result, struct shoal_error *err) {
    (void)conn;
    (void)result;
    return shoal_fail(err, SHOAL_USER, "%s is not run", select);
}

size_t duck_result_rows(const struct duck_result *result) {
    (void)result;
    return 0;
}

const char *duck_result_text(const struct duck_result *result, size_t column,
                             size_t row) {
    (void)result;
    (void)column;
    (void)row;
    return NULL;
}

void duck_result_free(struct duck_result *result) {
    (void)result;
}

// ----

static void count_one(void *ctx, const char *key) {
    size_t *count = ctx;
    FUZZ_CHECK(strchr(key, '\x01') != NULL);
    ++*count;
}

static void use(struct trees *trees, json_t *node) {
    size_t columns = 0, same = 0;
    json_t *list = tree_own(trees, json_array());
    json_t *map = tree_own(trees, json_object());
    tree_each_column(node, count_one, &columns);
    json_object_set_new(map,
                        "t\x01"
                        "a",
                        json_pack("[s, s]", "x", "y"));
    json_t *renamed = tree_rename_columns(trees, node, map);
    tree_each_column(renamed, count_one, &same);
    FUZZ_CHECK(columns == same);
    tree_conjuncts(node, list);
    tree_aggregates(trees, node, list);
    tree_windows(node, list);
    (void)tree_function(trees, node, FUNCTION_VOLATILE);
    (void)tree_has(node, "class", "SUBQUERY");
    char *key = strdup(tree_key(trees, node));
    FUZZ_CHECK(key != NULL);
    json_t *replaced = tree_replace(trees, node, map);
    if (json_object_size(map) == 1)
        FUZZ_CHECK(strcmp(key, tree_key(trees, replaced)) == 0);
    free(key);
    json_t *copy = tree_copy(trees, node);
    (void)tree_unique_aliases(trees, copy, trees->err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct shoal_error err;
    struct trees trees;
    trees_init(&trees, NULL, &err);
    json_t *root = json_loadb((const char *)data, size, 0, NULL);
    if (root != NULL) use(&trees, tree_own(&trees, root));
    trees_reset(&trees);
    return 0;
}
