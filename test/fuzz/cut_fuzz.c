// Where a CSV is cut: at ends of records. The first four bytes say what the file is like;
// where a plain reader finds the rest without errors, each cut must be one of its ends.
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "lines/cut.h"

#define PARTS 5

// Marks the ends of records in ends[size + 1]; false: the file has errors, or blanks and
// line ends that readers differ about.
static bool read_whole(const struct lines_format *format, const char *data, size_t size,
                       bool *ends) {
    bool quoted = false, begun = false, closed = false;
    uint32_t fields = 1;
    size_t record = 0;
    for (size_t at = 0; at < size; at++) {
        char c = data[at];
        if (c == ' ' || c == '\r') return false;
        if (at - record > format->record_most) return false;
        if (quoted) {
            if (c == format->quote && at + 1 < size && data[at + 1] == format->quote) {
                at++;
            } else if (c == format->quote) {
                quoted = false;
                closed = true;
            }
        } else if (c == '\n') {
            bool blank = at == record;
            if (!blank && fields != format->fields) return false;
            ends[at + 1] = true;
            record = at + 1;
            fields = 1;
            begun = closed = false;
        } else if (c == format->delimiter) {
            fields++;
            begun = closed = false;
        } else if (closed || (c == format->quote && begun)) {
            return false;
        } else {
            quoted = c == format->quote;
            begun = true;
        }
    }
    return !quoted;
}

static void cut_file(const struct lines_format *format, const char *data, size_t size,
                     const bool *truth) {
    char path[64];
    uint64_t ends[PARTS];
    size_t count = 0;
    struct shoal_error err;
    int fd = memfd_create("cut", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    FUZZ_CHECK(lines_cut(path, format, size, PARTS, ends, &count, &err) == SHOAL_OK);
    FUZZ_CHECK(count >= 1 && count <= PARTS && ends[count - 1] == size);
    for (size_t i = 0; i + 1 < count; i++) {
        FUZZ_CHECK(ends[i] < ends[i + 1] && data[ends[i] - 1] == '\n');
        FUZZ_CHECK(truth == NULL || truth[ends[i]]);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t all) {
    if (all < 4 || all > 4096) return 0;
    struct lines_format format = {
        .delimiter = bytes[0] % 2 ? ',' : (char)bytes[0],
        .quote = bytes[1] % 4 == 0 ? 0 : (bytes[1] % 2 ? '"' : (char)bytes[1]),
        .fields = 1 + bytes[2] % 8,
        .record_most = 1 + (size_t)bytes[3] * 16};
    if (format.delimiter == format.quote || strchr(" \r\n", format.delimiter) ||
        (format.quote != 0 && strchr(" \r\n", format.quote)))
        return 0;
    size_t size = all - 4;
    char *data = fuzz_text(bytes + 4, size);
    bool *truth = calloc(size + 1, sizeof *truth);
    FUZZ_CHECK(truth != NULL);
    bool sound = format.quote != 0 && read_whole(&format, data, size, truth);
    for (size_t from = 0; from < size; from += 1 + size / 16) {
        // In memory of its own: reading past the window's end shows.
        char *window = malloc(size - from);
        FUZZ_CHECK(window != NULL);
        memcpy(window, data + from, size - from);
        size_t end = lines_certain_end(&format, window, size - from);
        FUZZ_CHECK(end <= size - from && (end == 0 || window[end - 1] == '\n'));
        FUZZ_CHECK(!sound || end == 0 || truth[from + end]);
        free(window);
    }
    cut_file(&format, data, size, sound ? truth : NULL);
    free(truth);
    free(data);
    return 0;
}
