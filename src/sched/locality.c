// Which task starts where, when tasks are best run on the node that has what they read.
//
// Problem. What is read from another node costs several times what is read from this one,
// but a slot that waits for the right task costs more than either: Spark's
// spark.locality.wait (3 s) is known for jobs that sleep. So nothing waits here. The next
// task goes to a free slot of its node; when that has none, the slot that is free takes
// the first task of the next few that is best run there, then the first that doesn't
// mind, then the next one. A stage is so never slower for its preferences, and the order
// of tasks changes by no more than those few.
//
// Retries go where they may, and a twin to the least loaded worker: both are rare.
#include <stdlib.h>
#include <string.h>

#include "sched/internal.h"

// Fresh tasks, and records of any, that are looked at: bounds a decision.
#define FRESH_SCAN 64
#define RECORD_SCAN 256

bool sched_prefer(struct sched *sched, uint32_t id, const uint32_t *nodes) {
    struct stage *stage = &sched->stages[id];
    size_t bytes = stage->tasks * sizeof *nodes;
    uint32_t *copy = malloc(bytes + 1);
    if (copy == NULL) return false;
    memcpy(copy, nodes, bytes);
    free(stage->prefers);
    stage->prefers = copy;
    return true;
}

// The fresh task that is best started on that node.
static uint32_t pick(const struct sched *sched, const struct stage *stage,
                     uint32_t node) {
    uint32_t indifferent = NIL;
    uint32_t scan = stage->tasks - stage->fresh;
    if (scan > RECORD_SCAN) scan = RECORD_SCAN;
    for (uint32_t t = stage->fresh, seen = 0; scan > 0 && seen < FRESH_SCAN;
         t++, scan--) {
        if (sched->tasks[stage->first + t].state != TASK_FRESH) continue;
        seen++;
        if (stage->prefers[t] == node) return t;
        if (indifferent == NIL && stage->prefers[t] == NIL) indifferent = t;
    }
    return indifferent == NIL ? stage->fresh : indifferent;
}

uint32_t locality_take(const struct sched *sched, const struct stage *stage,
                       uint32_t *worker) {
    uint32_t prefers = stage->prefers == NULL ? NIL : stage->prefers[stage->fresh];
    *worker = prefers == NIL ? NIL : worker_on(sched, prefers, stage->wide);
    if (*worker != NIL) return stage->fresh;
    *worker = worker_best(sched, NIL, stage->wide);
    if (*worker == NIL) return NIL;
    uint32_t node = sched->workers[*worker].node;
    bool minds = stage->prefers != NULL && node != NIL;
    return minds ? pick(sched, stage, node) : stage->fresh;
}
