// Internal to src/block: the part of an input's rows that one of several tasks reads,
// when a partition is too much for one.
//
// Rows are dealt in stripes: chunks are cut into units of about equal size, and unit i
// goes to slice i mod n. Rows that lie together in the files, as those of one key in
// sorted data do, so reach all slices alike, and what each joins to is about as much. A
// chunk that is not cut is read by one slice only.
//
// What slice a row is in depends on nothing but the chunks' sizes in their order: all
// slices together have each row once.
#ifndef SHOAL_BLOCK_SLICES_H
#define SHOAL_BLOCK_SLICES_H

#include <stddef.h>
#include <stdint.h>

#define SLICE_UNITS 8  // a slice has at least, where there are rows enough

struct slicing {
    uint32_t slice, slices;
    size_t units;  // of each chunk
};

// Into how many units each of so many chunks is cut.
static inline struct slicing slicing_of(uint32_t slice, uint32_t slices, size_t chunks) {
    size_t wanted = (size_t)slices * SLICE_UNITS;
    size_t units = chunks == 0 || chunks >= wanted ? 1 : (wanted + chunks - 1) / chunks;
    return (struct slicing){slice, slices, units};
}

// The first unit of the chunk from `unit` on that is the slice's; slicing->units: none.
static inline size_t slicing_next(const struct slicing *slicing, size_t chunk,
                                  size_t unit) {
    size_t number = chunk * slicing->units + unit;
    size_t behind = number % slicing->slices;
    size_t gap = (slicing->slice + slicing->slices - behind) % slicing->slices;
    return gap >= slicing->units - unit ? slicing->units : unit + gap;
}

// Where the unit's rows begin, in a chunk of so many; those of unit `units` begin behind
// the last.
static inline uint64_t slicing_row(const struct slicing *slicing, uint64_t rows,
                                   size_t unit) {
    return rows / slicing->units * unit + rows % slicing->units * unit / slicing->units;
}

#endif
