// Tasks on DuckDB: one instance, one connection a slot. A task's SELECT goes into block
// files; with several threads each writes a file of its own.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/spool.h"
#include "base/text.h"
#include "block/block.h"
#include "block/places.h"
#include "duck/duck.h"
#include "lines/feed.h"
#include "task/executor.h"
#include "task/local.h"
#include "task/rejects.h"

struct executor {
    struct duck *duck;
    struct duck_conn **conns;
    uint32_t slots;
    uint64_t duck_bytes;          // DuckDB's limit; 0: none was given
    uint64_t other_bytes;         // of the process, beside that
    bool spill_limited;           // by the user
    atomic_bool raised;           // for a task that ran alone, and could not be set back
    pthread_mutex_t mutex;        // guards what slots run
    char (*keys)[TASK_KEY_SIZE];  // of the task of each slot; "": none
};

static void executor_close(struct executor *executor) {
    if (executor == NULL) return;
    for (uint32_t i = 0; executor->conns != NULL && i < executor->slots; i++) {
        duck_disconnect(executor->conns[i]);
    }
    free(executor->conns);
    free(executor->keys);
    duck_close(executor->duck);
    pthread_mutex_destroy(&executor->mutex);
    free(executor);
}

// A stage's text is already optimised: doing it again would count derived filters twice
// and flip joins. Both optimizers go, or estimates are lost to the one that stays. Late
// materialization fails (DuckDB 2.0.0) on the columns that splits are cut by, which are
// in no file.
#define DISABLED "join_order,build_side_probe_side,late_materialization"

// Many tasks read ranges of one file: its footer is parsed once. Extensions come by LOAD
// alone, which the session repeats here, unless its statements turn this on again.
static const char first_settings[] =
    "SET parquet_metadata_cache=true; SET preserve_insertion_order=false; "
    "SET autoload_known_extensions=false; SET autoinstall_known_extensions=false";

// Progress is for heartbeats.
static const char slot_settings[] =
    "SET enable_progress_bar=true; SET enable_progress_bar_print=false";

static shoal_status open_slot(struct executor *executor, uint32_t slot,
                              const char *init_sql, struct shoal_error *err) {
    shoal_status status = duck_connect(executor->duck, &executor->conns[slot], err);
    struct duck_conn *conn = executor->conns[slot];
    if (status == SHOAL_OK && slot == 0) status = block_register(conn, err);
    if (status == SHOAL_OK && slot == 0) status = duck_run(conn, first_settings, err);
    // Views, macros and settings are of the whole instance; later slots find them there.
    if (status == SHOAL_OK && slot == 0 && init_sql != NULL && *init_sql) {
        status = duck_run(conn, init_sql, err);
    }
    if (status == SHOAL_OK && slot == 0)
        status = duck_disable_optimizers(conn, DISABLED, NULL, err);
    if (status == SHOAL_OK) status = duck_run(conn, slot_settings, err);
    return status;
}

// Once all is set: what runs then can't set anything any more but DuckDB's memory, which
// is set here, nor reach files outside the folders that are allowed, if any are named.
static shoal_status lock(struct duck_conn *conn, const struct executor_options *options,
                         struct shoal_error *err) {
    struct text sql = {0};
    const char *const own[] = {options->temp_dir, options->memory_dir, options->job_dir};
    if (options->allowed_count > 0) {
        text_append(&sql, "SET allowed_directories=[");
        for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
            char *path = own[i] == NULL ? NULL : places_local(own[i]);
            if (own[i] == NULL) continue;
            if (path != NULL) text_append_literal(&sql, path);
            text_append(&sql, ", ");
            sql.failed = sql.failed || path == NULL;
            free(path);
        }
        for (size_t i = 0; i < options->allowed_count; i++) {
            text_append(&sql, i > 0 ? ", " : "");
            text_append_literal(&sql, options->allowed[i]);
        }
        text_append(&sql, "]; SET enable_external_access=false; ");
    }
    text_append(&sql,
                "SET allowed_configs=['memory_limit']; "
                "SET lock_configuration=true");
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : duck_run(conn, sql.data, err);
    text_free(&sql);
    return status;
}

// What the process takes beside DuckDB's buffers: its code and tables, a few chunks that
// each slot reads, and the rows that wait in each slot's writer. What is left is
// DuckDB's.
#define BASE_BYTES (64u << 20)
#define READER_BYTES (4u << 20)
#define DUCK_BYTES_LEAST (64u << 20)

