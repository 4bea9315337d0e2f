// Open, configure, run: DuckDB's connections and small results.
#include "duck/duck.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "duck/internal.h"

const char *duck_version(void) {
    return duckdb_library_version();
}

// As a setting of a new database it is not heeded (DuckDB 2.0.0); set afterwards it is.
static shoal_status limit_spill(struct duck *duck, uint64_t bytes,
                                struct shoal_error *err) {
    struct duck_conn *conn = NULL;
    char sql[80];
    (void)snprintf(sql, sizeof sql, "SET max_temp_directory_size='%lluB'",
                   (unsigned long long)bytes);
    shoal_status status = duck_connect(duck, &conn, err);
    if (status == SHOAL_OK) status = duck_run(conn, sql, err);
    duck_disconnect(conn);
    return status;
}

// Functions that any statement may use, also while it is planned.
static shoal_status register_own(struct duck *duck, struct shoal_error *err) {
    struct duck_conn *conn;
    shoal_status status = duck_connect(duck, &conn, err);
    if (status != SHOAL_OK) return status;
    status = running_register(conn, err);
    if (status == SHOAL_OK) status = tie_register(conn, err);
    if (status == SHOAL_OK) status = sort_words_register(conn, err);
    if (status == SHOAL_OK) status = runs_register(conn, err);
    duck_disconnect(conn);
    return status;
}

shoal_status duck_open(struct duck **out, const struct duck_options *options,
                       struct shoal_error *err) {
    *out = NULL;
    struct duck *duck = calloc(1, sizeof *duck);
    duckdb_config config = NULL;
    char *message = NULL;
    char number[32];
    shoal_status status = SHOAL_OK;
    if (duck == NULL || duckdb_create_config(&config) != DuckDBSuccess) {
        status = shoal_fail(err, SHOAL_NOMEM, "out of memory for a DuckDB configuration");
        goto out;
    }
    if (options->threads > 0) {
        (void)snprintf(number, sizeof number, "%d", options->threads);
        duckdb_set_config(config, "threads", number);
    }
    if (options->memory_bytes > 0) {
        (void)snprintf(number, sizeof number, "%lluB",
                       (unsigned long long)options->memory_bytes);
        duckdb_set_config(config, "memory_limit", number);
    }
    if (options->temp_dir != NULL) {
        duckdb_set_config(config, "temp_directory", options->temp_dir);
    }
    duckdb_set_config(config, "autoinstall_known_extensions", "false");
    if (duckdb_open_ext(NULL, &duck->db, config, &message) != DuckDBSuccess) {
        status = shoal_fail(err, SHOAL_INTERNAL, "cannot open DuckDB: %s",
                            message ? message : "no reason given");
    }
    if (status != SHOAL_OK) goto out;
    status = register_own(duck, err);
    if (status == SHOAL_OK && options->temp_bytes > 0)
        status = limit_spill(duck, options->temp_bytes, err);
    if (status != SHOAL_OK) duckdb_close(&duck->db);
out:
    duckdb_free(message);
    duckdb_destroy_config(&config);
    if (status != SHOAL_OK) {
        free(duck);
    } else {
        *out = duck;
    }
    return status;
}

void duck_close(struct duck *duck) {
    if (duck == NULL) return;
    duckdb_close(&duck->db);
    free(duck);
}

shoal_status duck_connect(struct duck *duck, struct duck_conn **out,
                          struct shoal_error *err) {
    struct duck_conn *conn = calloc(1, sizeof *conn);
    *out = NULL;
    if (conn == NULL) return shoal_no_memory(err);
    conn->duck = duck;
    if (duckdb_connect(duck->db, &conn->conn) != DuckDBSuccess) {
        free(conn);
        return shoal_fail(err, SHOAL_INTERNAL, "cannot connect to the embedded DuckDB");
    }
    *out = conn;
    return SHOAL_OK;
}

void duck_disconnect(struct duck_conn *conn) {
    if (conn == NULL) return;
    duckdb_destroy_prepare(&conn->parse);
    duckdb_destroy_prepare(&conn->deparse);
    duckdb_disconnect(&conn->conn);
    free(conn);
}

void duck_interrupt(struct duck_conn *conn) {
    duckdb_interrupt(conn->conn);
}

double duck_progress(const struct duck_conn *conn) {
    double percent = duckdb_query_progress(conn->conn).percentage;
    return percent >= 0 && percent <= 100 ? percent : -1;
}

#define MARK "shoal status "

const char *duck_mark(const struct shoal_error *err, char *text) {
    (void)snprintf(text, DUCK_MARKED, MARK "%d: %s", (int)err->status, err->message);
    return text;
}

const char *duck_mark_no_memory(char *text) {
    struct shoal_error err;
    (void)shoal_no_memory(&err);
    return duck_mark(&err, text);
}

