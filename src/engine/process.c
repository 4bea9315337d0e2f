#include "engine/process.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

int process_spawn(pid_t *pid, const char *program, char *const arguments[],
                  char *const environment[], const struct process_file *files,
                  size_t count) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    for (size_t i = 0; i < count; i++)
        posix_spawn_file_actions_adddup2(&actions, files[i].from, files[i].to);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    int failed =
        posix_spawnp(pid, program, &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed;
}

void process_describe(int status, char *how, size_t size) {
    if (WIFSIGNALED(status)) {
        (void)snprintf(how, size, "killed by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    } else {
        (void)snprintf(how, size, "exited with %d", WEXITSTATUS(status));
    }
}
