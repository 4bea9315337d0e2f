// What is lost is made again: by the tasks that made it, and nothing else.
//
// Problem. A block file may be gone, cut off or changed when a task comes to read it. The
// driver knows which task wrote each file, so that task runs again; what it reads may
// have been removed meanwhile, as no task needed it any more, and then that is made again
// first, through any number of stages.
//
// The second attempt may legally give other rows than the first: LIMIT takes which it
// likes, random() and sums of floating point numbers differ, hash tables give their rows
// in another order. A reader that has read the first is then at odds with one that reads
// the second. So a fingerprint of the rows is compared (base/fingerprint.h): where it
// differs, all readers start over, from the decisions that were taken by what had come,
// and so do their readers. They also do where it matters which file has a row, or where
// in it: the same rows in another order, or in other files, are not the same slices.
//
// A stage that starts over has no rows in a target yet: what a query writes counts only
// when all of its tasks are done.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "block/places.h"
#include "query/run.h"

static bool is_done(const struct stage_run *state, uint32_t task) {
    return state->progress[task] & TASK_IS_DONE;
}

bool run_owns(const struct run *run, uint32_t stage, const char *path) {
    if (run->job == NULL) return true;
    bool sink = run->stages->stages[stage].sink;
    const char *folder = sink ? run->sink->staging.path : run->job->blocks;
    size_t size = folder == NULL ? 0 : strlen(folder);
    if (size == 0 || strncmp(path, folder, size) != 0 || path[size] != '/') return false;
    const char *name = path + size + 1;
    return sink ? name[0] == 's' && strchr(name, '/') == NULL : spool_stays_below(name);
}

// over: nobody reads it, so others may write over it.
static void remove_file(struct run *run, uint32_t stage, const struct task_file *file,
                        bool over) {
    bool ours = run_owns(run, stage, file->path);
    if (run->stages->stages[stage].sink) {
        if (ours) spool_remove_tree(file->path);
        return;
    }
    bool kept = ours && over && memory_tier_keep(&run->memory, file);
    if (ours && !kept && unlink(file->path) != 0) {
        if (access(file->path, F_OK) == 0) return;
        run_drop(run, file->path);
    }
    memory_tier_return(&run->memory, file);
    if (file->memory == 0) run->disk_bytes -= file->bytes;
}

// ---- files that no task needs

// Will a task still read the exchange? The result stage always will.
static bool needed(const struct run *run, uint32_t exchange) {
    for (size_t s = 0; s < run->stages->count; s++) {
        bool over = s + 1 < run->stages->count && run->runs[s].done == run->runs[s].tasks;
        if (!over && stage_reads(&run->stages->stages[s], exchange)) return true;
    }
    return false;
}

void run_drop_inputs(struct run *run, uint32_t stage) {
    const struct stage *over = &run->stages->stages[stage];
    for (size_t l = 0; l < over->leaf_count; l++) {
        const struct stage_leaf *leaf = &over->leaves[l];
        if (leaf->scan_call != NULL || needed(run, leaf->exchange)) continue;
        for (size_t s = 0; s + 1 < run->stages->count; s++) {
            struct stage_run *state = &run->runs[s];
            if (run->stages->stages[s].exchange != leaf->exchange || state->dropped)
                continue;
            for (size_t f = 0; f < state->file_count; f++)
                remove_file(run, (uint32_t)s, &state->files[f], true);
            state->dropped = true;
        }
    }
}

// ---- what was lost

// The files of the task are no longer the stage's.
static void forget_files(struct run *run, uint32_t stage, uint32_t task, bool gone) {
    struct stage_run *state = &run->runs[stage];
    size_t first = 0, kept = 0;
    while (first < state->file_count && state->file_tasks[first] != task) first++;
    kept = first;
    for (size_t f = first; f < state->file_count; f++) {
        if (state->file_tasks[f] == task) {
            if (!gone) remove_file(run, stage, &state->files[f], false);
            task_file_free(&state->files[f]);
            continue;
        }
        state->files[kept] = state->files[f];
        state->file_tasks[kept++] = state->file_tasks[f];
    }
    state->file_count = kept;
}

static void lose(struct run *run, uint32_t stage, uint32_t task, bool gone);

