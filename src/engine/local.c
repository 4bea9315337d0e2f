// Workers as child processes over socketpairs. The engine owns its children wholly: each
// is reaped here, whatever way it ends, and closing the engine leaves none behind. A
// child that dies is replaced under a new number, within a budget: what an old number
// still says can then never be taken for the new one's.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/frame.h"
#include "base/json.h"
#include "engine/engine.h"
#include "shoal/version.h"

#define TAIL 2048          // of a worker's stderr, for the error that names its end
#define SILENT_SECONDS 30  // without a heartbeat: the worker is taken for dead
#define PROTOCOL 2

struct child {
    pid_t pid;
    uint32_t number;
    int fd;      // socket; -1 once the child is gone
    int log_fd;  // its stderr
    bool up;
    double heard;
    struct frame_writer writer;
    struct frame_reader reader;
    char tail[TAIL + 1];
    size_t tail_size;
};

struct local {
    struct engine engine;
    struct engine_options options;
    char *hello;  // the frame that opens each worker
    char *program;
    char *version;
    struct child *children;
    size_t count;
    uint32_t next_number;
    uint32_t replacements_left;
    struct engine_event *events;  // a queue: [first, last)
    size_t first, last, capacity;
};

extern char **environ;

static struct engine_event *push(struct local *local, enum engine_event_kind kind,
                                 uint32_t worker) {
    if (local->last == local->capacity) {
        if (local->first > 0) {
            memmove(local->events, local->events + local->first,
                    (local->last - local->first) * sizeof *local->events);
            local->last -= local->first;
            local->first = 0;
        } else {
            size_t capacity = local->capacity ? local->capacity * 2 : 64;
            struct engine_event *events =
                realloc(local->events, capacity * sizeof *events);
            if (events == NULL) return NULL;
            local->events = events;
            local->capacity = capacity;
        }
    }
    struct engine_event *event = &local->events[local->last++];
    memset(event, 0, sizeof *event);
    event->kind = kind;
    event->worker = worker;
    return event;
}

static void close_pair(int fds[2]) {
    close(fds[0]);
    close(fds[1]);
}

