// A sink that is a Delta table: files move into its folder under names that no other run
// has, where nobody takes them for rows, and count from the commit on. A run that is
// killed between leaves files that no version names; VACUUM of any Delta engine removes
// them.
#include "query/delta_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "query/sink.h"

// ---- the statement

static enum delta_mode mode_of(const struct copy *copy) {
    switch (copy->mode) {
        case WRITE_ERROR_IF_EXISTS:
            return DELTA_ERROR_IF_EXISTS;
        case WRITE_OVERWRITE:
            return DELTA_OVERWRITE;
        case WRITE_APPEND:
            return DELTA_APPEND;
        case WRITE_OVERWRITE_PARTITIONS:
            break;
    }
    return DELTA_OVERWRITE_PARTITIONS;
}

static shoal_status open_table(struct duck_conn *conn, const struct copy *copy,
                               struct delta_write **table, struct shoal_error *err) {
    json_t *partitions = NULL;
    shoal_status status =
        copy->partition_by == NULL
            ? SHOAL_OK
            : copy_partition_names(copy->partition_by, &partitions, err);
    if (status != SHOAL_OK) return status;
    status = delta_write_open(conn, copy->path, mode_of(copy), copy->job_id, partitions,
                              table, err);
    if (status == SHOAL_OK && copy->mode == WRITE_OVERWRITE_PARTITIONS &&
        (*table)->committed < 0 && json_array_size((*table)->partitions) == 0) {
        delta_write_free(*table);
        *table = NULL;
        status = shoal_fail(err, SHOAL_USER,
                            "OVERWRITE_PARTITIONS needs a table with partitions, and %s "
                            "has none: give PARTITION_BY, or use OVERWRITE",
                            copy->path);
    }
    return status;
}

shoal_status delta_sink_open(struct duck_conn *conn, const char *sql, const char *job_id,
                             struct delta_write **table, struct shoal_error *err) {
    struct copy copy = {0};
    *table = NULL;
    if (!duck_token_is(duck_token_start(sql), "copy")) return SHOAL_OK;
    shoal_status status = copy_parse(sql, &copy, err);
    if (status == SHOAL_UNSUPPORTED) {
        status = SHOAL_OK;  // DuckDB runs it, and no table of ours is in it
    } else if (status == SHOAL_OK && copy.delta) {
        if (copy.job_id == NULL && job_id != NULL) copy.job_id = strdup(job_id);
        status = open_table(conn, &copy, table, err);
    }
    copy_free(&copy);
    return status;
}

