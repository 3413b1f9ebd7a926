/*
 * ring_recovery.h: what a writer does with a ring that it finds: after a clean end, after a crash of the
 * process, after a crash of the machine. One way for all three, see the end of the comment in ring_layout.h.
 */
#ifndef CHANGEFEED_CORE_RING_RING_RECOVERY_H
#define CHANGEFEED_CORE_RING_RING_RECOVERY_H

#include "core/ring/ring_layout.h"

/*
 * Brings ring->checkpoint, the index and the live area to the last whole record, and makes that durable
 * in a new epoch. Blocks on the disk. Returns 0 or an errno; EUCLEAN: ring_is_damaged().
 */
int ring_recover(struct ring *ring);

/*
 * After a failed sync Linux takes the pages for clean, though the disk does not have them. Dirties all that is
 * newer than the checkpoint `durable`, up to these ends of records and run log: the next sync writes it.
 */
void ring_dirty_again(struct ring *ring, const struct ring_checkpoint *durable, uint64_t head,
					  uint64_t run_head);

/*
 * Sets what readers see to a state that does not follow from the one before: after recovery, or at the begin
 * of a history. The number of the history is stored last, and is 0 while the words of another one are: so a
 * reader that has met any of the new words finds its own history outdated, and one that has met the new number
 * sees all of them.
 */
void ring_publish_state(struct ring *ring, const struct ring_checkpoint *state);

#endif
