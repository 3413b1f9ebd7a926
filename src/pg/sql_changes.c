/*
 * sql_changes.c: changefeed.changes(), the ring as rows.
 *
 * Data in: names of collections, a cursor, the ring. Data out: a row for each change behind the cursor, in
 * the order of changes, with the rows of the table as jsonb. Invariants: nothing of a table that the caller
 * may not read; a gap is a WARNING with the number of changes that are gone; what the core allocated is freed
 * with the call's memory context, also after an error. It deliberately does not wait for changes: that is
 * changefeed.wait_for().
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"

#include "core/msgpack_text.h"
#include "core/reader.h"
#include "core/render/json.h"
#include "pg/compat.h"
#include "pg/database_text.h"
#include "pg/local_ring.h"
#include "pg/published.h"
#include "pg/sql_row.h"

PG_FUNCTION_INFO_V1(changefeed_changes);

/* As in pg_changefeed--0.1.sql. */
enum { MAX_CHANGES_DEFAULT = 100 };

/* How much history is walked between two looks at whether the query was cancelled. */
enum { WALK_BYTES = 1 << 20 };

/* What the core allocates outside of PostgreSQL's memory contexts; `release` frees it with the context it was
 * made in. */
struct core_memory {
	struct reader_scratch scratch;
	struct buffer json;
	MemoryContextCallback release;
};

/* Where rows go. `row` is reset after each. */
struct output {
	ReturnSetInfo *result;
	struct core_memory *core;
	MemoryContext row;
};

static void free_core_memory(void *argument)
{
	struct core_memory *core = argument;

	reader_scratch_free(&core->scratch);
	buffer_free(&core->json);
}

static struct core_memory *make_core_memory(void)
{
	struct core_memory *core = palloc0(sizeof(*core));

	if (!reader_scratch_init(&core->scratch))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	core->release.func = free_core_memory;
	core->release.arg = core;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &core->release);
	return core;
}

static int compare_tables(const void *left, const void *right)
{
	const struct published_table *a = *(void *const *)left, *b = *(void *const *)right;
	int order = strcmp(a->ring_name, b->ring_name);

	return order != 0 ? order : strcmp(a->ring_schema, b->ring_schema);
}

/* By what the ring calls them: there may be thousands, and as many collections to look for among them. */
static const struct published_table **sort_tables(List *tables)
{
	const struct published_table **sorted = palloc(sizeof(*sorted) * list_length(tables));
	ListCell *cell;

	foreach (cell, tables)
		sorted[foreach_current_index(cell)] = lfirst(cell);
	qsort(sorted, list_length(tables), sizeof(*sorted), compare_tables);
	return sorted;
}

/* The collections of these tables. A table that the ring does not know has no changes in it yet. */
static struct filter filter_of(const struct ring *ring, List *tables)
{
	const struct published_table **sorted = sort_tables(tables);
	uint32_t known = ring_collection_count(ring), count = 0;
	uint32_t *numbers = palloc(sizeof(*numbers) * (known + 1));

	for (uint32_t number = 0; number < known; number++) {
		struct collection collection;

		CHECK_FOR_INTERRUPTS();
		if (!ring_collection(ring, number, &collection))
			continue;
		struct published_table wanted = {.ring_schema = collection.schema, .ring_name = collection.name};
		const struct published_table *key = &wanted;
		if (bsearch(&key, sorted, list_length(tables), sizeof(*sorted), compare_tables) != NULL)
			numbers[count++] = number;
	}
	return (struct filter){.collection_count = count, .collections = numbers, .operations = OPERATIONS_ROWS};
}

/* The start as the caller gives it: an LSN, or with `since_n` a change. */
static struct start start_of(XLogRecPtr since, int64 since_n)
{
	if (since == InvalidXLogRecPtr)
		return (struct start){.kind = CURSOR_EARLIEST};
	if (since_n > 0)
		return (struct start){.kind = CURSOR_EVENT, .at = {.lsn = since, .n = (uint64_t)since_n}};
	return (struct start){.kind = CURSOR_LSN, .at = {.lsn = since}};
}

/* On a standby the end of the primary's WAL is not known. */
static bool beyond_wal(const struct start *start)
{
	return start->kind != CURSOR_EARLIEST && !RecoveryInProgress() && start->at.lsn > GetXLogInsertRecPtr();
}

/*
 * Returns NULL, or why jsonb cannot hold this JSON. It refuses what json takes: \u0000, lone surrogates,
 * characters that the database's encoding lacks, numbers beyond numeric, more than 256 MB, and too many
 * elements: 16.8 million of an array are an allocation of 1 GB, which is an internal error. All that is caught
 * without a subtransaction, because jsonb_in() does nothing that would have to be undone but allocate.
 */
