// The scheduler when something is lost: what ran is done again, and no more than that.
// Resets, restored tasks, twins, and what the status of a failure decides.
#include <stdlib.h>
#include <string.h>

#include "sched/sched.h"
#include "sched/sim.h"
#include "support/harness.h"

static struct sched_action run_at(struct sched *sched, double now, uint32_t stage,
                                  uint32_t task, uint32_t attempt) {
    struct sched_action action = sched_next(sched, now);
    assert_int_equal(action.kind, SCHED_RUN);
    assert_int_equal(action.stage, stage);
    assert_int_equal(action.task, task);
    assert_int_equal(action.attempt, attempt);
    return action;
}

static struct sched_action expect_run(struct sched *sched, uint32_t stage, uint32_t task,
                                      uint32_t attempt) {
    struct sched_action action = run_at(sched, 0, stage, task, attempt);
    assert_false(action.twin);
    return action;
}

static void expect_cancel(struct sched *sched, uint32_t stage, uint32_t task,
                          uint32_t attempt, uint32_t worker) {
    struct sched_action action = sched_next(sched, 0);
    assert_int_equal(action.kind, SCHED_CANCEL);
    assert_int_equal(action.stage, stage);
    assert_int_equal(action.task, task);
    assert_int_equal(action.attempt, attempt);
    assert_int_equal(action.worker, worker);
}

static void expect(struct sched *sched, enum sched_action_kind kind) {
    for (int i = 0; i < 3; i++) assert_int_equal(sched_next(sched, 0).kind, kind);
}

static void done(struct sched *sched, struct sched_action action) {
    assert_true(sched_task_done(sched, action.stage, action.task, action.attempt, 0));
}

static bool fails(struct sched *sched, struct sched_action action, shoal_status status,
                  const char *message) {
    struct shoal_error why;
    shoal_fail(&why, status, "%s", message);
    return sched_task_failed(sched, action.stage, action.task, action.attempt, &why, 0);
}

static void assert_says(const struct sched *sched, shoal_status status,
                        const char *part) {
    const struct shoal_error *error = sched_error(sched);
    assert_int_equal(error->status, status);
    if (strstr(error->message, part) == NULL)
        fail_msg("'%s' does not say '%s'", error->message, part);
}

static struct sched *cluster(const struct sched_options *options, uint32_t workers,
                             uint32_t slots) {
    struct sched *sched = sched_new(options);
    assert_non_null(sched);
    for (uint32_t w = 0; w < workers; w++) sched_worker_up(sched, w, slots, 0);
    return sched;
}

static uint32_t stage_of(struct sched *sched, uint32_t tasks, int dep) {
    uint32_t id = (uint32_t)dep;
    return sched_add_stage(sched, tasks, false, &id, dep < 0 ? 0 : 1);
}

// ---- lineage

