// May this query be written to this table? All that the log asks of a writer and shoal
// does not do is refused before any work is done.
#include "delta/write.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/text.h"
#include "delta/internal.h"
#include "delta/types.h"

// ---- what a table asks of its writers

// Features that ask nothing of a writer when no column and no setting uses them.
static const char *const features[] = {"appendOnly",
                                       "invariants",
                                       "checkConstraints",
                                       "changeDataFeed",
                                       "generatedColumns",
                                       "identityColumns",
                                       "timestampNtz",
                                       "columnMapping",
                                       "deletionVectors",
                                       "v2Checkpoint",
                                       "domainMetadata",
                                       "vacuumProtocolCheck",
                                       NULL};
#define WRITER_VERSION 7

static shoal_status refuse(const struct delta_write *write, const char *what,
                           const char *name, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_USER,
                      "the Delta table %s has %s%s, which shoal can't write to",
                      write->dir, what, name);
}

static shoal_status check_features(const struct delta_write *write,
                                   struct shoal_error *err) {
    const json_t *protocol = write->base->protocol, *feature;
    const json_t *version = json_object_get(protocol, "minWriterVersion");
    size_t i;
    if (!json_is_integer(version) || json_integer_value(version) > WRITER_VERSION) {
        return shoal_fail(
            err, SHOAL_USER,
            "the Delta table %s asks for writer version %lld: versions to %d "
            "are written",
            write->dir, (long long)json_integer_value(version), WRITER_VERSION);
    }
    json_array_foreach(json_object_get(protocol, "writerFeatures"), i, feature) {
        const char *name = json_string_value(feature);
        if (name == NULL || !text_one_of(name, features))
            return refuse(write, "the table feature ", name ? name : "?", err);
    }
    return SHOAL_OK;
}

static bool is_true(const json_t *value) {
    const char *text = json_string_value(value);
    return json_is_true(value) || (text != NULL && strcasecmp(text, "true") == 0);
}

static shoal_status check_settings(const struct delta_write *write,
                                   struct shoal_error *err) {
    static const char *const switches[] = {"delta.enableChangeDataFeed",
                                           "delta.enableRowTracking",
                                           "delta.enableInCommitTimestamps", NULL};
    const char *name;
    json_t *value;
    bool replaces = write->mode != DELTA_APPEND;
    json_object_foreach(json_object_get(write->base->metadata, "configuration"), name,
                        value) {
        if (strncmp(name, "delta.constraints.", 18) == 0)
            return refuse(write, "the constraint ", name + 18, err);
        if (text_one_of(name, switches) && is_true(value))
            return refuse(write, "the setting ", name, err);
        if (strcmp(name, "delta.appendOnly") == 0 && is_true(value) && replaces) {
            return shoal_fail(err, SHOAL_USER,
                              "the Delta table %s is append-only (delta.appendOnly): "
                              "write to it with APPEND",
                              write->dir);
        }
    }
    return SHOAL_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

// NULLs inside a value that must not be there: nothing here would find them.
static bool requires_inside(const json_t *type) {
    static const char *const may_be_null[] = {"containsNull", "valueContainsNull"};
    static const char *const parts[] = {"elementType", "keyType", "valueType"};
    const json_t *field;
    size_t i;
    for (size_t p = 0; p < sizeof may_be_null / sizeof *may_be_null; p++) {
        if (json_is_false(json_object_get(type, may_be_null[p]))) return true;
    }
    json_array_foreach(json_object_get(type, "fields"), i, field) {
        if (json_is_false(json_object_get(field, "nullable")) ||
            requires_inside(json_object_get(field, "type")))
            return true;
    }
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        const json_t *part = json_object_get(type, parts[p]);
        if (part != NULL && requires_inside(part)) return true;
    }
    return false;
}

static shoal_status check_columns(const struct delta_write *write,
                                  struct shoal_error *err) {
    static const char *const rules[] = {"delta.invariants", "delta.generationExpression",
                                        "CURRENT_DEFAULT", NULL};
    const json_t *field;
    size_t i;
    json_array_foreach(write->base->fields, i, field) {
        const char *column = json_string_value(json_object_get(field, "name")), *name;
        json_t *value;
        json_object_foreach(json_object_get(field, "metadata"), name, value) {
            (void)value;
            if (text_one_of(name, rules) || strncmp(name, "delta.identity.", 15) == 0)
                return refuse(write,
                              ends_with(name, "invariants")
                                  ? "an invariant on the column "
                                  : "values of its own for the column ",
                              column, err);
        }
        if (requires_inside(json_object_get(field, "type")))
            return refuse(write, "values that must not be NULL inside the column ",
                          column, err);
    }
    return SHOAL_OK;
}

