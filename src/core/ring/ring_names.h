/*
 * ring_names.h: a collection by its names.
 *
 * There may be 65,536 of them, a request may name 64, and each client may ask for others, so none is looked for
 * one by one. The table is in the memory of each process that looks for names, and is brought up to date
 * where it is asked: in the file collections are only added.
 */
#ifndef CHANGEFEED_CORE_RING_RING_NAMES_H
#define CHANGEFEED_CORE_RING_RING_NAMES_H

#include "core/ring/ring_layout.h"

/* A hash table with open addressing. All zero: empty. */
struct ring_names {
	uint32_t *slots;     /* the number of a collection, and 1; 0: free */
	uint32_t slot_count; /* a power of two, twice `count` at least */
	uint32_t count;      /* the collections that have been entered: the first ones */
};

void ring_names_free(struct ring_names *names);

/* The number of the collection with the same names among the first `count`; COLLECTION_NONE if there is none. */
uint32_t ring_names_find(const struct ring *ring, uint32_t count, const struct ring_collection *wanted);

#endif
