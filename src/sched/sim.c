// The virtual cluster: a heap of events in time order. An attempt's fate (done, failed,
// kills its worker) and duration are drawn when it starts and happen when the clock gets
// there. Events at one time happen in the order they were made, so a seed fixes the whole
// run.
//
// The books are kept apart from the scheduler's: whether a task runs follows from the
// worker it was sent to being up, never from what the scheduler says. Reports of attempts
// that were lost with their worker are sometimes delivered late; they must be refused.
#include "sched/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum fate { FATE_DONE, FATE_FAIL, FATE_DEATH, FATE_WORKER_UP };

struct event {
    double time;
    uint64_t order;
    enum fate fate;
    uint32_t worker, stage, task, attempt;
};

struct sim_task {
    uint32_t attempts, worker;
    bool running;  // as far as worker is up
    bool done;
};

struct sim_worker {
    uint32_t running;
    bool up;
};

struct sim {
    const struct sim_options *options;
    struct sim_result *result;
    struct sched *sched;
    uint64_t random;
    double now;
    struct event *events;
    size_t events_size, events_capacity;
    uint64_t order;
    struct sim_worker *workers;
    size_t workers_size, workers_capacity;
    struct sim_task **tasks;  // by stage
    uint32_t *stage_done;
    uint64_t *stage_fresh;  // never started
    uint64_t slots_free;
    uint64_t idle;  // workers up that run nothing
    bool cancelled;
};

static void violated(struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void violated(struct sim *sim, const char *format, ...) {
    if (sim->result->violation[0] != '\0') return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sim->result->violation, sizeof sim->result->violation, format, args);
    va_end(args);
}

// splitmix64
static uint64_t draw(struct sim *sim) {
    uint64_t z = (sim->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// In [0, 1).
static double draw_unit(struct sim *sim) {
    return (double)(draw(sim) >> 11) * 0x1p-53;
}

static void trace(struct sim *sim, const void *data, size_t size) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) {
        sim->result->trace = (sim->result->trace ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
}

// Field by field: padding is not the same in equal runs.
static void trace_action(struct sim *sim, const struct sched_action *action) {
    const uint32_t fields[] = {(uint32_t)action->kind, action->worker,  action->stage,
                               action->task,           action->attempt, action->twin,
                               action->alone};
    trace(sim, fields, sizeof fields);
    trace(sim, &sim->now, sizeof sim->now);
}

static bool before(const struct event *a, const struct event *b) {
    return a->time != b->time ? a->time < b->time : a->order < b->order;
}

static bool event_push(struct sim *sim, struct event event) {
    if (sim->events_size == sim->events_capacity) {
        size_t to = sim->events_capacity == 0 ? 1024 : sim->events_capacity * 2;
        struct event *grown = realloc(sim->events, to * sizeof *grown);
        if (grown == NULL) return false;
        sim->events = grown;
        sim->events_capacity = to;
    }
    event.order = sim->order++;
    size_t at = sim->events_size++;
    for (; at > 0 && before(&event, &sim->events[(at - 1) / 2]); at = (at - 1) / 2) {
        sim->events[at] = sim->events[(at - 1) / 2];
    }
    sim->events[at] = event;
    return true;
}

static struct event event_pop(struct sim *sim) {
    struct event top = sim->events[0], last = sim->events[--sim->events_size];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sim->events_size) break;
        if (child + 1 < sim->events_size &&
            before(&sim->events[child + 1], &sim->events[child])) {
            child++;
        }
        if (!before(&sim->events[child], &last)) break;
        sim->events[at] = sim->events[child];
        at = child;
    }
    sim->events[at] = last;
    return top;
}

static bool worker_up(struct sim *sim) {
    if (sim->workers_size == sim->workers_capacity) {
        size_t to = sim->workers_capacity == 0 ? 64 : sim->workers_capacity * 2;
        struct sim_worker *grown = realloc(sim->workers, to * sizeof *grown);
        if (grown == NULL) return false;
        sim->workers = grown;
        sim->workers_capacity = to;
    }
    sim->workers[sim->workers_size] = (struct sim_worker){.up = true};
    sched_worker_up(sim->sched, (uint32_t)sim->workers_size++, sim->options->slots,
                    sim->now);
    sim->slots_free += sim->options->slots;
    sim->idle++;
    return true;
}

static bool stage_ready(const struct sim *sim, uint32_t stage) {
    const struct sim_stage *is = &sim->options->stages[stage];
    for (uint32_t i = 0; i < is->ndeps; i++) {
        if (sim->stage_done[is->deps[i]] < sim->options->stages[is->deps[i]].tasks)
            return false;
    }
    return true;
}

static bool task_runs(const struct sim *sim, const struct sim_task *task) {
    return task->running && sim->workers[task->worker].up;
}

static uint32_t width(const struct sim *sim, uint32_t stage) {
    return sim->options->stages[stage].wide ? sim->options->slots : 1;
}

