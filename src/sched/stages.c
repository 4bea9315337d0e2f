// Stages and what waits in them.
//
// A stage's waiting tasks are a counter (from `fresh` on, those that never started) and
// two queues: of retries, and of those that are to run alone. What it waits for is a
// counter of stages that are not finished. A stage can stop being finished: what a task
// made was lost, or it is reset; then the stages after it have one more to wait for, and
// start nothing until it is done again. One without tasks is finished when what it waits
// for is, and stops being so with it.
#include <stdlib.h>
#include <string.h>

#include "sched/internal.h"

// Retries looked at in a stage before its fresh tasks get their turn: bounds a decision.
#define RETRY_SCAN 16

// array is the address of a pointer to items of any type.
bool sched_reserve(void *array, size_t *capacity, size_t want, size_t item) {
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

struct task *stage_task(const struct sched *sched, uint32_t stage, uint32_t task) {
    return &sched->tasks[sched->stages[stage].first + task];
}

static void update_bit(struct sched *sched, uint32_t id) {
    const struct stage *stage = &sched->stages[id];
    uint64_t bit = UINT64_C(1) << (id % 64);
    if (stage->undone_deps == 0 && stage->waiting > 0) {
        sched->runnable[id / 64] |= bit;
    } else {
        sched->runnable[id / 64] &= ~bit;
    }
}

// What waits in the stage counts while the stage is ready.
static void count_waiting(struct sched *sched, uint32_t id, bool ready) {
    const struct stage *stage = &sched->stages[id];
    sched->waiting += ready ? stage->waiting : -(uint64_t)stage->waiting;
    sched->waiting_alone +=
        ready ? stage->waiting_alone : -(uint64_t)stage->waiting_alone;
    update_bit(sched, id);
}

static void tasks_init(struct sched *sched, const struct stage *stage) {
    struct task *list = &sched->tasks[stage->first];
    for (uint32_t i = 0; i < stage->tasks; i++) {
        list[i] = (struct task){
            .attempts = stage->first_attempt, .avoid = NIL, .run = NIL, .next = NIL};
    }
}

// Room for the bits of one more stage.
static bool reserve_bits(uint64_t **bits, size_t *capacity, size_t stages) {
    size_t words = *capacity;
    if (!sched_reserve(bits, capacity, stages / 64 + 1, sizeof **bits)) return false;
    if (*capacity > words) memset(*bits + words, 0, (*capacity - words) * sizeof **bits);
    return true;
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
    if (!sched_reserve(&sched->tasks, &sched->tasks_capacity, sched->tasks_size + tasks,
                       sizeof *sched->tasks) ||
        !sched_reserve(&sched->stages, &sched->stages_capacity, sched->stages_size + 1,
                       sizeof *sched->stages) ||
        !sched_reserve(&sched->edges, &sched->edges_capacity, sched->edges_size + ndeps,
                       sizeof *sched->edges) ||
        !reserve_bits(&sched->runnable, &sched->runnable_capacity, id) ||
        !reserve_bits(&sched->active, &sched->active_capacity, id)) {
        return UINT32_MAX;
    }
    struct stage *stage = &sched->stages[id];
    *stage = (struct stage){.first = (uint32_t)sched->tasks_size,
                            .tasks = tasks,
                            .waiting = tasks,
                            .wide = wide,
                            .retries = {NIL, NIL},
                            .alone = {NIL, NIL},
                            .lone = {NIL, NIL},
                            .dependents = NIL};
    sched->tasks_size += tasks;
    sched->tasks_counted += tasks;
    sched->stages_size++;
    tasks_init(sched, stage);
    for (size_t i = 0; i < ndeps; i++) {
        struct stage *dep = &sched->stages[deps[i]];
        sched->edges[sched->edges_size] = (struct edge){id, dep->dependents};
        dep->dependents = (uint32_t)sched->edges_size++;
        if (!dep->finished) stage->undone_deps++;
    }
    if (stage->undone_deps == 0) count_waiting(sched, id, true);
    return id;
}

void stage_finish(struct sched *sched, uint32_t id) {
    if (sched->stages[id].finished) return;
    sched->stages[id].finished = true;
    sched->stages_done++;
    for (uint32_t e = sched->stages[id].dependents; e != NIL; e = sched->edges[e].next) {
        uint32_t after = sched->edges[e].stage;
        if (--sched->stages[after].undone_deps > 0) continue;
        if (sched->stages[after].tasks == 0) stage_finish(sched, after);
        count_waiting(sched, after, true);
    }
}

void stage_unfinish(struct sched *sched, uint32_t id) {
    if (!sched->stages[id].finished) return;
    sched->stages[id].finished = false;
    sched->stages_done--;
    for (uint32_t e = sched->stages[id].dependents; e != NIL; e = sched->edges[e].next) {
        uint32_t after = sched->edges[e].stage;
        if (sched->stages[after].undone_deps++ > 0) continue;
        if (sched->stages[after].tasks == 0) stage_unfinish(sched, after);
        count_waiting(sched, after, false);
    }
}

bool sched_resize_stage(struct sched *sched, uint32_t id, uint32_t tasks, bool wide) {
    struct stage *stage = &sched->stages[id];
    if (tasks > TASKS_MAX - sched->tasks_size) return false;
    // Not begun: all of its tasks are fresh.
    if (stage->fresh > 0 || stage->waiting < stage->tasks || stage->retries.head != NIL ||
        stage->alone.head != NIL) {
        return false;
    }
    uint32_t before = stage->tasks;
    if (tasks > before) {
        // A new range of records behind all others; the old one stays unused.
        size_t first = sched->tasks_size;
        if (!sched_reserve(&sched->tasks, &sched->tasks_capacity, first + tasks,
                           sizeof *sched->tasks)) {
            return false;
        }
        stage->first = (uint32_t)first;
        sched->tasks_size += tasks;
    }
    bool ready = stage->undone_deps == 0;
    if (ready) count_waiting(sched, id, false);
    stage->tasks = stage->waiting = tasks;
    stage->wide = wide;
    free(stage->prefers);
    stage->prefers = NULL;
    if (tasks > before) tasks_init(sched, stage);
    sched->tasks_counted += tasks;
    sched->tasks_counted -= before;
    if (ready) count_waiting(sched, id, true);
    if (tasks > 0) stage_unfinish(sched, id);
    if (tasks == 0 && ready) stage_finish(sched, id);
    return true;
}

// Cancels what runs of the stage; its tasks are as if they never started, but for their
// numbers of attempts, and for the deaths and losses that bound how often it happens.
static void tasks_reset(struct sched *sched, uint32_t id) {
    struct stage *stage = &sched->stages[id];
    for (uint32_t i = 0; i < stage->tasks; i++) {
        struct task *task = &sched->tasks[stage->first + i];
        while (task->run != NIL) attempt_cancel(sched, task->run);
        cause_free(task);
        if (task->attempts > stage->first_attempt) stage->first_attempt = task->attempts;
        task->avoid = task->next = NIL;
        task->failures = 0;
        task->state = TASK_FRESH;
        task->alone = false;
    }
}

void sched_reset_stage(struct sched *sched, uint32_t id, double now) {
    (void)now;
    if (sched->failed || id >= sched->stages_size || sched->stages[id].tasks == 0) return;
    struct stage *stage = &sched->stages[id];
    bool ready = stage->undone_deps == 0;
    if (ready) count_waiting(sched, id, false);
    tasks_reset(sched, id);
    sched->done -= stage->done;
    stage->done = stage->fresh = stage->waiting_alone = 0;
    stage->waiting = stage->tasks;
    stage->retries = stage->alone = (struct queue){NIL, NIL};
    memset(stage->durations, 0, sizeof stage->durations);
    if (ready) count_waiting(sched, id, true);
    stage_unfinish(sched, id);
}

// Passes by tasks that wait no longer, or in a queue.
static void skip_fresh(const struct sched *sched, struct stage *stage) {
    while (stage->fresh < stage->tasks &&
           sched->tasks[stage->first + stage->fresh].state != TASK_FRESH) {
        stage->fresh++;
    }
}

bool sched_task_restore(struct sched *sched, uint32_t id, uint32_t task, double now) {
    (void)now;
    if (sched->failed || id >= sched->stages_size || task >= sched->stages[id].tasks)
        return false;
    struct stage *stage = &sched->stages[id];
    struct task *restored = stage_task(sched, id, task);
    if (restored->state != TASK_FRESH || restored->attempts > 0) return false;
    bool ready = stage->undone_deps == 0;
    if (ready) count_waiting(sched, id, false);
    restored->state = TASK_DONE;
    stage->waiting--;
    skip_fresh(sched, stage);
    if (ready) count_waiting(sched, id, true);
    sched->done++;
    if (++stage->done == stage->tasks) stage_finish(sched, id);
    return true;
}

bool sched_output_removed(struct sched *sched, uint32_t id, uint32_t task, double now) {
    (void)now;
    if (sched->failed || id >= sched->stages_size || task >= sched->stages[id].tasks)
        return false;
    struct task *lost = stage_task(sched, id, task);
    if (lost->state != TASK_DONE) return false;
    sched->done--;
    sched->stages[id].done--;
    stage_unfinish(sched, id);
    stage_requeue(sched, id, task);
    return true;
}

bool sched_output_lost(struct sched *sched, uint32_t id, uint32_t task, double now) {
    if (!sched_output_removed(sched, id, task, now)) return false;
    struct task *lost = stage_task(sched, id, task);
    if (lost->losses < UINT16_MAX) lost->losses++;
    if (lost->losses >= sched->options.max_losses) fail_losses(sched, id, task);
    return true;
}

void stage_requeue(struct sched *sched, uint32_t id, uint32_t index) {
    struct stage *stage = &sched->stages[id];
    uint32_t at = stage->first + index;
    struct task *task = &sched->tasks[at];
    struct queue *queue = task->alone ? &stage->alone : &stage->retries;
    bool ready = stage->undone_deps == 0;
    task->state = TASK_QUEUED;
    task->next = NIL;
    *(queue->tail == NIL ? &queue->head : &sched->tasks[queue->tail].next) = at;
    queue->tail = at;
    stage->waiting++;
    sched->waiting += ready;
    if (task->alone) {
        stage->waiting_alone++;
        sched->waiting_alone += ready;
    }
    update_bit(sched, id);
}

// Of a ready stage: it waits no longer.
static uint32_t taken(struct sched *sched, uint32_t id, uint32_t at) {
    struct stage *stage = &sched->stages[id];
    stage->waiting--;
    sched->waiting--;
    update_bit(sched, id);
    return at - stage->first;
}

static uint32_t queue_take(struct sched *sched, struct queue *queue, uint32_t before,
                           uint32_t at) {
    uint32_t next = sched->tasks[at].next;
    *(before == NIL ? &queue->head : &sched->tasks[before].next) = next;
    if (queue->tail == at) queue->tail = before;
    return at;
}

uint32_t stage_take(struct sched *sched, uint32_t id, uint32_t *worker) {
    struct stage *stage = &sched->stages[id];
    uint32_t before = NIL, at = stage->retries.head;
    for (int i = 0; i < RETRY_SCAN && at != NIL; i++) {
        const struct task *task = &sched->tasks[at];
        *worker = worker_best(sched, task->avoid, stage->wide);
        if (*worker != NIL)
            return taken(sched, id, queue_take(sched, &stage->retries, before, at));
        before = at;
        at = task->next;
    }
    if (stage->fresh == stage->tasks) return NIL;
    uint32_t task = locality_take(sched, stage, worker);
    if (task == NIL) return NIL;
    if (task == stage->fresh) {
        stage->fresh++;
        skip_fresh(sched, stage);
    }
    return taken(sched, id, stage->first + task);
}

uint32_t stage_take_alone(struct sched *sched, uint32_t id) {
    struct stage *stage = &sched->stages[id];
    uint32_t at = stage->alone.head;
    if (at == NIL) return NIL;
    stage->waiting_alone--;
    sched->waiting_alone--;
    return taken(sched, id, queue_take(sched, &stage->alone, NIL, at));
}
