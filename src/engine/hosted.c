// Workers that the user's cluster hosts. The host program (host.h) asks the cluster for
// them; each dials back over TCP and says which it is, and from then on it is a peer like
// a child. What the cluster knows of a worker's end comes from the host program, that it
// ended from its connection: both are waited for, a moment, so that the report has the
// cluster's own words.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "block/places.h"
#include "block/remote.h"
#include "block/server.h"
#include "engine/host.h"
#include "engine/keepers.h"
#include "engine/metrics.h"
#include "engine/peer.h"
#include "net/address.h"
#include "net/channel.h"
#include "net/listener.h"

#define GUESTS_MOST 64       // connections whose other end has not proved itself
#define GREETING_SECONDS 20  // that one has for it
#define CROWDED_SECONDS 2    // the same while others wait to be taken
#define FULL_SECONDS 1       // between tries to take one, while no file can be opened
#define GREETING_MOST 65536  // bytes of what it says first
#define CAUSE_SECONDS 2      // for the cluster to say why a worker went
#define CLOSE_SECONDS 15     // for the host program to give all back
#define BACKLOG_SECONDS 1    // that tasks wait before more workers are asked for
#define WHY_SIZE 1500

struct guest {
    struct peer peer;  // first, as in place
    struct channel *channel;
    double until;
};

struct place {
    struct peer peer;  // its fd is -1 while there is no connection
    struct channel *channel;
    bool asked;      // of the cluster
    bool gone;       // the cluster says so
    bool preempted;  // it was taken away, and did nothing wrong
    double ended;    // when one of both was known to be over; 0: none is
    double idle;     // since when it has nothing to do; 0: it has
    char *machine;   // where it is; NULL: unknown
    int pid;         // there
    char why[WHY_SIZE];
    struct log_tail log;
};

struct hosted {
    struct engine engine;
    struct engine_options options;
    uint8_t secret[PROOF_SECRET];
    struct host host;
    struct listener listener;  // its fd is -1 until the cluster is open
    double full_until;         // no one is let in before: no file could be opened
    bool full_said;
    struct guest guests[GUESTS_MOST];
    size_t guest_count;
    struct place *places;
    size_t count;
    struct pollfd *polls;
    uint32_t next_number, replacements_left;
    double silent_seconds, opened;
    bool seen;             // a worker was up
    double short_since;    // of workers, for the tasks there are; 0: there are enough
    char waits[WHY_SIZE];  // what was last waited for
    struct handshake_spool spool;
    struct keepers keepers;
    struct block_server *server;  // of what is in this process's folders
    struct events events;
    uint64_t tasks;  // that run or could
    struct metrics metrics, told;
};

static const struct log_tail *read_log(struct peer *peer) {
    return &((struct place *)peer)->log;
}

// For the user.
static shoal_status note(struct hosted *hosted, const char *text,
                         struct shoal_error *err) {
    struct engine_event *event = events_push(&hosted->events, ENGINE_NOTE, UINT32_MAX);
    if (event == NULL) return shoal_no_memory(err);
    shoal_fail(&event->error, SHOAL_OK, "%.3900s", text);
    return SHOAL_OK;
}

// ---- a worker begins and ends

// One that no worker is asked for; there is one while fewer than options.workers are.
static struct place *free_place(struct hosted *hosted) {
    for (size_t i = 0; i < hosted->count; i++) {
        if (!hosted->places[i].asked) return &hosted->places[i];
    }
    return &hosted->places[hosted->count++];
}

static uint32_t count_asked(const struct hosted *hosted) {
    uint32_t count = 0;
    for (size_t i = 0; i < hosted->count; i++) count += hosted->places[i].asked;
    return count;
}

static shoal_status ask(struct hosted *hosted, struct place *place,
                        struct shoal_error *err) {
    *place =
        (struct place){.peer = {.number = hosted->next_number, .fd = -1}, .asked = true};
    hosted->next_number++;
    return host_say(
        &hosted->host,
        json_pack("{s:s, s:I, s:s}", "op", "start", "worker",
                  (json_int_t)place->peer.number, "address", hosted->listener.address),
        err);
}

// What was said to it last goes out first, unless it is lost. The node stays known, for
// the report.
static void disconnect(struct place *place, bool lost) {
    if (lost && place->channel != NULL) channel_shutdown(place->channel);
    char *node = place->peer.handshake.node;
    place->peer.handshake.node = NULL;
    peer_free(&place->peer);
    place->peer.handshake.node = node;
    channel_free(place->channel);
    place->channel = NULL;
    place->peer.fd = -1;
    place->peer.up = false;
}

