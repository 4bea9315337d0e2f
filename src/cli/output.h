// Where the rows of a command go: standard output, a file that is there once all went
// well, or what else has a name in the file system.
#ifndef SHOAL_CLI_OUTPUT_H
#define SHOAL_CLI_OUTPUT_H

#include <stdio.h>

#include "base/status.h"

struct output {
    FILE *stream;      // to be written to; NULL: not open
    const char *path;  // NULL: standard output
    char *target;      // the file that part is renamed to: path, or what it is a link to
    char *part;        // NULL: what is written goes to fd at once
    int fd;            // of a pipe, a device or standard output; or -1
    int error;         // errno of the first write to fd that failed
};

// *output must stay where it is until it is closed; path, as long. What is no file, like
// a pipe or a device, is opened and written as it is: the first waits for a reader. A
// write to it, or to standard output, fails once the command is to stop, however long its
// reader takes.
shoal_status output_open(struct output *output, const char *path,
                         struct shoal_error *err);

// The file is there if status is SHOAL_OK, and as before if not. Returns status, or why
// what had gone well till here could not be written. Nothing to do for one not open.
shoal_status output_close(struct output *output, shoal_status status,
                          struct shoal_error *err);

#endif
