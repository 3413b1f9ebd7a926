/*
 * upstream.h: everything that has to be in order before the stream can start: the server's settings, the
 * publication, the replication slot, and whether the ring still fits them.
 *
 *   upstream_inspect()      on the catalog's connection: is it all there? One clear line if not
 *   upstream_identify()     on the replication connection: which cluster, which timeline, how far
 *   upstream_ensure_slot()  drops a slot that can never go on, makes one that is missing
 *   upstream_misfit()       why the ring belongs to another history than the slot, if so
 *   upstream_start()        begins the stream
 *
 * It makes no decision about the ring: the caller begins a new history.
 */
#ifndef CHANGEFEED_FEED_UPSTREAM_H
#define CHANGEFEED_FEED_UPSTREAM_H

#include "core/ring/ring_writer.h"
#include "feed/catalog.h"

/* The PostgreSQL at the other end. */
struct upstream {
	char slot[RING_NAME_SIZE]; /* what is asked for */
	char publication[RING_NAME_SIZE];

	/* upstream_inspect() */
	bool may_replicate; /* the role has REPLICATION, or is superuser */
	char role[RING_NAME_SIZE];
	bool is_standby; /* after a restart it has to replay again what it has already sent */
	bool slot_exists;
	/* why it can never go on, and so is dropped and made anew; NULL: it can */
	const char *slot_unusable;
	uint64_t confirmed_lsn; /* of the slot */

	/* upstream_identify() */
	struct ring_identity identity;
	uint64_t flushed_lsn; /* the end of the WAL */

	bool slot_is_new; /* upstream_ensure_slot() made it; confirmed_lsn is where it starts */
};

/*
 * Fills in the first part, and notes where the WAL ends, so that the lag is known while the feed cannot stream.
 * Returns false if something is missing that only an operator can provide.
 */
bool upstream_inspect(struct upstream *upstream, struct catalog *catalog, struct failure *failure);

/*
 * Fills in the second part. Returns false if the server does not answer, and if the catalog's connection is one
 * to another server: then that is closed.
 */
bool upstream_identify(struct upstream *upstream, struct connection *replication, struct catalog *catalog,
					   struct failure *failure);

/*
 * After the two above. Making a slot waits for all transactions that are writing, without a limit as long as
 * the server answers over the catalog's connection that it is at it, which it is asked after half of
 * connection_patience_us(), again and again. A request to stop cancels it.
 */
bool upstream_ensure_slot(struct upstream *upstream, struct connection *replication, struct catalog *catalog,
						  struct failure *failure);

/* Returns true and says why in *ret_reason if what the ring holds does not join what the slot will send. */
bool upstream_misfit(const struct upstream *upstream, const struct ring_writer *writer,
					 struct failure *ret_reason);

/*
 * Starts to stream what ends after `from_lsn`; then the connection is in COPY mode. Returns false also if the
 * slot is beyond that by now.
 */
bool upstream_start(const struct upstream *upstream, struct connection *replication, struct catalog *catalog,
					uint64_t from_lsn, struct failure *failure);

#endif
