/*
 * ring_layout.h: the ring file, byte by byte. Only the files of this directory and their tests include it.
 *
 *   0                             checkpoint A          one page
 *   RING_PAGE                     checkpoint B          one page
 *   live_offset                   struct ring_live      see live.h; each section is rounded up to pages
 *   collections_offset            struct ring_collection[collection_capacity]
 *   index_offset                  struct ring_index_entry[index_capacity]
 *   runs_offset                   struct ring_run[run_capacity]
 *   data_offset                   `capacity` bytes of records, page aligned; mapped twice in a row
 *
 * Imagine an endless sequence of bytes, the history. A position is a 64-bit offset in it and never wraps. Of
 * the history the file holds [tail, head); byte p of it is at data_offset + p % capacity. Records follow each
 * other without holes, each a multiple of 8 bytes; the double mapping lets every record be read in one piece.
 *
 *        tail                                head            tail of the last durable checkpoint + capacity
 *   ......[record][record][record]....[record](being written).......|
 *
 * One writer moves head and tail; any number of readers in other processes follow without locks.
 *
 *   writer, to append:  (1) tail is far enough: it was moved, release fence, before bytes are overwritten
 *                       (2) writes records behind head, with pwrite()
 *                       (3) stores head, release                       pairs with ring_head()
 *   reader:             (a) loads head, acquire                        pairs with (3)
 *                       (b) copies bytes of [its position, head)
 *                       (c) acquire fence, loads tail; what it copied is valid iff tail <= its position
 *                                                                      pairs with the fence of (1)
 *
 * Readers map the data, the writer does not store to it through a mapping: each page would cost it a fault,
 * and another one after each sync, which has to make the page read-only again in every process while the
 * writer waits. It gathers records and writes them when it publishes; pages of a file are the same memory for
 * write() and for mappings, and what one thread writes before (3) is seen by whoever acquires (3). Only
 * records larger than the stage are built in the mapping, and so are the small sections before the data, which
 * change rarely.
 *
 * The run log tells what has been evicted: for each run of changes of one transaction, collection and
 * operation that lie side by side, one entry. It is what makes the N of 'lagged N events' exact for a cursor
 * whose change is long gone, which no counter in the records could: a cursor carries no counter. Entry i of
 * the log (free-running, as positions are) is at runs[i % run_capacity]; the log holds [run_floor, run_head).
 *
 * The index holds, for each block of RING_INDEX_GRAIN bytes of history, the first record that starts in it or
 * later; block b is at index[b % index_capacity]. An entry is overwritten only after tail has left its block,
 * so a reader validates it as it does data.
 *
 * Durability: a checkpoint is written alternately to A and B. It promises: all records before `head`, the run
 * log and the collections that it counts were synced; nothing before `tail` is needed, and no byte of [tail,
 * tail + capacity) has been overwritten by newer history before the next checkpoint was synced. Recovery
 * starts at the newer valid checkpoint and goes on from its head, record by record, as long as checksums are
 * right. It does the same after a crash of a process, where the page cache is whole and so nothing that was
 * published is lost, and after a crash of the machine, where the slot refills the rest. To keep the promise,
 * eviction happens only when a checkpoint begins, ahead of need, and the room it makes is used only after
 * that checkpoint is durable. The run log's floor keeps a step ahead in the same way.
 */
#ifndef CHANGEFEED_CORE_RING_RING_LAYOUT_H
#define CHANGEFEED_CORE_RING_RING_LAYOUT_H

#include <stdatomic.h>
#include <sys/types.h>

#include "core/ring/live.h"
#include "core/ring/ring.h"
#include "core/ring/ring_file.h"

enum {
	RING_PAGE = 65536, /* the largest page of any Linux: every section can be mapped by itself */
	RING_ALIGN = 8,
	RING_INDEX_GRAIN = 16384,
	RING_FORMAT = 7, /* another one for each change of the structs here, of live.h's, or of the sections */
};

#define RING_MAGIC UINT64_C(0x314546474e484350) /* "PCHNGFE1" */

/*
 * A record:
 *   size      u32   of the whole record with its padding, a multiple of 8
 *   epoch     u32   the low half of the checkpoint's: after which recovery, and in which history, it was written
 *   checksum  u64   XXH3 of all that follows up to size, seeded with position and epoch
 *   ...             then the MessagePack body, then zeros
 */
