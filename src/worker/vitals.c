#include "worker/vitals.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

void vitals_open(struct vitals *vitals) {
    *vitals = (struct vitals){.io = open("/proc/self/io", O_RDONLY | O_CLOEXEC)};
}

// Calls that read and wrote, and what came from and went to disks: a process that waits
// for pages of a mapped file shows in the latter alone.
static uint64_t count_io(struct vitals *vitals) {
    static const char *const names[] = {
        "rchar: ", "wchar: ", "read_bytes: ", "\nwrite_bytes: "};
    char text[512];
    ssize_t size = vitals->io < 0 ? -1 : pread(vitals->io, text, sizeof text - 1, 0);
    uint64_t bytes = 0;
    if (size <= 0) return 0;
    text[size] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *at = strstr(text, names[i]);
        if (at != NULL) bytes += strtoull(at + strlen(names[i]), NULL, 10);
    }
    bytes -= vitals->own;
    vitals->own += (uint64_t)size;
    return bytes & INT64_MAX;
}

void vitals_read(struct vitals *vitals, struct heartbeat *beat) {
    struct timespec used = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    beat->time = clock_seconds();
    beat->cpu_seconds = (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
    beat->io_bytes = count_io(vitals);
}

void vitals_close(struct vitals *vitals) {
    if (vitals->io >= 0) close(vitals->io);
}
