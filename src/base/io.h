// File calls behind one seam: whole reads and writes, errors with the path and what to
// do, and a hook by which tests make any of them fail.
#ifndef SHOAL_BASE_IO_H
#define SHOAL_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/status.h"

// Tests only: called before each file call with its name ("open", "write", "read",
// "rename", "link", "swap"); a value other than 0 is the errno that the call then fails
// with, or IO_FAULT_FLIP. NULL in production.
#define IO_FAULT_FLIP (-1)  // a write that succeeds with one bit changed
extern int (*io_fault)(const char *call, const char *path);

shoal_status io_create(const char *path, int *fd, struct shoal_error *err);  // new, 0600
shoal_status io_open(const char *path, int *fd, struct shoal_error *err);    // to read
shoal_status io_write(int fd, const char *path, const void *data, size_t size,
                      struct shoal_error *err);
// All of the pieces, in order.
shoal_status io_write_pieces(int fd, const char *path, const struct iovec *pieces,
                             size_t count, struct shoal_error *err);
// Reads exactly size bytes at offset; a short file is SHOAL_CORRUPT.
shoal_status io_read_at(int fd, const char *path, void *data, size_t size,
                        uint64_t offset, struct shoal_error *err);
// As rename(2), and two paths that change places (RENAME_EXCHANGE): -1 and errno on
// failure; EINVAL or ENOSYS: this file system can't swap.
int io_rename(const char *from, const char *to);
int io_link(const char *from, const char *to);  // as link(2)
int io_swap(const char *one, const char *other);
shoal_status io_size(int fd, const char *path, uint64_t *size, struct shoal_error *err);

#endif
