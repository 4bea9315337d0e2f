// Runs test files in the sqllogictest format, SQLite's and DuckDB's dialects, each in one
// session: embedded, or over workers with --workers. A suite written for another engine
// runs unchanged; what it needs and isn't here skips the rest of the file, with a reason.
//
// Two lines are shoal's own, and mean something only with workers. `distributed` before a
// query or statement says that it must not fall back to the embedded engine;
// `embedded TEXT` that it must, for a reason that contains TEXT.
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "query/query.h"
#include "slt.h"

struct runner {
    struct session_options options;
    double tolerance;
    bool explain_fallbacks, complete, placement_unchecked;
    char configuration[160];
    struct duck *duck;  // serves comparisons, apart from what is tested
    struct duck_conn *conn;
    size_t passed, failed, skipped, queries, fallbacks;
    // of the file that runs
    struct script script;
    struct session *session;
    struct names names;
    struct lines labels, label_results;
    struct lines *completed;  // [script.count]; what came, in --complete
    bool skipping, ended;
};

static const char *const usage =
    "slt_runner [OPTIONS] FILE...\n"
    "  --workers N, --threads T, --partitions P, --broadcast-rows N,\n"
    "  --sort-rows N, --split-rows N, --cluster-rows N, --temp-dir D\n"
    "                       as of shoal sql\n"
    "  --program PATH       the program shoal, which workers run ($SHOAL, or the one\n"
    "                       beside this program)\n"
    "  --explain-fallbacks  print each query that isn't distributed, with the reason\n"
    "  --tolerance X        relative, of floating-point cells (1e-9; DuckDB's is 0.01)\n"
    "  --sqlite             files of SQLite's suite: integer division, cells as it "
    "prints\n"
    "  --skip-placement     don't plan each marked query once more to see where it runs\n"
    "  --complete           write what came into the file, where no rows are expected "
    "yet\n";

// ---- what is said

static void fail_record(struct runner *runner, const struct record *record,
                        const char *sql, const char *what) {
    runner->failed++;
    printf("%s:%zu: %s\n[%s]\n", runner->script.path, record->line, what,
           runner->configuration);
    if (sql != NULL) printf("%s\n", sql);
}

static void print_lines(const char *head, const struct lines *lines) {
    printf("%s\n", head);
    for (size_t i = 0; i < lines->count; i++) {
        if (i == 40) {
            printf("    ... %zu in all\n", lines->count);
            break;
        }
        printf("    %s\n", lines->line[i]);
    }
}

// What is left of the file is skipped.
static void skip_rest(struct runner *runner, size_t at, const char *what,
                      const char *of) {
    size_t skipped = 0;
    for (size_t i = at; i < runner->script.count; i++) {
        enum record_kind kind = runner->script.records[i].kind;
        skipped += kind == RECORD_STATEMENT || kind == RECORD_QUERY;
    }
    printf("%s:%zu: %zu records skipped: %s %s\n", runner->script.path,
           runner->script.records[at].line, skipped, what, of);
    runner->skipped += skipped;
    runner->ended = true;
}

// ---- sessions

static shoal_status start_session(struct runner *runner, struct shoal_error *err) {
    session_close(runner->session);
    runner->session = NULL;
    shoal_status status = session_open(&runner->options, &runner->session, err);
    if (status == SHOAL_OK && runner->names.sqlite) {
        status = session_query(runner->session, "SET integer_division=true", FORMAT_CSV,
                               stdout, err);
    }
    return status;
}

static shoal_status query_to_text(struct runner *runner, const char *sql, char **out,
                                  struct shoal_error *err) {
    size_t size = 0;
    FILE *file = need(open_memstream(out, &size));
    shoal_status status = session_query(runner->session, sql, FORMAT_CSV, file, err);
    (void)fclose(file);
    need(*out);
    return status;
}

// Why the query runs embedded, to be freed; NULL when it is distributed.
static char *why_embedded(struct runner *runner, const char *sql) {
    static const char start[] = "Runs embedded";
    char *plan = NULL;
    size_t size = 0;
    struct shoal_error err = {0};
    FILE *file = need(open_memstream(&plan, &size));
    shoal_status status = session_explain(runner->session, sql, false, false, file, &err);
    (void)fclose(file);
    if (status != SHOAL_OK) {
        free(plan);
        return need(strdup(err.message));
    }
    if (strncmp(need(plan), start, sizeof start - 1) == 0) {
        plan[strcspn(plan, "\n")] = '\0';
        return plan;
    }
    free(plan);
    return NULL;
}

