// A checkpoint every ten versions: the snapshot's actions as one Parquet file, so that
// readers need not go through all commits. DuckDB writes it, from the actions as JSON.
// The commit that it is due for has happened before, so it may fail; and another writer's
// is as good, so the first one stays.
//
// A table with features that may have other actions is left to engines that know them.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/text.h"
#include "delta/internal.h"

#define EVERY 10
#define WEEK_MS (7 * 24 * 3600 * INT64_C(1000))
#define RETENTION "delta.deletedFileRetentionDuration"

// What actions may have, as far as it matters to the tables that get one.
#define MAP_TYPE "MAP(VARCHAR, VARCHAR)"
static const char columns[] =
    "{txn: 'STRUCT(\"appId\" VARCHAR, \"version\" BIGINT, \"lastUpdated\" BIGINT)', "
    "add: 'STRUCT(\"path\" VARCHAR, \"partitionValues\" " MAP_TYPE
    ", \"size\" BIGINT, \"modificationTime\" BIGINT, \"dataChange\" BOOLEAN, "
    "\"stats\" VARCHAR, \"tags\" " MAP_TYPE
    ")', "
    "remove: 'STRUCT(\"path\" VARCHAR, \"deletionTimestamp\" BIGINT, \"dataChange\" "
    "BOOLEAN, \"extendedFileMetadata\" BOOLEAN, \"partitionValues\" " MAP_TYPE
    ", \"size\" BIGINT, \"tags\" " MAP_TYPE
    ")', "
    "metaData: 'STRUCT(\"id\" VARCHAR, \"name\" VARCHAR, \"description\" VARCHAR, "
    "\"format\" STRUCT(\"provider\" VARCHAR, \"options\" " MAP_TYPE
    "), \"schemaString\" VARCHAR, \"partitionColumns\" VARCHAR[], "
    "\"configuration\" " MAP_TYPE
    ", \"createdTime\" BIGINT)', "
    "protocol: 'STRUCT(\"minReaderVersion\" INTEGER, \"minWriterVersion\" INTEGER, "
    "\"readerFeatures\" VARCHAR[], \"writerFeatures\" VARCHAR[])'}";

static bool is_plain(const struct delta_snapshot *snapshot) {
    static const char *const features[] = {"timestampNtz", "appendOnly", "invariants",
                                           NULL};
    const json_t *feature;
    size_t i;
    json_array_foreach(json_object_get(snapshot->protocol, "writerFeatures"), i,
                       feature) {
        if (!text_one_of(json_string_value(feature), features)) return false;
    }
    return true;
}

static bool append_line(struct text *out, const char *name, json_t *action) {
    json_t *line = json_pack("{s:O}", name, action);
    char *text = line == NULL ? NULL : json_text(line, JSON_COMPACT);
    if (text != NULL) text_printf(out, "%s\n", text);
    bool ok = text != NULL && !out->failed;
    free(text);
    json_decref(line);
    return ok;
}

// Files that are gone are named for a week, in which others may still read them; where
// the table says how long, for ever, as nothing here reads what it says.
static bool is_kept(const struct delta_snapshot *snapshot, const json_t *removed) {
    const json_t *setting =
        json_object_get(json_object_get(snapshot->metadata, "configuration"), RETENTION);
    const json_t *at = json_object_get(removed, "deletionTimestamp");
    int64_t now = (int64_t)time(NULL) * 1000;
    return setting != NULL || !json_is_integer(at) ||
           json_integer_value(at) > now - WEEK_MS;
}

// In a checkpoint nothing is news.
static bool append_file(struct text *out, const char *name, json_t *action) {
    return json_object_set_new(action, "dataChange", json_false()) == 0 &&
           append_line(out, name, action);
}

// The actions, a line each; *count of them.
static bool append_actions(const struct delta_snapshot *snapshot, struct text *out,
                           size_t *count) {
    const char *key;
    json_t *action;
    bool ok = append_line(out, "protocol", snapshot->protocol) &&
              append_line(out, "metaData", snapshot->metadata);
    *count = 2 + json_object_size(snapshot->txns) + json_object_size(snapshot->files);
    json_object_foreach(snapshot->txns, key, action) {
        ok = ok && append_line(out, "txn", action);
    }
    json_object_foreach(snapshot->files, key, action) {
        ok = ok && append_file(out, "add", action);
    }
    json_object_foreach(snapshot->removes, key, action) {
        if (!is_kept(snapshot, action)) continue;
        ok = ok && append_file(out, "remove", action);
        ++*count;
    }
    return ok;
}

