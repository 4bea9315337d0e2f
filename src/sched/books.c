#include "sched/books.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NIL BOOKS_NIL

void books_violated(struct books *books, const char *format, ...) {
    if (books->violation[0] != '\0') return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(books->violation, 256, format, args);
    va_end(args);
}

bool books_open(struct books *books, const struct sim_options *options, char *violation) {
    *books =
        (struct books){.options = options, .violation = violation, .attempts_free = NIL};
    size_t total = 0;
    books->stages = calloc(options->stages_size, sizeof *books->stages);
    if (books->stages == NULL) return false;
    for (uint32_t s = 0; s < options->stages_size; s++) {
        struct books_stage *stage = &books->stages[s];
        stage->first = (uint32_t)total;
        stage->tasks = stage->fresh = options->stages[s].tasks;
        stage->wide = options->stages[s].wide;
        // A reset may give it a tenth more.
        stage->capacity =
            stage->tasks + (options->reset_rate > 0 ? stage->tasks / 10 : 0);
        stage->durations = calloc(BOOKS_CLASSES, sizeof *stage->durations);
        if (stage->durations == NULL) return false;
        total += stage->capacity;
    }
    books->tasks = malloc(total * sizeof *books->tasks);
    if (books->tasks == NULL) return false;
    for (uint32_t s = 0; s < options->stages_size; s++) {
        const struct books_stage *stage = &books->stages[s];
        for (uint32_t i = 0; i < stage->capacity; i++) {
            books->tasks[stage->first + i] = (struct books_task){
                .stage = s, .index = i, .run = {NIL, NIL}, .home = NIL, .prefers = NIL};
        }
    }
    return true;
}

void books_close(struct books *books) {
    for (uint32_t s = 0; books->stages != NULL && s < books->options->stages_size; s++)
        free(books->stages[s].durations);
    free(books->stages);
    free(books->tasks);
    free(books->attempts);
    free(books->workers);
    free(books->places);
}

// ---- workers

bool books_worker_up(struct books *books, uint32_t *worker) {
    uint32_t slots = books->options->slots;
    if (books->workers_size == books->workers_capacity) {
        size_t to = books->workers_capacity == 0 ? 64 : books->workers_capacity * 2;
        void *workers = realloc(books->workers, to * sizeof *books->workers);
        if (workers != NULL) books->workers = workers;
        void *places = realloc(books->places, to * slots * sizeof *books->places);
        if (places != NULL) books->places = places;
        if (workers == NULL || places == NULL) return false;
        books->workers_capacity = to;
    }
    *worker = (uint32_t)books->workers_size++;
    books->workers[*worker] = (struct books_worker){.up = true, .outputs = NIL};
    memset(&books->places[(size_t)*worker * slots], 0xff, slots * sizeof(uint32_t));
    books->slots_up += slots;
    books->slots_free += slots;
    books->idle++;
    return true;
}

static uint32_t *place(const struct books *books, uint32_t worker, uint32_t attempt) {
    uint32_t *at = &books->places[(size_t)worker * books->options->slots];
    while (*at != attempt) at++;
    return at;
}

static void take_slots(struct books *books, uint32_t at) {
    const struct books_attempt *attempt = &books->attempts[at];
    struct books_worker *worker = &books->workers[attempt->worker];
    if (worker->used == 0) books->idle--;
    worker->used += attempt->width;
    books->slots_free -= attempt->width;
    *place(books, attempt->worker, NIL) = at;
}

// The attempt is over.
static void give_slots(struct books *books, uint32_t at) {
    struct books_attempt *attempt = &books->attempts[at];
    struct books_worker *worker = &books->workers[attempt->worker];
    worker->used -= attempt->width;
    books->slots_free += attempt->width;
    if (worker->used == 0) books->idle++;
    *place(books, attempt->worker, at) = NIL;
    attempt->state = BOOKS_OVER;
    books->alone -= attempt->alone;
}

void books_worker_down(struct books *books, uint32_t id) {
    struct books_worker *worker = &books->workers[id];
    uint32_t slots = books->options->slots;
    for (uint32_t i = 0; i < slots; i++) {
        uint32_t at = books->places[(size_t)id * slots + i];
        if (at != NIL) books_ended(books, at, false);
    }
    worker->up = false;
    books->slots_up -= slots;
    books->slots_free -= slots;
    books->idle--;
}