static void what_is_lost_runs_again_before_what_reads_it(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 2);
    stage_of(sched, 2, -1);
    stage_of(sched, 3, 0);
    assert_false(sched_output_lost(sched, 0, 0, 0));  // not done
    expect_run(sched, 0, 0, 0);
    assert_false(sched_output_lost(sched, 0, 0, 0));  // runs
    expect_run(sched, 0, 1, 0);
    assert_true(sched_task_done(sched, 0, 0, 0, 0));
    assert_true(sched_task_done(sched, 0, 1, 0, 0));
    struct sched_action reader = expect_run(sched, 1, 0, 0);
    struct sched_action other = expect_run(sched, 1, 1, 0);
    assert_true(sched_output_lost(sched, 0, 1, 0));
    assert_false(sched_output_lost(sched, 0, 1, 0));  // said already
    assert_false(sched_output_lost(sched, 0, 9, 0));
    assert_false(sched_output_lost(sched, 9, 0, 0));
    struct sched_progress progress;
    sched_progress(sched, &progress);
    assert_int_equal(progress.stages_done, 0);
    assert_int_equal(progress.tasks_done, 1);
    expect(sched, SCHED_NONE);  // no slot
    // One reader had read it already; the other is blocked, and waits for it.
    done(sched, other);
    struct sched_action again = expect_run(sched, 0, 1, 1);
    assert_true(sched_task_blocked(sched, 1, 0, 0, 0));
    assert_false(sched_task_blocked(sched, 1, 0, 0, 0));
    assert_false(sched_task_done(sched, reader.stage, reader.task, reader.attempt, 0));
    expect(sched, SCHED_NONE);
    done(sched, again);
    expect_run(sched, 1, 0, 1);
    expect_run(sched, 1, 2, 0);
    assert_true(sched_task_done(sched, 1, 0, 1, 0));
    assert_true(sched_task_done(sched, 1, 2, 0, 0));
    expect(sched, SCHED_SUCCEEDED);
    // All was done, but what the last stage made is gone.
    assert_true(sched_output_lost(sched, 1, 2, 0));
    done(sched, expect_run(sched, 1, 2, 1));
    expect(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

static void only_stages_that_wait_for_the_lost_wait(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 1);
    stage_of(sched, 1, -1);
    stage_of(sched, 1, 0);  // 1
    stage_of(sched, 1, 1);  // 2
    stage_of(sched, 1, -1);
    done(sched, expect_run(sched, 0, 0, 0));
    done(sched, expect_run(sched, 1, 0, 0));
    // Stage 1 is done: stage 2 does not wait for what only stage 1 reads.
    assert_true(sched_output_lost(sched, 0, 0, 0));
    done(sched, expect_run(sched, 0, 0, 1));
    assert_true(sched_output_lost(sched, 1, 0, 0));
    assert_true(sched_output_lost(sched, 0, 0, 0));
    done(sched, expect_run(sched, 0, 0, 2));
    done(sched, expect_run(sched, 1, 0, 1));
    done(sched, expect_run(sched, 2, 0, 0));
    done(sched, expect_run(sched, 3, 0, 0));
    expect(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

static void blocked_is_not_counted(void **state) {
    (void)state;
    struct sched_options options = {.max_losses = 100};
    struct sched *sched = cluster(&options, 1, 1);
    stage_of(sched, 1, -1);
    stage_of(sched, 1, 0);
    for (uint32_t i = 0; i < 20; i++) {
        done(sched, expect_run(sched, 0, 0, i));
        expect_run(sched, 1, 0, i);
        assert_true(sched_output_lost(sched, 0, 0, 0));
        assert_true(sched_task_blocked(sched, 1, 0, i, 0));
    }
    done(sched, expect_run(sched, 0, 0, 20));
    done(sched, expect_run(sched, 1, 0, 20));
    expect(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

static void too_many_losses_stop_the_query(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 1);
    stage_of(sched, 1, -1);
    stage_of(sched, 1, 0);
    for (uint32_t i = 0; i < 5; i++) {
        done(sched, expect_run(sched, 0, 0, i));
        assert_true(sched_output_lost(sched, 0, 0, 0));
    }
    expect(sched, SCHED_FAILED);
    assert_says(sched, SHOAL_CORRUPT, "what stage 0 task 0 made was lost 5 times");
    sched_free(sched);
}

// Faults before a task was done say nothing of the run that its loss asks for.
static void counts_start_over_once_done(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 1);
    stage_of(sched, 1, -1);
    for (uint32_t run = 0; run < 3; run++) {
        uint32_t first = run * 3;
        for (uint32_t i = 0; i < 2; i++)
            assert_true(fails(sched, expect_run(sched, 0, 0, first + i), SHOAL_IO, "x"));
        done(sched, expect_run(sched, 0, 0, first + 2));
        assert_true(sched_output_lost(sched, 0, 0, 0));
    }
    done(sched, expect_run(sched, 0, 0, 9));
    expect(sched, SCHED_SUCCEEDED);
    sched_free(sched);
    // Nor is the worker avoided where it failed before.
    sched = cluster(NULL, 2, 1);
    stage_of(sched, 1, -1);
    struct sched_action first = expect_run(sched, 0, 0, 0);
    assert_int_equal(first.worker, 0);
    assert_true(fails(sched, first, SHOAL_IO, "x"));
    done(sched, expect_run(sched, 0, 0, 1));
    assert_true(sched_output_lost(sched, 0, 0, 0));
    assert_int_equal(expect_run(sched, 0, 0, 2).worker, 0);
    sched_free(sched);
}

static void a_stage_without_tasks_waits_with_what_it_waits_for(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 2);
    stage_of(sched, 1, -1);
    stage_of(sched, 4, 0);
    stage_of(sched, 1, 1);
    assert_true(sched_resize_stage(sched, 1, 0, false));
    done(sched, expect_run(sched, 0, 0, 0));
    assert_true(sched_output_lost(sched, 0, 0, 0));
    struct sched_action again = expect_run(sched, 0, 0, 1);
    expect(sched, SCHED_NONE);
    done(sched, again);
    expect_run(sched, 2, 0, 0);
    sched_free(sched);
}

// ---- resets

static void a_reset_stage_runs_again(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 2, 2);
    stage_of(sched, 1, -1);
    stage_of(sched, 5, 0);
    stage_of(sched, 1, 1);
    sched_reset_stage(sched, 1, 0);  // not begun: nothing
    done(sched, expect_run(sched, 0, 0, 0));
    done(sched, expect_run(sched, 1, 0, 0));
    for (uint32_t i = 1; i < 4; i++) expect_run(sched, 1, i, 0);
    expect_run(sched, 1, 4, 0);
    assert_true(
        fails(sched, (struct sched_action){.stage = 1, .task = 3}, SHOAL_IO, "x"));
    sched_reset_stage(sched, 1, 0);
    // Not the one that was done, nor the one that waits.
    expect_cancel(sched, 1, 1, 0, 0);
    expect_cancel(sched, 1, 2, 0, 1);
    expect_cancel(sched, 1, 4, 0, 1);
    struct sched_progress progress;
    sched_progress(sched, &progress);
    assert_int_equal(progress.tasks_done, 1);
    assert_int_equal(progress.tasks_running, 0);
    assert_int_equal(progress.attempts_ending, 3);
    // Their slots are in use until they report: of four one is free.
    expect_run(sched, 1, 0, 1);
    expect(sched, SCHED_NONE);
    assert_false(sched_resize_stage(sched, 1, 3, false));
    assert_false(sched_task_restore(sched, 1, 2, 0));
    assert_false(sched_task_done(sched, 1, 1, 0, 0));
    assert_false(sched_task_done(sched, 1, 1, 0, 0));
    expect_run(sched, 1, 1, 1);
    expect(sched, SCHED_NONE);
    assert_false(
        fails(sched, (struct sched_action){.stage = 1, .task = 2}, SHOAL_USER, "x"));
    expect_run(sched, 1, 2, 1);
    sched_worker_down(sched, 1, 0);
    sched_worker_up(sched, 7, 4, 0);
    assert_false(sched_task_done(sched, 1, 4, 0, 0));
    expect_run(sched, 1, 2, 2);
    expect_run(sched, 1, 3, 1);
    expect_run(sched, 1, 4, 1);
    expect(sched, SCHED_NONE);
    for (uint32_t i = 0; i < 5; i++)
        assert_true(sched_task_done(sched, 1, i, i == 2 ? 2 : 1, 0));
    expect_run(sched, 2, 0, 0);
    sched_free(sched);
}

