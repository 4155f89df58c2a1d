/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only file of the transport that sees OpenSSL.
 *
 * A connection's bytes go through a BIO of our own: what is sent goes to the socket at once, and
 * without a signal when nobody reads any more; what is received comes from the socket during the
 * handshake (record by record: nothing of what follows it is taken), and after it from the bytes
 * that tls_take() was given, all of which are used up: so that a socket with nothing to read
 * means that there is nothing to read.
 *
 * Sessions are resumed by tickets whose keys live as long as what was loaded: reloading ends them.
 * A ticket holds the certificate, whose end is looked at again.
 */
#include "replication/net/net_tls.h"
#include "replication/net/sp_address.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define RECORD_SIZE    16384u /* plain bytes of one record, at most */
#define CHAIN_SIZE_MAX 32768  /* of the certificates that the other side shows */
#define TICKET_S       3600
#define CIPHERS_OF_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"
#define CIPHERS_OF_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

struct kvp_tls {
    pthread_mutex_t lock;
    SSL_CTX *loaded; /* guarded by the lock, as is what follows */
    unsigned loads;  /* how often */
    int64_t not_after;
    char cert[PATH_MAX], key[PATH_MAX], ca[PATH_MAX];
    int min;
};

struct net_tls {
    SSL *ssl;
    int fd;
    bool done;
    bool server;
    struct net_tls_expected expected;
    struct net_tls_session *session; /* a client's */
    unsigned loaded;                 /* when it began: kvp_tls.loads */
    const char *reason;
    unsigned identity_count;
    struct kvp_identity identities[KVP_IDENTITIES_MAX];
    pthread_mutex_t lock; /* after the handshake: of all that uses `ssl` */
    const uint8_t *taken; /* what tls_take() has still to hand out */
    size_t taken_size;
};

/* ---- the BIO ---- */

static int bio_read(BIO *bio, char *out, int size)
{
    struct net_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->done) {
        size_t given = tls->taken_size < (size_t)size ? tls->taken_size : (size_t)size;
        memcpy(out, tls->taken, given);
        tls->taken += given;
        tls->taken_size -= given;
        if (given == 0) {
            BIO_set_retry_read(bio);
        }
        return given > 0 ? (int)given : -1;
    }
    ssize_t got = recv(tls->fd, out, (size_t)size, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        BIO_set_retry_read(bio);
    }
    return (int)got;
}

static int bio_write(BIO *bio, const char *bytes, int size)
{
    struct net_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t sent = send(tls->fd, bytes, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
        BIO_set_retry_write(bio);
    }
    return (int)sent;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *socket_method; /* lives on */
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void make_method(void)
{
    /* Threads may be at it when the process ends: nothing is to be taken down under them. */
    (void)OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "kvpair socket");
    if (made != NULL) {
        (void)BIO_meth_set_read(made, bio_read);
        (void)BIO_meth_set_write(made, bio_write);
        (void)BIO_meth_set_ctrl(made, bio_control);
    }
    socket_method = made;
}

/* ---- what is loaded ---- */

struct tls_complaint {
    char *text;
    size_t size;
};

