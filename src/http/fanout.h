/*
 * fanout.h: renders each change once for all the streams that want the same bytes.
 *
 * One drain of the ring walks the new records once for all audiences (audience.h), and gives each the changes
 * that it wants. An audience is there as long as it has members.
 *
 * In: records of the ring. Out: bytes of frames. It knows nothing of sockets and requests.
 */
#ifndef CHANGEFEED_HTTP_FANOUT_H
#define CHANGEFEED_HTTP_FANOUT_H

#include "http/audience.h"

enum {
	RENDER_BUDGET = 4 * 1024 * 1024, /* for struct fanout.work */
	FRAME_COST = 2 * 1024,
	AUDIENCES_MAX = 64 * 1024, /* of a worker: each has some kilobytes of its own */
	AUDIENCE_CHAINS = 4096,
};

struct fanout {
	const struct ring *ring;
	struct reader_scratch *scratch; /* shared with the worker's readers */
	struct place place;             /* everything before it was rendered */
	struct place began;             /* where it was before the last drain */
	uint64_t history;
	struct ring_identity origin; /* of the history, for the views of all audiences */
	uint64_t catalog_generation; /* of live, when what is published was last looked at */
	bool new_history;            /* why the last drain was FANOUT_BROKEN */
	bool full;   /* the drain under way has rendered as much for an audience as goes out at once */
	size_t work; /* bytes that it has rendered for all of them, and what else it took, in the same unit */
	uint64_t renders; /* frames rendered since it was last set to 0 */
	struct segments_kept kept;
	h2o_linklist_t audiences;
	unsigned audience_count;
	h2o_linklist_t chains[AUDIENCE_CHAINS]; /* the same, by checksums of their keys with this seed */
	uint64_t seed;
	uint64_t wanted;        /* by the audiences, as live_worker.wanted has it */
	unsigned wanted_by[64]; /* by how many of them, for each bit */
	h2o_linklist_t changed;
	struct audience_list *by_collection; /* which audiences want a collection */
	size_t by_collection_size;
	struct audience_list *all; /* those that want all */
	struct buffer frames;      /* being rendered */
};

/* Begins at the ring's head. Returns false out of memory. */
bool fanout_init(struct fanout *fanout, const struct ring *ring, struct reader_scratch *scratch);

/*
 * The audience of a subscription, made if there is none; then it takes over the text that the subscription
 * owns, which stays readable as long as the audience. NULL out of memory, or beyond AUDIENCES_MAX. Each join
 * is one fanout_leave(), and the last one ends the audience.
 */
struct audience *fanout_join(struct fanout *fanout, struct subscription *subscription,
							 const struct selection *selection, const struct changefeed_options *options);
void fanout_leave(struct audience *audience);

enum fanout_drain {
	FANOUT_IDLE,    /* nothing new */
	FANOUT_DRAINED, /* everything up to head was rendered */
	FANOUT_MORE,    /* the budget is used up, call again */
	FANOUT_BROKEN, /* the ring lapped the drain or began a new history: every stream has to read for itself */
};

/*
 * Renders what is new: at most `budget` bytes of history, about a segment for each audience, which is what
 * goes out at once, and RENDER_BUDGET for all of them together. The ring is the queue: what is rendered ahead
 * of the streams would be dropped before they come to it. Audiences with something new are then in
 * fanout->changed.
 */
enum fanout_drain fanout_drain(struct fanout *fanout, uint64_t budget);

/* Whether there is something to drain. */
bool fanout_has_news(const struct fanout *fanout);

/* Brings the losses of all audiences up to date. Returns true if there are new ones. */
bool fanout_find_losses(struct fanout *fanout);

/* Empties fanout->changed. */
void fanout_settle(struct fanout *fanout);

#endif