// All that the stage's tasks read is there, or is being made. Samples are kept here.
static void need_inputs(struct run *run, uint32_t stage) {
    const struct stage *reader = &run->stages->stages[stage];
    for (size_t l = 0; l < reader->leaf_count; l++) {
        const struct stage_leaf *leaf = &reader->leaves[l];
        if (leaf->scan_call != NULL || leaf->kind == LEAF_NUMBER ||
            leaf->kind == LEAF_SAMPLED)
            continue;
        for (uint32_t s = 0; s < stage; s++) {
            struct stage_run *state = &run->runs[s];
            if (run->stages->stages[s].exchange != leaf->exchange || !state->dropped)
                continue;
            state->dropped = false;
            for (uint32_t t = 0; t < state->tasks; t++) lose(run, s, t, true);
        }
    }
}

// gone: its files were removed before.
static void lose(struct run *run, uint32_t stage, uint32_t task, bool gone) {
    struct stage_run *state = &run->runs[stage];
    if (!is_done(state, task)) return;
    forget_files(run, stage, task, gone);
    state->progress[task] &= (uint8_t)~TASK_IS_DONE;
    state->done--;
    if (run->stages->stages[stage].in_driver) {
        run->driver_again = true;
    } else if (gone) {
        (void)sched_output_removed(run->sched, state->in_sched, task, clock_seconds());
    } else {
        (void)sched_output_lost(run->sched, state->in_sched, task, clock_seconds());
    }
    need_inputs(run, stage);
}

void run_lose(struct run *run, uint32_t stage, uint32_t task) {
    lose(run, stage, task, run->runs[stage].dropped);
}

static void say_lost(uint32_t stage, uint32_t task, const char *path) {
    fprintf(stderr,
            "shoal: a block of stage %u is lost or damaged: task %u, which made it, runs "
            "again (%s)\n",
            stage, task, path);
}

// Is the file nowhere: neither in this process's folders nor with a worker that keeps it?
static bool is_gone(const char *path) {
    struct places_addresses addresses;
    struct shoal_error ignored;
    if (access(path, F_OK) == 0) return false;
    if (places_find(path, &addresses, &ignored) != SHOAL_OK) return false;
    bool served = addresses.count > 0;
    places_addresses_free(&addresses);
    return !served;
}

// A file of the task that the worker (NULL: any) wrote and that is gone; NULL: none.
static const char *find_gone(const struct stage_run *state, size_t *at,
                             const uint32_t *worker) {
    for (; *at < state->file_count; (*at)++) {
        const char *path = state->files[*at].path;
        uint32_t writer = 0;
        bool asked =
            worker == NULL || (places_writer(path, &writer) && writer == *worker);
        if (asked && is_gone(path)) return path;
    }
    return NULL;
}

void run_lose_written(struct run *run, const uint32_t *worker) {
    for (uint32_t s = 0; s + 1 < run->stages->count; s++) {
        struct stage_run *state = &run->runs[s];
        size_t at = 0;
        if (state->dropped || run->stages->stages[s].sink) continue;
        for (const char *path; (path = find_gone(state, &at, worker)) != NULL;) {
            uint32_t task = state->file_tasks[at];
            say_lost(s, task, path);
            // A task's files follow each other: what is before them was looked at.
            size_t before = state->file_count, next = at + 1;
            while (at > 0 && state->file_tasks[at - 1] == task) at--;
            lose(run, s, task, false);
            if (state->file_count == before) at = next;  // it was no longer done
        }
    }
}

bool run_lose_file(struct run *run, const char *path) {
    uint32_t writer = 0;
    bool known = places_writer(path, &writer);  // the path may be the file's own text
    for (uint32_t s = 0; s + 1 < run->stages->count; s++) {
        const struct stage_run *state = &run->runs[s];
        for (size_t f = 0; f < state->file_count; f++) {
            if (strcmp(state->files[f].path, path) != 0) continue;
            say_lost(s, state->file_tasks[f], path);
            run_lose(run, s, state->file_tasks[f]);
            // Where one is gone more may be. What is made again needs what was made
            // before it, and once for all of them is better than once for each.
            if (known) run_lose_written(run, &writer);
            return true;
        }
    }
    return false;
}

// ---- readers that start over

static bool has_begun(const struct stage_run *state) {
    return state->begun || state->adapted || state->done > 0;
}

