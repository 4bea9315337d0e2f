#include "worker/paths.h"

#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "base/spool.h"
#include "block/places.h"

static bool copy(const char *from, char **to) {
    *to = from == NULL ? NULL : strdup(from);
    return from == NULL || *to != NULL;
}

shoal_status paths_open(struct paths *paths, const struct executor_options *options,
                        struct shoal_error *err) {
    *paths =
        (struct paths){.allowed = calloc(options->allowed_count + 1, sizeof(char *))};
    bool ok = paths->allowed != NULL && copy(options->temp_dir, &paths->folders[0]) &&
              copy(options->memory_dir, &paths->folders[1]) &&
              copy(options->job_dir, &paths->folders[2]);
    for (size_t i = 0; ok && i < options->allowed_count; i++)
        ok = copy(options->allowed[i], &paths->allowed[paths->allowed_count++]);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

void paths_close(struct paths *paths) {
    for (size_t i = 0; i < PATHS_FOLDERS; i++) free(paths->folders[i]);
    for (size_t i = 0; i < paths->allowed_count; i++) free(paths->allowed[i]);
    free(paths->allowed);
    *paths = (struct paths){0};
}

// A file below a folder that is kept elsewhere (block/places.h) has no link there either.
static bool has_no_link(const char *path, const char *folder) {
    char *there = places_local(path), *root = places_local(folder);
    bool ok = path_has_no_link(path, strlen(folder)) && there != NULL && root != NULL &&
              path_is_below(there, root) && path_has_no_link(there, strlen(root));
    free(there);
    free(root);
    return ok;
}

static bool in_folders(const struct paths *paths, const char *path) {
    for (size_t i = 0; i < PATHS_FOLDERS; i++) {
        const char *folder = paths->folders[i];
        if (path_is_below(path, folder) && has_no_link(path, folder)) return true;
    }
    return false;
}

bool paths_owns(const struct paths *paths, const char *path) {
    return path != NULL && path_is_plain(path) && in_folders(paths, path);
}

// Where the path leads, whatever links are on the way.
static bool is_allowed(const struct paths *paths, const char *path) {
    if (paths->allowed_count == 0) return true;
    char *whole = realpath(path, NULL);
    bool allowed = false;
    for (size_t i = 0; whole != NULL && i < paths->allowed_count; i++)
        allowed = allowed || path_is_below(whole, paths->allowed[i]);
    free(whole);
    return allowed;
}

// <anywhere>/.shoal-XXXXXX/<name>, where a driver made that folder for it.
static bool in_staging(const struct paths *paths, const char *path, bool *allowed) {
    const char *end = strrchr(path, '/');
    char *folder = strndup(path, (size_t)(end - path));
    const char *name = folder == NULL ? NULL : strrchr(folder, '/');
    bool ok = name != NULL && spool_is_named(name + 1, SPOOL_STAGING) &&
              spool_is_marked(folder) && path_has_no_link(path, (size_t)(end - path));
    *allowed = ok && is_allowed(paths, folder);
    free(folder);
    return ok;
}

static shoal_status refuse(const struct task *task, const char *what, const char *path,
                           struct shoal_error *err) {
    return shoal_fail(err, SHOAL_CORRUPT,
                      "protocol error: task %llu's %s is %.500s, which is in no folder "
                      "that this worker was told",
                      (unsigned long long)task->id, what, path);
}

static shoal_status deny(const char *what, const char *path, struct shoal_error *err) {
    return shoal_fail(
        err, SHOAL_USAGE,
        "--allow-paths doesn't let workers %s %.1000s: name its folder there", what,
        path);
}

static shoal_status check_own(const struct paths *paths, const struct task *task,
                              const char *what, const char *path,
                              struct shoal_error *err) {
    if (path == NULL || (path_is_plain(path) && in_folders(paths, path))) return SHOAL_OK;
    return refuse(task, what, path, err);
}

shoal_status paths_check(const struct paths *paths, const struct task *task,
                         struct shoal_error *err) {
    const char *range = task->range.pipe == NULL ? NULL : task->range.path;
    const char *file = task->copy_file;
    bool allowed = false;
    bool staged = task->copy_options != NULL && path_is_plain(task->output) &&
                  in_staging(paths, task->output, &allowed);
    shoal_status status =
        staged ? SHOAL_OK : check_own(paths, task, "output", task->output, err);
    if (status == SHOAL_OK)
        status = check_own(paths, task, "output in memory", task->memory_output, err);
    if (status == SHOAL_OK)
        status = check_own(paths, task, "rejects file", task->rejects, err);
    if (status == SHOAL_OK)
        status = check_own(paths, task, "pipe", task->range.pipe, err);
    for (size_t i = 0; status == SHOAL_OK && i < task->input_count; i++) {
        for (size_t s = 0; status == SHOAL_OK && s < task->inputs[i].count; s++)
            status =
                check_own(paths, task, "input", task->inputs[i].segments[s].path, err);
    }
    if (status == SHOAL_OK && file != NULL && strchr(file, '/') != NULL)
        status = refuse(task, "file", file, err);
    if (status == SHOAL_OK && staged && !allowed)
        status = deny("write to", task->output, err);
    if (status == SHOAL_OK && range != NULL && !is_allowed(paths, range))
        status = deny("read", range, err);
    return status;
}
