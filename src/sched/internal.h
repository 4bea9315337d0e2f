// What the files of src/sched share: the records, and who may change them.
//
// A task's waiting is in stages.c, where it is best run in locality.c, its attempts and
// their workers are in workers.c, what a failure means is in policy.c, and which attempt
// gets a twin is in speculate.c.
#ifndef SHOAL_SCHED_INTERNAL_H
#define SHOAL_SCHED_INTERNAL_H

#include "sched/sched.h"

#define NIL UINT32_MAX
// Task indices of all stages together stay below this, which leaves NIL free.
#define TASKS_MAX (UINT32_MAX / 4)
// Durations up to a second, then eight classes for each doubling, the last one open:
// about 36 hours.
#define DURATION_CLASSES 137

struct cause;

enum task_state {
    TASK_FRESH,   // waits; not started since its stage was made or reset
    TASK_QUEUED,  // waits in one of its stage's queues
    TASK_RUNNING,
    TASK_DONE
};

// A list of task or attempt records by their indices; NIL when empty.
struct queue {
    uint32_t head, tail;
};

struct task {
    struct cause *causes;  // why attempts ended badly, the newest first
    uint32_t attempts;     // the number that the next one gets
    uint32_t avoid;        // number of the worker where it last failed, NIL for none
    uint32_t run;          // a running attempt, NIL for none; its twin may run too
    uint32_t next;         // in a queue of its stage
    uint16_t failures;     // by the task's own fault, since it was done last
    uint16_t deaths;       // workers that died while running it, since it was done last
    uint16_t losses;       // times that what it made was lost
    uint8_t state;
    bool alone;  // its next attempt is to run with nothing beside it
};

enum attempt_state {
    ATTEMPT_LONE,     // runs, in its stage's list
    ATTEMPT_TWINNED,  // runs, as another of its task does
    ATTEMPT_CANCEL,   // its SCHED_CANCEL is still to be given
    ATTEMPT_ENDING    // that was given; it has its slots until it reports
};

struct attempt {
    double since;
    uint32_t stage, task, number;
    uint32_t worker;        // record in workers[]
    uint32_t width;         // slots it holds
    uint32_t twin;          // the other running attempt, NIL for none
    uint32_t chain;         // next in its hash bucket, or next free record
    uint32_t prev, next;    // in its worker's list
    uint32_t older, newer;  // in its stage's list, or among those to cancel
    uint8_t state;
    bool alone;
};

struct stage {
    uint32_t first, tasks;   // its range in tasks[]
    uint32_t fresh;          // the first fresh task, or `tasks`
    uint32_t done;           // tasks
    uint32_t waiting;        // tasks, those that are to run alone too
    uint32_t waiting_alone;  // those alone
    uint32_t undone_deps;
    uint32_t first_attempt;  // of new task records: numbers are never used twice
    uint32_t dependents;     // first edge, NIL at the end
    struct queue retries, alone;
    struct queue lone;  // attempts without a twin, nearly in the order they started
    uint32_t *prefers;  // [tasks], the node where each is best run; NULL: none minds
    bool wide;          // a task takes all slots of an idle worker
    bool finished;
    uint32_t durations[DURATION_CLASSES];  // of attempts that were done
};

struct edge {
    uint32_t stage, next;
};

struct worker {
    uint32_t number;
    uint32_t slots, used;
    uint32_t node;     // NIL: unknown
    uint32_t heap_at;  // NIL when not in the heap
    uint32_t chain;    // next in its hash bucket, or next free record
    struct queue attempts;
};

