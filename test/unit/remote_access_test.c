// Who may read what of a block server.
#include "block/remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/server.h"
#include "block/wire.h"
#include "support/harness.h"
#include "support/nodes.h"

static void who_knows_no_secret_gets_nothing(void **state) {
    (void)state;
    static const uint8_t wrong[PROOF_SECRET] = {9};
    static struct input_of input;
    struct block_server *server = start_server(0, 0);
    struct shoal_error err;
    struct seen seen;
    char name[256];
    serve_at(0, block_server_address(server), NULL);
    write_file(0, 0, 5, false, 1);
    name_file(0, 0, name);
    input = (struct input_of){.count = 0};
    add_segment(&input, name, 0, BLOCK_LAST);
    remote_close();
    assert_int_equal(read_input("closed", &input, 1, &seen, &err), SHOAL_IO);
    is_lost("closed", NULL);
    remote_open(wrong, &nodes_patience);
    server_reads = 0;
    assert_int_equal(read_input("wrong", &input, 1, &seen, &err), SHOAL_IO);
    assert_non_null(strstr(err.message, "secret"));
    assert_int_equal(server_reads, 0);
    is_lost("wrong", NULL);  // nothing is known of the file
    remote_close();
    remote_open(nodes_secret, &nodes_patience);
    read_well(&input, 1, &seen);
    block_server_stop(server);
}

// One that answers the server's proof with a wrong one of its own, and asks at once.
static void a_reader_must_prove_itself(void **state) {
    (void)state;
    struct block_server *server = start_server(0, 0);
    struct shoal_error err;
    static const uint8_t wrong[PROOF_SECRET] = {9};
    for (int way = 0; way < 3; way++) {
        struct channel *channel = NULL;
        uint8_t bytes[64 + 16];
        struct wire_request request;
        assert_int_equal(channel_connect(block_server_address(server), nodes_secret, 5,
                                         &channel, &err),
                         SHOAL_OK);
        memset(bytes, 'a', sizeof bytes);
        if (way == 0) {  // no hello
            assert_int_equal(channel_write(channel, bytes, sizeof bytes, &err), SHOAL_OK);
        } else if (way == 1) {  // a wrong proof, which the server's tells
            assert_int_equal(wire_greet(channel, wrong, &err), SHOAL_CORRUPT);
            assert_int_equal(channel_write(channel, bytes, 64, &err), SHOAL_OK);
        } else {  // what proves the server proves no reader
            assert_int_equal(wire_greet(channel, nodes_secret, &err), SHOAL_OK);
            wire_make_request(&request, WIRE_READ, 0, 0, 1);
            (void)channel_write(channel, &request, sizeof request, &err);
        }
        // The server ends it, without a byte more.
        assert_int_not_equal(channel_read(channel, bytes, 1, &err), SHOAL_OK);
        channel_free(channel);
    }
    block_server_stop(server);
}

static struct wire_answer ask_for(struct channel *channel, enum wire_kind kind,
                                  const char *path, uint64_t offset, uint64_t size) {
    static uint8_t bytes[WIRE_READ_MOST];
    struct shoal_error err;
    struct wire_request request;
    struct wire_answer answer = {.outcome = 99};
    wire_make_request(&request, kind, (uint16_t)strlen(path), offset, size);
    if (channel_write(channel, &request, sizeof request, &err) != SHOAL_OK ||
        channel_write(channel, path, strlen(path), &err) != SHOAL_OK ||
        channel_read(channel, &answer, sizeof answer, &err) != SHOAL_OK)
        return (struct wire_answer){.outcome = 99};
    assert_true(wire_answer_is_good(&answer, &request));
    assert_int_equal(channel_read(channel, bytes, answer.size, &err), SHOAL_OK);
    return answer;
}

static struct channel *connect_well(const struct block_server *server) {
    struct shoal_error err;
    struct channel *channel = NULL;
    assert_int_equal(
        channel_connect(block_server_address(server), nodes_secret, 5, &channel, &err),
        SHOAL_OK);
    assert_int_equal(wire_greet(channel, nodes_secret, &err), SHOAL_OK);
    return channel;
}

