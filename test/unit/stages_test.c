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
    run("COPY (SELECT if(i % 3 = 0, -1, i) AS h, i % 9000 AS e FROM range(50000) r(i)) "
        "TO '",
        folder, "/hot.parquet'");
    run("CREATE VIEW hot AS FROM '", folder, "/hot.parquet'");
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
    (void)snprintf(path, sizeof path, "%s/hot.parquet", folder);
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
    assert_int_equal(stages->count, 4);
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), 1);
    assert_int_equal(stages->stages[0].scatter, BLOCK_HASH);
    assert_false(stages->stages[0].single);
    assert_non_null(strstr(stages->stages[0].summary, "HashAggregate"));
    // Tasks may come to pass rows on: slices of a heavy partition are aggregated.
    assert_non_null(stages->stages[0].plain_sql);
    assert_int_equal(stages->exchanges[stages->stages[1].exchange].kind,
                     EXCHANGE_COMBINE);
    assert_int_equal(stages->stages[1].cut_count, 1);
    assert_non_null(strstr(stages->stages[2].summary, "HashAggregate"));
    assert_non_null(stages->stages[2].combined_sql);
    assert_true(stages->stages[3].single);
    assert_string_equal(stages->stages[3].schema.columns[1].type, "HUGEINT");
    stages_free(stages);
    // What has states is aggregated in part by all.
    stages = plan("SELECT k, stddev(v) FROM fact GROUP BY k", -1);
    assert_int_equal(stages->count, 3);
    assert_null(stages->stages[1].combined_sql);
    stages_free(stages);
}

// Hashed by `keys`, once or twice?
static void assert_exchanges(const char *sql, size_t count, const char *keys) {
    struct stages *stages = plan(sql, -1);
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), count);
    assert_string_equal(stages->exchanges[0].keys, keys);
    stages_free(stages);
}

static void groups_of_groups_are_hashed_once_if_they_are_many_and_even(void **state) {
    (void)state;
    assert_exchanges("SELECT e, count(DISTINCT h) FROM hot GROUP BY e", 1, "e");
    // 100 groups are too few, a third of the rows in one too much.
    assert_exchanges("SELECT k, count(DISTINCT v) FROM fact GROUP BY k", 2, "k, v");
    assert_exchanges("SELECT h, count(DISTINCT e) FROM hot GROUP BY h", 2, "h, e");
    // Of 9000 a filter leaves a hundredth.
    assert_exchanges("SELECT e, count(DISTINCT h) FROM hot WHERE e < 90 GROUP BY e", 2,
                     "e, h");
    // What is no column of a file is not known, nor how those of two go together.
    assert_exchanges("SELECT e + 1, count(DISTINCT h) FROM hot GROUP BY e + 1", 2,
                     "t1.c2, h");
    assert_exchanges(
        "SELECT k, e, count(*) FROM (SELECT DISTINCT k, e, v % 7 FROM fact "
        "JOIN hot ON v = h) GROUP BY k, e",
        4, "v");
}

static void scans_of_a_union_share_their_stage(void **state) {
    (void)state;
    struct stages *stages = plan(
        "SELECT k, count(*) FROM (SELECT k FROM fact UNION ALL SELECT e FROM hot UNION "
        "ALL SELECT v FROM fact JOIN dim USING (k)) GROUP BY k",
        1000);
    // The dimension is read by each task.
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), 1);
    assert_int_equal(count_kind(stages, EXCHANGE_ROUND_ROBIN), 0);
    assert_int_equal(count_kind(stages, EXCHANGE_BROADCAST), 0);
    size_t unions = 0;
    for (size_t l = 0; l < stages->stages[0].leaf_count; l++)
        unions += stages->stages[0].leaves[l].kind == LEAF_UNION;
    assert_int_equal(unions, 3);
    stages_free(stages);
    // What was grouped is in partitions.
    stages = plan("SELECT k FROM fact UNION ALL SELECT k FROM fact GROUP BY k", -1);
    assert_int_equal(count_kind(stages, EXCHANGE_ROUND_ROBIN), 1);
    assert_int_equal(stages->stages[0].leaves[0].kind, LEAF_SCAN);
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

static void a_side_wider_than_the_limit_is_not_broadcast(void **state) {
    (void)state;
    for (uint64_t limit = 1000; limit <= 100000; limit *= 100) {
        struct plan_options options = {.broadcast_rows = BROADCAST_AUTO,
                                       .broadcast_bytes = limit};
        struct shoal_error err;
        struct stages *stages = NULL;
        // 100 rows of 16 + 8 + 32 bytes, as estimated
        const char *sql = "SELECT name, v FROM fact JOIN dim USING (k)";
        assert_int_equal(stages_plan(conn, sql, &options, &stages, &err), SHOAL_OK);
        assert_int_equal(count_kind(stages, EXCHANGE_HASH), limit < 5600 ? 2 : 0);
        stages_free(stages);
    }
}

