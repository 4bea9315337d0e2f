// Reading a peer's JSON: every member is checked for kind and range before it is used.
#ifndef SHOAL_BASE_JSON_H
#define SHOAL_BASE_JSON_H

#include <jansson.h>

#include "base/status.h"

// An integer member within [0, limit]; SHOAL_CORRUPT names the member otherwise.
shoal_status json_get_count(const json_t *object, const char *name, uint64_t limit,
                            uint64_t *value, struct shoal_error *err);
// A string member, copied.
shoal_status json_get_string(const json_t *object, const char *name, char **value,
                             struct shoal_error *err);
// An array member of at most limit items; borrowed.
shoal_status json_get_array(const json_t *object, const char *name, size_t limit,
                            json_t **value, struct shoal_error *err);
// The whole text as an object. Free with json_decref.
shoal_status json_parse_object(const char *text, size_t size, json_t **object,
                               struct shoal_error *err);
// Compact text of an object, which it consumes; an object that is NULL is out of memory.
shoal_status json_take_text(json_t *object, char **text, struct shoal_error *err);

#endif
