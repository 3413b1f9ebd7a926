/*
 * replication.h: the stream of one replication connection, from its bytes to records in the ring, and the
 * feedback.
 *
 * Data in: CopyData messages (PostgreSQL's documentation, "Streaming Replication Protocol": XLogData, primary
 * keepalive), in them messages of pgoutput, which transactions.h appends to the ring. Data out: standby status
 * updates to the server.
 *
 * Invariant: nothing is confirmed that is not durable in the ring. It waits for the catalog, rarely
 * (describe.h), and at its end for the socket; what else it cannot do now it says.
 */
#ifndef CHANGEFEED_FEED_REPLICATION_H
#define CHANGEFEED_FEED_REPLICATION_H

#include "core/ring/ring_writer.h"
#include "feed/catalog.h"
#include "feed/failure.h"

struct replication;

enum replication_step {
	REPLICATION_DRAINED, /* nothing more to read now: wait for the socket */
	REPLICATION_MORE,    /* enough for one turn: publish and call again */
	REPLICATION_BLOCKED, /* the ring has no room before the next checkpoint: call again after it */
	REPLICATION_FAILED,  /* the connection, or what came over it */
};

/*
 * Takes over a connection in COPY mode, from upstream_start() at `from_lsn`; `confirmed_lsn` is the slot's. The
 * others are borrowed. Returns NULL out of memory; then the connection is still the caller's.
 */
struct replication *replication_open(struct connection connection, struct ring_writer *writer,
									 struct ring_live *live, struct catalog *catalog, uint64_t from_lsn,
									 uint64_t confirmed_lsn);

/* Closes the connection, too. */
void replication_close(struct replication *replication);

/* For poll(2). */
int replication_socket(const struct replication *replication);

/* How long the server may be silent; see connection_patience_us(). */
int64_t replication_patience_us(const struct replication *replication);

/* True if something is waiting to be sent: poll for writing, too. */
bool replication_wants_to_write(const struct replication *replication);

/* Reads and appends. Waits for nothing but, rarely, the catalog (describe.h). */
enum replication_step replication_step(struct replication *replication, struct failure *failure);

/* What was received so far. */
struct replication_received {
	uint64_t transactions; /* their ends */
	uint64_t bytes;
};

struct replication_received replication_received(const struct replication *replication);

/* True if the server wants to hear from us at once. */
bool replication_reply_asked(const struct replication *replication);

/*
 * Tells the server what was received and, if `durable_lsn` moved since the last time, confirms it to the
 * slot; `ask`: it shall answer. Returns false if the connection is broken.
 */
bool replication_feedback(struct replication *replication, uint64_t durable_lsn, bool ask,
						  struct failure *failure);

/* Says good-bye, so that the last feedback is not lost on a closed socket. Blocks, `timeout_us` at most. */
void replication_end(struct replication *replication, int64_t timeout_us);

#endif
