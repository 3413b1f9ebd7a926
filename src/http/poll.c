/* poll.c: see poll.h. */
#include "http/poll.h"

#include "core/clock.h"
#include "http/libh2o.h"
#include "http/list.h"
#include "http/response.h"

enum {
	POLL_BUDGET = 1024 * 1024,       /* bytes of history that one poll walks in one turn */
	POLLS_US = 4000,                 /* of one turn, for all polls */
	POLL_SIZE_MAX = 8 * 1024 * 1024, /* a batch ends when it is this large, whatever its limit */
	/* clients that do not take their answers: while those hold so much, batches are small, then refused; first
	 * those of a connection that holds much by itself */
	POLL_CROWDED = 64 * 1024 * 1024,
	POLL_SIZE_CROWDED = 64 * 1024,
	POLL_OVERCROWDED = 256 * 1024 * 1024,
	POLL_CONNECTION_CROWDED = 16 * 1024, /* kB */
	POLL_CONNECTION_OVERCROWDED = 32 * 1024,
	POLL_COMPRESSED_MAX = 512 * 1024, /* libh2o compresses an answer all at once, while everybody waits */
};

enum poll_state {
	POLL_READING,  /* -> WAITING, ANSWERED */
	POLL_WAITING,  /* for a change, or for its start to come -> READING, ANSWERED */
	POLL_ANSWERED, /* and being sent */
};

struct poll {
	struct worker *worker;
	h2o_req_t *req;
	struct audience *audience;
	enum poll_state state;
	enum on_gap on_gap;
	unsigned limit;
	int64_t deadline_ms; /* for its answer */
	int64_t since_ms;    /* that was asked for: the next is never before it */
	/* behind the batch's latest change, which need not be its last: transactions are not always committed in
	 * the order of their times */
	int64_t latest_ms;
	bool full;          /* the batch is; only has_more is still to be found out */
	uint64_t from;      /* where in the ring the batch began to look */
	struct cursor last; /* of the batch */
	struct batch batch;
	size_t held;       /* bytes of worker->batch_bytes */
	uint32_t *account; /* of the connection, what all of its polls have charged, in kB; NULL: it has none */
	uint32_t charged;  /* kB of *account: the batch, then the answer */
	struct reader reader;
	h2o_linklist_t worker_link; /* in ready_polls or waiting_polls */
	h2o_linklist_t wait_link;   /* while it waits: in audience->polls or worker->seeking_polls */
	struct hangup_watch hangup; /* while it waits */
};

/* ---- states */

static void begin_wait(struct poll *poll)
{
	struct worker *worker = poll->worker;

	live_figure_add(&worker->figures->polls_waiting, 1);
	hangup_watch(&worker->hangup, &poll->hangup, poll->req, poll->audience->options->stall_s);
	h2o_linklist_insert(&worker->waiting_polls, &poll->worker_link);
	h2o_linklist_insert(poll->reader.seeking ? &worker->seeking_polls : &poll->audience->polls,
						&poll->wait_link);
}

static void end_wait(struct poll *poll)
{
	hangup_unwatch(&poll->worker->hangup, &poll->hangup);
	h2o_linklist_unlink(&poll->wait_link);
	live_figure_subtract(&poll->worker->figures->polls_waiting, 1);
}

/* What is done when a state is left. */
static void leave_state(struct poll *poll)
{
	list_leave(&poll->worker_link);
	if (poll->state == POLL_WAITING)
		end_wait(poll);
}

static void set_state(struct poll *poll, enum poll_state state)
{
	assert(poll->state != POLL_ANSWERED);
	leave_state(poll);
	poll->state = state;
	if (state == POLL_READING)
		h2o_linklist_insert(&poll->worker->ready_polls, &poll->worker_link);
	else if (state == POLL_WAITING)
		begin_wait(poll);
}

/* ---- memory */

