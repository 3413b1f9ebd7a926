/*
 * transactions.h: what the messages of pgoutput say -> records in the ring: changes, commits, progress.
 *
 * Data in: decoded messages, in UTF-8, in the order of the stream. Data out: records appended by the
 * ring_writer; nothing is published here.
 *
 * Invariants:
 *   - A change whose id the ring already has is a repetition, after a reconnect or a crash, and is dropped.
 *     So every message can be processed again from its start, which is what happens when the ring had no
 *     room for it.
 *   - Progress moves only between transactions.
 *
 * It knows no connection and no socket; only for the first change of a table the catalog is asked, and waited
 * for (describe.h).
 */
#ifndef CHANGEFEED_FEED_TRANSACTIONS_H
#define CHANGEFEED_FEED_TRANSACTIONS_H

#include "core/ring/ring_writer.h"
#include "core/upstream/pgoutput.h"
#include "feed/catalog.h"
#include "feed/relation.h"
#include "feed/row.h"

/* The one that the stream is in. */
struct transaction {
	bool open;
	uint64_t commit_lsn;
	int64_t commit_us;
	uint32_t xid;
	uint64_t n;   /* changes so far */
	uint64_t m;   /* messages since then */
	bool awaited; /* it is known whether others see it; asked once for all of its tables */
	bool visible; /* they do */
};

struct transactions {
	struct ring_writer *writer; /* borrowed, as catalog */
	struct catalog *catalog;
	struct relation_cache *relations;
	struct transaction current;
	uint64_t ended; /* how many were received to their end */
	struct buffer body;
	struct row_scratch row;
};

/* What became of a message. BLOCKED: the ring has no room before the next checkpoint; take it again then. */
enum outcome { OUTCOME_DONE, OUTCOME_BLOCKED, OUTCOME_FAILED };

/* For a stream that begins at that LSN. Returns false out of memory. */
bool transactions_init(struct transactions *transactions, struct ring_writer *writer, struct catalog *catalog,
					   uint64_t from_lsn);
void transactions_free(struct transactions *transactions);

/* Takes a message that the server sent at `sent_us`. */
enum outcome transactions_take(struct transactions *transactions, const struct pgoutput_message *message,
							   int64_t sent_us, struct failure *failure);

/* Everything that ends at or before `lsn` has been taken. */
void transactions_progress(struct transactions *transactions, uint64_t lsn);

#endif
