// A stage's tasks: what each reads, and the message that says so.
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "query/run.h"

static const struct stage_leaf *driving_leaf(const struct stage *stage) {
    for (size_t i = 0; i < stage->leaf_count; i++) {
        if (leaf_drives(stage->leaves[i].kind)) return &stage->leaves[i];
    }
    return NULL;
}

// A task's number: its query's, its stage's and its own. The query's comes round again
// after so many that no attempt of the first is left.
#define TASK_BITS 30
#define STAGE_BITS 14
#define QUERY_MASK ((UINT64_C(1) << 18) - 1)

uint64_t run_task_id(const struct run *run, uint32_t stage, uint32_t task) {
    uint64_t query = run->session->next_query & QUERY_MASK;
    return (query << STAGE_BITS | stage) << TASK_BITS | task;
}

bool run_find_task(const struct run *run, uint64_t id, uint32_t *stage, uint32_t *task) {
    *task = (uint32_t)(id & ((UINT64_C(1) << TASK_BITS) - 1));
    *stage = (uint32_t)(id >> TASK_BITS & ((1u << STAGE_BITS) - 1));
    bool ours = id >> TASK_BITS >> STAGE_BITS == (run->session->next_query & QUERY_MASK);
    return ours && *stage + 1 < run->stages->count;
}

bool run_count_tasks(struct stage_run *stage, uint32_t tasks) {
    uint8_t *progress = calloc((size_t)tasks + 1, sizeof *progress);
    uint64_t *prints = calloc((size_t)tasks + 1, sizeof *prints);
    uint32_t same = stage->progress_count < tasks ? stage->progress_count : tasks;
    for (uint32_t t = 0; progress != NULL && t < same; t++)
        progress[t] = stage->progress[t] & TASK_REJECTED;
    free(stage->progress);
    free(stage->prints);
    stage->progress = progress;
    stage->prints = prints;
    stage->progress_count = progress == NULL ? 0 : tasks;
    return progress != NULL && prints != NULL;
}

shoal_status run_plan_tasks(struct run *run, struct shoal_error *err) {
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        const struct stage *stage = &run->stages->stages[s];
        struct stage_run *to = &run->runs[s];
        const struct stage_leaf *leaf = stage->single ? NULL : driving_leaf(stage);
        shoal_status status = SHOAL_OK;
        if (run->merge != NULL) {
            to->tasks = (uint32_t)run->merge->job_count;
        } else if (leaf == NULL) {
            to->tasks = 1;
        } else if (leaf->kind == LEAF_SCAN || leaf->kind == LEAF_UNION) {
            status = run_cut_scans(run, stage, to, err);
        } else if (leaf->kind == LEAF_SCAN_SOME) {
            status = run_cut_samples(run, leaf, stage, to, err);
        } else if (leaf->kind == LEAF_RANGE) {
            to->tasks = (uint32_t)leaf->range_count;
        } else if (leaf->kind == LEAF_MERGE) {
            to->tasks = run->partitions[leaf->exchange] * leaf->slices;
        } else {
            to->tasks = leaf->kind == LEAF_PARTITION ? run->partitions[leaf->exchange]
                                                     : run->session->options.workers;
        }
        if (status != SHOAL_OK) return status;
        if (!run_count_tasks(to, to->tasks)) return shoal_no_memory(err);
        to->in_sched = UINT32_MAX;
        if (stage->in_driver) continue;
        uint32_t *deps = calloc(s + 1, sizeof *deps);
        size_t count = 0;
        if (deps == NULL) return shoal_no_memory(err);
        for (uint32_t d = 0; d < s; d++) {
            if (run->stages->stages[d].in_driver) continue;
            if (stage_reads(stage, run->stages->stages[d].exchange) ||
                run_waits(run, (uint32_t)s, d))
                deps[count++] = run->runs[d].in_sched;
        }
        uint32_t id = sched_add_stage(run->sched, to->tasks, stage->wide, deps, count);
        free(deps);
        if (id == UINT32_MAX) return shoal_no_memory(err);
        to->in_sched = id;
        run->of_sched[id] = (uint32_t)s;
    }
    return SHOAL_OK;
}

