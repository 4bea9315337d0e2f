#include "engine/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "engine/process.h"

extern char **environ;

// Above all numbers that the child gets its files under: none is overwritten before it is
// copied, even where this program was started without a standard input.
static int lift(int fd) {
    int lifted = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 10);
    if (fd >= 0) close(fd);
    return lifted;
}

static void close_pair(int fds[2]) {
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0) close(fds[i]);
    }
}

// The secret waits in a pipe for the child to read it: no argument and no variable of a
// process is hidden from others.
static shoal_status open_secret(const uint8_t secret[PROOF_SECRET], int *fd,
                                struct shoal_error *err) {
    int ends[2];
    *fd = -1;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return shoal_fail(err, SHOAL_IO, "cannot make a pipe for a worker: %s",
                          strerror(errno));
    bool written = write(ends[1], secret, PROOF_SECRET) == PROOF_SECRET;
    close(ends[1]);
    *fd = lift(ends[0]);
    if (written && *fd >= 0) return SHOAL_OK;
    return shoal_fail(err, SHOAL_IO, "cannot hand a worker the run's secret: %s",
                      strerror(errno));
}

static shoal_status open_pairs(int sockets[2], int logs[2], struct shoal_error *err) {
    sockets[0] = sockets[1] = logs[0] = logs[1] = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
        return shoal_fail(err, SHOAL_IO, "cannot make a socket for a worker: %s",
                          strerror(errno));
    if (pipe2(logs, O_CLOEXEC | O_NONBLOCK) != 0)
        return shoal_fail(err, SHOAL_IO, "cannot make a pipe for a worker: %s",
                          strerror(errno));
    sockets[1] = lift(sockets[1]);
    logs[1] = lift(logs[1]);
    if (sockets[1] < 0 || logs[1] < 0)
        return shoal_fail(err, SHOAL_IO,
                          "cannot open files for a worker: %s; raise the limit "
                          "(ulimit -n)",
                          strerror(errno));
    return SHOAL_OK;
}

// All that live, for child_kill_all: a number is taken out with the same step by which
// the system may give it to another process.
static pthread_mutex_t living_mutex = PTHREAD_MUTEX_INITIALIZER;
static pid_t *living;
static size_t living_count;

static bool make_room_to_live(void) {
    pid_t *more = realloc(living, (living_count + 1) * sizeof *more);
    if (more != NULL) living = more;
    return more != NULL;
}

static bool reap(pid_t pid, int *status, int flags) {
    pthread_mutex_lock(&living_mutex);
    pid_t got = 0;
    while ((got = waitpid(pid, status, flags)) < 0 && errno == EINTR) {
    }
    for (size_t i = 0; got == pid && i < living_count; i++) {
        if (living[i] == pid) living[i] = living[--living_count];
    }
    pthread_mutex_unlock(&living_mutex);
    return got == pid;
}

void child_kill_all(void) {
    pthread_mutex_lock(&living_mutex);
    for (size_t i = 0; i < living_count; i++) kill(living[i], SIGKILL);
    for (size_t i = 0; i < living_count; i++) {
        siginfo_t ignored;
        (void)waitid(P_PID, (id_t)living[i], &ignored, WEXITED | WNOWAIT);
    }
}

static int spawn(pid_t *pid, const char *program, int socket, int log, int secret) {
    char *arguments[] = {
        (char *)(uintptr_t)program, "worker", "--fd", "3", "--secret-fd", "4", NULL};
    const struct process_file files[] = {{log, 1}, {log, 2}, {socket, 3}, {secret, 4}};
    return process_spawn(pid, program, arguments, environ, files,
                         sizeof files / sizeof *files);
}

shoal_status child_start(struct child *child, const char *program,
                         const uint8_t secret[PROOF_SECRET], struct shoal_error *err) {
    int sockets[2], logs[2], secret_fd = -1;
    *child = (struct child){.fd = -1, .log_fd = -1};
    shoal_status status = open_pairs(sockets, logs, err);
    if (status == SHOAL_OK) status = open_secret(secret, &secret_fd, err);
    if (status == SHOAL_OK) {
        pthread_mutex_lock(&living_mutex);
        int failed = fault_at(FAULT_ENGINE_SPAWN, program);
        if (failed == 0 && !make_room_to_live()) failed = ENOMEM;
        if (failed == 0)
            failed = spawn(&child->pid, program, sockets[1], logs[1], secret_fd);
        if (failed == 0) living[living_count++] = child->pid;
        pthread_mutex_unlock(&living_mutex);
        if (failed != 0)
            status = shoal_fail(err, SHOAL_IO, "cannot start a worker (%s): %s", program,
                                strerror(failed));
    }
    if (secret_fd >= 0) close(secret_fd);
    if (status != SHOAL_OK) {
        child->pid = 0;
        close_pair(sockets);
        close_pair(logs);
        return status;
    }
    close(sockets[1]);
    close(logs[1]);
    child->fd = sockets[0];
    child->log_fd = logs[0];
    return SHOAL_OK;
}

void child_read_log(struct child *child) {
    log_tail_read(&child->log, &child->log_fd);
}

static void reaped(struct child *child, int status, char *how, size_t size) {
    child_read_log(child);
    process_describe(status, how, size);
    close(child->fd);
    if (child->log_fd >= 0) close(child->log_fd);
    child->fd = child->log_fd = -1;
    child->pid = 0;
}

static bool has_ended(struct child *child, char *how, size_t size) {
    int status = 0;
    if (!reap(child->pid, &status, WNOHANG)) return false;
    reaped(child, status, how, size);
    return true;
}

void child_end(struct child *child, double patience, char *how, size_t size) {
    double until = clock_seconds() + patience;
    while (patience > 0 && clock_seconds() < until) {
        if (has_ended(child, how, size)) return;
        struct pollfd log = {.fd = child->log_fd, .events = POLLIN};
        poll(&log, 1, 10);
        child_read_log(child);
    }
    int status = 0;
    kill(child->pid, SIGKILL);
    (void)reap(child->pid, &status, 0);
    reaped(child, status, how, size);
}
