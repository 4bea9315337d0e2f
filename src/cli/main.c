// The program: read the command line, open a session, run its statements in order; or
// another command.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "cli/gc.h"
#include "cli/gen.h"
#include "cli/jobs.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/stop.h"
#include "duck/duck.h"
#include "shoal/version.h"
#include "worker/worker.h"

static int exit_code(shoal_status status) {
    switch (status) {
        case SHOAL_OK:
            return 0;
        case SHOAL_USER:
        case SHOAL_UNSUPPORTED:
            return 1;
        case SHOAL_USAGE:
            return 2;
        case SHOAL_IO:
        case SHOAL_NOMEM:
        case SHOAL_CORRUPT:
        case SHOAL_DISK_FULL:
            return 3;
        case SHOAL_LOST:
            return 4;
        case SHOAL_TIMEOUT:
            return 124;
        case SHOAL_CANCELLED:
            return 130;
        case SHOAL_INTERNAL:
            break;
    }
    return 5;
}

static shoal_status read_file(const char *path, char **content, struct shoal_error *err) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    struct text text = {0};
    char bytes[16384];
    size_t got = 0;
    *content = NULL;
    if (file == NULL) {
        return shoal_fail(err, SHOAL_USAGE, "cannot open %s: %s", path, strerror(errno));
    }
    while ((got = fread(bytes, 1, sizeof bytes, file)) > 0)
        text_append_bytes(&text, bytes, got);
    bool failed = ferror(file);
    int why = errno;
    if (file != stdin) fclose(file);
    size_t size = text.size;
    *content = text_take(&text);
    if (failed || *content == NULL) {
        free(*content);
        *content = NULL;
        return shoal_fail(err, SHOAL_IO, "cannot read %s: %s", path,
                          failed ? strerror(why) : "out of memory");
    }
    // What stands after it would be dropped in silence.
    size_t length = strlen(*content);
    if (length < size) {
        free(*content);
        *content = NULL;
        return shoal_fail(err, SHOAL_USER, "%s has a NUL byte at offset %zu", path,
                          length);
    }
    return SHOAL_OK;
}

// All files of -f as one text: the last statement of each ends with it.
static shoal_status read_files(const struct cli_options *options, char **content,
                               struct shoal_error *err) {
    if (options->query_file_count == 1)
        return read_file(options->query_files[0], content, err);
    struct text all = {0};
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < options->query_file_count; i++) {
        char *text = NULL;
        status = read_file(options->query_files[i], &text, err);
        if (status == SHOAL_OK) text_printf(&all, "%s\n;\n", text);
        free(text);
    }
    if (status == SHOAL_OK) *content = text_take(&all);
    if (status == SHOAL_OK && *content == NULL) status = shoal_no_memory(err);
    text_free(&all);
    return status;
}

static shoal_status run_one(const struct cli_options *options, bool explain,
                            struct session *session, const char *sql, bool last,
                            FILE *out, struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    if (stop_asked) return shoal_fail(err, SHOAL_CANCELLED, "cancelled");
    // CREATE VIEW and the like come before the query that is explained.
    if (!explain || !session_explains(sql, last))
        return session_query(session, sql, options->format, out, err);
    status = session_explain(session, sql, options->analyze,
                             options->format == FORMAT_JSON, out, err);
    // What it shows may be that of a part of the rows.
    if (status == SHOAL_OK && stop_asked)
        status = shoal_fail(err, SHOAL_CANCELLED, "cancelled");
    return status;
}

#define STATEMENT_SHOWN 60  // bytes

// Of a script: which of its statements the error is about.
static void name_statement(const char *sql, size_t number, size_t count,
                           struct shoal_error *err) {
    size_t length = strlen(err->message), shown = 0;
    if (count < 2) return;
    for (sql += strspn(sql, " \t\r\n"); strncmp(sql, "--", 2) == 0;) {
        sql += strcspn(sql, "\n");
        sql += strspn(sql, " \t\r\n");
    }
    size_t line = strcspn(sql, "\r\n");
    shown = line < STATEMENT_SHOWN ? line : STATEMENT_SHOWN;
    // Not the half of a character.
    while (shown > 0 && shown < line && ((unsigned char)sql[shown] & 0xc0) == 0x80)
        shown--;
    (void)snprintf(err->message + length, sizeof err->message - length,
                   "\nin statement %zu of %zu: %.*s%s", number, count, (int)shown, sql,
                   sql[shown] != '\0' ? " ..." : "");
}

