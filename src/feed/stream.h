/*
 * stream.h: the stream of one replication connection, from its bytes to records in the ring, and the
 * feedback.
 *
 * Data in: CopyData messages (PostgreSQL's documentation, "Streaming Replication Protocol": XLogData, primary
 * keepalive), in them messages of pgoutput. Data out: changes, commits and progress, appended to the ring;
 * nothing is published here. Standby status updates to the server.
 *
 * Invariants:
 *   - A change whose id the ring already has is a repetition, after a reconnect or a crash, and is dropped.
 *     So every message can be processed again from its start, which is what happens when the ring had no
 *     room for it.
 *   - Progress moves only between transactions.
 *   - Nothing is confirmed that is not durable in the ring.
 *
 * It does not wait: what it cannot do now it says.
 */
#ifndef CHANGEFEED_STREAM_H
#define CHANGEFEED_STREAM_H

#include <libpq-fe.h>

#include "core/ring/ring_writer.h"
#include "feed/catalog.h"
#include "feed/failure.h"

struct stream;

enum stream_step {
	STREAM_DRAINED, /* nothing more to read now: wait for the socket */
	STREAM_MORE,    /* enough for one turn: publish and call again */
	STREAM_BLOCKED, /* the ring has no room before the next checkpoint: call again after it */
	STREAM_FAILED,  /* the connection, or what came over it */
};

/*
 * Takes over a connection in COPY mode, from slot_start() at `from_lsn`; `confirmed_lsn` is the slot's. The
 * others are borrowed. Returns NULL out of memory; then the connection is still the caller's.
 */
struct stream *stream_open(PGconn *connection, struct ring_writer *writer, struct ring_live *live,
						   struct catalog *catalog, uint64_t from_lsn, uint64_t confirmed_lsn);

/* Closes the connection, too. */
void stream_close(struct stream *stream);

int stream_socket(const struct stream *stream);

/* How long the server may be silent; see connection_patience(). */
int64_t stream_patience(const struct stream *stream);

/* True if something is waiting to be sent: poll for writing, too. */
bool stream_wants_to_write(const struct stream *stream);

/* Reads and appends. Waits for nothing but, rarely, the catalog (types.h). */
enum stream_step stream_step(struct stream *stream, struct failure *failure);

/* What was received so far. */
struct stream_received {
	uint64_t transactions; /* their ends */
	uint64_t bytes;
};

struct stream_received stream_received(const struct stream *stream);

/* True if the server wants to hear from us at once. */
bool stream_reply_asked(const struct stream *stream);

/*
 * Tells the server what was received and, if `durable_lsn` moved since the last time, confirms it to the
 * slot; `ask`: it shall answer. Returns false if the connection is broken.
 */
bool stream_feedback(struct stream *stream, uint64_t durable_lsn, bool ask, struct failure *failure);

/* Says good-bye, so that the last feedback is not lost on a closed socket. Blocks, `timeout_us` at most. */
void stream_end(struct stream *stream, int64_t timeout_us);

#endif