static void divide_memory(struct executor *executor,
                          const struct executor_options *options) {
    uint64_t all = options->memory_bytes;
    if (all == 0) return;
    uint64_t writers = block_limit_writers(all / 8 / options->threads) * options->threads;
    uint64_t others = BASE_BYTES + writers + READER_BYTES * options->threads;
    // Of what readers may take, a chunk each is being read.
    block_limit_ahead(READER_BYTES * options->threads * 3 / 4);
    executor->other_bytes = others;
    executor->duck_bytes =
        all > others + DUCK_BYTES_LEAST ? all - others : DUCK_BYTES_LEAST;
}

static shoal_status limit_memory(struct duck_conn *conn, uint64_t bytes,
                                 struct shoal_error *err) {
    char sql[64];
    (void)snprintf(sql, sizeof sql, "SET memory_limit='%lluB'",
                   (unsigned long long)bytes);
    return duck_run(conn, sql, err);
}

// A limit below what DuckDB holds is refused: it is tried again before the next task.
static void restore_memory(struct executor *executor, struct duck_conn *conn) {
    struct shoal_error ignored;
    if (limit_memory(conn, executor->duck_bytes, &ignored) != SHOAL_OK)
        atomic_store(&executor->raised, true);
}

static shoal_status executor_open(const struct executor_options *options,
                                  struct executor **out, struct shoal_error *err) {
    char *temp_dir = options->temp_dir == NULL ? NULL : places_local(options->temp_dir);
    struct duck_options duck = {.threads = (int)options->threads,
                                .temp_dir = temp_dir,
                                .temp_bytes = options->temp_bytes};
    *out = NULL;
    struct executor *executor = calloc(1, sizeof *executor);
    if (executor == NULL || (options->temp_dir != NULL && temp_dir == NULL)) {
        free(executor);
        free(temp_dir);
        return shoal_no_memory(err);
    }
    pthread_mutex_init(&executor->mutex, NULL);
    executor->slots = options->threads;
    executor->spill_limited = options->temp_bytes > 0;
    divide_memory(executor, options);
    duck.memory_bytes = executor->duck_bytes;
    executor->conns = calloc(options->threads, sizeof(struct duck_conn *));
    executor->keys = calloc(options->threads, sizeof *executor->keys);
    shoal_status status = executor->conns == NULL || executor->keys == NULL
                              ? shoal_no_memory(err)
                              : duck_open(&executor->duck, &duck, err);
    free(temp_dir);
    for (uint32_t i = 0; status == SHOAL_OK && i < executor->slots; i++) {
        status = open_slot(executor, i, options->init_sql, err);
    }
    if (status == SHOAL_OK) status = lock(executor->conns[0], options, err);
    if (status != SHOAL_OK) {
        executor_close(executor);
        return status;
    }
    *out = executor;
    return SHOAL_OK;
}

shoal_status task_bind_inputs(const struct task_input *inputs, size_t count,
                              const char *key, struct shoal_error *err) {
    for (size_t i = 0; i < count; i++) {
        const struct task_input *input = &inputs[i];
        struct block_segment *segments = calloc(input->count + 1, sizeof *segments);
        if (segments == NULL) return shoal_no_memory(err);
        for (size_t s = 0; s < input->count; s++) {
            const struct task_segment *from = &input->segments[s];
            segments[s] = (struct block_segment){from->path, from->first, from->last};
        }
        shoal_status status =
            block_bind_input(key, i, segments, input->count, &input->how, err);
        free(segments);
        if (status != SHOAL_OK) return status;
    }
    return SHOAL_OK;
}

// Adds where it happened; the message stays DuckDB's, with the value.
static void add_place(const struct task *task, struct shoal_error *err) {
    struct text text = {0};
    text_printf(&text, "%s\n  in stage %u, task %llu, whose SQL is: %.1500s%s",
                err->message, task->stage, (unsigned long long)task->id, task->sql,
                strlen(task->sql) > 1500 ? " ..." : "");
    if (!text.failed) {
        size_t size =
            text.size < sizeof err->message ? text.size : sizeof err->message - 1;
        memcpy(err->message, text.data, size);
        err->message[size] = '\0';
    }
    text_free(&text);
}

