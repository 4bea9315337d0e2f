// Folders that processes share: made by the first, removed by the last, swept when all
// are dead.
#include "base/spool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/harness.h"

static char parent[] = "/tmp/shoal_spool_XXXXXX";

static struct spool join(const char *tag) {
    struct spool spool;
    struct shoal_error err;
    if (spool_join(&spool, parent, tag, &err) != SHOAL_OK) fail_msg("%s", err.message);
    return spool;
}

static bool is_there(const char *path) {
    return access(path, F_OK) == 0;
}

static void the_last_one_removes_it(void **state) {
    (void)state;
    struct spool one = join("run/node"), two = join("run/node"), other = join("run/else");
    char path[200];
    assert_string_equal(one.path, two.path);
    assert_string_not_equal(one.path, other.path);
    (void)snprintf(path, sizeof path, "%s", one.path);
    spool_close(&one);
    assert_true(is_there(path));
    spool_close(&two);
    assert_false(is_there(path));
    spool_close(&other);
}

// One that was removed is left by who still has it open; the next of its name is
// another's.
static void the_next_of_its_name_stays(void **state) {
    (void)state;
    struct spool one = join("name");
    spool_remove_tree(one.path);
    struct spool next = join("name");
    assert_string_equal(one.path, next.path);
    spool_close(&one);
    assert_true(is_there(next.path));
    spool_close(&next);
}

// Who joins while the last one leaves has a folder that is there.
static void many_come_and_go(void **state) {
    (void)state;
    pid_t children[6];
    for (size_t c = 0; c < 6; c++) {
        children[c] = fork();
        if (children[c] != 0) continue;
        for (int i = 0; i < 300; i++) {
            struct spool spool;
            struct shoal_error err;
            char file[300];
            if (spool_join(&spool, parent, "busy", &err) != SHOAL_OK) _exit(1);
            (void)snprintf(file, sizeof file, "%s/%d", spool.path, (int)getpid());
            FILE *made = fopen(file, "w");
            if (made == NULL || fclose(made) != 0 || !is_there(file)) _exit(2);
            spool_close(&spool);
        }
        _exit(0);
    }
    for (size_t c = 0; c < 6; c++) {
        int status = 0;
        waitpid(children[c], &status, 0);
        assert_int_equal(status, 0);
    }
    struct spool last = join("busy");
    char path[200];
    (void)snprintf(path, sizeof path, "%s", last.path);
    spool_close(&last);
    assert_false(is_there(path));
}

static void what_killed_ones_left_is_swept(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct spool spool;
        struct shoal_error err;
        if (spool_join(&spool, parent, "dead", &err) == SHOAL_OK) raise(SIGKILL);
        _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    // One of the same name takes it over; any other removes it.
    struct spool same = join("dead");
    char path[200];
    (void)snprintf(path, sizeof path, "%s", same.path);
    spool_leave(&same);
    assert_true(is_there(path));
    struct spool other = join("other");
    assert_false(is_there(path));
    spool_close(&other);
}

static void a_link_in_its_place_is_refused(void **state) {
    (void)state;
    struct spool spool = join("link");
    struct shoal_error err;
    char path[200], elsewhere[200];
    (void)snprintf(path, sizeof path, "%s", spool.path);
    spool_close(&spool);
    (void)snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", parent);
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_int_equal(spool_join(&spool, parent, "link", &err), SHOAL_IO);
    assert_null(spool.path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(elsewhere), 0);
}

static int set_up(void **state) {
    (void)state;
    return mkdtemp(parent) == NULL ? -1 : 0;
}

static int tear_down(void **state) {
    (void)state;
    return rmdir(parent);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_last_one_removes_it),
                                       cmocka_unit_test(the_next_of_its_name_stays),
                                       cmocka_unit_test(many_come_and_go),
                                       cmocka_unit_test(what_killed_ones_left_is_swept),
                                       cmocka_unit_test(a_link_in_its_place_is_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
