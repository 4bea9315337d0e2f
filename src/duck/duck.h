// DuckDB behind one door. Nothing outside src/duck includes duckdb.h.
//
// A `duck` is one database instance with one connection; further connections share the
// instance (duck_connect). A connection belongs to one thread at a time, except
// duck_interrupt() and duck_progress(), which any thread may call while a statement runs.
#ifndef SHOAL_DUCK_DUCK_H
#define SHOAL_DUCK_DUCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/schema.h"
#include "base/status.h"

struct duck;         // one database instance
struct duck_conn;    // one connection
struct duck_result;  // a materialised or streaming result

struct duck_options {
    int threads;            // 0: all cores
    const char *temp_dir;   // of spill; "": there is none; NULL: DuckDB's default
    uint64_t memory_bytes;  // 0: DuckDB's default
    uint64_t temp_bytes;    // of spill; 0: DuckDB's default
};

// Opens an in-memory instance.
shoal_status duck_open(struct duck **duck, const struct duck_options *options,
                       struct shoal_error *err);
void duck_close(struct duck *duck);
shoal_status duck_connect(struct duck *duck, struct duck_conn **conn,
                          struct shoal_error *err);
void duck_disconnect(struct duck_conn *conn);
void duck_interrupt(struct duck_conn *conn);
// Of the statement that runs, in percent, while the setting enable_progress_bar is on;
// -1: unknown, or none runs. Any thread.
double duck_progress(const struct duck_conn *conn);
const char *duck_version(void);

// A global setting of text, for SET GLOBAL "name" and current_setting('name').
shoal_status duck_register_setting(struct duck_conn *conn, const char *name,
                                   const char *value, const char *description,
                                   struct shoal_error *err);

// Runs every statement in sql, dropping results. DuckDB's message (with LINE n: ... ^) is
// passed on in err as SHOAL_USER; an interrupted statement gives SHOAL_CANCELLED; out of
// memory is SHOAL_NOMEM, a full disk or spill past its limit SHOAL_DISK_FULL.
shoal_status duck_run(struct duck_conn *conn, const char *sql, struct shoal_error *err);

// Runs one statement and returns its first column's first row as text (free() it; NULL
// when there is no row or it is NULL).
shoal_status duck_scalar(struct duck_conn *conn, const char *sql, char **value,
                         struct shoal_error *err);

// Splits a text into its statements, without semicolons; blank ones are dropped. Quotes,
// dollar quotes and comments are understood. Free with duck_split_free.
shoal_status duck_split(const char *sql, char ***statements, size_t *count,
                        struct shoal_error *err);
void duck_split_free(char **statements, size_t count);
// The first word of a statement, past comments and opening parentheses.
const char *duck_first_word(const char *sql);
// The next token at or after `at`, past blanks and comments; the text's end when there is
// none.
const char *duck_token_start(const char *at);
// The end of the token at `at`: a word, a quoted text, blanks, a comment, or one
// character.
const char *duck_token_end(const char *at);
const char *duck_token_next(const char *at);
// Past the parenthesis, bracket or brace that closes the one at `at`; NULL when none
// does.
const char *duck_token_past(const char *at);
// Is the token at `at` quoted so?
bool duck_token_quoted(const char *at, char quote);
// 'it''s' or "a""b" without its quotes; NULL when the token at `at` is not quoted so, or
// out of memory. free() it.
char *duck_token_unquoted(const char *at, char quote);
// Is the token at `at` this word, in any case?
bool duck_token_is(const char *at, const char *word);
// Or one of these, which NULL ends? at NULL: none.
bool duck_token_one_of(const char *at, const char *const *words);
// Does the statement only give rows (SELECT, FROM, WITH, VALUES, PIVOT, UNPIVOT,
// SUMMARIZE, TABLE)?
bool duck_is_select(const char *sql);
bool duck_is_plain_select(const char *sql);  // of these the first four

// Materialised result as text cells, for the few small internal queries and the output.
shoal_status duck_query(struct duck_conn *conn, const char *sql,
                        struct duck_result **result, struct shoal_error *err);
// The same of a SELECT of VARCHARs whose names don't matter: quicker.
shoal_status duck_query_text(struct duck_conn *conn, const char *select,
                             struct duck_result **result, struct shoal_error *err);
// The same without any row yet: each duck_result_next() replaces the rows by the next
// batch, so that a result of any size takes little memory here. Names and types are there
// from the start.
shoal_status duck_query_batches(struct duck_conn *conn, const char *sql,
                                struct duck_result **result, struct shoal_error *err);
// The same of a statement that must be bound only once, as it reads a pipe: slower.
shoal_status duck_query_once(struct duck_conn *conn, const char *sql,
                             struct duck_result **result, struct shoal_error *err);
shoal_status duck_result_next(struct duck_result *result, bool *more,
                              struct shoal_error *err);
// Once for a connection, before any transaction: without it, what a statement that is no
// SELECT returns has text for the types that have one in C alone.
shoal_status duck_register_rows(struct duck_conn *conn, struct shoal_error *err);
// Rows, even if none, rather than nothing or the number of rows that changed.
bool duck_result_has_rows(const struct duck_result *result);
size_t duck_result_columns(const struct duck_result *result);
size_t duck_result_rows(const struct duck_result *result);
const char *duck_result_name(const struct duck_result *result, size_t column);
const char *duck_result_type(const struct duck_result *result, size_t column);
// NULL for SQL NULL; the text lives as long as the result, or until the next batch.
const char *duck_result_text(const struct duck_result *result, size_t column, size_t row);
void duck_result_free(struct duck_result *result);

// shoal_running_decimal_sum_2 (running.c) takes DECIMALs of so many digits, of which two
// are behind the point.
#define DUCK_RUNNING_DIGITS 18

// Disables the optimizers named in more (a, b: "a,b") beside those that are. *before, if
// it is not NULL: which those were, freed by the caller.
shoal_status duck_disable_optimizers(struct duck_conn *conn, const char *more,
                                     char **before, struct shoal_error *err);
// Is this what DuckDB says of a query in whose WITH rows are changed or copied, where it
// stands inside another statement, such as a DESCRIBE?
bool duck_is_nested_change(shoal_status status, const struct shoal_error *err);
// The output columns of a SELECT, by binding it (DESCRIBE), without running it.
shoal_status duck_describe(struct duck_conn *conn, const char *select,
                           struct schema *schema, struct shoal_error *err);

// EXPLAIN (SQL): the optimised plan as canonical SQL. free() it.
shoal_status duck_canonical(struct duck_conn *conn, const char *select, char **sql,
                            struct shoal_error *err);
// Prepares the statements of the next two, which do it themselves at their first use.
shoal_status duck_prepare_trees(struct duck_conn *conn, struct shoal_error *err);
// Syntax tree as JSON text of one SELECT, and back. free() them.
shoal_status duck_parse(struct duck_conn *conn, const char *select, char **json,
                        struct shoal_error *err);
shoal_status duck_deparse(struct duck_conn *conn, const char *json, char **sql,
                          struct shoal_error *err);

#endif
