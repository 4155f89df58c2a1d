/* SPDX-License-Identifier: Apache-2.0 */
/* The only file of the tools that sees OpenSSL. */
#include "client/kvcli/certificates.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define SKEW_S 300 /* clocks differ */

struct failure {
    char *text;
    size_t size;
};

static bool fail(const struct failure *failure, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool fail(const struct failure *failure, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(failure->text, failure->size, format, arguments);
    va_end(arguments);
    ERR_clear_error();
    return false;
}

/* ---- files ---- */

static bool path_of(char path[PATH_MAX], const char *folder, const char *file, const char *ending,
                    const struct failure *failure)
{
    return snprintf(path, PATH_MAX, "%s/%s%s", folder, file, ending) < PATH_MAX ||
           fail(failure, "the path of the folder is too long");
}

static bool write_pem(FILE *file, EVP_PKEY *key, X509 *cert)
{
    return key != NULL ? PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1
                       : PEM_write_X509(file, cert) == 1;
}

/* Of a key, or (NULL) of a certificate. It takes its place when it is whole and on the disk. */
static bool save(const char *path, EVP_PKEY *key, X509 *cert, const struct failure *failure)
{
    char beside[PATH_MAX + 8];
    (void)snprintf(beside, sizeof(beside), "%s.new", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *file = fd >= 0 && fchmod(fd, key != NULL ? 0600 : 0644) == 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL) {
        int error = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return fail(failure, "%s: %s", beside, strerror(error));
    }
    bool written = write_pem(file, key, cert) && fflush(file) == 0 && fsync(fd) == 0;
    written = fclose(file) == 0 && written;
    if (!written || rename(beside, path) != 0) {
        int error = errno;
        (void)unlink(beside);
        return fail(failure, "%s: %s", path, strerror(error));
    }
    return true;
}

static X509 *read_certificate(const char *path, const struct failure *failure)
{
    FILE *file = fopen(path, "re");
    X509 *cert = file != NULL ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    if (file == NULL) {
        (void)fail(failure, "%s: %s", path, strerror(errno));
    } else {
        (void)fclose(file);
    }
    if (file != NULL && cert == NULL) {
        (void)fail(failure, "%s: there is no certificate in it", path);
    }
    return cert;
}

static EVP_PKEY *certificates_read_key(const char *path, const struct failure *failure)
{
    FILE *file = fopen(path, "re");
    EVP_PKEY *key = file != NULL ? PEM_read_PrivateKey(file, NULL, NULL, "") : NULL;
    if (file == NULL) {
        (void)fail(failure, "%s: %s", path, strerror(errno));
    } else {
        (void)fclose(file);
    }
    if (file != NULL && key == NULL) {
        (void)fail(failure, "%s: there is no key in it", path);
    }
    return key;
}

/* ---- certificates ---- */

/* A CA, and who signs for it: itself, while it is being made. */
struct issuer {
    X509 *cert;
    EVP_PKEY *key;
};

static bool set_serial(X509 *cert)
{
    unsigned char random[16];
    if (RAND_bytes(random, sizeof(random)) != 1) {
        return false;
    }
    random[0] = (random[0] & 0x3f) | 0x40; /* positive, and never short */
    BIGNUM *number = BN_bin2bn(random, sizeof(random), NULL);
    bool set = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return set;
}

static bool set_subject(X509 *cert, const char *subject)
{
    return X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
                                      (const unsigned char *)subject, -1, -1, 0) == 1;
}

static bool add_extension(X509 *cert, const struct issuer *issuer, int kind, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer->cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    bool added = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static int kind_of_name(const char *name)
{
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(name);
    bool is_address = address != NULL;
    ASN1_OCTET_STRING_free(address);
    ERR_clear_error();
    return strncmp(name, "kvpair:", 7) == 0 ? GEN_URI : is_address ? GEN_IPADD : GEN_DNS;
}

static bool add_names(X509 *cert, const struct certificate_wish *wish)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    bool added = names != NULL;
    for (unsigned i = 0; i < wish->name_count && added; i++) {
        const char *text = wish->names[i];
        GENERAL_NAME *name = a2i_GENERAL_NAME(NULL, NULL, NULL, kind_of_name(text), text, 0);
        added = name != NULL && sk_GENERAL_NAME_push(names, name) > 0;
    }
    added = added && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;
    GENERAL_NAMES_free(names);
    return added;
}

