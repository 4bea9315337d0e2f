#include "query/sink.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/io.h"
#include "query/job_sink.h"
#include "query/journal.h"

shoal_status sink_io_failed(const char *what, const char *path, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

char *sink_join(const char *folder, const char *name) {
    struct text path = {0};
    text_printf(&path, *name ? "%s/%s" : "%s%s", folder, name);
    return text_take(&path);
}

shoal_status sink_make_parents(const char *path, struct shoal_error *err) {
    char *folder = strdup(path);
    shoal_status status = folder == NULL ? shoal_no_memory(err) : SHOAL_OK;
    for (char *at = folder; status == SHOAL_OK && (at = strchr(at + 1, '/')) != NULL;) {
        *at = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            status = sink_io_failed("make the folder", folder, err);
        *at = '/';
    }
    free(folder);
    return status;
}

// ---- where it goes

// The length of "a/b" in "a/b//".
static size_t trimmed(const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    return length;
}

// The folder that the target is in; "a/b/" is in a.
static char *parent_of(const char *path) {
    size_t length = trimmed(path);
    while (length > 0 && path[length - 1] != '/') length--;
    while (length > 1 && path[length - 1] == '/') length--;
    return length == 0 ? strdup(".") : strndup(path, length);
}

// Tasks run elsewhere: they need the whole path. The target need not be there, its parent
// must.
static shoal_status find_target(const char *path, char **target, char **parent,
                                struct shoal_error *err) {
    char *above = parent_of(path);
    char *folder = above == NULL ? NULL : realpath(above, NULL);
    *target = realpath(path, NULL);  // also of "." and ".."
    *parent = NULL;
    if (folder == NULL) {
        shoal_status status =
            sink_io_failed("write to the folder", above ? above : path, err);
        free(above);
        return status;
    }
    if (*target == NULL) {
        struct text whole = {0};
        size_t end = trimmed(path), start = end;
        while (start > 0 && path[start - 1] != '/') start--;
        text_printf(&whole, "%s/", strcmp(folder, "/") == 0 ? "" : folder);
        text_append_bytes(&whole, path + start, end - start);
        *target = text_take(&whole);
    }
    free(above);
    free(folder);
    if (*target != NULL) *parent = parent_of(*target);
    return *parent == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

// By time first, so that files that a later run adds come later by name; 64 random bits
// behind, so that no other has it. A letter sorts behind the digits of other names.
static char *new_run(void) {
    struct text run = {0};
    uint64_t chance = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance) return NULL;
    text_printf(
        &run, "r%012llx%016llx",
        (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000,
        (unsigned long long)chance);
    return text_take(&run);
}

// DuckDB's writer keeps the order of the rows in one file, but not as it cuts them into
// files of a size, or partitions: then each task writes one file, which is cut
// afterwards.
static bool choose_options(struct sink *sink, bool ordered) {
    const struct copy *copy = sink->copy;
    struct text file = {0}, options = {0};
    bool cut_later = ordered && copy->rewrite_options != NULL && !copy->partitioned &&
                     copy->sort_by == NULL;
    bool one_file = !copy->nested || cut_later;
    sink->ordered = ordered && one_file;
    text_printf(&options, "%s%s", cut_later ? copy->rewrite_options : copy->options,
                sink->ordered && (cut_later || !copy->keeps_order)
                    ? ", PRESERVE_ORDER true"
                    : "");
    sink->options = text_take(&options);
    if (!one_file) return sink->options != NULL;
    text_printf(&file, "data_0.%s", copy->extension);
    sink->file = text_take(&file);
    return sink->options != NULL && sink->file != NULL;
}

// The run's own name is in the names of its files.
static char *name_of_run(const struct sink *sink) {
    // A reader that listed the old files must not find new ones under their names.
    bool named = sink->copy->mode != WRITE_ERROR_IF_EXISTS;
    return named || sink->kind->unique ? new_run() : strdup("");
}

static shoal_status open_staging(struct sink *sink, const char *parent,
                                 struct shoal_error *err) {
    bool adopted = false;
    shoal_status status = SHOAL_OK;
    // First, before any sweep: it would take the folder for a dead run's.
    if (sink->job != NULL) status = job_sink_adopt(sink, &adopted, err);
    if (status != SHOAL_OK || sink->committed || adopted) return status;
    // Takes back what a dead run had begun. Hidden: a glob over the target's neighbours
    // doesn't see it.
    status = spool_open_as(&sink->staging, parent, SPOOL_STAGING, journal_undo, err);
    if (status == SHOAL_OK) sink->run = name_of_run(sink);
    if (status == SHOAL_OK && sink->run == NULL) status = shoal_no_memory(err);
    if (status == SHOAL_OK && sink->job != NULL) {
        spool_spare(&sink->staging);
        status = job_sink_begin(sink, err);
    }
    return status;
}

shoal_status sink_open(struct sink *sink, const struct copy *copy, bool ordered,
                       struct job *job, struct shoal_error *err) {
    char *parent = NULL;
    *sink = (struct sink){
        .copy = copy,
        .job = job,
        .kind = copy->table != NULL ? &delta_kind : &folder_kind,
        .staging = {.lock = -1},
        .atomic = copy->mode == WRITE_ERROR_IF_EXISTS || copy->mode == WRITE_OVERWRITE};
    shoal_status status = find_target(copy->path, &sink->target, &parent, err);
    if (status == SHOAL_OK) status = open_staging(sink, parent, err);
    free(parent);
    if (status != SHOAL_OK || sink->committed) return status;
    status = sink->kind->check(sink, err);
    if (status != SHOAL_OK) return status;
    return choose_options(sink, ordered && !copy->any_order) ? SHOAL_OK
                                                             : shoal_no_memory(err);
}

char *sink_staged_path(const struct sink *sink, const char *name) {
    struct text path = {0};
    text_printf(&path, "%s/%s", sink->staging.path, name);
    if (sink->job != NULL)
        text_printf(&path, ".r%u.%u", sink->job->lives, sink->job->plan);
    return text_take(&path);
}

bool sink_task(const struct sink *sink, struct task *task) {
    task->copy_options = strdup(sink->options);
    if (sink->file != NULL) task->copy_file = strdup(sink->file);
    task->copy_counts = strcmp(sink->copy->format, "parquet") == 0;
    task->copy_statistics =
        sink->kind->statistics || sink->copy->answer == ANSWER_STATISTICS;
    return task->copy_options != NULL && (sink->file == NULL || task->copy_file != NULL);
}

void sink_close(struct sink *sink) {
    // A job that failed or was cancelled can go on from what its tasks wrote.
    bool kept = sink->job != NULL && !sink->committed;
    if (sink->leave || kept) {
        spool_leave(&sink->staging);
    } else {
        spool_close(&sink->staging);
    }
    written_files_free(sink->files, sink->file_count);
    staged_files_free(sink->staged, sink->staged_count);
    free(sink->target);
    free(sink->file);
    free(sink->options);
    free(sink->run);
    free(sink->answer);
    *sink = (struct sink){.staging = {.lock = -1}};
}

// ---- putting the files together

void staged_files_free(struct staged_file *files, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(files[i].source);
        free(files[i].facts.path);
        free(files[i].facts.statistics);
        free(files[i].facts.partition);
    }
    free(files);
}

bool staged_copy_facts(struct written_file *to, const struct written_file *from) {
    const char *end = strrchr(from->path, '/');
    *to = (struct written_file){.rows = from->rows,
                                .bytes = from->bytes,
                                .footer_bytes = from->footer_bytes,
                                .row_groups = from->row_groups};
    to->path = strndup(from->path, end == NULL ? 0 : (size_t)(end - from->path));
    if (from->statistics != NULL) to->statistics = strdup(from->statistics);
    if (from->partition != NULL) to->partition = strdup(from->partition);
    return to->path != NULL && (from->statistics == NULL || to->statistics != NULL) &&
           (from->partition == NULL || to->partition != NULL);
}

static unsigned number_of(const struct written_file *file) {
    const char *name = strrchr(file->path, '/');
    unsigned number = 0;
    (void)sscanf(name == NULL ? file->path : name + 1, "data_%u", &number);
    return number;
}

// DuckDB's data_9.parquet comes before data_10.parquet.
static int by_number(const void *one, const void *other) {
    const struct written_file *a = *(const struct written_file *const *)one;
    const struct written_file *b = *(const struct written_file *const *)other;
    unsigned first = number_of(a), second = number_of(b);
    return first != second ? (first > second) - (first < second)
                           : strcmp(a->path, b->path);
}

static shoal_status stage_part(struct sink *sink, const struct sink_part *part,
                               struct shoal_error *err) {
    const struct written_file **files = calloc(part->file_count + 1, sizeof(void *));
    bool ok = files != NULL;
    for (size_t i = 0; ok && i < part->file_count; i++) files[i] = &part->files[i];
    if (ok) qsort(files, part->file_count, sizeof(void *), by_number);
    for (size_t i = 0; ok && i < part->file_count; i++) {
        struct staged_file *staged = &sink->staged[sink->staged_count++];
        staged->source = sink_join(part->folder, files[i]->path);
        ok = staged_copy_facts(&staged->facts, files[i]) && staged->source != NULL;
    }
    free(files);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

static int by_folder(const void *one, const void *other) {
    const struct staged_file *a = one, *b = other;
    int order = strcmp(a->facts.path, b->facts.path);
    return order != 0 ? order : (a->place > b->place) - (a->place < b->place);
}

shoal_status sink_stage(struct sink *sink, const struct sink_part *parts, size_t count,
                        struct shoal_error *err) {
    size_t all = 0;
    bool any = false;
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < count; i++) {
        all += parts[i].file_count;
        sink->rows += parts[i].rows;
    }
    sink->staged = calloc(all + 1, sizeof *sink->staged);
    if (sink->staged == NULL) return shoal_no_memory(err);
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        if (parts[i].rows == 0 && (sink->rows > 0 || any)) continue;
        status = stage_part(sink, &parts[i], err);
        any = true;
    }
    if (status != SHOAL_OK) return status;
    for (size_t i = 0; i < sink->staged_count; i++) sink->staged[i].place = i;
    qsort(sink->staged, sink->staged_count, sizeof *sink->staged, by_folder);
    return SHOAL_OK;
}

