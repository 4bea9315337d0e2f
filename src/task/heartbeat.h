// What a worker says of itself once a second, from its I/O thread: that alone proves
// nothing about its tasks, so it brings what tells whether they go on.
#ifndef SHOAL_TASK_HEARTBEAT_H
#define SHOAL_TASK_HEARTBEAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define HEARTBEAT_SLOTS 4096  // a worker has no more

struct heartbeat_task {
    uint64_t task;
    uint32_t attempt;
    double progress;  // percent; -1: its engine does not know
};

struct heartbeat {
    double time;         // the worker's clock, seconds
    double cpu_seconds;  // of the process, all threads
    uint64_t io_bytes;   // that it read and wrote; 0 where the system doesn't say
    struct heartbeat_task *tasks;  // of the busy slots
    size_t count;
};

shoal_status heartbeat_encode(const struct heartbeat *beat, char **json,
                              struct shoal_error *err);
// Of a peer: everything is bounded. Free it with heartbeat_free.
shoal_status heartbeat_decode(const char *json, size_t size, struct heartbeat *beat,
                              struct shoal_error *err);
void heartbeat_free(struct heartbeat *beat);

#endif
