#include "task/task.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "task/segments.h"
#include "task/sources.h"

#define MANY (1u << 24)  // bounds every count in a message

void task_key(const struct task *task, char *key) {
    (void)snprintf(key, TASK_KEY_SIZE, "%llu.%u", (unsigned long long)task->id,
                   task->attempt);
}

void task_input_free(struct task_input *input) {
    for (size_t s = 0; s < input->count; s++) free(input->segments[s].path);
    free(input->segments);
    *input = (struct task_input){0};
}

void task_free(struct task *task) {
    if (task == NULL) return;
    for (size_t i = 0; i < task->input_count; i++) task_input_free(&task->inputs[i]);
    for (size_t i = 0; i < task->source_count; i++) free(task->sources[i].path);
    bounds_free(&task->bounds);
    free(task->sources);
    free(task->inputs);
    free(task->range.pipe);
    free(task->range.path);
    free(task->sql);
    free(task->output);
    free(task->copy_options);
    free(task->rejects);
    free(task->good_sql);
    free(task->faults_sql);
    free(task->copy_file);
    free(task->memory_output);
    free(task);
}

void written_files_free(struct written_file *files, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(files[i].path);
        free(files[i].statistics);
        free(files[i].partition);
    }
    free(files);
}

void task_file_free(struct task_file *file) {
    written_files_free(file->written, file->written_count);
    free(file->path);
    sizes_free(&file->rows);
    sizes_free(&file->odd_bytes);
    free(file->keys);
    keys_free(&file->sample);
    *file = (struct task_file){0};
}

void task_output_free(struct task_output *output) {
    for (size_t i = 0; i < output->count; i++) task_file_free(&output->files[i]);
    free(output->files);
    free(output->rejects);
    free(output->lost);
    *output = (struct task_output){0};
}

static json_t *input_to_json(const struct task_input *input) {
    const struct block_read *how = &input->how;
    json_t *json = json_pack("{s:b, s:o}", "ordered", how->ordered, "segments",
                             segments_to_json(input));
    if (json != NULL && how->slices > 0)
        json_object_set_new(
            json, "slice",
            json_pack("[I, I]", (json_int_t)how->slice, (json_int_t)how->slices));
    return json;
}

static shoal_status input_from_json(const json_t *json, struct task_input *input,
                                    struct shoal_error *err) {
    const json_t *slice = json_object_get(json, "slice");
    input->how.ordered = json_is_true(json_object_get(json, "ordered"));
    if (slice != NULL) {
        json_int_t part = json_integer_value(json_array_get(slice, 0));
        json_int_t of = json_integer_value(json_array_get(slice, 1));
        if (part < 0 || part >= of || of > MANY)
            return shoal_fail(err, SHOAL_CORRUPT, "a task reads slice %lld of %lld",
                              (long long)part, (long long)of);
        input->how.slice = (uint32_t)part;
        input->how.slices = (uint32_t)of;
    }
    return segments_from_json(json_object_get(json, "segments"), input, err);
}

static double row_bytes(const struct task_file *file) {
    uint64_t rows = file->rows.total;
    return rows == 0 ? 0 : (double)file->bytes / (double)rows;
}

bool task_file_count(struct task_file *file, const uint64_t *rows, const uint64_t *bytes,
                     uint32_t partitions) {
    if (!sizes_make(&file->rows, rows, partitions)) return false;
    uint64_t *odd = calloc((size_t)partitions + 1, sizeof *odd);
    if (odd == NULL) return false;
    uint32_t some = 0;  // partitions that have rows
    file->bytes = 0;
    for (uint32_t p = 0; p < partitions; p++) {
        file->bytes += bytes[p];
        some += rows[p] > 0;
    }
    uint64_t mean = file->bytes / (some + (some == 0));
    double a_row = row_bytes(file);
    bool any = false;
    for (uint32_t p = 0; p < partitions; p++) {
        uint64_t likely = (uint64_t)((double)rows[p] * a_row);
        uint64_t off = likely > bytes[p] ? likely - bytes[p] : bytes[p] - likely;
        if (off <= likely / 4 || off <= mean / 4) continue;
        odd[p] = bytes[p];
        any = true;
    }
    bool ok = !any || sizes_make(&file->odd_bytes, odd, partitions);
    free(odd);
    return ok;
}