// ---- stages

bool books_ready(const struct books *books, uint32_t stage) {
    const struct sim_stage *is = &books->options->stages[stage];
    for (uint32_t i = 0; i < is->ndeps; i++) {
        const struct books_stage *dep = &books->stages[is->deps[i]];
        if (dep->done < dep->tasks) return false;
    }
    return true;
}

bool books_depends(const struct books *books, uint32_t stage, uint32_t on) {
    const struct sim_stage *is = &books->options->stages[stage];
    for (uint32_t i = 0; i < is->ndeps; i++) {
        if (is->deps[i] == on) return true;
    }
    return false;
}

bool books_needed(const struct books *books, uint32_t stage) {
    for (uint32_t s = stage + 1; s < books->options->stages_size; s++) {
        if (books->stages[s].done < books->stages[s].tasks &&
            books_depends(books, s, stage)) {
            return true;
        }
    }
    return false;
}

bool books_begun(const struct books *books, uint32_t stage) {
    return books->stages[stage].fresh < books->stages[stage].tasks;
}

void books_unhome(struct books *books, struct books_task *task) {
    if (task->home == NIL) return;
    *(task->prev == NIL ? &books->workers[task->home].outputs
                        : &books->tasks[task->prev].next) = task->next;
    if (task->next != NIL) books->tasks[task->next].prev = task->prev;
    task->home = NIL;
}

void books_undone(struct books *books, struct books_task *task) {
    books_unhome(books, task);
    if (task->gone) books->stages[task->stage].gone--;
    task->done = task->gone = false;
    books->stages[task->stage].done--;
    books->undone++;
}

// What runs of the task must be cancelled.
static void doom(struct books *books, const struct books_task *task) {
    for (int r = 0; r < 2; r++) {
        if (task->run[r] == NIL) continue;
        struct books_attempt *attempt = &books->attempts[task->run[r]];
        books->doomed += attempt->state == BOOKS_RUNNING;
        attempt->state = BOOKS_DOOMED;
    }
}

void books_reset(struct books *books, uint32_t id, uint32_t tasks) {
    struct books_stage *stage = &books->stages[id];
    for (uint32_t i = 0; i < stage->tasks; i++) {
        struct books_task *task = &books->tasks[stage->first + i];
        if (task->done) books_undone(books, task);
        task->started = task->alone = false;
        doom(books, task);
    }
    stage->waiting_alone = 0;
    stage->tasks = stage->fresh = tasks;
    memset(stage->durations, 0, BOOKS_CLASSES * sizeof *stage->durations);
    stage->durations_all = 0;
}

// ---- attempts

static bool attempt_new(struct books *books, struct books_attempt attempt, uint32_t *at) {
    *at = books->attempts_free;
    if (*at != NIL) {
        books->attempts_free = books->attempts[*at].free;
    } else {
        if (books->attempts_size == books->attempts_capacity) {
            size_t to = books->attempts_capacity == 0 ? 64 : books->attempts_capacity * 2;
            void *grown = realloc(books->attempts, to * sizeof *books->attempts);
            if (grown == NULL) return false;
            books->attempts = grown;
            books->attempts_capacity = to;
        }
        *at = (uint32_t)books->attempts_size++;
    }
    books->attempts[*at] = attempt;
    return true;
}

void books_forget(struct books *books, uint32_t at) {
    struct books_attempt *attempt = &books->attempts[at];
    if (--attempt->events > 0) return;
    attempt->free = books->attempts_free;
    books->attempts_free = at;
}

static void leave_task(struct books *books, uint32_t at) {
    struct books_task *task = &books->tasks[books->attempts[at].task];
    for (int r = 0; r < 2; r++) {
        if (task->run[r] == at) task->run[r] = NIL;
    }
}

static uint32_t duration_class(double seconds) {
    double class = floor((log2(seconds) + 6) * 16);
    if (!(class > 0)) return 0;
    return class < BOOKS_CLASSES ? (uint32_t) class : BOOKS_CLASSES - 1;
}

