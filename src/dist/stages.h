// A query cut into stages: what the planner hands to the scheduler, read-only afterwards.
//
// A stage is one SELECT whose leaves are placeholders "__<kind>_<leaf index>__" standing
// for a split of a scan or an input of an exchange. The last stage is the result stage;
// it runs once, in the driver, and has no exchange.
#ifndef SHOAL_DIST_STAGES_H
#define SHOAL_DIST_STAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapt/adapt.h"
#include "base/file_state.h"
#include "base/schema.h"
#include "base/status.h"
#include "base/text.h"
#include "block/block.h"
#include "duck/duck.h"
#include "plan/hints.h"

// Into how many tasks stages are cut, for the planner to weigh what each repeats.
//
// Of a scan: enough to level out uneven ones and to lose little with a worker, few enough
// that what each repeats stays small: binding, skipping the row groups of others (0.7% of
// reading the file, whatever its size), a broadcast side's hash table.
#define SCAN_TASKS_A_WORKER 2
// Of text files, whose tasks are one thread's: parsing costs far more than what each
// repeats, and all but the last to end have work.
#define TEXT_TASKS_A_THREAD 4
#define PARTITION_ROWS ADAPT_TASK_ROWS  // of a partition's larger side

enum exchange_kind {
    EXCHANGE_HASH,
    EXCHANGE_BROADCAST,
    EXCHANGE_GATHER,
    EXCHANGE_ROUND_ROBIN,
    EXCHANGE_RANGE,
    EXCHANGE_COMBINE,  // from sub-tasks of a partition to the task that has it
    EXCHANGE_SAMPLE,   // of keys of a partition, for the bounds of its parts
    EXCHANGE_PARTS,    // a RANGE exchange for each partition that is cut
};

// How one stage reads a leaf.
enum leaf_kind {
    LEAF_SCAN,   // files, cut in splits: drives the stage's tasks
    LEAF_UNION,  // the same of Parquet files, of one of several under a UNION ALL: drives
    LEAF_RANGE,  // a Parquet scan, cut in ranges of a key: drives, with others cut alike
    LEAF_SCAN_ALL,   // the whole scan, in each task
    LEAF_SCAN_SOME,  // rows from all over a Parquet scan: drives
    LEAF_PARTITION,  // task i reads partition i of a HASH or RANGE exchange: drives
    LEAF_SPLIT,      // task i reads every n-th block file: drives
    LEAF_MERGE,      // task i reads partition i / slices, of every n-th file: drives
    LEAF_ALL,        // each task reads all of the exchange
    LEAF_ORDERED,    // the same, in the order of its producer's tasks
    LEAF_COMBINE,    // a task reads what sub-tasks of its partition wrote
    LEAF_SAMPLED,    // it reads nothing: the bounds come from the exchange's samples
    LEAF_PART,       // a task reads one part of one partition: drives
    LEAF_BEFORE,     // what tasks of the partition's parts before its own wrote
    LEAF_AFTER,      // and of those behind it
    LEAF_NUMBER,     // one row: the number of its part
};

// Does each of its tasks read one split of a scan?
static inline bool leaf_has_splits(enum leaf_kind kind) {
    return kind == LEAF_SCAN || kind == LEAF_UNION || kind == LEAF_SCAN_SOME;
}

// Does a leaf of this kind cut its stage into tasks?
static inline bool leaf_drives(enum leaf_kind kind) {
    return leaf_has_splits(kind) || kind == LEAF_RANGE || kind == LEAF_PARTITION ||
           kind == LEAF_SPLIT || kind == LEAF_MERGE || kind == LEAF_PART;
}

struct scan_file {
    char *path;
    uint64_t rows;  // of a text file estimated
    uint64_t bytes;
    struct file_state state;  // as it was planned for
};