struct ring_record_header {
	uint32_t size;
	uint32_t epoch;
	uint64_t checksum;
	uint64_t commit_lsn;
	uint64_t n;        /* RECORD_COMMIT: the number of the transaction's changes */
	int64_t commit_us; /* microseconds since 1970 */
	uint32_t xid;
	uint32_t collection; /* of a message: its m */
	uint32_t body_size;  /* of the MessagePack body that follows; RECORD_COMMIT: 8, the end_lsn */
	uint8_t kind;        /* enum record_kind */
	uint8_t operation;
	uint16_t flags;
};

_Static_assert(sizeof(struct ring_record_header) == 56, "the ring's format");

struct ring_index_entry {
	uint64_t position;
	struct cursor id; /* ring_header_id() of the record at position */
	int64_t max_us;   /* the latest commit time of all changes up to this record */
};

struct ring_run {
	uint64_t commit_lsn;
	uint64_t first_n; /* of messages: the change that they come behind; then the first of them has m = 1 */
	/* end_lsn - commit_lsn; 0 until the transaction's commit record has been evicted, too */
	uint32_t end_distance;
	uint32_t count;
	uint16_t collection;
	uint8_t operation;
	uint8_t reserved[5];
};

_Static_assert(sizeof(struct ring_run) == 32, "the ring's format");

struct ring_collection {
	uint64_t checksum; /* XXH3 of schema and name: written last, so that a torn entry is seen in recovery */
	char schema[COLLECTION_NAME_SIZE];
	char name[COLLECTION_NAME_SIZE];
	_Atomic uint32_t published; /* written by the feed (catalog), read by all, relaxed */
	uint32_t reserved;
	/* appended since the file was made; a figure for people, not exact after power loss */
	_Atomic uint64_t changes;
	/* its last change that was evicted, 0: none was. Beyond the run log it still tells who has missed nothing.
	 * Both words are in one sector of the disk: after power loss they still belong together */
	_Alignas(16) _Atomic uint64_t evicted_lsn;
	_Atomic uint64_t evicted_n;
};

_Static_assert(sizeof(struct ring_collection) == 432, "the ring's format");
_Static_assert(sizeof(struct ring_collection) % 16 == 0,
			   "no pair of evicted_lsn and evicted_n lies across sectors");

/*
 * The collection's last change that was evicted, at least as late as it was when the writer published the tail
 * that the caller has seen. The two words may be of two changes: n is stored last and loaded first, so that the
 * LSN is of the later one.
 */
static inline struct cursor ring_collection_evicted(const struct ring_collection *collection)
{
	uint64_t n = live_load(&collection->evicted_n);
	return (struct cursor){.lsn = live_load(&collection->evicted_lsn), .n = n};
}

static inline void ring_collection_set_evicted(struct ring_collection *collection, struct cursor id)
{
	live_store(&collection->evicted_lsn, id.lsn);
	live_store(&collection->evicted_n, id.n);
}

struct ring_checkpoint {
	uint64_t magic;
	uint32_t format;
	uint32_t page_size;
	uint64_t checksum; /* XXH3 of the whole struct with this field 0 */
	uint64_t sequence; /* the newer of two valid checkpoints has the higher one */
	uint64_t capacity;
	struct ring_identity identity;
	/* of the records behind `head`; another one after each recovery and in each history, so that a leftover is
	 * never taken for a record */
	uint64_t epoch;
	uint64_t history;     /* 0: no history yet */
	uint64_t history_lsn; /* all changes of transactions that end after this LSN were appended */
	uint64_t tail;
	uint64_t head;
	uint64_t run_floor;
	uint64_t run_head;
	uint64_t streamed_lsn; /* everything that ends at or before it lies before `head` */
	struct cursor last;    /* of the last record before `head`, as ring_header_id() has it */
	int64_t max_us;
	uint32_t collection_count;
	uint32_t reserved;
};

_Static_assert(sizeof(struct ring_checkpoint) <= RING_PAGE, "a checkpoint is one page");

/* Where everything is in a file of a given capacity, in bytes from its start. */
struct ring_sections {
	uint64_t capacity;
	uint32_t collection_capacity;
	uint64_t index_capacity;
	uint64_t run_capacity;
	uint64_t live_offset;
	uint64_t collections_offset;
	uint64_t index_offset;
	uint64_t runs_offset;
	uint64_t data_offset;
	uint64_t file_size;
};

