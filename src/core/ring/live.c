/* live.c: see live.h. */
#include "core/ring/live.h"

#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "core/clock.h"
#include "core/utf8.h"

/* For a writer to be done. */
enum { LIVE_TRIES = 1000 };

const char *feed_state_name(enum feed_state state)
{
	static const char *const names[] = {
		[FEED_STOPPED] = "stopped",     [FEED_CONNECTING] = "connecting", [FEED_PREPARING] = "preparing",
		[FEED_STREAMING] = "streaming", [FEED_RETRYING] = "retrying",
	};
	return (unsigned)state < COUNT(names) ? names[state] : "unknown";
}

enum feed_state live_feed_state(const struct ring_live *live)
{
	return (enum feed_state)live_figure(&live->feed_state);
}

void live_feed_text(const struct ring_live *live, char ret_text[LIVE_FEED_TEXT_SIZE])
{
	char message[LIVE_MESSAGE_SIZE] = "";

	live_message_get(&live->message, message);
	snprintf(ret_text, LIVE_FEED_TEXT_SIZE, "%s%s%s", feed_state_name(live_feed_state(live)),
			 message[0] != '\0' ? ": " : "", message);
}

/* How much WAL the server has behind an LSN, 0 being none. */
static bool wal_behind(const struct ring_live *live, uint64_t lsn, uint64_t *ret_bytes)
{
	int64_t until = live_load(&live->server_lsn_until_us);
	uint64_t server_lsn = live_figure(&live->server_lsn);

	if (lsn == 0 || clock_monotonic_us() > until)
		return false;
	*ret_bytes = server_lsn > lsn ? server_lsn - lsn : 0;
	return true;
}

bool live_lag(const struct ring_live *live, uint64_t *ret_bytes)
{
	return wal_behind(live, live_load(&live->streamed_lsn), ret_bytes);
}

bool live_slot_lag(const struct ring_live *live, uint64_t *ret_bytes)
{
	return wal_behind(live, live_load(&live->confirmed_lsn), ret_bytes);
}

struct live_totals live_totals(const struct ring_live *live)
{
	struct live_totals totals = {0};

	for (int i = 0; i < LIVE_WORKERS_MAX; i++) {
		const struct live_worker *worker = &live->workers[i];
		if (live_figure(&worker->pid) != 0) {
			totals.workers++;
			totals.connections += live_figure(&worker->connections);
			totals.streams += live_figure(&worker->streams);
			totals.polls_waiting += live_figure(&worker->polls_waiting);
		}
		totals.connections_total += live_figure(&worker->connections_total);
		totals.requests_total += live_figure(&worker->requests_total);
		totals.streams_total += live_figure(&worker->streams_total);
		totals.polls_total += live_figure(&worker->polls_total);
		totals.errors_total += live_figure(&worker->errors_total);
		totals.events_total += live_figure(&worker->events_total);
		totals.sent_bytes_total += live_figure(&worker->sent_bytes_total);
		totals.gaps_total += live_figure(&worker->gaps_total);
		totals.lagged_events_total += live_figure(&worker->lagged_events_total);
		totals.reaped_total += live_figure(&worker->reaped_total);
		totals.renders_total += live_figure(&worker->renders_total);
		totals.refused_total += live_figure(&worker->refused_total);
		totals.floods_total += live_figure(&worker->floods_total);
	}
	return totals;
}

/* ---- sleep */

void live_sleep(struct live_worker *worker, uint64_t wanted)
{
	live_figure_set(&worker->wanted, wanted);
	live_figure_set(&worker->sleeping, 1);
	atomic_thread_fence(memory_order_seq_cst);
}

void live_awake(struct live_worker *worker)
{
	live_figure_set(&worker->sleeping, 0);
}

bool live_sleeps(const struct live_worker *worker)
{
	return live_figure(&worker->sleeping) == 1;
}

uint64_t live_wake(struct ring_live *live, uint64_t collections)
{
	uint64_t woken = 0;

	atomic_thread_fence(memory_order_seq_cst);
	for (int i = 0; i < LIVE_WORKERS_MAX; i++) {
		struct live_worker *worker = &live->workers[i];
		uint64_t wanted = live_figure(&worker->wanted);
		if (!live_sleeps(worker) || (wanted != LIVE_WANTS_ALL && (wanted & collections) == 0))
			continue;
		if (atomic_exchange(&worker->sleeping, 0) == 1)
			woken |= UINT64_C(1) << i;
	}
	return woken;
}

/* ---- what is more than a word */

void live_message_set(struct live_message *message, const char *text)
{
	size_t length = utf8_whole((struct bytes){text, strnlen(text, LIVE_MESSAGE_SIZE - 1)});
	uint32_t odd = live_figure(&message->version) | 1;

	/* a writer that died inside left it odd: this one goes on from there */
	live_figure_set(&message->version, odd);
	atomic_thread_fence(memory_order_release);
	for (size_t i = 0; i < length; i++)
		live_figure_set(&message->text[i], text[i]);
	live_figure_set(&message->text[length], '\0');
	live_store(&message->version, odd + 1);
}

void live_message_get(const struct live_message *message, char ret_text[LIVE_MESSAGE_SIZE])
{
	for (int tries = 0; tries < LIVE_TRIES; tries++) {
		uint32_t before = live_load(&message->version);
		for (size_t i = 0; i < LIVE_MESSAGE_SIZE; i++)
			ret_text[i] = live_figure(&message->text[i]);
		ret_text[LIVE_MESSAGE_SIZE - 1] = '\0';
		atomic_thread_fence(memory_order_acquire);
		if (live_figure(&message->version) == before && (before & 1) == 0)
			return;
	}
}

void live_identity_set(struct live_identity *live, const struct ring_identity *identity)
{
	const char *bytes = (const char *)identity;

	for (size_t i = 0; i < sizeof(*identity); i++)
		live_figure_set(&live->bytes[i], bytes[i]);
	live_store(&live->checksum, XXH3_64bits(bytes, sizeof(*identity)));
}

bool live_identity_get(const struct live_identity *live, struct ring_identity *ret_identity)
{
	char bytes[sizeof(*ret_identity)];

	for (int tries = 0; tries < LIVE_TRIES; tries++) {
		uint64_t checksum = live_load(&live->checksum);
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = live_figure(&live->bytes[i]);
		if (XXH3_64bits(bytes, sizeof(bytes)) == checksum) {
			memcpy(ret_identity, bytes, sizeof(bytes));
			return true;
		}
	}
	return false;
}
