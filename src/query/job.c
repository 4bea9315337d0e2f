#include "query/job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/spool.h"
#include "base/text.h"
#include "duck/duck.h"
#include "shoal/version.h"

char *job_path(const char *folder, const char *name) {
    struct text path = {0};
    text_printf(&path, "%s/%s", folder, name);
    return text_take(&path);
}

const char *job_record_kind(const json_t *record) {
    const char *kind = json_string_value(json_object_get(record, "r"));
    return kind == NULL ? "" : kind;
}

bool job_record_is(const json_t *record, const char *kind) {
    return strcmp(job_record_kind(record), kind) == 0;
}

// ---- options that plans depend on

enum option_kind { OPTION_COUNT32, OPTION_COUNT64, OPTION_SIGNED, OPTION_TEXT };

// The least and the most that the command line takes, and what stands for none.
#define OPTION(name, kind, least, most) \
    { #name, kind, offsetof(struct session_options, name), least, most }
#define TEXT_OPTION(name) OPTION(name, OPTION_TEXT, 0, 0)
#define ROWS_MOST (INT64_C(1) << 60)
static const struct option {
    const char *name;
    enum option_kind kind;
    size_t at;
    int64_t least, most;
} kept[] = {
    OPTION(workers, OPTION_COUNT32, 1, 1024),
    OPTION(threads, OPTION_COUNT32, 0, 1024),
    OPTION(partitions, OPTION_COUNT32, 0, 65536),
    OPTION(broadcast_rows, OPTION_SIGNED, BROADCAST_AUTO, ROWS_MOST),
    OPTION(sort_rows, OPTION_COUNT64, 0, ROWS_MOST),
    OPTION(cluster_rows, OPTION_SIGNED, -1, ROWS_MOST),
    OPTION(split_rows, OPTION_COUNT64, 0, ROWS_MOST),
    OPTION(merge_segments, OPTION_SIGNED, -1, ROWS_MOST),
    OPTION(skew, OPTION_COUNT32, ADAPT_AUTO, ADAPT_RANDOM),
    OPTION(skew_seed, OPTION_COUNT64, 0, ROWS_MOST),
    OPTION(plan_bytes, OPTION_COUNT64, 0, INT64_MAX),
    TEXT_OPTION(db),
    TEXT_OPTION(init_sql),
    TEXT_OPTION(rejects_dir),
    OPTION(rejects_limit, OPTION_COUNT64, -1, ROWS_MOST),
};
_Static_assert(sizeof(enum adapt_skew) == sizeof(uint32_t), "kept as a 32-bit number");

static json_t *options_to_json(const struct session_options *options) {
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        const char *at = (const char *)options + kept[i].at;
        uint32_t small;
        uint64_t large;
        const char *text;
        json_t *value = NULL;
        switch (kept[i].kind) {
            case OPTION_COUNT32:
                memcpy(&small, at, sizeof small);
                value = json_integer(small);
                break;
            case OPTION_COUNT64:
            case OPTION_SIGNED:
                memcpy(&large, at, sizeof large);
                value = json_integer((json_int_t)large);
                break;
            case OPTION_TEXT:
                memcpy(&text, at, sizeof text);
                value = text == NULL ? json_null() : json_string(text);
                break;
        }
        if (json_object_set_new(object, kept[i].name, value) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static bool option_fits(const struct option *option, const json_t *value) {
    if (option->kind == OPTION_TEXT) return json_is_string(value) || json_is_null(value);
    json_int_t number = json_integer_value(value);
    return json_is_integer(value) && number >= option->least && number <= option->most;
}

shoal_status job_options(const struct job *job, struct session_options *options,
                         struct shoal_error *err) {
    const json_t *object = json_object_get(job->head, "options");
    options->hosts = options->workers;
    options->host_threads = options->threads;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        const json_t *value = json_object_get(object, kept[i].name);
        char *at = (char *)options + kept[i].at;
        uint64_t large = (uint64_t)json_integer_value(value);
        uint32_t small = (uint32_t)large;
        const char *text = json_string_value(value);
        if (!option_fits(&kept[i], value))
            return shoal_fail(err, SHOAL_CORRUPT,
                              "%s/" JOB_LOG
                              " has no %s, or one that can't be: restore the "
                              "file, or begin anew (--job %s --replace)",
                              job->folder, kept[i].name, job->folder);
        if (kept[i].kind == OPTION_COUNT32) memcpy(at, &small, sizeof small);
        if (kept[i].kind == OPTION_COUNT64 || kept[i].kind == OPTION_SIGNED)
            memcpy(at, &large, sizeof large);
        if (kept[i].kind == OPTION_TEXT) memcpy(at, &text, sizeof text);
    }
    return SHOAL_OK;
}

// ---- the folder

static void job_free(struct job *job) {
    if (job == NULL) return;
    record_log_close(&job->log);
    if (job->lock >= 0) close(job->lock);
    json_decref(job->head);
    json_decref(job->past);
    free(job->folder);
    free(job->blocks);
    free(job);
}

static struct job *job_new(const char *folder) {
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) return NULL;
    job->log.fd = job->lock = -1;
    job->past = json_array();
    job->folder = realpath(folder, NULL);
    job->blocks = job->folder == NULL ? NULL : job_path(job->folder, JOB_BLOCKS);
    if (job->blocks != NULL && job->past != NULL) return job;
    job_free(job);
    return NULL;
}

int job_lock(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    close(fd);
    return -1;
}

#define LOCK_TRIES 20

// A worker that was just being started when its driver died may hold it for a moment.
static int lock_patiently(const char *folder) {
    int fd = job_lock(folder);
    for (int i = 1; fd < 0 && i < LOCK_TRIES; i++) {
        struct timespec nap = {0, 50000000};
        nanosleep(&nap, NULL);
        fd = job_lock(folder);
    }
    return fd;
}

bool job_is_there(const char *folder) {
    char *path = job_path(folder, JOB_LOG);
    bool has = path != NULL && access(path, F_OK) == 0;
    free(path);
    return has;
}

static bool is_empty(const char *folder) {
    DIR *open_folder = opendir(folder);
    bool empty = open_folder != NULL;
    for (struct dirent *entry; empty && (entry = readdir(open_folder)) != NULL;)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    if (open_folder != NULL) closedir(open_folder);
    return empty;
}

// What the log names is removed first: without it nothing else is.
static shoal_status remove_inside(const char *folder, struct shoal_error *err) {
    char *log = job_path(folder, JOB_LOG), *blocks = job_path(folder, JOB_BLOCKS);
    shoal_status status = log && blocks ? SHOAL_OK : shoal_no_memory(err);
    if (status == SHOAL_OK) spool_remove_tree(blocks);
    if (status == SHOAL_OK && unlink(log) != 0 && errno != ENOENT)
        status = shoal_fail(err, SHOAL_IO, "cannot remove %s: %s", log, strerror(errno));
    free(log);
    free(blocks);
    return status;
}

static shoal_status is_running(const char *folder, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_USAGE,
                      "the job in %s runs: wait for it, or end its process first",
                      folder);
}

