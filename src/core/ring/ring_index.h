/*
 * ring_index.h: the sparse index of the ring, and the search in it.
 *
 * It has an entry for each block of RING_INDEX_GRAIN bytes of history, see ring_layout.h. The writer enters what
 * it appends, recovery goes on with that or builds all of it, readers search by binary search and a short scan.
 */
#ifndef CHANGEFEED_CORE_RING_RING_INDEX_H
#define CHANGEFEED_CORE_RING_RING_INDEX_H

#include "core/ring/ring_layout.h"

/* Enters the record at `position`. `first_block` is the first block that is not indexed yet; returns the
 * next. */
uint64_t ring_index_enter(struct ring *ring, uint64_t first_block, uint64_t position, struct cursor id,
						  int64_t max_us);

/* The first block that no record of [tail, head) was entered for. */
uint64_t ring_index_first_missing(const struct ring *ring, uint64_t tail, uint64_t head);

/* Forgets what was entered for records at or behind `head`, which a crash has taken away: what comes in their
 * place may be longer, and a reader that goes by such an entry would begin in the middle of it. */
void ring_index_forget(struct ring *ring, uint64_t head);

/* Builds the index of [tail, head) from the records. *ret_block is the first block behind. False: the chain of
 * records is broken. */
bool ring_index_build(struct ring *ring, uint64_t tail, uint64_t head, uint64_t *ret_block);

/* What is looked for: the first of the retained records that is not before it, in the order of the ring. */
struct ring_target {
	bool by_time;
	struct cursor cursor; /* the first record with an id greater than this */
	int64_t since_us;     /* by_time: the first change committed at or after this */
};

struct ring_found {
	uint64_t position; /* of the first record that is not before the target, or head */
	bool at_head;
	struct record first; /* that record, unless at_head */
	bool has_previous;
	struct record previous; /* the record before it, if the scan passed one */
};

/* Where the writer laps it again and again it gives the tail, `at_head` and without records: what is looked
 * for is older than all that is retained. */
struct ring_found ring_search(const struct ring *ring, const struct ring_target *target);

#endif
