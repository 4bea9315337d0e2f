// The scheduler's decisions: which task runs where, what is tried again, when to stop.
//
// Problem. A query is a graph of stages, a stage is many equal tasks, and workers come
// and go. Each decision must be cheap (a million tasks on ten thousand workers is one
// thread's work), repeatable (the same events give the same decisions, so that a seed
// reproduces a bug), and must tell the faults apart: the query is wrong, a task failed, a
// worker died, what a task made is gone. So this is a pure state machine. Events change
// the state; sched_next() reads it and returns one decision, which it assumes is carried
// out.
//
// Where things are. Every task is one record in one array; a running attempt is a record
// of its own, since a task may have two (a twin: speculate.c). Runnable stages are bits
// of a bitmap: the lowest bit is the lowest id. stages.c has what waits, workers.c what
// runs, policy.c what a failure means.
//
// Invariants.
//  - A task has at most two running attempts, on different workers; the first that is
//    done counts. Attempt numbers count up from 0 and are never used twice, so a late
//    report can always be told from a report of a running attempt.
//  - A task waits or runs or is done. It starts only while all the stages that its own
//    depends on are finished; one that runs goes on when they stop being so.
//  - A stage is finished exactly when its tasks are done or, when it has none, when those
//    that it depends on are finished.
//  - A stage's bit is set exactly when it is ready and has a waiting task.
//  - A worker is in the heap exactly when it has a free slot.
//  - Each attempt gets at most one SCHED_CANCEL, and only while it runs. It counts no
//    more from then on, but has its slots until it reports.
//  - A wide task runs alone on its worker. While one waits for an idle worker no later
//    stage starts a task, so it waits no longer than the tasks that run already.
//  - While a task that is to run alone waits in a ready stage, nothing starts; it starts
//    when nothing runs on any worker, and nothing starts until it ends.
//  - Once the query has failed no task starts, and the error never changes.
//
// Retries go before fresh tasks of their stage, so that a hopeless task stops the query
// early, and not to the worker where the task just failed: a worker with a full disk
// would use up all attempts in a moment. While other workers are up but busy the retry
// waits for one of them (it always gets one: busy workers finish or die); alone, a worker
// tries again. Only add_stage, resize_stage and worker_up allocate what is needed, so
// that a report or a decision cannot fail.
#include "sched/sched.h"

#include <stdlib.h>
#include <string.h>

#include "sched/internal.h"

// So that counts of a task fit their fields.
static void limit(uint32_t *option, uint32_t usual) {
    if (*option == 0) *option = usual;
    if (*option > UINT16_MAX) *option = UINT16_MAX;
}

struct sched *sched_new(const struct sched_options *options) {
    struct sched *sched = calloc(1, sizeof *sched);
    if (sched == NULL) return NULL;
    if (options != NULL) sched->options = *options;
    limit(&sched->options.max_attempts, 3);
    limit(&sched->options.poison_worker_deaths, 3);
    limit(&sched->options.max_losses, 5);
    sched->workers_free = sched->attempts_free = NIL;
    sched->cancels = (struct queue){NIL, NIL};
    return sched;
}

void sched_free(struct sched *sched) {
    if (sched == NULL) return;
    for (size_t i = 0; i < sched->tasks_size; i++) cause_free(&sched->tasks[i]);
    for (size_t s = 0; s < sched->stages_size; s++) free(sched->stages[s].prefers);
    free(sched->tasks);
    free(sched->stages);
    free(sched->edges);
    free(sched->runnable);
    free(sched->active);
    free(sched->workers);
    free(sched->heap);
    free(sched->buckets);
    free(sched->attempts);
    free(sched->attempt_buckets);
    free(sched);
}

// ---- reports

// Takes the attempt off its worker, since it reports. True when it counts: *ended is what
// it was, and its task is left to the caller (*other: another attempt of it runs).
static bool report(struct sched *sched, uint32_t stage, uint32_t task, uint32_t number,
                   struct attempt *ended) {
    uint32_t at = attempt_find(sched, stage, task, number);
    if (at == NIL) return false;
    *ended = sched->attempts[at];
    attempt_release(sched, at);
    return attempt_runs(ended) && !sched->failed;
}

