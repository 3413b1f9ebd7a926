/*
 * ring_recovery.h: what a writer does with a ring that it finds: after a clean end, after a crash of the
 * process, after a crash of the machine. One way for all three, see the end of the comment in ring_layout.h.
 */
#ifndef CHANGEFEED_RING_RECOVERY_H
#define CHANGEFEED_RING_RECOVERY_H

#include "core/ring/ring.h"

/*
 * Brings ring->checkpoint, the index and the live area to the last whole record, and makes that durable
 * in a new epoch. Blocks on the disk. Returns 0 or an errno; EUCLEAN: ring_is_damaged().
 */
int ring_recover(struct ring *ring);

/* Enters the record at `position` into the index. `first_block` is the first block not yet indexed; returns
 * the next. */
uint64_t ring_index_record(struct ring *ring, uint64_t first_block, uint64_t position, struct cursor id,
						   int64_t max_us);

#endif
