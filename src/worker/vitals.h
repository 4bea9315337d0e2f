// What the process has used so far, as the system counts it: for heartbeats.
#ifndef SHOAL_WORKER_VITALS_H
#define SHOAL_WORKER_VITALS_H

#include <stdint.h>

#include "task/heartbeat.h"

struct vitals {
    int io;        // /proc/self/io; -1: it can't be read here
    uint64_t own;  // bytes that reading it took, which it counts too
};

void vitals_open(struct vitals *vitals);
void vitals_read(struct vitals *vitals, struct heartbeat *beat);
void vitals_close(struct vitals *vitals);

#endif
