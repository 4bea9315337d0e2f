// SHOAL_FAULT: which texts are faults, when each strikes, and what it does to a call.
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "support/harness.h"

static shoal_status set(const char *text, bool worker, struct shoal_error *err) {
    fault_hook = NULL;
    setenv("SHOAL_FAULT", text, 1);
    return fault_from_environment(worker, err);
}

static void set_ok(const char *text) {
    struct shoal_error err;
    if (set(text, false, &err) != SHOAL_OK) fail_msg("%s", err.message);
}

static void malformed_ones_are_named(void **state) {
    static const struct {
        const char *text, *part;
    } wrong[] = {{"nonsense", "it has not three parts"},
                 {"block.write:1", "it has not three parts"},
                 {"block.eat:1:kill", "there is no such point"},
                 {"block.write@cat:1:kill", "driver or worker"},
                 {"block.write:0:kill", "NTH is N, N+ or ~P"},
                 {"block.write:1-:kill", "NTH is N, N+ or ~P"},
                 {"block.write:~3+:kill", "NTH is N, N+ or ~P"},
                 {"block.write:99999999999999999999:kill", "NTH is N, N+ or ~P"},
                 {"block.write:1:KILL", "there is no such action"},
                 {"block.write:1:drop", "the point can't do that"},
                 {"commit.log:1:flip", "the point can't do that"},
                 {"block.write:1:kill=3", "only delay=SECONDS"},
                 {"block.write:1:delay=-1", "only delay=SECONDS"},
                 {"block.write:1:delay=", "only delay=SECONDS"},
                 {"block.write:1:kill,", "it has not three parts"}};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct shoal_error err;
        assert_int_equal(set(wrong[i].text, false, &err), SHOAL_USAGE);
        if (strstr(err.message, wrong[i].part) == NULL) fail_msg("%s", err.message);
        assert_non_null(strstr(err.message, "\n  worker.task: kill, exit, hang, delay"));
        assert_null(fault_hook);
    }
    setenv("SHOAL_FAULT_SEED", "x", 1);
    struct shoal_error err;
    assert_int_equal(set("block.write:1:kill", false, &err), SHOAL_USAGE);
    unsetenv("SHOAL_FAULT_SEED");
}

// Of ten calls, which fail, as a text of 0 and 1.
static const char *strikes(const char *text, const char *path) {
    static char seen[11];
    set_ok(text);
    for (int i = 0; i < 10; i++)
        seen[i] = fault_at(FAULT_BLOCK_WRITE, path) == EIO ? '1' : '0';
    return seen;
}

static void it_strikes_when_it_should(void **state) {
    (void)state;
    assert_string_equal(strikes("block.write:3:EIO", "/a"), "0010000000");
    assert_string_equal(strikes("block.write:3+:EIO", "/a"), "0011111111");
    assert_string_equal(strikes("block.read:1+:EIO", "/a"), "0000000000");
    assert_string_equal(strikes("block.write:2:EIO:/a", "/b/a/c"), "0100000000");
    assert_string_equal(strikes("block.write:2:EIO:/d", "/b/a/c"), "0000000000");
    assert_string_equal(strikes("block.write:2:EIO,block.write:9+:EIO", "/a"),
                        "0100000001");  // the second did not see what the first took
    assert_string_equal(strikes("block.write@driver:1:EIO", "/a"), "1000000000");
    fault_hook = NULL;
    assert_int_equal(set("block.write@worker:1:EIO", false, NULL), SHOAL_OK);
    assert_null(fault_hook);
    assert_int_equal(set("block.write@worker:1:EIO", true, NULL), SHOAL_OK);
    assert_non_null(fault_hook);
}