/* A mapped ring. */
struct ring {
	int fd;
	dev_t device;
	ino_t inode;
	enum ring_access access;
	struct ring_sections sections;
	struct ring_checkpoint checkpoint; /* the newer one, as it was when the file was opened */
	struct ring_live *live;
	struct ring_collection *collections;
	struct ring_index_entry *index;
	struct ring_run *runs;
	char *data;               /* 2 * capacity */
	struct ring_names *names; /* of this process, see ring_names.h */
	uint64_t index_block;     /* a writer's, after recovery: the first block that is not indexed */
};

static inline const char *ring_at(const struct ring *ring, uint64_t position)
{
	return ring->data + position % ring->sections.capacity;
}

static inline struct ring_record_header ring_header_at(const struct ring *ring, uint64_t position)
{
	struct ring_record_header header;
	memcpy(&header, ring_at(ring, position), sizeof(header));
	return header;
}

/* The end_lsn of the commit record at `position`. (The double mapping has 8 bytes more behind every header.) */
static inline uint64_t ring_end_lsn_at(const struct ring *ring, uint64_t position)
{
	uint64_t end_lsn;
	memcpy(&end_lsn, ring_at(ring, position) + sizeof(struct ring_record_header), sizeof(end_lsn));
	return end_lsn;
}

/* Step (c) of the reader: what was copied from `position` on is whole. */
static inline bool ring_still_retained(const struct ring *ring, uint64_t position)
{
	atomic_thread_fence(memory_order_acquire);
	return live_figure(&ring->live->tail) <= position;
}

/* The checksum that the record at `position` has to carry, which is `size` bytes long and of this epoch. */
uint64_t ring_record_checksum(const char *record, uint32_t size, uint32_t epoch, uint64_t position);
uint64_t ring_collection_checksum(const struct ring_collection *collection);

/* An entry for these names, cut to COLLECTION_NAME_SIZE - 1 bytes, which PostgreSQL's names never exceed. */
struct ring_collection ring_collection_named(struct bytes schema, struct bytes name);

/* A message has no collection, its m stands there. */
static inline uint32_t ring_header_m(const struct ring_record_header *header)
{
	return header->operation == OPERATION_MESSAGE ? header->collection : 0;
}

/* In the order of cursors a commit comes after all changes of its transaction. */
static inline struct cursor ring_header_id(const struct ring_record_header *header)
{
	return (struct cursor){.lsn = header->commit_lsn,
						   .n = header->kind == RECORD_COMMIT ? CURSOR_N_END : header->n,
						   .m = ring_header_m(header)};
}

/* The same of a record that was read. */
static inline struct cursor ring_record_id(const struct record *record)
{
	struct cursor id = record->change.id;
	if (record->kind == RECORD_COMMIT)
		id.n = CURSOR_N_END;
	return id;
}

/* What a record of kind RECORD_CHANGE says without its body. */
static inline struct change ring_header_change(const struct ring_record_header *header)
{
	bool is_message = header->operation == OPERATION_MESSAGE;
	return (struct change){.id = {header->commit_lsn, header->n, ring_header_m(header)},
						   .commit_us = header->commit_us,
						   .xid = header->xid,
						   .collection = is_message ? COLLECTION_NONE : header->collection,
						   .operation = (enum operation)header->operation,
						   .flags = header->flags};
}

/* A header that can be one: the sizes fit each other and the ring, the kind exists. */
bool ring_header_plausible(const struct ring *ring, const struct ring_record_header *header);

/*
 * Whether what stands at `position` is a whole record of at most `room` bytes that names no collection beyond
 * the first `collections`. *ret_header is untouched unless it is.
 */
bool ring_record_is_whole(const struct ring *ring, uint64_t position, uint64_t room, uint32_t collections,
						  struct ring_record_header *ret_header);

/* Writes a checkpoint to the page that its sequence says, with its checksum, and syncs the file. Returns 0 or
 * an errno. */
int ring_checkpoint_write(int fd, const struct ring_checkpoint *checkpoint);

/* Whether that checkpoint is still what the file holds, and what is in the other place is not of an older file.
 * Returns 0, ESTALE if not, or an errno. */
int ring_checkpoint_compare(int fd, const struct ring_checkpoint *checkpoint);

#endif
