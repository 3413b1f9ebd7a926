/*
 * segment.h: rendered history that streams share, and what is kept of it.
 *
 * A segment is the frames of one audience for a stretch of the ring, in one piece of memory. Each audience has a
 * list of them; a stream that stands where a segment begins is sent its bytes, whoever had it rendered. All
 * lists of a worker share one bound, and what was used longest ago is dropped. A send holds the segment that
 * it sends, so dropping never takes bytes away from under libh2o.
 *
 * In: frames that others render. Out: bytes. It knows nothing of records, sockets and requests.
 */
#ifndef CHANGEFEED_HTTP_SEGMENT_H
#define CHANGEFEED_HTTP_SEGMENT_H

#include <h2o/linklist.h>
#include <h2o/memory.h>

#include "core/ring/ring.h"

enum {
	SEGMENT_SIZE = 64 * 1024, /* what is sent at once; only a frame that is larger makes a larger one */
	SEGMENT_SIZE_SMALL = 4 * 1024,
	/* No segment crosses a multiple of it, so that streams that began in different places come to share them.
	 * (One that the drain begins after a silence may.) */
	SEGMENT_GRID = 512 * 1024,
	SEGMENTS_KEPT_MAX = 32 * 1024 * 1024,
	/* for each stream, up to all that may be kept: what is kept for a few stays in the processor's cache */
	SEGMENTS_KEPT_FOR_ONE = 1024 * 1024,
	SEGMENTS_HELD_MAX = 64 * 1024 * 1024, /* that cannot be dropped, before segments become small */
	/* less than this is copied faster than its pages are queued; and putting a segment into a spool costs
	 * about as much as copying it to a few clients */
	SPOOL_SENDS_OF = 16 * 1024,
	SPOOL_AFTER_SENDS = 4,
	SPOOLS_MAX = 512, /* descriptors */
};

struct segment {
	struct segments_kept *kept;
	unsigned references; /* the list's, and one for each send under way */
	bool open;           /* the drain may append to it, and `end` is not known yet */
	uint64_t from;       /* all that its audience wants of the history from this position ... */
	struct place end;    /* ... to this one is in it */
	uint64_t events;
	size_t size;
	size_t capacity;
	unsigned large_sends; /* of SPOOL_SENDS_OF bytes or more */
	int spool;            /* has a copy of the data, as far as `spooled`; -1: there is none */
	size_t spooled;
	struct segment_list *list; /* NULL: no longer kept */
	h2o_linklist_t used_link;  /* in kept->used */
	char data[];
};

/* The segments of one audience, sorted by `from`. */
struct segment_list {
	struct segment **segments;
	size_t count;
	size_t capacity;
};

/* Of a worker. */
struct segments_kept {
	h2o_linklist_t used; /* the one that was used longest ago first; open ones are not in it */
	size_t bytes;        /* of those in `used` */
	size_t limit;        /* for `bytes`; but the one that was closed last is always kept */
	size_t held;         /* bytes of all others: open ones, and those that were dropped while being sent */
	size_t held_limit;   /* for `held`, see segment_room() */
	unsigned readers;    /* streams there are; moved by the caller */
	unsigned spools;     /* there are */
};

/* `limit` in bytes. The struct must not move afterwards. */
void segments_kept_init(struct segments_kept *kept, size_t limit);

/* How large a new segment may be: SEGMENT_SIZE, or SEGMENT_SIZE_SMALL while too much is held. */
size_t segment_room(const struct segments_kept *kept);

/* An open segment with room for `capacity` bytes that begins at `from`; one that began there before is
 * dropped. NULL out of memory. */
struct segment *segment_open(struct segments_kept *kept, struct segment_list *list, uint64_t from,
							 size_t capacity);

/* Appends frames; there is room. */
void segment_append(struct segment *segment, struct bytes frames, uint64_t events);

/* Nothing more will be appended: it reaches to `end`, behind its `from`. From now on it may be dropped. */
void segment_close(struct segment *segment, struct place end);

/* The segment that begins at a position, or NULL. It counts as used. Not held: see segment_hold(). */
struct segment *segment_find(const struct segment_list *list, uint64_t from);

static inline struct segment *segment_hold(struct segment *segment)
{
	segment->references++;
	return segment;
}

/* Lets go of it; without any reference it is freed. */
void segment_release(struct segment *segment);

/*
 * To be asked for each send of bytes of a segment: the spool from which they are to be sent, where they are at
 * *ret_at; -1 if they are to be copied: where few are sent it would not pay, nor for small pieces.
 */
int segment_spool(struct segment *segment, struct bytes bytes, size_t *ret_at);

/* Drops all of a list, and its memory. */
void segment_list_clear(struct segment_list *list);

#endif
