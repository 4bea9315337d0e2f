// What a channel says when its peer is wrong, slow or gone, plain and by TLS.
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/tls.h"
#include "support/ends.h"

static struct shoal_error err;

// ---- peers that are wrong

static void another_secret(void **state) {
    struct ends ends = {.secret = ends_other_secret, .timeout = LONG};
    (void)state;
    want_tls(true);
    assert_int_equal(meet_with(&ends, "127.0.0.1", ends_secret, &err), SHOAL_CORRUPT);
    assert_says("the peer does not know the run's secret");
    assert_null(ends.near);
    assert_int_equal(ends.status, SHOAL_CORRUPT);
    err = ends.why;
    assert_says("the peer does not know the run's secret");
    assert_null(ends.far);
    listener_close(&ends.listener);
}

static void plain_here_tls_there(void **state) {
    struct listener listener;
    struct channel *channel = NULL;
    int descriptor = -1;
    char byte;
    (void)state;
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = connect_in_child(listener.address, true);
    want_tls(false);
    assert_ok(channel_accept_descriptor(next_connection(&listener), ends_secret, LONG,
                                        &channel, &descriptor, &err));
    assert_int_equal(recv(descriptor, &byte, 1, 0), 0);
    assert_int_equal(channel_why(channel, &err), SHOAL_LOST);
    assert_says("SHOAL_TLS=always");
    channel_free(channel);
    assert_int_equal(result_of(child), SHOAL_USAGE);
    listener_close(&listener);
}

static void tls_here_plain_there(void **state) {
    struct listener listener;
    struct channel *channel = NULL;
    (void)state;
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = connect_in_child(listener.address, false);
    want_tls(true);
    assert_ok(
        channel_accept(next_connection(&listener), ends_secret, LONG, &channel, &err));
    assert_ok(channel_write(channel, "x", 1, &err));
    assert_int_equal(result_of(child), 100);
    channel_free(channel);
    listener_close(&listener);
}

static void a_wrong_setting(void **state) {
    struct channel *channel = NULL;
    struct listener listener;
    int fds[2];
    (void)state;
    (void)setenv("SHOAL_TLS", "never", 1);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    assert_int_equal(channel_connect(listener.address, ends_secret, LONG, &channel, &err),
                     SHOAL_USAGE);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(channel_accept(fds[0], ends_secret, LONG, &channel, &err),
                     SHOAL_USAGE);
    assert_says("SHOAL_TLS");
    close(fds[1]);
    listener_close(&listener);
    want_tls(false);
}

// What a thread says to whoever connects to it.
struct speaker {
    struct listener listener;
    const char *text;
    SSL_CTX *context;  // or what it shakes hands with
};

static void *speak(void *ctx) {
    struct speaker *speaker = ctx;
    char ignored[1000];
    int fd = next_connection(&speaker->listener);
    (void)send(fd, speaker->text, strlen(speaker->text), MSG_NOSIGNAL);
    if (speaker->context != NULL) {
        sigset_t pipe;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);  // OpenSSL's own sockets raise it
        pthread_sigmask(SIG_BLOCK, &pipe, NULL);
        SSL *ssl = SSL_new(speaker->context);
        SSL_set_fd(ssl, fd);
        (void)SSL_accept(ssl);
        SSL_free(ssl);
    } else {
        while (recv(fd, ignored, sizeof ignored, 0) > 0) continue;
    }
    close(fd);
    return NULL;
}

static shoal_status connect_to_speaker(const char *text, SSL_CTX *context,
                                       double timeout) {
    struct speaker speaker = {.text = text, .context = context};
    struct channel *channel = NULL;
    pthread_t thread;
    assert_ok(net_listen("127.0.0.1", 0, 0, &speaker.listener, &err));
    assert_int_equal(pthread_create(&thread, NULL, speak, &speaker), 0);
    shoal_status status =
        channel_connect(speaker.listener.address, ends_secret, timeout, &channel, &err);
    pthread_join(thread, NULL);
    channel_free(channel);
    listener_close(&speaker.listener);
    return status;
}

static void something_else_listens(void **state) {
    (void)state;
    want_tls(false);
    assert_int_equal(connect_to_speaker("220 mail.example ESMTP\r\n", NULL, LONG),
                     SHOAL_CORRUPT);
    assert_says("is no process of this run");
    assert_int_equal(
        connect_to_speaker("shoal-t\nHTTP/1.1 400 Bad Request\r\n", NULL, LONG),
        SHOAL_CORRUPT);
    assert_says("does not speak TLS");
    assert_int_equal(connect_to_speaker("shoal", NULL, SHORT), SHOAL_LOST);
    assert_says("says nothing in time");
    assert_int_equal(connect_to_speaker("shoal-t\n", NULL, SHORT), SHOAL_LOST);
    assert_says("did not end the TLS handshake in time");
}

