// Status codes and the caller-owned error that every fallible function fills.
#ifndef SHOAL_BASE_STATUS_H
#define SHOAL_BASE_STATUS_H

#include <stdbool.h>
#include <stdint.h>

enum shoal_status {
    SHOAL_OK = 0,
    SHOAL_USER,         // the query or its data is at fault; a retry cannot help
    SHOAL_USAGE,        // a bad option or argument
    SHOAL_UNSUPPORTED,  // a refusal to distribute: fall back, never wrong
    SHOAL_IO,           // files, sockets, processes
    SHOAL_NOMEM,
    SHOAL_CANCELLED,
    SHOAL_LOST,     // a worker went away
    SHOAL_CORRUPT,  // a block or frame failed its check
    SHOAL_DISK_FULL,
    SHOAL_TIMEOUT,  // a task took longer than it may
    SHOAL_INTERNAL,
};

typedef enum shoal_status shoal_status;

// Owned by the caller, fixed size, never allocates. message says what was tried, on
// what, and what to do. retriable: another worker or another attempt may succeed.
struct shoal_error {
    shoal_status status;
    bool retriable;
    char message[4000];
};

// Fills err (which may be NULL) and returns status, so that callers can
// `return shoal_fail(err, SHOAL_IO, ...)`. retriable is set for IO, LOST,
// CORRUPT, DISK_FULL and TIMEOUT.
shoal_status shoal_fail(struct shoal_error *err, shoal_status status, const char *format,
                        ...) __attribute__((format(printf, 3, 4)));

// SHOAL_NOMEM, "out of memory".
shoal_status shoal_no_memory(struct shoal_error *err);

// A stable lower-case name, used in messages and on the wire.
const char *shoal_status_name(shoal_status status);

#endif
