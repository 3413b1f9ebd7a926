/* limits.c: see limits.h. */
#include "http/limits.h"

#include <stdlib.h>
#include <strings.h>

#include "core/clock.h"
#include "http/libh2o.h"
#include "http/list.h"
#include "http/response.h"
#include "http/routes.h"
#include "http/worker.h"

enum {
	ANSWERED_OVER_LIMIT = 16, /* connections of an address beyond its limit that are told why */
	REFUSED_MS = 2000,        /* for such a connection to ask and be told */
	LOOK_MS = 100,            /* a connection is looked at no more often */
	LOOKS_PER_TURN = 16,
	FLOOD_BYTES = 1 << 20,            /* received in a second beyond what answered requests explain */
	REQUEST_BYTES = 128,              /* that an answered request explains besides its path and headers */
	PIPELINED_PER_TURN = 64,          /* requests of as many connections */
	PIPELINED_BYTES_MAX = 256 * 1024, /* of a connection, in requests that wait */
	CANCELLED_MAX = 500, /* HTTP/2 requests in a second that end before a byte of the body was sent */
	PATH_SIZE_MAX = 16 << 10,
	HEAD_SIZE_MAX = 32 << 10, /* with the path, also while it comes; a stream holds it as long as it lives */
};

struct connection {
	h2o_linklist_t link; /* in limits->connections */
	struct limits *limits;
	h2o_socket_t *socket;
	uint64_t key; /* of its address; 0: not counted */
	int64_t opened_ms, looked_ms;
	uint64_t received;    /* when last looked at, in bytes */
	uint64_t explained;   /* bytes of requests that were answered since then */
	uint64_t unexplained; /* bytes, less FLOOD_BYTES for each second that passed */
	int64_t cancelled_ms;
	unsigned cancelled; /* requests in the second from then */
	uint32_t account;   /* see limits_account() */
	uint32_t turn;      /* in which a request of it was answered last */
	bool refused;       /* over max-connections-per-address */
	bool cut;
};

/* ---- connections */

static void cut_off(struct connection *connection)
{
	connection->cut = true;
	shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR);
}

static void cut_off_flood(struct connection *connection)
{
	if (connection->cut)
		return;
	live_figure_add(connection->limits->floods, 1);
	cut_off(connection);
}

static void on_close(void *data)
{
	struct connection *connection = data;
	struct limits *limits = connection->limits;

	h2o_linklist_unlink(&connection->link);
	if (connection->key != 0)
		quota_disconnect(limits->quota, limits->worker, connection->key);
	free(connection);
	limits->closed(limits->closed_data);
}

void limits_init(struct limits *limits, const struct outline *outline)
{
	limits->connections_per_address = outline->max_connections_per_address;
	limits->requests_per_second = outline->max_requests_per_second;
	h2o_linklist_init_anchor(&limits->connections);
	h2o_linklist_init_anchor(&limits->pipelined);
}

bool limits_connect(struct limits *limits, h2o_socket_t *socket)
{
	struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
	struct connection *connection = h2o_mem_alloc(sizeof(*connection));
	unsigned count = 0;

	*connection = (struct connection){.limits = limits, .socket = socket, .opened_ms = clock_monotonic_ms()};
	connection->looked_ms = connection->opened_ms;
	h2o_linklist_insert(&limits->connections, &connection->link);
	socket->on_close.cb = on_close;
	socket->on_close.data = connection;

	h2o_socket_getpeername(socket, (struct sockaddr *)&address);
	connection->key = quota_key(limits->quota, (struct sockaddr *)&address);
	if (connection->key != 0 && (count = quota_connect(limits->quota, limits->worker, connection->key)) == 0)
		connection->key = 0;
	connection->refused = limits->connections_per_address != 0 && count > limits->connections_per_address;
	if (connection->refused)
		live_figure_add(limits->refused, 1);
	return !connection->refused || count <= limits->connections_per_address + ANSWERED_OVER_LIMIT;
}

/* libh2o collects a head of up to 400 kB, a body as configured. */
static bool request_is_oversized(const struct connection *connection)
{
	const struct worker *worker = H2O_STRUCT_FROM_MEMBER(struct worker, limits, connection->limits);
	const h2o_buffer_t *input = connection->socket->input;
	return input != NULL && input->size > HEAD_SIZE_MAX + worker->conf->global.max_request_entity_size;
}

