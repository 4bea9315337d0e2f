// Reads files that block servers have (block/server.h). What is asked for comes by a few
// threads of the process's own, each with a connection, many requests under way on it: so
// a reader asks ahead, and waits for what it needs. Any thread.
#ifndef SHOAL_BLOCK_REMOTE_H
#define SHOAL_BLOCK_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/proof.h"
#include "base/status.h"

struct remote_patience {
    double connect;  // seconds
    double answer;   // that a server may be silent while it owes something
    double rest;     // before a server that failed is tried again: four times that, ...
    unsigned tries;  // in a row, of one server
    double idle;     // a connection that nothing is asked of is closed
};

// From now on servers of the run with this secret can be read from. Before that, and
// after remote_close, what is not here is an error. patience NULL: as it is set, at first
// 3, 10 (or SHOAL_SILENT_SECONDS, if that is less) and 0.1 s, 4 tries, 3 s.
void remote_open(const uint8_t secret[PROOF_SECRET],
                 const struct remote_patience *patience);
// Ends all connections and waits for their threads; who waits for an answer is told that
// it will not come. Files and answers may be freed later.
void remote_close(void);

// A file, and where it is served. Counted: each holder frees it once.
struct remote_file;
// *file NULL: it is served nowhere (block/places.h), or it is here.
shoal_status remote_file_find(const char *path, struct remote_file **file,
                              struct shoal_error *err);
struct remote_file *remote_file_share(struct remote_file *file);
void remote_file_free(struct remote_file *file);
// A number that files of one writer share, to spread what is read over them.
uint32_t remote_file_writer(const struct remote_file *file);

struct remote_answer;
// Asks for size bytes at offset, and returns at once; size > 0. NULL: out of memory.
struct remote_answer *remote_ask(struct remote_file *file, uint64_t offset, size_t size);
// For the last bytes, size of them if the file has as many: it says its size then.
struct remote_answer *remote_ask_tail(struct remote_file *file, size_t size);
// Waits until the bytes are there. All servers of the file failed: SHOAL_IO,
// SHOAL_CORRUPT for a file that is too short, with errno as registry_note_lost wants it.
// key: of the statement that waits, which block_interrupt ends (SHOAL_CANCELLED); or
// NULL.
shoal_status remote_wait(struct remote_answer *answer, const char *key,
                         struct shoal_error *err);
// After SHOAL_OK: the file's size, if its tail was asked for; the bytes, BLOCK_ALIGN-
// aligned, which are the caller's from then on.
uint64_t remote_file_size(const struct remote_answer *answer);
uint8_t *remote_take(struct remote_answer *answer, size_t *size);
// Whether it has come or not.
void remote_answer_free(struct remote_answer *answer);

// Copies the whole file to a new one on this machine; a failure leaves none.
shoal_status remote_copy(const char *path, const char *to, struct shoal_error *err);

#endif
