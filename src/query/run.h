// Internal to src/query: one distributed query while it runs.
#ifndef SHOAL_QUERY_RUN_H
#define SHOAL_QUERY_RUN_H

#include "adapt/adapt.h"
#include "query/job.h"
#include "query/memory_tier.h"
#include "query/merge.h"
#include "query/session.h"
#include "query/sink.h"

// A heavy partition that is scattered into parts.
struct run_part {
    uint32_t partition, count;
    struct bounds bounds;
};

// Of a task: its output is there; it was, now or before that was lost.
#define TASK_IS_DONE 1
#define TASK_WAS_DONE 2
#define TASK_REJECTED 4  // what it rejected is kept, and is not kept twice
#define TASK_PASSES 8    // it passes rows on where others aggregate them in part

struct stage_run {
    uint32_t in_sched;  // its number there; UINT32_MAX for a stage of the driver
    uint32_t tasks, done;
    struct scan_split *splits;   // [tasks], of a scan
    struct adapt_pieces pieces;  // [tasks], what each reads; empty: task i partition i
    bool adapted;                // they are known
    uint8_t *progress;           // [tasks], TASK_IS_DONE and so on
    uint32_t progress_count;
    uint64_t *prints;          // [tasks], of what was accepted last
    uint32_t *prefers;         // [tasks], the node where each is best run; NULL: any
    bool begun;                // a task was sent to a worker
    uint32_t driver_attempts;  // of a stage that runs here
    bool dropped;              // its files are gone, as no task needed them
    struct task_file *files;   // of accepted attempts, by task
    uint32_t *file_tasks;      // which task wrote each
    size_t file_count;
    uint64_t file_memory;  // bytes that they take there, or took
    struct bounds bounds;  // of a RANGE exchange that it feeds, once known
    bool bounded;
    struct run_part *parts;  // of the partitions that it scatters
    size_t part_count;
    bool filter_off;  // too many keys for the runtime filter
    bool judged;      // it is known whether partial aggregates save anything
    bool plain;       // they don't: rows are passed on
    bool streamed;    // its windows are
    uint64_t rows_read, rows_made;  // by tasks that are done, as far as known
};

// What is known of an exchange's rows beside what each of its files says.
struct exchange_stats {
    struct sketch
        *keys;  // of the accepted files, where hashes scatter them; NULL: none yet
    // Of each partition, about, of rows zero exactly; NULL: nobody has asked. And of all.
    uint64_t *partition_rows, *partition_bytes;
    uint64_t rows, bytes;
};

struct run {
    struct session *session;
    struct stages *stages;  // some change while they run: see broadcast.c
    struct stage_run *runs;
    struct stage_stats *stats;
    struct sched *sched;
    uint32_t *of_sched;  // the scheduler's number of a stage -> the stage
    struct progress progress;
    uint64_t disk_bytes;  // of block files that are there
    char *folder;
    struct memory_tier memory;
    uint32_t slots;
    uint32_t *partitions;  // of each exchange
    struct exchange_stats *exchanges;
    const struct statement *statement;
    struct sink *sink;          // of one whose rows go to a folder; else NULL
    const struct merge *merge;  // its only stage's tasks are these jobs; else NULL
    uint32_t wave;              // the number of the merge
    struct job *job;            // that keeps what is done; NULL: none
    json_t *past;               // while its log is gone through (replay.c)
    bool driver_again;          // a stage of the driver has lost what it made
    uint64_t stale;             // attempts that read what was lost before
    char loss[400];             // why a block could not be read, last
};

// tasks.c
// Cuts each stage into tasks and tells the scheduler.
shoal_status run_plan_tasks(struct run *run, struct shoal_error *err);
// The message of one attempt; free it with task_free.
shoal_status run_make_task(struct run *run, const struct sched_action *action,
                           struct task **task, struct shoal_error *err);
// A stage's SQL for one task; pipe: where it reads its bytes of a text file, if any.
// inputs, [leaf_count], are filled. NULL: out of memory.
char *run_task_sql(const struct run *run, size_t stage, uint32_t index, const char *key,
                   const char *pipe, struct task_input *inputs, size_t *input_count);
