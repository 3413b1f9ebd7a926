/*
 * loop.h: a worker's turns: when it looks at the ring, what it does then, and how long it may sleep.
 *
 * In each turn what is new in the ring is rendered and sent, within budgets, so that nobody waits long. There
 * is a pace: while most live streams have not yet taken their last send, rendering more would only push them
 * out of what is kept for them. Between turns the worker sleeps until a socket, a deadline or the feed wakes
 * it, and the feed is told what to wake it for (live.h, `sleeping` and `wanted`).
 *
 * Not here: connections and signals (server.h).
 */
#ifndef CHANGEFEED_HTTP_LOOP_H
#define CHANGEFEED_HTTP_LOOP_H

#include "http/worker.h"

struct loop {
	struct worker *worker;
	h2o_timeout_t timeout;
	h2o_timeout_entry_t entry;
	int64_t next_tick_ms;
	int64_t next_expiry_ms; /* when deadlines of polls are looked at */
	int64_t drained_us;     /* when new changes were looked at last */
	bool more;              /* the last turn left something for the next one */
	bool streams_left;      /* there are live streams that the last turn has not sent to */
	bool looked;            /* a turn has looked at all of the ring since the feed was asked to wake us */
	bool deadlines;         /* polls or deferred requests wait for a moment */
	bool ticked;            /* the last turn had a tick */
};

/* The worker's context has been made; both outlive the loop. */
void loop_init(struct loop *loop, struct worker *worker);

/* Sleeps until there is something to do, and takes what has come in. */
void loop_wait(struct loop *loop);

/* One turn. Returns whether it was one of those, two in a second, that also look after what is silent. */
bool loop_turn(struct loop *loop);

#endif
