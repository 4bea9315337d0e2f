#include "query/settings.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

#define PREFIX "shoal"

static void set_skew(struct session_options *options, size_t value) {
    options->skew = value == 1 ? ADAPT_OFF : ADAPT_AUTO;
}
// What tests give to --skew is auto here.
static size_t get_skew(const struct session_options *options) {
    return options->skew == ADAPT_OFF ? 1 : 0;
}
static void reset_skew(struct session_options *options,
                       const struct session_options *initial) {
    options->skew = initial->skew;
}

static const struct setting {
    const char *name, *description;
    const char *values[4];                                       // NULL ends them
    void (*set)(struct session_options *options, size_t value);  // which of the values
    size_t (*get)(const struct session_options *options);
    void (*reset)(struct session_options *options, const struct session_options *initial);
} settings[] = {
    {"skew",
     "auto: heavy keys and large partitions are cut, so that no task is much longer than "
     "the others; off: they are left as they are",
     {"auto", "off", NULL},
     set_skew,
     get_skew,
     reset_skew},
};

#define SETTINGS (sizeof settings / sizeof *settings)

static const char *initial_value(const struct session *session,
                                 const struct setting *setting) {
    return setting->values[setting->get(&session->initial)];
}

shoal_status settings_register(struct session *session, struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    session->initial = session->options;
    for (size_t s = 0; status == SHOAL_OK && s < SETTINGS; s++) {
        struct text name = {0};
        text_printf(&name, PREFIX ".%s", settings[s].name);
        status = name.failed ? shoal_no_memory(err)
                             : duck_register_setting(session->conn, name.data,
                                                     initial_value(session, &settings[s]),
                                                     settings[s].description, err);
        text_free(&name);
    }
    return status;
}

static void append_values(struct text *out, const struct setting *setting) {
    for (size_t v = 0; setting->values[v] != NULL; v++)
        text_printf(out, "%s%s", v == 0 ? "" : " or ", setting->values[v]);
}

// The token as it stands, without its quotes; NULL: out of memory.
static char *word_of(const char *at) {
    if (*at == '\'' || *at == '"') return duck_token_unquoted(at, *at);
    return strndup(at, (size_t)(duck_token_end(at) - at));
}

// Of SET and RESET what stands behind: the setting's name without shoal's, *rest what
// follows it. NULL: it is none of shoal's, or out of memory.
static char *read_name(const char *at, const char **rest) {
    static const char *const scopes[] = {"global", "session", NULL};
    if (duck_token_one_of(at, scopes)) at = duck_token_next(at);
    char *name = word_of(at);
    *rest = duck_token_next(at);
    if (name != NULL && strcasecmp(name, PREFIX) == 0 && **rest == '.') {
        free(name);
        at = duck_token_next(*rest);
        *rest = duck_token_next(at);
        return word_of(at);
    }
    // "shoal.skew" in double quotes is how DuckDB calls it.
    bool quoted =
        name != NULL && *at == '"' && strncasecmp(name, PREFIX ".", sizeof PREFIX) == 0;
    if (quoted) {
        memmove(name, name + sizeof PREFIX, strlen(name + sizeof PREFIX) + 1);
        return name;
    }
    free(name);
    return NULL;
}

static shoal_status unknown(const char *name, struct shoal_error *err) {
    struct text known = {0};
    for (size_t s = 0; s < SETTINGS; s++) {
        text_printf(&known, "%s" PREFIX ".%s (", s == 0 ? "" : ", ", settings[s].name);
        append_values(&known, &settings[s]);
        text_append(&known, ")");
    }
    shoal_status status =
        known.failed ? shoal_no_memory(err)
                     : shoal_fail(err, SHOAL_USER,
                                  PREFIX ".%s is no setting; those of shoal are: %s",
                                  name, known.data);
    text_free(&known);
    return status;
}

static shoal_status no_value(const struct setting *setting, const char *value,
                             struct shoal_error *err) {
    struct text values = {0};
    append_values(&values, setting);
    shoal_status status =
        values.failed ? shoal_no_memory(err)
                      : shoal_fail(err, SHOAL_USER, "SET " PREFIX ".%s = %s: choose %s",
                                   setting->name, *value ? value : "''", values.data);
    text_free(&values);
    return status;
}

// What SET gives, behind the name: which of the values; SIZE_MAX: DEFAULT.
static shoal_status read_value(const struct setting *setting, const char *at,
                               size_t *value, struct shoal_error *err) {
    if (*at != '=' && !duck_token_is(at, "to")) return no_value(setting, at, err);
    at = duck_token_next(at);
    char *word = word_of(at);
    if (word == NULL) return no_value(setting, at, err);
    const char *end = duck_token_next(at);
    bool found = false;
    *value = SIZE_MAX;
    for (size_t v = 0; setting->values[v] != NULL; v++) {
        if (strcasecmp(word, setting->values[v]) != 0) continue;
        *value = v;
        found = true;
    }
    found = (found || duck_token_is(at, "default")) && *end == '\0';
    shoal_status status = found ? SHOAL_OK : no_value(setting, *end ? at : word, err);
    free(word);
    return status;
}

