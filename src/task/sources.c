// A file may be replaced or appended to while a query runs, and then some tasks would
// read it as it was and others as it is. The driver says what each file was when it
// planned; the worker looks before the SQL runs and after, so all that counts was read
// from that one file.
#include "task/sources.h"

#include <stdlib.h>
#include <string.h>

json_t *sources_to_json(const struct task *task) {
    json_t *list = json_array();
    for (size_t i = 0; i < task->source_count; i++) {
        const struct task_source *source = &task->sources[i];
        json_array_append_new(
            list, json_pack("[s, I, I]", source->path, (json_int_t)source->state.bytes,
                            (json_int_t)source->state.changed));
    }
    return list;
}

shoal_status sources_from_json(const json_t *list, struct task *task,
                               struct shoal_error *err) {
    if (list == NULL) return SHOAL_OK;
    if (!json_is_array(list))
        return shoal_fail(err, SHOAL_CORRUPT, "a task's sources are no list");
    task->sources = calloc(json_array_size(list) + 1, sizeof *task->sources);
    if (task->sources == NULL) return shoal_no_memory(err);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *path = json_string_value(json_array_get(item, 0));
        const json_t *bytes = json_array_get(item, 1), *changed = json_array_get(item, 2);
        struct task_source *source = &task->sources[i];
        if (path == NULL || !json_is_integer(changed) || !json_is_integer(bytes) ||
            json_integer_value(bytes) < 0)
            return shoal_fail(err, SHOAL_CORRUPT,
                              "source %zu of a task is no file, size and time", i);
        source->state = (struct file_state){true, (uint64_t)json_integer_value(bytes),
                                            json_integer_value(changed)};
        source->path = strdup(path);
        if (source->path == NULL) return shoal_no_memory(err);
        task->source_count++;
    }
    return SHOAL_OK;
}

shoal_status task_check_sources(const struct task *task, struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < task->source_count; i++)
        status = file_state_check(task->sources[i].path, &task->sources[i].state, err);
    return status;
}
