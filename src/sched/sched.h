// The scheduler: a pure state machine of stages and tasks. It does no I/O, starts no
// thread and reads no clock: events and the time come in, decisions come out through
// sched_next().
#ifndef SHOAL_SCHED_SCHED_H
#define SHOAL_SCHED_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct sched;

struct sched_options {
    uint32_t max_attempts;          // of one task by its own fault (default 3)
    uint32_t poison_worker_deaths;  // a task that was running in this many dying workers
                                    // stops the query (default 3)
};

enum sched_action_kind {
    SCHED_NONE,       // nothing to do now
    SCHED_RUN,        // send task (stage, index, attempt) to worker
    SCHED_CANCEL,     // tell worker to cancel task attempt
    SCHED_SUCCEEDED,  // all stages done
    SCHED_FAILED,     // see sched_error()
};

struct sched_action {
    enum sched_action_kind kind;
    uint32_t worker;
    uint32_t stage;
    uint32_t task;  // index in its stage
    uint32_t attempt;
};

struct sched_progress {
    uint32_t stages_done, stages;
    uint64_t tasks_done, tasks_running, tasks;
};

struct sched *sched_new(const struct sched_options *options);
void sched_free(struct sched *sched);
// A stage with its task count (>= 1) and the stages it must wait for (ids already added).
// Each task of a wide stage takes all slots of a worker, of a narrow one a single slot.
// Returns its id, UINT32_MAX when out of memory.
uint32_t sched_add_stage(struct sched *sched, uint32_t tasks, bool wide,
                         const uint32_t *deps, size_t ndeps);

// Gives a stage another count of tasks before any of it has started; one of 0 is over
// when those that it waits for are. False when a task has started, or when out of memory.
bool sched_resize_stage(struct sched *sched, uint32_t stage, uint32_t tasks, bool wide);

void sched_worker_up(struct sched *sched, uint32_t worker, uint32_t slots, double now);
// The worker is gone: its running tasks are retried elsewhere; blame them for poison.
void sched_worker_down(struct sched *sched, uint32_t worker, double now);
// Stale attempts (not the running one) are ignored: returns false then.
bool sched_task_done(struct sched *sched, uint32_t stage, uint32_t task, uint32_t attempt,
                     double now);
bool sched_task_failed(struct sched *sched, uint32_t stage, uint32_t task,
                       uint32_t attempt, const struct shoal_error *why, double now);
void sched_cancel(struct sched *sched, double now);

struct sched_action sched_next(struct sched *sched, double now);
void sched_progress(const struct sched *sched, struct sched_progress *progress);
const struct shoal_error *sched_error(const struct sched *sched);

#endif
