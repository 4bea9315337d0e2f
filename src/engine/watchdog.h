// Is a task of a worker hung? The rules, without I/O and without a clock: heartbeats and
// the time go in, what to do comes out. Any engine can have one for each worker.
//
// A task goes on while its progress changes, or its process uses 1% of a core or more, or
// its process reads or writes files. One for which none of it was so for hang_seconds, by
// the worker's own clock, is hung. First it is to be cancelled; if it doesn't answer for
// grace_seconds, by the driver's clock, its worker is to be killed. So a task that waits
// beside others that work is seen late, but one that works is never killed.
#ifndef SHOAL_ENGINE_WATCHDOG_H
#define SHOAL_ENGINE_WATCHDOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "task/heartbeat.h"

struct watchdog_options {
    double hang_seconds;  // 0: no task is ever hung
    double grace_seconds;
};

struct watched {
    uint64_t task;
    uint32_t attempt;
    double progress;      // of the last heartbeat; -1: unknown
    double moved;         // by the worker's clock; -1: no heartbeat had it yet
    double still;         // seconds for which nothing has moved
    bool cancelled;       // as it hung
    double cancelled_at;  // by the driver's clock
};

struct watchdog {
    struct watchdog_options options;
    struct watched *tasks;
    size_t count, capacity;
    double time, cpu_seconds;  // of the last heartbeat
    uint64_t io_bytes;
    bool heard;
};

enum watchdog_verdict { WATCHDOG_FINE, WATCHDOG_CANCEL, WATCHDOG_KILL };

// The task was sent to the worker. False when out of memory.
bool watchdog_start(struct watchdog *dog, uint64_t task, uint32_t attempt);
// The worker answered it. True: it was cancelled as it hung, and *was says so.
bool watchdog_end(struct watchdog *dog, uint64_t task, uint32_t attempt,
                  struct watched *was);
void watchdog_hear(struct watchdog *dog, const struct heartbeat *beat);
// What to do now, about which task: until it is WATCHDOG_FINE. A task that is to be
// cancelled counts as cancelled from then on; WATCHDOG_KILL is said again and again.
enum watchdog_verdict watchdog_next(struct watchdog *dog, double now,
                                    struct watched *which);
// Why the task ended, as SHOAL_TIMEOUT. killed: with its worker.
void watchdog_explain(const struct watchdog *dog, const struct watched *task,
                      uint32_t worker, bool killed, struct shoal_error *err);
void watchdog_free(struct watchdog *dog);

#endif
