#include "task/local.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "block/places.h"

// *path becomes where this process keeps it; what is NULL stays.
static bool move(struct task_local *local, char **path) {
    if (*path == NULL) return true;
    char *there = places_local_to_write(*path);
    if (there == NULL) return false;
    *path = local->own[local->count++] = there;
    return true;
}

// The SQL with each literal of one path in the place of the other's.
static bool rename_in(struct task_local *local, char **sql, const char *from,
                      const char *to) {
    struct text old = {0}, new = {0}, out = {0};
    if (*sql == NULL) return true;
    text_append_literal(&old, from);
    text_append_literal(&new, to);
    bool ok = !old.failed && !new.failed;
    const char *at = *sql;
    for (const char *next; ok && (next = strstr(at, old.data)) != NULL;) {
        text_append_bytes(&out, at, (size_t)(next - at));
        text_append(&out, new.data);
        at = next + old.size;
    }
    text_append(&out, at);
    text_free(&old);
    text_free(&new);
    char *text = text_take(&out);
    if (!ok || text == NULL) {
        free(text);
        return false;
    }
    *sql = local->own[local->count++] = text;
    return true;
}

shoal_status task_local_make(struct task_local *local, const struct task *task,
                             struct shoal_error *err) {
    *local = (struct task_local){.task = *task};
    struct task *own = &local->task;
    bool ok = move(local, &own->output) && move(local, &own->memory_output) &&
              move(local, &own->rejects) && move(local, &own->range.pipe);
    if (ok && task->range.pipe != NULL &&
        strcmp(own->range.pipe, task->range.pipe) != 0) {
        ok = rename_in(local, &own->sql, task->range.pipe, own->range.pipe) &&
             rename_in(local, &own->good_sql, task->range.pipe, own->range.pipe) &&
             rename_in(local, &own->faults_sql, task->range.pipe, own->range.pipe);
    }
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

void task_local_free(struct task_local *local) {
    for (size_t i = 0; i < local->count; i++) free(local->own[i]);
    local->count = 0;
}

static bool name_back(char **path) {
    if (*path == NULL) return true;
    char *logical = places_logical(*path);
    if (logical == NULL) return false;
    free(*path);
    *path = logical;
    return true;
}

shoal_status task_local_report(struct task_output *output, struct shoal_error *err) {
    bool ok = name_back(&output->rejects);
    for (size_t f = 0; ok && f < output->count; f++)
        ok = name_back(&output->files[f].path);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}
