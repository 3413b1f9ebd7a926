/*
 * feed.c: see feed.h. The state machine of enum feed_state, and the event loop of FEED_STREAMING.
 */
#include "feed/feed.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/ring/ring_file.h"
#include "feed/catalog.h"
#include "feed/durability.h"
#include "feed/gather.h"
#include "feed/replication.h"
#include "feed/upstream.h"
#include "log.h"

enum {
	FEEDBACK_INTERVAL_US = 1 * SECOND,
	BACK_OFF_MIN_US = 100 * MILLISECOND,
	BACK_OFF_MAX_US = 2 * SECOND,
	STABLE_AFTER_US = 5 * SECOND, /* the time a stream has to live to count as one */
	SLEEP_DIVISOR = 16,           /* of the ring's size that may pass a worker that wants nothing of it */
	STOP_SYNC_MS = 300,
	STOP_STREAM_US = 100 * MILLISECOND,
};

/* undefined_object: the stream decodes changes made when the publication did not exist */
#define SQLSTATE_UNDEFINED_OBJECT "42704"

struct feed {
	const struct feed_options *options;
	int stop_fd; /* readable, for ever, when the process is to end */
	struct ring *ring;
	struct ring_live *live;
	struct ring_writer *writer;
	struct durability durability;
	struct catalog catalog;
	struct upstream upstream;
	struct replication *replication; /* in FEED_STREAMING */
	struct gather gather;
	enum feed_state state;
	uint64_t announced_generation; /* of the catalog, that workers were woken for */
	uint64_t announced_head;       /* of the ring, when all workers were last woken */
	int64_t streaming_since_us;
	int64_t feedback_due_us;
	int64_t silence_us; /* spent waiting for the server since it was last heard */
	int64_t asked_us;   /* silence_us when the server was asked to reply; 0: it was not */
	int64_t back_off_us;
	bool confirm;                 /* more is durable than the slot knows */
	bool publication_was_missing; /* when changes were made that the slot would have to decode */
	bool said_streaming;          /* in the log, since the last failure in it */
	int shown_error;              /* of the disk, in live->message and the log */
	struct failure reported;      /* the last that was logged */
};

/* ---- state, for operators */

static bool may_follow(enum feed_state from, enum feed_state to)
{
	if (to == FEED_STOPPED || to == FEED_RETRYING)
		return true;
	if (to == FEED_CONNECTING)
		return from == FEED_STOPPED || from == FEED_RETRYING;
	return to == from + 1; /* CONNECTING, PREPARING, STREAMING */
}

static void transition(struct feed *feed, enum feed_state next, const char *message)
{
	assert(may_follow(feed->state, next));
	feed->state = next;
	live_figure_set(&feed->live->feed_state, next);
	live_figure_set(&feed->live->feed_state_since_us, clock_realtime_us());
	live_message_set(&feed->live->message, message);
}

/* Logs a failure, but not again and again. */
static void report(struct feed *feed, const struct failure *failure)
{
	if (strcmp(feed->reported.text, failure->text) == 0)
		return;
	feed->reported = *failure;
	feed->said_streaming = false;
	log_line(LOG_LEVEL_WARNING, "%s", failure->text);
}

/* What FEED_STREAMING says: that it streams, or what is wrong with the disk meanwhile. */
static void describe_streaming(const struct feed *feed, char ret_message[LIVE_MESSAGE_SIZE])
{
	if (feed->durability.error == 0)
		snprintf(ret_message, LIVE_MESSAGE_SIZE, "streaming from slot \"%s\"", feed->options->slot);
	else
		snprintf(ret_message, LIVE_MESSAGE_SIZE, "cannot write the ring file: %s",
				 strerror(feed->durability.error));
}

/* ---- waking workers */

static void wake_workers(struct feed *feed, uint64_t collections)
{
	const uint64_t one = 1;

	for (uint64_t woken = live_wake(feed->live, collections); woken != 0; woken &= woken - 1) {
		int worker = __builtin_ctzll(woken);
		if (write(feed->options->worker_fds[worker], &one, sizeof(one)) < 0)
			log_line(LOG_LEVEL_WARNING, "cannot wake worker %d: %s", worker, strerror(errno));
	}
}

