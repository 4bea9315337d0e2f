// What a reader of blocks and a block server say to each other, over a channel
// (net/channel.h) that may be a plain socket: first each proves that it knows the run's
// secret, before a byte of a file is sent; then requests, any number of them before the
// first answer, which are answered in their order. Numbers are little-endian.
//
//   reader                        server
//   hello  ─────────────────────▶
//          ◀─────────────────────  welcome, with its proof
//   proof  ─────────────────────▶
//   request, path ──────────────▶
//          ◀─────────────────────  answer, bytes
//
// A request is complete in itself: it names the file, not what an earlier one opened, so
// after a reset it is sent again as it was, for what has not come yet.
#ifndef SHOAL_BLOCK_WIRE_H
#define SHOAL_BLOCK_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/proof.h"
#include "base/status.h"
#include "net/channel.h"

#define WIRE_VERSION 1
#define WIRE_PATH_MOST 4096u       // bytes of a path
#define WIRE_READ_MOST (1u << 20)  // bytes that one request may ask for
#define WIRE_TAIL_MOST (1u << 16)

enum wire_kind {
    WIRE_READ = 1,  // size bytes at offset
    WIRE_TAIL = 2,  // the last bytes of the file, size of them if it has as many
};

struct wire_request {
    uint32_t magic;
    uint16_t kind;
    uint16_t path_size;  // bytes that follow, without a NUL
    uint64_t offset;     // WIRE_TAIL: 0
    uint64_t size;
};

enum wire_outcome {
    WIRE_DONE = 0,     // size bytes follow
    WIRE_FAILED = 1,   // a file call failed: `error` is its errno
    WIRE_SHORT = 2,    // the file ends before what was asked for
    WIRE_REFUSED = 3,  // no such file may be served
};

struct wire_answer {
    uint32_t magic;
    uint32_t outcome;
    uint32_t error;
    uint32_t reserved;
    uint64_t file_size;  // 0 unless the file could be opened
    uint64_t size;
};

// Both sides prove themselves. SHOAL_CORRUPT: the peer is no block server or reader of
// this version, or does not know the secret; SHOAL_LOST: it is gone or silent.
shoal_status wire_greet(struct channel *channel, const uint8_t secret[PROOF_SECRET],
                        struct shoal_error *err);
shoal_status wire_admit(struct channel *channel, const uint8_t secret[PROOF_SECRET],
                        struct shoal_error *err);

void wire_make_request(struct wire_request *request, enum wire_kind kind,
                       uint16_t path_size, uint64_t offset, uint64_t size);
// Is it one that a reader sends? Nothing else is known of the numbers.
bool wire_request_is_good(const struct wire_request *request);
// Is it one that may follow this request?
bool wire_answer_is_good(const struct wire_answer *answer,
                         const struct wire_request *request);
void wire_make_answer(struct wire_answer *answer, enum wire_outcome outcome);

#endif
