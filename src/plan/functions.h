// Kinds of functions, from a short table or from DuckDB's catalog.
#ifndef SHOAL_PLAN_FUNCTIONS_H
#define SHOAL_PLAN_FUNCTIONS_H

#include <jansson.h>

#include "base/status.h"
#include "duck/duck.h"

enum {
    FUNCTION_AGGREGATE = 1,
    FUNCTION_VOLATILE = 2,
    FUNCTION_SESSION = 4,  // volatile, and changes or asks the session: nextval
};

struct functions {
    struct duck_conn *conn;
    json_t *kinds;  // of the catalog, once it was asked
    shoal_status status;
    struct shoal_error error;
};

// A set of the kinds above. When the catalog cannot be read, 0 with functions->status
// set.
unsigned functions_kind(struct functions *functions, const char *name);
// The same from the catalog alone, and the names that the table answers for: for its
// test.
unsigned functions_catalog_kind(struct functions *functions, const char *name);
void functions_each_listed(void (*visit)(void *ctx, const char *name), void *ctx);
void functions_free(struct functions *functions);

#endif
