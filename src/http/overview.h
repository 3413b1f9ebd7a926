/*
 * overview.h: GET {path}: the published collections, the ring's bounds, the feed's state, as JSON.
 *
 * There may be thousands of collections, so those who ask in the same turn of the loop share one answer.
 */
#ifndef CHANGEFEED_HTTP_OVERVIEW_H
#define CHANGEFEED_HTTP_OVERVIEW_H

#include "http/worker.h"

/* `mount` is the path that the collections' paths begin with. */
void overview_answer(struct worker *worker, h2o_req_t *req, struct bytes mount);

/* To be called in each turn: whoever asks from now on is told what is true then. */
void overview_forget(struct worker *worker);

#endif
