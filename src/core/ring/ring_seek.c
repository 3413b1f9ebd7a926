/* ring_seek.c: where in the ring a reader starts, and where it goes on behind a gap. See ring.h. */
#include "core/ring/ring_index.h"
#include "core/ring/ring_runs.h"

/* How often a gap is counted again because the writer overwrote what was read. */
enum { TRIES = 100 };

/* The cursor of what came before the oldest record. If that is of the same transaction, it is the change that
 * was evicted last. */
static struct cursor cursor_before(const struct ring *ring, const struct record *oldest)
{
	struct cursor id = oldest->change.id, before = {.lsn = id.lsn, .n = id.n};
	uint64_t head = live_load(&ring->live->run_head);

	if (head > live_load(&ring->live->run_floor)) {
		struct ring_run run = ring_run_at(ring, head - 1);
		struct cursor last = ring_run_last_id(&run);
		if (last.lsn == id.lsn && cursor_compare(last, ring_record_id(oldest)) < 0)
			return last;
	}
	if (oldest->kind == RECORD_CHANGE && id.m == 0 && id.n > 0)
		before.n--;
	return before;
}

struct place ring_oldest(const struct ring *ring)
{
	struct place place;
	for (;;) {
		struct record record;
		uint64_t streamed = live_load(&ring->live->streamed_lsn);
		uint64_t tail = ring_tail(ring);
		enum ring_read read = ring_read(ring, tail, &record);

		if (read == RING_READ_OVERRUN && ring_tail(ring) != tail)
			continue;
		place.position = read == RING_READ_DAMAGED ? ring_head(ring) : tail;
		if (read != RING_READ_OK)
			place.cursor = (struct cursor){.lsn = streamed};
		else
			place.cursor = cursor_before(ring, &record);
		return place;
	}
}

static enum ring_seek seek_event(const struct ring *ring, struct cursor cursor, struct place *ret_place)
{
	uint64_t streamed = live_load(&ring->live->streamed_lsn);
	struct ring_target target = {.cursor = cursor};
	struct ring_found found = ring_search(ring, &target);
	const struct record *previous = &found.previous;
	/* whether records of the event's own transaction are retained, behind it and before it */
	bool has_rest = !found.at_head && found.first.change.id.lsn == cursor.lsn;
	bool has_begun = found.has_previous && previous->change.id.lsn == cursor.lsn;

	*ret_place = (struct place){found.position, cursor};
	if (!found.has_previous && ring_runs_evicted_after(ring, cursor))
		return !has_rest && ring_runs_evicted_unknown(ring, cursor.lsn) ? SEEK_FOREIGN : SEEK_EVICTED;
	if (found.at_head && has_begun) {
		/* with the transaction still open, a change that we had before a crash may have to come again */
		bool has_it = previous->kind == RECORD_COMMIT || cursor_compare(previous->change.id, cursor) == 0;
		return has_it ? SEEK_FOUND : SEEK_WAIT;
	}
	if (found.at_head)
		return cursor.lsn >= streamed ? SEEK_WAIT : SEEK_FOREIGN;
	if (has_rest || has_begun)
		return SEEK_FOUND;
	return ring_runs_evicted_unknown(ring, cursor.lsn) ? SEEK_FOREIGN : SEEK_FOUND;
}

/* The transaction that straddles X starts again from its first change: it ends after X. */
static enum ring_seek seek_transaction(const struct ring *ring, uint64_t commit_lsn, struct place *ret_place)
{
	struct ring_target target = {.cursor = {.lsn = commit_lsn}};
	struct ring_found found = ring_search(ring, &target);

	*ret_place = (struct place){found.position, target.cursor};
	return !found.has_previous && ring_runs_evicted_after(ring, target.cursor) ? SEEK_EVICTED : SEEK_FOUND;
}

