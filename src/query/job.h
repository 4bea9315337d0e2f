// A job: a folder that has all that is needed to go on after its process was killed.
//
//   DIR/job.log   what was asked for, each statement's plan, what each task made, each
//                 decision that was taken while it ran, what was committed (job_log.c)
//   DIR/blocks/   the block files; they go when the job is done
//
// The log is the truth: what is not in it was not done, whatever files there are. Only a
// commit waits for the disk: a lost tail costs work, but a commit that is done twice
// costs the user's data.
#ifndef SHOAL_QUERY_JOB_H
#define SHOAL_QUERY_JOB_H

#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "base/record_log.h"
#include "query/query.h"

#define JOB_LOG "job.log"
#define JOB_BLOCKS "blocks"

struct job {
    char *folder, *blocks;
    struct record_log log;
    int lock;            // held while this process lives
    json_t *head;        // what was asked for
    json_t *past;        // records of the processes before this one, in order
    uint32_t lives;      // of them
    uint32_t statement;  // the number of the one that runs
    uint32_t plan;       // and of its plan: it may be planned more than once
    uint64_t reused;     // tasks that had been done before
};

// DIR is made, or empty; with `replace` a job that is in there goes first. options are
// kept as the plans depend on them.
shoal_status job_create(const char *folder, const char *sql, const char *format,
                        const struct session_options *options, bool replace,
                        struct job **job, struct shoal_error *err);
// Reads the log. SHOAL_USAGE for another version's, one that runs, and one that is done:
// *done then says so.
shoal_status job_resume(const char *folder, struct job **job, bool *done,
                        struct shoal_error *err);
// The options that plans depend on, as the job began; the texts belong to the job.
// options->workers and threads become the planned ones, hosts and host_threads what they
// were if they were given.
shoal_status job_options(const struct job *job, struct session_options *options,
                         struct shoal_error *err);
const char *job_sql(const struct job *job);
const char *job_format(const struct job *job);
const char *job_id(const struct job *job);  // random, for others to know it by
time_t job_began(const struct job *job);
// All statements are done, or one failed for the reason: then blocks stay. why NULL: it
// was done when it was opened.
void job_close(struct job *job, shoal_status status, const struct shoal_error *why);

// ---- while it runs

void job_begin_statement(struct job *job, uint32_t number);
// The record becomes the job's; NULL is out of memory. sync: it survives a loss of power.
shoal_status job_append(struct job *job, json_t *record, bool sync,
                        struct shoal_error *err);
// The last record of the past of this kind ("r") that the statement has, of any of its
// plans; NULL: none.
const json_t *job_find(const struct job *job, const char *kind);
// What COPY answered, or was about to, in the past; NULL: it was not so far.
const char *job_answer(const struct job *job);
// Visits the past's records of this kind of the plan that runs.
const json_t *job_next(const struct job *job, const char *kind, size_t *at);
// Is the record of the plan that runs?
bool job_is_current(const struct job *job, const json_t *record);
bool job_is_resumed(const struct job *job);

// "folder/name"; free() it; NULL: out of memory.
char *job_path(const char *folder, const char *name);
// What a record says ("r"); "" when it says nothing.
const char *job_record_kind(const json_t *record);
bool job_record_is(const json_t *record, const char *kind);
// Is a job in the folder?
bool job_is_there(const char *folder);
// Its lock; -1: another process has it, or the folder can't be opened.
int job_lock(const char *folder);

// ---- jobs.c: shoal jobs, shoal gc

// A line for each job in the folder, or for the one that it is. Jobs that run are read
// as far as they are.
shoal_status jobs_list(const char *folder, FILE *out, struct shoal_error *err);

enum job_fate {
    JOB_CLEANED,  // it is done, and its blocks go
    JOB_DONE,
    JOB_RUNNING,
    JOB_RESUMABLE,
    JOB_DAMAGED  // its log
};
// Removes blocks that jobs left whose process died when they were done. Tells of each
// job. only_look: of what would be.
shoal_status jobs_clean(const char *folder, bool only_look,
                        void (*tell)(void *context, const char *path, enum job_fate fate),
                        void *context, struct shoal_error *err);

#endif
