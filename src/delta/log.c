// From a log's folder to a snapshot. A log is a row of commits, each a file of JSON
// actions; a checkpoint is the sum of all up to its version, as Parquet (or as JSON), so
// that they need not be read one by one. Of a file only the last action counts: it is
// live, add, or gone, remove. Whatever is in these files, the answer is a snapshot or an
// error that names the file.
#include "delta/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "delta/internal.h"

struct reading {
    struct delta_snapshot *snapshot;
    const char *path;    // of the log's file that is read
    json_t *sidecars;    // of a checkpoint: names of the files that have the rest of it
    bool in_checkpoint;  // what it says is removed is not there anyway
    struct shoal_error *err;
};

// ---- actions

static shoal_status broken(const struct reading *reading, const char *what) {
    return shoal_fail(reading->err, SHOAL_USER,
                      "the Delta log is broken: %s in %s; restore the file from a backup",
                      what, reading->path);
}

static shoal_status kept(const struct reading *reading, int jansson) {
    return jansson == 0 ? SHOAL_OK : shoal_no_memory(reading->err);
}

// The same file may be live with one deletion vector and gone with another.
static char *file_key(const json_t *action) {
    const json_t *vector = json_object_get(action, "deletionVector");
    struct text key = {0};
    text_append(&key, json_string_value(json_object_get(action, "path")));
    if (json_is_object(vector)) {
        char *text = json_text(vector, JSON_COMPACT | JSON_SORT_KEYS);
        text_printf(&key, "\n%s", text != NULL ? text : "");
        key.failed = key.failed || text == NULL;
        free(text);
    }
    return text_take(&key);
}

static shoal_status apply_file(struct reading *reading, json_t *action, bool add) {
    shoal_status status = SHOAL_OK;
    if (!json_is_string(json_object_get(action, "path")))
        return broken(reading,
                      add ? "an \"add\" without a path" : "a \"remove\" without a path");
    char *key = file_key(action);
    if (key == NULL) return shoal_no_memory(reading->err);
    struct delta_snapshot *snapshot = reading->snapshot;
    if (add) {
        (void)json_object_del(snapshot->removes, key);
        status = kept(reading, json_object_set(snapshot->files, key, action));
    } else {
        if (!reading->in_checkpoint) (void)json_object_del(snapshot->files, key);
        status = kept(reading, json_object_set(snapshot->removes, key, action));
    }
    free(key);
    return status;
}

static shoal_status apply_metadata(struct reading *reading, json_t *metadata) {
    struct delta_snapshot *snapshot = reading->snapshot;
    const json_t *before = json_object_get(snapshot->metadata, "schemaString");
    const json_t *after = json_object_get(metadata, "schemaString");
    if (reading->in_checkpoint || (before != NULL && !json_equal(before, after)))
        snapshot->one_schema = false;
    json_decref(snapshot->metadata);
    snapshot->metadata = json_incref(metadata);
    return SHOAL_OK;
}

static shoal_status apply_transaction(struct reading *reading, json_t *action) {
    const char *id = json_string_value(json_object_get(action, "appId"));
    if (id == NULL || !json_is_integer(json_object_get(action, "version")))
        return broken(reading, "a \"txn\" without an appId or a version");
    return kept(reading, json_object_set(reading->snapshot->txns, id, action));
}

static shoal_status apply_sidecar(struct reading *reading, const json_t *action) {
    json_t *path = json_object_get(action, "path");
    if (!json_is_string(path)) return broken(reading, "a \"sidecar\" without a path");
    return kept(reading, json_array_append(reading->sidecars, path));
}

static shoal_status apply(struct reading *reading, const json_t *line) {
    shoal_status status = SHOAL_OK;
    const char *name;
    json_t *action;
    json_object_foreach((json_t *)line, name, action) {
        bool add = strcmp(name, "add") == 0;
        if (status != SHOAL_OK) break;
        if (!json_is_object(action)) continue;  // in a checkpoint all but one are null
        if (add || strcmp(name, "remove") == 0) {
            status = apply_file(reading, action, add);
        } else if (strcmp(name, "metaData") == 0) {
            status = apply_metadata(reading, action);
        } else if (strcmp(name, "protocol") == 0) {
            json_decref(reading->snapshot->protocol);
            reading->snapshot->protocol = json_incref(action);
        } else if (strcmp(name, "txn") == 0) {
            status = apply_transaction(reading, action);
        } else if (strcmp(name, "sidecar") == 0 && reading->sidecars != NULL) {
            status = apply_sidecar(reading, action);
        }
    }
    return status;
}

