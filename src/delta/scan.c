// A snapshot as a subquery over its Parquet files, with the log's names, order and types.
//
// What a file does not have itself has to come from the log: values of partition columns,
// and the NULLs of columns that are younger than the file. DuckDB does both where it can:
// hive_partitioning reads the values from the paths that say what the log says, and
// union_by_name fills in columns, which it has to open all files for. Other files of
// equal values are read by a SELECT each, which has the values as constants.
//
// Spark writes timestamps as INT96, which say nothing of a time zone and are in UTC;
// DuckDB reads them as TIMESTAMP. Files that have such columns are read by a SELECT of
// their own as well.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "delta/delta.h"
#include "delta/internal.h"
#include "delta/types.h"

#define GROUPS_MOST 500  // SELECTs of one table
#define STATISTICS_COLUMNS 32
#define HIVE_NULL "__HIVE_DEFAULT_PARTITION__"

struct scan {
    const struct delta_snapshot *snapshot;
    char **paths;   // of the live files, in the log's order
    json_t **adds;  // theirs, borrowed
    size_t count;
    json_t *int96;  // a path to names of its INT96 columns; none for most
    bool *in_path;  // does a file's path say what its partition columns hold?
    bool by_name;   // a file may lack a column
    struct duck_conn *conn;
    struct shoal_error *err;
};

// Files that one SELECT reads.
struct group {
    const json_t *files;  // numbers
    size_t first;         // of them
    bool by_name;
    struct schema schema;  // of the files together
};

static const char *field_name(const json_t *field) {
    return json_string_value(json_object_get(field, "name"));
}

static shoal_status list_files(struct scan *scan) {
    const char *key;
    json_t *add;
    size_t count = json_object_size(scan->snapshot->files);
    shoal_status status = SHOAL_OK;
    scan->paths = calloc(count + 1, sizeof *scan->paths);
    scan->adds = calloc(count + 1, sizeof(json_t *));
    scan->in_path = calloc(count + 1, sizeof *scan->in_path);
    if (scan->paths == NULL || scan->adds == NULL || scan->in_path == NULL)
        return shoal_no_memory(scan->err);
    json_object_foreach(scan->snapshot->files, key, add) {
        if (status != SHOAL_OK) break;
        status =
            delta_file_path(scan->snapshot, add, &scan->paths[scan->count], scan->err);
        if (status == SHOAL_OK) scan->adds[scan->count++] = add;
    }
    return status;
}

// ---- may DuckDB read partition values from the paths?

// As DuckDB reads a path's value, does it say this?
static bool decodes_to(const char *text, size_t size, const char *value) {
    struct text decoded = {0};
    bool escapes = delta_decode(&decoded, text, size);
    bool same = escapes && decoded.size == strlen(value) && !decoded.failed &&
                memcmp(decoded.data, value, decoded.size) == 0;
    text_free(&decoded);
    return same;
}

// Does the folder "name=value" of a path say what the log says?
static bool folder_agrees(const struct scan *scan, const json_t *add, const char *folder,
                          size_t size) {
    const char *equals = memchr(folder, '=', size);
    const json_t *name;
    size_t i;
    if (equals == NULL) return true;
    json_array_foreach(scan->snapshot->partitions, i, name) {
        const char *column = json_string_value(name);
        size_t length = (size_t)(equals - folder);
        if (strlen(column) != length || strncmp(column, folder, length) != 0) continue;
        const char *value = delta_partition_value(add, column);
        const char *text = equals + 1;
        size_t rest = size - length - 1;
        if (memchr(text, '=', rest) != NULL) return false;
        bool is_null = rest == strlen(HIVE_NULL) && strncmp(text, HIVE_NULL, rest) == 0;
        if (value == NULL || is_null) return value == NULL && is_null;
        return strcasecmp(value, "NULL") != 0 && decodes_to(text, rest, value);
    }
    return false;  // a column that would be in the way
}

