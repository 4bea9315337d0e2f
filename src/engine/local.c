// Workers as child processes over socketpairs. The engine owns its children wholly: each
// is reaped here, whatever way it ends, and closing the engine leaves none behind. A
// child that dies is replaced under a new number, within a budget: what an old number
// still says can then never be taken for the new one's.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/child.h"
#include "engine/peer.h"

struct place {
    struct peer peer;  // first: what peer.c hands back is the place
    struct child child;
};

struct local {
    struct engine engine;
    struct engine_options options;  // its texts are the caller's, but those below
    uint8_t secret[PROOF_SECRET];
    double silent_seconds;
    struct place *places;
    size_t count;
    uint32_t next_number;
    uint32_t replacements_left;
    struct events events;
};

// ---- a worker begins and ends

static bool is_there(const struct place *place) {
    return place->child.pid != 0;
}

static const struct log_tail *read_log(struct peer *peer) {
    struct place *place = (struct place *)peer;
    child_read_log(&place->child);
    return &place->child.log;
}

static shoal_status start(struct local *local, struct place *place,
                          struct shoal_error *err) {
    *place = (struct place){
        .child = {.fd = -1, .log_fd = -1},
        .peer = {.number = local->next_number,
                 .fd = -1,
                 .silent_seconds = local->silent_seconds,
                 .read_log = read_log,
                 .opens = &local->options.worker,
                 .handshake = {.secret = local->secret,
                               .engine_version = local->options.engine_version},
                 .watchdog = {.options = local->options.watchdog}}};
    shoal_status status =
        child_start(&place->child, local->options.program, local->secret, err);
    if (status != SHOAL_OK) return status;
    local->next_number++;
    place->peer.fd = place->child.fd;
    status = peer_open(&place->peer, err);
    if (status != SHOAL_OK) {
        char how[96];
        child_end(&place->child, 0, how, sizeof how);
        peer_free(&place->peer);
    }
    return status;
}

// Ends and reaps the worker; why gets the reason and the end of its log.
static void bury(struct place *place, const char *known, struct shoal_error *why) {
    char how[96];
    int pid = (int)place->child.pid;
    child_end(&place->child, known != NULL ? 0 : 0.5, how, sizeof how);
    shoal_fail(why, SHOAL_LOST, "worker %u (process %d) was lost: %.1000s",
               place->peer.number, pid, known ? known : how);
    log_tail_attach(&place->child.log, why);
    peer_free(&place->peer);
}

// The worker is lost: say so, and replace it while the budget lasts.
static shoal_status lose(struct local *local, struct place *place, const char *known,
                         struct shoal_error *err) {
    struct shoal_error why;
    uint32_t number = place->peer.number;
    bury(place, known, &why);
    // Also of one that never came up: whoever killed it should see that in the log.
    struct engine_event *event = events_push(&local->events, ENGINE_DOWN, number);
    if (event == NULL) return shoal_no_memory(err);
    event->error = why;
    if (local->replacements_left == 0) {
        for (size_t i = 0; i < local->count; i++) {
            if (is_there(&local->places[i])) return SHOAL_OK;
        }
        return shoal_fail(
            err, SHOAL_LOST,
            "no worker is left and the replacements are used up; the last: %.3800s",
            why.message);
    }
    local->replacements_left--;
    return start(local, place, err);
}

// Handles what the child sent. A child that breaks the protocol is lost; an error that
// ends the session is returned.
static shoal_status serve(struct local *local, struct place *place,
                          struct shoal_error *err) {
    bool closed = false;
    struct shoal_error problem = {0};
    shoal_status status = peer_serve(&place->peer, &local->events, &closed, &problem);
    if (status == SHOAL_CORRUPT) {
        char why[sizeof problem.message + 32];
        (void)snprintf(why, sizeof why, "it broke the protocol: %s", problem.message);
        return lose(local, place, why, err);
    }
    if (status != SHOAL_OK) {
        *err = problem;
        return status;
    }
    return closed ? lose(local, place, NULL, err) : SHOAL_OK;
}

static shoal_status watch(struct local *local, struct place *place, double now,
                          struct shoal_error *err) {
    char why[64];
    bool lost = false;
    shoal_status status =
        peer_watch(&place->peer, now, &local->events, &lost, why, sizeof why, err);
    return status == SHOAL_OK && lost ? lose(local, place, why, err) : status;
}

// ---- the engine

