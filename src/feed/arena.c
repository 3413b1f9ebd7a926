/*
 * arena.c: see arena.h. Every allocation is a block of its own in a list: descriptions of tables are made
 * rarely, what counts is that none of their parts can be forgotten.
 */
#include "feed/arena.h"

#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>

#include "log.h"

struct arena_block {
	struct arena_block *next;
	alignas(max_align_t) char data[];
};

void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = calloc(1, sizeof(*block) + size);
	if (block == NULL) {
		log_line(LOG_LEVEL_ERROR, "out of memory");
		exit(EXIT_FAILURE);
	}
	block->next = arena->blocks;
	arena->blocks = block;
	return block->data;
}

struct bytes arena_copy(struct arena *arena, struct bytes bytes)
{
	char *copy = arena_alloc(arena, bytes.size + 1);
	if (bytes.size > 0)
		memcpy(copy, bytes.data, bytes.size);
	return (struct bytes){copy, bytes.size};
}

void arena_free(struct arena *arena)
{
	while (arena->blocks != NULL) {
		struct arena_block *block = arena->blocks;
		arena->blocks = block->next;
		free(block);
	}
}
