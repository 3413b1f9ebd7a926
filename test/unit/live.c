/* live.c: what processes tell each other in the live area. */
#include "core/ring/live.h"

#include "tap.h"

static struct ring_live live;

static void test_messages(void)
{
	char text[LIVE_MESSAGE_SIZE], longer[LIVE_MESSAGE_SIZE * 2] = {0};

	live_message_set(&live.message, "streaming");
	live_message_get(&live.message, text);
	is_text(text, "streaming", "a message is read back");
	for (size_t i = 0; i + 2 < sizeof(longer); i += 2)
		memcpy(longer + i, "\xc3\xa4", 2);
	live_message_set(&live.message, longer);
	live_message_get(&live.message, text);
	ok(strlen(text) == LIVE_MESSAGE_SIZE - 2, "a long message is cut between characters");
	live.message.version |= 1;
	live_message_set(&live.message, "after a crash");
	live_message_get(&live.message, text);
	is_text(text, "after a crash", "a writer that died inside holds up nobody after it");
}

static void test_feed(void)
{
	char text[LIVE_FEED_TEXT_SIZE];

	is_text(feed_state_name(FEED_STREAMING), "streaming", "states have names");
	is_text(feed_state_name((enum feed_state)99), "unknown", "a state out of range too");
	live.feed_state = FEED_RETRYING;
	live_message_set(&live.message, "connection refused");
	live_feed_text(&live, text);
	is_text(text, "retrying: connection refused", "the feed's state comes with its message");
	live_message_set(&live.message, "");
	live_feed_text(&live, text);
	is_text(text, "retrying", "or without one");
}

static void test_identity(void)
{
	struct ring_identity identity = {.system_identifier = UINT64_MAX,
									 .timeline = 7,
									 .database = "a b",
									 .slot = "changefeed",
									 .publication = "other"};
	struct ring_identity found = {.timeline = 42};

	ok(!live_identity_get(&live.identity, &found) && found.timeline == 42, "zeros are no identity");
	live_identity_set(&live.identity, &identity);
	ok(live_identity_get(&live.identity, &found) && memcmp(&found, &identity, sizeof(found)) == 0,
	   "an identity is read back, whatever is in its names");
	live.identity.bytes[3]++;
	ok(!live_identity_get(&live.identity, &found), "one that is not whole is none");
}

static void test_sleep(void)
{
	struct live_worker *first = &live.workers[0], *last = &live.workers[LIVE_WORKERS_MAX - 1];

	is_u64(live_wake(&live, LIVE_WANTS_ALL), 0, "nobody sleeps, nobody is woken");
	live_sleep(first, live_collection_bit(1));
	live_sleep(last, LIVE_WANTS_ALL);
	ok(live_sleeps(first) && live_sleeps(last), "two go to sleep");
	is_u64(live_wake(&live, live_collection_bit(2)), UINT64_C(1) << 63, "who wants everything is woken");
	ok(live_sleeps(first) && !live_sleeps(last), "the other one sleeps on");
	is_u64(live_wake(&live, live_collection_bit(65)), 1, "until something comes that may be what it wants");
	live_sleep(first, 0);
	is_u64(live_wake(&live, LIVE_WANTS_ALL), 0, "who wants nothing is left asleep");
	live_sleep(first, LIVE_WANTS_ALL);
	live_awake(first);
	is_u64(live_wake(&live, LIVE_WANTS_ALL), 0, "who woke up by itself is not woken");
}

static void test_totals(void)
{
	live.workers[3] = (struct live_worker){.pid = 1, .streams = 5, .streams_total = 7, .floods_total = 1};
	live.workers[4] = (struct live_worker){.pid = 0, .streams = 9, .streams_total = 2, .floods_total = 1};
	struct live_totals totals = live_totals(&live);

	ok(totals.workers == 1 && totals.streams == 5, "gauges are of the workers that run");
	ok(totals.streams_total == 9 && totals.floods_total == 2, "counters are of all that there ever were");
}

int main(void)
{
	test_messages();
	test_feed();
	test_identity();
	test_sleep();
	test_totals();
	return tap_end();
}