// ---- what the statement asks

static bool same_name(const json_t *a, const char *b) {
    return strcasecmp(json_string_value(a), b) == 0;
}

static shoal_status check_partitions(struct delta_write *write, struct shoal_error *err) {
    const json_t *has = write->base->partitions;
    bool same = json_array_size(write->partitions) == json_array_size(has);
    for (size_t i = 0; same && i < json_array_size(has); i++)
        same = same_name(json_array_get(write->partitions, i),
                         json_string_value(json_array_get(has, i)));
    if (write->partitions != NULL && !same) {
        char *list = json_text(has, 0);
        shoal_status status = shoal_fail(err, SHOAL_USER,
                                         "the Delta table %s is partitioned by %s: give "
                                         "the same PARTITION_BY, or none",
                                         write->dir, list ? list : "other columns");
        free(list);
        return status;
    }
    json_decref(write->partitions);
    write->partitions = json_deep_copy(has);
    return write->partitions == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

static bool is_empty(const char *path) {
    DIR *folder = opendir(path);
    bool empty = true;
    if (folder == NULL) return true;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            empty = false;
    }
    closedir(folder);
    return empty;
}

static bool has_commits(const char *dir) {
    struct log_files files;
    struct shoal_error ignored;
    if (log_files_list(dir, &files, &ignored) != SHOAL_OK) return true;  // says why later
    bool has = files.commit_count > 0 || files.checkpoint_count > 0;
    log_files_free(&files);
    return has;
}

static shoal_status check_base(struct delta_write *write, struct shoal_error *err) {
    const json_t *committed =
        write->job_id == NULL ? NULL : json_object_get(write->base->txns, write->job_id);
    if (committed != NULL) {
        write->committed = json_integer_value(json_object_get(committed, "version"));
        return SHOAL_OK;
    }
    if (write->mode == DELTA_ERROR_IF_EXISTS) {
        return shoal_fail(err, SHOAL_USER,
                          "%s is a Delta table already, at version %lld: add to it with "
                          "APPEND, or replace its rows with OVERWRITE",
                          write->dir, (long long)write->base->version);
    }
    shoal_status status = check_features(write, err);
    if (status == SHOAL_OK) status = check_settings(write, err);
    if (status == SHOAL_OK) status = check_columns(write, err);
    if (status == SHOAL_OK) status = check_partitions(write, err);
    return status;
}

shoal_status delta_write_open(struct duck_conn *conn, const char *dir,
                              enum delta_mode mode, const char *job_id,
                              json_t *partitions, struct delta_write **out,
                              struct shoal_error *err) {
    struct delta_write *write = calloc(1, sizeof *write);
    *out = NULL;
    if (write == NULL) {
        json_decref(partitions);
        return shoal_no_memory(err);
    }
    *write = (struct delta_write){.conn = conn,
                                  .dir = strdup(dir),
                                  .mode = mode,
                                  .job_id = job_id ? strdup(job_id) : NULL,
                                  .committed = -1,
                                  .partitions = partitions};
    shoal_status status = SHOAL_OK;
    if (write->dir == NULL || (job_id != NULL && write->job_id == NULL)) {
        status = shoal_no_memory(err);
    } else if (!delta_is_table(dir) && !is_empty(dir)) {
        status = shoal_fail(err, SHOAL_USER,
                            "the folder %s is not empty, and is no Delta table: choose "
                            "another",
                            dir);
    } else if (delta_is_table(dir) && has_commits(dir)) {
        status = delta_snapshot_open(conn, dir, DELTA_LATEST, &write->base, err);
        if (status == SHOAL_OK) status = check_base(write, err);
    }
    if (status == SHOAL_OK && write->partitions == NULL) write->partitions = json_array();
    if (status == SHOAL_OK && write->partitions == NULL) status = shoal_no_memory(err);
    if (status != SHOAL_OK) {
        delta_write_free(write);
        return status;
    }
    *out = write;
    return SHOAL_OK;
}

