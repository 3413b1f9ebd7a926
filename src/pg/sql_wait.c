/*
 * sql_wait.c: changefeed.wait_for(), until the feed has caught up with an LSN.
 *
 * Data in: an LSN, the ring's live area. Data out: whether everything that ends at or before the LSN is in
 * the ring. A database whose changes nobody retains is an ERROR at once. Invariant: it needs no transaction
 * id and writes nothing, so it works in a read-only transaction. It looks at the ring again and again,
 * because a backend has no place where the feed could wake it.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "core/ring/ring.h"
#include "pg/local_ring.h"

PG_FUNCTION_INFO_V1(changefeed_wait_for);

enum { STEP_FIRST_MS = 1, STEP_LAST_MS = 10 };

/*
 * pg_current_wal_insert_lsn() is where the next record goes: at the start of a page that is behind the page's
 * header. The record before ended at the page boundary, and nothing will ever be streamed up to the end of
 * that header.
 */
static XLogRecPtr end_of_last_record(XLogRecPtr lsn)
{
	XLogRecPtr page = lsn - lsn % XLOG_BLCKSZ;
	uint64 header = XLogSegmentOffset(page, wal_segment_size) == 0 ? SizeOfXLogLongPHD : SizeOfXLogShortPHD;

	return lsn - page <= header ? page : lsn;
}

/*
 * Only flushed WAL is streamed, and in an idle server nobody flushes what a transaction with
 * synchronous_commit = off, or none at all, left behind. A position that was not written yet cannot be
 * flushed, only waited for.
 */
static void flush_wal(XLogRecPtr lsn)
{
	if (!RecoveryInProgress())
		XLogFlush(Min(lsn, end_of_last_record(GetXLogInsertRecPtr())));
}

static bool has_streamed(const struct ring *ring, XLogRecPtr lsn)
{
	return live_load(&ring_live(ring)->history) != 0 && live_load(&ring_live(ring)->streamed_lsn) >= lsn;
}

static void wait_a_step(int milliseconds)
{
	WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* The ring may not be there yet, and it may be replaced at any time: it is opened again at each step. */
static bool look(MemoryContext step, XLogRecPtr lsn)
{
	MemoryContext caller = MemoryContextSwitchTo(step);
	struct ring *ring = local_ring_open();
	bool reached = ring != NULL && has_streamed(ring, lsn);

	MemoryContextSwitchTo(caller);
	MemoryContextReset(step);
	return reached;
}

Datum changefeed_wait_for(PG_FUNCTION_ARGS)
{
	XLogRecPtr lsn = end_of_last_record(PG_GETARG_LSN(0));
	Datum deadline = DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
										 PG_GETARG_DATUM(1));
	MemoryContext step =
		AllocSetContextCreate(CurrentMemoryContext, "changefeed.wait_for", ALLOCSET_SMALL_SIZES);
	int step_ms = STEP_FIRST_MS;

	if (!local_ring_is_wanted())
		local_ring_refuse();
	flush_wal(lsn);
	while (!look(step, lsn)) {
		if (GetCurrentTimestamp() >= DatumGetTimestampTz(deadline))
			PG_RETURN_BOOL(false);
		wait_a_step(step_ms);
		step_ms = Min(2 * step_ms, STEP_LAST_MS);
	}
	PG_RETURN_BOOL(true);
}
