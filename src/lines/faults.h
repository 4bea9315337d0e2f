// Records of JSON files that don't parse, or don't fit the types of their columns, as
// SQL: which rows are good, and what is wrong with the others.
#ifndef SHOAL_LINES_FAULTS_H
#define SHOAL_LINES_FAULTS_H

#include "base/schema.h"
#include "base/text.h"

#define FAULTS_IGNORED "ignore_errors = true"
// With types that are given, DuckDB takes a file of one column for values of that type as
// soon as one record is no object.
#define FAULTS_OBJECTS "records = true"
// read_json knows this option, and refuses all but false: in a statement it marks the
// calls whose faulty records are to be kept, so that those of views stay as they are.
#define FAULTS_MARK "file_row_number"

// Two calls that read the same JSON files, both with ignore_errors.
struct faults_calls {
    const char *rows;   // of read_json: rows, NULL in them where a value doesn't fit
    const char *texts;  // of read_json_objects: each record's text, NULL if it is no JSON
    const struct schema *columns;  // of rows, those that may have faults
};

// SELECT ... of the records with faults, and the first and last of each file: scan, a
// number that is given; n, the record's among all that the calls read; file; whether
// first or last; text; faults, a list of STRUCT("column", error, reason), NULL if there
// are none.
void faults_append_select(struct text *out, const struct faults_calls *calls,
                          size_t scan);
// A subquery of the rows of the others, once the records with faults are in FAULTS_TABLE,
// of the columns scan and n. columns: of rows, "*" or "*, filename".
#define FAULTS_TABLE "shoal_json_faults"
void faults_append_good(struct text *out, const char *columns, const char *rows,
                        size_t scan);
// A condition that holds for every row, and makes DuckDB read all columns: where
// ignore_errors is not set it fails then for every fault there is.
void faults_append_read_all(struct text *out, const struct schema *columns);

#endif
