/* published.c: see published.h. */
#include "feed/published.h"

#include <stdlib.h>
#include <xxhash.h>

#include "core/change.h"
#include "feed/arena.h"
#include "log.h"

/* One statement, so that LSN and tables come together. The LSN is read in each row; any of them will do. */
const struct query published_query = {
	"cannot read what is published",
	"SELECT " PUBLISHED_WAL_END ", t.schemaname, t.tablename, c.oid, c.relkind,"
	"       p.puballtables OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel r"
	"         WHERE r.prpubid = p.oid AND r.prrelid = c.oid)"
	"  FROM (VALUES ($1::pg_catalog.name)) publication (name)"
	"  LEFT JOIN pg_catalog.pg_publication p ON p.pubname = publication.name"
	"  LEFT JOIN pg_catalog.pg_publication_tables t ON t.pubname = p.pubname"
	"  LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname"
	"  LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename"
	"  ORDER BY t.schemaname, t.tablename",
};

const struct query published_wal_end_query = {"cannot read where the WAL ends", "SELECT " PUBLISHED_WAL_END};

enum { COLUMN_LSN, COLUMN_SCHEMA, COLUMN_TABLE, COLUMN_OID, COLUMN_KIND, COLUMN_BY_ITSELF };

static uint64_t fingerprint_of(const PGresult *result)
{
	XXH64_hash_t hash = 1;
	for (int row = 0; row < PQntuples(result); row++) {
		for (int column = COLUMN_SCHEMA; column <= COLUMN_TABLE; column++) {
			int size =
				PQgetlength(result, row, column) + 1; /* with the 0, which tells 'ab','c' from 'a','bc' */
			hash = XXH3_64bits_withSeed(PQgetvalue(result, row, column), (size_t)size, hash);
		}
	}
	return hash == 0 ? 1 : hash;
}

static void move_generation(struct published *published)
{
	live_store(&published->live->catalog_generation, live_figure(&published->live->catalog_generation) + 1);
}

static uint32_t collection_of(struct published *published, struct bytes schema, struct bytes name)
{
	uint32_t id = ring_writer_collection(published->writer, schema, name);
	if (id == COLLECTION_NONE && !published->full) {
		published->full = true;
		log_line(LOG_LEVEL_WARNING,
				 "the ring has no room for the names of more tables such as \"%.*s\": make it larger",
				 (int)name.size, name.data);
	}
	return id;
}

static bool is_published(const struct published *published, uint32_t id)
{
	struct collection collection;
	return ring_collection(published->ring, id, &collection) && collection.published;
}

static bool set_published(struct published *published, uint32_t id, bool wanted)
{
	if (is_published(published, id) == wanted)
		return false;
	ring_writer_set_published(published->writer, id, wanted);
	return true;
}

/* Publishes what the answer names and nothing else. Returns true if that changed anything. */
static bool apply_tables(struct published *published, const PGresult *result)
{
	struct arena arena = {0};
	int row_count = PQntuples(result);
	uint32_t *ids = arena_alloc(&arena, (size_t)row_count * sizeof(*ids));
	bool changed = false;

	for (int row = 0; row < row_count; row++) {
		ids[row] = COLLECTION_NONE;
		if (!PQgetisnull(result, row, COLUMN_TABLE))
			ids[row] = collection_of(published, bytes_of(PQgetvalue(result, row, COLUMN_SCHEMA)),
									 bytes_of(PQgetvalue(result, row, COLUMN_TABLE)));
	}
	uint32_t count = ring_collection_count(published->ring);
	bool *wanted = arena_alloc(&arena, count * sizeof(*wanted));
	for (int row = 0; row < row_count; row++) {
		if (ids[row] < count)
			wanted[ids[row]] = true;
	}
	for (uint32_t id = 0; id < count; id++)
		changed = set_published(published, id, wanted[id]) || changed;
	arena_free(&arena);
	return changed;
}

void published_begin(struct published *published, const struct relation_cache *relations, uint64_t from_lsn)
{
	published->relations = relations;
	published->begun_lsn = from_lsn;
	published->misnamed_lsn = 0;
}

static bool is_partitioned(const PGresult *result, int row)
{
	return PQgetvalue(result, row, COLUMN_KIND)[0] == 'p';
}

/* Tells the partitioned tables apart that are published because of the schema that they are in. 0: there are
 * none. */
static uint64_t with_schema(const PGresult *result)
{
	uint64_t sum = 0; /* in any order: a table that is renamed stays one of them */
	for (int row = 0; row < PQntuples(result); row++) {
		const char *oid = PQgetvalue(result, row, COLUMN_OID);
		if (is_partitioned(result, row) && PQgetvalue(result, row, COLUMN_BY_ITSELF)[0] == 'f')
			sum += XXH3_64bits(oid, strlen(oid));
	}
	return sum;
}

/* Whether the stream calls a table by another name than the catalog does, and may not notice. (It would of a
 * table without partitions that is moved, when that next changes.) */
static bool is_misnamed(const struct relation *relation, const PGresult *result, int row)
{
	bool same_schema = bytes_equal(relation->schema, bytes_of(PQgetvalue(result, row, COLUMN_SCHEMA)));
	bool same_name = bytes_equal(relation->name, bytes_of(PQgetvalue(result, row, COLUMN_TABLE)));
	return !same_schema || (is_partitioned(result, row) && !same_name);
}

static bool any_is_misnamed(const struct published *published, const PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++) {
		uint32_t oid = (uint32_t)strtoul(PQgetvalue(result, row, COLUMN_OID), NULL, 10);
		const struct relation *relation = relation_cache_get(published->relations, oid);
		if (relation != NULL && is_misnamed(relation, result, row))
			return true;
	}
	return false;
}

/* Compares what the stream has said, and could know, with an answer. */
static void compare_stream(struct published *published, const PGresult *result)
{
	uint64_t wal_end = live_figure(&published->live->server_lsn), now = with_schema(result);

	if (now != published->with_schema) {
		published->with_schema = now;
		published->with_schema_lsn = wal_end;
	}
	if (published->relations == NULL || !any_is_misnamed(published, result))
		published->misnamed_lsn = 0;
	else if (published->misnamed_lsn == 0)
		published->misnamed_lsn = wal_end;
}

/* The stream may be behind the catalog: it is outdated only once it has come to where that was seen. One that
 * began there knows. */
bool published_is_outdated(const struct published *published)
{
	uint64_t streamed = ring_writer_streamed_lsn(published->writer);

	return (published->misnamed_lsn != 0 && streamed >= published->misnamed_lsn) ||
		   (published->begun_lsn < published->with_schema_lsn && streamed >= published->with_schema_lsn);
}

void published_apply(struct published *published, const PGresult *result)
{
	struct ring_live *live = published->live;
	uint64_t history = live_figure(&live->history);
	uint64_t fingerprint = fingerprint_of(result);

	if (fingerprint != published->fingerprint || history != published->history) {
		bool changed = apply_tables(published, result);
		published->fingerprint = fingerprint;
		published->history = history;
		if (changed)
			move_generation(published);
	}
	published_wal_end(published, PQgetvalue(result, 0, COLUMN_LSN));
	compare_stream(published, result);
}

void published_wal_end(struct published *published, const char *lsn)
{
	live_figure_set(&published->live->server_lsn, strtoull(lsn, NULL, 10));
}

uint32_t published_mark(struct published *published, struct bytes schema, struct bytes name)
{
	uint32_t id = collection_of(published, schema, name);
	if (id != COLLECTION_NONE && set_published(published, id, true)) {
		published->fingerprint = 0;
		move_generation(published);
	}
	return id;
}
