// Workers, and the attempts that run on them.
//
// Workers with a free slot are in a heap ordered by the share of their slots in use. Each
// worker lists its attempts in the order they started, and a hash table finds an attempt
// by its stage, task and number, which is how reports name it. There is a record for each
// slot of the workers that are up, reserved when a worker comes, so that starting one
// cannot fail.
//
// An attempt that was cancelled holds its slots until it reports or its worker dies: the
// worker's thread is busy until then.
#include <stdlib.h>
#include <string.h>

#include "sched/internal.h"

// The heap of workers with a free slot, least loaded first

static bool less_loaded(const struct sched *sched, uint32_t a, uint32_t b) {
    const struct worker *x = &sched->workers[a], *y = &sched->workers[b];
    uint64_t left = (uint64_t)x->used * y->slots;
    uint64_t right = (uint64_t)y->used * x->slots;
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
    if (worker->used >= worker->slots) {
        heap_remove(sched, at);
        return;
    }
    if (worker->heap_at == NIL) heap_put(sched, sched->heap_size++, at);
    heap_sift(sched, worker->heap_at);
}

uint32_t worker_least(const struct sched *sched, uint32_t avoid, uint32_t also) {
    // Two are left out at most, and the third least is on the heap's first three levels.
    uint32_t best = NIL;
    for (uint32_t i = 0; i < 7 && i < sched->heap_size; i++) {
        uint32_t at = sched->heap[i], number = sched->workers[at].number;
        if (number == avoid || number == also) continue;
        if (best == NIL || less_loaded(sched, at, best)) best = at;
        if (i == 0) break;  // less than all others
    }
    return best;
}

uint32_t worker_best(const struct sched *sched, uint32_t avoid, bool wide) {
    if (sched->heap_size == 0) return NIL;
    uint32_t best = worker_least(sched, avoid, NIL);
    if (best == NIL && sched->usable == 1) best = sched->heap[0];
    return wide && best != NIL && sched->workers[best].used > 0 ? NIL : best;
}

// Workers of the heap that are looked at for one of a node: bounds a decision.
#define NODE_SCAN 64

uint32_t worker_on(const struct sched *sched, uint32_t node, bool wide) {
    uint32_t best = NIL;
    for (uint32_t i = 0; i < NODE_SCAN && i < sched->heap_size; i++) {
        uint32_t at = sched->heap[i];
        const struct worker *worker = &sched->workers[at];
        if (worker->node != node || (wide && worker->used > 0)) continue;
        if (best == NIL || less_loaded(sched, at, best)) best = at;
    }
    return best;
}

// ---- finding a record by what reports name

// New buckets when there are fewer than `want`; *old is the caller's to hang over and to
// free then, else NULL.
static bool buckets_grow(uint32_t **buckets, size_t *count, size_t want, uint32_t **old,
                         size_t *old_count) {
    *old = NULL;
    *old_count = 0;
    if (want <= *count) return true;
    size_t to = *count == 0 ? 16 : *count;
    while (to < want) to *= 2;
    uint32_t *data = malloc(to * sizeof *data);
    if (data == NULL) return false;
    memset(data, 0xff, to * sizeof *data);
    *old = *buckets;
    *old_count = *count;
    *buckets = data;
    *count = to;
    return true;
}

static uint32_t *worker_bucket(const struct sched *sched, uint32_t number) {
    return &sched->buckets[(number * UINT32_C(2654435761)) & (sched->bucket_count - 1)];
}

static void worker_hash(struct sched *sched, uint32_t at) {
    uint32_t *bucket = worker_bucket(sched, sched->workers[at].number);
    sched->workers[at].chain = *bucket;
    *bucket = at;
}

static uint32_t worker_find(const struct sched *sched, uint32_t number) {
    if (sched->bucket_count == 0) return NIL;
    uint32_t at = *worker_bucket(sched, number);
    while (at != NIL && sched->workers[at].number != number)
        at = sched->workers[at].chain;
    return at;
}

static uint32_t *attempt_bucket(const struct sched *sched, uint32_t stage, uint32_t task,
                                uint32_t number) {
    uint64_t key = ((uint64_t)stage << 32 | task) + number * UINT64_C(0xc2b2ae3d27d4eb4f);
    key *= UINT64_C(0x9e3779b97f4a7c15);
    return &sched->attempt_buckets[(key >> 32) & (sched->attempt_bucket_count - 1)];
}

static void attempt_hash(struct sched *sched, uint32_t at) {
    struct attempt *attempt = &sched->attempts[at];
    uint32_t *bucket =
        attempt_bucket(sched, attempt->stage, attempt->task, attempt->number);
    attempt->chain = *bucket;
    *bucket = at;
}

