/* stream.c: see stream.h. */
#include "http/stream.h"

#include "core/clock.h"
#include "core/render/frame.h"
#include "http/direct.h"
#include "http/libh2o.h"
#include "http/list.h"
#include "http/spool.h"
#include "http/stall.h"

/*
 * What one turn may do, so that nobody waits long. Live streams are sent to in groups: those whose sends
 * libh2o completes are touched once more then, while the processor's cache still holds them. For the others
 * it is a time, for what they need differs: from a send to two megabytes of history, or a large row to render.
 */
enum {
	LIVE_SENDS = 128,
	READY_US = 4000,
	CATCH_UP_BUDGET = 2 * 1024 * 1024, /* of history without a change for the stream */
	STALLED_MS = 500,
	NEXT_TICK_MS = 600,   /* the latest: a keep-alive that will be due by then is sent now */
	TICK_BUDGET = 500,    /* keep-alives: those who came together do not get them together */
	PIECE = SEGMENT_SIZE, /* what libh2o is given at once where it copies all of it, for each client */
};

enum stream_state {
	STREAM_CATCHING_UP, /* -> LIVE, SEEKING, ENDED */
	STREAM_SEEKING,     /* its start is still to come -> CATCHING_UP, ENDED */
	STREAM_LIVE,        /* -> CATCHING_UP, ENDED */
	STREAM_ENDED,
};

struct stream {
	h2o_generator_t super;
	struct worker *worker;
	h2o_req_t *req;
	struct audience *audience;
	enum stream_state state : 4;
	enum on_gap on_gap : 4;
	bool sending : 1;             /* an h2o_send() is under way */
	bool stalled : 1;             /* and has been for STALLED_MS */
	bool reset : 1;               /* a new history has begun since its last change */
	bool ending : 1;              /* behind what is on its way */
	bool piece_due : 1;           /* libh2o can take the next one, in ready_streams' turn */
	uint32_t pieces : 19;         /* PIECEs at the segment's end that it was not given yet */
	uint32_t taken_kb;            /* once a send is stalled: see stall_look() */
	uint32_t losses;              /* of the audience's, how many it was told of */
	int direct_fd;                /* see direct.h; -1: not possible, or not yet */
	h2o_linklist_t audience_link; /* in audience->streams */
	/* in audience->waiting, news_streams, ready_streams or seeking_streams, or in none */
	h2o_linklist_t worker_link;
	struct hangup_watch hangup;
	struct reader reader; /* its place is behind what was sent, also while live */
	struct footing at;    /* the same in what the audience has rendered, unless `from` is not kept any more */
	struct segment *segment; /* held while it is being sent */
	struct buffer own;       /* rendered for this stream alone, while it is being sent */
	int64_t sent_ms;         /* when the last send began */
	int64_t end_ms;          /* when its lifetime is over */
	uint64_t direct_bytes;   /* sent past libh2o, which is told of them at the end, for its log */
};

/* ---- states */

static void enqueue(h2o_linklist_t *list, struct stream *stream)
{
	list_leave(&stream->worker_link);
	h2o_linklist_insert(list, &stream->worker_link);
}

/* Whether the pace (loop.c) waits for it. */
static bool is_awaited(const struct stream *stream)
{
	return stream->state == STREAM_LIVE && stream->sending && !stream->stalled;
}

static void recount(struct stream *stream, bool was_awaited)
{
	stream->worker->live_awaited += is_awaited(stream) - was_awaited;
}

static void set_sending(struct stream *stream, bool sending)
{
	bool was_awaited = is_awaited(stream);

	assert(stream->sending != sending);
	stream->sending = sending;
	stream->stalled = false;
	recount(stream, was_awaited);
}

/* What it is being sent it does not take at once: the pace no longer waits for it. */
static void set_stalled(struct stream *stream)
{
	bool was_awaited = is_awaited(stream);

	stream->stalled = true;
	recount(stream, was_awaited);
	stall_look(stream->req, &stream->taken_kb);
}

static bool has_news(const struct stream *stream)
{
	return !audience_at_front(stream->audience, &stream->at);
}

/* Whether it is to be told that a collection is no longer published; that comes behind the changes there
 * were. */
static bool owes_losses(const struct stream *stream)
{
	return stream->state == STREAM_LIVE && stream->losses != stream->audience->losses && !has_news(stream);
}