/*
 * Publishes what was appended and wakes the workers that want it. All are woken for a change of the catalog,
 * if `all` says so, and before the ring has gone far beyond where a worker that sleeps has come.
 */
static void announce(struct feed *feed, bool all)
{
	uint64_t generation = live_figure(&feed->live->catalog_generation);
	uint64_t news;

	ring_writer_publish(feed->writer);
	bool published = ring_writer_news(feed->writer, &news);
	uint64_t head = ring_head(feed->ring);
	all = all || generation != feed->announced_generation ||
		  head - feed->announced_head > ring_capacity(feed->ring) / SLEEP_DIVISOR;
	if (all) {
		feed->announced_generation = generation;
		feed->announced_head = head;
	}
	if (all || published)
		wake_workers(feed, all ? LIVE_WANTS_ALL : news);
}

/* ---- connecting and preparing */

static bool begin_history(struct feed *feed, const struct failure *reason, struct failure *failure)
{
	bool first = ring_writer_identity(feed->writer).system_identifier == 0;
	uint64_t from = feed->upstream.confirmed_lsn;

	/* the checkpoint under way would call what it made durable a part of the new history */
	if (!durability_wait(&feed->durability, STOP_SYNC_MS))
		return failure_set(failure, "waiting for the disk");
	log_line(first ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
			 "the ring begins a new history at " LSN_FORMAT ": %s", LSN_PARTS(from), reason->text);
	ring_writer_begin_history(feed->writer, &feed->upstream.identity, from);
	durability_forget(&feed->durability);
	announce(feed, true);
	return true;
}

/* With the replication connection open: everything up to the first byte of the stream. */
static bool start_stream(struct feed *feed, struct connection *connection, struct failure *failure)
{
	struct upstream *upstream = &feed->upstream;
	struct failure reason;

	if (!upstream_identify(upstream, connection, &feed->catalog, failure))
		return false;
	if (!upstream->slot_exists || upstream->slot_unusable != NULL)
		live_message_set(&feed->live->message,
						 "creating the replication slot, which waits for all transactions that are writing");
	if (!upstream_ensure_slot(upstream, connection, &feed->catalog, failure))
		return false;
	feed->publication_was_missing = false;
	if (upstream_misfit(upstream, feed->writer, &reason) && !begin_history(feed, &reason, failure))
		return false;
	uint64_t from = ring_writer_streamed_lsn(feed->writer);
	if (!upstream_start(upstream, connection, &feed->catalog, from, failure))
		return false;
	feed->replication = replication_open(*connection, feed->writer, feed->live, &feed->catalog, from,
										 upstream->confirmed_lsn);
	return feed->replication != NULL || failure_set(failure, "out of memory");
}

static bool prepare(struct feed *feed, struct failure *failure)
{
	struct upstream *upstream = &feed->upstream;

	*upstream = (struct upstream){0};
	snprintf(upstream->slot, sizeof(upstream->slot), "%s", feed->options->slot);
	snprintf(upstream->publication, sizeof(upstream->publication), "%s", feed->options->publication);
	if (!upstream_inspect(upstream, &feed->catalog, failure))
		return false;
	if (feed->publication_was_missing)
		upstream->slot_unusable = "it would have to decode changes made when the publication did not exist";
	struct connection connection = {.stop_fd = feed->stop_fd};
	if (!connection_open(&connection, feed->options->conninfo, CONNECTION_REPLICATION, failure)) {
		if (!upstream->may_replicate && !stop_asked(feed->stop_fd))
			failure_set(failure, "role \"%s\" may not replicate: ALTER ROLE \"%s\" REPLICATION;",
						upstream->role, upstream->role);
		return false;
	}
	if (start_stream(feed, &connection, failure))
		return true;
	connection_close(&connection);
	return false;
}

