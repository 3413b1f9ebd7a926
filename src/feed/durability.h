/*
 * durability.h: when to make the ring durable, and up to where the slot may be confirmed.
 *
 * Data in: how much is unsynced, the time. Data out: checkpoints, run by the syncer's thread. A checkpoint
 * begins when much is unsynced or the stream waits for room, a moment after the first unsynced record, or a
 * second after the last if only progress is new. When the disk refuses, it is tried again, ever more slowly,
 * and nothing is confirmed.
 */
#ifndef CHANGEFEED_FEED_DURABILITY_H
#define CHANGEFEED_FEED_DURABILITY_H

#include <stdbool.h>

#include "core/ring/ring_writer.h"
#include "feed/syncer.h"

struct durability {
	struct ring_writer *writer;
	const struct ring_live *live;
	struct syncer *syncer;
	uint64_t unsynced_max;     /* bytes; more than this, and a checkpoint begins at once */
	int64_t unsynced_since_us; /* when something unsynced was first seen, 0: nothing is */
	int64_t progress_due_us;   /* when the next checkpoint may begin for progress alone */
	int64_t retry_due_us;      /* after a failure: not before */
	int64_t back_off_us;
	int error;    /* errno of the last checkpoint, 0 if it succeeded */
	bool current; /* live->durable_lsn belongs to the history that the writer is in */
};

/* Starts the syncer. Returns false and sets errno on failure. */
bool durability_start(struct durability *durability, const struct ring *ring, struct ring_writer *writer);

/* Begins a checkpoint if it is time. `urgent`: the stream waits for room. Does not wait. */
void durability_step(struct durability *durability, bool urgent, int64_t now_us);

/* Until when at most to wait before the next durability_step() (monotonic clock); and for what: readable. */
int64_t durability_deadline_us(const struct durability *durability);
int durability_fd(const struct durability *durability);

/* When the descriptor is readable. Returns true if more is durable than before. */
bool durability_finish(struct durability *durability);

/* Waits for a checkpoint under way. Returns false if it still is after that time. */
bool durability_wait(struct durability *durability, int timeout_ms);

/* A new history has begun: what is durable belongs to the old one. Not while a checkpoint is under way. */
void durability_forget(struct durability *durability);

/* What may be confirmed to the slot; 0: nothing. */
uint64_t durability_lsn(const struct durability *durability);

/*
 * Makes everything durable, within that time. Returns false if the disk is slower; then the thread still uses
 * the writer, and the ring must stay mapped until the process ends.
 */
bool durability_stop(struct durability *durability, int timeout_ms);

#endif