// A late report can't be taken for one of the stage's new tasks.
static void numbers_are_not_used_again_after_a_reset(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 4, 1);
    stage_of(sched, 2, -1);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(sched_next(sched, 0).kind, SCHED_RUN);
        assert_int_equal(sched_next(sched, 0).kind, SCHED_RUN);
        sched_reset_stage(sched, 0, 0);
        assert_int_equal(sched_next(sched, 0).kind, SCHED_CANCEL);
        assert_int_equal(sched_next(sched, 0).kind, SCHED_CANCEL);
        if (round == 0) assert_true(sched_resize_stage(sched, 0, 3, false));
        assert_false(sched_task_done(sched, 0, 0, (uint32_t)round, 0));
        assert_false(sched_task_done(sched, 0, 1, (uint32_t)round, 0));
    }
    for (uint32_t i = 0; i < 3; i++) {
        struct sched_action action = sched_next(sched, 0);
        assert_int_equal(action.kind, SCHED_RUN);
        assert_true(action.attempt >= 1);
        assert_false(sched_task_done(sched, 0, i, 0, 0));
        done(sched, action);
    }
    expect(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

static void failures_before_a_reset_are_forgotten(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 1);
    stage_of(sched, 1, -1);
    for (uint32_t i = 0; i < 2; i++)
        assert_true(fails(sched, expect_run(sched, 0, 0, i), SHOAL_IO, "old"));
    sched_reset_stage(sched, 0, 0);
    for (uint32_t i = 2; i < 5; i++)
        assert_true(fails(sched, expect_run(sched, 0, 0, i), SHOAL_IO, "new"));
    expect(sched, SCHED_FAILED);
    assert_says(sched, SHOAL_IO, "failed 3 times\nattempt 2 on worker 0: new");
    sched_free(sched);
}

static void what_ends_already_is_not_cancelled_again(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 3);
    stage_of(sched, 2, -1);
    expect_run(sched, 0, 0, 0);
    expect_run(sched, 0, 1, 0);
    sched_reset_stage(sched, 0, 0);
    expect_cancel(sched, 0, 0, 0, 0);
    sched_cancel(sched, 0);
    expect_cancel(sched, 0, 1, 0, 0);
    expect(sched, SCHED_FAILED);
    sched_free(sched);
}

