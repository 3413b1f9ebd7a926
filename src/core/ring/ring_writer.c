/* ring_writer.c: the feed's side of the ring. See ring_writer.h, and ring_layout.h for the rules. */
#include "core/ring/ring_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <xxhash.h>

#include "core/clock.h"
#include "core/ring/ring_index.h"
#include "core/ring/ring_names.h"
#include "core/ring/ring_recovery.h"
#include "core/ring/ring_runs.h"

/* A checkpoint makes room for this part of the capacity ahead of need: less would stall the writer, more is
 * history lost. */
enum { ROOM_DIVISOR = 16, OVERSIZE_DIVISOR = 4 };

/* The size of a record has 32 bits. From a ring of 16 GB on a quarter of it is more, and a body can be as large:
 * larger than the row that it is made of, because each composite in it repeats the names of its fields. */
#define RECORD_SIZE_MAX (UINT32_MAX / RING_ALIGN * RING_ALIGN)

/* Records are gathered in a stage of this size and written together. */
enum { STAGE_SIZE = 128 * 1024 };

struct ring_writer {
	struct ring *ring;
	struct ring_checkpoint state;   /* as it is now; `head` may be ahead of what readers see */
	struct ring_checkpoint pending; /* what the checkpoint under way writes */
	struct ring_checkpoint durable; /* what the last one wrote: its tail + capacity is the end of the room */
	uint64_t index_block;           /* the first block that is not indexed yet */
	uint64_t wanted;                /* bytes that an append is waiting for */
	uint64_t staged_news;           /* of what was appended, see ring_writer_news() */
	uint64_t news;                  /* of what was published */
	bool published;                 /* and that something was */
	uint64_t written; /* the file has all records before it; `stage` has those from there to head */
	int error;        /* errno of the last write if it failed, else 0 */
	char stage[STAGE_SIZE];
};

struct ring_writer *ring_writer_open(struct ring *ring)
{
	struct ring_writer *writer = calloc(1, sizeof(*writer));
	if (writer == NULL)
		return NULL;
	writer->ring = ring;
	writer->state = ring->checkpoint;
	writer->durable = ring->checkpoint;
	writer->index_block = ring->index_block;
	writer->written = writer->state.head;
	return writer;
}

void ring_writer_close(struct ring_writer *writer)
{
	free(writer);
}

struct ring_identity ring_writer_identity(const struct ring_writer *writer)
{
	return writer->state.identity;
}

uint64_t ring_writer_streamed_lsn(const struct ring_writer *writer)
{
	return writer->state.streamed_lsn;
}

struct cursor ring_writer_last(const struct ring_writer *writer)
{
	return writer->state.last;
}

uint64_t ring_writer_inside(const struct ring_writer *writer)
{
	struct cursor last = writer->state.last;
	return last.n == CURSOR_N_END ? 0 : last.lsn;
}

uint64_t ring_writer_unsynced(const struct ring_writer *writer)
{
	return writer->state.head - writer->durable.head;
}

int ring_writer_error(const struct ring_writer *writer)
{
	return writer->error;
}

static uint64_t new_history_number(uint64_t previous)
{
	uint64_t number = (uint64_t)clock_realtime_us();
	return number > previous ? number : previous + 1;
}

void ring_writer_begin_history(struct ring_writer *writer, const struct ring_identity *identity,
							   uint64_t history_lsn)
{
	struct ring_checkpoint *state = &writer->state;

	state->identity = *identity;
	state->history = new_history_number(state->history);
	/* with the old epoch recovery would take these records, which follow those of the last checkpoint, for a
	 * continuation of the old history */
	state->epoch = XXH3_64bits_withSeed(&state->history, sizeof(state->history), state->epoch);
	state->history_lsn = history_lsn;
	state->tail = state->head;
	state->run_floor = state->run_head = 0;
	state->streamed_lsn = history_lsn;
	state->last = (struct cursor){.n = CURSOR_N_END};
	state->max_us = INT64_MIN;
	for (uint32_t id = 0; id < state->collection_count; id++) {
		ring_writer_set_published(writer, id, false);
		ring_collection_set_evicted(&writer->ring->collections[id], (struct cursor){0});
	}
	ring_publish_state(writer->ring, state);
}

