/*
 * conf.c: see conf.h.
 *
 * libh2o calls back without saying on whose behalf (its error function is global, and so are the callbacks of
 * commands), so `loading` points to the load in progress.
 *
 * Refused before libh2o acts on it:
 *   paths: {"": ...}       it reads the character before an empty path
 *   access-log: "|..."     it forks a shell and never reaps it
 *   access-log's format    it writes an error about a long one beyond its buffer
 *   aliases in a circle    it recurses for ever (yaml.h sees to that)
 *   file.custom-handler    needs handlers that are not here
 */
#include "http/conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <h2o/configurator.h>

#include "http/conf/stderr_capture.h"

enum {
	FILE_SIZE_MAX = 1 << 20,
	/* nothing here takes a body, and 100 that do not end are held for each HTTP/2 connection */
	REQUEST_BODY_MAX = 4 << 10,
};

/* One outline_declaration: the hosts that it stands under, and its certificate. */
struct binding {
	bool global;
	h2o_hostconf_t **hosts; /* NULL at the end */
	size_t host_count;
	SSL_CTX *context;
	const char **names; /* of the hosts, for tls_choose_by_name() */
};

/* One outline_listener. */
struct bindings {
	struct binding *items;
	h2o_hostconf_t **hosts; /* of all items, NULL at the end; unused if one is global */
	struct tls_choice *choices;
};

struct conf_state {
	struct bindings *bindings; /* one for each listener */
	struct changefeed_options **options;
	size_t option_count;
};

struct load {
	struct conf *conf;
	struct yaml_tree tree;
	const struct conf_hooks *hooks;
	struct buffer *error;
	bool create; /* files that are missing: access logs */
	struct stderr_capture capture;
	struct buffer printed;
	h2o_configurator_command_cb library_paths, library_access_log;
};

static struct load *loading;

static const struct page_path {
	const char *path;
	enum conf_page page;
} page_paths[] = {
	{"/", CONF_PAGE_CONSOLE},
	{"/healthz", CONF_PAGE_HEALTHZ},
	{"/readyz", CONF_PAGE_READYZ},
	{"/metrics", CONF_PAGE_METRICS},
};

enum { PAGE_PATHS = COUNT(page_paths) };

/* Of the standalone server, or of handlers that this program does not have. */
static const struct {
	const char *name, *advice;
} unsupported[] = {
	{"user", "start pg_changefeed as the user it is to run as"},
	{"pid-file", "whoever starts the program knows its process id"},
	{"error-log", "errors go to stderr, and from there into PostgreSQL's log"},
	{"crash-handler", "a worker that dies is replaced"},
	{"crash-handler.wait-pipe-close", "a worker that dies is replaced"},
	{"num-name-resolution-threads", "no names are looked up"},
	{"num-ocsp-updaters", "there is no OCSP stapling"},
	{"ssl-session-resumption", "sessions are resumed by tickets that all workers share"},
	{"tcp-fastopen", "it is off"},
	{"temp-buffer-path", "nothing is buffered on disk"},
	{"fastcgi.connect", "there is no FastCGI"},
	{"fastcgi.spawn", "there is no FastCGI"},
	{"mruby.handler", "there is no mruby"},
	{"mruby.handler-file", "there is no mruby"},
	{"proxy.reverse.url", "put a proxy in front of it instead"},
	{"proxy.preserve-host", "put a proxy in front of it instead"},
	{"reproxy", "put a proxy in front of it instead"},
	{"duration-stats", "see /metrics"}, /* its logger is freed once for each path */
	{"http2-debug-state", "it shows other clients' connections"},
	{"http2-graceful-shutdown-timeout", "old workers keep their streams, see stream-lifetime of changefeed"},
	/* with less than that libh2o begins a request that waits while it closes its connection, and aborts */
	{"http2-max-concurrent-requests-per-connection", "it is 100"},
	{"file.custom-handler", "there are no handlers that it could use"},
};

/* ---- errors */

/* libh2o's own function of this name prints to stderr; the dynamic linker prefers the program's. */
void h2o_configurator_errprintf(h2o_configurator_command_t *command, yoml_t *node, const char *reason, ...)
{
	char message[1024];
	va_list arguments;
	va_start(arguments, reason);
	vsnprintf(message, sizeof(message), reason, arguments);
	va_end(arguments);
	yaml_error(node, loading->error, "%s%s%s", command == NULL ? "" : command->name,
			   command == NULL ? "" : ": ", message);
}