static void charge(struct poll *poll, size_t bytes)
{
	uint32_t kilobytes = (uint32_t)(bytes / 1024);

	if (poll->account != NULL)
		*poll->account += kilobytes - poll->charged;
	poll->charged = kilobytes;
}

/* Counts memory that is this poll's own. */
static void hold(struct poll *poll, size_t bytes)
{
	poll->worker->batch_bytes += bytes - poll->held;
	poll->held = bytes;
	charge(poll, bytes);
}

size_t polls_bytes(const struct worker *worker)
{
	return worker->batch_bytes + worker->answers.bytes;
}

static bool is_crowded(const struct worker *worker, const uint32_t *account)
{
	return polls_bytes(worker) >= POLL_CROWDED || (account != NULL && *account >= POLL_CONNECTION_CROWDED);
}

static bool is_overcrowded(const struct worker *worker, const uint32_t *account)
{
	return polls_bytes(worker) >= POLL_OVERCROWDED ||
		   (account != NULL && *account >= POLL_CONNECTION_OVERCROWDED);
}

/* ---- answering */

static void answer_unavailable(h2o_req_t *req, const char *detail)
{
	struct problem problem;
	problem_set(&problem, 503, "%s", detail);
	response_problem(req, &problem);
}

static void answer_out_of_memory(struct poll *poll)
{
	answer_unavailable(poll->req, "out of memory: ask for fewer changes with limit");
}

static void add_header(struct poll *poll, const char *name, struct bytes value)
{
	h2o_iovec_t copy = h2o_strdup(&poll->req->pool, value.data, value.size);
	h2o_set_header_by_str(&poll->req->pool, &poll->req->res.headers, name, strlen(name), 0, copy.base,
						  copy.len, 1);
}

/* What is said beside the changes, where the format has no room for it. */
static void add_headers(struct poll *poll, const struct answer *answer)
{
	char cursor[CURSOR_TEXT_MAX], lagged[U64_DIGITS_MAX];

	add_header(poll, "changefeed-next-cursor", cursor_text(answer->next.since, cursor));
	add_header(poll, "changefeed-has-more", answer->has_more ? BYTES("true") : BYTES("false"));
	if (poll->batch.lagged > 0)
		add_header(poll, "changefeed-lagged", bytes_of_u64(poll->batch.lagged, lagged));
	if (poll->batch.reset)
		add_header(poll, "changefeed-reset", BYTES("true"));
}

/* It goes out of the answer's own memory, which the request holds. */
static void send_answer(struct poll *poll, struct answer *answer)
{
	struct worker *worker = poll->worker;

	live_figure_add(&worker->figures->events_total, answer->count);
	live_figure_add(&worker->figures->sent_bytes_total, answer->size);
	if (request_is_copied(poll->req))
		hold(poll, answer->size);
	if (answer->size > POLL_COMPRESSED_MAX)
		poll->req->compress_hint = H2O_COMPRESS_HINT_DISABLE;
	if (poll->batch.format == BATCH_CLOUDEVENTS)
		add_headers(poll, answer);
	response_send_answer(poll->req, batch_content_type(poll->batch.format), answer);
}

static struct answer_key answer_key_of(const struct poll *poll)
{
	return (struct answer_key){.audience = buffer_bytes(&poll->audience->key),
							   .options = poll->audience->options,
							   .position = poll->from,
							   .limit = poll->limit,
							   .format = poll->batch.format};
}

