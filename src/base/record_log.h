// A file of records that only grows: each is its length and a check of that (4 bytes
// each, little-endian), the xxh3 checksum of both and the payload (8 bytes), and the
// payload. Whoever dies while it appends leaves a torn tail, which the next one to open
// the file cuts off; a record that is damaged in the middle is an error, as what follows
// it may matter.
#ifndef SHOAL_BASE_RECORD_LOG_H
#define SHOAL_BASE_RECORD_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define RECORD_LOG_MOST (256u << 20)

struct record_log {
    int fd;  // -1: closed
    char *path;
};

// Takes one payload, which is valid during the call. A failure ends the reading.
typedef shoal_status (*record_visit)(void *context, const char *payload, size_t size,
                                     struct shoal_error *err);

// Fails when the file is there.
shoal_status record_log_create(struct record_log *log, const char *path,
                               struct shoal_error *err);
// Visits all whole records in their order, and is ready to append. SHOAL_CORRUPT for a
// damaged one that others follow, with its place.
shoal_status record_log_open(struct record_log *log, const char *path, record_visit visit,
                             void *context, struct shoal_error *err);
// The same of a file that another process may be appending to: nothing is cut off, and
// nothing can be appended.
shoal_status record_log_read(const char *path, record_visit visit, void *context,
                             struct shoal_error *err);
// Whole, or, when it fails, as if it had not been called.
shoal_status record_log_append(struct record_log *log, const char *payload, size_t size,
                               struct shoal_error *err);
// What was appended survives a loss of power.
shoal_status record_log_sync(struct record_log *log, struct shoal_error *err);
void record_log_close(struct record_log *log);

#endif
