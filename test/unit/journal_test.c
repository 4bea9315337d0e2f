// A run that dies at any point between the writing of its journal and its end leaves what
// journal_undo brings back to the target as it was.
#include "query/journal.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/spool.h"
#include "support/harness.h"

static char folder[] = "/tmp/shoal-journal-XXXXXX";

static void make_folder(const char *name) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void write_text(const char *name, const char *text) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

static void move(const char *from, const char *to, bool swap) {
    char one[256], other[256];
    (void)snprintf(one, sizeof one, "%s/%s", folder, from);
    (void)snprintf(other, sizeof other, "%s/%s", folder, to);
    assert_int_equal(swap ? io_swap(FAULT_COMMIT_SWAP, one, other)
                          : io_rename(FAULT_COMMIT_RENAME, one, other),
                     0);
}

// Names and contents of all files and folders in the target, sorted.
static char listed[2000];
static int list_one(const char *path, const struct stat *at, int kind,
                    struct FTW *place) {
    char text[64] = "";
    (void)at;
    (void)place;
    if (kind == FTW_F) {
        FILE *file = fopen(path, "re");
        size_t size = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
        text[size] = '\0';
        if (file != NULL) (void)fclose(file);
    }
    size_t used = strlen(listed);
    (void)snprintf(listed + used, sizeof listed - used, "%s=%s\n",
                   strstr(path, "/target"), text);
    return 0;
}

static int by_line(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_target(char *out, size_t size) {
    char path[256];
    char *lines[64], *save = NULL;
    size_t count = 0;
    listed[0] = '\0';
    (void)snprintf(path, sizeof path, "%s/target", folder);
    nftw(path, list_one, 16, FTW_PHYS);
    for (char *line = strtok_r(listed, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save))
        lines[count++] = line;
    qsort(lines, count, sizeof *lines, by_line);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(out);
        (void)snprintf(out + used, size - used, "%s\n", lines[i]);
    }
}

// A target of k=1 and k=2, and a staging folder with new files for k=1, k=2 and k=3/l=4.
static void lay_out(void) {
    char path[256];
    memcpy(folder, "/tmp/shoal-journal-XXXXXX", sizeof folder);
    assert_non_null(mkdtemp(folder));
    static const char *const folders[] = {"target",
                                          "target/k=1",
                                          "target/k=2",
                                          "staging",
                                          "staging/ready",
                                          "staging/ready/k=1",
                                          "staging/ready/k=2",
                                          "staging/ready/k=3",
                                          "staging/ready/k=3/l=4",
                                          "staging/replaced"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) make_folder(folders[i]);
    write_text("target/k=1/a", "old 1");
    write_text("target/k=2/a", "old 2");
    write_text("staging/ready/k=1/part-r-1", "new 1");
    write_text("staging/ready/k=2/part-r-1", "new 2");
    write_text("staging/ready/k=3/l=4/part-r-1", "new 3");
    (void)snprintf(path, sizeof path, "%s/target", folder);
}

static const struct journal_entry partitions[] = {
    {"k=1", true}, {"k=2", true}, {"k=3/l=4", true}};
static const struct journal_entry files[] = {
    {"k=1/part-r-1", false}, {"k=2/part-r-1", false}, {"k=3/l=4/part-r-1", false}};

static void write_journal(const struct journal_entry *entries) {
    char staging[256], target[256];
    struct shoal_error err;
    (void)snprintf(staging, sizeof staging, "%s/staging", folder);
    (void)snprintf(target, sizeof target, "%s/target", folder);
    if (journal_write(staging, target, "part-r-", entries, 3, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
}

static void undo(bool wanted) {
    char staging[256];
    (void)snprintf(staging, sizeof staging, "%s/staging", folder);
    assert_int_equal(journal_undo(staging), wanted);
}

// The first `steps` moves of a run that adds files.
static void add_files(unsigned steps) {
    if (steps > 0) move("staging/ready/k=1/part-r-1", "target/k=1/part-r-1", false);
    if (steps > 1) move("staging/ready/k=2/part-r-1", "target/k=2/part-r-1", false);
    if (steps > 2) make_folder("target/k=3");
    if (steps > 3) make_folder("target/k=3/l=4");
    if (steps > 4)
        move("staging/ready/k=3/l=4/part-r-1", "target/k=3/l=4/part-r-1", false);
}

static void replace_by_swap(unsigned steps) {
    if (steps > 0) move("staging/ready/k=1", "target/k=1", true);
    if (steps > 1) move("staging/ready/k=2", "target/k=2", true);
    if (steps > 2) make_folder("target/k=3");
    if (steps > 3) move("staging/ready/k=3/l=4", "target/k=3/l=4", false);
}

static void replace_by_moves(unsigned steps) {
    if (steps > 0) move("target/k=1", "staging/replaced/0", false);
    if (steps > 1) move("staging/ready/k=1", "target/k=1", false);
    if (steps > 2) move("target/k=2", "staging/replaced/1", false);
    if (steps > 3) move("staging/ready/k=2", "target/k=2", false);
    if (steps > 4) make_folder("target/k=3");
    if (steps > 5) move("staging/ready/k=3/l=4", "target/k=3/l=4", false);
}

static void test_undoes_each_step(void **state) {
    static const struct {
        const struct journal_entry *entries;
        void (*run)(unsigned steps);
        unsigned steps;
    } ways[] = {{files, add_files, 5},
                {partitions, replace_by_swap, 4},
                {partitions, replace_by_moves, 6}};
    (void)state;
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        for (unsigned steps = 0; steps <= ways[way].steps; steps++) {
            char before[1000], after[1000];
            lay_out();
            list_target(before, sizeof before);
            assert_non_null(strstr(before, "old 1"));
            write_journal(ways[way].entries);
            ways[way].run(steps);
            undo(true);
            list_target(after, sizeof after);
            assert_string_equal(after, before);
            undo(true);  // there is no journal any more
            spool_remove_tree(folder);
        }
    }
}

static int calls_left;
static int fail_one(enum fault_point point, const char *path) {
    (void)path;
    bool counts = point == FAULT_UNDO_MOVE;
    return counts && --calls_left == 0 ? EIO : 0;
}

// An undo that stops at any of its moves goes on where it was.
static void test_undo_goes_on(void **state) {
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        for (int stop = 1; stop <= 8; stop++) {
            char before[1000], after[1000], staging[256];
            lay_out();
            list_target(before, sizeof before);
            write_journal(partitions);
            if (way == 0) replace_by_swap(4);
            if (way == 1) replace_by_moves(6);
            (void)snprintf(staging, sizeof staging, "%s/staging", folder);
            calls_left = stop;
            fault_hook = fail_one;
            bool done = journal_undo(staging);
            fault_hook = NULL;
            assert_int_equal(done, calls_left > 0);
            undo(true);
            list_target(after, sizeof after);
            assert_string_equal(after, before);
            spool_remove_tree(folder);
        }
    }
}

