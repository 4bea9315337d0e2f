// A task's message, and its answer: what is taken is sound, and says the same when it is
// sent once more.
#include "fuzz/fuzz.h"
#include "task/task.h"

#define PARTITIONS_MOST 4096u

static void use_bounds(const struct task *task) {
    struct placer placer;
    static const char *const keys[] = {"", "a", "\x80\xff", "key"};
    FUZZ_CHECK(placer_make(&placer, &task->bounds, 7));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint32_t part = placer_part(&placer, (const uint8_t *)keys[i], strlen(keys[i]));
        FUZZ_CHECK(part < task->partitions);
    }
    for (size_t i = 0; i < task->bounds.keys.count; i++) {
        const struct key *key = &task->bounds.keys.list[i];
        FUZZ_CHECK(placer_part(&placer, key->data, key->size) < task->partitions);
    }
    placer_free(&placer);
}

static void try_task(const char *text, size_t size) {
    struct task *task = NULL, *again = NULL;
    struct shoal_error err = {0};
    char *once = NULL, *twice = NULL;
    shoal_status status = task_decode(text, size, &task, &err);
    FUZZ_CHECK(status == SHOAL_OK || (status == SHOAL_CORRUPT && err.message[0] != '\0'));
    if (status != SHOAL_OK) return;
    FUZZ_CHECK(task->sql != NULL && task->output != NULL && task->partitions > 0);
    use_bounds(task);
    FUZZ_CHECK(task_encode(task, &once, &err) == SHOAL_OK);
    FUZZ_CHECK(task_decode(once, strlen(once), &again, &err) == SHOAL_OK);
    FUZZ_CHECK(task_encode(again, &twice, &err) == SHOAL_OK);
    FUZZ_CHECK(strcmp(once, twice) == 0);
    free(once);
    free(twice);
    task_free(task);
    task_free(again);
}

static void use_output(const struct task_output *output) {
    static struct sketch sum;
    static struct sketch_key heavy[SKETCH_COUNTERS];
    uint32_t partitions = output->partitions;
    uint64_t *sums = calloc((size_t)partitions + 1, sizeof *sums);
    FUZZ_CHECK(sums != NULL);
    sketch_clear(&sum);
    for (size_t f = 0; f < output->count; f++) {
        const struct task_file *file = &output->files[f];
        FUZZ_CHECK(file->rows.count == partitions);
        sizes_add_to(&file->rows, sums);
        task_file_add_bytes(file, sums);
        if (partitions > 0) {
            (void)task_file_bytes(file, partitions - 1);
            (void)sizes_any(&file->rows, 0, partitions - 1);
        }
        if (file->keys == NULL) continue;
        sketch_merge(&sum, file->keys);
        FUZZ_CHECK(sketch_heavy(&sum, sum.rows / 10, heavy) <= SKETCH_COUNTERS);
        FUZZ_CHECK(sketch_distinct(&sum) >= 0);
        (void)sketch_unseen(&sum);
    }
    free(sums);
}

static void try_output(const char *text, size_t size) {
    struct task_output output = {0}, again = {0};
    struct shoal_error err = {0};
    char *once = NULL, *twice = NULL;
    uint64_t id = 0;
    uint32_t attempt = 0;
    shoal_status status = task_output_decode(text, size, &id, &attempt, &output, &err);
    FUZZ_CHECK(status == SHOAL_OK || (status == SHOAL_CORRUPT && err.message[0] != '\0'));
    if (status != SHOAL_OK) return;
    if (output.partitions <= PARTITIONS_MOST) use_output(&output);
    FUZZ_CHECK(task_output_encode(id, attempt, &output, &once, &err) == SHOAL_OK);
    FUZZ_CHECK(task_output_decode(once, strlen(once), &id, &attempt, &again, &err) ==
               SHOAL_OK);
    FUZZ_CHECK(task_output_encode(id, attempt, &again, &twice, &err) == SHOAL_OK);
    FUZZ_CHECK(strcmp(once, twice) == 0);
    free(once);
    free(twice);
    task_output_free(&output);
    task_output_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    try_task(text, size);
    try_output(text, size);
    free(text);
    return 0;
}
