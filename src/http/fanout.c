/* fanout.c: see fanout.h. */
#include "http/fanout.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/render/frame.h"

enum { KEPT_DIVISOR = 4 }; /* of the ring's size may be kept rendered */

struct class_list {
	struct class **classes;
	size_t size;
	size_t capacity;
};

static bool list_add(struct class_list *list, struct class *class)
{
	if (list->size == list->capacity) {
		size_t capacity = list->capacity == 0 ? 4 : list->capacity * 2;
		struct class **classes = realloc(list->classes, capacity * sizeof(struct class *));
		if (classes == NULL)
			return false;
		list->classes = classes;
		list->capacity = capacity;
	}
	list->classes[list->size++] = class;
	return true;
}

static void list_remove(struct class_list *list, const struct class *class)
{
	for (size_t i = 0; i < list->size; i++) {
		if (list->classes[i] == class) {
			list->classes[i] = list->classes[--list->size];
			return;
		}
	}
}

/* The list of a collection, made if need be. NULL out of memory. */
static struct class_list *list_of(struct fanout *fanout, uint32_t collection)
{
	if (collection >= fanout->by_collection_size) {
		size_t size = (size_t)collection + 64;
		struct class_list *lists = realloc(fanout->by_collection, size * sizeof(*lists));
		if (lists == NULL)
			return NULL;
		memset(lists + fanout->by_collection_size, 0, (size - fanout->by_collection_size) * sizeof(*lists));
		fanout->by_collection = lists;
		fanout->by_collection_size = size;
	}
	return &fanout->by_collection[collection];
}

/* Whose history it is: what the feed said last, or what the ring said when it was opened. */
static void learn_origin(struct fanout *fanout)
{
	char text[LIVE_MESSAGE_SIZE], *timeline, *slot, *database;
	struct ring_identity *origin = &fanout->origin;

	*origin = ring_identity(fanout->ring);
	live_message_get(&ring_live(fanout->ring)->origin, text);
	uint64_t system_identifier = strtoull(text, &timeline, 10);
	unsigned long timeline_id = strtoul(timeline, &slot, 10);
	if (*slot != ' ' || (database = strchr(++slot, ' ')) == NULL)
		return;
	*database++ = '\0';
	origin->system_identifier = system_identifier;
	origin->timeline = (uint32_t)timeline_id;
	snprintf(origin->slot, sizeof(origin->slot), "%s", slot);
	snprintf(origin->database, sizeof(origin->database), "%s", database);
}

bool fanout_init(struct fanout *fanout, const struct ring *ring, struct reader_scratch *scratch)
{
	struct start now = {.kind = CURSOR_NOW};

	*fanout = (struct fanout){.ring = ring, .scratch = scratch, .all = calloc(1, sizeof(struct class_list))};
	h2o_linklist_init_anchor(&fanout->classes);
	h2o_linklist_init_anchor(&fanout->changed);
	uint64_t share = ring_capacity(ring) / KEPT_DIVISOR;
	segments_kept_init(&fanout->kept, share < SEGMENTS_KEPT_MAX ? share : SEGMENTS_KEPT_MAX);
	fanout->history = atomic_load_explicit(&ring_live(ring)->history, memory_order_acquire);
	learn_origin(fanout);
	ring_seek(ring, &now, &fanout->place);
	return fanout->all != NULL;
}

/*
 * ---- classes
 */
static void class_free(struct class *class)
{
	segment_list_clear(&class->fanout->kept, &class->segments);
	subscription_free(&class->subscription);
	buffer_free(&class->key);
	free(class);
}

void class_leave(struct class *class)
{
	struct fanout *fanout = class->fanout;
	if (--class->members > 0)
		return;
	fanout->wanted_known = false;
	if (class->selection.all)
		list_remove(fanout->all, class);
	for (unsigned i = 0; i < class->selection.count; i++)
		list_remove(list_of(fanout, class->selection.collections[i]), class);
	h2o_linklist_unlink(&class->link);
	if (h2o_linklist_is_linked(&class->changed_link))
		h2o_linklist_unlink(&class->changed_link);
	class_free(class);
}

/* Enters the class where the drain looks. Returns false, the lists as they were, out of memory. */
static bool enlist(struct fanout *fanout, struct class *class)
{
	if (class->selection.all)
		return list_add(fanout->all, class);
	for (unsigned i = 0; i < class->selection.count; i++) {
		struct class_list *list = list_of(fanout, class->selection.collections[i]);
		if (list == NULL || !list_add(list, class)) {
			while (i-- > 0)
				list_remove(list_of(fanout, class->selection.collections[i]), class);
			return false;
		}
	}
	return true;
}

