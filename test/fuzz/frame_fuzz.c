// Frames that come in pieces are those that were sent, whatever the pieces; a length past
// the limit is refused.
#include <sys/socket.h>
#include <unistd.h>

#include "base/frame.h"
#include "fuzz/fuzz.h"

// The frames that the bytes hold, one after the other.
struct expected {
    const uint8_t *data;
    size_t size, at;
};

static uint32_t length_at(const struct expected *expected) {
    const uint8_t *at = expected->data + expected->at;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
           (uint32_t)at[3] << 24;
}

static bool take_frames(struct frame_reader *reader, struct expected *expected) {
    for (;;) {
        struct shoal_error err;
        enum frame_type type;
        const char *payload = NULL;
        size_t size = 0;
        bool found = false;
        shoal_status status = frame_next(reader, &found, &type, &payload, &size, &err);
        if (status != SHOAL_OK) {
            FUZZ_CHECK(status == SHOAL_CORRUPT && length_at(expected) > FRAME_LIMIT);
            return false;
        }
        if (!found) return true;
        FUZZ_CHECK(expected->size - expected->at >= 5 + size);
        FUZZ_CHECK(size == length_at(expected));
        FUZZ_CHECK(type == (enum frame_type)expected->data[expected->at + 4]);
        FUZZ_CHECK(memcmp(payload, expected->data + expected->at + 5, size) == 0);
        expected->at += 5 + size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int sockets[2];
    struct frame_reader reader = {0};
    struct expected expected = {data, size, 0};
    struct shoal_error err;
    bool closed = false, sound = true;
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    for (size_t at = 0; sound && at < size;) {
        size_t piece = 1 + (size_t)(data[at] ^ data[size - 1]) * 17 % 5000;
        if (piece > size - at) piece = size - at;
        FUZZ_CHECK(send(sockets[0], data + at, piece, 0) == (ssize_t)piece);
        FUZZ_CHECK(frame_receive(&reader, sockets[1], &closed, &err) == SHOAL_OK);
        FUZZ_CHECK(!closed);
        sound = take_frames(&reader, &expected);
        at += piece;
    }
    close(sockets[0]);
    FUZZ_CHECK(frame_receive(&reader, sockets[1], &closed, &err) == SHOAL_OK && closed);
    if (sound && expected.size - expected.at >= 5)
        FUZZ_CHECK(length_at(&expected) > expected.size - expected.at - 5);
    frame_reader_free(&reader);
    close(sockets[1]);
    return 0;
}
