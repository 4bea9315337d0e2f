// What all child processes of the driver share: how they are started, how they ended in
// words.
#ifndef SHOAL_ENGINE_PROCESS_H
#define SHOAL_ENGINE_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

struct process_file {
    int from, to;  // a descriptor here, and the number that it gets there
};

// In its own process group (a terminal's Ctrl-C is for the driver to handle) and without
// the driver's blocked signals. program is looked for in PATH if it has no '/'. Returns 0
// or an errno.
int process_spawn(pid_t *pid, const char *program, char *const arguments[],
                  char *const environment[], const struct process_file *files,
                  size_t count);
// status is waitpid's; at least 64 bytes.
void process_describe(int status, char *how, size_t size);

#endif
