// The command line, read into one struct.
#ifndef SHOAL_CLI_OPTIONS_H
#define SHOAL_CLI_OPTIONS_H

#include "cli/cluster.h"
#include "query/query.h"

#define CLI_FOLDERS 100  // of --allow-paths
#define CLI_FILES 1000   // of -f

struct cli_options {
    struct session_options session;
    enum result_format format;
    const char *query;                   // the text itself
    const char *query_files[CLI_FILES];  // one after the other; "-": standard input
    size_t query_file_count;
    const char *init_file;
    const char *output;  // NULL: standard output
    const char *job;     // keeps what is done, for resume; NULL: no job
    const char *resume;  // the job to go on with; NULL: none
    bool replace;        // what is in the job's folder
    bool format_given;
    double timeout;  // seconds; 0: none
    char *fixed[3];  // paths of the command line, whole, where the folder changes
    char *allowed[CLI_FOLDERS];  // as session.allowed
    struct cluster_arguments cluster;
    bool analyze;
    bool quiet;
    bool timer;
    bool help;
};

// argv[0] is the command's name. SHOAL_USAGE says which option is wrong, and why.
shoal_status cli_options_read(struct cli_options *options, bool explain, int argc,
                              char **argv, struct shoal_error *err);
void cli_options_free(struct cli_options *options);
void cli_help(FILE *out);
// The value of --name, a whole number of least..most.
shoal_status cli_number(const char *name, const char *text, long least, long most,
                        long *value, struct shoal_error *err);

#endif
