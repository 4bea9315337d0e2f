// Which workers keep block files in folders of their own, and where these are to be had:
// from any worker of the same node that is up, as they share their folders
// (worker/shelter.h). Driver thread only.
#ifndef SHOAL_ENGINE_KEEPERS_H
#define SHOAL_ENGINE_KEEPERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct keeper {
    uint32_t number;
    char *node, *address;
    bool up;
};

struct keepers {
    struct keeper *list;
    size_t count;
};

// Worker `number` is up, and serves what is kept on its node.
shoal_status keepers_add(struct keepers *keepers, uint32_t number, const char *node,
                         const char *address, struct shoal_error *err);
// It went. False: it was none.
bool keepers_lose(struct keepers *keepers, uint32_t number);
// {"number": [address, ...]} of all that have worked on the node; node NULL: on any. This
// process knows it from then on as well. Free *text; NULL: it is about nobody.
shoal_status keepers_tell(const struct keepers *keepers, const char *node, char **text,
                          struct shoal_error *err);
// One that is up and can remove what the worker wrote; NULL: none.
const struct keeper *keepers_of(const struct keepers *keepers, uint32_t number);
void keepers_free(struct keepers *keepers);

#endif
