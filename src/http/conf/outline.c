/* outline.c: see outline.h. `listen`: https://h2o.examp1e.net/configure/base_directives.html#listen. */
#include "http/conf/outline.h"

#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "http/conf/address.h"
#include "http/conf/yaml_value.h"

static const char known_listen[] = "host, port, type, permission, ssl, proxy-protocol";

const struct outline_number outline_numbers[OUTLINE_NUMBERS] = {
	{"num-threads", 1, OUTLINE_WORKERS_MAX, offsetof(struct outline, worker_count)},
	{"max-connections", 1, 1000000, offsetof(struct outline, max_connections)},
	{"max-connections-per-address", 0, 1000000, offsetof(struct outline, max_connections_per_address)},
	{"max-requests-per-second", 0, 1000000, offsetof(struct outline, max_requests_per_second)},
};

/* ---- ssl */

static bool read_tls_value(const struct yaml_node *node, const char *name, struct tls_value *ret_value,
						   struct buffer *error)
{
	if (!yaml_read_text(node, name, &ret_value->text, error))
		return false;
	ret_value->where = yaml_place(node);
	if (ret_value->where == NULL)
		yaml_error(node, error, "out of memory");
	return ret_value->where != NULL;
}

static bool read_certificate_file(const struct yaml_node *node, void *data, struct buffer *error)
{
	struct tls_settings *settings = data;
	return read_tls_value(node, "certificate-file", &settings->certificate_file, error);
}

static bool read_key_file(const struct yaml_node *node, void *data, struct buffer *error)
{
	struct tls_settings *settings = data;
	return read_tls_value(node, "key-file", &settings->key_file, error);
}

static bool read_cipher_suite(const struct yaml_node *node, void *data, struct buffer *error)
{
	struct tls_settings *settings = data;
	return read_tls_value(node, "cipher-suite", &settings->cipher_suite, error);
}

static bool read_minimum_version(const struct yaml_node *node, void *data, struct buffer *error)
{
	struct tls_settings *settings = data;
	if (node->type == YAML_SCALAR && strcasecmp(node->scalar, "TLSv1.2") == 0) {
		settings->minimum_version = TLS1_2_VERSION;
	} else if (node->type == YAML_SCALAR && strcasecmp(node->scalar, "TLSv1.3") == 0) {
		settings->minimum_version = TLS1_3_VERSION;
	} else {
		yaml_error(node, error, "minimum-version has to be TLSv1.2 or TLSv1.3");
		return false;
	}
	return true;
}

static bool read_cipher_preference(const struct yaml_node *node, void *data, struct buffer *error)
{
	struct tls_settings *settings = data;
	if (node->type != YAML_SCALAR ||
		(strcasecmp(node->scalar, "client") != 0 && strcasecmp(node->scalar, "server") != 0)) {
		yaml_error(node, error, "cipher-preference has to be client or server");
		return false;
	}
	settings->prefer_server_ciphers = strcasecmp(node->scalar, "server") == 0;
	return true;
}

static const struct yaml_option known_ssl[] = {
	{"certificate-file", read_certificate_file}, {"key-file", read_key_file},
	{"minimum-version", read_minimum_version},   {"min-version", read_minimum_version},
	{"cipher-suite", read_cipher_suite},         {"cipher-preference", read_cipher_preference},
};

/* Returns settings to be freed by tls_settings_free(), or NULL. */
static struct tls_settings *read_ssl(const struct yaml_node *node, struct buffer *error)
{
	struct tls_settings *settings = calloc(1, sizeof(*settings));
	if (settings == NULL) {
		yaml_error(node, error, "out of memory");
		return NULL;
	}
	settings->minimum_version = TLS1_2_VERSION;
	bool right = yaml_read_mapping(node, "ssl", known_ssl, COUNT(known_ssl), settings, error);
	if (right && (settings->certificate_file.text == NULL || settings->key_file.text == NULL)) {
		yaml_error(node, error, "ssl needs both certificate-file and key-file");
		right = false;
	}
	if (right)
		return settings;
	tls_settings_free(settings);
	return NULL;
}

