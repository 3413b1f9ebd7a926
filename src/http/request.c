/* request.c: see request.h. */
#include "http/request.h"

#include <unistd.h>

#include "core/clock.h"
#include "core/request/accept.h"
#include "http/libh2o.h"
#include "http/list.h"
#include "http/poll.h"
#include "http/response.h"
#include "http/stream.h"

enum {
	DEFER_MS = 2000,
	COUNT_BUDGET = 8 * 1024 * 1024, /* of the log of what is gone that requests read in one turn */
	REQUESTS_PER_TURN = 256,        /* that are taken up again, however many have been answered by the feed */
};

struct request {
	h2o_linklist_t link;
	h2o_req_t *req;
	const struct changefeed_options *options;
	enum delivery delivery;
	struct bytes collections; /* in the memory of req */
	uint64_t asked;           /* the feed has answered when live->refresh_done reaches it; 0: not asked yet */
	int64_t deadline_ms;      /* for that */
};

enum verdict {
	ANSWERED,  /* or handed to a stream or a poll */
	ASK_FEED,  /* first, and serve it then; once for each request */
	NEXT_TURN, /* in this one there is no time left to count its gap */
};

static bool has_answered(const struct worker *worker, const struct request *request)
{
	return live_load(&worker->live->refresh_done) >= request->asked;
}

/* Whether an answer may come soon. */
static bool feed_streams(const struct worker *worker)
{
	return live_feed_state(worker->live) == FEED_STREAMING;
}

/* An envelope is always JSON. */
static enum batch_format format_of(const h2o_req_t *req, enum format envelope)
{
	struct accept accept = {0};
	ssize_t at = -1;

	if (envelope != FORMAT_JSON)
		return envelope == FORMAT_CLOUDEVENTS ? BATCH_CLOUDEVENTS : BATCH_JSON;
	do {
		accept_add(&accept, request_next_header(req, "accept", &at));
	} while (at >= 0);
	return accept_prefers_msgpack(&accept) ? BATCH_MSGPACK : BATCH_JSON;
}

/* Whether there is time in this turn to count a gap. */
static bool may_count(const struct worker *worker)
{
	return worker->scratch.gaps.walked - worker->gaps_walked < COUNT_BUDGET;
}

/* A stream that is to fail rather than to have a gap counts it before it begins. */
static bool counts_at_once(const struct request *request, const struct subscription *subscription)
{
	return request->delivery == DELIVERY_SSE && subscription->on_gap == ON_GAP_FAIL;
}

static void on_dispose(void *pointer)
{
	struct request *request = pointer;
	list_leave(&request->link);
}

/* A copy that lives as long as the request. */
static struct request *keep(const struct request *request)
{
	struct request *kept = h2o_mem_alloc_shared(&request->req->pool, sizeof(*kept), on_dispose);

	*kept = *request;
	kept->link = (h2o_linklist_t){0};
	return kept;
}

static void ask_feed(struct worker *worker, struct request *request)
{
	uint64_t one = 1;

	request->asked = atomic_fetch_add_explicit(&worker->live->refresh_asked, 1, memory_order_acq_rel) + 1;
	request->deadline_ms = clock_monotonic_ms() + DEFER_MS; /* worker->now_ms may be of half a second ago */
	h2o_linklist_insert(&worker->deferred, &request->link);
	if (write(worker->refresh_fd, &one, sizeof(one)) < 0 || !feed_streams(worker))
		request->deadline_ms = worker->now_ms; /* nobody who answers now */
}

/* A cursor that lies beyond all that was streamed, and beyond the server's WAL as far as it is known. */
static bool beyond_wal(const struct worker *worker, const struct start *start)
{
	return (start->kind == CURSOR_EVENT || start->kind == CURSOR_LSN) &&
		   start->at.lsn > live_load(&worker->live->streamed_lsn) &&
		   start->at.lsn > live_load(&worker->live->server_lsn);
}

/* Finds the start of a stream that is to fail rather than to have a gap. Returns false with a problem if it
 * has one. */
static bool start_is_whole(struct worker *worker, struct reader *reader, struct problem *ret_problem)
{
	enum reader_event event;
	uint64_t lagged = 0;

	if (reader_find_start(reader, &worker->scratch, &event, &lagged))
		return true;
	if (event == READER_GAP)
		problem_set_lagged(ret_problem, ring_oldest(worker->ring).cursor, lagged);
	if (event == READER_FOREIGN)
		problem_set_foreign(ret_problem, ring_oldest(worker->ring).cursor);
	return event == READER_WAITING;
}