/* Nothing is being sent to it: it goes to the list where it will be found when there is something for it, or
 * when its lifetime is over, which is noticed here, after a heartbeat at the latest. To none if it was abandoned
 * meanwhile. */
static void line_up(struct stream *stream)
{
	struct worker *worker = stream->worker;

	if (stream->state == STREAM_ENDED)
		return;
	stream->ending = stream->ending || worker->now_ms >= stream->end_ms;
	if (stream->ending || stream->state == STREAM_CATCHING_UP || owes_losses(stream))
		enqueue(&worker->ready_streams, stream);
	else if (stream->state == STREAM_LIVE)
		enqueue(has_news(stream) ? &worker->news_streams : &stream->audience->waiting, stream);
}

static void set_state(struct stream *stream, enum stream_state state)
{
	bool was_awaited = is_awaited(stream);

	assert(stream->state != STREAM_ENDED);
	assert(state != STREAM_LIVE || stream->state == STREAM_CATCHING_UP);
	if (stream->state == STREAM_LIVE) {
		audience_unfollow(stream->audience);
		stream->worker->live_streams--;
	}
	stream->state = state;
	if (state == STREAM_LIVE) {
		audience_follow(stream->audience);
		stream->worker->live_streams++;
	}
	recount(stream, was_awaited);
	if (state == STREAM_CATCHING_UP)
		enqueue(&stream->worker->ready_streams, stream);
	if (state == STREAM_SEEKING)
		enqueue(&stream->worker->seeking_streams, stream);
	if (state == STREAM_ENDED) {
		stream->req->bytes_sent += stream->direct_bytes;
		list_leave(&stream->worker_link);
	}
}

/* ---- sending */

/* What was sent is not needed any more. */
static void finish_send(struct stream *stream)
{
	if (stream->segment != NULL)
		segment_release(stream->segment);
	stream->segment = NULL;
	if (stream->own.capacity > 0)
		buffer_free(&stream->own);
	line_up(stream);
}

/* Returns how many of the bytes the socket took at once. */
static size_t send_directly(struct stream *stream, struct bytes bytes)
{
	size_t at;

	if (stream->direct_fd < 0)
		return 0;
	int spool = stream->segment == NULL ? -1 : segment_spool(stream->segment, bytes, &at);
	if (spool >= 0)
		return spool_send(spool, at, bytes.size, stream->direct_fd);
	return direct_send(stream->direct_fd, bytes);
}

/* A send begins. */
static void note_send(struct stream *stream)
{
	stream->sent_ms = stream->worker->now_ms;
	h2o_linklist_unlink(&stream->audience_link);
	h2o_linklist_insert(&stream->audience->streams, &stream->audience_link);
}

static void give(struct stream *stream, const char *data, size_t size)
{
	h2o_iovec_t vector = h2o_iovec_init(data, size);
	h2o_send(stream->req, &vector, 1, H2O_SEND_STATE_IN_PROGRESS);
}

static void send_bytes(struct stream *stream, struct bytes bytes)
{
	note_send(stream);
	live_figure_add(&stream->worker->figures->sent_bytes_total, bytes.size);

	size_t sent = send_directly(stream, bytes), size = bytes.size - sent;
	stream->direct_bytes += sent;
	if (size == 0) {
		finish_send(stream);
		return;
	}
	set_sending(stream, true);
	if (size > PIECE && stream->segment != NULL && request_is_copied(stream->req)) {
		stream->pieces = (uint32_t)((size - 1) / PIECE);
		size -= (size_t)stream->pieces * PIECE;
	}
	give(stream, bytes.data + sent, size);
}

/* What is larger than a piece is the end of a segment to which nothing is appended. */
static void send_piece(struct stream *stream)
{
	const struct segment *segment = stream->segment;

	assert(!segment->open);
	stream->piece_due = false;
	give(stream, segment->data + segment->size - (size_t)stream->pieces-- * PIECE, PIECE);
}

static void end_stream(struct stream *stream)
{
	set_state(stream, STREAM_ENDED);
	note_send(stream);
	h2o_send(stream->req, NULL, 0, H2O_SEND_STATE_FINAL);
}

