// An engine outlives the call that opens it: what it needs for replacements is its own.
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

static const char *copy(const char *text, bool *ok) {
    char *made = text == NULL ? NULL : strdup(text);
    *ok = *ok && (text == NULL || made != NULL);
    return made;
}

shoal_status engine_options_copy(const struct engine_options *from,
                                 struct engine_options *to, struct shoal_error *err) {
    bool ok = true;
    *to = *from;
    to->program = copy(from->program, &ok);
    to->engine_version = copy(from->engine_version, &ok);
    to->worker.temp_dir = copy(from->worker.temp_dir, &ok);
    to->worker.memory_dir = copy(from->worker.memory_dir, &ok);
    to->worker.job_dir = copy(from->worker.job_dir, &ok);
    to->worker.init_sql = copy(from->worker.init_sql, &ok);
    struct cluster_options *cluster = &to->cluster;
    cluster->url = copy(cluster->url, &ok);
    cluster->python = copy(cluster->python, &ok);
    cluster->name = copy(cluster->name, &ok);
    cluster->resources = copy(cluster->resources, &ok);
    cluster->settings = copy(cluster->settings, &ok);
    cluster->listen = copy(cluster->listen, &ok);
    const char **allowed = calloc(from->worker.allowed_count + 1, sizeof *allowed);
    for (size_t i = 0; allowed != NULL && i < from->worker.allowed_count; i++)
        allowed[i] = copy(from->worker.allowed[i], &ok);
    to->worker.allowed = allowed;
    return ok && allowed != NULL ? SHOAL_OK : shoal_no_memory(err);
}

static void drop(const char *text) {
    free((char *)(uintptr_t)text);
}

void engine_options_free(struct engine_options *options) {
    drop(options->program);
    drop(options->engine_version);
    drop(options->worker.temp_dir);
    drop(options->worker.memory_dir);
    drop(options->worker.job_dir);
    drop(options->worker.init_sql);
    drop(options->cluster.url);
    drop(options->cluster.python);
    drop(options->cluster.name);
    drop(options->cluster.resources);
    drop(options->cluster.settings);
    drop(options->cluster.listen);
    for (size_t i = 0;
         options->worker.allowed != NULL && i < options->worker.allowed_count; i++)
        drop(options->worker.allowed[i]);
    free((void *)(uintptr_t)options->worker.allowed);
    *options = (struct engine_options){0};
}