// Whether the statement runs where the file says it must; else the record has failed.
static bool check_placement(struct runner *runner, const struct record *record,
                            const char *sql) {
    bool listed = runner->explain_fallbacks && record->kind == RECORD_QUERY;
    if (runner->options.workers == 0) return true;
    bool marked = record->placement != PLACE_ANY && !runner->placement_unchecked;
    if (!marked && !listed) return true;
    char *why = why_embedded(runner, sql);
    struct text wrong = {0};
    if (listed) runner->queries++;
    if (listed && why != NULL) {
        runner->fallbacks++;
        printf("%s:%zu: %s\n    %s\n", runner->script.path, record->line, why, sql);
    }
    if (!marked) {
        // listed only
    } else if (record->placement == PLACE_DISTRIBUTED && why != NULL) {
        text_printf(&wrong, "not distributed: %s", why);
    } else if (record->placement == PLACE_EMBEDDED && why == NULL) {
        text_append(&wrong, "distributed, where it was expected to run embedded");
    } else if (record->placement == PLACE_EMBEDDED &&
               strstr(why, record->reason) == NULL) {
        text_printf(&wrong, "embedded for another reason: %s", why);
    }
    bool ok = wrong.size == 0;
    if (!ok) fail_record(runner, record, sql, need(wrong.data));
    text_free(&wrong);
    free(why);
    return ok;
}

// Runs the statements of a record; the last one's rows are in *csv. *placed is false
// when it ran elsewhere than the file says.
static shoal_status run_sql(struct runner *runner, const struct record *record,
                            const char *sql, char **csv, bool *placed,
                            struct shoal_error *err) {
    char **statements = NULL;
    size_t count = 0;
    *placed = true;
    *csv = need(strdup(""));
    shoal_status status = duck_split(sql, &statements, &count, err);
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        if (i + 1 == count) *placed = check_placement(runner, record, statements[i]);
        free(*csv);
        *csv = NULL;
        status = query_to_text(runner, statements[i], csv, err);
    }
    duck_split_free(statements, count);
    return status;
}

// ---- statements and queries

static void run_statement(struct runner *runner, const struct record *record,
                          const char *sql, const struct lines *expected) {
    struct shoal_error err = {0};
    struct text error = {0};
    char *csv = NULL;
    bool placed;
    shoal_status status = run_sql(runner, record, sql, &csv, &placed, &err);
    free(csv);
    if (!placed) return;
    for (size_t i = 0; i < expected->count; i++) {
        if (i > 0) text_append(&error, "\n");
        text_append(&error, expected->line[i]);
    }
    const char *wrong = NULL;
    if (status == SHOAL_INTERNAL) {
        wrong = "a defect in shoal";  // no test expects one
    } else if (status == SHOAL_OK) {
        if (record->expectation == EXPECT_ERROR) wrong = "an error was expected";
    } else if (record->expectation == EXPECT_OK) {
        wrong = "an error came";
    } else if (error.size > 0 &&
               !text_matches(err.message, error.data, true, runner->conn)) {
        wrong = "another error was expected";
    }
    if (wrong == NULL) {
        runner->passed++;
    } else {
        fail_record(runner, record, sql, wrong);
        if (status != SHOAL_OK) printf("  came: %s\n", err.message);
        if (error.size > 0) printf("  expected: %s\n", error.data);
    }
    text_free(&error);
}

// Queries with one label have one answer.
static bool label_agrees(struct runner *runner, const char *label,
                         const struct result *result) {
    struct text all = {0};
    text_append(&all, "");
    for (size_t i = 0; i < result->cells.count; i++) {
        text_append(&all, result->cells.line[i]);
        text_append(&all, "\n");
    }
    need(all.data);
    bool agrees = true, known = false;
    for (size_t i = 0; i < runner->labels.count; i++) {
        if (strcmp(runner->labels.line[i], label) != 0) continue;
        known = true;
        agrees = strcmp(runner->label_results.line[i], all.data) == 0;
    }
    if (!known) {
        lines_add(&runner->labels, label, strlen(label));
        lines_add(&runner->label_results, all.data, all.size);
    }
    text_free(&all);
    return agrees;
}