static void make_file(const char *folder, const char *name, const char *text) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void only_files_below_its_folders_are_served(void **state) {
    (void)state;
    static const char *const refused[] = {"/etc/passwd",
                                          LOGICAL "/../../etc/passwd",
                                          LOGICAL "/link",
                                          LOGICAL "/folder/link",
                                          LOGICAL "/away/secret",
                                          LOGICAL "/folder",
                                          LOGICAL "/pipe",
                                          LOGICAL,
                                          LOGICAL "/",
                                          LOGICAL "//file",
                                          LOGICAL "/./file",
                                          LOGICAL "x/file",
                                          "file",
                                          LOGICAL "/away"};
    struct block_server *server = start_server(0, 0);
    char path[512], target[512];
    make_file(nodes[0], "file", "0123456789");
    make_file(nodes[1], "secret", "not for you");
    (void)snprintf(path, sizeof path, "%s/folder", nodes[0]);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/pipe", nodes[0]);
    assert_int_equal(mkfifo(path, 0600), 0);
    (void)snprintf(target, sizeof target, "%s/secret", nodes[1]);
    (void)snprintf(path, sizeof path, "%s/link", nodes[0]);
    assert_int_equal(symlink(target, path), 0);
    (void)snprintf(path, sizeof path, "%s/folder/link", nodes[0]);
    assert_int_equal(symlink(target, path), 0);
    (void)snprintf(path, sizeof path, "%s/away", nodes[0]);
    assert_int_equal(symlink(nodes[1], path), 0);
    struct channel *channel = connect_well(server);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct wire_answer answer = ask_for(channel, WIRE_READ, refused[i], 0, 1);
        if (answer.outcome != WIRE_REFUSED) fail_msg("%s is served", refused[i]);
    }
    struct wire_answer answer = ask_for(channel, WIRE_TAIL, LOGICAL "/file", 0, 4);
    assert_int_equal(answer.outcome, WIRE_DONE);
    assert_int_equal(answer.file_size, 10);
    assert_int_equal(ask_for(channel, WIRE_TAIL, LOGICAL "/file", 0, 4000).size, 10);
    assert_int_equal(ask_for(channel, WIRE_READ, LOGICAL "/file", 0, 10).outcome,
                     WIRE_DONE);
    // Past its end, and as far as numbers go.
    static const uint64_t ends[][2] = {{0, 11},
                                       {10, 1},
                                       {1, 10},
                                       {1000, 1},
                                       {INT64_MAX - WIRE_READ_MOST, WIRE_READ_MOST}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        assert_int_equal(
            ask_for(channel, WIRE_READ, LOGICAL "/file", ends[i][0], ends[i][1]).outcome,
            WIRE_SHORT);
    answer = ask_for(channel, WIRE_READ, LOGICAL "/none", 0, 1);
    assert_int_equal(answer.outcome, WIRE_FAILED);
    assert_int_equal(answer.error, ENOENT);
    channel_free(channel);
    // What is no request ends the connection.
    static const uint64_t wrong[][3] = {
        {WIRE_READ, 0, 0}, {WIRE_READ, 0, WIRE_READ_MOST + 1}, {WIRE_READ, UINT64_MAX, 1},
        {WIRE_TAIL, 1, 1}, {WIRE_TAIL, 0, WIRE_TAIL_MOST + 1}, {0, 0, 1},
        {3, 0, 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        channel = connect_well(server);
        assert_int_equal(ask_for(channel, (enum wire_kind)wrong[i][0], LOGICAL "/file",
                                 wrong[i][1], wrong[i][2])
                             .outcome,
                         99);
        channel_free(channel);
    }
    block_server_stop(server);
}

// A file that is removed is not kept open by a connection that nobody uses.
static void removed_files_give_up_their_space(void **state) {
    (void)state;
    struct block_server *server = start_server(0, 0);
    char path[512], open_one[64], target[512];
    make_file(nodes[0], "file", "0123456789");
    (void)snprintf(path, sizeof path, "%s/file", nodes[0]);
    struct channel *channel = connect_well(server);
    assert_int_equal(ask_for(channel, WIRE_READ, LOGICAL "/file", 0, 10).outcome,
                     WIRE_DONE);
    assert_int_equal(unlink(path), 0);
    bool held = true;
    for (int i = 0; held && i < 3000; i++) {
        held = false;
        for (int fd = 0; fd < 256; fd++) {
            (void)snprintf(open_one, sizeof open_one, "/proc/self/fd/%d", fd);
            ssize_t size = readlink(open_one, target, sizeof target - 1);
            target[size < 0 ? 0 : size] = '\0';
            held = held || strncmp(target, path, strlen(path)) == 0;
        }
        if (held) nap();
    }
    assert_false(held);
    channel_free(channel);
    block_server_stop(server);
}

// More readers than connections: they take turns.
static void connections_are_bounded(void **state) {
    (void)state;
    struct shoal_error err;
    struct server_folder folder = {LOGICAL, nodes[0]};
    struct server_options options = {.host = "127.0.0.1",
                                     .secret = nodes_secret,
                                     .folders = &folder,
                                     .folder_count = 1,
                                     .connections = 2};
    struct block_server *server = NULL;
    make_file(nodes[0], "file", "0123456789");
    assert_int_equal(block_server_start(&options, &server, &err), SHOAL_OK);
    struct channel *one = connect_well(server), *two = connect_well(server), *three;
    assert_int_equal(
        channel_connect(block_server_address(server), nodes_secret, 0.2, &three, &err),
        SHOAL_LOST);
    assert_int_equal(ask_for(one, WIRE_READ, LOGICAL "/file", 0, 10).outcome, WIRE_DONE);
    channel_free(one);
    three = connect_well(server);
    assert_int_equal(ask_for(three, WIRE_READ, LOGICAL "/file", 0, 10).outcome,
                     WIRE_DONE);
    channel_free(two);
    channel_free(three);
    block_server_stop(server);
}

// A second folder of the node, and one that is told later; a port range that is taken.
static void folders_can_be_added(void **state) {
    (void)state;
    struct shoal_error err;
    struct block_server *server = start_server(0, 0), *other = NULL;
    struct server_folder second = {LOGICAL, nodes[1]}, wrong = {"relative", nodes[1]};
    make_file(nodes[1], "file", "0123456789");
    struct channel *channel = connect_well(server);
    assert_int_equal(ask_for(channel, WIRE_READ, LOGICAL "/file", 0, 10).error, ENOENT);
    assert_int_equal(block_server_add(server, &second, &err), SHOAL_OK);
    assert_int_equal(block_server_add(server, &wrong, &err), SHOAL_USAGE);
    assert_int_equal(ask_for(channel, WIRE_READ, LOGICAL "/file", 0, 10).outcome,
                     WIRE_DONE);
    uint16_t port = port_of(block_server_address(server));
    struct server_options taken = {.host = "127.0.0.1",
                                   .first_port = port,
                                   .last_port = port,
                                   .secret = nodes_secret};
    assert_int_equal(block_server_start(&taken, &other, &err), SHOAL_IO);
    channel_free(channel);
    block_server_stop(server);
}

// ---- all of it encrypted

static void over_tls_it_is_the_same(void **state) {
    static const CMUnitTestFunction tests[] = {who_knows_no_secret_gets_nothing,
                                               only_files_below_its_folders_are_served};
    run_over_tls(tests, sizeof tests / sizeof *tests, state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        NODES_TEST(who_knows_no_secret_gets_nothing),
        NODES_TEST(a_reader_must_prove_itself),
        NODES_TEST(only_files_below_its_folders_are_served),
        NODES_TEST(removed_files_give_up_their_space),
        NODES_TEST(connections_are_bounded),
        NODES_TEST(folders_can_be_added),
        NODES_TEST(over_tls_it_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
