// Block files joined to DuckDB: a SELECT's rows are scattered into block files, and the
// table function shoal_input reads them back.
//
// SQL text can carry only strings, so a task's inputs and output are registered under a
// key in a process-wide, mutex-guarded table before its statement runs, and released
// after.
//   SELECT ... FROM shoal_input('<key>', 0, CAST(NULL AS STRUCT(c0 BIGINT, ...))) AS x1
// What scatters finds its registration by the path it is given, or a folder above that.
#ifndef SHOAL_BLOCK_BLOCK_H
#define SHOAL_BLOCK_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bounds.h"
#include "base/schema.h"
#include "base/sketch.h"
#include "base/status.h"
#include "duck/duck.h"

#define BLOCK_LAST UINT32_MAX

struct block_segment {
    const char *path;
    uint32_t first, last;  // partitions, both included; BLOCK_LAST: to the last there is
};

struct block_output_file {
    char *path;
    uint64_t *rows;        // [partitions]
    uint64_t *bytes;       // [partitions]
    uint64_t memory;       // bytes that it takes there; 0: it is on disk
    uint64_t print;        // fingerprint of its rows, without order (base/fingerprint.h)
    struct keys sample;    // BLOCK_SAMPLE: of sort keys, in no order
    uint64_t sample_rows;  // that the sample is of: more than the file has, if its writer
                           // went on in another
    struct sketch *keys;  // BLOCK_HASH: of all that its writer scattered, malloc'd; NULL:
                          // the writer went on in another
};

// What the first column of a SELECT is; it is never stored.
enum block_scatter {
    BLOCK_WHOLE,   // nothing: it is a column as the others, all rows go to partition 0
    BLOCK_HASH,    // UBIGINT, hash(keys): rows are scattered by its remix
    BLOCK_RANGE,   // BLOB, create_sort_key(keys): rows are scattered by `bounds`
    BLOCK_SAMPLE,  // BLOB, the same or NULL: keys are sampled; all rows go to partition 0
};

struct block_output {
    struct block_output_file *files;
    size_t count;
    uint32_t partitions;
    uint64_t counted;  // the sum of the last column, of an output that counts
};

// Of so many partitions, the one where rows of this hash(keys) are (BLOCK_HASH).
uint32_t block_place(uint64_t hash, uint32_t partitions);

// Registers the functions on the connection's database. Once per database.
shoal_status block_register(struct duck_conn *conn, struct shoal_error *err);

// The most bytes of rows that each writer keeps before it writes, from now on; what it is
// set to (there is a least and a most) comes back.
uint64_t block_limit_writers(uint64_t bytes);
// The most bytes that are read ahead from other machines, for all readers together.
void block_limit_ahead(uint64_t bytes);

// How an input is read.
struct block_read {
    bool ordered;            // one reader gives the segments' rows in their order
    uint32_t slice, slices;  // one of so many parts of the rows; slices 0: all of them
};

// Registers input number index of a statement. Everything is copied.
shoal_status block_bind_input(const char *key, size_t index,
                              const struct block_segment *segments, size_t count,
                              const struct block_read *how, struct shoal_error *err);
void block_release_inputs(const char *key);
// Who waits for bytes of these inputs from another machine stops (SHOAL_CANCELLED); from
// any thread, beside duck_interrupt.
void block_interrupt(const char *key);
// The first block file of these inputs that couldn't be read as it was written: it is
// gone, cut off, changed or on a bad disk. free() it; NULL: there is none.
char *block_take_lost(const char *key);
// "shoal_input('key', index, CAST(NULL AS STRUCT(...)))"; free() it; NULL: out of memory.
char *block_input_sql(const char *key, size_t index, const struct schema *schema);

// Of an output's memory_path and a number from 0 on: a file that may be written over.
#define BLOCK_SPARE "%s.spare%u"

// How an output's blocks are stored: in memory while they fit, in spares where there are
// some, then at its own path, on disk.
struct block_storage {
    const char *memory_path;  // the beginning of the files' names; NULL: to disk at once
    uint64_t memory_bytes;    // that all files there take together, at most
    bool compress;            // what goes to disk
    bool print;               // fingerprints are wanted; else they are 0
    bool counts;  // the SELECT's last column, a BIGINT, is summed up and never stored
};

// path is what block_write_select is given. bounds (for BLOCK_RANGE, else NULL) are of so
// many partitions; they must live until block_take_output.
shoal_status block_bind_output(const char *path, const struct block_storage *storage,
                               uint32_t partitions, enum block_scatter scatter,
                               const struct bounds *bounds, struct shoal_error *err);
// Runs the SELECT, whose rows go into the output that was bound to path.
enum block_order {
    BLOCK_ANY_ORDER,    // whatever comes first
    BLOCK_EACH_THREAD,  // the same; each of DuckDB's threads has files below path, a
                        // folder
    BLOCK_IN_ORDER,     // of the SELECT: slower, as DuckDB copies all rows on the way
};
shoal_status block_write_select(struct duck_conn *conn, const char *select,
                                const char *path, enum block_order order,
                                struct shoal_error *err);
// Ends the registration and gives the files: none may have come of no rows. After a
// failure call it too, and unlink what it lists: some files may have no rows counted.
void block_take_output(const char *path, struct block_output *output);
void block_output_free(struct block_output *output);

// Checks the file, with its rows or without, whatever its columns are. Fails as a task
// that reads it would.
shoal_status block_verify(const char *path, bool rows, struct shoal_error *err);

#endif