/*
 * A library linked with -Bsymbolic calls its own h2o_configurator_errprintf all the same, which prints
 * `[file:line] in command NAME, message`: that goes into *error if nothing else did.
 */
static void take_printed_error(const struct load *load)
{
	struct bytes line = buffer_bytes(&load->printed);
	const char *end = line.size > 0 && line.data[0] == '[' ? memmem(line.data, line.size, "] ", 2) : NULL;
	if (load->error->size > 0)
		return;
	if (end != NULL)
		buffer_printf(load->error, "%.*s:1: %.*s", (int)(end - line.data - 1), line.data + 1,
					  (int)(line.data + line.size - end - 2), end + 2);
	else
		yaml_error(load->tree.root, load->error, "libh2o refuses the file: %.*s", (int)line.size, line.data);
}

static int fail_command(h2o_configurator_command_t *command, const struct yaml_node *node,
						const char *message)
{
	yaml_error(node, loading->error, "%s: %s", command->name, message);
	return -1;
}

/* ---- directives of libh2o, looked at first */

/* Whether the directory of a file lets it be made. Sets errno if not. */
static bool directory_is_writable(const char *path)
{
	char *copy = h2o_strdup(NULL, path, strlen(path)).base;
	bool writable = access(dirname(copy), W_OK | X_OK) == 0;
	free(copy);
	return writable;
}