static kvp_status tls_refuse(const struct tls_complaint *complaint, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static kvp_status tls_refuse(const struct tls_complaint *complaint, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (complaint->text != NULL) {
        (void)vsnprintf(complaint->text, complaint->size, format, arguments);
    }
    va_end(arguments);
    ERR_clear_error();
    return KVP_BAD_ARGUMENT;
}

/* Of a key that is locked with a passphrase nobody can be asked. */
static int no_passphrase(char *buffer, int size, int writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static FILE *open_key(const char *path, const struct tls_complaint *complaint)
{
    struct stat about;
    FILE *file = fopen(path, "re");
    if (file == NULL || fstat(fileno(file), &about) != 0) {
        (void)tls_refuse(complaint, "the key %s cannot be read: %s", path, strerror(errno));
    } else if ((about.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        (void)tls_refuse(complaint,
                         "the key %s can be used by others than its owner: chmod 600 it, and, if "
                         "somebody may have read it, make a new one",
                         path);
    } else {
        return file;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return NULL;
}

static kvp_status load_key(SSL_CTX *context, const struct kvp_tls *tls,
                           const struct tls_complaint *complaint)
{
    FILE *file = open_key(tls->key, complaint);
    if (file == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, no_passphrase, NULL);
    (void)fclose(file);
    if (key == NULL) {
        return tls_refuse(complaint, "%s has no private key in PEM, without a passphrase",
                          tls->key);
    }
    bool fits = SSL_CTX_use_PrivateKey(context, key) == 1;
    EVP_PKEY_free(key);
    return fits ? KVP_OK
                : tls_refuse(complaint, "the key %s is not the one of the certificate %s", tls->key,
                             tls->cert);
}

static int64_t tls_seconds(const ASN1_TIME *time)
{
    struct tm parts;
    return ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

static bool is_of_ca(SSL_CTX *context, X509 *cert)
{
    STACK_OF(X509) *chain = NULL;
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    (void)SSL_CTX_get0_chain_certs(context, &chain);
    bool good = check != NULL &&
                X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context), cert, chain) == 1 &&
                X509_verify_cert(check) == 1;
    X509_STORE_CTX_free(check);
    return good;
}

static kvp_status tls_check_own(SSL_CTX *context, const struct kvp_tls *tls, int64_t *not_after,
                                const struct tls_complaint *complaint)
{
    X509 *cert = SSL_CTX_get0_certificate(context);
    *not_after = tls_seconds(X509_get0_notAfter(cert));
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) {
        return tls_refuse(complaint,
                          "the certificate %s has expired: make a new one (kvcli cert renew)",
                          tls->cert);
    }
    if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
        return tls_refuse(complaint, "the certificate %s is not valid yet: is the clock right?",
                          tls->cert);
    }
    if (!is_of_ca(context, cert)) {
        return tls_refuse(complaint, "the certificate %s was not issued by the CA %s", tls->cert,
                          tls->ca);
    }
    return KVP_OK;
}

static kvp_status load_files(SSL_CTX *context, const struct kvp_tls *tls, int64_t *not_after,
                             const struct tls_complaint *complaint)
{
    if (SSL_CTX_load_verify_file(context, tls->ca) != 1) {
        return tls_refuse(complaint, "%s has no certificates of a CA in PEM, or cannot be read",
                          tls->ca);
    }
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(tls->ca));
    if (SSL_CTX_use_certificate_chain_file(context, tls->cert) != 1) {
        return tls_refuse(complaint, "%s has no certificate in PEM, or cannot be read", tls->cert);
    }
    kvp_status status = load_key(context, tls, complaint);
    return status == KVP_OK ? tls_check_own(context, tls, not_after, complaint) : status;
}

static void tls_forget(struct net_tls_session *session)
{
    SSL_SESSION_free(session->kept);
    session->kept = NULL;
}

/* The other side, a server, has given something to begin the next connection with. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct net_tls *tls = SSL_get_app_data(ssl);
    if (tls == NULL || tls->session == NULL) {
        return 0;
    }
    tls_forget(tls->session);
    tls->session->kept = session;
    tls->session->loaded = tls->loaded;
    return 1;
}

static void set_rules(SSL_CTX *context, int min)
{
    static const unsigned char name[] = "kvpair";
    (void)SSL_CTX_set_min_proto_version(context, min);
    (void)SSL_CTX_set_ciphersuites(context, CIPHERS_OF_1_3);
    (void)SSL_CTX_set_cipher_list(context, CIPHERS_OF_1_2);
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_IGNORE_UNEXPECTED_EOF |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE);
    (void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                        SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_max_cert_list(context, CHAIN_SIZE_MAX);
    (void)SSL_CTX_set_session_id_context(context, name, sizeof(name) - 1);
    (void)SSL_CTX_set_session_cache_mode(context,
                                         SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    (void)SSL_CTX_set_timeout(context, TICKET_S);
    (void)SSL_CTX_set_num_tickets(context, 1);
}

static kvp_status tls_reload(struct kvp_tls *tls, char *reason, size_t reason_size)
{
    const struct tls_complaint complaint = {reason, reason_size};
    int64_t not_after = 0;
    (void)pthread_once(&method_once, make_method);
    SSL_CTX *context = socket_method != NULL ? SSL_CTX_new(TLS_method()) : NULL;
    if (context == NULL) {
        (void)tls_refuse(&complaint, "out of memory");
        return KVP_NO_MEMORY;
    }
    set_rules(context, tls->min);
    kvp_status status = load_files(context, tls, &not_after, &complaint);
    pthread_mutex_lock(&tls->lock);
    if (status == KVP_OK) {
        SSL_CTX *before = tls->loaded;
        tls->loaded = context;
        tls->loads++;
        tls->not_after = not_after;
        context = before;
    }
    pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(context); /* connections that began with it still have it */
    return status;
}