static shoal_status serve_places(struct local *local, const struct pollfd *polls,
                                 size_t count, struct shoal_error *err) {
    double now = clock_seconds();
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        struct place *place = &local->places[i];
        uint32_t number = place->peer.number;
        if (!is_there(place)) continue;
        if (polls[2 * i + 1].revents != 0) child_read_log(&place->child);
        if (polls[2 * i].revents != 0) status = serve(local, place, err);
        if (status == SHOAL_OK && is_there(place) && place->peer.number == number)
            status = watch(local, place, now, err);
    }
    return status;
}

static shoal_status wait_for_places(struct local *local, int timeout_ms,
                                    struct shoal_error *err) {
    struct pollfd polls[2 * 1024];
    size_t count = local->count < 1024 ? local->count : 1024;
    for (size_t i = 0; i < count; i++) {
        const struct child *child = &local->places[i].child;  // -1 where there is none
        polls[2 * i] = (struct pollfd){.fd = child->fd, .events = POLLIN};
        polls[2 * i + 1] = (struct pollfd){.fd = child->log_fd, .events = POLLIN};
    }
    if (poll(polls, 2 * count, timeout_ms) < 0) {
        if (errno == EINTR) return SHOAL_OK;
        return shoal_fail(err, SHOAL_IO, "cannot wait for workers: %s", strerror(errno));
    }
    return serve_places(local, polls, count, err);
}

static shoal_status local_poll(struct engine *engine, int timeout_ms,
                               struct engine_event *event, struct shoal_error *err) {
    struct local *local = (struct local *)engine;
    memset(event, 0, sizeof *event);
    if (events_take(&local->events, event)) return SHOAL_OK;
    shoal_status status = wait_for_places(local, timeout_ms, err);
    if (status == SHOAL_OK) (void)events_take(&local->events, event);
    return status;
}

static struct peer *find(struct local *local, uint32_t worker) {
    for (size_t i = 0; i < local->count; i++) {
        struct place *place = &local->places[i];
        if (is_there(place) && place->peer.up && place->peer.number == worker)
            return &place->peer;
    }
    return NULL;
}

static shoal_status local_run(struct engine *engine, uint32_t worker,
                              const struct task *task, struct shoal_error *err) {
    struct peer *peer = find((struct local *)engine, worker);
    if (peer == NULL) return shoal_fail(err, SHOAL_LOST, "worker %u is gone", worker);
    return peer_run(peer, task, err);
}

static void local_cancel(struct engine *engine, uint32_t worker, uint64_t task,
                         uint32_t attempt) {
    struct peer *peer = find((struct local *)engine, worker);
    if (peer != NULL) peer_cancel(peer, task, attempt);
}

// All have half a second together to end by themselves.
static void end_all(struct local *local) {
    char how[96];
    for (size_t i = 0; i < local->count; i++) {
        if (is_there(&local->places[i])) peer_bye(&local->places[i].peer);
    }
    double until = clock_seconds() + 0.5;
    for (size_t i = 0; i < local->count; i++) {
        struct place *place = &local->places[i];
        if (!is_there(place)) continue;
        child_end(&place->child, until - clock_seconds(), how, sizeof how);
        peer_free(&place->peer);
    }
}

static void local_close(struct engine *engine) {
    struct local *local = (struct local *)engine;
    if (local == NULL) return;
    end_all(local);
    events_free(&local->events);
    proof_forget(local->secret);
    free(local->places);
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

shoal_status engine_local_open(const struct engine_options *options,
                               struct engine **engine, struct shoal_error *err) {
    *engine = NULL;
    struct local *local = calloc(1, sizeof *local);
    if (local == NULL) return shoal_no_memory(err);
    local->engine.ops = &local_ops;
    local->replacements_left = 3 + 2 * options->workers;
    local->silent_seconds = peer_silent_seconds();
    local->places = calloc(options->workers, sizeof *local->places);
    shoal_status status = engine_options_copy(options, &local->options, err);
    if (local->options.watchdog.grace_seconds > local->silent_seconds)
        local->options.watchdog.grace_seconds = local->silent_seconds;
    if (status == SHOAL_OK && local->places == NULL) status = shoal_no_memory(err);
    if (status == SHOAL_OK) status = proof_make_secret(local->secret, err);
    for (uint32_t i = 0; status == SHOAL_OK && i < options->workers; i++) {
        status = start(local, &local->places[i], err);
        if (status == SHOAL_OK) local->count++;
    }
    if (status != SHOAL_OK) {
        local_close(&local->engine);
        return status;
    }
    *engine = &local->engine;
    return SHOAL_OK;
}