void delta_write_free(struct delta_write *write) {
    if (write == NULL) return;
    free(write->dir);
    free(write->job_id);
    delta_snapshot_free(write->base);
    json_decref(write->partitions);
    json_decref(write->fields);
    free(write);
}

// ---- the columns

// Names that the files of a table without column mapping may not have.
static bool good_name(const char *name) {
    return *name != '\0' && name[strcspn(name, " ,;{}()\n\t=")] == '\0';
}

static bool good_names(const json_t *type) {
    static const char *const parts[] = {"elementType", "keyType", "valueType"};
    const json_t *field;
    size_t i;
    json_array_foreach(json_object_get(type, "fields"), i, field) {
        if (!good_name(json_string_value(json_object_get(field, "name"))) ||
            !good_names(json_object_get(field, "type")))
            return false;
    }
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        const json_t *part = json_object_get(type, parts[p]);
        if (part != NULL && !good_names(part)) return false;
    }
    return true;
}

static shoal_status add_field(struct delta_write *write,
                              const struct schema_column *column,
                              struct shoal_error *err) {
    json_t *type = NULL;
    shoal_status status =
        delta_type_from_duck(column->type, column->name, &type, &write->ntz, err);
    if (status != SHOAL_OK) return status;
    if (!good_name(column->name) || !good_names(type)) {
        json_decref(type);
        return shoal_fail(
            err, SHOAL_USER,
            "a Delta table can't hold the column %s: its name, or one inside "
            "its type, is empty or has one of blank , ; { } ( ) =; rename it "
            "with AS",
            column->name);
    }
    json_t *field = json_pack("{s:s, s:o, s:b, s:{}}", "name", column->name, "type", type,
                              "nullable", 1, "metadata");
    return json_array_append_new(write->fields, field) == 0 ? SHOAL_OK
                                                            : shoal_no_memory(err);
}

// A value has to have one text, which any reader takes for the same value.
static bool may_partition(const json_t *type) {
    static const char *const names[] = {"string", "long", "integer", "short",
                                        "byte",   "date", "boolean", NULL};
    const char *name = json_string_value(type);
    return name != NULL && (text_one_of(name, names) || strncmp(name, "decimal", 7) == 0);
}

// The partition columns of a new table, spelled as the query spells them.
static shoal_status place_partitions(struct delta_write *write, struct shoal_error *err) {
    size_t count = json_array_size(write->partitions);
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(write->partitions, i));
        const json_t *field, *found = NULL;
        size_t f;
        json_array_foreach(write->fields, f, field) {
            if (same_name(json_object_get(field, "name"), name)) found = field;
        }
        if (found == NULL) {
            return shoal_fail(err, SHOAL_USER,
                              "PARTITION_BY names %s, which is no column of the query",
                              name);
        }
        if (!may_partition(json_object_get(found, "type"))) {
            return shoal_fail(
                err, SHOAL_USER,
                "a Delta table can't be partitioned by %s here: by text, "
                "integers, DECIMAL, DATE and BOOLEAN it can; cast it to one "
                "of them",
                name);
        }
        if (json_array_set(write->partitions, i, json_object_get(found, "name")) != 0)
            return shoal_no_memory(err);
    }
    if (count > 0 && count == json_array_size(write->fields)) {
        return shoal_fail(err, SHOAL_USER,
                          "all columns are partition columns: a file needs one more");
    }
    return SHOAL_OK;
}

static shoal_status new_table(struct delta_write *write, const struct schema *schema,
                              struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    write->fields = json_array();
    if (write->fields == NULL) return shoal_no_memory(err);
    for (size_t c = 0; status == SHOAL_OK && c < schema->count; c++) {
        if (schema_find(schema, schema->columns[c].name) != &schema->columns[c]) {
            status = shoal_fail(err, SHOAL_USER,
                                "the query has two columns %s: rename one with AS",
                                schema->columns[c].name);
        } else {
            status = add_field(write, &schema->columns[c], err);
        }
    }
    return status == SHOAL_OK ? place_partitions(write, err) : status;
}

