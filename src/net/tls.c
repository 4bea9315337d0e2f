// OpenSSL reads and writes through a BIO of our own: no call waits, and a peer that is
// gone raises no SIGPIPE. A write that fails is kept from OpenSSL, as a connection that
// "failed" cannot be read any more, and what a dying peer said last is worth reading.
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/proof.h"

#define IDENTITY "shoal"
#define SUITE "TLS_AES_128_GCM_SHA256"
#define READ_AHEAD (128 << 10)  // bytes that one read of the socket may bring

static const unsigned char suite_number[] = {0x13, 0x01};

uint64_t tls_update_bytes = UINT64_C(64) << 30;

struct tls {
    SSL *ssl;
    int fd;
    char peer[NET_ADDRESS];
    uint8_t secret[PROOF_SECRET];
    pthread_mutex_t mutex;  // around each call that takes ssl
    int read_error, write_error;
    bool ended;     // the socket is at its end
    uint64_t sent;  // since the last keys
    uint64_t updates;
};

// ---- the socket, as OpenSSL sees it

static int bio_read(BIO *bio, char *data, int size) {
    struct tls *tls = BIO_get_data(bio);
    ssize_t got;
    BIO_clear_retry_flags(bio);
    while ((got = recv(tls->fd, data, (size_t)size, MSG_DONTWAIT)) < 0 && errno == EINTR)
        continue;
    if (got == 0) tls->ended = true;
    if (got >= 0) return (int)got;
    if (errno == EAGAIN) {
        BIO_set_retry_read(bio);
    } else {
        tls->read_error = errno;
    }
    return -1;
}