static shoal_status make_folder(const char *folder, bool replace,
                                struct shoal_error *err) {
    if (mkdir(folder, 0700) == 0) return SHOAL_OK;
    if (errno != EEXIST)
        return shoal_fail(err, SHOAL_IO, "cannot make the folder %s for the job: %s",
                          folder, strerror(errno));
    if (!job_is_there(folder) && is_empty(folder)) return SHOAL_OK;
    if (!job_is_there(folder))
        return shoal_fail(
            err, SHOAL_USAGE,
            "--job %s: there is something else in the folder: give one that "
            "is empty, or that is not there",
            folder);
    if (!replace)
        return shoal_fail(
            err, SHOAL_USAGE,
            "--job %s: a job is in there: go on with it (shoal sql --resume "
            "%s), or add --replace to begin anew",
            folder, folder);
    int lock = lock_patiently(folder);
    if (lock < 0) return is_running(folder, err);
    shoal_status status = remove_inside(folder, err);
    close(lock);
    return status;
}

static shoal_status write_head(struct job *job, const char *sql, const char *format,
                               const struct session_options *options,
                               struct shoal_error *err) {
    uint64_t chance = 0;
    char id[17];
    char *here = getcwd(NULL, 0);
    if (getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance) chance = 0;
    (void)snprintf(id, sizeof id, "%016llx", (unsigned long long)chance);
    job->head = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s?, s:o}", "r", "job",
                          "shoal", SHOAL_VERSION, "duckdb", duck_version(), "id", id,
                          "sql", sql, "format", format, "began", (json_int_t)time(NULL),
                          "cwd", here, "options", options_to_json(options));
    free(here);
    if (job->head == NULL) return shoal_no_memory(err);
    return job_append(job, json_incref(job->head), true, err);
}

