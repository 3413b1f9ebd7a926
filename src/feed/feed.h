/*
 * feed.h: the process that fills the ring: from a replication slot into the ring file, until it is told to
 * stop.
 *
 * Data in: PostgreSQL's logical replication stream. Data out: the ring, wake-ups of sleeping workers, and its
 * own state in struct ring_live. It never listens to clients and never waits for a worker.
 */
#ifndef CHANGEFEED_FEED_FEED_H
#define CHANGEFEED_FEED_FEED_H

#include "core/ring/live.h"

struct feed_options {
	const char *conninfo; /* complete, in libpq's notation, the database included */
	const char *slot;
	const char *publication;
	const char *ring_file; /* exists already */
	int refresh_fd;        /* eventfd: a worker has moved live->refresh_asked */
	/* eventfds: 1 is written to wake the worker with that number */
	int worker_fds[LIVE_WORKERS_MAX];
};

/*
 * Runs until SIGTERM or SIGINT, which it blocks and takes from a descriptor, in a process of its own. Then it
 * makes durable and confirms what it has, in less than a second, and returns 0. Returns 1 if it cannot work
 * at all, after a line in the log: the ring cannot be opened, or memory is out.
 */
int feed_run(const struct feed_options *options);

#endif
