/*
 * page.h: the answers of polls, and those that are kept for whoever asks the same next.
 *
 * Consumers that follow a table together ask for the same changes behind the same cursor, so an answer is
 * rendered once and sent to all of them from the same memory. What an answer says is fixed by the audience, the
 * place in the ring, the limit and the format; and, if it is the last for now, by where the ring ended.
 *
 * In: rendered answers. Out: the same bytes. It knows nothing of requests.
 */
#ifndef CHANGEFEED_HTTP_PAGE_H
#define CHANGEFEED_HTTP_PAGE_H

#include "core/render/batch.h"

enum { PAGES_KEPT = 64, PAGES_KEPT_BYTES = 32 * 1024 * 1024 };

struct page_key {
	struct bytes audience; /* its key; borrowed */
	const void *options;   /* of the path: they are part of the audience */
	uint64_t position;     /* of the ring, where the batch begins to look */
	unsigned limit;
	enum batch_format format;
};

/* Allocated with h2o_mem_alloc_shared(): it lives as long as requests are linked to it, or it is kept. */
struct page {
	struct pages *pages;
	unsigned count;
	bool has_more;
	struct batch_cursor next;
	uint64_t end; /* where the ring ended when there was no more */
	size_t size;
	char data[];
};

struct pages_entry {
	struct page *page; /* NULL: free */
	struct page_key key;
	uint64_t used; /* the clock's value when it was last found */
};

/* Of a worker. All zero: empty. */
struct pages {
	size_t bytes; /* of all pages that live, kept or being sent */
	size_t kept_bytes;
	uint64_t clock;
	struct pages_entry entries[PAGES_KEPT];
};

/* A page with a copy of the answer's bytes; the caller sets the rest, and has the one reference to it. */
struct page *page_make(struct pages *pages, struct bytes answer);

/* Keeps it for the next one, in place of what was used longest ago. */
void pages_keep(struct pages *pages, const struct page_key *key, struct page *page);

/* A page that answers the same question while the ring ends at `head`, or NULL. Not held for the caller. */
struct page *pages_find(struct pages *pages, const struct page_key *key, uint64_t head);

/* Keeps nothing any more: a new history has begun. */
void pages_clear(struct pages *pages);

#endif
