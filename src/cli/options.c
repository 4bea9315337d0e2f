#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

enum option_code {
    OPTION_WORKERS = 256,
    OPTION_THREADS,
    OPTION_PARTITIONS,
    OPTION_BROADCAST,
    OPTION_SORT,
    OPTION_SPLIT,
    OPTION_CLUSTER,
    OPTION_MERGE,
    OPTION_DB,
    OPTION_INIT,
    OPTION_TEMP_DIR,
    OPTION_MEMORY,
    OPTION_MEMORY_DIR,
    OPTION_TEMP_LIMIT,
    OPTION_COMPRESSION,
    OPTION_SKEW,
    OPTION_REJECTS,
    OPTION_REJECTS_LIMIT,
    OPTION_TIMEOUT,
    OPTION_TASK_TIMEOUT,
    OPTION_ALLOW,
    OPTION_FORMAT,
    OPTION_ANALYZE,
    OPTION_QUIET,
    OPTION_TIMER,
    OPTION_JOB,
    OPTION_RESUME,
    OPTION_REPLACE,
    OPTION_ENGINE,
    OPTION_WORKER_MEMORY,  // those of a cluster alone, from here
    OPTION_WORKER_RESOURCE,
    OPTION_ENGINE_OPTION,
    OPTION_SHIP,
    OPTION_SPOOL,
    OPTION_PYTHON,
    OPTION_START_TIMEOUT,
    OPTION_IDLE_TIMEOUT,
    OPTION_LISTEN,
    OPTION_NAME,
};

// What a job's plans depend on: given once, when it begins.
static bool is_planned(int option) {
    static const int planned[] = {OPTION_PARTITIONS, OPTION_BROADCAST,    OPTION_SORT,
                                  OPTION_SPLIT,      OPTION_CLUSTER,      OPTION_MERGE,
                                  OPTION_DB,         OPTION_INIT,         OPTION_SKEW,
                                  OPTION_REJECTS,    OPTION_REJECTS_LIMIT};
    for (size_t i = 0; i < sizeof planned / sizeof *planned; i++) {
        if (planned[i] == option) return true;
    }
    return false;
}

shoal_status cli_number(const char *name, const char *text, long least, long most,
                        long *value, struct shoal_error *err) {
    char *end = NULL;
    errno = 0;
    *value = strtol(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && *value >= least && *value <= most) {
        return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_USAGE, "--%s %s: give a whole number from %ld to %ld",
                      name, text, least, most);
}

#define SECONDS_MOST 1e9

static shoal_status read_seconds(const char *name, const char *text, bool zero,
                                 double *seconds, struct shoal_error *err) {
    char *end = NULL;
    *seconds = strtod(text, &end);
    bool number = end != text && *end == '\0' && strspn(text, "0123456789.") > 0;
    if (number && *seconds <= SECONDS_MOST && (*seconds > 0 || (zero && *seconds == 0)))
        return SHOAL_OK;
    return shoal_fail(err, SHOAL_USAGE, "--%s %s: give seconds, such as 2.5%s", name,
                      text, zero ? "; 0: no limit" : "");
}

// DIR[,DIR...], added to those that there are: whole, without links, as files are
// compared with them by name.
static shoal_status read_folders(struct cli_options *options, const char *text,
                                 struct shoal_error *err) {
    struct session_options *session = &options->session;
    for (const char *at = text;; at++) {
        size_t size = strcspn(at, ",");
        char *name = strndup(at, size);
        char *folder = name == NULL ? NULL : realpath(name, NULL);
        bool is_folder = folder != NULL && access(folder, R_OK | X_OK) == 0;
        free(name);
        if (!is_folder) {
            free(folder);
            return shoal_fail(err, SHOAL_USAGE,
                              "--allow-paths %.*s: give folders that are there, with "
                              "commas between them",
                              (int)size, at);
        }
        if (session->allowed_count == CLI_FOLDERS) {
            free(folder);
            return shoal_fail(err, SHOAL_USAGE, "--allow-paths: more than %d folders",
                              CLI_FOLDERS);
        }
        options->allowed[session->allowed_count++] = folder;
        session->allowed = (const char *const *)options->allowed;
        at += size;
        if (*at == '\0') return SHOAL_OK;
    }
}