/* A client that cannot be told may only notice that the connection is gone. */
static void abandon_stream(struct stream *stream)
{
	set_state(stream, STREAM_ENDED);
	hangup_shutdown(stream->req);
	if (!stream->sending || stream->piece_due)
		h2o_send(stream->req, NULL, 0, H2O_SEND_STATE_ERROR);
}

/* ---- what comes next */

/* Puts the stream at a place that it did not reach by being sent to. */
static void stand_at(struct stream *stream, struct place place)
{
	stream->reader.place = place;
	stream->at = (struct footing){.from = place.position};
}

/* Sends what the audience has rendered behind it. Returns false if that is not kept. */
static bool send_slice(struct stream *stream)
{
	struct slice slice;

	if (!audience_slice(stream->audience, &stream->at, &stream->reader, &slice))
		return false;
	live_figure_add(&stream->worker->figures->events_total, slice.events);
	stream->segment = slice.segment;
	send_bytes(stream, slice.bytes);
	return true;
}

static void send_live(struct stream *stream)
{
	if (!send_slice(stream)) {
		stand_at(stream, stream->reader.place);
		set_state(stream, STREAM_CATCHING_UP);
	}
}

/* What is told of a stream's cursor, beside changes, into stream->own. Returns whether to look further in
 * this turn. */
static bool tell(struct stream *stream, enum reader_event event, uint64_t lagged)
{
	struct worker *worker = stream->worker;

	switch (event) {
	case READER_GAP:
		live_figure_add(&worker->figures->gaps_total, 1);
		live_figure_add(&worker->figures->lagged_events_total, lagged);
		stream->ending = stream->on_gap == ON_GAP_FAIL;
		if (!stream->ending)
			frame_append_warning(&stream->own, lagged, reader_cursor(&stream->reader));
		return !stream->ending;
	case READER_FOREIGN:
		stream->reset = true;
		return true;
	case READER_WAITING:
		set_state(stream, STREAM_SEEKING);
		return false;
	case READER_DAMAGED:
	case READER_FAILED:
		stream->own.failed = true;
		return false;
	case READER_CHANGE: /* there is a segment now */
	case READER_SKIPPED:
	case READER_PAUSED:
		return true;
	case READER_END:
		break;
	}
	return false;
}

/* The history of the stream's cursor is over: says so and begins with the oldest of the new one. */
static void render_reset(struct stream *stream)
{
	stream->reset = false;
	stream->ending = stream->on_gap == ON_GAP_FAIL;
	reader_begin_anew(&stream->reader);
	stand_at(stream, stream->reader.place);
	if (!stream->ending)
		frame_append_reset(
			&stream->own,
			BYTES("this cursor belongs to another history; the stream begins again with the oldest change"),
			stream->reader.place.cursor);
}

static void send_losses(struct stream *stream)
{
	buffer_clear(&stream->own);
	audience_append_losses(stream->audience, stream->losses, &stream->own);
	stream->losses = stream->audience->losses;
	if (stream->own.failed)
		abandon_stream(stream);
	else if (stream->own.size > 0)
		send_bytes(stream, buffer_bytes(&stream->own));
	else
		line_up(stream);
}

static bool find_start(struct stream *stream)
{
	enum reader_event event;
	uint64_t lagged = 0;
	bool found = reader_find_start(&stream->reader, &stream->worker->scratch, &event, &lagged);

	stand_at(stream, stream->reader.place);
	return found || tell(stream, event, lagged);
}

static bool render_behind(struct stream *stream, uint64_t *walked)
{
	uint64_t lagged = 0;
	enum reader_event event = audience_render(stream->audience, &stream->reader, walked, &lagged);

	stand_at(stream, stream->reader.place);
	return tell(stream, event, lagged) && *walked < CATCH_UP_BUDGET;
}

/* A stream that stands where the drain does is live. Returns whether there is nothing to look for: it is, or
 * has begun at what was appended just now and waits for the drain. */
static bool meet_drain(struct stream *stream)
{
	uint64_t position = stream->reader.place.position, drain = stream->worker->fanout.place.position;

	if (stream->reader.seeking || stream->reset || position < drain)
		return false;
	stream->reader.fresh = false;
	if (position > drain) {
		set_state(stream, STREAM_SEEKING);
	} else {
		set_state(stream, STREAM_LIVE);
		stream->at = audience_front(stream->audience);
	}
	return true;
}