bool sched_task_done(struct sched *sched, uint32_t stage, uint32_t task, uint32_t attempt,
                     double now) {
    struct attempt ended;
    if (!report(sched, stage, task, attempt, &ended)) return false;
    struct task *done = stage_task(sched, stage, task);
    if (done->run != NIL) attempt_cancel(sched, done->run);
    // Faults until now were not the task's own; what it made may be lost and made again.
    cause_free(done);
    done->failures = done->deaths = 0;
    done->avoid = NIL;
    done->alone = false;
    done->state = TASK_DONE;
    sched->done++;
    duration_add(&sched->stages[stage], now - ended.since);
    if (++sched->stages[stage].done == sched->stages[stage].tasks)
        stage_finish(sched, stage);
    return true;
}

bool sched_task_failed(struct sched *sched, uint32_t stage, uint32_t task,
                       uint32_t attempt, const struct shoal_error *why, double now) {
    static const struct shoal_error unknown = {SHOAL_IO, true, "no reason was given"};
    (void)now;
    struct attempt ended;
    if (!report(sched, stage, task, attempt, &ended)) return false;
    if (why == NULL) why = &unknown;
    struct task *failed = stage_task(sched, stage, task);
    uint32_t worker = sched->workers[ended.worker].number;
    enum policy policy = policy_of(why->status);
    bool stop = policy == POLICY_NEVER;
    if (policy != POLICY_UNCOUNTED) {
        if (failed->failures < UINT16_MAX) failed->failures++;
        failed->avoid = worker;
    }
    if (policy == POLICY_ALONE) {
        failed->alone = true;
        stop = ended.alone;
    }
    bool last = failed->run == NIL;
    if (last && policy != POLICY_UNCOUNTED &&
        failed->failures >= sched->options.max_attempts) {
        stop = true;
    }
    if (stop) {
        fail_task(sched, &ended, worker, why);
        return true;
    }
    cause_add(failed, attempt, worker, why->message);
    if (last) stage_requeue(sched, stage, task);
    return true;
}

bool sched_task_blocked(struct sched *sched, uint32_t stage, uint32_t task,
                        uint32_t attempt, double now) {
    (void)now;
    struct attempt ended;
    if (!report(sched, stage, task, attempt, &ended)) return false;
    if (stage_task(sched, stage, task)->run == NIL) stage_requeue(sched, stage, task);
    return true;
}

static bool all_done(const struct sched *sched) {
    return sched->stages_done == sched->stages_size;
}

void sched_cancel(struct sched *sched, double now) {
    (void)now;
    if (sched->failed || (sched->stages_size > 0 && all_done(sched))) return;
    sched->failed = true;
    shoal_fail(&sched->error, SHOAL_CANCELLED, "the query was cancelled");
}

// ---- decisions

static struct sched_action action_of(const struct sched *sched,
                                     enum sched_action_kind kind, uint32_t at) {
    const struct attempt *attempt = &sched->attempts[at];
    return (struct sched_action){.kind = kind,
                                 .worker = sched->workers[attempt->worker].number,
                                 .stage = attempt->stage,
                                 .task = attempt->task,
                                 .attempt = attempt->number,
                                 .twin = attempt->state == ATTEMPT_TWINNED,
                                 .alone = attempt->alone};
}

// The query goes on: the attempt keeps its slots until it reports.
static struct sched_action give_cancel(struct sched *sched) {
    uint32_t at = sched->cancels.head, next = sched->attempts[at].newer;
    sched->cancels.head = next;
    *(next == NIL ? &sched->cancels.tail : &sched->attempts[next].older) = NIL;
    sched->attempts[at].state = ATTEMPT_ENDING;
    return action_of(sched, SCHED_CANCEL, at);
}

