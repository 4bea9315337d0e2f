// The virtual cluster: a heap of events in time order. An attempt's fate (done, failed,
// out of memory, kills its worker) and duration are drawn when it starts and happen when
// the clock gets there. Events at one time happen in the order they were made, so a seed
// fixes the whole run. What is true is in the books (books.c).
//
// Reports of attempts that were lost with their worker or cancelled are sometimes
// delivered late; they must be refused. What the driver does beside them is here too: it
// reports each output that is lost and still needed, also one that was lost unnoticed
// when nobody needed it and is needed again since what was made of it is lost.
#include "sched/sim.h"

#include <stdlib.h>

#include "sched/books.h"

enum fate {
    FATE_DONE,
    FATE_FAIL,
    FATE_NOMEM,
    FATE_DEATH,
    FATE_ENDED,  // a cancelled attempt has stopped
    FATE_WORKER_UP,
    FATE_TICK
};

struct event {
    double time;
    uint64_t order;
    enum fate fate;
    uint32_t attempt;
};

struct sim {
    const struct sim_options *options;
    struct sim_result *result;
    struct sched *sched;
    struct books books;
    uint64_t random;
    double now;
    struct event *events;
    size_t events_size, events_capacity;
    uint64_t order;
};

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

static double clock_now(const struct sim *sim) {
    return sim->options->clock == NULL ? 0 : sim->options->clock();
}

static void clock_add(struct sim *sim, double from) {
    sim->result->sched_seconds += clock_now(sim) - from;
}

static bool worker_up(struct sim *sim) {
    uint32_t worker;
    if (!books_worker_up(&sim->books, &worker)) return false;
    double from = clock_now(sim);
    sched_worker_up(sim->sched, worker, sim->options->slots, sim->now);
    if (sim->options->nodes > 0)
        sched_worker_at(sim->sched, worker, worker % sim->options->nodes);
    clock_add(sim, from);
    return true;
}

// One task of eight doesn't mind where it runs.
static bool prefer(struct sim *sim, uint32_t s) {
    const struct books_stage *stage = &sim->books.stages[s];
    if (sim->options->nodes == 0) return true;
    uint32_t *nodes = malloc((stage->tasks + 1) * sizeof *nodes);
    for (uint32_t i = 0; nodes != NULL && i < stage->tasks; i++) {
        uint32_t node = (uint32_t)(draw(sim) % sim->options->nodes);
        nodes[i] = draw(sim) % 8 == 0 ? SCHED_ANYWHERE : node;
        sim->books.tasks[stage->first + i].prefers = nodes[i];
    }
    bool ok = nodes != NULL && sched_prefer(sim->sched, s, nodes);
    free(nodes);
    return ok;
}

// ---- decisions

static double draw_seconds(struct sim *sim, const struct sched_action *action) {
    const struct sim_options *options = sim->options;
    double seconds = 0.5 + draw_unit(sim), straggles = draw_unit(sim);
    if (options->straggler_rate > 0) {
        if (straggles < options->straggler_rate) seconds *= options->straggler_factor;
    } else if (straggles < 1.0 / 64) {
        seconds *= 10;
    }
    if (options->task_seconds != NULL)
        seconds =
            options->task_seconds(options->task_context, action->stage, action->task);
    return seconds;
}

static enum fate draw_fate(struct sim *sim, bool alone) {
    const struct sim_options *options = sim->options;
    double p = draw_unit(sim);
    if ((p -= options->death_rate) < 0) return FATE_DEATH;
    if ((p -= options->failure_rate) < 0) return FATE_FAIL;
    return (p -= options->nomem_rate) < 0 && !alone ? FATE_NOMEM : FATE_DONE;
}

