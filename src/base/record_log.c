#include "base/record_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/io.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HEADER 16

static void put_number(uint8_t *at, uint64_t number, int bytes) {
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(number >> 8 * i);
}

static uint64_t get_number(const uint8_t *at, int bytes) {
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++) number |= (uint64_t)at[i] << 8 * i;
    return number;
}

// Of the length alone: where it is wrong, what follows can't be found.
static uint32_t length_check(const uint8_t *header) {
    return (uint32_t)XXH3_64bits(header, 4);
}

static uint64_t checksum(const uint8_t *header, const char *payload, size_t size) {
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    XXH3_64bits_update(&hash, header, 8);
    if (size > 0) XXH3_64bits_update(&hash, payload, size);
    return XXH3_64bits_digest(&hash);
}

static shoal_status damaged(const char *path, uint64_t at, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_CORRUPT,
                      "%s is damaged at byte %llu, and more follows: restore the file, "
                      "or begin anew",
                      path, (unsigned long long)at);
}

// Is there nothing but zeros from here on, as a loss of power may leave it?
static shoal_status is_blank(const struct record_log *log, uint64_t at, uint64_t end,
                             bool *blank, struct shoal_error *err) {
    uint8_t bytes[4096];
    shoal_status status = SHOAL_OK;
    for (*blank = true; status == SHOAL_OK && *blank && at < end;) {
        size_t size = end - at < sizeof bytes ? (size_t)(end - at) : sizeof bytes;
        status = io_read_at(FAULT_JOB_READ, log->fd, log->path, bytes, size, at, err);
        for (size_t i = 0; i < size; i++) *blank = *blank && bytes[i] == 0;
        at += size;
    }
    return status;
}

// One record at `at`. *whole false: the file ends before the record does, or its last
// record isn't what was written.
static shoal_status read_record(const struct record_log *log, uint64_t at, uint64_t end,
                                uint8_t **payload, size_t *size, bool *whole,
                                struct shoal_error *err) {
    uint8_t header[HEADER];
    bool blank = false;
    *whole = false;
    if (end - at < HEADER) return SHOAL_OK;
    shoal_status status =
        io_read_at(FAULT_JOB_READ, log->fd, log->path, header, HEADER, at, err);
    if (status != SHOAL_OK) return status;
    *size = (size_t)get_number(header, 4);
    if (length_check(header) != get_number(header + 4, 4) || *size > RECORD_LOG_MOST) {
        status = is_blank(log, at, end, &blank, err);
        return status != SHOAL_OK || blank ? status : damaged(log->path, at, err);
    }
    if (*size > end - at - HEADER) return SHOAL_OK;
    bool last = *size == end - at - HEADER;
    uint8_t *grown = realloc(*payload, *size + 1);
    if (grown == NULL) return shoal_no_memory(err);
    *payload = grown;
    status =
        io_read_at(FAULT_JOB_READ, log->fd, log->path, grown, *size, at + HEADER, err);
    if (status != SHOAL_OK) return status;
    grown[*size] = '\0';
    *whole = checksum(header, (const char *)grown, *size) == get_number(header + 8, 8);
    return *whole || last ? SHOAL_OK : damaged(log->path, at, err);
}

static shoal_status read_all(const struct record_log *log, record_visit visit,
                             void *context, uint64_t *end, uint64_t *size,
                             struct shoal_error *err) {
    uint8_t *payload = NULL;
    size_t length = 0;
    bool whole = true;
    *end = 0;
    shoal_status status = io_size(log->fd, log->path, size, err);
    while (status == SHOAL_OK && *end < *size) {
        status = read_record(log, *end, *size, &payload, &length, &whole, err);
        if (status != SHOAL_OK || !whole) break;
        status = visit(context, (const char *)payload, length, err);
        *end += HEADER + length;
    }
    free(payload);
    return status;
}

static shoal_status open_as(struct record_log *log, const char *path, int flags,
                            struct shoal_error *err) {
    *log = (struct record_log){.fd = -1, .path = strdup(path)};
    if (log->path == NULL) return shoal_no_memory(err);
    log->fd = fault_fails(FAULT_JOB_OPEN, path)
                  ? -1
                  : open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log->fd >= 0) return SHOAL_OK;
    int why = errno;
    record_log_close(log);
    return shoal_fail(err, SHOAL_IO, "cannot open %s: %s", path, strerror(why));
}

shoal_status record_log_create(struct record_log *log, const char *path,
                               struct shoal_error *err) {
    return open_as(log, path, O_CREAT | O_EXCL | O_RDWR | O_APPEND, err);
}

shoal_status record_log_open(struct record_log *log, const char *path, record_visit visit,
                             void *context, struct shoal_error *err) {
    uint64_t end = 0, size = 0;
    shoal_status status = open_as(log, path, O_RDWR | O_APPEND, err);
    if (status != SHOAL_OK) return status;
    status = read_all(log, visit, context, &end, &size, err);
    if (status == SHOAL_OK && end < size && ftruncate(log->fd, (off_t)end) != 0)
        status = shoal_fail(err, SHOAL_IO, "cannot cut the torn end off %s: %s", path,
                            strerror(errno));
    if (status != SHOAL_OK) record_log_close(log);
    return status;
}

shoal_status record_log_read(const char *path, record_visit visit, void *context,
                             struct shoal_error *err) {
    struct record_log log;
    uint64_t end = 0, size = 0;
    shoal_status status = open_as(&log, path, O_RDONLY, err);
    if (status == SHOAL_OK) status = read_all(&log, visit, context, &end, &size, err);
    record_log_close(&log);
    return status;
}

shoal_status record_log_append(struct record_log *log, const char *payload, size_t size,
                               struct shoal_error *err) {
    uint8_t header[HEADER];
    uint64_t before = 0;
    if (size > RECORD_LOG_MOST)
        return shoal_fail(err, SHOAL_INTERNAL, "a record of %zu bytes for %s", size,
                          log->path);
    put_number(header, size, 4);
    put_number(header + 4, length_check(header), 4);
    put_number(header + 8, checksum(header, payload, size), 8);
    struct iovec pieces[] = {{header, HEADER}, {(void *)(uintptr_t)payload, size}};
    shoal_status status = io_size(log->fd, log->path, &before, err);
    if (status != SHOAL_OK) return status;
    status = io_write_pieces(FAULT_JOB_APPEND, log->fd, log->path, pieces, 2, err);
    // A torn tail in the middle would be damage.
    if (status != SHOAL_OK && ftruncate(log->fd, (off_t)before) != 0)
        record_log_close(log);
    return status;
}

shoal_status record_log_sync(struct record_log *log, struct shoal_error *err) {
    if (!fault_fails(FAULT_JOB_SYNC, log->path) && fdatasync(log->fd) == 0)
        return SHOAL_OK;
    return shoal_fail(err, SHOAL_IO, "cannot write %s to its disk: %s", log->path,
                      strerror(errno));
}

void record_log_close(struct record_log *log) {
    if (log->fd >= 0) close(log->fd);
    free(log->path);
    *log = (struct record_log){.fd = -1};
}