// The files of a scan, and how a call is written that reads some of them, or a part.
enum scan_kind { SCAN_PARQUET, SCAN_CSV, SCAN_JSON };
struct scan_source {
    enum scan_kind kind;
    // Parts of a call, ", name = value" each; in that order they make a whole one.
    char *options;  // for any call
    char *dialect;  // for calls of whole files, and for what else one's dialect is
    char *pinned;   // the same: the schema of all files
    struct schema columns;  // of the files, without those that their paths give
    bool positional;        // they are in this order in every file, whatever its header
    bool seeks_header;      // then: their names and types say whether a file has one
    char *filename;         // the column of their paths, if the call names one
    bool hive;              // folders give columns: known to, for all that they name
    bool by_name;           // a file may lack columns: they are NULL
    bool cuts;              // text files may be cut between records
    bool rejects;  // of JSON: records that can't be read are kept (lines/faults.h)
    char *texts;   // then the parts of a call that reads each record as a text
};
// {'name': 'TYPE', ...}
void source_append_columns(struct text *out, const struct schema *schema);
bool scan_file_packed(const char *path);  // compressed, by its name
void scan_source_free(struct scan_source *source);
bool scan_source_copy(struct scan_source *to, const struct scan_source *from);

enum split_part { PART_WHOLE, PART_ROWS, PART_GROUPS, PART_BYTES, PART_SOME };

// What one task reads of a scan: some whole files, or the rows, row groups or bytes
// [first, last] of one. To its end without a bound: each costs a comparison.
#define SPLIT_TO_END UINT64_MAX
struct scan_split {
    const struct scan_file *files;
    size_t count;
    enum split_part part;
    uint64_t first, last;
    uint64_t rows;  // about
    char *options;  // of a call that reads bytes; owned
    char *where;    // of a PART_SOME: which rows of the one file; owned
};

void scan_split_free(struct scan_split *split);  // contents only

// Of the splits of several leaves, is this one of the leaf with these files?
static inline bool split_is_of(const struct scan_split *split,
                               const struct scan_file *files, size_t count) {
    uintptr_t at = (uintptr_t)split->files;
    return at >= (uintptr_t)files && at < (uintptr_t)(files + count);
}

// What one task reads of a LEAF_RANGE.
struct scan_range {
    char *where;
    const struct scan_file **files;
    size_t file_count;
};
void scan_files_free(struct scan_file *files, size_t count);
uint64_t scan_files_rows(const struct scan_file *files, size_t count);
void scan_ranges_free(struct scan_range *ranges, size_t count);

struct stage_leaf {
    enum leaf_kind kind;
    char *placeholder;  // the table name in the stage's SQL text
    uint32_t exchange;  // for PARTITION, SPLIT, MERGE, ALL
    uint32_t slices;    // of a LEAF_MERGE: n
    char *scan_call;  // for scans: the table function call as SQL, e.g. read_parquet('x')
    struct scan_source source;
    struct schema schema;  // bound once for all files
    struct scan_file *files;
    size_t file_count;
    size_t files_before;              // some were left out; 0: none were
    bool row_numbers, group_numbers;  // DuckDB numbers them: no column has that name
    uint32_t cut;               // of a LEAF_RANGE: all that drive one stage have the same
    struct scan_range *ranges;  // one a task
    size_t range_count;
    char *range_column;
    bool needed;  // of a LEAF_PARTITION: a task without its rows has none
    bool rows;    // of a LEAF_PARTITION: joins see its rows, not groups of them
};

// One way to cut a partition of the stage that is too much for one task (dist/cuts.c):
// sub-tasks that each read a slice of one leaf's rows, and all of the others'.
struct stage_cut {
    size_t leaf;        // a LEAF_PARTITION
    char *sql;          // of the sub-tasks; NULL: the stage's
    char *rest_sql;     // of one task more, which reads all; NULL: there is none
    uint64_t partners;  // bits of leaves with whose rows the leaf's multiply
};

