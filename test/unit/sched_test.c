// The scheduler: small scripts of events by hand, then the simulated cluster at size.
#include "sched/sched.h"

#include <stdlib.h>
#include <string.h>

#include "sched/sim.h"
#include "support/harness.h"

static struct sched_action expect_run(struct sched *sched, uint32_t stage, uint32_t task,
                                      uint32_t attempt) {
    struct sched_action action = sched_next(sched, 0);
    assert_int_equal(action.kind, SCHED_RUN);
    assert_int_equal(action.stage, stage);
    assert_int_equal(action.task, task);
    assert_int_equal(action.attempt, attempt);
    return action;
}

static void expect(struct sched *sched, enum sched_action_kind kind) {
    assert_int_equal(sched_next(sched, 0).kind, kind);
}

static void expect_end(struct sched *sched, enum sched_action_kind kind) {
    for (int i = 0; i < 3; i++) expect(sched, kind);
}

static void fail_with(struct sched *sched, struct sched_action action,
                      shoal_status status, const char *message) {
    struct shoal_error why;
    shoal_fail(&why, status, "%s", message);
    assert_true(
        sched_task_failed(sched, action.stage, action.task, action.attempt, &why, 0));
}

static void assert_says(const struct sched *sched, shoal_status status,
                        const char *part) {
    const struct shoal_error *error = sched_error(sched);
    assert_int_equal(error->status, status);
    if (strstr(error->message, part) == NULL) {
        fail_msg("'%s' does not say '%s'", error->message, part);
    }
}

static void stages_run_after_their_deps(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 2, false, NULL, 0), 0);
    assert_int_equal(sched_add_stage(sched, 1, false, NULL, 0), 1);
    assert_int_equal(sched_add_stage(sched, 1, false, (uint32_t[]){0, 1}, 2), 2);
    expect(sched, SCHED_NONE);  // no worker yet
    sched_worker_up(sched, 7, 8, 0);
    sched_worker_up(sched, 7, 100, 0);  // up already: ignored
    sched_worker_down(sched, 9, 0);     // never seen: ignored
    expect_run(sched, 0, 0, 0);
    expect_run(sched, 0, 1, 0);
    expect_run(sched, 1, 0, 0);
    expect(sched, SCHED_NONE);
    assert_true(sched_task_done(sched, 0, 0, 0, 0));
    assert_true(sched_task_done(sched, 1, 0, 0, 0));
    expect(sched, SCHED_NONE);
    struct sched_progress progress;
    sched_progress(sched, &progress);
    assert_int_equal(progress.stages, 3);
    assert_int_equal(progress.stages_done, 1);
    assert_int_equal(progress.tasks, 4);
    assert_int_equal(progress.tasks_done, 2);
    assert_int_equal(progress.tasks_running, 1);
    assert_true(sched_task_done(sched, 0, 1, 0, 0));
    expect_run(sched, 2, 0, 0);
    // A stage that is added late sees which of its deps are done.
    assert_int_equal(sched_add_stage(sched, 1, false, (uint32_t[]){1}, 1), 3);
    expect_run(sched, 3, 0, 0);
    assert_true(sched_task_done(sched, 2, 0, 0, 0));
    expect(sched, SCHED_NONE);
    assert_true(sched_task_done(sched, 3, 0, 0, 0));
    expect_end(sched, SCHED_SUCCEEDED);
    sched_cancel(sched, 0);  // too late
    expect_end(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

static void bad_stages_are_refused(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 0, false, NULL, 0), UINT32_MAX);
    assert_int_equal(sched_add_stage(sched, UINT32_MAX, false, NULL, 0), UINT32_MAX);
    assert_int_equal(sched_add_stage(sched, 1, false, (uint32_t[]){0}, 1), UINT32_MAX);
    assert_int_equal(sched_add_stage(sched, 1, false, NULL, 0), 0);
    sched_free(sched);
}

static void the_least_loaded_worker_is_next(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 10, false, NULL, 0), 0);
    sched_worker_up(sched, 1, 4, 0);
    sched_worker_up(sched, 2, 2, 0);
    sched_worker_up(sched, 3, 0, 0);  // no slots: never used
    const uint32_t workers[] = {1, 2, 1, 1, 2, 1};
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(expect_run(sched, 0, i, 0).worker, workers[i]);
    }
    expect(sched, SCHED_NONE);
    assert_true(sched_task_done(sched, 0, 4, 0, 0));
    assert_int_equal(expect_run(sched, 0, 6, 0).worker, 2);
    sched_free(sched);
}

