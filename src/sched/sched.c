// The scheduler's decisions: which task runs where, what is tried again, when to stop.
//
// Problem. A query is a graph of stages, a stage is many equal tasks, and workers come
// and go. Each decision must be cheap (a million tasks on ten thousand workers is one
// thread's work), repeatable (the same events give the same decisions, so that a seed
// reproduces a bug), and must tell three faults apart: the query is wrong, a task failed,
// a worker died. So this is a pure state machine. Events change the state; sched_next()
// reads it and returns one decision, which it assumes is carried out.
//
// Where things are. Every task is one record in one array. A stage's waiting tasks are a
// counter (tasks from `fresh` on were never started) and a FIFO of retries, so a stage of
// a million tasks costs nothing to make ready. Runnable stages are bits of a bitmap: the
// lowest bit is the lowest id. Workers with a free slot are in a heap ordered by the
// share of their slots in use. Each worker lists its running tasks in the order they
// started.
//
// Invariants.
//  - A task has at most one running attempt. Attempt numbers count up from 0 and are
//  never
//    used twice, so a late report can always be told from a report of the running
//    attempt.
//  - A task waits only while all the stages it depends on are done; a done task stays
//  done.
//  - A stage's bit is set exactly when it is ready and has a waiting task.
//  - A worker is in the heap exactly when it has a free slot.
//  - A wide task runs alone on its worker. While one waits for an idle worker no later
//    stage starts a task, so it waits no longer than the tasks that run already.
//  - Once the query has failed no task starts, and the error never changes.
//
// Retries go before fresh tasks of their stage, so that a hopeless task stops the query
// early, and not to the worker where the task just failed: a worker with a full disk
// would use up all attempts in a moment. While other workers are up but busy the retry
// waits for one of them (it always gets one: busy workers finish or die); alone, a worker
// tries again. Only add_stage and worker_up allocate, so that a report or a decision
// cannot fail.
#include "sched/sched.h"

#include <stdlib.h>
#include <string.h>

#define NIL UINT32_MAX
// Retries looked at in a stage before its fresh tasks get their turn: bounds a decision.
#define RETRY_SCAN 16
// Task indices of all stages together stay below this, which leaves NIL free.
#define TASKS_MAX (UINT32_MAX / 4)

enum task_state { TASK_WAITING, TASK_RUNNING, TASK_DONE };

struct task {
    uint32_t stage;
    uint32_t attempts;    // started so far: the running one is attempts - 1
    uint32_t failures;    // by the task's own fault
    uint32_t deaths;      // workers that died while running it
    uint32_t worker;      // record in workers[] while running
    uint32_t width;       // slots it holds while running
    uint32_t avoid;       // number of the worker where it last failed, NIL for none
    uint32_t prev, next;  // in its worker's running list; next also in the retry FIFO
    enum task_state state;
};

struct stage {
    uint32_t first, tasks;  // its range in tasks[]
    uint32_t fresh;         // tasks [fresh, tasks) were never started
    uint32_t done;
    uint32_t undone_deps;
    uint32_t retry_head, retry_tail;
    uint32_t dependents;  // first edge, NIL at the end
    bool wide;            // a task takes all slots of an idle worker
};

struct edge {
    uint32_t stage, next;
};

struct worker {
    uint32_t number;
    uint32_t slots, running;  // slots it has, and those in use
    uint32_t heap_at;         // NIL when not in the heap
    uint32_t chain;           // next in its hash bucket, or next free record
    uint32_t head, tail;      // its running tasks
};

struct sched {
    struct sched_options options;
    struct task *tasks;
    size_t tasks_size, tasks_capacity;
    struct stage *stages;
    size_t stages_size, stages_capacity;
    struct edge *edges;
    size_t edges_size, edges_capacity;
    uint64_t *runnable;  // a bit a stage
    size_t runnable_capacity;
    struct worker *workers;
    size_t workers_size, workers_capacity;
    uint32_t workers_free;  // a list of unused records
    uint32_t usable;        // workers up that have slots at all
    uint32_t *heap;
    size_t heap_size, heap_capacity;
    uint32_t *buckets;  // worker number to record
    size_t bucket_count, workers_up;
    uint64_t waiting;  // tasks of ready stages that wait for a slot
    uint64_t running, done;
    uint64_t tasks_counted;  // of all stages, without the records that resizing left
    uint32_t stages_done;
    uint32_t cancel_at;  // workers before this one have nothing left to cancel
    bool failed;
    struct shoal_error error;
};

