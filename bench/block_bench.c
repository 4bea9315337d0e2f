// Scatter, write and read of block files, without DuckDB's own work: GB/s and ns a value
// on one thread, each beside a memcpy of the same bytes in the same run; to a new file,
// and to a spare one, as a session's queries have them after the first. Then what the
// sketch of the keys costs the scatter.
//
//     block_bench [FOLDER] [GIB] [sketch|print]   FOLDER: /dev/shm; GIB: what each case
//                                             moves, 1; sketch: only the last comparison;
//                                             print: what the rows' fingerprint costs
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "block/format.h"
#include "block/registry.h"
#include "duck/internal.h"
#include "duck/vector.h"

#define ROWS 2048
// Chunks are made beforehand, and sent again and again: so few stay in a core's own
// cache, where a pipeline has just written the chunk that it hands on.
#define CHUNKS 8

struct rows {
    duckdb_data_chunk chunks[CHUNKS];
    struct column shapes[8];
    size_t columns;
    size_t row_bytes;
};

struct times {
    double wall, kernel;
};

static struct times times_now(void) {
    struct timespec now;
    struct rusage usage;
    clock_gettime(CLOCK_MONOTONIC, &now);
    getrusage(RUSAGE_SELF, &usage);
    return (struct times){
        (double)now.tv_sec + (double)now.tv_nsec * 1e-9,
        (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6};
}

static struct times since(struct times start) {
    struct times now = times_now();
    return (struct times){now.wall - start.wall, now.kernel - start.kernel};
}

static void die(const struct shoal_error *err) {
    fprintf(stderr, "block_bench: %s\n", err->message);
    exit(1);
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

// A hash column, then columns of 8 bytes or of strings of 20 bytes.
static void make_rows(struct rows *input, size_t columns, bool strings) {
    struct shoal_error err;
    duckdb_logical_type types[8];
    uint64_t random = 88172645463325252u;
    *input = (struct rows){.columns = columns,
                           .row_bytes = (columns - 1) * (strings ? 20 : 8)};
    for (size_t c = 0; c < columns; c++) {
        types[c] = duckdb_create_logical_type(c == 0    ? DUCKDB_TYPE_UBIGINT
                                              : strings ? DUCKDB_TYPE_VARCHAR
                                                        : DUCKDB_TYPE_BIGINT);
        if (vector_shape(types[c], &input->shapes[c], &err) != SHOAL_OK) die(&err);
    }
    for (size_t k = 0; k < CHUNKS; k++) {
        input->chunks[k] = duckdb_create_data_chunk(types, columns);
        duckdb_data_chunk_set_size(input->chunks[k], ROWS);
        for (size_t c = 0; c < columns; c++) {
            duckdb_vector vector = duckdb_data_chunk_get_vector(input->chunks[k], c);
            uint64_t *values = duckdb_vector_get_data(vector);
            for (size_t r = 0; r < ROWS; r++) {
                uint64_t value = next_random(&random);
                char text[21];
                if (c == 0 || !strings) {
                    values[r] = value;
                    continue;
                }
                (void)snprintf(text, sizeof text, "%020llu", (unsigned long long)value);
                duckdb_vector_assign_string_element_len(vector, r, text, 20);
            }
        }
    }
    for (size_t c = 0; c < columns; c++) duckdb_destroy_logical_type(&types[c]);
}

static void free_rows(struct rows *input) {
    for (size_t k = 0; k < CHUNKS; k++) duckdb_destroy_data_chunk(&input->chunks[k]);
    for (size_t c = 0; c < input->columns; c++) column_free(&input->shapes[c]);
}

static double copy_seconds(size_t bytes) {
    size_t piece = 16u << 20;
    uint8_t *from = malloc(piece), *to = malloc(piece);
    if (from == NULL || to == NULL) exit(1);
    memset(from, 1, piece);
    memset(to, 2, piece);
    struct times start = times_now();
    for (size_t done = 0; done < bytes; done += piece) {
        memcpy(to, from, piece);
        __asm__ volatile("" ::"r"(to) : "memory");
    }
    double took = since(start).wall;
    free(from);
    free(to);
    return took;
}

static void report(const char *what, size_t bytes, size_t values, struct times times) {
    double took = times.wall;
    double copy = copy_seconds(bytes);
    printf(
        "%-49s %5.2f GB/s %6.2f ns a value (kernel %5.2f)   memcpy %5.2f GB/s, %5.1fx "
        "its time\n",
        what, (double)bytes / took * 1e-9, took / (double)values * 1e9,
        times.kernel / (double)values * 1e9, (double)bytes / copy * 1e-9, took / copy);
    fflush(stdout);
}

// To storage's memory_path, or to path; the files come back.
static struct times scatter(const struct rows *input, const char *path,
                            const struct block_storage *storage, uint32_t partitions,
                            size_t rounds, struct block_output *files) {
    struct shoal_error err;
    if (block_bind_output(path, storage, partitions, BLOCK_HASH, NULL, &err) != SHOAL_OK)
        die(&err);
    void *sink = block_sink.open(path, input->shapes, input->columns, &err);
    if (sink == NULL) die(&err);
    struct times start = times_now();
    for (size_t i = 0; i < rounds; i++) {
        struct duck_chunk chunk = {input->chunks[i % CHUNKS], ROWS, 0};
        if (block_sink.append(sink, &chunk, &err) != SHOAL_OK) die(&err);
    }
    if (block_sink.finish(sink, &err) != SHOAL_OK) die(&err);
    struct times took = since(start);
    block_sink.close(sink);
    block_take_output(path, files);
    return took;
}

static void keep_spares(const struct block_storage *storage, struct block_output *files) {
    for (size_t i = 0; i < files->count; i++) {
        char spare[4096 + 32];
        (void)snprintf(spare, sizeof spare, BLOCK_SPARE, storage->memory_path,
                       (unsigned)i);
        if (rename(files->files[i].path, spare) != 0) exit(1);
    }
    block_output_free(files);
}

static void run(const char *folder, size_t bytes, uint32_t partitions, bool strings,
                bool compress) {
    struct shoal_error err;
    struct rows input;
    struct block_output files;
    char path[4096];
    char what[80];
    make_rows(&input, strings ? 2 : 5, strings);
    (void)snprintf(path, sizeof path, "%s/block_bench.%d", folder, (int)getpid());
    size_t rounds = bytes / (input.row_bytes * ROWS);
    size_t values = rounds * ROWS * (input.columns - 1);
    size_t moved = rounds * ROWS * input.row_bytes;
    // Files in memory are not compressed.
    struct block_storage storage = {.compress = compress,
                                    .memory_path = compress ? NULL : path,
                                    .memory_bytes = SIZE_MAX};
    const char *kind = compress  ? "strings of 20 bytes, LZ4"
                       : strings ? "strings of 20 bytes"
                                 : "4 columns of 8 bytes";
    struct times took = scatter(&input, path, &storage, partitions, rounds, &files);
    (void)snprintf(what, sizeof what, "scatter %s, %u parts, new", kind, partitions);
    report(what, moved, values, took);
    if (!compress) {
        keep_spares(&storage, &files);
        took = scatter(&input, path, &storage, partitions, rounds, &files);
        (void)snprintf(what, sizeof what, "scatter %s, %u parts, spare", kind,
                       partitions);
        report(what, moved, values, took);
    }

    struct block_segment *segments = calloc(files.count + 1, sizeof *segments);
    if (segments == NULL) exit(1);
    for (size_t i = 0; i < files.count; i++)
        segments[i] = (struct block_segment){files.files[i].path, 0, BLOCK_LAST};
    if (block_bind_input("bench", 0, segments, files.count, &(struct block_read){0},
                         &err) != SHOAL_OK)
        die(&err);
    uint64_t rows = 0;
    void *source =
        block_source.open("bench", 0, input.shapes + 1, input.columns - 1, &rows, &err);
    void *reader = source == NULL ? NULL : block_source.begin(source);
    if (reader == NULL) die(&err);
    duckdb_data_chunk out =
        duckdb_data_chunk_get_size(input.chunks[0]) ? input.chunks[0] : NULL;
    struct times start = times_now();
    for (;;) {
        const struct column *columns = NULL;
        uint64_t first = 0;
        size_t count = 0;
        if (block_source.next(reader, &columns, &first, &count, &err) != SHOAL_OK)
            die(&err);
        if (count == 0) break;
        for (size_t c = 1; c < input.columns; c++) {
            if (!vector_fill(duckdb_data_chunk_get_vector(out, c), &columns[c - 1], first,
                             count))
                exit(1);
        }
        if (strings) duckdb_data_chunk_reset(out);
    }
    took = since(start);
    (void)snprintf(what, sizeof what, "read    %s, %u parts", kind, partitions);
    report(what, moved, values, took);
    block_source.end(reader);
    block_source.close(source);
    block_release_inputs("bench");
    for (size_t i = 0; i < files.count; i++) unlink(files.files[i].path);
    free(segments);
    block_output_free(&files);
    free_rows(&input);
}

// ---- the scatter with and without its sketch of the keys

// Both are fed in turn, so that what else the machine does is felt by both alike.
#define PIECES 240
#define PIECES_IN_FILE 24
#define PIECE_CHUNKS 128

// Of `keys` distinct ones, all alike frequent or, hot, the first in half of the rows.
static void make_keys(struct rows *input, uint64_t keys, bool hot) {
    uint64_t random = 3;
    for (size_t k = 0; k < CHUNKS && keys > 0; k++) {
        uint64_t *hashes =
            duckdb_vector_get_data(duckdb_data_chunk_get_vector(input->chunks[k], 0));
        for (size_t r = 0; r < ROWS; r++) {
            uint64_t drawn = next_random(&random);
            uint64_t key = hot && drawn >> 63 ? 0 : (drawn >> 20) % keys;
            hashes[r] = block_remix(key + 1);
        }
    }
}

static double cpu_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, by_size);
    return values[count / 2];
}

