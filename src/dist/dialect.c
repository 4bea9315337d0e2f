// One dialect for several CSV files. DuckDB looks at the first, and reads the later ones
// as that is read if they fit it. A task sees some of the files alone: it is told what
// the first one's dialect is, and sets of which that can't be are left to one reader.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

#define HEADER_MOST 65536

// The first line of a file that isn't compressed; NULL: it can't be seen.
static char *first_line(const char *path) {
    char *line = scan_file_packed(path) ? NULL : malloc(HEADER_MOST);
    FILE *file = line == NULL ? NULL : fopen(path, "re");
    bool read = file != NULL && fgets(line, HEADER_MOST, file) != NULL;
    if (file != NULL) fclose(file);
    if (read) return line;
    free(line);
    return NULL;
}

// Where errors are ignored nothing shows that a file is not like the others.
static bool alike(const struct file_set *set) {
    char *first = first_line(set->files[0].path);
    bool same = first != NULL;
    for (size_t i = 1; same && i < set->file_count; i++) {
        char *line = first_line(set->files[i].path);
        same = line != NULL && strcmp(line, first) == 0;
        free(line);
    }
    free(first);
    return same;
}

// How a CSV file's lines end, as DuckDB finds it: by the first end.
enum line_end { END_UNKNOWN, END_LF, END_CRLF };

// The columns of what DuckDB's sniffer says of the file, one row; NULL: nothing.
static struct duck_result *sniff(struct planner *planner, const char *columns,
                                 const char *path, const char *options,
                                 const char *dialect) {
    struct text sql = {0};
    struct duck_result *result = NULL;
    struct shoal_error ignored;
    text_printf(&sql, "SELECT %s FROM sniff_csv(", columns);
    text_append_literal(&sql, path);
    text_printf(&sql, "%s%s)", options, dialect);
    if (!sql.failed) duck_query_text(planner->trees.conn, sql.data, &result, &ignored);
    text_free(&sql);
    if (result != NULL && duck_result_rows(result) > 0) return result;
    duck_result_free(result);
    return NULL;
}

// The sniffer looks for it before all else: with a dialect given it has little else to
// do.
static enum line_end sniffed_end(struct planner *planner, const char *path) {
    static const char least[] =
        ", sample_size = 1, buffer_size = 262144, max_line_size = 131072, "
        "ignore_errors = true, null_padding = true, strict_mode = false";
    struct duck_result *result = sniff(planner, "NewLineDelimiter", path, least,
                                       ", delim = ',', quote = '', escape = ''");
    if (result == NULL) return END_UNKNOWN;
    const char *text = duck_result_text(result, 0, 0);
    bool crlf = text != NULL && strcmp(text, "\\r\\n") == 0;
    duck_result_free(result);
    return crlf ? END_CRLF : END_LF;
}

static enum line_end line_end_of(struct planner *planner, const char *path) {
    FILE *file = scan_file_packed(path) ? NULL : fopen(path, "re");
    if (file == NULL) return sniffed_end(planner, path);
    int before = 0, sign = getc(file);
    while (sign != EOF && sign != '\n' && before != '\r') {
        before = sign;
        sign = getc(file);
    }
    enum line_end end = before == '\r' && sign == '\n'   ? END_CRLF
                        : before == '\r' || sign == '\n' ? END_LF
                                                         : END_UNKNOWN;
    fclose(file);
    return end;
}

// A later file whose lines end otherwise has a dialect of its own.
static bool ends_alike(struct planner *planner, const struct file_set *set) {
    enum line_end first = END_UNKNOWN;
    for (size_t f = 0; f < set->file_count; f++) {
        enum line_end end = line_end_of(planner, set->files[f].path);
        if (end == END_UNKNOWN) continue;
        if (first != END_UNKNOWN && end != first) return false;
        first = end;
    }
    return true;
}

static const struct {
    const char *name, *other;
} pinned[] = {{"delim", "sep"}, {"quote", "quote"}, {"escape", "escape"}};
#define PINNED (sizeof pinned / sizeof *pinned)

static bool is_given(const struct file_set *set, size_t i) {
    return source_given(set, pinned[i].name) || source_given(set, pinned[i].other);
}

// Of several CSV files the later ones are read in the first one's dialect, if they fit
// it; alone, one of them could be taken for something else. One that doesn't fit fails.
static bool pin(struct planner *planner, struct file_set *set) {
    struct text dialect = {0};
    struct duck_result *result =
        sniff(planner, "Delimiter, Quote, Escape", set->files[0].path,
              set->source.options, set->source.dialect);
    if (result == NULL) return false;
    text_append(&dialect, set->source.dialect);
    for (size_t i = 0; i < PINNED; i++) {
        const char *value = duck_result_text(result, i, 0);
        if (is_given(set, i)) continue;
        text_printf(&dialect, ", %s = ", pinned[i].name);
        text_append_literal(&dialect,
                            strcmp(value ? value : "", "(empty)") == 0 ? "" : value);
    }
    duck_result_free(result);
    char *all = text_take(&dialect);
    if (all == NULL) return false;
    free(set->source.dialect);
    set->source.dialect = all;
    return true;
}

const char *dialect_pin(struct planner *planner, struct file_set *set) {
    const struct scan_source *source = &set->source;
    if (set->file_count < 2) return NULL;
    // Whether a later file begins with a header DuckDB finds out by what the first has.
    if (!source->positional && source->columns.count > 0 &&
        strcmp(source->columns.columns[0].name, "column0") == 0 &&
        !source_given(set, "header"))
        return "its files seem to have no header: say header = false";
    if (source_given(set, "ignore_errors") && !alike(set))
        return "its files begin with other lines, whose errors would be ignored";
    // Nothing is left to pin; sniff_csv, too, refuses auto_detect = false.
    if (is_given(set, 0) && is_given(set, 1) && is_given(set, 2)) return NULL;
    if (!ends_alike(planner, set))
        return "its files' lines end in different ways, \\n and \\r\\n";
    return pin(planner, set) ? NULL : "its dialect can't be told from its first file";
}