static void describe(const struct place *place, const char *known,
                     struct shoal_error *why) {
    char where[300] = "";
    const char *node = place->peer.handshake.node;
    const char *machine = place->machine != NULL ? place->machine : node;
    if (machine != NULL && place->pid > 0) {
        (void)snprintf(where, sizeof where, " (process %d on %.200s)", place->pid,
                       machine);
    } else if (machine != NULL) {  // it has not dialled
        (void)snprintf(where, sizeof where, " (on %.200s)", machine);
    }
    bool both = known != NULL && place->why[0] != '\0';
    shoal_fail(why, SHOAL_LOST, "worker %u%s was lost: %.700s%s%.1500s",
               place->peer.number, where,
               known != NULL           ? known
               : place->why[0] != '\0' ? ""
                                       : "its connection ended",
               both ? "; the cluster says: " : "", place->why);
    log_tail_attach(&place->log, why);
}

// ---- block files that workers keep

// Tells all workers where files are that were written on the node; NULL: on any.
static shoal_status tell_all(struct hosted *hosted, const char *node,
                             struct shoal_error *err) {
    char *text = NULL;
    shoal_status status = keepers_tell(&hosted->keepers, node, &text, err);
    for (size_t i = 0; text != NULL && i < hosted->count; i++) {
        if (hosted->places[i].peer.up)
            peer_tell(&hosted->places[i].peer, FRAME_SERVED, text);
    }
    free(text);
    return status;
}

#define DRIVER UINT32_MAX  // the writer of what this process writes

// A worker is up: it learns of the others, and they of it. Before its first task, as it
// gets that later.
static shoal_status introduce(struct hosted *hosted, struct place *place,
                              struct shoal_error *err) {
    const struct handshake *shake = &place->peer.handshake;
    char *text = NULL;
    shoal_status status = SHOAL_OK;
    bool all_see = hosted->spool.mode == SPOOL_SHARED;
    hosted->seen = true;
    if (!all_see)
        status = keepers_add(&hosted->keepers, place->peer.number, shake->node,
                             shake->serves, err);
    if (status == SHOAL_OK && !all_see) status = tell_all(hosted, shake->node, err);
    if (status == SHOAL_OK) status = keepers_tell(&hosted->keepers, NULL, &text, err);
    if (text != NULL) peer_tell(&place->peer, FRAME_SERVED, text);
    free(text);
    return status;
}

static shoal_status forget_keeper(struct hosted *hosted, const struct place *place,
                                  struct shoal_error *err) {
    const char *node = place->peer.handshake.node;
    if (!keepers_lose(&hosted->keepers, place->peer.number)) return SHOAL_OK;
    return tell_all(hosted, node, err);
}

static void hosted_drop(struct engine *engine, const char *path) {
    struct hosted *hosted = (struct hosted *)engine;
    uint32_t writer = 0;
    bool file = places_writer(path, &writer);
    const struct keeper *keeper = file ? keepers_of(&hosted->keepers, writer) : NULL;
    char *text = NULL;
    struct shoal_error ignored;
    if ((file && keeper == NULL) || hosted->keepers.count == 0) return;
    // What can't be said now goes with the worker's folder.
    if (json_take_text(json_pack("{s:[s]}", "paths", path), &text, &ignored) != SHOAL_OK)
        return;
    for (size_t i = 0; i < hosted->count; i++) {
        struct peer *peer = &hosted->places[i].peer;
        if (peer->up &&
            (file ? peer->number == keeper->number : peer->handshake.serves != NULL))
            peer_tell(peer, FRAME_DROP, text);
    }
    free(text);
}

static uint32_t hosted_node(const struct engine *engine, uint32_t worker) {
    return keepers_node(&((const struct hosted *)engine)->keepers, worker);
}

// ---- a worker ends

