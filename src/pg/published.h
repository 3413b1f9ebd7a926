/*
 * published.h: the tables of the publication, and who may read their changes.
 */
#ifndef CHANGEFEED_PG_PUBLISHED_H
#define CHANGEFEED_PG_PUBLISHED_H

#include "postgres.h"

#include "nodes/pg_list.h"

struct published_table {
	Oid namespace;
	Oid relation;
	char *schema;
	char *name;
	const char *ring_schema; /* the same in UTF-8, as the ring has them */
	const char *ring_name;
};

/*
 * The tables that `names` means: `table`, `schema.table`, a list of them separated by commas, or `*`. Each is
 * looked up exactly as it was given, then in lower case; without a schema in `public`. Returns a List of
 * struct published_table, palloc'd in the current context. ERROR undefined_object if one is not in the
 * publication, insufficient_privilege if the current user lacks USAGE on the schema of one of them or SELECT
 * on it, or is subject to its row-level security: the ring holds the rows as they were, and no policy can be
 * applied to them.
 */
List *published_tables_readable(const char *names);

#endif