/* Brings a stream a piece further: to its start, over a gap, or by a segment of its audience. */
static void catch_up(struct stream *stream)
{
	uint64_t walked = 0;
	bool more = true, sent = false;

	buffer_clear(&stream->own);
	while (more && !sent && !meet_drain(stream)) {
		if (stream->reset)
			render_reset(stream);
		else if (stream->reader.seeking)
			more = find_start(stream);
		else if (stream->own.size > 0)
			more = false; /* that first */
		else if (!(sent = send_slice(stream)))
			more = render_behind(stream, &walked);
		more = more && !stream->ending;
	}
	if (sent) {
		if (meet_drain(stream) && !stream->sending)
			line_up(stream);
	} else if (stream->own.failed) {
		abandon_stream(stream);
	} else if (stream->own.size > 0) {
		send_bytes(stream, buffer_bytes(&stream->own));
	} else if (stream->ending) {
		end_stream(stream);
	} else {
		line_up(stream);
	}
}

/* ---- the request */

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
	struct stream *stream = H2O_STRUCT_FROM_MEMBER(struct stream, super, generator);

	if (stream->pieces > 0 && stream->state != STREAM_ENDED) {
		stream->piece_due = true;
		enqueue(&stream->worker->ready_streams, stream);
		return;
	}
	set_sending(stream, false);
	finish_send(stream);
	/* abandoned meanwhile, and the last bytes were taken all the same: nothing else would end the request */
	if (stream->state == STREAM_ENDED)
		h2o_send(req, NULL, 0, H2O_SEND_STATE_ERROR);
}

/* The client or the connection is gone; the destructor follows. */
static void on_stop(h2o_generator_t *generator, h2o_req_t *req)
{
	struct stream *stream = H2O_STRUCT_FROM_MEMBER(struct stream, super, generator);
	(void)req;
	if (stream->state != STREAM_ENDED)
		set_state(stream, STREAM_ENDED);
}

static void on_dispose(void *pointer)
{
	struct stream *stream = pointer;

	if (stream->state != STREAM_ENDED)
		set_state(stream, STREAM_ENDED);
	hangup_unwatch(&stream->worker->hangup, &stream->hangup);
	if (stream->segment != NULL)
		segment_release(stream->segment);
	buffer_free(&stream->own);
	h2o_linklist_unlink(&stream->audience_link);
	fanout_leave(stream->audience);
	stream->worker->fanout.kept.readers--;
	live_figure_subtract(&stream->worker->figures->streams, 1);
}

/* The socket is shut down, so the next write fails, and libh2o frees the request. */
static void on_gone(struct hangup_watch *watch)
{
	struct stream *stream = H2O_STRUCT_FROM_MEMBER(struct stream, hangup, watch);
	if (stream->state != STREAM_ENDED)
		abandon_stream(stream);
}

/*
 * A stream over HTTP/1.1 ends with its connection (RFC 9112, section 6.3, case 8) and is not chunked: chunks
 * would cost each event of each client a tenth more time, and EventSource discards an event that was cut off
 * in any case. libh2o's filter leaves alone what it takes for HTTP/1.0, and looks at the version here only.
 */
static void start_response(h2o_req_t *req, h2o_generator_t *generator)
{
	int version = req->version;

	req->res.status = 200;
	req->res.reason = "OK";
	req->compress_hint = H2O_COMPRESS_HINT_DISABLE;
	h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
				   H2O_STRLIT("text/event-stream"));
	h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, H2O_STRLIT("no-store"));
	h2o_set_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("x-accel-buffering"), 0, H2O_STRLIT("no"),
						  1);
	if (version == HTTP_1_1)
		req->version = HTTP_1_0;
	h2o_start_response(req, generator);
	req->version = version;
}

void stream_answer_head(h2o_req_t *req)
{
	static h2o_generator_t generator;

	start_response(req, &generator);
	h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
}

/*
 * When a stream that begins now is to end. Streams that come together do not end together: each takes its own
 * part of the last tenth, and the multiplier, 2^32 divided by the golden ratio, spreads any number of them
 * evenly.
 */
