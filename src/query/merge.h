// Files of about the size that FILE_SIZE_BYTES says: each task that wrote left small
// ones, in each partition that it had rows of. Staged files that are too small, or too
// large, are put together and cut into files of equal rows, by further tasks.
#ifndef SHOAL_QUERY_MERGE_H
#define SHOAL_QUERY_MERGE_H

#include "query/sink.h"

// A task: SELECTs of rows of some staged files, into one new file.
struct merge_job {
    char *sql;
    size_t group;
};

// Neighbours among the staged files that become `outputs` new ones.
struct merge_group {
    size_t first, count;
    uint32_t outputs;
};

struct merge {
    struct merge_group *groups;  // in the order of the staged files
    size_t group_count;
    struct merge_job *jobs;  // in the order of the groups
    size_t job_count;
};

// What is to be done now; no jobs: nothing. Without an order of the rows, small files of
// a folder become neighbours first. Free with merge_free in any case.
shoal_status merge_plan(struct sink *sink, struct merge *merge, struct shoal_error *err);
// Makes the task the one that does the job; its output is set. False: out of memory.
bool merge_task(const struct sink *sink, const struct merge *merge, size_t job,
                struct task *task);
// Puts what the jobs wrote, [job_count], in the place of what they read, which is
// removed.
shoal_status merge_take(struct sink *sink, const struct merge *merge,
                        const struct task_file *written, struct shoal_error *err);
void merge_free(struct merge *merge);

#endif