static shoal_status read_memory(const char *name, const char *text, uint64_t *bytes,
                                struct shoal_error *err) {
    if (memory_parse(text, bytes)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_USAGE, "--%s %s: give an amount as 512MB, 1.5GB or 4GiB",
                      name, text);
}

static shoal_status read_format(const char *text, bool explain,
                                enum result_format *format, struct shoal_error *err) {
    if (strcmp(text, explain ? "text" : "table") == 0) {
        *format = FORMAT_TABLE;
    } else if (strcmp(text, "csv") == 0 && !explain) {
        *format = FORMAT_CSV;
    } else if (strcmp(text, "json") == 0) {
        *format = FORMAT_JSON;
    } else {
        return shoal_fail(err, SHOAL_USAGE, "--format %s: choose %s", text,
                          explain ? "text or json" : "table, csv or json");
    }
    return SHOAL_OK;
}

static shoal_status read_skew(const char *text, struct session_options *session,
                              struct shoal_error *err) {
    static const char random[] = "random:";
    long seed = 0;
    if (strcmp(text, "auto") == 0) {
        session->skew = ADAPT_AUTO;
    } else if (strcmp(text, "off") == 0) {
        session->skew = ADAPT_OFF;
    } else if (strcmp(text, "always") == 0) {
        session->skew = ADAPT_ALWAYS;
    } else if (strncmp(text, random, sizeof random - 1) == 0) {
        session->skew = ADAPT_RANDOM;
        shoal_status status =
            cli_number("skew random", text + sizeof random - 1, 0, 1L << 60, &seed, err);
        session->skew_seed = (uint64_t)seed;
        return status;
    } else {
        return shoal_fail(err, SHOAL_USAGE, "--skew takes auto or off, not '%s'", text);
    }
    return SHOAL_OK;
}

static shoal_status read_compression(const char *text,
                                     enum spool_compression *compression,
                                     struct shoal_error *err) {
    static const char *const names[] = {"auto", "on", "off"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *compression = (enum spool_compression)i;
        return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_USAGE, "--spool-compression %s: choose auto, on or off",
                      text);
}

// N, or MIN..MAX of a cluster.
static shoal_status read_workers(const char *text, struct session_options *session,
                                 struct shoal_error *err) {
    const char *dots = strstr(text, "..");
    char *first = dots == NULL ? NULL : strndup(text, (size_t)(dots - text));
    long least = 0, most = 0;
    shoal_status status = SHOAL_OK;
    if (dots != NULL && first == NULL) return shoal_no_memory(err);
    if (first != NULL) status = cli_number("workers", first, 1, 1024, &least, err);
    free(first);
    if (status == SHOAL_OK)
        status = cli_number("workers", dots == NULL ? text : dots + 2,
                            least > 0 ? least : 1, 1024, &most, err);
    session->workers = (uint32_t)most;
    session->cluster.least = (uint32_t)least;
    return status;
}