static void a_retry_goes_elsewhere(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 4, false, NULL, 0), 0);
    sched_worker_up(sched, 1, 1, 0);
    sched_worker_up(sched, 2, 1, 0);
    struct sched_action first = expect_run(sched, 0, 0, 0);
    assert_int_equal(first.worker, 1);
    assert_int_equal(expect_run(sched, 0, 1, 0).worker, 2);
    fail_with(sched, first, SHOAL_IO, "disk full");
    // Worker 1 is free but has just failed it: it gets the next task.
    assert_int_equal(expect_run(sched, 0, 2, 0).worker, 1);
    assert_true(sched_task_done(sched, 0, 1, 0, 0));
    assert_int_equal(expect_run(sched, 0, 0, 1).worker, 2);
    assert_true(sched_task_done(sched, 0, 2, 0, 0));
    struct sched_action last = expect_run(sched, 0, 3, 0);
    fail_with(sched, last, SHOAL_IO, "disk full");
    expect(sched, SCHED_NONE);  // waits for worker 2
    sched_worker_down(sched, 2, 0);
    // Worker 1 is alone: it tries again; what was on worker 2 is behind it in the queue.
    assert_int_equal(expect_run(sched, 0, 3, 1).worker, 1);
    assert_true(sched_task_done(sched, 0, 3, 1, 0));
    assert_int_equal(expect_run(sched, 0, 0, 2).worker, 1);
    assert_true(sched_task_done(sched, 0, 0, 2, 0));
    expect_end(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

// Where the least loaded worker is the one to avoid, the next least is taken.
static void a_retry_goes_to_the_least_loaded_other(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 6, false, NULL, 0), 0);
    for (uint32_t w = 0; w < 3; w++) sched_worker_up(sched, w, 2, 0);
    struct sched_action runs[6];
    for (uint32_t i = 0; i < 6; i++) runs[i] = expect_run(sched, 0, i, 0);
    const uint32_t done[] = {0, 1, 2, 5};
    for (uint32_t i = 0; i < 4; i++)
        assert_true(sched_task_done(sched, 0, done[i], 0, 0));
    assert_int_equal(runs[3].worker, 0);
    fail_with(sched, runs[3], SHOAL_IO, "disk full");
    assert_int_equal(expect_run(sched, 0, 3, 1).worker, 2);
    sched_free(sched);
}

static void too_many_failures_stop_the_query(void **state) {
    (void)state;
    struct sched_options options = {.max_attempts = 2};
    struct sched *sched = sched_new(&options);
    assert_int_equal(sched_add_stage(sched, 2, false, NULL, 0), 0);
    sched_worker_up(sched, 1, 2, 0);
    // A lost worker does not count.
    expect_run(sched, 0, 0, 0);
    sched_worker_down(sched, 1, 0);
    sched_worker_up(sched, 5, 2, 0);
    struct sched_action action = expect_run(sched, 0, 0, 1);
    expect_run(sched, 0, 1, 0);
    fail_with(sched, action, SHOAL_IO, "first reason");
    action = expect_run(sched, 0, 0, 2);
    fail_with(sched, action, SHOAL_CORRUPT, "second reason");
    struct sched_action cancel = sched_next(sched, 0);
    assert_int_equal(cancel.kind, SCHED_CANCEL);
    assert_int_equal(cancel.worker, 5);
    assert_int_equal(cancel.task, 1);
    assert_int_equal(cancel.attempt, 0);
    expect_end(sched, SCHED_FAILED);
    assert_says(sched, SHOAL_CORRUPT, "stage 0 task 0 failed 2 times");
    assert_says(sched, SHOAL_CORRUPT, "attempt 0 on worker 1: the worker died\n");
    assert_says(sched, SHOAL_CORRUPT, "attempt 1 on worker 5: first reason\n");
    assert_says(sched, SHOAL_CORRUPT, "attempt 2 on worker 5: second reason\n");
    assert_false(sched_error(sched)->retriable);
    sched_free(sched);
}

