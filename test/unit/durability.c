/* durability.c: when the feed makes the ring durable, by a clock of the test's own. */
#include "core/clock.h"
#include "tap.h"

#include "feed/durability.h"
#include "ring_fixture.h"

static struct fixture fixture;
static struct durability durability;
static int64_t now = 5 * SECOND;

static int64_t step(void)
{
	durability_step(&durability, false, now);
	return durability_deadline_us(&durability) - now;
}

static void append(void)
{
	fixture_transaction(&fixture, 1);
	ring_writer_publish(fixture.writer);
}

int main(void)
{
	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_checkpoint(&fixture);
	if (!durability_start(&durability, fixture.ring, fixture.writer))
		return 1;
	step();
	ok(step() > 500 * MILLISECOND, "with nothing to do the next look is in a second");
	append();
	int64_t delay = step();
	ok(delay > 0 && delay < 200 * MILLISECOND, "what was appended waits a moment for more");
	now += delay;
	ok(step() > 10 * SECOND, "then a checkpoint is under way, and its end tells itself");

	/* a turn of the loop meanwhile, for whatever reason */
	now += MILLISECOND;
	step();
	ok(durability_wait(&durability, 10000) && ring_writer_unsynced(fixture.writer) == 0, "it ends");
	now += 100 * MILLISECOND;
	ok(step() > 0, "the next look is not in the past: the loop would not wait at all until it is time");

	append();
	now += step();
	step();
	append();
	step();
	durability_wait(&durability, 10000);
	delay = step();
	ok(delay > 0 && delay < 200 * MILLISECOND, "what is appended during a checkpoint waits for the next");
	now += delay;
	ok(step() > 10 * SECOND && durability_wait(&durability, 10000) &&
		   durability_lsn(&durability) == fixture.lsn,
	   "and is in it");
	ok(durability_stop(&durability, 10000), "it stops");
	fixture_remove(&fixture);
	return tap_end();
}
