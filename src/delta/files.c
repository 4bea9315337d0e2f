// The files of a log's folder, by their names. The folder is listed, as it has to be for
// the newest commit anyway; _last_checkpoint, which saves an object store the listing, is
// not looked at, so that a stale or broken one does no harm.
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "delta/internal.h"

// `digits` decimal digits, or -1.
static int64_t number_of(const char *at, size_t digits) {
    uint64_t number = 0;
    for (size_t i = 0; i < digits; i++) {
        if (at[i] < '0' || at[i] > '9' || number > INT64_MAX / 10) return -1;
        number = number * 10 + (uint64_t)(at[i] - '0');
    }
    return number > INT64_MAX ? -1 : (int64_t)number;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

// "0…3.checkpoint.parquet"; "0…3.checkpoint.0…1.0…2.parquet", the first of two; or
// "0…3.checkpoint.<uuid>.json" or .parquet. rest is what follows "checkpoint.".
static bool read_checkpoint(const char *rest, struct log_checkpoint *checkpoint) {
    if (strcmp(rest, "parquet") == 0) return true;
    int64_t part = number_of(rest, 10);
    int64_t parts = part > 0 && rest[10] == '.' ? number_of(rest + 11, 10) : -1;
    if (parts > 0 && strcmp(rest + 21, ".parquet") == 0) {
        checkpoint->part = (uint32_t)part;
        checkpoint->parts = (uint32_t)parts;
        return part <= parts && parts <= UINT32_MAX;
    }
    return strchr(rest, '.') == rest + 36 &&
           (ends_with(rest, ".json") || ends_with(rest, ".parquet"));
}

static bool add_commit(struct log_files *files, int64_t version) {
    if ((files->commit_count & (files->commit_count - 1)) == 0) {
        size_t room = files->commit_count ? files->commit_count * 2 : 1;
        int64_t *commits = realloc(files->commits, room * sizeof *commits);
        if (commits == NULL) return false;
        files->commits = commits;
    }
    files->commits[files->commit_count++] = version;
    return true;
}

static bool add_checkpoint(struct log_files *files, struct log_checkpoint checkpoint,
                           const char *name) {
    struct log_checkpoint *checkpoints =
        realloc(files->checkpoints, (files->checkpoint_count + 1) * sizeof *checkpoints);
    if (checkpoints == NULL) return false;
    files->checkpoints = checkpoints;
    checkpoint.name = strdup(name);
    checkpoints[files->checkpoint_count] = checkpoint;
    if (checkpoint.name != NULL) files->checkpoint_count++;
    return checkpoint.name != NULL;
}

static bool add_name(struct log_files *files, const char *name) {
    int64_t version = number_of(name, 20);
    struct log_checkpoint checkpoint = {.version = version};
    if (version < 0 || name[20] != '.') return true;
    if (strcmp(name + 21, "json") == 0) return add_commit(files, version);
    if (strncmp(name + 21, "checkpoint.", 11) != 0) return true;
    return !read_checkpoint(name + 32, &checkpoint) ||
           add_checkpoint(files, checkpoint, name);
}

static int compare_versions(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

shoal_status log_files_list(const char *dir, struct log_files *files,
                            struct shoal_error *err) {
    struct text path = {0};
    shoal_status status = SHOAL_OK;
    *files = (struct log_files){0};
    text_printf(&path, "%s/" DELTA_LOG, dir);
    if (path.failed) return shoal_no_memory(err);
    DIR *folder = opendir(path.data);
    if (folder == NULL) {
        status =
            shoal_fail(err, errno == ENOENT ? SHOAL_USER : SHOAL_IO,
                       "cannot read the Delta log %s: %s", path.data, strerror(errno));
    }
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        if (!add_name(files, entry->d_name)) status = shoal_no_memory(err);
    }
    if (folder != NULL) closedir(folder);
    if (files->commit_count > 0)
        qsort(files->commits, files->commit_count, sizeof *files->commits,
              compare_versions);
    if (status != SHOAL_OK) log_files_free(files);
    text_free(&path);
    return status;
}

// Are all parts there? Each name is in the folder once.
static bool complete(const struct log_files *files, const struct log_checkpoint *one) {
    uint32_t there = 0;
    for (size_t i = 0; i < files->checkpoint_count; i++) {
        const struct log_checkpoint *other = &files->checkpoints[i];
        if (other->version == one->version && other->parts == one->parts) there++;
    }
    return one->parts == 0 || there == one->parts;
}

int64_t log_files_checkpoint(const struct log_files *files, int64_t version,
                             struct log_checkpoint *found) {
    *found = (struct log_checkpoint){.version = -1};
    for (size_t i = 0; i < files->checkpoint_count; i++) {
        const struct log_checkpoint *one = &files->checkpoints[i];
        if (one->version <= version && one->version > found->version &&
            complete(files, one))
            *found = *one;
    }
    return found->version;
}

void log_files_free(struct log_files *files) {
    for (size_t i = 0; i < files->checkpoint_count; i++) free(files->checkpoints[i].name);
    free(files->checkpoints);
    free(files->commits);
    *files = (struct log_files){0};
}