// ---- a task's inputs

static bool add_segment(struct task_input *input, size_t *capacity, const char *path,
                        uint32_t first, uint32_t last) {
    if (input->count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 16;
        struct task_segment *grown = realloc(input->segments, *capacity * sizeof *grown);
        if (grown == NULL) return false;
        input->segments = grown;
    }
    struct task_segment *segment = &input->segments[input->count];
    *segment = (struct task_segment){strdup(path), first, last};
    if (segment->path == NULL) return false;
    input->count++;
    return true;
}

#define SAMPLED_ROWS 100000  // of a slice: fewer are all read

// Samples are of stripes all over the slice (block/slices.h): one of so many, if there
// are rows enough.
static struct block_read read_slice(const struct run *run, const struct stage *stage,
                                    const struct stage_leaf *leaf,
                                    const struct adapt_piece *piece) {
    const uint64_t *rows = run->exchanges[leaf->exchange].partition_rows;
    bool samples = stage->exchange != UINT32_MAX &&
                   run->stages->exchanges[stage->exchange].kind == EXCHANGE_SAMPLE;
    uint32_t of = 1;
    if (samples && rows != NULL && rows[piece->first] / piece->slices >= SAMPLED_ROWS)
        of = SAMPLED_SLICE;
    return (struct block_read){false, piece->slice * of, piece->slices * of};
}

// The segments that task number index of the stage reads through the leaf.
static bool gather_input(const struct run *run, const struct stage *stage,
                         const struct stage_leaf *leaf, uint32_t index,
                         const struct stage_run *state, struct task_input *input) {
    size_t capacity = 0;
    size_t number = 0;
    uint32_t first = 0, last = BLOCK_LAST;
    bool merges = leaf->kind == LEAF_MERGE;
    bool some = merges || leaf->kind == LEAF_PARTITION;  // of the partitions
    if (merges) first = last = index / leaf->slices;
    if (leaf->kind == LEAF_PARTITION) {
        struct adapt_piece piece = run_piece(state, index);
        first = piece.first;
        last = piece.last;
        bool cut = piece.cut < ADAPT_COMBINED && !piece.rest &&
                   leaf == &stage->leaves[stage->cuts[piece.cut].leaf];
        if (cut) input->how = read_slice(run, stage, leaf, &piece);
        if (!cut && piece.cut != ADAPT_WHOLE) input->how.ordered = true;
    }
    if (leaf->kind == LEAF_PART || leaf->kind == LEAF_BEFORE ||
        leaf->kind == LEAF_AFTER) {
        struct adapt_piece piece = run_piece(state, index);
        return run_add_parts(run, leaf, &piece, input);
    }
    if (leaf->kind == LEAF_COMBINE) {
        struct adapt_piece piece = run_piece(state, index);
        return piece.cut != ADAPT_COMBINED ||
               run_add_combined(run, stage, piece.first, input);
    }
    if (merges || leaf->kind == LEAF_ORDERED) input->how.ordered = true;
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        if (run->stages->stages[s].exchange != leaf->exchange) continue;
        for (size_t f = 0; f < run->runs[s].file_count; f++, number++) {
            const struct task_file *file = &run->runs[s].files[f];
            if (some && !sizes_any(&file->rows, first, last)) continue;
            if (merges && number % leaf->slices != index % leaf->slices) continue;
            if (leaf->kind == LEAF_SPLIT && number % state->tasks != index) continue;
            if (!add_segment(input, &capacity, file->path, first, last)) return false;
        }
    }
    return true;
}

