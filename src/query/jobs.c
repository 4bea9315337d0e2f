// The jobs in a folder: how far they are, and what dead processes left of those that are
// done. Those that run are read as far as they are.
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/spool.h"
#include "base/text.h"
#include "query/job.h"

struct summary {
    json_t *head;
    uint64_t tasks, statements;
    char last[16];  // kind of the last record
    char why[160];
};

static shoal_status summarise(void *context, const char *payload, size_t size,
                              struct shoal_error *err) {
    struct summary *summary = context;
    uint64_t failures = memory_failures();
    json_t *record = json_read(payload, size, 0, NULL);
    if (memory_failures() != failures) return shoal_no_memory(err);
    (void)snprintf(summary->last, sizeof summary->last, "%s", job_record_kind(record));
    const char *why = json_string_value(json_object_get(record, "why"));
    if (why != NULL)
        (void)snprintf(summary->why, sizeof summary->why, "%.*s", (int)strcspn(why, "\n"),
                       why);
    summary->tasks += job_record_is(record, "done");
    uint64_t statement = (uint64_t)json_integer_value(json_object_get(record, "n"));
    if (statement + 1 > summary->statements) summary->statements = statement + 1;
    if (job_record_is(record, "job") && summary->head == NULL) {
        summary->head = record;
    } else {
        json_decref(record);
    }
    return SHOAL_OK;
}

static const char *state_of(const struct summary *summary, bool runs) {
    if (runs) return "running";
    if (strcmp(summary->last, "end") == 0) return "done";
    if (strcmp(summary->last, "failed") == 0) return "failed";
    return "killed";
}

static void print_job(const char *folder, const struct summary *summary, bool runs,
                      FILE *out) {
    const char *sql = json_string_value(json_object_get(summary->head, "sql"));
    time_t began = (time_t)json_integer_value(json_object_get(summary->head, "began"));
    char when[32] = "";
    struct tm local;
    if (localtime_r(&began, &local) != NULL)
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    const char *state = state_of(summary, runs);
    if (sql == NULL) sql = "";
    fprintf(out, "%s: %s, began %s, in statement %llu, %llu tasks done: %.*s\n", folder,
            state, when, (unsigned long long)summary->statements,
            (unsigned long long)summary->tasks, (int)strcspn(sql, "\n"), sql);
    if (strcmp(state, "failed") == 0) fprintf(out, "  %s\n", summary->why);
    if (strcmp(state, "failed") == 0 || strcmp(state, "killed") == 0)
        fprintf(out, "  go on: shoal sql --resume %s\n", folder);
}

// *runs: another process has the lock.
static shoal_status read_job(const char *folder, struct summary *summary, bool *runs,
                             struct shoal_error *err) {
    char *path = job_path(folder, JOB_LOG);
    if (path == NULL) return shoal_no_memory(err);
    int lock = job_lock(folder);
    *runs = lock < 0 && access(folder, R_OK) == 0;
    if (lock >= 0) close(lock);
    shoal_status status = record_log_read(path, summarise, summary, err);
    free(path);
    return status;
}

static shoal_status list_one(const char *folder, void *out, struct shoal_error *err) {
    struct summary summary = {0};
    bool runs = false;
    shoal_status status = read_job(folder, &summary, &runs, err);
    if (status == SHOAL_OK) print_job(folder, &summary, runs, out);
    json_decref(summary.head);
    return status;
}

static int is_job(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

// Calls one for the folder, if it is a job, or for each job in it. *found: how many.
static shoal_status each_job(const char *folder,
                             shoal_status (*one)(const char *folder, void *context,
                                                 struct shoal_error *err),
                             void *context, size_t *found, struct shoal_error *err) {
    struct dirent **entries = NULL;
    shoal_status status = SHOAL_OK;
    *found = 0;
    if (job_is_there(folder)) {
        *found = 1;
        return one(folder, context, err);
    }
    int count = scandir(folder, &entries, is_job, alphasort);
    if (count < 0)
        return shoal_fail(err, SHOAL_USAGE, "cannot list the folder %s: %s", folder,
                          strerror(errno));
    for (int i = 0; i < count; i++) {
        char *path = job_path(folder, entries[i]->d_name);
        if (status == SHOAL_OK && path != NULL && job_is_there(path)) {
            ++*found;
            status = one(path, context, err);
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
    return status;
}

shoal_status jobs_list(const char *folder, FILE *out, struct shoal_error *err) {
    size_t found = 0;
    shoal_status status = each_job(folder, list_one, out, &found, err);
    if (status == SHOAL_OK && found == 0) fprintf(out, "no job is in %s\n", folder);
    return status;
}

struct cleaning {
    bool only_look;
    void (*tell)(void *context, const char *path, enum job_fate fate);
    void *context;
};

static shoal_status clean_one(const char *folder, void *context,
                              struct shoal_error *err) {
    const struct cleaning *cleaning = context;
    struct summary summary = {0};
    struct shoal_error why;
    bool runs = false;
    char *blocks = job_path(folder, JOB_BLOCKS);
    if (blocks == NULL) return shoal_no_memory(err);
    enum job_fate fate = JOB_RESUMABLE;
    if (read_job(folder, &summary, &runs, &why) != SHOAL_OK) {
        fate = JOB_DAMAGED;
    } else if (runs) {
        fate = JOB_RUNNING;
    } else if (strcmp(state_of(&summary, false), "done") == 0) {
        fate = access(blocks, F_OK) == 0 ? JOB_CLEANED : JOB_DONE;
        if (fate == JOB_CLEANED && !cleaning->only_look) spool_remove_tree(blocks);
    }
    cleaning->tell(cleaning->context, fate == JOB_CLEANED ? blocks : folder, fate);
    json_decref(summary.head);
    free(blocks);
    return SHOAL_OK;
}

shoal_status jobs_clean(const char *folder, bool only_look,
                        void (*tell)(void *context, const char *path, enum job_fate fate),
                        void *context, struct shoal_error *err) {
    struct cleaning cleaning = {only_look, tell, context};
    size_t found = 0;
    return each_job(folder, clean_one, &cleaning, &found, err);
}
