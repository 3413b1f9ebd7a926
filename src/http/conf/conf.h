/*
 * conf.h: h2o.conf, read through libh2o's own configurators plus ours -> all that a worker serves by.
 *
 * In: the text of the file (struct conf_source, read once by the master), and hooks that put our handlers on
 * paths. Out: `struct conf` with the outline (outline.h), a h2o_globalconf_t and what to accept with.
 * Every error is one line `file:line:column: message`, or `file: message` if it cannot be read.
 *
 * Directives of libh2o that work: hosts and paths, access-log, compress, error-doc, expires, file.*,
 * header.*, redirect, status, throttle-response, http1-*, http2-*, limit-request-body (4 kB unless set),
 * setenv. Ours: listen, num-threads, max-connections, max-connections-per-address, max-requests-per-second,
 * changefeed. What the standalone h2o server knows besides is refused by name, never ignored; so is what
 * would make libh2o crash or fork (see conf.c).
 *
 * Every host also serves the pages of enum conf_page, unless its `paths` map them. They are added to the tree
 * as libh2o reads it, so they are ordered among the file's paths and inherit its filters and logs.
 *
 * Invariants: one conf_load() at a time in a process (libh2o reports errors through a global function, and
 * stderr is redirected meanwhile); a struct conf never moves. Not here: sockets, event loops, what a path
 * answers.
 */
#ifndef CHANGEFEED_HTTP_CONF_CONF_H
#define CHANGEFEED_HTTP_CONF_CONF_H

#include <h2o.h>

#include "http/conf/changefeed_options.h"
#include "http/conf/outline.h"
#include "http/conf/tls.h"

struct conf_source {
	char *path;
	struct buffer text;
};

/* Reads the file (blocks on the disk), up to 1 MB. False: *ret_source untouched, one line in *ret_error. */
bool conf_source_read(const char *path, struct conf_source *ret_source, struct buffer *ret_error);
void conf_source_free(struct conf_source *source);

/* The outline alone, for the master: nothing of libh2o is touched. False: as outline_read(). */
bool conf_read_outline(const struct conf_source *source, struct outline *ret_outline,
					   struct buffer *ret_error);

/* What every host serves unless the file maps the path itself. */
enum conf_page { CONF_PAGE_CONSOLE, CONF_PAGE_HEALTHZ, CONF_PAGE_READYZ, CONF_PAGE_METRICS };

/*
 * Called while conf_load() runs, to put handlers on paths. The h2o_pathconf_t moves when the next path is
 * read: use it for h2o_create_handler() in the call and do not keep it. h2o matches paths as prefixes at '/',
 * the longest first: a handler compares the rest of the path itself, and CONF_PAGE_CONSOLE, at "/", is asked
 * for everything that nothing else matches.
 */
struct conf_hooks {
	/* A path with `changefeed: ON` or a mapping. `options` lives as long as the struct conf. */
	void (*add_changefeed)(h2o_pathconf_t *path, const struct changefeed_options *options);
	void (*add_page)(h2o_pathconf_t *path, enum conf_page page);
};

/* How a worker accepts on one listener; goes into an h2o_accept_ctx_t. */
struct conf_accept {
	h2o_hostconf_t **hosts; /* NULL at the end; the listener's own, or all of the file */
	SSL_CTX *ssl_ctx;       /* NULL: cleartext */
};

struct conf {
	struct outline outline;
	struct conf_accept *accepts; /* one for each of outline.listeners, in the same order */
	h2o_globalconf_t global;
	struct conf_state *state; /* private */
};

/*
 * Reads everything, certificates and log files included (blocks on the disk). `keys` may be NULL, see
 * tls_create(). Returns NULL with one line in *ret_error when anything in the file is wrong; what libh2o had
 * built by then is partly lost, so a long-lived process tries a new file in a child first.
 */
struct conf *conf_load(const struct conf_source *source, const struct conf_hooks *hooks,
					   const struct tls_ticket_keys *keys, struct buffer *ret_error);

/* What conf_load() would say, as far as that can be known without making a file. */
bool conf_check(const struct conf_source *source, const struct conf_hooks *hooks, struct buffer *ret_error);

/* Only after every context that was made from conf->global has been disposed of; a worker that exits need
 * not. */
void conf_free(struct conf *conf);

#endif
