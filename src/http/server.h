/*
 * server.h: a worker process: accepts connections on its sockets and serves them from the ring until it is
 * told to stop.
 */
#ifndef CHANGEFEED_HTTP_SERVER_H
#define CHANGEFEED_HTTP_SERVER_H

#include "http/conf/conf.h"
#include "http/quota.h"

struct server_options {
	unsigned number;                  /* in live->workers */
	const struct conf_source *config; /* as the master has read it */
	const struct tls_ticket_keys *ticket_keys;
	const int *listeners;  /* listening sockets, one for each listener of the outline */
	unsigned worker_count; /* max-connections is shared among so many */
	struct quota *quota;   /* shared by all workers */
	const char *ring_file;
	const char *publication;
	int wake_fd;    /* its own eventfd: the feed has something */
	int refresh_fd; /* the feed's */
};

/*
 * Serves in a process of its own. SIGTERM, SIGINT: ends all streams and returns. SIGUSR2: accepts nothing
 * more and returns when the last connection is gone. Returns the exit code: 0, EX_CONFIG (78) if the
 * configuration cannot be loaded (one line in the log), 1 if the ring cannot be opened or memory is out.
 */
int server_run(const struct server_options *options);

#endif
