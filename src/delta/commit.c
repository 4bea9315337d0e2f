// A commit is one new file in the log, which nobody else may have made: it is written
// whole beside it and then linked to its name, which fails if the name is there (on file
// systems without hard links, renamed with RENAME_NOREPLACE). Who loses the race reads
// what the others committed. Files that were only added don't hurt an append; whoever
// replaces rows must have seen all that it replaces. Then it tries the next number.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "delta/internal.h"
#include "delta/types.h"
#include "delta/write.h"
#include "shoal/version.h"

#define STATISTICS_COLUMNS 32

struct commit {
    const struct delta_write *write;
    const struct delta_file *files;
    size_t count;
    json_t *partitions;  // of the files: a text of the values to true
    int64_t now;         // milliseconds
    struct shoal_error *err;
};

static int64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// ---- actions; NULL: out of memory

// A version 4 UUID.
static bool new_uuid(char *uuid) {
    uint8_t bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    for (size_t i = 0; i < sizeof bytes; i++) {
        (void)snprintf(uuid, 3, "%02x", bytes[i]);
        uuid += 2;
        if (i == 3 || i == 5 || i == 7 || i == 9) *uuid++ = '-';
    }
    return true;
}

static json_t *protocol_action(const struct delta_write *write) {
    if (!write->ntz)
        return json_pack("{s:{s:i, s:i}}", "protocol", "minReaderVersion", 1,
                         "minWriterVersion", 2);
    return json_pack("{s:{s:i, s:i, s:[s], s:[s]}}", "protocol", "minReaderVersion", 3,
                     "minWriterVersion", 7, "readerFeatures", "timestampNtz",
                     "writerFeatures", "timestampNtz");
}

static json_t *metadata_action(const struct commit *commit) {
    const struct delta_write *write = commit->write;
    char uuid[40];
    json_t *schema = json_pack("{s:s, s:O}", "type", "struct", "fields", write->fields);
    char *text = schema == NULL ? NULL : json_text(schema, JSON_COMPACT);
    json_t *action =
        text == NULL || !new_uuid(uuid)
            ? NULL
            : json_pack("{s:{s:s, s:{s:s, s:{}}, s:s, s:O, s:{}, s:I}}", "metaData", "id",
                        uuid, "format", "provider", "parquet", "options", "schemaString",
                        text, "partitionColumns", write->partitions, "configuration",
                        "createdTime", (json_int_t)commit->now);
    free(text);
    json_decref(schema);
    return action;
}

static json_t *info_action(const struct commit *commit) {
    static const char *const modes[] = {[DELTA_ERROR_IF_EXISTS] = "ErrorIfExists",
                                        [DELTA_APPEND] = "Append",
                                        [DELTA_OVERWRITE] = "Overwrite",
                                        [DELTA_OVERWRITE_PARTITIONS] = "Overwrite"};
    const struct delta_write *write = commit->write;
    char *partitions = json_text(write->partitions, JSON_COMPACT);
    json_t *parameters = partitions == NULL
                             ? NULL
                             : json_pack("{s:s, s:s}", "mode", modes[write->mode],
                                         "partitionBy", partitions);
    if (parameters != NULL && write->mode == DELTA_OVERWRITE_PARTITIONS)
        json_object_set_new(parameters, "partitionOverwriteMode", json_string("dynamic"));
    free(partitions);
    return parameters == NULL
               ? NULL
               : json_pack("{s:{s:I, s:s, s:o, s:s}}", "commitInfo", "timestamp",
                           (json_int_t)commit->now, "operation", "WRITE",
                           "operationParameters", parameters, "engineInfo",
                           "shoal/" SHOAL_VERSION);
}