/* ---- listen */

static struct outline_listener *find_listener(struct outline *outline, const struct address *address)
{
	for (size_t i = 0; i < outline->listener_count; i++) {
		struct outline_listener *listener = &outline->listeners[i];
		if (listener->address_size == address->size &&
			memcmp(&listener->address, &address->storage, address->size) == 0)
			return listener;
	}
	return NULL;
}

static struct outline_listener *add_listener(struct outline *outline, const struct address *address,
											 const struct yaml_node *node, struct buffer *error)
{
	if (outline->listener_count == OUTLINE_LISTENERS_MAX) {
		yaml_error(node, error, "more than %d addresses to listen on", OUTLINE_LISTENERS_MAX);
		return NULL;
	}
	if (outline->listeners == NULL)
		outline->listeners = calloc(OUTLINE_LISTENERS_MAX, sizeof(*outline->listeners));
	struct buffer name = {0};
	address_append_name(&name, address);
	char *where = yaml_place(node);
	if (outline->listeners == NULL || where == NULL || buffer_string(&name) == NULL) {
		buffer_free(&name);
		free(where);
		yaml_error(node, error, "out of memory");
		return NULL;
	}
	struct outline_listener *listener = &outline->listeners[outline->listener_count++];
	*listener = (struct outline_listener){.address = address->storage, .address_size = address->size};
	listener->name = name.data;
	listener->where = where;
	return listener;
}

static bool add_declaration(struct outline_listener *listener, const struct yaml_node *node,
							struct buffer *error)
{
	for (size_t i = 0; i < listener->declaration_count; i++) {
		if (listener->declarations[i].node == node)
			return true;
	}
	const struct yaml_node *ssl = yaml_get(node, "ssl");
	if (listener->declaration_count > 0 && (listener->declarations[0].tls != NULL) != (ssl != NULL)) {
		yaml_error(node, error, "%s cannot have ssl in one place and not in another: see %s", listener->name,
				   listener->where);
		return false;
	}
	struct tls_settings *tls = NULL;
	if (ssl != NULL && (tls = read_ssl(ssl, error)) == NULL)
		return false;
	size_t size = (listener->declaration_count + 1) * sizeof(*listener->declarations);
	struct outline_declaration *declarations = realloc(listener->declarations, size);
	if (declarations == NULL) {
		yaml_error(node, error, "out of memory");
		tls_settings_free(tls);
		return false;
	}
	listener->declarations = declarations;
	declarations[listener->declaration_count++] = (struct outline_declaration){node, tls};
	return true;
}

static bool declare_address(struct outline *outline, const struct address *address,
							const struct yaml_node *node, unsigned permission, struct buffer *error)
{
	if (!address_is_local(address)) {
		struct buffer name = {0};
		address_append_name(&name, address);
		yaml_error(
			node, error,
			"refusing to listen on %s, which other machines may reach: until authentication is configured "
			"only loopback addresses are allowed (host: 127.0.0.1, ::1 or localhost), or type: unix",
			buffer_message(&name));
		buffer_free(&name);
		return false;
	}
	struct outline_listener *listener = find_listener(outline, address);
	if (listener == NULL && (listener = add_listener(outline, address, node, error)) == NULL)
		return false;
	listener->permission = permission;
	return add_declaration(listener, node, error);
}

