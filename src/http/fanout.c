/* fanout.c: see fanout.h. */
#include "http/fanout.h"

#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "http/list.h"

enum {
	KEPT_DIVISOR = 4, /* of the ring's size may be kept rendered */
	/* for struct fanout.work: to pass over somebody who does not want a change */
	ENTRY_COST = 4,
	AUDIENCE_COST = 64,
};

/* What is asked of each audience for each change stands here in a row: thousands of tenants are passed over
 * without a look at them. */
struct entry {
	struct audience *audience;
	unsigned which;            /* of its selection's collections: this entry is where its `places` says */
	unsigned operations;       /* that it wants, as struct filter has them */
	const char *tenant_column; /* as the options of its path have it; NULL: every tenant */
	uint64_t tenant;           /* its checksum */
};

struct audience_list {
	struct entry *entries;
	size_t size;
	size_t capacity;
};

static bool list_add(struct audience_list *list, struct audience *audience, unsigned which)
{
	const struct view *view = &audience->subscription.view;

	if (list->size == list->capacity) {
		size_t capacity = list->capacity == 0 ? 4 : list->capacity * 2;
		struct entry *entries = realloc(list->entries, capacity * sizeof(entries[0]));
		if (entries == NULL)
			return false;
		list->entries = entries;
		list->capacity = capacity;
	}
	audience->places[which] = (uint32_t)list->size;
	list->entries[list->size++] =
		(struct entry){audience, which, audience->scope.filter.operations,
					   view->tenant_column.size > 0 ? view->tenant_column.data : NULL,
					   XXH3_64bits(view->tenant.data, view->tenant.size)};
	return true;
}

/* The last entry takes the place of the one that goes. */
static void list_remove(struct audience_list *list, const struct audience *audience, unsigned which)
{
	uint32_t place = audience->places[which];
	struct entry last = list->entries[--list->size];

	list->entries[place] = last;
	last.audience->places[last.which] = place;
}

/* The list of a collection, made if need be. NULL out of memory. */
static struct audience_list *list_of(struct fanout *fanout, uint32_t collection)
{
	if (collection >= fanout->by_collection_size) {
		size_t size = (size_t)collection + 64;
		struct audience_list *lists = realloc(fanout->by_collection, size * sizeof(*lists));
		if (lists == NULL)
			return NULL;
		memset(lists + fanout->by_collection_size, 0, (size - fanout->by_collection_size) * sizeof(*lists));
		fanout->by_collection = lists;
		fanout->by_collection_size = size;
	}
	return &fanout->by_collection[collection];
}

bool fanout_init(struct fanout *fanout, const struct ring *ring, struct reader_scratch *scratch)
{
	struct start now = {.kind = CURSOR_NOW};

	*fanout =
		(struct fanout){.ring = ring, .scratch = scratch, .all = calloc(1, sizeof(struct audience_list))};
	h2o_linklist_init_anchor(&fanout->audiences);
	h2o_linklist_init_anchor(&fanout->changed);
	for (int i = 0; i < AUDIENCE_CHAINS; i++)
		h2o_linklist_init_anchor(&fanout->chains[i]);
	uint64_t share = ring_capacity(ring) / KEPT_DIVISOR;
	segments_kept_init(&fanout->kept, share < SEGMENTS_KEPT_MAX ? share : SEGMENTS_KEPT_MAX);
	fanout->history = live_load(&ring_live(ring)->history);
	fanout->origin = ring_identity(fanout->ring);
	ring_seek(ring, &now, &fanout->place);
	/* clients choose their keys */
	return fanout->all != NULL && getrandom(&fanout->seed, sizeof(fanout->seed), 0) == sizeof(fanout->seed);
}

/* ---- audiences */

/* Enters an audience where the drain looks. Returns false, the lists as they were, out of memory. */
static bool enlist(struct fanout *fanout, struct audience *audience)
{
	if (audience->selection.all)
		return list_add(fanout->all, audience, 0);
	for (unsigned i = 0; i < audience->selection.count; i++) {
		struct audience_list *list = list_of(fanout, audience->selection.collections[i]);
		if (list == NULL || !list_add(list, audience, i)) {
			while (i-- > 0)
				list_remove(list_of(fanout, audience->selection.collections[i]), audience, i);
			return false;
		}
	}
	return true;
}

/* Counts what an audience wants: once more, or once less. */
static void count_wanted(struct fanout *fanout, const struct audience *audience, int by)
{
	for (uint64_t left = audience_wanted(audience); left != 0; left &= left - 1) {
		uint64_t bit = left & -left;
		unsigned *count = &fanout->wanted_by[__builtin_ctzll(left)];
		*count += (unsigned)by;
		fanout->wanted = *count == 0 ? fanout->wanted & ~bit : fanout->wanted | bit;
	}
}

