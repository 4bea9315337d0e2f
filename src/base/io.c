#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int (*io_fault)(const char *call, const char *path);

// A write whose data a bad disk or cable changed.
static ssize_t write_flipped(int fd, const void *data, size_t size) {
    uint8_t *copy = malloc(size);
    if (copy == NULL) return -1;
    memcpy(copy, data, size);
    copy[size / 2] ^= 1;
    ssize_t wrote = write(fd, copy, size);
    free(copy);
    return wrote;
}

static ssize_t write_some(int fd, const char *path, const void *data, size_t size) {
    int fault = io_fault == NULL ? 0 : io_fault("write", path);
    if (fault == IO_FAULT_FLIP) return write_flipped(fd, data, size);
    if (fault == 0) return write(fd, data, size);
    errno = fault;
    return -1;
}

static bool injected(const char *call, const char *path) {
    int fault = io_fault == NULL ? 0 : io_fault(call, path);
    if (fault != 0) errno = fault;
    return fault != 0;
}

// errno stays what it is.
static shoal_status fail(const char *what, const char *path, struct shoal_error *err) {
    int why = errno;
    const char *advice =
        errno == ENOSPC || errno == EDQUOT
            ? "; free space there or choose another folder with --temp-dir"
        : errno == EACCES || errno == EROFS ? "; choose one with --temp-dir"
        : errno == EMFILE                   ? "; raise the limit (ulimit -n)"
                                            : "";
    shoal_fail(err, SHOAL_IO, "cannot %s %s: %s%s", what, path, strerror(why), advice);
    errno = why;
    return SHOAL_IO;
}

static shoal_status open_as(const char *path, int flags, const char *what, int *fd,
                            struct shoal_error *err) {
    *fd = injected("open", path) ? -1 : open(path, flags | O_CLOEXEC, 0600);
    return *fd < 0 ? fail(what, path, err) : SHOAL_OK;
}

shoal_status io_create(const char *path, int *fd, struct shoal_error *err) {
    return open_as(path, O_CREAT | O_EXCL | O_WRONLY, "create", fd, err);
}

shoal_status io_open(const char *path, int *fd, struct shoal_error *err) {
    return open_as(path, O_RDONLY, "open", fd, err);
}

shoal_status io_write(int fd, const char *path, const void *data, size_t size,
                      struct shoal_error *err) {
    const char *at = data;
    while (size > 0) {
        ssize_t wrote = write_some(fd, path, at, size);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return fail("write", path, err);
        at += wrote;
        size -= (size_t)wrote;
    }
    return SHOAL_OK;
}

#define PIECES_MOST 1024  // IOV_MAX of Linux

shoal_status io_write_pieces(int fd, const char *path, const struct iovec *pieces,
                             size_t count, struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    for (size_t at = 0; status == SHOAL_OK && at < count;) {
        if (io_fault != NULL) {  // a test wants to see each write
            status = io_write(fd, path, pieces[at].iov_base, pieces[at].iov_len, err);
            at++;
            continue;
        }
        size_t most = count - at < PIECES_MOST ? count - at : PIECES_MOST;
        ssize_t wrote = writev(fd, pieces + at, (int)most);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return fail("write", path, err);
        size_t left = (size_t)wrote;
        for (; at < count && left >= pieces[at].iov_len; at++) left -= pieces[at].iov_len;
        if (left > 0) {
            status = io_write(fd, path, (const char *)pieces[at].iov_base + left,
                              pieces[at].iov_len - left, err);
            at++;
        }
    }
    return status;
}

shoal_status io_read_at(int fd, const char *path, void *data, size_t size,
                        uint64_t offset, struct shoal_error *err) {
    char *at = data;
    while (size > 0) {
        ssize_t got = injected("read", path) ? -1 : pread(fd, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail("read", path, err);
        if (got == 0) {
            return shoal_fail(err, SHOAL_CORRUPT,
                              "corrupt block: %s ends at byte %llu, %zu bytes early",
                              path, (unsigned long long)offset, size);
        }
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return SHOAL_OK;
}

int io_rename(const char *from, const char *to) {
    return injected("rename", to) ? -1 : rename(from, to);
}

int io_link(const char *from, const char *to) {
    return injected("link", to) ? -1 : link(from, to);
}

int io_swap(const char *one, const char *other) {
    if (injected("swap", other)) return -1;
    return renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
}

shoal_status io_size(int fd, const char *path, uint64_t *size, struct shoal_error *err) {
    struct stat stat;
    if (fstat(fd, &stat) != 0) return fail("inspect", path, err);
    *size = (uint64_t)stat.st_size;
    return SHOAL_OK;
}
