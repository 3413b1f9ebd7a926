/*
 * sql_status.c: changefeed.status() and what the view changefeed.collections is made of.
 *
 * Data in: the ring file's live area and its table of collections. Data out: figures for operators, the same
 * as in /metrics. Invariant: status() always returns a row: where there is nothing to read it says what to
 * do. The order of columns is that of the OUT parameters in pg_changefeed--0.1.sql.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "core/ring/ring.h"
#include "pg/compat.h"
#include "pg/local_ring.h"
#include "pg/settings.h"
#include "pg/sql_row.h"

PG_FUNCTION_INFO_V1(changefeed_status);
PG_FUNCTION_INFO_V1(changefeed_ring_collections);

#define NOT_RUNNING "not running"

/* What keeps the program from running, as far as this server knows. */
static const char *reason_not_running(void)
{
	if (strstr(GetConfigOption("shared_preload_libraries", false, false), "pg_changefeed") == NULL)
		return "Set shared_preload_libraries = 'pg_changefeed' and restart the server.";
	if (RecoveryInProgress())
		return "This server is a standby; the feed starts when it is promoted.";
	if (!setting_enabled)
		return "Set changefeed.enabled = on and reload.";
	return "The program pg_changefeed is not alive; the server's log says why.";
}

static void put_message(struct sql_row *row, const struct live_message *message)
{
	char text[LIVE_MESSAGE_SIZE] = "";

	live_message_get(message, text);
	if (text[0] == '\0')
		sql_row_put_null(row);
	else
		sql_row_put_text(row, bytes_of(text));
}

static void put_feed(struct sql_row *row, const struct ring *ring, bool served)
{
	const struct ring_live *live = ring_live(ring);
	struct ring_identity identity = ring_identity(ring);

	if (served) {
		sql_row_put_text(row, bytes_of(feed_state_name(live_feed_state(live))));
		put_message(row, &live->message);
	} else {
		sql_row_put_text(row, bytes_of(NOT_RUNNING));
		sql_row_put_text(row, bytes_of(reason_not_running()));
	}
	sql_row_put_time(row, live_figure(&live->feed_state_since_us));
	sql_row_put_text(row, bytes_of(identity.database));
	sql_row_put_text(row, bytes_of(identity.slot));
	sql_row_put_text(row, bytes_of(identity.publication));
}

/* How much WAL this server has behind an LSN; null where the ring is not fed by this server. */
static void put_lag(struct sql_row *row, const struct ring *ring, uint64 lsn)
{
	XLogRecPtr insert_lsn;

	if (RecoveryInProgress() || lsn == 0 || ring_identity(ring).system_identifier != GetSystemIdentifier()) {
		sql_row_put_null(row);
		return;
	}
	insert_lsn = GetXLogInsertRecPtr();
	sql_row_put_int8(row, insert_lsn > lsn ? insert_lsn - lsn : 0);
}

static void put_positions(struct sql_row *row, const struct ring *ring)
{
	const struct ring_live *live = ring_live(ring);
	uint64 streamed_lsn = live_load(&live->streamed_lsn);
	uint64 confirmed_lsn = live_figure(&live->confirmed_lsn);
	int64 last_commit_us = live_figure(&live->last_commit_us);

	sql_row_put_lsn(row, streamed_lsn);
	sql_row_put_lsn(row, live_figure(&live->durable_lsn));
	sql_row_put_lsn(row, confirmed_lsn);
	put_lag(row, ring, streamed_lsn);
	put_lag(row, ring, confirmed_lsn);
	if (last_commit_us == 0)
		sql_row_put_null(row);
	else
		sql_row_put_time(row, last_commit_us);
}

static void put_ring(struct sql_row *row, const struct ring *ring)
{
	const struct ring_live *live = ring_live(ring);
	char oldest[CURSOR_TEXT_MAX];

	sql_row_put_int8(row, live_figure(&live->history));
	sql_row_put_text(row, cursor_text(ring_oldest(ring).cursor, oldest));
	sql_row_put_int8(row, ring_tail(ring));
	sql_row_put_int8(row, ring_head(ring));
	sql_row_put_int8(row, ring_retained(ring));
	sql_row_put_int8(row, ring_capacity(ring));
}

