// Workers as child processes over socketpairs. The engine owns its children wholly: each
// is reaped here, whatever way it ends, and closing the engine leaves none behind. A
// child that dies is replaced under a new number, within a budget: what an old number
// still says can then never be taken for the new one's.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/frame.h"
#include "base/json.h"
#include "base/proof.h"
#include "engine/assigned.h"
#include "engine/child.h"
#include "engine/engine.h"
#include "engine/handshake.h"

#define SILENT_SECONDS 30  // without a heartbeat: the worker is taken for dead

struct peer {
    struct child child;
    uint32_t number;
    bool up;
    double heard;
    struct frame_writer writer;
    struct frame_reader reader;
    struct handshake handshake;
    struct watchdog watchdog;
    struct assigned assigned;
};

struct local {
    struct engine engine;
    struct engine_options options;  // its texts are the caller's, but those below
    uint8_t secret[PROOF_SECRET];
    double silent_seconds;
    struct peer *peers;
    size_t count;
    uint32_t next_number;
    uint32_t replacements_left;
    struct engine_event *events;  // a queue: [first, last)
    size_t first, last, capacity;
};

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

// ---- a worker begins and ends

static bool is_there(const struct peer *peer) {
    return peer->child.pid != 0;
}

// Sends a text, which it frees. A child that is gone is found by its closed socket.
static void send_text(struct peer *peer, enum frame_type type, char *text) {
    struct shoal_error ignored;
    frame_send(&peer->writer, type, text, strlen(text), &ignored);
    free(text);
}

static void release(struct peer *peer) {
    frame_writer_free(&peer->writer);
    frame_reader_free(&peer->reader);
    watchdog_free(&peer->watchdog);
    assigned_free(&peer->assigned);
}

static shoal_status start(struct local *local, struct peer *peer,
                          struct shoal_error *err) {
    char *challenge = NULL;
    *peer = (struct peer){.child = {.fd = -1, .log_fd = -1},
                          .number = local->next_number,
                          .handshake = {.secret = local->secret,
                                        .engine_version = local->options.engine_version},
                          .watchdog = {.options = local->options.watchdog}};
    shoal_status status = handshake_challenge(&peer->handshake, &challenge, err);
    if (status == SHOAL_OK)
        status = child_start(&peer->child, local->options.program, local->secret, err);
    if (status != SHOAL_OK) {
        free(challenge);
        return status;
    }
    local->next_number++;
    peer->heard = clock_seconds();
    peer->writer =
        (struct frame_writer){.fd = peer->child.fd, .point = FAULT_DRIVER_SEND};
    send_text(peer, FRAME_CHALLENGE, challenge);
    return SHOAL_OK;
}

// Ends and reaps the worker; why gets the reason and the end of its log.
static void bury(struct peer *peer, const char *known, struct shoal_error *why) {
    char how[96];
    int pid = (int)peer->child.pid;
    child_end(&peer->child, known != NULL ? 0 : 0.5, how, sizeof how);
    shoal_fail(why, SHOAL_LOST, "worker %u (process %d) was lost: %.1000s", peer->number,
               pid, known ? known : how);
    log_tail_attach(&peer->child.log, why);
    release(peer);
}

// The worker is lost: say so, and replace it while the budget lasts.
static shoal_status lose(struct local *local, struct peer *peer, const char *known,
                         struct shoal_error *err) {
    struct shoal_error why;
    uint32_t number = peer->number;
    bury(peer, known, &why);
    // Also of one that never came up: whoever killed it should see that in the log.
    struct engine_event *event = push(local, ENGINE_DOWN, number);
    if (event == NULL) return shoal_no_memory(err);
    event->error = why;
    if (local->replacements_left == 0) {
        for (size_t i = 0; i < local->count; i++) {
            if (is_there(&local->peers[i])) return SHOAL_OK;
        }
        return shoal_fail(
            err, SHOAL_LOST,
            "no worker is left and the replacements are used up; the last: %.3800s",
            why.message);
    }
    local->replacements_left--;
    return start(local, peer, err);
}

// ---- what it says

static shoal_status take_proof(struct local *local, struct peer *peer,
                               const char *payload, size_t size,
                               struct shoal_error *err) {
    char *hello = NULL;
    shoal_status status = handshake_check(&peer->handshake, payload, size, err);
    if (status == SHOAL_OK)
        status = handshake_hello(&peer->handshake, &local->options.worker, &hello, err);
    if (status == SHOAL_OK) send_text(peer, FRAME_HELLO, hello);
    return status;
}

