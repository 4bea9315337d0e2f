// The account of blocks in memory: what is granted, used, dropped or lost adds up, and a
// lost task's files go while those that count stay.
#include "query/memory_tier.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/harness.h"

#define MIB (1u << 20)

static char spool[] = "/tmp/shoal_tier_XXXXXX";

static int set_up(void **state) {
    (void)state;
    return mkdtemp(spool) == NULL ? -1 : 0;
}

static struct spares spares;

static int tear_down(void **state) {
    (void)state;
    spares_shrink(&spares, 0);
    spares_free(&spares);
    return rmdir(spool);
}

static struct memory_tier open_tier(uint64_t bytes) {
    struct shoal_error err;
    struct memory_tier tier;
    assert_int_equal(memory_tier_open(&tier, spool, 1, bytes, &spares, &err), SHOAL_OK);
    return tier;
}

// Starts a task; what it is granted comes back, and where.
static uint64_t start_writing(struct memory_tier *tier, uint64_t id, uint32_t worker,
                              struct memory_need need, char path[256]) {
    struct shoal_error err;
    char output[64];
    struct task task = {.id = id, .output = output};
    (void)snprintf(output, sizeof output, "/disk/q1/s0.t%d.a0.w%d", (int)id, (int)worker);
    assert_int_equal(memory_tier_grant(tier, &task, worker, &need, &err), SHOAL_OK);
    assert_int_equal(task.memory_output != NULL, task.memory_bytes > 0);
    (void)snprintf(path, 256, "%s", task.memory_output ? task.memory_output : "");
    free(task.memory_output);
    return task.memory_bytes;
}

static uint64_t start(struct memory_tier *tier, uint64_t id, uint32_t worker,
                      uint32_t places, char path[256]) {
    struct memory_need need = {.places = places, .files = 1};
    return start_writing(tier, id, worker, need, path);
}

static void make_file_of(const char *path, const char *end, uint64_t bytes) {
    char name[300];
    (void)snprintf(name, sizeof name, "%s%s", path, end);
    int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    close(fd);
}

static void make_file(const char *path, const char *end) {
    make_file_of(path, end, 0);
}

static bool is_there(const char *path, const char *end) {
    char name[300];
    (void)snprintf(name, sizeof name, "%s%s", path, end);
    return access(name, F_OK) == 0;
}

static void end(struct memory_tier *tier, uint64_t id, char *path, uint64_t memory,
                bool counts) {
    struct task_file file = {.path = path, .memory = memory};
    struct task_output output = {.files = &file, .count = 1};
    memory_tier_settle(tier, id, 0, &output, counts);
}

static void places_share_what_is_left(void **state) {
    (void)state;
    char path[256];
    struct memory_tier tier = open_tier(4 * MIB);
    for (uint64_t id = 0; id < 4; id++)
        assert_int_equal(start(&tier, id, 0, 4, path), MIB);
    assert_int_equal(tier.left, 0);
    assert_int_equal(start(&tier, 4, 0, 4, path), 0);
    end(&tier, 1, path, MIB / 4, true);
    assert_int_equal(start(&tier, 5, 0, 4, path), 3 * MIB / 4);
    memory_tier_settle(&tier, 0, 0, NULL, false);
    memory_tier_settle(&tier, 2, 1, NULL, false);  // another attempt
    assert_int_equal(tier.left, MIB);
    struct task_file dropped = {.memory = MIB / 4};
    memory_tier_return(&tier, &dropped);
    assert_int_equal(tier.left, MIB + MIB / 4);
    memory_tier_close(&tier);
}

static void little_is_not_granted(void **state) {
    (void)state;
    char path[256];
    struct memory_tier none = {0};
    struct memory_tier tier = open_tier(100000);
    assert_int_equal(start(&tier, 0, 0, 2, path), 0);
    assert_int_equal(start(&tier, 0, 0, 1, path), 100000);
    assert_int_equal(start(&none, 0, 0, 1, path), 0);
    memory_tier_close(&tier);
    memory_tier_close(&none);
}

static void no_folder_is_no_tier(void **state) {
    (void)state;
    char path[256];
    struct shoal_error err;
    struct memory_tier tier;
    assert_int_equal(memory_tier_open(&tier, "/proc/nowhere", 1, MIB, &spares, &err),
                     SHOAL_OK);
    assert_int_equal(start(&tier, 0, 0, 1, path), 0);
    memory_tier_close(&tier);
}

static void what_does_not_count_is_removed(void **state) {
    (void)state;
    char kept[256], late[256], lost[256], other[256];
    struct memory_tier tier = open_tier(8 * MIB);
    start(&tier, 1, 1, 8, kept);
    start(&tier, 2, 1, 8, late);
    start(&tier, 3, 1, 8, lost);
    start(&tier, 3, 12, 8, other);
    make_file(kept, ".data_0");
    make_file(late, "");
    make_file(lost, ".data_0");
    make_file(lost, ".data_1");
    make_file(other, "");
    end(&tier, 1, kept, MIB, true);
    end(&tier, 2, late, MIB, false);
    assert_false(is_there(late, ""));
    memory_tier_lose(&tier, 1);
    assert_true(is_there(kept, ".data_0"));
    assert_true(is_there(other, ""));
    assert_false(is_there(lost, ".data_0"));
    assert_false(is_there(lost, ".data_1"));
    memory_tier_lose(&tier, 12);
    assert_int_equal(tier.left, 7 * MIB);
    memory_tier_close(&tier);
}

