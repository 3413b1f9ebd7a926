/*
 * relation.c: see relation.h. The cache is a hash table with open addressing; tables leave it only when it is
 * rebuilt: by a sweep, and a new connection begins with a new cache.
 */
#include "feed/relation.h"

#include <stdlib.h>

#include "core/msgpack_text.h"

enum { CACHE_START = 64 };

struct relation_cache {
	struct relation **slots; /* capacity of them, a power of two, at most half full */
	size_t capacity;
	size_t count;
	size_t sweep_at; /* this many: twice what the last sweep left */
	uint64_t last_version;
};

/* ---- one relation */

static struct bytes pack_string(struct arena *arena, struct bytes text)
{
	struct buffer buffer = {0};
	msgpack_packer packer;
	msgpack_packer_init(&packer, &buffer, buffer_msgpack_write);
	pack_str(&packer, text);
	struct bytes packed = arena_copy(arena, buffer_bytes(&buffer));
	buffer_free(&buffer);
	return packed;
}

static struct bytes pack_key(struct relation *relation)
{
	struct buffer buffer = {0};
	msgpack_packer packer;
	msgpack_packer_init(&packer, &buffer, buffer_msgpack_write);
	msgpack_pack_array(&packer, relation->key_count);
	for (unsigned i = 0; i < relation->key_count; i++)
		buffer_append_bytes(&buffer, relation->columns[relation->key[i]].packed_name);
	struct bytes packed = arena_copy(&relation->looked_up, buffer_bytes(&buffer));
	buffer_free(&buffer);
	return packed;
}

static struct relation *relation_new(const struct pgoutput_message *message)
{
	struct arena arena = {0};
	struct relation *relation = arena_alloc(&arena, sizeof(*relation));

	relation->oid = message->relation.oid;
	relation->schema = arena_copy(&arena, message->relation.schema);
	relation->name = arena_copy(&arena, message->relation.name);
	relation->raw_name = arena_copy(&arena, message->relation.raw_name);
	relation->replica_identity = message->relation.replica_identity;
	relation->types_as_of_us = INT64_MAX;
	relation->column_count = message->relation.column_count;
	relation->columns = arena_alloc(&arena, relation->column_count * sizeof(*relation->columns));
	relation->key = arena_alloc(&arena, relation->column_count * sizeof(*relation->key));
	for (unsigned i = 0; i < relation->column_count; i++) {
		const struct pgoutput_column *from = &message->relation.columns[i];
		relation->columns[i] = (struct relation_column){
			.name = arena_copy(&arena, from->name),
			.packed_name = pack_string(&arena, from->name),
			.type_oid = from->type_oid,
			.type = type_builtin(from->type_oid),
			.is_identity = from->is_identity,
		};
	}
	relation->arena = arena;
	return relation;
}

static void relation_free(struct relation *relation)
{
	struct arena arena = relation->arena; /* which owns the relation, too */
	arena_free(&relation->looked_up);
	arena_free(&arena);
}

static unsigned count_identity(const struct relation *relation)
{
	unsigned count = 0;
	for (unsigned i = 0; i < relation->column_count; i++)
		count += relation->columns[i].is_identity;
	return count;
}

bool relation_lacks_types(const struct relation *relation)
{
	for (unsigned i = 0; i < relation->column_count; i++) {
		if (relation->columns[i].type == NULL)
			return true;
	}
	return false;
}

/* Takes those of these columns that are sent as the key, in this order. */
static void choose_named(struct relation *relation, const struct bytes *names, unsigned count)
{
	relation->key_count = 0;
	for (unsigned k = 0; k < count; k++) {
		unsigned i = 0;
		while (i < relation->column_count && !bytes_equal(relation->columns[i].name, names[k]))
			i++;
		if (i < relation->column_count && relation->key_count < relation->column_count)
			relation->key[relation->key_count++] = i;
	}
}

/* Whether the key has the columns that the stream's flags name, and no others. */
static bool key_is_identity(const struct relation *relation)
{
	unsigned flagged = 0;
	for (unsigned k = 0; k < relation->key_count; k++)
		flagged += relation->columns[relation->key[k]].is_identity;
	return flagged == relation->key_count && flagged == count_identity(relation);
}

static void choose_identity(struct relation *relation)
{
	relation->key_count = 0;
	for (unsigned i = 0; i < relation->column_count; i++) {
		if (relation->columns[i].is_identity)
			relation->key[relation->key_count++] = i;
	}
}

void relation_complete(struct relation *relation, const struct bytes *primary_key, unsigned count)
{
	choose_named(relation, primary_key, count);
	bool catalog_is_ahead =
		relation->replica_identity == 'd' && count_identity(relation) > 0 && !key_is_identity(relation);
	if (catalog_is_ahead || (relation->replica_identity == 'i' && count == 0))
		choose_identity(relation);
	else if (relation->key_count < count)
		relation->key_count = 0; /* different rows can have the same part of a key */
	relation->packed_key = pack_key(relation);
	for (unsigned i = 0; i < relation->column_count; i++) {
		static const struct type text = {.kind = TYPE_TEXT};
		if (relation->columns[i].type == NULL)
			relation->columns[i].type = &text;
	}
}

