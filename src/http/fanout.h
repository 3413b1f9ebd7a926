/*
 * fanout.h: renders each change once for all the streams that want the same bytes.
 *
 * Streams with equal filters and views form a class, and share its segments (segment.h). There are two who
 * render them. One drain of the ring (fanout_drain) walks the new records once for all classes, and appends a
 * frame to the open segment of each class that wants one and has live streams. For a stream that begins in
 * the past or fell behind, class_render() makes the segment that follows where it stands, and whoever comes
 * there later finds it. So a stream is a cursor: it owns no queue, and a slow one costs nobody anything.
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
#include "core/request/selection.h"
#include "core/request/subscription.h"
#include "http/conf/changefeed_options.h"
#include "http/segment.h"

/* How far a stream has come in what its class has rendered. */
struct footing {
	uint64_t from; /* the segment that begins there ... */
	size_t offset; /* ... up to this byte */
	uint64_t events;
};

struct class
{
	struct fanout *fanout;
	unsigned members;            /* streams and polls; the last one that leaves ends the class */
	h2o_linklist_t link;         /* in fanout->classes */
	h2o_linklist_t changed_link; /* in fanout->changed: something matched in this turn */
	h2o_linklist_t streams;      /* all of its streams, the one that was sent to longest ago first */
	h2o_linklist_t waiting;      /* those of them that are live and have been sent everything */
	unsigned live_streams;       /* of `streams`: those that follow the segments */
	const struct changefeed_options *options; /* of the path that they came by */
	struct subscription subscription;         /* names, view, tenant; the start is of no meaning here */
	struct selection selection;
	struct scope scope;
	struct buffer key;
	struct segment_list segments;
	struct segment *open;  /* the one that the drain appends to, NULL until it has a frame for it */
	struct place front;    /* where that one begins, or will */
	struct footing before; /* the end of the one before: who has come there goes on at `front` */
	bool rested;           /* nothing has been rendered since class_rest() */
	uint64_t losses;       /* how often collections that it names have left the publication */
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
	struct segments_kept kept;
	h2o_linklist_t classes;
	bool wanted_known; /* `wanted` is that of the classes there are now */
	uint64_t wanted;
	h2o_linklist_t changed;
	struct class_list *by_collection; /* which classes want a collection */
	size_t by_collection_size;
	struct class_list *all; /* those that want all */
	struct buffer frames;   /* being rendered */
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

/* What the classes want, as live_worker.wanted has it. */
uint64_t fanout_wanted(struct fanout *fanout);

/* Empties fanout->changed. */
void fanout_settle(struct fanout *fanout);

/* A stream of the class begins to be live, or ceases to be. */
void class_follow(struct class *class);
void class_unfollow(struct class *class);

/* Where a live stream stands that has everything. */
struct footing class_front(const struct class *class);
bool class_at_front(const struct class *class, const struct footing *at);

/* What a stream is sent next, in one piece of memory. */
struct slice {
	struct segment *segment; /* held for the caller: segment_release() */
	struct bytes bytes;
	uint64_t events; /* in the bytes */
};

/*
 * The bytes that follow `at`, or, where that is not kept any more, the reader's place. Both are moved behind
 * them. Returns false if those are not kept either, or there are none yet; both may have been moved then,
 * over history without a frame for the class.
 */
bool class_slice(struct class *class, struct footing *at, struct reader *reader, struct slice *ret_slice);

/*
 * Renders the segment that begins where the reader stands, which is one of the class's and stands before the
 * drain, up to the drain at most. Returns READER_CHANGE when there is a segment there now, maybe one without
 * frames; the reader has not moved then, but is no longer fresh. Else what reader_next() said. *walked is
 * increased by the bytes of history it took.
 */
enum reader_event class_render(struct class *class, struct reader *reader, uint64_t *walked,
							   uint64_t *ret_lagged);

/* To be called now and then: what a class that is silent holds may be dropped. */
void class_rest(struct class *class);

#endif
