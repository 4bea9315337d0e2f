// What a stage's tasks read, decided when its inputs are there: rules over statistics.
//
// The rules are pure functions: sizes go in, pieces and reasons come out. A piece is what
// one task reads: some whole partitions, or a slice of one input of one partition beside
// all of its other inputs. A rule is one file and one line in the table in pieces.c; each
// takes the pieces that those before it left.
//
// What Spark's adaptive execution (since 3.0) does for joins by bytes is done here for
// every stage that the planner found a cut for, by rows that come in and go out.
#ifndef SHOAL_ADAPT_ADAPT_H
#define SHOAL_ADAPT_ADAPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sketch.h"
#include "base/text.h"

#define ADAPT_TASK_ROWS 350000       // at most: its hash tables stay in a core's cache
#define ADAPT_TASK_ROWS_LEAST 50000  // fewer take less time than starting a task
#define ADAPT_TASKS_A_SLOT 4         // to level out uneven ones
#define ADAPT_UNEVEN 1.5             // times what a task should have: it is cut
#define ADAPT_SLICES_MOST 4096

// Of a join's side that each task of the other reads, for the planner too.
#define ADAPT_BUILDS_ALWAYS \
    1000000                            // rows of all tasks' hash tables together: a tenth
                                       // of a second
#define ADAPT_BROADCAST_MOST 10000000  // rows of the side, whatever their width
#define ADAPT_BUILD_BYTES 16           // a row of a hash table, beside its values

// An input that is read by partition.
struct adapt_input {
    const uint64_t *rows;       // [partitions]
    const uint64_t *bytes;      // [partitions]; NULL: each row has as many
    double row_bytes;           // on average
    const struct sketch *keys;  // NULL: unknown
    bool needed;                // a partition without its rows gives none
    uint32_t exchange;          // for the reasons
};

// A legal cut: slices of one input, all of the others.
struct adapt_cut {
    size_t input;
    bool rest;          // one more task has what the slices leave out
    uint64_t partners;  // bits of inputs with whose rows the input's multiply
};

enum adapt_skew {
    ADAPT_AUTO,
    ADAPT_OFF,     // partitions stay whole
    ADAPT_ALWAYS,  // each is cut that can be: for tests
    ADAPT_RANDOM,  // any legal decision, by seed: for tests
};

struct adapt_stage {
    uint32_t partitions;
    const struct adapt_input *inputs;
    size_t input_count;
    const struct adapt_cut *cuts;
    size_t cut_count;
    const uint64_t *output;  // [partitions], as adapt_output says; NULL: nothing
    uint32_t (*place)(uint64_t key, uint32_t partitions);  // where a sketch's key is
    const uint32_t *combined;  // [partitions]: a stage before has read it in slices, and
                               // so many tasks read what that made; 0, NULL: none
    bool only_slices;          // it is that stage: pieces that are no slices are left out
    const char *whole;         // why inputs without a cut have none
    uint32_t slots;            // threads of all workers
    uint32_t passes;           // over a heavy partition's rows, beside the first: it must
                               // be as many times heavier to be worth them
    bool fixed;                // the user gave the partitions: a task each
    enum adapt_skew skew;
    uint64_t seed;  // of ADAPT_RANDOM
};

// A join of which one side is there and the other has not begun.
struct adapt_sides {
    uint64_t built_rows, built_bytes;  // of the side that is there, bytes of its blocks
    uint64_t other_rows;               // that the other would send, estimated
    uint32_t tasks;                    // of the other
    uint64_t rows_most, bytes_most;    // of the side, and of its hash table; bytes 0: any
};
// broadcast.c: should each task of the other side read all of the one that is there?
bool adapt_broadcast(const struct adapt_sides *sides);

// demote.c: shall what is left of a stage of partial aggregates pass rows on as they are?
// So many were read, or fewer, by the tasks that are done. seed: of ADAPT_RANDOM.
bool adapt_demote(uint64_t rows_read, uint64_t groups_made, enum adapt_skew skew,
                  uint64_t seed);

#define ADAPT_WHOLE UINT32_MAX
#define ADAPT_COMBINED (UINT32_MAX - 1)
struct adapt_piece {
    uint32_t first, last;    // partitions, both included
    uint32_t cut;            // which of the stage's; ADAPT_WHOLE: none, all is read;
                             // ADAPT_COMBINED: what a stage before made of it
    bool rest;               // what the slices leave out, if the cut has that
    uint32_t slice, slices;  // of the cut's input, or of what that stage made
};

struct adapt_pieces {
    struct adapt_piece *list;
    size_t count, capacity;
    struct text reasons;  // a line each
    uint64_t target;      // rows that a task should have
    uint64_t random;      // state, of ADAPT_RANDOM
};

// False when out of memory. There is at least one piece, but for only_slices.
bool adapt_pieces(const struct adapt_stage *stage, struct adapt_pieces *pieces);
void adapt_pieces_free(struct adapt_pieces *pieces);

// output.c: rows that joins make of each partition beside as many as they read,
// estimated; [partitions], zeroed. False when out of memory.
bool adapt_output(const struct adapt_stage *stage, uint64_t *output);

// For rules: rows that a task of the partition reads of an input, wide ones counted more.
uint64_t adapt_work(const struct adapt_stage *stage, size_t input, uint32_t partition);
// What it makes of them, in rows that are read: one that a join makes costs half of that.
uint64_t adapt_made(const struct adapt_stage *stage, uint32_t partition);
// Both, over all inputs.
uint64_t adapt_cost(const struct adapt_stage *stage, uint32_t partition);
bool adapt_add(struct adapt_pieces *pieces, struct adapt_piece piece);
uint64_t adapt_random(struct adapt_pieces *pieces, uint64_t below);

// empty.c: partitions of which nothing can come have no task.
bool adapt_drop_empty(const struct adapt_stage *stage, struct adapt_pieces *pieces);
// split.c: heavy partitions are cut.
bool adapt_split(const struct adapt_stage *stage, struct adapt_pieces *pieces);
// coalesce.c: small neighbours are read by one task.
bool adapt_coalesce(const struct adapt_stage *stage, struct adapt_pieces *pieces);

#endif
