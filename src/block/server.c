// A connection keeps the files that it read last open, since a reader asks for one chunk
// after another of a file. A file that is removed meanwhile would go on taking its place,
// memory even: so what was not asked for within a second is closed, by the thread that
// takes connections.
#include "block/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/path.h"
#include "block/wire.h"
#include "net/listener.h"

#define CONNECTIONS 256
#define FOLDERS_MOST 64
#define FILES_KEPT 8       // open, of a connection
#define KEEP_SECONDS 1     // a file that is not asked for
#define ADMIT_SECONDS 5    // that a connection may take to be set up
#define SILENT_SECONDS 30  // that a reader may be silent, or not take what it asked for
#define PIECE_BYTES (1u << 18)  // that are copied at once
#define SEND_FILE_LEAST (1u << 16)

struct folder {
    char *logical, *path;
};

struct kept {
    char *path;  // as the reader names it; NULL: the place is free
    int fd;
    uint64_t size;
    double used;
};

struct connection {
    struct block_server *server;
    struct connection *next;
    pthread_t thread;
    int fd;                   // the channel's, once there is one
    pthread_mutex_t mutex;    // guards channel and kept
    struct channel *channel;  // NULL: not yet, or no more
    struct kept kept[FILES_KEPT];
    uint8_t *buffer;  // its thread's: an answer and PIECE_BYTES
    bool over;        // under the server's mutex
};

struct block_server {
    struct listener listener;
    uint8_t secret[PROOF_SECRET];
    unsigned most;
    pthread_t thread;
    bool running;
    int wake;  // an eventfd: something is over
    struct folder folders[FOLDERS_MOST];
    _Atomic size_t folder_count;  // grows under the mutex
    pthread_mutex_t mutex;        // guards all below; a connection's comes after it
    struct connection *connections;
    unsigned count;
    bool stopping;
};

static void rouse(struct block_server *server) {
    uint64_t one = 1;
    while (write(server->wake, &one, sizeof one) < 0 && errno == EINTR) continue;
}

// ---- files

static void kept_close(struct kept *kept) {
    if (kept->path == NULL) return;
    close(kept->fd);
    free(kept->path);
    *kept = (struct kept){0};
}

// The file that is named so, below one of the folders, or errno; EACCES: none may be.
static int open_below(const struct folder *folder, const char *rest) {
    size_t root = strlen(folder->path), size = strlen(rest);
    char *path = malloc(root + size + 1);
    int fd = -1;
    if (path == NULL) {
        errno = ENOMEM;
        return -1;
    }
    memcpy(path, folder->path, root);
    memcpy(path + root, rest, size + 1);
    if (path_has_no_link(path, root)) {
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    } else {
        errno = EACCES;
    }
    int why = errno;
    free(path);
    errno = why;
    return fd;
}

static int open_served(struct block_server *server, const char *name) {
    int fd = -1, why = EACCES;
    if (!path_is_plain(name)) {
        errno = EACCES;
        return -1;
    }
    size_t count = server->folder_count;  // what is there stays
    for (size_t i = 0; fd < 0 && i < count; i++) {
        const struct folder *folder = &server->folders[i];
        if (!path_is_below(name, folder->logical)) continue;
        fd = open_below(folder, name + strlen(folder->logical));
        if (fd < 0) why = errno == ELOOP ? EACCES : errno;
        if (fd < 0 && errno != ENOENT) break;
    }
    if (fd < 0) errno = why;
    return fd;
}

// Opens the file, or finds it open. The place stays as it is until the next call or the
// janitor: the mutex is held by the caller.
static struct kept *keep(struct connection *connection, const char *name) {
    struct kept *oldest = &connection->kept[0];
    struct stat is;
    for (size_t i = 0; i < FILES_KEPT; i++) {
        struct kept *kept = &connection->kept[i];
        if (kept->path != NULL && strcmp(kept->path, name) == 0) {
            kept->used = clock_seconds();
            if (fstat(kept->fd, &is) == 0 && is.st_nlink > 0) return kept;
            kept_close(kept);  // it was removed
        }
        if (kept->path == NULL || (oldest->path != NULL && kept->used < oldest->used))
            oldest = kept;
    }
    int fd = open_served(connection->server, name);
    if (fd < 0) return NULL;
    char *path = strdup(name);
    if (path == NULL || fstat(fd, &is) != 0 || !S_ISREG(is.st_mode)) {
        int why = path == NULL ? ENOMEM : EACCES;
        free(path);
        close(fd);
        errno = why;
        return NULL;
    }
    kept_close(oldest);
    *oldest = (struct kept){path, fd, (uint64_t)is.st_size, clock_seconds()};
    return oldest;
}

