// A large text file cut between records. DuckDB's sniffer says what its dialect is, and
// a part is read under that dialect, pinned, with the file's columns in their order: only
// the first part sees the header.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "lines/cut.h"
#include "query/run.h"

#define RECORD_MOST 2000000  // bytes, DuckDB's maximum_line_size

struct text_file {
    bool cuts;
    struct lines_format format;
    char *first, *rest;  // options of a call that reads its beginning, another part
};

// ---- CSV

enum sniffed {
    DELIMITER,
    QUOTE,
    ESCAPE,
    NEWLINE,
    COMMENT,
    SKIP,
    HEADER,
    DATES,
    TIMES,
    NAME
};

static shoal_status sniff(struct run *run, const struct stage_leaf *leaf,
                          const char *path, struct duck_result **result,
                          struct shoal_error *err) {
    struct text sql = {0};
    text_append(&sql,
                "SELECT Delimiter, Quote, Escape, NewLineDelimiter, Comment, "
                "SkipRows::VARCHAR, HasHeader::VARCHAR, DateFormat, TimestampFormat, "
                "unnest(Columns).name FROM sniff_csv(");
    text_append_literal(&sql, path);
    text_printf(&sql, "%s%s)", leaf->source.options, leaf->source.dialect);
    shoal_status status =
        sql.failed ? shoal_no_memory(err)
                   : duck_query_text(run->session->conn, sql.data, result, err);
    text_free(&sql);
    return status;
}

static const char *cell(const struct duck_result *sniffed, enum sniffed column) {
    const char *value = duck_result_text(sniffed, column, 0);
    return value == NULL || strcmp(value, "(empty)") == 0 ? "" : value;
}

// Do records of this dialect end where lines/cut.c takes them to end?
static bool is_plain(const struct duck_result *sniffed) {
    const char *newline = cell(sniffed, NEWLINE);
    const char *quote = cell(sniffed, QUOTE);
    const char *escape = cell(sniffed, ESCAPE);
    bool ended = strcmp(newline, "\\n") == 0 || strcmp(newline, "\\r\\n") == 0;
    bool quoted = *quote == '\0' ? *escape == '\0'
                                 : quote[1] == '\0' &&
                                       (*escape == '\0' || strcmp(escape, quote) == 0);
    return ended && quoted && strlen(cell(sniffed, DELIMITER)) == 1 &&
           *cell(sniffed, COMMENT) == '\0';
}

// The file's columns in its order, with the types that all files were found to have.
static bool file_columns(const struct scan_source *source,
                         const struct duck_result *sniffed, struct schema *columns) {
    size_t count = duck_result_rows(sniffed);
    if (source->positional)
        return count == source->columns.count && schema_copy(columns, &source->columns);
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = duck_result_text(sniffed, NAME, i);
        const char *type = "VARCHAR";  // one that only this file has
        for (size_t c = 0; c < source->columns.count; c++) {
            if (strcmp(source->columns.columns[c].name, name) != 0) continue;
            type = source->columns.columns[c].type;
            known++;
        }
        if (!schema_add(columns, name, type)) return false;
    }
    return known == source->columns.count;
}

static void append_option(struct text *out, const char *name, const char *value) {
    text_printf(out, ", %s = ", name);
    text_append_literal(out, value);
}

// header: "true" or "false", of the file's first part.
static char *csv_options(const struct scan_source *source,
                         const struct duck_result *sniffed, const struct schema *columns,
                         const char *header, bool first) {
    struct text out = {0};
    bool crlf = strcmp(cell(sniffed, NEWLINE), "\\r\\n") == 0;
    text_printf(&out, "%s, auto_detect = false", source->options);
    append_option(&out, "delim", cell(sniffed, DELIMITER));
    append_option(&out, "quote", cell(sniffed, QUOTE));
    append_option(&out, "escape", cell(sniffed, ESCAPE));
    append_option(&out, "new_line", crlf ? "\\r\\n" : "\\n");
    append_option(&out, "comment", "");
    text_printf(&out, ", skip = %s, header = %s", first ? cell(sniffed, SKIP) : "0",
                first ? header : "false");
    if (*cell(sniffed, DATES)) append_option(&out, "dateformat", cell(sniffed, DATES));
    if (*cell(sniffed, TIMES))
        append_option(&out, "timestampformat", cell(sniffed, TIMES));
    text_append(&out, ", columns = ");
    source_append_columns(&out, columns);
    return text_take(&out);
}