shoal_status job_create(const char *folder, const char *sql, const char *format,
                        const struct session_options *options, bool replace,
                        struct job **out, struct shoal_error *err) {
    *out = NULL;
    shoal_status status = make_folder(folder, replace, err);
    if (status != SHOAL_OK) return status;
    struct job *job = job_new(folder);
    char *path = job == NULL ? NULL : job_path(job->folder, JOB_LOG);
    if (path == NULL) status = shoal_no_memory(err);
    if (status == SHOAL_OK) {
        job->lock = lock_patiently(job->folder);
        if (job->lock < 0) status = is_running(folder, err);
    }
    if (status == SHOAL_OK) status = record_log_create(&job->log, path, err);
    if (status == SHOAL_OK) status = write_head(job, sql, format, options, err);
    if (status == SHOAL_OK) status = fsync(job->lock) == 0 ? SHOAL_OK : SHOAL_IO;
    if (status == SHOAL_IO && err->status != SHOAL_IO)
        shoal_fail(err, SHOAL_IO, "cannot write %s to its disk: %s", folder,
                   strerror(errno));
    if (status == SHOAL_OK && mkdir(job->blocks, 0700) != 0)
        status = shoal_fail(err, SHOAL_IO, "cannot make the folder %s: %s", job->blocks,
                            strerror(errno));
    free(path);
    if (status != SHOAL_OK) {
        job_free(job);
        return status;
    }
    *out = job;
    return SHOAL_OK;
}

// ---- the past

static shoal_status visit(void *context, const char *payload, size_t size,
                          struct shoal_error *err) {
    struct job *job = context;
    uint64_t failures = memory_failures();
    json_t *record = json_read(payload, size, 0, NULL);
    if (memory_failures() != failures) return shoal_no_memory(err);
    if (!json_is_object(record)) {
        json_decref(record);
        return shoal_fail(err, SHOAL_CORRUPT,
                          "%s/" JOB_LOG " has a record that is no object", job->folder);
    }
    if (job_record_is(record, "life")) job->lives++;
    if (job_record_is(record, "job") && job->head == NULL) {
        job->head = record;
        return SHOAL_OK;
    }
    return json_array_append_new(job->past, record) == 0 ? SHOAL_OK
                                                         : shoal_no_memory(err);
}

#define LAST_SECOND INT64_C(253402300799)  // of the year 9999

// Both are in names of files.
static bool has_name(const struct job *job) {
    const char *id = job_id(job);
    const json_t *began = json_object_get(job->head, "began");
    return id != NULL && strlen(id) == 16 && strspn(id, "0123456789abcdef") == 16 &&
           json_is_integer(began) && json_integer_value(began) >= 0 &&
           json_integer_value(began) <= LAST_SECOND;
}

static shoal_status check_version(const struct job *job, struct shoal_error *err) {
    const char *shoal = json_string_value(json_object_get(job->head, "shoal"));
    const char *duckdb = json_string_value(json_object_get(job->head, "duckdb"));
    if (shoal == NULL || duckdb == NULL)
        return shoal_fail(err, SHOAL_USAGE,
                          "the job in %s died before it had begun: begin it anew (--job "
                          "%s --replace)",
                          job->folder, job->folder);
    bool same = strcmp(shoal, SHOAL_VERSION) == 0 && strcmp(duckdb, duck_version()) == 0;
    if (same && (job_sql(job) == NULL || !has_name(job)))
        return shoal_fail(err, SHOAL_CORRUPT,
                          "%s/" JOB_LOG
                          " doesn't say what the job is: restore the file, or "
                          "begin anew (--job %s --replace)",
                          job->folder, job->folder);
    if (same) return SHOAL_OK;
    return shoal_fail(
        err, SHOAL_USAGE,
        "the job in %s began with shoal %s and DuckDB %s; this is shoal %s "
        "with DuckDB %s, whose plans may be others: resume it with the same "
        "version, or begin anew",
        job->folder, shoal, duckdb, SHOAL_VERSION, duck_version());
}

static const json_t *last_record(const struct job *job) {
    size_t count = json_array_size(job->past);
    return count == 0 ? NULL : json_array_get(job->past, count - 1);
}