struct side {
    char path[4096];
    void *sink;
};

// What is compared: the sketch of the keys, or the fingerprint of the rows.
static bool prints;

static void open_side(struct side *side, const char *folder, const struct rows *input,
                      uint32_t partitions, bool blind) {
    struct shoal_error err;
    (void)snprintf(side->path, sizeof side->path, "%s/block_bench.%d.%d", folder,
                   (int)getpid(), blind);
    if (block_bind_output(side->path, NULL, partitions, BLOCK_HASH, NULL, &err) !=
        SHOAL_OK)
        die(&err);
    registry_output(side->path)->blind = blind && !prints;
    registry_output(side->path)->print = !blind && prints;
    side->sink = block_sink.open(side->path, input->shapes, input->columns, &err);
    if (side->sink == NULL) die(&err);
}

static double feed_side(struct side *side, const struct rows *input) {
    struct shoal_error err;
    double start = cpu_now();
    for (size_t i = 0; i < PIECE_CHUNKS; i++) {
        struct duck_chunk chunk = {input->chunks[i % CHUNKS], ROWS, 0};
        if (block_sink.append(side->sink, &chunk, &err) != SHOAL_OK) die(&err);
    }
    return cpu_now() - start;
}

static void close_side(struct side *side) {
    struct shoal_error err;
    struct block_output files;
    if (block_sink.finish(side->sink, &err) != SHOAL_OK) die(&err);
    block_sink.close(side->sink);
    block_take_output(side->path, &files);
    for (size_t i = 0; i < files.count; i++) unlink(files.files[i].path);
    block_output_free(&files);
}

