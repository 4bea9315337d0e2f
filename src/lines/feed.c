// The pipe's life: the starting thread opens it for reading first, without waiting, so
// that the feeding thread can open it for writing at once; both keep it from being at an
// end before the reader comes. The feeding thread must not close it before the reader has
// it open (an open for reading waits for a writer, whatever is in the pipe), and some
// open it twice before they read: so it waits until the pipe is empty, and inotify tells
// when to look. lines_feed_end closes the reading end, which ends a feeding thread that
// still writes, and wakes one that still waits.
#include "lines/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)  // with 64 KiB reader and feeder wait for each other

struct lines_feed {
    char *pipe_path;
    char *path;
    uint64_t first, end;
    int file, reader, writer, reads, ended;
    pthread_t thread;
    bool running;
    struct shoal_error error;
};

static shoal_status feed_failed(struct lines_feed *feed, const char *what) {
    return shoal_fail(&feed->error, SHOAL_IO, "cannot %s %s: %s", what, feed->path,
                      strerror(errno));
}

// False when the reader has gone, or the error is set.
static bool feed_bytes(struct lines_feed *feed) {
    loff_t at = (loff_t)feed->first;
    while ((uint64_t)at < feed->end) {
        uint64_t left = feed->end - (uint64_t)at;
        ssize_t moved = splice(feed->file, &at, feed->writer, NULL,
                               left < PIPE_BYTES ? (size_t)left : PIPE_BYTES, 0);
        if (moved < 0 && errno == EINTR) continue;
        if (moved < 0 && errno == EPIPE) return false;
        if (moved < 0) {
            feed_failed(feed, "read");
            return false;
        }
        if (moved == 0) {
            shoal_fail(&feed->error, SHOAL_IO,
                       "%s is shorter than it was: it changed while it was read",
                       feed->path);
            return false;
        }
    }
    return true;
}

static void await_reader(const struct lines_feed *feed) {
    char events[4096];
    struct pollfd any[] = {{.fd = feed->reads, .events = POLLIN},
                           {.fd = feed->ended, .events = POLLIN}};
    int left = 0;
    while (ioctl(feed->writer, FIONREAD, &left) == 0 && left > 0) {
        while (poll(any, 2, -1) < 0 && errno == EINTR) continue;
        if (any[1].revents != 0) return;
        while (read(feed->reads, events, sizeof events) < 0 && errno == EINTR) continue;
    }
}

static void *feed_thread(void *ctx) {
    struct lines_feed *feed = ctx;
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);  // a reader that is done early is no error
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    if (feed_bytes(feed)) await_reader(feed);
    close(feed->writer);
    return NULL;
}

static shoal_status open_pipe(struct lines_feed *feed, struct shoal_error *err) {
    const char *path = feed->pipe_path;
    if (mkfifo(path, 0600) != 0)
        return shoal_fail(err, SHOAL_IO, "cannot make the pipe %s: %s", path,
                          strerror(errno));
    feed->reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    feed->writer = open(path, O_WRONLY | O_CLOEXEC);
    feed->reads = inotify_init1(IN_CLOEXEC);
    feed->ended = eventfd(0, EFD_CLOEXEC);
    if (feed->reader < 0 || feed->writer < 0 || feed->reads < 0 || feed->ended < 0 ||
        inotify_add_watch(feed->reads, path, IN_ACCESS) < 0) {
        return shoal_fail(err, SHOAL_IO, "cannot open the pipe %s: %s", path,
                          strerror(errno));
    }
    (void)fcntl(feed->writer, F_SETPIPE_SZ, PIPE_BYTES);  // less is slower, no more
    return SHOAL_OK;
}

static void close_any(int fd) {
    if (fd >= 0) close(fd);
}

shoal_status lines_feed_start(const char *pipe_path, const char *path, uint64_t first,
                              uint64_t end, struct lines_feed **out,
                              struct shoal_error *err) {
    struct lines_feed *feed = calloc(1, sizeof *feed);
    *out = NULL;
    if (feed == NULL) return shoal_no_memory(err);
    *feed = (struct lines_feed){.pipe_path = strdup(pipe_path),
                                .path = strdup(path),
                                .first = first,
                                .end = end,
                                .reader = -1,
                                .writer = -1,
                                .reads = -1,
                                .ended = -1};
    bool named = feed->pipe_path != NULL && feed->path != NULL;
    feed->file = named ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    shoal_status status = SHOAL_OK;
    if (!named) {
        status = shoal_no_memory(err);
    } else if (feed->file < 0) {
        status = shoal_fail(err, SHOAL_IO, "cannot open %s: %s", path, strerror(errno));
    } else {
        status = open_pipe(feed, err);
    }
    if (status == SHOAL_OK && pthread_create(&feed->thread, NULL, feed_thread, feed) != 0)
        status = shoal_fail(err, SHOAL_IO, "cannot start a thread to read %s", path);
    feed->running = status == SHOAL_OK;
    if (status != SHOAL_OK) {
        lines_feed_end(feed, NULL);
        return status;
    }
    *out = feed;
    return SHOAL_OK;
}

shoal_status lines_feed_end(struct lines_feed *feed, struct shoal_error *err) {
    if (feed == NULL) return SHOAL_OK;
    close_any(feed->reader);
    if (feed->running) {
        uint64_t one = 1;
        while (write(feed->ended, &one, sizeof one) < 0 && errno == EINTR) continue;
        pthread_join(feed->thread, NULL);
    } else {
        close_any(feed->writer);
    }
    shoal_status status = feed->error.status;
    if (status != SHOAL_OK && err != NULL) *err = feed->error;
    close_any(feed->file);
    close_any(feed->reads);
    close_any(feed->ended);
    if (feed->pipe_path != NULL) unlink(feed->pipe_path);
    free(feed->pipe_path);
    free(feed->path);
    free(feed);
    return status;
}