static int64_t end_of_life(const struct worker *worker, const struct changefeed_options *options)
{
	int64_t lifetime_ms = options->lifetime_s * INT64_C(1000), spread_ms = lifetime_ms / 10;
	uint32_t part = (uint32_t)live_figure(&worker->figures->streams_total) * 2654435769u;

	return lifetime_ms == 0 ? INT64_MAX : worker->now_ms + lifetime_ms - (spread_ms * part >> 32);
}

void stream_begin(struct worker *worker, h2o_req_t *req, struct audience *audience,
				  const struct reader *reader, enum on_gap on_gap)
{
	struct stream *stream = h2o_mem_alloc_shared(&req->pool, sizeof(*stream), on_dispose);

	*stream = (struct stream){.super = {on_proceed, on_stop},
							  .worker = worker,
							  .req = req,
							  .audience = audience,
							  .state = STREAM_CATCHING_UP,
							  .on_gap = on_gap,
							  .direct_fd = -1,
							  .hangup = {on_gone, -1},
							  .reader = *reader,
							  .end_ms = end_of_life(worker, audience->options),
							  .losses = audience->losses};
	h2o_linklist_insert(&audience->streams, &stream->audience_link);
	worker->fanout.kept.readers++;
	live_figure_add(&worker->figures->streams, 1);
	live_figure_add(&worker->figures->streams_total, 1);
	hangup_watch(&worker->hangup, &stream->hangup, req, audience->options->stall_s);

	req->http1_is_persistent = 0;
	start_response(req, &stream->super);

	/* real bytes at once: without them HTTP/1.1 would not even send the head of the response */
	frame_append_start(&stream->own, audience->options->retry_ms, reader_cursor(&stream->reader));
	if (stream->own.failed) {
		abandon_stream(stream);
		return;
	}
	send_bytes(stream, buffer_bytes(&stream->own));
	stream->direct_fd = direct_fd_of(req);
}

/* ---- turns */

/* Sends to the live streams of the audiences that have something new, first those that were sent to longest
 * ago. Returns whether there was time for all of them. */
static bool pump_news(struct worker *worker)
{
	h2o_linklist_t turn;

	LIST_EACH (struct audience, changed_link, audience, &worker->fanout.changed)
		h2o_linklist_insert_list(&worker->news_streams, &audience->waiting);
	line_take(&turn, &worker->news_streams);
	for (int sends = 0; sends < LIVE_SENDS && !h2o_linklist_is_empty(&turn); sends++) {
		struct stream *stream = LIST_FIRST(struct stream, worker_link, &turn);
		h2o_linklist_unlink(&stream->worker_link);
		if (!stream->sending)
			send_live(stream);
	}
	bool all = h2o_linklist_is_empty(&turn);
	line_put_back(&turn, &worker->news_streams);
	return all;
}

static void pump_ready(struct worker *worker)
{
	h2o_linklist_t turn;
	int64_t end_us = clock_monotonic_us() + READY_US;

	line_take(&turn, &worker->ready_streams);
	while (!h2o_linklist_is_empty(&turn) && clock_monotonic_us() < end_us) {
		struct stream *stream = LIST_FIRST(struct stream, worker_link, &turn);
		h2o_linklist_unlink(&stream->worker_link);
		if (stream->piece_due)
			send_piece(stream);
		else if (stream->sending)
			continue; /* its `proceed` brings it back */
		else if (stream->ending)
			end_stream(stream);
		else if (stream->state == STREAM_CATCHING_UP)
			catch_up(stream);
		else if (owes_losses(stream))
			send_losses(stream);
		else
			line_up(stream);
	}
	line_put_back(&turn, &worker->ready_streams);
}

/* Every stream has to read for itself; those that began in an older history than there is now say so. */
static void restart_all(struct worker *worker, bool new_history)
{
	LIST_EACH (struct audience, link, audience, &worker->fanout.audiences) {
		LIST_EACH (struct stream, audience_link, stream, &audience->streams) {
			stream->reset = stream->reset || (new_history && reader_is_outdated(&stream->reader));
			if (stream->state == STREAM_LIVE || stream->state == STREAM_SEEKING)
				set_state(stream, STREAM_CATCHING_UP);
		}
	}
}

