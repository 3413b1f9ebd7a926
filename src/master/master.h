/*
 * master.h: the process that owns the listening sockets, and the feed and the workers that it forks.
 *
 *   start ──▶ read h2o.conf, make or keep the ring, open the sockets ──▶ fork feed and workers ──▶ watch
 *   a child dies        it is replaced, at once the first time, then with back-off
 *   SIGHUP              a child looks at the new h2o.conf; if it is right, new workers start with it, and
 *                       the old ones drain
 *   SIGTERM, lifeline   everybody ends, within about a second
 *
 * It runs no code that a client or the server of the database can reach. Its children die with it.
 */
#ifndef CHANGEFEED_MASTER_MASTER_H
#define CHANGEFEED_MASTER_MASTER_H

#include "master/options.h"

/* Runs until it is told to stop. Returns the exit code: 0, EX_CONFIG (78) if h2o.conf is wrong at the start,
 * or 1. */
int master_run(const struct options *options);

#endif