// What nobody asked for lately.
static void tidy(struct connection *connection, double now) {
    if (pthread_mutex_trylock(&connection->mutex) != 0) return;  // it is in use
    for (size_t i = 0; i < FILES_KEPT; i++) {
        if (connection->kept[i].used + KEEP_SECONDS < now)
            kept_close(&connection->kept[i]);
    }
    pthread_mutex_unlock(&connection->mutex);
}

// ---- answers

static bool pread_all(int fd, uint8_t *data, size_t size, uint64_t offset) {
    while (size > 0) {
        ssize_t got = pread(fd, data, size, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = ENODATA;  // it is shorter than it was
        if (got <= 0) return false;
        data += got;
        size -= (size_t)got;
        offset += (uint64_t)got;
    }
    return true;
}

static bool answer(struct channel *channel, enum wire_outcome outcome, int error) {
    struct wire_answer answer;
    wire_make_answer(&answer, outcome);
    answer.error = (uint32_t)error;
    return channel_write(channel, &answer, sizeof answer, NULL) == SHOAL_OK;
}

// A file's bytes as they are in the page cache, to a channel that is a plain socket.
static bool send_file(int to, int fd, uint64_t size, uint64_t offset) {
    off_t at = (off_t)offset;
    while (size > 0) {
        ssize_t sent = sendfile(to, fd, &at, size);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;  // also after SO_SNDTIMEO
        size -= (uint64_t)sent;
    }
    return true;
}

// Sends what the answer promises. False: the connection must end, as it can't be told.
static bool send_bytes(struct connection *connection, int fd, struct wire_answer *head,
                       uint64_t offset, int fault) {
    struct channel *channel = connection->channel;
    uint8_t *buffer = connection->buffer, *bytes = buffer + sizeof *head;
    uint64_t left = head->size;
    bool whole =
        left < SEND_FILE_LEAST || channel_is_encrypted(channel) || fault != FAULT_NONE;
    size_t piece = !whole ? 0 : left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
    // The first piece is read before anything is promised.
    if (!pread_all(fd, bytes, piece, offset))
        return answer(channel, errno == ENODATA ? WIRE_SHORT : WIRE_FAILED, errno);
    if (fault == FAULT_FLIP) bytes[piece / 2] ^= 1;
    memcpy(buffer, head, sizeof *head);
    size_t most = fault == FAULT_SHORT ? piece / 2 : piece;
    if (channel_write(channel, buffer, sizeof *head + most, NULL) != SHOAL_OK ||
        fault == FAULT_SHORT)
        return false;
    left -= piece;
    offset += piece;
    if (!whole) return send_file(connection->fd, fd, left, offset);
    for (; left > 0; left -= piece, offset += piece) {
        piece = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        if (!pread_all(fd, buffer, piece, offset) ||
            channel_write(channel, buffer, piece, NULL) != SHOAL_OK)
            return false;
    }
    return true;
}

// errno says why there is no such file.
static bool refuse(struct channel *channel) {
    return answer(channel, errno == EACCES ? WIRE_REFUSED : WIRE_FAILED, errno);
}

static bool serve_file(struct connection *connection, const struct wire_request *request,
                       const char *name) {
    struct wire_answer head;
    uint64_t offset = request->offset;
    int fault = fault_at(FAULT_SERVER_READ, name);
    if (fault > 0) return answer(connection->channel, WIRE_FAILED, fault);
    // Its own descriptor: the janitor may close the one that is kept.
    pthread_mutex_lock(&connection->mutex);
    const struct kept *kept = keep(connection, name);
    uint64_t file_size = kept == NULL ? 0 : kept->size;
    int fd = kept == NULL ? -1 : fcntl(kept->fd, F_DUPFD_CLOEXEC, 0);
    int why = errno;
    pthread_mutex_unlock(&connection->mutex);
    errno = why;
    if (fd < 0) return refuse(connection->channel);
    wire_make_answer(&head, WIRE_DONE);
    head.file_size = file_size;
    head.size = request->size;
    if (request->kind == WIRE_TAIL) {
        if (head.size > file_size) head.size = file_size;
        offset = file_size - head.size;
    }
    bool there = offset <= file_size && head.size <= file_size - offset;
    bool sent = there ? send_bytes(connection, fd, &head, offset, fault)
                      : answer(connection->channel, WIRE_SHORT, 0);
    close(fd);
    return sent;
}

// False when the connection should end.
static bool serve_request(struct connection *connection) {
    struct wire_request request;
    char name[WIRE_PATH_MOST];
    if (channel_read(connection->channel, &request, sizeof request, NULL) != SHOAL_OK ||
        !wire_request_is_good(&request) ||
        channel_read(connection->channel, name, request.path_size, NULL) != SHOAL_OK ||
        memchr(name, '\0', request.path_size) != NULL)
        return false;
    name[request.path_size] = '\0';
    return serve_file(connection, &request, name);
}

// ---- connections

static bool is_stopping(struct block_server *server) {
    pthread_mutex_lock(&server->mutex);
    bool stopping = server->stopping;
    pthread_mutex_unlock(&server->mutex);
    return stopping;
}

static void attend(struct connection *connection) {
    struct block_server *server = connection->server;
    struct channel *channel = NULL;
    if (channel_accept(connection->fd, server->secret, ADMIT_SECONDS, &channel, NULL) !=
        SHOAL_OK)
        return;
    pthread_mutex_lock(&connection->mutex);
    connection->channel = channel;
    pthread_mutex_unlock(&connection->mutex);
    struct timeval silent = {.tv_sec = SILENT_SECONDS};
    (void)setsockopt(connection->fd, SOL_SOCKET, SO_SNDTIMEO, &silent, sizeof silent);
    connection->buffer = malloc(sizeof(struct wire_answer) + PIECE_BYTES);
    bool stay = connection->buffer != NULL && !is_stopping(server) &&
                wire_admit(channel, server->secret, NULL) == SHOAL_OK;
    channel_set_timeout(channel, SILENT_SECONDS);
    while (stay) stay = serve_request(connection);
    pthread_mutex_lock(&connection->mutex);
    connection->channel = NULL;
    for (size_t i = 0; i < FILES_KEPT; i++) kept_close(&connection->kept[i]);
    pthread_mutex_unlock(&connection->mutex);
    channel_free(channel);
    free(connection->buffer);
}

static void *connection_main(void *argument) {
    struct connection *connection = argument;
    struct block_server *server = connection->server;
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);  // sendfile's
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    attend(connection);
    pthread_mutex_lock(&server->mutex);
    connection->over = true;
    pthread_mutex_unlock(&server->mutex);
    rouse(server);
    return NULL;
}

