// Files written by many tasks that count together: each attempt writes into a folder of
// its own beside the target; what counts is put together there, under final names, and
// then a *kind* of sink makes it the target's. A run that dies leaves a hidden folder
// that the next run to the same place undoes and removes.
#ifndef SHOAL_QUERY_SINK_H
#define SHOAL_QUERY_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/spool.h"
#include "base/status.h"
#include "base/text.h"
#include "query/copy.h"
#include "task/task.h"

struct sink;
struct job;

// What a target is. A plain folder is one kind (folder.c); a table format is another: it
// moves the files below its target, and counts them in a log.
struct sink_kind {
    const char *name;
    bool unique;      // file names must differ from those of every other run
    bool statistics;  // of columns are needed, whatever the user wants to see
    // Before any work is done: may the target be written as the statement says?
    shoal_status (*check)(const struct sink *sink, struct shoal_error *err);
    // sink->files are in the folder `ready`, under the paths that they shall have below
    // sink->target. Makes them count, or fails with the target as it was. Clears
    // sink->atomic if readers may see a part of them.
    shoal_status (*publish)(struct sink *sink, const char *ready,
                            struct shoal_error *err);
};
extern const struct sink_kind folder_kind;
extern const struct sink_kind delta_kind;  // delta_sink.c

// A file in an attempt's folder, on its way.
struct staged_file {
    char *source;               // where it is
    size_t place;               // in the order of the tasks
    struct written_file facts;  // path: the folder below the target, "" for the target
};

struct sink {
    const struct copy *copy;
    struct job *job;  // that it is a part of; NULL: none
    bool committed;   // a process before this one has done all of it
    char *answer;     // then what COPY answers, a SELECT
    const struct sink_kind *kind;
    char *target;  // its whole path
    struct spool staging;
    bool leave;  // staging holds what could not be put back
    char *file;  // the name of an attempt's file in its folder; NULL: DuckDB names them
    char *options;               // of a task's COPY
    char *run;                   // in the files' names; "" when they need not be unique
    bool ordered;                // files are in order by name
    bool atomic;                 // readers see all of the files or none
    struct staged_file *staged;  // what counts, by folder and there by task
    size_t staged_count;
    struct written_file *files;  // that count, by path below the target; after the commit
    size_t file_count;
    uint64_t rows;
};

// What one task wrote: the folder of the attempt that counts.
struct sink_part {
    const char *folder;
    uint64_t rows;
    const struct written_file *files;
    size_t file_count;
};

// Fails with SHOAL_USER when the target is there and may not be written. Of a job that
// goes on it takes the staging folder that there was, unless all is committed.
shoal_status sink_open(struct sink *sink, const struct copy *copy, bool ordered,
                       struct job *job, struct shoal_error *err);
// A name in the staging folder that no process before this one has used: "name", or, of a
// job, "name.r1".
char *sink_staged_path(const struct sink *sink, const char *name);
// Makes the task one that writes the sink's files. False: out of memory.
bool sink_task(const struct sink *sink, struct task *task);
// Fills sink->staged. parts in the order of their tasks: the order of the files' names.
// An empty part gives no file, unless all are.
shoal_status sink_stage(struct sink *sink, const struct sink_part *parts, size_t count,
                        struct shoal_error *err);
// The staged files get their final names and count.
shoal_status sink_commit(struct sink *sink, struct shoal_error *err);
// The facts of a file below a folder; false: out of memory.
bool staged_copy_facts(struct written_file *to, const struct written_file *from);
void staged_files_free(struct staged_file *files, size_t count);
// A SELECT of what COPY answers: rows, files or statistics. free() it; NULL: out of
// memory.
char *sink_answer(const struct sink *sink);
// Removes what was not committed.
void sink_close(struct sink *sink);

// For kinds: "a/b"; the folders above a path; "cannot WHAT PATH: ..." as SHOAL_IO.
char *sink_join(const char *folder, const char *name);
shoal_status sink_make_parents(const char *path, struct shoal_error *err);
shoal_status sink_io_failed(const char *what, const char *path, struct shoal_error *err);

#endif
