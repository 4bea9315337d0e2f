// Where files are that messages name. The names are the driver's, on its machine, the
// same for all: *logical*. A process that does not see the driver's folders keeps its
// files in folders of its own (places_keep), and reads what others have written from
// where they are served (places_served; block/remote.h). Without either a name is the
// path itself. Process-wide, under a mutex: any thread.
#ifndef SHOAL_BLOCK_PLACES_H
#define SHOAL_BLOCK_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define PLACES_FOLDERS 4     // that are kept elsewhere
#define PLACES_ADDRESSES 16  // of one writer

// Files that are named below `logical` are kept by this process below `folder`; both are
// absolute and plain (base/path.h). A second call for one `logical` replaces the first.
// SHOAL_USAGE: too many, or no such path.
shoal_status places_keep(const char *logical, const char *folder,
                         struct shoal_error *err);
// Where this process keeps the file of that name, or the folder; the name itself if no
// folder is set for it. free() it; NULL: out of memory.
char *places_local(const char *path);
// The same, and the folders on the way to a file that is kept elsewhere are there
// afterwards, as far as they can be made.
char *places_local_to_write(const char *path);
// The name of a file that this process keeps there: the other way round.
char *places_logical(const char *path);

// Files whose name says that this worker wrote them (places_writer) are served at these
// addresses, in the order in which they are to be tried; count 0: nowhere.
shoal_status places_served(uint32_t writer, const char *const *addresses, size_t count,
                           struct shoal_error *err);
// The number of the worker that wrote the file, by its name: "/…/s0.t1.a0.w7/…" is 7.
bool places_writer(const char *path, uint32_t *writer);

struct places_addresses {
    char *list[PLACES_ADDRESSES];
    size_t count;
};
// Where the file is served: those of its writer. count 0: nowhere. SHOAL_NOMEM.
shoal_status places_find(const char *path, struct places_addresses *addresses,
                         struct shoal_error *err);
void places_addresses_free(struct places_addresses *addresses);

// Removes the file or folder of that name where this process keeps it, and its task's own
// folder if that is empty then; what is not there is no error. A name for which no folder
// is set stays: it is the driver's.
void places_remove(const char *path);
void places_forget(void);  // all of it

#endif
