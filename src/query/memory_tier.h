// Internal to src/query: how many bytes of a query's blocks may be in memory, and which
// running tasks may write them. Driver thread only.
//
// A task is granted a part of what is left when it starts; what it did not use, or wrote
// in vain, comes back when it ends, and what it used when its files are dropped. Those
// files are kept as spares for a while, and lent to tasks that will write as much.
#ifndef SHOAL_QUERY_MEMORY_TIER_H
#define SHOAL_QUERY_MEMORY_TIER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "query/spares.h"
#include "task/task.h"

struct memory_grant {
    uint64_t task;
    uint32_t attempt, worker;
    uint64_t bytes;
    char *path;     // where the names of its files begin
    uint32_t lent;  // spares, named BLOCK_SPARE from 0 on
};

struct memory_tier {
    char *folder;       // of the query; NULL: all blocks go to disk
    uint64_t left;      // bytes that are neither granted nor in files; spares have some
    const char *spool;  // the caller's,
    struct spares *spares;  // and those that are in it
    struct memory_grant *grants;
    size_t count, capacity;
};

// The folder to make a spool in, and the bytes that blocks may take there: half of what
// is free. asked is --memory-dir; NULL: /dev/shm, if it is in memory and one may write
// there. NULL: there is none.
const char *memory_tier_parent(const char *asked, uint64_t *bytes);

// Makes <spool>/q<query>. Where that can't be, all blocks go to disk. spool and spares
// must outlive the tier.
shoal_status memory_tier_open(struct memory_tier *tier, const char *spool, uint32_t query,
                              uint64_t bytes, struct spares *spares,
                              struct shoal_error *err);
// Removes the folder and what is in it.
void memory_tier_close(struct memory_tier *tier);

// What is known of a task that asks.
struct memory_need {
    uint32_t places;  // how many like it run at once
    uint32_t files;   // that it writes, at most
    uint64_t bytes;   // of each, about; 0: that isn't known yet
};
// Grants the task, whose attempt is set, its part of what is left.
shoal_status memory_tier_grant(struct memory_tier *tier, struct task *task,
                               uint32_t worker, const struct memory_need *need,
                               struct shoal_error *err);
// The attempt is over. Files of an output that does not count are removed; NULL: its
// worker removed them.
void memory_tier_settle(struct memory_tier *tier, uint64_t task, uint32_t attempt,
                        const struct task_output *output, bool counts);
// The worker is dead: what its running tasks wrote is removed.
void memory_tier_lose(struct memory_tier *tier, uint32_t worker);
// A file that no task reads any more becomes a spare. False: it is none.
bool memory_tier_keep(struct memory_tier *tier, const struct task_file *file);
// A file is gone.
void memory_tier_return(struct memory_tier *tier, const struct task_file *file);

#endif