static void compare(const char *folder, uint32_t partitions, uint64_t keys, bool hot) {
    struct rows input;
    struct side sides[2];  // with, without
    double times[2][PIECES], more[PIECES];
    char what[80];
    make_rows(&input, 5, false);
    make_keys(&input, keys, hot);
    for (size_t i = 0; i < PIECES; i++) {
        for (int blind = 0; blind < 2 && i % PIECES_IN_FILE == 0; blind++) {
            if (i > 0) close_side(&sides[blind]);
            open_side(&sides[blind], folder, &input, partitions, blind);
        }
        for (size_t k = 0; k < 2; k++) {
            size_t blind = k ^ i % 2;
            times[blind][i] = feed_side(&sides[blind], &input);
        }
        more[i] = times[0][i] / times[1][i];
    }
    for (int blind = 0; blind < 2; blind++) close_side(&sides[blind]);
    if (keys == 0) {
        (void)snprintf(what, sizeof what, "all keys differ");
    } else {
        (void)snprintf(what, sizeof what, "%llu keys%s", (unsigned long long)keys,
                       hot ? ", one has half the rows" : "");
    }
    double rows = (double)PIECE_CHUNKS * ROWS;
    printf("%s  4 columns, %u parts, %-34s %5.2f ns a row, without %5.2f: %+.1f%%\n",
           prints ? "print " : "sketch", partitions, what,
           median(times[0], PIECES) / rows * 1e9, median(times[1], PIECES) / rows * 1e9,
           100 * (median(more, PIECES) - 1));
    fflush(stdout);
    free_rows(&input);
}

static void compare_all(const char *folder) {
    static const uint64_t keys[] = {0, 10, 500, 5000, 100000};
    for (uint32_t partitions = 16; partitions <= 128; partitions += 112) {
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            compare(folder, partitions, keys[k], false);
        compare(folder, partitions, 100000, true);
    }
}

int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : "/dev/shm";
    int only = argc > 3 ? atoi(argv[3]) : -1;
    double gib = argc > 2 ? strtod(argv[2], NULL) : 1;
    size_t bytes = (size_t)(gib * (1u << 30));
    prints = argc > 3 && strcmp(argv[3], "print") == 0;
    if (argc > 3 && (prints || strcmp(argv[3], "sketch") == 0)) {
        compare_all(folder);
        return 0;
    }
    for (int strings = 0; strings < 2; strings++) {
        if (only >= 0 && only / 10000 != strings) continue;
        if (only >= 0) {
            run(folder, bytes, (uint32_t)(only % 10000), strings, false);
            continue;
        }
        run(folder, bytes, 16, strings, false);
        run(folder, bytes, 128, strings, false);
        run(folder, bytes, 1024, strings, false);
    }
    if (only < 0) run(folder, bytes, 128, true, true);
    if (only < 0) compare_all(folder);
    return 0;
}
