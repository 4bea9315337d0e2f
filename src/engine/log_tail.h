// The end of what a worker wrote on its standard error: whole lines, at most 50 of them
// and 8 KiB, for the error that names its end.
#ifndef SHOAL_ENGINE_LOG_TAIL_H
#define SHOAL_ENGINE_LOG_TAIL_H

#include <stddef.h>

#include "base/status.h"

#define LOG_TAIL_BYTES 8192
#define LOG_TAIL_LINES 50

struct log_tail {
    char bytes[LOG_TAIL_BYTES + 1];  // ends with a NUL
    size_t size;
};

void log_tail_add(struct log_tail *tail, const char *bytes, size_t size);
// Adds what there is in the pipe, without waiting. At its end *fd is closed and -1, as it
// would be ready to read for ever. -1: nothing.
void log_tail_read(struct log_tail *tail, int *fd);
// Appends the lines to the error's message, under a heading: what doesn't fit is cut from
// the front. Nothing when the worker was silent.
void log_tail_attach(const struct log_tail *tail, struct shoal_error *err);

#endif
