// A seam for tests: the N-th allocation of shoal's own code fails, or all from it on. The
// linker puts these in the place of malloc and its like in the objects of one program
// (FAIL_ALLOC_OPTIONS in CMakeLists.txt), so not in DuckDB's library; jansson's go
// through its hooks.
//
// In a program that nobody calls fail_alloc_at in, the environment says it:
// SHOAL_FAIL_ALLOC=PROCESS:N[+][:FILE], where PROCESS is driver or worker, and "+" is all
// from there on. With a FILE it fails in one process alone, the one that makes the file:
// a worker that ends by it is replaced by one that doesn't. SHOAL_COUNT_ALLOC=FOLDER
// keeps a file PROCESS.PID there, of how many allocations a process made.
#ifndef SHOAL_TEST_FAIL_ALLOC_H
#define SHOAL_TEST_FAIL_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

// From now on number `at` fails, the next is 1; 0: none. on: and each after it.
void fail_alloc_at(uint64_t at, bool on);
// Ends it: did one fail?
bool fail_alloc_end(void);

#endif
