// Types of Delta's schemas, which are JSON, and DuckDB's.
#ifndef SHOAL_DELTA_TYPES_H
#define SHOAL_DELTA_TYPES_H

#include <jansson.h>

#include "base/status.h"
#include "base/text.h"

// Appends DuckDB's type. SHOAL_USER for a type that shoal does not read; column is for
// the error.
shoal_status delta_type_to_duck(const json_t *type, const char *column, struct text *out,
                                struct shoal_error *err);
// The Delta type of a DuckDB type's text. SHOAL_USER when there is none that has all of
// its values, with what to do. ntz is set when a timestamp without a time zone is in it,
// which only tables with a feature of that name hold.
shoal_status delta_type_from_duck(const char *text, const char *column, json_t **type,
                                  bool *ntz, struct shoal_error *err);
// Is one of the named primitive types in it?
bool delta_type_has(const json_t *type, const char *name);
// Are they the same but for what is nullable and for metadata?
bool delta_type_same(const json_t *a, const json_t *b);

#endif