static shoal_status run_statements(const struct cli_options *options, bool explain,
                                   struct session *session, const char *text,
                                   struct output *out, struct shoal_error *err) {
    char **statements = NULL;
    size_t count = 0;
    shoal_status status = duck_split(text, &statements, &count, err);
    if (status == SHOAL_OK && count == 0) {
        status = shoal_fail(err, SHOAL_USAGE, "the query is empty");
    }
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        double start = clock_seconds();
        session_number(session, (uint32_t)i);
        if (duck_is_select(statements[i])) stop_tell_output(out->fd);
        status = run_one(options, explain, session, statements[i], i + 1 == count,
                         out->stream, err);
        stop_tell_output(-1);
        if (status != SHOAL_OK && status != SHOAL_CANCELLED)
            name_statement(statements[i], i + 1, count, err);
        // What was written is done: whoever reads this may rely on it, whatever comes
        // next.
        (void)fflush(out->stream);
        if (options->timer && status == SHOAL_OK)
            fprintf(stderr, "Time: %.3f s\n", clock_seconds() - start);
    }
    duck_split_free(statements, count);
    return status;
}

static shoal_status run_command(struct cli_options *options, bool explain,
                                struct shoal_error *err) {
    char program[4096];
    char *text = NULL;
    char *init = NULL;
    struct session *session = NULL;
    struct output out = {0};
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    program[size > 0 ? size : 0] = '\0';
    options->session.program = program;
    options->session.cancelled = &stop_asked;
    options->session.progress = !options->quiet && isatty(STDERR_FILENO);
    if (explain && options->session.workers == 0) options->session.workers = 2;
    shoal_status status = stop_start(options->timeout, err);
    if (status == SHOAL_OK && options->query_file_count > 0)
        status = read_files(options, &text, err);
    if (status == SHOAL_OK && options->init_file != NULL) {
        status = read_file(options->init_file, &init, err);
        options->session.init_sql = init;
    }
    const char *sql = text ? text : options->query;
    struct job *job = NULL;
    bool done = false;
    if (status == SHOAL_OK && options->resume != NULL)
        status = job_command_resume(options, &job, &sql, &done, err);
    if (status == SHOAL_OK && !done) status = output_open(&out, options->output, err);
    if (status == SHOAL_OK && !done) {
        status = session_open(&options->session, &session, err);
        stop_tell_session(session);
        if (status == SHOAL_OK && options->job != NULL)
            status = session_keep_job(session, options->job, sql,
                                      job_format_name(options->format), options->replace,
                                      &job, err);
        if (status == SHOAL_OK)
            status = run_statements(options, explain, session, sql, &out, err);
        stop_tell_session(NULL);
        stop_tell_ending();
        session_close(session);
        status = output_close(&out, status, err);
    }
    status = stop_explain(status, err);
    job_command_end(options, job, done, status, err);
    free(text);
    free(init);
    return status;
}

static shoal_status run_gen(int argc, char **argv, struct shoal_error *err) {
    shoal_status status = stop_start(0, err);
    stop_tell_ending();  // it looks for the flag often, and has files of its own to
                         // remove
    return status == SHOAL_OK ? gen_command(argc, argv, &stop_asked, err) : status;
}

static shoal_status run_sql(bool explain, int argc, char **argv,
                            struct shoal_error *err) {
    struct cli_options options;
    shoal_status status = cli_options_read(&options, explain, argc, argv, err);
    if (status == SHOAL_OK && options.help) {
        cli_help(stdout);
    } else if (status == SHOAL_OK) {
        status = run_command(&options, explain, err);
    }
    cli_options_free(&options);
    return status;
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    struct shoal_error err = {0};
    if (fault_from_environment(strcmp(command, "worker") == 0, &err) != SHOAL_OK) {
        fprintf(stderr, "shoal: %s\n", err.message);
        return exit_code(err.status);
    }
    if (strcmp(command, "worker") == 0) return worker_main(argc - 1, argv + 1);
    if (strcmp(command, "--version") == 0) {
        printf("shoal %s (DuckDB %s)\n", SHOAL_VERSION, duck_version());
        return 0;
    }
    if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
        cli_help(stdout);
        return 0;
    }
    bool explain = strcmp(command, "explain") == 0;
    if (strcmp(command, "jobs") == 0) {
        shoal_status listed = jobs_command(argc - 1, argv + 1, &err);
        if (listed != SHOAL_OK) fprintf(stderr, "shoal: %s\n", err.message);
        return exit_code(listed);
    }
    bool gen = strcmp(command, "gen") == 0, gc = strcmp(command, "gc") == 0;
    shoal_status status = SHOAL_OK;
    if (gen) {
        status = run_gen(argc - 1, argv + 1, &err);
    } else if (gc) {
        status = gc_command(argc - 1, argv + 1, stdout, &err);
    } else if (explain || strcmp(command, "sql") == 0) {
        status = run_sql(explain, argc - 1, argv + 1, &err);
    } else {
        status = shoal_fail(&err, SHOAL_USAGE,
                            *command ? "unknown command %s" : "no command%s", command);
    }
    if (status != SHOAL_OK) {
        fprintf(stderr, "shoal: %s\n", err.message);
        if (status == SHOAL_USAGE)
            fprintf(stderr, "shoal: see shoal %s--help\n",
                    gen  ? "gen "
                    : gc ? "gc "
                         : "");
    }
    return exit_code(status);
}