// The worker is lost: say so, and ask for another while the budget lasts.
static shoal_status lose(struct hosted *hosted, struct place *place, const char *known,
                         struct shoal_error *err) {
    struct shoal_error why;
    uint32_t number = place->peer.number;
    bool preempted = place->preempted, gone = place->gone;
    describe(place, known, &why);
    disconnect(place, true);
    shoal_status status = forget_keeper(hosted, place, err);
    handshake_free(&place->peer.handshake);
    free(place->machine);
    *place = (struct place){.peer = {.fd = -1}};
    struct engine_event *event = events_push(&hosted->events, ENGINE_DOWN, number);
    if (event == NULL) return shoal_no_memory(err);
    event->error = why;
    if (status == SHOAL_OK && !gone)
        status = host_say(
            &hosted->host,
            json_pack("{s:s, s:I}", "op", "stop", "worker", (json_int_t)number), err);
    if (status != SHOAL_OK) return status;
    if (hosted->replacements_left == 0 && !preempted) {
        if (count_asked(hosted) > 0) return SHOAL_OK;
        return shoal_fail(
            err, SHOAL_LOST,
            "no worker is left and the replacements are used up; the last: %.3800s",
            why.message);
    }
    if (!preempted) hosted->replacements_left--;
    return ask(hosted, place, err);
}

// Its connection has ended. Why, the cluster says in a moment.
static void end(struct place *place, double now) {
    if (place->peer.fd >= 0) disconnect(place, true);
    if (place->ended <= 0) place->ended = now;
}

// Nobody needs it: it leaves, and its slot goes back to the cluster.
static void give_back(struct hosted *hosted, struct place *place) {
    struct shoal_error ignored;
    uint32_t number = place->peer.number;
    struct engine_event *event = events_push(&hosted->events, ENGINE_DOWN, number);
    if (event == NULL) return;  // another time
    shoal_fail(&event->error, SHOAL_OK,
               "worker %u had no task for %g s and was given back to the cluster", number,
               hosted->options.cluster.idle_seconds);
    peer_bye(&place->peer);
    disconnect(place, false);
    handshake_free(&place->peer.handshake);
    free(place->machine);
    *place = (struct place){.peer = {.fd = -1}};
    // A host program that is gone shows by its closed socket.
    (void)host_say(&hosted->host,
                   json_pack("{s:s, s:I}", "op", "stop", "worker", (json_int_t)number),
                   &ignored);
}

// One that keeps block files has them to serve.
static void release_idle(struct hosted *hosted, double now, uint32_t spare) {
    double most = hosted->options.cluster.idle_seconds;
    for (size_t i = 0; i < hosted->count; i++) {
        struct place *place = &hosted->places[i];
        bool idle =
            place->peer.up && place->ended <= 0 && place->peer.assigned.count == 0;
        if (!idle) place->idle = 0;
        if (idle && place->idle <= 0) place->idle = now;
        bool keeps = place->peer.up && place->peer.handshake.serves != NULL;
        if (!idle || keeps || spare == 0 || now - place->idle < most) continue;
        give_back(hosted, place);
        spare--;
    }
}

static void hosted_wish(struct engine *engine, uint64_t tasks) {
    struct hosted *hosted = (struct hosted *)engine;
    const struct engine_options *options = &hosted->options;
    uint32_t least = options->cluster.least, asked = count_asked(hosted);
    uint64_t wanted = (tasks + options->worker.threads - 1) / options->worker.threads;
    double now = clock_seconds();
    hosted->tasks = tasks;
    if (least == 0 || hosted->listener.fd < 0) return;
    if (wanted < least) wanted = least;
    if (wanted > options->workers) wanted = options->workers;
    release_idle(hosted, now, wanted < asked ? (uint32_t)(asked - wanted) : 0);
    if (wanted <= asked) hosted->short_since = 0;
    if (wanted <= asked || hosted->replacements_left == 0) return;
    if (hosted->short_since <= 0) hosted->short_since = now;
    if (now - hosted->short_since < BACKLOG_SECONDS) return;
    struct shoal_error ignored;  // of a host program that is gone, as above
    for (; asked < wanted; asked++) (void)ask(hosted, free_place(hosted), &ignored);
}

// A host program that doesn't read misses them. last: all is about to be given back.
static void tell_metrics(struct hosted *hosted, double now, bool last) {
    struct metrics *metrics = &hosted->metrics;
    struct shoal_error ignored;
    uint64_t running = 0, up = 0;
    for (size_t i = 0; !last && i < hosted->count; i++) {
        running += hosted->places[i].peer.assigned.count;
        up += hosted->places[i].peer.up;
    }
    metrics->workers = up;
    metrics->tasks_running = running;
    metrics->tasks_waiting =
        !last && hosted->tasks > running ? hosted->tasks - running : 0;
    json_t *line = metrics_line(metrics, &hosted->told, now, last);
    if (line != NULL && host_reads(&hosted->host)) {
        (void)host_say(&hosted->host, line, &ignored);
    } else {
        json_decref(line);
    }
}

