#include "worker/shelter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "block/places.h"
#include "block/remote.h"

#define MEMORY_PARENT "/dev/shm"

// Is it the driver's folder that has this path here? Then the file that the driver made
// in it is there.
static bool sees(const char *folder, const char *token) {
    struct text path = {0};
    text_printf(&path, "%s/%s", folder, token);
    bool seen = !path.failed && access(path.data, R_OK) == 0;
    text_free(&path);
    return seen;
}

static shoal_status keep_below(struct shelter *shelter, const char *logical,
                               const char *name, char **path, struct shoal_error *err) {
    struct text made = {0};
    text_printf(&made, "%s/%s", shelter->disk.path, name);
    *path = text_take(&made);
    if (*path == NULL) return shoal_no_memory(err);
    if (mkdir(*path, 0700) != 0 && errno != EEXIST)
        return shoal_fail(err, SHOAL_IO, "cannot make the folder %s: %s", *path,
                          strerror(errno));
    return places_keep(logical, *path, err);
}

// A tmpfs for blocks in memory, if there is one here; else they are on the disk too.
static shoal_status keep_memory(struct shelter *shelter, const char *logical,
                                const char *tag, struct shoal_error *err) {
    struct spool_space space;
    if (!spool_space(MEMORY_PARENT, &space) || !space.in_memory)
        return keep_below(shelter, logical, "memory", &shelter->no_tmpfs, err);
    shoal_status status = spool_join(&shelter->memory, MEMORY_PARENT, tag, err);
    return status == SHOAL_OK ? places_keep(logical, shelter->memory.path, err) : status;
}

struct wishes {  // which folders are to be this worker's own
    bool disk, memory, job;
};

static shoal_status make_folders(struct shelter *shelter, const struct wishes *own,
                                 const char *tag, struct executor_options *options,
                                 struct shoal_error *err) {
    shoal_status status = spool_join(&shelter->disk, NULL, tag, err);
    if (status == SHOAL_OK && own->disk)
        status = places_keep(options->temp_dir, shelter->disk.path, err);
    if (status == SHOAL_OK && own->memory)
        status = keep_memory(shelter, options->memory_dir, tag, err);
    if (status == SHOAL_OK && own->job)
        status = keep_below(shelter, options->job_dir, "job", &shelter->job, err);
    return status;
}

// What it has of its own is served under the driver's names.
static shoal_status serve(struct shelter *shelter, const struct wishes *own,
                          const char *host, const uint8_t *secret,
                          const struct executor_options *options,
                          struct shoal_error *err) {
    struct server_folder folders[3];
    size_t count = 0;
    if (own->disk)
        folders[count++] = (struct server_folder){options->temp_dir, shelter->disk.path};
    if (own->memory)
        folders[count++] = (struct server_folder){
            options->memory_dir,
            shelter->memory.path != NULL ? shelter->memory.path : shelter->no_tmpfs};
    if (own->job)
        folders[count++] = (struct server_folder){options->job_dir, shelter->job};
    struct server_options server = {
        .host = host, .secret = secret, .folders = folders, .folder_count = count};
    return block_server_start(&server, &shelter->server, err);
}

shoal_status shelter_open(struct shelter *shelter, const json_t *hello, const char *node,
                          const char *host, const uint8_t secret[PROOF_SECRET],
                          struct executor_options *options, struct shoal_error *err) {
    const char *token = json_string_value(json_object_get(hello, "token"));
    const char *run = json_string_value(json_object_get(hello, "run"));
    bool alone = json_is_true(json_object_get(hello, "own_spool"));
    bool shared = json_is_true(json_object_get(hello, "shared_spool"));
    *shelter = (struct shelter){.disk = {.lock = -1}, .memory = {.lock = -1}};
    if (token == NULL || run == NULL || node == NULL) return SHOAL_OK;
    remote_open(secret, NULL);
    struct wishes own = {
        .disk = alone || !sees(options->temp_dir, token),
        .memory =
            options->memory_dir != NULL && (alone || !sees(options->memory_dir, token)),
        .job = options->job_dir != NULL && (alone || !sees(options->job_dir, token))};
    if (!own.disk && !own.memory && !own.job) return SHOAL_OK;
    if (shared)
        return shoal_fail(err, SHOAL_IO,
                          "node %s does not see the driver's folder %s: give --temp-dir "
                          "(and --memory-dir none) on a file system that all nodes have, "
                          "or leave --spool shared out",
                          node, own.disk ? options->temp_dir : options->memory_dir);
    struct text tag = {0};
    text_printf(&tag, "%s/%s", run, node);
    shoal_status status = tag.failed
                              ? shoal_no_memory(err)
                              : make_folders(shelter, &own, tag.data, options, err);
    text_free(&tag);
    if (status == SHOAL_OK) status = serve(shelter, &own, host, secret, options, err);
    if (status == SHOAL_OK && own.disk) options->temp_dir = shelter->disk.path;
    if (status == SHOAL_OK && own.memory)
        options->memory_dir = shelter->memory.path;  // NULL: nothing in memory
    if (status == SHOAL_OK && own.job) options->job_dir = shelter->job;
    if (status != SHOAL_OK) shelter_close(shelter);
    return status;
}

const char *shelter_address(const struct shelter *shelter) {
    return shelter->server == NULL ? NULL : block_server_address(shelter->server);
}

void shelter_close(struct shelter *shelter) {
    block_server_stop(shelter->server);
    remote_close();
    places_forget();
    spool_close(&shelter->memory);
    spool_close(&shelter->disk);
    free(shelter->job);
    free(shelter->no_tmpfs);
    *shelter = (struct shelter){.disk = {.lock = -1}, .memory = {.lock = -1}};
}
