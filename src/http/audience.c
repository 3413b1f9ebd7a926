/* audience.c: see audience.h. */
#include "http/audience.h"

#include <stdlib.h>

#include "core/render/frame.h"
#include "http/fanout.h"

struct audience *audience_make(struct fanout *fanout, struct subscription *subscription,
							   const struct selection *selection, const struct changefeed_options *options,
							   struct bytes key)
{
	struct audience *audience = calloc(1, sizeof(*audience));

	if (audience == NULL)
		return NULL;
	audience->fanout = fanout;
	audience->options = options;
	audience->selection = *selection;
	h2o_linklist_init_anchor(&audience->streams);
	h2o_linklist_init_anchor(&audience->waiting);
	h2o_linklist_init_anchor(&audience->polls);
	buffer_append_bytes(&audience->key, key);
	if (audience->key.failed) {
		audience_free(audience);
		return NULL;
	}
	audience->subscription = *subscription;
	subscription->text = (struct buffer){0};
	audience->subscription.view.origin = &fanout->origin;
	audience->scope =
		(struct scope){.filter = selection_filter(&audience->selection, &audience->subscription),
					   .tenant_column = audience->subscription.view.tenant_column,
					   .tenant = audience->subscription.view.tenant};
	return audience;
}

void audience_free(struct audience *audience)
{
	if (audience == NULL)
		return;
	segment_list_clear(&audience->segments);
	subscription_free(&audience->subscription);
	buffer_free(&audience->key);
	free(audience);
}

uint64_t audience_wanted(const struct audience *audience)
{
	uint64_t wanted = 0;

	if (audience->selection.all || (audience->scope.filter.operations & 1u << OPERATION_MESSAGE) != 0)
		return LIVE_WANTS_ALL;
	for (unsigned i = 0; i < audience->selection.count; i++)
		wanted |= live_collection_bit(audience->selection.collections[i]);
	return wanted;
}

/* ---- the audience's segments */

static const struct footing nowhere = {.from = UINT64_MAX};

/* What the drain renders from `end` on goes into another segment. */
static void close_open_at(struct audience *audience, struct place end)
{
	struct segment *segment = audience->open;

	if (segment == NULL)
		return;
	audience->open = NULL;
	audience->before = (struct footing){segment->from, segment->size, segment->events};
	audience->front = end;
	segment_close(segment, end);
}

static void close_open(struct audience *audience)
{
	close_open_at(audience, audience->fanout->place);
}

void audience_follow(struct audience *audience)
{
	if (audience->live_streams++ == 0) {
		audience->front = audience->fanout->place;
		audience->before = nowhere;
	}
}

void audience_unfollow(struct audience *audience)
{
	if (--audience->live_streams == 0)
		close_open(audience);
}

struct footing audience_front(const struct audience *audience)
{
	if (audience->open == NULL)
		return (struct footing){.from = audience->front.position};
	return (struct footing){audience->open->from, audience->open->size, audience->open->events};
}

static bool footing_equal(const struct footing *a, const struct footing *b)
{
	return a->from == b->from && a->offset == b->offset;
}

bool audience_at_front(const struct audience *audience, const struct footing *at)
{
	struct footing front = audience_front(audience);
	return footing_equal(at, &front) || (front.offset == 0 && footing_equal(at, &audience->before));
}

static void step_to(struct footing *at, struct place *place, const struct place *to)
{
	*at = (struct footing){.from = to->position};
	*place = *to;
}

static struct segment *segment_at(struct audience *audience, const struct footing *at)
{
	if (audience->open != NULL && audience->open->from == at->from)
		return audience->open;
	return segment_find(&audience->segments, at->from);
}

bool audience_slice(struct audience *audience, struct footing *at, struct reader *reader,
					struct slice *ret_slice)
{
	struct place *place = &reader->place;

	if (footing_equal(at, &audience->before))
		step_to(at, place, &audience->front);
	struct segment *segment = segment_at(audience, at);
	if (segment == NULL || at->offset > segment->size) {
		/* not kept any more, or since then rendered anew and shorter: what begins at its place? */
		step_to(at, place, place);
		segment = segment_at(audience, at);
	}
	while (segment != NULL && !segment->open && at->offset == segment->size) {
		step_to(at, place, &segment->end);
		reader->fresh = false;
		segment = segment_at(audience, at);
	}
	if (segment == NULL || at->offset == segment->size)
		return false;
	*ret_slice = (struct slice){.segment = segment_hold(segment),
								.bytes = {segment->data + at->offset, segment->size - at->offset},
								.events = segment->events - at->events};
	*at = (struct footing){segment->from, segment->size, segment->events};
	*place = segment->open ? audience->fanout->place : segment->end;
	reader->fresh = false;
	return true;
}

/* How many bytes of history a segment that begins at `from` may take. */
static uint64_t span_of(const struct fanout *fanout, uint64_t from)
{
	uint64_t grid = SEGMENT_GRID - from % SEGMENT_GRID, drain = fanout->place.position - from;
	return grid < drain ? grid : drain;
}

/* Keeps the rendered frames as the segment of [from, end). Returns false out of memory. */
static bool keep_rendered(struct audience *audience, uint64_t from, struct place end, uint64_t events)
{
	struct fanout *fanout = audience->fanout;
	struct segment *segment =
		fanout->frames.failed ? NULL
							  : segment_open(&fanout->kept, &audience->segments, from, fanout->frames.size);

	if (segment == NULL)
		return false;
	segment_append(segment, buffer_bytes(&fanout->frames), events);
	segment_close(segment, end);
	fanout->renders += events;
	return true;
}