// ---- connections

static void drop_guest(struct hosted *hosted, size_t at) {
    peer_free(&hosted->guests[at].peer);
    channel_free(hosted->guests[at].channel);
    hosted->guests[at] = hosted->guests[--hosted->guest_count];
}

// A guest in whose place another may come: none while there is room. Those who come when
// all are new wait in the kernel's queue, as a worker dials once.
static size_t find_slow(const struct hosted *hosted) {
    double least = clock_seconds() + GREETING_SECONDS - CROWDED_SECONDS;
    size_t i = 0;
    while (i < hosted->guest_count && hosted->guests[i].until > least) i++;
    return i;
}

static bool has_room(const struct hosted *hosted) {
    return hosted->guest_count < GUESTS_MOST || find_slow(hosted) < GUESTS_MOST;
}

// With no file left for it the connection waits on: one may be free a little later.
static shoal_status wait_for_files(struct hosted *hosted, const char *why,
                                   struct shoal_error *err) {
    hosted->full_until = clock_seconds() + FULL_SECONDS;
    if (hosted->full_said) return SHOAL_OK;
    hosted->full_said = true;
    return note(hosted, why, err);
}

static shoal_status welcome(struct hosted *hosted, struct shoal_error *err) {
    while (has_room(hosted)) {
        int fd = -1;
        struct shoal_error why;
        if (net_accept(&hosted->listener, &fd, &why) != SHOAL_OK)
            return wait_for_files(hosted, why.message, err);
        if (fd < 0) break;
        if (hosted->guest_count == GUESTS_MOST) {
            size_t slow = find_slow(hosted);
            channel_shutdown(hosted->guests[slow].channel);
            drop_guest(hosted, slow);
        }
        struct guest *guest = &hosted->guests[hosted->guest_count];
        *guest = (struct guest){.until = clock_seconds() + GREETING_SECONDS};
        guest->peer =
            (struct peer){.number = UINT32_MAX,
                          .silent_seconds = hosted->silent_seconds,
                          .opens = &hosted->options.worker,
                          .reader = {.limit = GREETING_MOST},
                          .handshake = {.secret = hosted->secret,
                                        .spool = &hosted->spool,
                                        .engine_version = hosted->options.engine_version},
                          .watchdog = {.options = hosted->options.watchdog}};
        // One who can't be greeted is no reason for the run to end.
        if (channel_accept_descriptor(fd, hosted->secret, GREETING_SECONDS,
                                      &guest->channel, &guest->peer.fd, &why) != SHOAL_OK)
            continue;
        hosted->guest_count++;
        if (peer_open(&guest->peer, &why) != SHOAL_OK)
            drop_guest(hosted, hosted->guest_count - 1);
    }
    return SHOAL_OK;
}

static struct place *find_asked(struct hosted *hosted, uint32_t number) {
    for (size_t i = 0; i < hosted->count; i++) {
        struct place *place = &hosted->places[i];
        if (place->asked && place->peer.number == number) return place;
    }
    return NULL;
}

// It has proved itself: it is the worker whose number it says. One that was given up
// meanwhile is turned away.
static void seat(struct hosted *hosted, size_t at) {
    struct guest *guest = &hosted->guests[at];
    struct place *place = find_asked(hosted, guest->peer.number);
    if (guest->peer.handshake.node == NULL || place == NULL || place->peer.fd >= 0 ||
        place->ended > 0) {
        drop_guest(hosted, at);
        return;
    }
    place->peer = guest->peer;
    place->peer.read_log = read_log;
    place->peer.reader.limit = 0;
    place->pid = place->peer.handshake.pid;
    place->channel = guest->channel;
    *guest = hosted->guests[--hosted->guest_count];
}

// Says why a connection came to nothing: what a firewall or a tunnel does to workers' is
// seen here first. problem: what its frames said, if anything.
static void refuse(struct hosted *hosted, const struct guest *guest,
                   struct shoal_error *problem) {
    char waits[WHY_SIZE];
    struct shoal_error ignored;
    if (problem->status == SHOAL_OK && channel_why(guest->channel, problem) == SHOAL_OK)
        return;
    (void)snprintf(waits, sizeof waits, "a connection from %s was refused: %.1300s",
                   channel_peer(guest->channel), problem->message);
    if (strcmp(waits, hosted->waits) == 0) return;
    memcpy(hosted->waits, waits, sizeof waits);
    (void)note(hosted, waits, &ignored);
}

