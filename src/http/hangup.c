/* hangup.c: see hangup.h. */
#include "http/hangup.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "http/libh2o.h"

enum { EVENTS_PER_CALL = 256 };

static void on_events(h2o_socket_t *socket, const char *error)
{
	struct hangup *hangup = socket->data;
	struct epoll_event events[EVENTS_PER_CALL];
	(void)error;

	int count = epoll_wait(hangup->epoll_fd, events, EVENTS_PER_CALL, 0);
	for (int i = 0; i < count; i++) {
		struct hangup_watch *watch = events[i].data.ptr;
		if (watch->fd < 0)
			continue;
		hangup_unwatch(hangup, watch);
		watch->gone(watch);
	}
}

bool hangup_init(struct hangup *hangup, h2o_loop_t *loop)
{
	hangup->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (hangup->epoll_fd < 0)
		return false;
	hangup->socket = h2o_evloop_socket_create(loop, hangup->epoll_fd, H2O_SOCKET_FLAG_DONT_READ);
	hangup->socket->data = hangup;
	h2o_socket_read_start(hangup->socket, on_events);
	return true;
}

static int socket_of(h2o_req_t *req)
{
	h2o_socket_t *socket = request_socket(req);
	return socket == NULL ? -1 : h2o_socket_get_fd(socket);
}

void hangup_watch(struct hangup *hangup, struct hangup_watch *watch, h2o_req_t *req, unsigned stall_s)
{
	struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = watch};
	int fd = socket_of(req);
	/* the kernel also counts the time that a peer takes nothing: a second more, so that we are first */
	unsigned timeout_ms = (stall_s + 1) * 1000;

	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	watch->fd = request_is_http2(req) ? -1 : fd;
	if (watch->fd >= 0 && epoll_ctl(hangup->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) != 0)
		watch->fd = -1; /* then its end is noticed at the next keep-alive */
}

void hangup_unwatch(struct hangup *hangup, struct hangup_watch *watch)
{
	if (watch->fd >= 0)
		epoll_ctl(hangup->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->fd = -1;
}

void hangup_shutdown(h2o_req_t *req)
{
	int fd = socket_of(req);
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
}
