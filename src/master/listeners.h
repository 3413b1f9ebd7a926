/*
 * listeners.h: the listening sockets of the master, one for each address and worker.
 *
 * In: the addresses of an outline and the number of workers. Out: listening sockets, non-blocking, inherited
 * by the workers that the master forks. Each worker has its own socket for each TCP address (SO_REUSEPORT):
 * the kernel spreads connections over them, and what waits on a socket survives the death of its worker. A
 * Unix socket cannot be split: its workers share one.
 *
 * SO_REUSEPORT would let a second server of the same user share the port without a word, so every address
 * that is not held yet is first bound without it. Invariant: after a failure the sockets are what they were.
 * Not here: accepting, TLS, who may connect.
 */
#ifndef CHANGEFEED_MASTER_LISTENERS_H
#define CHANGEFEED_MASTER_LISTENERS_H

#include "http/conf/outline.h"

struct listener;

struct listeners {
	struct listener *list; /* one for each listener of the outline, in its order */
	size_t count;
};

/*
 * Opens what `outline` names and is not open yet, closes what it no longer names, and keeps the rest, with
 * whatever waits in its queues. Start with a struct of zeros. The number of sockets for each address follows
 * outline->worker_count.
 *
 * `patience_ms`: how long an address that is taken is tried again before that is an error: workers of a
 * master that was killed need a moment to die. Blocks for that long at most; 0: not at all.
 *
 * False: nothing has changed, and *ret_error has one line with the file:line:column of the `listen`.
 */
bool listeners_update(struct listeners *listeners, const struct outline *outline, unsigned patience_ms,
					  struct buffer *ret_error);

/* The socket of listener `index` for `worker` (from 0). It belongs to `listeners`. */
int listeners_socket(const struct listeners *listeners, size_t index, unsigned worker);

/*
 * In a process just forked: closes the sockets that are other workers', so that an address is free as soon as
 * the master and its worker let go of it. A process that serves nobody calls listeners_close() instead.
 */
void listeners_keep_worker(struct listeners *listeners, unsigned worker);

/*
 * Closes all sockets. `unlink_paths`: also removes the files of Unix sockets; the master does at its end, a
 * forked process that only drops its copies does not.
 */
void listeners_close(struct listeners *listeners, bool unlink_paths);

#endif
