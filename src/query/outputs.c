// What the driver keeps of the tasks that are done: which files they wrote, about how
// many rows each partition of a file has, and one sketch of an exchange's keys.
#include <stdlib.h>
#include <string.h>

#include "query/run.h"

void run_learn_keys(struct run *run, uint32_t stage, struct task_output *output) {
    uint32_t exchange = run->stages->stages[stage].exchange;
    for (size_t i = 0; i < output->count; i++) {
        struct sketch *keys = output->files[i].keys;
        if (keys == NULL || exchange >= run->stages->exchange_count) continue;
        struct exchange_stats *stats = &run->exchanges[exchange];
        output->files[i].keys = NULL;
        if (stats->keys == NULL) {
            stats->keys = keys;
        } else {
            sketch_merge(stats->keys, keys);
            free(keys);
        }
    }
}

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