static shoal_status read_one(struct cli_options *options, bool explain, int option,
                             int index, char **argv, struct shoal_error *err) {
    struct session_options *session = &options->session;
    long number = 0;
    shoal_status status = SHOAL_OK;
    switch (option) {
        case OPTION_WORKERS:
            status = read_workers(optarg, session, err);
            break;
        case OPTION_THREADS:
            status = cli_number("threads", optarg, 1, 1024, &number, err);
            session->threads = (uint32_t)number;
            break;
        case OPTION_ENGINE:
            status = cluster_read_engine(optarg, &session->cluster, err);
            break;
        case OPTION_WORKER_MEMORY:
            status =
                read_memory("worker-memory", optarg, &session->cluster.memory_bytes, err);
            break;
        case OPTION_WORKER_RESOURCE:
            status = cluster_read_resource(optarg, &options->cluster, err);
            break;
        case OPTION_ENGINE_OPTION:
            status = cluster_read_setting(optarg, &options->cluster, err);
            break;
        case OPTION_SPOOL:
            status = cluster_read_spool(optarg, &session->cluster, err);
            break;
        case OPTION_SHIP:
            session->cluster.ship = true;
            break;
        case OPTION_PYTHON:
            session->cluster.python = optarg;
            break;
        case OPTION_START_TIMEOUT:
            status = read_seconds("start-timeout", optarg, false,
                                  &session->cluster.start_seconds, err);
            break;
        case OPTION_IDLE_TIMEOUT:
            status = read_seconds("idle-timeout", optarg, false,
                                  &session->cluster.idle_seconds, err);
            break;
        case OPTION_LISTEN:
            status =
                cluster_read_listen(optarg, &options->cluster, &session->cluster, err);
            break;
        case OPTION_NAME:
            session->cluster.name = optarg;
            break;
        case OPTION_PARTITIONS:
            status = cli_number("partitions", optarg, 1, 65536, &number, err);
            session->partitions = (uint32_t)number;
            break;
        case OPTION_BROADCAST:
            status = cli_number("broadcast-rows", optarg, -1, 1L << 60, &number, err);
            session->broadcast_rows = number;
            break;
        case OPTION_SORT:
            status = cli_number("sort-rows", optarg, 0, 1L << 60, &number, err);
            session->sort_rows = (uint64_t)number;
            break;
        case OPTION_CLUSTER:
            status = cli_number("cluster-rows", optarg, -1, 1L << 60, &number, err);
            session->cluster_rows = number;
            break;
        case OPTION_MERGE:
            status = cli_number("merge-segments", optarg, -1, 1L << 60, &number, err);
            session->merge_segments = number;
            break;
        case OPTION_SPLIT:
            status = cli_number("split-rows", optarg, 1, 1L << 60, &number, err);
            session->split_rows = (uint64_t)number;
            break;
        case OPTION_DB:
            session->db = optarg;
            break;
        case OPTION_INIT:
            options->init_file = optarg;
            break;
        case OPTION_TEMP_DIR:
            session->temp_dir = optarg;
            break;
        case OPTION_MEMORY:
            status = read_memory("memory", optarg, &session->memory_bytes, err);
            break;
        case OPTION_MEMORY_DIR:
            session->memory_dir = optarg;
            break;
        case OPTION_TEMP_LIMIT:
            status = read_memory("temp-limit", optarg, &session->temp_bytes, err);
            break;
        case OPTION_SKEW:
            status = read_skew(optarg, session, err);
            break;
        case OPTION_COMPRESSION:
            status = read_compression(optarg, &session->compression, err);
            break;
        case OPTION_REJECTS:
            session->rejects_dir = optarg;
            break;
        case OPTION_REJECTS_LIMIT:
            status = cli_number("rejects-limit", optarg, 0, 1L << 60, &number, err);
            session->rejects_limit = (uint64_t)number;
            break;
        case OPTION_TIMEOUT:
            status = read_seconds("timeout", optarg, false, &options->timeout, err);
            break;
        case OPTION_TASK_TIMEOUT:
            status =
                read_seconds("task-timeout", optarg, true, &session->task_seconds, err);
            break;
        case OPTION_ALLOW:
            status = read_folders(options, optarg, err);
            break;
        case OPTION_FORMAT:
            status = read_format(optarg, explain, &options->format, err);
            break;
        case OPTION_ANALYZE:
            if (!explain)
                return shoal_fail(err, SHOAL_USAGE, "--analyze goes with explain");
            options->analyze = true;
            break;
        case OPTION_QUIET:
            options->quiet = true;
            break;
        case OPTION_TIMER:
            options->timer = true;
            break;
        case OPTION_JOB:
            options->job = optarg;
            break;
        case OPTION_RESUME:
            options->resume = optarg;
            break;
        case OPTION_REPLACE:
            options->replace = true;
            break;
        case 'f':
            if (options->query_file_count == CLI_FILES)
                return shoal_fail(err, SHOAL_USAGE,
                                  "-f %s: more than %d files: put some of them together",
                                  optarg, CLI_FILES);
            options->query_files[options->query_file_count++] = optarg;
            break;
        case 'o':
            options->output = optarg;
            break;
        case 'h':
            options->help = true;
            break;
        default:
            status =
                shoal_fail(err, SHOAL_USAGE,
                           "%s: unknown option, or its value is missing", argv[index]);
            break;
    }
    return status;
}

