// How large a statement the driver plans.
#ifndef SHOAL_PLAN_LIMITS_H
#define SHOAL_PLAN_LIMITS_H

#include "base/status.h"

// SHOAL_USER when parentheses stay open: DuckDB would say so too, but its parser takes
// time with the square of their number, and no interrupt.
shoal_status limits_balanced(const char *sql, struct shoal_error *err);
// SHOAL_UNSUPPORTED names the limit that the statement is past.
shoal_status limits_check(const char *sql, struct shoal_error *err);

// Does the statement read a pipe or a device? What planning sees of it is gone then.
bool limits_pipe(const char *sql);

#endif
