/*
 * response.h: whole answers: JSON, problem documents, and the headers that all of ours share.
 */
#ifndef CHANGEFEED_HTTP_RESPONSE_H
#define CHANGEFEED_HTTP_RESPONSE_H

#include "core/request/problem.h"
#include "http/worker.h"

/*
 * Sends a body that is copied, and ends the response. `type` is a constant. Everything is `Cache-Control:
 * no-store`: what we say is true for a moment only.
 */
void response_send(h2o_req_t *req, int status, const char *type, struct bytes body);

/* The same with status 200 for an answer, which is not copied: the request holds it until it has been sent. */
void response_send_answer(h2o_req_t *req, const char *type, struct answer *answer);

/*
 * The same for a page that is `append`ed by the first who asks for it in a turn. It is never compressed: libh2o
 * would do that once more for each of hundreds that ask in one go. `of`: see struct page.
 */
void response_send_page(h2o_req_t *req, const char *type, enum page_kind kind, const void *of,
						void (*append)(struct buffer *out, h2o_req_t *req));

/* Sends a problem document, counts it, and adds what its status asks for: Allow with 405, Retry-After with
 * 429 and 503. */
void response_problem(h2o_req_t *req, const struct problem *problem);

/* Adds the CORS headers (Fetch standard, section 3.2) if the request's origin is allowed, and returns whether it
 * is. `options` may be NULL: no CORS then. */
bool response_allow_origin(h2o_req_t *req, const struct changefeed_options *options);

/* The methods of our resources are GET and HEAD; OPTIONS is answered here. Returns false when it has answered.
 * `options` as above. */
bool response_admit(h2o_req_t *req, const struct changefeed_options *options);

#endif
