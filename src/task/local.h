// Internal to src/task: a task as this process runs it, whose files are where it keeps
// them (block/places.h). Messages name files as the driver does; what a task writes is
// translated here, once before it runs and once after.
#ifndef SHOAL_TASK_LOCAL_H
#define SHOAL_TASK_LOCAL_H

#include "task/task.h"

struct task_local {
    struct task task;  // as it is to run; borrows from the one it is made of
    char *own[7];      // what it does not borrow
    size_t count;
};

// Where its output, what it writes to memory, its rejects and its pipe are, in its SQL
// too. The folders on the way are made. free it also after a failure.
shoal_status task_local_make(struct task_local *local, const struct task *task,
                             struct shoal_error *err);
void task_local_free(struct task_local *local);
// The names of the files that were written, as the driver has them.
shoal_status task_local_report(struct task_output *output, struct shoal_error *err);

#endif
