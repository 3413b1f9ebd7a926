/* server.c: see server.h. */
#include "http/server.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/ring/ring_file.h"
#include "http/h2_guard.h"
#include "http/loop.h"
#include "http/poll.h"
#include "http/routes.h"
#include "http/stall.h"
#include "log.h"

enum {
	ACCEPTS_PER_TURN = 64,
	/* With a key of RSA the answer to a client's first words takes half a millisecond or more, and it has spoken
	 * them when it is accepted, see listeners.c. */
	HANDSHAKES_PER_TURN = 4,
	DESCRIPTORS_SPARE = 2 * LIVE_WORKERS_MAX + SPOOLS_MAX, /* for everything that is no connection */
	/* whose memory is worth giving back */
	CROWD_CONNECTIONS = 500,
	CROWD_BYTES = 64 * 1024 * 1024, /* in the answers of polls */
	GOODBYE_MS = 200,               /* for the last bytes at the end */
};

struct server {
	struct worker worker;
	struct loop loop;
	const struct server_options *options;
	h2o_accept_ctx_t *accept_contexts;
	h2o_socket_t **listeners; /* NULL: closed */
	size_t listener_count;
	h2o_socket_t *signals, *wakes; /* held for LeakSanitizer: of these libh2o tells the kernel alone */
	size_t connection_limit;
	size_t connections;
	size_t most_connections, most_bytes; /* see has_left() */
	bool accepting;
};

/* ---- connections */

static void on_accept(h2o_socket_t *listener, const char *error);

static void start_accepting(struct server *server)
{
	server->accepting = true;
	for (size_t i = 0; i < server->listener_count; i++) {
		if (server->listeners[i] != NULL)
			h2o_socket_read_start(server->listeners[i], on_accept);
	}
}

static void stop_accepting(struct server *server)
{
	server->accepting = false;
	for (size_t i = 0; i < server->listener_count; i++) {
		if (server->listeners[i] != NULL)
			h2o_socket_read_stop(server->listeners[i]);
	}
}

static void on_connection_closed(void *data)
{
	struct server *server = data;
	server->connections--;
	live_figure_subtract(&server->worker.figures->connections, 1);
	if (!server->accepting && !server->worker.draining && !server->worker.stopping)
		start_accepting(server);
}

static void on_accept(h2o_socket_t *listener, const char *error)
{
	h2o_accept_ctx_t *context = listener->data;
	struct worker *worker = H2O_STRUCT_FROM_MEMBER(struct worker, context, context->ctx);
	struct server *server = H2O_STRUCT_FROM_MEMBER(struct server, worker, worker);
	int most = context->ssl_ctx == NULL ? ACCEPTS_PER_TURN : HANDSHAKES_PER_TURN;

	for (int i = 0; error == NULL && i < most; i++) {
		if (server->connections >= server->connection_limit) {
			stop_accepting(server);
			return;
		}
		h2o_socket_t *socket = h2o_evloop_socket_accept(listener);
		if (socket == NULL)
			return;
		server->connections++;
		live_figure_add(&worker->figures->connections, 1);
		live_figure_add(&worker->figures->connections_total, 1);
		if (limits_connect(&worker->limits, socket))
			h2o_accept(context, socket);
		else
			h2o_socket_close(socket);
	}
}

static void close_listeners(struct server *server)
{
	server->accepting = false;
	for (size_t i = 0; i < server->listener_count; i++) {
		if (server->listeners[i] != NULL)
			h2o_socket_close(server->listeners[i]);
		server->listeners[i] = NULL;
	}
}

/* Connections that one worker may have: its share of max-connections, and what the kernel allows. */
static size_t connection_limit(const struct server *server)
{
	const struct outline *outline = &server->worker.conf->outline;
	size_t limit = outline->max_connections / server->options->worker_count;
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
		/* where few are allowed, half of them: at the limit itself accept() fails again and again */
		rlim_t half = files.rlim_cur / 2;
		rlim_t most = files.rlim_cur - (half < DESCRIPTORS_SPARE ? half : DESCRIPTORS_SPARE);
		if (limit > most)
			limit = most;
	}
	return limit == 0 ? 1 : limit;
}

