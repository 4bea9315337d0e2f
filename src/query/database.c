// The database of --db: several programs may read one file, but only one may write it,
// and then no other reads. So it is attached to be read, until a statement needs more; a
// file that is not there is made by the first CREATE TABLE, not by a mistyped name. Its
// tables are found behind the session's own, and CREATE TABLE makes them there; views,
// macros and types are of the session.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "query/session.h"

#define NAME "shoal_db"
#define READ_PATH "memory.main," NAME ".main"

static shoal_status attach(struct session *session, enum database how,
                           struct shoal_error *err) {
    struct text sql = {0};
    // Its transaction and the job's log are not one: what is inserted could be twice.
    if (how == DATABASE_WRITE && session->options.job != NULL)
        return shoal_fail(err, SHOAL_USER,
                          "a job can't write to the database %s of --db, as it could not "
                          "tell after a crash whether it has: write files or a Delta "
                          "table, or run without --job",
                          session->options.db);
    text_append(&sql, "ATTACH ");
    text_append_literal(&sql, session->options.db);
    text_append(&sql, how == DATABASE_READ ? " AS " NAME " (READ_ONLY)" : " AS " NAME);
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : duck_run(session->conn, sql.data, err);
    text_free(&sql);
    if (status == SHOAL_OK) session->database = how;
    return status;
}

shoal_status database_check_job(struct session *session, struct shoal_error *err) {
    static const char writable[] =
        "SELECT any_value(database_name) FROM duckdb_databases() WHERE NOT internal AND "
        "NOT readonly AND path IS NOT NULL";
    char *name = NULL;
    shoal_status status = duck_scalar(session->conn, writable, &name, err);
    if (status == SHOAL_OK && name != NULL)
        status = shoal_fail(err, SHOAL_USER,
                            "a job can't write to an attached database (%s), as it could "
                            "not tell after a crash whether it has: attach it with "
                            "(READ_ONLY), and write files or a Delta table",
                            name);
    free(name);
    return status;
}

shoal_status database_attach(struct session *session, struct shoal_error *err) {
    if (session->options.db == NULL) return SHOAL_OK;
    if (access(session->options.db, F_OK) != 0) {
        session->database = DATABASE_MISSING;
        return SHOAL_OK;
    }
    shoal_status status = attach(session, DATABASE_READ, err);
    return status == SHOAL_OK
               ? duck_run(session->conn, "SET search_path='" READ_PATH "'", err)
               : status;
}

static shoal_status make_writable(struct session *session, struct shoal_error *err) {
    struct shoal_error again;
    shoal_status status = duck_run(session->conn, "DETACH " NAME, err);
    if (status != SHOAL_OK) return status;
    status = attach(session, DATABASE_WRITE, err);
    if (status != SHOAL_OK && attach(session, DATABASE_READ, &again) != SHOAL_OK)
        *err = again;
    return status;
}

// What makes a file that is not there.
static bool makes_database(const char *sql) {
    const char *at = duck_token_start(sql);
    if (!duck_token_is(at, "create")) return false;
    return insert_creates_table(sql) || duck_token_is(duck_token_next(at), "schema");
}

// Settings and the session's own views, macros and tables.
static bool needs_no_database(const char *sql) {
    static const char *const words[] = {"create", "set",     "reset", "pragma", "load",
                                        "use",    "install", "begin", "start",  "attach"};
    const char *first = duck_token_start(sql);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (duck_token_is(first, words[i])) return true;
    }
    return false;
}

// Does the path stand as it was set here? A user's own is left alone.
static bool path_is(struct session *session, const char *wanted) {
    struct shoal_error ignored;
    char *path = NULL;
    (void)duck_scalar(session->conn, "SELECT current_setting('search_path')", &path,
                      &ignored);
    bool same = path != NULL && strcmp(path, wanted) == 0;
    free(path);
    return same;
}

static bool begins_transaction(const char *sql) {
    const char *word = duck_token_start(sql);
    return duck_token_is(word, "begin") || duck_token_is(word, "start");
}

// CREATE TABLE t: of the database, not of the session.
static shoal_status qualify(struct session *session, const char *sql, char **own,
                            struct shoal_error *err) {
    struct text text = {0};
    const char *name = insert_plain_name(sql);
    if (name == NULL || !path_is(session, READ_PATH)) return SHOAL_OK;
    text_append_bytes(&text, sql, (size_t)(name - sql));
    text_append(&text, NAME ".main.");
    text_append(&text, name);
    *own = text_take(&text);
    return *own == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

shoal_status database_enter(struct session *session, const char *sql, char **own,
                            struct shoal_error *err) {
    struct shoal_error ignored;
    shoal_status status = SHOAL_OK;
    *own = NULL;
    if (session->database == DATABASE_MISSING) {
        if (!makes_database(sql)) {
            if (needs_no_database(sql)) return SHOAL_OK;
            return shoal_fail(
                err, SHOAL_USER,
                "the database %s of --db is not there: give the name of one, "
                "or make it with CREATE TABLE",
                session->options.db);
        }
        status = attach(session, DATABASE_WRITE, err);
        if (status == SHOAL_OK)
            status = duck_run(session->conn, "SET search_path='" READ_PATH "'", err);
        if (status != SHOAL_OK) return status;
    }
    // In a transaction it is too late. What can't be written may still do for the
    // statement.
    if (session->database == DATABASE_READ &&
        (insert_begins(sql) || begins_transaction(sql)))
        (void)make_writable(session, &ignored);
    return session->database == DATABASE_NONE ? SHOAL_OK
                                              : qualify(session, sql, own, err);
}

bool database_retry(struct session *session, shoal_status *status,
                    struct shoal_error *err) {
    if (*status != SHOAL_USER || session->database != DATABASE_READ ||
        strstr(err->message, "\"" NAME "\" which is attached in read-only mode") == NULL)
        return false;
    *status = make_writable(session, err);
    if (*status == SHOAL_OK) return true;
    struct shoal_error why = *err;
    *status = shoal_fail(err, SHOAL_USER, "cannot write to the database %s: %.3500s",
                         session->options.db, why.message);
    return false;
}
