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

static bool count_sizes(const struct run *run, uint32_t exchange,
                        struct exchange_stats *stats) {
    uint32_t partitions = run->partitions[exchange];
    stats->partition_rows = calloc(partitions + 1, sizeof(uint64_t));
    stats->partition_bytes = calloc(partitions + 1, sizeof(uint64_t));
    if (stats->partition_rows == NULL || stats->partition_bytes == NULL) return false;
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        if (run->stages->stages[s].exchange != exchange) continue;
        for (size_t f = 0; f < run->runs[s].file_count; f++) {
            const struct task_file *file = &run->runs[s].files[f];
            stats->bytes += file->bytes;
            sizes_add_to(&file->rows, stats->partition_rows);
            task_file_add_bytes(file, stats->partition_bytes);
        }
    }
    for (uint32_t p = 0; p < partitions; p++) stats->rows += stats->partition_rows[p];
    return true;
}

const struct exchange_stats *run_exchange_sizes(struct run *run, uint32_t exchange) {
    struct exchange_stats *stats = &run->exchanges[exchange];
    bool known = stats->partition_bytes != NULL;
    return known || count_sizes(run, exchange, stats) ? stats : NULL;
}

void exchange_stats_free(struct exchange_stats *stats) {
    free(stats->keys);
    free(stats->partition_rows);
    free(stats->partition_bytes);
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
        stage->file_memory += output->files[i].memory;
    }
    stage->file_count = count;
    output->count = 0;
    return SHOAL_OK;
}

bool run_is_ready(const struct run *run, uint32_t stage) {
    for (uint32_t s = 0; s < stage; s++) {
        if (run->runs[s].done < run->runs[s].tasks &&
            stage_reads(&run->stages->stages[stage], run->stages->stages[s].exchange))
            return false;
    }
    return true;
}