static bool take_path(char *to, const char *path)
{
    return (size_t)snprintf(to, PATH_MAX, "%s", path) < PATH_MAX;
}

static kvp_status take_files(struct kvp_tls *tls, const struct kvp_tls_files *files,
                             const struct tls_complaint *complaint)
{
    const char *min = files->min != NULL ? files->min : "";
    bool older = strcmp(min, "1.2") == 0;
    if (!older && min[0] != '\0' && strcmp(min, "1.3") != 0) {
        return tls_refuse(complaint, "the least version of TLS is 1.3 or 1.2, not '%.20s'", min);
    }
    tls->min = older ? TLS1_2_VERSION : TLS1_3_VERSION;
    if (files->cert == NULL || files->key == NULL || files->ca == NULL) {
        return tls_refuse(complaint, "a certificate, its key and the CA belong together: "
                                     "--tls-cert, --tls-key and --tls-ca");
    }
    return take_path(tls->cert, files->cert) && take_path(tls->key, files->key) &&
                   take_path(tls->ca, files->ca)
               ? KVP_OK
               : tls_refuse(complaint, "the path of a certificate or key is too long");
}

static void tls_close(struct kvp_tls *tls)
{
    SSL_CTX_free(tls->loaded);
    pthread_mutex_destroy(&tls->lock);
    free(tls);
}

static kvp_status tls_open(const struct kvp_tls_files *files, struct kvp_tls **tls, char *reason,
                           size_t reason_size)
{
    const struct tls_complaint complaint = {reason, reason_size};
    struct kvp_tls *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        (void)tls_refuse(&complaint, "out of memory");
        return KVP_NO_MEMORY;
    }
    pthread_mutex_init(&opened->lock, NULL);
    kvp_status status = take_files(opened, files, &complaint);
    status = status == KVP_OK ? tls_reload(opened, reason, reason_size) : status;
    if (status != KVP_OK) {
        tls_close(opened);
        return status;
    }
    *tls = opened;
    return KVP_OK;
}

static int64_t tls_not_after(struct kvp_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    int64_t not_after = tls->not_after;
    pthread_mutex_unlock(&tls->lock);
    return not_after;
}

/* ---- a connection ---- */

static SSL *new_ssl(struct kvp_tls *context, struct net_tls *tls)
{
    pthread_mutex_lock(&context->lock);
    SSL *ssl = SSL_new(context->loaded);
    tls->loaded = context->loads;
    pthread_mutex_unlock(&context->lock);
    BIO *bio = ssl != NULL ? BIO_new(socket_method) : NULL;
    if (bio == NULL) {
        SSL_free(ssl);
        return NULL;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    (void)SSL_set_app_data(ssl, tls);
    return ssl;
}

static struct net_tls *tls_begin(struct kvp_tls *context, int fd)
{
    struct net_tls *tls = calloc(1, sizeof(*tls));
    if (tls == NULL) {
        return NULL;
    }
    tls->fd = fd;
    tls->ssl = new_ssl(context, tls);
    if (tls->ssl == NULL) {
        ERR_clear_error();
        free(tls);
        return NULL;
    }
    pthread_mutex_init(&tls->lock, NULL);
    return tls;
}

static struct net_tls *tls_accept(struct kvp_tls *context, int fd)
{
    struct net_tls *tls = tls_begin(context, fd);
    if (tls != NULL) {
        tls->server = true;
        SSL_set_accept_state(tls->ssl);
    }
    return tls;
}

static struct net_tls *tls_connect(struct kvp_tls *context, int fd,
                                   const struct net_tls_expected *expected,
                                   struct net_tls_session *session)
{
    struct net_tls *tls = tls_begin(context, fd);
    if (tls == NULL) {
        return NULL;
    }
    tls->expected = *expected;
    tls->session = session;
    SSL_set_connect_state(tls->ssl);
    if (session->kept != NULL && session->loaded == tls->loaded) {
        (void)SSL_set_session(tls->ssl, session->kept);
    }
    tls_forget(session); /* a ticket is for one connection, and for the CA that was believed then */
    return tls;
}

static void tls_free(struct net_tls *tls)
{
    /* Or its session would count as broken, and could not be resumed. */
    SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN);
    SSL_free(tls->ssl);
    pthread_mutex_destroy(&tls->lock);
    free(tls);
}

