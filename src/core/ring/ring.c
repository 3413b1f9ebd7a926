/* ring.c: the readers' side of the ring. See ring.h, and ring_layout.h for the rules. */
#include "core/ring/ring.h"

#include <stdlib.h>
#include <xxhash.h>

#include "core/ring/ring_layout.h"

/* How often a search starts anew because the writer passed it; then the answer is given from what is there.
 */
enum { RING_TRIES = 100 };

/* Step (c) of the reader in ring_layout.h: what was copied from `position` on is whole. */
static bool still_retained(const struct ring *ring, uint64_t position)
{
	atomic_thread_fence(memory_order_acquire);
	return live_figure(&ring->live->tail) <= position;
}

const struct ring_live *ring_live(const struct ring *ring)
{
	return ring->live;
}

uint64_t ring_capacity(const struct ring *ring)
{
	return ring->sections.capacity;
}

struct ring_identity ring_identity(const struct ring *ring)
{
	struct ring_identity identity;
	return live_identity_get(&ring->live->identity, &identity) ? identity : ring->checkpoint.identity;
}

/* The word is the number of the kernel's run: after a crash of the machine the live area can hold anything.
 */
bool ring_is_damaged(const struct ring *ring)
{
	uint64_t damaged = live_load(&ring->live->damaged);
	return damaged != 0 && damaged == live_load(&ring->live->boot);
}

void ring_set_damaged(const struct ring *ring)
{
	if (ring->access != RING_ACCESS_READ)
		live_store(&ring->live->damaged, live_load(&ring->live->boot));
}

uint64_t ring_head(const struct ring *ring)
{
	return live_load(&ring->live->head);
}

uint64_t ring_tail(const struct ring *ring)
{
	return live_load(&ring->live->tail);
}

uint64_t ring_retained(const struct ring *ring)
{
	/* in this order tail is not ahead of head, except after a crash of the machine */
	uint64_t tail = ring_tail(ring);
	uint64_t head = ring_head(ring);
	return head > tail ? head - tail : 0;
}

uint64_t ring_record_checksum(const char *record, uint32_t size, uint32_t epoch, uint64_t position)
{
	size_t skipped = offsetof(struct ring_record_header, commit_lsn);
	return XXH3_64bits_withSeed(record + skipped, size - skipped, position ^ (uint64_t)epoch << 32);
}

bool ring_header_plausible(const struct ring *ring, const struct ring_record_header *header)
{
	return header->size >= sizeof(*header) && header->size % RING_ALIGN == 0 &&
		   header->size <= ring->sections.capacity && header->body_size <= header->size - sizeof(*header) &&
		   header->size - sizeof(*header) - header->body_size < RING_ALIGN &&
		   (header->kind == RECORD_CHANGE ||
			(header->kind == RECORD_COMMIT && header->body_size == sizeof(uint64_t))) &&
		   header->operation < OPERATION_COUNT;
}

static void record_from_header(const struct ring_record_header *header, uint64_t position, uint64_t end_lsn,
							   struct record *ret_record)
{
	*ret_record = (struct record){
		.position = position,
		.next = position + header->size,
		.kind = (enum record_kind)header->kind,
		.change = ring_header_change(header),
		.end_lsn = end_lsn,
		.body_size = header->body_size,
		.epoch = header->epoch,
		.checksum = header->checksum,
	};
}

/*
 * Looks whether a record that was read is still there, and was all the time. To be called behind the reading:
 * where the file has been cut or written over, what was read may be zeros or anything.
 */
static enum ring_read verify(const struct ring *ring, const struct record *record)
{
	const char *at = ring_at(ring, record->position);
	uint32_t size = (uint32_t)(record->next - record->position);
	bool whole = ring_record_checksum(at, size, record->epoch, record->position) == record->checksum;

	if (!still_retained(ring, record->position))
		return RING_READ_OVERRUN;
	if (!whole)
		ring_set_damaged(ring);
	return whole ? RING_READ_OK : RING_READ_DAMAGED;
}

enum ring_read ring_read(const struct ring *ring, uint64_t position, struct record *ret_record)
{
	struct ring_record_header header;
	uint64_t end_lsn;