// k=1/part-00007.parquet; a run's name stands before the number.
static char *final_path(const struct sink *sink, const char *folder, size_t number) {
    struct text path = {0};
    text_printf(&path, "%s%spart-%s%s%05zu.%s", folder, *folder ? "/" : "", sink->run,
                *sink->run ? "-" : "", number, sink->copy->extension);
    return text_take(&path);
}

static shoal_status move_file(struct sink *sink, struct staged_file *staged,
                              size_t number, const char *ready, struct shoal_error *err) {
    struct written_file *kept = &sink->files[sink->file_count++];
    char *folder = staged->facts.path;
    *kept = staged->facts;
    staged->facts = (struct written_file){.path = folder};
    kept->path = final_path(sink, folder, number);
    char *to = kept->path == NULL ? NULL : sink_join(ready, kept->path);
    shoal_status status = to == NULL ? shoal_no_memory(err) : SHOAL_OK;
    if (status == SHOAL_OK && *folder) status = sink_make_parents(to, err);
    if (status == SHOAL_OK && io_rename(FAULT_SINK_MOVE, staged->source, to) != 0)
        status = sink_io_failed("move a file to", to, err);
    free(to);
    return status;
}

static int by_path(const void *one, const void *other) {
    return strcmp(((const struct written_file *)one)->path,
                  ((const struct written_file *)other)->path);
}

