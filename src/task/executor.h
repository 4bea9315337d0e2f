// What executes tasks: DuckDB, or a test's stand-in (DuckDB's library is not
// instrumented, so under TSan a fake runs in its place).
#ifndef SHOAL_TASK_EXECUTOR_H
#define SHOAL_TASK_EXECUTOR_H

#include "duck/duck.h"
#include "task/task.h"

struct executor_options {
    uint32_t threads;        // slots, and DuckDB's threads
    const char *temp_dir;    // of block files and DuckDB's spill; may be NULL
    const char *memory_dir;  // of block files in memory; may be NULL
    const char *job_dir;     // of block files that outlive the run; may be NULL
    // The only folders, beside these, whose files SQL may read and write;
    // allowed_count 0: any.
    const char *const *allowed;
    size_t allowed_count;
    uint64_t memory_bytes;  // for everything in the process; 0: no limit
    uint64_t temp_bytes;    // of spill; 0: no limit
    const char *init_sql;   // run on each connection; may be NULL
};

struct executor;

struct executor_ops {
    shoal_status (*open)(const struct executor_options *options,
                         struct executor **executor, struct shoal_error *err);
    // Slots run at once, each from one thread. output is filled on success; on failure
    // nothing that the task wrote is left.
    shoal_status (*run)(struct executor *executor, uint32_t slot, const struct task *task,
                        struct task_output *output, struct shoal_error *err);
    void (*interrupt)(struct executor *executor, uint32_t slot);  // from any thread
    // Of the slot's task, in percent; -1: unknown. From any thread.
    double (*progress)(struct executor *executor, uint32_t slot);
    void (*close)(struct executor *executor);
    const char *(*version)(void);  // of the engine inside: peers must agree
};

extern const struct executor_ops duck_executor;

// Registers what a statement reads under key; block_release_inputs(key) ends it, also
// after a failure.
shoal_status task_bind_inputs(const struct task_input *inputs, size_t count,
                              const char *key, struct shoal_error *err);

// Runs one task on a connection whose database has the block functions. threads > 1: each
// writes a file of its own. On failure nothing that the task wrote is left.
shoal_status duck_run_task(struct duck_conn *conn, uint32_t threads,
                           const struct task *task, struct task_output *output,
                           struct shoal_error *err);
// The same of a task with copy_options, its inputs bound; a failed one leaves no folder.
shoal_status duck_copy_task(struct duck_conn *conn, const struct task *task,
                            struct task_output *output, struct shoal_error *err);

#endif