	if (position >= ring_head(ring))
		return RING_READ_END;
	const char *at = ring_at(ring, position);
	memcpy(&header, at, sizeof(header));
	memcpy(&end_lsn, at + sizeof(header),
		   sizeof(end_lsn)); /* of a commit; the double mapping always has 8 bytes more */
	if (!still_retained(ring, position))
		return RING_READ_OVERRUN;
	if (!ring_header_plausible(ring, &header)) {
		ring_set_damaged(ring);
		return RING_READ_DAMAGED;
	}
	record_from_header(&header, position, header.kind == RECORD_COMMIT ? end_lsn : 0, ret_record);
	return header.kind == RECORD_COMMIT ? verify(ring, ret_record) : RING_READ_OK;
}

enum ring_read ring_read_body(const struct ring *ring, const struct record *record, struct buffer *out)
{
	const char *at = ring_at(ring, record->position) + sizeof(struct ring_record_header);
	size_t before = out->size;

	buffer_append(out, at, record->body_size);
	enum ring_read result = verify(ring, record);
	if (result != RING_READ_OK)
		out->size = before;
	return result;
}

static struct cursor record_id(const struct record *record)
{
	struct cursor id = record->change.id;
	if (record->kind == RECORD_COMMIT)
		id.n = UINT64_MAX;
	return id;
}

/*
 * ---- search by the index
 *
 * All searches ask: which is the first record that is not 'before' what is looked for? Records before it form
 * a prefix of the ring.
 */
struct target {
	bool by_time;
	struct cursor cursor; /* the first record with an id greater than this */
	int64_t since_us;     /* by_time: the first change committed at or after this */
};

static bool entry_is_before(const struct ring_index_entry *entry, const struct target *target)
{
	if (target->by_time)
		return entry->max_us < target->since_us;
	return cursor_compare(entry->id, target->cursor) <= 0;
}

static bool record_is_before(const struct record *record, const struct target *target)
{
	if (target->by_time)
		return record->kind == RECORD_COMMIT || record->change.commit_us < target->since_us;
	return cursor_compare(record_id(record), target->cursor) <= 0;
}

/*
 * A record from which to scan: the last indexed one that is before the target, else the oldest there is. So
 * the scan passes at least one record before it finds, unless what it finds is the oldest.
 */
static uint64_t scan_start(const struct ring *ring, const struct target *target, uint64_t tail, uint64_t head)
{
	uint64_t low = tail / RING_INDEX_GRAIN, high = head / RING_INDEX_GRAIN + 1;
	uint64_t start = tail;

	/* invariant: the entry of `low` is before the target (or is tail's own block), that of `high` is not */
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;
		struct ring_index_entry entry = ring->index[middle % ring->sections.index_capacity];
		bool indexed = entry.position >= middle * RING_INDEX_GRAIN && entry.position < head;

		if (!still_retained(ring, entry.position) && indexed)
			return tail; /* the caller's scan finds out and starts anew */
		if (indexed && entry_is_before(&entry, target)) {
			low = middle;
			start = entry.position;
		} else {
			high = middle;
		}
	}
	return start;
}

struct found {
	uint64_t position; /* of the first record that is not before the target, or head */
	bool at_head;
	struct record first; /* that record, unless at_head */
	bool has_previous;
	struct record previous; /* the record before it, if the scan passed one */
};

