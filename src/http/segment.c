/* segment.c: see segment.h. */
#include "http/segment.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "http/list.h"
#include "http/spool.h"

void segments_kept_init(struct segments_kept *kept, size_t limit)
{
	*kept = (struct segments_kept){.limit = limit, .held_limit = SEGMENTS_HELD_MAX};
	h2o_linklist_init_anchor(&kept->used);
}

static size_t memory_of(const struct segment *segment)
{
	return sizeof(*segment) + segment->capacity + (segment->spool >= 0 ? segment->capacity : 0);
}

/* Where a segment's memory is counted. */
static size_t *account_of(struct segment *segment)
{
	return h2o_linklist_is_linked(&segment->used_link) ? &segment->kept->bytes : &segment->kept->held;
}

size_t segment_room(const struct segments_kept *kept)
{
	return kept->held > kept->held_limit ? SEGMENT_SIZE_SMALL : SEGMENT_SIZE;
}

void segment_release(struct segment *segment)
{
	if (--segment->references > 0)
		return;
	segment->kept->held -= memory_of(segment);
	if (segment->spool >= 0) {
		close(segment->spool);
		segment->kept->spools--;
	}
	free(segment);
}

/* Where the segment that begins at `from` is, or would be. */
static size_t find_slot(const struct segment_list *list, uint64_t from)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (list->segments[middle]->from < from)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct segment *at_slot(const struct segment_list *list, size_t slot, uint64_t from)
{
	return slot < list->count && list->segments[slot]->from == from ? list->segments[slot] : NULL;
}

static void drop(struct segment *segment)
{
	struct segment_list *list = segment->list;
	size_t slot = find_slot(list, segment->from);

	assert(list->segments[slot] == segment);
	list->count--;
	memmove(list->segments + slot, list->segments + slot + 1,
			(list->count - slot) * sizeof(list->segments[0]));
	segment->list = NULL;
	*account_of(segment) -= memory_of(segment);
	list_leave(&segment->used_link);
	*account_of(segment) += memory_of(segment);
	segment_release(segment);
}

static bool make_room(struct segment_list *list)
{
	if (list->count < list->capacity)
		return true;
	size_t capacity = list->capacity == 0 ? 4 : list->capacity * 2;
	struct segment **segments = realloc(list->segments, capacity * sizeof(segments[0]));
	if (segments == NULL)
		return false;
	list->segments = segments;
	list->capacity = capacity;
	return true;
}

struct segment *segment_open(struct segments_kept *kept, struct segment_list *list, uint64_t from,
							 size_t capacity)
{
	size_t slot = find_slot(list, from);
	struct segment *before = at_slot(list, slot, from);
	struct segment *segment = make_room(list) ? malloc(sizeof(*segment) + capacity) : NULL;

	if (before != NULL)
		drop(before);
	if (segment == NULL)
		return NULL;
	*segment = (struct segment){.kept = kept,
								.references = 1,
								.open = true,
								.from = from,
								.capacity = capacity,
								.spool = -1,
								.list = list};
	memmove(list->segments + slot + 1, list->segments + slot,
			(list->count - slot) * sizeof(list->segments[0]));
	list->segments[slot] = segment;
	list->count++;
	kept->held += memory_of(segment);
	return segment;
}

void segment_append(struct segment *segment, struct bytes frames, uint64_t events)
{
	assert(segment->open && frames.size <= segment->capacity - segment->size);
	if (frames.size > 0)
		memcpy(segment->data + segment->size, frames.data, frames.size);
	segment->size += frames.size;
	segment->events += events;
}

static size_t limit_of(const struct segments_kept *kept)
{
	size_t share = (size_t)kept->readers * SEGMENTS_KEPT_FOR_ONE;
	return share < kept->limit ? share : kept->limit;
}

void segment_close(struct segment *segment, struct place end)
{
	struct segments_kept *kept = segment->kept;

	assert(segment->open && end.position > segment->from);
	segment->open = false;
	segment->end = end;
	kept->held -= memory_of(segment);
	kept->bytes += memory_of(segment);
	h2o_linklist_insert(&kept->used, &segment->used_link);
	while (kept->bytes > limit_of(kept) && kept->used.next != &segment->used_link)
		drop(LIST_FIRST(struct segment, used_link, &kept->used));
}

/* The segment's memory doubles. */
static void open_spool(struct segment *segment)
{
	struct segments_kept *kept = segment->kept;

	if (kept->spools == SPOOLS_MAX || (segment->spool = spool_open()) < 0)
		return;
	kept->spools++;
	*account_of(segment) += segment->capacity;
}

int segment_spool(struct segment *segment, struct bytes bytes, size_t *ret_at)
{
	struct bytes rest = {segment->data + segment->spooled, segment->size - segment->spooled};

	if (bytes.size < SPOOL_SENDS_OF || segment->large_sends++ < SPOOL_AFTER_SENDS)
		return -1;
	if (segment->spool < 0)
		open_spool(segment);
	if (segment->spool < 0 || (rest.size > 0 && !spool_write(segment->spool, segment->spooled, rest)))
		return -1;
	segment->spooled = segment->size;
	*ret_at = (size_t)(bytes.data - segment->data);
	return segment->spool;
}

struct segment *segment_find(const struct segment_list *list, uint64_t from)
{
	struct segment *segment = at_slot(list, find_slot(list, from), from);

	if (segment != NULL && !segment->open && segment->kept->used.prev != &segment->used_link) {
		h2o_linklist_unlink(&segment->used_link);
		h2o_linklist_insert(&segment->kept->used, &segment->used_link);
	}
	return segment;
}

void segment_list_clear(struct segment_list *list)
{
	while (list->count > 0)
		drop(list->segments[list->count - 1]);
	free(list->segments);
	*list = (struct segment_list){0};
}
