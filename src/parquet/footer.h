// Row-group statistics of one Parquet file, from its footer (Thrift's compact protocol;
// the format is apache/parquet-format's parquet.thrift).
//
// Only top-level columns of signed integers, of unsigned ones of up to 16 bits, and of
// dates (days since 1970) are listed.
#ifndef SHOAL_PARQUET_FOOTER_H
#define SHOAL_PARQUET_FOOTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct parquet_range {
    int64_t min, max;
    bool known;     // min and max are
    bool no_nulls;  // known to have none
};

struct parquet_column {
    char *name;
    bool date;
};

struct parquet_footer {
    struct parquet_column *columns;
    size_t column_count;
    uint64_t *rows;  // [group_count]
    size_t group_count;
    struct parquet_range *ranges;  // [group_count][column_count]
};

// SHOAL_UNSUPPORTED for a footer that is encrypted or that this reader doesn't
// understand, which is no reason not to read the file; SHOAL_IO for one that can't be
// read. Free with parquet_footer_free in any case. Any thread.
shoal_status parquet_footer_read(const char *path, struct parquet_footer *footer,
                                 struct shoal_error *err);
// The same of a footer in memory.
shoal_status parquet_footer_parse(const uint8_t *data, size_t size,
                                  struct parquet_footer *footer, struct shoal_error *err);
// A hash of the footer's bytes, which tell of all that is in the file.
shoal_status parquet_footer_hash(const char *path, uint64_t *hash,
                                 struct shoal_error *err);
void parquet_footer_free(struct parquet_footer *footer);

#endif
