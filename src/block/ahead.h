// Internal to src/block: reads chunks of remote files before their turn. Who takes a
// chunk has the next ones asked for, as many as the bytes allow that all readers of the
// process share (block_limit_ahead): those that were asked for and not taken yet. The
// first of a reader may always be asked for.
#ifndef SHOAL_BLOCK_AHEAD_H
#define SHOAL_BLOCK_AHEAD_H

#include "block/format.h"

struct ahead;

// The n-th chunk in the order in which they will be taken, from any thread.
typedef void (*ahead_at)(const void *context, size_t n, const struct block_file **file,
                         const struct block_index_entry **entry);

shoal_status ahead_open(struct ahead **ahead, size_t count, ahead_at at,
                        const void *context, struct shoal_error *err);
// The n-th chunk's answer, for block_chunk_take; NULL: it was not asked for, or its file
// is here. From any thread, each n once, about in order. ahead NULL: NULL.
struct remote_answer *ahead_take(struct ahead *ahead, size_t n);
void ahead_close(struct ahead *ahead);

#endif