static void test_an_ended_run_stays(void **state) {
    char before[1000], after[1000], staging[256];
    struct shoal_error err;
    (void)state;
    lay_out();
    write_journal(partitions);
    replace_by_swap(4);
    list_target(before, sizeof before);
    (void)snprintf(staging, sizeof staging, "%s/staging", folder);
    assert_int_equal(journal_end(staging, &err), SHOAL_OK);
    undo(true);
    list_target(after, sizeof after);
    assert_string_equal(after, before);
    assert_non_null(strstr(after, "new 3"));
    spool_remove_tree(folder);
}

// What another program put there meanwhile is never removed.
static void test_keeps_what_is_not_its_own(void **state) {
    char after[1000];
    (void)state;
    lay_out();
    write_journal(partitions);
    replace_by_swap(4);
    write_text("target/k=1/theirs", "theirs 1");
    write_text("target/k=3/l=4/theirs", "theirs 3");
    undo(true);
    list_target(after, sizeof after);
    assert_non_null(strstr(after, "/target/k=1/theirs=theirs 1"));
    assert_non_null(strstr(after, "/target/k=3/l=4/theirs=theirs 3"));
    assert_non_null(strstr(after, "/target/k=1/a=old 1"));
    assert_null(strstr(after, "new"));
    spool_remove_tree(folder);
    // Under a name that is taken: it waits where it is.
    lay_out();
    write_journal(partitions);
    replace_by_swap(1);
    write_text("target/k=1/a", "theirs");
    undo(false);
    undo(false);
    spool_remove_tree(folder);
    // Replaced once more by another run: that one stays.
    lay_out();
    write_journal(partitions);
    replace_by_swap(1);
    make_folder("other");
    write_text("other/part-other", "newer");
    move("other", "target/k=1", true);
    undo(true);
    list_target(after, sizeof after);
    assert_non_null(strstr(after, "newer"));
    spool_remove_tree(folder);
}

static void test_a_torn_journal_is_kept(void **state) {
    (void)state;
    lay_out();
    write_text("staging/journal.json", "{\"target\": ");
    undo(false);
    write_text("staging/journal.json", "{\"target\": \"/nowhere\"}");
    undo(false);
    spool_remove_tree(folder);
}

// Whoever wrote it: a journal reaches its staging folder and the target beside it.
static void test_a_journal_reaches_nothing_else(void **state) {
    static const struct {
        const char *target, *path;  // the target: behind the folder, or whole behind =
        bool folder;
    } hostile[] = {{"/target", "../other/a", false},
                   {"/target", "k=1/../../other/a", false},
                   {"/target", "./../other/a", false},
                   {"/target", "/a", false},
                   {"/target/", "a", false},
                   {"/other/../target", "a", false},
                   {"/other/inside", "a", false},
                   {"", "other/a", false},
                   {"/..", "a", false},
                   {"/staging", "a", false},
                   {"=/", "tmp/a", false},
                   {"/target", "../other", true},
                   {"/target", "../../staging/ready/k=1", true}};
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        char target[256], path[256], text[1000];
        struct stat at;
        lay_out();
        make_folder("other");
        make_folder("other/inside");
        write_text("other/a", "theirs");
        (void)snprintf(path, sizeof path, "%s/other%s", folder,
                       hostile[i].folder ? "" : "/a");
        assert_int_equal(stat(path, &at), 0);
        bool whole = *hostile[i].target == '=';
        (void)snprintf(target, sizeof target, "%s%s", whole ? "" : folder,
                       hostile[i].target + whole);
        (void)snprintf(text, sizeof text,
                       "{\"target\": \"%s\", \"prefix\": \"\", \"entries\": [{\"path\": "
                       "\"%s\", \"folder\": %s, \"inode\": %llu}]}",
                       target, hostile[i].path, hostile[i].folder ? "true" : "false",
                       (unsigned long long)at.st_ino);
        write_text("staging/journal.json", text);
        undo(false);
        (void)snprintf(path, sizeof path, "%s/other/a", folder);
        assert_int_equal(access(path, F_OK), 0);
        (void)snprintf(path, sizeof path, "%s/other/inside", folder);
        assert_int_equal(access(path, F_OK), 0);
        spool_remove_tree(folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_undoes_each_step),
        cmocka_unit_test(test_undo_goes_on),
        cmocka_unit_test(test_an_ended_run_stays),
        cmocka_unit_test(test_keeps_what_is_not_its_own),
        cmocka_unit_test(test_a_torn_journal_is_kept),
        cmocka_unit_test(test_a_journal_reaches_nothing_else)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
