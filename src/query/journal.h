// What a run is about to change in a target that stays: written into its staging folder
// before the first change and removed after the last, which is when the run has happened.
// If the run dies between, the next one to the same place takes its changes back by what
// the journal says, so that a run that was killed can be run again: no row is lost or
// doubled.
#ifndef SHOAL_QUERY_JOURNAL_H
#define SHOAL_QUERY_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

// Folders of a staging folder: new ones and files before they move, below the paths that
// they will have in the target; old ones where two folders can't change places at once,
// by number.
#define JOURNAL_READY "ready"
#define JOURNAL_REPLACED "replaced"

struct journal_entry {
    const char *path;  // below the target; "": all of it
    bool folder;       // it replaces one that is there; else a file that is new there
};

// The entries are all in staging/ready. The run's own files in a folder that replaces one
// begin with prefix; others that come there meanwhile are kept. NULL: none are.
shoal_status journal_write(const char *staging, const char *target, const char *prefix,
                           const struct journal_entry *entries, size_t count,
                           struct shoal_error *err);
// The changes count from here on.
shoal_status journal_end(const char *staging, struct shoal_error *err);
// Takes back what a journal in there says, if there is one. False: it could not, and what
// it needs must stay.
bool journal_undo(const char *staging);

#endif
