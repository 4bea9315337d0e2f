#include "query/merge.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// In hundredths of the size that is asked for: a file of less or more is not left alone;
// what is put together aims closer, as the sizes of new files are estimates.
#define LEAST 70
#define MOST 130
#define AIM 25

// ---- which files

static double share(uint64_t bytes, uint64_t target) {
    return (double)bytes * 100.0 / (double)target;
}

// Into how many files so many bytes are cut, each as near to the target as can be.
static uint64_t files_of(uint64_t bytes, uint64_t target) {
    uint64_t fewer = bytes / target > 0 ? bytes / target : 1;
    double much = (double)bytes / (double)fewer - (double)target;
    double little = (double)target - (double)bytes / (double)(fewer + 1);
    return much > little ? fewer + 1 : fewer;
}

static bool good(uint64_t bytes, uint64_t target) {
    double each = share(bytes / files_of(bytes, target), target);
    return each + AIM >= 100 && each <= 100 + AIM;
}

static bool same_folder(const struct sink *sink, size_t one, size_t other) {
    return strcmp(sink->staged[one].facts.path, sink->staged[other].facts.path) == 0;
}

static uint64_t bytes_of(const struct sink *sink, size_t index) {
    return sink->staged[index].facts.bytes;
}

static uint64_t rows_in(const struct sink *sink, const struct merge_group *group) {
    uint64_t rows = 0;
    for (size_t i = 0; i < group->count; i++)
        rows += sink->staged[group->first + i].facts.rows;
    return rows;
}

// Would it only cut the same bytes otherwise? Files of a size that can't be met stay.
static bool gains(const struct sink *sink, const struct merge_group *group,
                  uint64_t bytes) {
    uint64_t each = bytes / group->outputs;
    if (group->outputs != group->count || good(bytes, sink->copy->file_bytes))
        return true;
    for (size_t i = group->first; i < group->first + group->count; i++) {
        double is = share(bytes_of(sink, i), each);
        if (is < 90 || is > 110) return true;
    }
    return false;
}

// The files [from, to) are one folder's. Neighbours from a bad one on are taken together
// until they make good files; at the folder's end those before it too.
static void plan_folder(const struct sink *sink, size_t from, size_t to,
                        struct merge *merge) {
    uint64_t target = sink->copy->file_bytes;
    size_t first_group = merge->group_count;
    for (size_t i = from; i < to;) {
        double is = share(bytes_of(sink, i), target);
        uint64_t bytes = 0;
        size_t first = i, end = i;
        if (is >= LEAST && is <= MOST) {
            i++;
            continue;
        }
        do {
            bytes += bytes_of(sink, end++);
        } while (end < to && !good(bytes, target));
        while (first > from && !good(bytes, target)) {
            size_t last = merge->group_count;
            bool grouped =
                last > first_group &&
                merge->groups[last - 1].first + merge->groups[last - 1].count == first;
            size_t before =
                grouped ? merge->groups[--merge->group_count].first : first - 1;
            while (first > before) bytes += bytes_of(sink, --first);
        }
        struct merge_group group = {first, end - first, 0};
        uint64_t rows = rows_in(sink, &group), outputs = files_of(bytes, target);
        if (outputs > rows) outputs = rows > 0 ? rows : 1;  // a row is not cut
        group.outputs = (uint32_t)outputs;
        if (gains(sink, &group, bytes)) merge->groups[merge->group_count++] = group;
        i = end;
    }
}

static int by_size(const void *one, const void *other) {
    const struct staged_file *a = one, *b = other;
    return (a->facts.bytes > b->facts.bytes) - (a->facts.bytes < b->facts.bytes);
}

static void plan_groups(struct sink *sink, struct merge *merge) {
    for (size_t from = 0, to; from < sink->staged_count; from = to) {
        for (to = from + 1; to < sink->staged_count && same_folder(sink, from, to);) to++;
        if (!sink->ordered)
            qsort(sink->staged + from, to - from, sizeof *sink->staged, by_size);
        plan_folder(sink, from, to, merge);
    }
}

// ---- their tasks

static void append_files(struct text *sql, char *const *paths, size_t count) {
    text_append(sql, "FROM read_parquet([");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) text_append(sql, ", ");
        text_append_literal(sql, paths[i]);
    }
    text_append(sql, "], hive_partitioning = false)");
}

// The rows [from, to) of the group's files, one behind the other: whole files by one
// scan, a part of one by the numbers of its rows.
static char *rows_sql(const struct sink *sink, const struct merge_group *group,
                      uint64_t from, uint64_t to) {
    struct text sql = {0};
    char **whole = calloc(group->count + 1, sizeof *whole);
    size_t count = 0;
    uint64_t begin = 0;
    if (whole == NULL) return NULL;
    for (size_t i = 0; i < group->count; i++) {
        const struct staged_file *file = &sink->staged[group->first + i];
        uint64_t end = begin + file->facts.rows;
        bool all = from <= begin && end <= to;
        bool last = i + 1 == group->count;
        if (all && file->facts.rows > 0) whole[count++] = file->source;
        if (count > 0 && (!all || last)) {
            text_append(&sql, sql.size > 0 ? " UNION ALL " : "");
            append_files(&sql, whole, count);
            count = 0;
        }
        if (!all && begin < to && from < end) {
            text_append(&sql, sql.size > 0 ? " UNION ALL " : "");
            append_files(&sql, (char *const *)&file->source, 1);
            text_printf(&sql, " WHERE file_row_number BETWEEN %llu AND %llu",
                        (unsigned long long)(from > begin ? from - begin : 0),
                        (unsigned long long)((to < end ? to : end) - begin - 1));
        }
        begin = end;
    }
    free(whole);
    return text_take(&sql);
}