void *duck_call_state(duckdb_init_info info, size_t size, duckdb_delete_callback_t end) {
    void *state = calloc(1, size);
    if (state == NULL) {
        duckdb_scalar_function_init_set_error(
            info, duck_mark_no_memory((char[DUCK_MARKED]){0}));
        return NULL;
    }
    duckdb_scalar_function_init_set_state(info, state, end);
    return state;
}

static bool is_full(const char *message) {
    return strstr(message, strerror(ENOSPC)) != NULL ||
           strstr(message, strerror(EDQUOT)) != NULL;
}

shoal_status duck_fail(duckdb_result *result, struct shoal_error *err) {
    const char *message = duckdb_result_error(result);
    duckdb_error_type type = duckdb_result_error_type(result);
    if (message == NULL) message = "DuckDB gave no reason";
    const char *mark = strstr(message, MARK);
    const char *own = mark == NULL ? NULL : strstr(mark, ": ");
    if (own != NULL) {
        // What DuckDB adds after it points into a stage's SQL, which says nothing here.
        const char *added = strstr(own, "\n\nLINE ");
        int length = (int)(added ? added - own : (ptrdiff_t)strlen(own)) - 2;
        long status = strtol(mark + sizeof MARK - 1, NULL, 10);
        return shoal_fail(err, (shoal_status)status, "%.*s", length, own + 2);
    }
    shoal_status status = SHOAL_USER;
    if (type == DUCKDB_ERROR_INTERRUPT) {
        bool late = strstr(message, "maximum execution time") != NULL;
        status = late ? SHOAL_TIMEOUT : SHOAL_CANCELLED;
    }
    if (type == DUCKDB_ERROR_IO && is_full(message)) {
        return shoal_fail(err, SHOAL_DISK_FULL,
                          "%s\nFree space there, or choose another folder for what is "
                          "spilled with --temp-dir",
                          message);
    }
    // s3:// and https:// paths, and all else that isn't built in.
    bool extension = strstr(message, "Extension \"") != NULL &&
                     strstr(message, "Install it first using") != NULL;
    if (extension) {
        return shoal_fail(err, status,
                          "%s\nWhere there is no network, put the file that was made for "
                          "DuckDB %s at that path, on every machine that has workers",
                          message, duckdb_library_version());
    }
    if (type != DUCKDB_ERROR_OUT_OF_MEMORY) return shoal_fail(err, status, "%s", message);
    // DuckDB's advice is about settings that shoal gives itself.
    bool spill = strstr(message, "max_temp_directory_size") != NULL;
    return shoal_fail(
        err, spill ? SHOAL_DISK_FULL : SHOAL_NOMEM, "%.*s\n%s",
        (int)strcspn(message, "\n"), message,
        spill ? "What is spilled reached --temp-limit, or the disk is full: raise "
                "it, or give more with --memory"
              : "Give more with --memory, or cut the work smaller with "
                "--partitions");
}

static shoal_status execute(struct duck_conn *conn, const char *sql,
                            duckdb_result *result, struct shoal_error *err) {
    if (duckdb_query(conn->conn, sql, result) == DuckDBSuccess) return SHOAL_OK;
    shoal_status status = duck_fail(result, err);
    duckdb_destroy_result(result);
    return status;
}

shoal_status duck_run(struct duck_conn *conn, const char *sql, struct shoal_error *err) {
    duckdb_result result;
    shoal_status status = execute(conn, sql, &result, err);
    if (status == SHOAL_OK) duckdb_destroy_result(&result);
    return status;
}

#define PARSE "SELECT json_serialize_sql(CAST(? AS VARCHAR))"
#define DEPARSE "SELECT json_deserialize_sql(CAST(? AS JSON))"

static shoal_status prepare(struct duck_conn *conn, duckdb_prepared_statement *statement,
                            const char *sql, struct shoal_error *err) {
    if (*statement != NULL ||
        duckdb_prepare(conn->conn, sql, statement) == DuckDBSuccess) {
        return SHOAL_OK;
    }
    const char *message = duckdb_prepare_error(*statement);
    shoal_status status = shoal_fail(err, SHOAL_INTERNAL, "%s", message ? message : sql);
    duckdb_destroy_prepare(statement);
    return status;
}

shoal_status duck_prepare_trees(struct duck_conn *conn, struct shoal_error *err) {
    shoal_status status = prepare(conn, &conn->parse, PARSE, err);
    return status == SHOAL_OK ? prepare(conn, &conn->deparse, DEPARSE, err) : status;
}

