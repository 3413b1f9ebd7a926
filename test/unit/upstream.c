/* upstream.c: whether what the ring holds joins what the slot will send. */
#include "tap.h"

#include "feed/upstream.h"
#include "ring_fixture.h"

static struct fixture fixture;

/* Why they do not join; empty if they do. */
static const char *misfit(const struct upstream *upstream)
{
	static struct failure reason;
	return upstream_misfit(upstream, fixture.writer, &reason) ? reason.text : "";
}

int main(void)
{
	fixture_make(&fixture, RING_MIN_CAPACITY);
	fixture_transaction(&fixture, 2);
	uint64_t streamed = ring_writer_streamed_lsn(fixture.writer);
	struct upstream upstream = {
		.identity = ring_writer_identity(fixture.writer),
		.slot_exists = true,
		.confirmed_lsn = streamed,
		.flushed_lsn = streamed,
	};
	is_text(misfit(&upstream), "", "a slot that goes on where the ring ends");
	upstream.confirmed_lsn--;
	is_text(misfit(&upstream), "", "or before: it repeats what the ring has");
	upstream.confirmed_lsn = streamed + 1;
	is_text(misfit(&upstream),
			"it ends at 0/44C, and the slot goes on at 0/44D: somebody else read or advanced it",
			"but not behind it");
	upstream.confirmed_lsn = streamed;
	upstream.flushed_lsn = streamed - 1;
	is_text(misfit(&upstream), "it ends at 0/44C, beyond the server's WAL, which ends at 0/44B",
			"a server that has lost WAL");
	upstream.is_standby = true;
	is_text(misfit(&upstream), "", "a standby only has to replay it again");
	upstream.is_standby = false;

	fixture_change(&fixture, (struct cursor){streamed + 100, 1, 0}, 0, OPERATION_INSERT);
	upstream.flushed_lsn = streamed + 200;
	is_text(misfit(&upstream), "", "half a transaction: the rest comes again");
	upstream.flushed_lsn = streamed + 50;
	is_text(misfit(&upstream), "it ends at 0/4B0, beyond the server's WAL, which ends at 0/47E",
			"unless the server has lost it: the LSNs that come would be smaller");

	upstream.flushed_lsn = streamed + 200;
	upstream.identity.timeline++;
	is_text(misfit(&upstream), "it is of timeline 1, and the server is on 2", "another timeline");
	upstream.identity.timeline--;
	strcpy(upstream.identity.slot, "other");
	is_text(misfit(&upstream),
			"it is of slot \"changefeed\", not \"other\"; the old one holds WAL back until it is dropped",
			"another slot: what is left behind is said");
	fixture_remove(&fixture);
	return tap_end();
}
