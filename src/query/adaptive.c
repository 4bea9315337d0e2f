// A stage's inputs are there: the rules of src/adapt say what each of its tasks reads.
#include <stdlib.h>
#include <string.h>

#include "query/replay.h"
#include "query/run.h"

// What the rules are told, and what that borrows.
struct told {
    struct adapt_stage stage;
    struct adapt_input *inputs;
    size_t *leaves;  // of the inputs
    struct adapt_cut *cuts;
    uint32_t *combined;
    uint64_t *output;
};

static void told_free(struct told *told) {
    free(told->inputs);
    free(told->output);
    free(told->leaves);
    free(told->cuts);
    free(told->combined);
}

static bool tell_input(struct run *run, const struct stage_leaf *leaf,
                       struct adapt_input *input) {
    const struct exchange_stats *stats = run_exchange_sizes(run, leaf->exchange);
    if (stats == NULL) return false;
    *input = (struct adapt_input){.rows = stats->partition_rows,
                                  .bytes = stats->partition_bytes,
                                  .keys = stats->keys,
                                  .needed = leaf->needed,
                                  .exchange = leaf->exchange};
    if (stats->rows > 0) input->row_bytes = (double)stats->bytes / (double)stats->rows;
    return true;
}

static bool tell_inputs(struct run *run, const struct stage *stage, struct told *told) {
    told->inputs = calloc(stage->leaf_count + 1, sizeof *told->inputs);
    told->leaves = calloc(stage->leaf_count + 1, sizeof *told->leaves);
    if (told->inputs == NULL || told->leaves == NULL) return false;
    for (size_t l = 0; l < stage->leaf_count; l++) {
        const struct stage_leaf *leaf = &stage->leaves[l];
        if (leaf->kind != LEAF_PARTITION) continue;
        size_t at = told->stage.input_count++;
        told->leaves[at] = l;
        if (!tell_input(run, leaf, &told->inputs[at])) return false;
        told->stage.partitions = run->partitions[leaf->exchange];
    }
    return true;
}

static bool tell_cuts(const struct stage *stage, struct told *told) {
    told->cuts = calloc(stage->cut_count + 1, sizeof *told->cuts);
    if (told->cuts == NULL) return false;
    for (size_t c = 0; c < stage->cut_count; c++) {
        size_t input = 0;
        while (told->leaves[input] != stage->cuts[c].leaf) input++;
        told->cuts[c] =
            (struct adapt_cut){.input = input, .rest = stage->cuts[c].rest_sql != NULL};
        for (size_t i = 0; i < told->stage.input_count; i++) {
            // Bits are of the first leaves; who has more is only estimated worse.
            if (i < 64 && told->leaves[i] < 64 &&
                stage->cuts[c].partners >> told->leaves[i] & 1)
                told->cuts[c].partners |= UINT64_C(1) << i;
        }
    }
    return true;
}

// The stage that reads slices of this one's heavy partitions.
static const struct stage_run *combiner(const struct run *run,
                                        const struct stage *stage) {
    return &run->runs[run_feeder(run, stage->leaves[stage->combine_leaf].exchange)];
}

static bool tell_combined(const struct run *run, const struct stage *stage,
                          struct told *told) {
    if (stage->combined_sql == NULL) return true;
    const struct stage_leaf *leaf = &stage->leaves[stage->combine_leaf];
    const struct stage_run *before = combiner(run, stage);
    told->combined = calloc(told->stage.partitions + 1, sizeof *told->combined);
    if (told->combined == NULL) return false;
    if (leaf->kind == LEAF_PART) {
        run_tell_parts(run, leaf->exchange, told->combined);
        return true;
    }
    for (size_t i = 0; i < before->pieces.count; i++)
        told->combined[before->pieces.list[i].first] = 1;
    return true;
}

bool run_add_combined(const struct run *run, const struct stage *stage,
                      uint32_t partition, struct task_input *input) {
    const struct stage_run *before = combiner(run, stage);
    input->segments = calloc(before->file_count + 1, sizeof *input->segments);
    if (input->segments == NULL) return false;
    for (size_t f = 0; f < before->file_count; f++) {
        if (before->pieces.list[before->file_tasks[f]].first != partition) continue;
        struct task_segment *segment = &input->segments[input->count];
        *segment = (struct task_segment){strdup(before->files[f].path), 0, BLOCK_LAST};
        if (segment->path == NULL) return false;
        input->count++;
    }
    return true;
}

// A window's parts are sampled, scattered and summed up before they are read, which
// costs about as much as the windows of one large group.
#define WINDOW_PASSES 1

static uint32_t count_passes(const struct run *run, const struct stage *stage) {
    bool samples = stage->exchange != UINT32_MAX &&
                   run->stages->exchanges[stage->exchange].kind == EXCHANGE_SAMPLE;
    bool parts = stage->combined_sql != NULL &&
                 stage->leaves[stage->combine_leaf].kind == LEAF_PART;
    return samples || parts ? WINDOW_PASSES : 0;
}

