#include "support/fake_executor.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct executor {
    atomic_bool interrupted[64];
};

static shoal_status fake_open(const struct executor_options *options,
                              struct executor **executor, struct shoal_error *err) {
    if (options->init_sql != NULL && strcmp(options->init_sql, "bad") == 0) {
        return shoal_fail(err, SHOAL_USER, "the init file is bad");
    }
    *executor = calloc(1, sizeof **executor);
    return *executor == NULL ? SHOAL_NOMEM : SHOAL_OK;
}

static shoal_status fake_run(struct executor *executor, uint32_t slot,
                             const struct task *task, struct task_output *output,
                             struct shoal_error *err) {
    atomic_store(&executor->interrupted[slot], false);
    if (strcmp(task->sql, "fail") == 0) {
        return shoal_fail(err, SHOAL_USER, "task %d failed as told", (int)task->id);
    }
    if (strcmp(task->sql, "die") == 0) {
        fprintf(stderr, "last words\n");
        raise(SIGKILL);
    }
    if (strcmp(task->sql, "disk") == 0) {
        fprintf(stderr, "what the log says\n");
        return shoal_fail(err, SHOAL_DISK_FULL, "no space");
    }
    if (strcmp(task->sql, "memory") == 0) return shoal_no_memory(err);
    while (strcmp(task->sql, "deaf") == 0) pause();
    while (strcmp(task->sql, "busy") == 0 && !atomic_load(&executor->interrupted[slot])) {
    }
    if (strcmp(task->sql, "stop") == 0) raise(SIGSTOP);
    while (strcmp(task->sql, "sleep") == 0) {
        struct timespec nap = {0, 50000000};  // so few that none takes it for work
        nanosleep(&nap, NULL);
        if (atomic_load(&executor->interrupted[slot])) {
            return shoal_fail(err, SHOAL_CANCELLED, "interrupted");
        }
    }
    output->partitions = task->partitions;
    output->files = calloc(1, sizeof *output->files);
    output->count = 1;
    output->files[0].path = strdup(task->output);
    uint64_t rows[4] = {0};
    rows[task->id % 4] = task->id;
    output->files[0].bytes = 100;
    if (!sizes_make(&output->files[0].rows, rows, 4)) return shoal_no_memory(err);
    return SHOAL_OK;
}

static void fake_interrupt(struct executor *executor, uint32_t slot) {
    atomic_store(&executor->interrupted[slot], true);
}

static double fake_progress(struct executor *executor, uint32_t slot) {
    (void)executor;
    (void)slot;
    return 50;
}

static void fake_close(struct executor *executor) {
    free(executor);
}

static const char *fake_version(void) {
    return getenv("FAKE_VERSION") ? getenv("FAKE_VERSION") : "v1";
}

const struct executor_ops fake_executor = {.open = fake_open,
                                           .run = fake_run,
                                           .interrupt = fake_interrupt,
                                           .progress = fake_progress,
                                           .close = fake_close,
                                           .version = fake_version};
