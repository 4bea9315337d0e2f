// Files are made by threads that each take the next one and hand its rows to DuckDB's
// writer. So a file has one writer, memory is that of a row group a thread, and what is
// in a file does not depend on which thread was quicker.
#include "gen/skew.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/spool.h"
#include "base/text.h"
#include "gen/source.h"

// ---- the folder

static bool is_dot(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

// Nothing that this program did not make is replaced.
static shoal_status check_entries(const char *folder, DIR *entries, bool overwrite,
                                  struct shoal_error *err) {
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        const char *name = entry->d_name;
        if (is_dot(name)) continue;
        if (!overwrite)
            return shoal_fail(err, SHOAL_USER,
                              "the folder %s is not empty: choose another, or replace it "
                              "with --overwrite",
                              folder);
        if (strcmp(name, "fact") != 0 && strcmp(name, "dim") != 0)
            return shoal_fail(err, SHOAL_USER,
                              "the folder %s holds %s, which shoal gen did not make, and "
                              "is not replaced: choose another",
                              folder, name);
    }
    return SHOAL_OK;
}

static shoal_status check_folder(const char *folder, bool overwrite,
                                 struct shoal_error *err) {
    struct stat at;
    if (lstat(folder, &at) != 0 && errno == ENOENT) return SHOAL_OK;
    DIR *entries = opendir(folder);
    if (entries == NULL)
        return shoal_fail(err, SHOAL_USER, "cannot write into %s: %s", folder,
                          strerror(errno));
    shoal_status status = check_entries(folder, entries, overwrite, err);
    closedir(entries);
    return status;
}

static shoal_status folder_failed(const char *folder, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_IO, "cannot write the folder %s: %s", folder,
                      strerror(errno));
}

// By one rename, or one exchange with the old folder, which is then removed with staging.
static shoal_status publish(const char *staging, const char *folder, bool overwrite,
                            struct shoal_error *err) {
    struct text ready = {0}, old = {0};
    text_printf(&ready, "%s/ready", staging);
    text_printf(&old, "%s/old", staging);
    shoal_status status = ready.failed || old.failed ? shoal_no_memory(err) : SHOAL_OK;
    if (status != SHOAL_OK || io_rename(FAULT_COMMIT_RENAME, ready.data, folder) == 0)
        goto out;
    if (errno != EEXIST && errno != ENOTEMPTY) {
        status = folder_failed(folder, err);
        goto out;
    }
    status = check_folder(folder, overwrite, err);  // it may have come meanwhile
    if (status != SHOAL_OK || io_swap(FAULT_COMMIT_SWAP, ready.data, folder) == 0)
        goto out;
    if ((errno != EINVAL && errno != ENOSYS) ||
        io_rename(FAULT_COMMIT_RENAME, folder, old.data) != 0) {
        status = folder_failed(folder, err);
    } else if (io_rename(FAULT_COMMIT_RENAME, ready.data, folder) != 0) {
        status = folder_failed(folder, err);
        (void)io_rename(FAULT_UNDO_MOVE, old.data, folder);
    }
out:
    text_free(&ready);
    text_free(&old);
    return status;
}

// Makes a hidden folder beside the target, with ready/fact and ready/dim in it.
static shoal_status stage(struct spool *staging, const char *folder,
                          struct shoal_error *err) {
    static const char *const names[] = {"ready", "ready/fact", "ready/dim"};
    const char *slash = strrchr(folder, '/');
    char *parent = slash == NULL     ? strdup(".")
                   : slash == folder ? strdup("/")
                                     : strndup(folder, (size_t)(slash - folder));
    if (parent == NULL) return shoal_no_memory(err);
    shoal_status status = spool_open_as(staging, parent, SPOOL_STAGING "gen-", NULL, err);
    free(parent);
    for (size_t i = 0; status == SHOAL_OK && i < sizeof names / sizeof *names; i++) {
        struct text path = {0};
        text_printf(&path, "%s/%s", staging->path, names[i]);
        if (path.failed) {
            status = shoal_no_memory(err);
        } else if (mkdir(path.data, 0777) != 0) {
            status = folder_failed(path.data, err);
        }
        text_free(&path);
    }
    return status;
}

// ---- the files

struct writers {
    struct making making;
    const char *staging;
    struct duck *duck;
    atomic_uint next;  // file
    pthread_mutex_t mutex;
    struct shoal_error first;  // error; guarded by mutex
};

static shoal_status write_file(struct writers *writers, struct duck_conn *conn,
                               uint32_t file, struct shoal_error *err) {
    bool fact = file < writers->making.fact_files;
    uint32_t number = fact ? file : file - writers->making.fact_files;
    struct text sql = {0}, path = {0};
    text_printf(&path, "%s/ready/%s/part-%05u.parquet", writers->staging,
                fact ? "fact" : "dim", number);
    text_append(&sql, "COPY (");
    skew_source_select(&sql, fact, number);
    text_append(&sql, ") TO ");
    if (!path.failed) text_append_literal(&sql, path.data);
    text_append(&sql, " (FORMAT parquet)");
    shoal_status status =
        sql.failed || path.failed ? shoal_no_memory(err) : duck_run(conn, sql.data, err);
    text_free(&sql);
    text_free(&path);
    return status;
}

