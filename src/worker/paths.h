// Which files the messages of a driver may name: those below the folders that its hello
// told, and of a task that writes for good those in a sink's staging folder. All others
// are refused, whoever sends the message.
#ifndef SHOAL_WORKER_PATHS_H
#define SHOAL_WORKER_PATHS_H

#include "task/executor.h"

struct paths {
    char *folders[2];      // of block files; NULL: there is none
    char **allowed;        // of the user's files
    size_t allowed_count;  // 0: anywhere
};

shoal_status paths_open(struct paths *paths, const struct executor_options *options,
                        struct shoal_error *err);
// SHOAL_CORRUPT names the path that may not be.
shoal_status paths_check(const struct paths *paths, const struct task *task,
                         struct shoal_error *err);
void paths_close(struct paths *paths);

#endif
