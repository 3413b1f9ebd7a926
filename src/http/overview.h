/*
 * overview.h: GET {path}: the published collections, the ring's bounds, the feed's state, as JSON.
 */
#ifndef CHANGEFEED_HTTP_OVERVIEW_H
#define CHANGEFEED_HTTP_OVERVIEW_H

#include "http/worker.h"

/* `mount` is the path that the collections' paths begin with. */
void overview_answer(struct worker *worker, h2o_req_t *req, struct bytes mount);

#endif