// Once the configuration is locked, planning has to set what it needs all the same.
static shoal_status allow_planning(struct session *session, struct shoal_error *err) {
    static const char ask[] =
        "SELECT 'SET allowed_configs=[' || string_agg('''' || name || '''', ', ') || ']' "
        "FROM (SELECT unnest(current_setting('allowed_configs')) UNION "
        "SELECT 'disabled_optimizers') AS t(name)";
    char *sql = NULL;
    shoal_status status = duck_scalar(session->conn, ask, &sql, err);
    if (status == SHOAL_OK) status = duck_run(session->conn, sql, err);
    free(sql);
    return status;
}

// max_execution_time is of the whole statement, wherever it runs.
static shoal_status set_deadline(struct session *session, struct shoal_error *err) {
    static const char ask[] = "SELECT current_setting('max_execution_time')::VARCHAR";
    char *limit = NULL;
    session->deadline = 0;
    if (!session->timed) return SHOAL_OK;
    shoal_status status = duck_scalar(session->conn, ask, &limit, err);
    if (status == SHOAL_OK && strtod(limit, NULL) > 0)
        session->deadline = clock_seconds() + strtod(limit, NULL) / 1000;
    free(limit);
    return status;
}

// DuckDB's settings that matter here too.
static shoal_status heed(struct session *session, const char *sql,
                         struct shoal_error *err) {
    static const char *const scopes[] = {"global", "session", "local", NULL};
    const char *at = duck_token_start(sql);
    if (session->options.workers == 0 ||
        (!duck_token_is(at, "set") && !duck_token_is(at, "pragma")))
        return SHOAL_OK;
    at = duck_token_next(at);
    if (duck_token_one_of(at, scopes)) at = duck_token_next(at);
    if (duck_token_is(at, "enable_external_access") ||
        duck_token_is(at, "preserve_identifier_case"))
        session->unusual = true;
    if (duck_token_is(at, "max_execution_time")) session->timed = true;
    if (duck_token_is(at, "lock_configuration")) return allow_planning(session, err);
    return SHOAL_OK;
}

shoal_status settings_apply(struct session *session, struct shoal_error *err) {
    static const char ask[] =
        "SELECT CASE WHEN NOT current_setting('enable_external_access') "
        "THEN 'enable_external_access is off in this session: --allow-paths confines "
        "workers' WHEN current_setting('preserve_identifier_case') ILIKE 'uppercase' "
        "THEN 'preserve_identifier_case changes the names that stages have' END";
    char *why = NULL;
    shoal_status status = set_deadline(session, err);
    if (status != SHOAL_OK || !session->unusual) return status;
    status = duck_scalar(session->conn, ask, &why, err);
    if (status == SHOAL_OK && why != NULL)
        status = shoal_fail(err, SHOAL_UNSUPPORTED, "%s", why);
    free(why);
    return status;
}

shoal_status settings_change(struct session *session, const char *sql, char **own,
                             struct shoal_error *err) {
    const char *first = duck_token_start(sql), *rest = NULL;
    bool reset = duck_token_is(first, "reset");
    const struct setting *setting = NULL;
    struct text text = {0};
    *own = NULL;
    shoal_status heeded = heed(session, sql, err);
    if (heeded != SHOAL_OK || (!reset && !duck_token_is(first, "set"))) return heeded;
    char *name = read_name(duck_token_next(first), &rest);
    if (name == NULL) return SHOAL_OK;
    for (size_t s = 0; s < SETTINGS; s++) {
        if (strcasecmp(name, settings[s].name) == 0) setting = &settings[s];
    }
    shoal_status status = setting == NULL ? unknown(name, err) : SHOAL_OK;
    free(name);
    if (status != SHOAL_OK) return status;
    size_t value = SIZE_MAX;
    if (reset && *rest != '\0')
        return shoal_fail(err, SHOAL_USER, "RESET " PREFIX ".%s: %s is too much",
                          setting->name, rest);
    if (!reset) status = read_value(setting, rest, &value, err);
    if (status != SHOAL_OK) return status;
    if (value == SIZE_MAX) {
        setting->reset(&session->options, &session->initial);
        value = setting->get(&session->initial);
    } else {
        setting->set(&session->options, value);
    }
    text_printf(&text, "SET GLOBAL \"" PREFIX ".%s\" = '%s'", setting->name,
                setting->values[value]);
    *own = text_take(&text);
    return *own == NULL ? shoal_no_memory(err) : SHOAL_OK;
}
