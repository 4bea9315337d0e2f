// A worker answers at once, whatever its tasks do: the main thread only reads frames,
// starts and interrupts; each slot has a thread that runs one task at a time and sends
// its result. When the driver goes away the worker does: its connection closes, and where
// the kernel can tell, it is killed with its parent.
#include "worker/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/frame.h"
#include "base/json.h"
#include "block/places.h"
#include "task/heartbeat.h"
#include "worker/greeting.h"
#include "worker/paths.h"
#include "worker/shelter.h"
#include "worker/vitals.h"

struct slot {
    struct worker *worker;
    uint32_t number;
    pthread_t thread;
    bool started;
    struct task *task;  // what it runs or is about to; NULL when free
    bool cancelled;
};

struct worker {
    struct frame_writer writer;  // under send_mutex
    const struct executor_ops *ops;
    struct executor *executor;
    struct slot *slots;
    uint32_t slot_count;
    pthread_mutex_t mutex;  // guards the slots' task and cancelled, and leaving
    pthread_cond_t wake;
    bool leaving;
    pthread_mutex_t send_mutex;
    struct greeting greeting;  // I/O thread only, as all below
    struct paths paths;
    struct shelter shelter;
    const char *host;
    struct vitals vitals;
    double next_beat;
};

// @locks send_mutex
static bool send_text(struct worker *worker, enum frame_type type, const char *text) {
    struct shoal_error err;
    pthread_mutex_lock(&worker->send_mutex);
    shoal_status status = frame_send(&worker->writer, type, text, strlen(text), &err);
    pthread_mutex_unlock(&worker->send_mutex);
    return status == SHOAL_OK;
}

// lost: a block file that the task couldn't read, or NULL.
static char *failure_text(const struct task *task, const char *lost,
                          const struct shoal_error *why) {
    struct shoal_error err;
    char *text = NULL;
    json_t *message = json_string(why->message);
    if (message == NULL) message = json_string("the message is not valid UTF-8");
    json_take_text(
        json_pack("{s:I, s:I, s:i, s:b, s:o, s:s*}", "task", (json_int_t)task->id,
                  "attempt", (json_int_t)task->attempt, "status", (int)why->status,
                  "retriable", why->retriable, "message", message, "lost", lost),
        &text, &err);
    return text;
}

// Runs the task; *text becomes the payload of the frame that answers it.
static enum frame_type run_task(struct slot *slot, const struct task *task,
                                bool cancelled, char **text) {
    struct worker *worker = slot->worker;
    struct task_output output = {0};
    struct shoal_error err = {0};
    shoal_status status = SHOAL_OK;
    if (cancelled) {
        status = shoal_fail(&err, SHOAL_CANCELLED, "cancelled before it ran");
    } else if (fault_fails(FAULT_WORKER_TASK, task->output)) {
        status = shoal_fail(&err, SHOAL_IO, "cannot run the task: %s", strerror(errno));
    } else {
        status = worker->ops->run(worker->executor, slot->number, task, &output, &err);
    }
    if (status == SHOAL_OK)
        status = task_output_encode(task->id, task->attempt, &output, text, &err);
    // Beside other tasks, or in a smaller worker, there may be enough.
    if (status == SHOAL_NOMEM) err.retriable = true;
    if (status != SHOAL_OK) *text = failure_text(task, output.lost, &err);
    task_output_free(&output);
    return status == SHOAL_OK ? FRAME_DONE : FRAME_FAILED;
}

// An answer without any memory: the driver would wait for one.
static enum frame_type no_memory_text(const struct task *task, char *text, size_t size) {
    (void)snprintf(text, size,
                   "{\"task\":%llu,\"attempt\":%u,\"status\":%d,\"retriable\":false,"
                   "\"message\":\"out of memory\"}",
                   (unsigned long long)task->id, task->attempt, (int)SHOAL_NOMEM);
    return FRAME_FAILED;
}

static void *slot_main(void *argument) {
    struct slot *slot = argument;
    struct worker *worker = slot->worker;
    pthread_mutex_lock(&worker->mutex);
    while (!worker->leaving) {
        if (slot->task == NULL) {
            pthread_cond_wait(&worker->wake, &worker->mutex);
            continue;
        }
        struct task *task = slot->task;
        bool cancelled = slot->cancelled;
        pthread_mutex_unlock(&worker->mutex);
        char *text = NULL, short_text[160];
        enum frame_type type = run_task(slot, task, cancelled, &text);
        if (text == NULL) type = no_memory_text(task, short_text, sizeof short_text);
        // The slot is free before the driver hears of it: its next task finds it so.
        pthread_mutex_lock(&worker->mutex);
        slot->task = NULL;
        slot->cancelled = false;
        bool leaving = worker->leaving;
        pthread_mutex_unlock(&worker->mutex);
        task_free(task);  // only now nobody looks at it to cancel it
        // What fails as the worker leaves was interrupted, and says nothing of the task:
        // the driver finds the worker gone, and runs it elsewhere.
        if (!(leaving && type == FRAME_FAILED))
            send_text(worker, type, text != NULL ? text : short_text);
        free(text);
        pthread_mutex_lock(&worker->mutex);
    }
    pthread_mutex_unlock(&worker->mutex);
    return NULL;
}

