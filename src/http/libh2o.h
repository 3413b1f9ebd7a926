/*
 * libh2o.h: questions to libh2o's requests and configurations, each asked in one place.
 */
#ifndef CHANGEFEED_HTTP_LIBH2O_H
#define CHANGEFEED_HTTP_LIBH2O_H

#include <h2o.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include "core/bytes.h"

/* h2o_req_t.version */
enum { HTTP_1_0 = 0x100, HTTP_1_1 = 0x101, HTTP_2 = 0x200 };

static inline bool request_is_http2(const h2o_req_t *req)
{
	return req->version >= HTTP_2;
}

static inline bool request_has_method(const h2o_req_t *req, const char *method)
{
	return h2o_memis(req->method.base, req->method.len, method, strlen(method));
}

/* NULL while a connection changes from HTTP/1.1 to HTTP/2. */
static inline h2o_socket_t *request_socket(h2o_req_t *req)
{
	return req->conn->callbacks->get_socket(req->conn);
}

/* What the kernel counts of a connection; all 0 where it does not: a Unix socket. */
static inline struct tcp_info socket_tcp_info(h2o_socket_t *socket)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof(info);

	if (getsockopt(h2o_socket_get_fd(socket), IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
		return (struct tcp_info){0};
	return info;
}

/* Whether libh2o copies an answer as a whole when it is sent: TLS over HTTP/1.1 encrypts all of it at once. */
static inline bool request_is_copied(h2o_req_t *req)
{
	h2o_socket_t *socket = request_socket(req);
	return !request_is_http2(req) && socket != NULL && socket->ssl != NULL;
}

/* The value of the first header of that name behind `*at`, which is -1 at first; `*at` is then its place, and
 * -1 again behind the last. libh2o leaves the blanks at its end. */
static inline struct bytes request_next_header(const h2o_req_t *req, const char *name, ssize_t *at)
{
	*at = h2o_find_header_by_str(&req->headers, name, strlen(name), *at);
	if (*at < 0)
		return (struct bytes){0};
	h2o_iovec_t value = req->headers.entries[*at].value;
	return bytes_trim((struct bytes){value.base, value.len});
}

/* Calls `visit` for each path of each host, also for the one that gets what no other path matches. */
static inline void config_each_path(h2o_globalconf_t *config, void (*visit)(h2o_pathconf_t *path))
{
	for (h2o_hostconf_t **host = config->hosts; *host != NULL; host++) {
		for (size_t i = 0; i < (*host)->paths.size; i++)
			visit(&(*host)->paths.entries[i]);
		visit(&(*host)->fallback_path);
	}
}

#endif
