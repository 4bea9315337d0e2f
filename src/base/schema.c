#include "base/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"

bool schema_add(struct schema *schema, const char *name, const char *type) {
    struct schema_column *columns =
        realloc(schema->columns, (schema->count + 1) * sizeof *columns);
    if (columns == NULL) {
        memory_failed();
        return false;
    }
    schema->columns = columns;
    char *name_copy = strdup(name);
    char *type_copy = strdup(type);
    if (name_copy == NULL || type_copy == NULL) {
        free(name_copy);
        free(type_copy);
        memory_failed();
        return false;
    }
    columns[schema->count++] = (struct schema_column){name_copy, type_copy};
    return true;
}

bool schema_copy(struct schema *to, const struct schema *from) {
    *to = (struct schema){0};
    for (size_t i = 0; i < from->count; i++) {
        if (!schema_add(to, from->columns[i].name, from->columns[i].type)) {
            schema_free(to);
            return false;
        }
    }
    return true;
}

const struct schema_column *schema_find(const struct schema *schema, const char *name) {
    for (size_t i = 0; i < schema->count; i++) {
        if (strcasecmp(schema->columns[i].name, name) == 0) return &schema->columns[i];
    }
    return NULL;
}

static bool is_nameless(const char *type) {
    if (strstr(type, "AGGREGATE_STATE") != NULL) return true;
    for (const char *at = strstr(type, "TUPLE"); at != NULL;
         at = strstr(at + 1, "TUPLE")) {
        if (at[strlen("TUPLE")] != '(') return true;
    }
    return false;
}

bool schema_has_nameless(const struct schema *schema) {
    for (size_t i = 0; i < schema->count; i++) {
        if (is_nameless(schema->columns[i].type)) return true;
    }
    return false;
}

bool schema_equal(const struct schema *a, const struct schema *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->columns[i].name, b->columns[i].name) != 0) return false;
        if (strcmp(a->columns[i].type, b->columns[i].type) != 0) return false;
    }
    return true;
}

void schema_free(struct schema *schema) {
    for (size_t i = 0; i < schema->count; i++) {
        free(schema->columns[i].name);
        free(schema->columns[i].type);
    }
    free(schema->columns);
    *schema = (struct schema){0};
}

size_t type_bytes(const char *type) {
    static const struct {
        const char *name;
        size_t bytes;
    } types[] = {{"BOOLEAN", 1},   {"TINYINT", 1},  {"UTINYINT", 1},  {"SMALLINT", 2},
                 {"USMALLINT", 2}, {"INTEGER", 4},  {"UINTEGER", 4},  {"DATE", 4},
                 {"FLOAT", 4},     {"BIGINT", 8},   {"UBIGINT", 8},   {"DOUBLE", 8},
                 {"TIME", 8},      {"HUGEINT", 16}, {"UHUGEINT", 16}, {"UUID", 16}};
    unsigned digits = 0;
    if (strchr(type, '[') != NULL) return 0;  // lists
    if (strncmp(type, "TIMESTAMP", strlen("TIMESTAMP")) == 0) return 8;
    if (sscanf(type, "DECIMAL(%u", &digits) == 1)
        return digits <= 4 ? 2 : digits <= 9 ? 4 : digits <= 18 ? 8 : 16;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].name) == 0) return types[i].bytes;
    }
    return 0;
}
