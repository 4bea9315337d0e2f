#include "base/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HEADER 9

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

static void put_u32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get_u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
           (uint32_t)at[3] << 24;
}

// What a test does to a frame. A connection that fails has broken: nothing comes after.
static shoal_status send_faulty(struct frame_writer *writer, int fault,
                                const uint8_t *header, const char *payload, size_t size,
                                struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    size_t whole = HEADER + size;
    uint8_t *frame = malloc(whole);
    if (frame == NULL) return shoal_no_memory(err);
    memcpy(frame, header, HEADER);
    memcpy(frame + HEADER, payload, size);
    if (fault == FAULT_REORDER && writer->held == NULL) {
        writer->held = frame;
        writer->held_size = whole;
        return SHOAL_OK;
    }
    if (fault == FAULT_SHORT) whole /= 2;
    if (fault == FAULT_SHORT || fault == FAULT_DUPLICATE || fault == FAULT_REORDER)
        status = send_all(writer->fd, frame, whole, err);
    if (status == SHOAL_OK && fault == FAULT_DUPLICATE)
        status = send_all(writer->fd, frame, whole, err);
    free(frame);
    if (fault != FAULT_SHORT && fault < 0) return status;
    (void)shutdown(writer->fd, SHUT_WR);
    return shoal_fail(err, SHOAL_LOST, "the connection broke: %s",
                      strerror(fault > 0 ? fault : EIO));
}

static shoal_status send_held(struct frame_writer *writer, struct shoal_error *err) {
    shoal_status status = send_all(writer->fd, writer->held, writer->held_size, err);
    frame_writer_free(writer);
    return status;
}

shoal_status frame_send(struct frame_writer *writer, enum frame_type type,
                        const char *payload, size_t size, struct shoal_error *err) {
    if (size > FRAME_LIMIT) {
        return shoal_fail(err, SHOAL_USER,
                          "a message of %zu bytes is past the limit of %u", size,
                          FRAME_LIMIT);
    }
    uint8_t header[HEADER];
    put_u32(header, (uint32_t)size);
    put_u32(header + 4, writer->number++);
    header[8] = (uint8_t)type;
    int fault = fault_at(writer->point, "");
    if (fault != FAULT_NONE)
        return send_faulty(writer, fault, header, payload, size, err);
    shoal_status status = send_all(writer->fd, header, sizeof header, err);
    if (status == SHOAL_OK) status = send_all(writer->fd, payload, size, err);
    if (status == SHOAL_OK && writer->held != NULL) status = send_held(writer, err);
    return status;
}

void frame_writer_free(struct frame_writer *writer) {
    free(writer->held);
    writer->held = NULL;
    writer->held_size = 0;
}

static uint32_t limit_of(const struct frame_reader *reader) {
    return reader->limit > 0 ? reader->limit : FRAME_LIMIT;
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
        if ((size_t)got < room || reader->size > limit_of(reader)) return SHOAL_OK;
    }
}

shoal_status frame_next(struct frame_reader *reader, bool *found, enum frame_type *type,
                        const char **payload, size_t *size, struct shoal_error *err) {
    *found = false;
    if (reader->size - reader->consumed < HEADER) return SHOAL_OK;
    const uint8_t *at = reader->data + reader->consumed;
    *size = get_u32(at);
    if (*size > limit_of(reader)) {
        return shoal_fail(err, SHOAL_CORRUPT, "protocol error: a message of %zu bytes",
                          *size);
    }
    if (get_u32(at + 4) != reader->number) {
        return shoal_fail(err, SHOAL_CORRUPT,
                          "protocol error: frame %u came where frame %u was due: one was "
                          "lost, repeated or overtaken",
                          get_u32(at + 4), reader->number);
    }
    if (reader->size - reader->consumed - HEADER < *size) return SHOAL_OK;
    reader->number++;
    *type = (enum frame_type)at[8];
    *payload = (const char *)at + HEADER;
    reader->consumed += HEADER + *size;
    *found = true;
    return SHOAL_OK;
}

void frame_reader_free(struct frame_reader *reader) {
    free(reader->data);
    *reader = (struct frame_reader){0};
}
