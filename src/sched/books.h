// The simulator's own books of a virtual cluster: what runs where, what is done and where
// its output is. They follow from what the simulator does and never from what the
// scheduler says, and check every decision of it.
#ifndef SHOAL_SCHED_BOOKS_H
#define SHOAL_SCHED_BOOKS_H

#include "sched/sim.h"

#define BOOKS_NIL UINT32_MAX
// Of durations: 16 for each doubling, from a 64th of a second.
#define BOOKS_CLASSES 512

enum books_state {
    BOOKS_RUNNING,
    BOOKS_DOOMED,  // must be cancelled before the scheduler has nothing to do
    BOOKS_ENDING,  // was cancelled, and holds its slots until it reports
    BOOKS_OVER     // it reported or its worker died
};

struct books_attempt {
    double since;
    uint32_t task;  // in books->tasks
    uint32_t number, worker, width;
    uint32_t events;  // of the simulator that are still to happen for it
    uint32_t free;    // next free record
    enum books_state state;
    bool alone;
};

struct books_task {
    uint32_t stage, index;
    uint32_t attempts;    // the least number that the next one may have
    uint32_t run[2];      // attempts that run or are doomed
    uint32_t home;        // the worker that has its output, BOOKS_NIL when lost
    uint32_t next, prev;  // at that worker
    uint32_t prefers;     // the node where it is best run, BOOKS_NIL: any
    bool done, gone;      // gone: and its output was not needed
    bool started;         // since the stage was made or reset
    bool alone;           // is to run alone
};

struct books_stage {
    uint32_t first, tasks, capacity;  // its range in books->tasks
    uint32_t done, fresh, gone;
    uint32_t waiting_alone;
    uint32_t *durations;  // of attempts that were done, by class
    uint64_t durations_all;
    bool wide;
};

struct books_worker {
    uint32_t used;
    uint32_t outputs;  // the first task's
    bool up;
};

struct books {
    const struct sim_options *options;
    char *violation;  // 256 bytes, the first one
    struct books_stage *stages;
    struct books_task *tasks;
    struct books_attempt *attempts;
    size_t attempts_size, attempts_capacity;
    uint32_t attempts_free;
    struct books_worker *workers;
    uint32_t *places;  // of each worker, as many as it has slots: its attempts
    size_t workers_size, workers_capacity;
    uint64_t slots_up, slots_free, idle;  // idle: workers up that run nothing
    uint64_t doomed, alone;               // attempts
    uint64_t accepted, undone;            // tasks done, and those of them to do again
    bool cancelled;
};

void books_violated(struct books *books, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool books_open(struct books *books, const struct sim_options *options, char *violation);
void books_close(struct books *books);

bool books_worker_up(struct books *books, uint32_t *worker);
// Its attempts are over; its outputs are the caller's to lose.
void books_worker_down(struct books *books, uint32_t worker);

// Checks the decision. *attempt is the new one, BOOKS_NIL after a violation. False when
// out of memory.
bool books_start(struct books *books, const struct sched_action *action, double now,
                 uint32_t *attempt);
// BOOKS_NIL after a violation; over: the query is.
uint32_t books_cancel(struct books *books, const struct sched_action *action, bool over);
// The scheduler has nothing to do: is that so?
void books_check_none(struct books *books);
void books_check_end(struct books *books, const struct sched_progress *progress,
                     enum sched_action_kind end);

// An attempt's task is done, its twin doomed.
void books_done(struct books *books, uint32_t attempt, double now);
// It ended without that. Its task waits if no other runs; alone: to run alone.
void books_ended(struct books *books, uint32_t attempt, bool alone);
// One of the simulator's events for it is over.
void books_forget(struct books *books, uint32_t attempt);

bool books_ready(const struct books *books, uint32_t stage);
bool books_depends(const struct books *books, uint32_t stage, uint32_t on);
// Does a stage that reads its output still have tasks to do?
bool books_needed(const struct books *books, uint32_t stage);
bool books_begun(const struct books *books, uint32_t stage);
// Its output is not on its worker any more.
void books_unhome(struct books *books, struct books_task *task);
void books_undone(struct books *books, struct books_task *task);
void books_reset(struct books *books, uint32_t stage, uint32_t tasks);

#endif
