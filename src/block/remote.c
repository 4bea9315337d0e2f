// What is asked for waits in a queue of the server that has it. A thread takes a server
// whose queue has none or few threads, connects, and sends requests while answers to
// earlier ones come; requests are cut in pieces, so that one large chunk holds up no
// other for long, and the bytes under way on a connection are bounded. A thread without
// work goes to another server, or ends.
//
// When a connection fails, what was under way goes back to the head of the queue, less
// what has come. A server that fails several times in a row, without a byte between, is
// taken for gone for a while: what it owes goes to the next address of each file, or
// fails. A request that itself was next when connections failed as often goes too.
//
// All is under one mutex, but an answer's bytes, which are the thread's while it has it.
#include "block/remote.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "block/format.h"
#include "block/places.h"
#include "block/registry.h"
#include "block/wire.h"

#define THREADS_MOST 64
#define CONNECTIONS_MOST 2  // to one server
#define UNDER_WAY 32        // pieces of a connection
#define UNDER_WAY_BYTES (4u << 20)
#define READ_BYTES (1u << 18)  // that are taken at once: what came before a reset stays
#define DOWN_RESTS 50          // that a server which failed again and again is left alone
#define LOOK_SECONDS 0.1       // how often who waits looks whether it is interrupted
#define TURNS_MOST 256         // requests, before a server with no thread is served

struct queue {
    struct remote_answer *first, *last;
};

struct host {
    char *address;
    struct queue queue;
    unsigned threads;   // that have it
    unsigned waiting;   // of them, for something to ask
    unsigned failures;  // in a row
    double rest_until;  // not to be connected to before
    double down_until;  // not to be asked before
    bool hungry;        // it has a queue and no thread
    pthread_cond_t more;
};

struct remote_file {
    char *path;
    uint32_t writer;
    unsigned holders;
    size_t count;
    struct host *hosts[];
};

enum state { QUEUED, TAKEN, ANSWERED };

struct remote_answer {
    struct remote_answer *next;
    struct remote_file *file;
    bool tail;
    uint64_t offset;
    size_t size;
    uint8_t *data;
    uint64_t file_size;
    size_t asked, done;  // bytes; its thread's while it is TAKEN
    size_t place;        // of the file's hosts, that is asked
    unsigned tries;      // that it was next when a connection to that host failed
    enum state state;
    bool refused;  // a piece of it was; others may be under way
    bool abandoned;
    pthread_cond_t *waiter;
    shoal_status status;  // once it is ANSWERED
    int error;
    char why[400];
};

// ---- what all threads share

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_condattr_t monotonic;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;  // guards all below
static pthread_cond_t work;                                // for a thread without a host
static pthread_cond_t gone;                                // a thread has ended
static uint8_t secret[PROOF_SECRET];
static bool is_open;
static struct remote_patience patience = {3, 10, 0.1, 4, 3};
static struct host **hosts;  // in the order of their addresses
static size_t host_count, host_capacity;
static unsigned threads, without_host;
static bool at_limit;  // no more threads can be started
static size_t hungry;  // hosts that are

static void set_up(void) {
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&work, &monotonic);
    pthread_cond_init(&gone, &monotonic);
}

// Waits for the condition, at most until a moment of clock_seconds().
static void wait_until(pthread_cond_t *cond, double when) {
    struct timespec time = {.tv_sec = (time_t)when};
    time.tv_nsec = (long)((when - (double)time.tv_sec) * 1e9);
    (void)pthread_cond_timedwait(cond, &mutex, &time);
}

// ---- channels in use, for remote_close

static struct channel *channels[THREADS_MOST];

// @locks mutex, as the next two. False: it is closed.
static bool list_channel(struct channel *channel) {
    for (size_t i = 0; is_open && i < THREADS_MOST; i++) {
        if (channels[i] != NULL) continue;
        channels[i] = channel;
        return true;
    }
    return false;
}

