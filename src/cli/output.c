#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/stop.h"

#define BUFFER 65536
#define NAP_MS 50

// So much is taken at once by what says that it takes something: a pipe, a terminal.
static size_t take_at_once(int fd, size_t size) {
    struct stat is;
    bool file = fstat(fd, &is) == 0 && S_ISREG(is.st_mode);
    return file || size < PIPE_BUF ? size : PIPE_BUF;
}

static ssize_t write_some(int fd, const char *at, size_t size) {
    for (;;) {
        struct pollfd out = {.fd = fd, .events = POLLOUT};
        if (stop_now()) {
            errno = ECANCELED;
            return -1;
        }
        if (poll(&out, 1, NAP_MS) <= 0) continue;
        ssize_t wrote = write(fd, at, take_at_once(fd, size));
        if (wrote >= 0 || (errno != EINTR && errno != EAGAIN)) return wrote;
    }
}

static ssize_t write_all(void *cookie, const char *bytes, size_t size) {
    struct output *output = cookie;
    size_t done = 0;
    while (done < size) {
        ssize_t wrote = write_some(output->fd, bytes + done, size - done);
        if (wrote < 0) {
            if (output->error == 0) output->error = errno;
            return (ssize_t)done;
        }
        done += (size_t)wrote;
    }
    return (ssize_t)done;
}

static shoal_status open_stream(struct output *output, struct shoal_error *err) {
    cookie_io_functions_t functions = {.write = write_all};
    output->stream = fopencookie(output, "w", functions);
    if (output->stream == NULL) return shoal_no_memory(err);
    (void)setvbuf(output->stream, NULL, isatty(output->fd) ? _IOLBF : _IOFBF, BUFFER);
    return SHOAL_OK;
}

static shoal_status cannot_write(const struct output *output, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_IO, "cannot write %s: %s", output->path,
                      strerror(errno));
}

// What is there already and is no file.
static shoal_status open_device(struct output *output, struct shoal_error *err) {
    output->fd = open(output->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return output->fd < 0 ? cannot_write(output, err) : open_stream(output, err);
}

static shoal_status open_part(struct output *output, struct shoal_error *err) {
    struct text part = {0};
    output->target = realpath(output->path, NULL);
    if (output->target == NULL) output->target = strdup(output->path);
    if (output->target == NULL) return shoal_no_memory(err);
    text_printf(&part, "%s.part-%d", output->target, (int)getpid());
    output->part = text_take(&part);
    if (output->part == NULL) return shoal_no_memory(err);
    output->stream = fopen(output->part, "wxe");
    if (output->stream == NULL) return cannot_write(output, err);
    stop_tell_part(output->part);
    return SHOAL_OK;
}

static void forget(struct output *output) {
    if (output->fd > STDERR_FILENO) close(output->fd);
    free(output->target);
    free(output->part);
    output->target = output->part = NULL;
    output->stream = NULL;
    output->fd = -1;
}

shoal_status output_open(struct output *output, const char *path,
                         struct shoal_error *err) {
    struct stat is;
    shoal_status status = SHOAL_OK;
    *output = (struct output){.path = path, .fd = path == NULL ? STDOUT_FILENO : -1};
    if (path == NULL)
        status = open_stream(output, err);
    else if (stat(path, &is) == 0 && !S_ISREG(is.st_mode))
        status = open_device(output, err);
    else
        status = open_part(output, err);
    if (status != SHOAL_OK) forget(output);
    return status;
}

static shoal_status why_not_written(const struct output *output,
                                    struct shoal_error *err) {
    if (output->error == ECANCELED) return shoal_fail(err, SHOAL_CANCELLED, "cancelled");
    return shoal_fail(err, SHOAL_IO, "cannot write %s: %s%s",
                      output->path == NULL ? "the result" : output->path,
                      strerror(output->error),
                      output->error == EPIPE ? ": whoever read it has closed it" : "");
}

shoal_status output_close(struct output *output, shoal_status status,
                          struct shoal_error *err) {
    if (output->stream == NULL) return status;
    bool ok = fclose(output->stream) == 0 && output->error == 0;
    if (output->part == NULL) {
        // What failed may have been said of a later call.
        if (!ok && (status == SHOAL_OK || status == SHOAL_IO))
            status = why_not_written(output, err);
    } else {
        if (status == SHOAL_OK && (!ok || rename(output->part, output->target) != 0))
            status = cannot_write(output, err);
        if (status != SHOAL_OK) unlink(output->part);
        stop_tell_part(NULL);
    }
    forget(output);
    return status;
}
