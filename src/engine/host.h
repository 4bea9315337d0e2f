// The host program, a child of the driver: a small Python program that asks the user's
// cluster for workers and says what becomes of them (python/shoal/host). Lines of JSON
// both ways; what it writes on its standard error is its log. When its input ends it
// gives everything back and exits, so nothing is left when the driver is killed.
//   driver  {"op": "open", "url", "secret", "program", "name", "workers", "cpus",
//            "memory", "resources", "options", "start_timeout", "ship"}
//           {"op": "start", "worker", "address"}   {"op": "stop", "worker"}
//           {"op": "metrics", "values"}   {"op": "close"}
//   host    {"event": "opened", "cluster", "head"}   {"event": "failed", "why"}
//           {"event": "pending" | "started" | "log" | "gone", "worker", ...}
#ifndef SHOAL_ENGINE_HOST_H
#define SHOAL_ENGINE_HOST_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "engine/engine.h"
#include "engine/log_tail.h"

struct host {
    pid_t pid;   // 0: there is none, or it is reaped
    int fd;      // lines both ways; -1: none
    int log_fd;  // -1 once it has ended
    struct log_tail log;
    char *lines;  // what has come and is no whole line yet
    size_t size, capacity;
};

// Starts it, and tells it to open the cluster.
shoal_status host_open(struct host *host, const struct engine_options *options,
                       const uint8_t *secret, struct shoal_error *err);
// Would a short line be taken at once?
bool host_reads(const struct host *host);
// Consumes the line. SHOAL_LOST: the program has gone.
shoal_status host_say(struct host *host, json_t *line, struct shoal_error *err);
// Reads what there is; *closed: it has ended.
shoal_status host_receive(struct host *host, bool *closed, struct shoal_error *err);
// The next whole line, to be freed with json_decref; NULL: none, or *err says what is
// wrong with it.
json_t *host_next(struct host *host, struct shoal_error *err);
void host_read_log(struct host *host);
// Has ended by itself, or is ended after so many seconds. how: in words.
void host_close(struct host *host, double patience, char *how, size_t size);

#endif
