/* gather.c: when the feed looks away from the stream, by a clock of the test's own. */
#include "tap.h"

#include "feed/gather.h"

static struct gather gather;
static uint64_t transactions, bytes;
static int64_t now;

/* Turns of the loop, some microseconds apart, each with a transaction. Returns after how many it first looked
 * away, 0: never. */
static unsigned turns(unsigned count, int64_t apart, unsigned size)
{
	for (unsigned turn = 1; turn <= count; turn++) {
		now += apart;
		transactions++;
		bytes += size;
		if (gather_time_us(&gather, transactions, bytes, now) > 0)
			return turn;
	}
	return 0;
}

int main(void)
{
	bool away = false;

	now = 5000000;
	ok(turns(1000, 2000, 100) == 0, "500 messages a second are taken as they come");
	ok(turns(50, 3, 100) == 0, "so is a burst of 50");
	now += 100000;
	unsigned first = turns(2000, 5, 100);
	ok(first > 100 && first < 500, "transactions that come without pause may gather, after %u", first);
	ok(turns(1, 50, 100) == 1 && turns(1, 50, 100) == 1, "and go on to");
	now += 1000000;
	ok(turns(1, 0, 100) == 0, "after a pause the next is taken at once");
	now += 100000;
	for (int turn = 0; turn < 10000; turn++) {
		bytes += 10;
		now += 1;
		away = away || gather_time_us(&gather, transactions, bytes, now) > 0;
	}
	ok(!away, "the messages of one large transaction never gather, though a thousand come in a millisecond");
	now += 100000;
	ok(turns(10000, 5, 10000) == 0, "large ones would fill the socket: they never gather");
	return tap_end();
}
