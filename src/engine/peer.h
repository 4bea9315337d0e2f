// What the driver and one worker say to each other, over whatever connects them: the
// handshake, tasks and their results, heartbeats. Where the process is, and what becomes
// of it, is the engine's. Driver thread only.
#ifndef SHOAL_ENGINE_PEER_H
#define SHOAL_ENGINE_PEER_H

#include "base/frame.h"
#include "engine/assigned.h"
#include "engine/events.h"
#include "engine/handshake.h"
#include "engine/log_tail.h"

struct peer {
    uint32_t number;
    int fd;  // the engine's
    bool up;
    double silent_seconds;  // without a heartbeat, and it is taken for dead
    double heard;
    // Where the end of its process's log is, once it is asked for; NULL: nowhere.
    const struct log_tail *(*read_log)(struct peer *peer);
    const struct executor_options *opens;  // what it is told to
    struct frame_writer writer;
    struct frame_reader reader;
    struct handshake handshake;
    struct watchdog watchdog;
    struct assigned assigned;
};

// A socket that takes nothing for this long is broken: what is sent to it waits no
// longer.
#define PEER_SEND_SECONDS 10

// Begins the conversation over peer->fd: the fields above `writer` are set, and the
// handshake's and the watchdog's options.
shoal_status peer_open(struct peer *peer, struct shoal_error *err);
void peer_free(struct peer *peer);  // what it holds; the descriptor stays open
// Handles what has come. *closed: the worker has gone. SHOAL_CORRUPT: it breaks the
// protocol, and is to be lost; any other error ends the session (another version, an init
// file that fails).
shoal_status peer_serve(struct peer *peer, struct events *events, bool *closed,
                        struct shoal_error *err);
// Looks for a worker that is silent and for a task that hangs. *lost: it is to be ended,
// why says for what, in at least 64 bytes.
shoal_status peer_watch(struct peer *peer, double now, struct events *events, bool *lost,
                        char *why, size_t size, struct shoal_error *err);
// SHOAL_LOST: it takes nothing any more; its connection is shut down, so that peer_serve
// finds it closed.
shoal_status peer_run(struct peer *peer, const struct task *task,
                      struct shoal_error *err);
void peer_cancel(struct peer *peer, uint64_t task, uint32_t attempt);
// A message that needs no answer.
void peer_tell(struct peer *peer, enum frame_type type, const char *text);
// It is to leave, and nothing more is said to it.
void peer_bye(struct peer *peer);

// How long workers may be silent: half a minute, and less in tests, which can't wait
// (SHOAL_SILENT_SECONDS).
double peer_silent_seconds(void);

#endif