static void take_slots(struct sim *sim, struct sim_worker *worker, uint32_t slots) {
    if (worker->running == 0) sim->idle--;
    worker->running += slots;
    sim->slots_free -= slots;
}

static void give_slots(struct sim *sim, struct sim_worker *worker, uint32_t slots) {
    worker->running -= slots;
    sim->slots_free += slots;
    if (worker->running == 0) sim->idle++;
}

// Checks a decision to run and draws what becomes of the attempt.
static bool start(struct sim *sim, const struct sched_action *action) {
    const struct sim_options *options = sim->options;
    if (action->stage >= options->stages_size ||
        action->task >= options->stages[action->stage].tasks ||
        action->worker >= sim->workers_size) {
        violated(sim, "no such task or worker: stage %u task %u worker %u", action->stage,
                 action->task, action->worker);
        return true;
    }
    struct sim_task *task = &sim->tasks[action->stage][action->task];
    struct sim_worker *worker = &sim->workers[action->worker];
    const char *wrong = sim->cancelled ? "started after the cancel"
                        : !worker->up  ? "sent to a dead worker"
                        : worker->running + width(sim, action->stage) > options->slots
                            ? "over the worker's slots"
                        : task->done           ? "was done already"
                        : task_runs(sim, task) ? "runs already"
                        : action->attempt != task->attempts
                            ? "attempt number out of order"
                        : !stage_ready(sim, action->stage) ? "started before its deps"
                                                           : NULL;
    if (wrong != NULL) {
        violated(sim, "stage %u task %u attempt %u worker %u: %s", action->stage,
                 action->task, action->attempt, action->worker, wrong);
        return true;
    }
    if (task->attempts == 0) sim->stage_fresh[action->stage]--;
    *task = (struct sim_task){task->attempts + 1, action->worker, true, false};
    take_slots(sim, worker, width(sim, action->stage));
    double p = draw_unit(sim);
    double seconds = 0.5 + draw_unit(sim);
    if (draw(sim) % 64 == 0) seconds *= 10;  // a straggler
    if (options->task_seconds != NULL)
        seconds =
            options->task_seconds(options->task_context, action->stage, action->task);
    if (options->driver != NULL &&
        !options->driver->start(options->driver->context, action))
        return false;
    enum fate fate = p < options->death_rate                           ? FATE_DEATH
                     : p < options->death_rate + options->failure_rate ? FATE_FAIL
                                                                       : FATE_DONE;
    return event_push(sim, (struct event){.time = sim->now + seconds,
                                          .fate = fate,
                                          .worker = action->worker,
                                          .stage = action->stage,
                                          .task = action->task,
                                          .attempt = action->attempt});
}

static void cancel(struct sim *sim, const struct sched_action *action) {
    sim->result->cancels++;
    struct sim_task *task = &sim->tasks[action->stage][action->task];
    if (!task_runs(sim, task) || task->worker != action->worker ||
        task->attempts - 1 != action->attempt) {
        violated(sim,
                 "stage %u task %u attempt %u: cancelled but not running on worker %u",
                 action->stage, action->task, action->attempt, action->worker);
        return;
    }
    task->running = false;
    give_slots(sim, &sim->workers[action->worker], width(sim, action->stage));
}

// Takes decisions until there are none for now.
static bool decide(struct sim *sim) {
    for (;;) {
        struct sched_action action = sched_next(sim->sched, sim->now);
        sim->result->decisions++;
        trace_action(sim, &action);
        if (action.kind == SCHED_RUN) {
            if (!start(sim, &action)) return false;
        } else if (action.kind == SCHED_CANCEL) {
            cancel(sim, &action);
        } else {
            sim->result->end = action.kind;
            break;
        }
        if (sim->result->violation[0] != '\0') return true;
    }
    if (sim->result->end != SCHED_NONE || sim->slots_free == 0) return true;
    for (uint32_t s = 0; s < sim->options->stages_size; s++) {
        const struct sim_stage *stage = &sim->options->stages[s];
        if (!stage_ready(sim, s) || sim->stage_done[s] == stage->tasks) continue;
        bool could_start = !stage->wide || sim->idle > 0;
        if (sim->stage_fresh[s] > 0 && could_start) {
            violated(sim, "stage %u waits while %llu slots are free", s,
                     (unsigned long long)sim->slots_free);
        }
        if (stage->wide) break;  // later stages may have to wait for it
    }
    return true;
}

// The attempt's worker died before: its report, if it comes at all, is too late.
static void happen_late(struct sim *sim, const struct event *event) {
    if (draw_unit(sim) >= sim->options->late_rate) return;
    sim->result->refused++;
    bool taken = event->fate == FATE_FAIL
                     ? sched_task_failed(sim->sched, event->stage, event->task,
                                         event->attempt, NULL, sim->now)
                     : sched_task_done(sim->sched, event->stage, event->task,
                                       event->attempt, sim->now);
    if (taken) {
        violated(sim, "stage %u task %u attempt %u: a stale report was taken",
                 event->stage, event->task, event->attempt);
    }
}

