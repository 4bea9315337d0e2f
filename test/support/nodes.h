// Nodes of a run: a folder here and a server for each, and files in them by names that
// are nowhere here. For tests of what is read from another node.
#ifndef SHOAL_TEST_NODES_H
#define SHOAL_TEST_NODES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/io.h"
#include "base/proof.h"
#include "base/status.h"
#include "block/block.h"
#include "block/remote.h"
#include "block/server.h"
#include "net/address.h"
#include "support/harness.h"

#define LOGICAL "/nowhere/shoal-spool"
#define NODES 3
#define ROWS 240

extern char nodes[NODES][64];  // a folder of each node
extern const uint8_t nodes_secret[PROOF_SECRET];
extern const struct remote_patience nodes_patience;

// Of a test: folders without servers, and none of them left.
int set_up_nodes(void **state);
int tear_down_nodes(void **state);
#define NODES_TEST(name) \
    cmocka_unit_test_setup_teardown(name, set_up_nodes, tear_down_nodes)
// Runs the tests with all connections encrypted, each over folders that are empty.
void run_over_tls(const CMUnitTestFunction *tests, size_t count, void **state);

// Of all tests so far: chunks that servers read, connections that readers made.
extern atomic_int server_reads, connects;
// Fails what it says of the file calls; NULL: none.
typedef int (*fault_function)(enum fault_point point, const char *path);
extern _Atomic(fault_function) count_hook;

void nap(void);
struct block_server *start_server(int node, uint16_t port);
uint16_t port_of(const char *address);
void serve_at(uint32_t writer, const char *first, const char *second);
// An address where nobody is.
void dead_address(char address[NET_ADDRESS]);
// Writes a file of the node, chunks of ROWS rows each, partition p has p % 3 of them; its
// writer's number is the node's.
void write_file(int node, unsigned task, unsigned partitions, bool compress,
                unsigned chunks);
void name_file(int node, unsigned task, char name[256]);
void path_file(int node, unsigned task, char path[256]);

// All bytes of what a source gives, in its order or in any: a sum of what each row has.
struct seen {
    uint64_t rows, sum, order;
};

struct reading {
    const char *key;
    void *source;
    struct seen seen;
    shoal_status status;
    struct shoal_error err;
    atomic_bool over;
};

struct input_of {
    char names[400][256];
    struct block_segment segments[400];
    size_t count;
    struct block_read how;
};

// A thread's: reads what *argument, a struct reading, says.
void *read_all(void *argument);
void add_segment(struct input_of *input, const char *name, uint32_t first, uint32_t last);
shoal_status read_input(const char *key, const struct input_of *input, size_t threads,
                        struct seen *seen, struct shoal_error *err);
void read_well(const struct input_of *input, size_t threads, struct seen *seen);
// The same files by their paths.
void read_here(const struct input_of *input, struct seen *seen);
// The input's lost file is this one; NULL: none is.
void is_lost(const char *key, const char *name);

#endif