static enum ring_seek seek_lsn(const struct ring *ring, uint64_t lsn, struct place *ret_place)
{
	uint64_t streamed = live_load(&ring->live->streamed_lsn);
	struct ring_target target = {.cursor = {.lsn = lsn}};
	struct ring_found found = ring_search(ring, &target);
	struct ring_run evicted = found.has_previous ? (struct ring_run){0} : ring_runs_evicted_before(ring, lsn);

	*ret_place = (struct place){found.position, target.cursor};
	if (found.has_previous && found.previous.kind == RECORD_CHANGE)
		return SEEK_WAIT; /* the transaction that is being appended may end after X */
	if (found.has_previous && found.previous.end_lsn > lsn)
		return seek_transaction(ring, found.previous.change.id.lsn, ret_place);
	if (evicted.commit_lsn + evicted.end_distance > lsn)
		return seek_transaction(ring, evicted.commit_lsn, ret_place);
	if (!found.has_previous && ring_runs_evicted_after(ring, target.cursor))
		return SEEK_EVICTED;
	return found.at_head && lsn > streamed ? SEEK_WAIT : SEEK_FOUND;
}

/* The place that a search found; `streamed` was loaded before it began. */
static struct place place_found(const struct ring_found *found, uint64_t streamed)
{
	struct place place = {.position = found->position, .cursor = {.lsn = streamed}};

	if (found->has_previous)
		place_advance(&place, &found->previous);
	if (found->at_head)
		place_follow(&place, streamed);
	return place;
}

static struct place seek_now(const struct ring *ring)
{
	uint64_t streamed = live_load(&ring->live->streamed_lsn);
	struct ring_target target = {.cursor = {.lsn = UINT64_MAX, .n = CURSOR_N_END}};
	struct ring_found found = ring_search(ring, &target);

	return place_found(&found, streamed);
}

/* Searched once only: by the time of a second search, records published meanwhile could belong to this time and
 * be skipped. */
static struct place seek_time(const struct ring *ring, int64_t since_us)
{
	uint64_t streamed = live_load(&ring->live->streamed_lsn);
	struct ring_target target = {.by_time = true, .since_us = since_us};
	struct ring_found found = ring_search(ring, &target);

	return found.has_previous ? place_found(&found, streamed) : ring_oldest(ring);
}

enum ring_seek ring_seek(const struct ring *ring, const struct start *start, struct place *ret_place)
{
	uint64_t history_lsn = live_load(&ring->live->history_lsn);
	bool by_lsn = start->kind == CURSOR_EVENT || start->kind == CURSOR_LSN;

	if (by_lsn && start->at.lsn < history_lsn) {
		*ret_place = ring_oldest(ring);
		return SEEK_FOREIGN;
	}
	switch (start->kind) {
	case CURSOR_NOW:
		*ret_place = seek_now(ring);
		return SEEK_FOUND;
	case CURSOR_EARLIEST:
		*ret_place = ring_oldest(ring);
		return SEEK_FOUND;
	case CURSOR_TIME:
		*ret_place = seek_time(ring, start->since_us);
		return SEEK_FOUND;
	case CURSOR_LSN:
		return seek_lsn(ring, start->at.lsn, ret_place);
	case CURSOR_EVENT:
		break;
	}
	enum ring_seek result = seek_event(ring, start->at, ret_place);
	if (result == SEEK_FOREIGN && start->at.n == 0)
		/* no message has this id: it is an LSN with the 0 that Redis puts behind it */
		return seek_lsn(ring, start->at.lsn, ret_place);
	if (result == SEEK_FOREIGN)
		*ret_place = ring_oldest(ring);
	return result;
}

uint64_t ring_skip_evicted(const struct ring *ring, const struct filter *filter, struct place *place,
						   struct gap_counter *counter)
{
	struct cursor after = place->cursor;
	uint64_t count = 1; /* if the writer is faster each time */

	for (int tries = 0; tries < TRIES; tries++) {
		struct place oldest = ring_oldest(ring);
		*place = oldest;
		if (ring_runs_count(ring, filter, after, oldest.cursor, counter, &count))
			break;
	}
	return count;
}
