/* ring.c: a ring's records and collections, for its readers. See ring.h, and ring_layout.h for the rules. */
#include "core/ring/ring.h"

#include <xxhash.h>

#include "core/ring/ring_names.h"

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

/* `damaged` is the number of the kernel's run: after a crash of the machine the live area can hold anything. */
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
		   header->operation < OPERATION_COUNT &&
		   (header->operation == OPERATION_MESSAGE ||
			header->collection < ring->sections.collection_capacity);
}

static bool names_one_of(const struct ring_record_header *header, uint32_t collections)
{
	bool names_one = header->kind == RECORD_CHANGE && header->operation != OPERATION_MESSAGE;
	return !names_one || header->collection < collections;
}

bool ring_record_is_whole(const struct ring *ring, uint64_t position, uint64_t room, uint32_t collections,
						  struct ring_record_header *ret_header)
{
	const char *at = ring_at(ring, position);
	struct ring_record_header header = ring_header_at(ring, position);

	if (!ring_header_plausible(ring, &header) || header.size > room || !names_one_of(&header, collections) ||
		header.checksum != ring_record_checksum(at, header.size, header.epoch, position))
		return false;
	*ret_header = header;
	return true;
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

	if (!ring_still_retained(ring, record->position))
		return RING_READ_OVERRUN;
	if (!whole)
		ring_set_damaged(ring);
	return whole ? RING_READ_OK : RING_READ_DAMAGED;
}

enum ring_read ring_read(const struct ring *ring, uint64_t position, struct record *ret_record)
{
	if (position >= ring_head(ring))
		return RING_READ_END;
	struct ring_record_header header = ring_header_at(ring, position);
	uint64_t end_lsn = header.kind == RECORD_COMMIT ? ring_end_lsn_at(ring, position) : 0;
	if (!ring_still_retained(ring, position))
		return RING_READ_OVERRUN;
	if (!ring_header_plausible(ring, &header)) {
		ring_set_damaged(ring);
		return RING_READ_DAMAGED;
	}
	record_from_header(&header, position, end_lsn, ret_record);
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

/* ---- collections */

uint64_t ring_collection_checksum(const struct ring_collection *collection)
{
	return XXH3_64bits(collection->schema, sizeof(collection->schema) + sizeof(collection->name));
}

uint32_t ring_collection_count(const struct ring *ring)
{
	uint32_t count = live_load(&ring->live->collection_count), capacity = ring->sections.collection_capacity;
	/* after a crash of the machine, and before the feed has seen to it, the live area can hold anything */
	return count < capacity ? count : capacity;
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

static void put_name(char to[COLLECTION_NAME_SIZE], struct bytes name)
{
	size_t size = name.size < COLLECTION_NAME_SIZE ? name.size : COLLECTION_NAME_SIZE - 1;
	memset(to, 0, COLLECTION_NAME_SIZE);
	memcpy(to, name.data, size);
}

struct ring_collection ring_collection_named(struct bytes schema, struct bytes name)
{
	struct ring_collection collection = {0};
	put_name(collection.schema, schema);
	put_name(collection.name, name);
	collection.checksum = ring_collection_checksum(&collection);
	return collection;
}

bool ring_find_published(const struct ring *ring, struct bytes schema, struct bytes name,
						 struct collection *ret_collection)
{
	struct ring_collection wanted = ring_collection_named(schema, name);
	uint32_t id = ring_names_find(ring, ring_collection_count(ring), &wanted);

	if (id == COLLECTION_NONE || live_figure(&ring->collections[id].published) == 0)
		return false;
	collection_copy(ring, id, ret_collection);
	return true;
}