static struct class *find_class(struct fanout *fanout, struct bytes key,
								const struct changefeed_options *options)
{
	for (h2o_linklist_t *node = fanout->classes.next; node != &fanout->classes; node = node->next) {
		struct class *class = H2O_STRUCT_FROM_MEMBER(struct class, link, node);
		if (class->options == options && bytes_equal(buffer_bytes(&class->key), key))
			return class;
	}
	return NULL;
}

struct class *fanout_join(struct fanout *fanout, struct subscription *subscription,
						  const struct selection *selection, const struct changefeed_options *options)
{
	struct buffer key = {0};
	selection_class_key(selection, subscription, &key);
	struct class *class = key.failed ? NULL : find_class(fanout, buffer_bytes(&key), options);

	if (class != NULL) {
		buffer_free(&key);
		class->members++;
		return class;
	}
	class = calloc(1, sizeof(*class));
	if (class == NULL || key.failed) {
		buffer_free(&key);
		free(class);
		return NULL;
	}
	*class = (struct class){.fanout = fanout,
							.members = 1,
							.options = options,
							.subscription = *subscription,
							.selection = *selection,
							.key = key};
	subscription->text = (struct buffer){0};
	class->subscription.view.origin = &fanout->origin;
	class->scope = (struct scope){.filter = selection_filter(&class->selection, &class->subscription),
								  .tenant_column = class->subscription.tenant_column,
								  .tenant = class->subscription.tenant};
	h2o_linklist_init_anchor(&class->streams);
	h2o_linklist_init_anchor(&class->waiting);
	if (!enlist(fanout, class)) {
		class_free(class);
		return NULL;
	}
	h2o_linklist_insert(&fanout->classes, &class->link);
	fanout->wanted_known = false;
	return class;
}

static uint64_t class_wanted(const struct class *class)
{
	uint64_t wanted = 0;

	if (class->selection.all || (class->scope.filter.operations & 1u << OPERATION_MESSAGE) != 0)
		return LIVE_WANTS_ALL;
	for (unsigned i = 0; i < class->selection.count; i++)
		wanted |= live_collection_bit(class->selection.collections[i]);
	return wanted;
}

uint64_t fanout_wanted(struct fanout *fanout)
{
	if (fanout->wanted_known)
		return fanout->wanted;
	fanout->wanted = 0;
	for (h2o_linklist_t *node = fanout->classes.next; node != &fanout->classes; node = node->next)
		fanout->wanted |= class_wanted(H2O_STRUCT_FROM_MEMBER(struct class, link, node));
	fanout->wanted_known = true;
	return fanout->wanted;
}

/*
 * ---- the class's segments
 */
static const struct footing nowhere = {.from = UINT64_MAX};

/* The drain goes on in another segment, from the place where it stands. */
static void close_open(struct class *class)
{
	struct segment *segment = class->open;

	if (segment == NULL)
		return;
	class->open = NULL;
	class->before = (struct footing){segment->from, segment->size, segment->events};
	class->front = class->fanout->place;
	segment_close(&class->fanout->kept, segment, class->fanout->place);
}

void class_follow(struct class *class)
{
	if (class->live_streams++ == 0) {
		class->front = class->fanout->place;
		class->before = nowhere;
	}
}

void class_unfollow(struct class *class)
{
	if (--class->live_streams == 0)
		close_open(class);
}

struct footing class_front(const struct class *class)
{
	if (class->open == NULL)
		return (struct footing){.from = class->front.position};
	return (struct footing){class->open->from, class->open->size, class->open->events};
}

static bool footing_equal(const struct footing *a, const struct footing *b)
{
	return a->from == b->from && a->offset == b->offset;
}

bool class_at_front(const struct class *class, const struct footing *at)
{
	struct footing front = class_front(class);
	return footing_equal(at, &front) || (front.offset == 0 && footing_equal(at, &class->before));
}

static void step_to(struct footing *at, struct place *place, const struct place *to)
{
	*at = (struct footing){.from = to->position};
	*place = *to;
}

static struct segment *segment_at(struct class *class, const struct footing *at)
{
	if (class->open != NULL && class->open->from == at->from)
		return class->open;
	return segment_find(&class->fanout->kept, &class->segments, at->from);
}

