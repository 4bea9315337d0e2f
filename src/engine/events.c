#include "engine/events.h"

#include <stdlib.h>
#include <string.h>

static bool make_room(struct events *events) {
    if (events->last < events->capacity) return true;
    if (events->first > 0) {
        memmove(events->list, events->list + events->first,
                (events->last - events->first) * sizeof *events->list);
        events->last -= events->first;
        events->first = 0;
        return true;
    }
    size_t capacity = events->capacity ? events->capacity * 2 : 64;
    struct engine_event *list = realloc(events->list, capacity * sizeof *list);
    if (list == NULL) return false;
    events->list = list;
    events->capacity = capacity;
    return true;
}

struct engine_event *events_push(struct events *events, enum engine_event_kind kind,
                                 uint32_t worker) {
    if (!make_room(events)) return NULL;
    struct engine_event *event = &events->list[events->last++];
    memset(event, 0, sizeof *event);
    event->kind = kind;
    event->worker = worker;
    return event;
}

bool events_take(struct events *events, struct engine_event *event) {
    if (events->first == events->last) return false;
    *event = events->list[events->first++];
    return true;
}

void events_free(struct events *events) {
    for (size_t i = events->first; i < events->last; i++) {
        task_output_free(&events->list[i].output);
        free(events->list[i].lost);
    }
    free(events->list);
    *events = (struct events){0};
}