static void answer_batch(struct poll *poll, bool has_more)
{
	struct worker *worker = poll->worker;
	struct batch *batch = &poll->batch;
	/* whether the next since_ms comes from the batch, and not from what this poll asked for */
	bool by_batch = batch->count > 0 && poll->latest_ms >= poll->since_ms;
	struct batch_cursor next = {by_batch ? poll->latest_ms : poll->since_ms,
								batch->count > 0 ? poll->last : reader_cursor(&poll->reader)};

	set_state(poll, POLL_ANSWERED);
	buffer_clear(&worker->output);
	batch_end(batch, &next, has_more, &worker->output);
	batch_free(batch);
	hold(poll, 0);
	if (worker->output.failed) {
		answer_out_of_memory(poll);
		return;
	}
	struct answer *answer = answer_make(&worker->answers, buffer_bytes(&worker->output));
	answer->count = batch->count;
	answer->has_more = has_more;
	answer->next = next;
	answer->end = poll->reader.place.position;
	/* kept for others unless it says what is true for this poll alone */
	if (by_batch && batch->lagged == 0 && !batch->reset) {
		struct answer_key key = answer_key_of(poll);
		answers_keep(&worker->answers, &key, answer);
	}
	charge(poll, answer->size); /* those who get it after this one hold no more memory by it */
	send_answer(poll, answer);
	h2o_mem_release_shared(answer);
	if (worker->output.capacity > POLL_SIZE_MAX / 4)
		buffer_free(&worker->output);
}

/* Returns whether somebody else's answer was the right one. */
static bool answer_kept(struct poll *poll)
{
	struct answer_key key = answer_key_of(poll);
	struct answer *answer = NULL;

	if (poll->batch.lagged == 0 && !poll->batch.reset)
		answer = answers_find(&poll->worker->answers, &key, ring_head(poll->worker->ring));
	if (answer == NULL || answer->next.since_ms < poll->since_ms)
		return false;
	if (answer->size > POLL_SIZE_CROWDED && request_is_copied(poll->req) &&
		is_crowded(poll->worker, poll->account))
		return false;
	set_state(poll, POLL_ANSWERED);
	send_answer(poll, answer);
	return true;
}

static void answer_problem(struct poll *poll, const struct problem *problem)
{
	set_state(poll, POLL_ANSWERED);
	response_problem(poll->req, problem);
}

static void answer_lagged(struct poll *poll, uint64_t lagged)
{
	struct problem problem;
	problem_set_lagged(&problem, ring_oldest(poll->worker->ring).cursor, lagged);
	answer_problem(poll, &problem);
}

static void answer_foreign(struct poll *poll)
{
	struct problem problem;
	problem_set_foreign(&problem, ring_oldest(poll->worker->ring).cursor);
	answer_problem(poll, &problem);
}

/* ---- reading */

static void wait_or_answer(struct poll *poll)
{
	bool has_news = poll->batch.count > 0 || poll->batch.lagged > 0 || poll->batch.reset;

	if (has_news || poll->worker->now_ms >= poll->deadline_ms)
		answer_batch(poll, false);
	else
		set_state(poll, POLL_WAITING);
}

static void add_change(struct poll *poll, const struct document *document)
{
	batch_add(&poll->batch, document, &poll->audience->subscription.view);
	poll->last = document->change->id;
	int64_t behind_ms = change_timestamp_ms(document->change) + 1;

	if (behind_ms > poll->latest_ms)
		poll->latest_ms = behind_ms;
	hold(poll, batch_size(&poll->batch));
	size_t size_max = is_crowded(poll->worker, poll->account) ? POLL_SIZE_CROWDED : POLL_SIZE_MAX;
	poll->full = poll->batch.count == poll->limit || poll->held >= size_max;
}

/* Whether it was asked from a cursor on. Otherwise it gets the oldest there is, and nothing before that is a
 * gap. */
static bool has_cursor(const struct poll *poll)
{
	enum cursor_kind kind = poll->reader.start.kind;
	return kind != CURSOR_EARLIEST && kind != CURSOR_TIME;
}

static void meet_gap(struct poll *poll, uint64_t lagged)
{
	struct worker *worker = poll->worker;

	live_figure_add(&worker->figures->gaps_total, 1);
	live_figure_add(&worker->figures->lagged_events_total, lagged);
	if (poll->on_gap == ON_GAP_FAIL)
		answer_lagged(poll, lagged);
	else
		poll->batch.lagged += lagged;
}