struct stage {
    uint32_t id;
    char *sql;  // with placeholders
    struct stage_leaf *leaves;
    size_t leaf_count;
    bool single;                 // one task only
    bool in_driver;              // it reads what only the driver has, and runs there
    bool wide;                   // a task uses all threads of a worker, not one
    enum block_scatter scatter;  // what its first output column is
    bool groups;         // a partial aggregate by a key of as many values as groups
    char *plain_sql;     // which passes rows on as groups of one; NULL: there is none
    bool early;          // and is likely to be better: the first tasks are to tell soon
    bool hedged;         // whether it is is a mere guess: until it is known, every other
                         // task passes rows on
    char *streamed_sql;  // whose windows are streamed; NULL: there is none
    bool counts;         // the last output column says how many rows each is of
    bool ordered;        // each task's output is one file, in order
    bool sink;           // its tasks write the query's rows to their place
    uint32_t exchange;   // that it feeds; UINT32_MAX for the result stage
    struct schema schema;  // of the output, without those two columns
    char *summary;         // lines for EXPLAIN, operators in Spark's words; may be NULL
    uint64_t estimated_rows;
    char *unfiltered_sql;  // without its runtime filter; NULL: it has none
    size_t filter_leaf;    // that the filter reads
    uint64_t filter_most;  // rows there, from where on the filter doesn't pay
    struct stage_cut *cuts;
    size_t cut_count;
    char *whole;  // why it has no more cuts; NULL: each leaf has one
    // Its own partitions can't be cut, but a stage before it may read slices of one, of
    // which a task in this form then makes the partition's rows, or several the rows of
    // its parts.
    char *combined_sql;   // NULL: there is none
    size_t combine_leaf;  // a LEAF_COMBINE or LEAF_PART
    char *of_one_sql;     // in place of it, for a part of one group; NULL: there is none
    bool combines;        // it is such a stage before another
    bool repeatable;      // another attempt of a task surely gives the same rows
};

#define LOOKUP_BLOCKS "__shoal_blocks__"

struct exchange {
    uint32_t id;
    enum exchange_kind kind;
    uint32_t bounds_from;  // RANGE, PARTS: the exchange whose producers sampled the keys
    bool spread;           // PARTS: rows of one key may be in several
    uint32_t group_keys;   // PARTS: so many of its first keys are a PARTITION BY
    char *keys;            // for EXPLAIN; may be NULL
    struct schema schema;
    uint32_t groups;  // first of two levels: so many partitions; 0: as its readers need
    // Of HASH: rows (h, k) of LOOKUP_BLOCKS, which stands for blocks of it: the hash of a
    // row's keys, and the keys in words. For EXPLAIN ANALYZE; may be NULL.
    char *lookup;
};

struct stages {
    struct stage *stages;  // in topological order; the last is the result stage
    size_t count;
    struct exchange *exchanges;
    size_t exchange_count;
    char **notes;  // why something was gathered, broadcast, and so on
    size_t note_count;
    char **warnings;  // hints that are not followed
    size_t warning_count;
    bool shuffled;        // a hint asks that a join is not broadcast
    uint32_t partitions;  // of exchanges, asked for by a hint; 0: none are
    uint32_t times;  // as many as estimates ask for, as tasks were too large; 0: once
    bool too_large;  // while it ran, a task had too little memory even alone
    char *target;    // for EXPLAIN, "CopyTo 'x' ..."; NULL: the rows are the result
    double plan_seconds;
};

#define SORT_ROWS 10000000  // fewer are sorted as fast in one place
// Row groups of a Parquet file are of so many rows at most, where a sort's bounds come
// from the scan itself before its rows are scattered: every so many rows name one to
// sample.
#define SAMPLED_GROUP_ROWS 125000
#define SAMPLED_SLICE \
    8  // of a heavy slice, a task that samples it reads one row of so many
#define BROADCAST_NEVER (-1)
#define BROADCAST_AUTO (-2)

#define CLUSTER_ROWS 1000000  // fewer are shuffled before the gain shows

struct plan_options {
    uint32_t workers;        // to weigh a broadcast against a shuffle; 0: unknown
    uint32_t slots;          // threads of all workers; 0: unknown
    uint64_t split_rows;     // a task reads at least as many of a file
    int64_t cluster_rows;    // inputs of this many estimated rows and more are cut by the
                             // key they are clustered on; -1: never
    int64_t broadcast_rows;  // broadcast at or below this many estimated rows, or above
    uint64_t broadcast_bytes;  // of the hash table, estimated, at most; 0: no limit
    uint64_t sort_rows;   // ORDER BY from this many estimated rows on: a RANGE exchange
    bool no_range;        // never
    uint64_t parts_rows;  // partitions of windows are cut from this many rows on, those
                          // that filters leave out counted too
    bool no_parts;        // never
    bool rejects;         // rows of text files that can't be read are kept
    bool uncut;           // and JSON files are not cut, so that these have line numbers
    bool files_whole;     // files are read by the driver alone
    bool sink;            // the rows go to files: the stage that has them last writes
    const struct hints *hints;  // of the statement; may be NULL
    bool summaries;             // wanted for EXPLAIN: they take time of their own
};