/* From nothing to FEED_STREAMING. */
static bool connect_feed(struct feed *feed, struct failure *failure)
{
	char message[LIVE_MESSAGE_SIZE];

	transition(feed, FEED_CONNECTING, "connecting to PostgreSQL");
	if (!catalog_settle(&feed->catalog, failure))
		return false;
	transition(feed, FEED_PREPARING, "looking at publication and slot");
	if (!prepare(feed, failure))
		return false;
	if (feed->streaming_since_us != 0)
		live_figure_add(&feed->live->reconnects_total, 1);
	feed->streaming_since_us = clock_monotonic_us();
	feed->feedback_due_us = 0;
	feed->silence_us = feed->asked_us = 0;
	feed->gather = (struct gather){0};
	catalog_want_refresh(&feed->catalog);
	describe_streaming(feed, message);
	transition(feed, FEED_STREAMING, message);
	if (!feed->said_streaming)
		log_line(LOG_LEVEL_INFO, "%s, in database \"%s\"", message, feed->upstream.identity.database);
	feed->said_streaming = true;
	return true;
}

/* ---- streaming */

enum wait_fd { WAIT_STOP, WAIT_DISK, WAIT_STREAM, WAIT_CATALOG, WAIT_REFRESH, WAIT_COUNT };

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Says that the disk refuses, and that it does not any more, once each. */
static void show_disk(struct feed *feed)
{
	char message[LIVE_MESSAGE_SIZE];

	if (feed->durability.error == feed->shown_error)
		return;
	feed->shown_error = feed->durability.error;
	describe_streaming(feed, message);
	live_message_set(&feed->live->message, message);
	if (feed->shown_error == 0)
		log_line(LOG_LEVEL_INFO, "the ring file can be written again");
	else
		log_line(LOG_LEVEL_ERROR, "%s", message);
}

static bool give_feedback(struct feed *feed, int64_t now_us, struct failure *failure)
{
	int64_t patience_us = replication_patience_us(feed->replication);

	/* half of it before the server is asked, and half of it for the answer */
	bool ask = feed->silence_us >= patience_us / 2;
	if (feed->asked_us > 0 && feed->silence_us - feed->asked_us >= patience_us / 2)
		return failure_set(failure, "the server has been silent for %d s", (int)(feed->silence_us / SECOND));
	if (!feed->confirm && !replication_reply_asked(feed->replication) && now_us < feed->feedback_due_us)
		return true;
	feed->confirm = false;
	feed->feedback_due_us = now_us + FEEDBACK_INTERVAL_US;
	if (ask && feed->asked_us == 0)
		feed->asked_us = feed->silence_us;
	return replication_feedback(feed->replication, durability_lsn(&feed->durability), ask, failure);
}

/* Adds up for how long the server has said nothing, though it was waited for. */
static void note_silence(struct feed *feed, bool heard, int64_t waited_us)
{
	if (heard)
		feed->silence_us = feed->asked_us = 0;
	else
		feed->silence_us += waited_us;
}

static void take_events(struct feed *feed, const struct pollfd fds[WAIT_COUNT])
{
	uint64_t count;

	if (fds[WAIT_DISK].revents != 0)
		feed->confirm = durability_finish(&feed->durability) || feed->confirm;
	if (fds[WAIT_REFRESH].revents != 0 && read(feed->options->refresh_fd, &count, sizeof(count)) > 0)
		catalog_want_refresh(&feed->catalog);
	if (catalog_step(&feed->catalog, fds[WAIT_CATALOG].revents != 0, clock_monotonic_us()))
		announce(feed, true);
}