// The path as a URI. What DuckDB escaped in a folder's name is escaped once more: it is
// the name.
static char *file_uri(const char *path) {
    struct text uri = {0};
    for (const unsigned char *c = (const unsigned char *)path; *c; c++) {
        bool plain = *c > ' ' && *c < 0x7f && strchr("%\"<>\\^`{|}#?[]:", *c) == NULL;
        if (plain) {
            text_append_bytes(&uri, (const char *)c, 1);
        } else {
            text_printf(&uri, "%%%02X", *c);
        }
    }
    return text_take(&uri);
}

// ---- statistics of a file: of whole numbers and dates what DuckDB knows exactly, and
// how many NULLs

static json_t *bound(const json_t *statistics, const char *name, const char *type) {
    static const char *const numbers[] = {"long", "integer", "short", "byte", NULL};
    const char *text = json_string_value(json_object_get(statistics, name));
    struct text exact = {0};
    text_printf(&exact, "%s_is_exact", name);
    const char *is_exact =
        exact.failed ? NULL : json_string_value(json_object_get(statistics, exact.data));
    bool known = text != NULL && is_exact != NULL && strcmp(is_exact, "true") == 0;
    text_free(&exact);
    if (!known) return NULL;
    if (text_one_of(type, numbers)) {
        char *end = NULL;
        errno = 0;
        long long number = strtoll(text, &end, 10);
        return errno == 0 && *end == '\0' ? json_integer(number) : NULL;
    }
    // four digits of a year, so that others read it
    bool date = strcmp(type, "date") == 0 && strlen(text) == 10 && text[4] == '-';
    return date ? json_string(text) : NULL;
}

static void add_statistics(const json_t *all, const char *name, const char *type,
                           json_t *smallest, json_t *largest, json_t *nulls) {
    struct text quoted = {0};
    text_append_identifier(&quoted, name);
    const json_t *of = quoted.failed ? NULL : json_object_get(all, quoted.data);
    const char *count = json_string_value(json_object_get(of, "null_count"));
    json_t *low = bound(of, "min", type), *high = bound(of, "max", type);
    if (count != NULL)
        json_object_set_new(nulls, name, json_integer(strtoll(count, NULL, 10)));
    if (low != NULL && high != NULL) {
        json_object_set(smallest, name, low);
        json_object_set(largest, name, high);
    }
    json_decref(low);
    json_decref(high);
    text_free(&quoted);
}

static char *statistics_text(const struct delta_write *write,
                             const struct delta_file *file) {
    json_t *all = file->statistics == NULL
                      ? NULL
                      : json_read(file->statistics, strlen(file->statistics), 0, NULL);
    json_t *smallest = json_object(), *largest = json_object(), *nulls = json_object();
    const json_t *field, *partition;
    size_t i, p, seen = 0;
    json_array_foreach(write->fields, i, field) {
        const char *name = json_string_value(json_object_get(field, "name"));
        const char *type = json_string_value(json_object_get(field, "type"));
        bool in_path = false;
        json_array_foreach(write->partitions, p, partition) {
            if (strcmp(json_string_value(partition), name) == 0) in_path = true;
        }
        if (in_path || seen++ >= STATISTICS_COLUMNS || type == NULL) continue;
        add_statistics(all, name, type, smallest, largest, nulls);
    }
    json_t *statistics =
        json_pack("{s:I, s:o, s:o, s:o}", "numRecords", (json_int_t)file->rows,
                  "minValues", smallest, "maxValues", largest, "nullCount", nulls);
    char *text = statistics == NULL ? NULL : json_text(statistics, JSON_COMPACT);
    json_decref(statistics);
    json_decref(all);
    return text;
}

// ---- partitions

