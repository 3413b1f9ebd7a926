/*
 * audience.h: streams that want the same bytes, and what has been rendered for them.
 *
 * Streams with equal filters and views form an audience, and share its segments (segment.h), which are rendered
 * in two places. The drain of the ring (fanout.h) appends each new change to the open segment of each audience
 * that wants it and has live streams. For a stream that begins in the past or fell behind, audience_render()
 * makes the segment that follows where it stands, and every stream that comes there later finds it. So a
 * stream is a cursor: it owns no queue, and a slow one costs nobody anything.
 *
 * Polls join audiences, too: for those that wait an audience says that something matched.
 *
 * In: documents, and records of the ring. Out: bytes of frames. It knows nothing of sockets and requests.
 */
#ifndef CHANGEFEED_HTTP_AUDIENCE_H
#define CHANGEFEED_HTTP_AUDIENCE_H

#include "core/reader.h"
#include "core/request/selection.h"
#include "core/request/subscription.h"
#include "http/conf/changefeed_options.h"
#include "http/segment.h"

struct fanout;

/* How far a stream has come in what its audience has rendered. */
struct footing {
	uint64_t from; /* the segment that begins there ... */
	size_t offset; /* ... up to this byte */
	uint64_t events;
};

struct audience {
	struct fanout *fanout;
	unsigned members;            /* streams and polls; the last one that leaves ends the audience */
	h2o_linklist_t link;         /* in fanout->audiences */
	h2o_linklist_t chain_link;   /* in one of fanout->chains */
	h2o_linklist_t changed_link; /* in fanout->changed: something matched in this turn */
	h2o_linklist_t streams;      /* all of its streams, the one that was sent to longest ago first */
	h2o_linklist_t waiting;      /* those of them that are live and have been sent everything */
	h2o_linklist_t polls;        /* that wait for something new */
	unsigned live_streams;       /* of `streams`: those that follow the segments */
	const struct changefeed_options *options; /* of the path that they came by */
	struct subscription subscription;         /* names, view, tenant; the start is of no meaning here */
	struct selection selection;
	struct scope scope;
	struct buffer key;
	struct segment_list segments;
	struct segment *open;  /* the one that the drain appends to, NULL until it has a frame for it */
	struct place front;    /* where that one begins, or will */
	struct footing before; /* the end of the one before: a stream that stands there goes on at `front` */
	bool rested;           /* nothing has been rendered since audience_rest() */
	uint32_t losses;       /* how often collections that it names have left the publication */
	/* of each collection in the selection: `losses` when it left, 0 while it is published */
	uint32_t lost_at[SUBSCRIPTION_NAMES_MAX];
	/* of each, where the fan-out's list of its audiences has this one; of all, the first */
	uint32_t places[SUBSCRIPTION_NAMES_MAX];
};

/* ---- for streams */

/* A stream of the audience begins to be live, or ceases to be. */
void audience_follow(struct audience *audience);
void audience_unfollow(struct audience *audience);

/* Where a live stream stands that has everything. */
struct footing audience_front(const struct audience *audience);
bool audience_at_front(const struct audience *audience, const struct footing *at);

/* What a stream is sent next, in one piece of memory. */
struct slice {
	struct segment *segment; /* held for the caller: segment_release() */
	struct bytes bytes;
	uint64_t events; /* in the bytes */
};

/*
 * The bytes that follow `at`, or, where that is not kept any more, the reader's place. Both are moved behind
 * them. Returns false if those are not kept either, or there are none yet; both may have been moved then,
 * over history without a frame for the audience.
 */
bool audience_slice(struct audience *audience, struct footing *at, struct reader *reader,
					struct slice *ret_slice);

/*
 * Renders the segment that begins where the reader stands, which is one of the audience's and stands before the
 * drain, up to the drain at most. Returns READER_CHANGE when there is a segment there now, maybe one without
 * frames; the reader has not moved then, but is no longer fresh. Else what reader_next() said. *walked is
 * increased by what it took off a budget for reader_next().
 */
enum reader_event audience_render(struct audience *audience, struct reader *reader, uint64_t *walked,
								  uint64_t *ret_lagged);

/* To be called now and then: what an audience that is silent holds may be dropped. */
void audience_rest(struct audience *audience);

/* Appends an event `unpublished` for each collection of the audience that has left the publication after the
 * first `seen` losses, and has not come back. */
void audience_append_losses(const struct audience *audience, uint32_t seen, struct buffer *out);

/* ---- for the fan-out */

/* One without members, and a copy of `key`; it takes over the text that the subscription owns. NULL out of
 * memory. */
struct audience *audience_make(struct fanout *fanout, struct subscription *subscription,
							   const struct selection *selection, const struct changefeed_options *options,
							   struct bytes key);
void audience_free(struct audience *audience);

/* What it wants, as live_worker.wanted has it. */
uint64_t audience_wanted(const struct audience *audience);

/* A new change that its filter lets through, at which the drain stands; `behind` is the place behind it. If
 * it is of the tenant, the audience is in fanout->changed afterwards, and it is rendered for the live
 * streams. */
void audience_offer(struct audience *audience, const struct document *document, const struct place *behind);

/* The drain does not go on where live streams stand. With a new history nothing of the old one is kept. */
void audience_break(struct audience *audience, bool new_history);

/* Brings its losses up to date. Returns true if there are new ones. */
bool audience_find_losses(struct audience *audience);

#endif