static void add_connection(struct block_server *server, int fd) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        close(fd);
        return;
    }
    connection->server = server;
    connection->fd = fd;
    pthread_mutex_init(&connection->mutex, NULL);
    if (pthread_create(&connection->thread, NULL, connection_main, connection) != 0) {
        pthread_mutex_destroy(&connection->mutex);
        free(connection);
        close(fd);
        return;
    }
    pthread_mutex_lock(&server->mutex);
    connection->next = server->connections;
    server->connections = connection;
    server->count++;
    pthread_mutex_unlock(&server->mutex);
}

static void end_connection(struct connection *connection) {
    pthread_mutex_lock(&connection->mutex);
    if (connection->channel != NULL) channel_shutdown(connection->channel);
    pthread_mutex_unlock(&connection->mutex);
}

// Those that are over go; all do when the server stops. Returns how many are left.
static unsigned reap(struct block_server *server) {
    struct connection *gone = NULL;
    double now = clock_seconds();
    pthread_mutex_lock(&server->mutex);
    for (struct connection **at = &server->connections; *at != NULL;) {
        struct connection *connection = *at;
        if (server->stopping) end_connection(connection);
        if (!connection->over) {
            tidy(connection, now);
            at = &connection->next;
            continue;
        }
        *at = connection->next;
        connection->next = gone;
        gone = connection;
        server->count--;
    }
    unsigned left = server->count;
    pthread_mutex_unlock(&server->mutex);
    while (gone != NULL) {
        struct connection *next = gone->next;
        pthread_join(gone->thread, NULL);
        pthread_mutex_destroy(&gone->mutex);
        free(gone);
        gone = next;
    }
    return left;
}