/* ---- appending */

/* Writes what is staged to the file. Returns false, and goes on from there the next time, if that fails. */
static bool write_stage(struct ring_writer *writer)
{
	const struct ring_sections *sections = &writer->ring->sections;
	const char *from = writer->stage;
	uint64_t head = writer->state.head;

	while (writer->written < head) {
		uint64_t offset = writer->written % sections->capacity, size = head - writer->written;
		if (size > sections->capacity - offset)
			size = sections->capacity - offset;
		ssize_t done = pwrite(writer->ring->fd, from, size, (off_t)(sections->data_offset + offset));
		if (done <= 0) {
			writer->error = done < 0 ? errno : EIO;
			memmove(writer->stage, from, head - writer->written);
			return false;
		}
		writer->written += (uint64_t)done;
		from += done;
	}
	writer->error = 0;
	return true;
}

/* Whether a record of this size can be put behind head, in the ring and in the stage. */
static bool has_room(struct ring_writer *writer, uint64_t size)
{
	if (writer->state.head + size > writer->durable.tail + writer->durable.capacity) {
		writer->wanted = size;
		return false;
	}
	return writer->state.head - writer->written + size <= STAGE_SIZE || write_stage(writer);
}

/* Where the record at head is put together: one that is larger than the stage in the file itself. */
static char *record_at_head(struct ring_writer *writer, uint64_t size)
{
	if (size <= STAGE_SIZE)
		return writer->stage + (writer->state.head - writer->written);
	writer->written += size; /* the stage was empty */
	return writer->ring->data + writer->state.head % writer->state.capacity;
}

/* Puts a record behind head; nobody sees it before ring_writer_publish(). */
static void put_record(struct ring_writer *writer, struct ring_record_header *header, struct bytes body)
{
	struct ring_checkpoint *state = &writer->state;
	char *at = record_at_head(writer, header->size);
	header->epoch = (uint32_t)state->epoch;
	size_t padding = header->size - sizeof(*header) - body.size;

	memcpy(at, header, sizeof(*header));
	if (body.size > 0)
		memcpy(at + sizeof(*header), body.data, body.size);
	memset(at + sizeof(*header) + body.size, 0, padding);
	header->checksum = ring_record_checksum(at, header->size, header->epoch, state->head);
	memcpy(at + offsetof(struct ring_record_header, checksum), &header->checksum, sizeof(header->checksum));

	if (header->commit_us > state->max_us)
		state->max_us = header->commit_us;
	state->last = ring_header_id(header);
	if (state->head / RING_INDEX_GRAIN >= writer->index_block)
		writer->index_block =
			ring_index_enter(writer->ring, writer->index_block, state->head, state->last, state->max_us);
	state->head += header->size;
}

static uint32_t record_size(size_t body_size)
{
	return (uint32_t)((sizeof(struct ring_record_header) + body_size + RING_ALIGN - 1) / RING_ALIGN *
					  RING_ALIGN);
}

size_t ring_writer_body_max(const struct ring_writer *writer)
{
	uint64_t record_max = writer->state.capacity / OVERSIZE_DIVISOR;
	if (record_max > RECORD_SIZE_MAX)
		record_max = RECORD_SIZE_MAX;
	return record_max - sizeof(struct ring_record_header);
}

enum ring_write ring_writer_change(struct ring_writer *writer, const struct change *change, struct bytes body)
{
	bool is_message = change->operation == OPERATION_MESSAGE;
	unsigned flags = change->flags;
	if (body.size > ring_writer_body_max(writer)) {
		body = (struct bytes){0};
		flags |= CHANGE_OVERSIZE;
	}
	struct ring_record_header header = {
		.size = record_size(body.size),
		.commit_lsn = change->id.lsn,
		.n = change->id.n,
		.commit_us = change->commit_us,
		.xid = change->xid,
		.collection = is_message ? (uint32_t)change->id.m : change->collection,
		.body_size = (uint32_t)body.size,
		.kind = RECORD_CHANGE,
		.operation = (uint8_t)change->operation,
		.flags = (uint16_t)flags,
	};
	if (!has_room(writer, header.size))
		return RING_WRITE_BLOCKED;
	put_record(writer, &header, body);