static void unlist_channel(const struct channel *channel) {
    for (size_t i = 0; i < THREADS_MOST; i++) {
        if (channels[i] == channel) channels[i] = NULL;
    }
}

static void shut_channels(void) {
    for (size_t i = 0; i < THREADS_MOST; i++) {
        if (channels[i] != NULL) channel_shutdown(channels[i]);
    }
}

// ---- hosts

static size_t place_of(const char *address) {
    size_t first = 0, end = host_count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (strcmp(hosts[middle]->address, address) < 0) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    return first;
}

// @locks mutex. NULL: out of memory.
static struct host *host_of(const char *address) {
    size_t at = place_of(address);
    if (at < host_count && strcmp(hosts[at]->address, address) == 0) return hosts[at];
    if (host_count == host_capacity) {
        size_t capacity = host_capacity ? host_capacity * 2 : 16;
        struct host **grown = realloc(hosts, capacity * sizeof *grown);
        if (grown == NULL) return NULL;
        hosts = grown;
        host_capacity = capacity;
    }
    struct host *host = calloc(1, sizeof *host);
    if (host != NULL) host->address = strdup(address);
    if (host == NULL || host->address == NULL) {
        free(host);
        return NULL;
    }
    pthread_cond_init(&host->more, &monotonic);
    memmove(hosts + at + 1, hosts + at, (host_count - at) * sizeof(struct host *));
    hosts[at] = host;
    host_count++;
    return host;
}

// @locks mutex. After each change of the host's queue or threads.
static void count_hungry(struct host *host) {
    bool now = host->queue.first != NULL && host->threads == 0;
    if (now && !host->hungry) hungry++;
    if (!now && host->hungry) hungry--;
    host->hungry = now;
}

// ---- files

static struct remote_file *file_new(const char *path,
                                    const struct places_addresses *addresses) {
    struct remote_file *file =
        calloc(1, sizeof *file + addresses->count * sizeof(struct host *));
    if (file != NULL) file->path = strdup(path);
    if (file == NULL || file->path == NULL) {
        free(file);
        return NULL;
    }
    file->holders = 1;
    file->count = addresses->count;
    (void)places_writer(path, &file->writer);
    bool ok = true;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; ok && i < file->count; i++) {
        file->hosts[i] = host_of(addresses->list[i]);
        ok = file->hosts[i] != NULL;
    }
    pthread_mutex_unlock(&mutex);
    if (ok) return file;
    free(file->path);
    free(file);
    return NULL;
}

shoal_status remote_file_find(const char *path, struct remote_file **file,
                              struct shoal_error *err) {
    struct places_addresses addresses;
    *file = NULL;
    pthread_once(&once, set_up);
    shoal_status status = places_find(path, &addresses, err);
    if (status != SHOAL_OK || addresses.count == 0) return status;
    char *local = places_local(path);
    bool here = local != NULL && access(local, F_OK) == 0;
    if (local != NULL && !here) *file = file_new(path, &addresses);
    if (local == NULL || (!here && *file == NULL)) status = shoal_no_memory(err);
    free(local);
    places_addresses_free(&addresses);
    return status;
}

struct remote_file *remote_file_share(struct remote_file *file) {
    pthread_mutex_lock(&mutex);
    file->holders++;
    pthread_mutex_unlock(&mutex);
    return file;
}

// @locks mutex
static void let_go(struct remote_file *file) {
    if (--file->holders > 0) return;
    free(file->path);
    free(file);
}

void remote_file_free(struct remote_file *file) {
    if (file == NULL) return;
    pthread_mutex_lock(&mutex);
    let_go(file);
    pthread_mutex_unlock(&mutex);
}

uint32_t remote_file_writer(const struct remote_file *file) {
    return file->writer;
}

// ---- answers; all @locks mutex

static void answer_destroy(struct remote_answer *answer) {
    let_go(answer->file);
    free(answer->data);
    free(answer);
}