/* What was read before a gap, or the end of a history, is whole: the next poll is told of that. Returns
 * whether there was any, and the poll has been answered. */
static bool answer_before(struct poll *poll)
{
	if (poll->batch.count == 0)
		return false;
	answer_batch(poll, true);
	return true;
}

/* What the reader said. Returns false when the poll has been answered, waits, or has read enough for this
 * turn. */
static bool take_event(struct poll *poll, enum reader_event event, const struct document *document,
					   uint64_t lagged)
{
	switch (event) {
	case READER_CHANGE:
		if (poll->full) {
			answer_batch(poll, true);
			return false;
		}
		add_change(poll, document);
		return true;
	case READER_GAP:
		if (answer_before(poll))
			return false;
		if (has_cursor(poll))
			meet_gap(poll, lagged);
		else
			poll->from = poll->reader.place.position;
		return poll->state == POLL_READING;
	case READER_FOREIGN:
		if (poll->on_gap == ON_GAP_FAIL) {
			answer_foreign(poll);
			return false;
		}
		poll->batch.reset = true;
		return true;
	case READER_SKIPPED:
		if (poll->batch.count == 0)
			poll->from = poll->reader.place.position;
		return true;
	case READER_WAITING:
	case READER_END:
		wait_or_answer(poll);
		return false;
	case READER_DAMAGED:
		set_state(poll, POLL_ANSWERED);
		answer_unavailable(poll->req, "the ring is damaged, and a new one is made: try again");
		return false;
	case READER_FAILED:
		set_state(poll, POLL_ANSWERED);
		answer_out_of_memory(poll);
		return false;
	case READER_PAUSED:
		set_state(poll, POLL_READING);
		break;
	}
	return false;
}

/* A new history has begun. Returns as take_event(). */
static bool meet_history(struct poll *poll)
{
	if (answer_before(poll))
		return false;
	reader_begin_anew(&poll->reader);
	return take_event(poll, READER_FOREIGN, NULL, 0);
}

static bool step(struct poll *poll, uint64_t *budget)
{
	struct document document;
	uint64_t lagged = 0;
	enum reader_event event = reader_next(&poll->reader, &poll->worker->scratch, budget, &document, &lagged);

	if (reader_is_outdated(&poll->reader))
		return meet_history(poll);
	return take_event(poll, event, &document, lagged);
}

/* Returns false if there is no place to read from in this turn. */
static bool find_start(struct poll *poll)
{
	enum reader_event event;
	uint64_t lagged = 0;

	return reader_find_start(&poll->reader, &poll->worker->scratch, &event, &lagged) ||
		   take_event(poll, event, NULL, lagged);
}

/* Brings a poll a piece further. What a piece costs depends on its form, too: JSON is copied, but in MessagePack
 * each number of it is looked at. */
static void read_on(struct poll *poll, int64_t end_us)
{
	uint64_t budget = POLL_BUDGET;

	if (!find_start(poll))
		return;
	if (reader_is_outdated(&poll->reader) && !meet_history(poll))
		return;
	if (poll->batch.count == 0) {
		poll->from = poll->reader.place.position;
		if (answer_kept(poll))
			return;
	}
	while (step(poll, &budget)) {
		if (clock_monotonic_us() >= end_us) {
			set_state(poll, POLL_READING);
			return;
		}
	}
}

/* ---- the request */

static void on_dispose(void *pointer)
{
	struct poll *poll = pointer;

	leave_state(poll);
	batch_free(&poll->batch);
	hold(poll, 0);
	fanout_leave(poll->audience);
}

/* The client is gone: any answer makes libh2o notice. */
static void on_gone(struct hangup_watch *watch)
{
	struct poll *poll = H2O_STRUCT_FROM_MEMBER(struct poll, hangup, watch);
	hangup_shutdown(poll->req);
	answer_batch(poll, false);
}

