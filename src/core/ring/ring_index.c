/* ring_index.c: see ring_index.h. */
#include "core/ring/ring_index.h"

/* How often a search starts again because the writer passed it; then the answer is given from what is there. */
enum { TRIES = 100 };

/* ---- the writer's side */

uint64_t ring_index_enter(struct ring *ring, uint64_t first_block, uint64_t position, struct cursor id,
						  int64_t max_us)
{
	struct ring_index_entry entry = {.position = position, .id = id, .max_us = max_us};
	uint64_t block = position / RING_INDEX_GRAIN;

	for (uint64_t b = first_block; b <= block; b++)
		ring->index[b % ring->sections.index_capacity] = entry;
	return block + 1;
}

uint64_t ring_index_first_missing(const struct ring *ring, uint64_t tail, uint64_t head)
{
	uint64_t block = head / RING_INDEX_GRAIN + 1;
	while (block > tail / RING_INDEX_GRAIN) {
		uint64_t position = ring->index[(block - 1) % ring->sections.index_capacity].position;
		if (position >= (block - 1) * RING_INDEX_GRAIN && position < head)
			break;
		block--;
	}
	return block;
}

void ring_index_forget(struct ring *ring, uint64_t head)
{
	for (uint64_t i = 0; i < ring->sections.index_capacity; i++) {
		if (ring->index[i].position >= head)
			ring->index[i] = (struct ring_index_entry){0};
	}
}

bool ring_index_build(struct ring *ring, uint64_t tail, uint64_t head, uint64_t *ret_block)
{
	uint64_t block = tail / RING_INDEX_GRAIN;
	int64_t max_us = INT64_MIN;

	for (uint64_t position = tail; position < head;) {
		struct ring_record_header header = ring_header_at(ring, position);
		if (!ring_header_plausible(ring, &header) || header.size > head - position)
			return false;
		if (header.commit_us > max_us)
			max_us = header.commit_us;
		block = ring_index_enter(ring, block, position, ring_header_id(&header), max_us);
		position += header.size;
	}
	*ret_block = block;
	return true;
}

/* ---- search */

static bool entry_is_before(const struct ring_index_entry *entry, const struct ring_target *target)
{
	if (target->by_time)
		return entry->max_us < target->since_us;
	return cursor_compare(entry->id, target->cursor) <= 0;
}

static bool record_is_before(const struct record *record, const struct ring_target *target)
{
	if (target->by_time)
		return record->kind == RECORD_COMMIT || record->change.commit_us < target->since_us;
	return cursor_compare(ring_record_id(record), target->cursor) <= 0;
}

/*
 * A record from which to scan: the last indexed one that is before the target, else the oldest there is. So
 * the scan passes at least one record before it finds, unless what it finds is the oldest.
 */
static uint64_t scan_start(const struct ring *ring, const struct ring_target *target, uint64_t tail,
						   uint64_t head)
{
	uint64_t low = tail / RING_INDEX_GRAIN, high = head / RING_INDEX_GRAIN + 1;
	uint64_t start = tail;

	/* invariant: the entry of `low` is before the target (or is tail's own block), that of `high` is not */
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;
		struct ring_index_entry entry = ring->index[middle % ring->sections.index_capacity];
		bool indexed = entry.position >= middle * RING_INDEX_GRAIN && entry.position < head;

		if (!ring_still_retained(ring, entry.position) && indexed)
			return tail; /* the caller's scan finds out and starts again */
		if (indexed && entry_is_before(&entry, target)) {
			low = middle;
			start = entry.position;
		} else {
			high = middle;
		}
	}
	return start;
}

/* Scans from the index to the target. Returns false when the writer passed the scan. */
static bool scan(const struct ring *ring, const struct ring_target *target, uint64_t tail,
				 struct ring_found *found)
{
	uint64_t head = ring_head(ring);
	struct record record;

	*found = (struct ring_found){.position = scan_start(ring, target, tail, head)};
	while (found->position < head) {
		if (ring_read(ring, found->position, &record) != RING_READ_OK)
			return false;
		if (!record_is_before(&record, target)) {
			found->first = record;
			return true;
		}
		found->previous = record;
		found->has_previous = true;
		found->position = record.next;
	}
	found->at_head = true;
	return true;
}

struct ring_found ring_search(const struct ring *ring, const struct ring_target *target)
{
	struct ring_found found;
	for (int tries = 0; tries < TRIES; tries++) {
		if (scan(ring, target, ring_tail(ring), &found))
			return found;
	}
	/* the writer laps us again and again: everything looked for is older than what there is */
	found = (struct ring_found){.position = ring_tail(ring), .at_head = true};
	return found;
}
