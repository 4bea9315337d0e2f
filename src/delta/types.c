#include "delta/types.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "duck/duck.h"

#define DEPTH_MOST 100  // of nested types

static const char *const primitives[][2] = {{"string", "VARCHAR"},
                                            {"long", "BIGINT"},
                                            {"integer", "INTEGER"},
                                            {"short", "SMALLINT"},
                                            {"byte", "TINYINT"},
                                            {"float", "FLOAT"},
                                            {"double", "DOUBLE"},
                                            {"boolean", "BOOLEAN"},
                                            {"binary", "BLOB"},
                                            {"date", "DATE"},
                                            {"timestamp_ntz", "TIMESTAMP"},
                                            {"timestamp", "TIMESTAMP WITH TIME ZONE"}};
#define PRIMITIVES (sizeof primitives / sizeof *primitives)

// ---- Delta to DuckDB

static shoal_status unknown(const char *column, const json_t *type,
                            struct shoal_error *err) {
    char *text = json_text(type, JSON_COMPACT | JSON_ENCODE_ANY);
    shoal_status status = shoal_fail(
        err, SHOAL_USER, "the column %s has the Delta type %.200s, which is not read",
        column, text != NULL ? text : "?");
    free(text);
    return status;
}

// decimal(10,2)
static bool is_decimal(const char *name, unsigned *precision, unsigned *scale) {
    int end = 0;
    return sscanf(name, "decimal(%2u,%2u)%n", precision, scale, &end) == 2 && end > 0 &&
           name[end] == '\0' && *precision >= 1 && *precision <= 38 &&
           *scale <= *precision;
}

static shoal_status nested_to_duck(const json_t *type, const char *column, int depth,
                                   struct text *out, struct shoal_error *err);

static shoal_status struct_to_duck(const json_t *type, const char *column, int depth,
                                   struct text *out, struct shoal_error *err) {
    const json_t *fields = json_object_get(type, "fields"), *field;
    size_t i;
    shoal_status status = SHOAL_OK;
    if (json_array_size(fields) == 0) return unknown(column, type, err);
    text_append(out, "STRUCT(");
    json_array_foreach(fields, i, field) {
        const char *name = json_string_value(json_object_get(field, "name"));
        if (status != SHOAL_OK) break;
        if (name == NULL) return unknown(column, type, err);
        if (i > 0) text_append(out, ", ");
        text_append_identifier(out, name);
        text_append(out, " ");
        status = nested_to_duck(json_object_get(field, "type"), column, depth, out, err);
    }
    text_append(out, ")");
    return status;
}

static shoal_status nested_to_duck(const json_t *type, const char *column, int depth,
                                   struct text *out, struct shoal_error *err) {
    const char *name = json_string_value(type);
    const char *kind = json_string_value(json_object_get(type, "type"));
    unsigned precision = 0, scale = 0;
    shoal_status status = SHOAL_OK;
    if (depth > DEPTH_MOST) {
        return shoal_fail(err, SHOAL_USER,
                          "the type of the column %s is nested deeper than %d", column,
                          DEPTH_MOST);
    }
    for (size_t i = 0; name != NULL && i < PRIMITIVES; i++) {
        if (strcmp(name, primitives[i][0]) != 0) continue;
        text_append(out, primitives[i][1]);
        return SHOAL_OK;
    }
    if (name != NULL && is_decimal(name, &precision, &scale)) {
        text_printf(out, "DECIMAL(%u,%u)", precision, scale);
        return SHOAL_OK;
    }
    if (kind == NULL) return unknown(column, type, err);
    if (strcmp(kind, "struct") == 0)
        return struct_to_duck(type, column, depth + 1, out, err);
    if (strcmp(kind, "array") == 0) {
        status = nested_to_duck(json_object_get(type, "elementType"), column, depth + 1,
                                out, err);
        text_append(out, "[]");
    } else if (strcmp(kind, "map") == 0) {
        text_append(out, "MAP(");
        status =
            nested_to_duck(json_object_get(type, "keyType"), column, depth + 1, out, err);
        text_append(out, ", ");
        if (status == SHOAL_OK)
            status = nested_to_duck(json_object_get(type, "valueType"), column, depth + 1,
                                    out, err);
        text_append(out, ")");
    } else {
        status = unknown(column, type, err);
    }
    return status;
}

shoal_status delta_type_to_duck(const json_t *type, const char *column, struct text *out,
                                struct shoal_error *err) {
    return nested_to_duck(type, column, 0, out, err);
}

