// A newline in a CSV ends a record, unless it is inside quotes; whether it is can depend
// on every byte before it. But seldom: from any place, two readings are possible, that it
// is inside a quoted field or that it is not, and both are followed through a window of
// the file. One of them is impossible
// - if it makes text follow a closing quote, or a record of another number of fields than
//   the file has;
// - if it makes a record longer than the reader allows;
// and often both come to the same state, so that the question is moot. Where the window
// decides, the next record end is certain, for a file without errors. Where it doesn't,
// the file is not cut there.
//
// A file with errors fails as it would uncut: a wrong cut ends inside a quoted field, and
// DuckDB refuses an unterminated quote at the end of what it reads.
//
// Following both readings is the speculation of Ge et al., "Speculative Distributed CSV
// Data Parsing for Big Data Analytics" (SIGMOD 2019), done until one is refuted instead
// of being checked afterwards.
#include "lines/cut.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum state {
    STATE_START,   // of a field, or blanks there
    STATE_PLAIN,   // in a field without quotes
    STATE_QUOTED,  // inside quotes
    STATE_QUOTE,   // after a quote inside quotes: the end, or the first of two
    STATE_AFTER,   // blanks after the closing quote
    STATE_BAD,     // no reader accepts this
};

struct reading {
    enum state state;
    uint32_t fields;  // of this record so far, but the one that it is in
    bool whole;       // the record's beginning was seen
    bool blank;       // and nothing of it since
    size_t begin;     // of the record
    size_t end;       // first record end, just past it; 0: none yet
};

static void end_record(const struct lines_format *format, struct reading *reading,
                       size_t at) {
    bool torn =
        reading->whole && !reading->blank && reading->fields + 1 != format->fields;
    if (reading->end == 0) reading->end = at + 1;
    reading->whole = true;
    reading->blank = true;
    reading->fields = 0;
    reading->begin = at + 1;
    reading->state = torn ? STATE_BAD : STATE_START;
}

static void step(const struct lines_format *format, struct reading *reading, char c,
                 size_t at) {
    bool outside = reading->state != STATE_QUOTED;
    if (reading->state == STATE_BAD) return;
    if (at - reading->begin > format->record_most) {
        reading->state = STATE_BAD;
    } else if (outside && c == '\n') {
        end_record(format, reading, at);
        return;
    } else if (outside && c == '\r') {  // of "\r\n": what follows must be nothing
        reading->state = STATE_START;
        return;
    } else if (outside && c == format->delimiter) {
        reading->fields++;
        reading->state = STATE_START;
    } else if (c == format->quote) {
        static const enum state next[] = {[STATE_START] = STATE_QUOTED,
                                          [STATE_PLAIN] = STATE_PLAIN,
                                          [STATE_QUOTED] = STATE_QUOTE,
                                          [STATE_QUOTE] = STATE_QUOTED,
                                          [STATE_AFTER] = STATE_BAD};
        reading->state = next[reading->state];
    } else if (c == ' ') {
        if (reading->state == STATE_QUOTE) reading->state = STATE_AFTER;
    } else if (reading->state == STATE_START) {
        reading->state = STATE_PLAIN;
    } else if (reading->state == STATE_QUOTE || reading->state == STATE_AFTER) {
        reading->state = STATE_BAD;
    }
    reading->blank = false;
}

// A place whose neighbours leave two readings only: behind a byte that is no quote, blank
// or line end, which is in a field or ends one.
static size_t clear_place(const struct lines_format *format, const char *data,
                          size_t size) {
    for (size_t at = 1; at < size; at++) {
        char before = data[at - 1];
        if (before != format->quote && before != ' ' && before != '\n' && before != '\r')
            return at;
    }
    return size;
}