static uint64_t estimated(const char *sql) {
    struct stages *stages = plan(sql, -1);
    uint64_t rows = stages->stages[0].estimated_rows;
    stages_free(stages);
    return rows;
}

static void statistics_say_how_many_rows_are_left(void **state) {
    (void)state;
    // v is 0 to 49,999, k 0 to 99
    static const struct {
        const char *sql;
        uint64_t rows;
    } queries[] = {
        {"SELECT k FROM fact WHERE v < 25000", 25000},
        {"SELECT k FROM fact WHERE v >= 10000 AND v < 20000", 10000},
        {"SELECT k FROM fact WHERE 10000 <= v AND 19999 >= v", 10000},
        {"SELECT k FROM fact WHERE v > 40000 AND k < 50", 5000},
        {"SELECT k FROM fact WHERE v <= 60000", 50000},
        {"SELECT count(*) FROM fact GROUP BY k", 101},
        {"SELECT count(*) FROM fact WHERE v < 25000 GROUP BY k", 101},
        {"SELECT count(*) FROM fact GROUP BY k % 7", 16667},  // a guess: a third
    };
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        uint64_t rows = estimated(queries[i].sql);
        uint64_t off =
            rows > queries[i].rows ? rows - queries[i].rows : queries[i].rows - rows;
        if (off > queries[i].rows / 50 + 2)
            fail_msg("%s: about %llu rows", queries[i].sql, (unsigned long long)rows);
    }
}

// Of the days 0 to 9,999 a million sales are of 1,000 to 1,499.
static void filtered_dimensions_are_counted(void **state) {
    (void)state;
    static const struct {
        const char *where;
        uint64_t rows;
    } queries[] = {
        {"d // 365 = 3", 730000},  // 365 days of 500
        {"name IN ('day 1000', 'day 1100', 'day 5')", 4000},
        {"d % 2 = 0 AND d < 1100", 100000},
        {"name = 'day 7777'", 1},
    };
    static const char *const types[] = {"BIGINT", "DATE"};
    char path[128], sql[512];
    for (size_t t = 0; t < 2; t++) {
        const char *as = t == 0 ? "i" : "DATE '1970-01-01' + i::INTEGER";
        (void)snprintf(
            sql, sizeof sql,
            "COPY (SELECT %s AS day, v FROM (SELECT 1000 + v %% 500 AS i, v FROM "
            "range(1000000) r(v))) TO '",
            as);
        run(sql, folder, "/sales.parquet'");
        (void)snprintf(sql, sizeof sql,
                       "COPY (SELECT i AS d, %s AS key, 'day ' || i AS name FROM "
                       "range(10000) r(i)) TO '",
                       as);
        run(sql, folder, "/days.parquet'");
        for (size_t q = 0; q < sizeof queries / sizeof *queries; q++) {
            (void)snprintf(sql, sizeof sql,
                           "SELECT v FROM '%s/sales.parquet' JOIN '%s/days.parquet' ON "
                           "day = key WHERE %s",
                           folder, folder, queries[q].where);
            struct stages *stages = plan(sql, BROADCAST_AUTO);
            uint64_t rows = stages->stages[stages->count - 2].estimated_rows;
            if (rows > queries[q].rows * 1.01 + 10 || rows * 1.01 + 10 < queries[q].rows)
                fail_msg("%s %s: about %llu rows", types[t], queries[q].where,
                         (unsigned long long)rows);
            stages_free(stages);
        }
    }
    (void)snprintf(path, sizeof path, "%s/sales.parquet", folder);
    unlink(path);
    (void)snprintf(path, sizeof path, "%s/days.parquet", folder);
    unlink(path);
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

// In tasks DuckDB is to group below a join only if that keeps most of the rows: how many
// they are is counted by a key of the other side, else.
static void groups_stay_above_joins_that_drop_rows(void **state) {
    (void)state;
    static const struct {
        const char *sql;
        bool drops;
    } queries[] = {
        {"SELECT name, sum(v) FROM fact JOIN dim ON fact.k = dim.k GROUP BY name", false},
        {"SELECT name, sum(v) FROM fact JOIN dim ON fact.k = dim.k "
         "WHERE name LIKE 'n1%7' GROUP BY name",
         true},
        {"SELECT a.v, sum(b.v) FROM fact a JOIN fact b ON a.v = b.v GROUP BY a.v, a.k",
         true},  // sides that are alike
        {"SELECT name, sum(v) FROM fact LEFT JOIN dim ON fact.k = dim.k GROUP BY name",
         false},
    };
    for (size_t q = 0; q < sizeof queries / sizeof *queries; q++) {
        struct stages *stages = plan(queries[q].sql, 1000000);
        const char *sql = NULL;
        for (size_t s = 0; s < stages->count; s++) {
            if (stages->stages[s].counts) sql = stages->stages[s].sql;
        }
        assert_non_null(sql);
        if ((strstr(sql, "count(*)") == NULL && strstr(sql, "count_star()") == NULL) !=
            queries[q].drops)
            fail_msg("%s: %s", queries[q].sql, sql);
        stages_free(stages);
    }
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
    refused("SELECT * FROM fact POSITIONAL JOIN dim", "POSITIONAL");
    run("CREATE SEQUENCE ", "seq", "");
    refused("SELECT nextval('seq') FROM fact", "nextval() depends on this session");
    refused("SELECT * FROM fact JOIN dim ON fact.k < dim.k + random()", "volatile");
}

static void a_table_is_read_by_the_driver(void **state) {
    (void)state;
    run("CREATE TABLE ", "stored", " AS SELECT range AS k, 1 AS unused FROM range(70)");
    struct stages *stages =
        plan("SELECT fact.k, count(*) FROM fact JOIN stored USING (k) GROUP BY ALL", -1);
    size_t drivers = 0;
    for (size_t i = 0; i < stages->count; i++) {
        if (!stages->stages[i].in_driver) continue;
        drivers++;
        assert_int_equal(stages->stages[i].schema.count, 1);
        assert_int_equal(stages->stages[i].estimated_rows, 70);
    }
    assert_int_equal(drivers, 1);
    stages_free(stages);
    // A CTE of the same name is not the table.
    stages = plan(
        "WITH stored AS MATERIALIZED (SELECT k FROM fact) "
        "SELECT count(*) FROM stored a JOIN memory.main.stored b ON a.k = b.k JOIN "
        "stored c ON a.k = c.k",
        -1);
    stages_free(stages);
    run("DROP TABLE ", "stored", "");
}

static void windows_of_two_partitions_are_two_blocks(void **state) {
    (void)state;
    struct stages *stages = plan(
        "SELECT sum(v) OVER (PARTITION BY k), rank() OVER (PARTITION BY v % 7 ORDER BY "
        "k) FROM fact",
        -1);
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), 2);
    assert_int_equal(stages->note_count, 0);
    stages_free(stages);
}