// Each partition column has a folder, and no other folder looks like one.
static bool path_agrees(const struct scan *scan, size_t file) {
    const char *at = scan->paths[file];
    size_t found = 0;
    if (strpbrk(at, "\\\n") != NULL) return false;
    for (const char *slash; (slash = strchr(at, '/')) != NULL; at = slash + 1) {
        size_t size = (size_t)(slash - at);
        if (!folder_agrees(scan, scan->adds[file], at, size)) return false;
        found += memchr(at, '=', size) != NULL;
    }
    return found == json_array_size(scan->snapshot->partitions);
}

// Of these types a value has one text, which DuckDB reads as the log means it.
static bool hive_type(const json_t *type) {
    static const char *const names[] = {"string", "long", "integer", "short",
                                        "byte",   "date", "boolean", NULL};
    const char *name = json_string_value(type);
    return name != NULL && (text_one_of(name, names) || strncmp(name, "decimal", 7) == 0);
}

static void compare_paths(struct scan *scan) {
    const json_t *name;
    size_t i;
    if (json_array_size(scan->snapshot->partitions) == 0) return;
    json_array_foreach(scan->snapshot->partitions, i, name) {
        const json_t *field = delta_field(scan->snapshot, json_string_value(name));
        if (!hive_type(json_object_get(field, "type"))) return;
    }
    for (size_t f = 0; f < scan->count; f++) scan->in_path[f] = path_agrees(scan, f);
}

// ---- may a file lack a column?

static bool has_statistics(const struct scan *scan, const json_t *counts) {
    const json_t *field;
    size_t i, seen = 0;
    json_array_foreach(scan->snapshot->fields, i, field) {
        if (delta_is_partition(scan->snapshot, field_name(field))) continue;
        if (++seen > STATISTICS_COLUMNS) break;
        const char *type = json_string_value(json_object_get(field, "type"));
        if (type == NULL || strcmp(type, "binary") == 0) continue;
        if (json_object_get(counts, field_name(field)) == NULL) return false;
    }
    return true;
}

// Writers count the NULLs of the columns that a file has, the first 32 as a rule. Files
// with the same counts have the same columns; what says nothing may lack one.
static bool may_lack_columns(const struct scan *scan) {
    bool same = scan->snapshot->one_schema;
    json_t *first = NULL;
    for (size_t f = 0; same && f < scan->count; f++) {
        const char *text = json_string_value(json_object_get(scan->adds[f], "stats"));
        json_t *statistics = text == NULL ? NULL : json_read(text, strlen(text), 0, NULL);
        json_t *counts = json_object_get(statistics, "nullCount");
        const char *name;
        json_t *count;
        same = json_is_object(counts);
        if (first == NULL && same) {
            first = json_incref(counts);
            same = has_statistics(scan, first);
        }
        same = same && json_object_size(counts) == json_object_size(first);
        json_object_foreach(counts, name, count) {
            if (json_object_get(first, name) == NULL) same = false;
        }
        json_decref(statistics);
    }
    json_decref(first);
    return !same;
}

// ---- INT96

static void append_files(const struct scan *scan, const json_t *files, struct text *out) {
    const json_t *file;
    size_t i;
    text_append(out, "[");
    json_array_foreach(files, i, file) {
        if (i > 0) text_append(out, ", ");
        text_append_literal(out, scan->paths[json_integer_value(file)]);
    }
    text_append(out, "]");
}

static json_t *all_files(const struct scan *scan) {
    json_t *files = json_array();
    for (size_t f = 0; files != NULL && f < scan->count; f++)
        json_array_append_new(files, json_integer((json_int_t)f));
    return files;
}

// The column is a timestamp, or has one inside, that the file may hold as INT96.
static shoal_status add_int96(struct scan *scan, const char *path, const char *name) {
    const json_t *field = delta_field(scan->snapshot, name);
    json_t *names = json_object_get(scan->int96, path);
    if (field == NULL || !json_is_string(json_object_get(field, "type"))) {
        return shoal_fail(scan->err, SHOAL_USER,
                          "the file %s of the Delta table has INT96 timestamps inside a "
                          "nested column, which are not read",
                          path);
    }
    if (names == NULL && json_object_set_new(scan->int96, path, json_array()) == 0)
        names = json_object_get(scan->int96, path);
    return names != NULL && json_array_append_new(names, json_string(name)) == 0
               ? SHOAL_OK
               : shoal_no_memory(scan->err);
}