static uint64_t size_of(const char *path, const char *end) {
    char name[300];
    struct stat info;
    (void)snprintf(name, sizeof name, "%s%s", path, end);
    return stat(name, &info) == 0 ? (uint64_t)info.st_size : UINT64_MAX;
}

// A task that has written such a file ends, and then nobody needs the file.
static void write_and_drop(struct memory_tier *tier, uint64_t id, uint64_t bytes) {
    char path[256];
    start(tier, id, 0, 4, path);
    make_file_of(path, "", bytes);
    end(tier, id, path, bytes, true);
    struct task_file file = {.path = path, .memory = bytes};
    assert_true(memory_tier_keep(tier, &file));
    memory_tier_return(tier, &file);
    assert_false(is_there(path, ""));
}

static void what_is_dropped_is_lent(void **state) {
    (void)state;
    char path[256], second[256];
    struct memory_tier tier = open_tier(64 * MIB);
    for (uint64_t id = 0; id < 3; id++) write_and_drop(&tier, id, (id + 1) * MIB);
    assert_int_equal(tier.left, 64 * MIB);
    assert_int_equal(spares.bytes, 6 * MIB);
    // A task that isn't known to write much gets none, another the next in size, beside
    // its part of what is left.
    start(&tier, 3, 0, 2, path);
    assert_false(is_there(path, ".spare0"));
    memory_tier_settle(&tier, 3, 0, NULL, false);
    struct memory_need need = {.places = 2, .files = 2, .bytes = MIB + 1};
    assert_int_equal(start_writing(&tier, 4, 7, need, path), (58 / 2 + 2 + 3) * MIB);
    assert_int_equal(size_of(path, ".spare0"), 2 * MIB);
    assert_int_equal(size_of(path, ".spare1"), 3 * MIB);
    assert_int_equal(spares.bytes, MIB);
    // The last one is small, but better than none.
    assert_int_equal(start_writing(&tier, 5, 8, need, second), (58 / 2 + 1) * MIB);
    assert_int_equal(size_of(second, ".spare0"), MIB);
    assert_int_equal(tier.left, 0);
    // One was written over, the other comes back; a dead worker's are gone.
    char spare[300];
    (void)snprintf(spare, sizeof spare, "%s.spare0", path);
    assert_int_equal(rename(spare, path), 0);
    end(&tier, 4, path, 2 * MIB, true);
    assert_int_equal(spares.bytes, 3 * MIB);
    memory_tier_lose(&tier, 8);
    assert_false(is_there(second, ".spare0"));
    assert_int_equal(tier.left, 62 * MIB);
    memory_tier_close(&tier);
    // The next query's tasks have them.
    tier = open_tier(64 * MIB);
    assert_int_equal(start_writing(&tier, 6, 0, need, path), (61 / 2.0 + 3) * MIB);
    memory_tier_settle(&tier, 6, 0, NULL, false);
    memory_tier_close(&tier);
}

static void spares_give_way(void **state) {
    (void)state;
    char path[256];
    struct memory_tier tier = open_tier(16 * MIB);
    spares_shrink(&spares, 0);
    for (uint64_t id = 0; id < 6; id++) write_and_drop(&tier, id, MIB);
    assert_int_equal(spares.bytes, 5 * MIB);  // the sixth made one give way
    assert_int_equal(start(&tier, 6, 0, 2, path), 6 * MIB);  // of 16 without 4
    assert_int_equal(spares.bytes, 4 * MIB);
    assert_int_equal(start(&tier, 7, 0, 2, path), 8 * MIB);  // of 10 without 2
    assert_int_equal(spares.bytes, 2 * MIB);
    memory_tier_close(&tier);
}

// The file wanted has no room in the grant: a spare that has is better than none.
static void a_spare_is_no_larger_than_the_grant(void **state) {
    (void)state;
    char path[256];
    struct memory_tier tier = open_tier(16 * MIB);
    spares_shrink(&spares, 0);
    write_and_drop(&tier, 0, MIB);
    write_and_drop(&tier, 1, 3 * MIB);
    struct memory_need need = {.places = 8, .files = 1, .bytes = 8 * MIB};
    assert_int_equal(start_writing(&tier, 2, 0, need, path), (12 / 8.0 + 1) * MIB);
    assert_int_equal(size_of(path, ".spare0"), MIB);
    assert_int_equal(spares.bytes, 3 * MIB);
    memory_tier_settle(&tier, 2, 0, NULL, false);
    assert_int_equal(spares.bytes, 4 * MIB);
    memory_tier_close(&tier);
}

static void a_folder_is_asked_for_or_in_memory(void **state) {
    (void)state;
    uint64_t bytes = 1;
    assert_null(memory_tier_parent("none", &bytes));
    assert_int_equal(bytes, 0);
    assert_string_equal(memory_tier_parent(spool, &bytes), spool);
    assert_true(bytes > 0);
    assert_string_equal(memory_tier_parent("/proc/nowhere", &bytes), "/proc/nowhere");
    assert_int_equal(bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_share_what_is_left),
        cmocka_unit_test(little_is_not_granted),
        cmocka_unit_test(no_folder_is_no_tier),
        cmocka_unit_test(what_does_not_count_is_removed),
        cmocka_unit_test(what_is_dropped_is_lent),
        cmocka_unit_test(spares_give_way),
        cmocka_unit_test(a_spare_is_no_larger_than_the_grant),
        cmocka_unit_test(a_folder_is_asked_for_or_in_memory),
    };
    return cmocka_run_group_tests_name("memory_tier", tests, set_up, tear_down);
}