static void *server_main(void *argument) {
    struct block_server *server = argument;
    unsigned left = 0;
    while (!is_stopping(server) || left > 0) {
        bool takes = left < server->most && !is_stopping(server);
        struct pollfd any[] = {
            {.fd = server->wake, .events = POLLIN},
            {.fd = takes ? server->listener.fd : -1, .events = POLLIN}};
        uint64_t roused;
        int fd = -1;
        if (poll(any, 2, left > 0 ? KEEP_SECONDS * 1000 : -1) < 0 && errno != EINTR)
            break;
        if (any[0].revents != 0) (void)!read(server->wake, &roused, sizeof roused);
        if (takes && any[1].revents != 0 &&
            net_accept(&server->listener, &fd, NULL) != SHOAL_OK) {
            // No descriptor is free: one may be when a connection ends, or a second
            // later.
            any[1].fd = -1;
            (void)poll(any, 1, KEEP_SECONDS * 1000);
        }
        if (fd >= 0) add_connection(server, fd);
        left = reap(server);
    }
    return NULL;
}

// ---- the server

shoal_status block_server_add(struct block_server *server,
                              const struct server_folder *folder,
                              struct shoal_error *err) {
    if (!path_is_plain(folder->logical) || !path_is_plain(folder->folder)) {
        return shoal_fail(err, SHOAL_USAGE,
                          "cannot serve the files of %.1000s from %.1000s: both must be "
                          "whole paths without . and ..",
                          folder->logical, folder->folder);
    }
    struct folder new = {strdup(folder->logical), strdup(folder->folder)};
    shoal_status status =
        new.logical == NULL || new.path == NULL ? shoal_no_memory(err) : SHOAL_OK;
    pthread_mutex_lock(&server->mutex);
    if (status == SHOAL_OK && server->folder_count == FOLDERS_MOST)
        status = shoal_fail(err, SHOAL_USAGE, "a block server has %d folders at most",
                            FOLDERS_MOST);
    if (status == SHOAL_OK) {
        server->folders[server->folder_count] = new;
        server->folder_count++;
        new = (struct folder){0};
    }
    pthread_mutex_unlock(&server->mutex);
    free(new.logical);
    free(new.path);
    return status;
}

static shoal_status make(const struct server_options *options, struct block_server **out,
                         struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    *out = NULL;
    struct block_server *server = calloc(1, sizeof *server);
    if (server == NULL) return shoal_no_memory(err);
    server->listener.fd = -1;
    server->most = options->connections > 0 ? options->connections : CONNECTIONS;
    memcpy(server->secret, options->secret, PROOF_SECRET);
    pthread_mutex_init(&server->mutex, NULL);
    server->wake = eventfd(0, EFD_CLOEXEC);
    if (server->wake < 0)
        status =
            shoal_fail(err, SHOAL_IO, "cannot make a block server: %s", strerror(errno));
    for (size_t i = 0; status == SHOAL_OK && i < options->folder_count; i++)
        status = block_server_add(server, &options->folders[i], err);
    if (status != SHOAL_OK) {
        block_server_stop(server);
        return status;
    }
    *out = server;
    return SHOAL_OK;
}

shoal_status block_server_start(const struct server_options *options,
                                struct block_server **out, struct shoal_error *err) {
    struct block_server *server = NULL;
    *out = NULL;
    shoal_status status = make(options, &server, err);
    if (status != SHOAL_OK) return status;
    status = net_listen(options->host, options->first_port, options->last_port,
                        &server->listener, err);
    if (status != SHOAL_OK) server->listener.fd = -1;
    if (status == SHOAL_OK &&
        pthread_create(&server->thread, NULL, server_main, server) != 0)
        status = shoal_fail(err, SHOAL_IO, "cannot start the block server's thread");
    server->running = status == SHOAL_OK;
    if (status != SHOAL_OK) {
        block_server_stop(server);
        return status;
    }
    *out = server;
    return SHOAL_OK;
}

const char *block_server_address(const struct block_server *server) {
    return server->listener.address;
}

void block_server_stop(struct block_server *server) {
    if (server == NULL) return;
    pthread_mutex_lock(&server->mutex);
    server->stopping = true;
    pthread_mutex_unlock(&server->mutex);
    if (server->running) {
        rouse(server);
        pthread_join(server->thread, NULL);
    }
    if (server->listener.fd >= 0) listener_close(&server->listener);
    if (server->wake >= 0) close(server->wake);
    for (size_t i = 0; i < server->folder_count; i++) {
        free(server->folders[i].logical);
        free(server->folders[i].path);
    }
    proof_forget(server->secret);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}