static shoal_status find_int96(struct scan *scan) {
    const json_t *field;
    size_t i;
    bool timestamps = false;
    struct text sql = {0};
    struct duck_result *result = NULL;
    json_array_foreach(scan->snapshot->fields, i, field) {
        if (delta_type_has(json_object_get(field, "type"), "timestamp") &&
            !delta_is_partition(scan->snapshot, field_name(field)))
            timestamps = true;
    }
    if (!timestamps || scan->count == 0) return SHOAL_OK;
    json_t *files = all_files(scan);
    text_append(&sql, "SELECT file_name, name FROM parquet_schema(");
    append_files(scan, files, &sql);
    text_append(&sql, ") WHERE type = 'INT96' ORDER BY ALL");
    json_decref(files);
    shoal_status status = sql.failed
                              ? shoal_no_memory(scan->err)
                              : duck_query_text(scan->conn, sql.data, &result, scan->err);
    for (size_t r = 0; status == SHOAL_OK && r < duck_result_rows(result); r++) {
        status = add_int96(scan, duck_result_text(result, 0, r),
                           duck_result_text(result, 1, r));
    }
    duck_result_free(result);
    text_free(&sql);
    return status;
}

// ---- the SELECTs

// A partition column's value as a constant. Timestamps are in UTC, unless they say so.
static void append_constant(const json_t *add, const char *name, const char *type,
                            struct text *out) {
    const char *value = delta_partition_value(add, name);
    bool zoned = strcmp(type, "TIMESTAMP WITH TIME ZONE") == 0;
    if (value == NULL) {
        text_printf(out, "CAST(NULL AS %s)", type);
        return;
    }
    text_append(out, "CAST(");
    text_append_literal(out, value);
    if (zoned && strchr(value, 'Z') == NULL) text_append(out, " || '+00'");
    text_printf(out, " AS %s)", type);
}

static bool names_contain(const json_t *names, const char *name) {
    const json_t *one;
    size_t i;
    json_array_foreach(names, i, one) {
        if (strcmp(json_string_value(one), name) == 0) return true;
    }
    return false;
}

static bool has_column(const struct group *group, const char *name) {
    for (size_t c = 0; c < group->schema.count; c++) {
        if (strcasecmp(group->schema.columns[c].name, name) == 0) return true;
    }
    return false;
}

static void append_column(const struct scan *scan, const struct group *group,
                          const char *name, const char *type, struct text *out) {
    if (group->files == NULL) {
        text_printf(out, "CAST(NULL AS %s)", type);
        return;
    }
    const json_t *int96 = json_object_get(scan->int96, scan->paths[group->first]);
    if (!scan->in_path[group->first] && delta_is_partition(scan->snapshot, name)) {
        append_constant(scan->adds[group->first], name, type, out);
    } else if (!has_column(group, name)) {
        text_printf(out, "CAST(NULL AS %s)", type);
    } else if (names_contain(int96, name)) {
        text_append_identifier(out, name);
        text_append(out, " AT TIME ZONE 'UTC'");
    } else {
        text_append(out, "CAST(");
        text_append_identifier(out, name);
        text_printf(out, " AS %s)", type);
    }
}

