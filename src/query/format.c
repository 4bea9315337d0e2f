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

static void write_csv(const struct duck_result *result, FILE *out) {
    size_t columns = duck_result_columns(result);
    for (size_t c = 0; c < columns; c++) {
        if (c > 0) (void)fputc(',', out);
        csv_cell(out, duck_result_name(result, c));
    }
    (void)fputc('\n', out);
    for (size_t r = 0; r < duck_result_rows(result); r++) {
        for (size_t c = 0; c < columns; c++) {
            if (c > 0) (void)fputc(',', out);
            csv_cell(out, duck_result_text(result, c, r));
        }
        (void)fputc('\n', out);
    }
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

static bool write_json(const struct duck_result *result, FILE *out) {
    bool ok = true;
    size_t columns = duck_result_columns(result);
    (void)fputc('[', out);
    for (size_t r = 0; ok && r < duck_result_rows(result); r++) {
        (void)fputs(r ? ",\n{" : "{", out);
        for (size_t c = 0; ok && c < columns; c++) {
            const char *type = duck_result_type(result, c);
            const char *text = duck_result_text(result, c, r);
            if (c > 0) (void)fputc(',', out);
            ok = json_cell(out, duck_result_name(result, c), true);
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
    }
    (void)fputs("]\n", out);
    return ok;
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

static bool write_table(const struct duck_result *result, FILE *out) {
    size_t columns = duck_result_columns(result);
    size_t rows = duck_result_rows(result);
    size_t *widths = calloc(columns + 1, sizeof *widths);
    bool ok = widths != NULL;
    for (size_t c = 0; ok && c < columns; c++) {
        ok = measure(duck_result_name(result, c), &widths[c]) &&
             measure(duck_result_type(result, c), &widths[c]);
        for (size_t r = 0; ok && r < rows; r++) {
            ok = measure(duck_result_text(result, c, r), &widths[c]);
        }
    }
    if (ok) rule(out, widths, columns, "┌", "┬", "┐");
    for (size_t c = 0; ok && c < columns; c++) {
        ok = table_cell(out, duck_result_name(result, c), widths[c], CENTRE);
    }
    if (ok) (void)fputs("│\n", out);
    for (size_t c = 0; ok && c < columns; c++) {
        ok = table_cell(out, duck_result_type(result, c), widths[c], CENTRE);
    }
    if (ok) (void)fputs("│\n", out);
    if (ok) rule(out, widths, columns, "├", "┼", "┤");
    for (size_t r = 0; ok && r < rows; r++) {
        for (size_t c = 0; ok && c < columns; c++) {
            bool number = is_number(duck_result_type(result, c));
            ok = table_cell(out, duck_result_text(result, c, r), widths[c],
                            number ? RIGHT : LEFT);
        }
        if (ok) (void)fputs("│\n", out);
    }
    if (ok) rule(out, widths, columns, "└", "┴", "┘");
    if (ok) (void)fprintf(out, "(%zu row%s)\n", rows, rows == 1 ? "" : "s");
    free(widths);
    return ok;
}

shoal_status format_result(const struct duck_result *result, enum result_format format,
                           FILE *out, struct shoal_error *err) {
    bool ok = true;
    errno = 0;
    if (format == FORMAT_CSV) {
        write_csv(result, out);
    } else if (format == FORMAT_JSON) {
        ok = write_json(result, out);
    } else {
        ok = write_table(result, out);
    }
    if (fflush(out) != 0 || ferror(out)) {
        return shoal_fail(err, SHOAL_IO, "cannot write the result: %s",
                          errno ? strerror(errno) : "the output failed");
    }
    return ok ? SHOAL_OK : shoal_fail(err, SHOAL_NOMEM, "out of memory for the output");
}
