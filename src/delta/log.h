// One version of a Delta Lake table, as its log tells it: the newest checkpoint and the
// commits after it, put together.
// https://github.com/delta-io/delta/blob/master/PROTOCOL.md
#ifndef SHOAL_DELTA_LOG_H
#define SHOAL_DELTA_LOG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "duck/duck.h"

#define DELTA_LATEST (-1)

// The JSON is borrowed by whoever looks at it, and as the log has it except where it says
// "checked". What is not checked may be of any kind.
struct delta_snapshot {
    char *dir;  // of the table, absolute
    int64_t version;
    json_t *protocol;    // checked: an object
    json_t *metadata;    // checked: an object
    json_t *fields;      // of the schema; checked: objects with a name and a type
    json_t *partitions;  // names of the partition columns; checked: each is a field
    // The live files, their key to the add action; checked: path is a text, and
    // partitionValues has a text, null or nothing for each partition column.
    json_t *files;
    json_t *removes;  // what a checkpoint says of files that are gone, by the same key
    json_t *txns;     // appId to the last txn action of it; checked: version is a number
    bool one_schema;  // all of the history was read, and had one schema
};

// Is there a log in the folder?
bool delta_is_table(const char *dir);
// The version, or DELTA_LATEST. SHOAL_USER when there is no such, when the log has a gap
// or is broken, and for what shoal does not read, by name. conn reads checkpoints. Free
// with delta_snapshot_free.
shoal_status delta_snapshot_open(struct duck_conn *conn, const char *dir, int64_t version,
                                 struct delta_snapshot **snapshot,
                                 struct shoal_error *err);
void delta_snapshot_free(struct delta_snapshot *snapshot);

const json_t *delta_field(const struct delta_snapshot *snapshot, const char *name);
bool delta_is_partition(const struct delta_snapshot *snapshot, const char *name);
// Of a file's partition column: the text of its value, or NULL.
const char *delta_partition_value(const json_t *add, const char *name);
// The name in the file system of an add action's file, absolute. free() it.
shoal_status delta_file_path(const struct delta_snapshot *snapshot, const json_t *add,
                             char **path, struct shoal_error *err);

// For commit.c: "<dir>/_delta_log/00000000000000000003.json"; NULL: out of memory.
char *delta_commit_path(const char *dir, int64_t version);
// Reads a file of JSON actions, a line each, in order; actions is an array.
shoal_status delta_read_actions(const char *path, json_t **actions,
                                struct shoal_error *err);

#endif