// The list of the group's SELECT; without files, of NULLs.
static shoal_status append_columns(const struct scan *scan, const struct group *group,
                                   struct text *out) {
    const json_t *field;
    size_t i;
    shoal_status status = SHOAL_OK;
    json_array_foreach(scan->snapshot->fields, i, field) {
        const char *name = field_name(field);
        struct text type = {0};
        if (status != SHOAL_OK) break;
        status =
            delta_type_to_duck(json_object_get(field, "type"), name, &type, scan->err);
        if (status == SHOAL_OK && type.failed) status = shoal_no_memory(scan->err);
        if (status == SHOAL_OK) {
            if (i > 0) text_append(out, ", ");
            append_column(scan, group, name, type.data, out);
            text_append(out, " AS ");
            text_append_identifier(out, name);
        }
        text_free(&type);
    }
    return status;
}

static shoal_status append_hive_types(const struct scan *scan, struct text *out) {
    const json_t *name;
    size_t i;
    shoal_status status = SHOAL_OK;
    text_append(out, ", hive_partitioning = true, hive_types = {");
    json_array_foreach(scan->snapshot->partitions, i, name) {
        const char *column = json_string_value(name);
        const json_t *field = delta_field(scan->snapshot, column);
        struct text type = {0};
        if (status != SHOAL_OK) break;
        status =
            delta_type_to_duck(json_object_get(field, "type"), column, &type, scan->err);
        if (i > 0) text_append(out, ", ");
        text_append_identifier(out, column);
        text_append(out, ": ");
        if (type.data != NULL) text_append_literal(out, type.data);
        text_free(&type);
    }
    text_append(out, "}");
    return status;
}

static shoal_status append_source(const struct scan *scan, const struct group *group,
                                  struct text *out) {
    shoal_status status = SHOAL_OK;
    text_append(out, " FROM read_parquet(");
    append_files(scan, group->files, out);
    if (group->by_name) text_append(out, ", union_by_name = true");
    if (scan->in_path[group->first]) {
        status = append_hive_types(scan, out);
    } else if (strchr(scan->paths[group->first], '=') != NULL) {
        text_append(out, ", hive_partitioning = false");  // its folders are no columns
    }
    text_append(out, ")");
    return status;
}

static shoal_status describe(const struct scan *scan, struct group *group) {
    struct text sql = {0};
    schema_free(&group->schema);
    shoal_status status = append_source(scan, group, &sql);
    if (status == SHOAL_OK && sql.failed) status = shoal_no_memory(scan->err);
    if (status == SHOAL_OK)
        status = duck_describe(scan->conn, sql.data, &group->schema, scan->err);
    text_free(&sql);
    return status;
}

// Does the first file have all of the column? Of a nested one the fields inside, too:
// DuckDB would leave out those of the other files.
static bool has_whole_column(const struct group *group, const json_t *field) {
    const json_t *type = json_object_get(field, "type");
    struct shoal_error ignored;
    json_t *found = NULL;
    bool ntz = false, same = true;
    for (size_t c = 0; c < group->schema.count; c++) {
        const struct schema_column *column = &group->schema.columns[c];
        if (strcasecmp(column->name, field_name(field)) != 0) continue;
        if (json_is_object(type))
            same = delta_type_from_duck(column->type, column->name, &found, &ntz,
                                        &ignored) == SHOAL_OK &&
                   delta_type_same(found, type);
        json_decref(found);
        return same;
    }
    return false;
}

static bool has_all_columns(const struct scan *scan, const struct group *group) {
    const json_t *field;
    size_t i;
    json_array_foreach(scan->snapshot->fields, i, field) {
        if (!delta_is_partition(scan->snapshot, field_name(field)) &&
            !has_whole_column(group, field))
            return false;
    }
    return true;
}

// What none of the files has is NULL. What the first has not, another may have.
static shoal_status append_select(const struct scan *scan, const json_t *files,
                                  struct text *out) {
    struct group group = {.files = files,
                          .first = (size_t)json_integer_value(json_array_get(files, 0)),
                          .by_name = scan->by_name};
    shoal_status status = describe(scan, &group);
    if (status == SHOAL_OK && !group.by_name && !has_all_columns(scan, &group)) {
        group.by_name = true;
        status = describe(scan, &group);
    }
    text_append(out, "SELECT ");
    if (status == SHOAL_OK) status = append_columns(scan, &group, out);
    if (status == SHOAL_OK) status = append_source(scan, &group, out);
    schema_free(&group.schema);
    return status;
}

