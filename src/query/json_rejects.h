// A statement's calls of read_json whose faulty records are kept.
#ifndef SHOAL_QUERY_JSON_REJECTS_H
#define SHOAL_QUERY_JSON_REJECTS_H

#include <stdbool.h>

#include "base/text.h"
#include "duck/duck.h"

// Is the token at `at` a function that reads JSON files, called?
bool json_call_begins(const char *at);
// Are faults of the call at `at` to be kept? Not if it says what becomes of them itself
// (ignore_errors), or that records are no objects.
bool json_call_keeps(const char *at);
// The call, told to keep them; *end is past it. Binding it is tried, as DuckDB takes a
// file that begins with a faulty line for none of lines.
void json_call_mark(struct text *out, struct duck_conn *trial, const char *at,
                    const char **end);
// A name for a FROM item that ends at `end`, unless another follows.
void json_append_alias(struct text *out, const char *name, const char *end);

// Where this process alone runs the statement on conn: finds the faulty records of its
// marked calls (rejects_find), and *good, free() it, reads the others. NULL: all are
// good. trial: a connection whose transaction doesn't matter.
shoal_status json_rejects_find(struct duck_conn *conn, struct duck_conn *trial,
                               const char *sql, char **good, struct shoal_error *err);

#endif