// array is the address of a pointer to items of any type.
static bool reserve(void *array, size_t *capacity, size_t want, size_t item) {
    if (want <= *capacity) return true;
    size_t to = *capacity < 8 ? 8 : *capacity * 2;
    if (to < want) to = want;
    if (to > SIZE_MAX / item) return false;
    void *data;
    memcpy(&data, array, sizeof data);
    data = realloc(data, to * item);
    if (data == NULL) return false;
    memcpy(array, &data, sizeof data);
    *capacity = to;
    return true;
}

struct sched *sched_new(const struct sched_options *options) {
    struct sched *sched = calloc(1, sizeof *sched);
    if (sched == NULL) return NULL;
    if (options != NULL) sched->options = *options;
    if (sched->options.max_attempts == 0) sched->options.max_attempts = 3;
    if (sched->options.poison_worker_deaths == 0) sched->options.poison_worker_deaths = 3;
    sched->workers_free = NIL;
    return sched;
}

void sched_free(struct sched *sched) {
    if (sched == NULL) return;
    free(sched->tasks);
    free(sched->stages);
    free(sched->edges);
    free(sched->runnable);
    free(sched->workers);
    free(sched->heap);
    free(sched->buckets);
    free(sched);
}

// Stages

static void stage_update_bit(struct sched *sched, uint32_t id) {
    const struct stage *stage = &sched->stages[id];
    bool set = stage->undone_deps == 0 &&
               (stage->fresh < stage->tasks || stage->retry_head != NIL);
    uint64_t bit = UINT64_C(1) << (id % 64);
    if (set) {
        sched->runnable[id / 64] |= bit;
    } else {
        sched->runnable[id / 64] &= ~bit;
    }
}

static void tasks_init(struct sched *sched, uint32_t stage, uint32_t tasks) {
    struct task *list = &sched->tasks[sched->stages[stage].first];
    for (uint32_t i = 0; i < tasks; i++) {
        list[i] = (struct task){
            .stage = stage, .worker = NIL, .avoid = NIL, .prev = NIL, .next = NIL};
    }
}

uint32_t sched_add_stage(struct sched *sched, uint32_t tasks, bool wide,
                         const uint32_t *deps, size_t ndeps) {
    if (tasks == 0 || tasks > TASKS_MAX - sched->tasks_size) return UINT32_MAX;
    if (ndeps >= NIL - sched->edges_size || sched->stages_size >= NIL - 1)
        return UINT32_MAX;
    for (size_t i = 0; i < ndeps; i++) {
        if (deps[i] >= sched->stages_size) return UINT32_MAX;
    }
    uint32_t id = (uint32_t)sched->stages_size;
    size_t words = sched->runnable_capacity;
    bool ok = reserve(&sched->tasks, &sched->tasks_capacity, sched->tasks_size + tasks,
                      sizeof *sched->tasks) &&
              reserve(&sched->stages, &sched->stages_capacity, sched->stages_size + 1,
                      sizeof *sched->stages) &&
              reserve(&sched->edges, &sched->edges_capacity, sched->edges_size + ndeps,
                      sizeof *sched->edges) &&
              reserve(&sched->runnable, &sched->runnable_capacity, id / 64 + 1,
                      sizeof *sched->runnable);
    if (sched->runnable_capacity > words) {
        memset(sched->runnable + words, 0,
               (sched->runnable_capacity - words) * sizeof *sched->runnable);
    }
    if (!ok) return UINT32_MAX;

    struct stage *stage = &sched->stages[id];
    *stage = (struct stage){.first = (uint32_t)sched->tasks_size,
                            .tasks = tasks,
                            .wide = wide,
                            .retry_head = NIL,
                            .retry_tail = NIL,
                            .dependents = NIL};
    sched->tasks_size += tasks;
    sched->tasks_counted += tasks;
    sched->stages_size++;
    tasks_init(sched, id, tasks);
    for (size_t i = 0; i < ndeps; i++) {
        struct stage *dep = &sched->stages[deps[i]];
        if (dep->done == dep->tasks) continue;
        sched->edges[sched->edges_size] = (struct edge){id, dep->dependents};
        dep->dependents = (uint32_t)sched->edges_size++;
        stage->undone_deps++;
    }
    if (stage->undone_deps == 0) sched->waiting += tasks;
    stage_update_bit(sched, id);
    return id;
}

