// A range of bytes of a file as a named pipe, which a reader that knows files alone
// (DuckDB's of CSV and JSON) opens in its place. The bytes go from the page cache into
// the pipe by reference (splice): they are copied once, by the reader.
#ifndef SHOAL_LINES_FEED_H
#define SHOAL_LINES_FEED_H

#include <stdint.h>

#include "base/status.h"

struct lines_feed;

// Makes the pipe and starts a thread that fills it with the bytes [first, end) of path,
// once a reader opens it. One reader, once.
shoal_status lines_feed_start(const char *pipe_path, const char *path, uint64_t first,
                              uint64_t end, struct lines_feed **feed,
                              struct shoal_error *err);
// After the reader closed the pipe, or never opened it: stops the thread and removes the
// pipe. SHOAL_IO when the file couldn't be read, or ended early: then the reader saw too
// little. feed may be NULL.
shoal_status lines_feed_end(struct lines_feed *feed, struct shoal_error *err);

#endif