static void check_rows(struct runner *runner, const struct record *record,
                       const char *sql, const struct lines *expected,
                       struct result *result) {
    const char *types = record->words.line[0];
    struct text why = {0};
    if (runner->names.sqlite && result->columns == strlen(types)) {
        result_print_as_sqlite(result, types);
    }
    result_sort(result, record->sort);
    size_t at = (size_t)(record - runner->script.records);
    if (runner->complete && record->expected.count == 0 && record->label == NULL) {
        lines_free(&runner->completed[at]);
        result_lines(result, &runner->completed[at]);
        return;
    }
    // A label alone says that the rows are those of another query.
    bool same = (record->label != NULL && expected->count == 0) ||
                result_matches(result, expected, strlen(types), runner->tolerance,
                               runner->conn, &why);
    if (same && record->label != NULL && !label_agrees(runner, record->label, result)) {
        text_append(&why, "the label's first query gave other rows");
        same = false;
    }
    if (same) {
        runner->passed++;
    } else {
        struct lines rows = {0};
        result_lines(result, &rows);
        fail_record(runner, record, sql, need(why.data));
        print_lines("  expected:", expected);
        print_lines("  came:", &rows);
        lines_free(&rows);
    }
    text_free(&why);
}

static void run_query(struct runner *runner, const struct record *record, const char *sql,
                      const struct lines *expected) {
    struct shoal_error err = {0};
    struct result result = {0};
    char *csv = NULL;
    bool placed;
    shoal_status status = run_sql(runner, record, sql, &csv, &placed, &err);
    if (!placed) {
        free(csv);
        return;
    }
    if (status != SHOAL_OK) {
        fail_record(runner, record, sql, "an error came");
        printf("  came: %s\n", err.message);
    } else if (*csv == '\0' && expected->count == 0) {
        runner->passed++;  // CREATE TABLE as a query
    } else if (*csv == '\0') {
        printf("%s:%zu: skipped: a session gives no rows of this statement\n",
               runner->script.path, record->line);
        runner->skipped++;
    } else {
        result_parse(csv, &result);
        check_rows(runner, record, sql, expected, &result);
        result_free(&result);
    }
    free(csv);
}

// ---- a file

static void run_range(struct runner *runner, size_t from, size_t to);

static size_t run_loop(struct runner *runner, size_t at) {
    const struct record *record = &runner->script.records[at];
    size_t end = script_loop_end(&runner->script, at);
    if (end == 0 || record->words.count == 0) {
        fail_record(runner, record, NULL, "a loop without a name or an endloop");
        runner->ended = true;
        return runner->script.count;
    }
    struct lines tokens = names_loop_tokens(&runner->names, record);
    size_t outer = runner->names.count;
    for (size_t i = 0; !runner->ended && i < tokens.count; i++) {
        names_push_token(&runner->names, record->words.line[0], tokens.line[i]);
        run_range(runner, at + 1, end - 1);
        names_pop(&runner->names, outer);
    }
    lines_free(&tokens);
    return end;
}

static void run_command(struct runner *runner, size_t at) {
    const struct record *record = &runner->script.records[at];
    const char *word = record->words.count > 0 ? record->words.line[0] : "";
    struct shoal_error err = {0};
    const char *value;
    switch (record->kind) {
        case RECORD_HALT:
            runner->ended = true;
            break;
        case RECORD_REQUIRE:
            if (!requirement_met(&record->words)) skip_rest(runner, at, "require", word);
            break;
        case RECORD_REQUIRE_ENV:
        case RECORD_TEST_ENV:
            value = environment_value(record);
            if (value == NULL) {
                skip_rest(runner, at, record->command, word);
            } else {
                names_push(&runner->names, word, value);
            }
            break;
        case RECORD_LOAD:
            if (*word != '\0' && strcmp(word, ":memory:") != 0) {
                skip_rest(runner, at, "a database file:", word);
                break;
            }
            // fall through
        case RECORD_RESTART:
            if (start_session(runner, &err) != SHOAL_OK) {
                fail_record(runner, record, NULL, err.message);
                runner->ended = true;
            }
            break;
        case RECORD_UNSUPPORTED:
            skip_rest(runner, at, "not supported:", record->command);
            break;
        case RECORD_UNKNOWN:
        case RECORD_ENDLOOP:
            fail_record(runner, record, NULL, "not a command that is known here");
            runner->ended = true;
            break;
        default:
            break;
    }
}

