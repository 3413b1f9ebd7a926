/*
 * subscription.h: what a request asks for, or why it is malformed.
 *
 * Data in: the path behind `/cdc/` (without `/poll`), the query and the Last-Event-ID header, all as they
 * came over the wire. Data out: struct subscription, which owns the decoded text that it points to. It looks
 * up nothing: which collections of the ring the names mean is selection.h.
 *
 * Path: names separated by commas, each `table` or `schema.table`, or `*` for all. Commas and the first dot
 * separate before percent-decoding, so a comma or dot that belongs to a name is written %2C or %2E. SQL's
 * quotes mean nothing here.
 *
 * Query (application/x-www-form-urlencoded: `+` is a space), the same for SSE and poll except where noted:
 *
 *   last_event_id, lastEventId   a cursor; empty: as if absent
 *   since_lsn                    a cursor
 *   since_ms                     milliseconds since 1970; 0: all that there is
 *   operations                   insert,update,delete,truncate, and message where messages are turned on, in
 *                                upper or lower case; all of these
 *   columns                      a,b: at most 64 exact names; their commas are separated after decoding, as
 *                                URLSearchParams encodes commas too, so a name cannot hold one
 *   payload                      full, key; full
 *   numbers                      number, string; number
 *   format                       json, debezium, cloudevents (format.h); json
 *   on_gap                       warn, fail; SSE warn, poll fail
 *   tenant_id                    at most 256 bytes; 1. Without a tenant column there is no other
 *   limit  (poll)                1 or more; 100; above 10000 is 10000
 *   wait   (poll)                seconds; 0; above 60 is 60
 *
 * Start: the Last-Event-ID header (empty: as if absent), else last_event_id, else since_lsn, else since_ms,
 * else now (SSE) or earliest (poll). That is the order whatever the order in the query, so that EventSource
 * reconnects with its header to an URL with since_lsn.
 *
 * A parameter with an unknown name is ignored, because polyfills and proxies add their own; a known one with
 * a value that is not listed is 400, also where another takes precedence. So is a known one that is there
 * twice: a proxy may have set one of the two, and the client that it confines the other. Only of last_event_id
 * the last one counts, because polyfills append it. Broken percent-encoding, NUL and malformed UTF-8 are 400.
 */
#ifndef CHANGEFEED_CORE_REQUEST_SUBSCRIPTION_H
#define CHANGEFEED_CORE_REQUEST_SUBSCRIPTION_H

#include "core/bytes.h"
#include "core/cursor.h"
#include "core/render/document.h"
#include "core/request/problem.h"

enum {
	SUBSCRIPTION_NAMES_MAX = 64,
	SUBSCRIPTION_NAME_SIZE_MAX = 63 * 4, /* bytes; PostgreSQL's own limit is 63 */
	SUBSCRIPTION_TENANT_SIZE_MAX = 256,
	SUBSCRIPTION_LIMIT_DEFAULT = 100,
	SUBSCRIPTION_LIMIT_MAX = 10000,
	SUBSCRIPTION_WAIT_MAX = 60,
};

enum delivery { DELIVERY_SSE, DELIVERY_POLL };

enum on_gap { ON_GAP_WARN, ON_GAP_FAIL };

/* A request as it came; everything borrowed, also by the subscription where it says so. */
struct subscription_request {
	enum delivery delivery;
	struct bytes path;          /* behind "/cdc/", percent-encoded, without "/poll" */
	struct bytes query;         /* behind "?", percent-encoded; may be empty */
	struct bytes last_event_id; /* the header's value; empty if there is none */
	struct bytes tenant_column; /* as configured; empty: tenants do not matter. Outlives the subscription */
	bool messages;              /* as configured: whether there are any for this path */
};

struct subscription_name {
	struct bytes schema; /* "public" if none was given */
	struct bytes name;
};

/*
 * About 3 kB. Two with the same selection_key() may share one. Do not copy it and free both.
 */
struct subscription {
	enum delivery delivery;
	bool all; /* every published collection; there are no names then */
	unsigned name_count;
	struct subscription_name names[SUBSCRIPTION_NAMES_MAX];
	struct start start;
	unsigned operations; /* bit 1 << enum operation */
	struct view view;
	enum on_gap on_gap;
	unsigned limit;
	unsigned wait_s;
	struct buffer text; /* owned: what names and view point into */
};

/*
 * Returns true, and *ret_subscription is to be freed with subscription_free(). Otherwise false,
 * *ret_subscription untouched and nothing to free, and *ret_problem says why: 400, or 503 out of memory.
 */
bool subscription_parse(const struct subscription_request *request, struct subscription *ret_subscription,
						struct problem *ret_problem);

void subscription_free(struct subscription *subscription);

#endif
