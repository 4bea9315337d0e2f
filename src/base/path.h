// Paths that a peer names: are they what they look like, and below the folder that they
// may be in? Any thread.
#ifndef SHOAL_BASE_PATH_H
#define SHOAL_BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>

// Whole, and with no part that leads elsewhere by its name.
bool path_is_plain(const char *path);
// By their names; folder may be NULL: nothing is below it. Nothing is below itself.
bool path_is_below(const char *path, const char *folder);
// No link behind the first `from` bytes of the path, which end where a '/' is, nor at its
// end: what is not there yet can be none. False when out of memory.
bool path_has_no_link(const char *path, size_t from);

#endif
