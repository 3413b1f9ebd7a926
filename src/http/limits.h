/*
 * limits.h: no client can hurt another. Watches each connection of a worker from accept to close.
 *
 *   max-connections-per-address  Over it, every request is answered with 429 and the connection is closed;
 *                                idle ones are closed after some seconds. Far over it, connections are
 *                                closed unanswered.
 *   max-requests-per-second      Over it, requests are answered with 429.
 *   floods                       A client that sends much more than its requests explain (PING, SETTINGS,
 *                                CONTINUATION, bodies that nobody reads, ...), that cancels request after
 *                                request (CVE-2023-44487), or whose request grows and grows, is cut off.
 *                                Always on: no honest client comes near.
 *   odd requests                 A path of more than 16 kB is answered with 414, a head of more than 32 kB
 *                                with 431, %00 in a path with 400, no Host header or two with 400. A
 *                                request with a body is the last one of its connection.
 *   pipelining                   Over HTTP/1 one request of a connection is answered in each turn of the loop;
 *                                libh2o would answer all that have come, some 500 of them, in a row.
 *
 * In: sockets as they are accepted, requests through a handler and a logger on every path of the
 * configuration, and the kernel's count of bytes received, which is looked at in turns, a few connections at
 * a time. A connection is cut off by shutdown(2); libh2o then finds it at its end, and closes it.
 *
 * Not here: the number of connections of a worker (server.c), clients that do not read (stall.h,
 * stream.c, and TCP_USER_TIMEOUT of the listeners), slow headers (libh2o closes after 10 s).
 */
#ifndef CHANGEFEED_HTTP_LIMITS_H
#define CHANGEFEED_HTTP_LIMITS_H

#include <h2o.h>

#include "http/conf/outline.h"
#include "http/quota.h"

struct limits {
	struct quota *quota;
	unsigned worker;                                       /* its number */
	unsigned connections_per_address, requests_per_second; /* 0: no limit */
	_Atomic uint64_t *refused, *floods;                    /* figures */
	h2o_linklist_t connections;                            /* the one not looked at for longest first */
	h2o_linklist_t pipelined;                              /* requests that wait for the next turn */
	uint32_t turn;                                         /* of the loop */
	void (*closed)(void *data);                            /* called for each connection that ends */
	void *closed_data;
};

/* Puts the handler and the logger on every path. Before h2o_context_init(), once. */
void limits_watch_paths(h2o_globalconf_t *config);

/* `limits` has quota, worker, figures and callback set, and must not move. */
void limits_init(struct limits *limits, const struct outline *outline);

/*
 * Takes over socket->on_close. Returns false if the connection is to be closed at once; limits->closed is
 * called for it in either case.
 */
bool limits_connect(struct limits *limits, h2o_socket_t *socket);

/* The account of the request's connection: the kB that answers to it hold, charged by whoever makes them. It
 * lives as long as the connection, which outlives its requests. NULL where request_socket() is. */
uint32_t *limits_account(h2o_req_t *req);

/* Begins a turn of the loop: goes on with the requests that have waited for it. What is left over is in
 * limits->pipelined. */
void limits_begin_turn(struct limits *limits);

/* Looks at some connections; to be called once per turn of the loop. */
void limits_look(struct limits *limits, int64_t now_ms);

#endif
