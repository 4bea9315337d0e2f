// Of CSV files DuckDB's store_rejects does the work, of JSON files lines/faults.c, in
// each task, and only where it is asked for: the statement's calls of read_csv and
// read_json are found by their tokens and get options that say so; views stay as they
// are. Attempts of tasks hand over files, those that count are put together; a file that
// several tasks read (a broadcast side) is in there once.
#include "query/rejects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "plan/limits.h"
#include "query/insert.h"
#include "query/json_rejects.h"
#include "task/rejects.h"

// Has the path one of the endings, compressed or not?
static bool ends_with_any(const char *path, const char *const *endings) {
    size_t size = strlen(path);
    if (size > 3 && strcasecmp(path + size - 3, ".gz") == 0) size -= 3;
    if (size > 4 && strcasecmp(path + size - 4, ".zst") == 0) size -= 4;
    for (size_t i = 0; endings[i] != NULL; i++) {
        size_t length = strlen(endings[i]);
        if (size > length && strncasecmp(path + size - length, endings[i], length) == 0)
            return true;
    }
    return false;
}

static bool is_json(const char *path) {
    static const char *const endings[] = {".json", ".jsonl", ".ndjson", NULL};
    return ends_with_any(path, endings);
}

static bool is_text(const char *path) {
    static const char *const endings[] = {".csv", ".tsv", NULL};
    return ends_with_any(path, endings) || is_json(path);
}