static int bio_write(BIO *bio, const char *data, int size) {
    struct tls *tls = BIO_get_data(bio);
    ssize_t sent;
    BIO_clear_retry_flags(bio);
    while ((sent = send(tls->fd, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0 &&
           errno == EINTR)
        continue;
    if (sent >= 0) return (int)sent;
    if (errno != EAGAIN) tls->write_error = errno;
    BIO_set_retry_write(bio);
    return -1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

// ---- what all connections share

static pthread_mutex_t shared_mutex = PTHREAD_MUTEX_INITIALIZER;
static BIO_METHOD *method;
static SSL_CTX *context;

static bool make_method(void) {
    BIO_METHOD *made =
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "shoal socket");
    if (made == NULL) return false;
    if (BIO_meth_set_read(made, bio_read) != 1 ||
        BIO_meth_set_write(made, bio_write) != 1 ||
        BIO_meth_set_ctrl(made, bio_control) != 1) {
        BIO_meth_free(made);
        return false;
    }
    method = made;
    return true;
}

// The key is a session that never was.
static SSL_SESSION *make_session(SSL *ssl, const struct tls *tls) {
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, suite_number);
    SSL_SESSION *session = SSL_SESSION_new();
    if (session == NULL) return NULL;
    if (cipher != NULL &&
        SSL_SESSION_set1_master_key(session, tls->secret, PROOF_SECRET) &&
        SSL_SESSION_set_cipher(session, cipher) &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

// Whatever hash the other end has asked for, ours is the only suite.
static int offer_key(SSL *ssl, const EVP_MD *md, const unsigned char **identity,
                     size_t *size, SSL_SESSION **session) {
    (void)md;
    *identity = (const unsigned char *)IDENTITY;
    *size = strlen(IDENTITY);
    *session = make_session(ssl, SSL_get_app_data(ssl));
    return *session != NULL;
}

static int find_key(SSL *ssl, const unsigned char *identity, size_t size,
                    SSL_SESSION **session) {
    *session = NULL;
    if (size != strlen(IDENTITY) || memcmp(identity, IDENTITY, size) != 0) return 1;
    *session = make_session(ssl, SSL_get_app_data(ssl));
    return *session != NULL;
}

static bool make_context(void) {
    SSL_CTX *made = SSL_CTX_new(TLS_method());
    if (made == NULL) return false;
    if (SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(made, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(made, SUITE) != 1 ||
        SSL_CTX_set_num_tickets(made, 0) != 1) {
        SSL_CTX_free(made);
        return false;
    }
    SSL_CTX_set_options(made, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(made,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(made, 1);
    SSL_CTX_set_default_read_buffer_len(made, READ_AHEAD);
    SSL_CTX_set_psk_use_session_callback(made, offer_key);
    SSL_CTX_set_psk_find_session_callback(made, find_key);
    context = made;
    return true;
}

static bool share(void) {
    pthread_mutex_lock(&shared_mutex);
    bool made = (method != NULL || make_method()) && (context != NULL || make_context());
    pthread_mutex_unlock(&shared_mutex);
    return made;
}

// ---- a connection

static shoal_status give_up(struct tls *tls, shoal_status status,
                            struct shoal_error *err) {
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    tls_free(tls);
    if (status == SHOAL_NOMEM) return shoal_no_memory(err);
    return shoal_fail(err, status, "OpenSSL cannot begin TLS: %s",
                      reason ? reason : "no reason is known");
}

shoal_status tls_open(int fd, const char *peer, const uint8_t *secret, bool accepts,
                      struct tls **out, struct shoal_error *err) {
    BIO *bio = NULL;
    struct tls *tls = calloc(1, sizeof *tls);
    *out = NULL;
    if (tls == NULL) return shoal_no_memory(err);
    tls->fd = fd;
    pthread_mutex_init(&tls->mutex, NULL);
    (void)snprintf(tls->peer, sizeof tls->peer, "%s", peer);
    memcpy(tls->secret, secret, PROOF_SECRET);
    ERR_clear_error();
    if (!share()) return give_up(tls, SHOAL_INTERNAL, err);
    tls->ssl = SSL_new(context);
    bio = BIO_new(method);
    if (tls->ssl == NULL || bio == NULL) {
        BIO_free(bio);
        return give_up(tls, SHOAL_NOMEM, err);
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_app_data(tls->ssl, tls);
    if (accepts) {
        SSL_set_accept_state(tls->ssl);
    } else {
        // A certificate instead of the key proves nothing: nobody is trusted to sign one.
        SSL_set_verify(tls->ssl, SSL_VERIFY_PEER, NULL);
        SSL_set_connect_state(tls->ssl);
    }
    *out = tls;
    return SHOAL_OK;
}

void tls_free(struct tls *tls) {
    if (tls == NULL) return;
    SSL_free(tls->ssl);
    proof_forget(tls->secret);
    pthread_mutex_destroy(&tls->mutex);
    free(tls);
}

// Of a call that did not go: the reason for it, or for what to wait.
static enum step why_not(struct tls *tls, int result, struct shoal_error *err) {
    int code = SSL_get_error(tls->ssl, result);
    if (tls->write_error != 0 && code == SSL_ERROR_WANT_WRITE) {
        shoal_fail(err, SHOAL_LOST, "the connection with %s broke: %s", tls->peer,
                   strerror(tls->write_error));
        return STEP_FAILED;
    }
    if (code == SSL_ERROR_WANT_READ) return STEP_READS;
    if (code == SSL_ERROR_WANT_WRITE) return STEP_WRITES;
    if (code == SSL_ERROR_ZERO_RETURN) return STEP_ENDED;
    if (tls->read_error != 0) {
        shoal_fail(err, SHOAL_LOST, "the connection with %s broke: %s", tls->peer,
                   strerror(tls->read_error));
    } else if (tls->ended) {
        shoal_fail(err, SHOAL_LOST,
                   "%s is gone: its end of the connection closed without a word",
                   tls->peer);
    } else {
        const char *reason = ERR_reason_error_string(ERR_peek_error());
        shoal_fail(err, SHOAL_CORRUPT, "TLS with %s failed: %s", tls->peer,
                   reason ? reason : "no reason is known");
    }
    return STEP_FAILED;
}

// Of a handshake that failed in TLS itself, at both ends.
static void explain(const struct tls *tls, struct shoal_error *err) {
    switch (ERR_GET_REASON(ERR_peek_error())) {
        case SSL_R_BINDER_DOES_NOT_VERIFY:
        case SSL_R_DIGEST_CHECK_FAILED:
        case SSL_AD_REASON_OFFSET + SSL_AD_ILLEGAL_PARAMETER:
        case SSL_AD_REASON_OFFSET + SSL_AD_DECRYPT_ERROR:
        case SSL_AD_REASON_OFFSET + SSL_AD_UNKNOWN_PSK_IDENTITY:
            shoal_fail(err, SHOAL_CORRUPT,
                       "the peer does not know the run's secret: %s has another one, or "
                       "is of another run",
                       tls->peer);
            break;
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_HTTP_REQUEST:
        case SSL_R_HTTPS_PROXY_REQUEST:
        case SSL_R_RECORD_LENGTH_MISMATCH:
        case SSL_R_PACKET_LENGTH_TOO_LONG:
            shoal_fail(err, SHOAL_CORRUPT,
                       "%s does not speak TLS: it is no process of this run", tls->peer);
            break;
        default:
            break;
    }
}

// The key that both know was used, and nothing in its place.
static enum step check_key(struct tls *tls, struct shoal_error *err) {
    proof_forget(tls->secret);
    if (SSL_session_reused(tls->ssl) == 1) return STEP_DONE;
    shoal_fail(err, SHOAL_CORRUPT,
               "the peer does not know the run's secret: %s has not used it", tls->peer);
    return STEP_FAILED;
}

enum step tls_shake(struct tls *tls, struct shoal_error *err) {
    struct shoal_error why = {0};
    ERR_clear_error();
    pthread_mutex_lock(&tls->mutex);
    int result = SSL_do_handshake(tls->ssl);
    enum step step = result == 1 ? STEP_DONE : why_not(tls, result, &why);
    if (step == STEP_DONE) step = check_key(tls, &why);
    pthread_mutex_unlock(&tls->mutex);
    if (step == STEP_ENDED) {
        shoal_fail(&why, SHOAL_LOST, "%s is gone: it ended the handshake", tls->peer);
        step = STEP_FAILED;
    }
    if (why.status == SHOAL_CORRUPT) explain(tls, &why);
    if (step == STEP_FAILED && err != NULL) *err = why;
    return step;
}

shoal_status tls_too_late(const struct tls *tls, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_LOST, "%s did not end the TLS handshake in time",
                      tls->peer);
}

shoal_status tls_handshake(struct tls *tls, double deadline, struct shoal_error *err) {
    struct shoal_error why = {0};
    for (;;) {
        enum step step = tls_shake(tls, &why);
        if (step == STEP_DONE) return SHOAL_OK;
        if (step == STEP_FAILED) {
            if (err != NULL) *err = why;
            return why.status;
        }
        if (!socket_wait(tls->fd, step, deadline)) return tls_too_late(tls, err);
    }
}

enum step tls_read(struct tls *tls, void *data, size_t size, size_t *got,
                   struct shoal_error *err) {
    *got = 0;
    ERR_clear_error();
    pthread_mutex_lock(&tls->mutex);
    int result = SSL_read_ex(tls->ssl, data, size, got);
    enum step step = result == 1 ? STEP_DONE : why_not(tls, result, err);
    pthread_mutex_unlock(&tls->mutex);
    return step;
}

enum step tls_write(struct tls *tls, const void *data, size_t size, size_t *sent,
                    struct shoal_error *err) {
    *sent = 0;
    ERR_clear_error();
    pthread_mutex_lock(&tls->mutex);
    // Never between a write that could not go and the same again: it had begun below the
    // limit, and nothing went.
    if (tls->sent >= tls_update_bytes &&
        SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1) {
        tls->sent = 0;
        tls->updates++;
    }
    int result = SSL_write_ex(tls->ssl, data, size, sent);
    enum step step = result == 1 ? STEP_DONE : why_not(tls, result, err);
    tls->sent += *sent;
    pthread_mutex_unlock(&tls->mutex);
    return step;
}

uint64_t tls_updates(const struct tls *tls) {
    return tls->updates;
}

enum step tls_end(struct tls *tls) {
    ERR_clear_error();
    pthread_mutex_lock(&tls->mutex);
    int result = SSL_is_init_finished(tls->ssl) ? SSL_shutdown(tls->ssl) : 0;
    bool waits = result < 0 && tls->write_error == 0 &&
                 SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_WRITE;
    pthread_mutex_unlock(&tls->mutex);
    return waits ? STEP_WRITES : STEP_DONE;
}
