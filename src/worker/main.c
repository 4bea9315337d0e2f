// The command `shoal worker`: how the process came to be, and by what it is reached.
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "net/address.h"
#include "net/channel.h"
#include "worker/greeting.h"
#include "worker/worker.h"

#define CONNECT_SECONDS 20

// Each task frees its buffers and the next asks for as many: they stay with the process
// instead of being unmapped and cleared again page by page.
static void keep_memory(void) {
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

enum option_code {
    OPTION_FD = 256,
    OPTION_SECRET,
    OPTION_CONNECT,
    OPTION_NUMBER,
    OPTION_NODE
};

static const struct option known[] = {
    {"fd", required_argument, NULL, OPTION_FD},
    {"secret-fd", required_argument, NULL, OPTION_SECRET},
    {"connect", required_argument, NULL, OPTION_CONNECT},
    {"number", required_argument, NULL, OPTION_NUMBER},
    {"node", required_argument, NULL, OPTION_NODE},
    {NULL, 0, NULL, 0}};

struct arguments {
    long fd, secret_fd, number;  // -1: missing, or wrong
    const char *address, *node;
};

// A number of at least `least`; -1: it is none.
static long read_number(const char *text, long least) {
    char *end = NULL;
    long number = strtol(text, &end, 10);
    return *end != '\0' || number < least || number > INT_MAX ? -1 : number;
}

static bool read_arguments(int argc, char **argv, struct arguments *arguments) {
    int option = 0;
    *arguments = (struct arguments){.fd = -1, .secret_fd = -1, .number = -1};
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
            case OPTION_FD:
                arguments->fd = read_number(optarg, 3);
                break;
            case OPTION_SECRET:
                arguments->secret_fd = read_number(optarg, 0);
                break;
            case OPTION_CONNECT:
                arguments->address = optarg;
                break;
            case OPTION_NUMBER:
                arguments->number = read_number(optarg, 0);
                break;
            case OPTION_NODE:
                arguments->node = optarg;
                break;
            default:
                return false;
        }
    }
    bool hosted = arguments->address != NULL && arguments->number >= 0 &&
                  arguments->node != NULL && arguments->fd < 0;
    bool child = arguments->address == NULL && arguments->fd >= 0;
    return optind == argc && arguments->secret_fd >= 0 && (hosted || child);
}

static shoal_status serve(const struct arguments *arguments, int *code,
                          struct shoal_error *err) {
    struct worker_options options = {.fd = (int)arguments->fd,
                                     .number = (uint32_t)arguments->number,
                                     .node = arguments->node};
    struct channel *channel = NULL;
    char host[NET_ADDRESS];
    shoal_status status =
        greeting_read_secret((int)arguments->secret_fd, options.secret, err);
    if (status == SHOAL_OK && arguments->address != NULL) {
        options.host = host;
        status = net_route_to(arguments->address, host, sizeof host, err);
        if (status == SHOAL_OK)
            status = channel_connect(arguments->address, options.secret, CONNECT_SECONDS,
                                     &channel, err);
        if (status == SHOAL_OK) status = channel_descriptor(channel, &options.fd, err);
    }
    if (status == SHOAL_OK) *code = worker_serve(&options, &duck_executor);
    proof_forget(options.secret);
    channel_free(channel);
    return status;
}

int worker_main(int argc, char **argv) {
    struct arguments arguments;
    struct shoal_error err;
    int code = 0;
    if (!read_arguments(argc, argv, &arguments)) {
        fprintf(
            stderr,
            "shoal worker is started by shoal itself: shoal worker --fd N --secret-fd "
            "M, or, where a cluster hosts it, shoal worker --connect HOST:PORT "
            "--number N --node NAME --secret-fd M\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a driver that is gone already closed the socket
    signal(SIGINT, SIG_IGN);           // a terminal's Ctrl-C: the driver decides
    keep_memory();
    if (serve(&arguments, &code, &err) == SHOAL_OK) return code;
    fprintf(stderr, "shoal worker: %s\n", err.message);
    return err.status == SHOAL_LOST || err.status == SHOAL_IO ? 1 : 2;
}
