#include "base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

#define KILL (-2)

static struct {
    char call[8];
    int fault;
    unsigned at;
    bool on;           // and every later one
    const char *path;  // with this in it; NULL: any
    atomic_uint count;
} plan;

static int inject(const char *call, const char *path) {
    if (strcmp(call, plan.call) != 0) return 0;
    if (plan.path != NULL && strstr(path, plan.path) == NULL) return 0;
    unsigned number = atomic_fetch_add(&plan.count, 1) + 1;
    if (plan.on ? number < plan.at : number != plan.at) return 0;
    if (plan.fault == KILL) raise(SIGKILL);
    return plan.fault;
}

shoal_status fault_from_environment(struct shoal_error *err) {
    static const struct {
        const char *name;
        int fault;
    } faults[] = {{"ENOSPC", ENOSPC},      {"EIO", EIO},
                  {"EACCES", EACCES},      {"EINVAL", EINVAL},
                  {"FLIP", IO_FAULT_FLIP}, {"KILL", KILL}};
    const char *text = getenv("SHOAL_FAULT");
    char name[8] = "";
    if (text == NULL || *text == '\0') return SHOAL_OK;
    int end = 0;
    bool ok = sscanf(text, "%7[a-z]:%7[A-Z]:%u%n", plan.call, name, &plan.at, &end) == 3;
    if (ok) {
        plan.on = text[end] == '+';
        end += plan.on;
        if (text[end] == ':') plan.path = text + end + 1;
        ok = text[end] == '\0' || text[end] == ':';
    }
    bool known = false;
    for (size_t i = 0; ok && i < sizeof faults / sizeof *faults; i++) {
        if (strcmp(name, faults[i].name) != 0) continue;
        plan.fault = faults[i].fault;
        known = true;
    }
    if (!known) {
        return shoal_fail(err, SHOAL_USAGE,
                          "SHOAL_FAULT=%s is not CALL:FAULT:N, as in base/fault.h", text);
    }
    io_fault = inject;
    return SHOAL_OK;
}