void books_done(struct books *books, uint32_t at, double now) {
    const struct books_attempt *attempt = &books->attempts[at];
    struct books_task *task = &books->tasks[attempt->task];
    struct books_stage *stage = &books->stages[task->stage];
    leave_task(books, at);
    give_slots(books, at);
    doom(books, task);
    task->done = true;
    task->alone = false;
    struct books_worker *worker = &books->workers[attempt->worker];
    task->home = attempt->worker;
    task->prev = NIL;
    task->next = worker->outputs;
    if (task->next != NIL) books->tasks[task->next].prev = attempt->task;
    worker->outputs = attempt->task;
    stage->done++;
    stage->durations[duration_class(now - attempt->since)]++;
    stage->durations_all++;
    books->accepted++;
}

void books_ended(struct books *books, uint32_t at, bool alone) {
    struct books_attempt *attempt = &books->attempts[at];
    struct books_task *task = &books->tasks[attempt->task];
    bool ran = attempt->state == BOOKS_RUNNING;
    if (attempt->state == BOOKS_DOOMED) books->doomed--;
    leave_task(books, at);
    give_slots(books, at);
    if (!ran) return;
    task->alone = task->alone || alone;
    if (task->alone && task->run[0] == NIL && task->run[1] == NIL)
        books->stages[task->stage].waiting_alone++;
}

// ---- decisions

// A ready stage with a task that is to run alone, or NIL.
static uint32_t waits_alone(const struct books *books) {
    for (uint32_t s = 0; s < books->options->stages_size; s++) {
        if (books->stages[s].waiting_alone > 0 && books_ready(books, s)) return s;
    }
    return NIL;
}

// The first stage with a task that could start now, or NIL; retries are left out, as they
// may wait for another worker.
static uint32_t startable(const struct books *books) {
    if (books->alone > 0 || books->slots_free == 0) return NIL;
    uint32_t alone = waits_alone(books);
    if (alone != NIL) return books->slots_free == books->slots_up ? alone : NIL;
    for (uint32_t s = 0; s < books->options->stages_size; s++) {
        const struct books_stage *stage = &books->stages[s];
        if (!books_ready(books, s) || stage->done == stage->tasks) continue;
        if (stage->fresh > 0 && (!stage->wide || books->idle > 0)) return s;
        if (stage->wide) break;  // later stages may have to wait for it
    }
    return NIL;
}

// Why this task may not have a second attempt, NULL if it may.
static const char *twin_fault(const struct books *books, const struct books_task *task,
                              const struct sched_action *action, double now) {
    const struct books_stage *stage = &books->stages[task->stage];
    uint32_t at = task->run[0] != NIL ? task->run[0] : task->run[1];
    double age = now - books->attempts[at].since;
    uint64_t shorter = 0;
    for (uint32_t i = 0; i <= duration_class(age / 1.5); i++)
        shorter += stage->durations[i];
    return task->run[0] != NIL && task->run[1] != NIL     ? "a third attempt"
           : books->options->sched.no_speculation         ? "a twin that is not wanted"
           : books->attempts[at].worker == action->worker ? "two attempts on one worker"
           : stage->done * 2 < stage->tasks               ? "a twin before half are done"
           : age <= 2                                     ? "a twin of a young attempt"
           : shorter * 4 < stage->durations_all * 3       ? "a twin of a usual attempt"
           : task->alone || action->alone                 ? "a twin of one that is alone"
           : startable(books) != NIL                      ? "a twin before what waits"
                                                          : NULL;
}

static const char *start_fault(const struct books *books, const struct books_task *task,
                               const struct sched_action *action, uint32_t width,
                               double now) {
    const struct books_worker *worker = &books->workers[action->worker];
    bool runs = task->run[0] != NIL || task->run[1] != NIL;
    return books->cancelled    ? "started after the cancel"
           : books->doomed > 0 ? "started before a cancel is given"
           : !worker->up       ? "sent to a dead worker"
           : worker->used + width > books->options->slots ? "over the worker's slots"
           : task->done                                   ? "was done already"
           : action->attempt < task->attempts             ? "attempt number out of order"
           : runs != action->twin                         ? "is or is not a twin"
           : !books_ready(books, task->stage)             ? "started before its deps"
           : task->alone != action->alone                 ? "is or is not to run alone"
           : !action->alone && waits_alone(books) != NIL  ? "before one to run alone"
           : books->alone > 0 ? "started beside one that is alone"
           : action->alone && books->slots_free < books->slots_up ? "is not alone"
           : runs ? twin_fault(books, task, action, now)
                  : NULL;
}

