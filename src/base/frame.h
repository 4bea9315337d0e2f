// Frames on a stream socket: length and number, 4 bytes each, little-endian, a type byte,
// the payload. Both ends bound the length before they allocate. The numbers of each
// direction count from 0, so that a frame that was lost, repeated or overtaken shows with
// the next one; there is always a next one, as worker and driver answer each other's
// heartbeats.
#ifndef SHOAL_BASE_FRAME_H
#define SHOAL_BASE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "base/status.h"

#define FRAME_PROTOCOL 4
#define FRAME_LIMIT (256u << 20)

enum frame_type {
    FRAME_HELLO = 1,  // both ways: what the worker is to open, whether it could
    FRAME_RUN,        // driver: a task
    FRAME_CANCEL,     // driver: {task, attempt}
    FRAME_BYE,        // driver: finish what runs by interrupting it, and exit
    FRAME_DONE,       // worker: {task, attempt, output}
    FRAME_FAILED,     // worker: {task, attempt, status, message}
    FRAME_HEARTBEAT,  // worker: from its I/O thread, once a second (task/heartbeat.h);
                      // the driver answers it, with nothing
    FRAME_CHALLENGE,  // driver, first: a nonce (engine/handshake.h)
    FRAME_PROOF,      // worker: its versions, its nonce, its proof of the secret
    FRAME_SERVED,     // driver: {worker: [address, ...]}, where files that workers wrote
                      // are to be had (block/places.h); what is not named stays
    FRAME_DROP,       // driver: [path, ...], files that nobody needs any more
};

// One direction's sender. Zero but for these two.
struct frame_writer {
    int fd;
    enum fault_point point;
    uint32_t number;  // of the next frame
    uint8_t *held;    // a frame that a fault holds back
    size_t held_size;
};

struct frame_reader {
    uint32_t number;  // that the next frame must have
    uint32_t limit;   // bytes of one; 0: FRAME_LIMIT
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t consumed;
};

// Sends one whole frame. SHOAL_LOST when the peer is gone or takes nothing for the
// socket's send timeout. One sender at a time.
shoal_status frame_send(struct frame_writer *writer, enum frame_type type,
                        const char *payload, size_t size, struct shoal_error *err);
void frame_writer_free(struct frame_writer *writer);
// Reads what there is, without waiting. *closed: the peer has gone.
shoal_status frame_receive(struct frame_reader *reader, int fd, bool *closed,
                           struct shoal_error *err);
// The next whole frame, if there is one: payload is valid until the next call of either.
// SHOAL_CORRUPT when the length is past the limit, or the number is not the one that is
// due.
shoal_status frame_next(struct frame_reader *reader, bool *found, enum frame_type *type,
                        const char **payload, size_t *size, struct shoal_error *err);
void frame_reader_free(struct frame_reader *reader);

#endif