struct sched {
    struct sched_options options;
    struct task *tasks;
    size_t tasks_size, tasks_capacity;
    struct stage *stages;
    size_t stages_size, stages_capacity;
    struct edge *edges;
    size_t edges_size, edges_capacity;
    uint64_t *runnable;  // a bit a stage: ready, and a task waits
    uint64_t *active;    // a bit a stage: an attempt without a twin runs
    size_t runnable_capacity, active_capacity;
    struct worker *workers;
    size_t workers_size, workers_capacity;
    uint32_t workers_free;  // a list of unused records
    uint32_t usable;        // workers up that have slots at all
    uint64_t slots_up;      // of all workers
    uint32_t *heap;
    size_t heap_size, heap_capacity;
    uint32_t *buckets;  // worker number to record
    size_t bucket_count, workers_up;
    struct attempt *attempts;
    size_t attempts_size, attempts_capacity;
    uint32_t attempts_free;     // a list of unused records
    uint32_t *attempt_buckets;  // stage, task and number to record
    size_t attempt_bucket_count;
    struct queue cancels;      // attempts whose cancel is to be given
    uint64_t running, ending;  // attempts
    uint32_t alone_running;    // attempts, those that end too
    uint64_t waiting;          // tasks of ready stages, all and
    uint64_t waiting_alone;    // those that are to run alone
    uint64_t done;
    uint64_t tasks_counted;  // of all stages, without the records that resizing left
    uint32_t stages_done;
    uint32_t cancel_at;  // workers before this one have nothing left to cancel
    bool failed;
    struct shoal_error error;
};

// ---- stages.c

// array is the address of a pointer to items of any type.
bool sched_reserve(void *array, size_t *capacity, size_t want, size_t item);
struct task *stage_task(const struct sched *sched, uint32_t stage, uint32_t task);
void stage_requeue(struct sched *sched, uint32_t id, uint32_t task);
// Takes a waiting task off a ready stage and says where to run it; NIL when each one that
// was looked at should wait for another worker.
uint32_t stage_take(struct sched *sched, uint32_t id, uint32_t *worker);
// The same for the first task that is to run alone.
uint32_t stage_take_alone(struct sched *sched, uint32_t id);
// Its last task is done, or no task is left to do; or that is no longer so.
void stage_finish(struct sched *sched, uint32_t id);
void stage_unfinish(struct sched *sched, uint32_t id);

// ---- locality.c

// The fresh task of a stage that has one to start now, and the worker for it; NIL when it
// should wait.
uint32_t locality_take(const struct sched *sched, const struct stage *stage,
                       uint32_t *worker);

// ---- workers.c

// Where a retry or a fresh task (avoid: NIL) may start, NIL when it should wait.
uint32_t worker_best(const struct sched *sched, uint32_t avoid, bool wide);
// One with a free slot on the node, among the less loaded ones; NIL: none.
uint32_t worker_on(const struct sched *sched, uint32_t node, bool wide);
// The least loaded worker with a free slot that has neither number.
uint32_t worker_least(const struct sched *sched, uint32_t avoid, uint32_t also);
uint32_t attempt_start(struct sched *sched, uint32_t worker, uint32_t stage,
                       uint32_t task, double now);
uint32_t attempt_find(const struct sched *sched, uint32_t stage, uint32_t task,
                      uint32_t number);
bool attempt_runs(const struct attempt *attempt);
// It is over: gives its slots back. A task it ran for may be left without an attempt.
void attempt_release(struct sched *sched, uint32_t at);
// It no longer counts, and is to be told.
void attempt_cancel(struct sched *sched, uint32_t at);

// ---- policy.c

enum policy {
    POLICY_NEVER,      // a retry cannot help
    POLICY_ELSEWHERE,  // up to max_attempts, on another worker
    POLICY_ALONE,      // once more, with nothing beside it
    POLICY_UNCOUNTED   // not the task's fault
};
enum policy policy_of(shoal_status status);
// Keeps why an attempt ended badly for the final error, as far as memory allows.
void cause_add(struct task *task, uint32_t attempt, uint32_t worker, const char *message);
void cause_free(struct task *task);
// The query is over because of this attempt of the task, the last of those that failed.
void fail_task(struct sched *sched, const struct attempt *attempt, uint32_t worker,
               const struct shoal_error *why);
void fail_poison(struct sched *sched, const struct attempt *attempt, uint32_t worker);
void fail_losses(struct sched *sched, uint32_t stage, uint32_t task);

// ---- speculate.c

void duration_add(struct stage *stage, double seconds);
// An attempt that has run for much longer than its stage's others did, and the worker for
// its twin; NIL when there is none.
uint32_t speculate(const struct sched *sched, double now, uint32_t *worker);

#endif