static const struct option known[] = {
    {"workers", required_argument, NULL, OPTION_WORKERS},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"partitions", required_argument, NULL, OPTION_PARTITIONS},
    {"broadcast-rows", required_argument, NULL, OPTION_BROADCAST},
    {"sort-rows", required_argument, NULL, OPTION_SORT},
    {"cluster-rows", required_argument, NULL, OPTION_CLUSTER},
    {"merge-segments", required_argument, NULL, OPTION_MERGE},
    {"split-rows", required_argument, NULL, OPTION_SPLIT},
    {"db", required_argument, NULL, OPTION_DB},
    {"init", required_argument, NULL, OPTION_INIT},
    {"memory", required_argument, NULL, OPTION_MEMORY},
    {"memory-dir", required_argument, NULL, OPTION_MEMORY_DIR},
    {"temp-limit", required_argument, NULL, OPTION_TEMP_LIMIT},
    {"temp-dir", required_argument, NULL, OPTION_TEMP_DIR},
    {"spool-compression", required_argument, NULL, OPTION_COMPRESSION},
    {"skew", required_argument, NULL, OPTION_SKEW},
    {"rejects", required_argument, NULL, OPTION_REJECTS},
    {"rejects-limit", required_argument, NULL, OPTION_REJECTS_LIMIT},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"task-timeout", required_argument, NULL, OPTION_TASK_TIMEOUT},
    {"allow-paths", required_argument, NULL, OPTION_ALLOW},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"analyze", no_argument, NULL, OPTION_ANALYZE},
    {"timer", no_argument, NULL, OPTION_TIMER},
    {"job", required_argument, NULL, OPTION_JOB},
    {"resume", required_argument, NULL, OPTION_RESUME},
    {"replace", no_argument, NULL, OPTION_REPLACE},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"engine", required_argument, NULL, OPTION_ENGINE},
    {"worker-memory", required_argument, NULL, OPTION_WORKER_MEMORY},
    {"worker-resource", required_argument, NULL, OPTION_WORKER_RESOURCE},
    {"engine-option", required_argument, NULL, OPTION_ENGINE_OPTION},
    {"spool", required_argument, NULL, OPTION_SPOOL},
    {"ship", no_argument, NULL, OPTION_SHIP},
    {"python", required_argument, NULL, OPTION_PYTHON},
    {"start-timeout", required_argument, NULL, OPTION_START_TIMEOUT},
    {"idle-timeout", required_argument, NULL, OPTION_IDLE_TIMEOUT},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"name", required_argument, NULL, OPTION_NAME},
    {"file", required_argument, NULL, 'f'},
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0}};

static const char *name_of(int option) {
    const struct option *at = known;
    while (at->val != option) at++;
    return at->name;
}

static shoal_status check_job(const struct cli_options *options, bool explain,
                              const char *planned, struct shoal_error *err) {
    bool job = options->job != NULL, resume = options->resume != NULL;
    if ((job || resume) && explain)
        return shoal_fail(err, SHOAL_USAGE, "--job and --resume go with shoal sql");
    if (job && resume)
        return shoal_fail(err, SHOAL_USAGE,
                          "--job begins a job and --resume goes on with one: give one");
    if (options->replace && !job)
        return shoal_fail(err, SHOAL_USAGE, "--replace goes with --job DIR");
    if (job && options->session.workers == 0)
        return shoal_fail(err, SHOAL_USAGE,
                          "--job goes with --workers: what is kept is what they made");
    if (resume && planned != NULL)
        return shoal_fail(err, SHOAL_USAGE,
                          "--%s is the job's, as it began: it can't be given with "
                          "--resume",
                          planned);
    return SHOAL_OK;
}