static void a_user_error_stops_at_once(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 3, false, NULL, 0), 0);
    sched_worker_up(sched, 1, 2, 0);
    struct sched_action action = expect_run(sched, 0, 0, 0);
    expect_run(sched, 0, 1, 0);
    fail_with(sched, action, SHOAL_USER, "could not cast 'x' to INTEGER");
    // A report before the cancel is out: refused, and there is nothing left to cancel.
    assert_false(sched_task_done(sched, 0, 1, 0, 0));
    expect_end(sched, SCHED_FAILED);
    assert_int_equal(sched_error(sched)->status, SHOAL_USER);
    assert_string_equal(sched_error(sched)->message, "could not cast 'x' to INTEGER");
    sched_cancel(sched, 0);  // the first error stays
    assert_int_equal(sched_error(sched)->status, SHOAL_USER);
    sched_free(sched);
}

static void a_task_that_kills_workers_is_poison(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 1, false, NULL, 0), 0);
    assert_int_equal(sched_add_stage(sched, 5, false, (uint32_t[]){0}, 1), 1);
    sched_worker_up(sched, 0, 1, 0);
    expect_run(sched, 0, 0, 0);
    assert_true(sched_task_done(sched, 0, 0, 0, 0));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(expect_run(sched, 1, 0, i).worker, i);
        sched_worker_up(sched, i + 1, 1, 0);
        sched_worker_down(sched, i, 0);
    }
    expect_end(sched, SCHED_FAILED);
    assert_says(sched, SHOAL_LOST, "stage 1 task 0 killed 3 workers");
    assert_says(sched, SHOAL_LOST, "out of memory");
    sched_free(sched);
}

static void stale_reports_are_refused(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 1, false, NULL, 0), 0);
    assert_false(sched_task_done(sched, 0, 0, 0, 0));  // not started
    sched_worker_up(sched, 1, 1, 0);
    sched_worker_up(sched, 2, 1, 0);
    expect_run(sched, 0, 0, 0);
    sched_worker_down(sched, 1, 0);
    assert_false(sched_task_done(sched, 0, 0, 0, 0));
    assert_int_equal(expect_run(sched, 0, 0, 1).worker, 2);
    struct shoal_error why;
    shoal_fail(&why, SHOAL_USER, "late");
    assert_false(sched_task_failed(sched, 0, 0, 0, &why, 0));
    assert_false(sched_task_done(sched, 0, 0, 0, 0));
    assert_false(sched_task_done(sched, 0, 0, 2, 0));
    assert_false(sched_task_done(sched, 0, 1, 0, 0));
    assert_false(sched_task_done(sched, 1, 0, 0, 0));
    expect(sched, SCHED_NONE);
    assert_true(sched_task_done(sched, 0, 0, 1, 0));
    assert_false(sched_task_done(sched, 0, 0, 1, 0));
    assert_false(sched_task_failed(sched, 0, 0, 1, &why, 0));
    expect_end(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

static void a_cancel_reaches_every_running_attempt(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 9, false, NULL, 0), 0);
    for (uint32_t w = 0; w < 3; w++) sched_worker_up(sched, w, 2, 0);
    for (uint32_t t = 0; t < 6; t++) expect_run(sched, 0, t, 0);
    sched_worker_down(sched, 2, 0);  // its two tasks have nobody left to cancel them
    sched_cancel(sched, 0);
    unsigned seen = 0;
    for (int i = 0; i < 4; i++) {
        struct sched_action action = sched_next(sched, 0);
        assert_int_equal(action.kind, SCHED_CANCEL);
        assert_int_equal(action.worker, action.task % 3);
        seen |= 1u << action.task;
    }
    assert_int_equal(seen, 033);
    expect_end(sched, SCHED_FAILED);
    sched_worker_up(sched, 8, 4, 0);
    expect_end(sched, SCHED_FAILED);
    assert_false(sched_task_done(sched, 0, 0, 0, 0));
    assert_int_equal(sched_error(sched)->status, SHOAL_CANCELLED);
    sched_free(sched);
}