static const char *parse_jsonb(struct bytes json, Datum *ret_jsonb)
{
	MemoryContext caller = CurrentMemoryContext;
	const char *volatile refusal = NULL;

	if (json.size >= MaxAllocSize)
		return "it has 1 GB";
	PG_TRY();
	{
		*ret_jsonb = DirectFunctionCall1(jsonb_in, CStringGetDatum(database_text_from_utf8(json)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		ErrorData *error = CopyErrorData();
		int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
			error->sqlerrcode != ERRCODE_INTERNAL_ERROR)
			PG_RE_THROW();
		FlushErrorState();
		refusal = error->message;
	}
	PG_END_TRY();
	return refusal;
}

static bool jsonb_takes(struct bytes json)
{
	Datum jsonb;

	return parse_jsonb(json, &jsonb) == NULL;
}

static const char *render_jsonb(struct buffer *json, const msgpack_object *value, struct json_options options,
								Datum *ret_jsonb)
{
	buffer_clear(json);
	json_append_value(json, value, options);
	if (json->failed)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return parse_jsonb(buffer_bytes(json), ret_jsonb);
}

/*
 * A row of the table; null if the change does not have it. Whatever it holds, the caller gets past it: of a
 * row that jsonb refuses, the json values that are to blame become strings; what is too large is null.
 */
static void put_jsonb(struct sql_row *row, struct buffer *json, const struct document *document,
					  const msgpack_object *value)
{
	const char *refusal = NULL;
	Datum jsonb = (Datum)0;

	if (value != NULL) {
		refusal = render_jsonb(json, value, (struct json_options){0}, &jsonb);
		if (refusal != NULL)
			refusal = render_jsonb(json, value, (struct json_options){.takes_json = jsonb_takes}, &jsonb);
	}
	if (refusal != NULL)
		ereport(WARNING,
				(errmsg("a row of change " UINT64_FORMAT "-" UINT64_FORMAT " cannot be shown as jsonb",
						document->change->id.lsn, document->change->id.n),
				 errdetail_internal("%s", refusal)));
	if (value == NULL || refusal != NULL)
		sql_row_put_null(row);
	else
		sql_row_put(row, jsonb);
}

static void put_change(struct output *output, const struct document *document)
{
	const struct change *change = document->change;
	const msgpack_object *key = document->document_id;
	MemoryContext caller = MemoryContextSwitchTo(output->row);
	struct sql_row row = {0};

	sql_row_put_text(&row, bytes_of(psprintf(UINT64_FORMAT "-" UINT64_FORMAT, change->id.lsn, change->id.n)));
	sql_row_put_lsn(&row, change->id.lsn);
	sql_row_put_int8(&row, change->id.n);
	sql_row_put_text(&row, document->name);
	sql_row_put_text(&row, bytes_of(operation_name(change->operation)));
	if (key == NULL)
		sql_row_put_null(&row);
	else
		sql_row_put_text(&row, str_bytes(key));
	sql_row_put_time(&row, change->commit_us);
	sql_row_put_int8(&row, change->xid);
	if (document->oversize)
		ereport(WARNING, (errmsg("change " UINT64_FORMAT "-" UINT64_FORMAT " has no row", change->id.lsn,
								 change->id.n),
						  errdetail("The row was too large for the ring.")));
	put_jsonb(&row, &output->core->json, document, document->new_row);
	put_jsonb(&row, &output->core->json, document, document->old_row);
	Assert(row.count == output->result->setDesc->natts);
	tuplestore_putvalues(output->result->setResult, output->result->setDesc, row.values, row.nulls);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(output->row);
}

static void put_changes(struct output *output, struct reader *reader, int32 max_changes)
{
	for (int32 count = 0; count < max_changes;) {
		struct document document;
		uint64_t budget = WALK_BYTES, lagged;

		CHECK_FOR_INTERRUPTS();
		enum reader_event event = reader_next(reader, &output->core->scratch, &budget, &document, &lagged);
		if (reader_is_outdated(reader)) {
			reader_begin_anew(reader);
			if (!local_ring_is_ours(reader->ring))
				local_ring_refuse();
			event = READER_FOREIGN;
		}
		switch (event) {
		case READER_CHANGE:
			put_change(output, &document);
			count++;
			break;
		case READER_PAUSED:
		case READER_SKIPPED:
			break;
		case READER_END:
		case READER_WAITING:
			return;
		case READER_GAP:
			ereport(WARNING, (errmsg("lagged " UINT64_FORMAT " events", lagged),
							  errdetail("So many changes after the given position are no longer retained."),
							  errhint("Read more often, or raise changefeed.ring_size.")));
			break;
		case READER_FOREIGN:
			ereport(WARNING, (errmsg("the given position is from another history"),
							  errdetail("The oldest changes that are retained follow."),
							  errhint("There is a new replication slot, or the position is of another "
									  "server: take a new snapshot of the table.")));
			break;
		case READER_DAMAGED:
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the ring of pg_changefeed is damaged"),
							errdetail("A new one is made within a second, with a new history.")));
			break;
		case READER_FAILED:
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
		}
	}
}

/* An empty result would say that nothing happened, so no ring is an error. */
static void read_changes(ReturnSetInfo *result, List *tables, struct start start, int32 max_changes)
{
	struct output output = {.result = result};
	struct ring *ring = local_ring_open();
	struct reader reader;
	struct scope scope = {0};

	if (ring == NULL)
		local_ring_refuse();
	scope.filter = filter_of(ring, tables);
	output.core = make_core_memory();
	output.row =
		AllocSetContextCreate(CurrentMemoryContext, "changefeed.changes row", ALLOCSET_DEFAULT_SIZES);
	reader_init(&reader, ring, &scope, start);
	reader.foreign = beyond_wal(&start);
	put_changes(&output, &reader, max_changes);
}

Datum changefeed_changes(PG_FUNCTION_ARGS)
{
	XLogRecPtr since = PG_ARGISNULL(1) ? InvalidXLogRecPtr : PG_GETARG_LSN(1);
	int32 max_changes = PG_ARGISNULL(2) ? MAX_CHANGES_DEFAULT : PG_GETARG_INT32(2);
	int64 since_n = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	MemoryContext call, caller;
	List *tables;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("collection must not be null"),
						errhint("'*' means all collections.")));
	if (max_changes < 0 || since_n < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must not be negative", since_n < 0 ? "since_n" : "max_changes")));
	rows_begin(fcinfo);
	call = AllocSetContextCreate(CurrentMemoryContext, "changefeed.changes", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(call);
	tables = published_tables_readable(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	read_changes((ReturnSetInfo *)fcinfo->resultinfo, tables, start_of(since, since_n), max_changes);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(call);
	return (Datum)0;
}