static void a_done_stage_is_reset_and_resized(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 1);
    stage_of(sched, 2, -1);
    stage_of(sched, 1, 0);
    for (uint32_t i = 0; i < 2; i++) done(sched, expect_run(sched, 0, i, 0));
    assert_false(sched_resize_stage(sched, 0, 1, false));
    sched_reset_stage(sched, 0, 0);
    assert_true(sched_resize_stage(sched, 0, 1, false));
    done(sched, expect_run(sched, 0, 0, 1));
    done(sched, expect_run(sched, 1, 0, 0));
    expect(sched, SCHED_SUCCEEDED);
    sched_reset_stage(sched, 1, 0);
    assert_true(sched_resize_stage(sched, 1, 0, false));
    expect(sched, SCHED_SUCCEEDED);
    sched_reset_stage(sched, 1, 0);  // has no tasks: done until resized
    expect(sched, SCHED_SUCCEEDED);
    assert_true(sched_resize_stage(sched, 1, 2, true));
    done(sched, run_at(sched, 0, 1, 0, 1));
    done(sched, run_at(sched, 0, 1, 1, 1));
    expect(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

// ---- restored tasks

static void restored_tasks_do_not_run(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 1);
    stage_of(sched, 4, -1);
    stage_of(sched, 2, 0);
    stage_of(sched, 1, 1);
    assert_true(sched_task_restore(sched, 0, 0, 0));
    assert_false(sched_task_restore(sched, 0, 0, 0));
    assert_true(sched_task_restore(sched, 0, 2, 0));
    assert_false(sched_task_restore(sched, 0, 4, 0));
    assert_false(sched_task_restore(sched, 3, 0, 0));
    // Of a stage that isn't ready, one even whole: what waits for it need not wait more.
    assert_true(sched_task_restore(sched, 1, 0, 0));
    assert_true(sched_task_restore(sched, 1, 1, 0));
    struct sched_action first = expect_run(sched, 0, 1, 0);
    assert_false(sched_task_restore(sched, 0, 1, 0));
    done(sched, first);
    // A restored one may be lost as any other.
    assert_true(sched_output_lost(sched, 0, 2, 0));
    done(sched, expect_run(sched, 0, 2, 0));
    assert_false(sched_resize_stage(sched, 1, 1, false));
    done(sched, expect_run(sched, 0, 3, 0));
    done(sched, expect_run(sched, 2, 0, 0));
    expect(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

// ---- twins

// Four workers of a slot; of eight tasks one hangs, the others take a second.
static struct sched *one_hangs(const struct sched_options *options, bool wide) {
    struct sched *sched = cluster(options, 4, 1);
    sched_add_stage(sched, 8, wide, NULL, 0);
    for (uint32_t i = 0; i < 4; i++) run_at(sched, 0, 0, i, 0);
    for (uint32_t i = 1; i < 4; i++) assert_true(sched_task_done(sched, 0, i, 0, 1));
    for (uint32_t i = 4; i < 7; i++) run_at(sched, 1, 0, i, 0);
    for (uint32_t i = 4; i < 6; i++) assert_true(sched_task_done(sched, 0, i, 0, 2));
    run_at(sched, 2, 0, 7, 0);
    assert_true(sched_task_done(sched, 0, 6, 0, 2));
    assert_true(sched_task_done(sched, 0, 7, 0, 3));
    return sched;
}

static struct sched_action expect_twin(struct sched *sched, double now,
                                       uint32_t attempt) {
    struct sched_action action = run_at(sched, now, 0, 0, attempt);
    assert_true(action.twin);
    return action;
}

static void a_slow_task_gets_a_twin(void **state) {
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        for (int winner = 0; winner < 2; winner++) {
            struct sched *sched = one_hangs(NULL, wide);
            assert_int_equal(sched_next(sched, 2).kind, SCHED_NONE);  // not over 2 s
            struct sched_action twin = expect_twin(sched, 3, 1);
            assert_int_equal(twin.worker, 1);
            assert_int_equal(sched_next(sched, 1e9).kind, SCHED_NONE);  // two at most
            assert_true(sched_task_done(sched, 0, 0, (uint32_t)winner, 4));
            expect_cancel(sched, 0, 0, 1 - (uint32_t)winner, winner == 0 ? 1 : 0);
            expect(sched, SCHED_SUCCEEDED);
            struct sched_progress progress;
            sched_progress(sched, &progress);
            assert_int_equal(progress.attempts_ending, 1);
            assert_false(sched_task_done(sched, 0, 0, 1 - (uint32_t)winner, 4));
            sched_progress(sched, &progress);
            assert_int_equal(progress.attempts_ending, 0);
            sched_free(sched);
        }
    }
}

// The loser reports, or its worker dies, before it is told.
static void a_loser_that_is_gone_is_not_told(void **state) {
    (void)state;
    for (int dies = 0; dies < 2; dies++) {
        struct sched *sched = one_hangs(NULL, false);
        expect_twin(sched, 3, 1);
        assert_true(sched_task_done(sched, 0, 0, 1, 4));
        if (dies) {
            sched_worker_down(sched, 0, 4);
        } else {
            assert_false(sched_task_done(sched, 0, 0, 0, 4));
        }
        expect(sched, SCHED_SUCCEEDED);
        sched_free(sched);
    }
}

static void no_twin_when_not_wanted_or_not_due(void **state) {
    (void)state;
    struct sched_options options = {.no_speculation = true};
    struct sched *sched = one_hangs(&options, false);
    assert_int_equal(sched_next(sched, 1e9).kind, SCHED_NONE);
    sched_free(sched);
    // Less than half are done.
    sched = cluster(NULL, 8, 1);
    stage_of(sched, 5, -1);
    for (uint32_t i = 0; i < 5; i++) run_at(sched, 0, 0, i, 0);
    for (uint32_t i = 3; i < 5; i++) assert_true(sched_task_done(sched, 0, i, 0, 10));
    assert_int_equal(sched_next(sched, 1000).kind, SCHED_NONE);
    assert_true(sched_task_done(sched, 0, 2, 0, 10));
    // Others take ten seconds: a twin is due after fifteen, and a bit since classes of
    // durations are that wide.
    assert_int_equal(sched_next(sched, 15).kind, SCHED_NONE);
    assert_true(run_at(sched, 18, 0, 0, 1).twin);
    assert_true(run_at(sched, 18, 0, 1, 1).twin);
    assert_int_equal(sched_next(sched, 18).kind, SCHED_NONE);
    sched_free(sched);
    // The one worker with a free slot is the task's own.
    sched = cluster(NULL, 1, 2);
    stage_of(sched, 2, -1);
    for (uint32_t i = 0; i < 2; i++) run_at(sched, 0, 0, i, 0);
    assert_true(sched_task_done(sched, 0, 1, 0, 1));
    assert_int_equal(sched_next(sched, 1e9).kind, SCHED_NONE);
    sched_free(sched);
}

// Nor one that waits to run alone: a twin would only make it wait longer.
static void no_twin_while_a_task_waits_to_run_alone(void **state) {
    (void)state;
    struct sched *sched = one_hangs(NULL, false);
    stage_of(sched, 1, -1);
    struct sched_action other = run_at(sched, 2, 1, 0, 0);
    assert_true(fails(sched, other, SHOAL_NOMEM, "x"));
    assert_int_equal(sched_next(sched, 10).kind, SCHED_NONE);
    assert_true(sched_task_done(sched, 0, 0, 0, 10));
    assert_true(run_at(sched, 10, 1, 0, 1).alone);
    sched_free(sched);
}

// Restored tasks say nothing of how long one takes.
static void no_twin_before_durations_are_known(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 2, 1);
    stage_of(sched, 2, -1);
    assert_true(sched_task_restore(sched, 0, 0, 0));
    run_at(sched, 0, 0, 1, 0);
    assert_int_equal(sched_next(sched, 1e9).kind, SCHED_NONE);
    sched_free(sched);
}

