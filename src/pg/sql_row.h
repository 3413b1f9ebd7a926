/*
 * sql_row.h: a row of a SQL function's result, filled from left to right in the order of its OUT parameters.
 */
#ifndef CHANGEFEED_PG_SQL_ROW_H
#define CHANGEFEED_PG_SQL_ROW_H

#include "postgres.h"

#include "access/htup_details.h"
#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "core/bytes.h"
#include "pg/database_text.h"

enum { SQL_ROW_COLUMNS_MAX = 48 };

struct sql_row {
	int count;
	Datum values[SQL_ROW_COLUMNS_MAX];
	bool nulls[SQL_ROW_COLUMNS_MAX];
};

static inline void sql_row_put(struct sql_row *row, Datum value)
{
	Assert(row->count < SQL_ROW_COLUMNS_MAX);
	row->values[row->count++] = value;
}

static inline void sql_row_put_null(struct sql_row *row)
{
	row->nulls[row->count] = true;
	sql_row_put(row, (Datum)0);
}

static inline void sql_row_put_int4(struct sql_row *row, int32 number)
{
	sql_row_put(row, Int32GetDatum(number));
}

static inline void sql_row_put_int8(struct sql_row *row, uint64 number)
{
	sql_row_put(row, Int64GetDatum((int64)number));
}

static inline void sql_row_put_bool(struct sql_row *row, bool value)
{
	sql_row_put(row, BoolGetDatum(value));
}

/* 0, which is no LSN, is null. */
static inline void sql_row_put_lsn(struct sql_row *row, uint64 lsn)
{
	if (lsn == 0)
		sql_row_put_null(row);
	else
		sql_row_put(row, LSNGetDatum(lsn));
}

static inline void sql_row_put_text(struct sql_row *row, struct bytes text)
{
	sql_row_put(row, CStringGetTextDatum(database_text_from_utf8(text)));
}

/* Microseconds since 1970. */
static inline void sql_row_put_time(struct sql_row *row, int64 unix_us)
{
	int64 epochs_apart = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

	sql_row_put(row, TimestampTzGetDatum(unix_us - epochs_apart));
}

#endif
