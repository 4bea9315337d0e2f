// A result as cells, and the rules by which it is what a test file expects: a value a
// line or a row a line, a hash of all values, regular expressions, and floating-point
// cells equal within a tolerance. Text that differs is compared as numbers where both
// are numbers, since the file may say 3 where the engine says 3.0.
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slt.h"

static void add_cell(struct result *result, const char *text, bool quoted) {
    const char *cell = *text != '\0' ? text : quoted ? "(empty)" : "NULL";
    lines_add(&result->cells, cell, strlen(cell));
}

// Booleans are 1 and 0 in this format. CSV has no types: a column that holds nothing else
// is taken for one, and same_cell() takes either way of writing it.
static void number_booleans(struct result *result) {
    char **cells = result->cells.line;
    for (size_t c = 0; c < result->columns; c++) {
        bool all = true;
        for (size_t i = c; all && i < result->cells.count; i += result->columns) {
            all = strcmp(cells[i], "true") == 0 || strcmp(cells[i], "false") == 0 ||
                  strcmp(cells[i], "NULL") == 0;
        }
        for (size_t i = c; all && i < result->cells.count; i += result->columns) {
            if (*cells[i] == 'N') continue;
            bool value = *cells[i] == 't';
            free(cells[i]);
            cells[i] = need(strdup(value ? "1" : "0"));
        }
    }
}

void result_parse(const char *csv, struct result *result) {
    struct text cell = {0};
    bool names = true, quoted = false;
    *result = (struct result){0};
    for (const char *at = csv; *at != '\0'; at++) {
        if (*at == '"') {
            quoted = true;
            for (at++; *at != '\0' && (*at != '"' || at[1] == '"'); at++) {
                if (*at == '"') at++;
                text_append_bytes(&cell, at, 1);
            }
            continue;
        }
        if (*at != ',' && *at != '\n') {
            text_append_bytes(&cell, at, 1);
            continue;
        }
        if (names) {
            result->columns++;
        } else {
            add_cell(result, cell.data ? cell.data : "", quoted);
        }
        if (*at == '\n') names = false;
        text_free(&cell);
        quoted = false;
    }
    text_free(&cell);
    if (result->columns > 0) result->rows = result->cells.count / result->columns;
    number_booleans(result);
}

void result_free(struct result *result) {
    lines_free(&result->cells);
}

// I: a whole number, R: three decimals, T: bytes that don't print as @.
void result_print_as_sqlite(struct result *result, const char *types) {
    for (size_t i = 0; i < result->cells.count; i++) {
        char **cell = &result->cells.line[i];
        char type = types[i % result->columns], number[400], *end = NULL;
        double value = strtod(*cell, &end);
        if (strcmp(*cell, "NULL") == 0) continue;
        if (type == 'T') {
            for (char *c = *cell; *c != '\0'; c++) {
                if (*c < ' ' || *c > '~') *c = '@';
            }
        } else if (*end == '\0' && (type == 'R' || strpbrk(*cell, ".eE") != NULL)) {
            (void)snprintf(number, sizeof number, type == 'R' ? "%.3f" : "%.0f",
                           type == 'R' ? value : trunc(value));
            free(*cell);
            *cell = need(strdup(number));
        }
    }
}

static size_t sort_columns;

static int compare_rows(const void *a, const void *b) {
    char *const *left = a, *const *right = b;
    int order = 0;
    for (size_t c = 0; order == 0 && c < sort_columns; c++) {
        order = strcmp(left[c], right[c]);
    }
    return order;
}

void result_sort(struct result *result, enum sort_style sort) {
    if (sort == SORT_NONE || result->cells.count == 0) return;
    sort_columns = sort == SORT_BY_ROW ? result->columns : 1;
    qsort(result->cells.line, result->cells.count / sort_columns,
          sort_columns * sizeof(char *), compare_rows);
}

// ---- cells

bool text_matches(const char *text, const char *expected, bool part_is_enough,
                  struct duck_conn *conn) {
    bool wanted = strncmp(expected, "<REGEX>:", 8) == 0;
    if (!wanted && strncmp(expected, "<!REGEX>:", 9) != 0) {
        return part_is_enough ? strstr(text, expected) != NULL
                              : strcmp(text, expected) == 0;
    }
    struct text sql = {0};
    struct shoal_error err;
    char *answer = NULL;
    // An error carries more than DuckDB's message: where it happened.
    text_append(&sql,
                part_is_enough ? "SELECT regexp_matches(" : "SELECT regexp_full_match(");
    text_append_literal(&sql, text);
    text_append(&sql, ", ");
    text_append_literal(&sql, strchr(expected, ':') + 1);
    text_append(&sql, ", 's')");
    need(sql.data);
    bool ok = duck_scalar(conn, sql.data, &answer, &err) == SHOAL_OK && answer != NULL;
    if (!ok) fprintf(stderr, "a regular expression failed: %s\n", err.message);
    ok = ok && (strcmp(answer, "true") == 0) == wanted;
    free(answer);
    text_free(&sql);
    return ok;
}

static bool is_number(const char *text, double *value) {
    char *end = NULL;
    if (text[strspn(text, " ")] == '\0' || strpbrk(text, "xX") != NULL) return false;
    *value = strtod(text, &end);
    return end[strspn(end, " ")] == '\0';
}