// Checks a decision to run and draws what becomes of the attempt.
static bool start(struct sim *sim, const struct sched_action *action) {
    const struct sim_driver *driver = sim->options->driver;
    uint32_t at;
    if (!books_start(&sim->books, action, sim->now, &at)) return false;
    if (at == BOOKS_NIL) return true;
    uint32_t prefers = sim->books.tasks[sim->books.attempts[at].task].prefers;
    if (prefers != BOOKS_NIL && prefers == action->worker % sim->options->nodes) {
        sim->result->near++;
    } else if (prefers != BOOKS_NIL) {
        sim->result->far++;
    }
    sim->result->twins += action->twin;
    sim->result->alone += action->alone;
    enum fate fate = draw_fate(sim, action->alone);
    double seconds = draw_seconds(sim, action);
    if (driver != NULL && !driver->start(driver->context, action)) return false;
    return event_push(
        sim, (struct event){.time = sim->now + seconds, .fate = fate, .attempt = at});
}

// A cancelled attempt stops soon, unless the end of what it does is sooner.
static bool cancel(struct sim *sim, const struct sched_action *action) {
    bool over = sched_error(sim->sched)->status != SHOAL_OK;
    uint32_t at = books_cancel(&sim->books, action, over);
    sim->result->cancels++;
    if (at == BOOKS_NIL || over) return true;
    sim->books.attempts[at].events++;
    return event_push(sim, (struct event){.time = sim->now + 0.2 * draw_unit(sim),
                                          .fate = FATE_ENDED,
                                          .attempt = at});
}

// Takes decisions until there are none for now.
static bool decide(struct sim *sim) {
    for (;;) {
        double from = clock_now(sim);
        struct sched_action action = sched_next(sim->sched, sim->now);
        clock_add(sim, from);
        sim->result->decisions++;
        trace_action(sim, &action);
        if (action.kind == SCHED_RUN) {
            if (!start(sim, &action)) return false;
        } else if (action.kind == SCHED_CANCEL) {
            if (!cancel(sim, &action)) return false;
        } else {
            sim->result->end = action.kind;
            break;
        }
        if (sim->result->violation[0] != '\0') return true;
    }
    if (sim->result->end == SCHED_NONE) books_check_none(&sim->books);
    return true;
}

// ---- what is lost

static void lose(struct sim *sim, uint32_t at);

// The outputs of what this stage reads are needed again, those that were lost too.
static void need_inputs(struct sim *sim, uint32_t stage) {
    const struct sim_stage *is = &sim->options->stages[stage];
    for (uint32_t d = 0; d < is->ndeps; d++) {
        const struct books_stage *dep = &sim->books.stages[is->deps[d]];
        for (uint32_t i = 0; dep->gone > 0 && i < dep->tasks; i++) {
            if (sim->books.tasks[dep->first + i].gone) lose(sim, dep->first + i);
        }
    }
}

static void lose(struct sim *sim, uint32_t at) {
    struct books_task *task = &sim->books.tasks[at];
    struct books_stage *stage = &sim->books.stages[task->stage];
    books_unhome(&sim->books, task);
    if (!books_needed(&sim->books, task->stage)) {
        stage->gone += !task->gone;
        task->gone = true;
        return;
    }
    double from = clock_now(sim);
    bool taken = sched_output_lost(sim->sched, task->stage, task->index, sim->now);
    clock_add(sim, from);
    if (!taken && sched_error(sim->sched)->status == SHOAL_OK) {
        books_violated(&sim->books, "stage %u task %u: its loss was refused", task->stage,
                       task->index);
    }
    if (!taken) return;
    sim->result->losses++;
    books_undone(&sim->books, task);
    if (stage->done + 1 == stage->tasks) need_inputs(sim, task->stage);
}

static void lose_some(struct sim *sim) {
    const struct sim_options *options = sim->options;
    for (int tries = 0; tries < 8; tries++) {
        uint32_t s = (uint32_t)(draw(sim) % options->stages_size);
        const struct books_stage *stage = &sim->books.stages[s];
        uint32_t at = stage->first + (uint32_t)(draw(sim) % stage->tasks);
        const struct books_task *task = &sim->books.tasks[at];
        if (!task->done || task->gone || !books_needed(&sim->books, s)) continue;
        lose(sim, at);
        return;
    }
}

