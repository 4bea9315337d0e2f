#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

shoal_status shoal_fail(struct shoal_error *err, shoal_status status, const char *format,
                        ...) {
    if (err == NULL) return status;
    err->status = status;
    err->retriable = status == SHOAL_IO || status == SHOAL_LOST ||
                     status == SHOAL_CORRUPT || status == SHOAL_DISK_FULL ||
                     status == SHOAL_TIMEOUT;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return status;
}

shoal_status shoal_no_memory(struct shoal_error *err) {
    return shoal_fail(err, SHOAL_NOMEM, "out of memory");
}

const char *shoal_status_name(shoal_status status) {
    static const char *const names[] = {
        "ok",        "user", "usage",   "unsupported", "io",      "nomem",
        "cancelled", "lost", "corrupt", "disk full",   "timeout", "internal"};
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}
