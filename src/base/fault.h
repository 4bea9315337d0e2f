// Faults on purpose, for tests of the whole program: SHOAL_FAULT=POINT:NTH:ACTION. It is
// a seam under file calls and frames, as SQLite has: without the variable each point is a
// comparison with NULL.
//
// POINT is a name of the table in fault.c, which is in enum fault_point's order;
// POINT@driver and POINT@worker are that process alone. NTH is N, the N-th time in each
// process, N+, then and whenever later, or ~P, each time with a probability of 1/P, by
// chance from SHOAL_FAULT_SEED. ACTION is one that the point can do:
//
//   kill, exit     the process ends there, by SIGKILL or at once with code 99
//   hang           that thread waits for ever
//   delay          it waits up to 0.3 s, delay=SECONDS so long, and goes on
//   ENOSPC, EIO, EACCES, EINVAL   the call fails with that errno
//   short          half is written, then the write fails; of what a block server sends,
//                  half comes, then the connection ends
//   flip           one bit of what is written or read is another
//   truncate       what was written loses its end, without an error
//   drop, duplicate, reorder      a frame: it is lost, sent twice, or comes after the
//   next
//
// POINT:NTH:ACTION:TEXT counts only paths with TEXT in them. Commas stand between faults.
#ifndef SHOAL_BASE_FAULT_H
#define SHOAL_BASE_FAULT_H

#include <stddef.h>

#include "base/status.h"

enum fault_point {
    FAULT_SPOOL_CREATE,   // a folder for temporary or staged files is about to be made
    FAULT_BLOCK_CREATE,   // a block file is about to be made
    FAULT_BLOCK_WRITE,    // a piece of a block file is written
    FAULT_BLOCK_OPEN,     // a block file is opened to be read
    FAULT_BLOCK_READ,     // a piece of a block file is read
    FAULT_INPUT_OPEN,     // a user's Parquet file is opened, for its footer
    FAULT_INPUT_READ,     // a piece of such a footer is read
    FAULT_SINK_MOVE,      // a file that counts moves within its sink's staging folder
    FAULT_SINK_CREATE,    // a sink's journal is about to be made
    FAULT_SINK_JOURNAL,   // a sink's journal is written
    FAULT_COMMIT_RENAME,  // a file or folder moves to the target
    FAULT_COMMIT_SWAP,    // a folder and the target's change places
    FAULT_COMMIT_LOG,     // an entry of a Delta log is written, aside
    FAULT_COMMIT_LINK,    // that entry, or a checkpoint, gets its name
    FAULT_COMMIT_CHECKPOINT,  // a Delta checkpoint's actions or its hint are written
    FAULT_COMMIT_HINT,        // the hint gets its name
    FAULT_UNDO_MOVE,          // what a dead or failed run had moved goes back
    FAULT_ENGINE_SPAWN,       // a worker is about to be started
    FAULT_DRIVER_SEND,        // the driver sends a frame
    FAULT_WORKER_HELLO,       // a worker is about to say that it is there
    FAULT_WORKER_SEND,        // a worker sends a frame
    FAULT_WORKER_TASK,        // a task is about to run
    FAULT_SERVER_READ,        // a block server reads what was asked for
    FAULT_REMOTE_CONNECT,     // a block server is about to be connected to
    FAULT_REMOTE_READ,        // a piece of what it sends is read
    FAULT_JOB_OPEN,           // a job's log is about to be made or opened
    FAULT_JOB_APPEND,         // a record of it is written
    FAULT_JOB_READ,           // a piece of it is read
    FAULT_JOB_SYNC,           // it is forced to the disk
    FAULT_POINTS
};

// What a point is to do, beside an errno: more than 0.
enum {
    FAULT_NONE = 0,
    FAULT_SHORT = -1,
    FAULT_FLIP = -2,
    FAULT_TRUNCATE = -3,
    FAULT_DROP = -4,
    FAULT_DUPLICATE = -5,
    FAULT_REORDER = -6
};

// NULL in production; unit tests set their own.
extern int (*fault_hook)(enum fault_point point, const char *path);

// What is to go wrong here: FAULT_NONE, an errno, or one of the above. Where the process
// ends, hangs or waits, that happens within.
static inline int fault_at(enum fault_point point, const char *path) {
    return fault_hook == NULL ? FAULT_NONE : fault_hook(point, path);
}

// The same for a point that only can fail: true, with errno set.
bool fault_fails(enum fault_point point, const char *path);

// Reads the variable; without it nothing changes. SHOAL_USAGE, with the list of points,
// for one that is malformed. Before any thread starts.
shoal_status fault_from_environment(bool worker, struct shoal_error *err);

#endif
