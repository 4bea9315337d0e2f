// A worker whose driver sends anything: it leaves, and leaves nothing.
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "worker/worker.h"

#define THREADS_MOST 4  // each is a real one here

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

static void stand_in_close(struct executor *executor) {
    free(executor);
}

static const char *stand_in_version(void) {
    return "v1";
}

static const struct executor_ops stand_in = {.open = stand_in_open,
                                             .run = stand_in_run,
                                             .interrupt = stand_in_interrupt,
                                             .close = stand_in_close,
                                             .version = stand_in_version};

const struct executor_ops duck_executor;  // in place of task/duck_executor.c

// What a worker says of bad messages would be the whole log.
static void be_silent(void) {
    static FILE *silence;
    if (silence == NULL) silence = fopen("/dev/null", "we");
    if (silence != NULL) stderr = silence;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int sockets[2];
    struct timeval patience = {.tv_sec = 5};
    if (size > 50000) return 0;  // more than the socket takes before anyone reads
    be_silent();
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    setsockopt(sockets[1], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    uint8_t *frames = (uint8_t *)fuzz_text(data, size);
    fuzz_number_frames(frames, size);
    FUZZ_CHECK(send(sockets[0], frames, size, 0) == (ssize_t)size);
    free(frames);
    shutdown(sockets[0], SHUT_WR);
    FUZZ_CHECK(worker_serve(sockets[1], &stand_in) == 0);
    close(sockets[0]);
    close(sockets[1]);
    return 0;
}