	struct ring_live *live = writer->ring->live;
	writer->staged_news |= is_message ? LIVE_WANTS_ALL : live_collection_bit(change->collection);
	if (!is_message) {
		live_figure_add(&live->changes_total, 1);
		live_figure_add(&writer->ring->collections[change->collection].changes, 1);
	}
	live_figure_set(&live->last_commit_us, change->commit_us);
	return RING_WRITE_OK;
}

enum ring_write ring_writer_commit(struct ring_writer *writer, uint64_t commit_lsn, uint64_t end_lsn,
								   int64_t commit_us, uint32_t xid)
{
	struct ring_record_header header = {
		.size = record_size(sizeof(end_lsn)),
		.commit_lsn = commit_lsn,
		.n = writer->state.last.n,
		.commit_us = commit_us,
		.xid = xid,
		.body_size = sizeof(end_lsn),
		.kind = RECORD_COMMIT,
	};
	if (!has_room(writer, header.size))
		return RING_WRITE_BLOCKED;
	put_record(writer, &header, (struct bytes){(const char *)&end_lsn, sizeof(end_lsn)});
	writer->state.streamed_lsn = end_lsn;
	live_figure_add(&writer->ring->live->transactions_total, 1);
	return RING_WRITE_OK;
}

void ring_writer_take_runs(struct ring_writer *writer, const struct ring *from)
{
	ring_runs_take(writer->ring, &writer->state, from);
}

enum ring_write ring_writer_copy(struct ring_writer *writer, const struct ring *from, uint64_t position)
{
	struct ring_record_header header = ring_header_at(from, position);
	struct bytes body = {ring_at(from, position) + sizeof(header), header.body_size};
	struct change change = ring_header_change(&header);

	if (header.kind == RECORD_CHANGE)
		return ring_writer_change(writer, &change, body);
	if (!has_room(writer, header.size))
		return RING_WRITE_BLOCKED;
	put_record(writer, &header, body);
	writer->state.streamed_lsn = ring_end_lsn_at(from, position);
	return RING_WRITE_OK;
}

void ring_writer_progress(struct ring_writer *writer, uint64_t lsn)
{
	if (lsn > writer->state.streamed_lsn)
		writer->state.streamed_lsn = lsn;
}

bool ring_writer_publish(struct ring_writer *writer)
{
	struct ring_checkpoint *state = &writer->state;
	struct ring_live *live = writer->ring->live;
	uint64_t head = live_figure(&live->head);
	uint64_t streamed = live_figure(&live->streamed_lsn);

	if ((head == state->head && streamed == state->streamed_lsn) || !write_stage(writer))
		return false;
	live_figure_add(&live->appended_bytes_total, state->head - head);
	live_store(&live->head, state->head); /* step (3) of the writer in ring_layout.h */
	live_store(&live->streamed_lsn, state->streamed_lsn);
	writer->published = true;
	writer->news |= writer->staged_news;
	writer->staged_news = 0;
	return true;
}

bool ring_writer_news(struct ring_writer *writer, uint64_t *ret_collections)
{
	bool published = writer->published;

	*ret_collections = writer->news;
	writer->published = false;
	writer->news = 0;
	return published;
}

/* ---- collections */

