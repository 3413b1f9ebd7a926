/*
 * loop.c: see loop.h.
 *
 * Everything is sent from inside of libh2o's loop, from the callback of a timeout of 0 ms: after each
 * callback the loop runs the completions of what was written at once. A write from outside would be complete
 * while the loop still polls for it, which the library takes for a bug of its own and aborts.
 */
#include "http/loop.h"

#include "core/clock.h"
#include "http/poll.h"
#include "http/request.h"
#include "http/stall.h"
#include "http/stream.h"

enum {
	DRAIN_BUDGET = 1024 * 1024, /* bytes of history rendered in one turn */
	CROWDED_US = 10000,
	TICK_MS = 500,
	WAITING_TICK_MS = 50, /* while polls or deferred requests have a deadline */
};

/*
 * The pace: how many microseconds to wait before the ring is drained again. While most live streams have not
 * yet taken their last send, or some have not been sent what the last full drain rendered, rendering more
 * would only push them out of what is kept, and small sends cost as much as large ones. So the drain waits,
 * CROWDED_US at most. Stalled streams do not count.
 *
 * Nothing else is needed for events to gather under load: what comes while a turn sends goes out with the
 * next one.
 */
static int64_t pace_us(const struct loop *loop, int64_t now_us)
{
	const struct worker *worker = loop->worker;
	bool crowded = 2 * worker->live_awaited > worker->live_streams || (loop->more && loop->streams_left);
	int64_t open_us = loop->drained_us + CROWDED_US;

	return crowded && open_us > now_us ? open_us - now_us : 0;
}

/* Returns false if there was no time for all of it; then it goes on in the next turn. */
static bool tick(struct loop *loop)
{
	struct worker *worker = loop->worker;

	if (!streams_tick(worker))
		return false;
	stall_tick(worker);
	live_figure_add(&worker->figures->renders_total, worker->fanout.renders);
	worker->fanout.renders = 0;
	loop->next_tick_ms = worker->now_ms + TICK_MS;
	loop->ticked = true;
	return true;
}

/* Whoever asks from now on is told what is true then. */
static void forget_pages(struct worker *worker)
{
	for (enum page_kind kind = 0; kind < PAGE_COUNT; kind++)
		answer_replace(&worker->pages[kind].answer, NULL);
}

/* What is new in the ring goes out. */
static void turn(h2o_timeout_entry_t *entry)
{
	struct loop *loop = H2O_STRUCT_FROM_MEMBER(struct loop, entry, entry);
	struct worker *worker = loop->worker;

	int64_t began_us = clock_monotonic_us();
	bool open = pace_us(loop, began_us) == 0;
	bool asked = live_sleeps(worker->figures);
	worker->now_ms = began_us / MILLISECOND;
	limits_begin_turn(&worker->limits);
	enum fanout_drain drain = open ? fanout_drain(&worker->fanout, DRAIN_BUDGET) : FANOUT_IDLE;
	loop->more = drain == FANOUT_MORE || (!open && loop->more);
	loop->looked = loop->looked || (asked && open && drain != FANOUT_MORE);
	loop->streams_left = !streams_pump(worker, drain);
	polls_pump(worker, drain);
	fanout_settle(&worker->fanout);
	if (drain != FANOUT_IDLE)
		loop->drained_us = began_us;
	limits_look(&worker->limits, worker->now_ms);
	if (worker->now_ms >= loop->next_expiry_ms || worker->stopping) {
		polls_expire(worker, worker->stopping);
		loop->next_expiry_ms = worker->now_ms + WAITING_TICK_MS;
	}
	loop->deadlines = requests_settle(worker) || !h2o_linklist_is_empty(&worker->waiting_polls);
	if (worker->stopping)
		streams_end(worker);
	if (worker->now_ms >= loop->next_tick_ms && !tick(loop))
		loop->more = true;
}

bool loop_turn(struct loop *loop)
{
	h2o_loop_t *library = loop->worker->context.loop;

	loop->ticked = false;
	h2o_timeout_link(library, &loop->timeout, &loop->entry);
	h2o_timeout_run(library, &loop->timeout, h2o_now(library));
	forget_pages(loop->worker);
	return loop->ticked;
}

static bool has_answers(struct worker *worker)
{
	return !h2o_linklist_is_empty(&worker->deferred) &&
		   live_load(&worker->live->refresh_done) != worker->refresh_seen;
}

/* What the feed should wake this worker for. A stream or poll that waits for a place still to come needs
 * everything; a deferred request has no audience yet. */
static uint64_t wanted(struct worker *worker)
{
	if (!h2o_linklist_is_empty(&worker->seeking_streams) || !h2o_linklist_is_empty(&worker->seeking_polls) ||
		!h2o_linklist_is_empty(&worker->deferred))
		return LIVE_WANTS_ALL;
	return worker->fanout.wanted;
}

/*
 * Asks the feed to wake us. Returns whether that was asked already, and a turn has looked since then: nothing
 * has to be looked at again, even if the ring has moved on by what nobody here wants.
 */
static bool will_be_woken(struct loop *loop)
{
	struct live_worker *figures = loop->worker->figures;
	uint64_t wants = wanted(loop->worker);

	if (loop->looked && live_sleeps(figures) && live_figure(&figures->wanted) == wants)
		return true;
	loop->looked = false;
	live_sleep(figures, wants);
	return false;
}

/* Whether something is left that the next turn goes on with. Streams may have become ready after the last one:
 * what it wrote was complete at once. */
static bool has_work(struct worker *worker)
{
	return !h2o_linklist_is_empty(&worker->news_streams) || !h2o_linklist_is_empty(&worker->ready_streams) ||
		   !h2o_linklist_is_empty(&worker->ready_polls) || !h2o_linklist_is_empty(&worker->ready_requests) ||
		   !h2o_linklist_is_empty(&worker->limits.pipelined);
}

/* How many milliseconds to sleep; not at all if there is something to do. The feed wakes us through the eventfd
 * if we are seen asleep. */
static int32_t bedtime(struct loop *loop)
{
	struct worker *worker = loop->worker;

	if (has_work(worker))
		return 0;
	int64_t wait_us = pace_us(loop, clock_monotonic_us());
	if (loop->more || (wait_us > 0 && fanout_has_news(&worker->fanout)))
		return (int32_t)((wait_us + MILLISECOND - 1) / MILLISECOND);
	if (!will_be_woken(loop) && (fanout_has_news(&worker->fanout) || has_answers(worker)))
		return 0;
	if (loop->deadlines)
		return WAITING_TICK_MS;
	return loop->next_tick_ms > worker->now_ms ? (int32_t)(loop->next_tick_ms - worker->now_ms) : 0;
}

void loop_wait(struct loop *loop)
{
	struct worker *worker = loop->worker;
	int32_t wait_ms = bedtime(loop);

	h2o_evloop_run(worker->context.loop, wait_ms);
	if (wait_ms > 0)
		live_awake(worker->figures);
}

void loop_init(struct loop *loop, struct worker *worker)
{
	*loop = (struct loop){.worker = worker, .entry.cb = turn};
	h2o_timeout_init(worker->context.loop, &loop->timeout, 0);
	worker->now_ms = clock_monotonic_ms();
}