bool run_add_partition(const struct run *run, uint32_t exchange, uint32_t partition,
                       struct task_input *input) {
    size_t capacity = 0;
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        if (run->stages->stages[s].exchange != exchange) continue;
        for (size_t f = 0; f < run->runs[s].file_count; f++) {
            const struct task_file *file = &run->runs[s].files[f];
            if (sizes_any(&file->rows, partition, partition) &&
                !add_segment(input, &capacity, file->path, partition, partition))
                return false;
        }
    }
    return true;
}

// Does the task pass rows on, where others may aggregate them in part?
static bool passes(const struct stage *stage, const struct stage_run *state,
                   uint32_t index) {
    bool hedged = stage->hedged && !state->judged && index % 2 == 1;
    return stage->plain_sql != NULL && (state->plain || hedged);
}

// For run_judge, which learns nothing of a task that passes rows on.
static void note_form(const struct stage *stage, struct stage_run *state, uint32_t task) {
    state->progress[task] &= (uint8_t)~TASK_PASSES;
    if (passes(stage, state, task)) state->progress[task] |= TASK_PASSES;
}

// The form of the stage's SQL that the task has.
static const char *task_text(const struct run *run, size_t s, uint32_t index) {
    const struct stage *stage = &run->stages->stages[s];
    const struct stage_run *state = &run->runs[s];
    struct adapt_piece piece = run_piece(state, index);
    const struct stage_cut *cut =
        piece.cut >= ADAPT_COMBINED ? NULL : &stage->cuts[piece.cut];
    if (piece.cut == ADAPT_COMBINED && stage->combined_sql != NULL) {
        bool one = stage->of_one_sql != NULL && run_part_of_one(run, stage, &piece);
        return one ? stage->of_one_sql : stage->combined_sql;
    }
    if (cut != NULL && piece.rest) return cut->rest_sql;
    if (cut != NULL && cut->sql != NULL) return cut->sql;
    if (passes(stage, state, index)) return stage->plain_sql;
    if (state->streamed) return stage->streamed_sql;
    return state->filter_off ? stage->unfiltered_sql : stage->sql;
}

// What stands for a leaf in one task's SQL, text; number: of the inputs, if it is one.
// pipe: where bytes of a text file are read. good: records that can't be read are left
// out.
static char *leaf_sql(const struct run *run, size_t s, size_t l, uint32_t index,
                      const char *text, const char *key, size_t number, const char *pipe,
                      bool good) {
    const struct stage *stage = &run->stages->stages[s];
    const struct stage_run *state = &run->runs[s];
    const struct stage_leaf *leaf = &stage->leaves[l];
    if (strstr(text, leaf->placeholder) == NULL) return strdup("");
    if (leaf->kind == LEAF_NUMBER) return stage_number_sql(run_piece(state, index).slice);
    if (leaf->kind == LEAF_SCAN && good && leaf->source.rejects)
        return stage_good_sql(leaf, &state->splits[index], l);
    if (leaf->kind == LEAF_UNION &&
        !split_is_of(&state->splits[index], leaf->files, leaf->file_count))
        return stage_empty_sql(&leaf->schema);
    if (leaf_has_splits(leaf->kind))
        return stage_scan_sql(leaf, &state->splits[index], pipe);
    if (leaf->kind == LEAF_RANGE) return stage_range_sql(leaf, &leaf->ranges[index]);
    // Its files by name: by a pattern, a task could find one that came later.
    struct scan_split all = {.files = leaf->files, .count = leaf->file_count};
    if (leaf->kind == LEAF_SCAN_ALL)
        return stage_scan_sql(leaf, all.count > 0 ? &all : NULL, NULL);
    return block_input_sql(key, number, &run->stages->exchanges[leaf->exchange].schema);
}

// Blocks that the task's form of the SQL reads.
static bool is_input(const struct stage_leaf *leaf, const char *text) {
    return leaf->scan_call == NULL && leaf->kind != LEAF_NUMBER &&
           strstr(text, leaf->placeholder) != NULL;
}