static shoal_status take_task(struct worker *worker, const char *payload, size_t size,
                              struct shoal_error *err) {
    struct task *task = NULL;
    shoal_status status = task_decode(payload, size, &task, err);
    if (status == SHOAL_OK) status = paths_check(&worker->paths, task, err);
    if (status != SHOAL_OK) {
        char *text = status == SHOAL_USAGE ? failure_text(task, NULL, err) : NULL;
        bool said = text != NULL && send_text(worker, FRAME_FAILED, text);
        free(text);
        task_free(task);
        return said ? SHOAL_OK : status;
    }
    pthread_mutex_lock(&worker->mutex);
    for (uint32_t i = 0; task != NULL && i < worker->slot_count; i++) {
        if (worker->slots[i].task != NULL) continue;
        worker->slots[i].task = task;
        task = NULL;
    }
    pthread_cond_broadcast(&worker->wake);
    pthread_mutex_unlock(&worker->mutex);
    if (task == NULL) return SHOAL_OK;
    task_free(task);
    return shoal_fail(err, SHOAL_CORRUPT, "protocol error: more tasks than slots");
}

static shoal_status cancel_task(struct worker *worker, const char *payload, size_t size,
                                struct shoal_error *err) {
    json_t *root = NULL;
    uint64_t id = 0, attempt = 0;
    shoal_status status = json_parse_object(payload, size, &root, err);
    if (status == SHOAL_OK) status = json_get_count(root, "task", INT64_MAX, &id, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "attempt", UINT32_MAX, &attempt, err);
    json_decref(root);
    if (status != SHOAL_OK) return status;
    pthread_mutex_lock(&worker->mutex);
    for (uint32_t i = 0; i < worker->slot_count; i++) {
        struct slot *slot = &worker->slots[i];
        if (slot->task == NULL || slot->task->id != id || slot->task->attempt != attempt)
            continue;
        slot->cancelled = true;
        worker->ops->interrupt(worker->executor, i);
    }
    pthread_mutex_unlock(&worker->mutex);
    return SHOAL_OK;
}

static void interrupt_all(struct worker *worker) {
    pthread_mutex_lock(&worker->mutex);
    worker->leaving = true;
    for (uint32_t i = 0; i < worker->slot_count; i++) {
        if (worker->slots[i].task != NULL) worker->ops->interrupt(worker->executor, i);
    }
    pthread_cond_broadcast(&worker->wake);
    pthread_mutex_unlock(&worker->mutex);
}

#define INTERRUPT_AGAIN_NS 20000000

// An interrupt that comes before its task runs is lost: until all have ended they are
// interrupted again.
static void end_slots(struct worker *worker) {
    interrupt_all(worker);  // before any of them is waited for
    for (uint32_t i = 0; i < worker->slot_count; i++) {
        struct timespec until;
        bool runs = worker->slots[i].started;
        while (runs) {
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += INTERRUPT_AGAIN_NS;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            interrupt_all(worker);
            runs =
                pthread_timedjoin_np(worker->slots[i].thread, NULL, &until) == ETIMEDOUT;
        }
        task_free(worker->slots[i].task);  // that it never came to
        worker->slots[i].task = NULL;
    }
}

static shoal_status start_slots(struct worker *worker, uint32_t threads,
                                struct shoal_error *err) {
    worker->slots = calloc(threads, sizeof *worker->slots);
    if (worker->slots == NULL) return shoal_no_memory(err);
    for (uint32_t i = 0; i < threads; i++) {
        struct slot *slot = &worker->slots[i];
        slot->worker = worker;
        slot->number = i;
        worker->slot_count++;
        if (pthread_create(&slot->thread, NULL, slot_main, slot) != 0) {
            return shoal_fail(err, SHOAL_IO, "cannot start a task thread: %s",
                              strerror(errno));
        }
        slot->started = true;
    }
    return SHOAL_OK;
}