// Half a unit of the last digit that the file gives, of at least three.
static double written_precision(const char *text) {
    int digits = 0;
    for (; *text != '\0' && *text != 'e' && *text != 'E'; text++) {
        if (isdigit((unsigned char)*text) && (digits > 0 || *text != '0')) digits++;
    }
    return digits > 17 ? 0 : 0.5 * pow(10, 1 - (digits < 3 ? 3 : digits));
}

static bool same_number(const char *actual, const char *expected, double tolerance) {
    double a, b;
    if (!is_number(actual, &a) || !is_number(expected, &b)) return false;
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    if (isinf(a) || isinf(b)) return a == b;
    // Whole numbers are exact: as doubles, large ones would not be.
    if (strpbrk(actual, ".eE") == NULL && strpbrk(expected, ".eE") == NULL) {
        expected += strspn(expected, " ");
        size_t size = strcspn(expected, " ");
        return strlen(actual) == size && strncmp(actual, expected, size) == 0;
    }
    // So is a whole number that the file gives without a point.
    if (strpbrk(expected, ".eE") == NULL && tolerance < 1e-3) return a == b;
    double written = written_precision(expected);
    double allowed = tolerance > written ? tolerance : written;
    return fabs(a - b) <= allowed * fmax(fabs(a), fabs(b));
}

static bool same_boolean(const char *actual, const char *expected) {
    if (strcmp(actual, "1") == 0) return strcasecmp(expected, "true") == 0;
    return strcmp(actual, "0") == 0 && strcasecmp(expected, "false") == 0;
}

static bool same_cell(const char *actual, const char *expected, double tolerance,
                      struct duck_conn *conn) {
    if (strcmp(actual, expected) == 0) return true;
    if (*expected == '<' && text_matches(actual, expected, false, conn)) return true;
    return same_boolean(actual, expected) || same_number(actual, expected, tolerance);
}

// ---- results

static bool is_hash(const char *line) {
    size_t digits = strspn(line, "0123456789");
    static const char between[] = " values hashing to ";
    return digits > 0 && strncmp(line + digits, between, sizeof between - 1) == 0;
}

static bool hash_matches(const struct result *result, const char *expected,
                         struct duck_conn *conn, struct text *why) {
    struct text values = {0}, sql = {0}, line = {0};
    struct shoal_error err;
    char *md5 = NULL;
    text_append(&values, "");
    for (size_t i = 0; i < result->cells.count; i++) {
        text_append(&values, result->cells.line[i]);
        text_append(&values, "\n");
    }
    text_append(&sql, "SELECT md5(");
    text_append_literal(&sql, need(values.data));
    text_append(&sql, ")");
    if (duck_scalar(conn, need(sql.data), &md5, &err) == SHOAL_OK && md5 != NULL) {
        text_printf(&line, "%zu values hashing to %s", result->cells.count, md5);
    }
    bool same = line.data != NULL && strcmp(line.data, expected) == 0;
    if (!same) text_append(why, line.data ? line.data : err.message);
    free(md5);
    text_free(&values);
    text_free(&sql);
    text_free(&line);
    return same;
}

static bool all_have_tabs(const struct lines *lines) {
    for (size_t i = 0; i < lines->count; i++) {
        if (strchr(lines->line[i], '\t') == NULL) return false;
    }
    return true;
}

// The expected cells, from a value a line or from a row a line.
static struct lines expected_cells(const struct lines *expected,
                                   const struct result *result) {
    struct lines cells = {0};
    bool by_row = (result->columns > 1 && expected->count == result->rows) ||
                  all_have_tabs(expected);
    for (size_t i = 0; i < expected->count; i++) {
        const char *at = expected->line[i];
        if (!by_row) lines_add(&cells, at, strlen(at));
        // Several tabs are one, as an empty cell is written (empty).
        while (by_row && *(at += strspn(at, "\t")) != '\0') {
            size_t size = strcspn(at, "\t");
            lines_add(&cells, at, size);
            at += size;
        }
    }
    return cells;
}

bool result_matches(const struct result *result, const struct lines *expected,
                    size_t types, double tolerance, struct duck_conn *conn,
                    struct text *why) {
    if (expected->count == 1 && is_hash(expected->line[0])) {
        return hash_matches(result, expected->line[0], conn, why);
    }
    if (result->columns != types) {
        text_printf(why, "%zu columns expected, %zu came", types, result->columns);
        return false;
    }
    struct lines cells = expected_cells(expected, result);
    bool same = cells.count == result->cells.count;
    if (!same) {
        text_printf(why, "%zu values expected, %zu came", cells.count,
                    result->cells.count);
    }
    for (size_t i = 0; same && i < cells.count; i++) {
        same = same_cell(result->cells.line[i], cells.line[i], tolerance, conn);
        if (!same) {
            text_printf(why, "row %zu, column %zu: expected %s, came %s",
                        i / result->columns + 1, i % result->columns + 1, cells.line[i],
                        result->cells.line[i]);
        }
    }
    lines_free(&cells);
    return same;
}

void result_lines(const struct result *result, struct lines *lines) {
    for (size_t r = 0; r < result->rows; r++) {
        struct text row = {0};
        for (size_t c = 0; c < result->columns; c++) {
            if (c > 0) text_append(&row, "\t");
            text_append(&row, result->cells.line[r * result->columns + c]);
        }
        lines_add(lines, need(row.data), row.size);
        text_free(&row);
    }
}
