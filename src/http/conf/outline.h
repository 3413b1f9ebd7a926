/*
 * outline.h: what the master needs of h2o.conf: where to listen, and how many workers and connections.
 *
 * In: the tree of the file. Out: `struct outline`, plain data. Nothing of libh2o is touched, no file is
 * opened, no name is looked up (a host is an IP address or `localhost`), nothing blocks: it is safe in the
 * master. What libh2o has to judge (hosts, paths, handlers, certificates) is not checked here: that is
 * conf_load(), in another process.
 *
 * Invariant: the same text always gives the same listeners in the same order. A worker that inherits sockets
 * by their index relies on it, so the master reads the file once and workers parse that copy (struct
 * conf_source).
 *
 * Listeners are refused unless only this machine can reach them (127.0.0.0/8, ::1, a Unix socket), because
 * nothing can be authenticated yet.
 */
#ifndef CHANGEFEED_HTTP_CONF_OUTLINE_H
#define CHANGEFEED_HTTP_CONF_OUTLINE_H

#include <stddef.h>
#include <sys/socket.h>

#include "core/ring/live.h"
#include "http/conf/tls.h"
#include "http/conf/yaml.h"

enum {
	OUTLINE_WORKERS_MAX = LIVE_WORKERS_MAX,
	OUTLINE_DEFAULT_WORKERS_MAX = 8, /* one is enough for most; a reload has the old ones beside the new */
	OUTLINE_LISTENERS_MAX = 64,
	OUTLINE_DEFAULT_CONNECTIONS_MAX = 20000,
	OUTLINE_NUMBERS = 4,
};

/* One `listen` of the file. Several may name the same address: each host brings its own certificate. */
struct outline_declaration {
	const struct yaml_node *node; /* identifies it while the tree exists */
	struct tls_settings *tls;     /* owned; NULL: without `ssl` */
};

struct outline_listener {
	struct sockaddr_storage address;
	socklen_t address_size;
	char *name;          /* 127.0.0.1:7080, [::1]:7080 or unix:/run/feed.sock: for messages */
	char *where;         /* file:line:column of the first declaration */
	unsigned permission; /* of a Unix socket's file; 0: as the umask has it */
	struct outline_declaration *declarations;
	size_t declaration_count;
};

struct outline {
	struct outline_listener *listeners; /* at least one; no two have the same address */
	size_t listener_count;
	unsigned worker_count;                /* num-threads, or the number of processors, 8 at most */
	unsigned max_connections;             /* of all workers together, before the limit of open files */
	unsigned max_connections_per_address; /* 0: no limit */
	unsigned max_requests_per_second;     /* of each address; 0: no limit */
	bool logs_access;                     /* an access-log stands somewhere */
};

/* The directives that are a number. */
struct outline_number {
	const char *name;
	unsigned least, most;
	size_t offset; /* of an unsigned in struct outline */
};

extern const struct outline_number outline_numbers[OUTLINE_NUMBERS];

/* Reads the outline from a tree. False: *ret_outline is untouched and *ret_error has one line. */
bool outline_read(const struct yaml_node *root, struct outline *ret_outline, struct buffer *ret_error);

/*
 * A number that becomes another one when a certificate or a key that the outline names is replaced or written
 * to. Looks at the files' inodes only.
 */
uint64_t outline_files(const struct outline *outline);

void outline_free(struct outline *outline);

#endif
