// Where a text file can be cut: after which newlines a new record begins.
#ifndef SHOAL_LINES_CUT_H
#define SHOAL_LINES_CUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

// quote 0: every newline ends a record (JSON lines; a CSV without quotes). Else a quoted
// field may hold newlines, and a quote inside it is written twice.
struct lines_format {
    char delimiter;
    char quote;
    uint32_t fields;  // of a record
    uint64_t before;  // lines that are skipped, and the header behind them; 0: none are
    size_t record_most;  // bytes: a longer record is an error of the file
};

// The first record end that is certain in the window, data of a file that lies between
// others, as an offset just past it; 0 when the window doesn't say. See the essay in
// cut.c for what certain means.
size_t lines_certain_end(const struct lines_format *format, const char *data,
                         size_t size);

// Cuts a file of so many bytes into at most `parts` of about equal size: ends, [parts],
// receives where each ends, *count how many there are (fewer where no place is certain);
// the first has all lines that come before the records.
// The last ends at `bytes`.
shoal_status lines_cut(const char *path, const struct lines_format *format,
                       uint64_t bytes, size_t parts, uint64_t *ends, size_t *count,
                       struct shoal_error *err);

#endif
