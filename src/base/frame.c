#include "base/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HEADER 5

static shoal_status send_all(int fd, const void *data, size_t size,
                             struct shoal_error *err) {
    const char *at = data;
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) {
            return shoal_fail(
                err, SHOAL_LOST, "the connection broke: %s",
                errno == EAGAIN ? "the peer takes no data" : strerror(errno));
        }
        at += sent;
        size -= (size_t)sent;
    }
    return SHOAL_OK;
}

shoal_status frame_send(int fd, enum frame_type type, const char *payload, size_t size,
                        struct shoal_error *err) {
    if (size > FRAME_LIMIT) {
        return shoal_fail(err, SHOAL_USER,
                          "a message of %zu bytes is past the limit of %u", size,
                          FRAME_LIMIT);
    }
    uint8_t header[HEADER] = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16),
                              (uint8_t)(size >> 24), (uint8_t)type};
    shoal_status status = send_all(fd, header, sizeof header, err);
    return status == SHOAL_OK ? send_all(fd, payload, size, err) : status;
}

shoal_status frame_receive(struct frame_reader *reader, int fd, bool *closed,
                           struct shoal_error *err) {
    *closed = false;
    if (reader->consumed > 0) {
        memmove(reader->data, reader->data + reader->consumed,
                reader->size - reader->consumed);
        reader->size -= reader->consumed;
        reader->consumed = 0;
    }
    for (;;) {
        if (reader->capacity - reader->size < 4096) {
            size_t capacity = reader->capacity ? reader->capacity * 2 : 16384;
            uint8_t *data = realloc(reader->data, capacity);
            if (data == NULL) return shoal_no_memory(err);
            reader->data = data;
            reader->capacity = capacity;
        }
        size_t room = reader->capacity - reader->size;
        ssize_t got = recv(fd, reader->data + reader->size, room, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return SHOAL_OK;
        if (got <= 0) {
            *closed = true;
            return SHOAL_OK;
        }
        reader->size += (size_t)got;
        if ((size_t)got < room || reader->size > FRAME_LIMIT) return SHOAL_OK;
    }
}

shoal_status frame_next(struct frame_reader *reader, bool *found, enum frame_type *type,
                        const char **payload, size_t *size, struct shoal_error *err) {
    *found = false;
    if (reader->size - reader->consumed < HEADER) return SHOAL_OK;
    const uint8_t *at = reader->data + reader->consumed;
    *size =
        (size_t)at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16 | (size_t)at[3] << 24;
    if (*size > FRAME_LIMIT) {
        return shoal_fail(err, SHOAL_CORRUPT, "protocol error: a message of %zu bytes",
                          *size);
    }
    if (reader->size - reader->consumed - HEADER < *size) return SHOAL_OK;
    *type = (enum frame_type)at[4];
    *payload = (const char *)at + HEADER;
    reader->consumed += HEADER + *size;
    *found = true;
    return SHOAL_OK;
}

void frame_reader_free(struct frame_reader *reader) {
    free(reader->data);
    *reader = (struct frame_reader){0};
}
