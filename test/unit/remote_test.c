// Block files on another node: a server's folder here, names that are nowhere here, and
// readers that get what a local reader gets, or say what is wrong. DuckDB has no part in
// it, so that it runs under TSan.
#include "block/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/spool.h"
#include "block/format.h"
#include "block/places.h"
#include "block/registry.h"
#include "block/server.h"
#include "block/wire.h"
#include "net/listener.h"
#include "support/examples.h"
#include "support/harness.h"

#define LOGICAL "/nowhere/shoal-spool"
#define NODES 3
#define ROWS 240

static char nodes[NODES][64];  // a folder of each node
static const uint8_t secret[PROOF_SECRET] = {1, 2, 3};
static const struct remote_patience quick = {2, 1, 0.01, 3, 0.2};

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

// ---- nodes

static struct block_server *start(int node, uint16_t port) {
    struct shoal_error err;
    struct block_server *server = NULL;
    struct server_folder folder = {LOGICAL, nodes[node]};
    struct server_options options = {.host = "127.0.0.1",
                                     .first_port = port,
                                     .last_port = port,
                                     .secret = secret,
                                     .folders = &folder,
                                     .folder_count = 1};
    if (block_server_start(&options, &server, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    return server;
}

static uint16_t port_of(const char *address) {
    return (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

static void serve_at(uint32_t writer, const char *first, const char *second) {
    struct shoal_error err;
    const char *const addresses[] = {first, second};
    size_t count = first == NULL ? 0 : second == NULL ? 1 : 2;
    assert_int_equal(places_served(writer, addresses, count, &err), SHOAL_OK);
}

// An address where nobody is.
static void dead_address(char address[NET_ADDRESS]) {
    struct shoal_error err;
    struct listener listener;
    assert_int_equal(net_listen("127.0.0.1", 0, 0, &listener, &err), SHOAL_OK);
    memcpy(address, listener.address, NET_ADDRESS);
    listener_close(&listener);
}

// Writes a file of the node, chunks of ROWS rows each, partition p has p % 3 of them; its
// writer's number is the node's.
static void write_file(int node, unsigned task, unsigned partitions, bool compress,
                       unsigned chunks) {
    struct shoal_error err;
    struct block_writer *writer = NULL;
    struct block_storage storage = {.compress = compress};
    struct block_output_file learned = {0};
    struct block_output files;
    char path[256];
    (void)snprintf(path, sizeof path, "%s/s0.t%u.a0.w%d", nodes[node], task, node);
    assert_int_equal(
        block_bind_output(path, &storage, partitions, BLOCK_WHOLE, NULL, &err), SHOAL_OK);
    assert_int_equal(block_writer_open(registry_output(path), path, example_shapes(),
                                       EXAMPLE_COLUMNS, &writer, &err),
                     SHOAL_OK);
    for (uint32_t p = 0; p < partitions; p++) {
        for (unsigned n = 0; n < chunks; n++) {
            struct column *columns = block_writer_columns(writer, p);
            for (size_t c = 0; c < EXAMPLE_COLUMNS; c++)
                assert_true(example_add_rows(&columns[c], task * 7 + p + n, ROWS));
            block_writer_added(writer, p, ROWS);
        }
    }
    assert_int_equal(block_writer_finish(writer, &learned, &err), SHOAL_OK);
    block_writer_close(writer);
    block_take_output(path, &files);
    block_output_free(&files);
}

static void name_file(int node, unsigned task, char name[256]) {
    (void)snprintf(name, 256, "%s/s0.t%u.a0.w%d", LOGICAL, task, node);
}

static void path_file(int node, unsigned task, char path[256]) {
    (void)snprintf(path, 256, "%s/s0.t%u.a0.w%d", nodes[node], task, node);
}

// ---- readers

// All bytes of what a source gives, in its order or in any: a sum of what each row has.
struct seen {
    uint64_t rows, sum, order;
};

static uint64_t mix(uint64_t hash, const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

static uint64_t hash_row(const struct column *column, uint64_t row, uint64_t hash) {
    bool valid = column_valid(column, row);
    hash = mix(hash, &valid, 1);
    const uint32_t *offsets = column_offsets(column);
    uint64_t first = row, end = row;
    switch (column->layout) {
        case COLUMN_FIXED:
            if (valid && column->packing.width > 0) {
                hash = mix(hash, &column->packing.base, sizeof column->packing.base);
                return mix(hash, column->data.data + row * column->packing.width,
                           column->packing.width);
            }
            return valid
                       ? mix(hash, column->data.data + row * column->width, column->width)
                       : hash;
        case COLUMN_STRING:
            return mix(hash, column->data.data + offsets[row],
                       offsets[row + 1] - offsets[row]);
        case COLUMN_LIST:
            first = offsets[row];
            end = offsets[row + 1];
            break;
        case COLUMN_ARRAY:
            first = row * column->width;
            end = first + column->width;
            break;
        case COLUMN_STRUCT:
            end = row + 1;
            break;
    }
    for (uint32_t c = 0; c < column->child_count; c++) {
        for (uint64_t r = first; r < end; r++)
            hash = hash_row(&column->children[c], r, hash);
    }
    return hash;
}

struct reading {
    const char *key;
    void *source;
    struct seen seen;
    shoal_status status;
    struct shoal_error err;
    atomic_bool over;
};

static void *read_all(void *argument) {
    struct reading *reading = argument;
    void *reader = block_source.begin(reading->source);
    size_t count = 1;
    reading->status = reader == NULL ? SHOAL_NOMEM : SHOAL_OK;
    while (reading->status == SHOAL_OK && count > 0) {
        const struct column *columns = NULL;
        uint64_t first = 0;
        reading->status =
            block_source.next(reader, &columns, &first, &count, &reading->err);
        for (uint64_t r = first; reading->status == SHOAL_OK && r < first + count; r++) {
            uint64_t hash = 14695981039346656037u;
            for (size_t c = 0; c < EXAMPLE_COLUMNS; c++)
                hash = hash_row(&columns[c], r, hash);
            reading->seen.rows++;
            reading->seen.sum += hash;
            reading->seen.order = mix(reading->seen.order, &hash, sizeof hash);
        }
    }
    if (reader != NULL) block_source.end(reader);
    reading->over = true;
    return NULL;
}

struct input_of {
    char names[400][256];
    struct block_segment segments[400];
    size_t count;
    struct block_read how;
};

static void add_segment(struct input_of *input, const char *name, uint32_t first,
                        uint32_t last) {
    assert_true(input->count < 400);
    (void)snprintf(input->names[input->count], 256, "%s", name);
    input->segments[input->count] =
        (struct block_segment){input->names[input->count], first, last};
    input->count++;
}

static shoal_status read_input(const char *key, const struct input_of *input,
                               size_t threads, struct seen *seen,
                               struct shoal_error *err) {
    struct reading readings[8];
    pthread_t ids[8];
    uint64_t rows = 0;
    *seen = (struct seen){0};
    assert_int_equal(
        block_bind_input(key, 0, input->segments, input->count, &input->how, err),
        SHOAL_OK);
    void *source =
        block_source.open(key, 0, example_shapes(), EXAMPLE_COLUMNS, &rows, err);
    if (source == NULL) return err->status;
    for (size_t i = 0; i < threads; i++) {
        readings[i] = (struct reading){.key = key, .source = source};
        assert_int_equal(pthread_create(&ids[i], NULL, read_all, &readings[i]), 0);
    }
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < threads; i++) {
        assert_int_equal(pthread_join(ids[i], NULL), 0);
        seen->rows += readings[i].seen.rows;
        seen->sum += readings[i].seen.sum;
        seen->order = readings[i].seen.order;
        if (readings[i].status == SHOAL_OK) continue;
        status = readings[i].status;
        *err = readings[i].err;
    }
    block_source.close(source);
    if (status == SHOAL_OK) assert_int_equal(seen->rows, rows);
    return status;
}

static void read_well(const struct input_of *input, size_t threads, struct seen *seen) {
    struct shoal_error err;
    if (read_input("well", input, threads, seen, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    block_release_inputs("well");
}

// The same files by their paths.
static void read_here(const struct input_of *input, struct seen *seen) {
    static struct input_of here;
    here = (struct input_of){.how = input->how};
    for (size_t i = 0; i < input->count; i++) {
        char path[256];
        uint32_t node = 0;
        assert_true(places_writer(input->names[i], &node));
        (void)snprintf(path, sizeof path, "%s%s", nodes[node],
                       input->names[i] + sizeof LOGICAL - 1);
        add_segment(&here, path, input->segments[i].first, input->segments[i].last);
    }
    // Writers that are served are asked only for what is not here.
    read_well(&here, 1, seen);
}

static void is_lost(const char *key, const char *name) {
    char *lost = block_take_lost(key);
    if (name == NULL) assert_null(lost);
    if (name != NULL) assert_string_equal(lost, name);
    free(lost);
    block_release_inputs(key);
}

typedef int (*fault_function)(enum fault_point point, const char *path);
static _Atomic(fault_function) count_hook;
static atomic_int server_reads, connects;

static int count(enum fault_point point, const char *path) {
    if (point == FAULT_SERVER_READ) server_reads++;
    if (point == FAULT_REMOTE_CONNECT) connects++;
    fault_function hook = count_hook;
    return hook == NULL ? 0 : hook(point, path);
}

static int set_up(void **state) {
    (void)state;
    for (int i = 0; i < NODES; i++) {
        (void)snprintf(nodes[i], sizeof nodes[i], "/tmp/shoal_remote_XXXXXX");
        if (mkdtemp(nodes[i]) == NULL) return -1;
    }
    count_hook = NULL;
    fault_hook = count;
    remote_open(secret, &quick);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    remote_close();
    fault_hook = NULL;
    places_forget();
    for (int i = 0; i < NODES; i++) spool_remove_tree(nodes[i]);
    return 0;
}

// ---- what comes back

static void all_layouts_come_as_they_do_here(void **state) {
    (void)state;
    static struct input_of input;
    struct block_server *server = start(0, 0);
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
        servers[node] = start(node, 0);
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
    struct block_server *server = start(0, 0);
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
    struct block_server *server = start(0, 0);
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

// ---- what goes wrong

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
    struct block_server *server = start(0, 0);
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
                remote_open(secret, &quick);
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
    struct block_server *server = start(0, 0);
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
        remote_open(secret, &quick);
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
    struct block_server *server = start(0, 0);
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
    struct block_server *empty = start(1, 0);
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
        running = start(0, running_port);
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
    remote_open(secret, &patient);
    running = start(0, 0);
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
    struct block_server *server = start(0, 0);
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
    struct block_server *server = start(0, 0);
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
    struct block_server *server = start(0, 0);
    struct shoal_error err;
    uint64_t rows;
    char name[256];
    pthread_t thread;
    remote_open(secret, &patient);
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
    struct block_server *server = start(0, 0);
    struct shoal_error err;
    struct listener silent;
    struct seen here, there;
    char name[256];
    assert_int_equal(net_listen("127.0.0.1", 0, 0, &silent, &err), SHOAL_OK);
    static const struct remote_patience short_one = {0.1, 0.1, 0.01, 2, 0.2};
    remote_open(secret, &short_one);
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

// ---- who may read what

static void who_knows_no_secret_gets_nothing(void **state) {
    (void)state;
    static const uint8_t wrong[PROOF_SECRET] = {9};
    static struct input_of input;
    struct block_server *server = start(0, 0);
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
    remote_open(wrong, &quick);
    server_reads = 0;
    assert_int_equal(read_input("wrong", &input, 1, &seen, &err), SHOAL_IO);
    assert_non_null(strstr(err.message, "secret"));
    assert_int_equal(server_reads, 0);
    is_lost("wrong", NULL);  // nothing is known of the file
    remote_close();
    remote_open(secret, &quick);
    read_well(&input, 1, &seen);
    block_server_stop(server);
}

// One that answers the server's proof with a wrong one of its own, and asks at once.
static void a_reader_must_prove_itself(void **state) {
    (void)state;
    struct block_server *server = start(0, 0);
    struct shoal_error err;
    static const uint8_t wrong[PROOF_SECRET] = {9};
    for (int way = 0; way < 3; way++) {
        struct channel *channel = NULL;
        uint8_t bytes[64 + 16];
        struct wire_request request;
        assert_int_equal(
            channel_connect(block_server_address(server), secret, 5, &channel, &err),
            SHOAL_OK);
        memset(bytes, 'a', sizeof bytes);
        if (way == 0) {  // no hello
            assert_int_equal(channel_write(channel, bytes, sizeof bytes, &err), SHOAL_OK);
        } else if (way == 1) {  // a wrong proof, which the server's tells
            assert_int_equal(wire_greet(channel, wrong, &err), SHOAL_CORRUPT);
            assert_int_equal(channel_write(channel, bytes, 64, &err), SHOAL_OK);
        } else {  // what proves the server proves no reader
            assert_int_equal(wire_greet(channel, secret, &err), SHOAL_OK);
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
        channel_connect(block_server_address(server), secret, 5, &channel, &err),
        SHOAL_OK);
    assert_int_equal(wire_greet(channel, secret, &err), SHOAL_OK);
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
    struct block_server *server = start(0, 0);
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
    struct block_server *server = start(0, 0);
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
                                     .secret = secret,
                                     .folders = &folder,
                                     .folder_count = 1,
                                     .connections = 2};
    struct block_server *server = NULL;
    make_file(nodes[0], "file", "0123456789");
    assert_int_equal(block_server_start(&options, &server, &err), SHOAL_OK);
    struct channel *one = connect_well(server), *two = connect_well(server), *three;
    assert_int_equal(
        channel_connect(block_server_address(server), secret, 0.2, &three, &err),
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
    struct block_server *server = start(0, 0), *other = NULL;
    struct server_folder second = {LOGICAL, nodes[1]}, wrong = {"relative", nodes[1]};
    make_file(nodes[1], "file", "0123456789");
    struct channel *channel = connect_well(server);
    assert_int_equal(ask_for(channel, WIRE_READ, LOGICAL "/file", 0, 10).error, ENOENT);
    assert_int_equal(block_server_add(server, &second, &err), SHOAL_OK);
    assert_int_equal(block_server_add(server, &wrong, &err), SHOAL_USAGE);
    assert_int_equal(ask_for(channel, WIRE_READ, LOGICAL "/file", 0, 10).outcome,
                     WIRE_DONE);
    uint16_t port = port_of(block_server_address(server));
    struct server_options taken = {
        .host = "127.0.0.1", .first_port = port, .last_port = port, .secret = secret};
    assert_int_equal(block_server_start(&taken, &other, &err), SHOAL_IO);
    channel_free(channel);
    block_server_stop(server);
}

// ---- all of it encrypted

static void over_tls_it_is_the_same(void **state) {
    static void (*const tests[])(void **state) = {
        all_layouts_come_as_they_do_here, many_files_come_from_many_nodes,
        large_chunks_and_whole_files_come, who_knows_no_secret_gets_nothing,
        only_files_below_its_folders_are_served};
    assert_int_equal(setenv("SHOAL_TLS", "always", 1), 0);
    for (size_t t = 0; t < sizeof tests / sizeof *tests; t++) {
        tests[t](state);
        for (int i = 0; i < NODES; i++) {
            spool_remove_tree(nodes[i]);
            assert_int_equal(mkdir(nodes[i], 0700), 0);
        }
    }
    assert_int_equal(unsetenv("SHOAL_TLS"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

// A server in a process of its own, which tells its address.
static void serve(const char *folder, int to) {
    (void)snprintf(nodes[0], sizeof nodes[0], "%s", folder);
    struct block_server *server = start(0, 0);
    (void)!write(to, block_server_address(server), NET_ADDRESS);
    for (;;) pause();
}

int main(int argc, char **argv) {
    if (argc == 4) serve(argv[2], (int)strtol(argv[3], NULL, 10));
    const struct CMUnitTest tests[] = {
        TEST(all_layouts_come_as_they_do_here),
        TEST(many_files_come_from_many_nodes),
        TEST(large_chunks_and_whole_files_come),
        TEST(a_slow_reader_bounds_what_comes),
        TEST(faults_on_the_way_are_got_over),
        TEST(what_fails_again_and_again_is_lost),
        TEST(another_worker_of_the_node_serves_too),
        TEST(a_server_that_comes_back_is_read_on),
        TEST(a_killed_server_is_replaced_by_another),
        TEST(damage_on_the_server_is_found),
        TEST(who_waits_can_be_interrupted),
        TEST(a_silent_server_is_given_up),
        TEST(who_knows_no_secret_gets_nothing),
        TEST(a_reader_must_prove_itself),
        TEST(only_files_below_its_folders_are_served),
        TEST(removed_files_give_up_their_space),
        TEST(connections_are_bounded),
        TEST(folders_can_be_added),
        TEST(over_tls_it_is_the_same),
    };
    return cmocka_run_group_tests_name("remote", tests, NULL, NULL);
}
