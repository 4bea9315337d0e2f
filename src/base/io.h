// File calls behind one seam: whole reads and writes, errors with the path and what to
// do. Each names the point where tests make it fail (base/fault.h).
#ifndef SHOAL_BASE_IO_H
#define SHOAL_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/fault.h"
#include "base/status.h"

// A new file, 0600; one that is there, to be written over from its beginning; one to
// read.
shoal_status io_create(enum fault_point point, const char *path, int *fd,
                       struct shoal_error *err);
shoal_status io_reopen(enum fault_point point, const char *path, int *fd,
                       struct shoal_error *err);
shoal_status io_open(enum fault_point point, const char *path, int *fd,
                     struct shoal_error *err);
shoal_status io_write(enum fault_point point, int fd, const char *path, const void *data,
                      size_t size, struct shoal_error *err);
// All of the pieces, in order.
shoal_status io_write_pieces(enum fault_point point, int fd, const char *path,
                             const struct iovec *pieces, size_t count,
                             struct shoal_error *err);
// Reads exactly size bytes at offset; a short file is SHOAL_CORRUPT.
shoal_status io_read_at(enum fault_point point, int fd, const char *path, void *data,
                        size_t size, uint64_t offset, struct shoal_error *err);
// As rename(2), and two paths that change places (RENAME_EXCHANGE): -1 and errno on
// failure; EINVAL or ENOSYS: this file system can't swap.
int io_rename(enum fault_point point, const char *from, const char *to);
int io_link(enum fault_point point, const char *from, const char *to);  // as link(2)
int io_swap(enum fault_point point, const char *one, const char *other);
// What is behind size goes.
shoal_status io_cut(enum fault_point point, int fd, const char *path, uint64_t size,
                    struct shoal_error *err);
shoal_status io_size(int fd, const char *path, uint64_t *size, struct shoal_error *err);

#endif
