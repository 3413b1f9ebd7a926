/* gather.c: see gather.h. */
#include "feed/gather.h"

#include "core/clock.h"

enum {
	SPAN_US = 1 * MILLISECOND,
	DENSE_TRANSACTIONS = 7,  /* in a millisecond */
	DENSE_BYTES = 64 * 1024, /* in a millisecond: a quarter of what a socket holds, in the time below */
	LOOK_AWAY_US = 150,      /* the kernel makes 200 of it */
};

int64_t gather_time_us(struct gather *gather, uint64_t transactions, uint64_t bytes, int64_t now_us)
{
	int64_t span_us = now_us - gather->since_us;

	if (span_us >= SPAN_US) {
		uint64_t milliseconds = (uint64_t)span_us / MILLISECOND;
		gather->dense = transactions - gather->transactions >= DENSE_TRANSACTIONS * milliseconds &&
						bytes - gather->bytes <= DENSE_BYTES * milliseconds;
		*gather = (struct gather){now_us, transactions, bytes, gather->dense};
	}
	return gather->dense ? LOOK_AWAY_US : 0;
}