static void append_column(struct text *out, const struct schema *columns, size_t number) {
    text_append_identifier(out, columns->columns[number].name);
}

// Is the first record a header, where the call gives the columns? DuckDB's rule: it has
// their names, or not all of its values are of their types, or all columns are text.
static void append_is_header(struct text *out, const struct schema *columns) {
    bool texts = true;
    text_append(out, "CASE");
    for (size_t i = 0; i < columns->count; i++) {
        text_append(out, " WHEN ");
        append_column(out, columns, i);
        text_append(out, " IS NULL THEN 'false' WHEN ");
        append_column(out, columns, i);
        text_append(out, " <> ");
        text_append_literal(out, columns->columns[i].name);
        text_append(out, " THEN h");
        texts = texts && strcmp(columns->columns[i].type, "VARCHAR") == 0;
    }
    text_append(out, " ELSE 'true' END FROM (SELECT *, ");
    if (texts) {
        text_append(out, "'true' AS h");
        return;
    }
    text_append(out, "(NOT (true");
    for (size_t i = 0; i < columns->count; i++) {
        text_append(out, " AND (");
        append_column(out, columns, i);
        text_append(out, " IS NULL OR TRY_CAST(");
        append_column(out, columns, i);
        text_printf(out, " AS %s) IS NOT NULL)", columns->columns[i].type);
    }
    text_append(out, "))::VARCHAR AS h");
}

