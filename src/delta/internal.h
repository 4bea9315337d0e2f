// What the files of src/delta share.
#ifndef SHOAL_DELTA_INTERNAL_H
#define SHOAL_DELTA_INTERNAL_H

#include <stddef.h>

#include "base/text.h"
#include "delta/log.h"

#define DELTA_LOG "_delta_log"

// files.c: what is in a log's folder, as far as it matters for one version.
struct log_checkpoint {
    int64_t version;
    uint32_t part, parts;  // part 0 of 0: alone
    char *name;
};
struct log_files {
    int64_t *commits;  // ascending
    size_t commit_count;
    struct log_checkpoint *checkpoints;
    size_t checkpoint_count;
};
shoal_status log_files_list(const char *dir, struct log_files *files,
                            struct shoal_error *err);
// The newest complete checkpoint at or before the version; -1 when there is none. Its
// files are those of `version` and `parts` and, alone, of `name`.
int64_t log_files_checkpoint(const struct log_files *files, int64_t version,
                             struct log_checkpoint *found);
void log_files_free(struct log_files *files);

// commit.c: a new file that whoever may read the folder may read.
shoal_status delta_create(const char *path, int *fd, struct shoal_error *err);
// Gives a file its name in the log if nobody else has it; *lost: somebody has.
shoal_status delta_put_if_absent(const char *from, const char *to, bool *lost,
                                 struct shoal_error *err);

// checkpoint.c: writes the version's checkpoint, if it is due and if the table has
// nothing that one written here would lose. scratch is a folder on the same file system.
shoal_status delta_checkpoint(struct duck_conn *conn, const char *dir, int64_t version,
                              const char *scratch, struct shoal_error *err);

// check.c: what shoal reads; fills the snapshot's fields and partitions.
shoal_status delta_check(struct delta_snapshot *snapshot, struct shoal_error *err);
// Appends the text with %41 as A. False when a % is no such escape; it stands then.
bool delta_decode(struct text *out, const char *uri, size_t size);

#endif
