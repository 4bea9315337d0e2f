// The named, typed columns of a relation. Types are DuckDB's own type text
// ("DECIMAL(15,2)", "STRUCT(a INTEGER)[]"), which any DuckDB parses back exactly.
#ifndef SHOAL_BASE_SCHEMA_H
#define SHOAL_BASE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

struct schema_column {
    char *name;
    char *type;
};

struct schema {
    struct schema_column *columns;
    size_t count;
};

// Appends a copy of name and type; false when out of memory.
bool schema_add(struct schema *schema, const char *name, const char *type);
// The column of that name, in any case; NULL: there is none.
const struct schema_column *schema_find(const struct schema *schema, const char *name);
// Is there a type that no cast can name? A state of an aggregate (EXPORT_STATE), or a
// tuple of nothing.
bool schema_has_nameless(const struct schema *schema);
bool schema_copy(struct schema *to, const struct schema *from);
bool schema_equal(const struct schema *a, const struct schema *b);
void schema_free(struct schema *schema);

// Bytes that each value of the type takes; 0: they differ, or it is not known.
size_t type_bytes(const char *type);

#endif