shoal_status cli_options_read(struct cli_options *options, bool explain, int argc,
                              char **argv, struct shoal_error *err) {
    *options = (struct cli_options){.session = {.broadcast_rows = BROADCAST_AUTO,
                                                .sort_rows = SORT_ROWS,
                                                .split_rows = SPLIT_ROWS,
                                                .cluster_rows = CLUSTER_ROWS,
                                                .merge_segments = MERGE_SEGMENTS,
                                                .rejects_limit = UINT64_MAX,
                                                .task_seconds = TASK_SECONDS}};
    const char *planned = NULL;
    opterr = 0;
    optind = 1;
    for (;;) {
        int option = getopt_long(argc, argv, "f:o:h", known, NULL);
        if (option == -1) break;
        int index = optind - 1;  // of what was just read
        shoal_status status = read_one(options, explain, option, index, argv, err);
        if (status != SHOAL_OK) return status;
        if (option == OPTION_FORMAT) options->format_given = true;
        if (is_planned(option) && planned == NULL) planned = name_of(option);
        if (option >= OPTION_WORKER_MEMORY && options->cluster.given == NULL)
            options->cluster.given = name_of(option);
    }
    if (options->help) return SHOAL_OK;
    if (options->session.rejects_limit != UINT64_MAX &&
        options->session.rejects_dir == NULL)
        return shoal_fail(err, SHOAL_USAGE, "--rejects-limit goes with --rejects DIR");
    shoal_status checked = check_job(options, explain, planned, err);
    bool resumed = options->resume != NULL && options->session.workers == 0;
    if (checked == SHOAL_OK)
        checked = cluster_finish(&options->cluster, &options->session.cluster,
                                 resumed ? 1 : options->session.workers, err);
    if (checked != SHOAL_OK) return checked;
    int left = argc - optind;
    if (options->resume != NULL && (left > 0 || options->query_file_count > 0))
        return shoal_fail(err, SHOAL_USAGE,
                          "--resume goes on with the statements that the job began with: "
                          "give no others");
    if (options->resume != NULL) return SHOAL_OK;
    if (left > 1) {
        return shoal_fail(err, SHOAL_USAGE,
                          "more than one query: quote it ('%s' is the second)",
                          argv[optind + 1]);
    }
    if (left == 1 && options->query_file_count > 0) {
        return shoal_fail(err, SHOAL_USAGE, "give a query or -f FILE, not both");
    }
    if (left == 1 && strcmp(argv[optind], "-") == 0) {
        options->query_files[options->query_file_count++] = "-";
    } else if (left == 1) {
        options->query = argv[optind];
    } else if (options->query_file_count == 0) {
        return shoal_fail(err, SHOAL_USAGE,
                          "no query: give one, or -f FILE, or - for standard input");
    }
    return SHOAL_OK;
}

void cli_options_free(struct cli_options *options) {
    for (size_t i = 0; i < options->session.allowed_count; i++) free(options->allowed[i]);
    for (size_t i = 0; i < sizeof options->fixed / sizeof *options->fixed; i++)
        free(options->fixed[i]);
    options->session.allowed_count = 0;
    cluster_arguments_free(&options->cluster);
}

