/* live.c: see live.h. */
#include "core/ring/live.h"

#include <string.h>

#include "core/clock.h"

const char *feed_state_name(uint32_t state)
{
	static const char *const names[] = {
		[FEED_STOPPED] = "stopped",     [FEED_CONNECTING] = "connecting", [FEED_PREPARING] = "preparing",
		[FEED_STREAMING] = "streaming", [FEED_RETRYING] = "retrying",
	};
	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

/* How much WAL the server has behind an LSN, 0 being none. */
static bool wal_behind(const struct ring_live *live, uint64_t lsn, uint64_t *ret_bytes)
{
	int64_t until = atomic_load_explicit(&live->server_lsn_until_us, memory_order_acquire);
	uint64_t server_lsn = atomic_load_explicit(&live->server_lsn, memory_order_relaxed);

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

/* The length of text, cut to what fits without splitting a UTF-8 character. */
static size_t cut_length(const char *text)
{
	size_t length = strlen(text);
	if (length < LIVE_MESSAGE_SIZE)
		return length;
	length = LIVE_MESSAGE_SIZE - 1;
	while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
		length--;
	return length;
}

void live_message_set(struct live_message *message, const char *text)
{
	size_t length = cut_length(text);
	uint32_t version = atomic_load_explicit(&message->version, memory_order_relaxed) | 1;

	/* a writer that died inside left it odd: begin anew from there */
	atomic_store_explicit(&message->version, version, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	for (size_t i = 0; i < length; i++)
		atomic_store_explicit(&message->text[i], text[i], memory_order_relaxed);
	atomic_store_explicit(&message->text[length], '\0', memory_order_relaxed);
	atomic_store_explicit(&message->version, version + 1, memory_order_release);
}

void live_message_get(const struct live_message *message, char ret_text[LIVE_MESSAGE_SIZE])
{
	for (int tries = 0; tries < 1000; tries++) {
		uint32_t before = atomic_load_explicit(&message->version, memory_order_acquire);
		for (size_t i = 0; i < LIVE_MESSAGE_SIZE; i++)
			ret_text[i] = atomic_load_explicit(&message->text[i], memory_order_relaxed);
		ret_text[LIVE_MESSAGE_SIZE - 1] = '\0';
		atomic_thread_fence(memory_order_acquire);
		uint32_t after = atomic_load_explicit(&message->version, memory_order_relaxed);
		if (before == after && (before & 1) == 0)
			return;
	}
}