// *dropped: the guest's place in the list has another now, or none.
static shoal_status serve_guest(struct hosted *hosted, size_t at, bool *dropped,
                                struct shoal_error *err) {
    struct guest *guest = &hosted->guests[at];
    bool closed = false;
    struct shoal_error problem = {0};
    shoal_status status = peer_serve(&guest->peer, &hosted->events, &closed, &problem);
    *dropped = true;
    if (status == SHOAL_OK && !closed && guest->peer.handshake.proven) {
        seat(hosted, at);
    } else if (status != SHOAL_OK || closed) {
        bool proven = guest->peer.handshake.proven;
        if (status == SHOAL_OK || status == SHOAL_CORRUPT)
            refuse(hosted, guest, &problem);
        drop_guest(hosted, at);
        // Another version ends the run; nonsense of a stranger doesn't.
        if (status == SHOAL_NOMEM || status == SHOAL_USAGE ||
            (proven && status != SHOAL_OK && status != SHOAL_CORRUPT)) {
            *err = problem;
            return status;
        }
    } else {
        *dropped = false;
    }
    return SHOAL_OK;
}

static shoal_status serve(struct hosted *hosted, struct place *place, double now,
                          struct shoal_error *err) {
    bool closed = false, was_up = place->peer.up;
    struct shoal_error problem = {0};
    shoal_status status = peer_serve(&place->peer, &hosted->events, &closed, &problem);
    if (status == SHOAL_OK && place->peer.up && !was_up)
        return introduce(hosted, place, err);
    if (status == SHOAL_CORRUPT) {
        char why[sizeof problem.message + 32];
        (void)snprintf(why, sizeof why, "it broke the protocol: %s", problem.message);
        return lose(hosted, place, why, err);
    }
    if (status != SHOAL_OK) {
        *err = problem;
        return status;
    }
    if (closed) end(place, now);
    return SHOAL_OK;
}

// ---- what the host program says

static const char *text_of(const json_t *line, const char *name) {
    const char *text = json_string_value(json_object_get(line, name));
    return text == NULL ? "" : text;
}

// What is in this process's folders, for workers that don't see them.
static shoal_status serve_own(struct hosted *hosted, const char *host,
                              struct shoal_error *err) {
    const struct cluster_options *cluster = &hosted->options.cluster;
    const struct executor_options *worker = &hosted->options.worker;
    const char *paths[] = {worker->temp_dir, worker->memory_dir, worker->job_dir};
    struct server_folder folders[3];
    size_t count = 0;
    for (size_t i = 0; i < 3; i++) {
        if (paths[i] != NULL)
            folders[count++] = (struct server_folder){paths[i], paths[i]};
    }
    struct server_options server = {.host = host,
                                    .first_port = cluster->first_port,
                                    .last_port = cluster->last_port,
                                    .secret = hosted->secret,
                                    .folders = folders,
                                    .folder_count = count};
    shoal_status status = block_server_start(&server, &hosted->server, err);
    if (status != SHOAL_OK) return status;
    hosted->keepers.driver = block_server_address(hosted->server);
    return keepers_add(&hosted->keepers, DRIVER, "", NULL, err);
}

// The cluster is there: workers dial the address from which its head is reached, unless
// the user says which.
static shoal_status take_opened(struct hosted *hosted, const json_t *line,
                                struct shoal_error *err) {
    const struct cluster_options *cluster = &hosted->options.cluster;
    char route[NET_ADDRESS];
    const char *host = cluster->listen;
    shoal_status status = SHOAL_OK;
    if (hosted->listener.fd >= 0)
        return shoal_fail(err, SHOAL_CORRUPT,
                          "the host program opened the cluster twice");
    if (host == NULL) {
        status = net_route_to(text_of(line, "head"), route, sizeof route, err);
        host = route;
    }
    if (status == SHOAL_OK)
        status = net_listen(host, cluster->first_port, cluster->last_port,
                            &hosted->listener, err);
    if (status == SHOAL_OK && hosted->spool.mode != SPOOL_SHARED)
        status = serve_own(hosted, host, err);
    uint32_t least = cluster->least > 0 ? cluster->least : hosted->options.workers;
    for (size_t i = 0; status == SHOAL_OK && i < least; i++)
        status = ask(hosted, free_place(hosted), err);
    return status;
}