// *header NULL: it is not known.
static shoal_status find_header(struct run *run, const struct scan_source *source,
                                const char *path, const struct duck_result *sniffed,
                                const struct schema *columns, char **header,
                                struct shoal_error *err) {
    struct text sql = {0};
    struct schema texts = {0};
    struct shoal_error why;
    bool ok = true;
    *header = NULL;
    for (size_t i = 0; ok && i < columns->count; i++)
        ok = schema_add(&texts, columns->columns[i].name, "VARCHAR");
    char *options = ok ? csv_options(source, sniffed, &texts, "false", true) : NULL;
    text_append(&sql, "SELECT ");
    append_is_header(&sql, columns);
    text_append(&sql, " FROM read_csv(");
    text_append_literal(&sql, path);
    text_printf(&sql, "%s) LIMIT 1)", options == NULL ? "" : options);
    ok = options != NULL && !sql.failed;
    free(options);
    schema_free(&texts);
    if (ok) (void)duck_scalar(run->session->conn, sql.data, header, &why);
    text_free(&sql);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

static shoal_status look_at_csv(struct run *run, const struct stage_leaf *leaf,
                                const char *path, struct text_file *file,
                                struct shoal_error *err) {
    struct duck_result *sniffed = NULL;
    struct schema columns = {0};
    struct shoal_error why;
    // A file that can't be sniffed is read whole, which says what is wrong with it.
    if (sniff(run, leaf, path, &sniffed, &why) != SHOAL_OK) return SHOAL_OK;
    shoal_status status = SHOAL_OK;
    char *found = NULL;
    bool cuts = duck_result_rows(sniffed) > 0 && is_plain(sniffed) &&
                file_columns(&leaf->source, sniffed, &columns);
    if (cuts && leaf->source.seeks_header) {
        status = find_header(run, &leaf->source, path, sniffed, &columns, &found, err);
        cuts = found != NULL;
    }
    if (cuts) {
        const char *header = found != NULL ? found : cell(sniffed, HEADER);
        uint64_t skipped = strtoull(cell(sniffed, SKIP), NULL, 10);
        file->format = (struct lines_format){.delimiter = *cell(sniffed, DELIMITER),
                                             .quote = *cell(sniffed, QUOTE),
                                             .fields = (uint32_t)columns.count,
                                             .before = skipped > 0 ? skipped + 1 : 0,
                                             .record_most = RECORD_MOST};
        file->first = csv_options(&leaf->source, sniffed, &columns, header, true);
        file->rest = csv_options(&leaf->source, sniffed, &columns, header, false);
        file->cuts = file->first != NULL && file->rest != NULL;
        if (!file->cuts) status = shoal_no_memory(err);
    }
    free(found);
    schema_free(&columns);
    duck_result_free(sniffed);
    return status;
}

// ---- JSON lines

// The first byte of the text that is no blank: '{' if it is one object after another.
static char first_sign(const char *path) {
    char head[4096];
    FILE *file = fopen(path, "re");
    size_t size = file == NULL ? 0 : fread(head, 1, sizeof head, file);
    if (file != NULL) fclose(file);
    for (size_t i = 0; i < size; i++) {
        if (strchr(" \t\r\n", head[i]) == NULL) return head[i];
    }
    return '\0';
}

// Objects that span lines fail to be read as lines, and the driver reads them then.
static shoal_status look_at_json(const struct stage_leaf *leaf, const char *path,
                                 struct text_file *file, struct shoal_error *err) {
    struct text out = {0};
    if (first_sign(path) != '{') return SHOAL_OK;
    text_printf(&out,
                "%s, format = 'newline_delimited', columns = ", leaf->source.options);
    source_append_columns(&out, &leaf->source.columns);
    file->format = (struct lines_format){.record_most = RECORD_MOST};
    file->first = text_take(&out);
    file->rest = file->first == NULL ? NULL : strdup(file->first);
    file->cuts = file->rest != NULL;
    return file->cuts ? SHOAL_OK : shoal_no_memory(err);
}

// ----

static shoal_status look_at(struct run *run, const struct stage_leaf *leaf,
                            const char *path, struct text_file *file,
                            struct shoal_error *err) {
    if (!stage_scan_cuts(leaf) || scan_file_packed(path) || access(path, R_OK) != 0)
        return SHOAL_OK;
    return leaf->source.kind == SCAN_CSV ? look_at_csv(run, leaf, path, file, err)
                                         : look_at_json(leaf, path, file, err);
}

static shoal_status add_parts(const struct scan_file *file, const struct text_file *text,
                              const uint64_t *ends, size_t count, struct stage_run *stage,
                              struct shoal_error *err) {
    for (size_t i = 0; i < count; i++) {
        char *options = strdup(i == 0 ? text->first : text->rest);
        if (options == NULL) return shoal_no_memory(err);
        stage->splits[stage->tasks++] =
            (struct scan_split){.files = file,
                                .count = 1,
                                .part = PART_BYTES,
                                .first = i == 0 ? 0 : ends[i - 1],
                                .last = ends[i] - 1,
                                .options = options};
    }
    return SHOAL_OK;
}

shoal_status run_cut_text(struct run *run, const struct stage_leaf *leaf,
                          const struct scan_file *file, uint64_t parts,
                          struct stage_run *stage, struct shoal_error *err) {
    struct text_file text = {0};
    uint64_t *ends = calloc(parts, sizeof *ends);
    size_t count = 0;
    shoal_status status =
        ends == NULL ? shoal_no_memory(err) : look_at(run, leaf, file->path, &text, err);
    if (status == SHOAL_OK && text.cuts)
        status =
            lines_cut(file->path, &text.format, file->bytes, parts, ends, &count, err);
    if (status == SHOAL_OK && count > 1) {
        status = add_parts(file, &text, ends, count, stage, err);
    } else if (status == SHOAL_OK) {
        stage->splits[stage->tasks++] =
            (struct scan_split){.files = file, .count = 1, .rows = file->rows};
    }
    free(text.first);
    free(text.rest);
    free(ends);
    return status;
}