shoal_status job_resume(const char *folder, struct job **out, bool *done,
                        struct shoal_error *err) {
    *out = NULL;
    *done = false;
    if (!job_is_there(folder))
        return shoal_fail(err, SHOAL_USAGE, "--resume %s: there is no job", folder);
    struct job *job = job_new(folder);
    char *path = job == NULL ? NULL : job_path(job->folder, JOB_LOG);
    shoal_status status = path == NULL ? shoal_no_memory(err) : SHOAL_OK;
    if (status == SHOAL_OK) {
        job->lock = lock_patiently(job->folder);
        if (job->lock < 0) status = is_running(folder, err);
    }
    if (status == SHOAL_OK) status = record_log_open(&job->log, path, visit, job, err);
    if (status == SHOAL_OK) status = check_version(job, err);
    if (status == SHOAL_OK) {
        const char *here = json_string_value(json_object_get(job->head, "cwd"));
        *done = last_record(job) != NULL && job_record_is(last_record(job), "end");
        // Paths in the query are from there.
        if (!*done && here != NULL && chdir(here) != 0)
            status = shoal_fail(err, SHOAL_USAGE, "the job began in %s: %s", here,
                                strerror(errno));
    }
    // The process that ended the job may have died before it had removed them.
    if (status == SHOAL_OK && *done) spool_remove_tree(job->blocks);
    if (status == SHOAL_OK && !*done) {
        (void)mkdir(job->blocks, 0700);
        job->lives++;
        // On the disk: names of files have the number of lives in them.
        status = job_append(job, json_pack("{s:s}", "r", "life"), true, err);
    }
    free(path);
    if (status != SHOAL_OK) {
        job_free(job);
        return status;
    }
    *out = job;
    return SHOAL_OK;
}

const char *job_sql(const struct job *job) {
    return json_string_value(json_object_get(job->head, "sql"));
}

const char *job_format(const struct job *job) {
    return json_string_value(json_object_get(job->head, "format"));
}

const char *job_id(const struct job *job) {
    return json_string_value(json_object_get(job->head, "id"));
}

time_t job_began(const struct job *job) {
    return (time_t)json_integer_value(json_object_get(job->head, "began"));
}

void job_close(struct job *job, shoal_status status, const struct shoal_error *why) {
    struct shoal_error ignored;
    if (job == NULL) return;
    if (why == NULL) {
        // It was done before.
    } else if (job->log.fd >= 0 && status == SHOAL_OK) {
        if (job_append(job, json_pack("{s:s}", "r", "end"), true, &ignored) == SHOAL_OK)
            spool_remove_tree(job->blocks);
    } else if (job->log.fd >= 0) {
        (void)job_append(job, json_pack("{s:s, s:s}", "r", "failed", "why", why->message),
                         false, &ignored);
    }
    job_free(job);
}

// ---- while it runs

shoal_status job_append(struct job *job, json_t *record, bool sync,
                        struct shoal_error *err) {
    json_object_set_new(record, "n", json_integer(job->statement));
    json_object_set_new(record, "k", json_integer(job->plan));
    char *text = record == NULL ? NULL : json_dumps(record, JSON_COMPACT);
    json_decref(record);
    if (text == NULL) return shoal_no_memory(err);
    shoal_status status = record_log_append(&job->log, text, strlen(text), err);
    if (status == SHOAL_OK && sync) status = record_log_sync(&job->log, err);
    free(text);
    return status;
}

static uint32_t number_of(const json_t *record, const char *name) {
    return (uint32_t)json_integer_value(json_object_get(record, name));
}

const json_t *job_find(const struct job *job, const char *kind) {
    for (size_t i = json_array_size(job->past); i-- > 0;) {
        const json_t *record = json_array_get(job->past, i);
        if (job_record_is(record, kind) && number_of(record, "n") == job->statement)
            return record;
    }
    return NULL;
}

const char *job_answer(const struct job *job) {
    const json_t *record = job_find(job, "over");
    if (record == NULL) record = job_find(job, "publish");
    return json_string_value(json_object_get(record, "answer"));
}

bool job_is_current(const struct job *job, const json_t *record) {
    return number_of(record, "n") == job->statement &&
           number_of(record, "k") == job->plan;
}

const json_t *job_next(const struct job *job, const char *kind, size_t *at) {
    while (*at < json_array_size(job->past)) {
        const json_t *record = json_array_get(job->past, (*at)++);
        if (job_is_current(job, record) && job_record_is(record, kind)) return record;
    }
    return NULL;
}

bool job_is_resumed(const struct job *job) {
    return job->lives > 0;
}

void job_begin_statement(struct job *job, uint32_t number) {
    job->statement = number;
    job->plan = 0;
}