bool books_start(struct books *books, const struct sched_action *action, double now,
                 uint32_t *at) {
    *at = NIL;
    if (action->stage >= books->options->stages_size ||
        action->task >= books->stages[action->stage].tasks ||
        action->worker >= books->workers_size) {
        books_violated(books, "no such task or worker: stage %u task %u worker %u",
                       action->stage, action->task, action->worker);
        return true;
    }
    struct books_stage *stage = &books->stages[action->stage];
    struct books_task *task = &books->tasks[stage->first + action->task];
    uint32_t width = stage->wide ? books->options->slots : 1;
    const char *wrong = start_fault(books, task, action, width, now);
    if (wrong != NULL) {
        books_violated(books, "stage %u task %u attempt %u worker %u: %s", action->stage,
                       action->task, action->attempt, action->worker, wrong);
        return true;
    }
    if (!attempt_new(books,
                     (struct books_attempt){.since = now,
                                            .task = stage->first + action->task,
                                            .number = action->attempt,
                                            .worker = action->worker,
                                            .width = width,
                                            .events = 1,
                                            .alone = action->alone},
                     at)) {
        return false;
    }
    if (!task->started) stage->fresh--;
    if (task->alone) stage->waiting_alone--;
    task->started = true;
    task->attempts = action->attempt + 1;
    task->run[task->run[0] != NIL] = *at;
    books->alone += action->alone;
    take_slots(books, *at);
    return true;
}

uint32_t books_cancel(struct books *books, const struct sched_action *action, bool over) {
    const struct books_stage *stage = &books->stages[action->stage];
    if (action->stage < books->options->stages_size && action->task < stage->capacity) {
        const struct books_task *task = &books->tasks[stage->first + action->task];
        for (int r = 0; r < 2; r++) {
            uint32_t at = task->run[r];
            if (at == NIL) continue;
            struct books_attempt *attempt = &books->attempts[at];
            if (attempt->number != action->attempt || attempt->worker != action->worker)
                continue;
            if (attempt->state != BOOKS_DOOMED && !over) break;
            if (attempt->state == BOOKS_DOOMED) books->doomed--;
            attempt->state = BOOKS_ENDING;
            leave_task(books, at);
            return at;
        }
    }
    books_violated(books,
                   "stage %u task %u attempt %u: cancelled but not to be, on worker %u",
                   action->stage, action->task, action->attempt, action->worker);
    return NIL;
}

void books_check_none(struct books *books) {
    if (books->doomed > 0) books_violated(books, "an attempt was not cancelled");
    uint32_t stage = startable(books);
    if (stage != NIL) {
        books_violated(books, "stage %u waits while %llu slots are free", stage,
                       (unsigned long long)books->slots_free);
    }
}

void books_check_end(struct books *books, const struct sched_progress *progress,
                     enum sched_action_kind end) {
    uint64_t tasks = 0, running = 0, ending = 0;
    for (uint32_t s = 0; s < books->options->stages_size; s++)
        tasks += books->stages[s].tasks;
    for (size_t i = 0; i < books->workers_size * books->options->slots; i++) {
        uint32_t at = books->places[i];
        if (at == NIL) continue;
        running += books->attempts[at].state != BOOKS_ENDING;
        ending += books->attempts[at].state == BOOKS_ENDING;
    }
    uint64_t done = books->accepted - books->undone;
    if (running > 0 || progress->tasks_running > 0)
        books_violated(books, "attempts still run at the end");
    if (end == SCHED_SUCCEEDED && ending != progress->attempts_ending)
        books_violated(books, "attempts that end are miscounted");
    if (progress->tasks_done != done || progress->tasks != tasks)
        books_violated(books, "progress miscounts");
    if (end == SCHED_SUCCEEDED && done != tasks)
        books_violated(books, "succeeded without all tasks");
    if (end == SCHED_NONE)
        books_violated(books, "stuck: nothing runs and nothing is left to run");
}