static void a_waiting_task_goes_before_a_twin(void **state) {
    (void)state;
    struct sched *sched = one_hangs(NULL, false);
    stage_of(sched, 4, -1);
    for (uint32_t i = 0; i < 3; i++) run_at(sched, 10, 1, i, 0);
    assert_true(sched_task_done(sched, 1, 0, 0, 10));
    run_at(sched, 10, 1, 3, 0);
    assert_true(sched_task_done(sched, 1, 1, 0, 10));
    expect_twin(sched, 10, 1);
    sched_free(sched);
}

// Of two attempts one fails or dies: nothing is requeued while the other runs.
static void one_of_two_may_fail(void **state) {
    (void)state;
    for (int dies = 0; dies < 2; dies++) {
        for (uint32_t first = 0; first < 2; first++) {
            struct sched_options options = {.max_attempts = 1, .poison_worker_deaths = 1};
            struct sched *sched = one_hangs(&options, false);
            expect_twin(sched, 3, 1);
            if (dies) {
                sched_worker_down(sched, first == 0 ? 0 : 1, 4);
            } else {
                assert_true(fails(sched, (struct sched_action){.attempt = first},
                                  SHOAL_IO, "disk on fire"));
            }
            if (dies && first == 1) {
                // The old one gets another twin; a death says little of a task.
                expect_twin(sched, 4, 2);
                assert_true(sched_task_done(sched, 0, 0, 2, 4));
                expect_cancel(sched, 0, 0, 0, 0);
            } else {
                assert_int_equal(sched_next(sched, 4).kind, SCHED_NONE);
                assert_true(sched_task_done(sched, 0, 0, 1 - first, 5));
            }
            expect(sched, SCHED_SUCCEEDED);
            sched_free(sched);
        }
    }
}

static void a_twin_keeps_off_where_its_task_failed(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 3, 1);
    stage_of(sched, 4, -1);
    for (uint32_t i = 0; i < 3; i++) expect_run(sched, 0, i, 0);
    assert_true(fails(sched, (struct sched_action){.task = 0}, SHOAL_IO, "x"));
    assert_int_equal(expect_run(sched, 0, 3, 0).worker, 0);
    assert_true(sched_task_done(sched, 0, 1, 0, 1));
    assert_int_equal(run_at(sched, 1, 0, 0, 1).worker, 1);
    assert_true(sched_task_done(sched, 0, 2, 0, 1));
    assert_true(sched_task_done(sched, 0, 3, 0, 1));
    assert_int_equal(expect_twin(sched, 10, 2).worker, 2);
    sched_free(sched);
}

// It is as old as it was, and the first to get another twin.
static void what_lost_its_twin_is_the_oldest_again(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 5, 1);
    stage_of(sched, 9, -1);
    for (uint32_t i = 0; i < 5; i++) run_at(sched, 0, 0, i, 0);
    for (uint32_t i = 1; i < 5; i++) assert_true(sched_task_done(sched, 0, i, 0, 1));
    for (uint32_t i = 5; i < 9; i++) run_at(sched, 1, 0, i, 0);
    for (uint32_t i = 5; i < 8; i++) assert_true(sched_task_done(sched, 0, i, 0, 2));
    expect_twin(sched, 3, 1);
    assert_true(fails(sched, (struct sched_action){.attempt = 1}, SHOAL_IO, "x"));
    expect_twin(sched, 3, 2);
    sched_free(sched);
}

static void both_of_two_may_fail(void **state) {
    (void)state;
    struct sched_options options = {.max_attempts = 3};
    struct sched *sched = one_hangs(&options, false);
    expect_twin(sched, 3, 1);
    assert_true(fails(sched, (struct sched_action){.attempt = 1}, SHOAL_IO, "twin"));
    assert_true(fails(sched, (struct sched_action){.attempt = 0}, SHOAL_IO, "first"));
    struct sched_action last = run_at(sched, 3, 0, 0, 2);
    assert_false(last.twin);
    assert_int_not_equal(last.worker, 0);
    assert_true(fails(sched, last, SHOAL_IO, "last"));
    expect(sched, SCHED_FAILED);
    assert_says(sched, SHOAL_IO,
                "stage 0 task 0 failed 3 times\nattempt 1 on worker 1: twin\n"
                "attempt 0 on worker 0: first\nattempt 2 on worker 1: last\nLook at");
    sched_free(sched);
}

// ---- what a failure means