uint64_t task_file_bytes(const struct task_file *file, uint32_t partition) {
    uint64_t odd = sizes_get(&file->odd_bytes, partition);
    if (odd > 0) return odd;
    return (uint64_t)((double)sizes_get(&file->rows, partition) * row_bytes(file));
}

void task_file_add_bytes(const struct task_file *file, uint64_t *sums) {
    const struct sizes *rows = &file->rows, *odd = &file->odd_bytes;
    double each = row_bytes(file);
    uint32_t next = 0;  // of those that are odd
    for (uint32_t i = 0; i < rows->kept; i++) {
        uint32_t partition = rows->at == NULL ? i : rows->at[i];
        while (next < odd->kept && odd->at != NULL && odd->at[next] < partition) next++;
        if (odd->at == NULL) next = partition;
        bool is_odd = next < odd->kept && odd->codes[next] > 0 &&
                      (odd->at == NULL || odd->at[next] == partition);
        sums[partition] += is_odd
                               ? sizes_value(odd->codes[next])
                               : (uint64_t)((double)sizes_value(rows->codes[i]) * each);
    }
}

static json_t *range_to_json(const struct task_range *range) {
    if (range->pipe == NULL) return json_null();
    return json_pack("{s:s, s:s, s:I, s:I}", "pipe", range->pipe, "path", range->path,
                     "first", (json_int_t)range->first, "end", (json_int_t)range->end);
}

shoal_status task_encode(const struct task *task, char **json, struct shoal_error *err) {
    uint64_t before = memory_failures();
    json_t *inputs = json_array();
    for (size_t i = 0; i < task->input_count; i++) {
        json_array_append_new(inputs, input_to_json(&task->inputs[i]));
    }
    return json_take_whole(
        json_pack("{s:I, s:I, s:I, s:s, s:o, s:s, s:s?, s:I, s:I, s:b, s:b, s:b, s:I, "
                  "s:i, s:b, s:o, s:s?, s:s?, s:b, s:b, s:o, s:o, s:s?, s:s?, s:s?}",
                  "task", (json_int_t)task->id, "attempt", (json_int_t)task->attempt,
                  "stage", (json_int_t)task->stage, "sql", task->sql, "inputs", inputs,
                  "output", task->output, "memory_output", task->memory_output,
                  "memory_bytes", (json_int_t)task->memory_bytes, "alone_bytes",
                  (json_int_t)task->alone_bytes, "compress", task->compress, "print",
                  task->print, "counts", task->counts, "partitions",
                  (json_int_t)task->partitions, "scatter", (int)task->scatter, "ordered",
                  task->ordered, "bounds", bounds_to_json(&task->bounds), "copy_options",
                  task->copy_options, "copy_file", task->copy_file, "copy_counts",
                  task->copy_counts, "copy_statistics", task->copy_statistics, "range",
                  range_to_json(&task->range), "sources", sources_to_json(task),
                  "rejects", task->rejects, "good_sql", task->good_sql, "faults_sql",
                  task->faults_sql),
        before, json, err);
}

