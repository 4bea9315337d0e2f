// Results as a table for people, CSV (RFC 4180) and JSON (an array of objects).
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "query/session.h"

static bool is_number(const char *type) {
    static const char *const names[] = {
        "TINYINT",  "SMALLINT", "INTEGER",  "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT",
        "UINTEGER", "UBIGINT",  "UHUGEINT", "FLOAT",  "DOUBLE",  "BIGNUM",   NULL};
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(type, names[i]) == 0) return true;
    }
    size_t length = strlen(type);
    return strncmp(type, "DECIMAL(", 8) == 0 && type[length - 1] == ')';
}

static shoal_status no_memory(struct shoal_error *err) {
    return shoal_fail(err, SHOAL_NOMEM, "out of memory for the output");
}

struct writer {
    struct duck_result *result;
    FILE *out;
    size_t columns;
};

// The next batch; an output that failed (a full disk, a closed pipe) ends it.
static shoal_status next(struct writer *writer, bool *more, struct shoal_error *err) {
    errno = 0;
    if (ferror(writer->out)) {
        *more = false;
        return SHOAL_OK;
    }
    return duck_result_next(writer->result, more, err);
}

// ---- CSV

static void csv_cell(FILE *out, const char *text) {
    // NULL is empty, so the empty string is quoted.
    if (text == NULL) return;
    if (*text != '\0' && strpbrk(text, ",\"\r\n") == NULL) {
        (void)fputs(text, out);
        return;
    }
    (void)fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"') (void)fputc('"', out);
        (void)fputc(*text, out);
    }
    (void)fputc('"', out);
}

static void csv_row(const struct writer *writer, bool names, size_t row) {
    for (size_t c = 0; c < writer->columns; c++) {
        if (c > 0) (void)fputc(',', writer->out);
        csv_cell(writer->out, names ? duck_result_name(writer->result, c)
                                    : duck_result_text(writer->result, c, row));
    }
    (void)fputc('\n', writer->out);
}

static shoal_status write_csv(struct writer *writer, struct shoal_error *err) {
    bool more = false;
    shoal_status status;
    csv_row(writer, true, 0);
    while ((status = next(writer, &more, err)) == SHOAL_OK && more) {
        for (size_t r = 0; r < duck_result_rows(writer->result); r++)
            csv_row(writer, false, r);
    }
    return status;
}

// ---- JSON

static bool json_cell(FILE *out, const char *text, bool quoted) {
    // nan and inf are no JSON numbers.
    if (!quoted && text[strspn(text, "0123456789+-.eE")] == '\0') {
        return fputs(text, out) >= 0;
    }
    json_t *string = json_string(text);
    if (string == NULL) string = json_string("(not valid UTF-8)");
    bool ok = string != NULL && json_dumpf(string, out, JSON_ENCODE_ANY) == 0;
    json_decref(string);
    return ok;
}

static bool json_row(const struct writer *writer, size_t r) {
    FILE *out = writer->out;
    bool ok = true;
    (void)fputc('{', out);
    for (size_t c = 0; ok && c < writer->columns; c++) {
        const char *type = duck_result_type(writer->result, c);
        const char *text = duck_result_text(writer->result, c, r);
        if (c > 0) (void)fputc(',', out);
        ok = json_cell(out, duck_result_name(writer->result, c), true);
        (void)fputc(':', out);
        if (text == NULL) {
            (void)fputs("null", out);
        } else if (strcmp(type, "BOOLEAN") == 0) {
            (void)fputs(text, out);
        } else {
            ok = ok && json_cell(out, text, !is_number(type));
        }
    }
    (void)fputc('}', out);
    return ok;
}

static shoal_status write_json(struct writer *writer, struct shoal_error *err) {
    bool more = false, first = true;
    shoal_status status;
    (void)fputc('[', writer->out);
    while ((status = next(writer, &more, err)) == SHOAL_OK && more) {
        for (size_t r = 0; r < duck_result_rows(writer->result); r++) {
            if (!first) (void)fputs(",\n", writer->out);
            first = false;
            if (!json_row(writer, r)) return no_memory(err);
        }
    }
    (void)fputs("]\n", writer->out);
    return status;
}

// ---- table

// A cell as it is shown: without line breaks, which would break the box.
static char *shown(const char *text) {
    struct text out = {0};
    text_append(&out, "");
    if (text == NULL) text = "NULL";
    for (; *text != '\0'; text++) {
        if (*text == '\n') {
            text_append(&out, "\\n");
        } else if (*text == '\r') {
            text_append(&out, "\\r");
        } else if (*text == '\t') {
            text_append(&out, "\\t");
        } else {
            text_append_bytes(&out, text, 1);
        }
    }
    return text_take(&out);
}

static uint32_t code_point(const unsigned char **at) {
    const unsigned char *c = *at;
    int more = *c < 0xc0 ? 0 : *c < 0xe0 ? 1 : *c < 0xf0 ? 2 : 3;
    uint32_t code = more == 0 ? *c : (uint32_t)(*c & (0x3f >> more));
    for (c++; more > 0 && (*c & 0xc0) == 0x80; more--, c++)
        code = code << 6 | (*c & 0x3f);
    *at = c;
    return code;
}

// Columns of a terminal, by the wide ranges of East Asian text and emoji.
static size_t width_of(const char *text) {
    static const uint32_t wide[][2] = {
        {0x1100, 0x115f}, {0x2e80, 0xa4cf}, {0xac00, 0xd7a3},   {0xf900, 0xfaff},
        {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};
    size_t width = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        uint32_t code = code_point(&at);
        if (code >= 0x300 && code <= 0x36f) continue;  // combining marks
        width++;
        for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
            if (code >= wide[i][0] && code <= wide[i][1]) width++;
        }
    }
    return width;
}