static bool log_can_be_opened(const char *path, bool create)
{
	int fd = open(path, (create ? O_CREAT : 0) | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno == ENOENT && !create && directory_is_writable(path);
	close(fd);
	return true;
}

/* Whether a log can be opened and its format is one: libh2o only prints when they are not. */
static bool log_is_usable(const struct yaml_node *path, const struct yaml_node *format, bool create,
						  struct buffer *error)
{
	if (!log_can_be_opened(path->scalar, create)) {
		yaml_error(path, error, "access-log: %s cannot be opened: %s", path->scalar, strerror(errno));
		return false;
	}
	if (format == NULL || format->type != YAML_SCALAR)
		return true;
	/* The reason may quote the whole format: on its own, libh2o would write it into 256 bytes. */
	char *reason = h2o_mem_alloc(strlen(format->scalar) + 256);
	h2o_logconf_t *compiled = h2o_logconf_compile(format->scalar, H2O_LOGCONF_ESCAPE_APACHE, reason);
	if (compiled != NULL)
		h2o_logconf_dispose(compiled);
	else
		yaml_error(format, error, "access-log: %s", reason);
	free(reason);
	return compiled != NULL;
}

static int on_access_log(h2o_configurator_command_t *command, h2o_configurator_context_t *context,
						 yoml_t *node)
{
	struct yaml_node *path = node->type == YAML_SCALAR ? node : yaml_get(node, "path");
	char nowhere[] = "/dev/null";
	if (path == NULL || path->type != YAML_SCALAR)
		return fail_command(command, node, "it has to be a file name, or a mapping with a path");
	if (path->scalar[0] == '|')
		return fail_command(command, path, "a log cannot be piped into a program; name a file");
	if (!log_is_usable(path, yaml_get(node, "format"), loading->create, loading->error))
		return -1;
	/* /dev/stderr is a good place for a log, and it has to be the real one. */
	stderr_capture_end(&loading->capture, &loading->printed);
	char *name = path->scalar;
	if (!loading->create)
		path->scalar = nowhere; /* libh2o makes it at once */
	int result = loading->library_access_log(command, context, node);
	path->scalar = name;
	stderr_capture_begin(&loading->capture);
	return result;
}

static bool page_is_mapped(const struct yaml_node *paths, const struct page_path *page)
{
	size_t size = strlen(page->path);
	for (size_t i = 0; i < paths->mapping.count; i++) {
		const char *path = paths->mapping.pairs[i].key->scalar;
		if (strncmp(path, page->path, size) == 0 && (path[size] == '\0' || strcmp(path + size, "/") == 0))
			return true;
	}
	return false;
}

static void add_page_to(h2o_hostconf_t *host, const struct page_path *page)
{
	for (size_t i = 0; i < host->paths.size; i++) {
		h2o_pathconf_t *path = &host->paths.entries[i];
		if (h2o_memis(path->path.base, path->path.len, page->path, strlen(page->path)))
			loading->hooks->add_page(path, page->page);
	}
}

static int on_paths(h2o_configurator_command_t *command, h2o_configurator_context_t *context, yoml_t *node)
{
	bool added[PAGE_PATHS] = {0};
	for (size_t i = 0; i < node->mapping.count; i++) {
		const struct yaml_node *key = node->mapping.pairs[i].key;
		if (key->type != YAML_SCALAR || key->scalar[0] != '/')
			return fail_command(command, key, "a path has to begin with /");
	}
	struct yaml_node *paths = node;
	for (size_t i = 0; i < PAGE_PATHS; i++) {
		if (page_is_mapped(node, &page_paths[i]))
			continue;
		added[i] = true;
		paths = yaml_mapping_with(&loading->tree, paths, page_paths[i].path);
		if (paths == NULL)
			return fail_command(command, node, "out of memory");
	}
	if (loading->library_paths(command, context, paths) != 0)
		return -1;
	for (size_t i = 0; i < PAGE_PATHS; i++) {
		if (added[i])
			add_page_to(context->hostconf, &page_paths[i]);
	}
	return 0;
}

/* ---- directives of our own */

static int on_changefeed(h2o_configurator_command_t *command, h2o_configurator_context_t *context,
						 yoml_t *node)
{
	(void)command;
	struct conf_state *state = loading->conf->state;
	struct changefeed_options options;
	bool on;
	if (!changefeed_options_read(node, &on, &options, loading->error))
		return -1;
	if (!on)
		return 0;
	struct changefeed_options *kept = h2o_mem_alloc(sizeof(*kept));
	*kept = options;
	state->options = h2o_mem_realloc(state->options, (state->option_count + 1) * sizeof(*state->options));
	state->options[state->option_count++] = kept;
	loading->hooks->add_changefeed(context->pathconf, kept);
	return 0;
}

static void add_host(struct binding *binding, h2o_hostconf_t *host)
{
	size_t count = ++binding->host_count;
	binding->hosts = h2o_mem_realloc(binding->hosts, (count + 1) * sizeof(*binding->hosts));
	binding->names = h2o_mem_realloc(binding->names, (count + 1) * sizeof(*binding->names));
	binding->hosts[count - 1] = host;
	binding->names[count - 1] = host->authority.host.base;
	binding->hosts[count] = NULL;
	binding->names[count] = NULL;
}

static void bind_declaration(const struct yaml_node *node, h2o_hostconf_t *host)
{
	struct conf *conf = loading->conf;
	for (size_t i = 0; i < conf->outline.listener_count; i++) {
		for (size_t j = 0; j < conf->outline.listeners[i].declaration_count; j++) {
			if (conf->outline.listeners[i].declarations[j].node != node)
				continue;
			if (host == NULL)
				conf->state->bindings[i].items[j].global = true;
			else
				add_host(&conf->state->bindings[i].items[j], host);
		}
	}
}

/* The outline has the addresses; what is left to learn is which hosts go with them. */
static int on_listen(h2o_configurator_command_t *command, h2o_configurator_context_t *context, yoml_t *node)
{
	(void)command;
	if (node->type != YAML_SEQUENCE)
		bind_declaration(node, context->hostconf);
	for (size_t i = 0; node->type == YAML_SEQUENCE && i < node->sequence.count; i++)
		bind_declaration(node->sequence.items[i], context->hostconf);
	return 0;
}

static int on_outline(h2o_configurator_command_t *command, h2o_configurator_context_t *context, yoml_t *node)
{
	(void)command, (void)context, (void)node;
	return 0;
}

static int on_unsupported(h2o_configurator_command_t *command, h2o_configurator_context_t *context,
						  yoml_t *node)
{
	(void)context;
	for (size_t i = 0; i < COUNT(unsupported); i++) {
		if (strcmp(command->name, unsupported[i].name) == 0)
			yaml_error(node, loading->error, "%s is not supported by pg_changefeed: %s", command->name,
					   unsupported[i].advice);
	}
	return -1;
}

static h2o_configurator_command_cb replace_command(h2o_globalconf_t *global, const char *name,
												   h2o_configurator_command_cb callback)
{
	h2o_configurator_command_t *command = h2o_configurator_get_command(global, name);
	h2o_configurator_command_cb library = command->cb;
	command->cb = callback;
	return library;
}

static void define_directives(struct load *load)
{
	h2o_globalconf_t *global = &load->conf->global;
	h2o_access_log_register_configurator(global);
	h2o_compress_register_configurator(global);
	h2o_errordoc_register_configurator(global);
	h2o_expires_register_configurator(global);
	h2o_file_register_configurator(global);
	h2o_headers_register_configurator(global);
	h2o_redirect_register_configurator(global);
	h2o_status_register_configurator(global);
	h2o_throttle_resp_register_configurator(global);
	load->library_paths = replace_command(global, "paths", on_paths);
	load->library_access_log = replace_command(global, "access-log", on_access_log);

	h2o_configurator_t *own = h2o_configurator_create(global, sizeof(*own));
	h2o_configurator_define_command(own, "listen", H2O_CONFIGURATOR_FLAG_GLOBAL | H2O_CONFIGURATOR_FLAG_HOST,
									on_listen);
	for (size_t i = 0; i < OUTLINE_NUMBERS; i++)
		h2o_configurator_define_command(own, outline_numbers[i].name, H2O_CONFIGURATOR_FLAG_GLOBAL,
										on_outline);
	h2o_configurator_define_command(own, "changefeed", H2O_CONFIGURATOR_FLAG_PATH, on_changefeed);
	for (size_t i = 0; i < COUNT(unsupported); i++) {
		if (h2o_configurator_get_command(global, unsupported[i].name) != NULL)
			replace_command(global, unsupported[i].name, on_unsupported);
		else
			h2o_configurator_define_command(own, unsupported[i].name, H2O_CONFIGURATOR_FLAG_ALL_LEVELS,
											on_unsupported);
	}
}

/* ---- what to accept with */

static void create_bindings(struct conf *conf)
{
	size_t count = conf->outline.listener_count;
	conf->accepts = h2o_mem_alloc(count * sizeof(*conf->accepts));
	conf->state->bindings = h2o_mem_alloc(count * sizeof(*conf->state->bindings));
	for (size_t i = 0; i < count; i++) {
		size_t size = conf->outline.listeners[i].declaration_count * sizeof(struct binding);
		conf->accepts[i] = (struct conf_accept){0};
		conf->state->bindings[i] = (struct bindings){.items = h2o_mem_alloc(size)};
		memset(conf->state->bindings[i].items, 0, size);
	}
}

static h2o_hostconf_t **hosts_of(struct conf *conf, struct bindings *bindings, size_t count)
{
	size_t hosts = 0;
	for (size_t i = 0; i < count; i++) {
		if (bindings->items[i].global)
			return conf->global.hosts;
		hosts += bindings->items[i].host_count;
	}
	bindings->hosts = h2o_mem_alloc((hosts + 1) * sizeof(*bindings->hosts));
	bindings->hosts[hosts] = NULL;
	for (size_t i = count; i-- > 0;) {
		for (size_t j = bindings->items[i].host_count; j-- > 0;)
			bindings->hosts[--hosts] = bindings->items[i].hosts[j];
	}
	return bindings->hosts;
}

/* The first certificate is the one for clients that ask for none of the hosts. */
static void choose_by_name(struct bindings *bindings, size_t count)
{
	static const char *no_names[] = {NULL};
	bindings->choices = h2o_mem_alloc((count + 1) * sizeof(*bindings->choices));
	for (size_t i = 0; i < count; i++) {
		const struct binding *item = &bindings->items[i];
		bindings->choices[i] =
			(struct tls_choice){item->context, item->names == NULL ? no_names : item->names};
	}
	bindings->choices[count] = (struct tls_choice){NULL, no_names};
	tls_choose_by_name(bindings->items[0].context, bindings->choices);
}

static bool create_accepts(struct conf *conf, const struct tls_ticket_keys *keys, struct buffer *error)
{
	for (size_t i = 0; i < conf->outline.listener_count; i++) {
		const struct outline_listener *listener = &conf->outline.listeners[i];
		struct bindings *bindings = &conf->state->bindings[i];
		size_t count = listener->declaration_count;
		conf->accepts[i].hosts = hosts_of(conf, bindings, count);
		if (listener->declarations[0].tls == NULL)
			continue;
		for (size_t j = 0; j < count; j++) {
			if ((bindings->items[j].context = tls_create(listener->declarations[j].tls, keys, error)) == NULL)
				return false;
		}
		conf->accepts[i].ssl_ctx = bindings->items[0].context;
		if (count > 1)
			choose_by_name(bindings, count);
	}
	return true;
}

static void free_bindings(struct bindings *bindings, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(bindings->items[i].hosts);
		free(bindings->items[i].names);
		SSL_CTX_free(bindings->items[i].context);
	}
	free(bindings->items);
	free(bindings->hosts);
	free(bindings->choices);
}

