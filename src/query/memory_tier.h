// Internal to src/query: how many bytes of a query's blocks may be in memory, and which
// running tasks may write them. Driver thread only.
//
// A task is granted a part of what is left when it starts; what it did not use, or wrote
// in vain, comes back when it ends, and what it used when its files are dropped.
#ifndef SHOAL_QUERY_MEMORY_TIER_H
#define SHOAL_QUERY_MEMORY_TIER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "task/task.h"

struct memory_grant {
    uint64_t task;
    uint32_t attempt, worker;
    uint64_t bytes;
    char *path;  // where the names of its files begin
};

struct memory_tier {
    char *folder;   // of the query; NULL: all blocks go to disk
    uint64_t left;  // bytes that are neither granted nor in files
    struct memory_grant *grants;
    size_t count, capacity;
};

// The folder to make a spool in, and the bytes that blocks may take there: half of what
// is free. asked is --memory-dir; NULL: /dev/shm, if it is in memory and one may write
// there. NULL: there is none.
const char *memory_tier_parent(const char *asked, uint64_t *bytes);

// Makes <spool>/q<query>. Where that can't be, all blocks go to disk.
shoal_status memory_tier_open(struct memory_tier *tier, const char *spool, uint32_t query,
                              uint64_t bytes, struct shoal_error *err);
// Removes the folder and what is in it.
void memory_tier_close(struct memory_tier *tier);

// Grants the task, whose attempt is set, its part of what is left; places is how many
// tasks like it run at once.
shoal_status memory_tier_grant(struct memory_tier *tier, struct task *task,
                               uint32_t worker, uint32_t places, struct shoal_error *err);
// The attempt is over. Files of an output that does not count are removed; NULL: its
// worker removed them.
void memory_tier_settle(struct memory_tier *tier, uint64_t task, uint32_t attempt,
                        const struct task_output *output, bool counts);
// The worker is dead: what its running tasks wrote is removed.
void memory_tier_lose(struct memory_tier *tier, uint32_t worker);
// A file was removed.
void memory_tier_return(struct memory_tier *tier, const struct task_file *file);

#endif
