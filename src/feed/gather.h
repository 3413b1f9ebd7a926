/*
 * gather.h: whether to let messages gather before the next are taken.
 *
 * A walsender sends every message by itself, and a feed that waits for it is woken for every few. When small
 * transactions come without pause, that is most of what both spend: so the feed looks away for a moment, and
 * finds many. It does so only after they have come densely for a while. The messages of a large transaction
 * come faster than any others, hundreds in the time it would look away, which fills the socket's buffer and
 * holds up the walsender: so transactions are counted, not messages; likewise it does not look away when
 * messages are large. A change by itself is never delayed.
 *
 * Data in: how much was received, the time. Data out: how long to look away. No clock and no sleep of its
 * own.
 */
#ifndef CHANGEFEED_FEED_GATHER_H
#define CHANGEFEED_FEED_GATHER_H

#include <stdbool.h>
#include <stdint.h>

struct gather {
	int64_t since_us; /* the beginning of the span that is being judged */
	uint64_t transactions;
	uint64_t bytes; /* received before it */
	bool dense;     /* what the last span was */
};

/* `transactions` and `bytes`: received so far in all. Returns microseconds, 0: do not look away. */
int64_t gather_time_us(struct gather *gather, uint64_t transactions, uint64_t bytes, int64_t now_us);

#endif
