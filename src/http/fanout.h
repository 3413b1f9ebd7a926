/*
 * fanout.h: renders each new change once for all the streams that want the same bytes.
 *
 * Streams with equal filters and views form a class. One drain of the ring (fanout_drain) walks the new
 * records once and appends, for each class that wants one and has live streams, a frame to the class's
 * segments. A stream is a cursor into them: an offset in the endless sequence of the class's bytes. A stream
 * that fell behind what is kept reads the ring by itself (stream.c) until it has caught up with the drain; so
 * a class keeps little, and a slow stream costs nobody anything.
 *
 * Long polls join classes too: for them a class only says that something matched.
 *
 * In: records of the ring. Out: bytes of frames. It knows nothing of sockets and requests.
 */
#ifndef CHANGEFEED_HTTP_FANOUT_H
#define CHANGEFEED_HTTP_FANOUT_H

#include <h2o/linklist.h>
#include <h2o/memory.h>

#include "core/reader.h"
#include "core/selection.h"
#include "core/subscription.h"
#include "http/changefeed_options.h"

enum { CLASS_SEGMENTS_MAX = 16, SEGMENT_SIZE = 64 * 1024, SEGMENT_SIZE_SMALL = 4 * 1024 };

/* Whole frames in one piece of memory. Held by its class while it is kept, and by each send that is under
 * way. */
struct segment {
	unsigned references;
	uint64_t first; /* the class's offset of data[0] */
	size_t size;
	size_t capacity;
	struct place end; /* behind the change of its last frame */
	uint64_t events;  /* the class's frames up to there */
	char data[];
};

void segment_release(struct segment *segment);

struct class
{
	struct fanout *fanout;
	unsigned members;            /* streams and polls; the last one that leaves ends the class */
	h2o_linklist_t link;         /* in fanout->classes */
	h2o_linklist_t changed_link; /* in fanout->changed: something matched in this turn */
	h2o_linklist_t streams;      /* all of its streams, the one that was sent to longest ago first */
	h2o_linklist_t polls;        /* polls that wait for a change */
	unsigned live_streams;       /* of `streams`: those that follow the segments */
	const struct changefeed_options *options; /* of the path that they came by */
	struct subscription subscription;         /* names, view, tenant; the start is of no meaning here */
	struct selection selection;
	struct filter filter;
	struct buffer key;
	struct segment *segments[CLASS_SEGMENTS_MAX]; /* oldest first */
	unsigned segment_count;
	uint64_t end;         /* the offset behind the last byte rendered */
	uint64_t events;      /* frames rendered */
	uint64_t drain_began; /* `end` when it was entered in fanout->changed */
	uint64_t losses;      /* how often collections that it names have left the publication */
	uint64_t lost_at[SUBSCRIPTION_NAMES_MAX]; /* of each in the selection: `losses` when it left, 0 while it
												 is published */
};

struct fanout {
	const struct ring *ring;
	struct reader_scratch *scratch; /* shared with the worker's readers */
	struct place place;             /* everything before it was rendered */
	uint64_t history;
	struct ring_identity origin; /* of the history, for the views of all classes */
	uint64_t catalog_generation; /* of live, when what is published was last looked at */
	bool new_history;            /* why the last drain was FANOUT_BROKEN */
	bool full;        /* the drain under way has rendered as much for a class as goes out at once */
	uint64_t renders; /* frames rendered since it was last set to 0 */
	h2o_linklist_t classes;
	h2o_linklist_t changed;
	struct class_list *by_collection; /* which classes want a collection */
	size_t by_collection_size;
	struct class_list *all; /* those that want all */
	struct buffer frame;
};

/* Begins at the ring's head. Returns false out of memory. */
bool fanout_init(struct fanout *fanout, const struct ring *ring, struct reader_scratch *scratch);

/*
 * The class of a subscription, made if there is none; then it takes over the text that the subscription owns,
 * which stays readable as long as the class. NULL out of memory. Each join is one class_leave().
 */
struct class *fanout_join(struct fanout *fanout, struct subscription *subscription,
						  const struct selection *selection, const struct changefeed_options *options);
void class_leave(struct class *class);

enum fanout_drain {
	FANOUT_IDLE,    /* nothing new */
	FANOUT_DRAINED, /* everything up to head was rendered */
	FANOUT_MORE,    /* the budget is used up, call again */
	FANOUT_BROKEN, /* the ring lapped the drain or began a new history: every stream has to read for itself */
};

/*
 * Renders what is new: at most `budget` bytes of history, and about a segment for each class, which is what
 * goes out at once. The ring is the queue: what is rendered ahead of the streams would be dropped before they
 * come to it. Classes with something new are then in fanout->changed.
 */
enum fanout_drain fanout_drain(struct fanout *fanout, uint64_t budget);

/* Brings the losses of all classes up to date. Returns true if there are new ones. */
bool fanout_find_losses(struct fanout *fanout);

/* Appends an event for each collection of the class that was lost behind the first `seen` losses, and is
 * still. */
void class_append_losses(const struct class *class, uint64_t seen, struct buffer *out);

/* Empties fanout->changed. */
void fanout_settle(struct fanout *fanout);

/* What follows an offset in one piece of memory. */
struct slice {
	struct segment *segment; /* held for the caller: segment_release() */
	struct bytes bytes;
	struct place place; /* behind the bytes */
	uint64_t events;    /* of the class, up to there */
};

/* Returns false, *ret_slice untouched, if the offset is no longer kept. Not to be called at class->end. */
bool class_slice(struct class *class, uint64_t offset, struct slice *ret_slice);

/* Lets go of what nobody reads; called now and then when a class is silent. */
void class_trim(struct class *class);

#endif