static void look_at(struct connection *connection, int64_t now_ms)
{
	uint64_t received = socket_tcp_info(connection->socket).tcpi_bytes_received;
	uint64_t allowed = connection->explained + FLOOD_BYTES * (now_ms - connection->looked_ms) / 1000;
	uint64_t unexplained = connection->unexplained + received - connection->received;

	connection->unexplained = unexplained > allowed ? unexplained - allowed : 0;
	if (connection->unexplained > FLOOD_BYTES || request_is_oversized(connection))
		cut_off_flood(connection);
	if (connection->refused && !connection->cut && now_ms - connection->opened_ms >= REFUSED_MS)
		cut_off(connection);
	connection->received = received;
	connection->explained = 0;
	connection->looked_ms = now_ms;
}

void limits_look(struct limits *limits, int64_t now_ms)
{
	for (int i = 0; i < LOOKS_PER_TURN && !h2o_linklist_is_empty(&limits->connections); i++) {
		struct connection *connection = LIST_FIRST(struct connection, link, &limits->connections);
		if (now_ms < connection->looked_ms + LOOK_MS)
			return;
		/* while an answer is under way over HTTP/1.1, nothing is read */
		if (h2o_socket_is_reading(connection->socket) || connection->refused)
			look_at(connection, now_ms);
		else
			connection->looked_ms = now_ms;
		h2o_linklist_unlink(&connection->link);
		h2o_linklist_insert(&limits->connections, &connection->link);
	}
}

/* ---- requests */

/* NULL as request_socket() is. */
static struct connection *connection_of(h2o_req_t *req)
{
	h2o_socket_t *socket = request_socket(req);
	return socket == NULL ? NULL : socket->on_close.data;
}

uint32_t *limits_account(h2o_req_t *req)
{
	struct connection *connection = connection_of(req);
	return connection == NULL ? NULL : &connection->account;
}

static int answer(h2o_req_t *req, const struct problem *problem)
{
	response_allow_origin(req, routes_options(req->pathconf));
	response_problem(req, problem);
	return 0;
}

static int refuse(h2o_req_t *req, const char *what, unsigned limit)
{
	struct problem problem;

	problem_set(&problem, 429, "your address has %s than the %u allowed: wait, then try again", what, limit);
	return answer(req, &problem);
}

/* At least the bytes that the request took, unless its client made it larger than it had to be. */
static size_t request_size(const h2o_req_t *req)
{
	size_t size = REQUEST_BYTES + req->path.len + req->entity.len;
	for (size_t i = 0; i < req->headers.size; i++)
		size += req->headers.entries[i].name->len + req->headers.entries[i].value.len + 4;
	return size;
}

/* Requests for which there is no meaning here: too large for any, or with a NUL in the path. */
static bool is_odd(const h2o_req_t *req, struct problem *ret_problem)
{
	if (req->path.len > PATH_SIZE_MAX)
		problem_set(ret_problem, 414, "path and query may have %d bytes", PATH_SIZE_MAX);
	else if (request_size(req) - req->entity.len > HEAD_SIZE_MAX)
		problem_set(ret_problem, 431, "path, query and all headers together may have %d bytes",
					HEAD_SIZE_MAX);
	else if (memchr(req->path_normalized.base, '\0', req->path_normalized.len) != NULL)
		problem_set(ret_problem, 400, "%%00 is not allowed in a path");
	else
		return false;
	return true;
}

/*
 * The number of Host headers of a request over HTTP/1. libh2o makes an authority of the last and forgets
 * them, but until the request is over its head lies where it was received, at the beginning of the input.
 */
static unsigned count_hosts(const h2o_buffer_t *input)
{
	static const char name[] = "host:";
	const char *line = input->bytes, *end = input->bytes + input->size, *next;
	unsigned count = 0;
	bool in_head = false;

	for (; (next = memchr(line, '\n', (size_t)(end - line))) != NULL; line = next + 1) {
		bool empty = *line == '\n' || *line == '\r';
		if (empty && in_head)
			break;
		in_head = in_head || !empty; /* an empty line may come before the request */
		if ((size_t)(next - line) >= sizeof(name) - 1 && strncasecmp(line, name, sizeof(name) - 1) == 0)
			count++;
	}
	return count;
}

/* RFC 9112, 3.2: who stands between might choose another host than we do. */
static bool is_hostless(h2o_req_t *req, const struct connection *connection)
{
	if (request_is_http2(req))
		return false;
	unsigned hosts = count_hosts(connection->socket->input);
	return hosts > 1 || (hosts == 0 && req->version >= HTTP_1_1);
}

/*
 * Over HTTP/1 a request may name the whole URL instead of the path (RFC 9112, 3.2.2); its authority then
 * counts, and Host does not. libh2o takes it for a path. (To reprocess it would make a proxy of us, for the
 * hosts that h2o.conf does not name.) Returns false if it is none, or no URL.
 */
