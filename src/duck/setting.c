// A setting of shoal's own among DuckDB's: it is listed in duckdb_settings(), and
// current_setting() knows it.
#include "duck/internal.h"

shoal_status duck_register_setting(struct duck_conn *conn, const char *name,
                                   const char *value, const char *description,
                                   struct shoal_error *err) {
    duckdb_config_option option = duckdb_create_config_option();
    duckdb_logical_type type = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    duckdb_value initial = duckdb_create_varchar(value);
    duckdb_config_option_set_name(option, name);
    duckdb_config_option_set_type(option, type);
    duckdb_config_option_set_default_value(option, initial);
    duckdb_config_option_set_default_scope(option, DUCKDB_CONFIG_OPTION_SCOPE_GLOBAL);
    duckdb_config_option_set_description(option, description);
    bool ok = duckdb_register_config_option(conn->conn, option) == DuckDBSuccess;
    duckdb_destroy_value(&initial);
    duckdb_destroy_logical_type(&type);
    duckdb_destroy_config_option(&option);
    if (ok) return SHOAL_OK;
    return shoal_fail(err, SHOAL_INTERNAL, "cannot register the setting %s", name);
}
