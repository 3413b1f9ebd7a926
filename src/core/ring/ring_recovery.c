/* ring_recovery.c: see ring_recovery.h. */
#include "core/ring/ring_recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <xxhash.h>

#include "core/clock.h"
#include "core/ring/ring_index.h"

/* A number that is another after each start of the kernel; 0 if it cannot be had: then nothing is trusted. */
static uint64_t boot_number(void)
{
	char text[64];
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t size = read(fd, text, sizeof(text));
	close(fd);
	return size > 0 ? XXH3_64bits(text, (size_t)size) | 1 : 0;
}

static uint32_t count_collections(const struct ring *ring)
{
	uint32_t count = 0;
	while (count < ring->sections.collection_capacity &&
		   ring->collections[count].checksum == ring_collection_checksum(&ring->collections[count]))
		count++;
	return count;
}

/* The record at the end of what is known, if it is whole and the next one in order. */
static bool record_continues(const struct ring *ring, const struct ring_checkpoint *state,
							 struct ring_record_header *ret_header)
{
	uint64_t room = state->tail + state->capacity - state->head;

	return ring_record_is_whole(ring, state->head, room, state->collection_count, ret_header) &&
		   ret_header->epoch == (uint32_t)state->epoch &&
		   cursor_compare(ring_header_id(ret_header), state->last) > 0;
}

/* Goes on from the checkpoint, over all records that were completed after it. Returns the first block not
 * indexed. */
static uint64_t replay(struct ring *ring, struct ring_checkpoint *state, uint64_t block)
{
	struct ring_record_header header;

	while (record_continues(ring, state, &header)) {
		if (header.commit_us > state->max_us)
			state->max_us = header.commit_us;
		block = ring_index_enter(ring, block, state->head, ring_header_id(&header), state->max_us);
		if (header.kind == RECORD_COMMIT)
			state->streamed_lsn = ring_end_lsn_at(ring, state->head);
		state->last = ring_header_id(&header);
		state->head += header.size;
	}
	return block;
}

void ring_publish_state(struct ring *ring, const struct ring_checkpoint *state)
{
	struct ring_live *live = ring->live;

	if (live_load(&live->history) != state->history)
		live_store(&live->history, 0);
	live_store(&live->run_floor, state->run_floor);
	live_store(&live->run_head, state->run_head);
	live_store(&live->collection_count, state->collection_count);
	live_store(&live->history_lsn, state->history_lsn);
	live_store(&live->tail, state->tail);
	live_store(&live->head, state->head);
	live_store(&live->streamed_lsn, state->streamed_lsn);
	live_store(&live->durable_lsn, state->streamed_lsn);
	live_identity_set(&live->identity, &state->identity);
	live_store(&live->history, state->history);
}

bool ring_is_of_this_boot(const struct ring *ring)
{
	uint64_t boot = boot_number();
	return boot != 0 && live_figure(&ring->live->boot) == boot;
}

static void touch(void *from, uint64_t size)
{
	char *page = (char *)((uintptr_t)from / 4096 * 4096), *end = (char *)from + size;

	for (; page < end; page += 4096) {
		volatile char *byte = page;
		*byte = *byte;
	}
}

/* Entries [first, end) of a table that is used over and over. */
static void touch_entries(void *table, size_t entry_size, uint64_t capacity, uint64_t first, uint64_t end)
{
	uint64_t size;

	if (end > first + capacity)
		end = first + capacity;
	for (; first < end; first += size) {
		uint64_t at = first % capacity;
		size = capacity - at < end - first ? capacity - at : end - first;
		touch((char *)table + at * entry_size, size * entry_size);
	}
}

void ring_dirty_again(struct ring *ring, const struct ring_checkpoint *durable, uint64_t head,
					  uint64_t run_head)
{
	const struct ring_sections *s = &ring->sections;
	uint64_t run = durable->run_head;

	/* its last transaction may still have grown, and the end of that one was entered into all of its runs */
	while (run > durable->run_floor && ring->runs[(run - 1) % s->run_capacity].commit_lsn ==
										   ring->runs[(durable->run_head - 1) % s->run_capacity].commit_lsn)
		run--;
	if (run > run_head)
		run = 0; /* the log of a new history */
	touch_entries(ring->runs, sizeof(*ring->runs), s->run_capacity, run, run_head);
	touch_entries(ring->index, sizeof(*ring->index), s->index_capacity, durable->head / RING_INDEX_GRAIN,
				  head / RING_INDEX_GRAIN + 1);
	touch(ring->collections, s->index_offset - s->collections_offset);
	touch(ring->data + durable->head % s->capacity, head - durable->head);
}

int ring_recover(struct ring *ring)
{
	struct ring_checkpoint state = ring->checkpoint;
	uint64_t boot = boot_number();
	uint64_t block = 0;

	/* collections may have been added since the checkpoint; none that it counts can be missing */
	state.collection_count = count_collections(ring);
	bool whole = state.collection_count >= ring->checkpoint.collection_count;
	if (ring_is_of_this_boot(ring))
		block = ring_index_first_missing(ring, state.tail, state.head);
	else
		whole = whole && ring_index_build(ring, state.tail, state.head, &block);
	if (!whole) {
		live_figure_set(&ring->live->boot, boot);
		ring_set_damaged(ring);
		return EUCLEAN;
	}
	ring->index_block = replay(ring, &state, block);
	ring_index_forget(ring, state.head);
	int64_t now = clock_realtime_us();
	state.epoch = XXH3_64bits_withSeed(&now, sizeof(now), state.epoch);
	state.sequence++;
	/* first what the last process left in the page cache, for the checkpoint promises it; dirtied, because a
	 * sync that failed in that process has left its pages clean */
	ring_dirty_again(ring, &ring->checkpoint, state.head, state.run_head);
	if (fdatasync(ring->fd) != 0)
		return errno;
	int error = ring_checkpoint_write(ring->fd, &state);
	if (error != 0)
		return error;
	ring->checkpoint = state;
	ring_publish_state(ring, &state);
	live_figure_set(&ring->live->boot, boot);
	return 0;
}