static const char *tls_reason(const struct net_tls *tls)
{
    return tls->reason;
}

static const struct kvp_identity *tls_identities(const struct net_tls *tls, unsigned *count)
{
    *count = tls->identity_count;
    return tls->identities;
}

/* ---- why it came to nothing ---- */

struct tls_text {
    int code;
    const char *text;
};

#define UNKNOWN_CA                                                                                 \
    "its certificate is of a CA that --tls-ca does not name: issue it with the group's CA"

/* What is wrong with the other side's certificate. */
static const struct tls_text verify_texts[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, "its certificate has expired: renew it there"},
    {X509_V_ERR_CERT_NOT_YET_VALID, "its certificate is not valid yet: compare the clocks"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, UNKNOWN_CA},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, UNKNOWN_CA},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, UNKNOWN_CA},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, UNKNOWN_CA},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, UNKNOWN_CA},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, UNKNOWN_CA},
    {X509_V_ERR_INVALID_PURPOSE, "its certificate is not for this: a user's or worker's cannot be "
                                 "that of a server"},
    {0, "its certificate is not to be believed: issue it with the group's CA"},
};

/* What the other side says in an alert, and what else there is. */
static const struct tls_text error_texts[] = {
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA,
     "the other side does not know the CA of our certificate: issue it with the group's CA"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
     "the other side says that our certificate has expired: renew it, or compare the clocks"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the other side does not believe our certificate"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
     "the other side says that our certificate is not for this: a user's or worker's cannot be "
     "that of a server"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
     "the other side wants a certificate: give one (--tls-cert, --tls-key)"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,
     "the other side wants another version of TLS: see --tls-min"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,
     "the other side refuses: it has no version or cipher in common with us, or wants another "
     "certificate"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
     "it shows no certificate: it has to have one of the group's CA (--tls-cert, --tls-key)"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "it speaks an older version of TLS: see --tls-min"},
    {SSL_R_NO_SHARED_CIPHER, "it has no cipher in common with us"},
    {SSL_R_WRONG_VERSION_NUMBER, "it does not speak TLS: is its address a plain tcp:// one?"},
    {SSL_R_HTTP_REQUEST, "it speaks HTTP, and not TLS"},
    {0, "what it sends is not TLS as it should be"},
};

static const char *text_of(const struct tls_text *texts, int code)
{
    while (texts->code != 0 && texts->code != code) {
        texts++;
    }
    return texts->text;
}

/* From the queue of errors of this thread, which is emptied. */
static const char *why_failed(const struct net_tls *tls)
{
    unsigned long error = ERR_peek_last_error();
    int reason = ERR_GET_REASON(error);
    ERR_clear_error();
    if (ERR_GET_LIB(error) != ERR_LIB_SSL) {
        return "it ends the connection during the TLS handshake: its log says why, or it is a "
               "plain "
               "tcp:// address";
    }
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        return text_of(verify_texts, (int)SSL_get_verify_result(tls->ssl));
    }
    return text_of(error_texts, reason);
}

/* ---- handshake ---- */

static void take_identities(struct net_tls *tls, X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI || tls->identity_count == KVP_IDENTITIES_MAX) {
            continue;
        }
        const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
        kvp_slice text = kvp_slice_of(ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri));
        tls->identity_count +=
            kvp_identity_parse(text, &tls->identities[tls->identity_count]) == KVP_OK;
    }
    GENERAL_NAMES_free(names);
}

static bool is_expected(const struct net_tls *tls)
{
    const struct net_tls_expected *expected = &tls->expected;
    bool found = expected->kind == 0;
    for (unsigned i = 0; i < tls->identity_count; i++) {
        const struct kvp_identity *identity = &tls->identities[i];
        found = found || (identity->kind == expected->kind &&
                          (expected->node == 0 || expected->node == identity->node) &&
                          strcmp(identity->group, expected->group) == 0);
    }
    return found;
}

static const char *why_unexpected(const struct net_tls *tls)
{
    return tls->expected.kind == KVP_IDENTITY_WITNESS
               ? "its certificate is not that of a witness of this group"
           : tls->expected.node != 0
               ? "its certificate is not that of the node with this number in this group"
               : "its certificate is not that of a node of this group";
}

