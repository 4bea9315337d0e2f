// Which tasks a worker was sent, and what may come back of each: outputs that lie where
// they were asked for, and nowhere else. The driver reads, moves and removes files by
// these names.
#ifndef SHOAL_ENGINE_ASSIGNED_H
#define SHOAL_ENGINE_ASSIGNED_H

#include "task/task.h"

struct assignment {
    uint64_t task;
    uint32_t attempt;
    bool copies;  // it writes files for good
    char *output, *memory_output, *rejects;
};

struct assigned {
    struct assignment *tasks;
    size_t count, capacity;
};

// False when out of memory.
bool assigned_add(struct assigned *assigned, const struct task *task);
// The worker's answer came: SHOAL_CORRUPT when it was not asked, or output, not NULL, is
// not what was asked for. The task is not assigned any more.
shoal_status assigned_end(struct assigned *assigned, uint64_t task, uint32_t attempt,
                          const struct task_output *output, struct shoal_error *err);
void assigned_free(struct assigned *assigned);

#endif