static shoal_status take_hello(struct local *local, struct peer *peer,
                               const char *payload, size_t size,
                               struct shoal_error *err) {
    shoal_status status = handshake_end(payload, size, err);
    if (status != SHOAL_OK) return status;
    peer->up = true;
    return push(local, ENGINE_UP, peer->number) != NULL ? SHOAL_OK : shoal_no_memory(err);
}

static shoal_status decode_failure(const char *payload, size_t size,
                                   struct engine_event *event, struct shoal_error *err) {
    json_t *root = NULL;
    uint64_t attempt = 0, code = 0;
    char *message = NULL;
    event->kind = ENGINE_FAILED;
    shoal_status status = json_parse_object(payload, size, &root, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "task", INT64_MAX, &event->task, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "attempt", UINT32_MAX, &attempt, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "status", SHOAL_INTERNAL, &code, err);
    if (status == SHOAL_OK) status = json_get_string(root, "message", &message, err);
    if (status == SHOAL_OK) {
        event->attempt = (uint32_t)attempt;
        shoal_fail(&event->error, code == SHOAL_OK ? SHOAL_INTERNAL : (shoal_status)code,
                   "%s", message);
        event->error.retriable = json_is_true(json_object_get(root, "retriable"));
        const char *lost = json_string_value(json_object_get(root, "lost"));
        event->lost = lost == NULL ? NULL : strdup(lost);
    }
    free(message);
    json_decref(root);
    return status;
}

// The end of the worker's log says more of a failure that is not the user's.
static void attach_log(struct peer *peer, struct shoal_error *why) {
    if (why->status == SHOAL_USER || why->status == SHOAL_CANCELLED) return;
    child_read_log(&peer->child);
    log_tail_attach(&peer->child.log, why);
}

static shoal_status take_result(struct local *local, struct peer *peer,
                                enum frame_type type, const char *payload, size_t size,
                                struct shoal_error *err) {
    struct engine_event event = {.kind = ENGINE_DONE, .worker = peer->number};
    struct watched was;
    bool done = type == FRAME_DONE;
    shoal_status status = done ? task_output_decode(payload, size, &event.task,
                                                    &event.attempt, &event.output, err)
                               : decode_failure(payload, size, &event, err);
    if (status == SHOAL_OK)
        status = assigned_end(&peer->assigned, event.task, event.attempt,
                              done ? &event.output : NULL, err);
    struct engine_event *place =
        status == SHOAL_OK ? push(local, event.kind, peer->number) : NULL;
    if (place == NULL) {
        task_output_free(&event.output);
        free(event.lost);
        return status == SHOAL_OK ? shoal_no_memory(err) : status;
    }
    bool hung = watchdog_end(&peer->watchdog, event.task, event.attempt, &was);
    if (!done && hung && event.error.status == SHOAL_CANCELLED)
        watchdog_explain(&peer->watchdog, &was, peer->number, false, &event.error);
    if (!done) attach_log(peer, &event.error);
    *place = event;
    return SHOAL_OK;
}

static shoal_status take_heartbeat(struct peer *peer, const char *payload, size_t size,
                                   struct shoal_error *err) {
    struct heartbeat beat;
    shoal_status status = heartbeat_decode(payload, size, &beat, err);
    if (status != SHOAL_OK) return status;
    watchdog_hear(&peer->watchdog, &beat);
    heartbeat_free(&beat);
    // So that the worker hears soon that a frame to it was lost. Who takes none is found
    // by its closed socket or its silence.
    struct shoal_error ignored;
    frame_send(&peer->writer, FRAME_HEARTBEAT, "", 0, &ignored);
    return SHOAL_OK;
}

static shoal_status take_frame(struct local *local, struct peer *peer,
                               enum frame_type type, const char *payload, size_t size,
                               struct shoal_error *err) {
    bool proven = peer->handshake.proven;
    if (type == FRAME_PROOF && !proven)
        return take_proof(local, peer, payload, size, err);
    if (type == FRAME_HELLO && proven && !peer->up)
        return take_hello(local, peer, payload, size, err);
    if ((type == FRAME_DONE || type == FRAME_FAILED) && peer->up)
        return take_result(local, peer, type, payload, size, err);
    if (type == FRAME_HEARTBEAT && peer->up)
        return take_heartbeat(peer, payload, size, err);
    return shoal_fail(err, SHOAL_CORRUPT, "a message of kind %d came %s", (int)type,
                      proven ? "out of turn" : "before the worker proved itself");
}