/* A resumed session has the certificate of the first one, which is to be valid today. */
static bool tls_check_peer(struct net_tls *tls)
{
    X509 *cert = SSL_get1_peer_certificate(tls->ssl);
    if (cert == NULL) {
        tls->reason = text_of(error_texts, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
    } else if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) {
        tls->reason = text_of(verify_texts, X509_V_ERR_CERT_HAS_EXPIRED);
    } else {
        take_identities(tls, cert);
        tls->reason = is_expected(tls) ? NULL : why_unexpected(tls);
    }
    X509_free(cert);
    return tls->reason == NULL;
}

static enum net_tls_step tls_handshake(struct net_tls *tls)
{
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1) {
        bool sound = tls_check_peer(tls);
        tls->done = sound;
        return sound ? NET_TLS_DONE : NET_TLS_FAILED;
    }
    int error = SSL_get_error(tls->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return error == SSL_ERROR_WANT_READ ? NET_TLS_READS : NET_TLS_WRITES;
    }
    if (tls->server && ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_WRONG_VERSION_NUMBER) {
        static const uint8_t alert[] = {0x15, 3, 3, 0, 2, 2, 70}; /* tells a plain link why */
        (void)send(tls->fd, alert, sizeof(alert), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    tls->reason = why_failed(tls);
    return NET_TLS_FAILED;
}

/* ---- after it ---- */

static size_t tls_gather(uint8_t *out, const struct iovec *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count && size < RECORD_SIZE; i++) {
        size_t room = RECORD_SIZE - size;
        size_t part = parts[i].iov_len < room ? parts[i].iov_len : room;
        memcpy(out + size, parts[i].iov_base, part);
        size += part;
    }
    return size;
}

static ssize_t tls_send(struct net_tls *tls, const struct iovec *parts, size_t count)
{
    uint8_t record[RECORD_SIZE];
    const void *bytes = record;
    size_t size = RECORD_SIZE;
    if (count > 0 && parts[0].iov_len >= RECORD_SIZE) {
        bytes = parts[0].iov_base;
    } else {
        size = tls_gather(record, parts, count);
    }
    pthread_mutex_lock(&tls->lock);
    ERR_clear_error();
    int sent = SSL_write(tls->ssl, bytes, (int)size);
    int error = sent > 0 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, sent);
    pthread_mutex_unlock(&tls->lock);
    if (sent > 0) {
        return sent;
    }
    ERR_clear_error();
    errno = error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? EAGAIN : EPIPE;
    return -1;
}

/* Returns the size of what it means; 0: nothing more for now; -1: the connection is broken. */
static int tls_read(struct net_tls *tls, uint8_t plain[RECORD_SIZE])
{
    pthread_mutex_lock(&tls->lock);
    ERR_clear_error();
    int got = SSL_read(tls->ssl, plain, RECORD_SIZE);
    int error = got > 0 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, got);
    bool waits = error == SSL_ERROR_WANT_READ && tls->taken_size == 0;
    if (error == SSL_ERROR_SSL) {
        tls->reason = why_failed(tls);
    }
    pthread_mutex_unlock(&tls->lock);
    return got > 0 ? got : waits ? 0 : -1;
}

static bool tls_take(struct net_tls *tls, const uint8_t *bytes, size_t size, net_tls_feeder feed,
                     void *arg)
{
    uint8_t plain[RECORD_SIZE];
    pthread_mutex_lock(&tls->lock);
    tls->taken = bytes;
    tls->taken_size = size;
    pthread_mutex_unlock(&tls->lock);
    int got;
    while ((got = tls_read(tls, plain)) > 0) {
        if (!feed(arg, plain, (size_t)got)) {
            return false;
        }
    }
    return got == 0;
}

static bool tls_is_partial(struct net_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    bool partial = SSL_has_pending(tls->ssl) == 1;
    pthread_mutex_unlock(&tls->lock);
    return partial;
}

static void tls_bye(struct net_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    if (tls->done) {
        (void)SSL_shutdown(tls->ssl);
        ERR_clear_error();
    }
    pthread_mutex_unlock(&tls->lock);
}

const struct kvp_tls_functions kvp_tls = {tls_open, tls_reload, tls_not_after, tls_close};

const struct net_tls_functions net_tls = {
    .accept = tls_accept,
    .connect = tls_connect,
    .free = tls_free,
    .forget = tls_forget,
    .handshake = tls_handshake,
    .reason = tls_reason,
    .identities = tls_identities,
    .send = tls_send,
    .take = tls_take,
    .is_partial = tls_is_partial,
    .bye = tls_bye,
};
