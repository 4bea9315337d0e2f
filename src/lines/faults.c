// read_json has no store_rejects. It has ignore_errors, which makes NULL of what doesn't
// fit, and a row of NULLs of a record that is no JSON; so a row alone doesn't tell
// whether it has faults. Its record does: a value that is NULL in the row, but not in the
// record, didn't fit. Rows and records are read by two calls and paired by their order,
// which one thread keeps: DuckDB's positional scan has one, as has a row_number() over
// all rows, by which the good rows are read afterwards. So what is kept are read_json's
// own rows, and no second opinion on how values are read.
//
// Faults are those that read_json without ignore_errors fails for:
// - the record is no JSON, or neither an object nor null;
// - a value doesn't fit its column's type, or one inside it doesn't fit the type there:
//   types are followed down, since STRUCTs and lists of NULLs come of values that don't
//   fit;
// - a key of a column, or of a STRUCT's field, is there twice.
#include "lines/faults.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "duck/duck.h"

#define TEXT_MOST "200"  // characters of a value in a reason

// A value twice: as the row has it, and as the record does. Both are SQL.
struct value {
    const char *row, *json;
    unsigned depth;  // of lambdas around it
};

static void append_fault(struct text *out, const struct value *value, const char *type);

// printf's text, free() it; NULL sets out->failed.
static char *make(struct text *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static char *make(struct text *out, const char *format, ...) {
    char *made = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&made, format, args) < 0) made = NULL;
    va_end(args);
    out->failed = out->failed || made == NULL;
    return made;
}

static bool begins(const char *type, const char *word) {
    return strncmp(type, word, strlen(word)) == 0;
}

// Every value fits these.
static bool is_open(const char *type) {
    return strcmp(type, "VARCHAR") == 0 || strcmp(type, "JSON") == 0;
}

// A JSON pointer to a key, as a literal.
static char *pointer_to(const char *key) {
    struct text pointer = {0}, literal = {0};
    text_append(&pointer, "/");
    for (const char *c = key; *c; c++) {
        if (*c == '~' || *c == '/') {
            text_append(&pointer, *c == '~' ? "~0" : "~1");
        } else {
            text_append_bytes(&pointer, c, 1);
        }
    }
    text_append_literal(&literal, pointer.failed ? "" : pointer.data);
    literal.failed = literal.failed || pointer.failed;
    text_free(&pointer);
    return text_take(&literal);
}

// The record's value has another form than the type: an array for a STRUCT.
static void append_other_form(struct text *out, const char *json, const char *form) {
    text_printf(out, "coalesce(json_type(%s), 'NULL') NOT IN ('NULL', '%s')", json, form);
}

// A key that the schema has is there twice.
static void append_twice(struct text *out, const char *json,
                         const struct schema *columns) {
    struct text keys = {0};
    text_printf(&keys, "list_filter(json_keys(%s), lambda k: k IN (NULL", json);
    for (size_t i = 0; i < columns->count; i++) {
        text_append(&keys, ", ");
        text_append_literal(&keys, columns->columns[i].name);
    }
    text_append(&keys, "))");
    text_printf(out, "coalesce(len(%s) <> len(list_distinct(%s)), false)",
                keys.data ? keys.data : "", keys.data ? keys.data : "");
    out->failed = out->failed || keys.failed;
    text_free(&keys);
}

// The end of the type that begins at `at`, among others between commas.
static const char *type_end(const char *at) {
    while (*at && *at != ',' && *at != ')') {
        const char *past = *at == '(' ? duck_token_past(at) : NULL;
        at = past != NULL ? duck_token_start(past) : duck_token_next(at);
    }
    return at;
}

// "a INTEGER, ..." of a STRUCT.
static bool struct_fields(const char *type, struct schema *fields) {
    const char *at = duck_token_start(type + strlen("STRUCT("));
    bool ok = true;
    while (ok && *at && *at != ')') {
        char *name = *at == '"' ? duck_token_unquoted(at, '"')
                                : strndup(at, (size_t)(duck_token_end(at) - at));
        const char *begin = duck_token_next(at);
        at = type_end(begin);
        char *field = strndup(begin, (size_t)(at - begin));
        ok = name != NULL && field != NULL && schema_add(fields, name, field);
        free(name);
        free(field);
        if (*at == ',') at = duck_token_next(at);
    }
    return ok;
}

