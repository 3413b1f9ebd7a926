/*
 * walsender.h: the messages of the walsender in which those of pgoutput come, and our answer to it.
 *
 * Source of the format: PostgreSQL's documentation, "Streaming Replication Protocol"
 * (protocol-replication.html), from XLogData to "Standby status update". Without state, as pgoutput.h is.
 * Times are microseconds since 1970.
 */
#ifndef CHANGEFEED_CORE_UPSTREAM_WALSENDER_H
#define CHANGEFEED_CORE_UPSTREAM_WALSENDER_H

#include "core/bytes.h"

enum walsender_type {
	WALSENDER_DATA = 'w',
	WALSENDER_KEEPALIVE = 'k',
};

struct walsender_message {
	enum walsender_type type;
	uint64_t lsn; /* data: the start of its WAL; keepalive: everything before it has been sent */
	int64_t sent_us;
	bool reply_asked;     /* keepalive */
	struct bytes payload; /* data: one message of pgoutput, borrowed */
};

/* Returns NULL, or what is wrong as a constant text; *ret_message is untouched then. */
const char *walsender_decode(struct bytes copy, struct walsender_message *ret_message);

enum { WALSENDER_STATUS_SIZE = 34 };

/* What we have received and flushed (and applied, which is the same here). `ask`: for a keepalive at once. */
void walsender_status(char ret_status[WALSENDER_STATUS_SIZE], uint64_t received_lsn, uint64_t flushed_lsn,
					  int64_t now_us, bool ask);

#endif
