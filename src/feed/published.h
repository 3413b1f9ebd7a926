/*
 * published.h: which tables the publication holds, and where the server's WAL ends: what is asked of the
 * catalog again and again, and how the answer reaches the readers of the ring.
 *
 * Data in: the result of published_query. Data out: the ring's collections and their `published`,
 * live->catalog_generation (moved only when something changed), live->server_lsn.
 */
#ifndef CHANGEFEED_FEED_PUBLISHED_H
#define CHANGEFEED_FEED_PUBLISHED_H

#include "core/ring/ring_writer.h"
#include "feed/connection.h"
#include "feed/relation.h"

struct published {
	struct ring *ring;
	struct ring_live *live;
	struct ring_writer *writer;
	uint64_t fingerprint; /* of the last answer that was applied, 0: whatever comes is news */
	uint64_t history;     /* in which it was applied */
	bool full;            /* the ring's table of collections is, and the log says so */
	const struct relation_cache *relations; /* what the stream has said; NULL: there is none */
	uint64_t begun_lsn;                     /* where it began */
	uint64_t with_schema; /* of the partitioned tables that are published with their schema */
	/* where the WAL ended when these were first seen to be others, and when the stream was first seen to call a
	 * table by another name than the catalog; 0: they were not, it does not */
	uint64_t with_schema_lsn, misnamed_lsn;
};

/*
 * SQL for the end of the server's WAL. A standby has no insert position: there what was received is the end, or
 * what was replayed, where that comes from an archive.
 */
#define PUBLISHED_WAL_END                                                                                    \
	"CASE WHEN pg_catalog.pg_is_in_recovery()"                                                               \
	" THEN GREATEST(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())"              \
	" ELSE pg_catalog.pg_current_wal_insert_lsn() END - '0/0'::pg_catalog.pg_lsn"

/* The query; its one parameter is the publication's name. Locks each table from version 16 on. */
extern const struct query published_query;

/* Applies an answer. */
void published_apply(struct published *published, const PGresult *result);

/* A stream begins at that LSN, which will say what its tables are called; NULL: it ends. */
void published_begin(struct published *published, const struct relation_cache *relations, uint64_t from_lsn);

/*
 * Whether the stream goes on calling a table by a name that it no longer has, or takes it for published, or not,
 * with a schema in which it no longer is. A walsender looks only at the partition that a change is in, and so
 * does not notice that its table was renamed or moved; nor, before version 16, that a schema was renamed. The
 * next walsender knows.
 */
bool published_is_outdated(const struct published *published);

/* The same for the end of the WAL alone, without parameters, and what PUBLISHED_WAL_END gave. */
extern const struct query published_wal_end_query;
void published_wal_end(struct published *published, const char *lsn);

/*
 * The number of the collection of a table that the stream names, made and marked as published if it was not:
 * a table can send its first changes before the catalog was asked. COLLECTION_NONE when the ring has no room for
 * its name.
 */
uint32_t published_mark(struct published *published, struct bytes schema, struct bytes name);

#endif