// A wide task waits for an idle worker and keeps it for itself; what comes after it in
// order does not slip past.
static void a_wide_task_runs_alone(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 1, false, NULL, 0), 0);
    assert_int_equal(sched_add_stage(sched, 1, true, NULL, 0), 1);
    assert_int_equal(sched_add_stage(sched, 4, false, NULL, 0), 2);
    sched_worker_up(sched, 7, 4, 0);
    struct sched_action action = sched_next(sched, 0);
    assert_int_equal(action.stage, 0);
    expect_end(sched, SCHED_NONE);
    assert_true(sched_task_done(sched, 0, 0, 0, 0));
    action = sched_next(sched, 0);
    assert_int_equal(action.stage, 1);
    expect_end(sched, SCHED_NONE);
    assert_true(sched_task_done(sched, 1, 0, 0, 0));
    for (uint32_t i = 0; i < 4; i++) {
        action = sched_next(sched, 0);
        assert_int_equal(action.stage, 2);
        assert_true(sched_task_done(sched, 2, action.task, action.attempt, 0));
    }
    expect_end(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

static void sim_ok(const struct sim_options *options, struct sim_result *result) {
    assert_true(sim_run(options, result));
    assert_string_equal(result->violation, "");
}

static const struct sim_stage six_stages[] = {
    {.tasks = 30000},
    {.tasks = 20000},
    {.tasks = 25000, .deps = {0}, .ndeps = 1, .wide = true},
    {.tasks = 14999, .deps = {0, 1}, .ndeps = 2},
    {.tasks = 10000, .deps = {2, 3}, .ndeps = 2},
    {.tasks = 1, .deps = {4}, .ndeps = 1},
};

static struct sim_options faulty_cluster(uint64_t seed) {
    return (struct sim_options){
        .seed = seed,
        .workers = 1000,
        .slots = 4,
        .nodes = seed == 2 ? 50 : 0,
        .stages = six_stages,
        .stages_size = 6,
        .death_rate = 0.02,
        .failure_rate = 0.01,
        .late_rate = 0.5,
        .sched = {.max_attempts = 20, .poison_worker_deaths = 100}};
}

static void a_faulty_cluster_does_every_task_once(void **state) {
    (void)state;
    struct sim_options options = faulty_cluster(1);
    struct sim_result result, again, other;
    sim_ok(&options, &result);
    assert_int_equal(result.end, SCHED_SUCCEEDED);
    assert_int_equal(result.accepted, 100000);
    assert_true(result.deaths > 1000);
    assert_true(result.failures > 500);
    assert_true(result.refused > 1000);
    sim_ok(&options, &again);
    assert_true(result.trace == again.trace);
    options.seed = 2;
    sim_ok(&options, &other);
    assert_int_equal(other.end, SCHED_SUCCEEDED);
    assert_true(result.trace != other.trace);
}

static void a_faulty_cluster_can_be_cancelled(void **state) {
    (void)state;
    struct sim_options options = faulty_cluster(3);
    options.cancel_at = 10;
    struct sim_result result;
    sim_ok(&options, &result);
    assert_int_equal(result.end, SCHED_FAILED);
    assert_int_equal(result.error.status, SHOAL_CANCELLED);
    assert_true(result.cancels > 1000);
}

// Many little clusters reach corners that one large one does not: one worker, one slot,
// limits that are met.
static void small_clusters_end_well_under_many_seeds(void **state) {
    (void)state;
    static const struct sim_stage stages[] = {
        {.tasks = 7},
        {.tasks = 3, .deps = {0}, .ndeps = 1, .wide = true},
        {.tasks = 12, .deps = {0, 1}, .ndeps = 2}};
    uint32_t succeeded = 0, lost = 0, io = 0;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct sim_options options = {.seed = seed,
                                      .workers = 1 + (uint32_t)(seed % 4),
                                      .slots = 1 + (uint32_t)(seed / 4 % 3),
                                      .nodes = (uint32_t)(seed / 12 % 3),
                                      .stages = stages,
                                      .stages_size = 3,
                                      .death_rate = 0.08,
                                      .failure_rate = 0.15,
                                      .late_rate = 0.5};
        struct sim_result result;
        sim_ok(&options, &result);
        if (result.end == SCHED_SUCCEEDED) succeeded++;
        if (result.end == SCHED_FAILED && result.error.status == SHOAL_LOST) lost++;
        if (result.end == SCHED_FAILED && result.error.status == SHOAL_IO) io++;
    }
    assert_int_equal(succeeded + lost + io, 2000);
    assert_true(succeeded > 100 && lost > 10 && io > 10);
}

