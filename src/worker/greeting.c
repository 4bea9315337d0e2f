#include "worker/greeting.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/frame.h"
#include "base/json.h"
#include "shoal/version.h"

shoal_status greeting_read_secret(int fd, uint8_t secret[PROOF_SECRET],
                                  struct shoal_error *err) {
    size_t size = 0;
    while (size < PROOF_SECRET) {
        ssize_t got = read(fd, secret + size, PROOF_SECRET - size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        size += (size_t)got;
    }
    close(fd);
    if (size == PROOF_SECRET) return SHOAL_OK;
    return shoal_fail(err, SHOAL_USAGE, "--secret-fd %d brings no secret of %d bytes", fd,
                      PROOF_SECRET);
}

shoal_status greeting_answer(struct greeting *greeting, const char *version,
                             const char *challenge, size_t size, char **json,
                             struct shoal_error *err) {
    json_t *root = NULL;
    char proof[PROOF_TEXT];
    if (greeting->challenged)
        return shoal_fail(err, SHOAL_CORRUPT, "protocol error: a second challenge");
    shoal_status status = json_parse_object(challenge, size, &root, err);
    const char *nonce = json_string_value(json_object_get(root, "nonce"));
    if (status == SHOAL_OK && !proof_copy_nonce(nonce, greeting->nonces.driver))
        status = shoal_fail(err, SHOAL_CORRUPT,
                            "protocol error: a challenge without a "
                            "nonce of 64 digits");
    json_decref(root);
    if (status == SHOAL_OK) status = proof_make_nonce(greeting->nonces.worker, err);
    if (status == SHOAL_OK)
        status =
            proof_make(greeting->secret, PROOF_WORKER, &greeting->nonces, proof, err);
    if (status != SHOAL_OK) return status;
    greeting->challenged = true;
    json_t *number = greeting->node != NULL ? json_integer(greeting->number) : NULL;
    return json_take_text(
        json_pack("{s:i, s:s, s:s, s:i, s:s, s:s, s:s*, s:o*}", "protocol",
                  FRAME_PROTOCOL, "shoal", SHOAL_VERSION, "engine", version, "pid",
                  (int)getpid(), "nonce", greeting->nonces.worker, "proof", proof, "node",
                  greeting->node, "worker", number),
        json, err);
}

#define FOLDERS_MOST 1000

static shoal_status read_allowed(const json_t *root, const char ***allowed,
                                 struct executor_options *options,
                                 struct shoal_error *err) {
    json_t *list = NULL;
    shoal_status status = json_get_array(root, "allowed", FOLDERS_MOST, &list, err);
    if (status != SHOAL_OK) return status;
    *allowed = calloc(json_array_size(list) + 1, sizeof **allowed);
    if (*allowed == NULL) return shoal_no_memory(err);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *folder = json_string_value(json_array_get(list, i));
        if (folder == NULL)
            return shoal_fail(err, SHOAL_CORRUPT, "a hello's allowed folder is no text");
        (*allowed)[options->allowed_count++] = folder;
    }
    options->allowed = *allowed;
    return SHOAL_OK;
}

shoal_status greeting_trust(struct greeting *greeting, const char *hello, size_t size,
                            json_t **root, const char ***allowed,
                            struct executor_options *options, struct shoal_error *err) {
    uint64_t threads = 0;
    *root = NULL;
    *allowed = NULL;
    *options = (struct executor_options){0};
    shoal_status status = json_parse_object(hello, size, root, err);
    if (status != SHOAL_OK) return status;
    const char *proof = json_string_value(json_object_get(*root, "proof"));
    greeting->trusted =
        greeting->challenged && !greeting->trusted &&
        proof_holds(greeting->secret, PROOF_DRIVER, &greeting->nonces, proof);
    if (!greeting->trusted)
        return shoal_fail(err, SHOAL_CORRUPT,
                          "the driver did not prove that it is the one of this run: its "
                          "proof of the run's secret is %s",
                          proof == NULL ? "missing" : "wrong");
    status = json_get_count(*root, "threads", 4096, &threads, err);
    if (status == SHOAL_OK && threads == 0)
        status = shoal_fail(err, SHOAL_CORRUPT, "a worker needs at least one thread");
    options->threads = (uint32_t)threads;
    if (status == SHOAL_OK)
        status = json_get_count(*root, "memory", INT64_MAX, &options->memory_bytes, err);
    if (status == SHOAL_OK)
        status =
            json_get_count(*root, "temp_limit", INT64_MAX, &options->temp_bytes, err);
    options->temp_dir = json_string_value(json_object_get(*root, "temp_dir"));
    options->memory_dir = json_string_value(json_object_get(*root, "memory_dir"));
    options->job_dir = json_string_value(json_object_get(*root, "job_dir"));
    options->init_sql = json_string_value(json_object_get(*root, "init_sql"));
    if (status == SHOAL_OK) status = read_allowed(*root, allowed, options, err);
    return status;
}
