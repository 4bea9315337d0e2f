// Quality on the way: rows of CSV and JSON files that don't parse, or don't fit their
// types, are kept in a folder instead of failing the statement, up to a limit.
#ifndef SHOAL_QUERY_REJECTS_H
#define SHOAL_QUERY_REJECTS_H

#include <time.h>

#include "base/text.h"
#include "duck/duck.h"

#define REJECTS_NO_LIMIT UINT64_MAX

// Of one statement.
struct rejects {
    const char *folder;
    uint64_t limit;     // more, and the statement fails
    struct text files;  // what tasks took, "'path', ..."
    uint64_t rows;      // that are in the folder by now
    // Of a job: the file's name is the same whichever process writes it, so that what is
    // kept again by one that resumes is there once. "": of none.
    char job[40];
    time_t began;
    unsigned written;  // files
};

// The statement with every read of a text file told to keep them; free() it. trial: a
// connection whose transaction doesn't matter.
shoal_status rejects_rewrite(struct duck_conn *trial, const char *sql, char **rewritten,
                             struct shoal_error *err);
// A task's file, of one whose attempt counts.
bool rejects_add(struct rejects *rejects, const char *path);
// Writes what tasks and conn have, as one file of the folder; SHOAL_USER when there are
// more than the limit. To be called before what is final, and at the end.
shoal_status rejects_settle(struct rejects *rejects, struct duck_conn *conn,
                            struct shoal_error *err);
// Forgets the files that are not settled.
void rejects_free(struct rejects *rejects);

#endif
