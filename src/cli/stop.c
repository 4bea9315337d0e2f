#include "cli/stop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define TICK 0.2         // seconds between looks at the output
#define NAP 0.05         // between interrupts
#define SECOND_SIGNAL 1  // a signal that comes earlier is the same key, held down
#define PATIENCE 1.5     // with what hears no interrupt

enum reason { REASON_NONE, REASON_SIGNAL, REASON_TIMEOUT, REASON_READER };

volatile sig_atomic_t stop_asked;

static atomic_int reason;
static double timeout_seconds;  // written before the thread starts
static double deadline;         // 0: none
static sigset_t signals;
static atomic_int output_fd = -1;
static atomic_bool ending;

// Guards what the thread uses of the main one's.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct session *running;
static char part_path[PATH_MAX];

static shoal_status explain(struct shoal_error *err) {
    switch (atomic_load(&reason)) {
        case REASON_TIMEOUT:
            return shoal_fail(err, SHOAL_TIMEOUT,
                              "timeout: cancelled after %g s (--timeout)",
                              timeout_seconds);
        case REASON_READER:
            return shoal_fail(err, SHOAL_IO,
                              "cancelled: whoever read the output has closed it");
        default:
            return shoal_fail(err, SHOAL_CANCELLED, "cancelled");
    }
}

shoal_status stop_explain(shoal_status status, struct shoal_error *err) {
    if (status == SHOAL_OK || atomic_load(&reason) == REASON_NONE) return status;
    return explain(err);
}

static void end_at_once(void) {
    struct shoal_error err;
    shoal_status status = explain(&err);
    session_abandon();
    pthread_mutex_lock(&mutex);
    if (*part_path != '\0') unlink(part_path);
    char line[200];
    int size = snprintf(line, sizeof line, "shoal: %.180s\n", err.message);
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)size);
    (void)ignored;
    _exit(status == SHOAL_TIMEOUT ? 124 : status == SHOAL_CANCELLED ? 130 : 3);
}

bool stop_now(void) {
    if (!stop_asked) return false;
    pthread_mutex_lock(&mutex);
    bool late = running != NULL && session_is_committed(running);
    pthread_mutex_unlock(&mutex);
    return !late;
}

static bool reader_is_gone(void) {
    struct pollfd out = {.fd = atomic_load(&output_fd)};
    return poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

// True: a signal came.
static bool wait_for_signal(double seconds) {
    struct timespec nap = {(time_t)seconds,
                           (long)((seconds - (double)(time_t)seconds) * 1e9)};
    return sigtimedwait(&signals, NULL, &nap) > 0;
}

static enum reason wait_for_reason(void) {
    for (;;) {
        double left = deadline > 0 ? deadline - clock_seconds() : TICK;
        if (left <= 0) return REASON_TIMEOUT;
        if (wait_for_signal(left < TICK ? left : TICK)) return REASON_SIGNAL;
        if (reader_is_gone()) return REASON_READER;
    }
}

static void *watch(void *argument) {
    (void)argument;
    atomic_store(&reason, wait_for_reason());
    stop_asked = 1;
    double start = clock_seconds();
    for (;;) {
        pthread_mutex_lock(&mutex);
        if (running != NULL) session_interrupt(running);
        pthread_mutex_unlock(&mutex);
        bool signal = wait_for_signal(NAP);
        double passed = clock_seconds() - start;
        if ((signal && passed > SECOND_SIGNAL) ||
            (passed > PATIENCE && !atomic_load(&ending)))
            end_at_once();
    }
    return NULL;
}

shoal_status stop_start(double timeout, struct shoal_error *err) {
    pthread_t thread;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    timeout_seconds = timeout;
    deadline = timeout > 0 ? clock_seconds() + timeout : 0;
    int failed = pthread_create(&thread, NULL, watch, NULL);
    if (failed != 0) {
        return shoal_fail(err, SHOAL_IO, "cannot start a thread: %s", strerror(failed));
    }
    pthread_detach(thread);
    return SHOAL_OK;
}

void stop_tell_session(struct session *session) {
    pthread_mutex_lock(&mutex);
    running = session;
    pthread_mutex_unlock(&mutex);
}

void stop_tell_output(int fd) {
    atomic_store(&output_fd, fd);
}

void stop_tell_part(const char *path) {
    pthread_mutex_lock(&mutex);
    (void)snprintf(part_path, sizeof part_path, "%s", path == NULL ? "" : path);
    pthread_mutex_unlock(&mutex);
}

void stop_tell_ending(void) {
    atomic_store(&ending, true);
}
