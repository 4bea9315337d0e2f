// A worker whose driver sends anything: it leaves, and leaves nothing. The driver knows
// the run's secret: where the input has PLACE, a hello's proof goes, so that what comes
// behind it is taken.
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/frame.h"
#include "engine/handshake.h"
#include "fuzz/fuzz.h"
#include "worker/worker.h"

#define THREADS_MOST 4  // each is a real one here
// 64 characters.
#define PLACE "pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp"

struct executor {
    int nothing;
};

static shoal_status stand_in_open(const struct executor_options *options,
                                  struct executor **executor, struct shoal_error *err) {
    if (options->threads > THREADS_MOST)
        return shoal_fail(err, SHOAL_USER, "%u are too many threads", options->threads);
    *executor = calloc(1, sizeof **executor);
    return *executor == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

static shoal_status stand_in_run(struct executor *executor, uint32_t slot,
                                 const struct task *task, struct task_output *output,
                                 struct shoal_error *err) {
    (void)executor;
    FUZZ_CHECK(slot < THREADS_MOST && task->partitions > 0);
    if (*task->sql == 'f') return shoal_fail(err, SHOAL_USER, "%s", task->sql);
    output->partitions = task->partitions;
    return SHOAL_OK;
}

static void stand_in_interrupt(struct executor *executor, uint32_t slot) {
    FUZZ_CHECK(executor != NULL && slot < THREADS_MOST);
}

static double stand_in_progress(struct executor *executor, uint32_t slot) {
    FUZZ_CHECK(executor != NULL && slot < THREADS_MOST);
    return -1;
}

static void stand_in_close(struct executor *executor) {
    free(executor);
}

static const char *stand_in_version(void) {
    return "v1";
}

static const struct executor_ops stand_in = {.open = stand_in_open,
                                             .run = stand_in_run,
                                             .interrupt = stand_in_interrupt,
                                             .progress = stand_in_progress,
                                             .close = stand_in_close,
                                             .version = stand_in_version};

const struct executor_ops duck_executor;  // in place of task/duck_executor.c

// What a worker says of bad messages would be the whole log.
static void be_silent(void) {
    static FILE *silence;
    if (silence == NULL) silence = fopen("/dev/null", "we");
    if (silence != NULL) stderr = silence;
}

struct driver {
    int fd;
    uint8_t *data;
    size_t size;
    uint8_t secret[PROOF_SECRET];
};

// The worker's proof; false: it has left.
static bool hear_proof(int fd, struct handshake *handshake) {
    struct frame_reader reader = {0};
    struct shoal_error err;
    bool found = false, closed = false;
    while (!found && !closed) {
        enum frame_type type;
        const char *payload = NULL;
        size_t size = 0;
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        FUZZ_CHECK(poll(&poller, 1, 5000) == 1);
        FUZZ_CHECK(frame_receive(&reader, fd, &closed, &err) == SHOAL_OK);
        FUZZ_CHECK(frame_next(&reader, &found, &type, &payload, &size, &err) == SHOAL_OK);
        if (found)
            FUZZ_CHECK(handshake_check(handshake, payload, size, &err) == SHOAL_OK);
    }
    frame_reader_free(&reader);
    return found;
}

static void put_proof(struct driver *driver, const struct handshake *handshake) {
    char proof[PROOF_TEXT];
    struct shoal_error err;
    uint8_t *place = memmem(driver->data, driver->size, PLACE, PROOF_TEXT - 1);
    FUZZ_CHECK(proof_make(driver->secret, PROOF_DRIVER, &handshake->nonces, proof,
                          &err) == SHOAL_OK);
    if (place != NULL) memcpy(place, proof, PROOF_TEXT - 1);
}

static void *drive(void *argument) {
    struct driver *driver = argument;
    struct frame_writer writer = {.fd = driver->fd, .point = FAULT_DRIVER_SEND};
    struct handshake handshake = {.secret = driver->secret, .engine_version = "v1"};
    struct shoal_error err;
    char *challenge = NULL;
    FUZZ_CHECK(handshake_challenge(&handshake, &challenge, &err) == SHOAL_OK);
    FUZZ_CHECK(frame_send(&writer, FRAME_CHALLENGE, challenge, strlen(challenge), &err) ==
               SHOAL_OK);
    free(challenge);
    if (hear_proof(driver->fd, &handshake)) {
        put_proof(driver, &handshake);
        (void)send(driver->fd, driver->data, driver->size, MSG_NOSIGNAL);
    }
    shutdown(driver->fd, SHUT_WR);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int sockets[2];
    struct worker_options options = {0};
    struct timeval patience = {.tv_sec = 5};
    struct driver driver = {.size = size};
    struct shoal_error err;
    pthread_t thread;
    if (size > 50000) return 0;  // more than the socket takes before anyone reads
    be_silent();
    driver.data = malloc(size + 1);
    FUZZ_CHECK(driver.data != NULL);
    memcpy(driver.data, data, size);
    fuzz_number_frames(driver.data, size, 1);  // behind the challenge
    FUZZ_CHECK(proof_make_secret(driver.secret, &err) == SHOAL_OK);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    setsockopt(sockets[1], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    driver.fd = sockets[0];
    FUZZ_CHECK(pthread_create(&thread, NULL, drive, &driver) == 0);
    options.fd = sockets[1];
    memcpy(options.secret, driver.secret, PROOF_SECRET);
    FUZZ_CHECK(worker_serve(&options, &stand_in) == 0);
    close(sockets[1]);
    FUZZ_CHECK(pthread_join(thread, NULL) == 0);
    close(sockets[0]);
    free(driver.data);
    return 0;
}