/* Hands the request to a stream or a poll. */
static void begin(struct worker *worker, const struct request *request, struct subscription *subscription,
				  const struct selection *selection)
{
	struct audience *audience = fanout_join(&worker->fanout, subscription, selection, request->options);
	struct problem problem;
	struct reader reader;

	if (audience == NULL) {
		problem_set(&problem, 503,
					"too many different requests are followed now, or memory is out: try again");
		response_problem(request->req, &problem);
		return;
	}
	reader_init(&reader, worker->ring, &audience->scope, subscription->start);
	reader.asked = request->asked;
	if (request->delivery == DELIVERY_POLL) {
		poll_begin(worker, request->req, audience, &reader, subscription,
				   format_of(request->req, subscription->view.format));
	} else if (counts_at_once(request, subscription) && !start_is_whole(worker, &reader, &problem)) {
		fanout_leave(audience);
		response_problem(request->req, &problem);
	} else if (request_has_method(request->req, "HEAD")) {
		fanout_leave(audience);
		stream_answer_head(request->req);
	} else {
		stream_begin(worker, request->req, audience, &reader, subscription->on_gap);
	}
}

/* What is not published as far as is known, where the feed has not been able to look. */
static void set_unknown(const struct worker *worker, struct problem *problem)
{
	char why[LIVE_FEED_TEXT_SIZE] = "the server does not say, which a lock on a published table can cause";

	if (!feed_streams(worker))
		live_feed_text(worker->live, why);
	problem_set(problem, 503, "the feed cannot look now whether this is published, try again (%s)", why);
}

/* `selection` is NULL if it was not found. */
static enum verdict judge(const struct worker *worker, const struct request *request,
						  const struct subscription *subscription, const struct selection *selection)
{
	bool known = selection != NULL && !selection->folded && !beyond_wal(worker, &subscription->start);

	if (request->asked == 0 && !known)
		return ASK_FEED;
	if (selection != NULL && counts_at_once(request, subscription) && !may_count(worker))
		return NEXT_TURN;
	return ANSWERED;
}

/* Nothing is answered yet unless it returns ANSWERED. */
static enum verdict serve(struct worker *worker, const struct request *request)
{
	h2o_req_t *req = request->req;
	ssize_t at = -1;
	struct subscription_request parts = {
		.delivery = request->delivery,
		.path = request->collections,
		.last_event_id = request_next_header(req, "last-event-id", &at),
		.messages = request->options->messages,
	};
	struct subscription subscription;
	struct selection selection;
	struct problem problem;

	if (req->query_at != SIZE_MAX)
		parts.query = (struct bytes){req->path.base + req->query_at + 1, req->path.len - req->query_at - 1};
	if (request->options->tenant_column != NULL)
		parts.tenant_column = bytes_of(request->options->tenant_column);
	if (!subscription_parse(&parts, &subscription, &problem)) {
		response_problem(req, &problem);
		return ANSWERED;
	}
	bool found =
		selection_resolve(&subscription, worker->ring, bytes_of(worker->publication), &selection, &problem);
	enum verdict verdict = judge(worker, request, &subscription, found ? &selection : NULL);
	if (!found && !has_answered(worker, request))
		set_unknown(worker, &problem);
	if (found && verdict == ANSWERED)
		begin(worker, request, &subscription, &selection);
	else if (verdict == ANSWERED)
		response_problem(req, &problem);
	subscription_free(&subscription);
	return verdict;
}

/* Serves the request, now or later. */
static void take_up(struct worker *worker, const struct request *request)
{
	switch (serve(worker, request)) {
	case ANSWERED:
		break;
	case ASK_FEED:
		ask_feed(worker, keep(request));
		break;
	case NEXT_TURN:
		h2o_linklist_insert(&worker->ready_requests, &keep(request)->link);
		break;
	}
}

void request_changes(struct worker *worker, h2o_req_t *req, const struct changefeed_options *options,
					 enum delivery delivery, struct bytes collections)
{
	struct request request = {
		.req = req, .options = options, .delivery = delivery, .collections = collections};
	struct problem problem;

	if (live_load(&worker->live->history) == 0) {
		char feed[LIVE_FEED_TEXT_SIZE];
		live_feed_text(worker->live, feed);
		problem_set(&problem, 503, "the feed has not been connected yet, it is %s", feed);
		response_problem(req, &problem);
	} else {
		take_up(worker, &request);
	}
}

static void take_up_ready(struct worker *worker)
{
	h2o_linklist_t turn;

	line_take(&turn, &worker->ready_requests);
	for (int i = 0; i < REQUESTS_PER_TURN && !h2o_linklist_is_empty(&turn) && may_count(worker); i++) {
		struct request *request = LIST_FIRST(struct request, link, &turn);
		h2o_linklist_unlink(&request->link);
		take_up(worker, request);
	}
	line_put_back(&turn, &worker->ready_requests);
}

bool requests_settle(struct worker *worker)
{
	worker->refresh_seen = live_load(&worker->live->refresh_done);
	worker->gaps_walked = worker->scratch.gaps.walked;
	LIST_EACH (struct request, link, request, &worker->deferred) {
		if (has_answered(worker, request) || worker->now_ms >= request->deadline_ms) {
			h2o_linklist_unlink(&request->link);
			h2o_linklist_insert(&worker->ready_requests, &request->link);
		}
	}
	take_up_ready(worker);
	return !h2o_linklist_is_empty(&worker->deferred);
}