static bool take_absolute_form(h2o_req_t *req)
{
	h2o_url_t url;

	if (request_is_http2(req) || (req->path.len > 0 && req->path.base[0] == '/') ||
		h2o_url_parse(req->path.base, req->path.len, &url) != 0)
		return false;
	req->input.authority = url.authority;
	req->input.path = url.path;
	return true;
}

/* ---- pipelining */

struct pipelined {
	h2o_linklist_t link; /* in limits->pipelined */
	h2o_req_t *req;
};

static void on_dispose(void *pointer)
{
	struct pipelined *pipelined = pointer;
	list_leave(&pipelined->link);
}

/* Whether a request of the connection has been answered in this turn: then this one waits for the next. */
static bool waits_for_turn(struct connection *connection, h2o_req_t *req)
{
	struct limits *limits = connection->limits;

	if (request_is_http2(req))
		return false;
	if (connection->turn != limits->turn) {
		connection->turn = limits->turn;
		return false;
	}
	if (connection->socket->input->size > PIPELINED_BYTES_MAX)
		cut_off_flood(connection);
	struct pipelined *pipelined = h2o_mem_alloc_shared(&req->pool, sizeof(*pipelined), on_dispose);
	*pipelined = (struct pipelined){.req = req};
	h2o_linklist_insert(&limits->pipelined, &pipelined->link);
	return true;
}

void limits_begin_turn(struct limits *limits)
{
	h2o_linklist_t turn;

	limits->turn++;
	line_take(&turn, &limits->pipelined);
	for (int i = 0; i < PIPELINED_PER_TURN && !h2o_linklist_is_empty(&turn); i++) {
		struct pipelined *pipelined = LIST_FIRST(struct pipelined, link, &turn);
		h2o_linklist_unlink(&pipelined->link);
		h2o_process_request(pipelined->req); /* calls on_request() again */
	}
	line_put_back(&turn, &limits->pipelined);
}

/* ---- the handler and the logger on every path */

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
	struct limits *limits = &worker_of(req)->limits;
	struct connection *connection = connection_of(req);
	struct problem problem;
	(void)handler;

	/* what a filter makes of an answer, such as an error's page, is no request of the client's */
	if (connection == NULL || req->num_reprocessed + req->num_delegated > 0)
		return -1;
	if (take_absolute_form(req)) {
		h2o_process_request(req); /* calls us again */
		return 0;
	}
	if (waits_for_turn(connection, req))
		return 0;
	/* Nothing here takes a body, and what follows one may be a part of it in the eyes of a proxy that reads
	 * two lengths, or a length and chunks, another way than we do. */
	if (req->entity.base != NULL)
		req->http1_is_persistent = 0;
	if (is_hostless(req, connection)) {
		req->http1_is_persistent = 0;
		problem_set(&problem, 400, "a request has exactly one Host header");
		return answer(req, &problem);
	}
	if (connection->refused) {
		req->http1_is_persistent = 0;
		return refuse(req, "more connections", limits->connections_per_address);
	}
	if (limits->requests_per_second != 0 && connection->key != 0 &&
		!quota_request(limits->quota, connection->key, limits->requests_per_second, clock_monotonic_us())) {
		live_figure_add(limits->refused, 1);
		return refuse(req, "sent more requests in a second", limits->requests_per_second);
	}
	return is_odd(req, &problem) ? answer(req, &problem) : -1;
}

static void on_request_end(h2o_logger_t *logger, h2o_req_t *req)
{
	struct connection *connection = connection_of(req);
	int64_t now_ms = worker_of(req)->now_ms;
	(void)logger;

	if (connection == NULL || req->res.status == 429)
		return;
	if (!request_is_http2(req) || req->bytes_sent > 0) {
		connection->explained += request_size(req);
		return;
	}
	if (now_ms >= connection->cancelled_ms + 1000) {
		connection->cancelled_ms = now_ms;
		connection->cancelled = 0;
	}
	if (++connection->cancelled > CANCELLED_MAX)
		cut_off_flood(connection);
}

/* The first handler of a path is asked first. */
static void watch_path(h2o_pathconf_t *path)
{
	h2o_handler_t *handler = h2o_create_handler(path, sizeof(*handler));
	h2o_logger_t *logger = h2o_create_logger(path, sizeof(*logger));

	handler->on_req = on_request;
	logger->log_access = on_request_end;
	memmove(path->handlers.entries + 1, path->handlers.entries,
			(path->handlers.size - 1) * sizeof(*path->handlers.entries));
	path->handlers.entries[0] = handler;
}

void limits_watch_paths(h2o_globalconf_t *config)
{
	config_each_path(config, watch_path);
}