static char *stage_text(const struct run *run, size_t s, uint32_t index, const char *key,
                        const char *pipe, bool good) {
    const struct stage *stage = &run->stages->stages[s];
    char **leaves = calloc(stage->leaf_count + 1, sizeof *leaves);
    const char *text = task_text(run, s, index);
    char *sql = NULL;
    bool ok = leaves != NULL;
    size_t inputs = 0;
    for (size_t l = 0; ok && l < stage->leaf_count; l++) {
        leaves[l] = leaf_sql(run, s, l, index, text, key, inputs, pipe, good);
        inputs += is_input(&stage->leaves[l], text);
        ok = leaves[l] != NULL;
    }
    if (ok) sql = stage_substitute(stage, text, leaves);
    for (size_t l = 0; leaves != NULL && l < stage->leaf_count; l++) free(leaves[l]);
    free(leaves);
    return sql;
}

// The stage's SQL for one task, and its inputs.
char *run_task_sql(const struct run *run, size_t s, uint32_t index, const char *key,
                   const char *pipe, struct task_input *inputs, size_t *input_count) {
    const struct stage *stage = &run->stages->stages[s];
    const char *text = task_text(run, s, index);
    *input_count = 0;
    for (size_t l = 0; l < stage->leaf_count; l++) {
        if (is_input(&stage->leaves[l], text) &&
            !gather_input(run, stage, &stage->leaves[l], index, &run->runs[s],
                          &inputs[(*input_count)++]))
            return NULL;
    }
    return stage_text(run, s, index, key, pipe, false);
}

// What a task does if records of its JSON files can't be read. A part of a file has none:
// the number of a line is known in a whole one alone.
static bool add_good(const struct run *run, size_t s, uint32_t index, const char *key,
                     struct task *task) {
    const struct stage *stage = &run->stages->stages[s];
    struct text faults = {0};
    for (size_t l = 0; l < stage->leaf_count; l++) {
        const struct stage_leaf *leaf = &stage->leaves[l];
        if (leaf->kind != LEAF_SCAN || !leaf->source.rejects ||
            run->runs[s].splits[index].part != PART_WHOLE)
            continue;
        text_append(&faults, faults.size > 0 ? " UNION ALL " : "");
        stage_append_faults(&faults, leaf, &run->runs[s].splits[index], l);
    }
    if (faults.size == 0 && !faults.failed) return true;
    task->faults_sql = text_take(&faults);
    task->good_sql = stage_text(run, s, index, key, NULL, true);
    return task->faults_sql != NULL && task->good_sql != NULL;
}

size_t run_feeder(const struct run *run, uint32_t exchange) {
    size_t s = 0;
    while (run->stages->stages[s].exchange != exchange) s++;
    return s;
}

shoal_status run_retask(struct run *run, uint32_t stage, uint32_t tasks,
                        struct shoal_error *err) {
    struct stage_run *state = &run->runs[stage];
    if (!sched_resize_stage(run->sched, state->in_sched, tasks,
                            run->stages->stages[stage].wide)) {
        return shoal_fail(err, SHOAL_INTERNAL,
                          "stage %u is to have %u tasks, but has begun", stage, tasks);
    }
    state->tasks = tasks;
    free(state->prefers);
    state->prefers = NULL;
    return run_count_tasks(state, tasks) ? SHOAL_OK : shoal_no_memory(err);
}

uint32_t run_partitions(const struct run *run, const struct stage *stage) {
    bool many = stage->scatter == BLOCK_HASH || stage->scatter == BLOCK_RANGE;
    return many ? run->partitions[stage->exchange] : 1;
}

// The stage's inputs are there: are the keys of its runtime filter as few as estimated?
static void decide_filter(struct run *run, uint32_t index) {
    const struct stage *stage = &run->stages->stages[index];
    struct stage_run *state = &run->runs[index];
    uint64_t rows = 0;
    if (stage->unfiltered_sql == NULL || state->filter_off) return;
    for (uint32_t s = 0; s < index; s++) {
        if (run->stages->stages[s].exchange != stage->leaves[stage->filter_leaf].exchange)
            continue;
        for (size_t f = 0; f < run->runs[s].file_count; f++)
            rows += run->runs[s].files[f].rows.total;
    }
    state->filter_off = rows > stage->filter_most;
    if (state->filter_off && run->stats != NULL) run->stats[index].filter_rows = rows;
}

