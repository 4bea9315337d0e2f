#include "cli/output.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/stop.h"

#define BUFFER 65536
#define NAP_MS 50

// So much is taken at once by what says that it takes something: a pipe, a terminal.
static size_t take_at_once(size_t size) {
    struct stat is;
    bool file = fstat(STDOUT_FILENO, &is) == 0 && S_ISREG(is.st_mode);
    return file || size < PIPE_BUF ? size : PIPE_BUF;
}

static ssize_t write_some(const char *at, size_t size) {
    for (;;) {
        struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
        if (stop_now()) {
            errno = ECANCELED;
            return -1;
        }
        if (poll(&out, 1, NAP_MS) <= 0) continue;
        ssize_t wrote = write(STDOUT_FILENO, at, take_at_once(size));
        if (wrote >= 0 || (errno != EINTR && errno != EAGAIN)) return wrote;
    }
}

static ssize_t write_all(void *cookie, const char *bytes, size_t size) {
    int *error = cookie;
    size_t done = 0;
    while (done < size) {
        ssize_t wrote = write_some(bytes + done, size - done);
        if (wrote < 0) {
            if (*error == 0) *error = errno;
            return (ssize_t)done;
        }
        done += (size_t)wrote;
    }
    return (ssize_t)done;
}

FILE *output_open(int *error) {
    cookie_io_functions_t functions = {.write = write_all};
    *error = 0;
    FILE *out = fopencookie(error, "w", functions);
    if (out != NULL)
        (void)setvbuf(out, NULL, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, BUFFER);
    return out;
}
