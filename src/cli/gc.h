// shoal gc DIR: removes what processes that were killed left in a folder.
#ifndef SHOAL_CLI_GC_H
#define SHOAL_CLI_GC_H

#include <stdio.h>

#include "base/status.h"

// argv[0] is the command's name. Says to out what went and what stays, and why.
shoal_status gc_command(int argc, char **argv, FILE *out, struct shoal_error *err);

#endif
