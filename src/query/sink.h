// Files written by many tasks that appear at once: each attempt writes into a folder of
// its own beside the target; what counts is put together there and becomes the target by
// one rename (or one exchange, for a folder that is replaced). Whoever reads the target
// sees the old or the new, and a run that dies leaves a hidden folder that the next run
// to the same place removes.
#ifndef SHOAL_QUERY_SINK_H
#define SHOAL_QUERY_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/spool.h"
#include "base/status.h"
#include "query/copy.h"
#include "task/task.h"

struct sink {
    const struct copy *copy;
    struct spool staging;
    char *file;  // the name of an attempt's file in its folder; NULL: DuckDB names them
    char *options;  // of a task's COPY
};

// What one task wrote: the folder of the attempt that counts.
struct sink_part {
    const char *folder;
    uint64_t rows;
};

// Fails with SHOAL_USER when the target is there and may not be replaced.
shoal_status sink_open(struct sink *sink, const struct copy *copy, bool ordered,
                       struct shoal_error *err);
// Makes the task one that writes the sink's files. False: out of memory.
bool sink_task(const struct sink *sink, struct task *task);
// parts in the order of their tasks: the order of the files' names. An empty part gives
// no file, unless all are.
shoal_status sink_commit(struct sink *sink, const struct sink_part *parts, size_t count,
                         struct shoal_error *err);
// Removes what was not committed.
void sink_close(struct sink *sink);

#endif