// Plans one SELECT for workers. SHOAL_UNSUPPORTED with the reason when it cannot be
// distributed: run it embedded then. conn is a planning connection: its
// disabled_optimizers setting is changed and reset.
shoal_status stages_plan(struct duck_conn *conn, const char *select,
                         const struct plan_options *options, struct stages **stages,
                         struct shoal_error *err);
void stages_free(struct stages *stages);

// The stage whose rows are the query's: the one that writes them to files, else the last.
const struct stage *stages_last(const struct stages *stages);
// A HASH exchange in two levels (levels.c): what feeds it scatters into `groups`, which a
// stage of groups * slices tasks scatters again.
shoal_status stages_add_level(struct stages *stages, uint32_t exchange, uint32_t groups,
                              uint32_t slices, struct shoal_error *err);

// fuse.c: the cut along the leaf that leaves the stage's SQL as it is; NULL: there is
// none.
const struct stage_cut *stage_plain_cut(const struct stage *stage, size_t leaf);
// feeder, not begun, will not run: reader, which has a plain cut along the leaf, does its
// part too, cut in the feeder's tasks, and reads its other partitioned leaves whole. The
// feeder is left without leaves. False when out of memory: nothing has changed then.
bool stages_fuse(struct stage *reader, size_t leaf, struct stage *feeder);

bool stage_reads(const struct stage *stage, uint32_t exchange);
// repeatable.c
bool stage_is_repeatable(const struct stages *stages, const struct stage *stage);
// sql, one of the stage's, with each placeholder i replaced by leaf_sql[i].
char *stage_substitute(const struct stage *stage, const char *sql, char *const *leaf_sql);
// A scan leaf as SQL for one task (split NULL: all of it), projected by name and cast to
// the bound schema. pipe: where the bytes of a PART_BYTES are read.
char *stage_scan_sql(const struct stage_leaf *leaf, const struct scan_split *split,
                     const char *pipe);
// Can the leaf be read from bytes alone? Not if it has columns that only a path gives.
bool stage_scan_cuts(const struct stage_leaf *leaf);
// Of a scan that keeps records that can't be read: a SELECT of those, and one of the rows
// of the others (faults_append_select and faults_append_good). split: whole files.
void stage_append_faults(struct text *out, const struct stage_leaf *leaf,
                         const struct scan_split *split, size_t scan);
char *stage_good_sql(const struct stage_leaf *leaf, const struct scan_split *split,
                     size_t scan);
// The same for one range of a LEAF_RANGE.
char *stage_range_sql(const struct stage_leaf *leaf, const struct scan_range *range);
// One row, of a LEAF_NUMBER.
char *stage_number_sql(uint32_t number);
// "(SELECT CAST(NULL AS T) AS c, ... WHERE false)", for binding.
char *stage_empty_sql(const struct schema *schema);

// What a stage took, for EXPLAIN ANALYZE.
struct stage_stats {
    uint64_t tasks, rows, bytes;
    uint64_t again;         // tasks that ran once more, as what they had made was lost
    uint64_t placed, near;  // tasks that are best run on one node, and that ran there
    uint64_t disk_bytes;    // of those bytes; the others never left memory
    uint32_t partitions;    // that its tasks read, each some; 0: one each, or none
    double seconds;         // summed over its tasks
    double *task_seconds;   // [tasks], of each, in no order
    char *heavy;            // keys that have many of the rows it reads, a line each
    char *reasons;          // why its tasks read what they do, a line each; may be NULL
    bool demoted;           // some of its tasks passed rows on as groups of one
    uint64_t filter_rows;   // that made its runtime filter not worth using; else 0
    uint64_t files_merged, files_made;  // of those that it wrote, and what they became
};

// It starts over: nothing is known.
void stats_reset(struct stage_stats *stats);
// A task is over. False when out of memory.
bool stats_add_task(struct stage_stats *stats, double seconds);
// Of `count` stages, and the list.
void stats_free(struct stage_stats *stats, size_t count);

// The plan in words: stages, exchanges, keys, estimates, reasons. stats, [stages->count],
// may be NULL: then nothing ran.
void stages_explain(const struct stages *stages, const struct stage_stats *stats,
                    struct text *out);
shoal_status stages_explain_json(const struct stages *stages,
                                 const struct stage_stats *stats, char **json,
                                 struct shoal_error *err);

#endif
