#include "query/job_sink.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "query/journal.h"

static const char *text_of(const json_t *record, const char *name) {
    return json_string_value(json_object_get(record, name));
}

static uint64_t inode_of(const char *path) {
    struct stat at;
    return lstat(path, &at) == 0 ? (uint64_t)at.st_ino : 0;
}

// ---- has the target what was to come?

static const char *wanted;  // the beginning of a name; one thread looks at a time
static bool found;

static int look(const char *path, const struct stat *stat, int kind, struct FTW *place) {
    (void)stat;
    (void)kind;
    found = strncmp(path + place->base, wanted, strlen(wanted)) == 0;
    return found;
}

static bool has_files(const char *target, const char *run) {
    struct text prefix = {0};
    if (run == NULL || *run == '\0') return false;
    text_printf(&prefix, "part-%s-", run);
    wanted = prefix.data;
    found = false;
    if (!prefix.failed) (void)nftw(target, look, 32, FTW_PHYS);
    text_free(&prefix);
    return found;
}

// ---- what a process before this one had

static bool take_answer(struct sink *sink, const json_t *record) {
    const char *answer = text_of(record, "answer");
    sink->answer = strdup(answer == NULL ? "SELECT 0 AS \"Count\"" : answer);
    sink->committed = sink->answer != NULL;
    return sink->committed;
}

// Its files were on their way to the target: the tasks that wrote them run again.
static void drop_ready(const char *staging) {
    char *ready = sink_join(staging, JOURNAL_READY);
    if (ready != NULL) spool_remove_tree(ready);
    free(ready);
}

shoal_status job_sink_adopt(struct sink *sink, bool *adopted, struct shoal_error *err) {
    const json_t *staging = job_find(sink->job, "staging");
    const json_t *publish = job_find(sink->job, "publish");
    const json_t *over = job_find(sink->job, "over");
    *adopted = false;
    if (over != NULL) return take_answer(sink, over) ? SHOAL_OK : shoal_no_memory(err);
    const char *path = text_of(staging, "path"), *run = text_of(staging, "run");
    if (path == NULL || run == NULL) return SHOAL_OK;
    bool there = spool_adopt(&sink->staging, SPOOL_STAGING, path);
    if (there && !journal_undo(path)) {
        sink->leave = true;
        return shoal_fail(err, SHOAL_IO,
                          "what the job had changed in %s could not be put back: %s has "
                          "the rest",
                          sink->target, path);
    }
    if (publish != NULL) {
        uint64_t inode = (uint64_t)json_integer_value(json_object_get(publish, "inode"));
        bool came = (inode != 0 && inode_of(sink->target) == inode) ||
                    (sink->kind == &folder_kind && has_files(sink->target, run));
        if (came) {
            if (!take_answer(sink, publish)) return shoal_no_memory(err);
            return job_sink_over(sink, err);
        }
    }
    if (!there) return SHOAL_OK;
    drop_ready(path);
    sink->run = strdup(run);
    *adopted = sink->run != NULL;
    return *adopted ? SHOAL_OK : shoal_no_memory(err);
}

void job_sink_clean(const struct job *job) {
    struct spool staging;
    const char *path = text_of(job_find(job, "staging"), "path");
    if (path != NULL && spool_adopt(&staging, SPOOL_STAGING, path)) spool_close(&staging);
}

shoal_status job_sink_begin(const struct sink *sink, struct shoal_error *err) {
    return job_append(sink->job,
                      json_pack("{s:s, s:s, s:s}", "r", "staging", "path",
                                sink->staging.path, "run", sink->run),
                      false, err);
}

shoal_status job_sink_publish(struct sink *sink, const char *ready,
                              struct shoal_error *err) {
    char *answer = sink_answer(sink);
    if (answer == NULL) return shoal_no_memory(err);
    json_t *record = json_pack("{s:s, s:I, s:s}", "r", "publish", "inode",
                               (json_int_t)inode_of(ready), "answer", answer);
    free(answer);
    return job_append(sink->job, record, true, err);
}

shoal_status job_sink_over(struct sink *sink, struct shoal_error *err) {
    char *answer = sink->committed ? strdup(sink->answer) : sink_answer(sink);
    if (answer == NULL) return shoal_no_memory(err);
    json_t *record = json_pack("{s:s, s:s}", "r", "over", "answer", answer);
    free(sink->answer);
    sink->answer = answer;
    sink->committed = true;
    return job_append(sink->job, record, true, err);
}