uint32_t run_partitions(const struct run *run, const struct stage *stage);
// The first stage that feeds the exchange; there is one.
size_t run_feeder(const struct run *run, uint32_t exchange);
// The number of a task that workers are told, which no other query of the session has.
uint64_t run_task_id(const struct run *run, uint32_t stage, uint32_t task);
// False: it is of another query.
bool run_find_task(const struct run *run, uint64_t id, uint32_t *stage, uint32_t *task);
// Room for what is known of each task. False when out of memory.
bool run_count_tasks(struct stage_run *stage, uint32_t tasks);
// Before any task of the stage has begun, or after it starts over: it has so many.
shoal_status run_retask(struct run *run, uint32_t stage, uint32_t tasks,
                        struct shoal_error *err);

// outputs.c
// What the exchange, which is complete, has of rows and bytes; NULL: out of memory.
const struct exchange_stats *run_exchange_sizes(struct run *run, uint32_t exchange);
// Is all there that the stage reads?
bool run_is_ready(const struct run *run, uint32_t stage);
void exchange_stats_free(struct exchange_stats *stats);  // contents only
// What a task that was accepted learned of its keys becomes the exchange's.
void run_learn_keys(struct run *run, uint32_t stage, struct task_output *output);
// The files of a task that was accepted are the stage's from now on; output->count is 0
// then.
shoal_status run_keep_files(struct stage_run *stage, uint32_t task,
                            struct task_output *output, struct shoal_error *err);

// run.c
// A file or folder of block files goes where a worker keeps it, if one does.
void run_drop(const struct run *run, const char *path);

// lineage.c
// A stage is over: what it was the last to read goes, as space is short while a query
// runs, not after it.
void run_drop_inputs(struct run *run, uint32_t stage);
// What a task made is gone: it runs again, and before it what it reads if that is gone
// too. Nothing when it isn't done.
void run_lose(struct run *run, uint32_t stage, uint32_t task);
// The same of the task that wrote the file, which couldn't be read. False: no task's that
// is done; it is being made again.
bool run_lose_file(struct run *run, const char *path);
// The same of all files that the worker wrote and that are gone; NULL: of all workers.
void run_lose_written(struct run *run, const uint32_t *worker);
// Is the path where the query's tasks of the stage write? A job's log may name others:
// its folder was moved, or the log is not what shoal wrote. What is there is left alone.
bool run_owns(const struct run *run, uint32_t stage, const char *path);
// Did the task make something else before, so that readers of both are at odds? What it
// made now is remembered.
bool run_is_other(struct run *run, uint32_t stage, uint32_t task,
                  const struct task_output *output);
// Readers of the stage's exchange that have begun start over, and theirs.
shoal_status run_differ(struct run *run, uint32_t stage, struct shoal_error *err);

// write.c
// What COPY answers.
shoal_status run_answer(struct session *session, const struct sink *sink,
                        struct duck_result **result, struct shoal_error *err);

// result.c
// The last stage, whose rows are the result, or go to where the statement says. *again:
// what it reads was lost and is to be made again first.
shoal_status run_result(struct run *run, struct duck_result **result, bool *again,
                        struct shoal_error *err);
// Is there, whole, what the driver itself reads next? What isn't is lost. Large files are
// looked at only as far as a reader does that skips their rows.
bool run_verify(struct run *run);

// write.c
// The files of the sink's tasks, or what this process writes where none has the rows
// last, become the target's. The result is what COPY answers. *again: as above.
shoal_status run_write(struct run *run, struct duck_result **result, bool *again,
                       struct shoal_error *err);

// run.c
// What a task made counts from now on; output->count is 0 then.
shoal_status run_accept(struct run *run, uint32_t stage, uint32_t task,
                        struct task_output *output, struct shoal_error *err);
// A stage is over, and its readers' inputs may be complete now.
shoal_status run_adapt_readers(struct run *run, uint32_t stage, struct shoal_error *err);
// Runs the jobs on workers; written, [job_count], is what they wrote.
shoal_status run_merge(struct run *run, const struct merge *merge, uint32_t wave,
                       struct task_output *written, struct shoal_error *err);

