// What the driver keeps of the tasks that are done: which files they wrote, and about how
// many rows each partition of a file has.
#include <stdlib.h>
#include <string.h>

#include "query/run.h"

// The files of one task stay together, behind those of the tasks before it.
shoal_status run_keep_files(struct stage_run *stage, uint32_t task,
                            struct task_output *output, struct shoal_error *err) {
    size_t count = stage->file_count + output->count;
    struct task_file *files = realloc(stage->files, (count + 1) * sizeof *files);
    if (files == NULL) return shoal_no_memory(err);
    stage->files = files;
    uint32_t *tasks = realloc(stage->file_tasks, (count + 1) * sizeof *tasks);
    if (tasks == NULL) return shoal_no_memory(err);
    stage->file_tasks = tasks;
    size_t at = stage->file_count;
    while (at > 0 && tasks[at - 1] > task) at--;
    size_t behind = stage->file_count - at;
    memmove(files + at + output->count, files + at, behind * sizeof *files);
    memmove(tasks + at + output->count, tasks + at, behind * sizeof *tasks);
    for (size_t i = 0; i < output->count; i++) {
        files[at + i] = output->files[i];
        tasks[at + i] = task;
    }
    stage->file_count = count;
    output->count = 0;
    return SHOAL_OK;
}
