#include "query/sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

#define STAGING ".shoal-"  // hidden: a glob over the target's neighbours doesn't see it

static shoal_status io_failed(const char *what, const char *path,
                              struct shoal_error *err) {
    return shoal_fail(err, SHOAL_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

// The folder that the target is in; "a/b/" is in a.
static char *parent_of(const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    while (length > 0 && path[length - 1] != '/') length--;
    while (length > 1 && path[length - 1] == '/') length--;
    return length == 0 ? strdup(".") : strndup(path, length);
}

// Tasks run elsewhere: they need the whole path.
static char *whole_parent(const char *path, struct shoal_error *err) {
    char *parent = parent_of(path);
    char *whole = parent == NULL ? NULL : realpath(parent, NULL);
    if (whole == NULL) io_failed("write to the folder", parent ? parent : path, err);
    free(parent);
    return whole;
}

static bool is_empty(const char *path) {
    DIR *folder = opendir(path);
    bool empty = folder != NULL;
    if (folder == NULL) return false;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            empty = false;
    }
    closedir(folder);
    return empty;
}

// Before any work is done for it; the rename at the end decides.
static shoal_status check_target(const struct copy *copy, struct shoal_error *err) {
    struct stat at;
    if (lstat(copy->path, &at) != 0) return SHOAL_OK;
    if (!S_ISDIR(at.st_mode)) {
        return shoal_fail(err, SHOAL_USER, "%s is there, and is no folder", copy->path);
    }
    if (copy->overwrite || is_empty(copy->path)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_USER,
                      "the folder %s is not empty: choose another, or replace it with "
                      "OVERWRITE",
                      copy->path);
}

shoal_status sink_open(struct sink *sink, const struct copy *copy, bool ordered,
                       struct shoal_error *err) {
    struct text file = {0}, options = {0};
    *sink = (struct sink){.copy = copy, .staging = {.lock = -1}};
    shoal_status status = check_target(copy, err);
    if (status != SHOAL_OK) return status;
    char *parent = whole_parent(copy->path, err);
    if (parent == NULL) return SHOAL_IO;
    status = spool_open_as(&sink->staging, parent, STAGING, err);
    free(parent);
    if (status != SHOAL_OK) return status;
    text_printf(&file, "data_0.%s", copy->extension);
    if (!copy->nested) sink->file = text_take(&file);
    text_printf(&options, "%s%s", copy->options,
                ordered && !copy->keeps_order ? ", PRESERVE_ORDER true" : "");
    sink->options = text_take(&options);
    text_free(&file);
    bool ok = sink->options != NULL && (copy->nested || sink->file != NULL);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

bool sink_task(const struct sink *sink, struct task *task) {
    task->copy_options = strdup(sink->options);
    if (sink->file != NULL) task->copy_file = strdup(sink->file);
    return task->copy_options != NULL && (sink->file == NULL || task->copy_file != NULL);
}

void sink_close(struct sink *sink) {
    spool_close(&sink->staging);
    free(sink->file);
    free(sink->options);
    *sink = (struct sink){.staging = {.lock = -1}};
}

// ---- putting the files together

struct moving {
    const struct sink *sink;
    size_t part;
    struct shoal_error *err;
};

// data_3.parquet of part 7 becomes part-00007-3.parquet, data_0.parquet
// part-00007.parquet.
static char *new_name(const struct moving *moving, const char *old) {
    struct text name = {0};
    unsigned number = 0;
    (void)sscanf(old, "data_%u", &number);
    text_printf(&name, "part-%05zu", moving->part);
    if (number > 0) text_printf(&name, "-%u", number);
    text_printf(&name, ".%s", moving->sink->copy->extension);
    return text_take(&name);
}

static char *join(const char *folder, const char *name) {
    struct text path = {0};
    text_printf(&path, "%s/%s", folder, name);
    return text_take(&path);
}

static shoal_status move_file(const struct moving *moving, const char *from,
                              const char *name, const char *folder) {
    char *named = new_name(moving, name);
    char *to = named == NULL ? NULL : join(folder, named);
    shoal_status status = SHOAL_OK;
    if (to == NULL) {
        status = shoal_no_memory(moving->err);
    } else if (rename(from, to) != 0) {
        status = io_failed("move a file to", to, moving->err);
    }
    free(named);
    free(to);
    return status;
}

// Moves what is in `from` to `to`, folders (of hive partitions) as folders.
static shoal_status move_tree(const struct moving *moving, const char *from,
                              const char *to) {
    if (mkdir(to, 0777) != 0 && errno != EEXIST)
        return io_failed("make the folder", to, moving->err);
    DIR *folder = opendir(from);
    shoal_status status = SHOAL_OK;
    if (folder == NULL) return io_failed("read the folder", from, moving->err);
    for (struct dirent *entry; status == SHOAL_OK && (entry = readdir(folder)) != NULL;) {
        const char *name = entry->d_name;
        struct stat at;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        char *path = join(from, name);
        char *below = join(to, name);
        if (path == NULL || below == NULL) {
            status = shoal_no_memory(moving->err);
        } else if (lstat(path, &at) != 0) {
            status = io_failed("read", path, moving->err);
        } else if (S_ISDIR(at.st_mode)) {
            status = move_tree(moving, path, below);
        } else {
            status = move_file(moving, path, name, to);
        }
        free(path);
        free(below);
    }
    closedir(folder);
    return status;
}

// The new folder takes the target's place; one that is replaced goes with the staging.
static shoal_status publish(const struct sink *sink, const char *out,
                            struct shoal_error *err) {
    const char *target = sink->copy->path;
    if (rename(out, target) == 0) return SHOAL_OK;  // new, or empty
    bool there = errno == EEXIST || errno == ENOTEMPTY;
    if (!there) return io_failed("write the folder", target, err);
    if (!sink->copy->overwrite) return check_target(sink->copy, err);
    if (renameat2(AT_FDCWD, out, AT_FDCWD, target, RENAME_EXCHANGE) == 0) return SHOAL_OK;
    if (errno != EINVAL && errno != ENOSYS)
        return io_failed("replace the folder", target, err);
    // A file system without the exchange: for a moment there is no target.
    char *old = join(sink->staging.path, "replaced");
    shoal_status status = SHOAL_OK;
    if (old == NULL) {
        status = shoal_no_memory(err);
    } else if (rename(target, old) != 0 || rename(out, target) != 0) {
        status = io_failed("replace the folder", target, err);
    }
    free(old);
    return status;
}

shoal_status sink_commit(struct sink *sink, const struct sink_part *parts, size_t count,
                         struct shoal_error *err) {
    struct moving moving = {.sink = sink, .err = err};
    uint64_t rows = 0;
    char *out = join(sink->staging.path, "out");
    if (out == NULL) return shoal_no_memory(err);
    shoal_status status = SHOAL_OK;
    if (mkdir(out, 0777) != 0) status = io_failed("make the folder", out, err);
    for (size_t i = 0; i < count; i++) rows += parts[i].rows;
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        if (parts[i].rows == 0 && (rows > 0 || moving.part > 0)) continue;
        if (access(parts[i].folder, F_OK) != 0) continue;  // no partition, no folder
        status = move_tree(&moving, parts[i].folder, out);
        moving.part++;
    }
    if (status == SHOAL_OK) status = publish(sink, out, err);
    free(out);
    return status;
}
