/*
 * published.c: see published.h.
 *
 * Data in: the catalog of the current database, the current user. Data out: tables. What is published is
 * asked of the catalog and not of the ring, so that a table can be named as soon as ALTER PUBLICATION has
 * committed.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/varlena.h"

#include "pg/compat.h"
#include "pg/database_text.h"
#include "pg/published.h"
#include "pg/settings.h"

/*
 * The operator is qualified because the caller's search_path must not decide what is equal. Names become OIDs
 * in C for the same reason.
 */
#define PUBLISHED_QUERY                                                                                      \
	"SELECT schemaname, tablename FROM pg_catalog.pg_publication_tables WHERE pubname "                      \
	"OPERATOR(pg_catalog.=) $1"

static struct published_table *published_table(const char *schema, const char *name)
{
	struct published_table *table = palloc(sizeof(*table));

	table->namespace = get_namespace_oid(schema, true);
	table->relation = OidIsValid(table->namespace) ? get_relname_relid(name, table->namespace) : InvalidOid;
	table->schema = pstrdup(schema);
	table->name = pstrdup(name);
	table->ring_schema = database_text_to_utf8(schema);
	table->ring_name = database_text_to_utf8(name);
	return table;
}

/* Without those that were dropped since. */
static List *published_tables(void)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {NAMEOID};
	NameData publication;
	Datum values[] = {NameGetDatum(&publication)};
	List *tables = NIL;

	namestrcpy(&publication, setting_publication);
	SPI_connect();
	if (SPI_execute_with_args(PUBLISHED_QUERY, 1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_publication_tables");
	for (uint64 row = 0; row < SPI_processed; row++) {
		char *schema = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1);
		char *name = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2);
		MemoryContext spi = MemoryContextSwitchTo(caller);
		struct published_table *table = published_table(schema, name);

		if (OidIsValid(table->relation))
			tables = lappend(tables, table);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return tables;
}

static struct published_table *find_table(List *tables, const char *schema, const char *name)
{
	ListCell *cell;

	foreach (cell, tables) {
		struct published_table *table = lfirst(cell);
		if (strcmp(table->schema, schema) == 0 && strcmp(table->name, name) == 0)
			return table;
	}
	return NULL;
}

_Noreturn static void refuse_unpublished(const char *schema, const char *name)
{
	const char *publication = quote_identifier(setting_publication);
	const char *table = quote_qualified_identifier(schema, name);

	if (!OidIsValid(get_publication_oid(setting_publication, true)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("publication \"%s\" does not exist in this database", setting_publication),
						errhint("CREATE PUBLICATION %s FOR TABLE %s WITH (publish_via_partition_root);",
								publication, table)));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("collection \"%s.%s\" is not published", schema, name),
			 errhint("ALTER PUBLICATION %s ADD TABLE %s;", publication, table)));
}

static struct published_table *resolve(List *tables, const char *given)
{
	const char *dot = strchr(given, '.');
	char *schema = dot == NULL ? pstrdup("public") : pnstrdup(given, dot - given);
	char *name = pstrdup(dot == NULL ? given : dot + 1);
	struct published_table *table = find_table(tables, schema, name);

	if (table == NULL)
		table = find_table(tables, asc_tolower(schema, strlen(schema)), asc_tolower(name, strlen(name)));
	if (table == NULL)
		refuse_unpublished(schema, name);
	return table;
}

/* As SELECT checks it: the schema, then the table. */
static void check_readable(const struct published_table *table)
{
	AclResult acl = schema_aclcheck(table->namespace, GetUserId());

	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_SCHEMA, table->schema);
	acl = pg_class_aclcheck(table->relation, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, get_relkind_objtype(get_rel_relkind(table->relation)), table->name);
	if (check_enable_rls(table->relation, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("row-level security of table \"%s\" applies to user \"%s\"", table->name,
							   GetUserNameFromId(GetUserId(), false)),
						errdetail("Retained changes cannot be filtered by policies.")));
}

List *published_tables_readable(const char *names)
{
	List *published = published_tables();
	List *wanted = NIL;
	ListCell *cell;

	if (strcmp(names, "*") == 0) {
		wanted = published;
	} else {
		char *rest = pstrdup(names);
		for (char *name; (name = strsep(&rest, ",")) != NULL;) {
			CHECK_FOR_INTERRUPTS();
			wanted = list_append_unique_ptr(wanted, resolve(published, name));
		}
	}
	foreach (cell, wanted)
		check_readable(lfirst(cell));
	return wanted;
}