static void stage_finish(struct sched *sched, const struct stage *stage) {
    sched->stages_done++;
    for (uint32_t e = stage->dependents; e != NIL; e = sched->edges[e].next) {
        uint32_t id = sched->edges[e].stage;
        if (--sched->stages[id].undone_deps > 0) continue;
        if (sched->stages[id].tasks == 0) stage_finish(sched, &sched->stages[id]);
        sched->waiting += sched->stages[id].tasks;
        stage_update_bit(sched, id);
    }
}

bool sched_resize_stage(struct sched *sched, uint32_t id, uint32_t tasks, bool wide) {
    struct stage *stage = &sched->stages[id];
    if (tasks > TASKS_MAX - sched->tasks_size) return false;
    if (stage->fresh > 0 || stage->done > 0) return false;
    if (tasks > stage->tasks) {
        // A new range of records behind all others; the old one stays unused.
        size_t first = sched->tasks_size;
        if (!reserve(&sched->tasks, &sched->tasks_capacity, first + tasks,
                     sizeof *sched->tasks)) {
            return false;
        }
        stage->first = (uint32_t)first;
        sched->tasks_size += tasks;
        tasks_init(sched, id, tasks);
    }
    sched->tasks_counted += tasks;
    sched->tasks_counted -= stage->tasks;
    if (stage->undone_deps == 0) {
        sched->waiting += tasks;
        sched->waiting -= stage->tasks;
    }
    stage->tasks = tasks;
    stage->wide = wide;
    stage_update_bit(sched, id);
    if (tasks == 0 && stage->undone_deps == 0) stage_finish(sched, stage);
    return true;
}

static void stage_requeue(struct sched *sched, uint32_t at) {
    struct task *task = &sched->tasks[at];
    struct stage *stage = &sched->stages[task->stage];
    task->state = TASK_WAITING;
    task->next = NIL;
    if (stage->retry_tail == NIL) {
        stage->retry_head = at;
    } else {
        sched->tasks[stage->retry_tail].next = at;
    }
    stage->retry_tail = at;
    sched->waiting++;
    stage_update_bit(sched, task->stage);
}

// The heap of workers with a free slot, least loaded first

static bool less_loaded(const struct sched *sched, uint32_t a, uint32_t b) {
    const struct worker *x = &sched->workers[a], *y = &sched->workers[b];
    uint64_t left = (uint64_t)x->running * y->slots;
    uint64_t right = (uint64_t)y->running * x->slots;
    return left != right ? left < right : x->number < y->number;
}

static void heap_put(struct sched *sched, size_t at, uint32_t worker) {
    sched->heap[at] = worker;
    sched->workers[worker].heap_at = (uint32_t)at;
}

static void heap_sift(struct sched *sched, size_t at) {
    uint32_t worker = sched->heap[at];
    while (at > 0 && less_loaded(sched, worker, sched->heap[(at - 1) / 2])) {
        heap_put(sched, at, sched->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sched->heap_size) break;
        if (child + 1 < sched->heap_size &&
            less_loaded(sched, sched->heap[child + 1], sched->heap[child])) {
            child++;
        }
        if (!less_loaded(sched, sched->heap[child], worker)) break;
        heap_put(sched, at, sched->heap[child]);
        at = child;
    }
    heap_put(sched, at, worker);
}

static void heap_remove(struct sched *sched, uint32_t worker) {
    size_t at = sched->workers[worker].heap_at;
    if (at == NIL) return;
    sched->workers[worker].heap_at = NIL;
    uint32_t last = sched->heap[--sched->heap_size];
    if (last == worker) return;
    heap_put(sched, at, last);
    heap_sift(sched, at);
}

// Puts the worker where its load says, or takes it out when it is full.
static void heap_update(struct sched *sched, uint32_t at) {
    const struct worker *worker = &sched->workers[at];
    if (worker->running >= worker->slots) {
        heap_remove(sched, at);
        return;
    }
    if (worker->heap_at == NIL) heap_put(sched, sched->heap_size++, at);
    heap_sift(sched, worker->heap_at);
}

