#include "base/json.h"

#include <stdlib.h>
#include <string.h>

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
    json_error_t why;
    *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (json_is_object(*object)) return SHOAL_OK;
    if (*object != NULL) json_decref(*object);
    *object = NULL;
    return shoal_fail(err, SHOAL_CORRUPT, "a message is not a JSON object");
}

shoal_status json_take_text(json_t *object, char **text, struct shoal_error *err) {
    *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return *text == NULL ? shoal_fail(err, SHOAL_NOMEM, "out of memory for a message")
                         : SHOAL_OK;
}
