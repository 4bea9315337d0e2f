// Which files the messages of a driver may name: those below the folders that its hello
// told, and of a task that writes for good those in a sink's staging folder. All others
// are refused, whoever sends the message. The user's own files may be bounded too.
#ifndef SHOAL_WORKER_PATHS_H
#define SHOAL_WORKER_PATHS_H

#include "task/executor.h"

#define PATHS_FOLDERS 3

struct paths {
    char *folders[PATHS_FOLDERS];  // of block files; NULL: there is none
    char **allowed;                // of the user's files
    size_t allowed_count;          // 0: anywhere
};

shoal_status paths_open(struct paths *paths, const struct executor_options *options,
                        struct shoal_error *err);
// SHOAL_CORRUPT names the path that no driver may name, SHOAL_USAGE one of the user's
// that is not allowed.
shoal_status paths_check(const struct paths *paths, const struct task *task,
                         struct shoal_error *err);
// Is it a file of the run's, which messages may name? path may be NULL.
bool paths_owns(const struct paths *paths, const char *path);
void paths_close(struct paths *paths);

#endif
