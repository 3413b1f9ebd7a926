/* tls.c: see tls.h. */
#include "http/conf/tls.h"

#include <h2o.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <strings.h>

void tls_settings_free(struct tls_settings *settings)
{
	if (settings == NULL)
		return;
	struct tls_value *values[] = {&settings->certificate_file, &settings->key_file, &settings->cipher_suite};
	for (size_t i = 0; i < COUNT(values); i++) {
		free(values[i]->text);
		free(values[i]->where);
	}
	free(settings);
}

bool tls_ticket_keys_generate(struct tls_ticket_keys *ret_keys)
{
	struct tls_ticket_keys keys;
	if (RAND_bytes(keys.bytes, sizeof(keys.bytes)) != 1)
		return false;
	*ret_keys = keys;
	return true;
}

/* The first error in OpenSSL's queue is the cause, those after it are where it passed through. */
static bool fail(const struct tls_value *value, const char *what, struct buffer *ret_error)
{
	unsigned long code = ERR_get_error();
	const char *reason = "OpenSSL gives no reason";
	if (ERR_SYSTEM_ERROR(code))
		reason = strerror(ERR_GET_REASON(code));
	else if (code != 0 && ERR_reason_error_string(code) != NULL)
		reason = ERR_reason_error_string(code);
	buffer_printf(ret_error, "%s: %s %s: %s", value->where, what, value->text, reason);
	ERR_clear_error();
	return false;
}

/* A key with a passphrase would be asked for on the terminal of whoever started the server. */
static int no_passphrase(char *buffer, int size, int for_writing, void *data)
{
	(void)buffer, (void)size, (void)for_writing, (void)data;
	return -1;
}

static bool load(SSL_CTX *context, const struct tls_settings *settings, struct buffer *ret_error)
{
	SSL_CTX_set_default_passwd_cb(context, no_passphrase);
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(context, settings->certificate_file.text) != 1)
		return fail(&settings->certificate_file, "cannot use the certificate file", ret_error);
	if (SSL_CTX_use_PrivateKey_file(context, settings->key_file.text, SSL_FILETYPE_PEM) != 1 ||
		SSL_CTX_check_private_key(context) != 1)
		return fail(&settings->key_file, "cannot use the key file", ret_error);
	if (settings->cipher_suite.text != NULL &&
		SSL_CTX_set_cipher_list(context, settings->cipher_suite.text) != 1)
		return fail(&settings->cipher_suite, "cannot use the cipher suite", ret_error);
	return true;
}

SSL_CTX *tls_create(const struct tls_settings *settings, const struct tls_ticket_keys *keys,
					struct buffer *ret_error)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	if (context == NULL || !load(context, settings, ret_error)) {
		if (context == NULL)
			fail(&settings->certificate_file, "no TLS context for", ret_error);
		SSL_CTX_free(context);
		return NULL;
	}
	SSL_CTX_set_min_proto_version(context, settings->minimum_version);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	if (settings->prefer_server_ciphers)
		SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* An idle stream would otherwise keep 34 KB of buffers. */
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	/* A cache in memory is useless when the next connection goes to another worker: tickets only. */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(context, (const unsigned char *)"changefeed", 10);
	if (keys != NULL)
		SSL_CTX_set_tlsext_ticket_keys(context, (void *)keys->bytes, sizeof(keys->bytes));
	h2o_ssl_register_alpn_protocols(context, h2o_alpn_protocols);
	return context;
}

static bool name_fits(const char *pattern, const char *name)
{
	if (strncmp(pattern, "*.", 2) != 0)
		return strcasecmp(pattern, name) == 0;
	size_t suffix = strlen(pattern) - 1, size = strlen(name);
	return size > suffix && strcasecmp(name + size - suffix, pattern + 1) == 0;
}

static int choose(SSL *ssl, int *alert, void *data)
{
	(void)alert;
	const char *wanted = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	if (wanted == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	for (const struct tls_choice *choice = data; choice->context != NULL; choice++) {
		for (const char **name = choice->names; *name != NULL; name++) {
			if (name_fits(*name, wanted)) {
				SSL_set_SSL_CTX(ssl, choice->context);
				return SSL_TLSEXT_ERR_OK;
			}
		}
	}
	return SSL_TLSEXT_ERR_NOACK;
}

void tls_choose_by_name(SSL_CTX *context, const struct tls_choice *choices)
{
	SSL_CTX_set_tlsext_servername_callback(context, choose);
	SSL_CTX_set_tlsext_servername_arg(context, (void *)choices);
}