// ---- files of the log

static bool is_blank(const char *line, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (strchr(" \t\r\n", line[i]) == NULL || line[i] == '\0') return false;
    }
    return true;
}

static shoal_status parse_line(const char *path, size_t number, const char *line,
                               size_t size, json_t **action, struct shoal_error *err) {
    uint64_t before = memory_failures();
    json_error_t why;
    *action = json_read(line, size, 0, &why);
    if (json_is_object(*action)) return SHOAL_OK;
    bool parsed = *action != NULL;
    json_decref(*action);
    *action = NULL;
    if (memory_failures() != before) return shoal_no_memory(err);
    return shoal_fail(err, SHOAL_USER,
                      "the Delta log is broken: line %zu of %s is no JSON object (%s); "
                      "restore the file from a backup",
                      number, path, parsed ? "it is another value" : why.text);
}

shoal_status delta_read_actions(const char *path, json_t **actions,
                                struct shoal_error *err) {
    char *line = NULL;
    size_t room = 0, number = 0;
    shoal_status status = SHOAL_OK;
    FILE *file = fopen(path, "re");
    *actions = json_array();
    if (*actions == NULL) status = shoal_no_memory(err);
    if (status == SHOAL_OK && file == NULL) {
        status = shoal_fail(err, SHOAL_IO, "cannot read the Delta log's file %s: %s",
                            path, strerror(errno));
    }
    for (ssize_t size; status == SHOAL_OK && (size = getline(&line, &room, file)) >= 0;) {
        json_t *action = NULL;
        number++;
        if (is_blank(line, (size_t)size)) continue;
        status = parse_line(path, number, line, (size_t)size, &action, err);
        if (status == SHOAL_OK && json_array_append_new(*actions, action) != 0)
            status = shoal_no_memory(err);
    }
    // getline ends as at the file's end where it has no memory.
    if (status == SHOAL_OK && !feof(file))
        status = shoal_fail(err, SHOAL_IO, "cannot read the Delta log's file %s: %s",
                            path, strerror(errno));
    if (status == SHOAL_OK && json_array_size(*actions) == 0)
        status = shoal_fail(err, SHOAL_USER,
                            "the Delta log is broken: %s is empty; restore the file from "
                            "a backup",
                            path);
    if (status != SHOAL_OK) {
        json_decref(*actions);
        *actions = NULL;
    }
    if (file != NULL) fclose(file);
    free(line);
    return status;
}

static shoal_status read_json(struct reading *reading, const char *path) {
    json_t *actions = NULL, *action;
    size_t i;
    reading->path = path;
    shoal_status status = delta_read_actions(path, &actions, reading->err);
    json_array_foreach(actions, i, action) {
        if (status == SHOAL_OK) status = apply(reading, action);
    }
    json_decref(actions);
    return status;
}

// DuckDB makes each row the JSON that a commit would have.
static shoal_status read_parquet(struct reading *reading, struct duck_conn *conn,
                                 const char *path) {
    struct text sql = {0};
    struct duck_result *result = NULL;
    bool more = true;
    reading->path = path;
    text_append(&sql, "SELECT CAST(to_json(t) AS VARCHAR) AS action FROM read_parquet(");
    text_append_literal(&sql, path);
    text_append(&sql, ") t");
    shoal_status status = sql.failed
                              ? shoal_no_memory(reading->err)
                              : duck_query_batches(conn, sql.data, &result, reading->err);
    while (status == SHOAL_OK && more) {
        status = duck_result_next(result, &more, reading->err);
        for (size_t r = 0; status == SHOAL_OK && r < duck_result_rows(result); r++) {
            const char *row = duck_result_text(result, 0, r);
            json_t *action = NULL;
            status = parse_line(path, r + 1, row, strlen(row), &action, reading->err);
            if (status == SHOAL_OK) status = apply(reading, action);
            json_decref(action);
        }
    }
    duck_result_free(result);
    text_free(&sql);
    return status;
}

