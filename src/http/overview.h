/*
 * overview.h: GET {path}: the published collections, the ring's bounds, the feed's state, as JSON.
 */
#ifndef CHANGEFEED_HTTP_OVERVIEW_H
#define CHANGEFEED_HTTP_OVERVIEW_H

#include "core/ring/ring.h"

/* `mount` is the path that the collections' paths begin with. */
void overview_append(struct buffer *out, const struct ring *ring, struct bytes mount);

#endif
