// Where block files that workers wrote are to be had. Those that a worker keeps in
// folders of its own come from any worker of the same node that is up, as they share
// their folders (worker/shelter.h). What it writes to the driver's folders, which not
// every node may see, comes from the driver. Driver thread only.
#ifndef SHOAL_ENGINE_KEEPERS_H
#define SHOAL_ENGINE_KEEPERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct keeper {
    uint32_t number;
    uint32_t node_number;  // the same for all of a node, from 0 on
    char *node, *address;  // address NULL: it keeps nothing of its own
    bool up;
};

struct keepers {
    struct keeper *list;
    size_t count;
    const char *driver;  // the address that has the driver's folders
};

// Worker `number` is up, and serves what is kept on its node; address NULL: it writes to
// the driver's folders alone.
shoal_status keepers_add(struct keepers *keepers, uint32_t number, const char *node,
                         const char *address, struct shoal_error *err);
// It went. False: it was none.
bool keepers_lose(struct keepers *keepers, uint32_t number);
// {"number": [address, ...]} of all that have worked on the node; node NULL: on any. This
// process knows it from then on as well, but for the driver's address, which is its own.
// Free *text; NULL: it is about nobody.
shoal_status keepers_tell(const struct keepers *keepers, const char *node, char **text,
                          struct shoal_error *err);
// One that is up and can remove what the worker wrote; NULL: none.
const struct keeper *keepers_of(const struct keepers *keepers, uint32_t number);
// The number of the node that keeps what the worker wrote; UINT32_MAX: none does.
uint32_t keepers_node(const struct keepers *keepers, uint32_t number);
void keepers_free(struct keepers *keepers);

#endif