bool delta_type_has(const json_t *type, const char *name) {
    const char *primitive = json_string_value(type);
    const json_t *field;
    size_t i;
    if (primitive != NULL) return strcmp(primitive, name) == 0;
    json_array_foreach(json_object_get(type, "fields"), i, field) {
        if (delta_type_has(json_object_get(field, "type"), name)) return true;
    }
    static const char *const parts[] = {"elementType", "keyType", "valueType"};
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        const json_t *part = json_object_get(type, parts[p]);
        if (part != NULL && delta_type_has(part, name)) return true;
    }
    return false;
}

bool delta_type_same(const json_t *a, const json_t *b) {
    static const char *const parts[] = {"type", "elementType", "keyType", "valueType"};
    const json_t *left = json_object_get(a, "fields"),
                 *right = json_object_get(b, "fields");
    if (!json_is_object(a) || !json_is_object(b)) return json_equal(a, b);
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        const json_t *x = json_object_get(a, parts[p]), *y = json_object_get(b, parts[p]);
        if ((x == NULL) != (y == NULL) || (x != NULL && !delta_type_same(x, y)))
            return false;
    }
    if (json_array_size(left) != json_array_size(right)) return false;
    for (size_t i = 0; i < json_array_size(left); i++) {
        const json_t *x = json_array_get(left, i), *y = json_array_get(right, i);
        if (!json_equal(json_object_get(x, "name"), json_object_get(y, "name")) ||
            !delta_type_same(json_object_get(x, "type"), json_object_get(y, "type")))
            return false;
    }
    return true;
}

// ---- DuckDB to Delta: a walk over the type's text

struct walk {
    const char *at;
    const char *column;
    bool ntz;
    struct shoal_error *err;
};

static shoal_status no_type(const struct walk *walk, const char *name, size_t length) {
    static const char *const advice[][2] = {
        {"HUGEINT", "cast it to BIGINT or DECIMAL(38,0)"},
        {"UHUGEINT", "cast it to DECIMAL(38,0)"},
        {"UBIGINT", "cast it to BIGINT or DECIMAL(20,0)"},
        {"UINTEGER", "cast it to BIGINT"},
        {"USMALLINT", "cast it to INTEGER"},
        {"UTINYINT", "cast it to SMALLINT"},
        {"TIMESTAMP_NS", "cast it to TIMESTAMP"},
        {"TIMESTAMP_MS", "cast it to TIMESTAMP"},
        {"TIMESTAMP_S", "cast it to TIMESTAMP"}};
    const char *what = "cast it to VARCHAR, or leave it out";
    for (size_t i = 0; i < sizeof advice / sizeof *advice; i++) {
        if (strlen(advice[i][0]) == length && strncmp(name, advice[i][0], length) == 0)
            what = advice[i][1];
    }
    return shoal_fail(walk->err, SHOAL_USER,
                      "a Delta table can't hold the column %s, of type %.*s: %s",
                      walk->column, (int)length, name, what);
}

static shoal_status packed(const struct walk *walk, json_t *value, json_t **type) {
    *type = value;
    return value == NULL ? shoal_no_memory(walk->err) : SHOAL_OK;
}

static shoal_status walk_type(struct walk *walk, int depth, json_t **type);

// One field's name: a word or a quoted identifier.
static char *take_name(struct walk *walk) {
    const char *end = duck_token_end(walk->at);
    struct text name = {0};
    text_append(&name, "");
    if (*walk->at == '"') {
        for (const char *c = walk->at + 1; c < end - 1; c++) {
            text_append_bytes(&name, c, 1);
            if (*c == '"') c++;
        }
    } else {
        text_append_bytes(&name, walk->at, (size_t)(end - walk->at));
    }
    walk->at = duck_token_start(end);
    return text_take(&name);
}

static shoal_status walk_struct(struct walk *walk, int depth, json_t **type) {
    json_t *fields = json_array();
    shoal_status status = fields == NULL ? shoal_no_memory(walk->err) : SHOAL_OK;
    if (*walk->at == '(') walk->at = duck_token_next(walk->at);
    while (status == SHOAL_OK && *walk->at != '\0' && *walk->at != ')') {
        json_t *inner = NULL;
        char *name = take_name(walk);
        status =
            name == NULL ? shoal_no_memory(walk->err) : walk_type(walk, depth, &inner);
        if (status == SHOAL_OK &&
            json_array_append_new(
                fields, json_pack("{s:s, s:o, s:b, s:{}}", "name", name, "type", inner,
                                  "nullable", 1, "metadata")) != 0)
            status = shoal_no_memory(walk->err);
        free(name);
        if (*walk->at == ',') walk->at = duck_token_next(walk->at);
    }
    if (*walk->at == ')') walk->at = duck_token_next(walk->at);
    if (status != SHOAL_OK) {
        json_decref(fields);
        return status;
    }
    return packed(walk, json_pack("{s:s, s:o}", "type", "struct", "fields", fields),
                  type);
}

