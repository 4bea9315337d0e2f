// What shoal reads of a Delta table. All that it would read wrongly is refused by name:
// a protocol that is newer than this, column mapping, files with deletion vectors.
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/text.h"
#include "delta/internal.h"
#include "delta/types.h"

#define READER_VERSION 3

// Features of readers that change nothing for a table that passes the other checks.
static const char *const features[] = {"timestampNtz",        "v2Checkpoint",
                                       "columnMapping",       "deletionVectors",
                                       "vacuumProtocolCheck", NULL};

static shoal_status broken(const struct delta_snapshot *snapshot, const char *what,
                           struct shoal_error *err) {
    return shoal_fail(err, SHOAL_USER,
                      "the log of the Delta table %s is broken at version %lld: %s",
                      snapshot->dir, (long long)snapshot->version, what);
}

static shoal_status refuse(const struct delta_snapshot *snapshot, const char *what,
                           const char *name, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_USER, "the Delta table %s has %s%s, which is not read",
                      snapshot->dir, what, name);
}

static shoal_status check_protocol(const struct delta_snapshot *snapshot,
                                   struct shoal_error *err) {
    const json_t *version = json_object_get(snapshot->protocol, "minReaderVersion");
    const json_t *list = json_object_get(snapshot->protocol, "readerFeatures");
    const json_t *feature;
    size_t i;
    if (snapshot->protocol == NULL || !json_is_integer(version))
        return broken(snapshot, "it has no protocol", err);
    if (json_integer_value(version) > READER_VERSION) {
        return shoal_fail(err, SHOAL_USER,
                          "the Delta table %s asks for reader version %lld: versions to "
                          "%d are read",
                          snapshot->dir, (long long)json_integer_value(version),
                          READER_VERSION);
    }
    json_array_foreach(list, i, feature) {
        const char *name = json_string_value(feature);
        if (name == NULL) return broken(snapshot, "a reader feature has no name", err);
        if (!text_one_of(name, features))
            return refuse(snapshot, "the table feature ", name, err);
    }
    const char *mode = json_string_value(
        json_object_get(json_object_get(snapshot->metadata, "configuration"),
                        "delta.columnMapping.mode"));
    if (mode != NULL && strcmp(mode, "none") != 0)
        return refuse(snapshot, "column mapping by ", mode, err);
    return SHOAL_OK;
}

static shoal_status check_fields(struct delta_snapshot *snapshot,
                                 struct shoal_error *err) {
    const char *text =
        json_string_value(json_object_get(snapshot->metadata, "schemaString"));
    json_t *schema = text == NULL ? NULL : json_read(text, strlen(text), 0, NULL);
    json_t *names = json_object();
    const json_t *field;
    size_t i;
    shoal_status status = names == NULL ? shoal_no_memory(err) : SHOAL_OK;
    snapshot->fields = json_incref(json_object_get(schema, "fields"));
    json_decref(schema);
    if (status == SHOAL_OK && !json_is_array(snapshot->fields))
        status = broken(snapshot, "its schemaString is no schema", err);
    json_array_foreach(snapshot->fields, i, field) {
        const char *name = json_string_value(json_object_get(field, "name"));
        struct text lower = {0};
        if (status != SHOAL_OK) break;
        if (name == NULL || *name == '\0' || json_object_get(field, "type") == NULL) {
            status = broken(snapshot, "a column has no name or no type", err);
            break;
        }
        for (const char *c = name; *c; c++) {
            char small = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
            text_append_bytes(&lower, &small, 1);
        }
        if (lower.failed) {
            status = shoal_no_memory(err);
        } else if (json_object_get(names, lower.data) != NULL) {
            status = broken(snapshot, "two columns have the same name", err);
        } else if (json_object_set_new(names, lower.data, json_true()) != 0) {
            status = shoal_no_memory(err);
        }
        text_free(&lower);
    }
    json_decref(names);
    return status;
}

static shoal_status check_partitions(struct delta_snapshot *snapshot,
                                     struct shoal_error *err) {
    const json_t *name;
    size_t i;
    snapshot->partitions =
        json_incref(json_object_get(snapshot->metadata, "partitionColumns"));
    if (!json_is_array(snapshot->partitions))
        return broken(snapshot, "it has no list of partition columns", err);
    json_array_foreach(snapshot->partitions, i, name) {
        const char *text = json_string_value(name);
        if (text == NULL || delta_field(snapshot, text) == NULL)
            return broken(snapshot, "a partition column is none of the schema", err);
        if (delta_type_has(json_object_get(delta_field(snapshot, text), "type"),
                           "binary"))
            return refuse(snapshot, "the partition column of binary ", text, err);
    }
    if (json_array_size(snapshot->fields) == i && i > 0)
        return broken(snapshot, "all columns are partition columns", err);
    return SHOAL_OK;
}