static void append_struct_fault(struct text *out, const struct value *value,
                                const char *type) {
    struct schema fields = {0};
    out->failed = !struct_fields(type, &fields) || out->failed;
    text_append(out, "(");
    append_other_form(out, value->json, "OBJECT");
    text_append(out, " OR ");
    append_twice(out, value->json, &fields);
    for (size_t i = 0; i < fields.count; i++) {
        const struct schema_column *field = &fields.columns[i];
        struct text name = {0};
        if (is_open(field->type)) continue;
        text_append_literal(&name, field->name);
        char *pointer = pointer_to(field->name);
        char *row =
            make(out, "struct_extract(%s, %s)", value->row, name.data ? name.data : "");
        char *json =
            make(out, "json_extract(%s, %s)", value->json, pointer ? pointer : "");
        struct value inner = {row, json, value->depth};
        out->failed = out->failed || name.failed || pointer == NULL;
        text_append(out, " OR ");
        if (!out->failed) append_fault(out, &inner, field->type);
        free(row);
        free(json);
        free(pointer);
        text_free(&name);
    }
    text_append(out, ")");
    schema_free(&fields);
}

// Of a list's elements, or a map's values. rows: those of the row.
static void append_elements_fault(struct text *out, const struct value *value,
                                  const char *form, const char *rows, const char *path,
                                  const char *type) {
    text_append(out, "(");
    append_other_form(out, value->json, form);
    text_printf(out, " OR (%s IS NULL AND json_type(%s) IS NOT DISTINCT FROM '%s')",
                value->row, value->json, form);
    if (!is_open(type)) {
        char *row = make(out, "z%u[1]", value->depth);
        char *json = make(out, "z%u[2]", value->depth);
        struct value inner = {row, json, value->depth + 1};
        text_printf(out,
                    " OR coalesce(len(list_filter(list_zip(%s, json_extract(%s, '%s')), "
                    "lambda z%u: ",
                    rows, value->json, path, value->depth);
        if (!out->failed) append_fault(out, &inner, type);
        text_append(out, ")), 0) > 0");
        free(row);
        free(json);
    }
    text_append(out, ")");
}

// T[], or T[3].
static void append_list_fault(struct text *out, const struct value *value,
                              const char *type) {
    const char *bracket = strrchr(type, '[');
    char *element = strndup(type, (size_t)(bracket - type));
    char *rows = make(out, "CAST(%s AS %s[])", value->row, element ? element : "");
    out->failed = out->failed || element == NULL;
    if (!out->failed) append_elements_fault(out, value, "ARRAY", rows, "$[*]", element);
    free(element);
    free(rows);
}

// MAP(K, V): a key that doesn't fit makes NULL of the whole.
static void append_map_fault(struct text *out, const struct value *value,
                             const char *type) {
    const char *at = type_end(duck_token_start(type + strlen("MAP(")));
    if (*at == ',') at = duck_token_next(at);
    char *element = strndup(at, (size_t)(type_end(at) - at));
    char *rows = make(out, "map_values(%s)", value->row);
    out->failed = out->failed || element == NULL;
    if (!out->failed) append_elements_fault(out, value, "OBJECT", rows, "$.*", element);
    free(element);
    free(rows);
}

// A condition, never NULL.
static void append_fault(struct text *out, const struct value *value, const char *type) {
    const char *bracket = strrchr(type, '[');
    bool list = bracket != NULL && bracket > type && type[strlen(type) - 1] == ']';
    if (is_open(type)) {
        text_append(out, "false");
    } else if (list) {
        append_list_fault(out, value, type);
    } else if (begins(type, "STRUCT(")) {
        append_struct_fault(out, value, type);
    } else if (begins(type, "MAP(")) {
        append_map_fault(out, value, type);
    } else {
        text_printf(out, "(%s IS NULL AND coalesce(json_type(%s), 'NULL') <> 'NULL')",
                    value->row, value->json);
    }
}

#define RECORD "shoal_text"

static void append_column_fault(struct text *out, const struct schema_column *column) {
    struct text row = {0};
    char *pointer = pointer_to(column->name);
    char *json = make(out, "json_extract(" RECORD ", %s)", pointer ? pointer : "");
    text_append(&row, "shoal_rows.");
    text_append_identifier(&row, column->name);
    out->failed = out->failed || row.failed || pointer == NULL;
    struct value value = {row.data, json, 0};
    if (!out->failed) append_fault(out, &value, column->type);
    text_free(&row);
    free(pointer);
    free(json);
}

// Records of any form, which DuckDB gives as they are.
static bool is_whole(const struct schema *columns) {
    return columns->count == 1 && strcmp(columns->columns[0].name, "json") == 0 &&
           strcmp(columns->columns[0].type, "JSON") == 0;
}