static shoal_status read_any(struct reading *reading, struct duck_conn *conn,
                             char *path) {
    size_t length = path == NULL ? 0 : strlen(path);
    shoal_status status = path == NULL ? shoal_no_memory(reading->err)
                          : length > 5 && strcmp(path + length - 5, ".json") == 0
                              ? read_json(reading, path)
                              : read_parquet(reading, conn, path);
    reading->path = NULL;
    free(path);
    return status;
}

static char *in_log(const char *dir, const char *name) {
    struct text path = {0};
    text_printf(&path, "%s/" DELTA_LOG "/%s", dir, name);
    return text_take(&path);
}

static char *part_path(const char *dir, const struct log_checkpoint *checkpoint,
                       uint32_t part) {
    struct text path = {0};
    if (checkpoint->parts == 0) return in_log(dir, checkpoint->name);
    text_printf(&path, "%s/" DELTA_LOG "/%020lld.checkpoint.%010u.%010u.parquet", dir,
                (long long)checkpoint->version, part, checkpoint->parts);
    return text_take(&path);
}

// Sidecars are named by where they are in _delta_log/_sidecars, or with the whole path.
static char *sidecar_path(const char *dir, const char *name) {
    struct text path = {0};
    if (*name == '/') return strdup(name);
    text_printf(&path, "%s/" DELTA_LOG "/_sidecars/%s", dir, name);
    return text_take(&path);
}

static shoal_status read_checkpoint(struct delta_snapshot *snapshot,
                                    struct duck_conn *conn,
                                    const struct log_checkpoint *checkpoint,
                                    struct shoal_error *err) {
    struct reading reading = {.snapshot = snapshot,
                              .sidecars = json_array(),
                              .in_checkpoint = true,
                              .err = err};
    uint32_t parts = checkpoint->parts ? checkpoint->parts : 1;
    shoal_status status = reading.sidecars == NULL ? shoal_no_memory(err) : SHOAL_OK;
    snapshot->one_schema = false;
    for (uint32_t part = 1; status == SHOAL_OK && part <= parts; part++) {
        status = read_any(&reading, conn, part_path(snapshot->dir, checkpoint, part));
    }
    json_t *sidecars = reading.sidecars;
    reading.sidecars = NULL;  // they have none themselves
    for (size_t i = 0; status == SHOAL_OK && i < json_array_size(sidecars); i++) {
        const char *name = json_string_value(json_array_get(sidecars, i));
        status = read_any(&reading, conn, sidecar_path(snapshot->dir, name));
    }
    json_decref(sidecars);
    return status;
}

char *delta_commit_path(const char *dir, int64_t version) {
    struct text path = {0};
    text_printf(&path, "%s/" DELTA_LOG "/%020lld.json", dir, (long long)version);
    return text_take(&path);
}

// ---- the snapshot

static shoal_status no_version(const char *dir, const struct log_files *files,
                               int64_t version, int64_t newest, struct shoal_error *err) {
    if (newest < 0) {
        return shoal_fail(
            err, SHOAL_USER,
            "there is no Delta table in %s: its " DELTA_LOG " has no commit", dir);
    }
    return shoal_fail(
        err, SHOAL_USER,
        "the Delta table %s has no version %lld: its log goes from %lld to "
        "%lld",
        dir, (long long)version,
        files->commit_count > 0 ? (long long)files->commits[0] : (long long)newest,
        (long long)newest);
}

static shoal_status missing_commit(const char *dir, int64_t version, bool from_start,
                                   struct shoal_error *err) {
    char *path = delta_commit_path(dir, version);
    shoal_status status = shoal_fail(
        err, SHOAL_USER, "the Delta log has a gap: %s is missing%s", path ? path : dir,
        from_start ? ", and there is no checkpoint that makes up for it: the versions "
                     "before one can't be read any more"
                   : "; restore the file from a backup");
    free(path);
    return status;
}

