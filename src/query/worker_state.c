// What brings a worker to the session's state: settings, extensions and secrets, in the
// order in which they were given. No more is needed. Canonical SQL has views, macros and
// variables expanded, types spelled out and functions named in full, and what a session
// attaches or creates is read in this process.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "query/session.h"

// The word after `at`, which the caller compares with duck_token_is.
static const char *next_word(const char *at) {
    at = duck_token_end(at);
    while (strchr(" \t\r\n", *at) != NULL && *at != '\0') at = duck_token_end(at);
    return at;
}

static bool one_of(const char *at, const char *const *words) {
    for (; *words != NULL; words++) {
        if (duck_token_is(at, *words)) return true;
    }
    return false;
}

struct setting {
    const char *name;  // what follows SET and its scope
    bool reset;
};

// Is the statement a setting that workers take over? What a worker has of its own
// (threads, memory, its lock), and names that only mean something here, they don't.
static bool is_setting(const char *sql, struct setting *setting) {
    static const char *const scopes[] = {"global", "session", "local", NULL};
    static const char *const ours[] = {"variable",
                                       "threads",
                                       "worker_threads",
                                       "external_threads",
                                       "memory_limit",
                                       "max_memory",
                                       "temp_directory",
                                       "search_path",
                                       "schema",
                                       "access_mode",
                                       "profiling_mode",
                                       "profiling_output",
                                       "profile_output",
                                       "profiling_coverage",
                                       "custom_profiling_settings",
                                       "profiling_renderer_settings",
                                       "enable_profiling",
                                       "parquet_metadata_cache",
                                       "max_temp_directory_size",
                                       "preserve_insertion_order",
                                       "enable_progress_bar",
                                       "enable_progress_bar_print",
                                       "progress_bar_time",
                                       "max_execution_time",
                                       "lock_configuration",
                                       "allowed_configs",
                                       "allowed_directories",
                                       "allowed_paths",
                                       "enable_external_access",
                                       NULL};
    const char *word = duck_first_word(sql);
    bool pragma = duck_token_is(word, "pragma");
    *setting = (struct setting){.reset = duck_token_is(word, "reset")};
    if (!pragma && !setting->reset && !duck_token_is(word, "set")) return false;
    word = next_word(word);
    if (one_of(word, scopes)) word = next_word(word);
    setting->name = word;
    // PRAGMA name is a function, PRAGMA name = value a setting.
    return !one_of(word, ours) && (!pragma || *next_word(word) == '=');
}

static bool is_statement(const char *sql) {
    static const char *const secret[] = {"or", "replace", "persistent", "temporary",
                                         NULL};
    const char *word = duck_first_word(sql);
    if (duck_token_is(word, "load")) return true;
    if (!duck_token_is(word, "create")) return false;
    do word = next_word(word);
    while (one_of(word, secret));
    return duck_token_is(word, "secret");
}

void worker_state_keep(struct session *session, const char *sql) {
    struct setting setting;
    struct text global = {0};
    struct shoal_error ignored;
    if (session->options.workers == 0) return;
    bool is_set = is_setting(sql, &setting);
    if (!is_set && !is_statement(sql)) return;
    // A worker runs this on one connection before it opens the others, so a setting has
    // to be global there. The few that can't be stay as they are.
    if (is_set) {
        text_printf(&global, "%s GLOBAL %s", setting.reset ? "RESET" : "SET",
                    setting.name);
        if (!global.failed &&
            duck_run(session->trial, global.data, &ignored) == SHOAL_OK) {
            sql = global.data;
        }
    }
    text_append(&session->worker_sql, sql);
    text_append(&session->worker_sql, "\n;\n");
    text_free(&global);
    session_stop_workers(session);  // the next query's workers start in the new state
}

shoal_status worker_state_extensions(struct session *session, struct shoal_error *err) {
    static const char loads[] =
        "SELECT string_agg('LOAD ' || extension_name || ';', ' ' ORDER BY "
        "extension_name) FROM duckdb_extensions() WHERE loaded AND "
        "install_mode IS DISTINCT FROM 'STATICALLY_LINKED'";
    char *now = NULL;
    shoal_status status = duck_scalar(session->trial, loads, &now, err);
    // SET disabled_filesystems, of which nothing else tells.
    if (status == SHOAL_USER && strstr(err->message, "has been disabled") != NULL)
        err->status = status = SHOAL_UNSUPPORTED;
    const char *before = session->extensions == NULL ? "" : session->extensions;
    if (status != SHOAL_OK || strcmp(before, now == NULL ? "" : now) == 0) {
        free(now);
        return status;
    }
    free(session->extensions);
    session->extensions = now;
    session_stop_workers(session);
    return SHOAL_OK;
}