static shoal_status start_over(struct run *run, uint32_t stage, struct shoal_error *err) {
    struct stage_run *state = &run->runs[stage];
    uint32_t exchange = run->stages->stages[stage].exchange;
    if (run->stages->stages[stage].in_driver || !has_begun(state)) return SHOAL_OK;
    sched_reset_stage(run->sched, state->in_sched, clock_seconds());
    for (uint32_t t = 0; t < state->tasks; t++) {
        if (is_done(state, t)) forget_files(run, stage, t, state->dropped);
    }
    if (exchange < run->stages->exchange_count) {
        exchange_stats_free(&run->exchanges[exchange]);
        run->exchanges[exchange] = (struct exchange_stats){0};
    }
    adapt_pieces_free(&state->pieces);
    state->pieces = (struct adapt_pieces){0};
    bounds_free(&state->bounds);
    state->bounds = (struct bounds){0};
    run_parts_free(state);
    state->adapted = state->bounded = state->dropped = state->begun = false;
    state->filter_off = state->plain = state->judged = state->streamed = false;
    state->rows_read = state->rows_made = 0;
    state->done = 0;
    if (run->stats != NULL) stats_reset(&run->stats[stage]);
    // Nothing is known of its tasks any more; run_adapt says later how many there are.
    shoal_status status = run_retask(run, stage, state->tasks, err);
    if (status != SHOAL_OK) return status;
    need_inputs(run, stage);
    return run_differ(run, stage, err);
}

shoal_status run_differ(struct run *run, uint32_t stage, struct shoal_error *err) {
    uint32_t exchange = run->stages->stages[stage].exchange;
    shoal_status status = SHOAL_OK;
    if (exchange < run->stages->exchange_count) {
        struct exchange_stats *stats = &run->exchanges[exchange];
        free(stats->partition_rows);
        free(stats->partition_bytes);
        stats->partition_rows = stats->partition_bytes = NULL;
        stats->rows = stats->bytes = 0;
    }
    for (uint32_t s = stage + 1; status == SHOAL_OK && s + 1 < run->stages->count; s++) {
        if (stage_reads(&run->stages->stages[s], exchange))
            status = start_over(run, s, err);
    }
    return status;
}

static bool has_slices(const struct adapt_pieces *pieces) {
    for (size_t i = 0; i < pieces->count; i++) {
        const struct adapt_piece *piece = &pieces->list[i];
        if (piece->cut < ADAPT_COMBINED && (piece->slices > 1 || piece->rest))
            return true;
    }
    return false;
}

// Does it matter to the leaf's readers which file has a row, or where in it? A task reads
// some of the files, or some chunks of them; or several tasks compute the same of the
// same rows again, which has to come out the same; or bounds were cut by samples.
static bool by_position(const struct run *run, uint32_t stage,
                        const struct stage_leaf *leaf) {
    const struct stage_run *state = &run->runs[stage];
    switch (leaf->kind) {
        case LEAF_SPLIT:
        case LEAF_MERGE:
        case LEAF_ORDERED:
            return state->tasks > 1;
        case LEAF_SAMPLED:
            return true;
        case LEAF_PARTITION:
            return has_slices(&state->pieces);
        default:
            return false;
    }
}

static bool read_by_position(const struct run *run, uint32_t exchange) {
    for (uint32_t s = 0; s + 1 < run->stages->count; s++) {
        const struct stage *stage = &run->stages->stages[s];
        for (size_t l = 0; l < stage->leaf_count; l++) {
            const struct stage_leaf *leaf = &stage->leaves[l];
            if (leaf->scan_call == NULL && leaf->exchange == exchange &&
                by_position(run, s, leaf))
                return true;
        }
    }
    return false;
}

bool run_is_other(struct run *run, uint32_t stage, uint32_t task,
                  const struct task_output *output) {
    struct stage_run *state = &run->runs[stage];
    uint64_t print = 0;
    for (size_t f = 0; f < output->count; f++) print += output->files[f].print;
    bool again = state->progress[task] & TASK_WAS_DONE;
    bool other = again && (print != state->prints[task] ||
                           read_by_position(run, run->stages->stages[stage].exchange));
    state->prints[task] = print;
    return other;
}
