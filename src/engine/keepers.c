#include "engine/keepers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "block/places.h"

shoal_status keepers_add(struct keepers *keepers, uint32_t number, const char *node,
                         const char *address, struct shoal_error *err) {
    struct keeper *list =
        realloc(keepers->list, (keepers->count + 1) * sizeof *keepers->list);
    if (list == NULL) return shoal_no_memory(err);
    keepers->list = list;
    struct keeper *keeper = &list[keepers->count];
    uint32_t nodes = 0, same = UINT32_MAX;
    for (size_t i = 0; i < keepers->count; i++) {
        if (list[i].node_number >= nodes) nodes = list[i].node_number + 1;
        if (strcmp(list[i].node, node) == 0) same = list[i].node_number;
    }
    *keeper = (struct keeper){.number = number,
                              .node_number = same == UINT32_MAX ? nodes : same,
                              .node = strdup(node),
                              .address = address == NULL ? NULL : strdup(address),
                              .up = true};
    if (keeper->node != NULL && (address == NULL || keeper->address != NULL)) {
        keepers->count++;
        return SHOAL_OK;
    }
    free(keeper->node);
    free(keeper->address);
    return shoal_no_memory(err);
}

static struct keeper *find(const struct keepers *keepers, uint32_t number) {
    for (size_t i = 0; i < keepers->count; i++) {
        if (keepers->list[i].number == number) return &keepers->list[i];
    }
    return NULL;
}

bool keepers_lose(struct keepers *keepers, uint32_t number) {
    struct keeper *keeper = find(keepers, number);
    if (keeper != NULL) keeper->up = false;
    return keeper != NULL;
}

static bool serves(const struct keeper *keeper, const char *node) {
    return keeper->up && keeper->address != NULL && strcmp(keeper->node, node) == 0;
}

const struct keeper *keepers_of(const struct keepers *keepers, uint32_t number) {
    const struct keeper *writer = find(keepers, number);
    for (size_t i = 0; writer != NULL && i < keepers->count; i++) {
        const struct keeper *other = &keepers->list[i];
        if (serves(other, writer->node)) return other;
    }
    return NULL;
}

uint32_t keepers_node(const struct keepers *keepers, uint32_t number) {
    const struct keeper *keeper = find(keepers, number);
    return keeper == NULL || keeper->address == NULL ? UINT32_MAX : keeper->node_number;
}

// Its own first, then its neighbours'; there is room for the driver's.
static size_t list_addresses(const struct keepers *keepers, const struct keeper *keeper,
                             const char *addresses[PLACES_ADDRESSES]) {
    size_t count = 0;
    if (serves(keeper, keeper->node)) addresses[count++] = keeper->address;
    for (size_t i = 0; i < keepers->count && count + 1 < PLACES_ADDRESSES; i++) {
        const struct keeper *other = &keepers->list[i];
        if (other != keeper && serves(other, keeper->node))
            addresses[count++] = other->address;
    }
    return count;
}

shoal_status keepers_tell(const struct keepers *keepers, const char *node, char **text,
                          struct shoal_error *err) {
    uint64_t before = memory_failures();
    shoal_status status = SHOAL_OK;
    json_t *message = json_object();
    *text = NULL;
    for (size_t i = 0; status == SHOAL_OK && i < keepers->count; i++) {
        const struct keeper *keeper = &keepers->list[i];
        const char *addresses[PLACES_ADDRESSES];
        char name[16];
        if (node != NULL && strcmp(node, keeper->node) != 0) continue;
        size_t count = list_addresses(keepers, keeper, addresses);
        // This process looks into its folders itself: what is not there is nowhere.
        status = places_served(keeper->number, addresses, count, err);
        if (keepers->driver != NULL) addresses[count++] = keepers->driver;
        json_t *list = json_array();
        for (size_t a = 0; a < count; a++)
            json_array_append_new(list, json_string(addresses[a]));
        (void)snprintf(name, sizeof name, "%u", keeper->number);
        json_object_set_new(message, name, list);
    }
    if (status == SHOAL_OK && json_object_size(message) > 0)
        return json_take_whole(message, before, text, err);
    json_decref(message);
    return status;
}

void keepers_free(struct keepers *keepers) {
    for (size_t i = 0; i < keepers->count; i++) {
        free(keepers->list[i].node);
        free(keepers->list[i].address);
    }
    free(keepers->list);
    *keepers = (struct keepers){0};
}