size_t lines_certain_end(const struct lines_format *format, const char *data,
                         size_t size) {
    if (format->quote == 0 ||
        (size > format->record_most && memchr(data, format->quote, size) == NULL)) {
        const char *newline = memchr(data, '\n', size);
        return newline == NULL ? 0 : (size_t)(newline - data) + 1;
    }
    size_t at = clear_place(format, data, size);
    bool ends_field = at < size && data[at - 1] == format->delimiter;
    struct reading out = {.state = ends_field ? STATE_START : STATE_PLAIN, .begin = at};
    struct reading in = {.state = STATE_QUOTED, .begin = at};
    for (; at < size; at++) {
        step(format, &out, data[at], at);
        step(format, &in, data[at], at);
        bool not_out = out.state == STATE_BAD, not_in = in.state == STATE_BAD;
        if (not_out && not_in) return 0;
        if (not_in && out.end > 0) return out.end;
        if (not_out && in.end > 0) return in.end;
        // Together again: from here on every record end is one in both.
        if (out.begin == at + 1 && in.begin == at + 1) return at + 1;
    }
    return 0;
}

#define WINDOW_LEAST ((size_t)64 << 10)

static shoal_status read_window(int fd, const char *path, uint64_t offset, char *data,
                                size_t *size, struct shoal_error *err) {
    size_t done = 0;
    while (done < *size) {
        ssize_t got = pread(fd, data + done, *size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return shoal_fail(err, SHOAL_IO, "cannot read %s at byte %llu: %s", path,
                              (unsigned long long)offset, strerror(errno));
        if (got == 0) break;
        done += (size_t)got;
    }
    *size = done;
    return SHOAL_OK;
}

// The first certain record end from offset on, 0 if none is near: a small window tells
// nearly always.
static shoal_status find_end(int fd, const char *path, const struct lines_format *format,
                             uint64_t offset, char *data, size_t most, uint64_t *end,
                             struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    *end = 0;
    for (size_t window = WINDOW_LEAST; *end == 0 && status == SHOAL_OK; window = most) {
        size_t size = window < most ? window : most;
        status = read_window(fd, path, offset, data, &size, err);
        size_t found =
            status == SHOAL_OK ? lines_certain_end(format, data, size) : (size_t)0;
        if (found > 0) *end = offset + found;
        if (window >= most) break;
    }
    return status;
}

// Where the lines end that come before the records. Empty ones are not counted, so that
// it is not too early, whoever counts them; where a quote could make one of several,
// nothing is certain up to the end of the file.
static shoal_status find_first(int fd, const char *path,
                               const struct lines_format *format, uint64_t bytes,
                               char *data, size_t most, uint64_t *end,
                               struct shoal_error *err) {
    uint64_t left = format->before, at = 0;
    bool empty = true;
    while (left > 0 && at < bytes) {
        size_t size = most, i = 0;
        shoal_status status = read_window(fd, path, at, data, &size, err);
        if (status != SHOAL_OK) return status;
        if (size == 0) break;
        for (; i < size && left > 0; i++) {
            if (data[i] == '\n') {
                left -= !empty;
                empty = true;
            } else if (data[i] == format->quote && format->quote != 0) {
                *end = bytes;
                return SHOAL_OK;
            } else if (data[i] != '\r') {
                empty = false;
            }
        }
        at += i;
    }
    *end = left > 0 ? bytes : at;
    return SHOAL_OK;
}

shoal_status lines_cut(const char *path, const struct lines_format *format,
                       uint64_t bytes, size_t parts, uint64_t *ends, size_t *count,
                       struct shoal_error *err) {
    size_t most = 2 * format->record_most + WINDOW_LEAST;
    uint64_t last = 0;
    *count = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return shoal_fail(err, SHOAL_IO, "cannot open %s: %s", path, strerror(errno));
    char *data = malloc(most);
    shoal_status status = data == NULL ? shoal_no_memory(err) : SHOAL_OK;
    if (status == SHOAL_OK && format->before > 0)
        status = find_first(fd, path, format, bytes, data, most, &last, err);
    for (size_t p = 1; status == SHOAL_OK && p < parts; p++) {
        uint64_t end = 0, at = bytes / parts * p;
        if (at <= last) continue;
        status = find_end(fd, path, format, at, data, most, &end, err);
        if (status == SHOAL_OK && end > last && end < bytes)
            ends[(*count)++] = last = end;
    }
    if (status == SHOAL_OK) ends[(*count)++] = bytes;
    free(data);
    close(fd);
    return status;
}