static void *write_files(void *argument) {
    struct writers *writers = argument;
    struct duck_conn *conn = NULL;
    struct shoal_error err;
    uint32_t files = writers->making.fact_files + writers->making.dim_files;
    shoal_status status = duck_connect(writers->duck, &conn, &err);
    while (status == SHOAL_OK && !writers->making.failed) {
        uint32_t file = atomic_fetch_add(&writers->next, 1);
        if (file >= files) break;
        status = write_file(writers, conn, file, &err);
    }
    duck_disconnect(conn);
    if (status == SHOAL_OK) return NULL;
    // The first says why; others fail because it did.
    pthread_mutex_lock(&writers->mutex);
    if (!writers->making.failed) writers->first = err;
    writers->making.failed = true;
    pthread_mutex_unlock(&writers->mutex);
    return NULL;
}

// This thread is one of them.
static shoal_status run_writers(struct writers *writers, uint32_t count,
                                struct shoal_error *err) {
    pthread_t *threads = calloc(count, sizeof *threads);
    uint32_t started = 0;
    if (threads == NULL) return shoal_no_memory(err);
    while (started + 1 < count &&
           pthread_create(&threads[started], NULL, write_files, writers) == 0)
        started++;
    (void)write_files(writers);
    for (uint32_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
    free(threads);
    if (!writers->making.failed) return SHOAL_OK;
    *err = writers->first;
    return err->status;
}

static uint32_t files_of(uint32_t wanted, uint64_t rows) {
    return rows < wanted ? (uint32_t)rows : wanted;
}

static shoal_status write_tables(struct writers *writers, uint32_t threads,
                                 struct shoal_error *err) {
    // A statement runs in the thread that calls it: DuckDB needs none of its own.
    const struct duck_options duck = {.threads = 1};
    struct duck_conn *conn = NULL;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (threads == 0) threads = cores > 0 ? (uint32_t)cores : 1;
    shoal_status status = duck_open(&writers->duck, &duck, err);
    if (status == SHOAL_OK) status = duck_connect(writers->duck, &conn, err);
    // Where a file can't be finished, DuckDB 2.0.0 may wait for its asynchronous writes
    // with a lock that they need, for ever.
    if (status == SHOAL_OK) status = duck_run(conn, "SET async_threads = 0", err);
    skew_source_set(&writers->making);
    if (status == SHOAL_OK) status = duck_register_source(conn, &skew_source, err);
    if (status == SHOAL_OK) status = run_writers(writers, threads, err);
    skew_source_set(NULL);
    duck_disconnect(conn);
    duck_close(writers->duck);
    return status;
}

shoal_status skew_check(const struct skew_options *options, struct shoal_error *err) {
    uint64_t more = options->dim_rows - 1;
    if (more == 0 || options->hot_keys <= (SKEW_MOST - options->keys) / more)
        return SHOAL_OK;
    return shoal_fail(err, SHOAL_USAGE,
                      "the dimension would have more than %llu rows: it has each of the "
                      "%llu hot keys %llu times (--hot-rows)",
                      (unsigned long long)SKEW_MOST,
                      (unsigned long long)options->hot_keys,
                      (unsigned long long)options->dim_rows);
}

static void describe(const struct making *making, struct skew_made *made) {
    const struct skew_options *options = &making->rows.options;
    double rest = 1 - options->hot_share - options->null_share;
    made->dim_rows = making->rows.dim_rows;
    made->fact_files = making->fact_files;
    made->dim_files = making->dim_files;
    made->hot_key = rows_key(&making->rows, 1);
    made->hot_share = options->hot_share / (double)options->hot_keys +
                      rest * zipf_share(&making->rows.zipf, 1);
}

shoal_status skew_write(const char *folder, const struct skew_options *options,
                        struct skew_made *made, struct shoal_error *err) {
    struct writers writers = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct spool staging = {.lock = -1};
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    char *target = strndup(folder, length);
    if (target == NULL) return shoal_no_memory(err);
    shoal_status status = skew_check(options, err);
    if (status == SHOAL_OK) status = check_folder(target, options->overwrite, err);
    if (status == SHOAL_OK) status = stage(&staging, target, err);
    if (status != SHOAL_OK) goto out;
    rows_init(&writers.making.rows, options);
    writers.making.fact_files = files_of(options->files, options->rows);
    writers.making.dim_files = files_of(options->files, writers.making.rows.dim_rows);
    writers.staging = staging.path;
    status = write_tables(&writers, options->threads, err);
    if (status == SHOAL_OK)
        status = publish(staging.path, target, options->overwrite, err);
    if (status == SHOAL_OK) describe(&writers.making, made);
out:
    spool_close(&staging);
    free(target);
    return status;
}