// The values that the log shall have, all texts or null, spelled as the table's columns.
static shoal_status partition_values(const struct commit *commit,
                                     const struct delta_file *file, json_t **values) {
    json_t *given = file->partition == NULL
                        ? NULL
                        : json_read(file->partition, strlen(file->partition), 0, NULL);
    const json_t *column;
    size_t i;
    shoal_status status = SHOAL_OK;
    *values = json_object();
    json_array_foreach(commit->write->partitions, i, column) {
        const char *name = json_string_value(column), *key;
        json_t *value = json_null(), *one;
        json_object_foreach(given, key, one) {
            if (strcasecmp(key, name) == 0) value = one;
        }
        if (json_is_string(value) && json_string_length(value) == 0) {
            status =
                shoal_fail(commit->err, SHOAL_USER,
                           "the partition column %s has an empty text, which a Delta "
                           "table would read as NULL: write nullif(%s, ''), or "
                           "another text",
                           name, name);
        }
        (void)json_object_set(*values, name, value);
    }
    json_decref(given);
    if (status == SHOAL_OK && json_object_size(*values) != i)
        status = shoal_no_memory(commit->err);
    return status;
}

// One text for a partition, whatever the order of the names.
static char *partition_key(const json_t *partitions, const json_t *values) {
    struct text key = {0};
    const json_t *column;
    size_t i;
    text_append(&key, "");
    json_array_foreach(partitions, i, column) {
        const char *value =
            json_string_value(json_object_get(values, json_string_value(column)));
        text_printf(&key, "%zu:%s,", value ? strlen(value) : 0, value ? value : "");
    }
    return text_take(&key);
}

// Is the action's file in a partition that is replaced? Without values it may be. False:
// out of memory.
static bool find_replaced(const struct commit *commit, const json_t *action,
                          bool *replaced) {
    const json_t *values = json_object_get(action, "partitionValues");
    enum delta_mode mode = commit->write->mode;
    *replaced = mode == DELTA_OVERWRITE || mode == DELTA_OVERWRITE_PARTITIONS;
    if (mode != DELTA_OVERWRITE_PARTITIONS || !json_is_object(values)) return true;
    char *key = partition_key(commit->write->partitions, values);
    *replaced = key != NULL && json_object_get(commit->partitions, key) != NULL;
    free(key);
    return key != NULL;
}

// ---- the text of the commit

static bool append_action(struct text *out, json_t *action) {
    char *line = action == NULL ? NULL : json_text(action, JSON_COMPACT);
    bool ok = line != NULL;
    if (ok) text_printf(out, "%s\n", line);
    free(line);
    json_decref(action);
    return ok && !out->failed;
}

static shoal_status append_add(struct commit *commit, const struct delta_file *file,
                               struct text *out) {
    json_t *values = NULL;
    shoal_status status = partition_values(commit, file, &values);
    char *uri = file_uri(file->path);
    char *statistics = statistics_text(commit->write, file);
    char *key = partition_key(commit->write->partitions, values);
    if (status == SHOAL_OK &&
        (key == NULL || uri == NULL || statistics == NULL ||
         json_object_set_new(commit->partitions, key, json_true()) != 0 ||
         !append_action(
             out, json_pack("{s:{s:s, s:O, s:I, s:I, s:b, s:s}}", "add", "path", uri,
                            "partitionValues", values, "size", (json_int_t)file->bytes,
                            "modificationTime", (json_int_t)commit->now, "dataChange", 1,
                            "stats", statistics))))
        status = shoal_no_memory(commit->err);
    json_decref(values);
    free(uri);
    free(statistics);
    free(key);
    return status;
}

static bool append_remove(const struct commit *commit, const json_t *add,
                          struct text *out) {
    const json_t *size = json_object_get(add, "size");
    json_t *action =
        json_pack("{s:s, s:I, s:b, s:b, s:O*, s:I}", "path",
                  json_string_value(json_object_get(add, "path")), "deletionTimestamp",
                  (json_int_t)commit->now, "dataChange", 1, "extendedFileMetadata", 1,
                  "partitionValues", json_object_get(add, "partitionValues"), "size",
                  json_integer_value(size));
    return append_action(out,
                         action == NULL ? NULL : json_pack("{s:o}", "remove", action));
}

