#include "query/journal.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/text.h"
#include "query/sink.h"

#define NAME "journal.json"

// ---- writing

static shoal_status add_entry(json_t *list, const char *staging,
                              const struct journal_entry *entry,
                              struct shoal_error *err) {
    struct text path = {0};
    struct stat at = {0};
    text_printf(&path, *entry->path ? "%s/%s/%s" : "%s/%s%s", staging, JOURNAL_READY,
                entry->path);
    shoal_status status = path.failed ? shoal_no_memory(err) : SHOAL_OK;
    if (status == SHOAL_OK && stat(path.data, &at) != 0)
        status = sink_io_failed("inspect", path.data, err);
    text_free(&path);
    if (status != SHOAL_OK) return status;
    json_t *json = json_pack("{s:s, s:b, s:I}", "path", entry->path, "folder",
                             entry->folder, "inode", (json_int_t)at.st_ino);
    return json_array_append_new(list, json) == 0 ? SHOAL_OK : shoal_no_memory(err);
}

// As a whole or not at all: a run that dies here has changed nothing yet.
static shoal_status write_whole(const char *staging, const char *text,
                                struct shoal_error *err) {
    char *path = sink_join(staging, NAME);
    char *part = sink_join(staging, NAME ".part");
    int fd = -1;
    if (part != NULL)
        (void)unlink(part);  // of a run that died here, whose folder this was
    shoal_status status = path && part ? io_create(FAULT_SINK_CREATE, part, &fd, err)
                                       : shoal_no_memory(err);
    if (status == SHOAL_OK) {
        status = io_write(FAULT_SINK_JOURNAL, fd, part, text, strlen(text), err);
        if (close(fd) != 0 && status == SHOAL_OK)
            status = sink_io_failed("write", part, err);
        if (status == SHOAL_OK && rename(part, path) != 0)
            status = sink_io_failed("write", path, err);
    }
    free(path);
    free(part);
    return status;
}

shoal_status journal_write(const char *staging, const char *target, const char *prefix,
                           const struct journal_entry *entries, size_t count,
                           struct shoal_error *err) {
    json_t *list = json_array();
    shoal_status status = list == NULL ? shoal_no_memory(err) : SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < count; i++)
        status = add_entry(list, staging, &entries[i], err);
    json_t *root = json_pack("{s:s, s:s?, s:o}", "target", target, "prefix", prefix,
                             "entries", list);
    char *text = root != NULL ? json_text(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (status == SHOAL_OK && text == NULL) status = shoal_no_memory(err);
    if (status == SHOAL_OK) status = write_whole(staging, text, err);
    free(text);
    return status;
}

shoal_status journal_end(const char *staging, struct shoal_error *err) {
    char *path = sink_join(staging, NAME);
    if (path == NULL) return shoal_no_memory(err);
    shoal_status status = SHOAL_OK;
    if (unlink(path) != 0) status = sink_io_failed("remove", path, err);
    free(path);
    return status;
}

// ---- taking back
//
// Each step may be the last before this process dies too: done again from the start, all
// come to the same.

// A journal is a file, which may say anything: what it names is only touched in its own
// staging folder and in the target, a neighbour of that.

// None of the path's parts leads up, or nowhere.
static bool leads_down(const char *path) {
    for (const char *at = path; *path != '\0';) {
        size_t size = strcspn(at, "/");
        if (size == 0 || (size <= 2 && strncmp(at, "..", size) == 0)) return false;
        at += size;
        if (*at++ == '\0') break;
    }
    return true;
}

// The length of "/a/b" in "/a/b/c", and in "/a/b//c".
static size_t parent_length(const char *path) {
    const char *end = strrchr(path, '/');
    size_t length = end == NULL ? 0 : (size_t)(end - path);
    while (length > 0 && path[length - 1] == '/') length--;
    return length;
}

static bool are_neighbours(const char *staging, const char *target) {
    size_t length = parent_length(target);
    const char *name = target + length + strspn(target + length, "/");
    return (*staging == '/') == (*target == '/') && parent_length(staging) == length &&
           strncmp(staging, target, length) == 0 && *name != '\0' && leads_down(name) &&
           strcmp(staging, target) != 0;
}

struct undo {
    const char *staging, *target, *prefix;
    char *ready, *in_target, *replaced;  // paths of one entry
    json_int_t inode;                    // of what was new
};

