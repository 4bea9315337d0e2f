// What ends a command before its end: a signal, its time (--timeout), or the reader of
// its output that went away. All three do the same: the statement is interrupted, and
// goes back the way of any error.
//
// One thread looks for them, so that nothing happens in a handler. After the first it
// goes on interrupting: a statement that starts just now must end too. What hears no
// interrupt (DuckDB's optimizer over hundreds of joins, a read of standard input) is not
// waited for: 1.5 s later, or at another signal 1 s later, workers are killed, temporary
// files removed, and the process ends where it stands. Only what is about to become a
// sink's target is let through before: it appears whole or not at all.
#ifndef SHOAL_CLI_STOP_H
#define SHOAL_CLI_STOP_H

#include <signal.h>
#include <stdbool.h>

#include "query/query.h"

// Set once the command is to end.
extern volatile sig_atomic_t stop_asked;
// True when one should end now: not while a COPY that has committed says so.
bool stop_now(void);

// Before any other thread starts. timeout: seconds from now; 0: none.
shoal_status stop_start(double timeout, struct shoal_error *err);
// What is to be interrupted; NULL: nothing any more.
void stop_tell_session(struct session *session);
// The rows that are being made go here: without a reader they are in vain. -1: nowhere
// that has one.
void stop_tell_output(int fd);
// A file that must not stay behind; NULL: there is none.
void stop_tell_part(const char *path);
// All statements are done or given up: what is left is cleaning up, which may take long.
void stop_tell_ending(void);
// Where the command was stopped, a failure becomes the reason.
shoal_status stop_explain(shoal_status status, struct shoal_error *err);

#endif