/* ---- signals and wake-ups */

static void on_wake(h2o_socket_t *socket, const char *error)
{
	uint64_t count;
	(void)error;
	/* only to be awake: the turn of the loop looks at the ring */
	if (read(h2o_socket_get_fd(socket), &count, sizeof(count)) < 0)
		return;
}

static void on_signal(h2o_socket_t *socket, const char *error)
{
	struct server *server = socket->data;
	struct signalfd_siginfo info;
	(void)error;

	while (read(h2o_socket_get_fd(socket), &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGUSR2)
			server->worker.draining = true;
		else
			server->worker.stopping = true;
	}
}

static h2o_socket_t *watch(h2o_loop_t *loop, int fd, h2o_socket_cb callback, void *data)
{
	h2o_socket_t *socket = h2o_evloop_socket_create(loop, fd, H2O_SOCKET_FLAG_DONT_READ);
	socket->data = data;
	h2o_socket_read_start(socket, callback);
	return socket;
}

static bool watch_signals(struct server *server)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR2);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return false;
	signal(SIGPIPE, SIG_IGN);
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return false;
	server->signals = watch(server->worker.context.loop, fd, on_signal, server);
	return true;
}

/* ---- the life of a worker */

/* Whether less than half is left of a crowd. *most is its largest size, from when the last crowd had left. */
static bool has_left(size_t *most, size_t now, size_t crowd)
{
	bool left = *most >= crowd && now < *most / 2;

	if (left || now > *most)
		*most = now;
	return left;
}

/* After a crowd has left, or taken its answers, what it used goes back to the kernel. */
static void give_back_memory(struct server *server)
{
	bool clients = has_left(&server->most_connections, server->connections, CROWD_CONNECTIONS);
	bool answers = has_left(&server->most_bytes, polls_bytes(&server->worker), CROWD_BYTES);

	if (clients || answers)
		malloc_trim(0);
}

static void run_turn(struct server *server)
{
	if (loop_turn(&server->loop))
		give_back_memory(server);
}

/*
 * No new connections; those there are end with the answers that are under way, streams among them. HTTP/2
 * clients are told by GOAWAY to ask nothing more. A second later libh2o would begin to pass over what they ask
 * all the same, and it never gets past a CONTINUATION frame: the worker turns for ever. So it does not come to
 * that. What is still asked is answered, and a connection without requests ends by its idle timeout.
 */
static void begin_draining(struct server *server)
{
	h2o_context_t *context = &server->worker.context;

	close_listeners(server);
	h2o_context_request_shutdown(context);
	h2o_timeout_unlink(&context->http2._graceful_shutdown_timeout);
}

static void run_loop(struct server *server)
{
	struct worker *worker = &server->worker;

	while (!worker->stopping && !(worker->draining && server->connections == 0)) {
		loop_wait(&server->loop);
		if (worker->draining && !worker->context.shutdown_requested)
			begin_draining(server);
		run_turn(server);
	}
}

/* Everybody gets an orderly end, as far as it can be written at once. */
static void say_goodbye(struct server *server)
{
	int64_t deadline = clock_monotonic_ms() + GOODBYE_MS;

	server->worker.stopping = true;
	close_listeners(server);
	h2o_context_request_shutdown(&server->worker.context);
	while (server->connections > 0 && clock_monotonic_ms() < deadline) {
		run_turn(server);
		h2o_evloop_run(server->worker.context.loop, 10);
	}
}

/* ---- setting up */

static bool open_ring(struct server *server)
{
	const struct server_options *options = server->options;
	struct worker *worker = &server->worker;
	enum ring_file_error error = ring_file_open(options->ring_file, RING_ACCESS_WORKER, &worker->ring);

	if (error != RING_FILE_OK) {
		log_line(LOG_LEVEL_ERROR, "cannot open the ring \"%s\": %s", options->ring_file,
				 ring_file_error_text(error));
		return false;
	}
	worker->live = ring_file_live(worker->ring);
	worker->figures = &worker->live->workers[options->number];
	bool right =
		reader_scratch_init(&worker->scratch) && fanout_init(&worker->fanout, worker->ring, &worker->scratch);
	if (!right)
		log_line(LOG_LEVEL_ERROR, "cannot set up a worker: out of memory");
	return right;
}