// Of several workers it mostly is the same: it is said once.
static shoal_status take_pending(struct hosted *hosted, const json_t *line,
                                 struct shoal_error *err) {
    char waits[WHY_SIZE];
    (void)snprintf(waits, sizeof waits, "waiting for a worker: %.1400s",
                   text_of(line, "why"));
    if (strcmp(waits, hosted->waits) == 0) return SHOAL_OK;
    memcpy(hosted->waits, waits, sizeof waits);
    return note(hosted, waits, err);
}

static shoal_status take_started(struct place *place, const json_t *line,
                                 struct shoal_error *err) {
    free(place->machine);
    const char *host = text_of(line, "host");
    json_int_t pid = json_integer_value(json_object_get(line, "pid"));
    if (pid > 0) place->pid = (int)pid;
    place->machine = *host == '\0' ? NULL : strdup(host);
    return place->machine != NULL || *host == '\0' ? SHOAL_OK : shoal_no_memory(err);
}

static shoal_status take_line(struct hosted *hosted, const json_t *line,
                              struct shoal_error *err) {
    const char *event = text_of(line, "event");
    if (strcmp(event, "opened") == 0) return take_opened(hosted, line, err);
    if (strcmp(event, "failed") == 0)
        return shoal_fail(err, SHOAL_USAGE, "--engine %s: %.3500s",
                          hosted->options.cluster.url, text_of(line, "why"));
    const json_t *number = json_object_get(line, "worker");
    struct place *place = NULL;
    if (json_is_integer(number) && json_integer_value(number) >= 0)
        place = find_asked(hosted, (uint32_t)json_integer_value(number));
    if (place == NULL) return SHOAL_OK;  // it was given up meanwhile
    if (strcmp(event, "pending") == 0) return take_pending(hosted, line, err);
    if (strcmp(event, "started") == 0) return take_started(place, line, err);
    if (strcmp(event, "log") == 0) {
        const char *text = text_of(line, "text");
        log_tail_add(&place->log, text, strlen(text));
        return SHOAL_OK;
    }
    if (strcmp(event, "gone") == 0) {
        place->gone = true;
        place->preempted = json_is_true(json_object_get(line, "preempted"));
        (void)snprintf(place->why, sizeof place->why, "%s", text_of(line, "why"));
        if (place->ended <= 0) place->ended = clock_seconds();
        return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_CORRUPT, "the host program sent an event '%.40s'",
                      event);
}

static shoal_status host_ended(struct hosted *hosted, struct shoal_error *err) {
    char how[96];
    host_close(&hosted->host, 1, how, sizeof how);
    shoal_fail(err, SHOAL_LOST, "the program that hosts workers on %s %s",
               hosted->options.cluster.url, how);
    log_tail_attach(&hosted->host.log, err);
    return err->status;
}

static shoal_status serve_host(struct hosted *hosted, struct shoal_error *err) {
    bool closed = false;
    shoal_status status = host_receive(&hosted->host, &closed, err);
    while (status == SHOAL_OK) {
        json_t *line = host_next(&hosted->host, err);
        if (line == NULL) {
            status = err->status;
            break;
        }
        status = take_line(hosted, line, err);
        json_decref(line);
    }
    return status == SHOAL_OK && closed ? host_ended(hosted, err) : status;
}

// ---- time

// Silent and hung workers; those that ended, once there is a cause or it is late.
static shoal_status watch(struct hosted *hosted, struct place *place, double now,
                          struct shoal_error *err) {
    char why[64];
    bool lost = false;
    if (!place->asked) return SHOAL_OK;
    if (place->ended > 0 &&
        ((place->gone && place->peer.fd < 0) || now - place->ended > CAUSE_SECONDS))
        return lose(hosted, place, NULL, err);
    if (place->peer.fd < 0) return SHOAL_OK;
    shoal_status status =
        peer_watch(&place->peer, now, &hosted->events, &lost, why, sizeof why, err);
    return status == SHOAL_OK && lost ? lose(hosted, place, why, err) : status;
}

static shoal_status watch_start(const struct hosted *hosted, double now,
                                struct shoal_error *err) {
    double most = hosted->options.cluster.start_seconds;
    if (hosted->seen || now - hosted->opened < most) return SHOAL_OK;
    return shoal_fail(err, SHOAL_TIMEOUT,
                      "no worker came up on %s within %g s (--start-timeout)%s%.1500s",
                      hosted->options.cluster.url, most,
                      hosted->waits[0] != '\0' ? ": " : "", hosted->waits);
}

// ---- the engine

#define POLLS_OTHER 3  // host program, its log, listener

