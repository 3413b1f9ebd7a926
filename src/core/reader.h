/*
 * reader.h: one cursor over the ring, the mechanism that SSE, poll and the SQL functions share.
 *
 * Data in: where to start and what to look for. Data out: the changes from there on, one at a time, read as
 * documents, and in between what happened to the cursor: a gap, a foreign history, nothing more for now. Each
 * change that matches and is retained comes once, in order, whoever asks and however often the reader stops
 * in between.
 *
 * A reader is a value: no memory, nothing to free. What it needs for a moment is in a struct reader_scratch
 * that readers of one thread share.
 */
#ifndef CHANGEFEED_CORE_READER_H
#define CHANGEFEED_CORE_READER_H

#include "core/render/document.h"
#include "core/ring/ring.h"

struct reader_scratch {
	struct document_reader documents;
	struct buffer body;
	struct collection collection;
	struct change change;
	struct gap_counter gaps;
};

/* Returns false out of memory; there is nothing to free then. */
bool reader_scratch_init(struct reader_scratch *scratch);
void reader_scratch_free(struct reader_scratch *scratch);

/* Which changes a reader is for. */
struct scope {
	struct filter filter;       /* by their headers; borrowed arrays */
	struct bytes tenant_column; /* empty: every tenant */
	struct bytes tenant;
};

/* Whether a change that the filter lets through is one of the tenant's. */
bool scope_admits(const struct scope *scope, const struct document *document);

struct reader {
	const struct ring *ring;
	const struct scope *scope; /* borrowed */
	struct start start;
	bool seeking;   /* the start is not found yet */
	bool foreign;   /* set by the caller: the start is known to belong to another history */
	bool fresh;     /* began at the oldest or at a time, and nothing is read yet: what is evicted is no gap */
	uint64_t asked; /* set by the caller: once live->refresh_done reaches it, a start beyond the server's WAL
					   belongs to another history; 0: nobody was asked */
	uint64_t history;   /* that the place is of */
	struct place place; /* once found */
};

/* A start that is no cursor (now, earliest, a time) is found here and now. */
void reader_init(struct reader *reader, const struct ring *ring, const struct scope *scope,
				 struct start start);

enum reader_event {
	READER_CHANGE,  /* *ret_document, valid until the next call with this scratch */
	READER_END,     /* everything up to head has been read */
	READER_WAITING, /* the start has not been streamed yet */
	READER_PAUSED,  /* the budget is used up */
	READER_GAP,     /* *ret_lagged changes are gone; goes on behind them */
	READER_SKIPPED, /* what was evicted is nothing to tell of; goes on behind it */
	READER_FOREIGN, /* the cursor is of another history; goes on with the oldest there is */
	READER_DAMAGED, /* what comes next cannot be read; the reader has not moved */
	READER_FAILED,  /* out of memory; the reader has not moved */
};

/*
 * Finds the start, where it is a cursor. Returns false if there is something to tell: *ret_event is then
 * READER_WAITING, or once READER_FOREIGN or READER_GAP, with *ret_lagged. reader_next() begins with it.
 */
bool reader_find_start(struct reader *reader, struct reader_scratch *scratch, enum reader_event *ret_event,
					   uint64_t *ret_lagged);

/*
 * The next event. *budget is the number of bytes of history that may still be walked; what was walked is
 * taken off, several times over where it had to be read for nothing. *ret_lagged is set with READER_GAP,
 * *ret_document with READER_CHANGE. A body that is malformed is told as that of an oversize row: a change is
 * never left out.
 */
enum reader_event reader_next(struct reader *reader, struct reader_scratch *scratch, uint64_t *budget,
							  struct document *ret_document, uint64_t *ret_lagged);

enum reader_load {
	READER_LOADED,
	READER_LOAD_OVERRUN, /* the ring passed it meanwhile */
	READER_LOAD_DAMAGED, /* its checksum is wrong */
	READER_LOAD_FAILED,  /* out of memory */
};

/* Reads the document of a change, whoever wants it. *ret_document is valid until the scratch is used again. */
enum reader_load reader_load(const struct ring *ring, const struct record *record,
							 struct reader_scratch *scratch, struct document *ret_document);

/*
 * Whether a new history has begun since the place was found. Positions of the new one follow those of the old
 * one, so a reader that had read everything goes on in it without a word: whoever keeps a reader
 * has to ask after reader_next(), and to leave what that gave alone.
 */
bool reader_is_outdated(const struct reader *reader);

/* Goes on with the oldest there is of the history there is now. */
void reader_begin_anew(struct reader *reader);

/* The cursor behind everything that was read: what a client resumes with. */
struct cursor reader_cursor(const struct reader *reader);

#endif