static void push_back(struct host *host, struct remote_answer *answer) {
    answer->next = NULL;
    answer->state = QUEUED;
    if (host->queue.first == NULL) {
        host->queue.first = answer;
    } else {
        host->queue.last->next = answer;
    }
    host->queue.last = answer;
    count_hungry(host);
}

static void push_front(struct host *host, struct remote_answer *answer) {
    answer->state = QUEUED;
    answer->next = host->queue.first;
    host->queue.first = answer;
    if (answer->next == NULL) host->queue.last = answer;
    count_hungry(host);
}

static struct remote_answer *pop(struct host *host) {
    struct remote_answer *answer = host->queue.first;
    host->queue.first = answer->next;
    count_hungry(host);
    return answer;
}

static void remove_queued(struct host *host, const struct remote_answer *answer) {
    struct remote_answer *before = NULL;
    for (struct remote_answer *a = host->queue.first; a != NULL;
         before = a, a = a->next) {
        if (a != answer) continue;
        if (before == NULL) host->queue.first = a->next;
        if (before != NULL) before->next = a->next;
        if (host->queue.last == a) host->queue.last = before;
        break;
    }
    count_hungry(host);
}

static void finish(struct remote_answer *answer, shoal_status status) {
    answer->status = status;
    answer->state = ANSWERED;
    if (answer->abandoned) {
        answer_destroy(answer);
    } else if (answer->waiter != NULL) {
        pthread_cond_signal(answer->waiter);
    }
}

