// A COPY that can't be is better known before all rows are there: an option that its
// format doesn't have, a partition by a column that the query hasn't.
#include <stdlib.h>

#include "base/text.h"
#include "dist/stages.h"
#include "query/copy.h"

static shoal_status check_partitions(const struct copy *copy, const struct schema *schema,
                                     struct shoal_error *err) {
    json_t *names = NULL;
    size_t i;
    json_t *name;
    struct shoal_error ignored;
    shoal_status status = SHOAL_OK;
    if (copy->partition_by == NULL || copy->delta) return SHOAL_OK;
    (void)copy_partition_names(copy->partition_by, &names, &ignored);  // else DuckDB says
    json_array_foreach(names, i, name) {
        if (status == SHOAL_OK && schema_find(schema, json_string_value(name)) == NULL)
            status = shoal_fail(err, SHOAL_USER,
                                "PARTITION_BY %s: the query has no column of that name",
                                json_string_value(name));
    }
    json_decref(names);
    return status;
}

// DuckDB binds one of no rows.
static shoal_status check_options(struct duck_conn *conn, const struct copy *copy,
                                  const struct schema *schema, struct shoal_error *err) {
    struct text sql = {0};
    struct duck_result *plan = NULL;
    char *none = stage_empty_sql(schema);
    text_printf(&sql, "EXPLAIN COPY %s TO ", none ? none : "");
    text_append_literal(&sql, copy->path);
    text_printf(&sql, " (%s)", copy->options);
    shoal_status status = none == NULL || sql.failed
                              ? shoal_no_memory(err)
                              : duck_query_text(conn, sql.data, &plan, err);
    duck_result_free(plan);
    text_free(&sql);
    free(none);
    return status;
}

shoal_status copy_check(struct duck_conn *conn, const struct copy *copy,
                        const struct schema *schema, struct shoal_error *err) {
    shoal_status status = check_partitions(copy, schema, err);
    if (status != SHOAL_OK || schema_has_nameless(schema)) return status;
    return check_options(conn, copy, schema, err);
}