static shoal_status check_file(const struct delta_snapshot *snapshot, const json_t *add,
                               struct shoal_error *err) {
    const char *path = json_string_value(json_object_get(add, "path"));
    const json_t *values = json_object_get(add, "partitionValues");
    const json_t *name;
    size_t i;
    if (json_is_object(json_object_get(add, "deletionVector"))) {
        return refuse(snapshot, "a deletion vector for the file ", path, err);
    }
    json_array_foreach(snapshot->partitions, i, name) {
        const json_t *value = json_object_get(values, json_string_value(name));
        // Spark leaves a NULL out.
        if (json_is_object(values) &&
            (value == NULL || json_is_string(value) || json_is_null(value)))
            continue;
        return shoal_fail(err, SHOAL_USER,
                          "the log of the Delta table %s is broken: the file %s has no "
                          "text for the partition column %s",
                          snapshot->dir, path, json_string_value(name));
    }
    return SHOAL_OK;
}

shoal_status delta_check(struct delta_snapshot *snapshot, struct shoal_error *err) {
    const char *provider = json_string_value(
        json_object_get(json_object_get(snapshot->metadata, "format"), "provider"));
    const char *key;
    json_t *add;
    shoal_status status = SHOAL_OK;
    if (snapshot->metadata == NULL) return broken(snapshot, "it has no metaData", err);
    if (provider != NULL && strcasecmp(provider, "parquet") != 0)
        return refuse(snapshot, "files of the format ", provider, err);
    status = check_protocol(snapshot, err);
    if (status == SHOAL_OK) status = check_fields(snapshot, err);
    if (status == SHOAL_OK) status = check_partitions(snapshot, err);
    json_object_foreach(snapshot->files, key, add) {
        if (status == SHOAL_OK) status = check_file(snapshot, add, err);
    }
    return status;
}

const json_t *delta_field(const struct delta_snapshot *snapshot, const char *name) {
    const json_t *field;
    size_t i;
    json_array_foreach(snapshot->fields, i, field) {
        if (strcmp(json_string_value(json_object_get(field, "name")), name) == 0)
            return field;
    }
    return NULL;
}

bool delta_is_partition(const struct delta_snapshot *snapshot, const char *name) {
    const json_t *partition;
    size_t i;
    json_array_foreach(snapshot->partitions, i, partition) {
        if (strcmp(json_string_value(partition), name) == 0) return true;
    }
    return false;
}

// An empty text stands for NULL as well.
const char *delta_partition_value(const json_t *add, const char *name) {
    const char *value =
        json_string_value(json_object_get(json_object_get(add, "partitionValues"), name));
    return value == NULL || *value == '\0' ? NULL : value;
}

// ---- paths: they are URIs, relative to the table or whole

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool delta_decode(struct text *out, const char *uri, size_t size) {
    bool escapes = true;
    text_append(out, "");
    for (size_t i = 0; i < size; i++) {
        int high = uri[i] == '%' && size - i > 2 ? hex(uri[i + 1]) : -1;
        int low = high >= 0 ? hex(uri[i + 2]) : -1;
        char byte = low >= 0 ? (char)(high * 16 + low) : uri[i];
        if (uri[i] == '%' && low < 0) escapes = false;
        if (low >= 0) i += 2;
        text_append_bytes(out, &byte, 1);
    }
    return escapes;
}

// "s3:/" of "s3://bucket/key"; a ':' may be in a name as well.
static bool has_scheme(const char *uri) {
    size_t length = strspn(uri,
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                           "0123456789+-.");
    return length > 0 && uri[length] == ':' && uri[length + 1] == '/';
}

shoal_status delta_file_path(const struct delta_snapshot *snapshot, const json_t *add,
                             char **path, struct shoal_error *err) {
    const char *uri = json_string_value(json_object_get(add, "path"));
    struct text text = {0};
    *path = NULL;
    if (strncmp(uri, "file:///", 8) == 0) {
        uri += 7;
    } else if (has_scheme(uri)) {
        return refuse(snapshot, "a file that is not in a local folder: ", uri, err);
    }
    if (*uri != '/') text_printf(&text, "%s/", snapshot->dir);
    (void)delta_decode(&text, uri, strlen(uri));
    // DuckDB would take these in a name for a pattern.
    if (!text.failed && (strlen(text.data) != text.size ||
                         text.data[strcspn(text.data, "*?[")] != '\0')) {
        text_free(&text);
        return refuse(snapshot, "a file with one of * ? [ in its path: ", uri, err);
    }
    *path = text_take(&text);
    return *path == NULL ? shoal_no_memory(err) : SHOAL_OK;
}