static shoal_status spawn(struct local *local, struct child *child,
                          struct shoal_error *err) {
    int sockets[2], logs[2];
    *child = (struct child){.fd = -1, .log_fd = -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
        return shoal_fail(err, SHOAL_IO, "cannot make a socket for a worker: %s",
                          strerror(errno));
    }
    if (pipe2(logs, O_CLOEXEC | O_NONBLOCK) != 0) {
        shoal_fail(err, SHOAL_IO, "cannot make a pipe for a worker: %s", strerror(errno));
        close_pair(sockets);
        return SHOAL_IO;
    }
    char *arguments[] = {local->program, "worker", "--fd", "3", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, logs[1], 1);
    posix_spawn_file_actions_adddup2(&actions, logs[1], 2);
    posix_spawn_file_actions_adddup2(&actions, sockets[1], 3);
    // Its own process group: a terminal's Ctrl-C is for the driver to handle.
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    int failed = fault_at(FAULT_ENGINE_SPAWN, local->program);
    if (failed == 0)
        failed = posix_spawn(&child->pid, local->program, &actions, &attributes,
                             arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(sockets[1]);
    close(logs[1]);
    if (failed != 0) {
        close(sockets[0]);
        close(logs[0]);
        return shoal_fail(err, SHOAL_IO, "cannot start a worker (%s): %s", local->program,
                          strerror(failed));
    }
    struct timeval patience = {.tv_sec = 10};
    setsockopt(sockets[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    child->fd = sockets[0];
    child->log_fd = logs[0];
    child->number = local->next_number++;
    child->heard = clock_seconds();
    child->writer = (struct frame_writer){.fd = child->fd, .point = FAULT_DRIVER_SEND};
    struct shoal_error
        ignored;  // a child that is gone already is found by its closed socket
    frame_send(&child->writer, FRAME_HELLO, local->hello, strlen(local->hello), &ignored);
    return SHOAL_OK;
}

static void read_log(struct child *child) {
    char bytes[1024];
    for (;;) {
        ssize_t got = read(child->log_fd, bytes, sizeof bytes);
        if (got <= 0) return;
        size_t size = (size_t)got;
        if (child->tail_size + size > TAIL) {
            size_t drop = child->tail_size + size - TAIL;
            memmove(child->tail, child->tail + drop, child->tail_size - drop);
            child->tail_size -= drop;
        }
        memcpy(child->tail + child->tail_size, bytes, size);
        child->tail_size += size;
        child->tail[child->tail_size] = '\0';
    }
}

// Ends and reaps the child; why, when given, gets the reason.
static void bury(struct child *child, const char *known, struct shoal_error *why) {
    int status = 0;
    char how[64];
    // Where the socket closed first, the child is ending by itself: let it say how.
    for (int i = 0; known == NULL && i < 50; i++) {
        if (waitpid(child->pid, &status, WNOHANG) == child->pid) goto reaped;
        struct pollfd log = {.fd = child->log_fd, .events = POLLIN};
        poll(&log, 1, 10);
        read_log(child);
    }
    kill(child->pid, SIGKILL);
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
    }
reaped:
    read_log(child);
    if (WIFSIGNALED(status)) {
        (void)snprintf(how, sizeof how, "killed by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    } else {
        (void)snprintf(how, sizeof how, "exited with %d", WEXITSTATUS(status));
    }
    if (why != NULL) {
        shoal_fail(why, SHOAL_LOST, "worker %u (process %d) was lost: %s%s%s",
                   child->number, (int)child->pid, known ? known : how,
                   child->tail_size ? "; it said: " : "", child->tail);
    }
    close(child->fd);
    close(child->log_fd);
    child->fd = child->log_fd = -1;
    frame_writer_free(&child->writer);
    frame_reader_free(&child->reader);
}

// The worker is lost: say so, and replace it while the budget lasts.
static shoal_status lose(struct local *local, struct child *child, const char *known,
                         struct shoal_error *err) {
    struct shoal_error why;
    uint32_t number = child->number;
    bury(child, known, &why);
    // Also of one that never came up: whoever killed it should see that in the log.
    struct engine_event *event = push(local, ENGINE_DOWN, number);
    if (event == NULL) return shoal_no_memory(err);
    event->error = why;
    if (local->replacements_left == 0) {
        for (size_t i = 0; i < local->count; i++) {
            if (local->children[i].fd >= 0) return SHOAL_OK;
        }
        return shoal_fail(
            err, SHOAL_LOST,
            "no worker is left and the replacements are used up; the last: %.2000s",
            why.message);
    }
    local->replacements_left--;
    return spawn(local, child, err);
}

static shoal_status take_hello(struct local *local, struct child *child,
                               const char *payload, size_t size,
                               struct shoal_error *err) {
    json_t *root = NULL;
    shoal_status status = json_parse_object(payload, size, &root, err);
    if (status != SHOAL_OK) return status;
    const char *error = json_string_value(json_object_get(root, "error"));
    const char *shoal = json_string_value(json_object_get(root, "shoal"));
    const char *engine = json_string_value(json_object_get(root, "engine"));
    json_int_t protocol = json_integer_value(json_object_get(root, "protocol"));
    if (shoal == NULL || engine == NULL || protocol != PROTOCOL ||
        strcmp(shoal, SHOAL_VERSION) != 0 || strcmp(engine, local->version) != 0) {
        status = shoal_fail(
            err, SHOAL_USAGE,
            "a worker is of another version: shoal %.40s with DuckDB %.40s, the "
            "driver is shoal %s with DuckDB %.40s; install the same on both",
            shoal ? shoal : "?", engine ? engine : "?", SHOAL_VERSION, local->version);
    } else if (error != NULL) {
        bool memory = json_is_true(json_object_get(root, "no_memory"));
        status = shoal_fail(err, memory ? SHOAL_NOMEM : SHOAL_USER,
                            "a worker cannot start: %.3000s", error);
    } else {
        child->up = true;
        if (push(local, ENGINE_UP, child->number) == NULL) {
            status = shoal_no_memory(err);
        }
    }
    json_decref(root);
    return status;
}

static shoal_status take_result(struct local *local, struct child *child,
                                enum frame_type type, const char *payload, size_t size,
                                struct shoal_error *err) {
    struct engine_event event = {.worker = child->number};
    shoal_status status;
    if (type == FRAME_DONE) {
        event.kind = ENGINE_DONE;
        status = task_output_decode(payload, size, &event.task, &event.attempt,
                                    &event.output, err);
    } else {
        json_t *root = NULL;
        uint64_t attempt = 0, code = 0;
        char *message = NULL;
        event.kind = ENGINE_FAILED;
        status = json_parse_object(payload, size, &root, err);
        if (status == SHOAL_OK)
            status = json_get_count(root, "task", INT64_MAX, &event.task, err);
        if (status == SHOAL_OK)
            status = json_get_count(root, "attempt", UINT32_MAX, &attempt, err);
        if (status == SHOAL_OK)
            status = json_get_count(root, "status", SHOAL_INTERNAL, &code, err);
        if (status == SHOAL_OK) status = json_get_string(root, "message", &message, err);
        if (status == SHOAL_OK) {
            event.attempt = (uint32_t)attempt;
            shoal_fail(&event.error,
                       code == SHOAL_OK ? SHOAL_INTERNAL : (shoal_status)code, "%s",
                       message);
            event.error.retriable = json_is_true(json_object_get(root, "retriable"));
            const char *lost = json_string_value(json_object_get(root, "lost"));
            event.lost = lost == NULL ? NULL : strdup(lost);
        }
        free(message);
        json_decref(root);
    }
    if (status != SHOAL_OK) return status;
    struct engine_event *place = push(local, event.kind, child->number);
    if (place == NULL) {
        task_output_free(&event.output);
        free(event.lost);
        return shoal_no_memory(err);
    }
    *place = event;
    return SHOAL_OK;
}

static shoal_status lose_to(struct local *local, struct child *child,
                            const struct shoal_error *problem, struct shoal_error *err) {
    char known[300];
    (void)snprintf(known, sizeof known, "it broke the protocol: %.250s",
                   problem->message);
    return lose(local, child, known, err);
}

// Handles what the child sent. A child that breaks the protocol is lost; an error that
// ends the session (another version, an init file that fails) is returned.
static shoal_status serve(struct local *local, struct child *child,
                          struct shoal_error *err) {
    bool closed = false;
    struct shoal_error problem = {0}, ignored;
    shoal_status status = frame_receive(&child->reader, child->fd, &closed, &problem);
    child->heard = clock_seconds();
    while (status == SHOAL_OK) {
        bool found = false;
        enum frame_type type;
        const char *payload = NULL;
        size_t size = 0;
        status = frame_next(&child->reader, &found, &type, &payload, &size, &problem);
        if (status != SHOAL_OK || !found) break;
        if (type == FRAME_HELLO && !child->up) {
            status = take_hello(local, child, payload, size, err);
            if (status == SHOAL_USAGE || status == SHOAL_USER || status == SHOAL_NOMEM) {
                return status;
            }
        } else if ((type == FRAME_DONE || type == FRAME_FAILED) && child->up) {
            status = take_result(local, child, type, payload, size, &problem);
        } else if (type == FRAME_HEARTBEAT) {
            // So that the worker hears soon that a frame to it was lost. Who takes none
            // is found by its closed socket or its silence.
            frame_send(&child->writer, FRAME_HEARTBEAT, "", 0, &ignored);
        } else {
            status =
                shoal_fail(&problem, SHOAL_CORRUPT, "a frame of kind %d came", (int)type);
        }
    }
    if (status == SHOAL_NOMEM) return shoal_no_memory(err);
    if (status != SHOAL_OK) return lose_to(local, child, &problem, err);
    return closed ? lose(local, child, NULL, err) : SHOAL_OK;
}

static shoal_status local_poll(struct engine *engine, int timeout_ms,
                               struct engine_event *event, struct shoal_error *err) {
    struct local *local = (struct local *)engine;
    memset(event, 0, sizeof *event);
    if (local->first == local->last) {
        struct pollfd polls[2 * 1024];
        size_t count = local->count < 1024 ? local->count : 1024;
        for (size_t i = 0; i < count; i++) {
            polls[2 * i] = (struct pollfd){.fd = local->children[i].fd, .events = POLLIN};
            polls[2 * i + 1] =
                (struct pollfd){.fd = local->children[i].log_fd, .events = POLLIN};
        }
        if (poll(polls, 2 * count, timeout_ms) < 0 && errno != EINTR) {
            return shoal_fail(err, SHOAL_IO, "cannot wait for workers: %s",
                              strerror(errno));
        }
        double now = clock_seconds();
        for (size_t i = 0; i < count; i++) {
            struct child *child = &local->children[i];
            if (child->fd < 0) continue;
            shoal_status status = SHOAL_OK;
            if (polls[2 * i + 1].revents & POLLIN) read_log(child);
            if (polls[2 * i].revents != 0) {
                status = serve(local, child, err);
            } else if (now - child->heard > SILENT_SECONDS) {
                status = lose(local, child, "it was silent for 30 s", err);
            }
            if (status != SHOAL_OK) return status;
        }
    }
    if (local->first < local->last) *event = local->events[local->first++];
    return SHOAL_OK;
}

static struct child *find(struct local *local, uint32_t worker) {
    for (size_t i = 0; i < local->count; i++) {
        struct child *child = &local->children[i];
        if (child->fd >= 0 && child->up && child->number == worker) return child;
    }
    return NULL;
}

static shoal_status local_run(struct engine *engine, uint32_t worker,
                              const struct task *task, struct shoal_error *err) {
    struct local *local = (struct local *)engine;
    struct child *child = find(local, worker);
    if (child == NULL) return shoal_fail(err, SHOAL_LOST, "worker %u is gone", worker);
    char *text = NULL;
    shoal_status status = task_encode(task, &text, err);
    if (status == SHOAL_OK)
        status = frame_send(&child->writer, FRAME_RUN, text, strlen(text), err);
    free(text);
    // A half-sent frame can't be continued: the worker goes, and poll will find it so.
    if (status == SHOAL_LOST) shutdown(child->fd, SHUT_RDWR);
    return status;
}

static void local_cancel(struct engine *engine, uint32_t worker, uint64_t task,
                         uint32_t attempt) {
    struct local *local = (struct local *)engine;
    struct child *child = find(local, worker);
    char text[96];
    struct shoal_error ignored;
    if (child == NULL) return;
    (void)snprintf(text, sizeof text, "{\"task\":%llu,\"attempt\":%u}",
                   (unsigned long long)task, attempt);
    frame_send(&child->writer, FRAME_CANCEL, text, strlen(text), &ignored);
}

static void local_close(struct engine *engine) {
    struct local *local = (struct local *)engine;
    struct shoal_error ignored;
    if (local == NULL) return;
    for (size_t i = 0; i < local->count; i++) {
        struct child *child = &local->children[i];
        if (child->fd < 0) continue;
        frame_send(&child->writer, FRAME_BYE, "", 0, &ignored);
        shutdown(child->fd, SHUT_WR);
    }
    for (size_t i = 0; i < local->count; i++) {
        if (local->children[i].fd >= 0) bury(&local->children[i], NULL, NULL);
    }
    for (size_t i = local->first; i < local->last; i++) {
        task_output_free(&local->events[i].output);
        free(local->events[i].lost);
    }
    free(local->events);
    free(local->children);
    free(local->hello);
    free(local->program);
    free(local->version);
    free(local);
}

static const struct engine_ops local_ops = {.name = "local",
                                            .run = local_run,
                                            .cancel = local_cancel,
                                            .poll = local_poll,
                                            .close = local_close};

shoal_status engine_local_open(const struct engine_options *options,
                               struct engine **engine, struct shoal_error *err) {
    *engine = NULL;
    struct local *local = calloc(1, sizeof *local);
    if (local == NULL) return shoal_no_memory(err);
    local->engine.ops = &local_ops;
    local->replacements_left = 3 + 2 * options->workers;
    local->program = strdup(options->program);
    local->version = strdup(options->engine_version);
    local->children = calloc(options->workers, sizeof *local->children);
    shoal_status status = SHOAL_OK;
    if (local->program == NULL || local->version == NULL || local->children == NULL) {
        status = shoal_no_memory(err);
    }
    if (status == SHOAL_OK) {
        status = json_take_text(
            json_pack("{s:i, s:s, s:I, s:I, s:I, s:s?, s:s?}", "protocol", PROTOCOL,
                      "shoal", SHOAL_VERSION, "threads",
                      (json_int_t)options->worker.threads, "memory",
                      (json_int_t)options->worker.memory_bytes, "temp_limit",
                      (json_int_t)options->worker.temp_bytes, "temp_dir",
                      options->worker.temp_dir, "init_sql", options->worker.init_sql),
            &local->hello, err);
    }
    for (uint32_t i = 0; status == SHOAL_OK && i < options->workers; i++) {
        status = spawn(local, &local->children[i], err);
        if (status == SHOAL_OK) local->count++;
    }
    if (status != SHOAL_OK) {
        local_close(&local->engine);
        return status;
    }
    *engine = &local->engine;
    return SHOAL_OK;
}