static void memory_is_tried_again_alone(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 2, 2);
    stage_of(sched, 6, -1);
    for (uint32_t i = 0; i < 4; i++) assert_false(expect_run(sched, 0, i, 0).alone);
    assert_true(fails(sched, (struct sched_action){.task = 1}, SHOAL_NOMEM, "x"));
    // Nothing starts while it waits for the others to end.
    for (uint32_t i = 0; i < 4; i++) {
        expect(sched, SCHED_NONE);
        if (i != 1) assert_true(sched_task_done(sched, 0, i, 0, 0));
    }
    struct sched_action alone = expect_run(sched, 0, 1, 1);
    assert_true(alone.alone);
    expect(sched, SCHED_NONE);
    sched_worker_down(sched, alone.worker, 0);  // again, and alone again
    alone = expect_run(sched, 0, 1, 2);
    assert_true(alone.alone);
    expect(sched, SCHED_NONE);
    done(sched, alone);
    assert_false(expect_run(sched, 0, 4, 0).alone);
    assert_false(expect_run(sched, 0, 5, 0).alone);
    sched_free(sched);
}

static void memory_that_is_not_enough_alone_stops_the_query(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 2, 1);
    stage_of(sched, 1, -1);
    assert_true(fails(sched, expect_run(sched, 0, 0, 0), SHOAL_NOMEM, "needs 3 GB"));
    struct sched_action alone = expect_run(sched, 0, 0, 1);
    assert_true(alone.alone);
    assert_true(fails(sched, alone, SHOAL_NOMEM, "needs 3 GB, has 2"));
    expect(sched, SCHED_FAILED);
    assert_says(sched, SHOAL_NOMEM,
                "stage 0 task 0 is out of memory even where nothing else runs\n"
                "attempt 0 on worker 0: needs 3 GB\n"
                "attempt 1 on worker 0: needs 3 GB, has 2\nGive more --memory");
    sched_free(sched);
}

// One that waits to run alone holds up nothing while its stage isn't ready, and waits for
// what was cancelled, since that holds memory too.
static void alone_waits_for_its_turn(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 2);
    stage_of(sched, 1, -1);
    stage_of(sched, 1, 0);
    stage_of(sched, 2, -1);
    done(sched, expect_run(sched, 0, 0, 0));
    struct sched_action reader = expect_run(sched, 1, 0, 0);
    expect_run(sched, 2, 0, 0);
    assert_true(sched_output_lost(sched, 0, 0, 0));
    assert_true(fails(sched, reader, SHOAL_NOMEM, "x"));
    struct sched_action again = expect_run(sched, 0, 0, 1);
    sched_reset_stage(sched, 2, 0);
    expect_cancel(sched, 2, 0, 0, 0);
    done(sched, again);
    expect(sched, SCHED_NONE);
    assert_false(sched_task_done(sched, 2, 0, 0, 0));
    assert_true(expect_run(sched, 1, 0, 1).alone);
    sched_free(sched);
}

static void what_the_status_decides(void **state) {
    (void)state;
    static const struct {
        shoal_status status;
        uint32_t attempts;
        const char *advice;
    } rules[] = {{SHOAL_USER, 1, "cause"},
                 {SHOAL_USAGE, 1, "a retry cannot help"},
                 {SHOAL_UNSUPPORTED, 1, "a retry cannot help"},
                 {SHOAL_INTERNAL, 1, "a retry cannot help"},
                 {SHOAL_IO, 3, "workers' logs"},
                 {SHOAL_CORRUPT, 3, "test the disks"},
                 {SHOAL_DISK_FULL, 3, "Free space"},
                 {SHOAL_TIMEOUT, 3, "more time"},
                 {SHOAL_LOST, 3, "workers' logs"},
                 {SHOAL_NOMEM, 2, "--memory"}};
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        struct sched *sched = cluster(NULL, 2, 1);
        stage_of(sched, 1, -1);
        uint32_t last = 9, attempts = 0;
        struct sched_action action = sched_next(sched, 0);
        for (; action.kind == SCHED_RUN; action = sched_next(sched, 0)) {
            if (rules[r].attempts == 3) assert_int_not_equal(action.worker, last);
            last = action.worker;
            attempts++;
            assert_true(fails(sched, action, rules[r].status, "cause"));
        }
        assert_int_equal(attempts, rules[r].attempts);
        expect(sched, SCHED_FAILED);
        assert_says(sched, rules[r].status, rules[r].advice);
        assert_false(sched_error(sched)->retriable);
        sched_free(sched);
    }
}

// A worker that is to leave gives its tasks back.
static void what_a_worker_cancels_is_not_counted(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 1);
    stage_of(sched, 1, -1);
    for (uint32_t i = 0; i < 10; i++)
        assert_true(fails(sched, expect_run(sched, 0, 0, i), SHOAL_CANCELLED, "leaves"));
    // These were not failures: it has all of its attempts left.
    assert_true(fails(sched, expect_run(sched, 0, 0, 10), SHOAL_IO, "x"));
    assert_true(fails(sched, expect_run(sched, 0, 0, 11), SHOAL_IO, "x"));
    done(sched, expect_run(sched, 0, 0, 12));
    expect(sched, SCHED_SUCCEEDED);
    sched_free(sched);
}