static bool say_opened(struct worker *worker, shoal_status status,
                       const struct shoal_error *why) {
    struct shoal_error err;
    char *text = NULL;
    (void)fault_at(FAULT_WORKER_HELLO, "");
    json_t *hello = json_object();
    if (status != SHOAL_OK)
        json_object_set_new(hello, "error", json_string(why->message));
    if (status == SHOAL_NOMEM) json_object_set_new(hello, "no_memory", json_true());
    const char *serves = shelter_address(&worker->shelter);
    if (serves != NULL) json_object_set_new(hello, "serves", json_string(serves));
    bool ok = json_take_text(hello, &text, &err) == SHOAL_OK &&
              send_text(worker, FRAME_HELLO, text);
    free(text);
    return ok;
}

static shoal_status take_challenge(struct worker *worker, const char *payload,
                                   size_t size, struct shoal_error *err) {
    char *proof = NULL;
    shoal_status status = greeting_answer(&worker->greeting, worker->ops->version(),
                                          payload, size, &proof, err);
    if (status == SHOAL_OK) send_text(worker, FRAME_PROOF, proof);
    free(proof);
    return status;
}

// A driver that proved itself is told what went wrong; another is told nothing.
static shoal_status take_hello(struct worker *worker, const char *payload, size_t size,
                               struct shoal_error *err) {
    json_t *root = NULL;
    const char **allowed = NULL;
    struct executor_options options;
    bool once = worker->executor == NULL;
    shoal_status status =
        greeting_trust(&worker->greeting, payload, size, &root, &allowed, &options, err);
    bool trusted = worker->greeting.trusted;
    if (status == SHOAL_OK && once) status = paths_open(&worker->paths, &options, err);
    if (status == SHOAL_OK && once)
        status = shelter_open(&worker->shelter, root, worker->greeting.node, worker->host,
                              worker->greeting.secret, &options, err);
    if (status == SHOAL_OK) status = worker->ops->open(&options, &worker->executor, err);
    json_decref(root);
    free(allowed);
    if (status == SHOAL_OK) status = start_slots(worker, options.threads, err);
    if (trusted && !say_opened(worker, status, err) && status == SHOAL_OK)
        status = shoal_fail(err, SHOAL_LOST, "the driver is gone");
    return status;
}

#define SERVED_MOST 100000  // workers in one message
static shoal_status take_served(const char *payload, size_t size,
                                struct shoal_error *err) {
    json_t *root = NULL, *list = NULL;
    const char *name = NULL;
    shoal_status status = json_parse_object(payload, size, &root, err);
    if (status == SHOAL_OK && json_object_size(root) > SERVED_MOST)
        status = shoal_fail(err, SHOAL_CORRUPT, "a message names too many workers");
    json_object_foreach(root, name, list) {
        const char *addresses[PLACES_ADDRESSES];
        char *end = NULL;
        unsigned long writer = strtoul(name, &end, 10);
        size_t count = json_array_size(list);
        bool good = status == SHOAL_OK && end != name && *end == '\0' &&
                    writer <= UINT32_MAX && count <= PLACES_ADDRESSES;
        for (size_t i = 0; good && i < count; i++) {
            addresses[i] = json_string_value(json_array_get(list, i));
            good = addresses[i] != NULL;
        }
        if (status == SHOAL_OK && !good)
            status =
                shoal_fail(err, SHOAL_CORRUPT, "a message of addresses makes no sense");
        if (status == SHOAL_OK)
            status = places_served((uint32_t)writer, addresses, count, err);
    }
    json_decref(root);
    return status;
}

static shoal_status take_drop(struct worker *worker, const char *payload, size_t size,
                              struct shoal_error *err) {
    json_t *root = NULL, *list = NULL, *path = NULL;
    size_t i = 0;
    shoal_status status = json_parse_object(payload, size, &root, err);
    if (status == SHOAL_OK) status = json_get_array(root, "paths", SIZE_MAX, &list, err);
    json_array_foreach(list, i, path) {
        const char *text = json_string_value(path);
        if (status == SHOAL_OK && !paths_owns(&worker->paths, text))
            status =
                shoal_fail(err, SHOAL_CORRUPT,
                           "protocol error: a file to drop is in no folder that this "
                           "worker was told");
        if (status == SHOAL_OK) places_remove(text);
    }
    json_decref(root);
    return status;
}