static shoal_status gather_files(struct sink *sink, const char *ready,
                                 struct shoal_error *err) {
    size_t number = 0;
    sink->files = calloc(sink->staged_count + 1, sizeof *sink->files);
    if (sink->files == NULL) return shoal_no_memory(err);
    if (mkdir(ready, 0777) != 0) return sink_io_failed("make the folder", ready, err);
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < sink->staged_count; i++) {
        struct staged_file *staged = &sink->staged[i];
        bool same = i > 0 && strcmp(staged->facts.path, staged[-1].facts.path) == 0;
        number = same ? number + 1 : 0;
        status = move_file(sink, staged, number, ready, err);
    }
    if (status == SHOAL_OK)
        qsort(sink->files, sink->file_count, sizeof *sink->files, by_path);
    return status;
}

shoal_status sink_commit(struct sink *sink, struct shoal_error *err) {
    char *ready = sink_join(sink->staging.path, JOURNAL_READY);
    if (ready == NULL) return shoal_no_memory(err);
    spool_hold();
    shoal_status status = gather_files(sink, ready, err);
    if (status == SHOAL_OK && sink->job != NULL)
        status = job_sink_publish(sink, ready, err);
    if (status == SHOAL_OK) status = sink->kind->publish(sink, ready, err);
    if (status == SHOAL_OK && sink->job != NULL) status = job_sink_over(sink, err);
    spool_release();
    free(ready);
    return status;
}

