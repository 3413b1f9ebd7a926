/*
 * poll.h: one poll: a batch of changes from a cursor on, and the cursor behind them.
 *
 * Like a stream, a poll is a cursor over the ring that reads a bounded piece in each turn of the loop. With
 * `wait` and nothing to give it waits until a change matches that its audience wants, or its time is over.
 */
#ifndef CHANGEFEED_HTTP_POLL_H
#define CHANGEFEED_HTTP_POLL_H

#include "core/render/batch.h"
#include "http/worker.h"

/* Answers the request, now or later. The audience has been joined for it. libh2o frees the poll with it. */
void poll_begin(struct worker *worker, h2o_req_t *req, struct audience *audience, const struct reader *reader,
				const struct subscription *subscription, enum batch_format format);

/* Goes on with what can go on. `drain` as in streams_pump(). What is left over is in worker->ready_polls. */
void polls_pump(struct worker *worker, enum fanout_drain drain);

/* Lets those be answered by the next polls_pump() whose time is over, or all of them. */
void polls_expire(struct worker *worker, bool all);

/* Whether answers that wait for their clients hold too much for one more; the request is then answered. */
bool polls_refuse(struct worker *worker, h2o_req_t *req);

/* What polls hold: batches, and answers that are kept or have not been taken. */
size_t polls_bytes(const struct worker *worker);

#endif