enum reader_event audience_render(struct audience *audience, struct reader *reader, uint64_t *walked,
								  uint64_t *ret_lagged)
{
	struct fanout *fanout = audience->fanout;
	struct reader ahead = *reader;
	struct place from = reader->place, end = from; /* behind the last frame */
	uint64_t span = span_of(fanout, from.position), budget = span, events = 0;
	struct document document;
	enum reader_event event;

	buffer_restart(&fanout->frames);
	do {
		event = reader_next(&ahead, fanout->scratch, &budget, &document, ret_lagged);
		if (event == READER_CHANGE) {
			frame_append_change(&fanout->frames, &document, &audience->subscription.view);
			end = ahead.place;
			events++;
		}
	} while (event == READER_CHANGE && fanout->frames.size < segment_room(&fanout->kept));
	if (event == READER_PAUSED)
		end = ahead.place;
	if (end.position == from.position) {
		*reader = ahead;
		return event;
	}
	/* whatever came after `end` is met again by the next reader that stands there */
	*walked += span - budget;
	reader->fresh = false;
	return keep_rendered(audience, from.position, end, events) ? READER_CHANGE : READER_FAILED;
}

void audience_rest(struct audience *audience)
{
	if (audience->rested)
		close_open(audience);
	audience->rested = true;
}

/* ---- what the drain appends */

void audience_break(struct audience *audience, bool new_history)
{
	close_open(audience);
	audience->before = nowhere;
	if (new_history)
		segment_list_clear(&audience->segments);
}

static void mark_changed(struct audience *audience)
{
	if (!h2o_linklist_is_linked(&audience->changed_link))
		h2o_linklist_insert(&audience->fanout->changed, &audience->changed_link);
}

/* How large the segment behind the open one is to be: they grow as they are filled, up to `room`. */
static size_t next_capacity(const struct segment *open, bool full, size_t room)
{
	if (open == NULL || (!full && open->size <= room / 4))
		return SEGMENT_SIZE_SMALL;
	return full && open->capacity < room ? 4 * open->capacity : room;
}

/* The open segment with room for a frame of the record at which the drain stands. NULL out of memory. */
static struct segment *open_for(struct audience *audience, size_t size)
{
	struct fanout *fanout = audience->fanout;
	struct segment *open = audience->open;
	bool full = open != NULL && open->capacity - open->size < size;
	size_t room = segment_room(&fanout->kept), capacity = next_capacity(open, full, room);

	if (open != NULL && !full && open->from / SEGMENT_GRID == fanout->place.position / SEGMENT_GRID)
		return open;
	fanout->full = fanout->full || (full && open->capacity >= room);
	if (capacity < size)
		capacity = size > room ? size : room;
	close_open(audience);
	audience->open = segment_open(&fanout->kept, &audience->segments, audience->front.position, capacity);
	return audience->open;
}

/* The drain goes on behind a change without a frame for it: the streams read it from the ring, each when its
 * turn comes. */
static void leave_to_streams(struct audience *audience, const struct place *behind)
{
	close_open(audience);
	audience->before = nowhere;
	audience->front = *behind;
}

enum { LARGE_RECORD = 256 * 1024 }; /* bytes in the ring */

/*
 * Whether a change is too much to be rendered for one more audience. A drain that has done its work ends behind
 * the change at which it stands, but that one may be large, or be wanted in thousands of forms.
 */
static bool is_too_much(const struct fanout *fanout, const struct place *behind)
{
	bool large = behind->position - fanout->place.position > LARGE_RECORD;
	return fanout->work >= (large ? RENDER_BUDGET : 2 * RENDER_BUDGET);
}

void audience_offer(struct audience *audience, const struct document *document, const struct place *behind)
{
	struct fanout *fanout = audience->fanout;

	if (!scope_admits(&audience->scope, document))
		return;
	mark_changed(audience);
	audience->rested = false;
	if (audience->live_streams == 0)
		return;
	if (is_too_much(fanout, behind)) {
		leave_to_streams(audience, behind);
		return;
	}
	buffer_restart(&fanout->frames);
	frame_append_change(&fanout->frames, document, &audience->subscription.view);
	struct segment *segment = fanout->frames.failed ? NULL : open_for(audience, fanout->frames.size);
	if (segment == NULL) {
		leave_to_streams(audience, behind); /* there is no memory for the frame now */
		return;
	}
	segment_append(segment, buffer_bytes(&fanout->frames), 1);
	fanout->work += fanout->frames.size + FRAME_COST;
	fanout->renders++;
	if (segment->capacity > segment_room(&fanout->kept))
		close_open_at(audience, *behind); /* what is large is to be among what is kept, and may be dropped */
}

/* ---- what leaves the publication */

bool audience_find_losses(struct audience *audience)
{
	bool found = false;

	for (unsigned i = 0; i < audience->selection.count; i++) {
		struct collection collection;
		if (ring_collection(audience->fanout->ring, audience->selection.collections[i], &collection) &&
			collection.published) {
			audience->lost_at[i] = 0;
		} else if (audience->lost_at[i] == 0) {
			audience->lost_at[i] = audience->losses + 1;
			found = true;
		}
	}
	audience->losses += found;
	return found;
}

void audience_append_losses(const struct audience *audience, uint32_t seen, struct buffer *out)
{
	for (unsigned i = 0; i < audience->selection.count; i++) {
		struct collection collection;
		if (audience->lost_at[i] > seen &&
			ring_collection(audience->fanout->ring, audience->selection.collections[i], &collection))
			frame_append_unpublished(out, bytes_of(collection.schema), bytes_of(collection.name));
	}
}