// The least loaded worker with a free slot other than number `avoid`; NIL when the task
// should rather wait.
static uint32_t heap_least(const struct sched *sched, uint32_t avoid) {
    uint32_t best = sched->heap[0];
    if (avoid == NIL || sched->workers[best].number != avoid) return best;
    if (sched->heap_size == 1) return sched->usable == 1 ? best : NIL;
    best = sched->heap[1];
    if (sched->heap_size > 2 && less_loaded(sched, sched->heap[2], best)) {
        best = sched->heap[2];
    }
    return best;
}

// Where a task may start: a wide one needs a worker that does nothing else.
static uint32_t heap_best(const struct sched *sched, uint32_t avoid, bool wide) {
    if (sched->heap_size == 0) return NIL;
    uint32_t best = heap_least(sched, avoid);
    return wide && best != NIL && sched->workers[best].running > 0 ? NIL : best;
}

// Workers

static uint32_t *worker_bucket(const struct sched *sched, uint32_t number) {
    return &sched->buckets[(number * UINT32_C(2654435761)) & (sched->bucket_count - 1)];
}

static uint32_t worker_find(const struct sched *sched, uint32_t number) {
    if (sched->bucket_count == 0) return NIL;
    uint32_t at = *worker_bucket(sched, number);
    while (at != NIL && sched->workers[at].number != number)
        at = sched->workers[at].chain;
    return at;
}

// Makes room for one more worker.
static bool worker_reserve(struct sched *sched) {
    size_t up = sched->workers_up + 1;
    if (!reserve(&sched->workers, &sched->workers_capacity,
                 sched->workers_free == NIL ? sched->workers_size + 1 : 0,
                 sizeof *sched->workers) ||
        !reserve(&sched->heap, &sched->heap_capacity, up, sizeof *sched->heap)) {
        return false;
    }
    if (up <= sched->bucket_count) return true;
    size_t count = sched->bucket_count == 0 ? 16 : sched->bucket_count * 2;
    uint32_t *old = sched->buckets, *buckets = malloc(count * sizeof *buckets);
    if (buckets == NULL) return false;
    memset(buckets, 0xff, count * sizeof *buckets);
    size_t old_count = sched->bucket_count;
    sched->buckets = buckets;
    sched->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        for (uint32_t at = old[i], next; at != NIL; at = next) {
            next = sched->workers[at].chain;
            uint32_t *bucket = worker_bucket(sched, sched->workers[at].number);
            sched->workers[at].chain = *bucket;
            *bucket = at;
        }
    }
    free(old);
    return true;
}

static void worker_start(struct sched *sched, uint32_t at, uint32_t task_at) {
    struct worker *worker = &sched->workers[at];
    struct task *task = &sched->tasks[task_at];
    task->state = TASK_RUNNING;
    task->attempts++;
    task->worker = at;
    task->prev = worker->tail;
    task->next = NIL;
    if (worker->tail == NIL) {
        worker->head = task_at;
    } else {
        sched->tasks[worker->tail].next = task_at;
    }
    worker->tail = task_at;
    task->width = sched->stages[task->stage].wide ? worker->slots : 1;
    worker->running += task->width;
    sched->running++;
    heap_update(sched, at);
}

// Takes the task off its worker; the caller says what becomes of it.
static void worker_release(struct sched *sched, uint32_t task_at) {
    struct task *task = &sched->tasks[task_at];
    uint32_t at = task->worker;
    struct worker *worker = &sched->workers[at];
    *(task->prev == NIL ? &worker->head : &sched->tasks[task->prev].next) = task->next;
    *(task->next == NIL ? &worker->tail : &sched->tasks[task->next].prev) = task->prev;
    task->state = TASK_WAITING;
    task->worker = task->prev = task->next = NIL;
    worker->running -= task->width;
    sched->running--;
    heap_update(sched, at);
}

