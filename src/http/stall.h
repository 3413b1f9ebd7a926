/*
 * stall.h: cuts off clients that do not take an answer, whichever it is: a poll's, a page, a problem, a file.
 *
 * Over HTTP/2 a client may ask and keep its window shut. TCP is well then, and libh2o waits for ever. A
 * client has the stall-timeout of the path, and one second more for each 16 kB. Over HTTP/2 responses share a
 * connection, and each may have to wait for all of them: so each has another stall-timeout as long as the
 * client takes 16 kB a second of the connection, whatever it is that it takes. (Nobody counts what is taken of a
 * Unix socket: there each has its own time only.)
 *
 * In: every response as it starts, from a filter on each path of the configuration, which leaves it as it is.
 *
 * Not here: streams, which have no end. They look after themselves (stream.c), by the same rule.
 */
#ifndef CHANGEFEED_HTTP_STALL_H
#define CHANGEFEED_HTTP_STALL_H

#include "http/worker.h"

/* Puts the filter on every path. Before h2o_context_init(), once. */
void stall_watch_paths(h2o_globalconf_t *config);

/* To be called twice a second. */
void stall_tick(struct worker *worker);

/*
 * Looks at a response that is under way. Returns how many kB of its connection the client has taken since the
 * last look. *taken_kb is the response's own, for the next look; what the first one returns means nothing.
 */
uint32_t stall_look(h2o_req_t *req, uint32_t *taken_kb);

/*
 * The same for a response that is late, `patience_ms` after the last look. Returns whether the client has taken
 * 16 kB for each second of them, and so may have as long again.
 */
bool stall_goes_on(h2o_req_t *req, int64_t patience_ms, uint32_t *taken_kb);

#endif