static bool reset(struct sim *sim, uint32_t s) {
    struct books_stage *stage = &sim->books.stages[s];
    uint32_t tasks = stage->tasks;
    double from = clock_now(sim);
    sched_reset_stage(sim->sched, s, sim->now);
    clock_add(sim, from);
    sim->result->resets++;
    if (draw(sim) % 2 == 0) {
        tasks = 1 + (uint32_t)(draw(sim) % stage->capacity);
        if (!sched_resize_stage(sim->sched, s, tasks, stage->wide))
            books_violated(&sim->books, "stage %u: a resize after a reset was refused",
                           s);
    }
    books_reset(&sim->books, s, tasks);
    return prefer(sim, s);
}

// A stage, and what has begun of those that depend on it.
static bool reset_some(struct sim *sim) {
    uint32_t count = sim->options->stages_size;
    uint32_t s = (uint32_t)(draw(sim) % count);
    uint64_t chosen = 0;
    if (!books_begun(&sim->books, s) || sched_error(sim->sched)->status != SHOAL_OK)
        return true;
    chosen |= UINT64_C(1) << s;
    if (!reset(sim, s)) return false;
    for (uint32_t after = s + 1; after < count; after++) {
        for (uint32_t on = s; on < after; on++) {
            if ((chosen >> on & 1) == 0 || !books_depends(&sim->books, after, on))
                continue;
            if (books_begun(&sim->books, after) && !reset(sim, after)) return false;
            chosen |= UINT64_C(1) << after;
            break;
        }
    }
    for (; s < count; s++) {
        if (chosen >> s & 1) need_inputs(sim, s);
    }
    return true;
}

// ---- events

// True when the scheduler takes what the attempt says.
static bool report(struct sim *sim, uint32_t at, enum fate fate) {
    const struct books_attempt *attempt = &sim->books.attempts[at];
    const struct books_task *task = &sim->books.tasks[attempt->task];
    struct shoal_error why;
    if (fate == FATE_FAIL) shoal_fail(&why, SHOAL_IO, "no space left on device");
    if (fate == FATE_NOMEM) shoal_fail(&why, SHOAL_NOMEM, "out of memory");
    if (fate == FATE_ENDED) shoal_fail(&why, SHOAL_CANCELLED, "cancelled");
    double from = clock_now(sim);
    bool taken = fate == FATE_DONE || fate == FATE_DEATH
                     ? sched_task_done(sim->sched, task->stage, task->index,
                                       attempt->number, sim->now)
                     : sched_task_failed(sim->sched, task->stage, task->index,
                                         attempt->number, &why, sim->now);
    clock_add(sim, from);
    return taken;
}

// Of an attempt that does not count any more.
static void report_late(struct sim *sim, uint32_t at, enum fate fate) {
    sim->result->refused++;
    if (!report(sim, at, fate)) return;
    const struct books_attempt *attempt = &sim->books.attempts[at];
    books_violated(&sim->books, "task %u attempt %u: a stale report was taken",
                   attempt->task, attempt->number);
}

static bool die(struct sim *sim, uint32_t worker) {
    sim->result->deaths++;
    books_worker_down(&sim->books, worker);
    double from = clock_now(sim);
    sched_worker_down(sim->sched, worker, sim->now);
    clock_add(sim, from);
    uint32_t *outputs = &sim->books.workers[worker].outputs;
    while (sim->options->local_blocks && *outputs != BOOKS_NIL &&
           sched_error(sim->sched)->status == SHOAL_OK) {
        lose(sim, *outputs);
    }
    return event_push(sim, (struct event){.time = sim->now + 1 + draw_unit(sim),
                                          .fate = FATE_WORKER_UP});
}

// What it reads is lost.
static void block(struct sim *sim, uint32_t at) {
    const struct books_attempt *attempt = &sim->books.attempts[at];
    const struct books_task *task = &sim->books.tasks[attempt->task];
    sim->result->blocked++;
    if (!sched_task_blocked(sim->sched, task->stage, task->index, attempt->number,
                            sim->now)) {
        books_violated(&sim->books, "stage %u task %u: it was not blocked", task->stage,
                       task->index);
    }
    books_ended(&sim->books, at, false);
}

