// A join that was planned as a shuffle, of which one side came out small: the other side,
// if it has not begun, is joined where it is scanned (src/adapt/broadcast.c says when).
#include <stdlib.h>
#include <string.h>

#include "query/replay.h"
#include "query/run.h"

#define WAIT_MOST (4 * ADAPT_BROADCAST_MOST)  // estimated: it may have far fewer
#define WAITS_FOR 2  // a side waits for another of so many times fewer rows

// A join of two partitioned inputs: the stage that would feed one of them may be joined
// to the other, whole.
struct join {
    uint32_t reader;       // the stage that joins
    size_t leaf;           // of the one
    uint32_t feeder;       // that feeds it
    uint32_t small;        // the other's exchange
    uint32_t small_stage;  // and its feeder
};

// The only stage that feeds the exchange; UINT32_MAX: there are several.
static uint32_t only_feeder(const struct run *run, uint32_t exchange) {
    uint32_t found = UINT32_MAX;
    for (uint32_t s = 0; s < run->stages->count; s++) {
        if (run->stages->stages[s].exchange != exchange) continue;
        if (found != UINT32_MAX) return UINT32_MAX;
        found = s;
    }
    return found;
}

// Does a scan drive it, or a split, so that its tasks stay what they are?
static bool scans(const struct stage *stage) {
    bool some = false;
    for (size_t l = 0; l < stage->leaf_count; l++) {
        enum leaf_kind kind = stage->leaves[l].kind;
        if (kind == LEAF_PARTITION || kind == LEAF_MERGE) return false;
        some = some || leaf_drives(kind);
    }
    return some;
}

static bool find_join(const struct run *run, uint32_t reader, bool first,
                      struct join *join) {
    const struct stage *stage = &run->stages->stages[reader];
    size_t leaves[2];
    size_t count = 0;
    if (stage->combines || stage->combined_sql != NULL || stage->streamed_sql != NULL ||
        stage->unfiltered_sql != NULL)
        return false;
    for (size_t l = 0; l < stage->leaf_count; l++) {
        if (stage->leaves[l].kind != LEAF_PARTITION) continue;
        if (count == 2) return false;
        leaves[count++] = l;
    }
    if (count != 2) return false;
    size_t other = leaves[first ? 1 : 0];
    *join = (struct join){.reader = reader, .leaf = leaves[first ? 0 : 1]};
    join->small = stage->leaves[other].exchange;
    join->feeder = only_feeder(run, stage->leaves[join->leaf].exchange);
    join->small_stage = only_feeder(run, join->small);
    if (join->feeder == UINT32_MAX || join->small_stage == UINT32_MAX ||
        join->feeder == join->small_stage || !stage->leaves[other].rows ||
        stage_plain_cut(stage, join->leaf) == NULL)
        return false;
    const struct stage *feeder = &run->stages->stages[join->feeder];
    return !feeder->combines && feeder->combined_sql == NULL && !feeder->in_driver &&
           !feeder->single && !feeder->ordered && feeder->scatter == BLOCK_HASH &&
           scans(feeder);
}

// By chance, for tests, whatever --broadcast-rows says.
static bool by_chance(const struct run *run) {
    return run->session->options.skew == ADAPT_RANDOM;
}

static bool may_decide(const struct run *run) {
    return !run->stages->shuffled &&
           (by_chance(run) || run->session->options.broadcast_rows == BROADCAST_AUTO);
}

bool run_waits(const struct run *run, uint32_t stage, uint32_t before) {
    const struct stage *stages = run->stages->stages;
    struct join join;
    uint64_t rows = stages[before].estimated_rows;
    bool smaller = rows <= WAIT_MOST && rows <= stages[stage].estimated_rows / WAITS_FOR;
    if (!may_decide(run) || (!smaller && !by_chance(run))) return false;
    for (uint32_t s = stage + 1; s + 1 < run->stages->count; s++) {
        for (int first = 0; first < 2; first++) {
            if (find_join(run, s, first, &join) && join.feeder == stage &&
                join.small_stage == before)
                return true;
        }
    }
    return false;
}