// All but what depends on the version.
static shoal_status commit_text(struct commit *commit, struct text *out) {
    const struct delta_write *write = commit->write;
    const char *key;
    json_t *add;
    uint64_t before = memory_failures();
    bool ok = append_action(out, info_action(commit));
    shoal_status status = SHOAL_OK;
    if (write->base == NULL)
        ok = ok && append_action(out, protocol_action(write)) &&
             append_action(out, metadata_action(commit));
    for (size_t i = 0; ok && status == SHOAL_OK && i < commit->count; i++)
        status = append_add(commit, &commit->files[i], out);
    if (write->base != NULL) {
        json_object_foreach(write->base->files, key, add) {
            bool replaced = false;
            if (!ok || status != SHOAL_OK) break;
            ok = find_replaced(commit, add, &replaced);
            if (ok && replaced) ok = append_remove(commit, add, out);
        }
    }
    // Statistics and values that lack a part would be wrong ones.
    if (memory_failures() != before) ok = false;
    return ok ? status : shoal_no_memory(commit->err);
}

// ---- the log

static shoal_status io_failed(const struct commit *commit, const char *what,
                              const char *path) {
    return shoal_fail(commit->err, SHOAL_IO, "cannot %s %s: %s", what, path,
                      strerror(errno));
}

shoal_status delta_put_if_absent(const char *from, const char *to, bool *lost,
                                 struct shoal_error *err) {
    struct stat at;
    *lost = false;
    if (io_link(FAULT_COMMIT_LINK, from, to) == 0) return SHOAL_OK;
    bool no_links = errno == EPERM || errno == EOPNOTSUPP || errno == EINVAL;
    if (no_links && renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return SHOAL_OK;
    if (errno != EEXIST)
        return shoal_fail(err, SHOAL_IO, "cannot write the file %s of the Delta log: %s",
                          to, strerror(errno));
    // NFS may do it twice when an answer is lost.
    *lost = stat(from, &at) != 0 || at.st_nlink < 2;
    return SHOAL_OK;
}

shoal_status delta_create(const char *path, int *fd, struct shoal_error *err) {
    *fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    return *fd >= 0
               ? SHOAL_OK
               : shoal_fail(err, SHOAL_IO, "cannot create %s: %s", path, strerror(errno));
}

static shoal_status write_whole(const struct commit *commit, const char *path,
                                const char *text, int64_t version) {
    struct text transaction = {0};
    if (unlink(path) != 0 && errno != ENOENT) return io_failed(commit, "remove", path);
    int fd = -1;
    shoal_status status = delta_create(path, &fd, commit->err);
    if (status != SHOAL_OK) return status;
    if (commit->write->job_id != NULL) {
        json_t *action = json_pack("{s:{s:s, s:I, s:I}}", "txn", "appId",
                                   commit->write->job_id, "version", (json_int_t)version,
                                   "lastUpdated", (json_int_t)commit->now);
        status = append_action(&transaction, action)
                     ? io_write(FAULT_COMMIT_LOG, fd, path, transaction.data,
                                transaction.size, commit->err)
                     : shoal_no_memory(commit->err);
    }
    if (status == SHOAL_OK)
        status = io_write(FAULT_COMMIT_LOG, fd, path, text, strlen(text), commit->err);
    if (status == SHOAL_OK && fsync(fd) != 0) status = io_failed(commit, "write", path);
    if (close(fd) != 0 && status == SHOAL_OK) status = io_failed(commit, "write", path);
    text_free(&transaction);
    return status;
}

static shoal_status sync_folder(const struct commit *commit, const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    shoal_status status = SHOAL_OK;
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        status = io_failed(commit, "write the folder", path);
    if (fd >= 0) close(fd);
    return status;
}

// ---- others

static shoal_status conflict(const struct commit *commit, int64_t version,
                             const char *what) {
    return shoal_fail(commit->err, SHOAL_USER,
                      "another writer committed version %lld of the Delta table %s while "
                      "this ran, and %s: nothing was written; run again",
                      (long long)version, commit->write->dir, what);
}

// The commit that was first: may ours follow it? *before: it is this job's.
static shoal_status check_other(const struct commit *commit, const json_t *actions,
                                int64_t version, bool *before) {
    const struct delta_write *write = commit->write;
    const json_t *line;
    size_t i;
    json_array_foreach(actions, i, line) {
        const char *job =
            json_string_value(json_object_get(json_object_get(line, "txn"), "appId"));
        if (write->job_id != NULL && job != NULL && strcmp(job, write->job_id) == 0)
            *before = true;
    }
    if (*before) return SHOAL_OK;
    if (write->base == NULL) return conflict(commit, version, "made the table");
    json_array_foreach(actions, i, line) {
        const json_t *add = json_object_get(line, "add");
        const json_t *removed = json_object_get(line, "remove");
        if (json_is_object(json_object_get(line, "metaData")) ||
            json_is_object(json_object_get(line, "protocol")))
            return conflict(commit, version, "changed its schema or protocol");
        bool added = false, gone = false;
        if ((json_is_object(add) && !find_replaced(commit, add, &added)) ||
            (json_is_object(removed) && !find_replaced(commit, removed, &gone)))
            return shoal_no_memory(commit->err);
        if (added || gone) return conflict(commit, version, "changed what this replaces");
    }
    return SHOAL_OK;
}

static shoal_status follow(const struct commit *commit, const char *path, int64_t version,
                           bool *before) {
    json_t *actions = NULL;
    shoal_status status = delta_read_actions(path, &actions, commit->err);
    if (status == SHOAL_OK) status = check_other(commit, actions, version, before);
    json_decref(actions);
    return status;
}

// Tries one version after the other until one is free.
static shoal_status claim(const struct commit *commit, const char *text,
                          const char *scratch, int64_t *version, bool *before) {
    const struct delta_write *write = commit->write;
    bool lost = true;
    shoal_status status = SHOAL_OK;
    for (*version = write->base ? write->base->version + 1 : 0;
         status == SHOAL_OK && !*before; ++*version) {
        char *path = delta_commit_path(write->dir, *version);
        status = path == NULL ? shoal_no_memory(commit->err)
                              : write_whole(commit, scratch, text, *version);
        if (status == SHOAL_OK)
            status = delta_put_if_absent(scratch, path, &lost, commit->err);
        if (status == SHOAL_OK && lost) status = follow(commit, path, *version, before);
        free(path);
        if (!lost || *before || status != SHOAL_OK) break;
    }
    return status;
}

shoal_status delta_commit(const struct delta_write *write, const struct delta_file *files,
                          size_t count, const char *scratch, int64_t *version,
                          bool *before, struct shoal_error *err) {
    struct commit commit = {.write = write,
                            .files = files,
                            .count = count,
                            .partitions = json_object(),
                            .now = milliseconds(),
                            .err = err};
    struct text text = {0}, file = {0}, log = {0};
    *before = false;
    text_printf(&file, "%s/commit.json", scratch);
    text_printf(&log, "%s/" DELTA_LOG, write->dir);
    shoal_status status = commit.partitions == NULL || file.failed || log.failed
                              ? shoal_no_memory(err)
                              : commit_text(&commit, &text);
    if (status == SHOAL_OK && mkdir(log.data, 0777) != 0 && errno != EEXIST)
        status = io_failed(&commit, "make the folder", log.data);
    if (status == SHOAL_OK)
        status = claim(&commit, text.data, file.data, version, before);
    // It counts already, whatever may still fail.
    if (status == SHOAL_OK && !*before &&
        (sync_folder(&commit, log.data) != SHOAL_OK ||
         delta_checkpoint(write->conn, write->dir, *version, scratch, err) != SHOAL_OK))
        fprintf(stderr, "shoal: version %lld is committed, but: %s\n",
                (long long)*version, err->message);
    json_decref(commit.partitions);
    text_free(&text);
    text_free(&file);
    text_free(&log);
    return status;
}