static bool listen_tcp(struct outline *outline, const struct yaml_node *node, struct buffer *error)
{
	unsigned port;
	struct address addresses[2];
	const struct yaml_node *host = yaml_get(node, "host");
	const struct yaml_node *port_node = node->type == YAML_SCALAR ? node : yaml_get(node, "port");
	if (port_node == NULL) {
		yaml_error(node, error, "listen needs a port");
		return false;
	}
	if (!yaml_read_number(port_node, "the port to listen on", 1, 65535, &port, error))
		return false;
	size_t count = 0;
	if (host == NULL || host->type == YAML_SCALAR)
		count = address_resolve(host == NULL ? NULL : host->scalar, (uint16_t)port, addresses);
	if (count == 0)
		yaml_error(host, error, "host has to be an IP address or localhost");
	for (size_t i = 0; i < count; i++) {
		if (!declare_address(outline, &addresses[i], node, 0, error))
			return false;
	}
	return count > 0;
}

static bool read_permission(const struct yaml_node *node, unsigned *ret_permission, struct buffer *error)
{
	size_t size = node->type == YAML_SCALAR ? strspn(node->scalar, "01234567") : 0;
	if (size < 3 || size > 4 || node->scalar[size] != '\0' || strtoul(node->scalar, NULL, 8) > 0777) {
		yaml_error(node, error, "permission has to be an octal number such as 660");
		return false;
	}
	*ret_permission = (unsigned)strtoul(node->scalar, NULL, 8);
	return true;
}

/* As with h2o, the path stands where the port of a TCP socket does. */
static bool listen_unix(struct outline *outline, const struct yaml_node *node, struct buffer *error)
{
	struct address address;
	const struct yaml_node *path = yaml_get(node, "port"), *permission = yaml_get(node, "permission");
	unsigned mode = 0;
	if (path == NULL || path->type != YAML_SCALAR || !address_of_path(path->scalar, &address)) {
		yaml_error(path == NULL ? node : path, error,
				   "with type: unix, port has to be a path of 1 to %d bytes", ADDRESS_PATH_MAX);
		return false;
	}
	if (permission != NULL && !read_permission(permission, &mode, error))
		return false;
	return declare_address(outline, &address, node, mode, error);
}

static bool read_listen(struct outline *outline, const struct yaml_node *node, struct buffer *error)
{
	if (node->type == YAML_SCALAR)
		return listen_tcp(outline, node, error);
	if (!yaml_check_keys(node, "listen", known_listen, error))
		return false;
	const struct yaml_node *proxy_protocol = yaml_get(node, "proxy-protocol"), *type = yaml_get(node, "type");
	bool proxied = false;
	if (proxy_protocol != NULL && !yaml_read_switch(proxy_protocol, "proxy-protocol", &proxied, error))
		return false;
	if (proxied) {
		yaml_error(proxy_protocol, error, "proxy-protocol is not supported by pg_changefeed");
		return false;
	}
	if (type != NULL && type->type == YAML_SCALAR && strcmp(type->scalar, "unix") == 0)
		return listen_unix(outline, node, error);
	if (type == NULL || (type->type == YAML_SCALAR && strcmp(type->scalar, "tcp") == 0))
		return listen_tcp(outline, node, error);
	yaml_error(type, error, "type has to be tcp or unix");
	return false;
}

static bool read_listens(struct outline *outline, const struct yaml_node *node, struct buffer *error)
{
	if (node->type != YAML_SEQUENCE)
		return read_listen(outline, node, error);
	for (size_t i = 0; i < node->sequence.count; i++) {
		if (!read_listen(outline, node->sequence.items[i], error))
			return false;
	}
	return true;
}

/* ---- the file */

static bool key_is(const struct yaml_pair *pair, const char *name)
{
	return pair->key->type == YAML_SCALAR && strcmp(pair->key->scalar, name) == 0;
}

static bool read_hosts(struct outline *outline, const struct yaml_node *hosts, struct buffer *error)
{
	for (size_t i = 0; hosts->type == YAML_MAPPING && i < hosts->mapping.count; i++) {
		const struct yaml_node *host = hosts->mapping.pairs[i].value;
		for (size_t j = 0; host->type == YAML_MAPPING && j < host->mapping.count; j++) {
			if (key_is(&host->mapping.pairs[j], "listen") &&
				!read_listens(outline, host->mapping.pairs[j].value, error))
				return false;
		}
	}
	return true;
}

