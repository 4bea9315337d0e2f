// Which keys are frequent among many rows and how many distinct ones there are, kept
// while the rows go by, for a fraction of a nanosecond a row. Summaries of parts merge
// into one of the whole, of the same size.
//
// Frequent keys: Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of
// frequent and top-k elements in data streams", ICDT 2005) with 256 counters, filled by
// merges (Agarwal et al.: "Mergeable summaries", PODS 2012): rows are counted exactly a
// few thousand at a time, and what was counted is merged into the counters.
//
// Up to 4,096 rows all are counted. Of more, one row of each 2, 4, ... up to 32 that
// follow each other is, drawn at random, and stands for that many. So a count has two
// errors:
// - of the counters, certain: a key that had none for a while is counted too low, by at
//   most `error`; without a counter, by at most `missed`. Both are at most rows / 200 in
//   one file, and rows / 100 in a merge of such as came as JSON, beside three rows of
//   each file of fewer than 1,000.
// - of the sample, by chance: three standard deviations of a Poisson count (Wilson's
//   interval), so that of a thousand keys about three are farther off. It shrinks as
//   files are merged: of a key with 1% of a million rows it is a fifth of its count, of
//   one with 1% of a hundred million a sixtieth.
// sketch_key.error is the sum of both.
//
// Distinct keys: the smallest of their hashes are kept (KMV: Bar-Yossef et al., RANDOM
// 2002; Beyer et al., SIGMOD 2007), as a theta sketch: those up to a limit, which halves
// when more than 512 are below it. The standard error of the estimate is 6% where the
// limit has halved, and nothing before. While the limit is high and no row has brought a
// new key for long, only one row of 32 is looked at until one does, which may miss a few
// keys.
#ifndef SHOAL_BASE_SKETCH_H
#define SHOAL_BASE_SKETCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define SKETCH_COUNTERS 256
#define SKETCH_HASHES 512

struct sketch_counter {
    uint64_t key;
    uint64_t count;  // rows that were counted
    uint64_t error;  // rows that may not have been: the key had no counter then
};

// Plain memory: copied by assignment, nothing to free within. All zero is not one: see
// sketch_clear.
struct sketch {
    uint64_t rows;  // that it is of
    uint64_t
        missed;      // the most rows that a key without a counter has among those counted
    uint64_t limit;  // hashes up to this one are kept
    uint32_t every;  // a row that was counted stands for at most so many; 1: all were
    uint32_t count, hash_count;
    struct sketch_counter counters[SKETCH_COUNTERS];
    uint64_t hashes[SKETCH_HASHES];  // ascending, no two alike
};

// Of no rows.
void sketch_clear(struct sketch *sketch);
// `into` is then of the rows of both. They may be of any sizes.
void sketch_merge(struct sketch *into, const struct sketch *from);

struct sketch_key {
    uint64_t key;
    uint64_t rows;
    uint64_t error;  // it may have so many more, or fewer: see above
};
// The keys with about at_least rows and more, the most frequent first; how many.
size_t sketch_heavy(const struct sketch *sketch, uint64_t at_least,
                    struct sketch_key keys[SKETCH_COUNTERS]);
// The most rows that a key which sketch_heavy does not know may have.
uint64_t sketch_unseen(const struct sketch *sketch);
double sketch_distinct(const struct sketch *sketch);

// As JSON: the counters of at least rows / 256, and 256 hashes at most; what is left out
// is in the errors. At most 12 KB; of a few hundred bytes without frequent and with few
// distinct keys. NULL: out of memory.
json_t *sketch_to_json(const struct sketch *sketch);
// SHOAL_CORRUPT for what is none.
shoal_status sketch_from_json(const json_t *json, struct sketch *sketch,
                              struct shoal_error *err);

// ---- while rows go by

struct sketcher;  // one thread at a time; about 150 KB

// NULL: out of memory. The seed draws which rows are counted: another for each file.
struct sketcher *sketcher_new(uint64_t seed);
void sketcher_free(struct sketcher *sketcher);
// n rows: their keys, any 64 bits that are the same for the same key (two keys with the
// same bits are one), and a hash of each whose bits are all well mixed.
void sketcher_add(struct sketcher *sketcher, const uint64_t *keys, const uint64_t *hashes,
                  size_t n);
// What it knows. Rows may be added after.
void sketcher_take(struct sketcher *sketcher, struct sketch *sketch);

#endif
