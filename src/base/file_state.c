#include "base/file_state.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int64_t changed_at(const struct stat *at) {
    return (int64_t)at->st_mtim.tv_sec * 1000000000 + at->st_mtim.tv_nsec;
}

static bool is_kernels(const char *path) {
    static const char *const folders[] = {"/proc/", "/sys/", "/dev/fd/"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        if (strncmp(path, folders[i], strlen(folders[i])) == 0) return true;
    }
    return false;
}

struct file_state file_state_read(const char *path) {
    struct stat at;
    if (is_kernels(path) || stat(path, &at) != 0 || !S_ISREG(at.st_mode))
        return (struct file_state){0};
    return (struct file_state){true, (uint64_t)at.st_size, changed_at(&at)};
}

#define MEANWHILE "while the query ran"
#define AGAIN "what was read of it may be of two states; run the query again"

shoal_status file_state_check(const char *path, const struct file_state *then,
                              struct shoal_error *err) {
    struct stat at;
    if (!then->known) return SHOAL_OK;
    if (stat(path, &at) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return shoal_fail(err, SHOAL_USER,
                              "%s was removed " MEANWHILE ": run the query again", path);
        return shoal_fail(err, SHOAL_IO, "cannot see whether %s has changed: %s", path,
                          strerror(errno));
    }
    if ((uint64_t)at.st_size != then->bytes)
        return shoal_fail(
            err, SHOAL_USER,
            "%s changed " MEANWHILE " (it had %llu bytes, and has %llu now): " AGAIN,
            path, (unsigned long long)then->bytes, (unsigned long long)at.st_size);
    if (changed_at(&at) != then->changed)
        return shoal_fail(err, SHOAL_USER,
                          "%s changed " MEANWHILE
                          " (its size is the same, its time of change another): " AGAIN,
                          path);
    return SHOAL_OK;
}