// Is what the run had made at this path?
static bool is_new(const struct undo *undo, const char *path) {
    struct stat at;
    return lstat(path, &at) == 0 && (json_int_t)at.st_ino == undo->inode;
}

static bool is_there(const char *path) {
    struct stat at;
    return lstat(path, &at) == 0;
}

// Folders that were made for what is gone now, up to the target; others are not empty.
static void remove_empty_parents(const struct undo *undo) {
    size_t target = strlen(undo->target);
    char *folder = strdup(undo->in_target);
    char *end = folder == NULL ? NULL : strrchr(folder, '/');
    while (end != NULL && (size_t)(end - folder) > target) {
        *end = '\0';
        if (rmdir(folder) != 0 && errno != ENOENT) break;
        end = strrchr(folder, '/');
    }
    free(folder);
}

static bool undo_file(const struct undo *undo) {
    if (is_new(undo, undo->in_target) && unlink(undo->in_target) != 0) return false;
    remove_empty_parents(undo);
    return true;
}

static bool keep_file(const struct undo *undo, const char *name) {
    struct shoal_error ignored;
    char *from = sink_join(undo->ready, name);
    char *to = sink_join(undo->in_target, name);
    bool ok = from != NULL && to != NULL && !is_there(to) &&
              sink_make_parents(to, &ignored) == SHOAL_OK &&
              io_rename(FAULT_UNDO_MOVE, from, to) == 0;
    free(from);
    free(to);
    return ok;
}

// What others added to the new folder while it was in the target is not ours to remove.
static bool keep_foreign(const struct undo *undo) {
    DIR *folder = opendir(undo->ready);
    bool ok = folder != NULL;
    for (struct dirent *entry; ok && (entry = readdir(folder)) != NULL;) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if (strncmp(name, undo->prefix, strlen(undo->prefix)) != 0)
            ok = keep_file(undo, name);
    }
    if (folder != NULL) closedir(folder);
    return ok;
}

static bool undo_folder(const struct undo *undo) {
    bool ok = true;
    if (is_new(undo, undo->in_target)) {
        ok = is_there(undo->ready)
                 ? io_swap(FAULT_UNDO_MOVE, undo->in_target, undo->ready) == 0
                 : io_rename(FAULT_UNDO_MOVE, undo->in_target, undo->ready) == 0;
    }
    if (ok && is_there(undo->replaced) && !is_there(undo->in_target))
        ok = io_rename(FAULT_UNDO_MOVE, undo->replaced, undo->in_target) == 0;
    if (ok && undo->prefix != NULL && is_new(undo, undo->ready)) ok = keep_foreign(undo);
    if (ok && !is_there(undo->in_target)) remove_empty_parents(undo);
    return ok;
}

static bool undo_entry(struct undo *undo, const json_t *entry, size_t number) {
    const char *path = json_string_value(json_object_get(entry, "path"));
    char name[48];
    if (path == NULL || !leads_down(path)) return false;
    (void)snprintf(name, sizeof name, JOURNAL_REPLACED "/%zu", number);
    char *ready = sink_join(undo->staging, JOURNAL_READY);
    undo->ready = ready == NULL ? NULL : sink_join(ready, path);
    undo->in_target = sink_join(undo->target, path);
    undo->replaced = sink_join(undo->staging, name);
    undo->inode = json_integer_value(json_object_get(entry, "inode"));
    bool ok = undo->ready && undo->in_target && undo->replaced;
    bool folder = json_is_true(json_object_get(entry, "folder"));
    if (ok) ok = folder ? undo_folder(undo) : undo_file(undo);
    free(ready);
    free(undo->ready);
    free(undo->in_target);
    free(undo->replaced);
    return ok;
}

bool journal_undo(const char *staging) {
    char *path = sink_join(staging, NAME);
    if (path == NULL) return false;
    if (access(path, F_OK) != 0) {
        free(path);
        return true;
    }
    json_t *root = json_read_file(path);
    const json_t *entries = json_object_get(root, "entries");
    struct undo undo = {.staging = staging,
                        .target = json_string_value(json_object_get(root, "target")),
                        .prefix = json_string_value(json_object_get(root, "prefix"))};
    bool ok = undo.target != NULL && are_neighbours(staging, undo.target) &&
              json_is_array(entries);
    for (size_t i = 0; ok && i < json_array_size(entries); i++)
        ok = undo_entry(&undo, json_array_get(entries, i), i);
    ok = ok && unlink(path) == 0;
    json_decref(root);
    free(path);
    return ok;
}
