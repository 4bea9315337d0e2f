// Block files on another node, and what goes wrong on the way to them.
#include "block/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "block/format.h"
#include "block/registry.h"
#include "block/server.h"
#include "net/listener.h"
#include "support/examples.h"
#include "support/harness.h"
#include "support/nodes.h"

static atomic_int faults_left, faults_after;
static atomic_int faulty_point, faulty_answer;

static int fail_some(enum fault_point point, const char *path) {
    (void)path;
    if ((int)point != faulty_point || faults_after-- > 0) return 0;
    return faults_left-- > 0 ? faulty_answer : 0;
}

static void faults_on_the_way_are_got_over(void **state) {
    (void)state;
    static const struct {
        enum fault_point point;
        int answer;
    } faults[] = {{FAULT_REMOTE_READ, FAULT_FLIP},  {FAULT_REMOTE_READ, FAULT_SHORT},
                  {FAULT_REMOTE_READ, EIO},         {FAULT_REMOTE_CONNECT, EIO},
                  {FAULT_SERVER_READ, FAULT_SHORT}, {FAULT_SERVER_READ, FAULT_FLIP},
                  {FAULT_SERVER_READ, EMFILE}};
    static struct input_of input;
    struct block_server *server = start_server(0, 0);
    struct seen here, there;
    char name[256];
    serve_at(0, block_server_address(server), NULL);
    write_file(0, 0, 20, false, 1);
    name_file(0, 0, name);
    input = (struct input_of){.count = 0};
    add_segment(&input, name, 0, BLOCK_LAST);
    read_here(&input, &here);
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        for (int after = 0; after < 22; after += 3) {
            if (faults[f].point == FAULT_REMOTE_CONNECT && after > 0) continue;
            faulty_point = faults[f].point;
            faulty_answer = faults[f].answer;
            faults_after = after;
            faults_left = 1;
            if (faulty_point == FAULT_REMOTE_CONNECT) {
                remote_close();
                remote_open(nodes_secret, &nodes_patience);
            }
            count_hook = fail_some;
            read_well(&input, 2, &there);
            count_hook = NULL;
            if (after == 0) assert_true(faults_left <= 0);
            assert_memory_equal(&there, &here, sizeof here - 8);
        }
    }
    block_server_stop(server);
}

static void what_fails_again_and_again_is_lost(void **state) {
    (void)state;
    static const struct {
        enum fault_point point;
        int answer;
        shoal_status status;
        bool lost;
    } faults[] = {{FAULT_REMOTE_READ, FAULT_FLIP, SHOAL_CORRUPT, true},
                  {FAULT_REMOTE_READ, FAULT_SHORT, SHOAL_IO, true},
                  {FAULT_REMOTE_CONNECT, EIO, SHOAL_IO, true},
                  {FAULT_SERVER_READ, FAULT_SHORT, SHOAL_IO, true},
                  {FAULT_SERVER_READ, FAULT_FLIP, SHOAL_CORRUPT, true},
                  {FAULT_SERVER_READ, EIO, SHOAL_IO, true},
                  {FAULT_SERVER_READ, EMFILE, SHOAL_IO, false}};
    static struct input_of input;
    struct block_server *server = start_server(0, 0);
    struct shoal_error err;
    struct seen seen;
    char name[256];
    serve_at(0, block_server_address(server), NULL);
    write_file(0, 0, 20, false, 1);
    name_file(0, 0, name);
    input = (struct input_of){.count = 0};
    add_segment(&input, name, 0, BLOCK_LAST);
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        remote_close();
        remote_open(nodes_secret, &nodes_patience);
        faulty_point = faults[f].point;
        faulty_answer = faults[f].answer;
        faults_after = 0;
        faults_left = 1000000;
        count_hook = fail_some;
        assert_int_equal(read_input("lost", &input, 2, &seen, &err), faults[f].status);
        count_hook = NULL;
        assert_non_null(strstr(err.message, name));
        is_lost("lost", faults[f].lost ? name : NULL);
    }
    block_server_stop(server);
}

static void another_worker_of_the_node_serves_too(void **state) {
    (void)state;
    static struct input_of input;
    struct block_server *server = start_server(0, 0);
    struct shoal_error err;
    struct seen here, there;
    char name[256], dead[NET_ADDRESS], other[NET_ADDRESS];
    dead_address(dead);
    write_file(0, 0, 20, false, 1);
    name_file(0, 0, name);
    input = (struct input_of){.count = 0};
    add_segment(&input, name, 0, BLOCK_LAST);
    read_here(&input, &here);
    serve_at(0, dead, block_server_address(server));
    read_well(&input, 2, &there);
    assert_memory_equal(&there, &here, sizeof here - 8);
    // One that has not the file.
    struct block_server *empty = start_server(1, 0);
    serve_at(0, block_server_address(empty), block_server_address(server));
    read_well(&input, 2, &there);
    assert_memory_equal(&there, &here, sizeof here - 8);
    dead_address(other);
    serve_at(0, dead, other);
    assert_int_equal(read_input("gone", &input, 2, &there, &err), SHOAL_IO);
    is_lost("gone", name);
    serve_at(0, block_server_address(empty), NULL);
    assert_int_equal(read_input("gone", &input, 2, &there, &err), SHOAL_IO);
    assert_non_null(strstr(err.message, "No such file"));
    is_lost("gone", name);
    block_server_stop(empty);
    block_server_stop(server);
}

