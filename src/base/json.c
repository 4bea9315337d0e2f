#include "base/json.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

// Of the parser, once one has failed all do: it drops the characters that it has no room
// for, and only says so once it has no room for a value either. But a number or a word
// whose end it dropped it asserts on (lex_unget_unsave), so the buffer of its current
// token, which it doubles, still grows: to BUFFER_LARGEST, in memory that is set aside.
// No number or word of a message is as long.
#define BUFFER_SMALLEST 32
#define BUFFER_LARGEST 512
static _Thread_local bool reading, out_of_memory;
static _Thread_local _Alignas(max_align_t) char spare[2 * BUFFER_LARGEST];
static _Thread_local size_t spare_used;

static void *from_spare(size_t size) {
    bool is_buffer =
        size >= BUFFER_SMALLEST && size <= BUFFER_LARGEST && (size & (size - 1)) == 0;
    if (!is_buffer || size > sizeof spare - spare_used) return NULL;
    spare_used += size;
    return spare + spare_used - size;
}

static bool is_spare(const char *data) {
    uintptr_t start = (uintptr_t)spare;
    return (uintptr_t)data >= start && (uintptr_t)data < start + sizeof spare;
}

static void *allocate(size_t size) {
    void *data = reading && out_of_memory ? NULL : malloc(size);
    if (data != NULL) return data;
    out_of_memory = true;
    memory_failed();
    return reading ? from_spare(size) : NULL;
}

static void release(void *data) {
    if (!is_spare(data)) free(data);
}

// What was allocated before is malloc's as well.
__attribute__((constructor)) static void count_failures(void) {
    json_set_alloc_funcs(allocate, release);
}

static void begin_reading(void) {
    reading = true;
    out_of_memory = false;
    spare_used = 0;
}

static json_t *end_reading(json_t *json) {
    if (out_of_memory) {
        json_decref(json);
        json = NULL;
    }
    reading = false;
    return json;
}

json_t *json_read(const char *text, size_t size, size_t flags, json_error_t *why) {
    begin_reading();
    return end_reading(json_loadb(text, size, flags, why));
}

json_t *json_read_file(const char *path) {
    begin_reading();
    return end_reading(json_load_file(path, 0, NULL));
}

shoal_status json_get_count(const json_t *object, const char *name, uint64_t limit,
                            uint64_t *value, struct shoal_error *err) {
    const json_t *member = json_object_get(object, name);
    json_int_t number = json_integer_value(member);
    if (!json_is_integer(member) || number < 0 || (uint64_t)number > limit) {
        return shoal_fail(err, SHOAL_CORRUPT, "a message's %s is missing or out of range",
                          name);
    }
    *value = (uint64_t)number;
    return SHOAL_OK;
}

shoal_status json_get_string(const json_t *object, const char *name, char **value,
                             struct shoal_error *err) {
    const char *text = json_string_value(json_object_get(object, name));
    if (text == NULL) return shoal_fail(err, SHOAL_CORRUPT, "a message has no %s", name);
    *value = strdup(text);
    return *value == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

shoal_status json_get_array(const json_t *object, const char *name, size_t limit,
                            json_t **value, struct shoal_error *err) {
    *value = json_object_get(object, name);
    if (!json_is_array(*value) || json_array_size(*value) > limit) {
        return shoal_fail(err, SHOAL_CORRUPT, "a message's %s is missing or too long",
                          name);
    }
    return SHOAL_OK;
}

shoal_status json_parse_object(const char *text, size_t size, json_t **object,
                               struct shoal_error *err) {
    uint64_t before = memory_failures();
    *object = json_read(text, size, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(*object)) return SHOAL_OK;
    json_decref(*object);
    *object = NULL;
    if (memory_failures() != before) return shoal_no_memory(err);
    return shoal_fail(err, SHOAL_CORRUPT, "a message is not a JSON object");
}

char *json_text(const json_t *json, size_t flags) {
    uint64_t before = memory_failures();
    char *text = json == NULL ? NULL : json_dumps(json, flags);
    if (memory_failures() == before) return text;
    free(text);
    return NULL;
}

shoal_status json_take_text(json_t *object, char **text, struct shoal_error *err) {
    *text = json_text(object, JSON_COMPACT);
    json_decref(object);
    return *text == NULL ? shoal_fail(err, SHOAL_NOMEM, "out of memory for a message")
                         : SHOAL_OK;
}

shoal_status json_take_whole(json_t *object, uint64_t before, char **text,
                             struct shoal_error *err) {
    if (memory_failures() == before) return json_take_text(object, text, err);
    *text = NULL;
    json_decref(object);
    return shoal_no_memory(err);
}