/* Waits for whatever comes first, and takes what came but the stream's bytes. Returns false if it is to end. */
static bool wait_for_events(struct feed *feed, enum replication_step step)
{
	struct pollfd fds[WAIT_COUNT] = {
		[WAIT_STOP] = {.fd = feed->stop_fd, .events = POLLIN},
		[WAIT_DISK] = {.fd = durability_fd(&feed->durability), .events = POLLIN},
		/* without room in the ring, TCP holds the server back */
		[WAIT_STREAM] = {.fd = step == REPLICATION_BLOCKED ? -1 : replication_socket(feed->replication),
						 .events = POLLIN},
		[WAIT_REFRESH] = {.fd = feed->options->refresh_fd, .events = POLLIN},
	};
	fds[WAIT_CATALOG].fd = catalog_poll(&feed->catalog, &fds[WAIT_CATALOG].events);
	if (replication_wants_to_write(feed->replication))
		fds[WAIT_STREAM].events |= POLLOUT;

	int64_t now_us = clock_monotonic_us();
	int64_t deadline_us = earlier(feed->feedback_due_us, earlier(durability_deadline_us(&feed->durability),
																 catalog_deadline_us(&feed->catalog)));
	int ready = poll(fds, WAIT_COUNT, step == REPLICATION_MORE ? 0 : clock_poll_timeout(now_us, deadline_us));
	for (int i = 0; ready < 0 && i < WAIT_COUNT; i++)
		fds[i].revents = 0; /* of a poll() that was interrupted they are unspecified */
	if (fds[WAIT_STOP].revents != 0)
		return false;
	bool heard = step != REPLICATION_DRAINED || (fds[WAIT_STREAM].revents & POLLIN) != 0;
	note_silence(feed, heard, clock_monotonic_us() - now_us);
	take_events(feed, fds);
	return true;
}

static void let_gather(struct feed *feed, int64_t now_us)
{
	struct replication_received received = replication_received(feed->replication);
	int64_t time_us = gather_time_us(&feed->gather, received.transactions, received.bytes, now_us);

	if (time_us > 0)
		nanosleep(&(struct timespec){.tv_nsec = time_us * 1000}, NULL);
}

/* One turn of the loop after another, until the stream breaks (false) or it is to stop (true). */
static bool run_stream(struct feed *feed, struct failure *failure)
{
	for (;;) {
		enum replication_step step = replication_step(feed->replication, failure);
		announce(feed, false);
		if (step == REPLICATION_FAILED)
			return false;
		if (published_is_outdated(&feed->catalog.published))
			return failure_set(failure,
							   "a table has another name or schema by now, which the server may not say in "
							   "the stream: it is begun again");
		int error = ring_writer_error(feed->writer);
		if (error != 0)
			return failure_set(failure, "cannot write the ring file: %s", strerror(error));
		int64_t now_us = clock_monotonic_us();
		durability_step(&feed->durability, step == REPLICATION_BLOCKED, now_us);
		show_disk(feed);
		/* a stream that nobody reads would hold up the server's shutdown */
		if (step == REPLICATION_BLOCKED && feed->durability.error != 0)
			return failure_set(failure, "the ring is full until its file can be written: %s",
							   strerror(feed->durability.error));
		if (!give_feedback(feed, now_us, failure))
			return false;
		if (step == REPLICATION_DRAINED)
			let_gather(feed, now_us);
		if (!wait_for_events(feed, step))
			return true;
	}
}

static void close_stream(struct feed *feed, const struct failure *failure)
{
	/* one that breaks again and again, soon after it began, is slowed down and logged once */
	if (clock_monotonic_us() - feed->streaming_since_us >= STABLE_AFTER_US) {
		feed->reported.text[0] = 0;
		feed->back_off_us = BACK_OFF_MIN_US;
	}
	if (strcmp(failure->sqlstate, SQLSTATE_UNDEFINED_OBJECT) == 0)
		feed->publication_was_missing = true;
	replication_close(feed->replication);
	feed->replication = NULL;
}

/* ---- retrying */

/* Waits before the next attempt, and until the disk works again if it does not. Returns false if it is to
 * stop. */
