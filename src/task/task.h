// A task as a message: one SELECT, the blocks that it reads and where its output goes.
//
// The SQL refers to exchange inputs as shoal_input('<key>', i, ...), where key is
// task_key() of this task and i indexes `inputs`. A task never says anything that its
// attempt number does not qualify: outputs of different attempts never collide.
#ifndef SHOAL_TASK_TASK_H
#define SHOAL_TASK_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bounds.h"
#include "base/file_state.h"
#include "base/sizes.h"
#include "base/sketch.h"
#include "base/status.h"
#include "block/block.h"

// One piece of an exchange input: a block file, and some of its partitions.
struct task_segment {
    char *path;
    uint32_t first, last;  // both included; BLOCK_LAST: to the last there is
};

struct task_input {
    struct task_segment *segments;
    size_t count;
    struct block_read how;
};

// Bytes [first, end) of a text file, which the SQL reads under the name of a pipe.
struct task_range {
    char *pipe;  // NULL: the task reads no such range
    char *path;
    uint64_t first, end;
};

// A file of the user's that the SQL reads, as it was when the query was planned.
struct task_source {
    char *path;
    struct file_state state;
};

struct task {
    uint64_t id;  // unique in the session
    uint32_t attempt;
    uint32_t stage;
    char *sql;
    struct task_input *inputs;
    size_t input_count;
    struct task_range range;
    struct task_source *sources;  // those of which something is known
    size_t source_count;
    char *output;   // path of the output: a file, or a folder of one file a thread
    char *rejects;  // where rows of files that can't be read are kept; NULL: nowhere
    // For a task that fails by records of JSON files: the SQL without them, and a SELECT
    // of them (rejects_find); NULL: it has none.
    char *good_sql, *faults_sql;
    char *memory_output;    // where names of files in memory begin; NULL: all go to disk
    uint64_t memory_bytes;  // that they may take there
    uint64_t alone_bytes;   // of memory that its worker may take for it, as nothing else
                            // runs on any worker; 0: its share
    bool compress;          // what goes to disk
    bool print;             // the fingerprint of its rows is wanted
    bool counts;            // the SELECT's last column says how many rows each is of
    uint32_t partitions;    // 1: not partitioned
    enum block_scatter scatter;  // what the SELECT's first column is
    struct bounds bounds;        // of BLOCK_RANGE
    bool ordered;                // the output is one file, in the SELECT's order
    char *copy_options;  // of a COPY that writes the rows to files for good; NULL: blocks
    char *copy_file;     // its file in the folder that is the output; NULL: DuckDB names
                         // the files in there
    bool copy_counts;    // the format's writer counts rows, bytes and values by file
    bool copy_statistics;  // and those of each column are wanted
};

// A file that a COPY wrote for good.
struct written_file {
    char *path;  // below the folder that is the task's output
    uint64_t rows, bytes, footer_bytes, row_groups;  // 0 where the writer doesn't count
    char *statistics;  // of its columns, a JSON object as DuckDB's RETURN_STATS has it
    char
        *partition;  // values by PARTITION_BY column, a JSON object; NULL: none, as above
};
void written_files_free(struct written_file *files, size_t count);

struct task_file {
    char *path;
    struct sizes rows;       // of its partitions
    uint64_t bytes;          // of all together
    struct sizes odd_bytes;  // of partitions whose rows don't tell theirs; 0 of others
    uint64_t memory;         // bytes that it takes there; 0: it is on disk
    uint64_t print;          // fingerprint of its rows (base/fingerprint.h)
    struct keys sample;      // of BLOCK_SAMPLE
    uint64_t sample_rows;
    struct sketch *keys;  // of BLOCK_HASH, malloc'd: of its rows and of those of files
                          // that have none; NULL: it is in another, or taken out
    struct written_file *written;  // in the folder that path is, of a task that copies
    size_t written_count;
};

// Fills rows, bytes and odd_bytes of a file from those of each partition. A byte a
// partition is what rows take in the driver's memory, and bytes mostly follow from them:
// only those that are off by more than a quarter, of what they should be and of the mean,
// are kept beside. False when out of memory.
bool task_file_count(struct task_file *file, const uint64_t *rows, const uint64_t *bytes,
                     uint32_t partitions);
// About the bytes of one partition.
uint64_t task_file_bytes(const struct task_file *file, uint32_t partition);
// Adds those of each to its sum, sums[partitions].
void task_file_add_bytes(const struct task_file *file, uint64_t *sums);

struct task_output {
    struct task_file *files;
    size_t count;
    uint32_t partitions;
    char *rejects;   // the file that has some; NULL: there are none
    char *lost;      // of a task that failed: a block file that it couldn't read, or NULL
    double seconds;  // of the task's thread, wall clock
    uint64_t counted;  // rows that those of a task that counts are of
};

// "<id>.<attempt>", into a buffer of TASK_KEY_SIZE.
#define TASK_KEY_SIZE 40
void task_key(const struct task *task, char *key);

// Is each of its sources still the file that the query was planned for? SHOAL_USER,
// naming one, when not.
shoal_status task_check_sources(const struct task *task, struct shoal_error *err);

void task_input_free(struct task_input *input);     // contents only
void task_free(struct task *task);                  // contents and the struct
void task_file_free(struct task_file *file);        // contents only
void task_output_free(struct task_output *output);  // contents only

// JSON on the wire. encode returns a malloc'd text. decode bounds every count and rejects
// what does not fit with SHOAL_CORRUPT.
shoal_status task_encode(const struct task *task, char **json, struct shoal_error *err);
shoal_status task_decode(const char *json, size_t size, struct task **task,
                         struct shoal_error *err);
shoal_status task_output_encode(uint64_t id, uint32_t attempt,
                                const struct task_output *output, char **json,
                                struct shoal_error *err);
shoal_status task_output_decode(const char *json, size_t size, uint64_t *id,
                                uint32_t *attempt, struct task_output *output,
                                struct shoal_error *err);

#endif
