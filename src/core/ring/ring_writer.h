/*
 * ring_writer.h: the feed's side of the ring. One writer at a time, in one thread, except where noted.
 *
 * Call order:  ring_writer_open -> ring_writer_begin_history if the identity does not fit
 *              -> { change* commit? progress? publish } -> checkpoint_begin .. checkpoint_end, over and over
 */
#ifndef CHANGEFEED_CORE_RING_RING_WRITER_H
#define CHANGEFEED_CORE_RING_RING_WRITER_H

#include "core/ring/ring.h"

struct ring_writer;

/* Takes over a ring opened with RING_ACCESS_WRITER; the caller keeps owning the ring. Returns NULL out of
 * memory. */
struct ring_writer *ring_writer_open(struct ring *ring);
void ring_writer_close(struct ring_writer *writer);

/* Whose history the ring holds (all 0 before the first), and how far it goes: what recovery found, then what
 * was appended. */
struct ring_identity ring_writer_identity(const struct ring_writer *writer);
uint64_t ring_writer_streamed_lsn(const struct ring_writer *writer);

/*
 * The last change in the ring; what the server sends up to it is a repetition and is to be dropped. n =
 * CURSOR_N_END: its transaction is complete.
 */
struct cursor ring_writer_last(const struct ring_writer *writer);

/* The commit_lsn of a transaction of which the ring has changes but not the end; 0: there is none. */
uint64_t ring_writer_inside(const struct ring_writer *writer);

/*
 * Forgets everything retained and begins a new history, of changes of transactions that end after
 * `history_lsn`. Readers see that live->history moved. Collections are kept by name but count as unpublished
 * until the catalog says otherwise.
 */
void ring_writer_begin_history(struct ring_writer *writer, const struct ring_identity *identity,
							   uint64_t history_lsn);

enum ring_write {
	RING_WRITE_OK,
	/* the room is promised but not yet durably, or the file cannot be written (ring_writer_error()): finish a
	 * checkpoint, then call again */
	RING_WRITE_BLOCKED,
};

/*
 * Appends a change. A body of more than ring_writer_body_max() is replaced by an empty one, and
 * CHANGE_OVERSIZE is set: the change is still seen by all. The bytes are copied. Nothing is visible before
 * ring_writer_publish().
 */
enum ring_write ring_writer_change(struct ring_writer *writer, const struct change *change,
								   struct bytes body);

/* The largest body that is kept: it has a quarter of the ring, and 4 GB at the most. */
size_t ring_writer_body_max(const struct ring_writer *writer);

/* Ends the transaction whose changes were appended last. Not called for one without changes. */
enum ring_write ring_writer_commit(struct ring_writer *writer, uint64_t commit_lsn, uint64_t end_lsn,
								   int64_t commit_us, uint32_t xid);

/*
 * For a ring that takes over another one's history (ring_resize.h): its log of evicted changes, right after
 * the history began; then its records, in order.
 */
void ring_writer_take_runs(struct ring_writer *writer, const struct ring *from);
enum ring_write ring_writer_copy(struct ring_writer *writer, const struct ring *from, uint64_t position);

/* Everything that ends at or before `lsn` has been appended. Not while a transaction is open. Takes effect
 * with publish. */
void ring_writer_progress(struct ring_writer *writer, uint64_t lsn);

/*
 * Writes what was appended to the file and makes it visible (release). Returns true if there was something.
 * Waking sleepers is the caller's.
 */
bool ring_writer_publish(struct ring_writer *writer);

/*
 * Whether something was published since this was last asked, also by a checkpoint. *ret_collections is then
 * live_collection_bit() of each collection that has changes, all bits for a message, none for a commit or
 * progress.
 */
bool ring_writer_news(struct ring_writer *writer, uint64_t *ret_collections);

/*
 * 0, or the errno with which the last write to the file failed. Nothing is lost: what was appended is kept in
 * memory, and once that is full RING_WRITE_BLOCKED is returned; the next call tries to write again.
 */
int ring_writer_error(const struct ring_writer *writer);

/*
 * The number of the collection with these names (cut to COLLECTION_NAME_SIZE - 1 bytes, which
 * PostgreSQL's names never exceed), made if there is none. COLLECTION_NONE when the table is full.
 */
uint32_t ring_writer_collection(struct ring_writer *writer, struct bytes schema, struct bytes name);
void ring_writer_set_published(struct ring_writer *writer, uint32_t collection, bool published);

/*
 * Durability, in three steps so that the disk is waited for in another thread. One checkpoint at a time.
 *   ring_checkpoint_begin: the writer's thread. Publishes, decides what the checkpoint promises, and whether
 *     there is anything to do at all. False: nothing new, or it cannot be written, see ring_writer_error().
 *   ring_checkpoint_sync: any thread. Writes it and syncs the file. Blocks. Returns 0 or an errno.
 *   ring_checkpoint_end: the writer's thread. `error` as sync returned it; on 0 live->durable_lsn moves
 *     on.
 */
bool ring_checkpoint_begin(struct ring_writer *writer);
int ring_checkpoint_sync(struct ring_writer *writer);
void ring_checkpoint_end(struct ring_writer *writer, int error);

/* Bytes that no checkpoint has made durable yet, also while one is under way: when to begin the next. */
uint64_t ring_writer_unsynced(const struct ring_writer *writer);

#endif