static bool wait_to_retry(struct feed *feed)
{
	int64_t now_us = clock_monotonic_us();
	int64_t until_us = now_us + feed->back_off_us;

	feed->back_off_us = earlier(feed->back_off_us * 2, BACK_OFF_MAX_US);
	for (; now_us < until_us || feed->durability.error != 0; now_us = clock_monotonic_us()) {
		struct pollfd fds[] = {{.fd = feed->stop_fd, .events = POLLIN},
							   {.fd = durability_fd(&feed->durability), .events = POLLIN}};
		durability_step(&feed->durability, false, now_us);
		int64_t deadline_us = durability_deadline_us(&feed->durability);
		if (now_us < until_us)
			deadline_us = earlier(deadline_us, until_us);
		if (poll(fds, 2, clock_poll_timeout(now_us, deadline_us)) <= 0)
			continue;
		if (fds[0].revents != 0)
			return false;
		durability_finish(&feed->durability);
	}
	return true;
}

/* Keeps the stream up until it is to stop. */
static void run_until_stop(struct feed *feed)
{
	struct failure failure;

	for (;;) {
		failure_set(&failure, "stopping");
		if (connect_feed(feed, &failure)) {
			if (run_stream(feed, &failure))
				return;
			close_stream(feed, &failure);
		}
		if (stop_asked(feed->stop_fd))
			return;
		report(feed, &failure);
		transition(feed, FEED_RETRYING, failure.text);
		if (!wait_to_retry(feed))
			return;
	}
}

/* ---- the process */

/* A descriptor that becomes readable with SIGTERM or SIGINT. It is never read, so it stays readable. */
static int open_stop_fd(void)
{
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0)
		return -1;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is an error of write() */
	return signalfd(-1, &signals, SFD_CLOEXEC);
}

static bool open_feed(struct feed *feed, const struct feed_options *options)
{
	*feed = (struct feed){.options = options, .state = FEED_STOPPED, .back_off_us = BACK_OFF_MIN_US};
	feed->stop_fd = open_stop_fd();
	if (feed->stop_fd < 0) {
		log_line(LOG_LEVEL_ERROR, "cannot wait for signals: %s", strerror(errno));
		return false;
	}
	enum ring_file_error error = ring_file_open(options->ring_file, RING_ACCESS_WRITER, &feed->ring);
	if (error != RING_FILE_OK) {
		log_line(LOG_LEVEL_ERROR, "cannot open ring file \"%s\": %s", options->ring_file,
				 ring_file_error_text(error));
		return false;
	}
	feed->live = ring_file_live(feed->ring);
	feed->writer = ring_writer_open(feed->ring);
	if (feed->writer == NULL || !durability_start(&feed->durability, feed->ring, feed->writer)) {
		log_line(LOG_LEVEL_ERROR, "cannot start: %s", strerror(errno));
		return false;
	}
	catalog_init(&feed->catalog, options->conninfo, options->publication, feed->stop_fd, feed->ring,
				 feed->writer);
	live_figure_set(&feed->live->feed_pid, getpid());
	transition(feed, FEED_STOPPED, "starting");
	return true;
}

static void close_feed(struct feed *feed)
{
	struct failure failure;

	announce(feed, false);
	bool synced = durability_stop(&feed->durability, STOP_SYNC_MS);
	if (feed->replication != NULL) {
		if (replication_feedback(feed->replication, durability_lsn(&feed->durability), false, &failure))
			replication_end(feed->replication, STOP_STREAM_US);
		replication_close(feed->replication);
	}
	catalog_close(&feed->catalog);
	transition(feed, FEED_STOPPED, "stopped");
	live_figure_set(&feed->live->feed_pid, 0);
	if (!synced)
		return;
	ring_writer_close(feed->writer);
	ring_file_close(feed->ring);
	close(feed->stop_fd);
}

/* libpq sends what these say after our options, and so over them (libpq, "Environment Variables"). */
static void forget_session_defaults(void)
{
	static const char *const names[] = {"PGDATESTYLE", "PGTZ", "PGGEQO", "PGAPPNAME", "PGCLIENTENCODING"};
	for (size_t i = 0; i < COUNT(names); i++)
		unsetenv(names[i]);
}

int feed_run(const struct feed_options *options)
{
	static struct feed feed;

	log_open("feed");
	forget_session_defaults();
	if (!open_feed(&feed, options))
		return EXIT_FAILURE;
	run_until_stop(&feed);
	close_feed(&feed);
	return EXIT_SUCCESS;
}
