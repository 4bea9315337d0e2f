#include "engine/host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/proof.h"
#include "base/text.h"
#include "engine/process.h"

#define LINE_MOST (1u << 20)

extern char **environ;

// ---- the process

// Where the package is beside the program: in a checkout, or where it was installed.
// False: the interpreter has it.
static bool find_package(const char *program, struct text *path) {
    static const char *const places[] = {"/../python", "/../lib/shoal/python"};
    const char *end = strrchr(program, '/');
    int folder = end == NULL ? 0 : (int)(end - program);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        path->size = 0;
        text_printf(path, "%.*s%s/shoal/host/__main__.py", folder, program, places[i]);
        if (path->failed || access(path->data, R_OK) != 0) continue;
        path->size = 0;
        text_printf(path, "%.*s%s", folder, program, places[i]);
        return !path->failed;
    }
    return false;
}

// The environment with the package's folder first in PYTHONPATH; and a folder here that
// is named as a cluster's package is must not be taken for it. NULL: out of memory. Free
// the array and its first text.
static char **make_environment(const char *program) {
    static const char name[] = "PYTHONPATH=", safe[] = "PYTHONSAFEPATH=";
    struct text path = {0}, entry = {0};
    size_t count = 0, kept = 0;
    const char *before = getenv("PYTHONPATH");
    bool found = find_package(program, &path);
    bool both = found && before != NULL && *before != '\0';
    while (environ[count] != NULL) count++;
    char **made = calloc(count + 3, sizeof *made);
    text_printf(&entry, "%s%s%s%s", name, found ? path.data : "", both ? ":" : "",
                before != NULL ? before : "");
    text_free(&path);
    if (entry.failed || made == NULL) {
        text_free(&entry);
        free(made);
        return NULL;
    }
    made[kept++] = entry.data;
    made[kept++] = (char *)(uintptr_t) "PYTHONSAFEPATH=1";
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], name, sizeof name - 1) != 0 &&
            strncmp(environ[i], safe, sizeof safe - 1) != 0)
            made[kept++] = environ[i];
    }
    return made;
}

static int spawn(struct host *host, const char *python, const char *program,
                 const char *url, int socket, int log) {
    char *arguments[] = {(char *)(uintptr_t)python, "-m", "shoal.host",
                         (char *)(uintptr_t)url, NULL};
    const struct process_file files[] = {{socket, 0}, {socket, 1}, {log, 2}};
    char **environment = make_environment(program);
    if (environment == NULL) return ENOMEM;
    int failed = process_spawn(&host->pid, python, arguments, environment, files,
                               sizeof files / sizeof *files);
    free(environment[0]);
    free(environment);
    return failed;
}

static shoal_status start(struct host *host, const struct engine_options *options,
                          struct shoal_error *err) {
    int sockets[2] = {-1, -1}, logs[2] = {-1, -1};
    const char *python = options->cluster.python;
    int failed = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0 ||
                         pipe2(logs, O_CLOEXEC | O_NONBLOCK) != 0
                     ? errno
                     : 0;
    // A blocking end for the program's own log.
    if (failed == 0 && fcntl(logs[1], F_SETFL, 0) != 0) failed = errno;
    if (failed == 0)
        failed = spawn(host, python, options->program, options->cluster.url, sockets[1],
                       logs[1]);
    if (sockets[1] >= 0) close(sockets[1]);
    if (logs[1] >= 0) close(logs[1]);
    host->fd = sockets[0];
    host->log_fd = logs[0];
    if (failed == 0) return SHOAL_OK;
    host->pid = 0;
    return shoal_fail(err, SHOAL_IO,
                      "cannot start %s -m shoal.host: %s; --python names the Python that "
                      "has the cluster's package",
                      python, strerror(failed));
}

void host_read_log(struct host *host) {
    log_tail_read(&host->log, &host->log_fd);
}

static bool reap(struct host *host, int flags, char *how, size_t size) {
    int status = 0;
    pid_t got = 0;
    while ((got = waitpid(host->pid, &status, flags)) < 0 && errno == EINTR) {
    }
    if (got != host->pid) return false;
    host->pid = 0;
    process_describe(status, how, size);
    return true;
}

