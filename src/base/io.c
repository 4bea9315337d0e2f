#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A write that loses its end, or whose data a bad disk or cable changed.
static ssize_t write_spoiled(int fault, int fd, const void *data, size_t size) {
    uint8_t *copy = malloc(size + 1);
    if (copy == NULL) return -1;
    memcpy(copy, data, size);
    if (fault == FAULT_FLIP && size > 0) copy[size / 2] ^= 1;
    ssize_t wrote = write(fd, copy, fault == FAULT_FLIP ? size : size / 2);
    free(copy);
    if (fault == FAULT_FLIP || wrote < 0) return wrote;
    errno = EIO;
    return fault == FAULT_SHORT ? -1 : (ssize_t)size;
}

static ssize_t write_some(enum fault_point point, int fd, const char *path,
                          const void *data, size_t size) {
    int fault = fault_at(point, path);
    if (fault == FAULT_NONE) return write(fd, data, size);
    if (fault < 0) return write_spoiled(fault, fd, data, size);
    errno = fault;
    return -1;
}

static ssize_t read_some(enum fault_point point, int fd, const char *path, char *data,
                         size_t size, uint64_t offset) {
    int fault = fault_at(point, path);
    if (fault > 0) {
        errno = fault;
        return -1;
    }
    ssize_t got = pread(fd, data, size, (off_t)offset);
    if (fault == FAULT_FLIP && got > 0) data[got / 2] ^= 1;
    return got;
}

// errno stays what it is.
static shoal_status fail(const char *what, const char *path, struct shoal_error *err) {
    int why = errno;
    bool full = why == ENOSPC || why == EDQUOT;
    const char *advice =
        full ? "; free space there or choose another folder with --temp-dir"
        : errno == EACCES || errno == EROFS ? "; choose one with --temp-dir"
        : errno == EMFILE                   ? "; raise the limit (ulimit -n)"
                                            : "";
    shoal_status status = full ? SHOAL_DISK_FULL : SHOAL_IO;
    shoal_fail(err, status, "cannot %s %s: %s%s", what, path, strerror(why), advice);
    errno = why;
    return status;
}

static shoal_status open_as(enum fault_point point, const char *path, int flags,
                            const char *what, int *fd, struct shoal_error *err) {
    *fd = fault_fails(point, path) ? -1 : open(path, flags | O_CLOEXEC, 0600);
    return *fd < 0 ? fail(what, path, err) : SHOAL_OK;
}

shoal_status io_create(enum fault_point point, const char *path, int *fd,
                       struct shoal_error *err) {
    return open_as(point, path, O_CREAT | O_EXCL | O_WRONLY, "create", fd, err);
}

shoal_status io_reopen(enum fault_point point, const char *path, int *fd,
                       struct shoal_error *err) {
    return open_as(point, path, O_WRONLY, "write", fd, err);
}

shoal_status io_open(enum fault_point point, const char *path, int *fd,
                     struct shoal_error *err) {
    return open_as(point, path, O_RDONLY, "open", fd, err);
}

shoal_status io_write(enum fault_point point, int fd, const char *path, const void *data,
                      size_t size, struct shoal_error *err) {
    const char *at = data;
    while (size > 0) {
        ssize_t wrote = write_some(point, fd, path, at, size);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return fail("write", path, err);
        at += wrote;
        size -= (size_t)wrote;
    }
    return SHOAL_OK;
}

#define PIECES_MOST 1024  // IOV_MAX of Linux

shoal_status io_write_pieces(enum fault_point point, int fd, const char *path,
                             const struct iovec *pieces, size_t count,
                             struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    for (size_t at = 0; status == SHOAL_OK && at < count;) {
        if (fault_hook != NULL) {  // a test wants to see each write
            status =
                io_write(point, fd, path, pieces[at].iov_base, pieces[at].iov_len, err);
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
            status = io_write(point, fd, path, (const char *)pieces[at].iov_base + left,
                              pieces[at].iov_len - left, err);
            at++;
        }
    }
    return status;
}

shoal_status io_read_at(enum fault_point point, int fd, const char *path, void *data,
                        size_t size, uint64_t offset, struct shoal_error *err) {
    char *at = data;
    while (size > 0) {
        ssize_t got = read_some(point, fd, path, at, size, offset);
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

int io_rename(enum fault_point point, const char *from, const char *to) {
    return fault_fails(point, to) ? -1 : rename(from, to);
}

int io_link(enum fault_point point, const char *from, const char *to) {
    return fault_fails(point, to) ? -1 : link(from, to);
}

int io_swap(enum fault_point point, const char *one, const char *other) {
    if (fault_fails(point, other)) return -1;
    return renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
}

shoal_status io_cut(enum fault_point point, int fd, const char *path, uint64_t size,
                    struct shoal_error *err) {
    if (!fault_fails(point, path) && ftruncate(fd, (off_t)size) == 0) return SHOAL_OK;
    return fail("cut", path, err);
}

shoal_status io_size(int fd, const char *path, uint64_t *size, struct shoal_error *err) {
    struct stat stat;
    if (fstat(fd, &stat) != 0) return fail("inspect", path, err);
    *size = (uint64_t)stat.st_size;
    return SHOAL_OK;
}
