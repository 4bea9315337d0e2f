// Block files read here and from a block server over loopback, in another process: GB of
// the files for each second, and for each second that both processes' cores worked. No
// DuckDB: chunks are fetched, checked and taken apart.
//
//     remote_bench [FOLDER] [GIB]    FOLDER: /dev/shm; GIB: of the files together, 1
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "block/format.h"
#include "block/places.h"
#include "block/registry.h"
#include "block/server.h"
#include "net/address.h"

#define FILES 16
#define PARTITIONS 64
#define ROWS 8192
#define COLUMNS 4
#define LOGICAL "/bench"

static const uint8_t secret[PROOF_SECRET] = {1};

static void die(const char *what) {
    fprintf(stderr, "remote_bench: %s\n", what);
    exit(1);
}

// Random values, which no packing makes smaller.
static void write_file(const char *path, uint64_t bytes) {
    static const struct column shapes[COLUMNS] = {{.layout = COLUMN_FIXED, .width = 8},
                                                  {.layout = COLUMN_FIXED, .width = 8},
                                                  {.layout = COLUMN_FIXED, .width = 8},
                                                  {.layout = COLUMN_FIXED, .width = 8}};
    static uint64_t values[ROWS];
    static uint32_t picked[ROWS];
    struct shoal_error err;
    struct block_writer *writer = NULL;
    struct block_output_file learned = {0};
    struct block_output files;
    uint64_t random = 88172645463325252u;
    for (uint32_t r = 0; r < ROWS; r++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        values[r] = random;
        picked[r] = r;
    }
    if (block_bind_output(path, NULL, PARTITIONS, BLOCK_WHOLE, NULL, &err) != SHOAL_OK ||
        block_writer_open(registry_output(path), path, shapes, COLUMNS, &writer, &err) !=
            SHOAL_OK)
        die(err.message);
    for (uint64_t done = 0; done < bytes; done += sizeof values * COLUMNS) {
        uint32_t p = (uint32_t)(done / (sizeof values * COLUMNS) % PARTITIONS);
        struct column *columns = block_writer_columns(writer, p);
        for (size_t c = 0; c < COLUMNS; c++) {
            if (!column_add_fixed(&columns[c], values, picked, ROWS)) die("no memory");
            columns[c].rows += ROWS;
        }
        block_writer_added(writer, p, ROWS);
        if (block_writer_settle(writer, &err) != SHOAL_OK) die(err.message);
    }
    if (block_writer_finish(writer, &learned, &err) != SHOAL_OK) die(err.message);
    block_writer_close(writer);
    block_take_output(path, &files);
    block_output_free(&files);
}

static double seconds_of(int who) {
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void read_files(const char *folder) {
    static const struct column shapes[COLUMNS] = {{.layout = COLUMN_FIXED, .width = 8},
                                                  {.layout = COLUMN_FIXED, .width = 8},
                                                  {.layout = COLUMN_FIXED, .width = 8},
                                                  {.layout = COLUMN_FIXED, .width = 8}};
    struct block_segment segments[FILES];
    char paths[FILES][256];
    struct shoal_error err;
    uint64_t rows, first;
    size_t count = 1;
    for (int f = 0; f < FILES; f++) {
        (void)snprintf(paths[f], sizeof paths[f], "%s/s0.t%d.a0.w%d", folder, f, f % 4);
        segments[f] = (struct block_segment){paths[f], 0, BLOCK_LAST};
    }
    if (block_bind_input("bench", 0, segments, FILES, &(struct block_read){0}, &err) !=
        SHOAL_OK)
        die(err.message);
    void *source = block_source.open("bench", 0, shapes, COLUMNS, &rows, &err);
    void *reader = source == NULL ? NULL : block_source.begin(source);
    if (reader == NULL) die(err.message);
    while (count > 0) {
        const struct column *columns;
        if (block_source.next(reader, &columns, &first, &count, &err) != SHOAL_OK)
            die(err.message);
    }
    block_source.end(reader);
    block_source.close(source);
    block_release_inputs("bench");
}

static void report(const char *what, double bytes, double wall, double cpu) {
    printf("%-28s %5.2f GB/s, %5.2f GB for each second of a core\n", what,
           bytes / wall * 1e-9, bytes / cpu * 1e-9);
    fflush(stdout);
}

static void run_here(const char *folder, double bytes) {
    double start = clock_seconds(), cpu = seconds_of(RUSAGE_SELF);
    read_files(folder);
    report("here", bytes, clock_seconds() - start, seconds_of(RUSAGE_SELF) - cpu);
}

static void ended(int number) {
    (void)number;
    _exit(0);
}

static void serve(const char *folder, int to) {
    struct shoal_error err;
    struct block_server *server = NULL;
    struct server_folder below = {LOGICAL, folder};
    struct server_options options = {
        .host = "127.0.0.1", .secret = secret, .folders = &below, .folder_count = 1};
    if (block_server_start(&options, &server, &err) != SHOAL_OK) die(err.message);
    signal(SIGTERM, ended);
    if (write(to, block_server_address(server), NET_ADDRESS) < 0) die("a pipe");
    for (;;) pause();
}

static void run_there(const char *what, const char *folder, double bytes) {
    struct shoal_error err;
    char address[NET_ADDRESS];
    int told[2];
    if (pipe(told) != 0) die("a pipe");
    double children = seconds_of(RUSAGE_CHILDREN);
    pid_t child = fork();
    if (child == 0) serve(folder, told[1]);
    if (read(told[0], address, sizeof address) != sizeof address) die("no server");
    remote_open(secret, NULL);
    const char *const list[] = {address};
    for (uint32_t writer = 0; writer < 4; writer++) {
        if (places_served(writer, list, 1, &err) != SHOAL_OK) die(err.message);
    }
    double start = clock_seconds(), cpu = seconds_of(RUSAGE_SELF);
    read_files(LOGICAL);
    double wall = clock_seconds() - start;
    cpu = seconds_of(RUSAGE_SELF) - cpu;
    remote_close();
    places_forget();
    kill(child, SIGTERM);
    waitpid(child, NULL, 0);
    report(what, bytes, wall, cpu + seconds_of(RUSAGE_CHILDREN) - children);
    close(told[0]);
    close(told[1]);
}

int main(int argc, char **argv) {
    const char *parent = argc > 1 ? argv[1] : "/dev/shm";
    double gib = argc > 2 ? strtod(argv[2], NULL) : 1;
    char folder[200], path[256];
    double bytes = 0;
    (void)snprintf(folder, sizeof folder, "%s/remote_bench.XXXXXX", parent);
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);  // as a worker has it
    (void)mallopt(M_TRIM_THRESHOLD, 64 << 20);
    if (mkdtemp(folder) == NULL) die("cannot make a folder");
    for (int f = 0; f < FILES; f++) {
        struct stat is;
        (void)snprintf(path, sizeof path, "%s/s0.t%d.a0.w%d", folder, f, f % 4);
        write_file(path, (uint64_t)(gib * (1u << 30) / FILES));
        if (stat(path, &is) == 0) bytes += (double)is.st_size;
    }
    for (int round = 0; round < 3; round++) {
        run_here(folder, bytes);
        run_there("there, plain", folder, bytes);
        (void)setenv("SHOAL_TLS", "always", 1);
        run_there("there, TLS", folder, bytes);
        (void)unsetenv("SHOAL_TLS");
    }
    for (int f = 0; f < FILES; f++) {
        (void)snprintf(path, sizeof path, "%s/s0.t%d.a0.w%d", folder, f, f % 4);
        unlink(path);
    }
    return rmdir(folder);
}