static void a_stage_is_resized_before_it_starts(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    struct sched_progress progress;
    assert_int_equal(sched_add_stage(sched, 1, false, NULL, 0), 0);
    assert_int_equal(sched_add_stage(sched, 4, false, (uint32_t[]){0}, 1), 1);
    assert_int_equal(sched_add_stage(sched, 1, false, (uint32_t[]){1}, 1), 2);
    assert_true(sched_resize_stage(sched, 1, 7, false));  // more than it had
    sched_worker_up(sched, 0, 1, 0);
    expect_run(sched, 0, 0, 0);
    assert_false(sched_resize_stage(sched, 0, 2, false));  // it has begun
    assert_true(sched_task_done(sched, 0, 0, 0, 0));
    assert_true(sched_resize_stage(sched, 1, 2, false));  // ready, but not begun
    sched_progress(sched, &progress);
    assert_int_equal(progress.tasks, 4);
    for (uint32_t i = 0; i < 2; i++) {
        expect_run(sched, 1, i, 0);
        assert_false(sched_resize_stage(sched, 1, 5, false));
        assert_true(sched_task_done(sched, 1, i, 0, 0));
    }
    assert_false(sched_resize_stage(sched, 1, 5, false));
    expect_run(sched, 2, 0, 0);
    assert_true(sched_task_done(sched, 2, 0, 0, 0));
    expect_end(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

// Runs the next task, which must be that one on that worker.
static void expect_on(struct sched *sched, uint32_t task, uint32_t worker) {
    struct sched_action action = sched_next(sched, 0);
    assert_int_equal(action.kind, SCHED_RUN);
    assert_int_equal(action.task, task);
    assert_int_equal(action.worker, worker);
}

// A task goes to its node while there is a slot, a slot takes its node's tasks first, and
// none waits.
static void tasks_run_where_they_are_best_run(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 7, false, NULL, 0), 0);
    assert_true(sched_prefer(sched, 0, (uint32_t[]){5, 5, 5, SCHED_ANYWHERE, 6, 6, 9}));
    sched_worker_up(sched, 1, 1, 0);
    sched_worker_at(sched, 1, 6);
    sched_worker_up(sched, 2, 2, 0);
    sched_worker_at(sched, 2, 5);
    sched_worker_at(sched, 3, 5);  // not up: nothing
    expect_on(sched, 0, 2);        // though worker 1 comes first
    expect_on(sched, 1, 2);
    expect_on(sched, 4, 1);  // its node's, before those that are in front of it
    expect(sched, SCHED_NONE);
    assert_true(sched_task_done(sched, 0, 4, 0, 0));
    expect_on(sched, 5, 1);
    assert_true(sched_task_done(sched, 0, 5, 0, 0));
    expect_on(sched, 3, 1);  // one that doesn't mind
    assert_true(sched_task_done(sched, 0, 3, 0, 0));
    expect_on(sched, 2, 1);  // one of another node, rather than none
    assert_true(sched_task_done(sched, 0, 0, 0, 0));
    expect_on(sched, 6, 2);
    assert_true(sched_task_done(sched, 0, 1, 0, 0));
    assert_true(sched_task_done(sched, 0, 2, 0, 0));
    assert_true(sched_task_done(sched, 0, 6, 0, 0));
    expect_end(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

static void a_stage_of_another_size_has_no_preferences(void **state) {
    (void)state;
    struct sched *sched = sched_new(NULL);
    assert_int_equal(sched_add_stage(sched, 2, true, NULL, 0), 0);
    assert_true(sched_prefer(sched, 0, (uint32_t[]){7, 7}));
    assert_true(sched_prefer(sched, 0, (uint32_t[]){8, 8}));
    assert_true(sched_resize_stage(sched, 0, 3, true));
    for (uint32_t w = 0; w < 2; w++) {
        sched_worker_up(sched, w, 2, 0);
        sched_worker_at(sched, w, 7 + w);
    }
    expect_on(sched, 0, 0);
    // Those of a stage that begins again stay; a wide task takes an idle worker.
    assert_true(sched_prefer(sched, 0, (uint32_t[]){8, 8, 7}));
    sched_reset_stage(sched, 0, 0);
    expect(sched, SCHED_CANCEL);
    expect_on(sched, 0, 1);
    expect(sched, SCHED_NONE);
    assert_false(sched_task_done(sched, 0, 0, 0, 0));  // the cancelled one
    expect_on(sched, 2, 0);
    sched_free(sched);
}

static void preferences_are_mostly_met_and_cost_nothing_else(void **state) {
    (void)state;
    static const struct sim_stage stages[] = {{.tasks = 20000},
                                              {.tasks = 5000, .deps = {0}, .ndeps = 1}};
    struct sim_options options = {.seed = 11,
                                  .workers = 200,
                                  .slots = 2,
                                  .stages = stages,
                                  .stages_size = 2,
                                  .sched = {.no_speculation = true}};
    struct sim_result without, with;
    sim_ok(&options, &without);
    options.nodes = 20;
    sim_ok(&options, &with);
    assert_int_equal(with.end, SCHED_SUCCEEDED);
    assert_true(with.near + with.far > 20000);
    // By chance one of 20 would be.
    assert_true(with.near > 4 * with.far);
    assert_true(with.seconds < without.seconds * 1.2);
}

// What waits for a stage of no tasks waits for what that waits for.
static void a_stage_of_no_tasks_is_over_in_its_turn(void **state) {
    (void)state;
    for (int late = 0; late < 2; late++) {
        struct sched *sched = sched_new(NULL);
        struct sched_progress progress;
        assert_int_equal(sched_add_stage(sched, 2, false, NULL, 0), 0);
        assert_int_equal(sched_add_stage(sched, 4, false, (uint32_t[]){0}, 1), 1);
        assert_int_equal(sched_add_stage(sched, 3, true, (uint32_t[]){1}, 1), 2);
        assert_int_equal(sched_add_stage(sched, 1, false, (uint32_t[]){0, 2}, 2), 3);
        if (!late) {
            assert_true(sched_resize_stage(sched, 1, 0, false));
            assert_true(sched_resize_stage(sched, 2, 0, false));
        }
        sched_worker_up(sched, 0, 1, 0);
        for (uint32_t i = 0; i < 2; i++) {
            expect_run(sched, 0, i, 0);
            assert_true(sched_task_done(sched, 0, i, 0, 0));
        }
        if (late) {
            assert_true(sched_resize_stage(sched, 2, 0, false));
            assert_true(sched_resize_stage(sched, 1, 0, false));
        }
        sched_progress(sched, &progress);
        assert_int_equal(progress.tasks, 3);
        assert_int_equal(progress.stages_done, 3);
        expect_run(sched, 3, 0, 0);
        assert_true(sched_task_done(sched, 3, 0, 0, 0));
        expect_end(sched, SCHED_SUCCEEDED);
        sched_free(sched);
    }
}

static void ten_thousand_workers_do_a_million_tasks(void **state) {
    (void)state;
    static const struct sim_stage stages[] = {{.tasks = 600000},
                                              {.tasks = 400000, .deps = {0}, .ndeps = 1}};
    struct sim_options options = {
        .seed = 4,
        .workers = 10000,
        .slots = 2,
        .stages = stages,
        .stages_size = 2,
        .death_rate = 0.001,
        .failure_rate = 0.001,
        .late_rate = 0.5,
        .sched = {.max_attempts = 20, .poison_worker_deaths = 100}};
    struct sim_result result;
    sim_ok(&options, &result);
    assert_int_equal(result.end, SCHED_SUCCEEDED);
    assert_int_equal(result.accepted, 1000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_run_after_their_deps),
        cmocka_unit_test(bad_stages_are_refused),
        cmocka_unit_test(the_least_loaded_worker_is_next),
        cmocka_unit_test(a_retry_goes_elsewhere),
        cmocka_unit_test(a_retry_goes_to_the_least_loaded_other),
        cmocka_unit_test(too_many_failures_stop_the_query),
        cmocka_unit_test(a_user_error_stops_at_once),
        cmocka_unit_test(a_task_that_kills_workers_is_poison),
        cmocka_unit_test(stale_reports_are_refused),
        cmocka_unit_test(a_cancel_reaches_every_running_attempt),
        cmocka_unit_test(a_wide_task_runs_alone),
        cmocka_unit_test(tasks_run_where_they_are_best_run),
        cmocka_unit_test(a_stage_of_another_size_has_no_preferences),
        cmocka_unit_test(preferences_are_mostly_met_and_cost_nothing_else),
        cmocka_unit_test(a_stage_is_resized_before_it_starts),
        cmocka_unit_test(a_stage_of_no_tasks_is_over_in_its_turn),
        cmocka_unit_test(a_faulty_cluster_does_every_task_once),
        cmocka_unit_test(a_faulty_cluster_can_be_cancelled),
        cmocka_unit_test(small_clusters_end_well_under_many_seeds),
        cmocka_unit_test(ten_thousand_workers_do_a_million_tasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