static bool end_running(struct sim *sim, uint32_t at, enum fate fate) {
    const struct sim_driver *driver = sim->options->driver;
    const struct books_task *task = &sim->books.tasks[sim->books.attempts[at].task];
    if (!books_ready(&sim->books, task->stage) && draw(sim) % 2 == 0) {
        block(sim, at);
        return true;
    }
    if (!report(sim, at, fate)) {
        books_violated(&sim->books, "stage %u task %u: its report was refused",
                       task->stage, task->index);
    }
    if (fate != FATE_DONE) {
        sim->result->failures++;
        books_ended(&sim->books, at, fate == FATE_NOMEM);
        return true;
    }
    books_done(&sim->books, at, sim->now);
    if (driver != NULL && !driver->done(driver->context, task->stage, task->index))
        return false;
    if (draw_unit(sim) < sim->options->loss_rate) lose_some(sim);
    bool resets =
        sim->options->reset_rate > 0 && draw_unit(sim) < sim->options->reset_rate;
    return !resets || reset_some(sim);
}

static bool happen(struct sim *sim, const struct event *event) {
    if (event->fate == FATE_WORKER_UP) return worker_up(sim);
    if (event->fate == FATE_TICK) {
        // When nothing else is to come the query is stuck.
        return sim->events_size == 0 ||
               event_push(sim, (struct event){.time = sim->now + 1, .fate = FATE_TICK});
    }
    uint32_t at = event->attempt;
    const struct books_attempt *attempt = &sim->books.attempts[at];
    bool ok = true;
    if (attempt->state == BOOKS_OVER) {
        if (draw_unit(sim) < sim->options->late_rate) report_late(sim, at, event->fate);
    } else if (event->fate == FATE_DEATH) {
        ok = die(sim, attempt->worker);
    } else if (attempt->state == BOOKS_ENDING) {
        report_late(sim, at, event->fate);
        books_ended(&sim->books, at, false);
    } else {
        ok = end_running(sim, at, event->fate);
    }
    books_forget(&sim->books, at);
    return ok;
}

static bool prepare(struct sim *sim) {
    const struct sim_options *options = sim->options;
    if (!books_open(&sim->books, options, sim->result->violation)) return false;
    sim->sched = sched_new(&options->sched);
    if (sim->sched == NULL) return false;
    for (uint32_t s = 0; s < options->stages_size; s++) {
        const struct sim_stage *stage = &options->stages[s];
        if (sched_add_stage(sim->sched, stage->tasks, stage->wide, stage->deps,
                            stage->ndeps) != s) {
            return false;
        }
    }
    for (uint32_t s = 0; s < options->stages_size; s++) {
        if (!prefer(sim, s)) return false;
    }
    for (uint32_t w = 0; w < options->workers; w++) {
        if (!worker_up(sim)) return false;
    }
    return options->sched.no_speculation ||
           event_push(sim, (struct event){.time = 1, .fate = FATE_TICK});
}

// After the end nothing may change any more, and the books must agree.
static void check_end(struct sim *sim) {
    struct sim_result *result = sim->result;
    struct books *books = &sim->books;
    struct sched_progress progress;
    sched_progress(sim->sched, &progress);
    books_check_end(books, &progress, result->end);
    for (size_t i = 0; i < books->workers_size * sim->options->slots; i++) {
        if (books->places[i] == BOOKS_NIL) continue;
        report_late(sim, books->places[i], FATE_DONE);
        books_ended(books, books->places[i], false);
    }
    sched_progress(sim->sched, &progress);
    if (progress.attempts_ending > 0) books_violated(books, "attempts never end");
    if (sched_next(sim->sched, sim->now).kind != result->end)
        books_violated(books, "the end changed");
    result->error = *sched_error(sim->sched);
    result->accepted = books->accepted;
    result->undone = books->undone;
    result->seconds = sim->now;
    result->sched_bytes = sched_bytes(sim->sched);
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
            sim.books.cancelled = true;
            sched_cancel(sim.sched, sim.now);
            ok = decide(&sim);
            break;
        }
        ok = happen(&sim, &event) && decide(&sim);
    }
    if (ok) check_end(&sim);
    books_close(&sim.books);
    free(sim.events);
    sched_free(sim.sched);
    return ok;
}
