/*
 * tls.h: one `ssl` mapping of h2o.conf -> an SSL_CTX that speaks h2 and http/1.1.
 *
 * In: names of PEM files and a few settings, each with its place in the file. Out: an SSL_CTX, or one line
 * that says which file is at fault and OpenSSL's reason. TLS 1.2 is the least; renegotiation and compression
 * are off. A listener with several certificates chooses by the name that the client asks for (SNI, RFC 6066
 * section 3). Sessions are resumed by tickets only (RFC 5077, RFC 8446 section 2.2), whose keys the master
 * shares among its workers: a client may come back to another worker. Not here: OCSP stapling, client
 * certificates, DH files.
 */
#ifndef CHANGEFEED_HTTP_CONF_TLS_H
#define CHANGEFEED_HTTP_CONF_TLS_H

#include <openssl/ssl.h>

#include "core/bytes.h"

/* A value of the file and where it stands, as file:line:column. */
struct tls_value {
	char *text;
	char *where;
};

struct tls_settings {
	struct tls_value certificate_file; /* PEM, the chain */
	struct tls_value key_file;         /* PEM */
	struct tls_value cipher_suite;     /* OpenSSL's list for TLS 1.2; text NULL: OpenSSL's default */
	int minimum_version;               /* TLS1_2_VERSION or TLS1_3_VERSION */
	bool prefer_server_ciphers;
};

/* Frees them, too; NULL is none. */
void tls_settings_free(struct tls_settings *settings);

/* The keys of session tickets in OpenSSL's layout: name, HMAC key, AES key. */
struct tls_ticket_keys {
	unsigned char bytes[80];
};

/* Draws new keys. The master calls it once for each generation of workers. Returns false without entropy. */
bool tls_ticket_keys_generate(struct tls_ticket_keys *ret_keys);

/*
 * Reads the files (blocks on the disk) and returns a context, owned by the caller (SSL_CTX_free), or NULL
 * with one line in *ret_error: file:line:column, the name of the PEM file, the reason. `keys` may be NULL:
 * the context then makes its own.
 */
SSL_CTX *tls_create(const struct tls_settings *settings, const struct tls_ticket_keys *keys,
					struct buffer *ret_error);

/* A certificate and the names it is for; "*.a.example" stands for all names that end in ".a.example". */
struct tls_choice {
	SSL_CTX *context;
	const char **names; /* in lower case, NULL at the end */
};

/*
 * Makes `context`, the one that a listener starts every handshake with, switch to the first of `choices` that
 * has the name that the client asks for, and stay when there is none. `choices` ends with a NULL context and
 * has to outlive `context`.
 */
void tls_choose_by_name(SSL_CTX *context, const struct tls_choice *choices);

#endif