static void rule(FILE *out, const size_t *widths, size_t columns, const char *left,
                 const char *middle, const char *right) {
    for (size_t c = 0; c < columns; c++) {
        (void)fputs(c == 0 ? left : middle, out);
        for (size_t i = 0; i < widths[c] + 2; i++) (void)fputs("─", out);
    }
    (void)fprintf(out, "%s\n", right);
}

static void pad(FILE *out, size_t n) {
    while (n-- > 0) (void)fputc(' ', out);
}

enum align { LEFT, CENTRE, RIGHT };

static bool table_cell(FILE *out, const char *text, size_t width, enum align align) {
    char *cell = shown(text);
    if (cell == NULL) return false;
    size_t space = width - width_of(cell);
    size_t before = align == LEFT ? 0 : align == RIGHT ? space : space / 2;
    (void)fputs("│ ", out);
    pad(out, before);
    (void)fputs(cell, out);
    pad(out, space - before);
    (void)fputc(' ', out);
    free(cell);
    return true;
}

static bool measure(const char *text, size_t *width) {
    char *cell = shown(text);
    if (cell == NULL) return false;
    size_t needed = width_of(cell);
    if (needed > *width) *width = needed;
    free(cell);
    return true;
}

// A table's widths are known only once its rows are: it holds the first rows, and of the
// others the number. Who wants them all wants CSV.
#define TABLE_ROWS 1000

struct table {
    char **cells;  // row-major; NULL for SQL NULL
    size_t rows, total;
    size_t *widths;
};

static bool keep_row(const struct writer *writer, struct table *table, size_t r) {
    size_t at = table->rows++ * writer->columns;
    for (size_t c = 0; c < writer->columns; c++) {
        const char *text = duck_result_text(writer->result, c, r);
        if (text != NULL && (table->cells[at + c] = strdup(text)) == NULL) return false;
        if (!measure(text, &table->widths[c])) return false;
    }
    return true;
}

static shoal_status keep_rows(struct writer *writer, struct table *table,
                              struct shoal_error *err) {
    bool more = false;
    shoal_status status;
    while ((status = next(writer, &more, err)) == SHOAL_OK && more) {
        size_t rows = duck_result_rows(writer->result);
        table->total += rows;
        for (size_t r = 0; r < rows && table->rows < TABLE_ROWS; r++) {
            if (!keep_row(writer, table, r)) return no_memory(err);
        }
    }
    return status;
}

static bool draw_table(const struct writer *writer, const struct table *table) {
    FILE *out = writer->out;
    const size_t columns = writer->columns;
    bool ok = true;
    rule(out, table->widths, columns, "┌", "┬", "┐");
    for (size_t c = 0; ok && c < columns; c++) {
        ok = table_cell(out, duck_result_name(writer->result, c), table->widths[c],
                        CENTRE);
    }
    if (ok) (void)fputs("│\n", out);
    for (size_t c = 0; ok && c < columns; c++) {
        ok = table_cell(out, duck_result_type(writer->result, c), table->widths[c],
                        CENTRE);
    }
    if (ok) (void)fputs("│\n", out);
    if (ok) rule(out, table->widths, columns, "├", "┼", "┤");
    for (size_t r = 0; ok && r < table->rows; r++) {
        for (size_t c = 0; ok && c < columns; c++) {
            bool number = is_number(duck_result_type(writer->result, c));
            ok = table_cell(out, table->cells[r * columns + c], table->widths[c],
                            number ? RIGHT : LEFT);
        }
        if (ok) (void)fputs("│\n", out);
    }
    if (ok) rule(out, table->widths, columns, "└", "┴", "┘");
    if (ok) (void)fprintf(out, "(%zu row%s", table->total, table->total == 1 ? "" : "s");
    if (ok && table->total > table->rows) {
        (void)fprintf(out, ", the first %zu shown; --format csv or json gives all",
                      table->rows);
    }
    if (ok) (void)fputs(")\n", out);
    return ok;
}

static shoal_status write_table(struct writer *writer, struct shoal_error *err) {
    struct table table = {
        .cells = calloc(TABLE_ROWS * writer->columns + 1, sizeof(char *)),
        .widths = calloc(writer->columns + 1, sizeof(size_t))};
    bool ok = table.cells != NULL && table.widths != NULL;
    for (size_t c = 0; ok && c < writer->columns; c++) {
        ok = measure(duck_result_name(writer->result, c), &table.widths[c]) &&
             measure(duck_result_type(writer->result, c), &table.widths[c]);
    }
    shoal_status status = ok ? keep_rows(writer, &table, err) : no_memory(err);
    if (status == SHOAL_OK && !draw_table(writer, &table)) status = no_memory(err);
    for (size_t i = 0; table.cells != NULL && i < table.rows * writer->columns; i++) {
        free(table.cells[i]);
    }
    free(table.cells);
    free(table.widths);
    return status;
}

shoal_status format_result(struct duck_result *result, enum result_format format,
                           FILE *out, struct shoal_error *err) {
    struct writer writer = {result, out, duck_result_columns(result)};
    errno = 0;
    shoal_status status = format == FORMAT_CSV    ? write_csv(&writer, err)
                          : format == FORMAT_JSON ? write_json(&writer, err)
                                                  : write_table(&writer, err);
    if (status == SHOAL_OK && (fflush(out) != 0 || ferror(out))) {
        return shoal_fail(err, SHOAL_IO, "cannot write the result: %s",
                          errno ? strerror(errno) : "the output failed");
    }
    return status;
}