static struct block_server *running;
static uint16_t running_port;
static atomic_bool stop_restarts;
static atomic_int restarts;

static void *restart(void *argument) {
    (void)argument;
    while (!stop_restarts) {
        int before = server_reads;
        while (!stop_restarts && server_reads < before + 30) nap();
        block_server_stop(running);
        running = start_server(0, running_port);
        restarts++;
    }
    return NULL;
}

static void a_server_that_comes_back_is_read_on(void **state) {
    (void)state;
    static struct input_of input;
    static const struct remote_patience patient = {2, 2, 0.02, 20, 0.2};
    struct seen here, there;
    pthread_t thread;
    remote_open(nodes_secret, &patient);
    running = start_server(0, 0);
    running_port = port_of(block_server_address(running));
    serve_at(0, block_server_address(running), NULL);
    input = (struct input_of){.count = 0};
    for (unsigned task = 0; task < 20; task++) {
        char name[256];
        write_file(0, task, 30, false, 1);
        name_file(0, task, name);
        add_segment(&input, name, 0, BLOCK_LAST);
    }
    read_here(&input, &here);
    stop_restarts = false;
    restarts = 0;
    assert_int_equal(pthread_create(&thread, NULL, restart, NULL), 0);
    for (int i = 0; i < 40 && restarts < 5; i++) {
        read_well(&input, 2, &there);
        assert_int_equal(there.sum, here.sum);
    }
    stop_restarts = true;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(restarts >= 5);
    block_server_stop(running);
}

// A process that is killed while it sends; another of its node goes on.
static void a_killed_server_is_replaced_by_another(void **state) {
    (void)state;
    static struct input_of input;
    struct block_server *server = start_server(0, 0);
    struct shoal_error err;
    struct seen here, there;
    struct reading reading = {.key = "killed"};
    uint64_t rows;
    char name[256], address[NET_ADDRESS] = "";
    int told[2];
    pthread_t thread;
    write_file(0, 0, 100, false, 1);
    name_file(0, 0, name);
    input = (struct input_of){.count = 0};
    add_segment(&input, name, 0, BLOCK_LAST);
    read_here(&input, &here);
    assert_int_equal(pipe(told), 0);
    pid_t child = fork();
    if (child == 0) {  // this program again: see main
        char to[16];
        (void)snprintf(to, sizeof to, "%d", told[1]);
        execl("/proc/self/exe", "remote_test", "--serve", nodes[0], to, (char *)NULL);
        _exit(1);
    }
    assert_int_equal(read(told[0], address, NET_ADDRESS), NET_ADDRESS);
    serve_at(0, address, block_server_address(server));
    block_limit_ahead(1);
    assert_int_equal(block_bind_input("killed", 0, input.segments, 1, &input.how, &err),
                     SHOAL_OK);
    reading.source =
        block_source.open("killed", 0, example_shapes(), EXAMPLE_COLUMNS, &rows, &err);
    assert_non_null(reading.source);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(pthread_create(&thread, NULL, read_all, &reading), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (reading.status != SHOAL_OK) fail_msg("%s", reading.err.message);
    there = reading.seen;
    assert_int_equal(there.sum, here.sum);
    assert_true(server_reads > 0);
    block_source.close(reading.source);
    block_release_inputs("killed");
    block_limit_ahead(16u << 20);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(told[0]);
    close(told[1]);
    block_server_stop(server);
}

static void damage_on_the_server_is_found(void **state) {
    (void)state;
    static struct input_of input;
    struct block_server *server = start_server(0, 0);
    struct shoal_error err;
    struct seen seen;
    struct stat whole;
    char name[256], path[256];
    serve_at(0, block_server_address(server), NULL);
    name_file(0, 0, name);
    path_file(0, 0, path);
    input = (struct input_of){.count = 0};
    add_segment(&input, name, 0, BLOCK_LAST);
    for (int cut = 0; cut < 4; cut++) {
        write_file(0, 0, 20, false, 1);
        assert_int_equal(stat(path, &whole), 0);
        off_t sizes[] = {0, 10, whole.st_size / 2, whole.st_size - 1};
        assert_int_equal(truncate(path, sizes[cut]), 0);
        assert_int_equal(read_input("cut", &input, 1, &seen, &err), SHOAL_CORRUPT);
        is_lost("cut", name);
        assert_int_equal(unlink(path), 0);
    }
    static const double at[] = {0, 0.3, 0.7, 0.999};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        uint8_t byte;
        write_file(0, 0, 20, false, 1);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        off_t place = (off_t)((double)whole.st_size * at[i]);
        assert_int_equal(pread(fd, &byte, 1, place), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, place), 1);
        close(fd);
        assert_int_equal(read_input("changed", &input, 1, &seen, &err), SHOAL_CORRUPT);
        is_lost("changed", name);
        assert_int_equal(unlink(path), 0);
    }
    // Cut after its index was read.
    struct block_file file;
    struct block_chunk chunk;
    write_file(0, 0, 20, false, 1);
    assert_int_equal(
        block_file_open(&file, name, example_shapes(), EXAMPLE_COLUMNS, &err), SHOAL_OK);
    assert_int_equal(block_chunk_init(&chunk, example_shapes(), EXAMPLE_COLUMNS, &err),
                     SHOAL_OK);
    assert_int_equal(block_chunk_read(&chunk, &file, &file.index[19], &err), SHOAL_OK);
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(block_chunk_read(&chunk, &file, &file.index[19], &err),
                     SHOAL_CORRUPT);
    block_chunk_free(&chunk);
    block_file_close(&file);
    block_server_stop(server);
}

