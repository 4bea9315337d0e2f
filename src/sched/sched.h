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
    uint32_t max_losses;  // what one task made, lost so often, stops the query (default
                          // 5)
    bool no_speculation;  // no twins
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
    bool twin;   // another attempt of the task runs; the first that is done counts
    bool alone;  // nothing else runs on any worker meanwhile
};

struct sched_progress {
    uint32_t stages_done, stages;
    uint64_t tasks_done, tasks;
    uint64_t tasks_waiting;    // for a slot, of stages that are ready
    uint64_t tasks_running;    // attempts, twins too
    uint64_t attempts_ending;  // told to cancel, or about to be, and not ended yet
};

struct sched *sched_new(const struct sched_options *options);
void sched_free(struct sched *sched);
// A stage with its task count (>= 1) and the stages it must wait for (ids already added).
// Each task of a wide stage takes all slots of a worker, of a narrow one a single slot.
// Returns its id, UINT32_MAX when out of memory.
uint32_t sched_add_stage(struct sched *sched, uint32_t tasks, bool wide,
                         const uint32_t *deps, size_t ndeps);

// Gives a stage another count of tasks before any of it has started, or after a reset;
// one of 0 is over when those that it waits for are. False when a task has started, or
// when out of memory.
bool sched_resize_stage(struct sched *sched, uint32_t stage, uint32_t tasks, bool wide);
// All tasks of the stage are to run again, done or not: stages that depend on it start
// none until they are done. Each running attempt gets one SCHED_CANCEL, and what it still
// reports is refused. Of a stage that did not begin, or without tasks, nothing changes.
void sched_reset_stage(struct sched *sched, uint32_t stage, double now);
// A task that was done before this process began is done, whether or not its stage is
// ready. False when it was ever started here.
bool sched_task_restore(struct sched *sched, uint32_t stage, uint32_t task, double now);
// What a done task made is gone: it runs again, and stages that depend on its own start
// no task until it is done; those that run go on. False when the task is not done.
bool sched_output_lost(struct sched *sched, uint32_t stage, uint32_t task, double now);
// The same of what the driver removed, as no task needed it any more: not counted.
bool sched_output_removed(struct sched *sched, uint32_t stage, uint32_t task, double now);

void sched_worker_up(struct sched *sched, uint32_t worker, uint32_t slots, double now);
// The worker is on that node; SCHED_ANYWHERE until this is told.
#define SCHED_ANYWHERE UINT32_MAX
void sched_worker_at(struct sched *sched, uint32_t worker, uint32_t node);
// Where each of the stage's tasks is best run, nodes[tasks], or SCHED_ANYWHERE. It starts
// there if a slot is free there, and else where one is: nothing waits for it
// (locality.c). Copied; forgotten when the stage gets another count of tasks. False when
// out of memory.
bool sched_prefer(struct sched *sched, uint32_t stage, const uint32_t *nodes);
// The worker is gone: its running tasks are retried elsewhere; blame them for poison.
void sched_worker_down(struct sched *sched, uint32_t worker, double now);

// Reports of attempts. False when the attempt does not count: it was cancelled, or its
// worker died. Report those that were cancelled too: until then their slots are in use.
bool sched_task_done(struct sched *sched, uint32_t stage, uint32_t task, uint32_t attempt,
                     double now);
// why->status says whether it is tried again and where (policy.c).
bool sched_task_failed(struct sched *sched, uint32_t stage, uint32_t task,
                       uint32_t attempt, const struct shoal_error *why, double now);
// It failed since something it reads is gone (sched_output_lost() was told before): runs
// again once that is there, and this is not counted.
bool sched_task_blocked(struct sched *sched, uint32_t stage, uint32_t task,
                        uint32_t attempt, double now);
void sched_cancel(struct sched *sched, double now);

// now is in seconds, of a clock that only goes forward. As a task may become slow enough
// for a twin without any event, ask once a second too.
struct sched_action sched_next(struct sched *sched, double now);
void sched_progress(const struct sched *sched, struct sched_progress *progress);
const struct shoal_error *sched_error(const struct sched *sched);
// The memory it holds, but for the causes of failures.
size_t sched_bytes(const struct sched *sched);

#endif
