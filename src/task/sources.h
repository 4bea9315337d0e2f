// Internal to src/task: files of the user's that a task reads, in its message.
#ifndef SHOAL_TASK_SOURCES_H
#define SHOAL_TASK_SOURCES_H

#include <jansson.h>

#include "task/task.h"

json_t *sources_to_json(const struct task *task);
// list NULL: the task reads none.
shoal_status sources_from_json(const json_t *list, struct task *task,
                               struct shoal_error *err);

#endif