static void chance_comes_from_the_seed(void **state) {
    char first[11];
    int struck = 0;
    (void)state;
    setenv("SHOAL_FAULT_SEED", "7", 1);
    (void)snprintf(first, sizeof first, "%s", strikes("block.write:~2:EIO", "/a"));
    assert_string_equal(strikes("block.write:~2:EIO", "/a"), first);
    set_ok("block.write:~4:EIO");
    for (int i = 0; i < 4000; i++) struck += fault_at(FAULT_BLOCK_WRITE, "") == EIO;
    assert_in_range(struck, 850, 1150);
    setenv("SHOAL_FAULT_SEED", "8", 1);
    int same = 0;
    for (int seed = 8; seed < 16; seed++) {
        char text[4];
        (void)snprintf(text, sizeof text, "%d", seed);
        setenv("SHOAL_FAULT_SEED", text, 1);
        same += strcmp(strikes("block.write:~2:EIO", "/a"), first) == 0;
    }
    assert_true(same < 3);
    unsetenv("SHOAL_FAULT_SEED");
}

static char path[] = "/tmp/shoal_fault_XXXXXX";

// Writes "abcdefgh" in two pieces under the fault; what is in the file then.
static const char *written(const char *text, shoal_status expected) {
    static char bytes[9];
    struct shoal_error err;
    struct iovec pieces[] = {{(void *)(uintptr_t) "abcd", 4},
                             {(void *)(uintptr_t) "efgh", 4}};
    int fd = open(path, O_RDWR | O_TRUNC);
    set_ok(text);
    assert_int_equal(io_write_pieces(FAULT_BLOCK_WRITE, fd, path, pieces, 2, &err),
                     expected);
    if (expected != SHOAL_OK) assert_non_null(strstr(err.message, path));
    ssize_t got = pread(fd, bytes, 8, 0);
    bytes[got > 0 ? got : 0] = '\0';
    close(fd);
    return bytes;
}

static void each_does_what_it_says(void **state) {
    struct shoal_error err;
    char byte[5] = "";
    (void)state;
    close(mkstemp(path));
    assert_string_equal(written("block.write:2:flip", SHOAL_OK), "abcdeffh");
    assert_string_equal(written("block.write:2:truncate", SHOAL_OK), "abcdef");
    assert_string_equal(written("block.write:2:short", SHOAL_IO), "abcdef");
    assert_string_equal(written("block.write:2:EACCES", SHOAL_IO), "abcd");
    assert_string_equal(written("block.read:1:EIO", SHOAL_OK), "abcdefgh");
    int fd = -1;
    assert_int_equal(io_open(FAULT_BLOCK_OPEN, path, &fd, &err), SHOAL_OK);
    set_ok("block.read:1:flip");
    assert_int_equal(io_read_at(FAULT_BLOCK_READ, fd, path, byte, 4, 0, &err), SHOAL_OK);
    assert_string_equal(byte, "abbd");
    close(fd);
    double start = clock_seconds();
    set_ok("block.write:1:delay=0.05");
    assert_int_equal(fault_at(FAULT_BLOCK_WRITE, ""), FAULT_NONE);
    assert_true(clock_seconds() - start >= 0.05);
    unlink(path);
}

static int ends(const char *text) {
    pid_t child = fork();
    if (child == 0) {
        set_ok(text);
        fault_at(FAULT_WORKER_TASK, "");
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void a_process_ends(void **state) {
    (void)state;
    assert_int_equal(ends("worker.task:1:kill"), -SIGKILL);
    assert_int_equal(ends("worker.task:1:exit"), 99);
    assert_int_equal(ends("worker.task:2:exit"), 0);
}

static int without_faults(void **state) {
    (void)state;
    fault_hook = NULL;
    unsetenv("SHOAL_FAULT");
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(malformed_ones_are_named),
                                       cmocka_unit_test(it_strikes_when_it_should),
                                       cmocka_unit_test(chance_comes_from_the_seed),
                                       cmocka_unit_test(each_does_what_it_says),
                                       cmocka_unit_test(a_process_ends)};
    return cmocka_run_group_tests_name("fault", tests, NULL, without_faults);
}
