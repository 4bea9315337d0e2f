#include "base/clock.h"

#include <stdlib.h>
#include <time.h>

double clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double clock_silent_seconds(double usual) {
    const char *text = getenv("SHOAL_SILENT_SECONDS");
    double seconds = text == NULL ? 0 : strtod(text, NULL);
    return seconds >= 1 && seconds < usual ? seconds : usual;
}