// A text that may be absent or null.
static shoal_status get_optional(const json_t *root, const char *name, char **text,
                                 struct shoal_error *err) {
    const json_t *value = json_object_get(root, name);
    if (value == NULL || json_is_null(value)) return SHOAL_OK;
    if (!json_is_string(value))
        return shoal_fail(err, SHOAL_CORRUPT, "a task's %s is no text", name);
    *text = strdup(json_string_value(value));
    return *text == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

static shoal_status get_copy(const json_t *root, struct task *task,
                             struct shoal_error *err) {
    shoal_status status = get_optional(root, "copy_options", &task->copy_options, err);
    if (status == SHOAL_OK)
        status = get_optional(root, "copy_file", &task->copy_file, err);
    task->copy_counts = json_is_true(json_object_get(root, "copy_counts"));
    task->copy_statistics = json_is_true(json_object_get(root, "copy_statistics"));
    return status;
}

static shoal_status get_rejects(const json_t *root, struct task *task,
                                struct shoal_error *err) {
    shoal_status status = get_optional(root, "rejects", &task->rejects, err);
    if (status == SHOAL_OK) status = get_optional(root, "good_sql", &task->good_sql, err);
    if (status == SHOAL_OK)
        status = get_optional(root, "faults_sql", &task->faults_sql, err);
    if (status == SHOAL_OK && (task->good_sql == NULL) != (task->faults_sql == NULL))
        status =
            shoal_fail(err, SHOAL_CORRUPT,
                       "a task has one of good_sql and faults_sql without the other");
    return status;
}

static shoal_status get_range(const json_t *root, struct task_range *range,
                              struct shoal_error *err) {
    const json_t *from = json_object_get(root, "range");
    if (!json_is_object(from)) return SHOAL_OK;
    shoal_status status = json_get_string(from, "pipe", &range->pipe, err);
    if (status == SHOAL_OK) status = json_get_string(from, "path", &range->path, err);
    if (status == SHOAL_OK)
        status = json_get_count(from, "first", INT64_MAX, &range->first, err);
    if (status == SHOAL_OK)
        status = json_get_count(from, "end", INT64_MAX, &range->end, err);
    if (status == SHOAL_OK && range->first > range->end)
        status = shoal_fail(err, SHOAL_CORRUPT, "a task's range ends before it begins");
    return status;
}

static shoal_status decode_storage(const json_t *root, struct task *task,
                                   struct shoal_error *err) {
    task->compress = json_is_true(json_object_get(root, "compress"));
    task->print = json_is_true(json_object_get(root, "print"));
    task->counts = json_is_true(json_object_get(root, "counts"));
    if (json_object_get(root, "alone_bytes") != NULL) {
        shoal_status status =
            json_get_count(root, "alone_bytes", INT64_MAX, &task->alone_bytes, err);
        if (status != SHOAL_OK) return status;
    }
    if (!json_is_string(json_object_get(root, "memory_output"))) return SHOAL_OK;
    shoal_status status =
        json_get_string(root, "memory_output", &task->memory_output, err);
    if (status != SHOAL_OK) return status;
    return json_get_count(root, "memory_bytes", INT64_MAX, &task->memory_bytes, err);
}

shoal_status task_decode(const char *json, size_t size, struct task **out,
                         struct shoal_error *err) {
    json_t *root = NULL;
    json_t *inputs = NULL;
    uint64_t attempt = 0, stage = 0, partitions = 0, scatter = 0;
    struct task *task = calloc(1, sizeof *task);
    *out = NULL;
    if (task == NULL) return shoal_no_memory(err);
    shoal_status status = json_parse_object(json, size, &root, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "task", INT64_MAX, &task->id, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "attempt", UINT32_MAX, &attempt, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "stage", UINT32_MAX, &stage, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "partitions", MANY, &partitions, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "scatter", BLOCK_SAMPLE, &scatter, err);
    if (status == SHOAL_OK)
        status = bounds_from_json(json_object_get(root, "bounds"), partitions,
                                  &task->bounds, err);
    if (status == SHOAL_OK) status = json_get_string(root, "sql", &task->sql, err);
    if (status == SHOAL_OK) status = json_get_string(root, "output", &task->output, err);
    if (status == SHOAL_OK) status = decode_storage(root, task, err);
    if (status == SHOAL_OK) status = json_get_array(root, "inputs", MANY, &inputs, err);
    if (status == SHOAL_OK && partitions == 0) {
        status = shoal_fail(err, SHOAL_CORRUPT, "a task has no output partition");
    }
    if (status == SHOAL_OK) {
        task->attempt = (uint32_t)attempt;
        task->stage = (uint32_t)stage;
        task->partitions = (uint32_t)partitions;
        task->scatter = (enum block_scatter)scatter;
        task->ordered = json_is_true(json_object_get(root, "ordered"));
        status = get_copy(root, task, err);
    }
    if (status == SHOAL_OK) {
        status = get_range(root, &task->range, err);
        if (status == SHOAL_OK)
            status = sources_from_json(json_object_get(root, "sources"), task, err);
        if (status == SHOAL_OK) status = get_rejects(root, task, err);
    }
    if (status == SHOAL_OK) {
        task->inputs = calloc(json_array_size(inputs) + 1, sizeof *task->inputs);
        if (task->inputs == NULL) status = shoal_no_memory(err);
    }
    for (size_t i = 0; status == SHOAL_OK && i < json_array_size(inputs); i++) {
        task->input_count++;
        status = input_from_json(json_array_get(inputs, i), &task->inputs[i], err);
    }
    json_decref(root);
    if (status == SHOAL_OK) {
        *out = task;
    } else {
        task_free(task);
    }
    return status;
}

static json_t *written_to_json(const struct task_file *file) {
    json_t *list = json_array();
    for (size_t i = 0; i < file->written_count; i++) {
        const struct written_file *written = &file->written[i];
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:I, s:I, s:I, s:s?, s:s?}", "path",
                            written->path, "rows", (json_int_t)written->rows, "bytes",
                            (json_int_t)written->bytes, "footer_bytes",
                            (json_int_t)written->footer_bytes, "row_groups",
                            (json_int_t)written->row_groups, "statistics",
                            written->statistics, "partition", written->partition));
    }
    return list;
}

