// Where workers live. An engine starts workers, carries frames to and from them and says
// when one went away; it knows nothing of stages. Driver thread only.
#ifndef SHOAL_ENGINE_ENGINE_H
#define SHOAL_ENGINE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "engine/watchdog.h"
#include "task/executor.h"
#include "task/task.h"

// Where hosted workers keep block files: in the driver's folders if they see them; always
// there; always in folders of their own, which block servers give to the others.
enum cluster_spool { SPOOL_AUTO, SPOOL_SHARED, SPOOL_OWN };

// A cluster that the user has, and what is asked of it.
struct cluster_options {
    const char *url;        // ray://..., dask://..., spark://...; NULL: none
    const char *python;     // the interpreter that knows the cluster's package
    const char *name;       // of the run, in the cluster's own views; NULL: "shoal"
    uint32_t least;         // workers, that it begins with and keeps; 0: all
    uint64_t memory_bytes;  // that a worker asks the cluster for; 0: nothing
    const char *resources;  // JSON object: labels and amounts a worker asks for
    const char *settings;   // JSON object: the cluster's own, as they are
    double idle_seconds;    // one of more than these without a task is given back
    double start_seconds;   // the first worker is up by then
    enum cluster_spool spool;
    bool ship;           // the program is not on the nodes
    const char *listen;  // host that workers dial; NULL: by the route to the head
    uint16_t first_port, last_port;  // 0: any
};

struct engine_options {
    uint32_t workers;            // at most
    const char *program;         // path of the shoal program
    const char *engine_version;  // of DuckDB here: a worker's must be the same
    struct watchdog_options watchdog;
    struct executor_options worker;  // what each worker opens
    struct cluster_options cluster;  // that hosts them; its url NULL: this machine
};

// options.c: with texts of its own.
shoal_status engine_options_copy(const struct engine_options *from,
                                 struct engine_options *to, struct shoal_error *err);
void engine_options_free(struct engine_options *options);  // of such a copy

enum engine_event_kind {
    ENGINE_NOTHING,
    ENGINE_UP,
    ENGINE_DOWN,
    ENGINE_DONE,
    ENGINE_FAILED,
    ENGINE_NOTE  // for the user: what is waited for
};

struct engine_event {
    enum engine_event_kind kind;
    uint32_t worker;  // a new incarnation has a new number
    uint64_t task;    // id, for DONE and FAILED
    uint32_t attempt;
    struct task_output output;  // DONE: the receiver owns it
    struct shoal_error error;   // FAILED, DOWN: why; NOTE: the words
    char *lost;  // FAILED: a block file that the task couldn't read, malloc'd, or NULL
};

struct engine;

struct engine_ops {
    const char *name;
    shoal_status (*run)(struct engine *engine, uint32_t worker, const struct task *task,
                        struct shoal_error *err);
    void (*cancel)(struct engine *engine, uint32_t worker, uint64_t task,
                   uint32_t attempt);
    // A file, by its writer, or a folder that all have, is not needed any more: it goes
    // from where workers keep it if that is not the driver's own. NULL: it always is.
    void (*drop)(struct engine *engine, const char *path);
    // The number of the node, from 0 on, that keeps what the worker wrote; also of one
    // that is gone. UINT32_MAX: none does, it is where the driver's own is. NULL: always.
    uint32_t (*node)(const struct engine *engine, uint32_t worker);
    // So many tasks run or could: an engine that scales asks for workers by it, or gives
    // some back. NULL: it doesn't.
    void (*wish)(struct engine *engine, uint64_t tasks);
    // Waits up to timeout_ms for one event; ENGINE_NOTHING at the timeout or on a signal.
    shoal_status (*poll)(struct engine *engine, int timeout_ms,
                         struct engine_event *event, struct shoal_error *err);
    // Stops every worker (politely, then by SIGKILL), reaps them, frees the engine.
    void (*close)(struct engine *engine);
};

struct engine {
    const struct engine_ops *ops;
};

// Child processes of this one over socketpairs. A worker that dies is reported DOWN and
// replaced by a new incarnation (UP), at most 3 + 2 * workers times.
shoal_status engine_local_open(const struct engine_options *options,
                               struct engine **engine, struct shoal_error *err);
// Processes that the cluster of options->cluster hosts, over TCP: hosted.c. One that goes
// is replaced as above; one that the cluster takes away (pre-emption) always.
shoal_status engine_hosted_open(const struct engine_options *options,
                                struct engine **engine, struct shoal_error *err);
// Kills all children of this process, from any thread: it is about to end.
void engine_local_abandon(void);

#endif