static bool add_uses(X509 *cert, const struct issuer *issuer, const struct certificate_wish *wish)
{
    bool ca = issuer->cert == cert;
    if (!add_extension(cert, issuer, NID_basic_constraints,
                       ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") ||
        !add_extension(cert, issuer, NID_key_usage,
                       ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature") ||
        !add_extension(cert, issuer, NID_subject_key_identifier, "hash") ||
        !add_extension(cert, issuer, NID_authority_key_identifier, "keyid")) {
        return false;
    }
    return ca || (add_extension(cert, issuer, NID_ext_key_usage,
                                wish->server ? "serverAuth,clientAuth" : "clientAuth") &&
                  add_names(cert, wish));
}

/* Without an issuer it issues itself: a CA. */
static X509 *make_certificate(const struct certificate_wish *wish, EVP_PKEY *key,
                              const struct issuer *issuer)
{
    X509 *cert = X509_new();
    const struct issuer itself = {cert, key};
    const struct issuer *by = issuer != NULL ? issuer : &itself;
    bool made = cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
                X509_gmtime_adj(X509_getm_notBefore(cert), (long)wish->begins_s - SKEW_S) != NULL &&
                X509_gmtime_adj(X509_getm_notAfter(cert), (long)wish->ends_s) != NULL &&
                set_subject(cert, wish->subject) &&
                X509_set_issuer_name(cert, X509_get_subject_name(by->cert)) == 1 &&
                X509_set_pubkey(cert, key) == 1 && add_uses(cert, by, wish) &&
                X509_sign(cert, by->key, EVP_sha256()) > 0;
    if (!made) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

/* The key first: a certificate without it is of no use. */
static bool make_pair(const char *folder, const struct certificate_wish *wish,
                      const struct issuer *issuer, const struct failure *failure)
{
    char key_path[PATH_MAX], cert_path[PATH_MAX];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key != NULL ? make_certificate(wish, key, issuer) : NULL;
    bool done = cert != NULL || fail(failure, "the certificate cannot be made: is each name that "
                                              "of a host, or an address?");
    done = done && path_of(key_path, folder, wish->file, ".key", failure) &&
           path_of(cert_path, folder, wish->file, ".crt", failure) &&
           save(key_path, key, NULL, failure) && save(cert_path, NULL, cert, failure);
    X509_free(cert);
    EVP_PKEY_free(key);
    return done;
}

static bool is_there(const char *folder, const char *file, const char *ending)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s%s", folder, file, ending);
    return access(path, F_OK) == 0;
}

static bool certificates_found(const char *folder, const char *subject, int64_t ends_s,
                               char *reason, size_t reason_size)
{
    const struct failure failure = {reason, reason_size};
    const struct certificate_wish wish = {.file = "ca", .subject = subject, .ends_s = ends_s};
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return fail(&failure, "%s cannot be made: %s", folder, strerror(errno));
    }
    if (is_there(folder, "ca", ".key") || is_there(folder, "ca", ".crt")) {
        return fail(&failure,
                    "%s has a CA already, whose certificates are in use: take another "
                    "folder, or move it away",
                    folder);
    }
    return make_pair(folder, &wish, NULL, &failure);
}

static bool certificates_issue(const char *folder, const struct certificate_wish *wish,
                               bool replace, char *reason, size_t reason_size)
{
    const struct failure failure = {reason, reason_size};
    char key_path[PATH_MAX], cert_path[PATH_MAX];
    struct issuer issuer = {NULL, NULL};
    if (!replace && is_there(folder, wish->file, ".crt")) {
        return fail(&failure, "%s/%s.crt is there already: kvcli cert renew makes it anew", folder,
                    wish->file);
    }
    bool done = path_of(key_path, folder, "ca", ".key", &failure) &&
                path_of(cert_path, folder, "ca", ".crt", &failure);
    issuer.cert = done ? read_certificate(cert_path, &failure) : NULL;
    issuer.key = issuer.cert != NULL ? certificates_read_key(key_path, &failure) : NULL;
    done = issuer.key != NULL && make_pair(folder, wish, &issuer, &failure);
    X509_free(issuer.cert);
    EVP_PKEY_free(issuer.key);
    return done;
}

/* ---- reading ---- */

static void print_name(const GENERAL_NAME *name, char out[CERTIFICATE_NAME_SIZE])
{
    const ASN1_STRING *text = name->d.ia5;
    const unsigned char *bytes = ASN1_STRING_get0_data(text);
    int size = ASN1_STRING_length(text);
    if (name->type != GEN_IPADD) {
        (void)snprintf(out, CERTIFICATE_NAME_SIZE, "%.*s", size, (const char *)bytes);
    } else if (size == 4) {
        (void)snprintf(out, CERTIFICATE_NAME_SIZE, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2],
                       bytes[3]);
    } else if (size == 16) {
        size_t used = 0;
        for (int i = 0; i < size; i += 2) {
            used += (size_t)snprintf(out + used, CERTIFICATE_NAME_SIZE - used, "%s%x",
                                     i == 0 ? "" : ":", (unsigned)(bytes[i] << 8 | bytes[i + 1]));
        }
    }
}

static void read_names(X509 *cert, struct certificate *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        bool known = name->type == GEN_URI || name->type == GEN_DNS || name->type == GEN_IPADD;
        if (known && certificate->name_count < CERTIFICATE_NAMES_MAX) {
            print_name(name, certificate->names[certificate->name_count++]);
        }
    }
    GENERAL_NAMES_free(names);
}

static bool certificates_read(const char *folder, const char *file, struct certificate *certificate,
                              char *reason, size_t reason_size)
{
    const struct failure failure = {reason, reason_size};
    char path[PATH_MAX];
    struct tm end = {0};
    X509 *cert =
        path_of(path, folder, file, ".crt", &failure) ? read_certificate(path, &failure) : NULL;
    if (cert == NULL) {
        return false;
    }
    memset(certificate, 0, sizeof(*certificate));
    (void)ASN1_TIME_to_tm(X509_get0_notAfter(cert), &end);
    certificate->not_after = (int64_t)timegm(&end);
    certificate->ca = X509_check_ca(cert) != 0;
    certificate->server = X509_check_purpose(cert, X509_PURPOSE_SSL_SERVER, 0) == 1;
    read_names(cert, certificate);
    X509_free(cert);
    return true;
}

const struct certificates_functions certificates = {certificates_found, certificates_issue,
                                                    certificates_read};
