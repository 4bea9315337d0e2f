#include "support/nodes.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/spool.h"
#include "block/format.h"
#include "block/places.h"
#include "block/registry.h"
#include "block/server.h"
#include "net/listener.h"
#include "support/examples.h"
#include "support/harness.h"

char nodes[NODES][64];
const uint8_t nodes_secret[PROOF_SECRET] = {1, 2, 3};
const struct remote_patience nodes_patience = {2, 1, 0.01, 3, 0.2};

void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

// ---- nodes

struct block_server *start_server(int node, uint16_t port) {
    struct shoal_error err;
    struct block_server *server = NULL;
    struct server_folder folder = {LOGICAL, nodes[node]};
    struct server_options options = {.host = "127.0.0.1",
                                     .first_port = port,
                                     .last_port = port,
                                     .secret = nodes_secret,
                                     .folders = &folder,
                                     .folder_count = 1};
    if (block_server_start(&options, &server, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    return server;
}

uint16_t port_of(const char *address) {
    return (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

void serve_at(uint32_t writer, const char *first, const char *second) {
    struct shoal_error err;
    const char *const addresses[] = {first, second};
    size_t count = first == NULL ? 0 : second == NULL ? 1 : 2;
    assert_int_equal(places_served(writer, addresses, count, &err), SHOAL_OK);
}

void dead_address(char address[NET_ADDRESS]) {
    struct shoal_error err;
    struct listener listener;
    assert_int_equal(net_listen("127.0.0.1", 0, 0, &listener, &err), SHOAL_OK);
    memcpy(address, listener.address, NET_ADDRESS);
    listener_close(&listener);
}

void write_file(int node, unsigned task, unsigned partitions, bool compress,
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

void name_file(int node, unsigned task, char name[256]) {
    (void)snprintf(name, 256, "%s/s0.t%u.a0.w%d", LOGICAL, task, node);
}

void path_file(int node, unsigned task, char path[256]) {
    (void)snprintf(path, 256, "%s/s0.t%u.a0.w%d", nodes[node], task, node);
}

// ---- readers

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
                hash = mix(hash, &column->packing.shift, sizeof column->packing.shift);
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

void *read_all(void *argument) {
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

void add_segment(struct input_of *input, const char *name, uint32_t first,
                 uint32_t last) {
    assert_true(input->count < 400);
    (void)snprintf(input->names[input->count], 256, "%s", name);
    input->segments[input->count] =
        (struct block_segment){input->names[input->count], first, last};
    input->count++;
}

shoal_status read_input(const char *key, const struct input_of *input, size_t threads,
                        struct seen *seen, struct shoal_error *err) {
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

void read_well(const struct input_of *input, size_t threads, struct seen *seen) {
    struct shoal_error err;
    if (read_input("well", input, threads, seen, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    block_release_inputs("well");
}

void read_here(const struct input_of *input, struct seen *seen) {
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

void is_lost(const char *key, const char *name) {
    char *lost = block_take_lost(key);
    if (name == NULL) assert_null(lost);
    if (name != NULL) assert_string_equal(lost, name);
    free(lost);
    block_release_inputs(key);
}

_Atomic(fault_function) count_hook;
atomic_int server_reads, connects;

static int count_and_fail(enum fault_point point, const char *path) {
    if (point == FAULT_SERVER_READ) server_reads++;
    if (point == FAULT_REMOTE_CONNECT) connects++;
    fault_function hook = count_hook;
    return hook == NULL ? 0 : hook(point, path);
}

int set_up_nodes(void **state) {
    (void)state;
    for (int i = 0; i < NODES; i++) {
        (void)snprintf(nodes[i], sizeof nodes[i], "/tmp/shoal_remote_XXXXXX");
        if (mkdtemp(nodes[i]) == NULL) return -1;
    }
    count_hook = NULL;
    fault_hook = count_and_fail;
    remote_open(nodes_secret, &nodes_patience);
    return 0;
}

int tear_down_nodes(void **state) {
    (void)state;
    remote_close();
    fault_hook = NULL;
    places_forget();
    for (int i = 0; i < NODES; i++) spool_remove_tree(nodes[i]);
    return 0;
}

void run_over_tls(const CMUnitTestFunction *tests, size_t count, void **state) {
    assert_int_equal(setenv("SHOAL_TLS", "always", 1), 0);
    for (size_t t = 0; t < count; t++) {
        tests[t](state);
        for (int i = 0; i < NODES; i++) {
            spool_remove_tree(nodes[i]);
            assert_int_equal(mkdir(nodes[i], 0700), 0);
        }
    }
    assert_int_equal(unsetenv("SHOAL_TLS"), 0);
}
