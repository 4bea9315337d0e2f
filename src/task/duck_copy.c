// A task that writes the query's rows to files for good, in any format of DuckDB's COPY.
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/spool.h"
#include "base/text.h"
#include "task/executor.h"

// Bytes of the files in the folder and below.
static uint64_t count_bytes(const char *path) {
    DIR *folder = opendir(path);
    uint64_t bytes = 0;
    if (folder == NULL) return 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        struct text inside = {0};
        struct stat at;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        text_printf(&inside, "%s/%s", path, entry->d_name);
        if (!inside.failed && lstat(inside.data, &at) == 0)
            bytes +=
                S_ISDIR(at.st_mode) ? count_bytes(inside.data) : (uint64_t)at.st_size;
        text_free(&inside);
    }
    closedir(folder);
    return bytes;
}

static shoal_status run_copy(struct duck_conn *conn, const struct task *task,
                             uint64_t *rows, struct shoal_error *err) {
    struct text path = {0}, sql = {0};
    struct duck_result *result = NULL;
    shoal_status status = SHOAL_OK;
    text_append(&path, task->output);
    if (task->copy_file != NULL) {
        text_printf(&path, "/%s", task->copy_file);
        if (mkdir(task->output, 0777) != 0) {
            status = shoal_fail(err, SHOAL_IO, "cannot make the folder %s: %s",
                                task->output, strerror(errno));
        }
    }
    text_printf(&sql, "COPY (%s) TO ", task->sql);
    if (!path.failed) text_append_literal(&sql, path.data);
    text_printf(&sql, " (%s)", task->copy_options);
    if (status == SHOAL_OK && (sql.failed || path.failed)) status = shoal_no_memory(err);
    if (status == SHOAL_OK) status = duck_query(conn, sql.data, &result, err);
    if (status == SHOAL_OK && duck_result_rows(result) > 0)
        *rows = strtoull(duck_result_text(result, 0, 0), NULL, 10);
    duck_result_free(result);
    text_free(&path);
    text_free(&sql);
    return status;
}

shoal_status duck_copy_task(struct duck_conn *conn, const struct task *task,
                            struct task_output *output, struct shoal_error *err) {
    uint64_t rows = 0;
    shoal_status status = run_copy(conn, task, &rows, err);
    struct task_file file = {.path = strdup(task->output),
                             .bytes = count_bytes(task->output)};
    output->files = calloc(1, sizeof *output->files);
    bool made =
        file.path != NULL && output->files != NULL && sizes_make(&file.rows, &rows, 1);
    if (status == SHOAL_OK && !made) status = shoal_no_memory(err);
    if (status != SHOAL_OK) {
        free(file.path);
        sizes_free(&file.rows);
        spool_remove_tree(task->output);
        return status;
    }
    output->files[0] = file;
    output->count = 1;
    output->partitions = 1;
    return SHOAL_OK;
}