static const struct stage *find_stage(const struct stages *stages,
                                      enum exchange_kind kind) {
    for (size_t i = 0; i + 1 < stages->count; i++) {
        if (stages->exchanges[stages->stages[i].exchange].kind == kind)
            return &stages->stages[i];
    }
    return NULL;
}

// The stage that has the windows: the only one with windows that no other needs.
static const struct stage *window_stage(const struct stages *stages) {
    for (size_t i = 0; i < stages->count; i++) {
        if (!stages->stages[i].combines &&
            strstr(stages->stages[i].summary, "Window") != NULL)
            return &stages->stages[i];
    }
    fail_msg("no stage has windows");
    return NULL;
}

static void windows_come_apart_by_order(void **state) {
    (void)state;
    struct stages *stages = plan(
        "SELECT v, row_number() OVER w, sum(v) OVER w FROM fact WINDOW w AS (PARTITION "
        "BY k ORDER BY v)",
        -1);
    const struct stage *sampler = find_stage(stages, EXCHANGE_SAMPLE);
    const struct stage *scatterer = find_stage(stages, EXCHANGE_PARTS);
    const struct stage *windows = window_stage(stages);
    assert_non_null(sampler);
    assert_non_null(scatterer);
    assert_true(sampler->combines && scatterer->combines);
    // They read the same slices: of one input, at the same place in both.
    assert_int_equal(sampler->cut_count, 1);
    assert_int_equal(scatterer->cut_count, 1);
    assert_int_equal(sampler->cuts[0].leaf, scatterer->cuts[0].leaf);
    assert_true(stage_reads(scatterer, sampler->exchange));
    assert_non_null(windows->combined_sql);
    assert_non_null(windows->streamed_sql);
    // A part of one group is sorted without its key.
    assert_int_equal(windows->leaves[windows->combine_leaf].kind, LEAF_PART);
    assert_non_null(windows->of_one_sql);
    assert_null(strstr(windows->of_one_sql, "starts"));
    assert_non_null(strstr(windows->combined_sql, "starts"));
    // A sum over a RANGE tells rows of one key from others, which a row_number doesn't.
    assert_false(stages->exchanges[scatterer->exchange].spread);
    stages_free(stages);
    stages = plan("SELECT v, row_number() OVER (PARTITION BY k) FROM fact", -1);
    scatterer = find_stage(stages, EXCHANGE_PARTS);
    assert_non_null(scatterer);
    assert_true(stages->exchanges[scatterer->exchange].spread);
    assert_null(window_stage(stages)->streamed_sql);
    stages_free(stages);
    // A frame from the current row on is not known from the rows before.
    stages = plan(
        "SELECT v, sum(v) OVER (PARTITION BY k ORDER BY v ROWS BETWEEN CURRENT "
        "ROW AND UNBOUNDED FOLLOWING) FROM fact",
        -1);
    windows = window_stage(stages);
    assert_non_null(windows->combined_sql);
    assert_int_equal(windows->leaves[windows->combine_leaf].kind, LEAF_PART);
    assert_null(windows->of_one_sql);
    stages_free(stages);
}