/* ---- loading */

/* Reads to the end of the file, or one byte beyond the limit. Returns 0, or an errno. */
static int read_text(const char *path, struct buffer *text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno;
	ssize_t size = 1;
	while (size > 0 && text->size <= FILE_SIZE_MAX) {
		char *to = buffer_reserve(text, FILE_SIZE_MAX + 1 - text->size);
		size = to == NULL ? -1 : read(fd, to, FILE_SIZE_MAX + 1 - text->size);
		text->size += size > 0 ? (size_t)size : 0;
	}
	int error = size < 0 ? errno : 0;
	close(fd);
	return error;
}

bool conf_source_read(const char *path, struct conf_source *ret_source, struct buffer *ret_error)
{
	struct conf_source source = {.path = strdup(path)};
	int error = source.path == NULL ? ENOMEM : read_text(path, &source.text);
	if (error == 0 && source.text.size <= FILE_SIZE_MAX) {
		*ret_source = source;
		return true;
	}
	if (error != 0)
		buffer_printf(ret_error, "%s: cannot be read: %s", path, strerror(error));
	else
		buffer_printf(ret_error, "%s: larger than %d bytes", path, FILE_SIZE_MAX);
	conf_source_free(&source);
	return false;
}

void conf_source_free(struct conf_source *source)
{
	free(source->path);
	buffer_free(&source->text);
	source->path = NULL;
}

