/*
 * stream.h: one SSE response, from its first bytes to its end.
 *
 * A stream is a cursor. While it keeps up it follows its audience's open segment (STREAM_LIVE); when it starts
 * in the past or falls behind it is sent one segment after the other, and has those rendered that nobody
 * needed before (STREAM_CATCHING_UP), until it stands where the drain stands. Never more than one send is
 * under way; what arrives meanwhile goes into the next. Sends happen in streams_pump(), once per turn of the
 * loop, and not from h2o's `proceed`, which would starve the others.
 *
 * It ends when its client goes or takes nothing for too long, with a gap that was not to be, when its lifetime
 * (stream-lifetime) is over, or with the worker. In all cases the client goes on with its last id.
 */
#ifndef CHANGEFEED_HTTP_STREAM_H
#define CHANGEFEED_HTTP_STREAM_H

#include "http/worker.h"

/*
 * Answers the request with a stream. `audience` has been joined for it and is left when the stream ends,
 * `reader` has its filter and start. libh2o frees the stream with the request.
 */
void stream_begin(struct worker *worker, h2o_req_t *req, struct audience *audience,
				  const struct reader *reader, enum on_gap on_gap);

/* Answers HEAD: the head that a stream would have, and no length, for a stream has none. */
void stream_answer_head(h2o_req_t *req);

/* Sends what is new. `drain` is what the turn's fanout_drain() said. What is left over is in
 * worker->news_streams and ready_streams. Returns false if there are live streams that were not sent to. */
bool streams_pump(struct worker *worker, enum fanout_drain drain);

/* Keep-alives for the silent, the end for the stalled. To be called twice a second, and again in the
 * next turn if false. */
bool streams_tick(struct worker *worker);

/* Ends every stream in an orderly way, as far as clients take it. */
void streams_end(struct worker *worker);

#endif
