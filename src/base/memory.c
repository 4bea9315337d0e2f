#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

// The number in a file of one line; 0 when there is none ("max").
static uint64_t read_limit(const char *path) {
    FILE *file = fopen(path, "re");
    unsigned long long value = 0;
    if (file == NULL) return 0;
    if (fscanf(file, "%llu", &value) != 1) value = 0;
    fclose(file);
    return value;
}

uint64_t memory_of_machine(void) {
    static const char *const limits[] = {"/sys/fs/cgroup/memory.max",
                                         "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    long pages = sysconf(_SC_PHYS_PAGES);
    long size = sysconf(_SC_PAGESIZE);
    uint64_t least = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        uint64_t limit = read_limit(limits[i]);
        if (limit > 0 && (least == 0 || limit < least)) least = limit;
    }
    return least;
}

bool memory_parse(const char *text, uint64_t *bytes) {
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1},       {"B", 1},       {"K", 1e3},      {"KB", 1e3},
                 {"KiB", 1024}, {"M", 1e6},     {"MB", 1e6},     {"MiB", 0x1p20},
                 {"G", 1e9},    {"GB", 1e9},    {"GiB", 0x1p30}, {"T", 1e12},
                 {"TB", 1e12},  {"TiB", 0x1p40}};
    char *end = NULL;
    if (strspn(text, "0123456789.") == 0) return false;
    double value = strtod(text, &end);
    end += strspn(end, " ");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(end, units[i].name) != 0) continue;
        value *= units[i].bytes;
        if (!isfinite(value) || value < 1 || value > 0x1p60) return false;
        *bytes = (uint64_t)value;
        return true;
    }
    return false;
}

static _Thread_local uint64_t failures;

uint64_t memory_failures(void) {
    return failures;
}

void memory_failed(void) {
    failures++;
}