// A task that reads bytes of a text file does so through a pipe in the query's folder.
static bool name_range(const struct run *run, const struct sched_action *action,
                       struct task_range *range) {
    const struct stage_run *state = &run->runs[action->stage];
    const struct scan_split *split =
        state->splits == NULL ? NULL : &state->splits[action->task];
    struct text pipe = {0};
    if (split == NULL || split->part != PART_BYTES) return true;
    text_printf(&pipe, "%s/s%u.t%u.a%u.w%u.pipe", run->folder, action->stage,
                action->task, action->attempt, action->worker);
    *range = (struct task_range){.pipe = text_take(&pipe),
                                 .path = strdup(split->files[0].path),
                                 .first = split->first,
                                 .end = split->last + 1};
    return range->pipe != NULL && range->path != NULL;
}

static bool name_rejects(const struct run *run, const struct sched_action *action,
                         struct task *task) {
    struct text path = {0};
    text_printf(&path, "%s/s%u.t%u.a%u.w%u.rejects", run->folder, action->stage,
                action->task, action->attempt, action->worker);
    task->rejects = text_take(&path);
    return task->rejects != NULL;
}

// The files that the task reads through the leaf.
static bool add_sources(const struct run *run, const struct stage_leaf *leaf,
                        const struct sched_action *action, struct task *task) {
    const struct scan_split *split = NULL;
    const struct scan_range *range = NULL;
    size_t count = leaf->file_count;
    if (leaf_has_splits(leaf->kind)) {
        split = &run->runs[action->stage].splits[action->task];
        count = split_is_of(split, leaf->files, leaf->file_count) ? split->count : 0;
    } else if (leaf->kind == LEAF_RANGE) {
        range = &leaf->ranges[action->task];
        count = range->file_count;
    }
    struct task_source *sources =
        realloc(task->sources, (task->source_count + count + 1) * sizeof *task->sources);
    if (sources == NULL) return false;
    task->sources = sources;
    for (size_t f = 0; f < count; f++) {
        const struct scan_file *file = split != NULL   ? &split->files[f]
                                       : range != NULL ? range->files[f]
                                                       : &leaf->files[f];
        if (!file->state.known) continue;
        sources[task->source_count] =
            (struct task_source){strdup(file->path), file->state};
        if (sources[task->source_count++].path == NULL) return false;
    }
    return true;
}

static bool name_sources(const struct run *run, const struct sched_action *action,
                         struct task *task) {
    const struct stage *stage = &run->stages->stages[action->stage];
    bool ok = true;
    for (size_t l = 0; ok && l < stage->leaf_count; l++) {
        if (stage->leaves[l].scan_call != NULL)
            ok = add_sources(run, &stage->leaves[l], action, task);
    }
    return ok;
}

static shoal_status copy_bounds(struct run *run, const struct sched_action *action,
                                struct bounds *bounds, struct shoal_error *err) {
    const struct stage_run *state = &run->runs[action->stage];
    const struct bounds *from = &state->bounds;
    shoal_status status = SHOAL_OK;
    if (state->parts != NULL) {
        from = &run_find_part(state, run_piece(state, action->task).first)->bounds;
    } else {
        status = run_find_bounds(run, action->stage, err);
    }
    if (status != SHOAL_OK || bounds_copy(bounds, from)) return status;
    return shoal_no_memory(err);
}

// They are all on this machine: where one runs alone, the others' shares are free.
static uint64_t all_worker_bytes(const struct session *session) {
    uint32_t hosts = session->options.hosts;
    return session->worker_bytes * (hosts > 0 ? hosts : session->options.workers);
}