void cli_help(FILE *out) {
    fputs(
        "shoal: SQL on files, in this process or over workers\n"
        "\n"
        "  shoal sql     [QUERY | -f FILE | -] [options]   run statements, print rows\n"
        "  shoal explain [QUERY | -f FILE | -] [options]   show the distributed plan\n"
        "  shoal jobs [DIR]...             the jobs in folders, and how far they are\n"
        "  shoal gen skew DIR [options]    make tables of known skew; --help says more\n"
        "  shoal gc DIR [--dry-run]        remove what killed runs left there; --help "
        "says "
        "more\n"
        "  shoal --version\n"
        "\n"
        "Where it runs\n"
        "  --workers N         on N worker processes; without it: in this process\n"
        "  --threads T         threads of each worker (1), or of this process (all "
        "cores)\n"
        "  --partitions P      of a shuffle, a task each (default: by the estimated "
        "rows, and\n"
        "                      small ones in one task)\n"
        "  --broadcast-rows N  send a join's side of at most N estimated rows to every\n"
        "                      task instead of shuffling both; -1: never (default: the\n"
        "                      cheaper by the estimated rows of both)\n"
        "  --sort-rows N       from N estimated rows on ORDER BY is sorted in parts "
        "over\n"
        "                      the workers, not in one place (10000000)\n"
        "  --cluster-rows N    cut inputs of N estimated rows and more by the key that "
        "they\n"
        "                      are clustered on, where statistics show it, instead of\n"
        "                      shuffling; -1: never (1000000)\n"
        "  --merge-segments N  a shuffle that would read more than N small pieces of "
        "block\n"
        "                      files merges them first; -1: never (1000000)\n"
        "  --skew auto|off     what has much more rows than the rest is read by several\n"
        "                      tasks, or by one (auto)\n"
        "  --split-rows N      a task reads at least N rows of a file (100000)\n"
        "  --memory SIZE       of this process and all workers together (80% of the\n"
        "                      machine's); what does not fit is spilled\n"
        "  --memory-dir DIR    a tmpfs, for block files while a part of --memory has "
        "room\n"
        "                      for them; none: all go to the disk (/dev/shm, if it is "
        "one)\n"
        "  --temp-dir DIR      for other block files and spill ($TMPDIR, or /tmp)\n"
        "  --temp-limit SIZE   of what is spilled, and of a query's block files on disk\n"
        "                      (none)\n"
        "  --spool-compression auto|on|off\n"
        "                      LZ4 for block files on disk (auto: where --temp-dir is on "
        "a\n"
        "                      network file system)\n"
        "  --timeout SECONDS   end the whole command after so long, as Ctrl-C would\n"
        "  --task-timeout SECONDS\n"
        "                      a task that neither gets on nor uses the processor nor "
        "files\n"
        "                      for so long is hung: it runs again elsewhere (120; 0: "
        "never)\n"
        "  --allow-paths DIR[,DIR...]\n"
        "                      workers read and write files in these folders alone\n"
        "On a cluster that there is (docs/clusters.md)\n"
        "  --engine URL        ray://HOST:PORT, ray://auto, dask://HOST:PORT,\n"
        "                      dask:///SCHEDULER_FILE, spark://HOST:PORT, "
        "spark://MASTER; "
        "it hosts\n"
        "                      --workers N, or MIN..MAX as tasks wait for them, with "
        "--threads T\n"
        "                      cpus each (local: this machine)\n"
        "  --worker-memory SIZE\n"
        "                      of each worker, which the cluster is asked for\n"
        "  --worker-resource NAME=AMOUNT\n"
        "                      a resource, by the cluster's own name, that each worker "
        "needs\n"
        "  --engine-option NAME=VALUE\n"
        "                      a setting of the cluster's own, such as spark.*\n"
        "  --ship              the program goes to the nodes with the query; else it is "
        "there,\n"
        "                      under the same path\n"
        "  --spool auto|shared|own\n"
        "                      block files are in --temp-dir and --memory-dir where "
        "nodes "
        "see\n"
        "                      these, or each node keeps its own, and others fetch them "
        "(auto:\n"
        "                      where it doesn't see them)\n"
        "  --name NAME         of the run, in the cluster's dashboard (shoal)\n"
        "  --start-timeout SECONDS\n"
        "                      for the first worker to come up (120)\n"
        "  --idle-timeout SECONDS\n"
        "                      a worker of more than MIN without a task is given back "
        "(60)\n"
        "  --listen HOST[:PORT[-LAST]]\n"
        "                      where workers dial back (any port, at the address by "
        "which\n"
        "                      the cluster's head is reached)\n"
        "  --python PROGRAM    with the cluster's package ($SHOAL_PYTHON, or python3)\n"
        "What it reads\n"
        "  -f, --file FILE     statements; several -f run in order, as one session\n"
        "  files by name       FROM 'logs/*.parquet'\n"
        "  --db FILE           a DuckDB database; CREATE TABLE ... AS makes one\n"
        "  --init FILE         statements to run first: CREATE VIEW, MACRO, SET\n"
        "  --rejects DIR       keep rows of CSV and JSON files that can't be read in "
        "a file\n"
        "                      there, instead of failing: file, line, column, reason\n"
        "  --rejects-limit N   fail if there are more than N such rows\n"
        "A job that can be resumed\n"
        "  --job DIR           keep in the folder what is done, for --resume; needs "
        "--workers\n"
        "  --replace           of --job: a job that is in there goes first\n"
        "  --resume DIR        go on with the job, whose process was killed or failed; "
        "with\n"
        "                      other --workers if wanted\n"
        "What it prints\n"
        "  --format F          table (the first 1000 rows), csv or json; for explain:\n"
        "                      text or json\n"
        "  -o, --output PATH   to a file: all of it, or none; a pipe or a device is "
        "written to\n"
        "  --analyze           explain: also run it, and show rows and bytes of each "
        "stage\n"
        "  --timer             the time that each statement took, on standard error\n"
        "  --quiet             no progress on the terminal\n"
        "\n"
        "Exit codes\n"
        "  0 done   1 the query or its data is at fault   2 wrong options\n"
        "  3 files, memory, a corrupt block   4 workers lost   5 a defect in shoal\n"
        "  124 out of time (--timeout, --task-timeout)   130 cancelled\n",
        out);
}
