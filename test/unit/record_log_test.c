// A log of records: what was appended comes back, a torn end is dropped, damage elsewhere
// is an error.
#include "base/record_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "support/harness.h"

static char folder[] = "/tmp/shoal_log_XXXXXX";
static char path[64];

struct seen {
    size_t count, bytes;
};

static shoal_status count(void *context, const char *payload, size_t size,
                          struct shoal_error *err) {
    struct seen *seen = context;
    for (size_t i = 0; i < size; i++) {
        if (payload[i] != (char)('a' + seen->count % 26))
            return shoal_fail(err, SHOAL_CORRUPT, "record %zu", seen->count);
    }
    seen->count++;
    seen->bytes += size;
    return SHOAL_OK;
}

// Records of 0, 1000, 2000 ... bytes, each of one letter.
static void write_log(size_t records) {
    struct record_log log;
    struct shoal_error err;
    char payload[10000];
    unlink(path);
    assert_int_equal(record_log_create(&log, path, &err), SHOAL_OK);
    for (size_t i = 0; i < records; i++) {
        memset(payload, (char)('a' + i % 26), sizeof payload);
        assert_int_equal(record_log_append(&log, payload, i % 10 * 1000, &err), SHOAL_OK);
    }
    assert_int_equal(record_log_sync(&log, &err), SHOAL_OK);
    record_log_close(&log);
}

static off_t size_of(void) {
    struct stat at;
    assert_int_equal(stat(path, &at), 0);
    return at.st_size;
}

static void all_come_back(void **state) {
    (void)state;
    struct seen seen = {0};
    struct record_log log;
    struct shoal_error err;
    write_log(25);
    assert_int_equal(record_log_create(&log, path, &err), SHOAL_IO);
    assert_int_equal(record_log_open(&log, path, count, &seen, &err), SHOAL_OK);
    assert_int_equal(seen.count, 25);
    assert_int_equal(record_log_append(&log, "zzz", 0, &err), SHOAL_OK);
    record_log_close(&log);
    seen = (struct seen){0};
    assert_int_equal(record_log_read(path, count, &seen, &err), SHOAL_OK);
    assert_int_equal(seen.count, 26);
    struct stat at;
    assert_int_equal(stat(path, &at), 0);
    assert_int_equal(at.st_mode & 0777, 0600);
}

// Cut anywhere, it has the records that are whole; reading cuts nothing off, opening
// does.
static void a_torn_end_is_dropped(void **state) {
    (void)state;
    struct shoal_error err;
    write_log(4);
    off_t whole = size_of();
    for (off_t cut = whole - 1; cut >= 0; cut -= cut > whole - 40 || cut < 40 ? 1 : 97) {
        struct seen seen = {0}, again = {0};
        struct record_log log;
        write_log(4);
        assert_int_equal(truncate(path, cut), 0);
        assert_int_equal(record_log_read(path, count, &seen, &err), SHOAL_OK);
        assert_int_equal(size_of(), cut);
        assert_int_equal(record_log_open(&log, path, count, &again, &err), SHOAL_OK);
        assert_int_equal(seen.count, again.count);
        assert_true(again.count < 4);
        assert_int_equal(size_of(), again.count * 16 + again.bytes);
        record_log_close(&log);
    }
}

// One changed byte is never a record of something else.
static void damage_is_an_error(void **state) {
    (void)state;
    struct shoal_error err;
    write_log(4);
    off_t whole = size_of(), last = whole - 3016;
    for (off_t at = 0; at < whole; at += at % 1016 < 20 ? 1 : 131) {
        struct seen seen = {0};
        struct record_log log;
        write_log(4);
        int fd = open(path, O_RDWR);
        uint8_t byte = 0;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        shoal_status status = record_log_open(&log, path, count, &seen, &err);
        // The payload of the last can't be told from one that was half written.
        bool dropped = at >= last + 8;
        assert_int_equal(status, dropped ? SHOAL_OK : SHOAL_CORRUPT);
        if (dropped) {
            assert_int_equal(seen.count, 3);
            record_log_close(&log);
        } else {
            assert_non_null(strstr(err.message, "is damaged at byte"));
        }
    }
}

// What a loss of power may leave: a file of its length, without what was written last.
static void zeros_are_a_torn_end(void **state) {
    (void)state;
    struct seen seen = {0};
    struct record_log log;
    struct shoal_error err;
    write_log(3);
    off_t whole = size_of();
    assert_int_equal(truncate(path, whole + 10000), 0);
    assert_int_equal(record_log_open(&log, path, count, &seen, &err), SHOAL_OK);
    record_log_close(&log);
    assert_int_equal(seen.count, 3);
    assert_int_equal(size_of(), whole);
}

static int fault;
static int fail_append(enum fault_point point, const char *where) {
    (void)where;
    return point == FAULT_JOB_APPEND ? fault : FAULT_NONE;
}

// A write that fails leaves what there was, and the next one follows that.
static void a_failed_append_leaves_nothing(void **state) {
    (void)state;
    struct seen seen = {0};
    struct record_log log;
    struct shoal_error err;
    write_log(2);
    off_t before = size_of();
    assert_int_equal(record_log_open(&log, path, count, &seen, &err), SHOAL_OK);
    static const int faults[] = {ENOSPC, EIO, FAULT_SHORT};
    for (size_t i = 0; i < 3; i++) {
        fault = faults[i];
        fault_hook = fail_append;
        assert_int_not_equal(record_log_append(&log, "cccc", 4, &err), SHOAL_OK);
        fault_hook = NULL;
        assert_int_equal(size_of(), before);
    }
    assert_int_equal(record_log_append(&log, "cccc", 4, &err), SHOAL_OK);
    record_log_close(&log);
    seen = (struct seen){0};
    assert_int_equal(record_log_read(path, count, &seen, &err), SHOAL_OK);
    assert_int_equal(seen.count, 3);
}

static int set_up(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) return -1;
    (void)snprintf(path, sizeof path, "%s/job.log", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_come_back),
        cmocka_unit_test(a_torn_end_is_dropped),
        cmocka_unit_test(damage_is_an_error),
        cmocka_unit_test(zeros_are_a_torn_end),
        cmocka_unit_test(a_failed_append_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