static h2o_linklist_t *chain_of(struct fanout *fanout, struct bytes key)
{
	return &fanout->chains[XXH3_64bits_withSeed(key.data, key.size, fanout->seed) % AUDIENCE_CHAINS];
}

static struct audience *find_audience(struct fanout *fanout, struct bytes key,
									  const struct changefeed_options *options)
{
	LIST_EACH (struct audience, chain_link, audience, chain_of(fanout, key)) {
		if (audience->options == options && bytes_equal(buffer_bytes(&audience->key), key))
			return audience;
	}
	return NULL;
}

/* Returns NULL, with nothing changed, out of memory. */
static struct audience *add_audience(struct fanout *fanout, struct audience *audience)
{
	if (audience == NULL || !enlist(fanout, audience)) {
		audience_free(audience);
		return NULL;
	}
	h2o_linklist_insert(&fanout->audiences, &audience->link);
	h2o_linklist_insert(chain_of(fanout, buffer_bytes(&audience->key)), &audience->chain_link);
	fanout->audience_count++;
	count_wanted(fanout, audience, 1);
	return audience;
}

struct audience *fanout_join(struct fanout *fanout, struct subscription *subscription,
							 const struct selection *selection, const struct changefeed_options *options)
{
	struct buffer key = {0};
	selection_key(selection, subscription, &key);
	struct audience *audience = key.failed ? NULL : find_audience(fanout, buffer_bytes(&key), options);

	if (audience == NULL && !key.failed && fanout->audience_count < AUDIENCES_MAX)
		audience =
			add_audience(fanout, audience_make(fanout, subscription, selection, options, buffer_bytes(&key)));
	if (audience != NULL)
		audience->members++;
	buffer_free(&key);
	return audience;
}

void fanout_leave(struct audience *audience)
{
	struct fanout *fanout = audience->fanout;

	if (--audience->members > 0)
		return;
	count_wanted(fanout, audience, -1);
	if (audience->selection.all)
		list_remove(fanout->all, audience, 0);
	for (unsigned i = 0; i < audience->selection.count; i++)
		list_remove(list_of(fanout, audience->selection.collections[i]), audience, i);
	h2o_linklist_unlink(&audience->link);
	h2o_linklist_unlink(&audience->chain_link);
	fanout->audience_count--;
	list_leave(&audience->changed_link);
	audience_free(audience);
}

/* ---- the drain */

/* A change that is offered to those who may want it. */
struct offer {
	const struct record *record;
	bool loaded; /* the document has been read */
	struct document document;
	const char *tenant_column; /* that the owners are of; NULL: not looked at */
	bool everybody;
	uint64_t before, after; /* checksums of the owners */
};

/* Returns false if the ring passed the change, or out of memory. */
static bool load(struct fanout *fanout, struct offer *offer)
{
	offer->loaded = offer->loaded || reader_load(fanout->ring, offer->record, fanout->scratch,
												 &offer->document) == READER_LOADED;
	return offer->loaded;
}

/* Whether a change that is loaded may be of the tenant whose checksum the entry has. */
static bool may_be_of(struct offer *offer, const struct entry *entry)
{
	if (offer->tenant_column != entry->tenant_column) {
		struct owners owners;
		document_owners(&offer->document, bytes_of(entry->tenant_column), &owners);
		offer->tenant_column = entry->tenant_column;
		offer->everybody = owners.everybody;
		offer->before = XXH3_64bits(owners.before.data, owners.before.size);
		offer->after = XXH3_64bits(owners.after.data, owners.after.size);
	}
	return offer->everybody || offer->before == entry->tenant || offer->after == entry->tenant;
}

/* Renders a change for an audience whose filter lets it through. Returns false if it cannot be read. */
static bool render_for(struct audience *audience, struct offer *offer)
{
	struct place behind = {offer->record->next, offer->record->change.id};

	if (!load(audience->fanout, offer))
		return false;
	audience_offer(audience, &offer->document, &behind);
	return true;
}

static bool render_list(struct fanout *fanout, const struct audience_list *list, struct offer *offer)
{
	fanout->work += list->size * ENTRY_COST;
	for (size_t i = 0; i < list->size; i++) {
		const struct entry *entry = &list->entries[i];
		if ((entry->operations & 1u << offer->record->change.operation) == 0)
			continue;
		if (entry->tenant_column != NULL && !load(fanout, offer))
			return false;
		if (entry->tenant_column != NULL && !may_be_of(offer, entry))
			continue;
		if (!render_for(entry->audience, offer))
			return false;
	}
	return true;
}