// ---- what COPY answers

static const char *atomicity(const struct sink *sink) {
    return sink->atomic ? "atomic" : "not atomic for readers";
}

static bool append_object(json_t *row, const char *name, const char *text) {
    if (text == NULL) return true;
    return json_object_set_new(row, name, json_read(text, strlen(text), 0, NULL)) == 0;
}

static json_t *files_to_json(const struct sink *sink) {
    json_t *list = json_array();
    struct text folder = {0};
    text_append_bytes(&folder, sink->copy->path, trimmed(sink->copy->path));
    for (size_t i = 0; !folder.failed && i < sink->file_count; i++) {
        const struct written_file *file = &sink->files[i];
        char *path = sink_join(folder.data, file->path);
        json_t *row =
            json_pack("{s:s?, s:I, s:I, s:I, s:I}", "f", path, "n",
                      (json_int_t)file->rows, "b", (json_int_t)file->bytes, "e",
                      (json_int_t)file->footer_bytes, "g", (json_int_t)file->row_groups);
        if (!append_object(row, "s", file->statistics) ||
            !append_object(row, "p", file->partition)) {
            json_decref(row);
            row = NULL;
        }
        free(path);
        json_array_append_new(list, row);
    }
    text_free(&folder);
    return list;
}

// The columns of DuckDB's own answers, and one more.
static const char files_answer[] =
    "SELECT CAST(%llu AS BIGINT) AS \"Count\", [x.f FOR x IN l] AS \"Files\", "
    "'%s' AS atomicity FROM (SELECT from_json(%s, '[{\"f\": \"VARCHAR\"}]') AS l)";
static const char statistics_answer[] =
    "SELECT x.f AS filename, x.n AS count, x.b AS file_size_bytes, x.e AS "
    "footer_size_bytes, x.s AS column_statistics, x.p AS partition_keys, "
    "CAST(MAP {'row_group_count': x.g} AS MAP(VARCHAR, VARIANT)) AS extra_info, "
    "'%s' AS atomicity FROM (SELECT unnest(from_json(%s, '[{\"f\": \"VARCHAR\", \"n\": "
    "\"UBIGINT\", \"b\": \"UBIGINT\", \"e\": \"UBIGINT\", \"g\": \"UBIGINT\", \"s\": "
    "\"MAP(VARCHAR, MAP(VARCHAR, VARCHAR))\", \"p\": \"MAP(VARCHAR, VARCHAR)\"}]')) "
    "AS x)";

char *sink_answer(const struct sink *sink) {
    struct text sql = {0}, literal = {0};
    if (sink->copy->answer == ANSWER_COUNT) {
        text_printf(&sql, "SELECT CAST(%llu AS BIGINT) AS \"Count\"",
                    (unsigned long long)sink->rows);
        return text_take(&sql);
    }
    json_t *list = files_to_json(sink);
    char *text = json_array_size(list) < sink->file_count ? NULL : json_text(list, 0);
    json_decref(list);
    if (text == NULL) return NULL;
    text_append_literal(&literal, text);
    free(text);
    if (literal.failed) return NULL;
    if (sink->copy->answer == ANSWER_FILES) {
        text_printf(&sql, files_answer, (unsigned long long)sink->rows, atomicity(sink),
                    literal.data);
    } else {
        text_printf(&sql, statistics_answer, atomicity(sink), literal.data);
    }
    text_free(&literal);
    return text_take(&sql);
}