static bool happen(struct sim *sim, const struct event *event) {
    if (event->fate == FATE_WORKER_UP) return worker_up(sim);
    struct sim_worker *worker = &sim->workers[event->worker];
    struct sim_task *task = &sim->tasks[event->stage][event->task];
    if (!worker->up) {
        happen_late(sim, event);
        return true;
    }
    if (event->fate == FATE_DEATH) {
        sim->result->deaths++;
        worker->up = false;
        sim->slots_free -= sim->options->slots - worker->running;
        if (worker->running == 0) sim->idle--;
        sched_worker_down(sim->sched, event->worker, sim->now);
        return event_push(sim, (struct event){.time = sim->now + 1 + draw_unit(sim),
                                              .fate = FATE_WORKER_UP});
    }
    task->running = false;
    give_slots(sim, worker, width(sim, event->stage));
    if (event->fate == FATE_FAIL) {
        sim->result->failures++;
        struct shoal_error why;
        shoal_fail(&why, SHOAL_IO, "no space left on device");
        if (!sched_task_failed(sim->sched, event->stage, event->task, event->attempt,
                               &why, sim->now)) {
            violated(sim, "stage %u task %u: its failure was refused", event->stage,
                     event->task);
        }
        return true;
    }
    if (!sched_task_done(sim->sched, event->stage, event->task, event->attempt,
                         sim->now)) {
        violated(sim, "stage %u task %u: its result was refused", event->stage,
                 event->task);
    }
    task->done = true;
    sim->stage_done[event->stage]++;
    sim->result->accepted++;
    const struct sim_driver *driver = sim->options->driver;
    return driver == NULL || driver->done(driver->context, event->stage, event->task);
}

static bool prepare(struct sim *sim) {
    const struct sim_options *options = sim->options;
    struct sched_options sched_options = options->sched;
    sched_options.no_speculation = true;  // the books know one attempt of a task
    sim->sched = sched_new(&sched_options);
    sim->tasks = calloc(options->stages_size, sizeof *sim->tasks);
    sim->stage_done = calloc(options->stages_size, sizeof *sim->stage_done);
    sim->stage_fresh = calloc(options->stages_size, sizeof *sim->stage_fresh);
    if (sim->sched == NULL || sim->tasks == NULL || sim->stage_done == NULL ||
        sim->stage_fresh == NULL) {
        return false;
    }
    for (uint32_t s = 0; s < options->stages_size; s++) {
        const struct sim_stage *stage = &options->stages[s];
        sim->tasks[s] = calloc(stage->tasks, sizeof *sim->tasks[s]);
        if (sim->tasks[s] == NULL) return false;
        sim->stage_fresh[s] = stage->tasks;
        if (sched_add_stage(sim->sched, stage->tasks, stage->wide, stage->deps,
                            stage->ndeps) != s) {
            return false;
        }
    }
    for (uint32_t w = 0; w < options->workers; w++) {
        if (!worker_up(sim)) return false;
    }
    return true;
}

// After the end nothing may change any more, and the books must agree.
static void check_end(struct sim *sim) {
    struct sim_result *result = sim->result;
    struct sched_progress progress;
    sched_progress(sim->sched, &progress);
    uint64_t running = 0;
    for (size_t w = 0; w < sim->workers_size; w++) {
        if (sim->workers[w].up) running += sim->workers[w].running;
    }
    if (running != 0 || progress.tasks_running != 0)
        violated(sim, "tasks still run at the end");
    if (progress.tasks_done != result->accepted) violated(sim, "progress miscounts");
    if (result->end == SCHED_SUCCEEDED && result->accepted != progress.tasks) {
        violated(sim, "succeeded without all tasks");
    }
    if (result->end == SCHED_NONE)
        violated(sim, "stuck: nothing runs and nothing is left to run");
    if (sched_next(sim->sched, sim->now).kind != result->end)
        violated(sim, "the end changed");
    result->error = *sched_error(sim->sched);
    result->seconds = sim->now;
}

bool sim_run(const struct sim_options *options, struct sim_result *result) {
    struct sim sim = {.options = options, .result = result, .random = options->seed};
    *result = (struct sim_result){.trace = UINT64_C(0xcbf29ce484222325)};
    bool ok = prepare(&sim) && decide(&sim);
    while (ok && result->end == SCHED_NONE && result->violation[0] == '\0' &&
           sim.events_size > 0) {
        struct event event = event_pop(&sim);
        sim.now = event.time;
        if (options->cancel_at > 0 && sim.now >= options->cancel_at) {
            sim.cancelled = true;
            sched_cancel(sim.sched, sim.now);
            ok = decide(&sim);
            break;
        }
        ok = happen(&sim, &event) && decide(&sim);
    }
    if (ok) check_end(&sim);
    for (uint32_t s = 0; sim.tasks != NULL && s < options->stages_size; s++)
        free(sim.tasks[s]);
    free(sim.tasks);
    free(sim.stage_done);
    free(sim.stage_fresh);
    free(sim.workers);
    free(sim.events);
    sched_free(sim.sched);
    return ok;
}
