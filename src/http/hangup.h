/*
 * hangup.h: notices clients that have gone away from a response that is still open.
 *
 * A client may close its connection. Over HTTP/1.1 libh2o does not read while it answers, so it does not see
 * that. An epoll set of our own watches the sockets for EPOLLRDHUP alone, edge-triggered, and is itself a
 * socket of the loop. HTTP/2 connections are read all the time and need none of this.
 *
 * A client may also vanish, because its machine or the way to it is down. Then what it is sent, keep-alives
 * if nothing else, stays unacknowledged, and TCP_USER_TIMEOUT ends the connection.
 */
#ifndef CHANGEFEED_HTTP_HANGUP_H
#define CHANGEFEED_HTTP_HANGUP_H

#include <stdbool.h>

#include <h2o.h>

struct hangup {
	int epoll_fd;
	h2o_socket_t *socket; /* of the epoll set */
};

/* What is watched: a member of the response's state. `gone` is called once, from the loop. */
struct hangup_watch {
	void (*gone)(struct hangup_watch *watch);
	int fd; /* -1: not watched */
};

/* Returns false, with errno set, if the kernel gives no epoll set. */
bool hangup_init(struct hangup *hangup, h2o_loop_t *loop);

/* Watches the connection of a request until hangup_unwatch() or gone(). HTTP/2: gone() is never called. */
void hangup_watch(struct hangup *hangup, struct hangup_watch *watch, h2o_req_t *req, unsigned stall_s);
void hangup_unwatch(struct hangup *hangup, struct hangup_watch *watch);

/* Ends a connection for good; libh2o finds out at its next write. */
void hangup_shutdown(h2o_req_t *req);

#endif
