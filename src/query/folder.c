// A sink that is a plain folder: whoever reads it lists it, so a file counts when it is
// there. A new folder, or one that is replaced as a whole, appears by one rename. What is
// added to a folder that stays moves in file by file (APPEND) or partition by partition
// (OVERWRITE_PARTITIONS): a reader may see a part of it meanwhile. A journal is written
// before the first move, and the run has happened when it is removed after the last: one
// that dies between is undone by the next.
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "query/journal.h"
#include "query/sink.h"

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
static shoal_status folder_check(const struct sink *sink, struct shoal_error *err) {
    const char *path = sink->copy->path;
    struct stat at;
    if (lstat(sink->target, &at) != 0) return SHOAL_OK;
    if (!S_ISDIR(at.st_mode))
        return shoal_fail(err, SHOAL_USER, "%s is there, and is no folder", path);
    if (sink->copy->mode != WRITE_ERROR_IF_EXISTS || is_empty(sink->target))
        return SHOAL_OK;
    return shoal_fail(err, SHOAL_USER,
                      "the folder %s is not empty: choose another, replace it with "
                      "OVERWRITE, or add to it with APPEND",
                      path);
}

// From ready/path to target/path, or the two change places. Where a file system can't do
// that, the old one goes aside first, to replaced/number, and for a moment there is none.
static shoal_status replace_folder(struct sink *sink, const char *from, const char *to,
                                   size_t number, struct shoal_error *err) {
    struct text old = {0};
    if (io_rename(FAULT_COMMIT_RENAME, from, to) == 0) return SHOAL_OK;  // new, or empty
    if (errno != EEXIST && errno != ENOTEMPTY)
        return sink_io_failed("write the folder", to, err);
    if (io_swap(FAULT_COMMIT_SWAP, from, to) == 0) return SHOAL_OK;
    if (errno != EINVAL && errno != ENOSYS)
        return sink_io_failed("replace the folder", to, err);
    sink->atomic = false;
    text_printf(&old, "%s/" JOURNAL_REPLACED "/%zu", sink->staging.path, number);
    shoal_status status =
        old.failed ? shoal_no_memory(err) : sink_make_parents(old.data, err);
    if (status == SHOAL_OK && (io_rename(FAULT_COMMIT_RENAME, to, old.data) != 0 ||
                               io_rename(FAULT_COMMIT_RENAME, from, to) != 0))
        status = sink_io_failed("replace the folder", to, err);
    text_free(&old);
    return status;
}

// ---- into a folder that stays

static shoal_status move_entry(struct sink *sink, const char *ready,
                               const struct journal_entry *entry, size_t number,
                               struct shoal_error *err) {
    char *from = sink_join(ready, entry->path);
    char *to = sink_join(sink->target, entry->path);
    shoal_status status = from && to ? SHOAL_OK : shoal_no_memory(err);
    if (status == SHOAL_OK && *entry->path) status = sink_make_parents(to, err);
    if (status == SHOAL_OK && entry->folder) {
        status = replace_folder(sink, from, to, number, err);
    } else if (status == SHOAL_OK && io_rename(FAULT_COMMIT_RENAME, from, to) != 0) {
        status = sink_io_failed("move a file to", to, err);
    }
    free(from);
    free(to);
    return status;
}

static shoal_status move_entries(struct sink *sink, const char *ready,
                                 const struct journal_entry *entries, size_t count,
                                 struct shoal_error *err) {
    struct text prefix = {0};
    text_printf(&prefix, "part-%s-", sink->run);
    const char *staging = sink->staging.path;
    shoal_status status = prefix.failed ? shoal_no_memory(err)
                                        : journal_write(staging, sink->target,
                                                        *sink->run ? prefix.data : NULL,
                                                        entries, count, err);
    text_free(&prefix);
    for (size_t i = 0; status == SHOAL_OK && i < count; i++)
        status = move_entry(sink, ready, &entries[i], i, err);
    if (status == SHOAL_OK) status = journal_end(staging, err);
    if (status == SHOAL_OK || journal_undo(staging)) return status;
    sink->leave = true;
    struct shoal_error why = *err;
    return shoal_fail(err, SHOAL_IO,
                      "%.3000s; what was changed could not be put back: %s has the rest, "
                      "and the next COPY to the same place tries again",
                      why.message, staging);
}

// The folder of each file, once; the files are sorted.
static bool list_folders(const struct sink *sink, struct journal_entry *entries,
                         size_t *count) {
    for (size_t i = 0; i < sink->file_count; i++) {
        const char *path = sink->files[i].path;
        const char *end = strrchr(path, '/');
        char *folder = end == NULL ? strdup("") : strndup(path, (size_t)(end - path));
        if (folder == NULL) return false;
        if (*count > 0 && strcmp(entries[*count - 1].path, folder) == 0) {
            free(folder);
            continue;
        }
        entries[(*count)++] = (struct journal_entry){.path = folder, .folder = true};
    }
    return true;
}

static bool list_files(const struct sink *sink, struct journal_entry *entries,
                       size_t *count) {
    for (; *count < sink->file_count; (*count)++) {
        entries[*count].path = strdup(sink->files[*count].path);
        if (entries[*count].path == NULL) return false;
    }
    return true;
}

static shoal_status add_to_folder(struct sink *sink, const char *ready,
                                  struct shoal_error *err) {
    size_t count = 0;
    if (sink->rows == 0) return SHOAL_OK;  // no file is needed to show the columns
    struct journal_entry *entries = calloc(sink->file_count + 1, sizeof *entries);
    if (entries == NULL) return shoal_no_memory(err);
    bool listed = sink->copy->mode == WRITE_APPEND ? list_files(sink, entries, &count)
                                                   : list_folders(sink, entries, &count);
    shoal_status status =
        listed ? move_entries(sink, ready, entries, count, err) : shoal_no_memory(err);
    for (size_t i = 0; i < count; i++) free((char *)(uintptr_t)entries[i].path);
    free(entries);
    return status;
}

// All of it by one exchange; where the file system has none, with a journal.
static shoal_status replace_all(struct sink *sink, const char *ready,
                                struct shoal_error *err) {
    if (io_swap(FAULT_COMMIT_SWAP, ready, sink->target) == 0) return SHOAL_OK;
    if (errno != EINVAL && errno != ENOSYS)
        return sink_io_failed("replace the folder", sink->target, err);
    struct journal_entry whole = {.path = "", .folder = true};
    return move_entries(sink, ready, &whole, 1, err);
}

static shoal_status folder_publish(struct sink *sink, const char *ready,
                                   struct shoal_error *err) {
    if (io_rename(FAULT_COMMIT_RENAME, ready, sink->target) == 0)
        return SHOAL_OK;  // new, or empty
    if (errno != EEXIST && errno != ENOTEMPTY)
        return sink_io_failed("write the folder", sink->copy->path, err);
    switch (sink->copy->mode) {
        case WRITE_ERROR_IF_EXISTS: {
            shoal_status status = folder_check(sink, err);
            return status != SHOAL_OK ? status
                                      : shoal_fail(err, SHOAL_IO,
                                                   "the folder %s was written by another "
                                                   "program meanwhile",
                                                   sink->copy->path);
        }
        case WRITE_OVERWRITE:
            return replace_all(sink, ready, err);
        case WRITE_APPEND:
        case WRITE_OVERWRITE_PARTITIONS:
            break;
    }
    return add_to_folder(sink, ready, err);
}

const struct sink_kind folder_kind = {
    .name = "folder", .check = folder_check, .publish = folder_publish};