// One column of the table: as the query has it, or NULL where it has none.
static shoal_status append_column(const struct delta_write *write,
                                  const struct schema *schema, const json_t *field,
                                  struct text *out, struct shoal_error *err) {
    const char *name = json_string_value(json_object_get(field, "name"));
    const json_t *type = json_object_get(field, "type");
    const struct schema_column *column = schema_find(schema, name);
    bool required = json_is_false(json_object_get(field, "nullable"));
    struct text duck = {0}, message = {0};
    json_t *given = NULL;
    bool ntz = false;
    shoal_status status = delta_type_to_duck(type, name, &duck, err);
    if (status == SHOAL_OK && column == NULL && required) {
        status = shoal_fail(err, SHOAL_USER,
                            "the query has no column %s, which the Delta table %s needs: "
                            "it must not be NULL",
                            name, write->dir);
    } else if (status == SHOAL_OK && column == NULL) {
        text_printf(out, "CAST(NULL AS %s)", duck.data ? duck.data : "");
    } else if (status == SHOAL_OK) {
        status = delta_type_from_duck(column->type, name, &given, &ntz, err);
        if (status == SHOAL_OK && !delta_type_same(given, type)) {
            status =
                shoal_fail(err, SHOAL_USER,
                           "the column %s is %s, and the Delta table %s has %s: cast "
                           "it",
                           name, column->type, write->dir, duck.data);
        }
    }
    if (status == SHOAL_OK && column != NULL && required) {
        text_printf(&message, "the column %s of the Delta table %s must not be NULL",
                    name, write->dir);
        text_append(out, "CASE WHEN ");
        text_append_identifier(out, column->name);
        text_append(out, " IS NULL THEN CAST(error(");
        if (message.data != NULL) text_append_literal(out, message.data);
        text_printf(out, ") AS %s) ELSE ", duck.data);
    }
    if (status == SHOAL_OK && column != NULL) text_append_identifier(out, column->name);
    if (status == SHOAL_OK && column != NULL && required) text_append(out, " END");
    text_append(out, " AS ");
    text_append_identifier(out, name);
    json_decref(given);
    text_free(&duck);
    text_free(&message);
    return status;
}

static bool same_columns(const struct delta_write *write, const struct schema *schema) {
    const json_t *field;
    size_t i;
    json_array_foreach(write->fields, i, field) {
        const char *name = json_string_value(json_object_get(field, "name"));
        if (i >= schema->count || strcmp(schema->columns[i].name, name) != 0 ||
            json_is_false(json_object_get(field, "nullable")))
            return false;
    }
    return schema->count == json_array_size(write->fields);
}

static shoal_status old_table(struct delta_write *write, const struct schema *schema,
                              const char *query, char **select, struct shoal_error *err) {
    struct text out = {0};
    const json_t *field;
    size_t i;
    shoal_status status = SHOAL_OK;
    write->fields = json_incref(write->base->fields);
    for (size_t c = 0; c < schema->count; c++) {
        const char *name = schema->columns[c].name;
        bool known = false;
        json_array_foreach(write->fields, i, field) {
            if (same_name(json_object_get(field, "name"), name)) known = true;
        }
        if (schema_find(schema, name) != &schema->columns[c] || !known) {
            return shoal_fail(
                err, SHOAL_USER,
                known ? "the query has two columns %s, and the Delta table %s "
                        "has one: leave one out"
                      : "the query has the column %s, which the Delta table "
                        "%s has not: leave it out",
                name, write->dir);
        }
    }
    text_append(&out, "SELECT ");
    json_array_foreach(write->fields, i, field) {
        if (status != SHOAL_OK) break;
        if (i > 0) text_append(&out, ", ");
        status = append_column(write, schema, field, &out, err);
    }
    text_printf(&out, " FROM (\n%s\n)", query);
    if (status == SHOAL_OK && !same_columns(write, schema)) {
        *select = text_take(&out);
        if (*select == NULL) status = shoal_no_memory(err);
    }
    text_free(&out);
    return status;
}

shoal_status delta_write_select(struct delta_write *write, struct duck_conn *conn,
                                const char *query, char **select,
                                struct shoal_error *err) {
    struct schema schema = {0};
    *select = NULL;
    json_decref(write->fields);
    write->fields = NULL;
    shoal_status status = duck_describe(conn, query, &schema, err);
    if (status == SHOAL_OK)
        status = write->base == NULL ? new_table(write, &schema, err)
                                     : old_table(write, &schema, query, select, err);
    if (status == SHOAL_OK && *select == NULL) {
        *select = strdup(query);
        if (*select == NULL) status = shoal_no_memory(err);
    }
    schema_free(&schema);
    return status;
}
