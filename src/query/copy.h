// COPY ... TO, read as far as shoal runs it: what is selected, where it goes, and what of
// its options shoal does itself; the others go to DuckDB as they stand.
#ifndef SHOAL_QUERY_COPY_H
#define SHOAL_QUERY_COPY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "duck/duck.h"

// What happens to rows that the target has already.
enum write_mode {
    WRITE_ERROR_IF_EXISTS,
    WRITE_OVERWRITE,
    WRITE_APPEND,
    WRITE_OVERWRITE_PARTITIONS  // only those that the query has rows of
};

struct delta_write;

enum copy_answer { ANSWER_COUNT, ANSWER_FILES, ANSWER_STATISTICS };

struct copy {
    char *query;            // a SELECT
    char *path;             // of a file, or of a folder
    char *options;          // for DuckDB's COPY, "FORMAT parquet, ..."
    char *extension;        // of the files, "parquet"
    char *format;           // "parquet"
    uint64_t file_bytes;    // of FILE_SIZE_BYTES; 0: none
    char *rewrite_options;  // of a COPY that puts files of that size together into one;
                            // NULL: they are left as they are
    bool folder;            // several files in a new folder
    bool nested;       // each task writes several files (PARTITION_BY, FILE_SIZE_BYTES)
    bool partitioned;  // PARTITION_BY
    enum write_mode mode;
    enum copy_answer answer;  // of RETURN_FILES and RETURN_STATS
    bool keeps_order;         // the user says whether files keep the order
    bool any_order;           // and that they need not
    char *sort_by;  // what each file's rows are sorted by, "a DESC, b"; NULL: nothing
    // FORMAT delta: the files are Parquet, and a log says that they count. options has no
    // PARTITION_BY until the table is known.
    bool delta;
    char *partition_by;         // its value as it stands; NULL: not given
    char *job_id;               // NULL: not given
    char *rejects;              // REJECTS 'folder'; NULL: not given
    uint64_t rejects_limit;     // UINT64_MAX: none
    struct delta_write *table;  // the one that is written, borrowed; delta_sink.c
};

// SHOAL_UNSUPPORTED with the reason when DuckDB has to run it alone, SHOAL_USER when
// options contradict each other. Free with copy_free in any case.
shoal_status copy_parse(const char *sql, struct copy *copy, struct shoal_error *err);
// May the query's rows have an order? The word is in there.
bool copy_mentions_order(const struct copy *copy);
void copy_free(struct copy *copy);
// The names of a PARTITION_BY's value: an array of texts. SHOAL_USER: it has others.
shoal_status copy_partition_names(const char *partition_by, json_t **names,
                                  struct shoal_error *err);
// What is wrong with the options for these columns, before there are any rows.
shoal_status copy_check(struct duck_conn *conn, const struct copy *copy,
                        const struct schema *schema, struct shoal_error *err);
// "'path' (options)", as it stands behind TO.
void copy_append_target(struct text *out, const struct copy *copy);

#endif
