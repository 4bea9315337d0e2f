// Internal to src/query: files in memory that no task needs any more, kept to be written
// over by the next. A new page costs more than the copy into it: it has to be found,
// charged for and, on a virtual machine, often fetched from the host.
//
// Their names are below the session's spool, so they go when it goes. Driver thread only.
#ifndef SHOAL_QUERY_SPARES_H
#define SHOAL_QUERY_SPARES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spare {
    char *path;
    uint64_t bytes;
};

struct spares {
    struct spare *list;  // by size, the smallest first
    size_t count, capacity;
    uint64_t bytes;  // of all
    uint64_t named;  // how many names were given
};

// The file becomes a spare below the folder. False: it stays as it is.
bool spares_keep(struct spares *spares, const char *folder, const char *path,
                 uint64_t bytes);
// The spare next in size to `wanted`, but of `most` bytes at most, is at `path` from now
// on: its bytes; 0: there is none.
uint64_t spares_lend(struct spares *spares, uint64_t wanted, uint64_t most,
                     const char *path);
// Removes some until they have `most` bytes together.
void spares_shrink(struct spares *spares, uint64_t most);
// Forgets all; the files go with their folder.
void spares_free(struct spares *spares);

#endif