static shoal_status write_file(const char *path, const struct text *text,
                               struct shoal_error *err) {
    int fd = -1;
    shoal_status status = delta_create(path, &fd, err);
    if (status != SHOAL_OK) return status;
    status = io_write(FAULT_COMMIT_CHECKPOINT, fd, path, text->data, text->size, err);
    close(fd);
    return status;
}

static shoal_status to_parquet(struct duck_conn *conn, const char *from, const char *to,
                               struct shoal_error *err) {
    struct text sql = {0};
    text_append(&sql, "COPY (FROM read_json(");
    text_append_literal(&sql, from);
    text_printf(&sql, ", format = 'newline_delimited', columns = %s)) TO ", columns);
    text_append_literal(&sql, to);
    text_append(&sql, " (FORMAT parquet)");
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : duck_run(conn, sql.data, err);
    text_free(&sql);
    return status;
}

// The hint for readers that don't list the log.
static shoal_status point_to(const char *dir, int64_t version, size_t count,
                             const char *scratch, struct shoal_error *err) {
    struct text hint = {0}, from = {0}, to = {0};
    text_printf(&hint, "{\"version\":%lld,\"size\":%zu}\n", (long long)version, count);
    text_printf(&from, "%s/last", scratch);
    text_printf(&to, "%s/" DELTA_LOG "/_last_checkpoint", dir);
    shoal_status status = hint.failed || from.failed || to.failed
                              ? shoal_no_memory(err)
                              : write_file(from.data, &hint, err);
    if (status == SHOAL_OK && io_rename(FAULT_COMMIT_HINT, from.data, to.data) != 0)
        status =
            shoal_fail(err, SHOAL_IO, "cannot write %s: %s", to.data, strerror(errno));
    text_free(&hint);
    text_free(&from);
    text_free(&to);
    return status;
}

static shoal_status write_checkpoint(struct duck_conn *conn,
                                     const struct delta_snapshot *snapshot,
                                     const char *scratch, struct shoal_error *err) {
    struct text actions = {0}, json = {0}, parquet = {0}, name = {0};
    size_t count = 0;
    bool lost = false;
    text_printf(&json, "%s/checkpoint.json", scratch);
    text_printf(&parquet, "%s/checkpoint.parquet", scratch);
    text_printf(&name, "%s/" DELTA_LOG "/%020lld.checkpoint.parquet", snapshot->dir,
                (long long)snapshot->version);
    bool ok = append_actions(snapshot, &actions, &count) && !json.failed &&
              !parquet.failed && !name.failed;
    shoal_status status =
        ok ? write_file(json.data, &actions, err) : shoal_no_memory(err);
    if (status == SHOAL_OK) status = to_parquet(conn, json.data, parquet.data, err);
    if (status == SHOAL_OK)
        status = delta_put_if_absent(parquet.data, name.data, &lost, err);
    if (status == SHOAL_OK && !lost)
        status = point_to(snapshot->dir, snapshot->version, count, scratch, err);
    text_free(&actions);
    text_free(&json);
    text_free(&parquet);
    text_free(&name);
    return status;
}

shoal_status delta_checkpoint(struct duck_conn *conn, const char *dir, int64_t version,
                              const char *scratch, struct shoal_error *err) {
    struct delta_snapshot *snapshot = NULL;
    if (version == 0 || version % EVERY != 0) return SHOAL_OK;
    shoal_status status = delta_snapshot_open(conn, dir, version, &snapshot, err);
    if (status == SHOAL_OK && is_plain(snapshot))
        status = write_checkpoint(conn, snapshot, scratch, err);
    delta_snapshot_free(snapshot);
    if (status == SHOAL_OK) return SHOAL_OK;
    struct shoal_error why = *err;
    return shoal_fail(err, status, "its checkpoint was not written: %.3900s",
                      why.message);
}
