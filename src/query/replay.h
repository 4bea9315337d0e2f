// What a job's log says of the plan that is about to run: tasks that are done, and what
// was decided while they were.
#ifndef SHOAL_QUERY_REPLAY_H
#define SHOAL_QUERY_REPLAY_H

#include "query/run.h"

// Before anything runs. Without a job nothing happens. The plan is written to the log; if
// a process before this one had the same, its texts are taken, as the hour may be in
// them, and its tasks are done. SHOAL_USAGE: a file that is read has changed, or the plan
// is another.
shoal_status replay_plan(struct run *run, struct shoal_error *err);

// While the past is gone through: what was decided then, instead of deciding.
// Nothing changes where the log has none. SHOAL_CORRUPT: they don't fit what was told.
shoal_status replay_pieces(const struct run *run, uint32_t stage,
                           const struct adapt_stage *told, struct adapt_pieces *pieces,
                           struct shoal_error *err);
// Was a side broadcast when the stage was over? *at begins with 0, and goes on.
bool replay_broadcast(struct run *run, uint32_t over, size_t *at, uint32_t *reader,
                      bool *first);

// Into the log, before it counts.
shoal_status record_done(struct run *run, uint32_t stage, uint32_t task, bool other,
                         const struct task_output *output, struct shoal_error *err);
shoal_status record_pieces(struct run *run, uint32_t stage, struct shoal_error *err);
shoal_status record_broadcast(struct run *run, uint32_t over, uint32_t reader, bool first,
                              struct shoal_error *err);

#endif
