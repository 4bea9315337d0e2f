// The planner's own table of functions against the catalog of the library in use.
#include "support/harness.h"

#include "plan/functions.h"

struct seen {
    struct functions *functions;
    size_t count;
};

static void same_kind(void *ctx, const char *name) {
    struct seen *seen = ctx;
    unsigned catalog = functions_catalog_kind(seen->functions, name);
    assert_int_equal(seen->functions->status, SHOAL_OK);
    if (json_object_get(seen->functions->kinds, name) == NULL)
        fail_msg("%s is in the table but not in DuckDB's catalog", name);
    if (functions_kind(seen->functions, name) != catalog)
        fail_msg("%s: the table and DuckDB's catalog differ", name);
    seen->count++;
}

static void the_table_is_right(void **state) {
    (void)state;
    struct duck *duck;
    struct duck_conn *conn;
    struct duck_options options = {.threads = 1};
    struct shoal_error err;
    assert_int_equal(duck_open(&duck, &options, &err), SHOAL_OK);
    assert_int_equal(duck_connect(duck, &conn, &err), SHOAL_OK);
    struct functions functions = {.conn = conn};
    struct seen seen = {.functions = &functions};
    assert_int_equal(functions_kind(&functions, "sum"), FUNCTION_AGGREGATE);
    assert_int_equal(functions_kind(&functions, "upper"), 0);
    assert_int_equal(functions_kind(&functions, "error"), 0);
    assert_int_equal(functions_kind(&functions, "row_number"), 0);
    assert_int_equal(functions_kind(&functions, "random"), FUNCTION_VOLATILE);
    assert_null(functions.kinds);  // none of them needed the catalog
    assert_int_equal(functions_kind(&functions, "nextval"),
                     FUNCTION_VOLATILE | FUNCTION_SESSION);
    assert_int_equal(functions_kind(&functions, "kurtosis"), FUNCTION_AGGREGATE);
    functions_each_listed(same_kind, &seen);
    assert_true(seen.count > 100);
    functions_free(&functions);
    duck_disconnect(conn);
    duck_close(duck);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_table_is_right)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
