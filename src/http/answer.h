/*
 * answer.h: the answers of polls, and those that are kept for whoever asks the same next. Pages that are the
 * same for everybody are answers, too, of which nothing but the body counts.
 *
 * Consumers that follow a table together ask for the same changes behind the same cursor, so an answer is
 * rendered once and sent to all of them from the same memory. What an answer says is fixed by the audience, the
 * place in the ring, the limit and the format; and, if it is the last for now, by where the ring ended.
 *
 * In: rendered answers. Out: the same bytes. It knows nothing of requests.
 */
#ifndef CHANGEFEED_HTTP_ANSWER_H
#define CHANGEFEED_HTTP_ANSWER_H

#include "core/render/batch.h"

enum { ANSWERS_KEPT = 64, ANSWERS_KEPT_BYTES = 32 * 1024 * 1024 };

struct answer_key {
	struct bytes audience; /* its key; borrowed */
	const void *options;   /* of the path: they are part of the audience */
	uint64_t position;     /* of the ring, where the batch begins to look */
	unsigned limit;
	enum batch_format format;
};

/* Allocated with h2o_mem_alloc_shared(): it lives as long as requests are linked to it, or it is kept. */
struct answer {
	struct answers *answers;
	unsigned count;
	bool has_more;
	struct batch_cursor next;
	uint64_t end; /* where the ring ended when there was no more */
	size_t size;
	char data[];
};

struct answers_entry {
	struct answer *answer; /* NULL: free */
	struct answer_key key;
	uint64_t used; /* the clock's value when it was last found */
};

/* Of a worker. All zero: empty. */
struct answers {
	size_t bytes; /* of all that live, kept or being sent */
	size_t kept_bytes;
	uint64_t clock;
	struct answers_entry entries[ANSWERS_KEPT];
};

/* An answer with a copy of the body; the caller sets the rest, and has the one reference to it. */
struct answer *answer_make(struct answers *answers, struct bytes body);

/* Sets *place to `answer`, or to NULL, and lets go of the answer that was there, if any. */
void answer_replace(struct answer **place, struct answer *answer);

/* Keeps it for the next one, in place of what was used longest ago. */
void answers_keep(struct answers *answers, const struct answer_key *key, struct answer *answer);

/* The answer to the same question while the ring ends at `head`, or NULL. Not held for the caller. */
struct answer *answers_find(struct answers *answers, const struct answer_key *key, uint64_t head);

/* Keeps nothing any more: a new history has begun. */
void answers_clear(struct answers *answers);

#endif