void sched_worker_up(struct sched *sched, uint32_t worker, uint32_t slots, double now) {
    (void)now;
    if (worker_find(sched, worker) != NIL) return;
    if (!worker_reserve(sched)) {
        // There is no result to return it in, and a worker left out could be the only
        // one.
        if (!sched->failed) {
            sched->failed = true;
            shoal_fail(
                &sched->error, SHOAL_NOMEM,
                "out of memory in the driver while adding worker %u; give the driver "
                "more memory or use fewer workers",
                worker);
        }
        return;
    }
    uint32_t at = sched->workers_free;
    if (at == NIL) {
        at = (uint32_t)sched->workers_size++;
    } else {
        sched->workers_free = sched->workers[at].chain;
    }
    uint32_t *bucket = worker_bucket(sched, worker);
    sched->workers[at] = (struct worker){.number = worker,
                                         .slots = slots,
                                         .heap_at = NIL,
                                         .chain = *bucket,
                                         .head = NIL,
                                         .tail = NIL};
    *bucket = at;
    sched->workers_up++;
    if (slots > 0) sched->usable++;
    heap_update(sched, at);
}

static void fail_poison(struct sched *sched, uint32_t task_at, uint32_t worker) {
    const struct task *task = &sched->tasks[task_at];
    if (sched->failed) return;
    sched->failed = true;
    shoal_fail(
        &sched->error, SHOAL_LOST,
        "stage %u task %u killed %u workers (the last: worker %u): each died while "
        "running it, likely out of memory or by a crash. Look at the end of the "
        "workers' logs; give workers more memory or fewer slots, or use more "
        "partitions so that a task is smaller",
        task->stage, task_at - sched->stages[task->stage].first, task->deaths, worker);
    sched->error.retriable = false;
}

void sched_worker_down(struct sched *sched, uint32_t worker, double now) {
    (void)now;
    uint32_t at = worker_find(sched, worker);
    if (at == NIL) return;
    while (sched->workers[at].head != NIL) {
        uint32_t task_at = sched->workers[at].head;
        struct task *task = &sched->tasks[task_at];
        worker_release(sched, task_at);
        if (sched->failed) continue;
        task->deaths++;
        task->avoid = NIL;
        stage_requeue(sched, task_at);
        if (task->deaths >= sched->options.poison_worker_deaths) {
            fail_poison(sched, task_at, worker);
        }
    }
    heap_remove(sched, at);
    if (sched->workers[at].slots > 0) sched->usable--;
    uint32_t *link = worker_bucket(sched, worker);
    while (*link != at) link = &sched->workers[*link].chain;
    *link = sched->workers[at].chain;
    sched->workers[at].chain = sched->workers_free;
    sched->workers_free = at;
    sched->workers_up--;
}

// Reports

// The task's index when this attempt is the running one, else NIL.
static uint32_t running_task(const struct sched *sched, uint32_t stage, uint32_t task,
                             uint32_t attempt) {
    if (stage >= sched->stages_size || task >= sched->stages[stage].tasks) return NIL;
    uint32_t at = sched->stages[stage].first + task;
    const struct task *found = &sched->tasks[at];
    return found->state == TASK_RUNNING && found->attempts - 1 == attempt ? at : NIL;
}

bool sched_task_done(struct sched *sched, uint32_t stage, uint32_t task, uint32_t attempt,
                     double now) {
    (void)now;
    uint32_t at = running_task(sched, stage, task, attempt);
    if (at == NIL) return false;
    worker_release(sched, at);
    if (sched->failed) return false;  // too late to count; it just needs no cancelling
    sched->tasks[at].state = TASK_DONE;
    sched->done++;
    if (++sched->stages[stage].done == sched->stages[stage].tasks) {
        stage_finish(sched, &sched->stages[stage]);
    }
    return true;
}