static shoal_status decode_written_file(const json_t *item, struct written_file *file,
                                        struct shoal_error *err) {
    shoal_status status = json_get_string(item, "path", &file->path, err);
    if (status == SHOAL_OK)
        status = json_get_count(item, "rows", INT64_MAX, &file->rows, err);
    if (status == SHOAL_OK)
        status = json_get_count(item, "bytes", INT64_MAX, &file->bytes, err);
    if (status == SHOAL_OK)
        status =
            json_get_count(item, "footer_bytes", INT64_MAX, &file->footer_bytes, err);
    if (status == SHOAL_OK)
        status = json_get_count(item, "row_groups", INT64_MAX, &file->row_groups, err);
    if (status == SHOAL_OK)
        status = get_optional(item, "statistics", &file->statistics, err);
    if (status == SHOAL_OK)
        status = get_optional(item, "partition", &file->partition, err);
    return status;
}

// Absent in the answer of a task that wrote blocks.
static shoal_status decode_written(const json_t *item, struct task_file *file,
                                   struct shoal_error *err) {
    json_t *list = NULL;
    if (json_object_get(item, "written") == NULL) return SHOAL_OK;
    shoal_status status = json_get_array(item, "written", MANY, &list, err);
    if (status != SHOAL_OK) return status;
    file->written = calloc(json_array_size(list) + 1, sizeof *file->written);
    if (file->written == NULL) return shoal_no_memory(err);
    for (size_t i = 0; status == SHOAL_OK && i < json_array_size(list); i++) {
        file->written_count++;
        status = decode_written_file(json_array_get(list, i), &file->written[i], err);
    }
    return status;
}

shoal_status task_output_encode(uint64_t id, uint32_t attempt,
                                const struct task_output *output, char **json,
                                struct shoal_error *err) {
    uint64_t before = memory_failures();
    bool whole = true;
    json_t *files = json_array();
    for (size_t f = 0; f < output->count; f++) {
        const struct task_file *file = &output->files[f];
        json_t *written = file->written_count > 0 ? written_to_json(file) : NULL;
        json_t *odd = file->odd_bytes.total > 0 ? sizes_to_json(&file->odd_bytes) : NULL;
        json_t *keys = file->keys != NULL ? sketch_to_json(file->keys) : NULL;
        json_t *item = json_pack(
            "{s:s, s:o, s:I, s:o*, s:I, s:I, s:o, s:I, s:o*, s:o*}", "path", file->path,
            "rows", sizes_to_json(&file->rows), "bytes", (json_int_t)file->bytes,
            "odd_bytes", odd, "memory", (json_int_t)file->memory, "print",
            (json_int_t)file->print, "sample", keys_to_json(&file->sample), "sample_rows",
            (json_int_t)file->sample_rows, "keys", keys, "written", written);
        // What may be absent must not be for want of memory.
        whole = json_array_append_new(files, item) == 0 && whole &&
                (odd != NULL || file->odd_bytes.total == 0) &&
                (keys != NULL || file->keys == NULL) &&
                (written != NULL || file->written_count == 0);
    }
    if (!whole) {
        json_decref(files);
        return shoal_no_memory(err);
    }
    return json_take_whole(
        json_pack("{s:I, s:I, s:I, s:f, s:I, s:o, s:s?}", "task", (json_int_t)id,
                  "attempt", (json_int_t)attempt, "partitions",
                  (json_int_t)output->partitions, "seconds", output->seconds, "counted",
                  (json_int_t)output->counted, "files", files, "rejects",
                  output->rejects),
        before, json, err);
}