static size_t list_polls(struct hosted *hosted) {
    struct pollfd *polls = hosted->polls;
    size_t count = 0;
    bool open = has_room(hosted) && clock_seconds() >= hosted->full_until;
    polls[count++] = (struct pollfd){.fd = hosted->host.fd, .events = POLLIN};
    polls[count++] = (struct pollfd){.fd = hosted->host.log_fd, .events = POLLIN};
    polls[count++] =
        (struct pollfd){.fd = open ? hosted->listener.fd : -1, .events = POLLIN};
    for (size_t i = 0; i < hosted->count; i++)
        polls[count++] =
            (struct pollfd){.fd = hosted->places[i].peer.fd, .events = POLLIN};
    for (size_t i = 0; i < hosted->guest_count; i++)
        polls[count++] =
            (struct pollfd){.fd = hosted->guests[i].peer.fd, .events = POLLIN};
    return count;
}

static shoal_status serve_guests(struct hosted *hosted, const struct pollfd *polls,
                                 size_t count, struct shoal_error *err) {
    double now = clock_seconds();
    // From the last: what takes the place of one that is dropped was served before.
    for (size_t i = count; i-- > 0;) {
        bool dropped = false;
        if (polls[i].revents != 0) {
            shoal_status status = serve_guest(hosted, i, &dropped, err);
            if (status != SHOAL_OK) return status;
        }
        if (!dropped && now > hosted->guests[i].until) drop_guest(hosted, i);
    }
    return SHOAL_OK;
}

static shoal_status wait_for_all(struct hosted *hosted, int timeout_ms,
                                 struct shoal_error *err) {
    size_t places = hosted->count, guests = hosted->guest_count;
    size_t count = list_polls(hosted);
    if (poll(hosted->polls, count, timeout_ms) < 0) {
        if (errno == EINTR) return SHOAL_OK;
        return shoal_fail(err, SHOAL_IO, "cannot wait for workers: %s", strerror(errno));
    }
    const struct pollfd *polls = hosted->polls;
    double now = clock_seconds();
    shoal_status status = SHOAL_OK;
    if (polls[1].revents != 0) host_read_log(&hosted->host);
    for (size_t i = 0; status == SHOAL_OK && i < places; i++) {
        if (polls[POLLS_OTHER + i].revents != 0)
            status = serve(hosted, &hosted->places[i], now, err);
    }
    if (status == SHOAL_OK)
        status = serve_guests(hosted, polls + POLLS_OTHER + places, guests, err);
    if (status == SHOAL_OK && polls[0].revents != 0) status = serve_host(hosted, err);
    if (status == SHOAL_OK && polls[2].revents != 0) status = welcome(hosted, err);
    for (size_t i = 0; status == SHOAL_OK && i < hosted->count; i++)
        status = watch(hosted, &hosted->places[i], now, err);
    if (hosted->listener.fd >= 0) tell_metrics(hosted, now, false);
    return status == SHOAL_OK ? watch_start(hosted, now, err) : status;
}

static shoal_status hosted_poll(struct engine *engine, int timeout_ms,
                                struct engine_event *event, struct shoal_error *err) {
    struct hosted *hosted = (struct hosted *)engine;
    memset(event, 0, sizeof *event);
    bool taken = events_take(&hosted->events, event);
    shoal_status status = taken ? SHOAL_OK : wait_for_all(hosted, timeout_ms, err);
    if (status == SHOAL_OK && !taken) taken = events_take(&hosted->events, event);
    if (status == SHOAL_OK && taken) metrics_count(&hosted->metrics, event);
    return status;
}

static struct peer *find(struct hosted *hosted, uint32_t worker) {
    struct place *place = find_asked(hosted, worker);
    return place != NULL && place->peer.up ? &place->peer : NULL;
}

static shoal_status hosted_run(struct engine *engine, uint32_t worker,
                               const struct task *task, struct shoal_error *err) {
    struct peer *peer = find((struct hosted *)engine, worker);
    if (peer == NULL) return shoal_fail(err, SHOAL_LOST, "worker %u is gone", worker);
    return peer_run(peer, task, err);
}

static void hosted_cancel(struct engine *engine, uint32_t worker, uint64_t task,
                          uint32_t attempt) {
    struct peer *peer = find((struct hosted *)engine, worker);
    if (peer != NULL) peer_cancel(peer, task, attempt);
}