static void set_why(struct remote_answer *answer, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void set_why(struct remote_answer *answer, int error, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(answer->why, sizeof answer->why, format, args);
    va_end(args);
    answer->error = error;
}

static void *fetch_main(void *argument);

static bool start_thread(void) {
    pthread_t thread;
    pthread_attr_t detached;
    if (pthread_attr_init(&detached) != 0) return false;
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    bool ok = pthread_create(&thread, &detached, fetch_main, NULL) == 0;
    pthread_attr_destroy(&detached);
    if (ok) threads++;
    at_limit = !ok || threads >= THREADS_MOST;
    return ok;
}

// Somebody is to look at the host's queue. False: there is no thread at all.
static bool call_thread(struct host *host) {
    if (host->waiting > 0) {
        pthread_cond_signal(&host->more);
    } else if (host->threads >= CONNECTIONS_MOST) {
        return true;  // they come to it
    } else if (without_host > 0) {
        pthread_cond_signal(&work);
    } else if (threads < THREADS_MOST && start_thread()) {
        return true;
    } else if (host->threads == 0) {
        // One that waits elsewhere is to leave; if none does, one will as it gets idle.
        for (size_t i = 0; i < host_count; i++) {
            if (hosts[i]->waiting > 0) pthread_cond_signal(&hosts[i]->more);
        }
    }
    return threads > 0;
}

// To the first of the file's servers, from this one on, that is not known to be gone.
static void enqueue(struct remote_answer *answer) {
    double now = clock_seconds();
    while (answer->place < answer->file->count) {
        struct host *host = answer->file->hosts[answer->place];
        if (is_open && host->down_until <= now) {
            push_back(host, answer);
            if (call_thread(host)) return;
            remove_queued(host, answer);
            set_why(answer, EMFILE, "no thread can be started");
            finish(answer, SHOAL_IO);
            return;
        }
        if (answer->why[0] == '\0')
            set_why(answer, ECONNREFUSED, "%s did not answer just before", host->address);
        answer->place++;
        answer->tries = 0;
    }
    if (!is_open) set_why(answer, EACCES, "this process reads from no block server");
    finish(answer, answer->status == SHOAL_OK ? SHOAL_IO : answer->status);
}

static void try_next(struct remote_answer *answer) {
    answer->place++;
    answer->tries = 0;
    answer->refused = false;
    if (answer->tail) answer->done = 0;
    answer->asked = answer->done;
    enqueue(answer);
}

// ---- one connection

struct piece {
    struct remote_answer *answer;
    struct wire_request request;
};

struct line {
    struct host *host;
    struct channel *channel;
    struct remote_answer *asking;    // of which more pieces are to be asked for
    struct piece pieces[UNDER_WAY];  // a ring
    size_t first, count;
    uint64_t bytes;  // of them
    unsigned turns;
    bool progress;  // something came
    struct shoal_error err;
    int error;
    bool hopeless;  // it is the wrong server
};

static struct piece *piece_at(struct line *line, size_t n) {
    return &line->pieces[(line->first + n) % UNDER_WAY];
}

// @locks mutex. May this connection go on? Servers without a thread are waiting.
static bool must_leave(const struct line *line) {
    bool starve = hungry > 0 && at_limit && without_host == 0;
    return !is_open ||
           (starve && (line->host->queue.first == NULL || line->turns > TURNS_MOST));
}

// @locks mutex. Takes what is queued, in pieces, as many as may be under way. Returns how
// many are new.
static size_t take_pieces(struct line *line) {
    struct host *host = line->host;
    size_t old = line->count;
    while (line->count < UNDER_WAY && line->bytes < UNDER_WAY_BYTES) {
        if (line->asking == NULL && host->queue.first != NULL && !must_leave(line)) {
            line->asking = pop(host);
            line->asking->state = TAKEN;
            line->turns++;
        }
        struct remote_answer *answer = line->asking;
        if (answer == NULL) break;
        struct piece *piece = piece_at(line, line->count);
        size_t left = answer->size - answer->asked;
        size_t size = left < WIRE_READ_MOST ? left : WIRE_READ_MOST;
        piece->answer = answer;
        wire_make_request(&piece->request, answer->tail ? WIRE_TAIL : WIRE_READ,
                          (uint16_t)strlen(answer->file->path),
                          answer->tail ? 0 : answer->offset + answer->asked, size);
        answer->asked += size;
        line->count++;
        line->bytes += size;
        if (answer->asked == answer->size) line->asking = NULL;
    }
    return line->count - old;
}

static bool send_pieces(struct line *line, size_t new) {
    uint8_t buffer[8192];
    size_t size = 0;
    for (size_t i = line->count - new; i < line->count; i++) {
        const struct piece *piece = piece_at(line, i);
        size_t path_size = piece->request.path_size;
        if (size + sizeof piece->request + path_size > sizeof buffer) {
            if (channel_write(line->channel, buffer, size, &line->err) != SHOAL_OK)
                return false;
            size = 0;
        }
        memcpy(buffer + size, &piece->request, sizeof piece->request);
        memcpy(buffer + size + sizeof piece->request, piece->answer->file->path,
               path_size);
        size += sizeof piece->request + path_size;
    }
    return channel_write(line->channel, buffer, size, &line->err) == SHOAL_OK;
}

// False: the connection failed, with line->err set.
static bool read_bytes(struct line *line, const char *path, uint8_t *data, size_t size) {
    int fault = fault_at(FAULT_REMOTE_READ, path);
    if (fault > 0) {
        line->error = fault;
        shoal_fail(&line->err, SHOAL_IO, "cannot read: %s", strerror(fault));
        return false;
    }
    if (fault == FAULT_SHORT) size /= 2;
    if (size > 0 && channel_read(line->channel, data, size, &line->err) != SHOAL_OK)
        return false;
    if (fault == FAULT_SHORT)
        shoal_fail(&line->err, SHOAL_LOST, "the connection ended (fault)");
    if (fault == FAULT_FLIP) data[size / 2] ^= 1;
    return fault != FAULT_SHORT;
}

// To its place in the answer. What follows a piece that was refused is not counted.
static bool read_data(struct line *line, struct piece *piece,
                      const struct wire_answer *head) {
    struct remote_answer *answer = piece->answer;
    uint64_t from = answer->tail ? 0 : piece->request.offset - answer->offset;
    for (uint64_t at = 0; at < head->size;) {
        uint64_t left = head->size - at;
        size_t size = left < READ_BYTES ? (size_t)left : READ_BYTES;
        if (!read_bytes(line, answer->file->path, answer->data + from + at, size))
            return false;
        at += size;
        if (!answer->refused) answer->done += size;
        line->progress = true;
    }
    return true;
}

// What a server says instead of sending bytes. False: it may do better later.
static bool take_refusal(struct remote_answer *answer, const struct wire_answer *head,
                         const char *address) {
    int error = (int)head->error;
    answer->status = SHOAL_IO;
    if (head->outcome == WIRE_SHORT) {
        answer->status = SHOAL_CORRUPT;
        set_why(answer, EIO, "at %s it is too short", address);
    } else if (head->outcome == WIRE_REFUSED) {
        set_why(answer, EACCES, "%s may not serve it", address);
    } else {
        set_why(answer, error > 0 && error < 4096 ? error : EIO, "%s says: %s", address,
                strerror(error));
    }
    return error != EMFILE && error != ENFILE && error != ENOMEM;
}

// @locks mutex. Is no piece of it under way any more?
static bool is_settled(struct line *line, const struct remote_answer *answer) {
    return line->count == 0 || piece_at(line, 0)->answer != answer;
}

// @locks mutex. The first piece has its answer.
static void end_piece(struct line *line) {
    struct piece *piece = piece_at(line, 0);
    struct remote_answer *answer = piece->answer;
    line->bytes -= piece->request.size;
    line->first = (line->first + 1) % UNDER_WAY;
    line->count--;
    line->host->failures = 0;
    if (answer->refused) {
        if (line->asking == answer) line->asking = NULL;
        if (is_settled(line, answer)) try_next(answer);
        return;
    }
    if (answer->tail) answer->size = answer->done;
    answer->tries = 0;
    if (answer->done == answer->size) finish(answer, SHOAL_OK);
}

// Reads the answer to the first piece. False: the connection failed.
static bool take_answer(struct line *line) {
    struct wire_answer head;
    struct piece *piece = piece_at(line, 0);
    struct remote_answer *answer = piece->answer;
    if (channel_read(line->channel, &head, sizeof head, &line->err) != SHOAL_OK)
        return false;
    if (!wire_answer_is_good(&head, &piece->request)) {
        shoal_fail(&line->err, SHOAL_CORRUPT, "protocol error: it is no answer");
        return false;
    }
    if (head.outcome == WIRE_DONE) {
        if (answer->tail) answer->file_size = head.file_size;
        if (!read_data(line, piece, &head)) return false;
    } else if (!answer->refused) {
        if (!take_refusal(answer, &head, line->host->address)) {
            shoal_fail(&line->err, SHOAL_IO, "%s", answer->why);
            line->error = answer->error;
            return false;
        }
        answer->refused = true;
    }
    line->progress = true;
    pthread_mutex_lock(&mutex);
    end_piece(line);
    pthread_mutex_unlock(&mutex);
    return true;
}

// @locks mutex. The connection failed with answers under way: they are queued again, or
// go to another server.
static void give_back(struct line *line) {
    struct host *host = line->host;
    struct remote_answer *back[UNDER_WAY + 1];
    size_t count = 0;
    for (size_t i = 0; i < line->count; i++) {
        struct remote_answer *answer = piece_at(line, i)->answer;
        if (count == 0 || back[count - 1] != answer) back[count++] = answer;
    }
    if (line->asking != NULL && (count == 0 || back[count - 1] != line->asking))
        back[count++] = line->asking;
    if (line->progress) host->failures = 0;
    host->failures++;
    bool down = line->hopeless || host->failures >= patience.tries;
    double now = clock_seconds(), rest = patience.rest;
    for (unsigned i = 1; i < host->failures && rest < 1; i++) rest *= 4;
    host->rest_until = now + rest;
    if (down) host->down_until = now + DOWN_RESTS * patience.rest;
    for (size_t i = count; i-- > 0;) {
        struct remote_answer *answer = back[i];
        bool was_next = i == 0 && line->count > 0;
        int error = line->error != 0 ? line->error : ECONNRESET;
        bool told = answer->refused;
        if (!told) set_why(answer, error, "%s: %s", host->address, line->err.message);
        if (!told) answer->status = SHOAL_OK;
        if (answer->tail) answer->done = 0;
        answer->asked = answer->done;
        if (was_next) answer->tries++;
        if (told || down || !is_open || answer->tries >= patience.tries) {
            try_next(answer);
        } else {
            push_front(host, answer);
        }
    }
    while (down && host->queue.first != NULL) {
        struct remote_answer *answer = pop(host);
        set_why(answer, line->error != 0 ? line->error : ECONNREFUSED, "%s: %s",
                host->address, line->err.message);
        try_next(answer);
    }
}

static bool connect_line(struct line *line) {
    const char *address = line->host->address;
    uint8_t known[PROOF_SECRET];
    pthread_mutex_lock(&mutex);
    struct remote_patience now = patience;
    memcpy(known, secret, sizeof known);
    pthread_mutex_unlock(&mutex);
    if (fault_fails(FAULT_REMOTE_CONNECT, address)) {
        line->error = errno;
        shoal_fail(&line->err, SHOAL_IO, "cannot connect: %s", strerror(errno));
        return false;
    }
    shoal_status status =
        channel_connect(address, known, now.connect, &line->channel, &line->err);
    if (status == SHOAL_OK) {
        channel_set_timeout(line->channel, now.answer);
        status = wire_greet(line->channel, known, &line->err);
    }
    proof_forget(known);
    line->hopeless = status == SHOAL_CORRUPT || status == SHOAL_USAGE;
    // Of what is wrong with a server nothing is known of its files.
    if (line->hopeless) line->error = EACCES;
    if (status == SHOAL_NOMEM) line->error = ENOMEM;
    return status == SHOAL_OK;
}

// @locks mutex. Waits for something to ask. False: the connection is not needed.
static bool await_more(struct line *line) {
    struct host *host = line->host;
    double until = clock_seconds() + patience.idle;
    while (host->queue.first == NULL && !must_leave(line) && clock_seconds() < until) {
        host->waiting++;
        wait_until(&host->more, until);
        host->waiting--;
    }
    return host->queue.first != NULL && !must_leave(line);
}

// Asks and takes answers until there is nothing more, or the connection fails.
static bool run_line(struct line *line) {
    for (;;) {
        pthread_mutex_lock(&mutex);
        size_t new = take_pieces(line);
        bool more = line->count > 0 || await_more(line);
        bool closing = !is_open;
        pthread_mutex_unlock(&mutex);
        if (closing) {
            shoal_fail(&line->err, SHOAL_CANCELLED, "the reader is closing");
            return false;
        }
        if (!more) return true;
        if (new > 0 && !send_pieces(line, new)) return false;
        if (line->count > 0 && !take_answer(line)) return false;
    }
}

static void serve(struct host *host) {
    struct line line = {.host = host};
    bool ok = connect_line(&line);
    pthread_mutex_lock(&mutex);
    bool listed = ok && list_channel(line.channel);
    pthread_mutex_unlock(&mutex);
    if (ok && !listed) shoal_fail(&line.err, SHOAL_CANCELLED, "the reader is closing");
    ok = listed && run_line(&line);
    pthread_mutex_lock(&mutex);
    if (listed) unlist_channel(line.channel);
    if (!ok) give_back(&line);
    host->threads--;
    count_hungry(host);
    pthread_mutex_unlock(&mutex);
    channel_free(line.channel);
}

// ---- threads

// @locks mutex. A server with work that may be connected to. *when: until then there is
// none, unless there is more to do.
static struct host *pick(double *when) {
    double now = clock_seconds();
    struct host *found = NULL;
    for (size_t i = 0; i < host_count; i++) {
        struct host *host = hosts[i];
        if (host->queue.first == NULL || host->threads >= CONNECTIONS_MOST) continue;
        if (host->rest_until > now) {
            if (host->threads == 0 && host->rest_until < *when) *when = host->rest_until;
            continue;
        }
        if (found == NULL || (host->threads == 0 && found->threads > 0)) found = host;
    }
    return found;
}

static void *fetch_main(void *argument) {
    (void)argument;
    pthread_mutex_lock(&mutex);
    double until = clock_seconds() + patience.idle;
    while (is_open) {
        double when = HUGE_VAL;
        struct host *host = pick(&when);
        if (host != NULL) {
            host->threads++;
            count_hungry(host);
            pthread_mutex_unlock(&mutex);
            serve(host);
            pthread_mutex_lock(&mutex);
            until = clock_seconds() + patience.idle;
        } else if (hungry > 0 || clock_seconds() < until) {
            // A server that rests has a thread that waits for its moment.
            without_host++;
            wait_until(&work, hungry > 0 ? when : until);
            without_host--;
        } else {
            break;
        }
    }
    threads--;
    at_limit = false;
    pthread_cond_broadcast(&gone);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

void remote_open(const uint8_t new_secret[PROOF_SECRET],
                 const struct remote_patience *new_patience) {
    pthread_once(&once, set_up);
    pthread_mutex_lock(&mutex);
    memcpy(secret, new_secret, PROOF_SECRET);
    if (new_patience != NULL) {
        patience = *new_patience;
    } else {
        patience.answer = clock_silent_seconds(patience.answer);
    }
    for (size_t i = 0; i < host_count; i++) {
        hosts[i]->failures = 0;
        hosts[i]->rest_until = hosts[i]->down_until = 0;
    }
    is_open = true;
    pthread_mutex_unlock(&mutex);
}

void remote_close(void) {
    pthread_once(&once, set_up);
    pthread_mutex_lock(&mutex);
    is_open = false;
    shut_channels();
    for (size_t i = 0; i < host_count; i++) {
        while (hosts[i]->queue.first != NULL) enqueue(pop(hosts[i]));
        pthread_cond_broadcast(&hosts[i]->more);
    }
    pthread_cond_broadcast(&work);
    while (threads > 0) pthread_cond_wait(&gone, &mutex);
    proof_forget(secret);
    pthread_mutex_unlock(&mutex);
}

// ---- what is asked

static struct remote_answer *ask(struct remote_file *file, bool tail, uint64_t offset,
                                 size_t size) {
    struct remote_answer *answer = calloc(1, sizeof *answer);
    if (answer != NULL) answer->data = aligned_alloc(BLOCK_ALIGN, block_align(size));
    if (answer == NULL || answer->data == NULL) {
        free(answer);
        return NULL;
    }
    answer->tail = tail;
    answer->offset = offset;
    answer->size = size;
    answer->file = remote_file_share(file);
    pthread_mutex_lock(&mutex);
    enqueue(answer);
    pthread_mutex_unlock(&mutex);
    return answer;
}

struct remote_answer *remote_ask(struct remote_file *file, uint64_t offset, size_t size) {
    return ask(file, false, offset, size);
}

struct remote_answer *remote_ask_tail(struct remote_file *file, size_t size) {
    return ask(file, true, 0, size < WIRE_TAIL_MOST ? size : WIRE_TAIL_MOST);
}

static bool is_interrupted(const char *key) {
    pthread_mutex_unlock(&mutex);
    bool interrupted = key != NULL && registry_interrupted(key);
    pthread_mutex_lock(&mutex);
    return interrupted;
}

shoal_status remote_wait(struct remote_answer *answer, const char *key,
                         struct shoal_error *err) {
    pthread_cond_t come;
    bool interrupted = false;
    pthread_cond_init(&come, &monotonic);
    pthread_mutex_lock(&mutex);
    answer->waiter = &come;
    while (answer->state != ANSWERED && !interrupted) {
        wait_until(&come, clock_seconds() + LOOK_SECONDS);
        interrupted = answer->state != ANSWERED && is_interrupted(key);
    }
    answer->waiter = NULL;
    interrupted = interrupted && answer->state != ANSWERED;
    shoal_status status = interrupted ? SHOAL_CANCELLED : answer->status;
    pthread_mutex_unlock(&mutex);
    pthread_cond_destroy(&come);
    if (status == SHOAL_OK) return SHOAL_OK;
    if (interrupted)
        return shoal_fail(err, SHOAL_CANCELLED, "interrupted while reading %s",
                          answer->file->path);
    shoal_fail(err, status, "cannot read %s%.1000s from where it is served: %s",
               status == SHOAL_CORRUPT ? "all of the block " : "", answer->file->path,
               answer->why);
    errno = answer->error;
    return status;
}

uint64_t remote_file_size(const struct remote_answer *answer) {
    return answer->file_size;
}

uint8_t *remote_take(struct remote_answer *answer, size_t *size) {
    uint8_t *data = answer->data;
    *size = answer->size;
    answer->data = NULL;
    return data;
}

void remote_answer_free(struct remote_answer *answer) {
    if (answer == NULL) return;
    pthread_mutex_lock(&mutex);
    if (answer->state == QUEUED) {
        remove_queued(answer->file->hosts[answer->place], answer);
        answer_destroy(answer);
    } else if (answer->state == TAKEN) {
        answer->abandoned = true;  // its thread frees it
    } else {
        answer_destroy(answer);
    }
    pthread_mutex_unlock(&mutex);
}

// ---- whole files

static shoal_status copy_pieces(struct remote_file *file, const char *to, int fd,
                                struct shoal_error *err) {
    struct remote_answer *answer = remote_ask_tail(file, WIRE_TAIL_MOST);
    shoal_status status =
        answer == NULL ? shoal_no_memory(err) : remote_wait(answer, NULL, err);
    uint64_t size = status == SHOAL_OK ? remote_file_size(answer) : 0;
    remote_answer_free(answer);
    for (uint64_t at = 0; status == SHOAL_OK && at < size;) {
        size_t piece =
            size - at < UNDER_WAY_BYTES ? (size_t)(size - at) : UNDER_WAY_BYTES;
        answer = remote_ask(file, at, piece);
        status = answer == NULL ? shoal_no_memory(err) : remote_wait(answer, NULL, err);
        if (status == SHOAL_OK)
            status = io_write(FAULT_BLOCK_WRITE, fd, to, answer->data, piece, err);
        remote_answer_free(answer);
        at += piece;
    }
    return status;
}

shoal_status remote_copy(const char *path, const char *to, struct shoal_error *err) {
    struct remote_file *file = NULL;
    int fd = -1;
    shoal_status status = remote_file_find(path, &file, err);
    if (status == SHOAL_OK && file == NULL)
        status = shoal_fail(err, SHOAL_IO, "cannot copy %s: it is served nowhere", path);
    if (status == SHOAL_OK) status = io_create(FAULT_BLOCK_CREATE, to, &fd, err);
    if (status == SHOAL_OK) {
        status = copy_pieces(file, to, fd, err);
        if (close(fd) != 0 && status == SHOAL_OK)
            status =
                shoal_fail(err, SHOAL_IO, "cannot write %s: %s", to, strerror(errno));
        if (status != SHOAL_OK) unlink(to);
    }
    remote_file_free(file);
    return status;
}
