/* ring_runs.c: see ring_runs.h. */
#include "core/ring/ring_runs.h"

#include <stdlib.h>

#include <xxhash.h>

/* A checkpoint logs this part of what the log has room for at the most, so that its floor can keep ahead. */
enum { STEP_DIVISOR = 8 };

/* ---- the writer's side */

#define NOWHERE UINT64_MAX

static struct ring_run *run_slot(struct ring *ring, uint64_t i)
{
	return &ring->runs[i % ring->sections.run_capacity];
}

static void publish(struct ring *ring, const struct ring_checkpoint *state)
{
	live_store(&ring->live->run_floor, state->run_floor);
	live_store(&ring->live->run_head, state->run_head);
}

uint64_t ring_runs_step(const struct ring *ring)
{
	return ring->sections.run_capacity / STEP_DIVISOR;
}

/* Where in the run a change is, or would be: from 0. NOWHERE: it belongs to another one. */
static uint64_t place_in_run(const struct ring_run *run, const struct ring_record_header *header)
{
	if (run->commit_lsn != header->commit_lsn || run->operation != header->operation)
		return NOWHERE;
	if (header->operation == OPERATION_MESSAGE)
		return run->first_n == header->n ? ring_header_m(header) - UINT64_C(1) : NOWHERE;
	return run->collection == header->collection ? header->n - run->first_n : NOWHERE;
}

void ring_runs_log_change(struct ring *ring, struct ring_checkpoint *state,
						  const struct ring_record_header *header)
{
	struct ring_run *last = run_slot(ring, state->run_head - 1);
	uint64_t place = state->run_head > state->run_floor ? place_in_run(last, header) : NOWHERE;

	if (header->operation != OPERATION_MESSAGE)
		ring_collection_set_evicted(&ring->collections[header->collection], ring_header_id(header));
	if (place < last->count)
		return; /* evicted again: the process crashed before the checkpoint of the first time was written */
	if (place == last->count && last->count < UINT32_MAX) {
		last->count++;
		return;
	}
	*run_slot(ring, state->run_head) =
		(struct ring_run){.commit_lsn = header->commit_lsn,
						  .first_n = header->n,
						  .count = 1,
						  .collection = ring_header_m(header) > 0 ? 0 : (uint16_t)header->collection,
						  .operation = header->operation};
	state->run_head++;
}

void ring_runs_log_commit(struct ring *ring, const struct ring_checkpoint *state, uint64_t commit_lsn,
						  uint64_t end_lsn)
{
	for (uint64_t i = state->run_head; i > state->run_floor; i--) {
		struct ring_run *run = run_slot(ring, i - 1);
		if (run->commit_lsn != commit_lsn)
			break;
		run->end_distance = (uint32_t)(end_lsn - commit_lsn);
	}
}

void ring_runs_keep_room(struct ring *ring, struct ring_checkpoint *state)
{
	uint64_t end = state->run_head + ring_runs_step(ring), capacity = ring->sections.run_capacity;

	if (end > capacity + state->run_floor)
		state->run_floor = end - capacity;
	publish(ring, state);
}

void ring_runs_take(struct ring *to, struct ring_checkpoint *state, const struct ring *from)
{
	uint64_t floor = from->checkpoint.run_floor, head = from->checkpoint.run_head;
	uint64_t capacity = to->sections.run_capacity - ring_runs_step(to);
	uint64_t first = head - floor > capacity ? head - capacity : floor;
	uint64_t begin = first > 0; /* a log that begins at 0 says that nothing is missing from it */

	for (uint64_t i = first; i < head; i++)
		*run_slot(to, begin + i - first) = ring_run_at(from, i);
	state->run_floor = begin;
	state->run_head = begin + head - first;
	publish(to, state);
}

/* ---- search */

/* The first entry in [floor, head) whose last change comes after the cursor; `head` if there is none. */
static uint64_t first_run_after(const struct ring *ring, uint64_t floor, uint64_t head, struct cursor cursor)
{
	while (floor < head) {
		uint64_t middle = floor + (head - floor) / 2;
		struct ring_run run = ring_run_at(ring, middle);
		if (cursor_compare(ring_run_last_id(&run), cursor) <= 0)
			floor = middle + 1;
		else
			head = middle;
	}
	return floor;
}

/* The number of changes, or messages, of a run that lie at or before a cursor. */
static uint64_t run_count_until(const struct ring_run *run, struct cursor cursor)
{
	struct cursor first = {.lsn = run->commit_lsn, .n = run->first_n}, last = ring_run_last_id(run);

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

struct ring_run ring_runs_evicted_before(const struct ring *ring, uint64_t lsn)
{
	uint64_t floor = live_load(&ring->live->run_floor), head = live_load(&ring->live->run_head);
	uint64_t after = first_run_after(ring, floor, head, (struct cursor){.lsn = lsn});
	return after == floor ? (struct ring_run){0} : ring_run_at(ring, after - 1);
}

bool ring_runs_evicted_unknown(const struct ring *ring, uint64_t commit_lsn)
{
	uint64_t floor = live_load(&ring->live->run_floor), head = live_load(&ring->live->run_head);
	uint64_t run = first_run_after(ring, floor, head, (struct cursor){.lsn = commit_lsn});
	return (floor == 0 || run > floor) && (run == head || ring_run_at(ring, run).commit_lsn != commit_lsn);
}

bool ring_runs_evicted_after(const struct ring *ring, struct cursor cursor)
{
	uint64_t head = live_load(&ring->live->run_head);
	if (head == live_load(&ring->live->run_floor))
		return false;
	struct ring_run last = ring_run_at(ring, head - 1);
	return cursor_compare(cursor, ring_run_last_id(&last)) < 0;
}

/* ---- gaps */

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
		struct ring_run run = ring_run_at(ring, first);
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

/* Whether there may be any: where the log does not reach back, the collections still tell. */
static bool may_be_evicted(const struct ring *ring, const struct filter *filter, struct cursor after)
{
	bool any = filter->all_collections || (filter->operations & OPERATIONS_MESSAGE) != 0;

	for (unsigned i = 0; i < filter->collection_count && !any; i++) {
		struct cursor last = ring_collection_evicted(&ring->collections[filter->collections[i]]);
		any = cursor_compare(last, after) > 0;
	}
	return any;
}

bool ring_runs_count(const struct ring *ring, const struct filter *filter, struct cursor after,
					 struct cursor until, struct gap_counter *counter, uint64_t *ret_count)
{
	uint64_t floor = live_load(&ring->live->run_floor), head = live_load(&ring->live->run_head);
	uint64_t first = first_run_after(ring, floor, head, after);
	uint64_t last = first_run_after(ring, first, head, until);

	if (last == head && last > first)
		last--; /* it may still grow, and so is none of those whose sums are kept */
	/* of the first and the last only a part may lie in between */
	struct ring_run begin = ring_run_at(ring, first), end = ring_run_at(ring, last);
	uint64_t count = sum_runs(ring, filter, first, last, counter);
	if (first < last && run_matches(filter, &begin))
		count -= run_count_until(&begin, after);
	if (last < head && run_matches(filter, &end))
		count += run_count_between(&end, after, until);
	/* it has forgotten nothing yet, or knows of something at or before the cursor */
	bool reaches_back = floor == 0 || first > floor || run_count_until(&begin, after) > 0;
	atomic_thread_fence(memory_order_acquire);
	if (live_figure(&ring->live->run_floor) != floor)
		return false;
	*ret_count = count == 0 && !reaches_back && may_be_evicted(ring, filter, after) ? 1 : count;
	return true;
}