// Files that one SELECT can read: of equal constants, and equal INT96 columns.
static char *group_key(const struct scan *scan, size_t file) {
    const json_t *int96 = json_object_get(scan->int96, scan->paths[file]), *name;
    size_t i;
    struct text key = {0};
    text_append(&key, "");
    json_array_foreach(scan->snapshot->partitions, i, name) {
        const char *value =
            delta_partition_value(scan->adds[file], json_string_value(name));
        if (scan->in_path[file]) break;
        text_printf(&key, "%zu:%s,", value ? strlen(value) : 0, value ? value : "");
    }
    json_array_foreach(int96, i, name) {
        text_printf(&key, "|%s", json_string_value(name));
    }
    return text_take(&key);
}

static json_t *group_files(const struct scan *scan) {
    json_t *groups = json_object();
    for (size_t f = 0; groups != NULL && f < scan->count; f++) {
        char *key = group_key(scan, f);
        json_t *files = key == NULL ? NULL : json_object_get(groups, key);
        if (files == NULL && key != NULL) {
            files = json_array();
            if (json_object_set_new(groups, key, files) != 0) files = NULL;
        }
        free(key);
        if (files == NULL ||
            json_array_append_new(files, json_integer((json_int_t)f)) != 0) {
            json_decref(groups);
            return NULL;
        }
    }
    return groups;
}

static shoal_status append_groups(const struct scan *scan, struct text *out) {
    json_t *groups = group_files(scan), *files;
    const char *key;
    bool first = true;
    shoal_status status = groups == NULL ? shoal_no_memory(scan->err) : SHOAL_OK;
    if (json_object_size(groups) > GROUPS_MOST) {
        status = shoal_fail(
            scan->err, SHOAL_USER,
            "the Delta table %s has %zu partitions whose values are not in the names of "
            "their folders, or are timestamps or floating-point numbers: up to %d are "
            "read",
            scan->snapshot->dir, json_object_size(groups), GROUPS_MOST);
    }
    json_object_foreach(groups, key, files) {
        if (status != SHOAL_OK) break;
        if (!first) text_append(out, " UNION ALL ");
        first = false;
        status = append_select(scan, files, out);
    }
    json_decref(groups);
    return status;
}

static void scan_free(struct scan *scan) {
    for (size_t f = 0; f < scan->count; f++) free(scan->paths[f]);
    free(scan->paths);
    free(scan->adds);
    free(scan->in_path);
    json_decref(scan->int96);
}

shoal_status delta_scan_sql(struct duck_conn *conn, const struct delta_snapshot *snapshot,
                            struct text *out, struct shoal_error *err) {
    struct scan scan = {
        .snapshot = snapshot, .int96 = json_object(), .conn = conn, .err = err};
    const struct group none = {0};
    struct text nulls = {0};
    shoal_status status = scan.int96 == NULL ? shoal_no_memory(err) : list_files(&scan);
    if (status == SHOAL_OK && json_array_size(snapshot->fields) == 0) {
        status = shoal_fail(err, SHOAL_USER, "the Delta table %s has no columns",
                            snapshot->dir);
    }
    if (status == SHOAL_OK) status = append_columns(&scan, &none, &nulls);
    if (status == SHOAL_OK && nulls.failed) status = shoal_no_memory(err);
    if (status == SHOAL_OK) status = find_int96(&scan);
    text_append(out, "(");
    if (status == SHOAL_OK && scan.count == 0) {
        text_printf(out, "SELECT %s WHERE false", nulls.data);
    } else if (status == SHOAL_OK) {
        compare_paths(&scan);
        scan.by_name = may_lack_columns(&scan);
        status = append_groups(&scan, out);
    }
    text_append(out, ")");
    text_free(&nulls);
    scan_free(&scan);
    return status == SHOAL_OK && out->failed ? shoal_no_memory(err) : status;
}