// A server with a certificate, and a key of its own instead of the run's.
static SSL_CTX *make_impostor(void) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    (void)X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    (void)X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    (void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                     (const unsigned char *)"shoal", -1, -1, 0);
    (void)X509_set_issuer_name(cert, name);
    (void)X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(context, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    return context;
}

static void a_certificate_proves_nothing(void **state) {
    SSL_CTX *context = make_impostor();
    (void)state;
    want_tls(true);
    assert_int_equal(connect_to_speaker("shoal-t\n", context, LONG), SHOAL_CORRUPT);
    assert_says("certificate verify failed");
    SSL_CTX_free(context);
}

static void nobody_listens(void **state) {
    struct listener listener;
    struct channel *channel = NULL;
    (void)state;
    want_tls(false);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    listener_close(&listener);
    assert_int_equal(channel_connect(listener.address, ends_secret, LONG, &channel, &err),
                     SHOAL_LOST);
    assert_says("cannot connect to 127.0.0.1:");
    assert_int_equal(channel_connect("127.0.0.1", ends_secret, LONG, &channel, &err),
                     SHOAL_USAGE);
}

// ---- peers that are slow

static void silence(void **state) {
    struct listener listener;
    struct channel *channel = NULL;
    struct ends ends;
    char byte;
    (void)state;
    want_tls(false);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));  // and never accepts
    double start = clock_seconds();
    assert_int_equal(
        channel_connect(listener.address, ends_secret, SHORT, &channel, &err),
        SHOAL_LOST);
    assert_says("says nothing in time");
    assert_true(clock_seconds() - start >= SHORT);
    listener_close(&listener);
    for (int tls = 0; tls < 2; tls++) {
        meet(&ends, tls);
        channel_set_timeout(ends.near, SHORT);
        assert_int_equal(channel_read(ends.near, &byte, 1, &err), SHOAL_LOST);
        assert_says("was silent for 0.3 s");
        part(&ends);
    }
}

static void a_peer_that_takes_nothing(void **state) {
    uint8_t *data = calloc(1, MIB);
    struct ends ends;
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        shoal_status status = SHOAL_OK;
        meet(&ends, tls);
        channel_set_timeout(ends.near, SHORT);
        for (int i = 0; status == SHOAL_OK && i < 100; i++)
            status = channel_write(ends.near, data, MIB, &err);
        assert_int_equal(status, SHOAL_LOST);
        assert_says("took no data for 0.3 s");
        part(&ends);
    }
    free(data);
}