bool relation_is_stale(const struct relation *relation, uint32_t xid, int64_t commit_us)
{
	return (relation->unsettled_xid != 0 && relation->unsettled_xid != xid) ||
		   commit_us > relation->types_as_of_us;
}

void relation_reopen(struct relation *relation)
{
	relation->key_count = 0;
	relation->unsettled_xid = 0;
	relation->types_as_of_us = INT64_MAX;
	arena_free(&relation->looked_up);
	for (unsigned i = 0; i < relation->column_count; i++)
		relation->columns[i].type = type_builtin(relation->columns[i].type_oid);
}

/* ---- the cache */

struct relation_cache *relation_cache_new(void)
{
	struct relation_cache *cache = calloc(1, sizeof(*cache));
	if (cache == NULL)
		return NULL;
	cache->capacity = cache->sweep_at = CACHE_START;
	cache->slots = calloc(cache->capacity, sizeof(struct relation *));
	if (cache->slots == NULL) {
		free(cache);
		return NULL;
	}
	return cache;
}

void relation_cache_free(struct relation_cache *cache)
{
	if (cache == NULL)
		return;
	for (size_t i = 0; i < cache->capacity; i++) {
		if (cache->slots[i] != NULL)
			relation_free(cache->slots[i]);
	}
	free(cache->slots);
	free(cache);
}

/* Where this OID is, or the free slot where it belongs. */
static struct relation **find_slot(struct relation **slots, size_t capacity, uint32_t oid)
{
	size_t i = (oid * UINT32_C(2654435761)) & (capacity - 1); /* Knuth's multiplicative hash */
	while (slots[i] != NULL && slots[i]->oid != oid)
		i = (i + 1) & (capacity - 1);
	return &slots[i];
}

static bool cache_grow(struct relation_cache *cache)
{
	size_t capacity = cache->capacity * 2;
	struct relation **slots = calloc(capacity, sizeof(struct relation *));
	if (slots == NULL)
		return false;
	for (size_t i = 0; i < cache->capacity; i++) {
		if (cache->slots[i] != NULL)
			*find_slot(slots, capacity, cache->slots[i]->oid) = cache->slots[i];
	}
	free(cache->slots);
	cache->slots = slots;
	cache->capacity = capacity;
	return true;
}

struct relation *relation_cache_put(struct relation_cache *cache, const struct pgoutput_message *message)
{
	if (cache->count * 2 >= cache->capacity && !cache_grow(cache))
		return NULL;
	struct relation **slot = find_slot(cache->slots, cache->capacity, message->relation.oid);
	if (*slot != NULL)
		relation_free(*slot);
	else
		cache->count++;
	*slot = relation_new(message);
	(*slot)->version = ++cache->last_version;
	return *slot;
}

struct relation *relation_cache_get(const struct relation_cache *cache, uint32_t oid)
{
	return *find_slot(cache->slots, cache->capacity, oid);
}

static int compare_bytes(struct bytes a, struct bytes b)
{
	int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
	return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* By name; of one name the newest first. */
static int compare_relations(const void *left, const void *right)
{
	const struct relation *a = *(struct relation *const *)left, *b = *(struct relation *const *)right;
	int order = compare_bytes(a->raw_name, b->raw_name);
	return order != 0 ? order : (a->version < b->version) - (a->version > b->version);
}

/* Moves all to the front. */
static void gather_slots(struct relation_cache *cache)
{
	size_t count = 0;
	for (size_t i = 0; i < cache->capacity; i++) {
		if (cache->slots[i] != NULL)
			cache->slots[count++] = cache->slots[i];
	}
}

void relation_cache_sweep(struct relation_cache *cache)
{
	struct relation **slots = NULL, *newest = NULL;
	size_t count = cache->count;

	if (count >= cache->sweep_at)
		slots = calloc(cache->capacity, sizeof(struct relation *));
	if (slots == NULL)
		return; /* without memory the next transaction tries again */
	gather_slots(cache);
	qsort(cache->slots, count, sizeof(struct relation *), compare_relations);
	cache->count = 0;
	for (size_t i = 0; i < count; i++) {
		struct relation *relation = cache->slots[i];
		if (newest != NULL && bytes_equal(relation->raw_name, newest->raw_name)) {
			relation_free(relation);
			continue;
		}
		newest = relation;
		*find_slot(slots, cache->capacity, relation->oid) = relation;
		cache->count++;
	}
	free(cache->slots);
	cache->slots = slots;
	cache->sweep_at = cache->count < CACHE_START / 2 ? CACHE_START : 2 * cache->count;
}
