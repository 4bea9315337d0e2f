// Frames that come in pieces are those that were sent, whatever the pieces; a length past
// the limit is refused, and a number that is not due.
#include <sys/socket.h>
#include <unistd.h>

#include "base/frame.h"
#include "fuzz/fuzz.h"

// The frames that the bytes hold, one after the other.
struct expected {
    const uint8_t *data;
    size_t size, at;
    uint32_t number;
};

static uint32_t length_at(const struct expected *expected) {
    return fuzz_number(expected->data + expected->at);
}

static bool is_due(const struct expected *expected) {
    return length_at(expected) <= FRAME_LIMIT &&
           fuzz_number(expected->data + expected->at + 4) == expected->number;
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
            FUZZ_CHECK(status == SHOAL_CORRUPT && !is_due(expected));
            return false;
        }
        if (!found) return true;
        FUZZ_CHECK(expected->size - expected->at >= FUZZ_HEADER + size);
        FUZZ_CHECK(is_due(expected) && size == length_at(expected));
        FUZZ_CHECK(type == (enum frame_type)expected->data[expected->at + 8]);
        FUZZ_CHECK(memcmp(payload, expected->data + expected->at + FUZZ_HEADER, size) ==
                   0);
        expected->at += FUZZ_HEADER + size;
        expected->number++;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    int sockets[2];
    uint8_t *data = (uint8_t *)fuzz_text(input, size);
    struct frame_reader reader = {0};
    struct expected expected = {.data = data, .size = size};
    struct shoal_error err;
    bool closed = false, sound = true;
    fuzz_number_frames(data, size, 0);
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
    // The system may give less at once than there is.
    while (!closed) {
        FUZZ_CHECK(frame_receive(&reader, sockets[1], &closed, &err) == SHOAL_OK);
        if (sound) sound = take_frames(&reader, &expected);
    }
    if (sound && expected.size - expected.at >= FUZZ_HEADER)
        FUZZ_CHECK(length_at(&expected) > expected.size - expected.at - FUZZ_HEADER);
    frame_reader_free(&reader);
    close(sockets[1]);
    free(data);
    return 0;
}
