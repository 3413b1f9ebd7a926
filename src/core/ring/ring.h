/*
 * ring.h: the retained history of changes, seen by its readers (workers, and backends for the SQL functions).
 *
 * The file and the rules between writer and readers are described in ring_layout.h, the writer's side is
 * ring_writer.h, mapping and recovery are ring_file.h. A reader owns nothing but a position. It never sees a
 * byte that was not validated: records are copied out, then checked against tail.
 */
#ifndef CHANGEFEED_CORE_RING_RING_H
#define CHANGEFEED_CORE_RING_RING_H

#include "core/bytes.h"
#include "core/change.h"
#include "core/cursor.h"
#include "core/ring/live.h"

enum record_kind {
	RECORD_CHANGE = 1,
	RECORD_COMMIT = 2, /* the end of a transaction that had changes, or of a message that belongs to none */
};

struct record {
	uint64_t position;
	uint64_t next; /* the position behind it */
	enum record_kind kind;
	struct change change; /* RECORD_COMMIT: id is (commit_lsn, number of changes) */
	uint64_t end_lsn;     /* RECORD_COMMIT */
	uint32_t body_size;
	uint32_t epoch; /* with the checksum: for ring_read_body() */
	uint64_t checksum;
};

enum ring_read {
	RING_READ_OK,
	RING_READ_END,     /* the position is head */
	RING_READ_OVERRUN, /* tail has passed the position: a gap, see ring_skip_evicted() */
	RING_READ_DAMAGED, /* what is retained there is no record; ring_is_damaged() from now on */
};

struct ring; /* a mapping; made by ring_file.h */

const struct ring_live *ring_live(const struct ring *ring);
uint64_t ring_capacity(const struct ring *ring);

/* Whose history it is; all 0 before the first. */
struct ring_identity ring_identity(const struct ring *ring);

/*
 * True once a process that may write the live area has met bytes that are no record, or a file that was
 * overwritten: then no history can be vouched for, and a new file has to be made.
 */
bool ring_is_damaged(const struct ring *ring);
void ring_set_damaged(const struct ring *ring);

/*
 * Whether the live area was written since the kernel was started: then it agrees with the records. After a crash
 * of the machine it can hold anything, until the feed has recovered the ring.
 */
bool ring_is_of_this_boot(const struct ring *ring);

uint64_t ring_head(const struct ring *ring); /* acquire */
uint64_t ring_tail(const struct ring *ring);

/* Bytes of history that are retained. */
uint64_t ring_retained(const struct ring *ring);

/*
 * Reads the record at a position that is a record's start (or head). *ret_record is of no use unless
 * RING_READ_OK. It is made of the header only, which is merely plausible where the record is a change: the
 * checksum covers the body, too, see ring_read_body().
 */
enum ring_read ring_read(const struct ring *ring, uint64_t position, struct record *ret_record);

/*
 * Appends the body of a record that ring_read() gave to `out`. Returns RING_READ_OK; RING_READ_OVERRUN when
 * the ring has passed it since, RING_READ_DAMAGED when its checksum is wrong: `out` is then as before. Look
 * at out->failed for memory.
 */
enum ring_read ring_read_body(const struct ring *ring, const struct record *record, struct buffer *out);

/* A reader's place: the next record to read, and the cursor of what lies before it. */
struct place {
	uint64_t position;
	struct cursor cursor;
};

enum ring_seek {
	SEEK_FOUND, /* *ret_place says where to start */
	SEEK_WAIT,  /* the start lies in what the feed has not delivered yet: ask again when head or streamed_lsn
				   moved */
	SEEK_EVICTED, /* changes behind the cursor were evicted; *ret_place goes to ring_skip_evicted() */
	SEEK_FOREIGN, /* a cursor of another history; *ret_place is the oldest there is */
};

/*
 * Where to start. For CURSOR_NOW, CURSOR_EARLIEST and CURSOR_TIME always SEEK_FOUND. An event or LSN beyond
 * what was streamed is SEEK_WAIT: whether it is beyond the server's WAL as well (and so foreign) only
 * live->server_lsn tells, once the feed has refreshed it.
 * A bare LSN X means everything whose transaction ends after X. Only the last transaction whose commit record
 * starts before X can straddle it. If that one is still open, its end is unknown: SEEK_WAIT.
 */
enum ring_seek ring_seek(const struct ring *ring, const struct start *start, struct place *ret_place);

/* Which changes a stream wants, as far as headers tell. */
struct filter {
	bool all_collections;
	unsigned collection_count;
	const uint32_t *collections; /* sorted */
	unsigned operations;         /* bit 1 << enum operation */
};

bool filter_matches(const struct filter *filter, const struct change *change);

/*
 * Counts gaps. The run log can have millions of entries, and clients that come back at the same time ask about
 * the same part of it, so the sums of its blocks are cached, for the last GAP_FILTERS filters. One counter
 * serves one ring and one thread. All zero: nothing cached. Freed with gap_counter_free().
 */
enum { GAP_FILTERS = 32 };

struct gap_counter {
	uint64_t walked; /* bytes of the log that were read so far */
	unsigned next;   /* which is replaced next */
	struct gap_blocks *filters[GAP_FILTERS];
};

void gap_counter_free(struct gap_counter *counter);

/*
 * For a place that tail has passed: moves it to the oldest record there is and returns how many changes that
 * the filter wants were lost between its cursor and there. Exact as long as the run log reaches back to the
 * cursor, else the number that it still knows of, and 1 if that is none and there may have been any.
 */
uint64_t ring_skip_evicted(const struct ring *ring, const struct filter *filter, struct place *place,
						   struct gap_counter *counter);

/* Moves a place behind a record that was read there. */
static inline void place_advance(struct place *place, const struct record *record)
{
	place->position = record->next;
	place->cursor =
		record->kind == RECORD_CHANGE ? record->change.id : (struct cursor){.lsn = record->end_lsn};
}

/*
 * For a place at head: lets its cursor follow what was streamed without a change for anybody. `streamed_lsn`
 * was loaded (acquire) before the head that the place has reached. Between transactions only: inside one the
 * cursor is a change's.
 */
static inline void place_follow(struct place *place, uint64_t streamed_lsn)
{
	if (place->cursor.n == 0 && place->cursor.m == 0 && place->cursor.lsn < streamed_lsn)
		place->cursor.lsn = streamed_lsn;
}

/* The place of the oldest record that is retained. */
struct place ring_oldest(const struct ring *ring);

/* PostgreSQL's names have 63 bytes in the database's encoding, and up to three times as many in UTF-8. */
enum { COLLECTION_NAME_SIZE = 192 };

struct collection {
	uint32_t id;
	bool published;
	uint64_t changes;
	char schema[COLLECTION_NAME_SIZE];
	char name[COLLECTION_NAME_SIZE];
};

/* Collections are numbered from 0 to ring_collection_count() - 1; a number keeps its names for a whole
 * history. */
uint32_t ring_collection_count(const struct ring *ring);

/* Copies one entry. Returns false, *ret_collection untouched, if there is none with this number. */
bool ring_collection(const struct ring *ring, uint32_t id, struct collection *ret_collection);

/* Finds a published collection by its exact names. Returns false, *ret_collection untouched, if there is
 * none. */
bool ring_find_published(const struct ring *ring, struct bytes schema, struct bytes name,
						 struct collection *ret_collection);

#endif