bool conf_read_outline(const struct conf_source *source, struct outline *ret_outline,
					   struct buffer *ret_error)
{
	struct yaml_tree tree;
	if (!yaml_tree_parse(source->path, buffer_bytes(&source->text), &tree, ret_error))
		return false;
	bool done = outline_read(tree.root, ret_outline, ret_error);
	yaml_tree_free(&tree);
	return done;
}

static bool apply(struct load *load)
{
	loading = load;
	stderr_capture_begin(&load->capture);
	bool done = h2o_configurator_apply(&load->conf->global, load->tree.root, 0) == 0;
	stderr_capture_end(&load->capture, &load->printed);
	loading = NULL;
	if (!done)
		take_printed_error(load);
	buffer_free(&load->printed);
	return done;
}

static struct conf *load_file(const struct conf_source *source, const struct conf_hooks *hooks, bool create,
							  const struct tls_ticket_keys *keys, struct buffer *ret_error)
{
	struct outline outline;
	struct load load = {.hooks = hooks, .error = ret_error, .create = create};
	if (!yaml_tree_parse(source->path, buffer_bytes(&source->text), &load.tree, ret_error))
		return NULL;
	if (!outline_read(load.tree.root, &outline, ret_error)) {
		yaml_tree_free(&load.tree);
		return NULL;
	}
	struct conf *conf = load.conf = h2o_mem_alloc(sizeof(*conf));
	*conf = (struct conf){.outline = outline, .state = h2o_mem_alloc(sizeof(*conf->state))};
	*conf->state = (struct conf_state){0};
	create_bindings(conf);
	h2o_config_init(&conf->global);
	conf->global.max_request_entity_size = REQUEST_BODY_MAX;
	conf->global.server_name = h2o_iovec_init(H2O_STRLIT("pg_changefeed"));
	define_directives(&load);

	bool done = apply(&load) && create_accepts(conf, keys, ret_error);
	yaml_tree_free(&load.tree);
	if (done)
		return conf;
	conf_free(conf);
	return NULL;
}

struct conf *conf_load(const struct conf_source *source, const struct conf_hooks *hooks,
					   const struct tls_ticket_keys *keys, struct buffer *ret_error)
{
	return load_file(source, hooks, true, keys, ret_error);
}

bool conf_check(const struct conf_source *source, const struct conf_hooks *hooks, struct buffer *ret_error)
{
	struct conf *conf = load_file(source, hooks, false, NULL, ret_error);
	if (conf != NULL)
		conf_free(conf);
	return conf != NULL;
}

void conf_free(struct conf *conf)
{
	struct conf_state *state = conf->state;
	h2o_config_dispose(&conf->global);
	for (size_t i = 0; i < conf->outline.listener_count; i++)
		free_bindings(&state->bindings[i], conf->outline.listeners[i].declaration_count);
	for (size_t i = 0; i < state->option_count; i++) {
		changefeed_options_free(state->options[i]);
		free(state->options[i]);
	}
	free(state->bindings);
	free(state->options);
	free(state);
	free(conf->accepts);
	outline_free(&conf->outline);
	free(conf);
}
