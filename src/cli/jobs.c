#include "cli/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

static const char *const formats[] = {
    [FORMAT_TABLE] = "table", [FORMAT_CSV] = "csv", [FORMAT_JSON] = "json"};

const char *job_format_name(enum result_format format) {
    return formats[format];
}

// A path of the command line is from here, those in the job's statements from where it
// began.
static shoal_status fix_path(const char **path, char **own, struct shoal_error *err) {
    struct text whole = {0};
    if (*path == NULL || **path == '/') return SHOAL_OK;
    char *here = getcwd(NULL, 0);
    if (here == NULL) return shoal_no_memory(err);
    text_printf(&whole, "%s/%s", here, *path);
    free(here);
    *own = text_take(&whole);
    if (*own == NULL) return shoal_no_memory(err);
    *path = *own;
    return SHOAL_OK;
}

static shoal_status fix_paths(struct cli_options *options, struct shoal_error *err) {
    struct session_options *session = &options->session;
    shoal_status status = fix_path(&options->output, &options->fixed[0], err);
    if (status == SHOAL_OK)
        status = fix_path(&session->temp_dir, &options->fixed[1], err);
    if (status == SHOAL_OK && session->memory_dir != NULL &&
        strcmp(session->memory_dir, "none") != 0)
        status = fix_path(&session->memory_dir, &options->fixed[2], err);
    return status;
}

shoal_status job_command_resume(struct cli_options *options, struct job **job,
                                const char **sql, bool *done, struct shoal_error *err) {
    shoal_status status = fix_paths(options, err);
    if (status == SHOAL_OK) status = job_resume(options->resume, job, done, err);
    if (status != SHOAL_OK) return status;
    if (*done) {
        fprintf(stderr,
                "shoal: the job in %s is done: there is nothing to do, and all rows were "
                "printed by the process that ended it\n",
                options->resume);
        return SHOAL_OK;
    }
    status = job_options(*job, &options->session, err);
    options->session.job = *job;
    *sql = job_sql(*job);
    for (int f = FORMAT_TABLE; f <= FORMAT_JSON && !options->format_given; f++) {
        if (job_format(*job) != NULL && strcmp(formats[f], job_format(*job)) == 0)
            options->format = (enum result_format)f;
    }
    return status;
}

void job_command_end(const struct cli_options *options, struct job *job, bool done,
                     shoal_status status, const struct shoal_error *why) {
    if (job == NULL) return;
    const char *folder = options->job != NULL ? options->job : options->resume;
    if (job_is_resumed(job) && !done)
        fprintf(stderr,
                "shoal: %llu tasks had been done before, and were not run again\n",
                (unsigned long long)job->reused);
    if (status != SHOAL_OK && status != SHOAL_USER && status != SHOAL_USAGE)
        fprintf(stderr, "shoal: what is done is kept: shoal sql --resume %s\n", folder);
    job_close(job, done ? SHOAL_USAGE : status, done ? NULL : why);
}

shoal_status jobs_command(int argc, char **argv, struct shoal_error *err) {
    if (argc == 1) return jobs_list(".", stdout, err);
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-')
            return shoal_fail(err, SHOAL_USAGE, "%s: shoal jobs takes folders only",
                              argv[i]);
        shoal_status status = jobs_list(argv[i], stdout, err);
        if (status != SHOAL_OK) return status;
    }
    return SHOAL_OK;
}
