/*
 * request.h: from a request for changes to a stream, a poll, or a problem.
 *
 * A request that names a collection or an LSN which the feed has not seen may be right all the same: the
 * table was published a moment ago, the LSN was read a moment ago. Such a request is deferred: the feed is
 * asked to look at the catalog and at the end of the WAL, and what it finds settles the matter. So is a
 * request whose collection is known only in lower case: a table spelled exactly as requested may be about to
 * appear. If no answer comes in time, an unknown cursor waits until the feed has looked, and an unknown table
 * is 503, not 404.
 *
 * A request for which there is no time left to count its gap is put off to the next turn; the feed has no part
 * in that.
 */
#ifndef CHANGEFEED_HTTP_REQUEST_H
#define CHANGEFEED_HTTP_REQUEST_H

#include "http/worker.h"

/* Answers a request for the changes of `collections`, the raw part of the path. */
void request_changes(struct worker *worker, h2o_req_t *req, const struct changefeed_options *options,
					 enum delivery delivery, struct bytes collections);

/* Takes up what was put off to this turn, and deferred requests that the feed has answered or that waited long
 * enough. Returns whether deferred ones still wait. */
bool requests_settle(struct worker *worker);

#endif
