// What a file was when it was looked at: another one later means that it was written to
// or replaced. Sizes and times are compared, as file systems that programs serve may
// number the same file differently each time.
#ifndef SHOAL_BASE_FILE_STATE_H
#define SHOAL_BASE_FILE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct file_state {
    bool known;  // it is a regular file of this machine's
    uint64_t bytes;
    int64_t changed;  // its time of change, in nanoseconds
};

// A pipe, a path of another machine, or what can't be looked at, is not known; nor is a
// file that the kernel makes as it is read.
struct file_state file_state_read(const char *path);
// Is it still that file? SHOAL_USER, in words about a query that ran meanwhile, when not.
// Of what was not known nothing is said.
shoal_status file_state_check(const char *path, const struct file_state *then,
                              struct shoal_error *err);

#endif
