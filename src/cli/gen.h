// shoal gen: tables to try things on.
#ifndef SHOAL_CLI_GEN_H
#define SHOAL_CLI_GEN_H

#include <signal.h>

#include "base/status.h"

// argv[0] is "gen", what is made comes next. SHOAL_USAGE says which option is wrong, and
// why. *cancelled ends it when it is set.
shoal_status gen_command(int argc, char **argv, const volatile sig_atomic_t *cancelled,
                         struct shoal_error *err);

#endif
