// Settings of shoal's own, which statements change: SET shoal.skew = 'off'. DuckDB keeps
// their values too, so that current_setting('shoal.skew') gives them.
#ifndef SHOAL_QUERY_SETTINGS_H
#define SHOAL_QUERY_SETTINGS_H

#include "query/session.h"

// Once for a session, before any statement.
shoal_status settings_register(struct session *session, struct shoal_error *err);
// SET shoal.x = v, RESET shoal.x: it is done, and *own is what DuckDB is to run instead,
// freed by the caller. *own NULL: the statement is something else. SHOAL_USER: there is
// no such setting, or it has no such value. For each statement, before it runs: some
// settings of DuckDB's are heeded here.
shoal_status settings_change(struct session *session, const char *sql, char **own,
                             struct shoal_error *err);
// Before a statement is distributed: its deadline, by max_execution_time.
// SHOAL_UNSUPPORTED: a setting is in the way of workers.
shoal_status settings_apply(struct session *session, struct shoal_error *err);

#endif