// SELECT of one VARCHAR with one VARCHAR parameter; *value is malloc'd.
static shoal_status call_text(struct duck_conn *conn,
                              duckdb_prepared_statement *statement, const char *sql,
                              const char *argument, char **value,
                              struct shoal_error *err) {
    duckdb_result result;
    *value = NULL;
    shoal_status prepared = prepare(conn, statement, sql, err);
    if (prepared != SHOAL_OK) return prepared;
    duckdb_bind_varchar(*statement, 1, argument);
    shoal_status status = SHOAL_OK;
    if (duckdb_execute_prepared(*statement, &result) != DuckDBSuccess) {
        status = duck_fail(&result, err);
    } else {
        char *text = duckdb_value_varchar(&result, 0, 0);
        *value = text ? strdup(text) : NULL;
        if (*value == NULL)
            status = text ? shoal_no_memory(err)
                          : shoal_fail(err, SHOAL_INTERNAL, "%s gave no value", sql);
        duckdb_free(text);
    }
    duckdb_destroy_result(&result);
    return status;
}

shoal_status duck_parse(struct duck_conn *conn, const char *select, char **json,
                        struct shoal_error *err) {
    return call_text(conn, &conn->parse, PARSE, select, json, err);
}

shoal_status duck_deparse(struct duck_conn *conn, const char *json, char **sql,
                          struct shoal_error *err) {
    return call_text(conn, &conn->deparse, DEPARSE, json, sql, err);
}

shoal_status duck_canonical(struct duck_conn *conn, const char *select, char **sql,
                            struct shoal_error *err) {
    struct text text = {0};
    struct duck_result *result = NULL;
    text_printf(
        &text,
        duck_is_plain_select(select) ? "EXPLAIN (SQL) %s" : "EXPLAIN (SQL) FROM (%s\n)",
        select);
    *sql = NULL;
    shoal_status status =
        text.failed ? shoal_no_memory(err) : duck_query(conn, text.data, &result, err);
    text_free(&text);
    if (status != SHOAL_OK) return status;
    if (duck_result_columns(result) == 2 && duck_result_rows(result) == 1) {
        *sql = strdup(duck_result_text(result, 1, 0));
        if (*sql == NULL) status = shoal_no_memory(err);
    } else {
        status = shoal_fail(err, SHOAL_INTERNAL, "EXPLAIN (SQL) gave no plan");
    }
    duck_result_free(result);
    return status;
}

void duck_hide_line(struct shoal_error *err) {
    static const char mark[] = "\n\nLINE ";
    char *at = strstr(err->message, mark);
    if (at == NULL) return;
    at += sizeof mark - 1;
    char *end = NULL;
    unsigned long line = strtoul(at, &end, 10);
    char number[24];
    if (end == at || line < 2) return;
    // One less is never longer. The caret under the line moves with its start.
    size_t length = (size_t)snprintf(number, sizeof number, "%lu", line - 1);
    size_t gone = (size_t)(end - at) - length;
    memcpy(at, number, length);
    memmove(at + length, end, strlen(end) + 1);
    char *caret = gone > 0 ? strchr(at, '\n') : NULL;
    if (caret != NULL && caret[1] == ' ') {
        memmove(caret + 1, caret + 1 + gone, strlen(caret + 1 + gone) + 1);
    }
}

shoal_status duck_disable_optimizers(struct duck_conn *conn, const char *more,
                                     char **before, struct shoal_error *err) {
    struct text sql = {0};
    char *others = NULL;
    shoal_status status =
        duck_scalar(conn, "SELECT current_setting('disabled_optimizers')", &others, err);
    text_printf(&sql, "SET disabled_optimizers='%s", more);
    if (others != NULL && *others != '\0') text_printf(&sql, ",%s", others);
    text_append(&sql, "'");
    if (status == SHOAL_OK)
        status = sql.failed ? shoal_no_memory(err) : duck_run(conn, sql.data, err);
    text_free(&sql);
    if (before != NULL) {
        *before = others;
    } else {
        free(others);
    }
    return status;
}

bool duck_is_nested_change(shoal_status status, const struct shoal_error *err) {
    return status == SHOAL_USER &&
           strstr(err->message, "must be at the top level") != NULL;
}

shoal_status duck_describe(struct duck_conn *conn, const char *select,
                           struct schema *schema, struct shoal_error *err) {
    struct text text = {0};
    struct duck_result *result = NULL;
    *schema = (struct schema){0};
    // SUMMARIZE and PIVOT are described as a subquery alone.
    bool plain = duck_is_plain_select(select);
    text_printf(&text, plain ? "DESCRIBE\n%s" : "DESCRIBE FROM (\n%s\n)", select);
    shoal_status status =
        text.failed ? shoal_no_memory(err) : duck_query(conn, text.data, &result, err);
    text_free(&text);
    if (status != SHOAL_OK) {
        duck_hide_line(err);
        return status;
    }
    for (size_t row = 0; row < duck_result_rows(result); row++) {
        if (!schema_add(schema, duck_result_text(result, 0, row),
                        duck_result_text(result, 1, row))) {
            status = shoal_no_memory(err);
        }
    }
    duck_result_free(result);
    return status;
}