static shoal_status walk_map(struct walk *walk, int depth, json_t **type) {
    json_t *key = NULL, *value = NULL;
    if (*walk->at == '(') walk->at = duck_token_next(walk->at);
    shoal_status status = walk_type(walk, depth, &key);
    if (*walk->at == ',') walk->at = duck_token_next(walk->at);
    if (status == SHOAL_OK) status = walk_type(walk, depth, &value);
    if (*walk->at == ')') walk->at = duck_token_next(walk->at);
    if (status != SHOAL_OK) {
        json_decref(key);
        return status;
    }
    return packed(walk,
                  json_pack("{s:s, s:o, s:o, s:b}", "type", "map", "keyType", key,
                            "valueType", value, "valueContainsNull", 1),
                  type);
}

// DECIMAL(10,2), whose text has no blanks in Delta.
static shoal_status walk_decimal(struct walk *walk, json_t **type) {
    unsigned precision = 18, scale = 3;
    char name[32];
    if (*walk->at == '(') {
        (void)sscanf(walk->at, "(%2u,%2u", &precision, &scale);
        while (*walk->at != '\0' && *walk->at != ')')
            walk->at = duck_token_next(walk->at);
        if (*walk->at == ')') walk->at = duck_token_next(walk->at);
    }
    (void)snprintf(name, sizeof name, "decimal(%u,%u)", precision, scale);
    return packed(walk, json_string(name), type);
}

static shoal_status walk_primitive(struct walk *walk, const char *name, size_t length,
                                   json_t **type) {
    for (size_t i = 0; i < PRIMITIVES; i++) {
        const char *duck = primitives[i][1];
        if (strlen(duck) != length || strncmp(name, duck, length) != 0) continue;
        if (strcmp(duck, "TIMESTAMP") == 0) walk->ntz = true;
        return packed(walk, json_string(primitives[i][0]), type);
    }
    return no_type(walk, name, length);
}

static shoal_status walk_base(struct walk *walk, int depth, json_t **type) {
    const char *name = walk->at;
    const char *end = duck_token_end(name);
    walk->at = duck_token_start(end);
    if (duck_token_is(name, "struct")) return walk_struct(walk, depth, type);
    if (duck_token_is(name, "map")) return walk_map(walk, depth, type);
    if (duck_token_is(name, "decimal")) return walk_decimal(walk, type);
    if (duck_token_is(name, "timestamp") && duck_token_is(walk->at, "with")) {
        for (int i = 0; i < 3; i++) {  // WITH TIME ZONE
            end = duck_token_end(walk->at);
            walk->at = duck_token_start(end);
        }
    }
    return walk_primitive(walk, name, (size_t)(end - name), type);
}

static shoal_status walk_type(struct walk *walk, int depth, json_t **type) {
    *type = NULL;
    if (depth > DEPTH_MOST) return no_type(walk, "that is nested too deep", 23);
    shoal_status status = walk_base(walk, depth + 1, type);
    // X[] and X[3]: both are a list in Parquet
    while (status == SHOAL_OK && *walk->at == '[') {
        while (*walk->at != '\0' && *walk->at != ']')
            walk->at = duck_token_next(walk->at);
        if (*walk->at == ']') walk->at = duck_token_next(walk->at);
        status = packed(walk,
                        json_pack("{s:s, s:o, s:b}", "type", "array", "elementType",
                                  *type, "containsNull", 1),
                        type);
    }
    if (status != SHOAL_OK) *type = NULL;
    return status;
}

shoal_status delta_type_from_duck(const char *text, const char *column, json_t **type,
                                  bool *ntz, struct shoal_error *err) {
    struct walk walk = {.at = duck_token_start(text), .column = column, .err = err};
    shoal_status status = walk_type(&walk, 0, type);
    if (status == SHOAL_OK && *walk.at != '\0') {
        json_decref(*type);
        *type = NULL;
        status = no_type(&walk, text, strlen(text));
    }
    if (walk.ntz) *ntz = true;
    return status;
}
