#include "engine/handshake.h"

#include <stdlib.h>
#include <string.h>

#include "base/frame.h"
#include "base/json.h"
#include "base/memory.h"
#include "shoal/version.h"

shoal_status handshake_challenge(struct handshake *handshake, char **json,
                                 struct shoal_error *err) {
    shoal_status status = proof_make_nonce(handshake->nonces.driver, err);
    if (status != SHOAL_OK) return status;
    return json_take_text(json_pack("{s:i, s:s}", "protocol", FRAME_PROTOCOL, "nonce",
                                    handshake->nonces.driver),
                          json, err);
}

static shoal_status check_versions(const struct handshake *handshake, const json_t *root,
                                   struct shoal_error *err) {
    const char *shoal = json_string_value(json_object_get(root, "shoal"));
    const char *engine = json_string_value(json_object_get(root, "engine"));
    json_int_t protocol = json_integer_value(json_object_get(root, "protocol"));
    const char *own = handshake->engine_version;
    if (shoal != NULL && engine != NULL && protocol == FRAME_PROTOCOL &&
        strcmp(shoal, SHOAL_VERSION) == 0 && strcmp(engine, own) == 0)
        return SHOAL_OK;
    return shoal_fail(
        err, SHOAL_USAGE,
        "a worker is of another version: shoal %.40s with DuckDB %.40s, the "
        "driver is shoal %s with DuckDB %.40s; install the same on both",
        shoal ? shoal : "?", engine ? engine : "?", SHOAL_VERSION, own);
}

// Who it is, of those that a cluster hosts.
static shoal_status take_place(struct handshake *handshake, const json_t *root,
                               struct shoal_error *err) {
    uint64_t number = 0;
    if (json_object_get(root, "node") == NULL) return SHOAL_OK;
    shoal_status status = json_get_count(root, "worker", UINT32_MAX, &number, err);
    handshake->number = (uint32_t)number;
    handshake->pid = (int)json_integer_value(json_object_get(root, "pid"));
    return status == SHOAL_OK ? json_get_string(root, "node", &handshake->node, err)
                              : status;
}

void handshake_free(struct handshake *handshake) {
    free(handshake->node);
    free(handshake->serves);
    handshake->node = handshake->serves = NULL;
}

shoal_status handshake_check(struct handshake *handshake, const char *json, size_t size,
                             struct shoal_error *err) {
    json_t *root = NULL;
    shoal_status status = json_parse_object(json, size, &root, err);
    if (status == SHOAL_OK) status = check_versions(handshake, root, err);
    if (status == SHOAL_OK) {
        const char *nonce = json_string_value(json_object_get(root, "nonce"));
        const char *proof = json_string_value(json_object_get(root, "proof"));
        handshake->proven =
            proof_copy_nonce(nonce, handshake->nonces.worker) &&
            proof_holds(handshake->secret, PROOF_WORKER, &handshake->nonces, proof);
        if (!handshake->proven)
            status = shoal_fail(err, SHOAL_CORRUPT,
                                "the worker did not prove that it is one of this run: "
                                "its proof of the run's secret is %s",
                                proof == NULL ? "missing" : "wrong");
    }
    if (status == SHOAL_OK) status = take_place(handshake, root, err);
    json_decref(root);
    return status;
}

shoal_status handshake_hello(const struct handshake *handshake,
                             const struct executor_options *options, char **json,
                             struct shoal_error *err) {
    char proof[PROOF_TEXT];
    uint64_t before = memory_failures();
    json_t *allowed = json_array();
    shoal_status status =
        proof_make(handshake->secret, PROOF_DRIVER, &handshake->nonces, proof, err);
    if (status != SHOAL_OK) {
        json_decref(allowed);
        return status;
    }
    for (size_t i = 0; i < options->allowed_count; i++)
        json_array_append_new(allowed, json_string(options->allowed[i]));
    json_t *hello = json_pack(
        "{s:s, s:I, s:I, s:I, s:s?, s:s?, s:s?, s:o, s:s?}", "proof", proof, "threads",
        (json_int_t)options->threads, "memory", (json_int_t)options->memory_bytes,
        "temp_limit", (json_int_t)options->temp_bytes, "temp_dir", options->temp_dir,
        "memory_dir", options->memory_dir, "job_dir", options->job_dir, "allowed",
        allowed, "init_sql", options->init_sql);
    const struct handshake_spool *spool = handshake->spool;
    if (hello != NULL && spool != NULL) {
        json_object_set_new(hello, "run", json_string(spool->run));
        json_object_set_new(hello, "token", json_string(spool->token));
        json_object_set_new(hello, "own_spool", json_boolean(spool->mode == SPOOL_OWN));
        json_object_set_new(hello, "shared_spool",
                            json_boolean(spool->mode == SPOOL_SHARED));
    }
    return json_take_whole(hello, before, json, err);
}

shoal_status handshake_end(struct handshake *handshake, const char *json, size_t size,
                           struct shoal_error *err) {
    json_t *root = NULL;
    shoal_status status = json_parse_object(json, size, &root, err);
    if (status != SHOAL_OK) return status;
    const char *error = json_string_value(json_object_get(root, "error"));
    bool memory = json_is_true(json_object_get(root, "no_memory"));
    if (error != NULL)
        status = shoal_fail(err, memory ? SHOAL_NOMEM : SHOAL_USER,
                            "a worker cannot start: %.3000s", error);
    if (status == SHOAL_OK && json_object_get(root, "serves") != NULL)
        status = json_get_string(root, "serves", &handshake->serves, err);
    json_decref(root);
    return status;
}