static bool load_conf(struct server *server)
{
	struct buffer error = {0};
	server->worker.conf =
		conf_load(server->options->config, &routes_hooks, server->options->ticket_keys, &error);
	if (server->worker.conf == NULL)
		log_line(LOG_LEVEL_ERROR, "%s", buffer_message(&error));
	buffer_free(&error);
	return server->worker.conf != NULL;
}

static bool open_listeners(struct server *server)
{
	struct worker *worker = &server->worker;
	size_t count = worker->conf->outline.listener_count;

	server->listeners = calloc(count, sizeof(*server->listeners));
	server->accept_contexts = calloc(count, sizeof(*server->accept_contexts));
	if (server->listeners == NULL || server->accept_contexts == NULL)
		return false;
	server->listener_count = count;
	for (size_t i = 0; i < count; i++) {
		server->accept_contexts[i] = (h2o_accept_ctx_t){.ctx = &worker->context,
														.hosts = worker->conf->accepts[i].hosts,
														.ssl_ctx = worker->conf->accepts[i].ssl_ctx};
		server->listeners[i] = h2o_evloop_socket_create(worker->context.loop, server->options->listeners[i],
														H2O_SOCKET_FLAG_DONT_READ);
		server->listeners[i]->data = &server->accept_contexts[i];
	}
	return true;
}

/* Before the context exists: it has to know the handlers that limits put on every path. */
static void set_up_limits(struct server *server)
{
	struct worker *worker = &server->worker;

	if (!h2_guard_init())
		log_line(LOG_LEVEL_WARNING, "HTTP/2 clients may abort this version of libh2o");
	worker->limits = (struct limits){.quota = server->options->quota,
									 .worker = server->options->number,
									 .refused = &worker->figures->refused_total,
									 .floods = &worker->figures->floods_total,
									 .closed = on_connection_closed,
									 .closed_data = server};
	limits_init(&worker->limits, &worker->conf->outline);
	limits_watch_paths(&worker->conf->global);
	stall_watch_paths(&worker->conf->global);
}

static bool set_up(struct server *server)
{
	struct worker *worker = &server->worker;

	worker->publication = server->options->publication;
	worker->refresh_fd = server->options->refresh_fd;
	h2o_linklist_init_anchor(&worker->news_streams);
	h2o_linklist_init_anchor(&worker->ready_streams);
	h2o_linklist_init_anchor(&worker->seeking_streams);
	h2o_linklist_init_anchor(&worker->ready_polls);
	h2o_linklist_init_anchor(&worker->waiting_polls);
	h2o_linklist_init_anchor(&worker->seeking_polls);
	h2o_linklist_init_anchor(&worker->responses);
	h2o_linklist_init_anchor(&worker->deferred);
	h2o_linklist_init_anchor(&worker->ready_requests);
	set_up_limits(server);
	h2o_context_init(&worker->context, h2o_evloop_create(), &worker->conf->global);
	loop_init(&server->loop, worker);
	server->connection_limit = connection_limit(server);
	if (!hangup_init(&worker->hangup, worker->context.loop) || !watch_signals(server) ||
		!open_listeners(server)) {
		log_line(LOG_LEVEL_ERROR, "cannot set up a worker: %s", strerror(errno));
		return false;
	}
	server->wakes = watch(worker->context.loop, server->options->wake_fd, on_wake, server);
	start_accepting(server);
	return true;
}

int server_run(const struct server_options *options)
{
	static struct server the_server; /* and not of the stack: what it holds at the end is no leak */
	struct server *server = &the_server;

	server->options = options;
	if (!load_conf(server))
		return EX_CONFIG;
	if (!open_ring(server) || !set_up(server))
		return 1;
	run_loop(server);
	say_goodbye(server);
	return 0;
}