static bool tell(struct run *run, const struct stage *stage, struct told *told) {
    const struct session_options *options = &run->session->options;
    *told = (struct told){0};
    if (!tell_inputs(run, stage, told) || !tell_cuts(stage, told) ||
        !tell_combined(run, stage, told))
        return false;
    told->stage.inputs = told->inputs;
    told->stage.cuts = told->cuts;
    told->stage.cut_count = stage->cut_count;
    told->stage.combined = told->combined;
    told->stage.only_slices = stage->combines;
    told->stage.passes = count_passes(run, stage);
    told->stage.whole = stage->whole;
    told->stage.slots = run->slots;
    told->stage.fixed = options->partitions != 0 || run->stages->partitions != 0 ||
                        run->stages->times > 1;
    told->stage.skew = options->skew;
    told->stage.seed = options->skew_seed + stage->id;
    told->stage.place = block_place;
    told->output = calloc(told->stage.partitions + 1, sizeof *told->output);
    told->stage.output = told->output;
    return told->output != NULL && adapt_output(&told->stage, told->output);
}

// NULL: no key is heavy.
static char *name_heavy(const struct run *run, const struct adapt_stage *stage) {
    struct text heavy = {0};
    for (size_t i = 0; i < stage->input_count; i++)
        run_name_heavy(run, stage->inputs[i].exchange, &heavy);
    return text_take(&heavy);
}

static bool reads_pieces(const struct stage *stage) {
    for (size_t l = 0; l < stage->leaf_count; l++) {
        enum leaf_kind kind = stage->leaves[l].kind;
        if (kind == LEAF_PARTITION || kind == LEAF_PART) return true;
    }
    return false;
}

// A task for each piece; a stage without any is over.
static shoal_status take_pieces(struct run *run, uint32_t index,
                                struct shoal_error *err) {
    uint32_t tasks = (uint32_t)run->runs[index].pieces.count;
    shoal_status status = run_retask(run, index, tasks, err);
    if (status != SHOAL_OK || tasks > 0) return status;
    return run_adapt_readers(run, index, err);
}

// Windows are streamed where they can be (dist/window_stream.c). Tests have both forms.
static bool streams(const struct stage *stage, const struct adapt_stage *told,
                    struct text *reasons) {
    if (stage->streamed_sql == NULL || told->skew == ADAPT_OFF) return false;
    if (told->skew == ADAPT_RANDOM && told->seed % 2 == 0) return false;
    text_append(reasons, "windows are streamed\n");
    return true;
}

shoal_status run_adapt(struct run *run, uint32_t index, struct shoal_error *err) {
    const struct stage *stage = &run->stages->stages[index];
    struct stage_run *state = &run->runs[index];
    struct told told;
    bool parts = false;
    if (!reads_pieces(stage) || state->adapted) return SHOAL_OK;
    state->adapted = true;
    if (!run_adapt_parts(run, index, &parts)) return shoal_no_memory(err);
    if (parts) return take_pieces(run, index, err);
    bool ok = tell(run, stage, &told) && adapt_pieces(&told.stage, &state->pieces);
    state->streamed = ok && streams(stage, &told.stage, &state->pieces.reasons);
    shoal_status status =
        ok ? replay_pieces(run, index, &told.stage, &state->pieces, err) : SHOAL_OK;
    if (ok && run->stats != NULL) {
        const char *reasons = state->pieces.reasons.data;
        run->stats[index].partitions = told.stage.partitions;
        run->stats[index].reasons = reasons == NULL ? NULL : strdup(reasons);
        run->stats[index].heavy = name_heavy(run, &told.stage);
    }
    told_free(&told);
    if (status == SHOAL_OK && ok) status = record_pieces(run, index, err);
    if (status != SHOAL_OK) return status;
    return ok ? take_pieces(run, index, err) : shoal_no_memory(err);
}

// Rows that the task read, at most; 0: unknown.
static uint64_t rows_read(const struct run *run, uint32_t index, uint32_t task) {
    const struct stage *stage = &run->stages->stages[index];
    if (run->runs[index].splits != NULL) return run->runs[index].splits[task].rows;
    uint64_t rows = 0;
    size_t number = 0;
    if (stage->leaf_count != 1 || stage->leaves[0].kind != LEAF_SPLIT) return 0;
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        if (run->stages->stages[s].exchange != stage->leaves[0].exchange) continue;
        for (size_t f = 0; f < run->runs[s].file_count; f++, number++) {
            if (number % run->runs[index].tasks == task)
                rows += run->runs[s].files[f].rows.total;
        }
    }
    return rows;
}

void run_judge(struct run *run, uint32_t stage, uint32_t task, uint64_t rows_counted,
               uint64_t rows_made) {
    struct stage_run *state = &run->runs[stage];
    const struct session_options *options = &run->session->options;
    if (run->stages->stages[stage].plain_sql == NULL || state->plain) return;
    bool counts = run->stages->stages[stage].counts;
    uint64_t rows = counts ? rows_counted : rows_read(run, stage, task);
    if (rows == 0 || state->progress[task] & TASK_PASSES) return;
    state->judged = true;
    state->rows_read += rows;
    state->rows_made += rows_made;
    state->plain = adapt_demote(state->rows_read, state->rows_made, options->skew,
                                options->skew_seed);
}

struct adapt_piece run_piece(const struct stage_run *stage, uint32_t task) {
    if (stage->pieces.list != NULL) return stage->pieces.list[task];
    return (struct adapt_piece){.first = task, .last = task, .cut = ADAPT_WHOLE};
}