// Handles what the child sent. A child that breaks the protocol is lost; an error that
// ends the session (another version, an init file that fails) is returned.
static shoal_status serve(struct local *local, struct peer *peer,
                          struct shoal_error *err) {
    bool closed = false;
    struct shoal_error problem = {0};
    shoal_status status = frame_receive(&peer->reader, peer->child.fd, &closed, &problem);
    peer->heard = clock_seconds();
    while (status == SHOAL_OK) {
        bool found = false;
        enum frame_type type;
        const char *payload = NULL;
        size_t size = 0;
        status = frame_next(&peer->reader, &found, &type, &payload, &size, &problem);
        if (status != SHOAL_OK || !found) break;
        status = take_frame(local, peer, type, payload, size, &problem);
    }
    if (status == SHOAL_CORRUPT) {
        char why[sizeof problem.message + 32];
        (void)snprintf(why, sizeof why, "it broke the protocol: %s", problem.message);
        return lose(local, peer, why, err);
    }
    if (status != SHOAL_OK) {
        *err = problem;
        return status;
    }
    return closed ? lose(local, peer, NULL, err) : SHOAL_OK;
}

// ---- what it doesn't say

static void send_cancel(struct peer *peer, uint64_t task, uint32_t attempt) {
    char text[96];
    struct shoal_error ignored;
    (void)snprintf(text, sizeof text, "{\"task\":%llu,\"attempt\":%u}",
                   (unsigned long long)task, attempt);
    frame_send(&peer->writer, FRAME_CANCEL, text, strlen(text), &ignored);
}

// A hung task didn't answer: it is reported, and then its worker lost.
static shoal_status kill_hung(struct local *local, struct peer *peer,
                              const struct watched *hung, struct shoal_error *err) {
    struct engine_event *event = push(local, ENGINE_FAILED, peer->number);
    if (event == NULL) return shoal_no_memory(err);
    event->task = hung->task;
    event->attempt = hung->attempt;
    watchdog_explain(&peer->watchdog, hung, peer->number, true, &event->error);
    attach_log(peer, &event->error);
    return lose(local, peer, "a task of it hung and could not be cancelled", err);
}

static shoal_status watch(struct local *local, struct peer *peer, double now,
                          struct shoal_error *err) {
    struct watched which;
    char why[64];
    if (now - peer->heard > local->silent_seconds) {
        (void)snprintf(why, sizeof why, "it was silent for %g s", local->silent_seconds);
        return lose(local, peer, why, err);
    }
    for (;;) {
        switch (watchdog_next(&peer->watchdog, now, &which)) {
            case WATCHDOG_FINE:
                return SHOAL_OK;
            case WATCHDOG_CANCEL:
                send_cancel(peer, which.task, which.attempt);
                break;
            case WATCHDOG_KILL:
                return kill_hung(local, peer, &which, err);
        }
    }
}

// ---- the engine

static shoal_status serve_peers(struct local *local, const struct pollfd *polls,
                                size_t count, struct shoal_error *err) {
    double now = clock_seconds();
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        struct peer *peer = &local->peers[i];
        uint32_t number = peer->number;
        if (!is_there(peer)) continue;
        if (polls[2 * i + 1].revents & POLLIN) child_read_log(&peer->child);
        if (polls[2 * i].revents != 0) status = serve(local, peer, err);
        if (status == SHOAL_OK && is_there(peer) && peer->number == number)
            status = watch(local, peer, now, err);
    }
    return status;
}

static shoal_status wait_for_peers(struct local *local, int timeout_ms,
                                   struct shoal_error *err) {
    struct pollfd polls[2 * 1024];
    size_t count = local->count < 1024 ? local->count : 1024;
    for (size_t i = 0; i < count; i++) {
        const struct child *child = &local->peers[i].child;  // -1 where there is none
        polls[2 * i] = (struct pollfd){.fd = child->fd, .events = POLLIN};
        polls[2 * i + 1] = (struct pollfd){.fd = child->log_fd, .events = POLLIN};
    }
    if (poll(polls, 2 * count, timeout_ms) < 0) {
        if (errno == EINTR) return SHOAL_OK;
        return shoal_fail(err, SHOAL_IO, "cannot wait for workers: %s", strerror(errno));
    }
    return serve_peers(local, polls, count, err);
}

static shoal_status local_poll(struct engine *engine, int timeout_ms,
                               struct engine_event *event, struct shoal_error *err) {
    struct local *local = (struct local *)engine;
    shoal_status status = SHOAL_OK;
    memset(event, 0, sizeof *event);
    if (local->first == local->last) status = wait_for_peers(local, timeout_ms, err);
    if (status == SHOAL_OK && local->first < local->last)
        *event = local->events[local->first++];
    return status;
}

