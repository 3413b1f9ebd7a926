/*
 * describe.c: see describe.h. One query brings the whole closure of the types that a relation needs, the
 * trees are linked afterwards. They are allocated in the relation's arena and live as long as it does.
 */
#include "feed/describe.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"

/* How long to wait for a transaction that others do not see yet: without a synchronous standby it is
 * microseconds. */
enum { VISIBILITY_TIMEOUT_US = 200 * MILLISECOND, VISIBILITY_NAP_MS = 1 };

/* ---- visibility */

/* A transaction holds the lock on its own xid until it is visible to all. */
static const struct query invisible_query = {
	"cannot look up a transaction",
	"SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'transactionid' AND granted"
	" AND mode = 'ExclusiveLock' AND transactionid = $1::pg_catalog.xid)",
};

bool visibility_await(struct catalog *catalog, uint32_t xid, bool *ret_visible, struct failure *failure)
{
	int64_t deadline_us = clock_monotonic_us() + VISIBILITY_TIMEOUT_US;
	char text[16];
	const char *parameters[] = {text, NULL};

	snprintf(text, sizeof(text), "%u", xid);
	for (;;) {
		PGresult *result = catalog_query(catalog, &invisible_query, parameters, failure);
		if (result == NULL)
			return false;
		*ret_visible = PQgetvalue(result, 0, 0)[0] == 'f';
		PQclear(result);
		if (*ret_visible || clock_monotonic_us() > deadline_us)
			return true;
		struct pollfd stop = {.fd = catalog->connection.stop_fd, .events = POLLIN};
		if (poll(&stop, 1, VISIBILITY_NAP_MS) > 0)
			return failure_set(failure, "stopping");
	}
}

/*
 * ---- types
 *
 * A row of the answer is a type, for a composite one type and one attribute. Its kind:
 *
 *   a   array of `child`
 *   d   domain over `child`
 *   c   composite with the attribute `field` of type `child`
 *   h   contrib's hstore
 *   t   anything else (enum, range, base type)
 *
 * For the last, to_jsonb() calls the function behind a cast to json if there is one (json_categorize_type in
 * PostgreSQL's json.c). Here they are text: the function is whatever a user of the database wrote, and the
 * feed, often a superuser, calls no such thing.
 */
static const struct query types_query = {
	"cannot look up types",
	"WITH RECURSIVE needed (oid) AS ("
	"  SELECT pg_catalog.unnest($1::pg_catalog.oid[])"
	"  UNION"
	"  SELECT child.oid FROM needed JOIN pg_catalog.pg_type t ON t.oid = needed.oid CROSS JOIN LATERAL ("
	"    SELECT t.typelem WHERE t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc"
	"    UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd'"
	"    UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a"
	"      WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped"
	"  ) child (oid)"
	")"
	"SELECT t.oid,"
	"       CASE WHEN t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc THEN 'a'"
	"            WHEN t.typtype IN ('c', 'd') THEN t.typtype"
	"            WHEN t.typname = 'hstore' AND EXISTS (SELECT FROM pg_catalog.pg_depend d"
	"                 JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'hstore'"
	"                 WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid"
	"                 AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e') "
	"THEN 'h'"
	"            ELSE 't' END,"
	"       COALESCE(a.atttypid, NULLIF(t.typbasetype, 0), t.typelem),"
	"       element.typdelim, a.attname,"
	"       pg_catalog.trunc(EXTRACT(epoch FROM pg_catalog.statement_timestamp()) * 1000000)"
	"  FROM needed JOIN pg_catalog.pg_type t ON t.oid = needed.oid"
	"  LEFT JOIN pg_catalog.pg_type element ON element.oid = t.typelem"
	"  LEFT JOIN pg_catalog.pg_attribute a ON t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0"
	"       AND NOT a.attisdropped"
	" ORDER BY t.oid, a.attnum",
};

enum { COLUMN_OID, COLUMN_KIND, COLUMN_CHILD, COLUMN_DELIMITER, COLUMN_FIELD, COLUMN_NOW };

/* Types in types, domains over domains: PostgreSQL has no limit, the stack has. */
enum { TYPE_DEPTH_MAX = 1000 };

