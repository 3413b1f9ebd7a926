/*
 * metrics.h: the figures of feed, ring and all workers, in Prometheus' text format
 * (https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4). Any worker can answer for
 * all: the figures are in the ring's live area. No label per client or collection: their number has no bound.
 */
#ifndef CHANGEFEED_HTTP_METRICS_H
#define CHANGEFEED_HTTP_METRICS_H

#include "core/ring/ring.h"

void metrics_append(struct buffer *out, const struct ring *ring);

#endif
