// A virtual cluster that drives struct sched in one thread: a moved clock, seeded random
// task times, worker deaths and failures. It keeps its own books of what runs where and
// checks every decision against them, so that it finds what the scheduler gets wrong.
#ifndef SHOAL_SCHED_SIM_H
#define SHOAL_SCHED_SIM_H

#include "sched/sched.h"

struct sim_stage {
    uint32_t tasks;
    uint32_t deps[4];
    uint32_t ndeps;
    bool wide;
};

// What else the driver does, at its own cost: called for each attempt that starts and for
// each task that is done. false: it can't go on.
struct sim_driver {
    void *context;
    bool (*start)(void *context, const struct sched_action *action);
    bool (*done)(void *context, uint32_t stage, uint32_t task);
};

struct sim_options {
    uint64_t seed;
    uint32_t workers, slots;
    uint32_t nodes;  // that workers are on by turns, and tasks best run on; 0: none known
    const struct sim_stage *stages;
    uint32_t stages_size;
    // How long an attempt of a task takes; NULL: half a second to one and a half, and
    // stragglers that times straggler_factor (0: one of 64, ten times).
    double (*task_seconds)(const void *context, uint32_t stage, uint32_t task);
    const void *task_context;
    double death_rate;    // of the attempts: how many kill their worker (a new one comes)
    double failure_rate;  // of the attempts: how many fail in a retriable way
    double nomem_rate;    // of the attempts that are not alone: fail for memory
    double late_rate;     // of the attempts lost with a worker: how many still report
    double straggler_rate, straggler_factor;
    // After a task is done, how often: what a random done task made is lost, if it is
    // still needed; a stage that has begun is reset, and those after it that have too.
    double loss_rate, reset_rate;
    bool local_blocks;  // what a worker's tasks made goes with it
    double cancel_at;   // the time to cancel the query at; 0: never
    struct sched_options sched;
    const struct sim_driver *driver;  // NULL: nothing else
    double (*clock)(void);            // NULL: don't measure the time in the scheduler
};

struct sim_result {
    enum sched_action_kind end;  // SCHED_SUCCEEDED or SCHED_FAILED; SCHED_NONE: stuck
    struct shoal_error error;    // when end is SCHED_FAILED
    char violation[256];         // the first broken promise of the scheduler; "" if none
    double seconds;              // virtual
    uint64_t decisions, accepted, deaths, failures, refused, cancels;
    uint64_t near, far;  // attempts on the node where their task is best run, and others
    uint64_t twins, alone, losses, blocked, resets;
    uint64_t undone;       // tasks that were done and had to be done again
    double sched_seconds;  // in the scheduler, by options->clock
    size_t sched_bytes;    // its memory at the end
    uint64_t trace;  // a hash of all decisions with their times: equal for equal runs
};

// Returns false when the simulator itself runs out of memory, or options->driver gave up.
bool sim_run(const struct sim_options *options, struct sim_result *result);

#endif