static bool small_enough(const struct run *run, const struct join *join,
                         struct adapt_sides *sides) {
    const struct stage_run *small = &run->runs[join->small_stage];
    *sides = (struct adapt_sides){
        .other_rows = run->stages->stages[join->feeder].estimated_rows,
        .tasks = run->runs[join->feeder].tasks,
        .rows_most = ADAPT_BROADCAST_MOST,
        .bytes_most = session_plan_bytes(run->session) / BROADCAST_SHARE};
    if (run->stages->times > 0) sides->bytes_most /= run->stages->times;
    // A narrow task has a hash table of its own.
    if (!run->stages->stages[join->feeder].wide)
        sides->bytes_most /= run->session->options.threads;
    for (size_t f = 0; f < small->file_count; f++) {
        sides->built_rows += small->files[f].rows.total;
        sides->built_bytes += small->files[f].bytes;
    }
    if (by_chance(run)) return (run->session->options.skew_seed + join->reader) % 2 == 0;
    return adapt_broadcast(sides);
}

static bool add_reason(struct run *run, uint32_t stage, const char *reason) {
    if (run->stats == NULL) return true;
    free(run->stats[stage].reasons);
    run->stats[stage].reasons = strdup(reason);
    return run->stats[stage].reasons != NULL;
}

static bool say(struct run *run, const struct join *join,
                const struct adapt_sides *sides) {
    char reason[160];
    (void)snprintf(reason, sizeof reason, "not run: stage %u does its part\n",
                   join->reader);
    if (!add_reason(run, join->feeder, reason)) return false;
    (void)snprintf(reason, sizeof reason,
                   "exchange %u came with %llu rows: broadcast to the tasks of stage %u, "
                   "which are not shuffled\n",
                   join->small, (unsigned long long)sides->built_rows, join->feeder);
    return add_reason(run, join->reader, reason);
}

// The reader takes over the feeder's tasks, and what each reads.
static shoal_status fuse(struct run *run, const struct join *join,
                         struct shoal_error *err) {
    struct stage *reader = &run->stages->stages[join->reader];
    struct stage *feeder = &run->stages->stages[join->feeder];
    struct stage_run *to = &run->runs[join->reader], *from = &run->runs[join->feeder];
    uint32_t tasks = from->tasks;
    if (!stages_fuse(reader, join->leaf, feeder)) return shoal_no_memory(err);
    to->splits = from->splits;
    from->splits = NULL;
    from->tasks = 0;
    return run_retask(run, join->reader, tasks, err);
}

// What was decided before this process began.
static shoal_status repeat(struct run *run, uint32_t over, struct shoal_error *err) {
    size_t at = 0;
    uint32_t reader = 0;
    bool first = false;
    struct join join;
    shoal_status status = SHOAL_OK;
    while (status == SHOAL_OK && replay_broadcast(run, over, &at, &reader, &first)) {
        if (reader >= run->stages->count || !find_join(run, reader, first, &join) ||
            join.small_stage != over ||
            !sched_resize_stage(run->sched, run->runs[join.feeder].in_sched, 0, false))
            return shoal_fail(err, SHOAL_CORRUPT,
                              "%s/job.log has a broadcast for stage %u that can't be",
                              run->job->folder, reader);
        status = fuse(run, &join, err);
    }
    return status;
}

shoal_status run_try_broadcast(struct run *run, uint32_t over, struct shoal_error *err) {
    struct join join;
    struct adapt_sides sides;
    if (run->past != NULL) return repeat(run, over, err);
    if (!may_decide(run)) return SHOAL_OK;
    for (uint32_t s = over + 1; s + 1 < run->stages->count; s++) {
        for (int first = 0; first < 2; first++) {
            if (!find_join(run, s, first, &join) || join.small_stage != over ||
                !small_enough(run, &join, &sides))
                continue;
            // False: it has begun.
            if (!sched_resize_stage(run->sched, run->runs[join.feeder].in_sched, 0,
                                    false))
                continue;
            shoal_status status = record_broadcast(run, over, s, first != 0, err);
            if (status == SHOAL_OK) status = fuse(run, &join, err);
            if (status != SHOAL_OK) return status;
            if (!say(run, &join, &sides)) return shoal_no_memory(err);
        }
    }
    return SHOAL_OK;
}