static void run_record(struct runner *runner, size_t at) {
    const struct record *record = &runner->script.records[at];
    if (record->kind != RECORD_STATEMENT && record->kind != RECORD_QUERY) {
        run_command(runner, at);
        return;
    }
    if (record->connection != NULL) {
        skip_rest(runner, at, "not supported: connection", record->connection);
        return;
    }
    char *sql = names_expand(&runner->names, record->sql);
    struct lines expected = names_expand_lines(&runner->names, &record->expected);
    if (record->kind == RECORD_QUERY) {
        run_query(runner, record, sql, &expected);
    } else {
        run_statement(runner, record, sql, &expected);
    }
    lines_free(&expected);
    free(sql);
}

static void run_range(struct runner *runner, size_t from, size_t to) {
    for (size_t at = from; at < to && !runner->ended;) {
        const struct record *record = &runner->script.records[at];
        bool counted = record->kind == RECORD_STATEMENT || record->kind == RECORD_QUERY;
        const char *word = record->words.count > 0 ? record->words.line[0] : "";
        if (record->kind == RECORD_MODE) {
            if (strcmp(word, "skip") == 0) runner->skipping = true;
            if (strcmp(word, "unskip") == 0) runner->skipping = false;
        } else if (runner->skipping || !names_allow(&runner->names, record)) {
            runner->skipped += counted;
        } else if (record->kind == RECORD_LOOP || record->kind == RECORD_FOREACH) {
            at = run_loop(runner, at);
            continue;
        } else {
            run_record(runner, at);
        }
        at++;
    }
}

static int remove_one(const char *path, const struct stat *info, int type,
                      struct FTW *place) {
    (void)info, (void)type, (void)place;
    return remove(path);
}

static bool make_test_dir(struct runner *runner) {
    const char *parent = getenv("TMPDIR");
    if (parent == NULL || *parent == '\0') parent = "/tmp";
    int size = snprintf(runner->names.test_dir, sizeof runner->names.test_dir,
                        "%s/slt_XXXXXX", parent);
    if (size < (int)sizeof runner->names.test_dir &&
        mkdtemp(runner->names.test_dir) != NULL) {
        return true;
    }
    printf("cannot make %s: %s\n", runner->names.test_dir, strerror(errno));
    return false;
}

// The file again, with the rows that came where it had none.
static shoal_status write_completed(struct runner *runner, struct shoal_error *err) {
    const struct script *script = &runner->script;
    FILE *out = fopen(script->path, "we");
    size_t line = 0;
    if (out == NULL) {
        return shoal_fail(err, SHOAL_IO, "cannot write %s: %s", script->path,
                          strerror(errno));
    }
    for (size_t r = 0; r <= script->count; r++) {
        bool last = r == script->count;
        const struct lines *rows = last ? NULL : &runner->completed[r];
        size_t end = last ? script->lines.count : script->records[r].expected_line;
        if (!last && rows->count == 0) continue;
        for (; line < end; line++) fprintf(out, "%s\n", script->lines.line[line]);
        if (last) continue;
        fprintf(out, "----\n");
        for (size_t i = 0; i < rows->count; i++) fprintf(out, "%s\n", rows->line[i]);
        line = script->records[r].expected_end;
    }
    return fclose(out) == 0 ? SHOAL_OK
                            : shoal_fail(err, SHOAL_IO, "cannot write %s", script->path);
}

