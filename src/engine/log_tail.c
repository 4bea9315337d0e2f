#include "engine/log_tail.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void drop_front(struct log_tail *tail, size_t size) {
    memmove(tail->bytes, tail->bytes + size, tail->size - size);
    tail->size -= size;
    tail->bytes[tail->size] = '\0';
}

// Where the last LOG_TAIL_LINES lines begin; the last may have no end yet.
static size_t last_lines(const char *bytes, size_t size) {
    size_t lines = 0;
    for (size_t at = size; at > 0; at--) {
        bool ends_line = bytes[at - 1] == '\n' && at < size;
        if (ends_line && ++lines == LOG_TAIL_LINES) return at;
    }
    return 0;
}

void log_tail_add(struct log_tail *tail, const char *bytes, size_t size) {
    if (size > LOG_TAIL_BYTES) {
        bytes += size - LOG_TAIL_BYTES;
        size = LOG_TAIL_BYTES;
    }
    if (tail->size + size > LOG_TAIL_BYTES)
        drop_front(tail, tail->size + size - LOG_TAIL_BYTES);
    char *to = tail->bytes + tail->size;
    // The message is one C string, whatever a worker writes.
    for (size_t i = 0; i < size; i++) to[i] = bytes[i] == '\0' ? '?' : bytes[i];
    tail->size += size;
    tail->bytes[tail->size] = '\0';
    drop_front(tail, last_lines(tail->bytes, tail->size));
}

#define HEADING "\nThe end of its log:\n"

void log_tail_attach(const struct log_tail *tail, struct shoal_error *err) {
    size_t size = tail->size;
    while (size > 0 && strchr(" \t\r\n", tail->bytes[size - 1]) != NULL) size--;
    size_t length = strlen(err->message);
    size_t room = sizeof err->message - 1 - length;
    if (size == 0 || room <= sizeof HEADING) return;
    room -= sizeof HEADING - 1;
    size_t from = size > room ? size - room : 0;
    // Of a character that is cut, the rest would not be UTF-8.
    while (from > 0 && from < size && (tail->bytes[from] & 0xc0) == 0x80) from++;
    (void)snprintf(err->message + length, sizeof err->message - length, HEADING "%.*s",
                   (int)(size - from), tail->bytes + from);
}

void log_tail_read(struct log_tail *tail, int *fd) {
    char bytes[1024];
    while (*fd >= 0) {
        ssize_t got = read(*fd, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (got > 0) {
            log_tail_add(tail, bytes, (size_t)got);
            continue;
        }
        close(*fd);
        *fd = -1;
    }
}