// The query is over. Nothing starts any more, so a worker passed by stays without
// attempts. A record on the free list has none either.
static struct sched_action next_cancel(struct sched *sched) {
    while (sched->cancel_at < sched->workers_size) {
        uint32_t at = sched->workers[sched->cancel_at].attempts.head;
        if (at == NIL) {
            sched->cancel_at++;
            continue;
        }
        bool told = sched->attempts[at].state == ATTEMPT_ENDING;
        struct sched_action action = action_of(sched, SCHED_CANCEL, at);
        attempt_release(sched, at);
        if (!told) return action;
    }
    return (struct sched_action){.kind = SCHED_FAILED};
}

// The lowest ready stage's next task that can start; *hold: nothing else may.
static struct sched_action next_task(struct sched *sched, double now, bool *hold) {
    struct sched_action none = {.kind = SCHED_NONE};
    bool alone = sched->waiting_alone > 0;
    *hold = alone;
    if (sched->waiting == 0 || (alone && sched->running + sched->ending > 0)) return none;
    size_t words = (sched->stages_size + 63) / 64;
    for (size_t w = 0; w < words; w++) {
        for (uint64_t bits = sched->runnable[w]; bits != 0; bits &= bits - 1) {
            uint32_t id = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(bits);
            uint32_t worker = sched->heap[0];
            uint32_t task =
                alone ? stage_take_alone(sched, id) : stage_take(sched, id, &worker);
            if (task != NIL)
                return action_of(sched, SCHED_RUN,
                                 attempt_start(sched, worker, id, task, now));
            // Later stages would keep every worker half busy and a wide task waiting.
            *hold = *hold || sched->stages[id].wide;
            if (*hold && !alone) return none;
        }
    }
    return none;
}

struct sched_action sched_next(struct sched *sched, double now) {
    struct sched_action none = {.kind = SCHED_NONE};
    if (sched->failed) return next_cancel(sched);
    if (sched->cancels.head != NIL) return give_cancel(sched);
    if (all_done(sched)) return (struct sched_action){.kind = SCHED_SUCCEEDED};
    if (sched->heap_size == 0 || sched->alone_running > 0) return none;
    bool hold;
    struct sched_action action = next_task(sched, now, &hold);
    if (action.kind != SCHED_NONE || hold) return action;
    uint32_t worker, at = speculate(sched, now, &worker);
    if (at == NIL) return none;
    const struct attempt *slow = &sched->attempts[at];
    return action_of(sched, SCHED_RUN,
                     attempt_start(sched, worker, slow->stage, slow->task, now));
}

void sched_progress(const struct sched *sched, struct sched_progress *progress) {
    *progress = (struct sched_progress){.stages_done = sched->stages_done,
                                        .stages = (uint32_t)sched->stages_size,
                                        .tasks_done = sched->done,
                                        .tasks_waiting = sched->waiting,
                                        .tasks_running = sched->running,
                                        .attempts_ending = sched->ending,
                                        .tasks = sched->tasks_counted};
}

size_t sched_bytes(const struct sched *sched) {
    size_t prefers = 0;
    for (size_t s = 0; s < sched->stages_size; s++) {
        if (sched->stages[s].prefers != NULL) prefers += sched->stages[s].tasks;
    }
    return sizeof *sched + prefers * sizeof(uint32_t) +
           sched->tasks_capacity * sizeof *sched->tasks +
           sched->stages_capacity * sizeof *sched->stages +
           sched->edges_capacity * sizeof *sched->edges +
           (sched->runnable_capacity + sched->active_capacity) * sizeof(uint64_t) +
           sched->workers_capacity * sizeof *sched->workers +
           sched->attempts_capacity * sizeof *sched->attempts +
           (sched->heap_capacity + sched->bucket_count + sched->attempt_bucket_count) *
               sizeof(uint32_t);
}

const struct shoal_error *sched_error(const struct sched *sched) {
    return &sched->error;
}