// About how many bytes a file of the stage's tasks takes: as those that are there do; the
// first by the planner's estimate, packed values taking half of their eight bytes.
static uint64_t bytes_of_file(const struct stage *stage, const struct stage_run *state) {
    if (state->file_count > 0) return state->file_memory / state->file_count;
    uint64_t tasks = state->tasks > 0 ? state->tasks : 1;
    return stage->estimated_rows / tasks * stage->schema.count * 4;
}

shoal_status run_make_task(struct run *run, const struct sched_action *action,
                           struct task **out, struct shoal_error *err) {
    const struct stage *stage = &run->stages->stages[action->stage];
    struct task *task = calloc(1, sizeof *task);
    struct text output = {0};
    char key[TASK_KEY_SIZE];
    *out = NULL;
    if (task == NULL) return shoal_no_memory(err);
    decide_filter(run, action->stage);
    if (run->stats != NULL)
        run->stats[action->stage].demoted = run->runs[action->stage].plain;
    if (stage->hedged) note_form(stage, &run->runs[action->stage], action->task);
    task->id = run_task_id(run, action->stage, action->task);
    task->attempt = action->attempt;
    task->stage = action->stage;
    task->scatter = stage->scatter;
    task->ordered = stage->ordered;
    task->compress = run->session->compress;
    task->print = !stage->repeatable;
    task->counts = stage->counts;
    if (action->alone) task->alone_bytes = all_worker_bytes(run->session);
    task->partitions = run_partitions(run, stage);
    const char *folder = stage->sink ? run->sink->staging.path : run->folder;
    text_printf(&output, "%s/%c%u.t%u.a%u.w%u", folder, run->merge != NULL ? 'm' : 's',
                run->merge != NULL ? run->wave : action->stage, action->task,
                action->attempt, action->worker);
    // What a process before this one left half done has the same numbers, and so has what
    // a plan before this one did.
    const struct job *job = run->session->options.job;
    if (job != NULL) text_printf(&output, ".r%u.%u", job->lives, job->plan);
    task->output = text_take(&output);
    if (run->merge == NULL && run->session->rejects != NULL &&
        !name_rejects(run, action, task)) {
        task_free(task);
        return shoal_no_memory(err);
    }
    bool sinks = !stage->sink || run->merge != NULL || sink_task(run->sink, task);
    if (run->merge != NULL) sinks = merge_task(run->sink, run->merge, action->task, task);
    if (!sinks) {
        task_free(task);
        return shoal_no_memory(err);
    }
    if (!name_range(run, action, &task->range) || !name_sources(run, action, task)) {
        task_free(task);
        return shoal_no_memory(err);
    }
    task->inputs = calloc(stage->leaf_count + 1, sizeof *task->inputs);
    task_key(task, key);
    if (task->inputs != NULL && task->output != NULL && run->merge == NULL) {
        task->sql = run_task_sql(run, action->stage, action->task, key, task->range.pipe,
                                 task->inputs, &task->input_count);
        if (task->sql != NULL && task->rejects != NULL &&
            !add_good(run, action->stage, action->task, key, task)) {
            free(task->sql);
            task->sql = NULL;
        }
    }
    shoal_status status = task->sql == NULL ? shoal_no_memory(err) : SHOAL_OK;
    if (status == SHOAL_OK && stage->scatter == BLOCK_RANGE) {
        status = copy_bounds(run, action, &task->bounds, err);
    }
    if (status == SHOAL_OK && !stage->sink && stage->exchange != UINT32_MAX) {
        const struct session_options *options = &run->session->options;
        const struct stage_run *state = &run->runs[action->stage];
        bool narrow = !stage->wide && !stage->in_driver;
        struct memory_need need = {.places = narrow ? run->slots : options->workers,
                                   .files = narrow ? 1 : options->threads,
                                   .bytes = bytes_of_file(stage, state)};
        status = memory_tier_grant(&run->memory, task, action->worker, &need, err);
    }
    if (status != SHOAL_OK) {
        task_free(task);
        return status;
    }
    *out = task;
    return SHOAL_OK;
}