/* What is not of the outline is for libh2o to know. */
static bool read_directive(struct outline *outline, const struct yaml_pair *pair, struct buffer *error)
{
	if (key_is(pair, "listen"))
		return read_listens(outline, pair->value, error);
	if (key_is(pair, "hosts"))
		return read_hosts(outline, pair->value, error);
	for (size_t i = 0; i < OUTLINE_NUMBERS; i++) {
		const struct outline_number *number = &outline_numbers[i];
		if (key_is(pair, number->name))
			return yaml_read_number(pair->value, number->name, number->least, number->most,
									(unsigned *)((char *)outline + number->offset), error);
	}
	return true;
}

static bool has_key(const struct yaml_node *node, const char *key)
{
	for (size_t i = 0; node->type == YAML_MAPPING && i < node->mapping.count; i++) {
		if (key_is(&node->mapping.pairs[i], key) || has_key(node->mapping.pairs[i].value, key))
			return true;
	}
	for (size_t i = 0; node->type == YAML_SEQUENCE && i < node->sequence.count; i++) {
		if (has_key(node->sequence.items[i], key))
			return true;
	}
	return false;
}

static unsigned default_worker_count(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	if (online < 1)
		return 1;
	return online > OUTLINE_DEFAULT_WORKERS_MAX ? OUTLINE_DEFAULT_WORKERS_MAX : (unsigned)online;
}

bool outline_read(const struct yaml_node *root, struct outline *ret_outline, struct buffer *ret_error)
{
	struct outline outline = {
		.worker_count = default_worker_count(),
		.max_connections = OUTLINE_DEFAULT_CONNECTIONS_MAX,
		.logs_access = has_key(root, "access-log"),
	};
	bool done = root->type == YAML_MAPPING;
	if (!done)
		yaml_error(root, ret_error, "the file has to be a mapping of directives, such as listen and hosts");
	for (size_t i = 0; done && i < root->mapping.count; i++)
		done = read_directive(&outline, &root->mapping.pairs[i], ret_error);
	if (done && outline.listener_count == 0) {
		yaml_error(root, ret_error, "there is no listen in the file, so nobody could connect");
		done = false;
	}
	if (done)
		*ret_outline = outline;
	else
		outline_free(&outline);
	return done;
}

/* What is different about a file that was written to, or replaced. */
static uint64_t file_state(const char *path, uint64_t seed)
{
	struct stat status;
	if (stat(path, &status) != 0)
		return seed;
	const uint64_t state[] = {
		(uint64_t)status.st_dev,         (uint64_t)status.st_ino,          (uint64_t)status.st_size,
		(uint64_t)status.st_ctim.tv_sec, (uint64_t)status.st_ctim.tv_nsec,
	};
	return XXH3_64bits_withSeed(state, sizeof(state), seed);
}

uint64_t outline_files(const struct outline *outline)
{
	uint64_t state = 0;
	for (size_t i = 0; i < outline->listener_count; i++) {
		const struct outline_listener *listener = &outline->listeners[i];
		for (size_t j = 0; j < listener->declaration_count; j++) {
			const struct tls_settings *tls = listener->declarations[j].tls;
			if (tls != NULL)
				state = file_state(tls->key_file.text, file_state(tls->certificate_file.text, state));
		}
	}
	return state;
}

void outline_free(struct outline *outline)
{
	for (size_t i = 0; i < outline->listener_count; i++) {
		struct outline_listener *listener = &outline->listeners[i];
		for (size_t j = 0; j < listener->declaration_count; j++)
			tls_settings_free(listener->declarations[j].tls);
		free(listener->declarations);
		free(listener->name);
		free(listener->where);
	}
	free(outline->listeners);
	*outline = (struct outline){0};
}
