// Standard output as a stream that never waits for its reader without an end: once the
// command is to stop, what is written fails at once.
#ifndef SHOAL_CLI_OUTPUT_H
#define SHOAL_CLI_OUTPUT_H

#include <stdio.h>

#include "base/status.h"

// NULL: out of memory. *error, which must live as long as the stream, becomes the errno
// of the first write that failed.
FILE *output_open(int *error);

#endif