// Returns false when the worker should leave.
static bool take_frame(struct worker *worker, enum frame_type type, const char *payload,
                       size_t size) {
    struct shoal_error err = {0};
    shoal_status status = SHOAL_OK;
    bool open = worker->executor != NULL;
    if (type == FRAME_BYE) return false;
    if (type == FRAME_HEARTBEAT && open) return true;  // its number was what counts
    if (type == FRAME_CHALLENGE) {
        status = take_challenge(worker, payload, size, &err);
    } else if (type == FRAME_HELLO) {
        status = take_hello(worker, payload, size, &err);
    } else if (type == FRAME_RUN && open) {
        status = take_task(worker, payload, size, &err);
    } else if (type == FRAME_CANCEL && open) {
        status = cancel_task(worker, payload, size, &err);
    } else if (type == FRAME_SERVED && open) {
        status = take_served(payload, size, &err);
    } else if (type == FRAME_DROP && open) {
        status = take_drop(worker, payload, size, &err);
    } else {
        status = shoal_fail(&err, SHOAL_CORRUPT,
                            "protocol error: a message of kind %d from a driver %s",
                            (int)type, open ? "" : "that has not proved itself");
    }
    if (status != SHOAL_OK) fprintf(stderr, "shoal worker: %s\n", err.message);
    return status == SHOAL_OK;
}

static bool send_heartbeat(struct worker *worker) {
    struct heartbeat beat = {0};
    struct shoal_error err;
    char *text = NULL;
    beat.tasks = calloc(worker->slot_count + 1, sizeof *beat.tasks);
    if (beat.tasks == NULL) return true;  // the next one may have its memory
    pthread_mutex_lock(&worker->mutex);
    for (uint32_t i = 0; i < worker->slot_count; i++) {
        const struct task *task = worker->slots[i].task;
        if (task == NULL) continue;
        // One that was cancelled before it ran has not heard of it.
        if (worker->slots[i].cancelled) worker->ops->interrupt(worker->executor, i);
        beat.tasks[beat.count++] = (struct heartbeat_task){
            task->id, task->attempt, worker->ops->progress(worker->executor, i)};
    }
    pthread_mutex_unlock(&worker->mutex);
    vitals_read(&worker->vitals, &beat);
    bool ok = heartbeat_encode(&beat, &text, &err) != SHOAL_OK ||
              send_text(worker, FRAME_HEARTBEAT, text);
    free(text);
    heartbeat_free(&beat);
    return ok;
}

// Milliseconds until the next heartbeat, which is sent if it is due. -1: the driver is
// gone.
static int beat(struct worker *worker) {
    double now = clock_seconds();
    if (now >= worker->next_beat) {
        if (worker->executor != NULL && !send_heartbeat(worker)) return -1;
        worker->next_beat = now + 1;
    }
    return (int)((worker->next_beat - now) * 1000) + 1;
}

int worker_serve(const struct worker_options *options, const struct executor_ops *ops) {
    int fd = options->fd;
    struct worker worker = {
        .writer = {.fd = fd, .point = FAULT_WORKER_SEND},
        .ops = ops,
        .host = options->host,
        .shelter = {.disk = {.lock = -1}, .memory = {.lock = -1}},
        .greeting = {.number = options->number, .node = options->node}};
    struct frame_reader reader = {0};
    struct shoal_error err;
    bool stay = true;
    memcpy(worker.greeting.secret, options->secret, sizeof worker.greeting.secret);
    pthread_mutex_init(&worker.mutex, NULL);
    pthread_mutex_init(&worker.send_mutex, NULL);
    pthread_cond_init(&worker.wake, NULL);
    vitals_open(&worker.vitals);
    while (stay) {
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        int patience = beat(&worker);
        int ready = patience < 0 ? -1 : poll(&poller, 1, patience);
        if (ready < 0 && (patience < 0 || errno != EINTR)) break;
        if (ready <= 0) continue;
        bool closed = false;
        if (frame_receive(&reader, fd, &closed, &err) != SHOAL_OK || closed) stay = false;
        for (;;) {
            bool found = false;
            enum frame_type type;
            const char *payload = NULL;
            size_t size = 0;
            if (frame_next(&reader, &found, &type, &payload, &size, &err) != SHOAL_OK) {
                fprintf(stderr, "shoal worker: %s\n", err.message);
                stay = false;
            }
            if (!found || !stay) break;
            stay = take_frame(&worker, type, payload, size);
        }
    }
    end_slots(&worker);
    if (worker.executor != NULL) worker.ops->close(worker.executor);
    free(worker.slots);
    frame_writer_free(&worker.writer);
    vitals_close(&worker.vitals);
    shelter_close(&worker.shelter);
    paths_close(&worker.paths);
    proof_forget(worker.greeting.secret);
    frame_reader_free(&reader);
    pthread_cond_destroy(&worker.wake);
    pthread_mutex_destroy(&worker.mutex);
    pthread_mutex_destroy(&worker.send_mutex);
    return 0;
}