static void windows_that_stay_whole_say_why(void **state) {
    (void)state;
    static const struct {
        const char *window, *why;
    } wholes[] = {
        {"nth_value(v, 2) OVER (PARTITION BY k ORDER BY v)", "nth_value() sees"},
        {"sum(v) OVER (PARTITION BY k ORDER BY v ROWS 2 PRECEDING)",
         "sum() over a frame"},
        {"lag(v, 65) OVER (PARTITION BY k ORDER BY v)", "lag() has an argument"},
        {"sum(DISTINCT v) OVER (PARTITION BY k)", "sum() with DISTINCT"},
        {"rank() OVER (PARTITION BY k)", "rank() without ORDER BY"},
    };
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
        char sql[256];
        (void)snprintf(sql, sizeof sql, "SELECT v, %s FROM fact", wholes[i].window);
        struct stages *stages = plan(sql, -1);
        const struct stage *windows = window_stage(stages);
        assert_null(find_stage(stages, EXCHANGE_SAMPLE));
        assert_null(windows->combined_sql);
        if (windows->whole == NULL || strstr(windows->whole, wholes[i].why) == NULL)
            fail_msg("%s: %s", sql,
                     windows->whole == NULL ? "no reason" : windows->whole);
        stages_free(stages);
    }
}

// Fifty thousand rows, one of which is kept: the estimate of those may be wrong.
static void windows_of_few_rows_stay_whole(void **state) {
    (void)state;
    static const char sql[] =
        "SELECT v, row_number() OVER (PARTITION BY k ORDER BY v) FROM fact WHERE v = 7";
    for (int few = 0; few < 2; few++) {
        struct plan_options options = {.broadcast_rows = -1,
                                       .sort_rows = SORT_ROWS,
                                       .parts_rows = few ? 60000 : 40000};
        struct shoal_error err;
        struct stages *stages = NULL;
        assert_int_equal(stages_plan(conn, sql, &options, &stages, &err), SHOAL_OK);
        assert_int_equal(find_stage(stages, EXCHANGE_SAMPLE) == NULL, few);
        stages_free(stages);
    }
}

// Equal intervals have different sort keys: they can't be told to be one group.
static void intervals_keep_windows_whole(void **state) {
    (void)state;
    struct stages *stages = plan(
        "SELECT v, row_number() OVER (PARTITION BY to_days((v % 60)::INTEGER) ORDER BY "
        "v) "
        "FROM fact",
        -1);
    assert_null(find_stage(stages, EXCHANGE_SAMPLE));
    assert_int_equal(count_kind(stages, EXCHANGE_HASH), 1);
    stages_free(stages);
}

static void a_long_order_by_is_a_range_exchange(void **state) {
    (void)state;
    struct plan_options options = {.broadcast_rows = -1, .sort_rows = 50000};
    struct shoal_error err;
    struct stages *stages = NULL;
    assert_int_equal(
        stages_plan(conn, "SELECT v FROM fact ORDER BY k DESC", &options, &stages, &err),
        SHOAL_OK);
    assert_int_equal(count_kind(stages, EXCHANGE_RANGE), 1);
    assert_int_equal(stages->stages[0].scatter, BLOCK_SAMPLE);
    assert_int_equal(stages->stages[1].scatter, BLOCK_RANGE);
    assert_true(stages->stages[2].ordered);
    // A frequent key's rows go to parts in turn: another attempt's may go elsewhere.
    assert_true(stages->stages[0].repeatable);
    assert_false(stages->stages[1].repeatable);
    stages_free(stages);
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
    char *sql = stage_substitute(&stages->stages[0], stages->stages[0].sql, leaves);
    assert_non_null(strstr(sql, "'__leaf_1_0__'"));
    assert_non_null(strstr(sql, "'hit'"));
    free(sql);
    stages_free(stages);
}