static shoal_status run_file(struct runner *runner, const char *path,
                             struct shoal_error *err) {
    shoal_status status = script_read(path, &runner->script, err);
    runner->ended = runner->skipping = false;
    runner->completed = need(calloc(runner->script.count + 1, sizeof(struct lines)));
    if (status == SHOAL_OK && !make_test_dir(runner)) {
        status = shoal_fail(err, SHOAL_IO, "no temporary folder");
    } else if (status == SHOAL_OK) {
        status = start_session(runner, err);
        if (status == SHOAL_OK) run_range(runner, 0, runner->script.count);
        session_close(runner->session);
        runner->session = NULL;
        (void)nftw(runner->names.test_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    if (status == SHOAL_OK && runner->complete) status = write_completed(runner, err);
    for (size_t i = 0; i < runner->script.count; i++) lines_free(&runner->completed[i]);
    free(runner->completed);
    names_pop(&runner->names, 0);
    lines_free(&runner->labels);
    lines_free(&runner->label_results);
    script_free(&runner->script);
    return status;
}

// ---- the command line

static bool read_options(struct runner *runner, int argc, char **argv) {
    static const struct option known[] = {
        {"workers", required_argument, NULL, 'w'},
        {"threads", required_argument, NULL, 't'},
        {"partitions", required_argument, NULL, 'p'},
        {"broadcast-rows", required_argument, NULL, 'b'},
        {"sort-rows", required_argument, NULL, 'r'},
        {"split-rows", required_argument, NULL, 'l'},
        {"cluster-rows", required_argument, NULL, 'k'},
        {"temp-dir", required_argument, NULL, 'd'},
        {"program", required_argument, NULL, 'x'},
        {"tolerance", required_argument, NULL, 'f'},
        {"explain-fallbacks", no_argument, NULL, 'e'},
        {"skip-placement", no_argument, NULL, 'n'},
        {"sqlite", no_argument, NULL, 's'},
        {"complete", no_argument, NULL, 'c'},
        {NULL, 0, NULL, 0}};
    struct session_options *options = &runner->options;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        char *end = NULL;
        double number = optarg ? strtod(optarg, &end) : 0;
        if (option != 'd' && option != 'x' && optarg && (end == optarg || *end != '\0')) {
            return false;
        }
        if (option == 'w') options->workers = (uint32_t)number;
        if (option == 't') options->threads = (uint32_t)number;
        if (option == 'p') options->partitions = (uint32_t)number;
        if (option == 'b') options->broadcast_rows = (int64_t)number;
        if (option == 'r') options->sort_rows = (uint64_t)number;
        if (option == 'l') options->split_rows = (uint64_t)number;
        if (option == 'k') options->cluster_rows = (int64_t)number;
        if (option == 'd') options->temp_dir = optarg;
        if (option == 'x') options->program = optarg;
        if (option == 'f') runner->tolerance = number;
        runner->explain_fallbacks |= option == 'e';
        runner->names.sqlite |= option == 's';
        runner->complete |= option == 'c';
        runner->placement_unchecked |= option == 'n';
        if (option == '?') return false;
    }
    return optind < argc;
}

// The program that workers run: given, or the one beside this.
static const char *find_program(char *path, size_t size) {
    const char *given = getenv("SHOAL");
    if (given != NULL) return given;
    ssize_t length = readlink("/proc/self/exe", path, size - sizeof "/shoal");
    path[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(path, '/');
    memcpy(slash ? slash : path, "/shoal", sizeof "/shoal");
    return path;
}

int main(int argc, char **argv) {
    char program[4096];
    struct shoal_error err = {0};
    struct runner runner = {.tolerance = 1e-9,
                            .options = {.broadcast_rows = BROADCAST_AUTO,
                                        .sort_rows = SORT_ROWS,
                                        .split_rows = SPLIT_ROWS,
                                        .cluster_rows = CLUSTER_ROWS}};
    if (!read_options(&runner, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    struct session_options *options = &runner.options;
    if (options->program == NULL) {
        options->program = find_program(program, sizeof program);
    }
    (void)snprintf(runner.configuration, sizeof runner.configuration,
                   "workers=%u threads=%u partitions=%u broadcast-rows=%lld",
                   options->workers, options->threads, options->partitions,
                   (long long)options->broadcast_rows);
    struct duck_options helper = {.threads = 1};
    shoal_status status = duck_open(&runner.duck, &helper, &err);
    if (status == SHOAL_OK) status = duck_connect(runner.duck, &runner.conn, &err);
    for (int i = optind; status == SHOAL_OK && i < argc; i++) {
        if (run_file(&runner, argv[i], &err) == SHOAL_OK) continue;
        printf("%s: %s\n", argv[i], err.message);
        runner.failed++;
    }
    if (status != SHOAL_OK) {
        printf("%s\n", err.message);
        runner.failed++;
    }
    duck_disconnect(runner.conn);
    duck_close(runner.duck);
    free(runner.names.variables);
    if (runner.explain_fallbacks) {
        printf("%zu queries, %zu run embedded\n", runner.queries, runner.fallbacks);
    }
    printf("%zu passed, %zu failed, %zu skipped\n", runner.passed, runner.failed,
           runner.skipped);
    return runner.failed > 0 ? 1 : 0;
}