static void workers_that_come_and_go_take_no_memory(void **state) {
    (void)state;
    struct sched_options options = {.poison_worker_deaths = 10000};
    struct sched *sched = cluster(&options, 1, 4);
    stage_of(sched, 1, -1);
    size_t bytes = sched_bytes(sched);
    for (uint32_t w = 0; w < 1000; w++) {
        expect_run(sched, 0, 0, w);
        sched_worker_down(sched, w, 0);
        sched_worker_up(sched, w + 1, 4, 0);
    }
    assert_int_equal(sched_bytes(sched), bytes);
    sched_free(sched);
}

// There is an attempt's record for each slot before a task starts.
static void slots_that_find_no_memory_stop_the_query(void **state) {
    (void)state;
    struct sched *sched = cluster(NULL, 1, 1);
    stage_of(sched, 1, -1);
    sched_worker_up(sched, 1, UINT32_MAX, 0);
    expect(sched, SCHED_FAILED);
    assert_says(sched, SHOAL_NOMEM, "while adding worker 1");
    sched_free(sched);
}

static void long_causes_are_cut_but_the_last(void **state) {
    (void)state;
    char first[1001] = "", last[4000] = "";
    memset(first, 'f', 298);
    strcat(first, "\xe2\x82\xac and more");  // the euro sign would be cut in two
    memset(last, 'l', 3999);
    memcpy(last, "begin", 5);
    for (int all = 0; all < 2; all++) {
        struct sched *sched = cluster(NULL, 2, 1);
        stage_of(sched, 1, -1);
        last[all ? 3999 : 1500] = '\0';
        for (uint32_t i = 0; i < 2; i++)
            assert_true(fails(sched, expect_run(sched, 0, 0, i), SHOAL_DISK_FULL, first));
        assert_true(fails(sched, expect_run(sched, 0, 0, 2), SHOAL_DISK_FULL, last));
        expect(sched, SCHED_FAILED);
        const char *message = sched_error(sched)->message;
        if (!all) {
            assert_says(sched, SHOAL_DISK_FULL, "attempt 0 on worker 0: fff");
            assert_says(sched, SHOAL_DISK_FULL, "ff\nattempt 1 on worker 1: fff");
            assert_says(sched, SHOAL_DISK_FULL, last);
        }
        assert_says(sched, SHOAL_DISK_FULL, "attempt 2 on worker 0: begin");
        assert_says(sched, SHOAL_DISK_FULL, "l\nFree space");
        assert_null(strstr(message, "\xe2"));
        assert_null(strstr(message, "and more"));
        last[all ? 3999 : 1500] = 'l';
        sched_free(sched);
    }
}

// ---- the simulated cluster

// A join of two inputs, one read twice, a wide stage, and a result.
static const struct sim_stage five_stages[] = {
    {.tasks = 1500},
    {.tasks = 1000},
    {.tasks = 1500, .deps = {0, 1}, .ndeps = 2},
    {.tasks = 500, .deps = {0, 2}, .ndeps = 2, .wide = true},
    {.tasks = 500, .deps = {3}, .ndeps = 1},
};

static struct sim_options all_faults(uint64_t seed) {
    return (struct sim_options){
        .seed = seed,
        .workers = 200,
        .slots = 2 + (uint32_t)(seed % 3),
        .stages = five_stages,
        .stages_size = 5,
        .death_rate = 0.003,
        .failure_rate = 0.01,
        .nomem_rate = 0.0003,
        .late_rate = 0.5,
        .straggler_rate = 0.02,
        .straggler_factor = 10,
        .loss_rate = 0.005,
        .reset_rate = 0.0002,
        .local_blocks = seed % 2 == 0,
        .sched = {.max_attempts = 20, .poison_worker_deaths = 100, .max_losses = 100}};
}

static void sim_ok(const struct sim_options *options, struct sim_result *result) {
    assert_true(sim_run(options, result));
    if (result->violation[0] != '\0')
        fail_msg("seed %llu: %s", (unsigned long long)options->seed, result->violation);
}

static void every_fault_at_once_under_many_seeds(void **state) {
    (void)state;
    struct sim_result all = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sim_options options = all_faults(seed);
        struct sim_result result;
        sim_ok(&options, &result);
        assert_int_equal(result.end, SCHED_SUCCEEDED);
        all.deaths += result.deaths;
        all.failures += result.failures;
        all.refused += result.refused;
        all.cancels += result.cancels;
        all.twins += result.twins;
        all.alone += result.alone;
        all.losses += result.losses;
        all.blocked += result.blocked;
        all.resets += result.resets;
    }
    print_message(
        "%llu deaths, %llu failures, %llu refused, %llu cancels, %llu twins, "
        "%llu alone, %llu losses, %llu blocked, %llu resets\n",
        (unsigned long long)all.deaths, (unsigned long long)all.failures,
        (unsigned long long)all.refused, (unsigned long long)all.cancels,
        (unsigned long long)all.twins, (unsigned long long)all.alone,
        (unsigned long long)all.losses, (unsigned long long)all.blocked,
        (unsigned long long)all.resets);
    assert_true(all.deaths > 1000 && all.failures > 1000 && all.refused > 1000);
    assert_true(all.cancels > 1000 && all.twins > 1000 && all.alone > 100);
    assert_true(all.losses > 1000 && all.blocked > 100 && all.resets > 100);
    struct sim_options options = all_faults(7);
    struct sim_result once, again;
    sim_ok(&options, &once);
    sim_ok(&options, &again);
    assert_true(once.trace == again.trace);
}

