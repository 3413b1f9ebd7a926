/*
 * cursor.h: positions in the order of changes, and how users write them.
 *
 * A change is identified by (commit_lsn, n): the LSN of its transaction's commit record and its place in the
 * transaction, from 1. A message (pg_logical_emit_message) does not count as a change, so that ids are the
 * same whether or not somebody wants messages: it is the m-th message, from 1, behind the n-th change of its
 * transaction. One that belongs to no transaction has the LSN of its record's last byte, and n = 0, m = 1. A
 * cursor names a place between these: 'strictly after (lsn, n, m)', m = 0 for a change. Users write
 *
 *   23987096-1             strictly after that change                                    CURSOR_EVENT
 *   23987096-0             strictly after the message that its transaction begins with   CURSOR_EVENT
 *   23987096-0.2.1         strictly after the 1st message behind the 2nd change          CURSOR_EVENT
 *   23987096               everything whose transaction ends after this LSN              CURSOR_LSN
 *   0/16E0398              the same in PostgreSQL's notation of an LSN                   CURSOR_LSN
 *   earliest, 0, 0/0, 0-n  the oldest that is retained, never a gap                      CURSOR_EARLIEST
 *   now                    what is committed from now on                                 CURSOR_NOW
 *
 * A bare LSN becomes a (lsn, n) only with the help of the ring, see ring_seek(). (X, 0, 0) and a bare X mean
 * the same where no transaction's commit record straddles X, and it is written as the bare X: an id made of
 * it would name a change that does not exist.
 */
#ifndef CHANGEFEED_CORE_CURSOR_H
#define CHANGEFEED_CORE_CURSOR_H

#include <inttypes.h>

#include "core/bytes.h"

struct cursor {
	uint64_t lsn; /* of the commit record, or a bare LSN */
	uint64_t n;
	uint64_t m;
};

/* As an n: behind all changes of the transaction. */
#define CURSOR_N_END UINT64_MAX

enum cursor_kind { CURSOR_NOW, CURSOR_EARLIEST, CURSOR_EVENT, CURSOR_LSN, CURSOR_TIME };

/* Where a reader wants to start. */
struct start {
	enum cursor_kind kind;
	union {
		struct cursor at; /* CURSOR_EVENT: all; CURSOR_LSN: lsn */
		int64_t since_us; /* CURSOR_TIME: microseconds since 1970 */
	};
};

/* three numbers, "-0." and "." */
enum { CURSOR_TEXT_MAX = 3 * U64_DIGITS_MAX + 4 };

/* Parses any cursor that users may write. Returns false, *ret_start untouched, when the text is none. */
bool cursor_parse(struct bytes text, struct start *ret_start);

/* PostgreSQL's notation of an LSN. Returns false, *ret_lsn untouched, when the text is none. */
bool lsn_parse(struct bytes text, uint64_t *ret_lsn);

/* For printf. */
#define LSN_FORMAT     "%" PRIX32 "/%" PRIX32
#define LSN_PARTS(lsn) (uint32_t)((lsn) >> 32), (uint32_t)(lsn)

/* A cursor as users see it: an event id, or a bare LSN in decimal if n and m are 0. The bytes are in
 * ret_memory. */
struct bytes cursor_text(struct cursor cursor, char ret_memory[CURSOR_TEXT_MAX]);
void cursor_append(struct buffer *out, struct cursor cursor);

static inline int cursor_compare(struct cursor a, struct cursor b)
{
	if (a.lsn != b.lsn)
		return a.lsn < b.lsn ? -1 : 1;
	if (a.n != b.n)
		return a.n < b.n ? -1 : 1;
	return a.m < b.m ? -1 : a.m > b.m;
}

#endif