// Absent where rows tell the bytes, and where no rows were scattered by their hash.
static shoal_status decode_learned(const json_t *item, uint32_t partitions,
                                   struct task_file *file, struct shoal_error *err) {
    const json_t *odd = json_object_get(item, "odd_bytes");
    const json_t *keys = json_object_get(item, "keys");
    shoal_status status = SHOAL_OK;
    if (odd != NULL) status = sizes_from_json(odd, partitions, &file->odd_bytes, err);
    if (status != SHOAL_OK || keys == NULL) return status;
    file->keys = malloc(sizeof *file->keys);
    if (file->keys == NULL) return shoal_no_memory(err);
    return sketch_from_json(keys, file->keys, err);
}

static shoal_status decode_file(const json_t *item, uint32_t partitions,
                                struct task_file *file, struct shoal_error *err) {
    shoal_status status = json_get_string(item, "path", &file->path, err);
    if (status == SHOAL_OK)
        status = json_get_count(item, "bytes", INT64_MAX, &file->bytes, err);
    if (status == SHOAL_OK)
        status = keys_from_json(json_object_get(item, "sample"), &file->sample, err);
    if (status == SHOAL_OK)
        status = json_get_count(item, "memory", INT64_MAX, &file->memory, err);
    if (status == SHOAL_OK)
        status = json_get_count(item, "sample_rows", INT64_MAX, &file->sample_rows, err);
    file->print = (uint64_t)json_integer_value(json_object_get(item, "print"));
    if (status == SHOAL_OK) status = decode_written(item, file, err);
    if (status == SHOAL_OK) status = decode_learned(item, partitions, file, err);
    if (status != SHOAL_OK) return status;
    return sizes_from_json(json_object_get(item, "rows"), partitions, &file->rows, err);
}

shoal_status task_output_decode(const char *json, size_t size, uint64_t *id,
                                uint32_t *attempt, struct task_output *output,
                                struct shoal_error *err) {
    json_t *root = NULL;
    json_t *files = NULL;
    uint64_t tried = 0, partitions = 0;
    *output = (struct task_output){0};
    shoal_status status = json_parse_object(json, size, &root, err);
    if (status == SHOAL_OK) status = json_get_count(root, "task", INT64_MAX, id, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "attempt", UINT32_MAX, &tried, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "partitions", MANY, &partitions, err);
    if (status == SHOAL_OK)
        status = json_get_count(root, "counted", INT64_MAX, &output->counted, err);
    if (status == SHOAL_OK) status = json_get_array(root, "files", MANY, &files, err);
    if (status == SHOAL_OK) {
        *attempt = (uint32_t)tried;
        output->partitions = (uint32_t)partitions;
        output->seconds = json_number_value(json_object_get(root, "seconds"));
        status = get_optional(root, "rejects", &output->rejects, err);
    }
    if (status == SHOAL_OK) {
        output->files = calloc(json_array_size(files) + 1, sizeof *output->files);
        if (output->files == NULL) status = shoal_no_memory(err);
    }
    for (size_t f = 0; status == SHOAL_OK && f < json_array_size(files); f++) {
        output->count++;
        status = decode_file(json_array_get(files, f), output->partitions,
                             &output->files[f], err);
    }
    json_decref(root);
    if (status != SHOAL_OK) task_output_free(output);
    return status;
}