// One worker, one slot, limits that are met: corners that a large cluster doesn't reach.
static void small_clusters_end_whatever_is_lost(void **state) {
    (void)state;
    static const struct sim_stage stages[] = {
        {.tasks = 5},
        {.tasks = 3, .deps = {0}, .ndeps = 1, .wide = true},
        {.tasks = 8, .deps = {0, 1}, .ndeps = 2},
        {.tasks = 1, .deps = {2}, .ndeps = 1}};
    uint32_t ends[SHOAL_INTERNAL + 1] = {0};
    for (uint64_t seed = 0; seed < 4000; seed++) {
        struct sim_options options = {.seed = seed,
                                      .workers = 1 + (uint32_t)(seed % 4),
                                      .slots = 1 + (uint32_t)(seed / 4 % 3),
                                      .nodes = (uint32_t)(seed / 12 % 3),
                                      .stages = stages,
                                      .stages_size = 4,
                                      .death_rate = 0.06,
                                      .failure_rate = 0.1,
                                      .nomem_rate = 0.02,
                                      .late_rate = 0.5,
                                      .straggler_rate = 0.1,
                                      .straggler_factor = 20,
                                      .loss_rate = 0.2,
                                      .reset_rate = 0.02,
                                      .local_blocks = seed % 2 == 0,
                                      .cancel_at = seed % 10 == 0 ? 5 : 0};
        struct sim_result result;
        sim_ok(&options, &result);
        assert_int_not_equal(result.end, SCHED_NONE);
        ends[result.error.status]++;
    }
    assert_true(ends[SHOAL_OK] > 100 && ends[SHOAL_IO] > 10 && ends[SHOAL_LOST] > 10);
    assert_true(ends[SHOAL_CORRUPT] > 10 && ends[SHOAL_CANCELLED] > 10);
}

// What twins are for.
static void twins_shorten_a_run_with_stragglers(void **state) {
    (void)state;
    static const struct sim_stage stages[] = {{.tasks = 1000}};
    double with = 0, without = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct sim_options options = {.seed = seed,
                                      .workers = 200,
                                      .slots = 2,
                                      .stages = stages,
                                      .stages_size = 1,
                                      .straggler_rate = 0.01,
                                      .straggler_factor = 50};
        struct sim_result result;
        sim_ok(&options, &result);
        with += result.seconds;
        // Few twins but of stragglers.
        assert_true(result.twins > 0 && result.twins < 30);
        options.sched.no_speculation = true;
        sim_ok(&options, &result);
        without += result.seconds;
    }
    print_message("%.1f s with twins, %.1f s without\n", with, without);
    assert_true(with * 4 < without);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_lost_runs_again_before_what_reads_it),
        cmocka_unit_test(only_stages_that_wait_for_the_lost_wait),
        cmocka_unit_test(blocked_is_not_counted),
        cmocka_unit_test(too_many_losses_stop_the_query),
        cmocka_unit_test(counts_start_over_once_done),
        cmocka_unit_test(a_stage_without_tasks_waits_with_what_it_waits_for),
        cmocka_unit_test(a_reset_stage_runs_again),
        cmocka_unit_test(numbers_are_not_used_again_after_a_reset),
        cmocka_unit_test(failures_before_a_reset_are_forgotten),
        cmocka_unit_test(what_ends_already_is_not_cancelled_again),
        cmocka_unit_test(a_done_stage_is_reset_and_resized),
        cmocka_unit_test(restored_tasks_do_not_run),
        cmocka_unit_test(a_slow_task_gets_a_twin),
        cmocka_unit_test(a_loser_that_is_gone_is_not_told),
        cmocka_unit_test(no_twin_when_not_wanted_or_not_due),
        cmocka_unit_test(no_twin_before_durations_are_known),
        cmocka_unit_test(a_waiting_task_goes_before_a_twin),
        cmocka_unit_test(no_twin_while_a_task_waits_to_run_alone),
        cmocka_unit_test(one_of_two_may_fail),
        cmocka_unit_test(a_twin_keeps_off_where_its_task_failed),
        cmocka_unit_test(what_lost_its_twin_is_the_oldest_again),
        cmocka_unit_test(both_of_two_may_fail),
        cmocka_unit_test(memory_is_tried_again_alone),
        cmocka_unit_test(memory_that_is_not_enough_alone_stops_the_query),
        cmocka_unit_test(alone_waits_for_its_turn),
        cmocka_unit_test(what_the_status_decides),
        cmocka_unit_test(what_a_worker_cancels_is_not_counted),
        cmocka_unit_test(workers_that_come_and_go_take_no_memory),
        cmocka_unit_test(slots_that_find_no_memory_stop_the_query),
        cmocka_unit_test(long_causes_are_cut_but_the_last),
        cmocka_unit_test(every_fault_at_once_under_many_seeds),
        cmocka_unit_test(small_clusters_end_whatever_is_lost),
        cmocka_unit_test(twins_shorten_a_run_with_stragglers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
