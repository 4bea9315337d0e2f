#include "query/spares.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

// The first that has so many bytes or more; count: none has.
static size_t first_of(const struct spares *spares, uint64_t bytes) {
    size_t low = 0, high = spares->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (spares->list[middle].bytes < bytes)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void take_out(struct spares *spares, size_t at) {
    spares->bytes -= spares->list[at].bytes;
    free(spares->list[at].path);
    spares->count--;
    memmove(spares->list + at, spares->list + at + 1,
            (spares->count - at) * sizeof *spares->list);
}

static bool reserve(struct spares *spares) {
    if (spares->count < spares->capacity) return true;
    size_t capacity = spares->capacity ? spares->capacity * 2 : 64;
    struct spare *list = realloc(spares->list, capacity * sizeof *list);
    if (list == NULL) return false;
    spares->list = list;
    spares->capacity = capacity;
    return true;
}

bool spares_keep(struct spares *spares, const char *folder, const char *path,
                 uint64_t bytes) {
    struct text name = {0};
    if (bytes == 0 || !reserve(spares)) return false;
    text_printf(&name, "%s/spare%llu", folder, (unsigned long long)spares->named);
    if (name.failed || rename(path, name.data) != 0) {
        text_free(&name);
        return false;
    }
    size_t at = first_of(spares, bytes);
    memmove(spares->list + at + 1, spares->list + at,
            (spares->count - at) * sizeof *spares->list);
    spares->list[at] = (struct spare){text_take(&name), bytes};
    spares->count++;
    spares->named++;
    spares->bytes += bytes;
    return true;
}

uint64_t spares_lend(struct spares *spares, uint64_t wanted, uint64_t most,
                     const char *path) {
    size_t at = first_of(spares, wanted < most ? wanted : most);
    // One that is too small saves less, one that is too large is no loss but its end.
    if (at == spares->count || spares->list[at].bytes > most) {
        if (at == 0) return 0;
        at--;
    }
    uint64_t bytes = spares->list[at].bytes;
    bool moved = rename(spares->list[at].path, path) == 0;
    take_out(spares, at);
    return moved ? bytes : 0;
}

void spares_shrink(struct spares *spares, uint64_t most) {
    while (spares->bytes > most) {
        (void)unlink(spares->list[spares->count - 1].path);
        take_out(spares, spares->count - 1);
    }
}

void spares_free(struct spares *spares) {
    for (size_t i = 0; i < spares->count; i++) free(spares->list[i].path);
    free(spares->list);
    *spares = (struct spares){0};
}
