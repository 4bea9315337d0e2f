// Internal to src/block: the registry that ties SQL text to block files. Its lock is held
// only to look up and to add; the files themselves belong to whoever writes or reads
// them.
#ifndef SHOAL_BLOCK_REGISTRY_H
#define SHOAL_BLOCK_REGISTRY_H

#include "block/block.h"
#include "duck/functions.h"

struct input_segment {
    char *path;
    uint32_t first, last;  // partitions
};

struct input {
    char *key;
    size_t index;
    struct input_segment *segments;
    size_t count;
    struct block_read how;
    char *lost;  // a segment's file that couldn't be read; NULL: none
    bool interrupted;
    struct input *next;
};

struct output {
    char *path;
    uint32_t partitions;
    enum block_scatter scatter;
    const struct bounds *bounds;
    struct block_output files;
    char *memory_path;             // NULL: all goes to disk
    _Atomic uint64_t memory_left;  // of the grant, for all writers
    _Atomic uint32_t spares;       // how many writers have looked for one
    bool compress;
    bool blind;   // no sketch of what is scattered is kept: what one costs is measured
    bool print;   // fingerprints are wanted
    bool counts;  // the last column is summed up, and not stored
    _Atomic uint64_t counted;
    struct output *next;
};

// The output of which path is the target or a file below it; it lives until
// block_take_output. NULL: none.
struct output *registry_output(const char *path);
// Lists a file in its output before it exists, so that a failed task finds what to
// unlink. Its counts come when it is finished: the arrays of *file stay where they are.
// False when out of memory.
bool registry_add_file(struct output *output, const char *path, size_t *place,
                       struct block_output_file *file);
// What is at `place` is now as *file says; what that points to is the output's.
void registry_set_file(struct output *output, size_t place,
                       const struct block_output_file *file);

// A copy of a registered input, or NULL with the error set; free with input_free.
struct input *registry_input(const char *key, size_t index, struct shoal_error *err);
void input_free(struct input *input);
// A file of the input can't be read, for the reason in err: is it lost? Then that is
// remembered.
void registry_note_lost(const char *key, size_t index, const char *path,
                        const struct shoal_error *err);

// Was block_interrupt called for one of the key's inputs?
bool registry_interrupted(const char *key);

extern const struct duck_sink block_sink;      // sink.c
extern const struct duck_source block_source;  // source.c

#endif
