// Where files are that messages name: here, elsewhere, or as they are named.
#include "block/places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/spool.h"
#include "support/harness.h"

static void is_at(const char *path, const char *where) {
    char *local = places_local(path);
    char *back = places_logical(where);
    assert_string_equal(local, where);
    assert_string_equal(back, path);
    free(local);
    free(back);
}

static void names_lead_to_folders_and_back(void **state) {
    (void)state;
    struct shoal_error err;
    is_at("/tmp/shoal-a/q0/s0", "/tmp/shoal-a/q0/s0");
    assert_int_equal(places_keep("/tmp/shoal-a", "/mnt/one", &err), SHOAL_OK);
    assert_int_equal(places_keep("/dev/shm/shoal-b", "/mnt/two", &err), SHOAL_OK);
    assert_int_equal(places_keep("/tmp/shoal-a/q0/deep", "/mnt/three", &err), SHOAL_OK);
    is_at("/tmp/shoal-a/q0/s0", "/mnt/one/q0/s0");
    is_at("/tmp/shoal-a", "/mnt/one");
    is_at("/dev/shm/shoal-b/s0.t0.a0.w1.data_0", "/mnt/two/s0.t0.a0.w1.data_0");
    is_at("/tmp/shoal-a/q0/deep/x", "/mnt/three/x");  // the longest counts
    is_at("/tmp/shoal-ab/q0/s0", "/tmp/shoal-ab/q0/s0");
    is_at("/user/file", "/user/file");
    assert_int_equal(places_keep("/tmp/shoal-a", "/mnt/four", &err), SHOAL_OK);
    is_at("/tmp/shoal-a/q0/s0", "/mnt/four/q0/s0");
    assert_int_equal(places_keep("/one/more", "/mnt/five", &err), SHOAL_OK);
    assert_int_equal(places_keep("/too/many", "/mnt/six", &err), SHOAL_USAGE);
    assert_int_equal(places_keep("relative", "/mnt/six", &err), SHOAL_USAGE);
    assert_int_equal(places_keep("/a/../b", "/mnt/six", &err), SHOAL_USAGE);
    assert_int_equal(places_keep("/a", "mnt", &err), SHOAL_USAGE);
    places_forget();
    is_at("/tmp/shoal-a/q0/s0", "/tmp/shoal-a/q0/s0");
}

static void wrote(const char *path, int64_t expected) {
    uint32_t writer = 0;
    bool known = places_writer(path, &writer);
    assert_int_equal(known, expected >= 0);
    if (known) assert_int_equal(writer, expected);
}

static void a_name_says_who_wrote_it(void **state) {
    (void)state;
    wrote("/tmp/shoal-a/q0/s0.t1.a0.w7", 7);
    wrote("/tmp/shoal-a/q0/s0.t1.a0.w7/data_0.shoal", 7);
    wrote("/dev/shm/shoal-b/s0.t1.a0.w12.data_0", 12);
    wrote("/job/blocks/s0.t1.a0.w3.r1.0", 3);
    wrote("/home/x.w9/q0/s0.t1.a0.w4294967295.pipe", UINT32_MAX);
    wrote("/home/x.w9/shoal-a/q0", -1);
    wrote("/tmp/q0/s0.t1.a0.w4294967296", -1);
    wrote("/tmp/q0/s0.t1.a0.w99999999999999999999999", -1);
    wrote("/tmp/q0/s0.t1.a0.w", -1);
    wrote("/tmp/q0/s0.t1.a0.w7x", -1);
    wrote("/tmp/q0/s0.wx", -1);
    wrote("", -1);
}

static void serves(const char *path, const char *first, size_t count) {
    struct shoal_error err;
    struct places_addresses found;
    assert_int_equal(places_find(path, &found, &err), SHOAL_OK);
    assert_int_equal(found.count, count);
    if (count > 0) assert_string_equal(found.list[0], first);
    places_addresses_free(&found);
}

static void writers_are_served_somewhere(void **state) {
    (void)state;
    struct shoal_error err;
    static const char *const two[] = {"10.0.0.1:7000", "10.0.0.1:7001"};
    const char *many[PLACES_ADDRESSES + 1];
    for (size_t i = 0; i <= PLACES_ADDRESSES; i++) many[i] = "x";
    for (uint32_t writer = 100; writer-- > 0;)
        assert_int_equal(places_served(writer, &two[writer % 2], 2 - writer % 2, &err),
                         SHOAL_OK);
    serves("/q0/s0.t0.a0.w10", two[0], 2);
    serves("/q0/s0.t0.a0.w11/data_1.shoal", two[1], 1);
    serves("/q0/s0.t0.a0.w100", NULL, 0);
    serves("/q0/other", NULL, 0);
    assert_int_equal(places_served(10, &two[1], 1, &err), SHOAL_OK);
    serves("/q0/s0.t0.a0.w10", two[1], 1);
    assert_int_equal(places_served(10, NULL, 0, &err), SHOAL_OK);
    serves("/q0/s0.t0.a0.w10", NULL, 0);
    assert_int_equal(places_served(1, many, PLACES_ADDRESSES + 1, &err), SHOAL_USAGE);
    serves("/q0/s0.t0.a0.w1", two[1], 1);
    places_forget();
    serves("/q0/s0.t0.a0.w11", NULL, 0);
}

static void touch(const char *path) {
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
}

static void what_is_kept_here_can_be_removed(void **state) {
    (void)state;
    struct shoal_error err;
    char folder[] = "/tmp/shoal_places_XXXXXX", other[64], link[64];
    assert_non_null(mkdtemp(folder));
    assert_int_equal(places_keep("/logical", folder, &err), SHOAL_OK);
    char *file = places_local_to_write("/logical/q0/s0.t0.a0.w1/data_0");
    char *beside = places_local_to_write("/logical/q0/s0.t0.a0.w1/data_1");
    touch(file);
    touch(beside);
    places_remove("/logical/q0/s0.t0.a0.w1/data_0");
    assert_int_not_equal(access(file, F_OK), 0);
    assert_int_equal(access(beside, F_OK), 0);
    places_remove("/logical/q0/s0.t0.a0.w1/data_1");
    *strrchr(file, '/') = '\0';
    assert_int_not_equal(access(file, F_OK), 0);  // the task's folder
    *strrchr(file, '/') = '\0';
    assert_int_equal(access(file, F_OK), 0);  // the query's
    // Not by what is not below, nor through a link, nor all of it.
    (void)snprintf(other, sizeof other, "%s.other", folder);
    (void)snprintf(link, sizeof link, "%s/link", folder);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(symlink(other, link), 0);
    touch(beside = (free(beside), places_local("/logical/kept")));
    (void)strncat(other, "/kept", 6);
    touch(other);
    places_remove(other);
    places_remove("/logical/link/kept");
    places_remove("/logical/../logical/kept");
    places_remove("/logical");
    assert_int_equal(access(other, F_OK), 0);
    assert_int_equal(access(beside, F_OK), 0);
    places_forget();
    places_remove(beside);  // a name for which no folder is set
    assert_int_equal(access(beside, F_OK), 0);
    *strrchr(other, '/') = '\0';
    spool_remove_tree(other);
    spool_remove_tree(folder);
    free(file);
    free(beside);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_lead_to_folders_and_back),
        cmocka_unit_test(a_name_says_who_wrote_it),
        cmocka_unit_test(writers_are_served_somewhere),
        cmocka_unit_test(what_is_kept_here_can_be_removed),
    };
    return cmocka_run_group_tests_name("places", tests, NULL, NULL);
}
