/*
 * relation.h: what the stream has said about the published tables, and the cache that remembers it.
 *
 * Data in: Relation messages (pgoutput.h), and what only the catalog knows (describe.h). Data out: everything
 * that row.c needs to pack a row, prepared once.
 *
 *   relation_cache_put()     a new version: names, identity, built-in types
 *   relation_lacks_types()   whether the catalog is to be asked for types, too
 *   relation_complete()      with the answer; from then on the relation can be used
 *
 * A version is replaced as a whole when its Relation message comes again. What came from the catalog can be
 * stale before: see relation_is_stale(). It deliberately does not talk to the server.
 */
#ifndef CHANGEFEED_FEED_RELATION_H
#define CHANGEFEED_FEED_RELATION_H

#include "core/bytes.h"
#include "core/upstream/pgoutput.h"
#include "core/upstream/value.h"
#include "feed/arena.h"

struct relation_column {
	struct bytes name;        /* 0-terminated */
	struct bytes packed_name; /* the same as a MessagePack str */
	uint32_t type_oid;
	const struct type *type; /* NULL: to be asked of the catalog */
	bool is_identity;
};

struct relation {
	uint32_t oid;
	uint64_t version; /* numbers the Relation messages of a cache */
	bool ready;       /* described, and its collection known; both set by the stream at its first change */
	uint32_t collection;
	struct bytes schema;
	struct bytes name;
	struct bytes raw_name; /* schema and name before any conversion, which may give two tables the same */
	char replica_identity;
	/* REPLICA IDENTITY FULL, but not on every partition: an old row that is marked as full may hold a key
	 * only */
	bool has_keyed_partitions;
	/* the catalog was asked before this transaction was visible, so it is asked again in another one; else
	 * 0 */
	uint32_t unsettled_xid;
	/* when the catalog was asked for composite types, which ALTER TYPE changes without a word in the stream;
	 * INT64_MAX: there are none */
	int64_t types_as_of_us;
	unsigned column_count;
	struct relation_column *columns;
	unsigned key_count;
	unsigned *key;           /* indexes of columns, in the key's order */
	struct bytes packed_key; /* MessagePack array of their names */
	struct arena arena;      /* owns all of the above */
	struct arena looked_up;  /* but packed_key and types from the catalog, which may be asked again */
};

/* Whether it has types that are not built in. */
bool relation_lacks_types(const struct relation *relation);

/*
 * Chooses the key and prepares it: `primary_key` are the names of the catalog's primary key in its order
 * (none: count 0). With identity 'd' the stream's own flags win if they name other columns, because the
 * catalog may be ahead of the stream; without a primary key the replica identity's index serves. A key that
 * is not sent whole (it has generated columns, or others that the publication leaves out) is none. Types that
 * are still NULL become text.
 */
void relation_complete(struct relation *relation, const struct bytes *primary_key, unsigned count);

/* Whether a transaction that committed then may have seen other types than the catalog gave. */
bool relation_is_stale(const struct relation *relation, uint32_t xid, int64_t commit_us);

/* Forgets what came from the catalog, to ask it again. */
void relation_reopen(struct relation *relation);

struct relation_cache;

/* Returns NULL out of memory. */
struct relation_cache *relation_cache_new(void);
void relation_cache_free(struct relation_cache *cache);

/* Makes a version from a Relation message, instead of any older one of that table. The cache owns it. NULL
 * out of memory. */
struct relation *relation_cache_put(struct relation_cache *cache, const struct pgoutput_message *message);

/* Returns NULL if no Relation message has come for this OID. */
struct relation *relation_cache_get(const struct relation_cache *cache, uint32_t oid);

/*
 * Between transactions: once there are many, forgets tables whose name another one has since, because they
 * were dropped. (One that was only renamed is described again before its next change.) What
 * relation_cache_get() gave before is invalid then.
 */
void relation_cache_sweep(struct relation_cache *cache);

#endif
