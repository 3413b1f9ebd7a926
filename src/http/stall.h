/*
 * stall.h: cuts off clients that do not take an answer, whichever it is: a poll's, a page, a problem, a file.
 *
 * Over HTTP/2 a client may ask and keep its window shut. TCP is well then, and libh2o waits for ever. A
 * client has the stall-timeout of the path, and one second more for each 16 kB; where several responses share
 * its connection, each is given another stall-timeout for as long as the client takes 16 kB a second of all of
 * them together.
 *
 * In: every response as it starts, from a filter on each path of the configuration, which leaves it as it is.
 *
 * Not here: streams, which have no length (stream.c).
 */
#ifndef CHANGEFEED_HTTP_STALL_H
#define CHANGEFEED_HTTP_STALL_H

#include "http/worker.h"

/* Puts the filter on every path. Before h2o_context_init(), once. */
void stall_watch_paths(h2o_globalconf_t *config);

/* To be called twice a second. */
void stall_tick(struct worker *worker);

#endif