static atomic_bool hold;

static int wait_in_server(enum fault_point point, const char *path) {
    (void)path;
    while (point == FAULT_SERVER_READ && hold) nap();
    return 0;
}

static void who_waits_can_be_interrupted(void **state) {
    (void)state;
    static struct input_of input;
    static const struct remote_patience patient = {2, 30, 0.02, 20, 0.2};
    struct block_server *server = start_server(0, 0);
    struct shoal_error err;
    uint64_t rows;
    char name[256];
    pthread_t thread;
    remote_open(nodes_secret, &patient);
    serve_at(0, block_server_address(server), NULL);
    write_file(0, 0, 20, false, 1);
    name_file(0, 0, name);
    input = (struct input_of){.count = 0};
    add_segment(&input, name, 0, BLOCK_LAST);
    struct reading reading = {.key = "stop"};
    assert_int_equal(block_bind_input("stop", 0, input.segments, 1, &input.how, &err),
                     SHOAL_OK);
    reading.source =
        block_source.open("stop", 0, example_shapes(), EXAMPLE_COLUMNS, &rows, &err);
    assert_non_null(reading.source);
    hold = true;
    count_hook = wait_in_server;
    assert_int_equal(pthread_create(&thread, NULL, read_all, &reading), 0);
    for (int i = 0; i < 20; i++) nap();
    assert_false(reading.over);
    double before = clock_seconds();
    block_interrupt("other");
    block_interrupt("stop");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(clock_seconds() < before + 5);
    assert_int_equal(reading.status, SHOAL_CANCELLED);
    block_source.close(reading.source);
    is_lost("stop", NULL);
    hold = false;
    remote_close();
    count_hook = NULL;
    block_server_stop(server);
}

// A silent server is given up after a while, and the next address asked.
static void a_silent_server_is_given_up(void **state) {
    (void)state;
    static struct input_of input;
    struct block_server *server = start_server(0, 0);
    struct shoal_error err;
    struct listener silent;
    struct seen here, there;
    char name[256];
    assert_int_equal(net_listen("127.0.0.1", 0, 0, &silent, &err), SHOAL_OK);
    static const struct remote_patience short_one = {0.1, 0.1, 0.01, 2, 0.2};
    remote_open(nodes_secret, &short_one);
    serve_at(0, silent.address, block_server_address(server));
    write_file(0, 0, 20, false, 1);
    name_file(0, 0, name);
    input = (struct input_of){.count = 0};
    add_segment(&input, name, 0, BLOCK_LAST);
    read_here(&input, &here);
    read_well(&input, 1, &there);
    assert_int_equal(there.sum, here.sum);
    listener_close(&silent);
    block_server_stop(server);
}

// A server in a process of its own, which tells its address.
static void serve(const char *folder, int to) {
    (void)snprintf(nodes[0], sizeof nodes[0], "%s", folder);
    struct block_server *server = start_server(0, 0);
    (void)!write(to, block_server_address(server), NET_ADDRESS);
    for (;;) pause();
}

int main(int argc, char **argv) {
    if (argc == 4) serve(argv[2], (int)strtol(argv[3], NULL, 10));
    const struct CMUnitTest tests[] = {
        NODES_TEST(faults_on_the_way_are_got_over),
        NODES_TEST(what_fails_again_and_again_is_lost),
        NODES_TEST(another_worker_of_the_node_serves_too),
        NODES_TEST(a_server_that_comes_back_is_read_on),
        NODES_TEST(a_killed_server_is_replaced_by_another),
        NODES_TEST(damage_on_the_server_is_found),
        NODES_TEST(who_waits_can_be_interrupted),
        NODES_TEST(a_silent_server_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
