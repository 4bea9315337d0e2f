#include "engine/assigned.h"

#include <stdlib.h>
#include <string.h>

#include "base/spool.h"

static void assignment_free(struct assignment *assignment) {
    free(assignment->output);
    free(assignment->memory_output);
    free(assignment->rejects);
}

static char *copy(const char *text, bool *ok) {
    char *made = text == NULL ? NULL : strdup(text);
    *ok = *ok && (text == NULL || made != NULL);
    return made;
}

bool assigned_add(struct assigned *assigned, const struct task *task) {
    if (assigned->count == assigned->capacity) {
        size_t capacity = assigned->capacity ? assigned->capacity * 2 : 8;
        struct assignment *tasks = realloc(assigned->tasks, capacity * sizeof *tasks);
        if (tasks == NULL) return false;
        assigned->tasks = tasks;
        assigned->capacity = capacity;
    }
    bool ok = true;
    struct assignment made = {.task = task->id,
                              .attempt = task->attempt,
                              .copies = task->copy_options != NULL,
                              .output = copy(task->output, &ok),
                              .memory_output = copy(task->memory_output, &ok),
                              .rejects = copy(task->rejects, &ok)};
    if (ok) {
        assigned->tasks[assigned->count++] = made;
    } else {
        assignment_free(&made);
    }
    return ok;
}

// What follows the beginning; NULL: the path begins in another way.
static const char *behind(const char *path, const char *beginning) {
    size_t size = beginning == NULL ? 0 : strlen(beginning);
    return size > 0 && strncmp(path, beginning, size) == 0 ? path + size : NULL;
}

// "" or a name behind the mark, in no other folder.
static bool is_name(const char *rest, char mark) {
    return rest != NULL &&
           (*rest == '\0' ||
            (*rest == mark && rest[1] != '\0' && strchr(rest + 1, '/') == NULL &&
             strcmp(rest, "/.") != 0 && strcmp(rest, "/..") != 0));
}

// Of blocks: on disk the output or a file in it, in memory its name and more.
static bool is_block(const struct assignment *asked, const struct task_file *file) {
    return file->written_count == 0 &&
           (is_name(behind(file->path, asked->output), '/') ||
            is_name(behind(file->path, asked->memory_output), '.'));
}

static bool is_copy(const struct assignment *asked, const struct task_file *file) {
    for (size_t i = 0; i < file->written_count; i++) {
        if (!spool_stays_below(file->written[i].path)) return false;
    }
    return strcmp(file->path, asked->output) == 0;
}

static shoal_status check(const struct assignment *asked,
                          const struct task_output *output, struct shoal_error *err) {
    for (size_t i = 0; i < output->count; i++) {
        const struct task_file *file = &output->files[i];
        if (asked->copies ? is_copy(asked, file) : is_block(asked, file)) continue;
        return shoal_fail(err, SHOAL_CORRUPT,
                          "task %llu names the file %.300s, but was to write %.300s",
                          (unsigned long long)asked->task, file->path, asked->output);
    }
    const char *rejects = output->rejects;
    if (rejects == NULL ||
        (asked->rejects != NULL && strcmp(rejects, asked->rejects) == 0))
        return SHOAL_OK;
    return shoal_fail(err, SHOAL_CORRUPT,
                      "task %llu names the file %.300s, which it was not to write",
                      (unsigned long long)asked->task, rejects);
}

shoal_status assigned_end(struct assigned *assigned, uint64_t task, uint32_t attempt,
                          const struct task_output *output, struct shoal_error *err) {
    for (size_t i = 0; i < assigned->count; i++) {
        struct assignment *found = &assigned->tasks[i];
        if (found->task != task || found->attempt != attempt) continue;
        shoal_status status = output == NULL ? SHOAL_OK : check(found, output, err);
        assignment_free(found);
        *found = assigned->tasks[--assigned->count];
        return status;
    }
    return shoal_fail(err, SHOAL_CORRUPT,
                      "it answers task %llu, attempt %u, which it was not sent",
                      (unsigned long long)task, attempt);
}

void assigned_free(struct assigned *assigned) {
    for (size_t i = 0; i < assigned->count; i++) assignment_free(&assigned->tasks[i]);
    free(assigned->tasks);
    *assigned = (struct assigned){0};
}
