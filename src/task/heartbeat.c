#include "task/heartbeat.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"

shoal_status heartbeat_encode(const struct heartbeat *beat, char **json,
                              struct shoal_error *err) {
    json_t *tasks = json_array();
    for (size_t i = 0; i < beat->count; i++) {
        const struct heartbeat_task *task = &beat->tasks[i];
        json_array_append_new(
            tasks, json_pack("{s:I, s:I, s:f}", "task", (json_int_t)task->task, "attempt",
                             (json_int_t)task->attempt, "progress", task->progress));
    }
    return json_take_text(
        json_pack("{s:f, s:f, s:I, s:o}", "time", beat->time, "cpu", beat->cpu_seconds,
                  "io", (json_int_t)beat->io_bytes, "tasks", tasks),
        json, err);
}

static shoal_status get_number(const json_t *object, const char *name, double least,
                               double most, double *value, struct shoal_error *err) {
    const json_t *member = json_object_get(object, name);
    *value = json_number_value(member);
    if (json_is_number(member) && isfinite(*value) && *value >= least && *value <= most)
        return SHOAL_OK;
    return shoal_fail(err, SHOAL_CORRUPT, "a heartbeat's %s is missing or out of range",
                      name);
}

static shoal_status decode_task(const json_t *item, struct heartbeat_task *task,
                                struct shoal_error *err) {
    uint64_t attempt = 0;
    shoal_status status = json_get_count(item, "task", INT64_MAX, &task->task, err);
    if (status == SHOAL_OK)
        status = json_get_count(item, "attempt", UINT32_MAX, &attempt, err);
    if (status == SHOAL_OK)
        status = get_number(item, "progress", -1, 100, &task->progress, err);
    task->attempt = (uint32_t)attempt;
    return status;
}

shoal_status heartbeat_decode(const char *json, size_t size, struct heartbeat *beat,
                              struct shoal_error *err) {
    json_t *root = NULL, *tasks = NULL;
    *beat = (struct heartbeat){0};
    shoal_status status = json_parse_object(json, size, &root, err);
    if (status == SHOAL_OK) status = get_number(root, "time", 0, 1e15, &beat->time, err);
    if (status == SHOAL_OK)
        status = get_number(root, "cpu", 0, 1e15, &beat->cpu_seconds, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "io", INT64_MAX, &beat->io_bytes, err);
    if (status == SHOAL_OK)
        status = json_get_array(root, "tasks", HEARTBEAT_SLOTS, &tasks, err);
    if (status == SHOAL_OK) {
        beat->tasks = calloc(json_array_size(tasks) + 1, sizeof *beat->tasks);
        if (beat->tasks == NULL) status = shoal_no_memory(err);
    }
    for (size_t i = 0; status == SHOAL_OK && i < json_array_size(tasks); i++)
        status = decode_task(json_array_get(tasks, i), &beat->tasks[beat->count++], err);
    json_decref(root);
    if (status != SHOAL_OK) heartbeat_free(beat);
    return status;
}

void heartbeat_free(struct heartbeat *beat) {
    free(beat->tasks);
    *beat = (struct heartbeat){0};
}