// The text file that is named where a table stands: 'x/a.csv', "a.csv", or a.csv, which
// could be a table too. *end is past it. NULL: it is none.
static char *named_file(const char *at, const char **end) {
    static const char name[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    bool quoted = *at == '\'' || *at == '"';
    char *path = quoted ? duck_token_unquoted(at, *at) : strndup(at, strspn(at, name));
    *end = quoted ? duck_token_end(at) : at + strspn(at, name);
    if (path != NULL && is_text(path) && (quoted || access(path, F_OK) == 0)) return path;
    free(path);
    return NULL;
}

// The name that a file has as a table, "a b" of 'x/a b.csv', unless another follows.
static void append_alias(struct text *out, const char *path, const char *end) {
    const char *slash = strrchr(path, '/');
    const char *file = slash == NULL ? path : slash + 1;
    char *name = strndup(file, strcspn(file, "."));
    json_append_alias(out, name ? name : "", end);
    out->failed = out->failed || name == NULL;
    free(name);
}

// A call that reads the file which is named in its place.
static void append_named(struct text *out, struct duck_conn *trial, const char *path) {
    struct text call = {0};
    const char *past;
    text_append(&call, is_json(path) ? "read_json_auto(" : "read_csv(");
    text_append_literal(&call, path);
    text_append(&call, is_json(path) ? ")" : ", " REJECTS_OPTIONS ")");
    out->failed = out->failed || call.failed;
    if (!call.failed && is_json(path)) {
        json_call_mark(out, trial, call.data, &past);
    } else if (!call.failed) {
        text_append(out, call.data);
    }
    text_free(&call);
}

// Does the statement read rows for once? What it keeps of its text (a view) is not to be
// read otherwise ever after. What comes from a pipe can't be read twice.
static bool reads_once(const char *sql) {
    bool reads = duck_is_select(sql) || insert_begins(sql) ||
                 duck_token_is(duck_token_start(sql), "copy");
    return reads && !limits_pipe(sql);
}

shoal_status rejects_rewrite(struct duck_conn *trial, const char *sql, char **rewritten,
                             struct shoal_error *err) {
    struct text out = {0};
    const char *copied = sql;
    bool table = false;  // a table may stand here
    bool json = reads_once(sql);
    for (const char *at = duck_token_start(sql); *at; at = duck_token_next(at)) {
        const char *next = duck_token_next(at);
        bool csv = *next == '(' &&
                   (duck_token_is(at, "read_csv") || duck_token_is(at, "read_csv_auto"));
        const char *end = csv ? duck_token_past(next) : NULL, *past = NULL;
        char *path = table && *next != '(' ? named_file(at, &past) : NULL;
        if (end != NULL) {
            text_append_bytes(&out, copied, (size_t)(end - 1 - copied));
            text_append(&out, ", " REJECTS_OPTIONS);
            copied = end - 1;
        } else if (json && json_call_begins(at) && json_call_keeps(at)) {
            text_append_bytes(&out, copied, (size_t)(at - copied));
            json_call_mark(&out, trial, at, &copied);
        } else if (path != NULL && (json || !is_json(path))) {
            text_append_bytes(&out, copied, (size_t)(at - copied));
            append_named(&out, trial, path);
            append_alias(&out, path, past);
            copied = past;
        }
        free(path);
        table = duck_token_is(at, "from") || duck_token_is(at, "join");
    }
    text_append(&out, copied);
    *rewritten = text_take(&out);
    return *rewritten == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

bool rejects_add(struct rejects *rejects, const char *path) {
    text_append(&rejects->files, rejects->files.size ? ", " : "");
    text_append_literal(&rejects->files, path);
    return !rejects->files.failed;
}

void rejects_free(struct rejects *rejects) {
    text_free(&rejects->files);
}

// "rejects-20261126T013000Z-123-0.csv", which no other process takes, nor another
// statement of this one in the same second.
static char *file_name(const struct rejects *rejects) {
    struct tm utc;
    char stamp[32];
    bool job = rejects->job[0] != '\0';
    time_t now = job ? rejects->began : time(NULL);
    gmtime_r(&now, &utc);
    (void)strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &utc);
    for (unsigned number = rejects->written;; number++) {
        struct text name = {0};
        text_printf(&name, "%s/rejects-%s-", rejects->folder, stamp);
        if (job) text_append(&name, rejects->job);
        if (!job) text_printf(&name, "%d", (int)getpid());
        text_printf(&name, "-%u.csv", number);
        char *path = text_take(&name);
        if (path == NULL || job || access(path, F_OK) != 0) return path;
        free(path);
    }
}

// All that is known so far into `part`, which then becomes `target`.
static shoal_status write_file(const struct rejects *rejects, struct duck_conn *conn,
                               const char *part, const char *target, uint64_t *rows,
                               struct shoal_error *err) {
    struct text sql = {0}, all = {0};
    char *count = NULL;
    text_printf(&all, "SELECT count(DISTINCT (file, line)) FROM read_parquet([%s])",
                rejects->files.data);
    text_printf(&sql,
                "COPY (SELECT DISTINCT * FROM read_parquet([%s]) ORDER BY file, line, "
                "byte_position, \"column\") TO ",
                rejects->files.data);
    text_append_literal(&sql, part);
    text_append(&sql, " (FORMAT csv, HEADER)");
    shoal_status status =
        sql.failed || all.failed ? shoal_no_memory(err) : duck_run(conn, sql.data, err);
    if (status == SHOAL_OK) status = duck_scalar(conn, all.data, &count, err);
    if (status == SHOAL_OK && rename(part, target) != 0) {
        status =
            shoal_fail(err, SHOAL_IO, "cannot write %s: %s", target, strerror(errno));
    }
    *rows = count == NULL ? 0 : strtoull(count, NULL, 10);
    free(count);
    text_free(&sql);
    text_free(&all);
    return status;
}

shoal_status rejects_settle(struct rejects *rejects, struct duck_conn *conn,
                            struct shoal_error *err) {
    struct text own = {0}, part = {0};
    uint64_t rows = 0;
    if (mkdir(rejects->folder, 0777) != 0 && errno != EEXIST) {
        return shoal_fail(err, SHOAL_USER, "cannot make the folder for rejects %s: %s",
                          rejects->folder, strerror(errno));
    }
    text_printf(&own, "%s/.rejects-%d.parquet", rejects->folder, (int)getpid());
    text_printf(&part, "%s/.rejects-%d.csv", rejects->folder, (int)getpid());
    char *target = file_name(rejects);
    shoal_status status = own.failed || part.failed || target == NULL
                              ? shoal_no_memory(err)
                              : rejects_take(conn, own.data, &rows, err);
    if (status == SHOAL_OK && rows > 0 && !rejects_add(rejects, own.data))
        status = shoal_no_memory(err);
    if (status == SHOAL_OK && rejects->files.size > 0) {
        status = write_file(rejects, conn, part.data, target, &rows, err);
        if (status == SHOAL_OK) {
            rejects->rows += rows;
            rejects->written++;
            fprintf(stderr, "shoal: rejected rows: %llu, kept in %s\n",
                    (unsigned long long)rows, target);
        }
        text_free(&rejects->files);
    }
    if (!own.failed) unlink(own.data);
    if (!part.failed && status != SHOAL_OK) unlink(part.data);
    if (status == SHOAL_OK && rejects->rows > rejects->limit) {
        status = shoal_fail(err, SHOAL_USER,
                            "%llu rows are rejected, more than REJECTS_LIMIT %llu: "
                            "they are kept in %s",
                            (unsigned long long)rejects->rows,
                            (unsigned long long)rejects->limit, rejects->folder);
    }
    text_free(&own);
    text_free(&part);
    free(target);
    return status;
}