static struct peer *find(struct local *local, uint32_t worker) {
    for (size_t i = 0; i < local->count; i++) {
        struct peer *peer = &local->peers[i];
        if (is_there(peer) && peer->up && peer->number == worker) return peer;
    }
    return NULL;
}

static shoal_status local_run(struct engine *engine, uint32_t worker,
                              const struct task *task, struct shoal_error *err) {
    struct local *local = (struct local *)engine;
    struct peer *peer = find(local, worker);
    if (peer == NULL) return shoal_fail(err, SHOAL_LOST, "worker %u is gone", worker);
    char *text = NULL;
    shoal_status status = task_encode(task, &text, err);
    if (status == SHOAL_OK &&
        !(watchdog_start(&peer->watchdog, task->id, task->attempt) &&
          assigned_add(&peer->assigned, task)))
        status = shoal_no_memory(err);
    if (status == SHOAL_OK)
        status = frame_send(&peer->writer, FRAME_RUN, text, strlen(text), err);
    free(text);
    // A half-sent frame can't be continued: the worker goes, and poll will find it so.
    if (status == SHOAL_LOST) shutdown(peer->child.fd, SHUT_RDWR);
    return status;
}

static void local_cancel(struct engine *engine, uint32_t worker, uint64_t task,
                         uint32_t attempt) {
    struct peer *peer = find((struct local *)engine, worker);
    if (peer != NULL) send_cancel(peer, task, attempt);
}

// All have half a second together to end by themselves.
static void end_all(struct local *local) {
    char how[96];
    struct shoal_error ignored;
    for (size_t i = 0; i < local->count; i++) {
        struct peer *peer = &local->peers[i];
        if (!is_there(peer)) continue;
        frame_send(&peer->writer, FRAME_BYE, "", 0, &ignored);
        shutdown(peer->child.fd, SHUT_WR);
    }
    double until = clock_seconds() + 0.5;
    for (size_t i = 0; i < local->count; i++) {
        struct peer *peer = &local->peers[i];
        if (!is_there(peer)) continue;
        child_end(&peer->child, until - clock_seconds(), how, sizeof how);
        release(peer);
    }
}

static void local_close(struct engine *engine) {
    struct local *local = (struct local *)engine;
    if (local == NULL) return;
    end_all(local);
    for (size_t i = local->first; i < local->last; i++) {
        task_output_free(&local->events[i].output);
        free(local->events[i].lost);
    }
    proof_forget(local->secret);
    free(local->events);
    free(local->peers);
    engine_options_free(&local->options);
    free(local);
}

static const struct engine_ops local_ops = {.name = "local",
                                            .run = local_run,
                                            .cancel = local_cancel,
                                            .poll = local_poll,
                                            .close = local_close};

void engine_local_abandon(void) {
    child_kill_all();
}

// Tests can't wait for half a minute.
static double silent_seconds(void) {
    const char *text = getenv("SHOAL_SILENT_SECONDS");
    double seconds = text == NULL ? 0 : strtod(text, NULL);
    return seconds >= 1 && seconds < SILENT_SECONDS ? seconds : SILENT_SECONDS;
}

shoal_status engine_local_open(const struct engine_options *options,
                               struct engine **engine, struct shoal_error *err) {
    *engine = NULL;
    struct local *local = calloc(1, sizeof *local);
    if (local == NULL) return shoal_no_memory(err);
    local->engine.ops = &local_ops;
    local->replacements_left = 3 + 2 * options->workers;
    local->silent_seconds = silent_seconds();
    local->peers = calloc(options->workers, sizeof *local->peers);
    shoal_status status = engine_options_copy(options, &local->options, err);
    if (local->options.watchdog.grace_seconds > local->silent_seconds)
        local->options.watchdog.grace_seconds = local->silent_seconds;
    if (status == SHOAL_OK && local->peers == NULL) status = shoal_no_memory(err);
    if (status == SHOAL_OK) status = proof_make_secret(local->secret, err);
    for (uint32_t i = 0; status == SHOAL_OK && i < options->workers; i++) {
        status = start(local, &local->peers[i], err);
        if (status == SHOAL_OK) local->count++;
    }
    if (status != SHOAL_OK) {
        local_close(&local->engine);
        return status;
    }
    *engine = &local->engine;
    return SHOAL_OK;
}
