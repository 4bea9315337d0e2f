#include "block/registry.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct input *inputs;
static struct output *outputs;

void input_free(struct input *input) {
    for (size_t i = 0; i < input->count; i++) free(input->segments[i].path);
    free(input->segments);
    free(input->lost);
    free(input->key);
    free(input);
}

static struct input *input_new(const char *key, size_t index, size_t count) {
    struct input *input = calloc(1, sizeof *input);
    if (input == NULL) return NULL;
    input->key = strdup(key);
    input->index = index;
    input->segments = calloc(count + 1, sizeof *input->segments);
    if (input->key == NULL || input->segments == NULL) {
        input_free(input);
        return NULL;
    }
    return input;
}

static bool input_add(struct input *input, const char *path, uint32_t first,
                      uint32_t last) {
    struct input_segment *segment = &input->segments[input->count++];
    *segment = (struct input_segment){strdup(path), first, last};
    return segment->path != NULL;
}

shoal_status block_bind_input(const char *key, size_t index,
                              const struct block_segment *segments, size_t count,
                              const struct block_read *how, struct shoal_error *err) {
    struct input *input = input_new(key, index, count);
    if (input == NULL) return shoal_no_memory(err);
    input->how = *how;
    for (size_t i = 0; i < count; i++) {
        if (!input_add(input, segments[i].path, segments[i].first, segments[i].last)) {
            input_free(input);
            return shoal_no_memory(err);
        }
    }
    pthread_mutex_lock(&mutex);
    input->next = inputs;
    inputs = input;
    pthread_mutex_unlock(&mutex);
    return SHOAL_OK;
}

void block_release_inputs(const char *key) {
    pthread_mutex_lock(&mutex);
    for (struct input **at = &inputs; *at != NULL;) {
        struct input *input = *at;
        if (strcmp(input->key, key) != 0) {
            at = &input->next;
            continue;
        }
        *at = input->next;
        input_free(input);
    }
    pthread_mutex_unlock(&mutex);
}

void block_interrupt(const char *key) {
    pthread_mutex_lock(&mutex);
    for (struct input *input = inputs; input != NULL; input = input->next) {
        if (strcmp(input->key, key) == 0) input->interrupted = true;
    }
    pthread_mutex_unlock(&mutex);
}

bool registry_interrupted(const char *key) {
    bool interrupted = false;
    pthread_mutex_lock(&mutex);
    for (struct input *input = inputs; input != NULL && !interrupted; input = input->next)
        interrupted = input->interrupted && strcmp(input->key, key) == 0;
    pthread_mutex_unlock(&mutex);
    return interrupted;
}

// Without a file descriptor or memory nothing is known about the file.
static bool tells_of_file(const struct shoal_error *err) {
    if (err->status == SHOAL_CORRUPT) return true;
    return err->status == SHOAL_IO && errno != EMFILE && errno != ENFILE &&
           errno != EACCES && errno != ENOMEM;
}

void registry_note_lost(const char *key, size_t index, const char *path,
                        const struct shoal_error *err) {
    if (!tells_of_file(err)) return;
    pthread_mutex_lock(&mutex);
    for (struct input *input = inputs; input != NULL; input = input->next) {
        if (input->index != index || strcmp(input->key, key) != 0) continue;
        if (input->lost == NULL) input->lost = strdup(path);
    }
    pthread_mutex_unlock(&mutex);
}

char *block_take_lost(const char *key) {
    char *lost = NULL;
    pthread_mutex_lock(&mutex);
    for (struct input *input = inputs; input != NULL; input = input->next) {
        if (lost != NULL || strcmp(input->key, key) != 0) continue;
        lost = input->lost;
        input->lost = NULL;
    }
    pthread_mutex_unlock(&mutex);
    return lost;
}

char *block_input_sql(const char *key, size_t index, const struct schema *schema) {
    struct text sql = {0};
    text_append(&sql, "shoal_input(");
    text_append_literal(&sql, key);
    text_printf(&sql, ", %zu, CAST(NULL AS STRUCT(", index);
    for (size_t i = 0; i < schema->count; i++) {
        if (i > 0) text_append(&sql, ", ");
        text_append_identifier(&sql, schema->columns[i].name);
        text_printf(&sql, " %s", schema->columns[i].type);
    }
    text_append(&sql, ")))");
    return text_take(&sql);
}

static void output_free(struct output *output) {
    if (output == NULL) return;
    free(output->path);
    free(output->memory_path);
    free(output);
}

