#include "cli/gc.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/spool.h"
#include "query/job.h"
#include "query/journal.h"

struct sweep {
    FILE *out;
    bool only_look;
    unsigned removed, kept;
};

static void tell(void *context, const char *path, enum spool_fate fate) {
    static const char *const reasons[] = {
        [SPOOL_ALIVE] = "a running shoal uses it",
        [SPOOL_FOREIGN] = "no shoal of this user made it",
        [SPOOL_NEEDED] =
            "what it had begun to change can't be taken back: its journal.json "
            "can't be read, or files that it names can't be moved",
        [SPOOL_STUCK] = "something in it can't be removed"};
    struct sweep *sweep = context;
    if (fate == SPOOL_REMOVED) {
        sweep->removed++;
        fprintf(sweep->out, "%s %s\n", sweep->only_look ? "would remove" : "removed",
                path);
    } else {
        sweep->kept++;
        fprintf(sweep->out, "kept %s: %s\n", path, reasons[fate]);
    }
}

static void tell_job(void *context, const char *path, enum job_fate fate) {
    static const char *const reasons[] = {
        [JOB_DONE] = "a job that is done; its log is all there is",
        [JOB_RUNNING] = "a job that runs",
        [JOB_RESUMABLE] = "a job that can go on (shoal sql --resume)",
        [JOB_DAMAGED] = "a job whose log is damaged"};
    struct sweep *sweep = context;
    if (fate == JOB_CLEANED) {
        sweep->removed++;
        fprintf(sweep->out, "%s %s: blocks of a job that is done\n",
                sweep->only_look ? "would remove" : "removed", path);
    } else {
        sweep->kept++;
        fprintf(sweep->out, "kept %s: %s\n", path, reasons[fate]);
    }
}

static void help(FILE *out) {
    fputs(
        "shoal gc DIR [--dry-run]: removes what killed runs left in the folder\n"
        "\n"
        "  block files and spill (shoal-XXXXXX): give --temp-dir's and --memory-dir's,\n"
        "  $TMPDIR or /tmp, and /dev/shm\n"
        "  COPY's staged files (.shoal-XXXXXX): give the folder that the target is in;\n"
        "  what a killed COPY had begun to change is taken back first\n"
        "  blocks of jobs (--job) that are done: give the folder that they are in; a job "
        "that\n"
        "  can go on stays\n"
        "\n"
        "What a running shoal uses stays. Runs do the same where they make such "
        "folders.\n"
        "  --dry-run  only say what would be removed\n",
        out);
}

static shoal_status sweep_all(const char *folder, struct sweep *sweep,
                              struct shoal_error *err) {
    bool ok =
        spool_sweep(folder, SPOOL_PREFIX, NULL, sweep->only_look, tell, sweep) &&
        spool_sweep(folder, SPOOL_STAGING, journal_undo, sweep->only_look, tell, sweep) &&
        spool_sweep(folder, SPOOL_STAGING "gen-", NULL, sweep->only_look, tell, sweep);
    if (!ok)
        return shoal_fail(err, SHOAL_USAGE, "cannot read the folder %s: %s", folder,
                          strerror(errno));
    shoal_status status = jobs_clean(folder, sweep->only_look, tell_job, sweep, err);
    if (status != SHOAL_OK) return status;
    fprintf(sweep->out, "%s: %u %s, %u kept\n", folder, sweep->removed,
            sweep->only_look ? "to remove" : "removed", sweep->kept);
    return SHOAL_OK;
}

shoal_status gc_command(int argc, char **argv, FILE *out, struct shoal_error *err) {
    static const struct option known[] = {{"dry-run", no_argument, NULL, 'n'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct sweep sweep = {.out = out};
    int option;
    opterr = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        if (option == 'h') {
            help(out);
            return SHOAL_OK;
        }
        if (option != 'n')
            return shoal_fail(err, SHOAL_USAGE, "%s: unknown option", argv[optind - 1]);
        sweep.only_look = true;
    }
    if (argc - optind != 1)
        return shoal_fail(err, SHOAL_USAGE, "gc takes one folder, such as a --temp-dir");
    shoal_status status = sweep_all(argv[optind], &sweep, err);
    if (status == SHOAL_OK && fflush(out) != 0)
        status = shoal_fail(err, SHOAL_IO, "cannot write to standard output: %s",
                            strerror(errno));
    return status;
}