uint32_t ring_writer_collection(struct ring_writer *writer, struct bytes schema, struct bytes name)
{
	struct ring *ring = writer->ring;
	uint32_t count = writer->state.collection_count;
	struct ring_collection fresh = ring_collection_named(schema, name);
	uint32_t known = ring_names_find(ring, count, &fresh);

	if (known != COLLECTION_NONE)
		return known;
	if (count == ring->sections.collection_capacity)
		return COLLECTION_NONE;
	struct ring_collection *entry = &ring->collections[count];
	memcpy(entry->schema, fresh.schema, sizeof(fresh.schema));
	memcpy(entry->name, fresh.name, sizeof(fresh.name));
	live_figure_set(&entry->published, 0);
	live_figure_set(&entry->changes, 0);
	ring_collection_set_evicted(entry, (struct cursor){0});
	entry->checksum = fresh.checksum;
	writer->state.collection_count = count + 1;
	live_store(&ring->live->collection_count, count + 1);
	return count;
}

void ring_writer_set_published(struct ring_writer *writer, uint32_t collection, bool published)
{
	live_figure_set(&writer->ring->collections[collection].published, published);
}

/* ---- eviction and checkpoints */

/* Moves tail to the first record at or behind `target`, or as far as the run log has room. */
static void evict(struct ring_writer *writer, uint64_t target)
{
	struct ring *ring = writer->ring;
	struct ring_checkpoint *state = &writer->state;
	uint64_t run_limit = writer->durable.run_head + ring_runs_step(ring);

	while (state->tail < target && state->tail < state->head && state->run_head < run_limit) {
		struct ring_record_header header = ring_header_at(ring, state->tail);
		if (!ring_header_plausible(ring, &header)) {
			ring_set_damaged(ring);
			break;
		}
		if (header.kind == RECORD_CHANGE)
			ring_runs_log_change(ring, state, &header);
		else
			ring_runs_log_commit(ring, state, header.commit_lsn, ring_end_lsn_at(ring, state->tail));
		state->tail += header.size;
	}
	ring_runs_keep_room(ring, state);
	live_store(&ring->live->tail, state->tail);
	atomic_thread_fence(memory_order_release); /* step (1) of the writer in ring_layout.h */
}

bool ring_checkpoint_begin(struct ring_writer *writer)
{
	struct ring_checkpoint *state = &writer->state;
	const struct ring_checkpoint *durable = &writer->durable;
	uint64_t room = state->capacity / ROOM_DIVISOR + writer->wanted;

	if (state->head == durable->head && state->streamed_lsn == durable->streamed_lsn &&
		state->history == durable->history && writer->wanted == 0)
		return false;
	if (!write_stage(writer))
		return false;
	ring_writer_publish(writer);
	if (state->head + room > state->tail + state->capacity)
		evict(writer, state->head + room - state->capacity);
	/* after a failure the same page again: the other one holds the checkpoint that is valid */
	state->sequence = durable->sequence + 1;
	writer->pending = *state;
	return true;
}

/* Whether a checkpoint promises anything outside of its own page that the last one did not: records; the log
 * of what was evicted, which is written only as tail moves; names of collections. */
static bool promises_more(const struct ring_checkpoint *pending, const struct ring_checkpoint *durable)
{
	return pending->head != durable->head || pending->tail != durable->tail ||
		   pending->collection_count != durable->collection_count;
}

int ring_checkpoint_sync(struct ring_writer *writer)
{
	int fd = writer->ring->fd;

	/* first of all that: a checkpoint that reached the disk without it would promise what is not there */
	if (promises_more(&writer->pending, &writer->durable) && fdatasync(fd) != 0)
		return errno;
	/* somebody else's bytes in the file: to write on would pass them off as this history */
	int error = ring_checkpoint_compare(fd, &writer->durable);
	return error != 0 ? error : ring_checkpoint_write(fd, &writer->pending);
}

void ring_checkpoint_end(struct ring_writer *writer, int error)
{
	struct ring_live *live = writer->ring->live;

	if (error == ESTALE)
		ring_set_damaged(writer->ring);
	if (error != 0) {
		ring_dirty_again(writer->ring, &writer->durable, writer->written, writer->state.run_head);
		return;
	}
	writer->durable = writer->pending;
	writer->wanted = 0; /* whoever has still no room asks again */
	live_store(&live->durable_lsn, writer->pending.streamed_lsn);
	live_figure_add(&live->checkpoints_total, 1);
}