// Moves the files' counts to the task's output; what remains in blocks is freed by the
// caller.
static shoal_status take_counts(struct block_output *blocks, struct task_output *output,
                                struct shoal_error *err) {
    output->files = calloc(blocks->count + 1, sizeof *output->files);
    if (output->files == NULL) return shoal_no_memory(err);
    output->partitions = blocks->partitions;
    output->counted = blocks->counted;
    for (size_t i = 0; i < blocks->count; i++) {
        struct block_output_file *from = &blocks->files[i];
        struct task_file *to = &output->files[output->count++];
        *to = (struct task_file){.path = from->path,
                                 .memory = from->memory,
                                 .print = from->print,
                                 .sample = from->sample,
                                 .sample_rows = from->sample_rows,
                                 .keys = from->keys};
        from->path = NULL;
        from->sample = (struct keys){0};
        from->keys = NULL;
        if (!task_file_count(to, from->rows, from->bytes, blocks->partitions))
            return shoal_no_memory(err);
    }
    return SHOAL_OK;
}

static shoal_status write_blocks(struct duck_conn *conn, uint32_t threads,
                                 const struct task *task, struct task_output *output,
                                 struct shoal_error *err) {
    struct block_output blocks = {0};
    struct block_storage storage = {task->memory_output, task->memory_bytes,
                                    task->compress, task->print, task->counts};
    enum block_order order = task->ordered ? BLOCK_IN_ORDER
                             : threads > 1 ? BLOCK_EACH_THREAD
                                           : BLOCK_ANY_ORDER;
    shoal_status status = block_bind_output(task->output, &storage, task->partitions,
                                            task->scatter, &task->bounds, err);
    if (status != SHOAL_OK) return status;
    if (order == BLOCK_EACH_THREAD) (void)mkdir(task->output, 0700);
    status = block_write_select(conn, task->sql, task->output, order, err);
    block_take_output(task->output, &blocks);
    if (status == SHOAL_OK) status = take_counts(&blocks, output, err);
    if (status != SHOAL_OK) {
        for (size_t i = 0; i < blocks.count; i++) unlink(blocks.files[i].path);
        rmdir(task->output);
    }
    block_output_free(&blocks);
    return status;
}

// Runs the SQL beside a thread that feeds it the task's range of a text file, if any.
static shoal_status run_fed(struct duck_conn *conn, uint32_t threads,
                            const struct task *task, struct task_output *output,
                            struct shoal_error *err) {
    const struct task_range *range = &task->range;
    struct lines_feed *feed = NULL;
    struct shoal_error read_error;
    shoal_status status = SHOAL_OK;
    if (range->pipe != NULL)
        status = lines_feed_start(range->pipe, range->path, range->first, range->end,
                                  &feed, err);
    if (status == SHOAL_OK) {
        status = task->copy_options != NULL
                     ? duck_copy_task(conn, task, output, err)
                     : write_blocks(conn, threads, task, output, err);
    }
    // A reader that saw too little may well have found fault with it.
    if (lines_feed_end(feed, &read_error) != SHOAL_OK && status != SHOAL_CANCELLED) {
        *err = read_error;
        status = read_error.status;
    }
    return status;
}