static bool plan_jobs(const struct sink *sink, struct merge *merge) {
    size_t count = 0;
    for (size_t g = 0; g < merge->group_count; g++) count += merge->groups[g].outputs;
    merge->jobs = calloc(count + 1, sizeof *merge->jobs);
    if (merge->jobs == NULL) return false;
    for (size_t g = 0; g < merge->group_count; g++) {
        const struct merge_group *group = &merge->groups[g];
        uint64_t rows = rows_in(sink, group);
        for (uint64_t o = 0; o < group->outputs; o++) {
            struct merge_job *job = &merge->jobs[merge->job_count++];
            job->group = g;
            job->sql = rows_sql(sink, group, rows * o / group->outputs,
                                rows * (o + 1) / group->outputs);
            if (job->sql == NULL) return false;
        }
    }
    return true;
}

shoal_status merge_plan(struct sink *sink, struct merge *merge, struct shoal_error *err) {
    *merge = (struct merge){0};
    if (sink->copy->rewrite_options == NULL || sink->rows == 0) return SHOAL_OK;
    merge->groups = calloc(sink->staged_count + 1, sizeof *merge->groups);
    if (merge->groups == NULL) return shoal_no_memory(err);
    plan_groups(sink, merge);
    return plan_jobs(sink, merge) ? SHOAL_OK : shoal_no_memory(err);
}

bool merge_task(const struct sink *sink, const struct merge *merge, size_t job,
                struct task *task) {
    const struct copy *copy = sink->copy;
    struct text file = {0}, options = {0}, sql = {0};
    text_printf(&file, "data_0.%s", copy->extension);
    text_printf(&options, "%s%s", copy->rewrite_options,
                sink->ordered || copy->sort_by ? ", PRESERVE_ORDER true" : "");
    text_printf(&sql, copy->sort_by ? "FROM (%s) ORDER BY %s" : "%s",
                merge->jobs[job].sql, copy->sort_by);
    task->sql = text_take(&sql);
    task->copy_file = text_take(&file);
    task->copy_options = text_take(&options);
    task->copy_counts = true;
    task->copy_statistics =
        sink->kind->statistics || sink->copy->answer == ANSWER_STATISTICS;
    return task->sql != NULL && task->copy_file != NULL && task->copy_options != NULL;
}

void merge_free(struct merge *merge) {
    for (size_t i = 0; i < merge->job_count; i++) free(merge->jobs[i].sql);
    free(merge->jobs);
    free(merge->groups);
    *merge = (struct merge){0};
}

// ---- what they wrote

static bool take_written(const struct staged_file *read, const struct task_file *file,
                         struct staged_file *to) {
    const struct written_file *written = &file->written[0];
    *to = (struct staged_file){.source = sink_join(file->path, written->path)};
    if (to->source == NULL || !staged_copy_facts(&to->facts, written)) return false;
    free(to->facts.path);
    to->facts.path = strdup(read->facts.path);
    if (read->facts.partition != NULL)
        to->facts.partition = strdup(read->facts.partition);
    return to->facts.path != NULL &&
           (read->facts.partition == NULL || to->facts.partition != NULL);
}

shoal_status merge_take(struct sink *sink, const struct merge *merge,
                        const struct task_file *written, struct shoal_error *err) {
    size_t job = 0, count = 0, next = 0;
    struct staged_file *staged =
        calloc(sink->staged_count + merge->job_count + 1, sizeof *staged);
    bool ok = staged != NULL;
    for (size_t g = 0; ok && g < merge->group_count; g++) {
        const struct merge_group *group = &merge->groups[g];
        for (; next < group->first; next++) {
            staged[count++] = sink->staged[next];
            sink->staged[next] = (struct staged_file){0};
        }
        for (; ok && job < merge->job_count && merge->jobs[job].group == g; job++)
            ok = take_written(&sink->staged[group->first], &written[job],
                              &staged[count++]);
        for (; next < group->first + group->count; next++)
            (void)unlink(sink->staged[next].source);  // else it goes with the staging
    }
    for (; ok && next < sink->staged_count; next++) {
        staged[count++] = sink->staged[next];
        sink->staged[next] = (struct staged_file){0};
    }
    staged_files_free(sink->staged, sink->staged_count);
    sink->staged = staged;
    sink->staged_count = staged == NULL ? 0 : count;
    return ok ? SHOAL_OK : shoal_no_memory(err);
}
