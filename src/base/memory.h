// Amounts of memory: what the machine has, what a user writes.
#ifndef SHOAL_BASE_MEMORY_H
#define SHOAL_BASE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

// Bytes that this process may use: of the machine, or of its control group if that is
// less. 0: unknown.
uint64_t memory_of_machine(void);

// "512MB", "1.5 GiB", "4G", "1000000": KB is 1,000 bytes and KiB 1,024, as in DuckDB; a
// bare letter is as with B. False when it is none of these, or 0.
bool memory_parse(const char *text, uint64_t *bytes);

// How many allocations failed in this thread, as far as it was noted: of texts, schemas
// and JSON, whose makers look later or not at all. Who works with many of them asks
// before and after.
uint64_t memory_failures(void);
void memory_failed(void);

#endif