// The commits after `at`, up to the version.
static shoal_status read_commits(struct delta_snapshot *snapshot,
                                 const struct log_files *files, int64_t at,
                                 int64_t version, struct shoal_error *err) {
    struct reading reading = {.snapshot = snapshot, .err = err};
    shoal_status status = SHOAL_OK;
    size_t i = 0;
    while (i < files->commit_count && files->commits[i] <= at) i++;
    for (; status == SHOAL_OK && at < version; i++) {
        if (i >= files->commit_count || files->commits[i] != at + 1)
            return missing_commit(snapshot->dir, at + 1, at < 0, err);
        at++;
        status = read_any(&reading, NULL, delta_commit_path(snapshot->dir, at));
    }
    return status;
}

static shoal_status read_log(struct delta_snapshot *snapshot, struct duck_conn *conn,
                             int64_t version, struct shoal_error *err) {
    struct log_files files = {0};
    struct log_checkpoint checkpoint;
    shoal_status status = log_files_list(snapshot->dir, &files, err);
    if (status != SHOAL_OK) return status;
    int64_t newest = log_files_checkpoint(&files, INT64_MAX, &checkpoint);
    if (files.commit_count > 0 && files.commits[files.commit_count - 1] > newest)
        newest = files.commits[files.commit_count - 1];
    if (version == DELTA_LATEST) version = newest;
    if (version < 0 || version > newest) {
        status = no_version(snapshot->dir, &files, version, newest, err);
    } else {
        int64_t at = log_files_checkpoint(&files, version, &checkpoint);
        if (at >= 0) status = read_checkpoint(snapshot, conn, &checkpoint, err);
        if (status == SHOAL_OK) status = read_commits(snapshot, &files, at, version, err);
    }
    snapshot->version = version;
    log_files_free(&files);
    return status;
}

bool delta_is_table(const char *dir) {
    char path[PATH_MAX];
    struct stat at;
    int length = snprintf(path, sizeof path, "%s/" DELTA_LOG, dir);
    return length > 0 && (size_t)length < sizeof path && stat(path, &at) == 0 &&
           S_ISDIR(at.st_mode);
}

shoal_status delta_snapshot_open(struct duck_conn *conn, const char *dir, int64_t version,
                                 struct delta_snapshot **out, struct shoal_error *err) {
    struct delta_snapshot *snapshot = calloc(1, sizeof *snapshot);
    uint64_t before = memory_failures();
    shoal_status status = SHOAL_OK;
    *out = NULL;
    if (snapshot == NULL) return shoal_no_memory(err);
    snapshot->one_schema = true;
    snapshot->files = json_object();
    snapshot->removes = json_object();
    snapshot->txns = json_object();
    snapshot->dir = realpath(dir, NULL);
    if (snapshot->dir == NULL) {
        status = shoal_fail(err, errno == ENOENT ? SHOAL_USER : SHOAL_IO,
                            "cannot open the Delta table %s: %s", dir, strerror(errno));
    } else if (snapshot->files == NULL || snapshot->removes == NULL ||
               snapshot->txns == NULL) {
        status = shoal_no_memory(err);
    } else if (!delta_is_table(dir)) {
        status =
            shoal_fail(err, SHOAL_USER,
                       "there is no Delta table in %s: it has no folder " DELTA_LOG, dir);
    }
    if (status == SHOAL_OK) status = read_log(snapshot, conn, version, err);
    if (status == SHOAL_OK) status = delta_check(snapshot, err);
    // What it says for want of JSON may be wrong, and so may a snapshot be.
    if (memory_failures() != before) status = shoal_no_memory(err);
    if (status != SHOAL_OK) {
        delta_snapshot_free(snapshot);
        return status;
    }
    *out = snapshot;
    return SHOAL_OK;
}

void delta_snapshot_free(struct delta_snapshot *snapshot) {
    if (snapshot == NULL) return;
    free(snapshot->dir);
    json_decref(snapshot->protocol);
    json_decref(snapshot->metadata);
    json_decref(snapshot->fields);
    json_decref(snapshot->partitions);
    json_decref(snapshot->files);
    json_decref(snapshot->removes);
    json_decref(snapshot->txns);
    free(snapshot);
}
