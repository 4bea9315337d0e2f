// Internal to test/slt: a test file as records, and a result as cells.
#ifndef SHOAL_TEST_SLT_H
#define SHOAL_TEST_SLT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/text.h"
#include "duck/duck.h"

struct lines {
    char **line;
    size_t count;
};
void lines_add(struct lines *lines, const char *text, size_t size);  // a copy
void lines_free(struct lines *lines);
// Words of a line, split at blanks.
struct lines lines_of_words(const char *text);

// A test program's allocations: out of memory ends it.
void *need(void *memory);

// ---- parser.c

enum record_kind {
    RECORD_STATEMENT,
    RECORD_QUERY,
    RECORD_LOOP,
    RECORD_FOREACH,
    RECORD_ENDLOOP,
    RECORD_HALT,
    RECORD_MODE,
    RECORD_REQUIRE,
    RECORD_REQUIRE_ENV,
    RECORD_TEST_ENV,
    RECORD_RESTART,
    RECORD_LOAD,
    RECORD_IGNORED,
    RECORD_UNSUPPORTED,  // known, but the rest of the file can't be run
    RECORD_UNKNOWN,
};

enum expectation { EXPECT_OK, EXPECT_ERROR, EXPECT_MAYBE };
enum sort_style { SORT_NONE, SORT_BY_ROW, SORT_BY_VALUE };
enum placement { PLACE_ANY, PLACE_DISTRIBUTED, PLACE_EMBEDDED };

// skipif or onlyif: the name of a system, or a comparison of a loop's variable.
struct condition {
    bool skip;
    char *text;
};

struct record {
    enum record_kind kind;
    size_t line;         // from 1
    struct lines words;  // of its first line, the command left out
    char *command;
    struct condition *conditions;
    size_t condition_count;
    enum placement placement;
    char *reason;  // part of why it runs embedded
    enum expectation expectation;
    enum sort_style sort;
    char *label;       // NULL: none
    char *connection;  // NULL: the default one
    char *sql;
    struct lines expected;  // rows, or the error's lines
    size_t expected_line;   // where they start and end in the file, from 0
    size_t expected_end;
};

struct script {
    const char *path;
    struct lines lines;
    struct record *records;
    size_t count;
};

shoal_status script_read(const char *path, struct script *script,
                         struct shoal_error *err);
void script_free(struct script *script);
// The record after the ENDLOOP that belongs to the loop at `at`; 0: there is none.
size_t script_loop_end(const struct script *script, size_t at);

// ---- names.c

struct names {
    char test_dir[4096];
    bool sqlite;  // the files are of SQLite's own suite
    struct variable {
        char *name, *value;
    } * variables;  // of loops and the environment, inner ones last
    size_t count;
};

void names_push(struct names *names, const char *name, const char *value);
// foreach a,b 1,2 3,4 sets both at a time.
void names_push_token(struct names *names, const char *loop, const char *token);
void names_pop(struct names *names, size_t count);  // down to so many
char *names_expand(const struct names *names, const char *text);
struct lines names_expand_lines(const struct names *names, const struct lines *lines);
bool names_allow(const struct names *names, const struct record *record);
// The values that a loop goes through.
struct lines names_loop_tokens(const struct names *names, const struct record *record);
bool requirement_met(const struct lines *words);
// A variable of the environment, or a default; NULL: the file can't run.
const char *environment_value(const struct record *record);

// ---- result.c

struct result {
    struct lines cells;  // row by row; as the format writes them: NULL, (empty)
    size_t columns, rows;
};

void result_parse(const char *csv, struct result *result);
// As SQLite's own suite prints them; types is a letter a column.
void result_print_as_sqlite(struct result *result, const char *types);
void result_sort(struct result *result, enum sort_style sort);
// Into why, when they differ: in what. tolerance: relative, of floating-point cells; conn
// serves regular expressions and MD5.
bool result_matches(const struct result *result, const struct lines *expected,
                    size_t types, double tolerance, struct duck_conn *conn,
                    struct text *why);
void result_free(struct result *result);
// expected is <REGEX>:..., <!REGEX>:... or, where part_is_enough, a part of text.
bool text_matches(const char *text, const char *expected, bool part_is_enough,
                  struct duck_conn *conn);
// The result as the lines of a test file.
void result_lines(const struct result *result, struct lines *lines);

#endif