bool sched_task_failed(struct sched *sched, uint32_t stage, uint32_t task,
                       uint32_t attempt, const struct shoal_error *why, double now) {
    static const struct shoal_error unknown = {SHOAL_INTERNAL, true,
                                               "no reason was given"};
    (void)now;
    uint32_t at = running_task(sched, stage, task, attempt);
    if (at == NIL) return false;
    if (why == NULL) why = &unknown;
    struct task *failed = &sched->tasks[at];
    uint32_t number = sched->workers[failed->worker].number;
    worker_release(sched, at);
    if (sched->failed) return false;
    failed->failures++;
    failed->avoid = number;
    shoal_status status = why->status == SHOAL_OK ? SHOAL_INTERNAL : why->status;
    if (why->retriable && failed->failures < sched->options.max_attempts) {
        stage_requeue(sched, at);
        return true;
    }
    sched->failed = true;
    if (why->retriable) {
        shoal_fail(
            &sched->error, status,
            "stage %u task %u failed %u times; the last error (attempt %u, worker %u): "
            "%s",
            stage, task, failed->failures, attempt, number, why->message);
    } else if (status == SHOAL_USER) {
        sched->error = *why;  // the user's own mistake, in the words the user knows
    } else {
        shoal_fail(
            &sched->error, status,
            "stage %u task %u failed (attempt %u, worker %u) and a retry cannot help: "
            "%s",
            stage, task, attempt, number, why->message);
    }
    sched->error.retriable = false;
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

// Decisions

static struct sched_action action_of(const struct sched *sched,
                                     enum sched_action_kind kind, uint32_t task_at) {
    const struct task *task = &sched->tasks[task_at];
    return (struct sched_action){.kind = kind,
                                 .worker = sched->workers[task->worker].number,
                                 .stage = task->stage,
                                 .task = task_at - sched->stages[task->stage].first,
                                 .attempt = task->attempts - 1};
}

static struct sched_action next_cancel(struct sched *sched) {
    // Nothing starts any more, so a worker passed by stays without running tasks. A
    // record on the free list has none either.
    for (; sched->cancel_at < sched->workers_size; sched->cancel_at++) {
        const struct worker *worker = &sched->workers[sched->cancel_at];
        if (worker->running == 0) continue;
        uint32_t task_at = worker->head;
        struct sched_action action = action_of(sched, SCHED_CANCEL, task_at);
        worker_release(sched, task_at);
        return action;
    }
    return (struct sched_action){.kind = SCHED_FAILED};
}

// Takes a waiting task off the stage and says where to run it; NIL when each one that was
// looked at should wait for another worker.
static uint32_t stage_take(struct sched *sched, uint32_t id, uint32_t *worker) {
    struct stage *stage = &sched->stages[id];
    uint32_t before = NIL, at = stage->retry_head;
    for (int i = 0; i < RETRY_SCAN && at != NIL; i++) {
        struct task *task = &sched->tasks[at];
        *worker = heap_best(sched, task->avoid, stage->wide);
        if (*worker != NIL) {
            *(before == NIL ? &stage->retry_head : &sched->tasks[before].next) =
                task->next;
            if (stage->retry_tail == at) stage->retry_tail = before;
            return at;
        }
        before = at;
        at = task->next;
    }
    if (stage->fresh == stage->tasks) return NIL;
    *worker = heap_best(sched, NIL, stage->wide);
    if (*worker == NIL) return NIL;
    return stage->first + stage->fresh++;
}

struct sched_action sched_next(struct sched *sched, double now) {
    (void)now;
    struct sched_action none = {.kind = SCHED_NONE};
    if (sched->failed) return next_cancel(sched);
    if (all_done(sched)) return (struct sched_action){.kind = SCHED_SUCCEEDED};
    if (sched->heap_size == 0 || sched->waiting == 0) return none;
    size_t words = (sched->stages_size + 63) / 64;
    for (size_t w = 0; w < words; w++) {
        for (uint64_t bits = sched->runnable[w]; bits != 0; bits &= bits - 1) {
            uint32_t id = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(bits);
            uint32_t worker = NIL;
            uint32_t task_at = stage_take(sched, id, &worker);
            // Later stages would keep every worker half busy and a wide task waiting.
            if (task_at == NIL && sched->stages[id].wide) return none;
            if (task_at == NIL) continue;
            sched->waiting--;
            stage_update_bit(sched, id);
            worker_start(sched, worker, task_at);
            return action_of(sched, SCHED_RUN, task_at);
        }
    }
    return none;
}

void sched_progress(const struct sched *sched, struct sched_progress *progress) {
    *progress = (struct sched_progress){.stages_done = sched->stages_done,
                                        .stages = (uint32_t)sched->stages_size,
                                        .tasks_done = sched->done,
                                        .tasks_running = sched->running,
                                        .tasks = sched->tasks_counted};
}

const struct shoal_error *sched_error(const struct sched *sched) {
    return &sched->error;
}
