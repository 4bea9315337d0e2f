// A task that writes the query's rows to files for good, in any format of DuckDB's COPY.
// DuckDB says which files it wrote: a COPY in a WITH gives its answer as rows.
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/spool.h"
#include "base/text.h"
#include "task/executor.h"

// The answer's columns, all text: path, rows of the file (or of all files, where the
// format's writer doesn't count them), footer's bytes, row groups, statistics, partition.
static const char counted[] =
    "SELECT filename, count::VARCHAR, footer_size_bytes::VARCHAR, "
    "coalesce((extra_info['row_group_count'])::VARCHAR, '0'), %s, "
    "to_json(partition_keys)::VARCHAR FROM shoal_written ORDER BY filename";
static const char listed[] =
    "SELECT unnest(\"Files\") AS f, \"Count\"::VARCHAR, '0', '0', NULL::VARCHAR, "
    "NULL::VARCHAR FROM shoal_written ORDER BY f";

static char *copy_sql(const struct task *task, const char *path) {
    struct text sql = {0};
    text_printf(&sql, "WITH shoal_written AS (COPY (%s) TO ", task->sql);
    text_append_literal(&sql, path);
    text_printf(&sql, " (%s, %s)) ", task->copy_options,
                task->copy_counts ? "RETURN_STATS" : "RETURN_FILES");
    if (task->copy_counts) {
        text_printf(&sql, counted,
                    task->copy_statistics ? "to_json(column_statistics)::VARCHAR"
                                          : "NULL::VARCHAR");
    } else {
        text_append(&sql, listed);
    }
    return text_take(&sql);
}

static shoal_status run_copy(struct duck_conn *conn, const struct task *task,
                             struct duck_result **answer, struct shoal_error *err) {
    struct text path = {0};
    *answer = NULL;
    text_append(&path, task->output);
    if (task->copy_file != NULL) {
        text_printf(&path, "/%s", task->copy_file);
        if (mkdir(task->output, 0777) != 0) {
            text_free(&path);
            return shoal_fail(err, SHOAL_IO, "cannot make the folder %s: %s",
                              task->output, strerror(errno));
        }
    }
    char *sql = path.failed ? NULL : copy_sql(task, path.data);
    shoal_status status =
        sql == NULL ? shoal_no_memory(err) : duck_query_text(conn, sql, answer, err);
    free(sql);
    text_free(&path);
    return status;
}

static uint64_t number(const char *text) {
    return text == NULL ? 0 : strtoull(text, NULL, 10);
}

static bool copy_text(char **to, const char *text) {
    *to = text == NULL ? NULL : strdup(text);
    return text == NULL || *to != NULL;
}

static shoal_status take_file(const struct task *task, const struct duck_result *answer,
                              size_t row, struct written_file *file,
                              struct shoal_error *err) {
    const char *path = duck_result_text(answer, 0, row);
    size_t folder = strlen(task->output);
    struct stat at;
    if (path == NULL || strncmp(path, task->output, folder) != 0 || path[folder] != '/') {
        return shoal_fail(err, SHOAL_INTERNAL, "COPY wrote %s, which is not below %s",
                          path ? path : "nothing", task->output);
    }
    if (lstat(path, &at) != 0) {
        return shoal_fail(err, SHOAL_IO, "cannot read %s, just written: %s", path,
                          strerror(errno));
    }
    file->bytes = (uint64_t)at.st_size;
    if (task->copy_counts) file->rows = number(duck_result_text(answer, 1, row));
    file->footer_bytes = number(duck_result_text(answer, 2, row));
    file->row_groups = number(duck_result_text(answer, 3, row));
    bool ok = copy_text(&file->path, path + folder + 1) &&
              copy_text(&file->statistics, duck_result_text(answer, 4, row)) &&
              copy_text(&file->partition, duck_result_text(answer, 5, row));
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

// The answer's rows as the written files of *file; *rows: of all together.
static shoal_status take_files(const struct task *task, const struct duck_result *answer,
                               struct task_file *file, uint64_t *rows,
                               struct shoal_error *err) {
    size_t count = duck_result_rows(answer);
    shoal_status status = SHOAL_OK;
    file->written = calloc(count + 1, sizeof *file->written);
    if (file->written == NULL) return shoal_no_memory(err);
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        struct written_file *written = &file->written[file->written_count++];
        status = take_file(task, answer, i, written, err);
        file->bytes += written->bytes;
        *rows += written->rows;
    }
    if (!task->copy_counts && count > 0) *rows = number(duck_result_text(answer, 1, 0));
    return status;
}

shoal_status duck_copy_task(struct duck_conn *conn, const struct task *task,
                            struct task_output *output, struct shoal_error *err) {
    uint64_t rows = 0;
    struct duck_result *answer = NULL;
    shoal_status status = run_copy(conn, task, &answer, err);
    output->files = calloc(1, sizeof *output->files);
    if (status == SHOAL_OK && output->files == NULL) status = shoal_no_memory(err);
    if (status == SHOAL_OK) {
        struct task_file *file = output->files;
        output->count = 1;
        output->partitions = 1;
        status = take_files(task, answer, file, &rows, err);
        if (status == SHOAL_OK) {
            file->path = strdup(task->output);
            if (file->path == NULL || !sizes_make(&file->rows, &rows, 1))
                status = shoal_no_memory(err);
        }
    }
    duck_result_free(answer);
    if (status != SHOAL_OK) {
        task_output_free(output);
        spool_remove_tree(task->output);
    }
    return status;
}