static void a_slow_handshake(void **state) {
    struct channel *channel = NULL;
    int fds[2], descriptor = -1;
    char byte;
    (void)state;
    want_tls(true);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(channel_accept(fds[0], ends_secret, SHORT, &channel, &err),
                     SHOAL_LOST);
    assert_says("in time");
    close(fds[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    double start = clock_seconds();
    assert_ok(channel_accept_descriptor(fds[0], ends_secret, SHORT, &channel, &descriptor,
                                        &err));
    assert_true(clock_seconds() - start < SHORT);
    assert_int_equal(channel_why(channel, &err), SHOAL_OK);
    assert_int_equal(recv(descriptor, &byte, 1, 0), 0);
    assert_int_equal(channel_why(channel, &err), SHOAL_LOST);
    assert_says("in time");
    channel_free(channel);
    close(fds[1]);
}

// ---- peers that are gone

static void killed_between(bool tls) {
    struct listener listener;
    struct channel *channel = NULL;
    uint8_t *data = calloc(1, MIB);
    want_tls(tls);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = fork();
    if (child == 0) go_half_way(listener.address, false);
    assert_ok(
        channel_accept(next_connection(&listener), ends_secret, LONG, &channel, &err));
    assert_ok(channel_read(channel, data, MIB / 2 - 10, &err));
    assert_ok(channel_write(channel, "x", 1, &err));
    assert_int_equal(channel_read(channel, data, MIB, &err), SHOAL_LOST);
    assert_int_equal(result_of(child), -SIGKILL);
    shoal_status status = SHOAL_OK;  // and no SIGPIPE
    for (int i = 0; status == SHOAL_OK && i < 100; i++)
        status = channel_write(channel, data, MIB, &err);
    assert_int_equal(status, SHOAL_LOST);
    channel_free(channel);
    listener_close(&listener);
    free(data);
}

static void killed_behind_a_descriptor(bool tls) {
    struct listener listener;
    struct channel *channel = NULL;
    uint8_t *data = calloc(1, MIB);
    int fd = -1;
    want_tls(tls);
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = fork();
    if (child == 0) go_half_way(listener.address, true);
    assert_ok(channel_accept_descriptor(next_connection(&listener), ends_secret, LONG,
                                        &channel, &fd, &err));
    assert_int_equal(receive_all(fd, data, MIB / 2), MIB / 2);
    assert_int_equal(channel_why(channel, &err), SHOAL_OK);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(recv(fd, data, MIB, 0) <= 0);
    assert_int_equal(result_of(child), -SIGKILL);
    assert_int_equal(channel_why(channel, &err), SHOAL_LOST);
    ssize_t sent = 0;
    for (int i = 0; sent >= 0 && i < 100; i++) sent = send(fd, data, MIB, MSG_NOSIGNAL);
    assert_int_equal(sent, -1);
    channel_free(channel);
    listener_close(&listener);
    free(data);
}

static void killed_peers(void **state) {
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        killed_between(tls);
        killed_behind_a_descriptor(tls);
    }
}

// ---- bytes by chance

// What a process of this run says first, as a connection brings it.
static size_t catch_hello(uint8_t *hello, size_t size) {
    struct listener listener;
    assert_ok(net_listen("127.0.0.1", 0, 0, &listener, &err));
    pid_t child = connect_in_child(listener.address, true);
    int fd = next_connection(&listener);
    assert_int_equal(send(fd, "shoal-t\n", 8, MSG_NOSIGNAL), 8);
    assert_int_equal(receive_all(fd, hello, 5), 5);
    size_t length = 5 + ((size_t)hello[3] << 8) + hello[4];
    assert_true(length <= size);
    assert_int_equal(receive_all(fd, hello + 5, length - 5), length - 5);
    close(fd);
    assert_int_equal(result_of(child), SHOAL_LOST);
    listener_close(&listener);
    return length;
}

static unsigned open_files(void) {
    unsigned count = 0;
    for (int fd = 0; fd < 200; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

// Nothing that is sent to who accepts gets in, or does more harm than an error.
static void accept_bytes(const uint8_t *data, size_t size, bool described) {
    struct channel *channel = NULL;
    shoal_status status;
    int fds[2], descriptor = -1;
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(send(fds[1], data, size, MSG_NOSIGNAL), size);
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    if (described) {
        assert_ok(channel_accept_descriptor(fds[0], ends_secret, LONG, &channel,
                                            &descriptor, &err));
        assert_int_equal(recv(descriptor, &byte, 1, 0), 0);
        status = channel_why(channel, &err);
    } else {
        status = channel_accept(fds[0], ends_secret, LONG, &channel, &err);
        assert_null(channel);
    }
    assert_true(status == SHOAL_CORRUPT || status == SHOAL_LOST);
    assert_true(err.message[0] != '\0');
    channel_free(channel);
    close(fds[1]);
}

static void bytes_by_chance(void **state) {
    uint8_t hello[2000], data[2000];
    uint64_t random = 12345;
    size_t length = catch_hello(hello, sizeof hello);
    unsigned before = open_files();
    (void)state;
    want_tls(true);
    for (int i = 0; i < 600; i++) {
        size_t size = next_random(&random) % sizeof data;
        fill(data, sizeof data, &random);
        if (i % 3 == 0) memcpy(data, "\x16\x03\x01\x01\x10\x01\x00\x01\x0c\x03\x03", 11);
        if (i % 3 == 1) {  // a real one with a few bits changed, or cut off
            memcpy(data, hello, length);
            for (uint64_t k = next_random(&random) % 4; k > 0; k--)
                data[next_random(&random) % length] ^= 1 << next_random(&random) % 8;
            size = next_random(&random) % 4 == 0 ? size % length : length;
        }
        accept_bytes(data, size, i % 2 == 0);
    }
    assert_int_equal(open_files(), before);
    want_tls(false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_secret),
        cmocka_unit_test(plain_here_tls_there),
        cmocka_unit_test(tls_here_plain_there),
        cmocka_unit_test(a_wrong_setting),
        cmocka_unit_test(something_else_listens),
        cmocka_unit_test(a_certificate_proves_nothing),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(silence),
        cmocka_unit_test(a_peer_that_takes_nothing),
        cmocka_unit_test(a_slow_handshake),
        cmocka_unit_test(killed_peers),
        cmocka_unit_test(bytes_by_chance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
