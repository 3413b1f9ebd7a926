/* gather.c: see gather.h. */
#include "feed/gather.h"

#include "core/clock.h"

enum {
	SPAN = 1 * MILLISECOND,
	DENSE_TRANSACTIONS = 7,  /* in a millisecond */
	DENSE_BYTES = 64 * 1024, /* in a millisecond: a quarter of what a socket holds, in the time below */
	LOOK_AWAY = 150,         /* us; the kernel makes 200 of it */
};

int64_t gather_time(struct gather *gather, uint64_t transactions, uint64_t bytes, int64_t now)
{
	int64_t span = now - gather->since;

	if (span >= SPAN) {
		uint64_t milliseconds = (uint64_t)span / MILLISECOND;
		gather->dense = transactions - gather->transactions >= DENSE_TRANSACTIONS * milliseconds &&
						bytes - gather->bytes <= DENSE_BYTES * milliseconds;
		*gather = (struct gather){now, transactions, bytes, gather->dense};
	}
	return gather->dense ? LOOK_AWAY : 0;
}