static const struct type text_type = {.kind = TYPE_TEXT};
static const struct type hstore_type = {.kind = TYPE_HSTORE};

/* The types of one answer; a type is built when it is first asked for. */
struct type_builder {
	const PGresult *rows;
	struct arena *arena;
	const struct type **built; /* one for each row, set in the first row of a type */
	bool incomplete;           /* a type was not found */
	bool composite;            /* a type is, or contains, a composite */
	unsigned depth;            /* of the type that is being built, in the one that was asked for */
};

static uint32_t oid_at(const PGresult *rows, int row, int column)
{
	return (uint32_t)strtoul(PQgetvalue(rows, row, column), NULL, 10);
}

static int first_row(const PGresult *rows, uint32_t oid)
{
	int low = 0, high = PQntuples(rows);
	while (low < high) {
		int middle = low + (high - low) / 2;
		if (oid_at(rows, middle, COLUMN_OID) < oid)
			low = middle + 1;
		else
			high = middle;
	}
	return low < PQntuples(rows) && oid_at(rows, low, COLUMN_OID) == oid ? low : -1;
}

static const struct type *build_type(struct type_builder *builder, uint32_t oid);

static void build_array(struct type_builder *builder, int row, struct type *type)
{
	type->kind = TYPE_ARRAY;
	type->delimiter = PQgetvalue(builder->rows, row, COLUMN_DELIMITER)[0];
	type->element = build_type(builder, oid_at(builder->rows, row, COLUMN_CHILD));
}

static void build_composite(struct type_builder *builder, int row, struct type *type)
{
	const PGresult *rows = builder->rows;
	uint32_t oid = oid_at(rows, row, COLUMN_OID);
	int end = row;

	while (end < PQntuples(rows) && oid_at(rows, end, COLUMN_OID) == oid &&
		   !PQgetisnull(rows, end, COLUMN_FIELD))
		end++;
	unsigned count = (unsigned)(end - row);
	struct type_field *fields = arena_alloc(builder->arena, count * sizeof(*fields));
	for (unsigned i = 0; i < count; i++) {
		struct bytes name = bytes_of(PQgetvalue(rows, row + (int)i, COLUMN_FIELD));
		fields[i].name = arena_copy(builder->arena, name).data;
		fields[i].type = build_type(builder, oid_at(rows, row + (int)i, COLUMN_CHILD));
	}
	builder->composite = true;
	type->kind = TYPE_COMPOSITE;
	type->field_count = count;
	type->fields = fields;
}

static const struct type *build_type(struct type_builder *builder, uint32_t oid)
{
	const struct type *builtin = type_builtin(oid);
	int row = builtin != NULL ? -1 : first_row(builder->rows, oid);
	builder->incomplete = builder->incomplete || (builtin == NULL && row < 0);
	if (row < 0)
		return builtin != NULL ? builtin : &text_type;
	if (builder->built[row] != NULL)
		return builder->built[row];

	if (builder->depth == TYPE_DEPTH_MAX)
		return &text_type;

	struct type *type = arena_alloc(builder->arena, sizeof(*type));
	/* PostgreSQL forbids a type that contains itself, so this is never seen half made */
	builder->built[row] = type;
	builder->depth++;
	switch (PQgetvalue(builder->rows, row, COLUMN_KIND)[0]) {
	case 'a':
		build_array(builder, row, type);
		break;
	case 'c':
		build_composite(builder, row, type);
		break;
	case 'd':
		*type = *build_type(builder, oid_at(builder->rows, row, COLUMN_CHILD));
		break;
	case 'h':
		*type = hstore_type;
		break;
	default:
		*type = text_type;
	}
	builder->depth--;
	return type;
}

/* {1,2,3}: the OIDs that are not built in, as a parameter of the query. */
static void list_missing(const struct relation *relation, struct buffer *out)
{
	for (unsigned i = 0; i < relation->column_count; i++) {
		if (relation->columns[i].type == NULL)
			buffer_printf(out, "%s%u", out->size == 0 ? "{" : ",", relation->columns[i].type_oid);
	}
	buffer_append_char(out, '}');
}

static bool look_up_types(struct relation *relation, struct catalog *catalog, int64_t commit_us,
						  struct failure *failure)
{
	struct buffer oids = {0};
	struct arena scratch = {0};

