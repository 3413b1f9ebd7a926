/*
 * arena.h: memory that is given back all at once: what lives as long as one version of a table's description,
 * or as long as one answer of the catalog is worked on.
 */
#ifndef CHANGEFEED_FEED_ARENA_H
#define CHANGEFEED_FEED_ARENA_H

#include "core/bytes.h"

struct arena_block;

/* All zero is an empty arena. */
struct arena {
	struct arena_block *blocks;
};

/*
 * Zeroed memory, aligned for anything, valid until arena_free(). Never returns NULL: without memory the
 * process logs that and ends, which loses nothing, because the ring survives and the slot repeats.
 */
void *arena_alloc(struct arena *arena, size_t size);

/* A copy of the bytes, with a terminating 0 behind them. */
struct bytes arena_copy(struct arena *arena, struct bytes bytes);

/* Gives all of it back and leaves an empty arena. */
void arena_free(struct arena *arena);

#endif
