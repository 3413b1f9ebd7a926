/*
 * h2o_idle_server.c: the smallest program on libh2o that keeps streams open: what a stream costs in memory
 * before anything of pg_changefeed is added. In: any request. Out: a head, one comment, and nothing more.
 */
#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <h2o.h>

static h2o_globalconf_t config;
static h2o_context_t context;
static h2o_accept_ctx_t accept_context;

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
	(void)generator;
	(void)req;
}

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
	static h2o_generator_t generator = {on_proceed, NULL};
	h2o_iovec_t first = {H2O_STRLIT("retry: 1000\n\n")};
	(void)handler;

	req->res.status = 200;
	req->res.reason = "OK";
	h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
				   H2O_STRLIT("text/event-stream"));
	h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, H2O_STRLIT("no-store"));
	h2o_start_response(req, &generator);
	h2o_send(req, &first, 1, H2O_SEND_STATE_IN_PROGRESS);
	return 0;
}

static void on_accept(h2o_socket_t *listener, const char *error)
{
	h2o_socket_t *socket;
	if (error == NULL && (socket = h2o_evloop_socket_accept(listener)) != NULL)
		h2o_accept(&accept_context, socket);
}

static int start_listening(int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 4096) == 0 ? fd : -1;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	int fd = argc == 2 ? start_listening(atoi(argv[1])) : -1;

	if (fd < 0) {
		fprintf(stderr, "usage: h2o_idle_server PORT\n");
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	h2o_config_init(&config);
	h2o_hostconf_t *host = h2o_config_register_host(&config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
	h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
	h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = on_request;
	h2o_context_init(&context, h2o_evloop_create(), &config);
	accept_context = (h2o_accept_ctx_t){.ctx = &context, .hosts = config.hosts};
	h2o_socket_t *listener = h2o_evloop_socket_create(context.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
	h2o_socket_read_start(listener, on_accept);
	while (h2o_evloop_run(context.loop, INT32_MAX) == 0)
		;
	return 0;
}
