/*
 * catalog.h: the feed's connection for queries, which the one that streams cannot be asked.
 *
 * It does two things. In the event loop, without waiting: it refreshes what is published (published.h), every
 * two seconds and whenever a worker asks, and connects again when the connection breaks (only a setting that
 * a new connection needs is waited for, see connection_pin_rest()). And, waiting, it answers the few questions
 * the stream cannot go on without (describe.h, upstream.h). They wait for a refresh that is under way; where a
 * table in the publication is locked, that is 0.2 s at most.
 */
#ifndef CHANGEFEED_FEED_CATALOG_H
#define CHANGEFEED_FEED_CATALOG_H

#include "feed/connection.h"
#include "feed/published.h"

/* Legal successors beside CLOSED, to which each state may go. */
enum catalog_state {
	CATALOG_CLOSED,  /* -> OPENING */
	CATALOG_OPENING, /* -> IDLE */
	CATALOG_IDLE,    /* -> ASKING */
	CATALOG_ASKING,  /* a refresh is under way -> IDLE */
};

struct catalog {
	const char *conninfo; /* borrowed, as publication */
	const char *publication;
	struct published published;
	enum catalog_state state;
	struct connection connection; /* none when CLOSED */
	PostgresPollingStatusType polling;
	const struct query *asked; /* ASKING: what is published, or only where the WAL ends */
	PGresult *answer;          /* ASKING: the result whose end has not come yet */

	/* CLOSED: when to connect again; OPENING, ASKING: when to give up; IDLE: when to refresh */
	int64_t deadline_us;
	int64_t asked_us; /* when the refresh under way began */
	/* not before, though a worker asks: a huge catalog must not be asked all the time */
	int64_t earliest_refresh_us;

	uint64_t answering;     /* live->refresh_asked before the refresh under way */
	bool wanted;            /* a worker asked */
	unsigned refusals;      /* in a row: the server does not say what is published */
	bool quiet;             /* a failure is told by the caller, not in the log */
	unsigned failures;      /* in a row */
	struct failure failure; /* why it was last closed */
};

/* Makes a closed catalog that connects at the first opportunity. */
void catalog_init(struct catalog *catalog, const char *conninfo, const char *publication, int stop_fd,
				  struct ring *ring, struct ring_writer *writer);
void catalog_close(struct catalog *catalog);

/* For poll(2): the descriptor (-1: none) and the events to wait for; and until when (monotonic clock) at
 * most. */
int catalog_poll(const struct catalog *catalog, short *ret_events);
int64_t catalog_deadline_us(const struct catalog *catalog);

/* A worker asked for a refresh. */
void catalog_want_refresh(struct catalog *catalog);

/*
 * Does what can be done without waiting; `ready`: poll(2) reported the descriptor. Returns true if workers
 * are to be woken, because a refresh is done. (One that ends while catalog_settle() waits is not told: it is
 * rare, and workers that have asked also look by themselves, a moment later.)
 */
bool catalog_step(struct catalog *catalog, bool ready, int64_t now_us);

/*
 * Notes where the server's WAL ends, for a caller that has just asked for it (PUBLISHED_WAL_END) while nothing
 * is refreshed.
 */
void catalog_saw_wal_end(struct catalog *catalog, const char *lsn);

/* Waits until the connection is there and no refresh is under way. */
bool catalog_settle(struct catalog *catalog, struct failure *failure);

/*
 * Asks one question and waits for the answer, after catalog_settle(). Returns a result with tuples that is
 * the caller's, or NULL; when the connection is to blame it is closed, and the next call opens another. A
 * query that the server refuses is a failure, too.
 */
PGresult *catalog_query(struct catalog *catalog, const struct query *query, const char *const *parameters,
						struct failure *failure);

#endif
