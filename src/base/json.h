// Reading a peer's JSON: every member is checked for kind and range before it is used.
#ifndef SHOAL_BASE_JSON_H
#define SHOAL_BASE_JSON_H

#include <jansson.h>

#include "base/status.h"

// Not all of jansson's calls say that an allocation failed: whoever makes JSON of many
// parts asks memory_failures() before and after.

// As json_loadb and json_load_file, which drop characters when memory runs out: NULL
// then, and memory_failures() has grown. why may be NULL.
json_t *json_read(const char *text, size_t size, size_t flags, json_error_t *why);
json_t *json_read_file(const char *path);
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
// As json_dumps, which may leave out what it had no memory for: NULL then, and of NULL.
char *json_text(const json_t *json, size_t flags);
// Compact text of an object, which it consumes; an object that is NULL is out of memory.
shoal_status json_take_text(json_t *object, char **text, struct shoal_error *err);
// The same of one of many parts, of which none may lack: memory_failures() before the
// first was made.
shoal_status json_take_whole(json_t *object, uint64_t failures, char **text,
                             struct shoal_error *err);

#endif
