// What a run has done so far, for the cluster's own monitoring: told to the host program,
// which has the cluster's way to publish it. Driver thread only.
#ifndef SHOAL_ENGINE_METRICS_H
#define SHOAL_ENGINE_METRICS_H

#include <jansson.h>

#include "engine/engine.h"

struct metrics {
    // Since the engine was opened, over all its queries.
    uint64_t tasks_done, tasks_failed;  // attempts; each that is accepted or not
    uint64_t workers_lost;              // not those that were given back
    uint64_t rows, bytes;               // that tasks wrote
    // Now.
    uint64_t workers, tasks_running, tasks_waiting;
    double told;  // when; 0: never
};

// The driver takes the event.
void metrics_count(struct metrics *metrics, const struct engine_event *event);
// The line for the host program, {"op": "metrics", "values": {...}}, at most one a second
// and only of what has changed since *before, what was told last; NULL: nothing to tell,
// or no memory to tell it. last: no other will come, so that it is not too soon.
json_t *metrics_line(struct metrics *metrics, struct metrics *before, double now,
                     bool last);

#endif
