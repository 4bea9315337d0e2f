// The bounds of a RANGE exchange: sorted keys, and between which of them a row goes.
//
// A key that is most of the rows can't be a bound that its rows lie on one side of: they
// would meet in one part. So bounds know where the rows with their very key lie, in
// parts: `from` 1.75 `to` 5.25 is a quarter of part 1, all of parts 2 to 4 and a quarter
// of part 5. Each of these rows takes a place between, evenly: place i of a writer is the
// fractional part of i times the golden ratio (Weyl, 1916), which fills the interval
// evenly however many rows there are. Rows of equal keys may come in any order, so parts
// that share a key are as well sorted as others.
//
// Which place a row takes depends on the order in which its writer sees the rows: the
// output of a task must come from one attempt.
#ifndef SHOAL_BASE_BOUNDS_H
#define SHOAL_BASE_BOUNDS_H

#include "base/keys.h"

struct key_span {
    double from, to;  // where the rows of the key lie
    uint32_t above;   // part of larger keys, up to the next bound
};

// Zeroed: no bounds, one part.
struct bounds {
    struct keys keys;        // sorted, all different
    struct key_span *spans;  // [keys.count]
};

// A key, borrowed, and how many rows it stands for.
struct weighted_key {
    const struct key *key;
    double weight;
};

// Cuts the samples, which it sorts, into parts of equal weight. A key of less than this
// share of a part's rows is not spread: they go to one part. False: out of memory.
#define SPREAD_SHARE 0.1
bool bounds_cut(struct weighted_key *samples, size_t count, uint32_t parts,
                double spread_share, struct bounds *bounds);
// The same without spread keys, but a group of keys that has a part's share of the rows,
// or more, has parts of its own. group_bytes: so many bytes of a key say which group it
// is of; 0: it has none. About `parts`, and up to two more for each such group.
typedef size_t bounds_group(const void *context, const struct key *key);
bool bounds_cut_groups(struct weighted_key *samples, size_t count, uint32_t parts,
                       bounds_group *group_bytes, const void *context,
                       struct bounds *bounds);
bool bounds_copy(struct bounds *to, const struct bounds *from);
void bounds_free(struct bounds *bounds);

// As JSON; NULL: out of memory.
json_t *bounds_to_json(const struct bounds *bounds);
// SHOAL_CORRUPT for what are no bounds of so many parts. bounds is to be zeroed.
shoal_status bounds_from_json(const json_t *json, uint64_t parts, struct bounds *bounds,
                              struct shoal_error *err);

// Places rows; the bounds must stay as they are. Of one thread.
struct placer {
    const struct bounds *bounds;
    struct key_index index;
    uint32_t *above;   // [keys.count + 1]: of as many bounds at or below a key, its part
    uint32_t *places;  // [keys.count]: the last row's, in 2^32nds; NULL: no key is spread
};
// seed: writers with different ones begin at different places.
bool placer_make(struct placer *placer, const struct bounds *bounds, uint64_t seed);
uint32_t placer_part(struct placer *placer, const uint8_t *data, size_t size);
void placer_free(struct placer *placer);

#endif
