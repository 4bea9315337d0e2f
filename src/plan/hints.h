// Hints: what a statement's own text says about how it should run, behind a SELECT, as in
// Spark: SELECT /*+ BROADCAST(a, b), REPARTITION(8) */ ... DuckDB drops them as comments.
// Never is a wrong one an error, and never is one that isn't followed passed over in
// silence: whoever plans says so.
#ifndef SHOAL_PLAN_HINTS_H
#define SHOAL_PLAN_HINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum hint_kind {
    HINT_BROADCAST,    // send the relation `name` to every task of what it is joined with
    HINT_SHUFFLE,      // don't, and not the other side either
    HINT_REPARTITION,  // shuffles have so many partitions
    HINT_PLACE,        // rows that are equal in the column `name` are written together
    HINT_REFUSED,      // none that is known, or not as it stands: `why`
};

struct hint {
    enum hint_kind kind;
    char *text;  // as it was given, for messages: "BROADCAST(a)"
    char *name;  // of the relation, or column
    uint32_t partitions;
    char *why;
};

struct hints {
    struct hint *list;
    size_t count;
};

#define HINT_PARTITIONS_MOST 65536

// All hints of a statement. Free them with hints_free, in any case.
shoal_status hints_read(const char *sql, struct hints *hints, struct shoal_error *err);
void hints_free(struct hints *hints);

#endif
