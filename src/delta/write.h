// Writing a Delta table: what a statement may write, and the commit that makes its files
// count. The files themselves are the caller's to write, and to move into the table.
#ifndef SHOAL_DELTA_WRITE_H
#define SHOAL_DELTA_WRITE_H

#include "delta/log.h"

enum delta_mode {
    DELTA_ERROR_IF_EXISTS,
    DELTA_APPEND,
    DELTA_OVERWRITE,
    DELTA_OVERWRITE_PARTITIONS  // only those that the new files are of
};

struct delta_write {
    struct duck_conn *conn;  // borrowed
    char *dir;               // of the table, whole
    enum delta_mode mode;
    char *job_id;  // NULL: none
    // The version that the write builds on; NULL: the table is new.
    struct delta_snapshot *base;
    int64_t committed;   // the version in which this job was committed before, or -1
    json_t *partitions;  // names of columns; NULL: as the table has them
    json_t *fields;      // of the schema, from delta_write_select on
    bool ntz;            // a new table has timestamps without a time zone
};

// What is written, before anything that the statement reads is looked at: so a write sees
// in the log all commits that the statement didn't see. partitions, a JSON array, may be
// NULL; it is taken over. Free with delta_write_free.
shoal_status delta_write_open(struct duck_conn *conn, const char *dir,
                              enum delta_mode mode, const char *job_id,
                              json_t *partitions, struct delta_write **write,
                              struct shoal_error *err);
// Checks the columns of the query against the table's, or makes a schema of them, and
// gives the SELECT whose rows go to the files. free() it.
shoal_status delta_write_select(struct delta_write *write, struct duck_conn *conn,
                                const char *query, char **select,
                                struct shoal_error *err);
void delta_write_free(struct delta_write *write);

// A data file, already in the table's folder.
struct delta_file {
    const char *path;  // below the table
    uint64_t bytes, rows;
    const char *statistics;  // as DuckDB's RETURN_STATS has them, as JSON; may be NULL
    const char *partition;   // values by column, as JSON; NULL: not partitioned
};
// Makes them the table's next version, whoever else commits meanwhile, or fails with the
// table as it was. scratch is a folder on the table's file system. *before: this job was
// committed already, as *version, and the files don't count.
shoal_status delta_commit(const struct delta_write *write, const struct delta_file *files,
                          size_t count, const char *scratch, int64_t *version,
                          bool *before, struct shoal_error *err);

#endif