void host_close(struct host *host, double patience, char *how, size_t size) {
    double until = clock_seconds() + patience;
    *how = '\0';
    if (host->fd >= 0) shutdown(host->fd, SHUT_WR);
    while (host->pid > 0 && !reap(host, WNOHANG, how, size)) {
        struct pollfd polls[] = {{.fd = host->fd, .events = POLLIN},
                                 {.fd = host->log_fd, .events = POLLIN}};
        struct shoal_error ignored;
        bool closed = false;
        if (clock_seconds() >= until) {
            kill(host->pid, SIGKILL);
            (void)reap(host, 0, how, size);
            break;
        }
        poll(polls, 2, 20);
        host_read_log(host);
        if (polls[0].revents & POLLIN) (void)host_receive(host, &closed, &ignored);
        host->size = 0;  // nobody reads it any more
    }
    host_read_log(host);
    if (host->fd >= 0) close(host->fd);
    if (host->log_fd >= 0) close(host->log_fd);
    free(host->lines);
    host->lines = NULL;
    host->fd = host->log_fd = -1;
}

// ---- lines

bool host_reads(const struct host *host) {
    struct pollfd ready = {.fd = host->fd, .events = POLLOUT};
    return poll(&ready, 1, 0) == 1 && (ready.revents & (POLLERR | POLLHUP)) == 0;
}

shoal_status host_say(struct host *host, json_t *line, struct shoal_error *err) {
    char *text = NULL;
    shoal_status status = json_take_text(line, &text, err);
    if (status != SHOAL_OK) return status;
    size_t size = strlen(text), sent = 0;
    text[size++] = '\n';  // in the place of its NUL
    while (sent < size) {
        ssize_t got = send(host->fd, text + sent, size - sent, MSG_NOSIGNAL);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) break;
        sent += (size_t)got;
    }
    free(text);
    return sent == size ? SHOAL_OK
                        : shoal_fail(err, SHOAL_LOST, "the host program has gone");
}

static bool make_room(struct host *host) {
    if (host->capacity - host->size >= 4096) return true;
    size_t capacity = host->capacity ? host->capacity * 2 : 8192;
    char *lines = realloc(host->lines, capacity);
    if (lines == NULL) return false;
    host->lines = lines;
    host->capacity = capacity;
    return true;
}

shoal_status host_receive(struct host *host, bool *closed, struct shoal_error *err) {
    for (;;) {
        if (!make_room(host)) return shoal_no_memory(err);
        ssize_t got = recv(host->fd, host->lines + host->size,
                           host->capacity - host->size, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return SHOAL_OK;
        if (got <= 0) {
            *closed = true;
            return SHOAL_OK;
        }
        host->size += (size_t)got;
        if (host->size > LINE_MOST && memchr(host->lines, '\n', host->size) == NULL)
            return shoal_fail(err, SHOAL_CORRUPT,
                              "the host program sent a line of more "
                              "than 1 MiB");
    }
}

json_t *host_next(struct host *host, struct shoal_error *err) {
    char *end = host->size == 0 ? NULL : memchr(host->lines, '\n', host->size);
    json_t *line = NULL;
    err->status = SHOAL_OK;
    if (end == NULL) return NULL;
    size_t size = (size_t)(end - host->lines);
    if (json_parse_object(host->lines, size, &line, err) == SHOAL_CORRUPT)
        shoal_fail(err, SHOAL_CORRUPT, "the host program sent no JSON object: %.*s",
                   size > 200 ? 200 : (int)size, host->lines);
    host->size -= size + 1;
    memmove(host->lines, end + 1, host->size);
    return line;
}

// ---- the first line

static json_t *read_object(const char *text) {
    return text == NULL ? json_object() : json_loads(text, 0, NULL);
}

shoal_status host_open(struct host *host, const struct engine_options *options,
                       const uint8_t *secret, struct shoal_error *err) {
    const struct cluster_options *cluster = &options->cluster;
    char text[2 * PROOF_SECRET + 1];
    *host = (struct host){.fd = -1, .log_fd = -1};
    shoal_status status = start(host, options, err);
    if (status != SHOAL_OK) return status;
    for (size_t i = 0; i < PROOF_SECRET; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", secret[i]);
    json_t *memory = cluster->memory_bytes > 0
                         ? json_integer((json_int_t)cluster->memory_bytes)
                         : NULL;
    json_t *line = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:o?, s:o, s:o, s:f, s:b}", "op", "open",
        "url", cluster->url, "secret", text, "program", options->program, "name",
        cluster->name != NULL ? cluster->name : "shoal", "workers", (int)options->workers,
        "cpus", (int)options->worker.threads, "memory", memory, "resources",
        read_object(cluster->resources), "options", read_object(cluster->settings),
        "start_timeout", cluster->start_seconds, "ship", cluster->ship);
    explicit_bzero(text, sizeof text);
    return host_say(host, line, err);
}