static void append_any_fault(struct text *out, const struct schema *columns) {
    text_append(out, "(" RECORD " IS NULL");
    if (!is_whole(columns)) {
        text_append(out, " OR (len(json_keys(" RECORD ")) = 0 AND ");
        append_other_form(out, RECORD, "OBJECT");
        text_append(out, ")");
        for (size_t i = 0; i < columns->count; i++) {
            if (is_open(columns->columns[i].type)) continue;
            text_append(out, " OR ");
            append_column_fault(out, &columns->columns[i]);
        }
        text_append(out, " OR ");
        append_twice(out, RECORD, columns);
    }
    text_append(out, ")");
}

// {'column': ..., 'error': ..., 'reason': ...}; column and reason are SQL.
static void append_entry(struct text *out, const char *column, const char *error,
                         const char *reason) {
    text_printf(out, "{'column': %s, 'error': '%s', 'reason': %s}", column, error,
                reason);
}

static void append_column_entry(struct text *out, const struct schema_column *column) {
    struct text name = {0}, reason = {0}, type = {0};
    char *pointer = pointer_to(column->name);
    text_append_literal(&name, column->name);
    text_append_literal(&type, column->type);
    text_printf(&reason,
                "'Could not convert ' || left(CAST(json_extract(" RECORD
                ", %s) AS VARCHAR), " TEXT_MOST ") || ' to ' || %s",
                pointer ? pointer : "", type.data ? type.data : "");
    out->failed =
        out->failed || name.failed || reason.failed || type.failed || pointer == NULL;
    if (!out->failed) {
        text_append(out, "CASE WHEN ");
        append_column_fault(out, column);
        text_append(out, " THEN ");
        append_entry(out, name.data, "CAST", reason.data);
        text_printf(out,
                    " WHEN len(list_filter(json_keys(" RECORD
                    "), lambda k: k = %s)) > 1 THEN ",
                    name.data);
        append_entry(out, name.data, "DUPLICATE KEY", "'The key is there twice'");
        text_append(out, " END");
    }
    free(pointer);
    text_free(&name);
    text_free(&type);
    text_free(&reason);
}

// What is wrong with a record that has a fault.
static void append_entries(struct text *out, const struct schema *columns) {
    text_append(out, "CASE WHEN " RECORD " IS NULL THEN [");
    append_entry(out, "NULL::VARCHAR", "INVALID JSON",
                 "'The record is not one JSON value'");
    text_append(out, "] WHEN ");
    append_other_form(out, RECORD, "OBJECT");
    text_append(out, " THEN [");
    append_entry(out, "NULL::VARCHAR", "NOT AN OBJECT",
                 "'Expected an object, but got ' || json_type(" RECORD ")");
    text_append(out, "] ELSE list_filter([");
    for (size_t i = 0; i < columns->count; i++) {
        text_append(out, i ? ", " : "");
        append_column_entry(out, &columns->columns[i]);
    }
    text_append(out, "], lambda entry: entry IS NOT NULL) END");
}

void faults_append_select(struct text *out, const struct faults_calls *calls,
                          size_t scan) {
    text_printf(out, "SELECT %zu AS scan, * FROM (", scan);
    text_append(out,
                "SELECT row_number() OVER () AS n, shoal_texts.filename AS file, "
                "lag(shoal_texts.file_index) OVER () IS DISTINCT FROM "
                "shoal_texts.file_index AS \"first\", lead(shoal_texts.file_index) OVER "
                "() IS DISTINCT FROM shoal_texts.file_index AS \"last\", CAST(" RECORD
                " AS VARCHAR) AS text, CASE WHEN ");
    append_any_fault(out, calls->columns);
    text_append(out, " THEN ");
    append_entries(out, calls->columns);
    text_printf(out,
                " END AS faults FROM %s AS shoal_rows POSITIONAL JOIN %s AS "
                "shoal_texts(" RECORD
                ")) WHERE \"first\" OR \"last\" OR faults IS NOT NULL",
                calls->rows, calls->texts);
}

// No condition of the query around it may come to see a row with faults, where it could
// fail: DuckDB moves none past the outer numbers, and then drops them.
void faults_append_good(struct text *out, const char *columns, const char *rows,
                        size_t scan) {
    text_printf(out,
                "(SELECT * EXCLUDE (shoal_n, shoal_order) FROM (SELECT *, row_number() "
                "OVER () AS shoal_order FROM (SELECT %s, row_number() OVER () AS shoal_n "
                "FROM %s) WHERE shoal_n NOT IN (SELECT n FROM temp." FAULTS_TABLE
                " WHERE scan = %zu)))",
                columns, rows, scan);
}

void faults_append_read_all(struct text *out, const struct schema *columns) {
    text_append(out, "greatest(false");
    for (size_t i = 0; i < columns->count; i++) {
        text_append(out, ", ");
        text_append_identifier(out, columns->columns[i].name);
        text_append(out, " IS NULL");
    }
    text_append(out, ") IS NOT NULL");
}