// A file in each of this process's folders: a worker that finds it there sees them.
static shoal_status mark_folders(struct hosted *hosted, bool there,
                                 struct shoal_error *err) {
    const struct executor_options *worker = &hosted->options.worker;
    const char *paths[] = {worker->temp_dir, worker->memory_dir, worker->job_dir};
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < 3; i++) {
        struct text path = {0};
        if (paths[i] == NULL || hosted->spool.token[0] == '\0') continue;
        text_printf(&path, "%s/%s", paths[i], hosted->spool.token);
        int fd = path.failed || !there
                     ? -1
                     : open(path.data, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (path.failed) {
            status = shoal_no_memory(err);
        } else if (!there) {
            (void)unlink(path.data);
        } else if (fd < 0) {
            status = shoal_fail(err, SHOAL_IO, "cannot write to %s: %s", paths[i],
                                strerror(errno));
        } else {
            close(fd);
        }
        text_free(&path);
    }
    return status;
}

// Workers are told to leave, and the cluster to take everything back.
static void hosted_close(struct engine *engine) {
    struct hosted *hosted = (struct hosted *)engine;
    char how[96];
    struct shoal_error ignored;
    if (hosted == NULL) return;
    if (hosted->listener.fd >= 0) tell_metrics(hosted, clock_seconds(), true);
    for (size_t i = 0; i < hosted->count; i++) {
        if (hosted->places[i].peer.fd >= 0) peer_bye(&hosted->places[i].peer);
    }
    if (hosted->host.pid > 0)
        (void)host_say(&hosted->host, json_pack("{s:s}", "op", "close"), &ignored);
    host_close(&hosted->host, CLOSE_SECONDS, how, sizeof how);
    while (hosted->guest_count > 0) drop_guest(hosted, hosted->guest_count - 1);
    for (size_t i = 0; i < hosted->count; i++) {
        disconnect(&hosted->places[i], false);
        handshake_free(&hosted->places[i].peer.handshake);
        free(hosted->places[i].machine);
    }
    listener_close(&hosted->listener);
    block_server_stop(hosted->server);
    remote_close();
    places_forget();
    keepers_free(&hosted->keepers);
    (void)mark_folders(hosted, false, &ignored);
    events_free(&hosted->events);
    proof_forget(hosted->secret);
    free(hosted->places);
    free(hosted->polls);
    engine_options_free(&hosted->options);
    free(hosted);
}

static const struct engine_ops hosted_ops = {.name = "hosted",
                                             .run = hosted_run,
                                             .cancel = hosted_cancel,
                                             .drop = hosted_drop,
                                             .node = hosted_node,
                                             .wish = hosted_wish,
                                             .poll = hosted_poll,
                                             .close = hosted_close};

shoal_status engine_hosted_open(const struct engine_options *options,
                                struct engine **engine, struct shoal_error *err) {
    *engine = NULL;
    struct hosted *hosted = calloc(1, sizeof *hosted);
    if (hosted == NULL) return shoal_no_memory(err);
    hosted->engine.ops = &hosted_ops;
    hosted->listener.fd = hosted->host.fd = hosted->host.log_fd = -1;
    hosted->replacements_left = 3 + 2 * options->workers;
    hosted->silent_seconds = peer_silent_seconds();
    hosted->spool.mode = options->cluster.spool;
    hosted->opened = clock_seconds();
    hosted->places = calloc(options->workers, sizeof *hosted->places);
    hosted->polls =
        calloc(POLLS_OTHER + options->workers + GUESTS_MOST, sizeof *hosted->polls);
    shoal_status status = engine_options_copy(options, &hosted->options, err);
    if (hosted->options.watchdog.grace_seconds > hosted->silent_seconds)
        hosted->options.watchdog.grace_seconds = hosted->silent_seconds;
    if (status == SHOAL_OK && (hosted->places == NULL || hosted->polls == NULL))
        status = shoal_no_memory(err);
    if (status == SHOAL_OK) status = proof_make_secret(hosted->secret, err);
    if (status == SHOAL_OK) status = proof_make_nonce(hosted->spool.token, err);
    if (status == SHOAL_OK) status = proof_make_nonce(hosted->spool.run, err);
    if (status == SHOAL_OK) status = mark_folders(hosted, true, err);
    if (status == SHOAL_OK) remote_open(hosted->secret, NULL);
    if (status == SHOAL_OK)
        status = host_open(&hosted->host, &hosted->options, hosted->secret, err);
    if (status != SHOAL_OK) {
        hosted_close(&hosted->engine);
        return status;
    }
    *engine = &hosted->engine;
    return SHOAL_OK;
}