	list_missing(relation, &oids);
	const char *parameters[] = {buffer_string(&oids), NULL};
	PGresult *rows = NULL;
	if (parameters[0] == NULL)
		failure_set(failure, "out of memory");
	else
		rows = catalog_query(catalog, &types_query, parameters, failure);
	buffer_free(&oids);
	if (rows == NULL)
		return false;
	struct type_builder builder = {.rows = rows, .arena = &relation->looked_up};
	builder.built = arena_alloc(&scratch, (size_t)PQntuples(rows) * sizeof(*builder.built));
	for (unsigned i = 0; i < relation->column_count; i++) {
		if (relation->columns[i].type == NULL)
			relation->columns[i].type = build_type(&builder, relation->columns[i].type_oid);
	}
	if (builder.composite) {
		/* an origin's clock may be ahead of this server's */
		int64_t now_us = strtoll(PQgetvalue(rows, 0, COLUMN_NOW), NULL, 10);
		relation->types_as_of_us = now_us > commit_us ? now_us : commit_us;
	}
	arena_free(&scratch);
	PQclear(rows);
	if (builder.incomplete && relation->unsettled_xid != 0)
		return failure_set(failure,
						   "transaction %u made types that nobody else sees before it ends waiting for a "
						   "synchronous standby",
						   relation->unsettled_xid);
	return true;
}

/* Asks a query whose one parameter is the table. Returns its rows, which the caller clears, or NULL. */
static PGresult *ask_about(const struct relation *relation, struct catalog *catalog,
						   const struct query *query, struct failure *failure)
{
	char oid[16];
	const char *parameters[] = {oid, NULL};

	snprintf(oid, sizeof(oid), "%u", relation->oid);
	return catalog_query(catalog, query, parameters, failure);
}

/* ---- the primary key */

static const struct query key_query = {
	"cannot look up a primary key",
	"SELECT a.attname FROM pg_catalog.pg_index i"
	" CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY k (attnum, place)"
	" JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
	" WHERE i.indrelid = $1::pg_catalog.oid AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place",
};

static bool look_up_key(struct relation *relation, struct catalog *catalog, struct failure *failure)
{
	struct arena scratch = {0};
	PGresult *rows = ask_about(relation, catalog, &key_query, failure);

	if (rows == NULL)
		return false;
	unsigned count = (unsigned)PQntuples(rows);
	struct bytes *names = arena_alloc(&scratch, count * sizeof(*names));
	for (unsigned i = 0; i < count; i++)
		names[i] = bytes_of(PQgetvalue(rows, (int)i, 0));
	relation_complete(relation, names, count);
	arena_free(&scratch);
	PQclear(rows);
	return true;
}

/*
 * ---- partitions
 *
 * ALTER TABLE ... REPLICA IDENTITY does not reach them. What WAL has of an old row is decided by the identity
 * of the partition that holds the row, what pgoutput says of it by that of the table that is published.
 * pg_partition_tree() would lock all of them.
 */
static const struct query partitions_query = {
	"cannot look up partitions",
	"WITH RECURSIVE tree (oid) AS ("
	"  SELECT $1::pg_catalog.oid"
	"  UNION ALL"
	"  SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid"
	")"
	"SELECT EXISTS (SELECT FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid"
	" WHERE c.relispartition AND c.relkind = 'r' AND c.relreplident <> 'f')",
};

static bool look_up_partitions(struct relation *relation, struct catalog *catalog, struct failure *failure)
{
	PGresult *rows = ask_about(relation, catalog, &partitions_query, failure);

	if (rows == NULL)
		return false;
	relation->has_keyed_partitions = PQgetvalue(rows, 0, 0)[0] == 't';
	PQclear(rows);
	return true;
}

bool describe_relation(struct relation *relation, struct catalog *catalog, uint32_t unsettled_xid,
					   int64_t commit_us, struct failure *failure)
{
	relation->unsettled_xid = unsettled_xid;
	if (relation_lacks_types(relation) && !look_up_types(relation, catalog, commit_us, failure))
		return false;
	if (relation->replica_identity == 'f' && !look_up_partitions(relation, catalog, failure))
		return false;
	return look_up_key(relation, catalog, failure);
}
