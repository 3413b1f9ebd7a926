/* ring_names.c: see ring_names.h. */
#include "core/ring/ring_names.h"

#include <stdlib.h>

enum { SLOTS_MIN = 64 };

void ring_names_free(struct ring_names *names)
{
	free(names->slots);
	*names = (struct ring_names){0};
}

static bool is_named(const struct ring_collection *entry, const struct ring_collection *wanted)
{
	return entry->checksum == wanted->checksum && strcmp(entry->name, wanted->name) == 0 &&
		   strcmp(entry->schema, wanted->schema) == 0;
}

/* The slot of the collection with the names of `wanted`, or the free one where it would be. */
static uint32_t *slot_of(const struct ring *ring, const struct ring_collection *wanted)
{
	const struct ring_names *names = ring->names;
	uint32_t mask = names->slot_count - 1, at = (uint32_t)wanted->checksum & mask;

	while (names->slots[at] != 0 && !is_named(&ring->collections[names->slots[at] - 1], wanted))
		at = (at + 1) & mask;
	return &names->slots[at];
}

/* Returns false, nothing changed, out of memory. */
static bool make_room(struct ring_names *names, uint32_t count)
{
	uint32_t slot_count = names->slot_count == 0 ? SLOTS_MIN : names->slot_count;

	while (slot_count < 2 * count)
		slot_count *= 2;
	if (slot_count == names->slot_count)
		return true;
	uint32_t *slots = calloc(slot_count, sizeof(*slots));
	if (slots == NULL)
		return false;
	ring_names_free(names);
	*names = (struct ring_names){.slots = slots, .slot_count = slot_count};
	return true;
}

/* Enters what is new among the first `count`. Returns false out of memory. */
static bool bring_up_to_date(const struct ring *ring, uint32_t count)
{
	struct ring_names *names = ring->names;

	if (count < names->count)
		ring_names_free(names); /* the file was written over: whatever it holds now */
	if (!make_room(names, count))
		return false;
	for (; names->count < count; names->count++) {
		uint32_t *slot = slot_of(ring, &ring->collections[names->count]);
		if (*slot == 0)
			*slot = names->count + 1;
	}
	return true;
}

/* Without a table. */
static uint32_t find_one_by_one(const struct ring *ring, uint32_t count, const struct ring_collection *wanted)
{
	for (uint32_t id = 0; id < count; id++) {
		if (is_named(&ring->collections[id], wanted))
			return id;
	}
	return COLLECTION_NONE;
}

uint32_t ring_names_find(const struct ring *ring, uint32_t count, const struct ring_collection *wanted)
{
	if (!bring_up_to_date(ring, count))
		return find_one_by_one(ring, count, wanted);
	uint32_t slot = *slot_of(ring, wanted);
	return slot == 0 ? COLLECTION_NONE : slot - 1;
}
