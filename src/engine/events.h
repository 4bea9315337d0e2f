// What an engine has to say and nobody has asked for yet: a queue.
#ifndef SHOAL_ENGINE_EVENTS_H
#define SHOAL_ENGINE_EVENTS_H

#include "engine/engine.h"

struct events {
    struct engine_event *list;  // [first, last)
    size_t first, last, capacity;
};

// A new event at the end, zero but for these two; valid until the next push. NULL: out of
// memory.
struct engine_event *events_push(struct events *events, enum engine_event_kind kind,
                                 uint32_t worker);
// The first one, which is the caller's; false: there is none.
bool events_take(struct events *events, struct engine_event *event);
void events_free(struct events *events);

#endif
