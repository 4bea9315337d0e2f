// Options about the cluster that hosts workers: --engine and what is asked of it.
#ifndef SHOAL_CLI_CLUSTER_H
#define SHOAL_CLI_CLUSTER_H

#include <jansson.h>
#include <stdbool.h>

#include "engine/engine.h"

struct cluster_arguments {
    json_t *resources, *settings;  // of --worker-resource and --engine-option
    char *texts[3];                // that the cluster's options point to
    const char *given;             // the first such option; NULL: none
};

// "ray://...", "dask://...", "spark://..."; "local" is this machine.
shoal_status cluster_read_engine(const char *text, struct cluster_options *cluster,
                                 struct shoal_error *err);
shoal_status cluster_read_spool(const char *text, struct cluster_options *cluster,
                                struct shoal_error *err);
// "NAME=AMOUNT", of a resource that each worker needs.
shoal_status cluster_read_resource(const char *text, struct cluster_arguments *arguments,
                                   struct shoal_error *err);
// "NAME=VALUE", a setting of the cluster's own.
shoal_status cluster_read_setting(const char *text, struct cluster_arguments *arguments,
                                  struct shoal_error *err);
// "HOST", "HOST:PORT" or "HOST:FIRST-LAST"; an empty HOST is by the route to the head.
shoal_status cluster_read_listen(const char *text, struct cluster_arguments *arguments,
                                 struct cluster_options *cluster,
                                 struct shoal_error *err);
// All options are read: fills what is not said. SHOAL_USAGE: one makes no sense.
shoal_status cluster_finish(struct cluster_arguments *arguments,
                            struct cluster_options *cluster, uint32_t workers,
                            struct shoal_error *err);
void cluster_arguments_free(struct cluster_arguments *arguments);

#endif