/* Streams that wait for something have to look; the others look when they are done with what they do. */
static void announce_losses(struct worker *worker)
{
	LIST_EACH (struct audience, link, audience, &worker->fanout.audiences) {
		LIST_EACH (struct stream, audience_link, stream, &audience->streams) {
			if (owes_losses(stream) && !stream->sending)
				enqueue(&worker->ready_streams, stream);
		}
	}
}

bool streams_pump(struct worker *worker, enum fanout_drain drain)
{
	if (drain == FANOUT_BROKEN)
		restart_all(worker, worker->fanout.new_history);
	if (drain != FANOUT_IDLE) {
		LIST_EACH (struct stream, worker_link, stream, &worker->seeking_streams)
			set_state(stream, STREAM_CATCHING_UP);
	}
	if (fanout_find_losses(&worker->fanout))
		announce_losses(worker);
	bool all = pump_news(worker);
	pump_ready(worker);
	return all;
}

/* ---- ticks */

static void send_keepalive(struct stream *stream)
{
	if (stream->state == STREAM_LIVE && !has_news(stream))
		stream->reader.place =
			stream->worker->fanout.place; /* nothing for it in between: it need not look again */
	buffer_clear(&stream->own);
	frame_append_keepalive(&stream->own, reader_cursor(&stream->reader));
	if (!stream->own.failed)
		send_bytes(stream, buffer_bytes(&stream->own));
}

/* Of the send under way, or somewhat more: the segment is sent from where the stream stood in it. */
static size_t size_of_send(const struct stream *stream)
{
	return stream->segment != NULL ? stream->segment->size : stream->own.size;
}

/* Its client does not take what it is sent, which may be the end. */
static void reap(struct stream *stream)
{
	live_figure_add(&stream->worker->figures->reaped_total, 1);
	note_send(stream); /* and not again at the next tick */
	if (stream->state != STREAM_ENDED)
		abandon_stream(stream);
	else
		hangup_shutdown(stream->req);
}

/* Looks at a send that has been under way for some time. Returns whether it was work. */
static bool tick_send(struct stream *stream, int64_t silent_ms)
{
	const struct changefeed_options *options = stream->audience->options;

	if (!stream->stalled) {
		set_stalled(stream);
		return true;
	}
	int64_t patience_ms = changefeed_options_patience_ms(options, size_of_send(stream));
	if (silent_ms < patience_ms)
		return false;
	if (stall_goes_on(stream->req, patience_ms, &stream->taken_kb))
		note_send(stream); /* as if it began now */
	else
		reap(stream);
	return true;
}

/* Looks at a stream that was sent nothing for some time. Returns whether it was work. */
static bool tick_stream(struct stream *stream, int64_t silent_ms)
{
	if (stream->sending || stream->state == STREAM_ENDED)
		return tick_send(stream, silent_ms);
	if (silent_ms + NEXT_TICK_MS < stream->audience->options->heartbeat_s * INT64_C(1000))
		return false;
	send_keepalive(stream);
	return true;
}

/* Returns false when the budget is used up. The streams are in the order of their last send, which also ends the
 * loop where it comes to those that it has sent to itself. */
static bool tick_audience(struct audience *audience, int64_t now_ms, unsigned *budget)
{
	LIST_EACH (struct stream, audience_link, stream, &audience->streams) {
		int64_t silent_ms = now_ms - stream->sent_ms;
		if (silent_ms < STALLED_MS)
			break;
		if (*budget == 0)
			return false;
		if (tick_stream(stream, silent_ms))
			--*budget;
	}
	return true;
}

bool streams_tick(struct worker *worker)
{
	unsigned budget = TICK_BUDGET;

	LIST_EACH (struct audience, link, audience, &worker->fanout.audiences) {
		audience->members++; /* its last stream may end in here */
		bool done = tick_audience(audience, worker->now_ms, &budget);
		audience_rest(audience);
		fanout_leave(audience);
		if (!done)
			return false;
	}
	return true;
}

/* A stream that ends may be freed at once, and its audience with it. */
void streams_end(struct worker *worker)
{
	LIST_EACH (struct audience, link, audience, &worker->fanout.audiences) {
		audience->members++;
		LIST_EACH (struct stream, audience_link, stream, &audience->streams) {
			if (stream->state != STREAM_ENDED && !stream->sending)
				end_stream(stream);
		}
		fanout_leave(audience);
	}
}
