// shoal jobs, and what --job and --resume add to shoal sql.
#ifndef SHOAL_CLI_JOBS_H
#define SHOAL_CLI_JOBS_H

#include "cli/options.h"
#include "query/job.h"

// Each DIR, or the folder that one is in; argv[0] is the command's name.
shoal_status jobs_command(int argc, char **argv, struct shoal_error *err);

// Opens the job; the options are those it began with from here on. *done: nothing is left
// to do, and that was said.
shoal_status job_command_resume(struct cli_options *options, struct job **job,
                                const char **sql, bool *done, struct shoal_error *err);
// After the session is closed: says what was reused, and how to go on after a failure.
void job_command_end(const struct cli_options *options, struct job *job, bool done,
                     shoal_status status, const struct shoal_error *why);
// "table", "csv" or "json".
const char *job_format_name(enum result_format format);

#endif