uint32_t attempt_find(const struct sched *sched, uint32_t stage, uint32_t task,
                      uint32_t number) {
    if (sched->attempt_bucket_count == 0) return NIL;
    uint32_t at = *attempt_bucket(sched, stage, task, number);
    for (; at != NIL; at = sched->attempts[at].chain) {
        const struct attempt *attempt = &sched->attempts[at];
        if (attempt->stage == stage && attempt->task == task &&
            attempt->number == number) {
            break;
        }
    }
    return at;
}

// Makes room for one more worker with so many slots.
static bool worker_reserve(struct sched *sched, uint32_t slots) {
    size_t up = sched->workers_up + 1, attempts = sched->slots_up + slots;
    if (attempts >= NIL ||
        !sched_reserve(&sched->workers, &sched->workers_capacity,
                       sched->workers_free == NIL ? sched->workers_size + 1 : 0,
                       sizeof *sched->workers) ||
        !sched_reserve(&sched->heap, &sched->heap_capacity, up, sizeof *sched->heap) ||
        !sched_reserve(&sched->attempts, &sched->attempts_capacity, attempts,
                       sizeof *sched->attempts)) {
        return false;
    }
    uint32_t *old;
    size_t count;
    if (!buckets_grow(&sched->buckets, &sched->bucket_count, up, &old, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        for (uint32_t at = old[i], next; at != NIL; at = next) {
            next = sched->workers[at].chain;
            worker_hash(sched, at);
        }
    }
    free(old);
    if (!buckets_grow(&sched->attempt_buckets, &sched->attempt_bucket_count, attempts,
                      &old, &count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        for (uint32_t at = old[i], next; at != NIL; at = next) {
            next = sched->attempts[at].chain;
            attempt_hash(sched, at);
        }
    }
    free(old);
    return true;
}

// ---- attempts

bool attempt_runs(const struct attempt *attempt) {
    return attempt->state == ATTEMPT_LONE || attempt->state == ATTEMPT_TWINNED;
}

static void list_add(struct sched *sched, struct queue *list, uint32_t at, bool front) {
    struct attempt *attempt = &sched->attempts[at];
    uint32_t other = front ? list->head : list->tail;
    attempt->older = front ? NIL : other;
    attempt->newer = front ? other : NIL;
    if (other == NIL) {
        list->head = list->tail = at;
    } else if (front) {
        list->head = sched->attempts[other].older = at;
    } else {
        list->tail = sched->attempts[other].newer = at;
    }
}

static void list_remove(struct sched *sched, struct queue *list, uint32_t at) {
    const struct attempt *attempt = &sched->attempts[at];
    *(attempt->older == NIL ? &list->head : &sched->attempts[attempt->older].newer) =
        attempt->newer;
    *(attempt->newer == NIL ? &list->tail : &sched->attempts[attempt->newer].older) =
        attempt->older;
}

// Into its stage's list, or out of it, and the stage's bit with it.
static void lone_add(struct sched *sched, uint32_t at) {
    struct attempt *attempt = &sched->attempts[at];
    struct queue *list = &sched->stages[attempt->stage].lone;
    bool front = list->head != NIL && attempt->since < sched->attempts[list->head].since;
    attempt->state = ATTEMPT_LONE;
    list_add(sched, list, at, front);
    sched->active[attempt->stage / 64] |= UINT64_C(1) << (attempt->stage % 64);
}

static void lone_remove(struct sched *sched, uint32_t at) {
    uint32_t stage = sched->attempts[at].stage;
    struct queue *list = &sched->stages[stage].lone;
    list_remove(sched, list, at);
    if (list->head == NIL) sched->active[stage / 64] &= ~(UINT64_C(1) << (stage % 64));
}

uint32_t attempt_start(struct sched *sched, uint32_t on, uint32_t stage, uint32_t index,
                       double now) {
    struct worker *worker = &sched->workers[on];
    struct task *task = stage_task(sched, stage, index);
    uint32_t at = sched->attempts_free;
    if (at == NIL) {
        at = (uint32_t)sched->attempts_size++;
    } else {
        sched->attempts_free = sched->attempts[at].chain;
    }
    struct attempt *attempt = &sched->attempts[at];
    *attempt = (struct attempt){.since = now,
                                .stage = stage,
                                .task = index,
                                .number = task->attempts++,
                                .worker = on,
                                .width = sched->stages[stage].wide ? worker->slots : 1,
                                .twin = task->run,
                                .prev = worker->attempts.tail,
                                .next = NIL,
                                .alone = task->alone};
    attempt_hash(sched, at);
    *(worker->attempts.tail == NIL ? &worker->attempts.head
                                   : &sched->attempts[worker->attempts.tail].next) = at;
    worker->attempts.tail = at;
    worker->used += attempt->width;
    sched->running++;
    sched->alone_running += attempt->alone;
    heap_update(sched, on);
    if (task->run == NIL) {
        task->run = at;
        task->state = TASK_RUNNING;
        lone_add(sched, at);
    } else {
        lone_remove(sched, task->run);
        sched->attempts[task->run].twin = at;
        sched->attempts[task->run].state = attempt->state = ATTEMPT_TWINNED;
    }
    return at;
}

// It no longer counts for its task; a twin is alone then.
static void attempt_leave(struct sched *sched, uint32_t at) {
    const struct attempt *attempt = &sched->attempts[at];
    if (attempt->twin == NIL) {
        lone_remove(sched, at);
    } else {
        sched->attempts[attempt->twin].twin = NIL;
        lone_add(sched, attempt->twin);
    }
    stage_task(sched, attempt->stage, attempt->task)->run = attempt->twin;
    sched->running--;
}

void attempt_release(struct sched *sched, uint32_t at) {
    struct attempt *attempt = &sched->attempts[at];
    struct worker *worker = &sched->workers[attempt->worker];
    if (attempt_runs(attempt)) {
        attempt_leave(sched, at);
    } else {
        if (attempt->state == ATTEMPT_CANCEL) list_remove(sched, &sched->cancels, at);
        sched->ending--;
    }
    *(attempt->prev == NIL ? &worker->attempts.head
                           : &sched->attempts[attempt->prev].next) = attempt->next;
    *(attempt->next == NIL ? &worker->attempts.tail
                           : &sched->attempts[attempt->next].prev) = attempt->prev;
    uint32_t *link =
        attempt_bucket(sched, attempt->stage, attempt->task, attempt->number);
    while (*link != at) link = &sched->attempts[*link].chain;
    *link = attempt->chain;
    sched->alone_running -= attempt->alone;
    worker->used -= attempt->width;
    heap_update(sched, attempt->worker);
    attempt->chain = sched->attempts_free;
    sched->attempts_free = at;
}

void attempt_cancel(struct sched *sched, uint32_t at) {
    attempt_leave(sched, at);
    sched->attempts[at].state = ATTEMPT_CANCEL;
    sched->attempts[at].twin = NIL;
    list_add(sched, &sched->cancels, at, false);
    sched->ending++;
}

// ---- workers

void sched_worker_up(struct sched *sched, uint32_t worker, uint32_t slots, double now) {
    (void)now;
    if (worker_find(sched, worker) != NIL) return;
    if (!worker_reserve(sched, slots)) {
        // There is no result to return it in, and a worker left out could be the only
        // one.
        if (sched->failed) return;
        sched->failed = true;
        shoal_fail(&sched->error, SHOAL_NOMEM,
                   "out of memory in the driver while adding worker %u; give the driver "
                   "more memory or use fewer workers",
                   worker);
        return;
    }
    uint32_t at = sched->workers_free;
    if (at == NIL) {
        at = (uint32_t)sched->workers_size++;
    } else {
        sched->workers_free = sched->workers[at].chain;
    }
    sched->workers[at] = (struct worker){.number = worker,
                                         .slots = slots,
                                         .node = NIL,
                                         .heap_at = NIL,
                                         .attempts = {NIL, NIL}};
    worker_hash(sched, at);
    sched->workers_up++;
    sched->slots_up += slots;
    if (slots > 0) sched->usable++;
    heap_update(sched, at);
}

void sched_worker_at(struct sched *sched, uint32_t worker, uint32_t node) {
    uint32_t at = worker_find(sched, worker);
    if (at != NIL) sched->workers[at].node = node;
}

// An attempt ends with its worker.
static void attempt_lose(struct sched *sched, uint32_t at, uint32_t worker) {
    struct attempt lost = sched->attempts[at];
    attempt_release(sched, at);
    if (!attempt_runs(&lost) || sched->failed) return;
    struct task *task = stage_task(sched, lost.stage, lost.task);
    if (task->deaths < UINT16_MAX) task->deaths++;
    if (task->run == NIL && task->deaths >= sched->options.poison_worker_deaths) {
        fail_poison(sched, &lost, worker);
        return;
    }
    cause_add(task, lost.number, worker, "the worker died");
    if (task->run == NIL) stage_requeue(sched, lost.stage, lost.task);
}

void sched_worker_down(struct sched *sched, uint32_t worker, double now) {
    (void)now;
    uint32_t at = worker_find(sched, worker);
    if (at == NIL) return;
    while (sched->workers[at].attempts.head != NIL)
        attempt_lose(sched, sched->workers[at].attempts.head, worker);
    heap_remove(sched, at);
    sched->slots_up -= sched->workers[at].slots;
    if (sched->workers[at].slots > 0) sched->usable--;
    uint32_t *link = worker_bucket(sched, worker);
    while (*link != at) link = &sched->workers[*link].chain;
    *link = sched->workers[at].chain;
    sched->workers[at].chain = sched->workers_free;
    sched->workers_free = at;
    sched->workers_up--;
}
