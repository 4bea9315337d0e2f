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

#include "base/io.h"
#include "query/journal.h"

#define STAGING ".shoal-"  // hidden: a glob over the target's neighbours doesn't see it

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

shoal_status sink_open(struct sink *sink, const struct copy *copy, bool ordered,
                       struct shoal_error *err) {
    struct text file = {0}, options = {0};
    char *parent = NULL;
    // A reader that listed the old files must not find new ones under their names.
    bool named = copy->mode != WRITE_ERROR_IF_EXISTS;
    *sink = (struct sink){
        .copy = copy,
        .kind = copy->table != NULL ? &delta_kind : &folder_kind,
        .staging = {.lock = -1},
        .atomic = copy->mode == WRITE_ERROR_IF_EXISTS || copy->mode == WRITE_OVERWRITE};
    shoal_status status = find_target(copy->path, &sink->target, &parent, err);
    if (status == SHOAL_OK) {
        // First, as it takes back what a dead run had begun.
        status = spool_open_as(&sink->staging, parent, STAGING, journal_undo, err);
    }
    free(parent);
    if (status == SHOAL_OK) status = sink->kind->check(sink, err);
    if (status != SHOAL_OK) return status;
    text_printf(&file, "data_0.%s", copy->extension);
    if (!copy->nested) sink->file = text_take(&file);
    text_printf(
        &options, "%s%s", copy->options,
        ordered && !copy->keeps_order && !copy->nested ? ", PRESERVE_ORDER true" : "");
    sink->options = text_take(&options);
    sink->run = named || sink->kind->unique ? new_run() : strdup("");
    text_free(&file);
    bool ok = sink->options != NULL && sink->run != NULL &&
              (copy->nested || sink->file != NULL);
    return ok ? SHOAL_OK : shoal_no_memory(err);
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
    if (sink->leave) {
        spool_leave(&sink->staging);
    } else {
        spool_close(&sink->staging);
    }
    written_files_free(sink->files, sink->file_count);
    free(sink->target);
    free(sink->file);
    free(sink->options);
    free(sink->run);
    *sink = (struct sink){.staging = {.lock = -1}};
}

// ---- putting the files together

// data_3.parquet of part 7 becomes part-00007-3.parquet, data_0.parquet
// part-00007.parquet, in the same folder; a run's name stands before the part's number.
static char *new_name(const struct sink *sink, size_t part, const char *old) {
    struct text name = {0};
    unsigned number = 0;
    const char *file = strrchr(old, '/');
    file = file == NULL ? old : file + 1;
    (void)sscanf(file, "data_%u", &number);
    text_append_bytes(&name, old, (size_t)(file - old));
    text_printf(&name, "part-%s%s%05zu", sink->run, *sink->run ? "-" : "", part);
    if (number > 0) text_printf(&name, "-%u", number);
    text_printf(&name, ".%s", sink->copy->extension);
    return text_take(&name);
}

static bool copy_facts(struct written_file *to, const struct written_file *from) {
    *to = (struct written_file){.path = to->path,
                                .rows = from->rows,
                                .bytes = from->bytes,
                                .footer_bytes = from->footer_bytes,
                                .row_groups = from->row_groups};
    if (from->statistics != NULL) to->statistics = strdup(from->statistics);
    if (from->partition != NULL) to->partition = strdup(from->partition);
    return (from->statistics == NULL || to->statistics != NULL) &&
           (from->partition == NULL || to->partition != NULL);
}

static shoal_status move_file(struct sink *sink, const struct sink_part *part,
                              const struct written_file *file, size_t number,
                              const char *ready, struct shoal_error *err) {
    struct written_file *kept = &sink->files[sink->file_count++];
    kept->path = new_name(sink, number, file->path);
    char *from = sink_join(part->folder, file->path);
    char *to = kept->path == NULL ? NULL : sink_join(ready, kept->path);
    shoal_status status = SHOAL_OK;
    if (from == NULL || to == NULL || !copy_facts(kept, file)) {
        status = shoal_no_memory(err);
    } else {
        if (strchr(kept->path, '/') != NULL) status = sink_make_parents(to, err);
        if (status == SHOAL_OK && io_rename(from, to) != 0)
            status = sink_io_failed("move a file to", to, err);
    }
    free(from);
    free(to);
    return status;
}

static int by_path(const void *one, const void *other) {
    return strcmp(((const struct written_file *)one)->path,
                  ((const struct written_file *)other)->path);
}

static shoal_status gather_files(struct sink *sink, const struct sink_part *parts,
                                 size_t count, const char *ready,
                                 struct shoal_error *err) {
    size_t all = 0, number = 0;
    for (size_t i = 0; i < count; i++) {
        all += parts[i].file_count;
        sink->rows += parts[i].rows;
    }
    sink->files = calloc(all + 1, sizeof *sink->files);
    if (sink->files == NULL) return shoal_no_memory(err);
    if (mkdir(ready, 0777) != 0) return sink_io_failed("make the folder", ready, err);
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        if (parts[i].rows == 0 && (sink->rows > 0 || number > 0)) continue;
        for (size_t f = 0; status == SHOAL_OK && f < parts[i].file_count; f++)
            status = move_file(sink, &parts[i], &parts[i].files[f], number, ready, err);
        number++;
    }
    qsort(sink->files, sink->file_count, sizeof *sink->files, by_path);
    return status;
}

shoal_status sink_commit(struct sink *sink, const struct sink_part *parts, size_t count,
                         struct shoal_error *err) {
    char *ready = sink_join(sink->staging.path, JOURNAL_READY);
    if (ready == NULL) return shoal_no_memory(err);
    shoal_status status = gather_files(sink, parts, count, ready, err);
    if (status == SHOAL_OK) status = sink->kind->publish(sink, ready, err);
    free(ready);
    return status;
}

// ---- what COPY answers

static const char *atomicity(const struct sink *sink) {
    return sink->atomic ? "atomic" : "not atomic for readers";
}

static bool append_object(json_t *row, const char *name, const char *text) {
    if (text == NULL) return true;
    return json_object_set_new(row, name, json_loads(text, 0, NULL)) == 0;
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
    char *text = json_array_size(list) < sink->file_count ? NULL : json_dumps(list, 0);
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
