// A folder of this process's temporary files, gone when it is closed. One that a killed
// process left behind is removed by the next process that opens one beside it: each holds
// a lock on its folder for as long as it lives.
#ifndef SHOAL_BASE_SPOOL_H
#define SHOAL_BASE_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct spool {
    char *path;  // NULL while closed
    int lock;
    bool shared;  // spool_join
};

// Makes <parent>/shoal-XXXXXX. parent NULL: $TMPDIR, else /tmp. option is the one that
// chooses another, for the error.
shoal_status spool_open(struct spool *spool, const char *parent, const char *option,
                        struct shoal_error *err);
// Makes <parent>/<prefix>XXXXXX; only those of the same prefix are swept. undo, not NULL,
// takes back what a dead process had begun, by what is in its folder; false: the folder
// is still needed and stays.
shoal_status spool_open_as(struct spool *spool, const char *parent, const char *prefix,
                           bool (*undo)(const char *path), struct shoal_error *err);
// Makes <parent>/shoal-XXXXXX, a name that follows from the tag, or joins those processes
// that have made it: the last one to close it removes it. parent NULL: as above.
shoal_status spool_join(struct spool *spool, const char *parent, const char *tag,
                        struct shoal_error *err);
// Takes over the folder that a dead process had made with this prefix. False: it is gone,
// another has it, or this user's shoal didn't make it.
bool spool_adopt(struct spool *spool, const char *prefix, const char *path);
// One that is shared stays while others have it.
void spool_close(struct spool *spool);
void spool_leave(struct spool *spool);  // closes it, but what is in it stays
// From any thread, once, before the process ends where it stands: removes all folders
// that are open. From then on spool_hold waits for ever.
void spool_abandon_all(void);
void spool_spare(const struct spool *spool);  // it leaves this one: a job goes on from it
// Between these two, spool_abandon_all waits: what is in a folder goes to its place.
void spool_hold(void);
void spool_release(void);
// Removes a folder and what is in it; what can't be removed stays.
void spool_remove_tree(const char *path);

enum spool_fate {
    SPOOL_REMOVED,  // or would be
    SPOOL_ALIVE,    // whoever made it lives
    SPOOL_FOREIGN,  // it has such a name, but this user's shoal didn't make it
    SPOOL_NEEDED,   // undo couldn't take back what it had begun
    SPOOL_STUCK,    // something in it can't be removed
};
// All folders in parent that spool_open_as could have made with this prefix; what dead
// processes left is undone and removed, but if only_look. False: parent can't be read
// (errno).
bool spool_sweep(const char *parent, const char *prefix, bool (*undo)(const char *path),
                 bool only_look,
                 void (*tell)(void *context, const char *path, enum spool_fate fate),
                 void *context);

#define SPOOL_PREFIX "shoal-"    // of those that hold a query's files
#define SPOOL_STAGING ".shoal-"  // the prefix of a sink's
// Is it a name that spool_open_as gives with this prefix? Is the folder one that it made?
bool spool_is_named(const char *name, const char *prefix);
bool spool_is_marked(const char *path);
// Of a path that begins in a folder: does it stay below that, by its names?
bool spool_stays_below(const char *path);

struct spool_space {
    bool in_memory;  // a tmpfs
    bool remote;     // a network file system, or one that a program serves
    uint64_t free;   // bytes
};
// False when this process can't make files in the folder.
bool spool_space(const char *folder, struct spool_space *space);

#endif
