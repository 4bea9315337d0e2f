// DuckDB's store_rejects does the work, in each task, and only where it is asked for: the
// statement's calls of read_csv are found by their tokens and get its options, so that
// views stay as they are. Attempts of tasks hand over files, those that count are put
// together; a file that several tasks read (a broadcast side) is in there once.
#include "query/rejects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "task/rejects.h"

static bool is_csv(const char *path) {
    static const char *const endings[] = {".csv",    ".tsv",     ".csv.gz",
                                          ".tsv.gz", ".csv.zst", ".tsv.zst"};
    size_t size = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t length = strlen(endings[i]);
        if (size > length && strcasecmp(path + size - length, endings[i]) == 0)
            return true;
    }
    return false;
}

// The CSV file that is named where a table stands: 'x/a.csv', "a.csv", or a.csv, which
// could be a table too. *end is past it. NULL: it is none.
static char *named_file(const char *at, const char **end) {
    static const char name[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    bool quoted = *at == '\'' || *at == '"';
    char *path = quoted ? duck_token_unquoted(at, *at) : strndup(at, strspn(at, name));
    *end = quoted ? duck_token_end(at) : at + strspn(at, name);
    if (path != NULL && is_csv(path) && (quoted || access(path, F_OK) == 0)) return path;
    free(path);
    return NULL;
}

// The name that a file has as a table, "a b" of 'x/a b.csv', unless another follows.
static void append_alias(struct text *out, const char *path, const char *end) {
    static const char *const clauses[] = {
        "where",      "group",       "order",   "limit",  "having", "window",
        "join",       "inner",       "left",    "right",  "full",   "cross",
        "semi",       "anti",        "asof",    "on",     "using",  "union",
        "except",     "intersect",   "qualify", "offset", "select", "natural",
        "positional", "tablesample", NULL};
    const char *next = duck_token_start(end), *slash = strrchr(path, '/');
    bool clause = *next == '\0' || *next == ')' || *next == ',' || *next == ';' ||
                  duck_token_one_of(next, clauses);
    if (!clause) return;
    const char *file = slash == NULL ? path : slash + 1;
    char *name = strndup(file, strcspn(file, "."));
    text_append(out, " AS ");
    text_append_identifier(out, name ? name : "");
    out->failed = out->failed || name == NULL;
    free(name);
}

shoal_status rejects_rewrite(const char *sql, char **rewritten, struct shoal_error *err) {
    struct text out = {0};
    const char *copied = sql;
    bool table = false;  // a table may stand here
    for (const char *at = duck_token_start(sql); *at; at = duck_token_next(at)) {
        const char *next = duck_token_next(at);
        bool call = *next == '(' &&
                    (duck_token_is(at, "read_csv") || duck_token_is(at, "read_csv_auto"));
        const char *end = call ? duck_token_past(next) : NULL, *past = NULL;
        char *path = table && !call ? named_file(at, &past) : NULL;
        if (end != NULL) {
            text_append_bytes(&out, copied, (size_t)(end - 1 - copied));
            text_append(&out, ", " REJECTS_OPTIONS);
            copied = end - 1;
        } else if (path != NULL) {
            text_append_bytes(&out, copied, (size_t)(at - copied));
            text_append(&out, "read_csv(");
            text_append_literal(&out, path);
            text_append(&out, ", " REJECTS_OPTIONS ")");
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

// "rejects-20261126T013000-123.csv", which no other process takes.
static char *file_name(const struct rejects *rejects) {
    struct text name = {0};
    struct tm utc;
    char stamp[32];
    time_t now = time(NULL);
    gmtime_r(&now, &utc);
    (void)strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &utc);
    text_printf(&name, "%s/rejects-%s-%d-%u.csv", rejects->folder, stamp, (int)getpid(),
                rejects->written);
    return text_take(&name);
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
                "COPY (SELECT DISTINCT * FROM read_parquet([%s]) ORDER BY file, "
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
