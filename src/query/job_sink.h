// A sink of a job: exactly once, whatever process dies when.
//
// Three records: where its staging folder is, when it is made; what it is about to
// publish, on the disk before it does; that it has, on the disk before the statement is
// over. Between the last two the target itself says: the folder that was to come is
// there, or files with the run's name are; what a run had half done is taken back first
// (journal.c). A Delta table's log has the job's name with the version (JOB_ID).
#ifndef SHOAL_QUERY_JOB_SINK_H
#define SHOAL_QUERY_JOB_SINK_H

#include "query/job.h"
#include "query/sink.h"

// What a process before this one had: sink->committed, or its staging folder if that is
// still there.
shoal_status job_sink_adopt(struct sink *sink, bool *adopted, struct shoal_error *err);
// The statement is over: what it staged goes, if its process had no time for that.
void job_sink_clean(const struct job *job);
shoal_status job_sink_begin(const struct sink *sink, struct shoal_error *err);
// All files are in `ready`.
shoal_status job_sink_publish(struct sink *sink, const char *ready,
                              struct shoal_error *err);
shoal_status job_sink_over(struct sink *sink, struct shoal_error *err);

#endif
