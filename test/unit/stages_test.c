// The planner: which exchanges a query gets, and what is refused by name.
#include "dist/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/harness.h"

static struct duck *duck;
static struct duck_conn *conn;
static char folder[] = "/tmp/shoal_stages_XXXXXX";

// Runs before + folder + after.
static void run(const char *before, const char *name, const char *after) {
    char sql[512];
    struct shoal_error err;
    (void)snprintf(sql, sizeof sql, "%s%s%s", before, name, after);
    if (duck_run(conn, sql, &err) != SHOAL_OK) fail_msg("%s", err.message);
}

static int set_up(void **state) {
    (void)state;
    struct shoal_error err;
    struct duck_options options = {.threads = 1};
    if (mkdtemp(folder) == NULL) return -1;
    if (duck_open(&duck, &options, &err) != SHOAL_OK) return -1;
    if (duck_connect(duck, &conn, &err) != SHOAL_OK) return -1;
    run("COPY (SELECT i % 100 AS k, i AS v FROM range(50000) r(i)) TO '", folder,
        "/fact.parquet'");
    run("COPY (SELECT i AS k, 'n' || i AS name FROM range(100) r(i)) TO '", folder,
        "/dim.parquet'");
    run("CREATE VIEW fact AS FROM '", folder, "/fact.parquet'");
    run("CREATE VIEW dim AS FROM '", folder, "/dim.parquet'");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char path[128];
    duck_disconnect(conn);
    duck_close(duck);
    (void)snprintf(path, sizeof path, "%s/fact.parquet", folder);
    unlink(path);
    (void)snprintf(path, sizeof path, "%s/dim.parquet", folder);
    unlink(path);
    return rmdir(folder);
}

static struct stages *plan(const char *sql, int64_t broadcast_rows) {
    struct plan_options options = {
        .broadcast_rows = broadcast_rows, .sort_rows = SORT_ROWS, .summaries = true};
    struct shoal_error err;
    struct stages *stages = NULL;
    if (stages_plan(conn, sql, &options, &stages, &err) != SHOAL_OK) {
        fail_msg("%s: %s", sql, err.message);
    }
    return stages;
}

static size_t count_kind(const struct stages *stages, enum exchange_kind kind) {
    size_t count = 0;
    for (size_t i = 0; i < stages->exchange_count; i++) {
        count += stages->exchanges[i].kind == kind;
    }
    return count;
}

static void group_by_is_partial_and_final(void **state) {
    (void)state;
    struct stages *stages =
        plan("SELECT k, sum(v), avg(v), count(*) FROM fact GROUP BY k", -1);
    assert_int_equal(stages->count, 3);
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), 1);
    assert_int_equal(stages->stages[0].scatter, BLOCK_HASH);
    assert_false(stages->stages[0].single);
    assert_non_null(strstr(stages->stages[0].summary, "HashAggregate"));
    assert_non_null(strstr(stages->stages[1].summary, "HashAggregate"));
    assert_true(stages->stages[2].single);
    assert_string_equal(stages->stages[2].schema.columns[1].type, "HUGEINT");
    stages_free(stages);
}

static void join_shuffles_or_reads_the_small_side_everywhere(void **state) {
    (void)state;
    const char *sql = "SELECT name, v FROM fact JOIN dim USING (k)";
    struct stages *stages = plan(sql, -1);
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), 2);
    stages_free(stages);
    stages = plan(sql, 1000);
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), 0);
    assert_non_null(strstr(stages->stages[0].summary, "read whole by each task"));
    stages_free(stages);
}

static void group_by_the_join_key_needs_no_second_shuffle(void **state) {
    (void)state;
    struct stages *stages = plan(
        "SELECT fact.k, max(name), sum(v) FROM fact JOIN dim ON fact.k = dim.k "
        "GROUP BY fact.k",
        -1);
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), 2);
    stages_free(stages);
    // After a LEFT JOIN the right side's keys are NULL where nothing matched.
    stages = plan(
        "SELECT dim.k, count(v) FROM fact LEFT JOIN dim ON fact.k = dim.k GROUP BY dim.k",
        -1);
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), 3);
    stages_free(stages);
}

static void aggregate_without_partial_form_moves_rows(void **state) {
    (void)state;
    struct stages *stages = plan("SELECT k, max(v, 2) FROM fact GROUP BY k", -1);
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), 1);
    assert_null(strstr(stages->stages[0].summary, "HashAggregate"));
    assert_int_equal(stages->note_count, 1);
    stages_free(stages);
}

static void refused(const char *sql, const char *reason) {
    struct plan_options options = {.summaries = true};
    struct shoal_error err;
    struct stages *stages = NULL;
    shoal_status status = stages_plan(conn, sql, &options, &stages, &err);
    if (status != SHOAL_UNSUPPORTED || strstr(err.message, reason) == NULL) {
        fail_msg("%s: %s: %s", sql, shoal_status_name(status), err.message);
    }
    assert_null(stages);
}

static void unknown_relations_are_refused_by_name(void **state) {
    (void)state;
    run("CREATE TABLE ", "stored", " AS SELECT 1 AS a");
    refused("SELECT * FROM stored", "stored");
    refused("SELECT random() FROM fact", "random");
    refused("SELECT * FROM fact POSITIONAL JOIN dim", "POSITIONAL");
    refused(
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) "
        "SELECT * FROM t",
        "RECURSIVE_CTE_NODE");
}

static void user_errors_stay_user_errors(void **state) {
    (void)state;
    struct plan_options options = {.summaries = true};
    struct shoal_error err;
    struct stages *stages = NULL;
    assert_int_equal(stages_plan(conn, "SELECT nope FROM fact", &options, &stages, &err),
                     SHOAL_USER);
    assert_non_null(strstr(err.message, "nope"));
    assert_int_equal(stages_plan(conn, "SELEC 1", &options, &stages, &err), SHOAL_USER);
}

static void a_placeholder_in_the_users_text_is_left_alone(void **state) {
    (void)state;
    struct stages *stages = plan("SELECT '__leaf_1_0__' || name FROM dim", -1);
    char *leaves[] = {"(SELECT 'hit' AS name)"};
    char *sql = stage_substitute(&stages->stages[0], leaves);
    assert_non_null(strstr(sql, "'__leaf_1_0__'"));
    assert_non_null(strstr(sql, "'hit'"));
    free(sql);
    stages_free(stages);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(group_by_is_partial_and_final),
        cmocka_unit_test(join_shuffles_or_reads_the_small_side_everywhere),
        cmocka_unit_test(group_by_the_join_key_needs_no_second_shuffle),
        cmocka_unit_test(aggregate_without_partial_form_moves_rows),
        cmocka_unit_test(unknown_relations_are_refused_by_name),
        cmocka_unit_test(user_errors_stay_user_errors),
        cmocka_unit_test(a_placeholder_in_the_users_text_is_left_alone),
    };
    return cmocka_run_group_tests_name("stages", tests, set_up, tear_down);
}