bool polls_refuse(struct worker *worker, h2o_req_t *req)
{
	if (!is_overcrowded(worker, limits_account(req)))
		return false;
	answer_unavailable(req, "too many answers are waiting for their clients to take them: try again");
	return true;
}

void poll_begin(struct worker *worker, h2o_req_t *req, struct audience *audience, const struct reader *reader,
				const struct subscription *subscription, enum batch_format format)
{
	if (polls_refuse(worker, req)) {
		fanout_leave(audience);
		return;
	}
	struct poll *poll = h2o_mem_alloc_shared(&req->pool, sizeof(*poll), on_dispose);

	*poll = (struct poll){.worker = worker,
						  .req = req,
						  .audience = audience,
						  .on_gap = subscription->on_gap,
						  .limit = subscription->limit,
						  .account = limits_account(req),
						  .reader = *reader,
						  .hangup = {on_gone, -1}};
	if (reader->start.kind == CURSOR_TIME)
		poll->since_ms = reader->start.since_us / 1000;
	if (subscription->wait_s > 0) /* worker->now_ms may be of half a second ago */
		poll->deadline_ms = clock_monotonic_ms() + subscription->wait_s * INT64_C(1000);
	batch_begin(&poll->batch, format);
	live_figure_add(&worker->figures->polls_total, 1);
	set_state(poll, POLL_READING);
}

/* ---- turns */

/* A poll that waits goes on. Nothing was for it up to a place that the drain has passed meanwhile, so it goes on
 * there: the ring may have passed its own, and nobody walks there again. A new history is for itself to find. */
static void wake_at(struct poll *poll, const struct place *drained)
{
	const struct fanout *fanout = &poll->worker->fanout;
	struct place *place = &poll->reader.place;
	bool comparable = poll->reader.history == fanout->history && !fanout->new_history;
	bool ahead = drained->position > place->position ||
				 (drained->position == place->position && cursor_compare(drained->cursor, place->cursor) > 0);

	if (comparable && ahead && !poll->reader.seeking)
		*place = *drained;
	set_state(poll, POLL_READING);
}

/* Those go on whose audience wants something that is new, those whose start may have come, and, where streams
 * have to read for themselves, all. */
static void wake_waiting(struct worker *worker, enum fanout_drain drain)
{
	const struct place *began = &worker->fanout.began;

	LIST_EACH (struct audience, changed_link, audience, &worker->fanout.changed) {
		LIST_EACH (struct poll, wait_link, poll, &audience->polls)
			wake_at(poll, began);
	}
	LIST_EACH (struct poll, wait_link, poll, &worker->seeking_polls)
		wake_at(poll, began);
	if (drain == FANOUT_BROKEN) {
		LIST_EACH (struct poll, worker_link, poll, &worker->waiting_polls)
			wake_at(poll, began);
	}
}

void polls_pump(struct worker *worker, enum fanout_drain drain)
{
	h2o_linklist_t turn;

	if (drain == FANOUT_BROKEN)
		answers_clear(&worker->answers);
	if (drain != FANOUT_IDLE)
		wake_waiting(worker, drain);
	int64_t end_us = clock_monotonic_us() + POLLS_US;
	line_take(&turn, &worker->ready_polls);
	while (!h2o_linklist_is_empty(&turn) && clock_monotonic_us() < end_us) {
		struct poll *poll = LIST_FIRST(struct poll, worker_link, &turn);
		h2o_linklist_unlink(&poll->worker_link);
		read_on(poll, end_us);
	}
	line_put_back(&turn, &worker->ready_polls);
}

void polls_expire(struct worker *worker, bool all)
{
	LIST_EACH (struct poll, worker_link, poll, &worker->waiting_polls) {
		if (all)
			poll->deadline_ms = worker->now_ms;
		if (worker->now_ms >= poll->deadline_ms)
			wake_at(poll, &worker->fanout.place);
	}
}