/* A message belongs to no table: whoever wants messages gets it. */
static bool render_message(struct fanout *fanout, struct offer *offer)
{
	fanout->work += (size_t)fanout->audience_count * AUDIENCE_COST;
	LIST_EACH (struct audience, link, audience, &fanout->audiences) {
		bool wanted = filter_matches(&audience->scope.filter, &offer->record->change);
		if (wanted && !render_for(audience, offer))
			return false;
	}
	return true;
}

static bool render_record(struct fanout *fanout, const struct record *record)
{
	struct offer offer;
	uint32_t collection = record->change.collection;

	if (record->kind != RECORD_CHANGE)
		return true;
	offer.record = record;
	offer.loaded = false;
	offer.tenant_column = NULL;
	if (record->change.operation == OPERATION_MESSAGE)
		return render_message(fanout, &offer);
	return render_list(fanout, fanout->all, &offer) &&
		   (collection >= fanout->by_collection_size ||
			render_list(fanout, &fanout->by_collection[collection], &offer));
}

static enum fanout_drain start_over(struct fanout *fanout)
{
	struct start now = {.kind = CURSOR_NOW};

	LIST_EACH (struct audience, link, audience, &fanout->audiences)
		audience_break(audience, fanout->new_history);
	ring_seek(fanout->ring, &now, &fanout->place);
	return FANOUT_BROKEN;
}

/* The feed is about to announce another history, see ring_publish_state(): then it wakes us. */
static bool is_changing(const struct fanout *fanout, uint64_t history)
{
	return history == 0 && fanout->history != 0;
}

static enum fanout_drain meet_history(struct fanout *fanout, uint64_t history)
{
	fanout->new_history = true;
	fanout->history = history;
	fanout->origin = ring_identity(fanout->ring);
	return start_over(fanout);
}

/* Everything that ends at or before `streamed` was in the ring already. */
static enum fanout_drain drain_history(struct fanout *fanout, uint64_t streamed, uint64_t budget)
{
	fanout->full = false;
	fanout->work = 0;
	while (!fanout->full && fanout->work < RENDER_BUDGET &&
		   fanout->place.position - fanout->began.position < budget) {
		struct record record;
		enum ring_read result = ring_read(fanout->ring, fanout->place.position, &record);
		if (result == RING_READ_END) {
			place_follow(&fanout->place, streamed);
			bool moved = fanout->place.position != fanout->began.position ||
						 cursor_compare(fanout->began.cursor, fanout->place.cursor) != 0;
			return moved ? FANOUT_DRAINED : FANOUT_IDLE;
		}
		if (result != RING_READ_OK || !render_record(fanout, &record))
			return start_over(fanout);
		place_advance(&fanout->place, &record);
	}
	return FANOUT_MORE;
}

enum fanout_drain fanout_drain(struct fanout *fanout, uint64_t budget)
{
	const struct ring_live *live = ring_live(fanout->ring);
	/* first: then it is of this history, or of an older one */
	uint64_t streamed = live_load(&live->streamed_lsn);
	uint64_t history = live_load(&live->history);

	fanout->began = fanout->place;
	fanout->new_history = false;
	if (is_changing(fanout, history))
		return FANOUT_IDLE;
	if (history != fanout->history)
		return meet_history(fanout, history);
	enum fanout_drain drain = drain_history(fanout, streamed, budget);
	/* the positions of one that has begun meanwhile follow on: whoever is sent of it has to be told first */
	history = live_load(&live->history);
	bool goes_on = history == fanout->history || is_changing(fanout, history);
	return goes_on ? drain : meet_history(fanout, history);
}

bool fanout_has_news(const struct fanout *fanout)
{
	const struct ring_live *live = ring_live(fanout->ring);
	struct place place = fanout->place;
	uint64_t history = live_load(&live->history);

	if (is_changing(fanout, history))
		return false;
	if (live_load(&live->head) != place.position || history != fanout->history)
		return true;
	place_follow(&place, live_load(&live->streamed_lsn));
	return cursor_compare(place.cursor, fanout->place.cursor) != 0;
}

/* ---- what leaves the publication */

bool fanout_find_losses(struct fanout *fanout)
{
	const struct ring_live *live = ring_live(fanout->ring);
	uint64_t generation = live_load(&live->catalog_generation);
	bool found = false;

	if (generation == fanout->catalog_generation)
		return false;
	fanout->catalog_generation = generation;
	LIST_EACH (struct audience, link, audience, &fanout->audiences)
		found = audience_find_losses(audience) || found;
	return found;
}

void fanout_settle(struct fanout *fanout)
{
	while (!h2o_linklist_is_empty(&fanout->changed))
		h2o_linklist_unlink(fanout->changed.next);
}