// Attempts are compared where they might differ: not where they surely give the same.
static void who_may_differ(const char *sql, bool repeatable) {
    struct stages *stages = plan(sql, -1);
    bool all = true;
    const char *text = "";
    for (size_t s = 0; s + 1 < stages->count; s++) {
        if (!stages->stages[s].repeatable) text = stages->stages[s].sql;
        all = all && stages->stages[s].repeatable;
    }
    if (all != repeatable) fail_msg("%s: %s", sql, text);
    stages_free(stages);
}

static void what_may_differ_is_known(void **state) {
    (void)state;
    who_may_differ(
        "SELECT k, sum(v), max(v), count(DISTINCT v) FROM fact "
        "WHERE v % 7 < 5 GROUP BY k",
        true);
    who_may_differ(
        "SELECT name, v + 1 AS w FROM fact JOIN dim USING (k) WHERE name LIKE "
        "'n1%' AND k IN (1, 2, 3)",
        true);
    who_may_differ("SELECT k, sum(v::DOUBLE) FROM fact GROUP BY k", false);
    who_may_differ("SELECT k, sum(v / 2) FROM fact GROUP BY k", false);
    who_may_differ("SELECT v / 2 AS w FROM fact JOIN dim USING (k)", true);
    who_may_differ("SELECT k, first(v) FROM fact GROUP BY k", false);
    who_may_differ("SELECT k, v FROM fact WHERE random() < 0.5", false);
    who_may_differ(
        "SELECT name, count(*) FROM (SELECT k FROM fact LIMIT 1000) JOIN dim "
        "USING (k) GROUP BY name",
        false);
    who_may_differ("SELECT k, row_number() OVER (PARTITION BY k) FROM fact", false);
    who_may_differ("SELECT DISTINCT ON (k) k, v FROM fact", false);
    who_may_differ("SELECT k, string_agg(v::VARCHAR) FROM fact GROUP BY k", false);
}

// Rows that are hashed on the keys already are aggregated whole, after the join.
static void floating_point_of_whole_numbers_may_differ(void **state) {
    (void)state;
    struct stages *stages = plan(
        "SELECT a.k, sum(epoch(DATE '2020-01-01' + (a.v + b.v)::INTEGER)) FROM fact "
        "a JOIN fact b USING (k) GROUP BY a.k",
        -1);
    bool found = false;
    for (size_t s = 0; s + 1 < stages->count; s++) {
        if (strstr(stages->stages[s].sql, "epoch") == NULL) continue;
        found = true;
        assert_false(stages->stages[s].repeatable);
    }
    assert_true(found);
    stages_free(stages);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(group_by_is_partial_and_final),
        cmocka_unit_test(scans_of_a_union_share_their_stage),
        cmocka_unit_test(groups_of_groups_are_hashed_once_if_they_are_many_and_even),
        cmocka_unit_test(join_shuffles_or_reads_the_small_side_everywhere),
        cmocka_unit_test(a_side_wider_than_the_limit_is_not_broadcast),
        cmocka_unit_test(statistics_say_how_many_rows_are_left),
        cmocka_unit_test(group_by_the_join_key_needs_no_second_shuffle),
        cmocka_unit_test(aggregate_without_partial_form_moves_rows),
        cmocka_unit_test(unknown_relations_are_refused_by_name),
        cmocka_unit_test(a_table_is_read_by_the_driver),
        cmocka_unit_test(windows_of_two_partitions_are_two_blocks),
        cmocka_unit_test(windows_come_apart_by_order),
        cmocka_unit_test(windows_that_stay_whole_say_why),
        cmocka_unit_test(windows_of_few_rows_stay_whole),
        cmocka_unit_test(intervals_keep_windows_whole),
        cmocka_unit_test(a_long_order_by_is_a_range_exchange),
        cmocka_unit_test(filtered_dimensions_are_counted),
        cmocka_unit_test(groups_stay_above_joins_that_drop_rows),
        cmocka_unit_test(user_errors_stay_user_errors),
        cmocka_unit_test(what_may_differ_is_known),
        cmocka_unit_test(floating_point_of_whole_numbers_may_differ),
        cmocka_unit_test(a_placeholder_in_the_users_text_is_left_alone),
    };
    return cmocka_run_group_tests_name("stages", tests, set_up, tear_down);
}
