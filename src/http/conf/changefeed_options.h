/*
 * changefeed_options.h: the value of the directive `changefeed` of h2o.conf -> the options of one path.
 *
 *   changefeed: ON                    all defaults
 *   changefeed:
 *     heartbeat: 10                   seconds between two keep-alives of a silent stream, 1 to 15
 *     retry: 1000                     milliseconds that EventSource waits before it reconnects
 *     stall-timeout: 30               seconds that a client has to take what it is sent before it is cut off,
 *                                     and one more for each 16 kB of it
 *     stream-lifetime: 0              seconds after which a stream ends and its client comes back; 0: never
 *     tenant-column: tenant_id        column that says whose row it is
 *     messages: OFF                   whether pg_logical_emit_message() is served, too
 *     cors: https://app.example       "*", one origin, or a list of them
 *
 * Not here: which collections there are, and what a request asks for (core/request/subscription.h).
 */
#ifndef CHANGEFEED_HTTP_CONF_CHANGEFEED_OPTIONS_H
#define CHANGEFEED_HTTP_CONF_CHANGEFEED_OPTIONS_H

#include "http/conf/yaml.h"

struct changefeed_options {
	unsigned heartbeat_s;
	unsigned retry_ms;
	unsigned stall_s;
	unsigned lifetime_s; /* of a stream; 0: no limit */
	char *tenant_column; /* NULL: none */
	bool messages;
	bool cors_any;       /* "*" */
	char **cors_origins; /* as browsers send them (RFC 6454 section 6.2); NULL at the end; NULL: none */
};

/*
 * Reads the options from the directive's value. *ret_on is false for `OFF`; the options are then untouched.
 * False: outputs untouched, one line in *ret_error with file:line:column.
 */
bool changefeed_options_read(const struct yaml_node *value, bool *ret_on,
							 struct changefeed_options *ret_options, struct buffer *ret_error);

void changefeed_options_free(struct changefeed_options *options);

enum { SLOWEST_BYTES_PER_S = 16 * 1024 }; /* that a client may read, once stall-timeout is over */

/* Milliseconds that a client has to take `size` bytes, by the defaults if `options` is NULL: more for what is
 * large, so that one that reads slowly gets it, too. */
int64_t changefeed_options_patience_ms(const struct changefeed_options *options, size_t size);

/* Whether a page of `origin` (the header Origin) may read the answers. */
bool changefeed_options_allow_origin(const struct changefeed_options *options, struct bytes origin);

#endif