static shoal_status take_rejects(struct duck_conn *conn, const struct task *task,
                                 struct task_output *output, struct shoal_error *err) {
    uint64_t rows = 0;
    if (task->rejects == NULL) return SHOAL_OK;
    shoal_status status = rejects_take(conn, task->rejects, &rows, err);
    if (status != SHOAL_OK || rows == 0) return status;
    output->rejects = strdup(task->rejects);
    return output->rejects == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

// After the SQL failed for records of JSON files: they are looked for, and the rest is
// read. Nothing that the first try wrote or rejected is left.
static shoal_status run_good(struct duck_conn *conn, uint32_t threads,
                             const struct task *task, struct task_output *output,
                             struct shoal_error *err) {
    struct task good = *task;
    struct shoal_error why = *err;
    uint64_t faults = 0;
    good.sql = task->good_sql;
    *output = (struct task_output){0};
    shoal_status status = rejects_clear(conn, err);
    if (status == SHOAL_OK) status = rejects_find(conn, task->faults_sql, &faults, err);
    if (status == SHOAL_OK && faults == 0) {
        *err = why;
        return SHOAL_USER;
    }
    return status == SHOAL_OK ? run_fed(conn, threads, &good, output, err) : status;
}

static void remove_output(const struct task *task, struct task_output *output) {
    for (size_t f = 0; f < output->count; f++) {
        char *path = places_local(output->files[f].path);
        if (path != NULL) spool_remove_tree(path);
        free(path);
    }
    (void)rmdir(task->output);
    task_output_free(output);
}

// Of another file than the one that was planned for, neither rows nor an error count.
static shoal_status check_after(const struct task *task, shoal_status status,
                                struct task_output *output, struct shoal_error *err) {
    struct shoal_error why;
    if (status == SHOAL_CANCELLED || task_check_sources(task, &why) == SHOAL_OK)
        return status;
    if (status == SHOAL_OK) remove_output(task, output);
    *err = why;
    return why.status;
}

// The task's files are where this process keeps them.
static shoal_status run_local(struct duck_conn *conn, uint32_t threads,
                              const struct task *task, const char *key,
                              struct task_output *output, struct shoal_error *err) {
    shoal_status status = run_fed(conn, threads, task, output, err);
    if (status == SHOAL_USER && task->good_sql != NULL && rejects_explain(err))
        status = run_good(conn, threads, task, output, err);
    if (status == SHOAL_OK) status = take_rejects(conn, task, output, err);
    if (status != SHOAL_OK && status != SHOAL_CANCELLED) add_place(task, err);
    status = check_after(task, status, output, err);
    if (status == SHOAL_OK) {
        status = task_local_report(output, err);
        if (status != SHOAL_OK) remove_output(task, output);
    }
    if (status != SHOAL_OK) output->lost = block_take_lost(key);
    return status;
}

shoal_status duck_run_task(struct duck_conn *conn, uint32_t threads,
                           const struct task *task, struct task_output *output,
                           struct shoal_error *err) {
    char key[TASK_KEY_SIZE];
    struct task_local local = {0};
    double start = clock_seconds();
    *output = (struct task_output){0};
    task_key(task, key);
    shoal_status status = task_check_sources(task, err);
    if (status != SHOAL_OK) return status;
    status = task_local_make(&local, task, err);
    if (status == SHOAL_OK)
        status = task_bind_inputs(task->inputs, task->input_count, key, err);
    if (status == SHOAL_OK && task->rejects != NULL) status = rejects_clear(conn, err);
    if (status == SHOAL_OK)
        status = run_local(conn, threads, &local.task, key, output, err);
    block_release_inputs(key);
    task_local_free(&local);
    output->seconds = clock_seconds() - start;
    return status;
}

// What the slot runs, for who interrupts it; NULL: nothing any more.
static void note_run(struct executor *executor, uint32_t slot, const struct task *task) {
    pthread_mutex_lock(&executor->mutex);
    executor->keys[slot][0] = '\0';
    if (task != NULL) task_key(task, executor->keys[slot]);
    pthread_mutex_unlock(&executor->mutex);
}

static shoal_status executor_run(struct executor *executor, uint32_t slot,
                                 const struct task *task, struct task_output *output,
                                 struct shoal_error *err) {
    struct duck_conn *conn = executor->conns[slot];
    bool raise = executor->duck_bytes > 0 &&
                 task->alone_bytes > executor->duck_bytes + executor->other_bytes;
    shoal_status status = SHOAL_OK;
    if (atomic_exchange(&executor->raised, false)) restore_memory(executor, conn);
    if (raise)
        status = limit_memory(conn, task->alone_bytes - executor->other_bytes, err);
    note_run(executor, slot, task);
    if (status == SHOAL_OK)
        status = duck_run_task(conn, executor->slots, task, output, err);
    note_run(executor, slot, NULL);
    if (raise) restore_memory(executor, conn);
    // What may not be spilled has to be in memory, of which there is more elsewhere.
    if (status == SHOAL_DISK_FULL && executor->spill_limited &&
        strstr(err->message, "What is spilled reached --temp-limit") != NULL)
        err->status = status = SHOAL_NOMEM;
    // No mistake of the query's: the driver is not to try it in its own way.
    if (status != SHOAL_USER || strstr(err->message, "disabled by configuration") == NULL)
        return status;
    struct shoal_error why = *err;
    return shoal_fail(err, SHOAL_USAGE,
                      "--allow-paths doesn't let workers do this: %.3900s", why.message);
}

static void executor_interrupt(struct executor *executor, uint32_t slot) {
    duck_interrupt(executor->conns[slot]);
    // It may be waiting for another machine's blocks, where DuckDB doesn't look.
    pthread_mutex_lock(&executor->mutex);
    if (executor->keys[slot][0] != '\0') block_interrupt(executor->keys[slot]);
    pthread_mutex_unlock(&executor->mutex);
}

static double executor_progress(struct executor *executor, uint32_t slot) {
    return duck_progress(executor->conns[slot]);
}

const struct executor_ops duck_executor = {.open = executor_open,
                                           .run = executor_run,
                                           .interrupt = executor_interrupt,
                                           .progress = executor_progress,
                                           .close = executor_close,
                                           .version = duck_version};