bool class_slice(struct class *class, struct footing *at, struct reader *reader, struct slice *ret_slice)
{
	struct place *place = &reader->place;

	if (footing_equal(at, &class->before))
		step_to(at, place, &class->front);
	struct segment *segment = segment_at(class, at);
	if (segment == NULL || at->offset > segment->size) {
		/* not kept any more, or since then rendered anew and shorter: what begins at its place? */
		step_to(at, place, place);
		segment = segment_at(class, at);
	}
	while (segment != NULL && !segment->open && at->offset == segment->size) {
		step_to(at, place, &segment->end);
		reader->fresh = false;
		segment = segment_at(class, at);
	}
	if (segment == NULL || at->offset == segment->size)
		return false;
	*ret_slice = (struct slice){.segment = segment_hold(segment),
								.bytes = {segment->data + at->offset, segment->size - at->offset},
								.events = segment->events - at->events};
	*at = (struct footing){segment->from, segment->size, segment->events};
	*place = segment->open ? class->fanout->place : segment->end;
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
static bool keep_rendered(struct class *class, uint64_t from, struct place end, uint64_t events)
{
	struct fanout *fanout = class->fanout;
	struct segment *segment = fanout->frames.failed
								  ? NULL
								  : segment_open(&fanout->kept, &class->segments, from, fanout->frames.size);

	if (segment == NULL)
		return false;
	segment_append(segment, buffer_bytes(&fanout->frames), events);
	segment_close(&fanout->kept, segment, end);
	fanout->renders += events;
	return true;
}

enum reader_event class_render(struct class *class, struct reader *reader, uint64_t *walked,
							   uint64_t *ret_lagged)
{
	struct fanout *fanout = class->fanout;
	struct reader ahead = *reader;
	struct place from = reader->place, end = from; /* behind the last frame */
	uint64_t budget = span_of(fanout, from.position), events = 0;
	struct document document;
	enum reader_event event;

	buffer_clear(&fanout->frames);
	do {
		event = reader_next(&ahead, fanout->scratch, &budget, &document, ret_lagged);
		if (event == READER_CHANGE) {
			frame_append_change(&fanout->frames, &document, &class->subscription.view);
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
	/* what else comes behind it is met again by those who stand there */
	*walked += end.position - from.position;
	reader->fresh = false;
	return keep_rendered(class, from.position, end, events) ? READER_CHANGE : READER_FAILED;
}

void class_rest(struct class *class)
{
	if (class->rested)
		close_open(class);
	class->rested = true;
}

/*
 * ---- the drain
 */

/* No live stream stands where the drain goes on. */
static void break_classes(struct fanout *fanout)
{
	for (h2o_linklist_t *node = fanout->classes.next; node != &fanout->classes; node = node->next) {
		struct class *class = H2O_STRUCT_FROM_MEMBER(struct class, link, node);
		close_open(class);
		class->before = nowhere;
		if (fanout->new_history)
			segment_list_clear(&fanout->kept, &class->segments);
	}
}

static void mark_changed(struct class *class)
{
	if (!h2o_linklist_is_linked(&class->changed_link))
		h2o_linklist_insert(&class->fanout->changed, &class->changed_link);
}

/* How large the segment behind the open one is to be: they grow as they are filled, up to `room`. */
static size_t next_capacity(const struct segment *open, bool full, size_t room)
{
	if (open == NULL || (!full && open->size <= room / 4))
		return SEGMENT_SIZE_SMALL;
	return full && open->capacity < room ? 4 * open->capacity : room;
}

/* The open segment with room for a frame of the record at which the drain stands. NULL out of memory. */
static struct segment *open_for(struct class *class, size_t size)
{
	struct fanout *fanout = class->fanout;
	struct segment *open = class->open;
	bool full = open != NULL && open->capacity - open->size < size;
	size_t room = segment_room(&fanout->kept), capacity = next_capacity(open, full, room);

	if (open != NULL && !full && open->from / SEGMENT_GRID == fanout->place.position / SEGMENT_GRID)
		return open;
	fanout->full = fanout->full || (full && open->capacity >= room);
	if (capacity < size)
		capacity = size > room ? size : room;
	close_open(class);
	class->open = segment_open(&fanout->kept, &class->segments, class->front.position, capacity);
	return class->open;
}

static void render(struct class *class, const struct document *document, const struct place *behind)
{
	struct fanout *fanout = class->fanout;

	if (!scope_admits(&class->scope, document))
		return;
	mark_changed(class);
	class->rested = false;
	if (class->live_streams == 0)
		return;
	buffer_clear(&fanout->frames);
	frame_append_change(&fanout->frames, document, &class->subscription.view);
	struct segment *segment = fanout->frames.failed ? NULL : open_for(class, fanout->frames.size);
	if (segment == NULL) {
		/* no memory for this frame now: its streams read it from the ring later */
		close_open(class);
		class->before = nowhere;
		class->front = *behind;
		return;
	}
	segment_append(segment, buffer_bytes(&fanout->frames), 1);
	fanout->renders++;
}

/* Renders a change for a class, if that wants it. *loaded: the document has been read already. Returns false
 * if the ring passed it, or out of memory. */
static bool render_for(struct class *class, const struct record *record, struct document *document,
					   bool *loaded)
{
	struct fanout *fanout = class->fanout;
	struct place behind = {record->next, record->change.id};

	if (!filter_matches(&class->scope.filter, &record->change))
		return true;
	if (!*loaded && reader_load(fanout->ring, record, fanout->scratch, document) != READER_LOADED)
		return false;
	*loaded = true;
	render(class, document, &behind);
	return true;
}

static bool render_list(const struct class_list *list, const struct record *record, struct document *document,
						bool *loaded)
{
	for (size_t i = 0; i < list->size; i++) {
		if (!render_for(list->classes[i], record, document, loaded))
			return false;
	}
	return true;
}

/* A message belongs to no table: whoever wants messages gets it. */
static bool render_message(struct fanout *fanout, const struct record *record)
{
	struct document document;
	bool loaded = false;

	for (h2o_linklist_t *node = fanout->classes.next; node != &fanout->classes; node = node->next) {
		if (!render_for(H2O_STRUCT_FROM_MEMBER(struct class, link, node), record, &document, &loaded))
			return false;
	}
	return true;
}

static bool render_record(struct fanout *fanout, const struct record *record)
{
	struct document document;
	bool loaded = false;
	uint32_t collection = record->change.collection;

	if (record->kind != RECORD_CHANGE)
		return true;
	if (record->change.operation == OPERATION_MESSAGE)
		return render_message(fanout, record);
	return render_list(fanout->all, record, &document, &loaded) &&
		   (collection >= fanout->by_collection_size ||
			render_list(&fanout->by_collection[collection], record, &document, &loaded));
}

static enum fanout_drain start_over(struct fanout *fanout)
{
	struct start now = {.kind = CURSOR_NOW};
	break_classes(fanout);
	ring_seek(fanout->ring, &now, &fanout->place);
	return FANOUT_BROKEN;
}

enum fanout_drain fanout_drain(struct fanout *fanout, uint64_t budget)
{
	const struct ring_live *live = ring_live(fanout->ring);
	uint64_t history = atomic_load_explicit(&live->history, memory_order_acquire);
	uint64_t streamed = atomic_load_explicit(&live->streamed_lsn, memory_order_acquire);
	struct place before = fanout->place;

	fanout->new_history = history != fanout->history;
	if (fanout->new_history) {
		fanout->history = history;
		learn_origin(fanout);
		return start_over(fanout);
	}
	fanout->full = false;
	while (!fanout->full && fanout->place.position - before.position < budget) {
		struct record record;
		enum ring_read result = ring_read(fanout->ring, fanout->place.position, &record);
		if (result == RING_READ_END) {
			place_follow(&fanout->place, streamed);
			bool moved = fanout->place.position != before.position ||
						 cursor_compare(before.cursor, fanout->place.cursor) != 0;
			return moved ? FANOUT_DRAINED : FANOUT_IDLE;
		}
		if (result != RING_READ_OK || !render_record(fanout, &record))
			return start_over(fanout);
		place_advance(&fanout->place, &record);
	}
	return FANOUT_MORE;
}

/*
 * ---- what leaves the publication
 */
static bool class_find_losses(struct class *class)
{
	bool found = false;

	for (unsigned i = 0; i < class->selection.count; i++) {
		struct collection collection;
		if (ring_collection(class->fanout->ring, class->selection.collections[i], &collection) &&
			collection.published) {
			class->lost_at[i] = 0;
		} else if (class->lost_at[i] == 0) {
			class->lost_at[i] = class->losses + 1;
			found = true;
		}
	}
	class->losses += found;
	return found;
}

bool fanout_find_losses(struct fanout *fanout)
{
	const struct ring_live *live = ring_live(fanout->ring);
	uint64_t generation = atomic_load_explicit(&live->catalog_generation, memory_order_acquire);
	bool found = false;

	if (generation == fanout->catalog_generation)
		return false;
	fanout->catalog_generation = generation;
	for (h2o_linklist_t *node = fanout->classes.next; node != &fanout->classes; node = node->next)
		found = class_find_losses(H2O_STRUCT_FROM_MEMBER(struct class, link, node)) || found;
	return found;
}

void class_append_losses(const struct class *class, uint64_t seen, struct buffer *out)
{
	for (unsigned i = 0; i < class->selection.count; i++) {
		struct collection collection;
		if (class->lost_at[i] > seen &&
			ring_collection(class->fanout->ring, class->selection.collections[i], &collection))
			frame_append_unpublished(out, bytes_of(collection.schema), bytes_of(collection.name));
	}
}

void fanout_settle(struct fanout *fanout)
{
	while (!h2o_linklist_is_empty(&fanout->changed))
		h2o_linklist_unlink(fanout->changed.next);
}