shoal_status block_bind_output(const char *path, const struct block_storage *storage,
                               uint32_t partitions, enum block_scatter scatter,
                               const struct bounds *bounds, struct shoal_error *err) {
    bool in_memory =
        storage != NULL && storage->memory_path != NULL && storage->memory_bytes > 0;
    struct output *output = calloc(1, sizeof *output);
    if (output != NULL) output->path = strdup(path);
    if (output != NULL && in_memory) {
        output->memory_path = strdup(storage->memory_path);
        output->memory_left = storage->memory_bytes;
    }
    if (output == NULL || output->path == NULL ||
        (in_memory && output->memory_path == NULL)) {
        output_free(output);
        return shoal_no_memory(err);
    }
    output->partitions = partitions;
    output->scatter = scatter;
    output->bounds = bounds;
    output->compress = storage != NULL && storage->compress;
    output->print = storage != NULL && storage->print;
    output->counts = storage != NULL && storage->counts;
    output->files.partitions = partitions;
    pthread_mutex_lock(&mutex);
    output->next = outputs;
    outputs = output;
    pthread_mutex_unlock(&mutex);
    return SHOAL_OK;
}

void block_take_output(const char *path, struct block_output *files) {
    *files = (struct block_output){0};
    pthread_mutex_lock(&mutex);
    for (struct output **at = &outputs; *at != NULL; at = &(*at)->next) {
        struct output *output = *at;
        if (strcmp(output->path, path) != 0) continue;
        *at = output->next;
        *files = output->files;
        files->counted = output->counted;
        output_free(output);
        break;
    }
    pthread_mutex_unlock(&mutex);
}

static void file_free(struct block_output_file *file) {
    free(file->path);
    free(file->rows);
    free(file->bytes);
    keys_free(&file->sample);
    free(file->keys);
}

void block_output_free(struct block_output *output) {
    for (size_t i = 0; i < output->count; i++) file_free(&output->files[i]);
    free(output->files);
    *output = (struct block_output){0};
}

static bool below(const char *path, const char *target) {
    size_t length = strlen(target);
    return strncmp(path, target, length) == 0 &&
           (path[length] == '\0' || path[length] == '/');
}

struct output *registry_output(const char *path) {
    struct output *found = NULL;
    pthread_mutex_lock(&mutex);
    for (struct output *o = outputs; o != NULL && found == NULL; o = o->next) {
        if (below(path, o->path)) found = o;
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

bool registry_add_file(struct output *output, const char *path, size_t *place,
                       struct block_output_file *file) {
    struct block_output *files = &output->files;
    pthread_mutex_lock(&mutex);
    struct block_output_file *grown =
        realloc(files->files, (files->count + 1) * sizeof *grown);
    bool ok = grown != NULL;
    if (ok) {
        files->files = grown;
        *file = (struct block_output_file){
            .path = strdup(path),
            .rows = calloc(output->partitions, sizeof(uint64_t)),
            .bytes = calloc(output->partitions, sizeof(uint64_t))};
        ok = file->path != NULL && file->rows != NULL && file->bytes != NULL;
        if (ok) {
            *place = files->count++;
            grown[*place] = *file;  // the arrays do not move, only the list does
        } else {
            file_free(file);
        }
    }
    pthread_mutex_unlock(&mutex);
    return ok;
}

void registry_set_file(struct output *output, size_t place,
                       const struct block_output_file *file) {
    pthread_mutex_lock(&mutex);  // the list may be growing
    output->files.files[place] = *file;
    pthread_mutex_unlock(&mutex);
}

struct input *registry_input(const char *key, size_t index, struct shoal_error *err) {
    struct input *copy = NULL;
    bool found = false;
    pthread_mutex_lock(&mutex);
    for (struct input *i = inputs; i != NULL && !found; i = i->next) {
        if (i->index != index || strcmp(i->key, key) != 0) continue;
        found = true;
        copy = input_new(key, index, i->count);
        if (copy != NULL) copy->how = i->how;
        for (size_t s = 0; copy != NULL && s < i->count; s++) {
            const struct input_segment *from = &i->segments[s];
            if (!input_add(copy, from->path, from->first, from->last)) {
                input_free(copy);
                copy = NULL;
            }
        }
    }
    pthread_mutex_unlock(&mutex);
    if (!found) {
        shoal_fail(err, SHOAL_INTERNAL, "shoal_input('%s', %zu) is not registered", key,
                   index);
    } else if (copy == NULL) {
        shoal_no_memory(err);
    }
    return copy;
}

static shoal_status copy_select(struct duck_conn *conn, const char *select,
                                const char *path, struct shoal_error *err) {
    struct text sql = {0};
    text_printf(&sql, "COPY (%s) TO ", select);
    text_append_literal(&sql, path);
    text_printf(&sql, " (FORMAT %s)", block_sink.name);
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : duck_run(conn, sql.data, err);
    text_free(&sql);
    return status;
}

shoal_status block_write_select(struct duck_conn *conn, const char *select,
                                const char *path, enum block_order order,
                                struct shoal_error *err) {
    if (order == BLOCK_IN_ORDER) return copy_select(conn, select, path, err);
    return duck_run_into(conn, &block_sink, select, path, order == BLOCK_EACH_THREAD,
                         err);
}

shoal_status block_register(struct duck_conn *conn, struct shoal_error *err) {
    shoal_status status = duck_register_sink(conn, &block_sink, err);
    if (status == SHOAL_OK) status = duck_register_into(conn, &block_sink, err);
    return status == SHOAL_OK ? duck_register_source(conn, &block_source, err) : status;
}