static void put_totals(struct sql_row *row, const struct ring_live *live, bool served)
{
	struct live_totals totals = live_totals(live);

	/* the workers of a master that was killed died with it, and nobody has said so yet */
	if (!served)
		totals.workers = totals.connections = totals.streams = totals.polls_waiting = 0;

	sql_row_put_int8(row, live_figure(&live->changes_total));
	sql_row_put_int8(row, live_figure(&live->transactions_total));
	sql_row_put_int8(row, live_figure(&live->received_bytes_total));
	sql_row_put_int8(row, live_figure(&live->reconnects_total));
	sql_row_put_int8(row, live_figure(&live->feed_deaths_total));
	sql_row_put_int8(row, live_figure(&live->worker_deaths_total));
	sql_row_put_int4(row, (int32)totals.workers);
	sql_row_put_int8(row, totals.connections);
	sql_row_put_int8(row, totals.streams);
	sql_row_put_int8(row, totals.polls_waiting);
	sql_row_put_int8(row, totals.requests_total);
	sql_row_put_int8(row, totals.errors_total);
	sql_row_put_int8(row, totals.events_total);
	sql_row_put_int8(row, totals.sent_bytes_total);
	sql_row_put_int8(row, totals.gaps_total);
	sql_row_put_int8(row, totals.lagged_events_total);
	sql_row_put_int8(row, totals.reaped_total);
}

static void put_processes(struct sql_row *row, const struct ring_live *live, bool served)
{
	put_message(row, &live->config_message);
	sql_row_put_int8(row, live_figure(&live->reloads_total));
	sql_row_put_time(row, live_figure(&live->started_us));
	sql_row_put_int4(row, served ? live_figure(&live->master_pid) : 0);
	sql_row_put_int4(row, served ? live_figure(&live->feed_pid) : 0);
}

static void put_status(struct sql_row *row, const struct ring *ring)
{
	bool served = local_ring_is_served();

	put_feed(row, ring, served);
	put_positions(row, ring);
	put_ring(row, ring);
	put_totals(row, ring_live(ring), served);
	put_processes(row, ring_live(ring), served);
}

Datum changefeed_status(PG_FUNCTION_ARGS)
{
	struct sql_row row = {0};
	struct ring *ring;
	char *reason;
	TupleDesc columns;

	if (get_call_result_type(fcinfo, NULL, &columns) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	switch (local_ring_map(&ring, &reason)) {
	case LOCAL_RING_OK:
		put_status(&row, ring);
		break;
	case LOCAL_RING_BROKEN:
		sql_row_put_text(&row, bytes_of(NOT_RUNNING));
		sql_row_put_text(&row, bytes_of(psprintf("The ring file cannot be read: %s", reason)));
		break;
	case LOCAL_RING_MISSING:
		sql_row_put_text(&row, bytes_of(NOT_RUNNING));
		sql_row_put_text(&row, bytes_of(reason_not_running()));
	}
	while (row.count < columns->natts)
		sql_row_put_null(&row);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(columns), row.values, row.nulls)));
}

Datum changefeed_ring_collections(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *)fcinfo->resultinfo;
	struct ring *ring;

	rows_begin(fcinfo);
	ring = local_ring_open();
	if (ring == NULL)
		return (Datum)0;
	for (uint32_t number = 0; number < ring_collection_count(ring); number++) {
		struct collection collection;
		struct sql_row row = {0};

		if (!ring_collection(ring, number, &collection))
			continue;
		sql_row_put_text(&row, bytes_of(collection.schema));
		sql_row_put_text(&row, bytes_of(collection.name));
		sql_row_put_bool(&row, collection.published);
		sql_row_put_int8(&row, collection.changes);
		tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
	}
	return (Datum)0;
}
