#include "engine/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/json.h"

#define SILENT_SECONDS 30

double peer_silent_seconds(void) {
    return clock_silent_seconds(SILENT_SECONDS);
}

// Sends a text, which it frees. A worker that is gone is found by its closed socket.
static void send_text(struct peer *peer, enum frame_type type, char *text) {
    struct shoal_error ignored;
    frame_send(&peer->writer, type, text, strlen(text), &ignored);
    free(text);
}

shoal_status peer_open(struct peer *peer, struct shoal_error *err) {
    char *challenge = NULL;
    bool impatient = peer->silent_seconds < PEER_SEND_SECONDS;
    struct timeval patience = {.tv_sec = impatient ? (time_t)peer->silent_seconds
                                                   : PEER_SEND_SECONDS};
    setsockopt(peer->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    peer->heard = clock_seconds();
    peer->writer = (struct frame_writer){.fd = peer->fd, .point = FAULT_DRIVER_SEND};
    shoal_status status = handshake_challenge(&peer->handshake, &challenge, err);
    if (status == SHOAL_OK) send_text(peer, FRAME_CHALLENGE, challenge);
    return status;
}

void peer_free(struct peer *peer) {
    handshake_free(&peer->handshake);
    frame_writer_free(&peer->writer);
    frame_reader_free(&peer->reader);
    watchdog_free(&peer->watchdog);
    assigned_free(&peer->assigned);
}

// ---- what it says

static shoal_status take_proof(struct peer *peer, const char *payload, size_t size,
                               struct shoal_error *err) {
    char *hello = NULL;
    shoal_status status = handshake_check(&peer->handshake, payload, size, err);
    if (status == SHOAL_OK && peer->handshake.node != NULL)
        peer->number = peer->handshake.number;
    if (status == SHOAL_OK)
        status = handshake_hello(&peer->handshake, peer->opens, &hello, err);
    if (status == SHOAL_OK) send_text(peer, FRAME_HELLO, hello);
    return status;
}

static shoal_status take_hello(struct peer *peer, struct events *events,
                               const char *payload, size_t size,
                               struct shoal_error *err) {
    shoal_status status = handshake_end(&peer->handshake, payload, size, err);
    if (status != SHOAL_OK) return status;
    peer->up = true;
    return events_push(events, ENGINE_UP, peer->number) != NULL ? SHOAL_OK
                                                                : shoal_no_memory(err);
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
    if (peer->read_log != NULL) log_tail_attach(peer->read_log(peer), why);
}

static shoal_status take_result(struct peer *peer, struct events *events,
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
        status == SHOAL_OK ? events_push(events, event.kind, peer->number) : NULL;
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

static shoal_status take_frame(struct peer *peer, struct events *events,
                               enum frame_type type, const char *payload, size_t size,
                               struct shoal_error *err) {
    bool proven = peer->handshake.proven;
    if (type == FRAME_PROOF && !proven) return take_proof(peer, payload, size, err);
    if (type == FRAME_HELLO && proven && !peer->up)
        return take_hello(peer, events, payload, size, err);
    if ((type == FRAME_DONE || type == FRAME_FAILED) && peer->up)
        return take_result(peer, events, type, payload, size, err);
    if (type == FRAME_HEARTBEAT && peer->up)
        return take_heartbeat(peer, payload, size, err);
    return shoal_fail(err, SHOAL_CORRUPT, "a message of kind %d came %s", (int)type,
                      proven ? "out of turn" : "before the worker proved itself");
}

shoal_status peer_serve(struct peer *peer, struct events *events, bool *closed,
                        struct shoal_error *err) {
    shoal_status status = frame_receive(&peer->reader, peer->fd, closed, err);
    peer->heard = clock_seconds();
    while (status == SHOAL_OK) {
        bool found = false;
        enum frame_type type;
        const char *payload = NULL;
        size_t size = 0;
        status = frame_next(&peer->reader, &found, &type, &payload, &size, err);
        if (status != SHOAL_OK || !found) break;
        status = take_frame(peer, events, type, payload, size, err);
    }
    return status;
}

// ---- what it doesn't say

// A hung task didn't answer: it is reported, and then its worker is lost.
static shoal_status report_hung(struct peer *peer, const struct watched *hung,
                                struct events *events, struct shoal_error *err) {
    struct engine_event *event = events_push(events, ENGINE_FAILED, peer->number);
    if (event == NULL) return shoal_no_memory(err);
    event->task = hung->task;
    event->attempt = hung->attempt;
    watchdog_explain(&peer->watchdog, hung, peer->number, true, &event->error);
    attach_log(peer, &event->error);
    return SHOAL_OK;
}

shoal_status peer_watch(struct peer *peer, double now, struct events *events, bool *lost,
                        char *why, size_t size, struct shoal_error *err) {
    struct watched which;
    *lost = now - peer->heard > peer->silent_seconds;
    if (*lost) (void)snprintf(why, size, "it was silent for %g s", peer->silent_seconds);
    while (!*lost) {
        switch (watchdog_next(&peer->watchdog, now, &which)) {
            case WATCHDOG_FINE:
                return SHOAL_OK;
            case WATCHDOG_CANCEL:
                peer_cancel(peer, which.task, which.attempt);
                break;
            case WATCHDOG_KILL:
                *lost = true;
                (void)snprintf(why, size, "a task of it hung and could not be cancelled");
                return report_hung(peer, &which, events, err);
        }
    }
    return SHOAL_OK;
}

// ---- what it is told

shoal_status peer_run(struct peer *peer, const struct task *task,
                      struct shoal_error *err) {
    char *text = NULL;
    shoal_status status = task_encode(task, &text, err);
    if (status == SHOAL_OK &&
        !(watchdog_start(&peer->watchdog, task->id, task->attempt) &&
          assigned_add(&peer->assigned, task)))
        status = shoal_no_memory(err);
    if (status == SHOAL_OK)
        status = frame_send(&peer->writer, FRAME_RUN, text, strlen(text), err);
    free(text);
    // A half-sent frame can't be continued.
    if (status == SHOAL_LOST) shutdown(peer->fd, SHUT_RDWR);
    return status;
}

void peer_cancel(struct peer *peer, uint64_t task, uint32_t attempt) {
    char text[96];
    struct shoal_error ignored;
    (void)snprintf(text, sizeof text, "{\"task\":%llu,\"attempt\":%u}",
                   (unsigned long long)task, attempt);
    frame_send(&peer->writer, FRAME_CANCEL, text, strlen(text), &ignored);
}

void peer_tell(struct peer *peer, enum frame_type type, const char *text) {
    struct shoal_error ignored;
    frame_send(&peer->writer, type, text, strlen(text), &ignored);
}

void peer_bye(struct peer *peer) {
    struct shoal_error ignored;
    frame_send(&peer->writer, FRAME_BYE, "", 0, &ignored);
    shutdown(peer->fd, SHUT_WR);
}