// splits.c
// Cuts the LEAF_SCAN of the stage, or each LEAF_UNION, into its splits and tasks.
shoal_status run_cut_scans(struct run *run, const struct stage *of,
                           struct stage_run *stage, struct shoal_error *err);

// scan_samples.c
// Cuts a LEAF_SCAN_SOME of the stage into tasks that read its row groups evenly.
shoal_status run_cut_samples(struct run *run, const struct stage_leaf *leaf,
                             const struct stage *of, struct stage_run *stage,
                             struct shoal_error *err);

// text_splits.c
// Cuts a text file into about so many splits, which are added to the stage's; as one
// whole split when its dialect doesn't let it be cut.
shoal_status run_cut_text(struct run *run, const struct stage_leaf *leaf,
                          const struct scan_file *file, uint64_t parts,
                          struct stage_run *stage, struct shoal_error *err);

// tasks.c
// The blocks of one partition of an exchange. False when out of memory.
bool run_add_partition(const struct run *run, uint32_t exchange, uint32_t partition,
                       struct task_input *input);

// broadcast.c
// Is the stage to begin only when the other, before it, is over? That may then be sent to
// its tasks.
bool run_waits(const struct run *run, uint32_t stage, uint32_t before);
// A stage is over: what it made is broadcast where that is better now.
shoal_status run_try_broadcast(struct run *run, uint32_t over, struct shoal_error *err);

// locality.c
// The stage's inputs are there: the scheduler learns which node has most of what each
// task reads. No memory for it: it doesn't.
void run_locate(struct run *run, uint32_t stage);
// Of a worker that is up or was; SCHED_ANYWHERE: it keeps nothing of its own.
uint32_t run_node(const struct run *run, uint32_t worker);
// A task was sent to that worker: was that where it is best run?
void run_count_local(struct run *run, const struct sched_action *action);

// heavy.c
// The keys that have most of an exchange's rows, in words, a line each.
void run_name_heavy(const struct run *run, uint32_t exchange, struct text *out);

// adaptive.c
// All inputs of the stage are there: says what each of its tasks reads.
shoal_status run_adapt(struct run *run, uint32_t stage, struct shoal_error *err);
// A task of a stage of partial aggregates is done: are they worth it for the others?
void run_judge(struct run *run, uint32_t stage, uint32_t task, uint64_t rows_counted,
               uint64_t rows_made);
struct adapt_piece run_piece(const struct stage_run *stage, uint32_t task);
// What sub-tasks of the partition wrote. False when out of memory.
bool run_add_combined(const struct run *run, const struct stage *stage,
                      uint32_t partition, struct task_input *input);

// parts.c
// The pieces of a stage that serves windows over heavy partitions; *done false: it is
// none. False when out of memory.
bool run_adapt_parts(struct run *run, uint32_t stage, bool *done);
// How many parts each partition has that the exchange brings in parts.
void run_tell_parts(const struct run *run, uint32_t exchange, uint32_t *combined);
// Are all rows of the part of one group? The stage reads summaries of parts.
bool run_part_of_one(const struct run *run, const struct stage *stage,
                     const struct adapt_piece *piece);
const struct run_part *run_find_part(const struct stage_run *scatterer,
                                     uint32_t partition);
// What the piece's task reads through one of the stage's leaves, a part or a LEAF_BEFORE
// or LEAF_AFTER; zeroed before. False when out of memory.
bool run_add_parts(const struct run *run, const struct stage_leaf *leaf,
                   const struct adapt_piece *piece, struct task_input *input);
void run_parts_free(struct stage_run *stage);

// bounds.c
// Appends the file's samples, weighted. False when out of memory.
bool run_add_samples(const struct task_file *file, struct weighted_key **samples,
                     size_t *count);
// Fills the stage's bounds from the samples of the exchange before it, once.
shoal_status run_find_bounds(struct run *run, uint32_t stage, struct shoal_error *err);

#endif
