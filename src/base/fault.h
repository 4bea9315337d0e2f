// Faults on purpose, for the tests of the whole program: SHOAL_FAULT=CALL:FAULT:N makes
// the N-th such file call of each process fail, N+ also all later ones. CALL is open,
// write, read, rename, link or swap; FAULT is ENOSPC, EIO, EACCES, EINVAL, FLIP (one bit
// of what is written changes) or KILL (the process kills itself there). CALL:FAULT:N:TEXT
// counts only calls on files with this text in their path.
#ifndef SHOAL_BASE_FAULT_H
#define SHOAL_BASE_FAULT_H

#include "base/status.h"

// Reads the variable; without it nothing changes. SHOAL_USAGE for one that is malformed.
// Before any thread starts.
shoal_status fault_from_environment(struct shoal_error *err);

#endif