shoal_status delta_sink_attach(struct duck_conn *conn, struct delta_write *table,
                               struct copy *copy, struct shoal_error *err) {
    struct text options = {0};
    char *select = NULL;
    if (table == NULL || !copy->delta) return SHOAL_OK;
    shoal_status status = delta_write_select(table, conn, copy->query, &select, err);
    if (status != SHOAL_OK) return status;
    free(copy->query);
    copy->query = select;
    copy->table = table;
    copy->partitioned = json_array_size(table->partitions) > 0;
    copy->nested = copy->nested || copy->partitioned;
    if (!copy->partitioned) return SHOAL_OK;
    text_printf(&options, "%s, PARTITION_BY (", copy->options);
    for (size_t i = 0; i < json_array_size(table->partitions); i++) {
        if (i > 0) text_append(&options, ", ");
        text_append_identifier(&options,
                               json_string_value(json_array_get(table->partitions, i)));
    }
    text_append(&options, ")");
    free(copy->options);
    copy->options = text_take(&options);
    return copy->options == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

static void say_done(const struct delta_write *table, int64_t version) {
    fprintf(stderr,
            "shoal: the job %s was already committed as version %lld of %s: nothing was "
            "written\n",
            table->job_id, (long long)version, table->dir);
}

bool delta_sink_is_done(const struct delta_write *table) {
    if (table == NULL || table->committed < 0) return false;
    say_done(table, table->committed);
    return true;
}

// ---- the sink

// delta_write_open has looked at the table.
static shoal_status delta_check(const struct sink *sink, struct shoal_error *err) {
    struct stat at;
    if (lstat(sink->target, &at) != 0 || !S_ISREG(at.st_mode)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_USER, "%s is there, and is no folder", sink->target);
}

static shoal_status sync_path(const char *path, struct shoal_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    shoal_status status = SHOAL_OK;
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        status = sink_io_failed("force to the disk", path, err);
    if (fd >= 0) close(fd);
    return status;
}

#define SYNC_FILES 64  // more are forced to the disk with all else of its file system

static shoal_status move_file(const struct sink *sink, const char *ready, size_t number,
                              struct shoal_error *err) {
    const char *path = sink->files[number].path;
    char *from = sink_join(ready, path), *to = sink_join(sink->target, path);
    shoal_status status = from && to ? SHOAL_OK : shoal_no_memory(err);
    if (status == SHOAL_OK && sink->file_count <= SYNC_FILES)
        status = sync_path(from, err);
    if (status == SHOAL_OK) status = sink_make_parents(to, err);
    if (status == SHOAL_OK && io_rename(FAULT_COMMIT_RENAME, from, to) != 0)
        status = sink_io_failed("move a file to", to, err);
    free(from);
    free(to);
    return status;
}

// A file's folder, and those above it up to the table: they may be new as well.
static shoal_status sync_above(const struct sink *sink, const char *path,
                               struct shoal_error *err) {
    char *folder = sink_join(sink->target, path);
    shoal_status status = folder == NULL ? shoal_no_memory(err) : SHOAL_OK;
    for (char *end; status == SHOAL_OK && (end = strrchr(folder, '/')) != NULL &&
                    (size_t)(end - folder) >= strlen(sink->target);) {
        *end = '\0';
        status = sync_path(folder, err);
    }
    free(folder);
    return status;
}

static shoal_status sync_all(const struct sink *sink, struct shoal_error *err) {
    int fd = open(sink->target, O_RDONLY | O_CLOEXEC);
    shoal_status status = SHOAL_OK;
    if (fd < 0 || syncfs(fd) != 0)
        status = sink_io_failed("force to the disk", sink->target, err);
    if (fd >= 0) close(fd);
    return status;
}

// Before they count, the files' names must last as well.
static shoal_status sync_names(const struct sink *sink, struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    if (sink->file_count > SYNC_FILES) return sync_all(sink, err);
    for (size_t i = 0; status == SHOAL_OK && i < sink->file_count; i++)
        status = sync_above(sink, sink->files[i].path, err);
    return status;
}

static void remove_files(const struct sink *sink) {
    for (size_t i = 0; i < sink->file_count; i++) {
        char *path = sink_join(sink->target, sink->files[i].path);
        if (path != NULL)
            (void)unlink(path);  // a file that no version names does no harm
        free(path);
    }
}

// An empty file says nothing that the log doesn't say; it stays in the staging folder.
static void drop_empty(struct sink *sink) {
    size_t kept = 0;
    for (size_t i = 0; i < sink->file_count; i++) {
        struct written_file *file = &sink->files[i];
        if (file->rows > 0) {
            sink->files[kept++] = *file;
        } else {
            free(file->path);
            free(file->statistics);
            free(file->partition);
        }
    }
    sink->file_count = kept;
}

static shoal_status commit(struct sink *sink, struct shoal_error *err) {
    const struct delta_write *table = sink->copy->table;
    struct delta_file *files = calloc(sink->file_count + 1, sizeof *files);
    int64_t version = 0;
    bool before = false;
    if (files == NULL) return shoal_no_memory(err);
    for (size_t i = 0; i < sink->file_count; i++) {
        const struct written_file *file = &sink->files[i];
        files[i] = (struct delta_file){.path = file->path,
                                       .bytes = file->bytes,
                                       .rows = file->rows,
                                       .statistics = file->statistics,
                                       .partition = file->partition};
    }
    shoal_status status = delta_commit(table, files, sink->file_count, sink->staging.path,
                                       &version, &before, err);
    free(files);
    if (status != SHOAL_OK || !before) return status;
    say_done(table, version);
    remove_files(sink);
    written_files_free(sink->files, sink->file_count);
    sink->files = NULL;
    sink->file_count = 0;
    sink->rows = 0;
    return SHOAL_OK;
}

static shoal_status delta_publish(struct sink *sink, const char *ready,
                                  struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    sink->atomic = true;
    drop_empty(sink);
    if (mkdir(sink->target, 0777) != 0 && errno != EEXIST)
        return sink_io_failed("make the folder", sink->target, err);
    for (size_t i = 0; status == SHOAL_OK && i < sink->file_count; i++)
        status = move_file(sink, ready, i, err);
    if (status == SHOAL_OK) status = sync_names(sink, err);
    if (status == SHOAL_OK) status = commit(sink, err);
    if (status != SHOAL_OK) remove_files(sink);
    return status;
}

const struct sink_kind delta_kind = {.name = "delta",
                                     .unique = true,
                                     .statistics = true,
                                     .check = delta_check,
                                     .publish = delta_publish};
