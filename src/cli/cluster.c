#include "cli/cluster.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define START_SECONDS 120
#define IDLE_SECONDS 60

shoal_status cluster_read_engine(const char *text, struct cluster_options *cluster,
                                 struct shoal_error *err) {
    static const char *const kinds[] = {"ray://", "dask://", "spark://"};
    cluster->url = NULL;
    if (strcmp(text, "local") == 0) return SHOAL_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t size = strlen(kinds[i]);
        if (strncmp(text, kinds[i], size) != 0 || text[size] == '\0') continue;
        cluster->url = text;
        return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_USAGE,
                      "--engine %s: give local, ray://HOST:PORT, ray://auto, "
                      "dask://HOST:PORT, dask:///SCHEDULER_FILE, spark://HOST:PORT or "
                      "spark://MASTER",
                      text);
}

shoal_status cluster_read_spool(const char *text, struct cluster_options *cluster,
                                struct shoal_error *err) {
    static const char *const names[] = {"auto", "shared", "own"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        cluster->spool = (enum cluster_spool)i;
        return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_USAGE, "--spool %s: choose auto, shared or own", text);
}

// NAME=VALUE into the object, which is made.
static shoal_status put(json_t **object, const char *option, const char *text,
                        json_t *value, struct shoal_error *err) {
    const char *equals = strchr(text, '=');
    char *name = equals == NULL ? NULL : strndup(text, (size_t)(equals - text));
    if (*object == NULL) *object = json_object();
    int failed =
        name == NULL || value == NULL ? -1 : json_object_set(*object, name, value);
    free(name);
    json_decref(value);
    return failed == 0 ? SHOAL_OK
                       : shoal_fail(err, SHOAL_USAGE, "--%s %s: its text is no UTF-8",
                                    option, text);
}

// Behind the '=' that the text must have, after a name; NULL: it hasn't.
static const char *value_of(const char *text) {
    const char *equals = strchr(text, '=');
    return equals == NULL || equals == text ? NULL : equals + 1;
}

shoal_status cluster_read_resource(const char *text, struct cluster_arguments *arguments,
                                   struct shoal_error *err) {
    const char *value = value_of(text);
    char *end = NULL;
    double amount = value == NULL ? 0 : strtod(value, &end);
    if (value == NULL || end == value || *end != '\0' || !(amount > 0) ||
        !isfinite(amount))
        return shoal_fail(err, SHOAL_USAGE,
                          "--worker-resource %s: give NAME=AMOUNT, as GPU=0.5 or ssd=1",
                          text);
    return put(&arguments->resources, "worker-resource", text, json_real(amount), err);
}

shoal_status cluster_read_setting(const char *text, struct cluster_arguments *arguments,
                                  struct shoal_error *err) {
    const char *value = value_of(text);
    if (value == NULL)
        return shoal_fail(err, SHOAL_USAGE,
                          "--engine-option %s: give NAME=VALUE, as "
                          "spark.executor.memory=4g",
                          text);
    return put(&arguments->settings, "engine-option", text, json_string(value), err);
}

static bool read_port(const char *text, char **end, uint16_t *port) {
    long number = strtol(text, end, 10);
    *port = (uint16_t)number;
    return *end != text && number > 0 && number <= UINT16_MAX;
}

// A v6 address is in brackets where ports follow.
shoal_status cluster_read_listen(const char *text, struct cluster_arguments *arguments,
                                 struct cluster_options *cluster,
                                 struct shoal_error *err) {
    const char *host = *text == '[' ? text + 1 : text;
    const char *after = *text == '[' ? strchr(text, ']') : strchr(text, ':');
    size_t size = after == NULL ? strlen(host) : (size_t)(after - host);
    const char *ports = after == NULL ? "" : *after == ']' ? after + 1 : after;
    bool good = *text != '[' || after != NULL;
    if (good && *ports != '\0') {
        char *end = NULL;
        good = *ports == ':' && read_port(ports + 1, &end, &cluster->first_port);
        cluster->last_port = cluster->first_port;
        if (good && *end == '-') good = read_port(end + 1, &end, &cluster->last_port);
        good = good && *end == '\0' && cluster->last_port >= cluster->first_port;
    }
    if (!good)
        return shoal_fail(err, SHOAL_USAGE,
                          "--listen %s: give HOST, HOST:PORT, HOST:FIRST-LAST or "
                          ":FIRST-LAST",
                          text);
    free(arguments->texts[2]);
    arguments->texts[2] = size > 0 ? strndup(host, size) : NULL;
    cluster->listen = arguments->texts[2];
    return size == 0 || cluster->listen != NULL ? SHOAL_OK : shoal_no_memory(err);
}

shoal_status cluster_finish(struct cluster_arguments *arguments,
                            struct cluster_options *cluster, uint32_t workers,
                            struct shoal_error *err) {
    if (cluster->url == NULL && arguments->given != NULL)
        return shoal_fail(err, SHOAL_USAGE,
                          "--%s goes with --engine ray://, dask:// or spark://",
                          arguments->given);
    if (cluster->url == NULL && cluster->least > 0)
        return shoal_fail(err, SHOAL_USAGE,
                          "--workers MIN..MAX goes with --engine: on this machine give "
                          "one number");
    if (cluster->url == NULL) return SHOAL_OK;
    if (workers == 0)
        return shoal_fail(err, SHOAL_USAGE,
                          "--engine %s: say how many workers the cluster is to host: "
                          "--workers N",
                          cluster->url);
    const char *python = getenv("SHOAL_PYTHON");
    if (cluster->python == NULL)
        cluster->python = python != NULL && *python != '\0' ? python : "python3";
    if (cluster->idle_seconds <= 0) cluster->idle_seconds = IDLE_SECONDS;
    if (cluster->start_seconds <= 0) cluster->start_seconds = START_SECONDS;
    if (arguments->resources != NULL)
        arguments->texts[0] = json_dumps(arguments->resources, JSON_COMPACT);
    if (arguments->settings != NULL)
        arguments->texts[1] = json_dumps(arguments->settings, JSON_COMPACT);
    if ((arguments->resources != NULL && arguments->texts[0] == NULL) ||
        (arguments->settings != NULL && arguments->texts[1] == NULL))
        return shoal_no_memory(err);
    cluster->resources = arguments->texts[0];
    cluster->settings = arguments->texts[1];
    return SHOAL_OK;
}

void cluster_arguments_free(struct cluster_arguments *arguments) {
    json_decref(arguments->resources);
    json_decref(arguments->settings);
    for (size_t i = 0; i < 3; i++) free(arguments->texts[i]);
    *arguments = (struct cluster_arguments){0};
}