/* Scans from the index to the target. Returns false when the writer passed the scan. */
static bool scan(const struct ring *ring, const struct target *target, uint64_t tail, struct found *found)
{
	uint64_t head = ring_head(ring);
	struct record record;

	*found = (struct found){.position = scan_start(ring, target, tail, head)};
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

static struct found search(const struct ring *ring, const struct target *target)
{
	struct found found;
	for (int tries = 0; tries < RING_TRIES; tries++) {
		if (scan(ring, target, ring_tail(ring), &found))
			return found;
	}
	/* the writer laps us again and again: everything looked for is older than what there is */
	found = (struct found){.position = ring_tail(ring), .at_head = true};
	return found;
}

/*
 * ---- the run log
 */
static struct cursor run_last_id(const struct ring_run *run)
{
	if (run->operation == OPERATION_MESSAGE)
		return (struct cursor){run->commit_lsn, run->first_n, run->count};
	return (struct cursor){.lsn = run->commit_lsn, .n = run->first_n + run->count - 1};
}

static struct ring_run run_at(const struct ring *ring, uint64_t i)
{
	return ring->runs[i % ring->sections.run_capacity];
}

/* The first entry in [floor, head) whose last change comes after the cursor; `head` if there is none. */
static uint64_t first_run_after(const struct ring *ring, uint64_t floor, uint64_t head, struct cursor cursor)
{
	while (floor < head) {
		uint64_t middle = floor + (head - floor) / 2;
		struct ring_run run = run_at(ring, middle);
		if (cursor_compare(run_last_id(&run), cursor) <= 0)
			floor = middle + 1;
		else
			head = middle;
	}
	return floor;
}

/* The number of changes, or messages, of a run that lie at or before a cursor. */
static uint64_t run_count_until(const struct ring_run *run, struct cursor cursor)
{
	struct cursor first = {.lsn = run->commit_lsn, .n = run->first_n}, last = run_last_id(run);

	if (cursor_compare(cursor, last) >= 0)
		return run->count;
	if (cursor_compare(cursor, first) < 0)
		return 0;
	return run->operation == OPERATION_MESSAGE ? cursor.m : cursor.n - run->first_n + 1;
}

/* Those that lie after one cursor, and at or before another. */
static uint64_t run_count_between(const struct ring_run *run, struct cursor after, struct cursor until)
{
	uint64_t to = run_count_until(run, until), from = run_count_until(run, after);
	return to > from ? to - from : 0;
}

static bool is_among(const uint32_t *sorted, unsigned count, uint32_t wanted)
{
	unsigned low = 0, high = count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		if (sorted[middle] < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && sorted[low] == wanted;
}

bool filter_matches(const struct filter *filter, const struct change *change)
{
	if ((filter->operations & 1u << change->operation) == 0)
		return false;
	if (filter->all_collections || change->operation == OPERATION_MESSAGE)
		return true;
	return is_among(filter->collections, filter->collection_count, change->collection);
}

enum { GAP_BLOCKS = 1024 };

struct gap_block {
	uint64_t number; /* in the log, from 1; 0: not counted */
	uint64_t count;
};

/* What one filter wants of the blocks of the log. Only the log's last entry still grows; one that is made
 * again after a crash becomes the same. */
struct gap_blocks {
	uint64_t history;
	uint64_t filter; /* its hash */
	struct gap_block blocks[GAP_BLOCKS];
};

void gap_counter_free(struct gap_counter *counter)
{
	for (int i = 0; i < GAP_FILTERS; i++)
		free(counter->filters[i]);
}

static uint64_t filter_hash(const struct filter *filter)
{
	uint64_t seed = filter->operations | (uint64_t)filter->all_collections << 32;
	return XXH3_64bits_withSeed(filter->collections,
								filter->collection_count * sizeof(filter->collections[0]), seed);
}

/* What is kept for a filter; nothing yet, in place of another, if it is new. NULL out of memory. */
static struct gap_blocks *blocks_of(const struct ring *ring, const struct filter *filter,
									struct gap_counter *counter)
{
	uint64_t history = live_load(&ring->live->history), hash = filter_hash(filter);

	for (int i = 0; i < GAP_FILTERS; i++) {
		struct gap_blocks *kept = counter->filters[i];
		if (kept != NULL && kept->history == history && kept->filter == hash)
			return kept;
	}
	struct gap_blocks **slot = &counter->filters[counter->next++ % GAP_FILTERS];
	free(*slot);
	*slot = calloc(1, sizeof(**slot));
	if (*slot != NULL) {
		(*slot)->history = history;
		(*slot)->filter = hash;
	}
	return *slot;
}

static bool run_matches(const struct filter *filter, const struct ring_run *run)
{
	struct change change = {.collection = run->collection, .operation = (enum operation)run->operation};
	return run->operation < OPERATION_COUNT && filter_matches(filter, &change);
}

/* Sums up the entries [first, end). */
static uint64_t walk_runs(const struct ring *ring, const struct filter *filter, uint64_t first, uint64_t end,
						  struct gap_counter *counter)
{
	uint64_t count = 0;

	counter->walked += (end - first) * sizeof(struct ring_run);
	for (; first < end; first++) {
		struct ring_run run = run_at(ring, first);
		if (run_matches(filter, &run))
			count += run.count;
	}
	return count;
}

/* The same, with what is kept of whole blocks. The log's last entry is not among them. */
static uint64_t sum_runs(const struct ring *ring, const struct filter *filter, uint64_t first, uint64_t end,
						 struct gap_counter *counter)
{
	uint64_t size = ring->sections.run_capacity / GAP_BLOCKS, count = 0;
	struct gap_blocks *kept = end - first > 2 * size ? blocks_of(ring, filter, counter) : NULL;

	if (kept == NULL)
		return walk_runs(ring, filter, first, end, counter);
	for (uint64_t next; first < end; first = next) {
		uint64_t number = first / size + 1;
		struct gap_block *block = &kept->blocks[number % GAP_BLOCKS];
		next = number * size;
		if (next > end || next - first < size) {
			next = next > end ? end : next;
			count += walk_runs(ring, filter, first, next, counter);
			continue;
		}
		if (block->number != number)
			*block = (struct gap_block){number, walk_runs(ring, filter, first, next, counter)};
		count += block->count;
	}
	return count;
}

/* Sums up the log between two cursors. Returns false if the writer overwrote what was read. */
static bool count_runs(const struct ring *ring, const struct filter *filter, struct cursor after,
					   struct cursor until, struct gap_counter *counter, uint64_t *ret_count)
{
	uint64_t floor = live_load(&ring->live->run_floor), head = live_load(&ring->live->run_head);
	uint64_t first = first_run_after(ring, floor, head, after);
	uint64_t last = first_run_after(ring, first, head, until);

	if (last == head && last > first)
		last--;
	/* the first and the last may lie in between in part only */
	struct ring_run begin = run_at(ring, first), end = run_at(ring, last);
	uint64_t count = sum_runs(ring, filter, first, last, counter);
	if (first < last && run_matches(filter, &begin))
		count -= run_count_until(&begin, after);
	if (last < head && run_matches(filter, &end))
		count += run_count_between(&end, after, until);
	atomic_thread_fence(memory_order_acquire);
	if (live_figure(&ring->live->run_floor) != floor)
		return false;
	*ret_count = count;
	return true;
}

uint64_t ring_skip_evicted(const struct ring *ring, const struct filter *filter, struct place *place,
						   struct gap_counter *counter)
{
	struct cursor after = place->cursor;
	uint64_t count = 0;

	for (int tries = 0; tries < RING_TRIES; tries++) {
		struct place oldest = ring_oldest(ring);
		*place = oldest;
		if (count_runs(ring, filter, after, oldest.cursor, counter, &count))
			break;
	}
	return count;
}

/* The cursor behind what lies before the oldest record. If that is of the same transaction, it was evicted
 * last. */
static struct cursor cursor_before(const struct ring *ring, const struct record *oldest)
{
	struct cursor id = oldest->change.id, before = {.lsn = id.lsn, .n = id.n};
	uint64_t head = live_load(&ring->live->run_head);

	if (head > live_load(&ring->live->run_floor)) {
		struct ring_run run = run_at(ring, head - 1);
		struct cursor last = run_last_id(&run);
		if (last.lsn == id.lsn && cursor_compare(last, record_id(oldest)) < 0)
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

/*
 * ---- where to start
 */

/* The last evicted run of a transaction with a commit_lsn below `lsn`; all 0 if there is none. */
static struct ring_run evicted_before(const struct ring *ring, uint64_t lsn)
{
	uint64_t floor = live_load(&ring->live->run_floor), head = live_load(&ring->live->run_head);
	uint64_t after = first_run_after(ring, floor, head, (struct cursor){.lsn = lsn});
	return after == floor ? (struct ring_run){0} : run_at(ring, after - 1);
}

/* Whether the log of evicted changes can tell that no transaction has this commit_lsn: it reaches back to it,
 * without it. */
static bool evicted_unknown(const struct ring *ring, uint64_t commit_lsn)
{
	uint64_t floor = live_load(&ring->live->run_floor), head = live_load(&ring->live->run_head);
	uint64_t run = first_run_after(ring, floor, head, (struct cursor){.lsn = commit_lsn});
	return (floor == 0 || run > floor) && (run == head || run_at(ring, run).commit_lsn != commit_lsn);
}

/* Whether changes after the cursor, of any collection, were evicted. */
static bool evicted_after(const struct ring *ring, struct cursor cursor)
{
	uint64_t head = live_load(&ring->live->run_head);
	if (head == live_load(&ring->live->run_floor))
		return false;
	struct ring_run last = run_at(ring, head - 1);
	return cursor_compare(cursor, run_last_id(&last)) < 0;
}

static enum ring_seek seek_event(const struct ring *ring, struct cursor cursor, struct place *ret_place)
{
	uint64_t streamed = live_load(&ring->live->streamed_lsn);
	struct target target = {.cursor = cursor};
	struct found found = search(ring, &target);
	const struct record *previous = found.has_previous ? &found.previous : NULL;

	*ret_place = (struct place){found.position, cursor};
	if (previous == NULL && evicted_after(ring, cursor))
		return evicted_unknown(ring, cursor.lsn) && (found.at_head || found.first.change.id.lsn != cursor.lsn)
				   ? SEEK_FOREIGN
				   : SEEK_EVICTED;
	if (found.at_head && previous != NULL && previous->change.id.lsn == cursor.lsn)
		/* with the transaction still open, a change that we had before a crash may have to come again */
		return previous->kind == RECORD_COMMIT || cursor_compare(previous->change.id, cursor) == 0
				   ? SEEK_FOUND
				   : SEEK_WAIT;
	if (found.at_head)
		return cursor.lsn >= streamed ? SEEK_WAIT : SEEK_FOREIGN;
	if (found.first.change.id.lsn == cursor.lsn ||
		(previous != NULL && previous->change.id.lsn == cursor.lsn))
		return SEEK_FOUND;
	return evicted_unknown(ring, cursor.lsn) ? SEEK_FOREIGN : SEEK_FOUND;
}

/* The transaction that straddles X starts again from its first change: it ends after X. */
static enum ring_seek seek_transaction(const struct ring *ring, uint64_t commit_lsn, struct place *ret_place)
{
	struct target target = {.cursor = {.lsn = commit_lsn}};
	struct found found = search(ring, &target);

	*ret_place = (struct place){found.position, target.cursor};
	return !found.has_previous && evicted_after(ring, target.cursor) ? SEEK_EVICTED : SEEK_FOUND;
}

static enum ring_seek seek_lsn(const struct ring *ring, uint64_t lsn, struct place *ret_place)
{
	uint64_t streamed = live_load(&ring->live->streamed_lsn);
	struct target target = {.cursor = {.lsn = lsn}};
	struct found found = search(ring, &target);
	struct ring_run evicted = found.has_previous ? (struct ring_run){0} : evicted_before(ring, lsn);

	*ret_place = (struct place){found.position, target.cursor};
	if (found.has_previous && found.previous.kind == RECORD_CHANGE)
		return SEEK_WAIT; /* the transaction that is being appended may end after X */
	if (found.has_previous && found.previous.end_lsn > lsn)
		return seek_transaction(ring, found.previous.change.id.lsn, ret_place);
	if (evicted.commit_lsn + evicted.end_distance > lsn)
		return seek_transaction(ring, evicted.commit_lsn, ret_place);
	if (!found.has_previous && evicted_after(ring, target.cursor))
		return SEEK_EVICTED;
	return found.at_head && lsn > streamed ? SEEK_WAIT : SEEK_FOUND;
}

/* The place that a search found; `streamed` was loaded before it began. */
static struct place place_found(const struct found *found, uint64_t streamed)
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
	struct target target = {.cursor = {UINT64_MAX, UINT64_MAX, 0}};
	struct found found = search(ring, &target);

	return place_found(&found, streamed);
}

/* One search only: at head, what is published behind it may be of this time. */
static struct place seek_time(const struct ring *ring, int64_t since_us)
{
	uint64_t streamed = live_load(&ring->live->streamed_lsn);
	struct target target = {.by_time = true, .since_us = since_us};
	struct found found = search(ring, &target);

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

/*
 * ---- collections
 */
uint64_t ring_collection_checksum(const struct ring_collection *collection)
{
	return XXH3_64bits(collection->schema, sizeof(collection->schema) + sizeof(collection->name));
}

uint32_t ring_collection_count(const struct ring *ring)
{
	return live_load(&ring->live->collection_count);
}

static void collection_copy(const struct ring *ring, uint32_t id, struct collection *ret_collection)
{
	const struct ring_collection *entry = &ring->collections[id];
	ret_collection->id = id;
	ret_collection->published = live_figure(&entry->published) != 0;
	ret_collection->changes = live_figure(&entry->changes);
	memcpy(ret_collection->schema, entry->schema, sizeof(entry->schema));
	memcpy(ret_collection->name, entry->name, sizeof(entry->name));
}

bool ring_collection(const struct ring *ring, uint32_t id, struct collection *ret_collection)
{
	if (id >= ring_collection_count(ring))
		return false;
	collection_copy(ring, id, ret_collection);
	return true;
}

bool ring_find_published(const struct ring *ring, struct bytes schema, struct bytes name,
						 struct collection *ret_collection)
{
	uint32_t count = ring_collection_count(ring);
	for (uint32_t id = 0; id < count; id++) {
		const struct ring_collection *entry = &ring->collections[id];
		if (bytes_equal(bytes_of(entry->name), name) && bytes_equal(bytes_of(entry->schema), schema) &&
			live_figure(&entry->published) != 0) {
			collection_copy(ring, id, ret_collection);
			return true;
		}
	}
	return false;
}
