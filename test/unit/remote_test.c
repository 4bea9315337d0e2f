// Block files on another node: readers get what a local reader gets. DuckDB has no part
// in it, so that it runs under TSan.
#include "block/remote.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/format.h"
#include "block/registry.h"
#include "block/server.h"
#include "support/examples.h"
#include "support/harness.h"
#include "support/nodes.h"

// ---- what comes back

static void all_layouts_come_as_they_do_here(void **state) {
    (void)state;
    static struct input_of input;
    struct block_server *server = start_server(0, 0);
    serve_at(0, block_server_address(server), NULL);
    for (unsigned task = 0; task < 6; task++) {
        char name[256];
        struct seen here, there;
        write_file(0, task, task % 3 == 2 ? 40 : 1 + task, task % 2, task);
        name_file(0, task, name);
        for (int ordered = 0; ordered < 2; ordered++) {
            input = (struct input_of){.how = {.ordered = ordered}};
            add_segment(&input, name, 0, BLOCK_LAST);
            read_here(&input, &here);
            read_well(&input, 1, &there);
            assert_memory_equal(&there, &here, ordered ? sizeof here : sizeof here - 8);
            assert_int_equal(there.rows, ROWS * task * (task % 3 == 2 ? 40 : 1 + task));
        }
        assert_int_equal(block_verify(name, true, NULL), SHOAL_OK);
    }
    assert_true(server_reads > 0);
    block_server_stop(server);
}

static void many_files_come_from_many_nodes(void **state) {
    (void)state;
    static struct input_of input;
    struct block_server *servers[NODES];
    struct seen here, there;
    input = (struct input_of){.count = 0};
    for (int node = 0; node < NODES; node++) {
        servers[node] = start_server(node, 0);
        serve_at((uint32_t)node, block_server_address(servers[node]), NULL);
        for (unsigned task = 0; task < 100; task++) {
            char name[256];
            write_file(node, task, 5, false, 1);
            name_file(node, task, name);
            add_segment(&input, name, 1, 3);
        }
    }
    read_here(&input, &here);
    assert_int_equal(here.rows, NODES * 100 * 3 * ROWS);
    for (size_t threads = 1; threads <= 8; threads *= 2) {
        block_limit_ahead(threads == 2 ? 1 : threads == 4 ? 100000 : 16u << 20);
        read_well(&input, threads, &there);
        assert_int_equal(there.rows, here.rows);
        assert_int_equal(there.sum, here.sum);
    }
    input.how.ordered = true;
    read_here(&input, &here);
    read_well(&input, 1, &there);
    assert_memory_equal(&there, &here, sizeof here);
    uint64_t sum = 0;
    for (uint32_t s = 0; s < 7; s++) {
        input.how = (struct block_read){.slice = s, .slices = 7};
        read_well(&input, 2, &there);
        sum += there.sum;
    }
    assert_int_equal(sum, here.sum);
    for (int node = 0; node < NODES; node++) block_server_stop(servers[node]);
}

// Requests longer than one message, whatever the tail has; a file that is copied whole.
static void large_chunks_and_whole_files_come(void **state) {
    (void)state;
    static struct input_of input;
    struct block_server *server = start_server(0, 0);
    struct shoal_error err;
    struct seen here, there;
    char name[256], path[256], copy[256];
    serve_at(0, block_server_address(server), NULL);
    write_file(0, 0, 2, false, 1500);  // each chunk is of all its partition's rows
    name_file(0, 0, name);
    path_file(0, 0, path);
    input = (struct input_of){.count = 0};
    add_segment(&input, name, 0, BLOCK_LAST);
    read_here(&input, &here);
    read_well(&input, 1, &there);
    assert_memory_equal(&there, &here, sizeof here - 8);

    (void)snprintf(copy, sizeof copy, "%s/copy", nodes[1]);
    if (remote_copy(name, copy, &err) != SHOAL_OK) fail_msg("%s", err.message);
    assert_int_equal(block_verify(copy, true, NULL), SHOAL_OK);
    struct stat one, other;
    assert_int_equal(stat(path, &one), 0);
    assert_int_equal(stat(copy, &other), 0);
    assert_int_equal(one.st_size, other.st_size);
    assert_true(one.st_size > 4 << 20);
    assert_int_equal(remote_copy(name, copy, &err), SHOAL_IO);  // it is there
    name_file(0, 77, name);
    (void)snprintf(copy, sizeof copy, "%s/other", nodes[1]);
    assert_int_equal(remote_copy(name, copy, &err), SHOAL_IO);
    assert_non_null(strstr(err.message, "No such file"));
    assert_int_not_equal(access(copy, F_OK), 0);
    block_server_stop(server);
}

// What is asked for and not taken is bounded, however slow the reader.
static void a_slow_reader_bounds_what_comes(void **state) {
    (void)state;
    static struct input_of input;
    struct block_server *server = start_server(0, 0);
    struct shoal_error err;
    const struct column *columns = NULL;
    struct block_file file;
    uint64_t rows, first;
    size_t count;
    char name[256], path[256];
    serve_at(0, block_server_address(server), NULL);
    write_file(0, 0, 200, false, 1);
    name_file(0, 0, name);
    path_file(0, 0, path);
    assert_int_equal(block_file_open(&file, path, NULL, 0, &err), SHOAL_OK);
    uint64_t chunk = file.index[0].size;
    block_file_close(&file);
    block_limit_ahead(10 * chunk);
    input = (struct input_of){.count = 0};
    add_segment(&input, name, 0, BLOCK_LAST);
    assert_int_equal(block_bind_input("slow", 0, input.segments, 1, &input.how, &err),
                     SHOAL_OK);
    void *source =
        block_source.open("slow", 0, example_shapes(), EXAMPLE_COLUMNS, &rows, &err);
    void *reader = block_source.begin(source);
    server_reads = 0;
    assert_int_equal(block_source.next(reader, &columns, &first, &count, &err), SHOAL_OK);
    for (int i = 0; i < 100; i++) nap();
    assert_true(server_reads > 5 && server_reads < 14);
    while (count > 0)
        assert_int_equal(block_source.next(reader, &columns, &first, &count, &err),
                         SHOAL_OK);
    assert_int_equal(server_reads, 200);
    block_source.end(reader);
    block_source.close(source);
    block_release_inputs("slow");
    block_limit_ahead(16u << 20);
    block_server_stop(server);
}

// ---- all of it encrypted

static void over_tls_it_is_the_same(void **state) {
    static const CMUnitTestFunction tests[] = {all_layouts_come_as_they_do_here,
                                               many_files_come_from_many_nodes,
                                               large_chunks_and_whole_files_come};
    run_over_tls(tests, sizeof tests / sizeof *tests, state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        NODES_TEST(all_layouts_come_as_they_do_here),
        NODES_TEST(many_files_come_from_many_nodes),
        NODES_TEST(large_chunks_and_whole_files_come),
        NODES_TEST(a_slow_reader_bounds_what_comes),
        NODES_TEST(over_tls_it_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
