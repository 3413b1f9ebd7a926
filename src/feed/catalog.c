/* catalog.c: see catalog.h. */
#include "feed/catalog.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "core/clock.h"
#include "core/ring/ring_file.h"
#include "feed/encoding.h"
#include "log.h"

enum {
	REFRESH_INTERVAL_US = 2 * SECOND,
	RETRY_INTERVAL_US = 1 * SECOND,
	REFRESH_SHARE = 20, /* by itself the refresh takes at most this fraction of the time */
};

static void transition(struct catalog *catalog, enum catalog_state next, int64_t deadline_us)
{
	assert(next == CATALOG_CLOSED || next == catalog->state + 1 ||
		   (next == CATALOG_IDLE && catalog->state == CATALOG_ASKING));
	catalog->state = next;
	catalog->deadline_us = deadline_us;
}

/* Until when the server's LSN counts as known; 0: it is not. The feed is the one writer. */
static void trust_wal_end(struct catalog *catalog, int64_t until_us)
{
	live_store(&catalog->published.live->server_lsn_until_us, until_us);
}

void catalog_init(struct catalog *catalog, const char *conninfo, const char *publication, int stop_fd,
				  struct ring *ring, struct ring_writer *writer)
{
	*catalog = (struct catalog){
		.conninfo = conninfo,
		.publication = publication,
		.connection = {.stop_fd = stop_fd},
		.published = {.ring = ring, .live = ring_file_live(ring), .writer = writer},
		.state = CATALOG_CLOSED,
	};
	trust_wal_end(catalog, 0);
}

void catalog_close(struct catalog *catalog)
{
	PQclear(catalog->answer);
	connection_close(&catalog->connection);
	catalog->answer = NULL;
	transition(catalog, CATALOG_CLOSED, 0);
}

/*
 * The stream does not need this connection now, so a broken one is opened again quietly; only a second failure
 * in a row is logged.
 */
static void give_up(struct catalog *catalog, const struct failure *failure)
{
	if (++catalog->failures == 2 && !catalog->quiet)
		log_line(LOG_LEVEL_WARNING, "the connection to the catalog: %s", failure->text);
	catalog->failure = *failure;
	trust_wal_end(catalog, 0);
	catalog_close(catalog);
	catalog->deadline_us = clock_monotonic_us() + RETRY_INTERVAL_US;
}

int catalog_poll(const struct catalog *catalog, short *ret_events)
{
	if (catalog->connection.pg == NULL)
		return -1;
	*ret_events =
		catalog->state == CATALOG_OPENING && catalog->polling == PGRES_POLLING_WRITING ? POLLOUT : POLLIN;
	return PQsocket(catalog->connection.pg);
}

int64_t catalog_deadline_us(const struct catalog *catalog)
{
	if (catalog->state == CATALOG_IDLE && catalog->wanted &&
		catalog->earliest_refresh_us < catalog->deadline_us)
		return catalog->earliest_refresh_us;
	return catalog->deadline_us;
}

void catalog_want_refresh(struct catalog *catalog)
{
	catalog->wanted = true;
}

static void begin_connecting(struct catalog *catalog, int64_t now_us)
{
	struct failure failure;
	if (!connection_start(&catalog->connection, catalog->conninfo, CONNECTION_SQL, &failure)) {
		give_up(catalog, &failure);
		return;
	}
	catalog->polling = PGRES_POLLING_WRITING;
	transition(catalog, CATALOG_OPENING, now_us + CONNECTION_TIMEOUT_US);
}

static void go_on_connecting(struct catalog *catalog, int64_t now_us)
{
	struct failure failure;
	catalog->polling = PQconnectPoll(catalog->connection.pg);
	if (catalog->polling == PGRES_POLLING_OK) {
		if (!connection_pin_rest(&catalog->connection, &failure)) {
			give_up(catalog, &failure);
			return;
		}
		catalog->failures = 0;
		transition(catalog, CATALOG_IDLE, now_us);
	} else if (catalog->polling == PGRES_POLLING_FAILED) {
		failure_of_connection(&failure, "cannot connect", catalog->connection.pg);
		give_up(catalog, &failure);
	}
}

static void ask(struct catalog *catalog, const struct query *query, int64_t now_us)
{
	struct failure failure;
	const char *parameters[] = {catalog->publication, NULL};

	catalog->asked = query;
	if (connection_send(&catalog->connection, query, parameters, &failure))
		transition(catalog, CATALOG_ASKING, now_us + CONNECTION_TIMEOUT_US);
	else
		give_up(catalog, &failure);
}

static void begin_refresh(struct catalog *catalog, int64_t now_us)
{
	/* read before the query: whoever asked earlier gets an answer that is not older than the question */
	catalog->answering = live_load(&catalog->published.live->refresh_asked);
	catalog->wanted = false;
	catalog->asked_us = now_us;
	ask(catalog, &published_query, now_us);
}

/* The next refresh comes after a pause that depends on how long this one took. */
static void end_refresh(struct catalog *catalog)
{
	int64_t now_us = clock_monotonic_us();
	int64_t took_us = now_us - catalog->asked_us;
	int64_t pause_us =
		took_us * REFRESH_SHARE > REFRESH_INTERVAL_US ? took_us * REFRESH_SHARE : REFRESH_INTERVAL_US;

	catalog->earliest_refresh_us = now_us + (catalog->refusals > 0 ? RETRY_INTERVAL_US : took_us);
	transition(catalog, CATALOG_IDLE, now_us + pause_us);
	trust_wal_end(catalog, now_us + pause_us + CONNECTION_TIMEOUT_US);
}

void catalog_saw_wal_end(struct catalog *catalog, const char *lsn)
{
	published_wal_end(&catalog->published, lsn);
	trust_wal_end(catalog, clock_monotonic_us() + REFRESH_INTERVAL_US + CONNECTION_TIMEOUT_US);
}

/*
 * The server refuses to say what is published; a table in the publication has been locked for a while, say.
 * What was known stays, and the question is asked again later: the stream needs this connection for other
 * questions. Where the WAL ends can be asked all the same.
 */
static void put_off(struct catalog *catalog, const struct failure *failure)
{
	int64_t now_us = clock_monotonic_us();

	if (++catalog->refusals == 2)
		log_line(LOG_LEVEL_WARNING, "%s; it is asked again", failure->text);
	catalog->wanted =
		catalog->wanted || catalog->answering != live_load(&catalog->published.live->refresh_done);
	transition(catalog, CATALOG_IDLE, now_us);
	ask(catalog, &published_wal_end_query, now_us);
}

static void take_answer(struct catalog *catalog)
{
	if (catalog->asked == &published_wal_end_query) {
		published_wal_end(&catalog->published, PQgetvalue(catalog->answer, 0, 0));
		return;
	}
	published_apply(&catalog->published, catalog->answer);
	live_store(&catalog->published.live->refresh_done, catalog->answering);
	catalog->refusals = 0;
}

/* Returns true if the answer was one. */
static bool apply_answer(struct catalog *catalog)
{
	struct failure failure;
	bool given = PQresultStatus(catalog->answer) == PGRES_TUPLES_OK;
	bool answered = given && encoding_convert_result(encoding_of(catalog->connection.pg), catalog->answer);

	if (answered)
		take_answer(catalog);
	else if (given)
		failure_set(&failure, "out of memory");
	else
		failure_of_result(&failure, catalog->asked->what, catalog->answer);
	PQclear(catalog->answer);
	catalog->answer = NULL;
	if (answered)
		end_refresh(catalog);
	else if (failure.sqlstate[0] != 0 && catalog->asked == &published_query &&
			 PQstatus(catalog->connection.pg) == CONNECTION_OK)
		put_off(catalog, &failure);
	else
		give_up(catalog, &failure);
	return answered;
}

/* Returns true if an answer was applied. */
static bool go_on_refreshing(struct catalog *catalog)
{
	struct failure failure;
	do {
		if (!PQconsumeInput(catalog->connection.pg)) {
			failure_of_connection(&failure, "connection lost", catalog->connection.pg);
			give_up(catalog, &failure);
			return false;
		}
		while (!PQisBusy(catalog->connection.pg)) {
			PGresult *result = PQgetResult(catalog->connection.pg);
			if (result == NULL)
				return apply_answer(catalog);
			PQclear(catalog->answer);
			catalog->answer = result;
		}
	} while (connection_holds_back(&catalog->connection));
	return false;
}

/* An idle connection becomes readable when the server closes it. */
static void look_at_idle(struct catalog *catalog, int64_t now_us)
{
	struct failure failure;
	if (!PQconsumeInput(catalog->connection.pg)) {
		failure_of_connection(&failure, "connection lost", catalog->connection.pg);
		give_up(catalog, &failure);
	} else if (now_us >= catalog_deadline_us(catalog)) {
		begin_refresh(catalog, now_us);
	}
}

/* Moves the connection on, whether or not its socket is ready: libpq finds out itself. */
static bool move_on(struct catalog *catalog, int64_t now_us)
{
	switch (catalog->state) {
	case CATALOG_CLOSED:
		if (now_us >= catalog->deadline_us)
			begin_connecting(catalog, now_us);
		return false;
	case CATALOG_OPENING:
		go_on_connecting(catalog, now_us);
		return false;
	case CATALOG_IDLE:
		look_at_idle(catalog, now_us);
		return false;
	case CATALOG_ASKING:
		return go_on_refreshing(catalog);
	}
	return false;
}

static void watch_deadline(struct catalog *catalog, int64_t now_us)
{
	struct failure failure;
	if ((catalog->state == CATALOG_OPENING || catalog->state == CATALOG_ASKING) &&
		now_us >= catalog->deadline_us) {
		failure_set(&failure, "the server did not answer in time");
		give_up(catalog, &failure);
	}
}

bool catalog_step(struct catalog *catalog, bool ready, int64_t now_us)
{
	bool due = now_us >= catalog_deadline_us(catalog);
	bool answered = false;

	if (ready || (due && (catalog->state == CATALOG_CLOSED || catalog->state == CATALOG_IDLE)))
		answered = move_on(catalog, now_us);
	watch_deadline(catalog, now_us);
	return answered;
}

/* Waits for the socket or the deadline, then moves on. False: it is to stop. */
static bool wait_and_step(struct catalog *catalog, struct failure *failure)
{
	struct pollfd fds[] = {{.fd = catalog->connection.stop_fd, .events = POLLIN}, {.fd = -1}};
	int timeout = clock_poll_timeout(clock_monotonic_us(), catalog->deadline_us);

	fds[1].fd = catalog_poll(catalog, &fds[1].events);
	if (poll(fds, 2, timeout) < 0 && errno != EINTR)
		return failure_set(failure, "poll: %s", strerror(errno));
	if (fds[0].revents != 0)
		return failure_set(failure, "stopping");
	catalog_step(catalog, fds[1].revents != 0, clock_monotonic_us());
	return true;
}

static bool settle(struct catalog *catalog, struct failure *failure)
{
	if (catalog->state == CATALOG_IDLE && !PQconsumeInput(catalog->connection.pg))
		catalog_close(catalog); /* the server closed it while nobody looked */
	if (catalog->state == CATALOG_CLOSED)
		begin_connecting(catalog, clock_monotonic_us());
	while (catalog->state == CATALOG_OPENING || catalog->state == CATALOG_ASKING) {
		if (!wait_and_step(catalog, failure))
			return false;
	}
	if (catalog->state != CATALOG_IDLE) {
		*failure = catalog->failure;
		return false;
	}
	return true;
}

bool catalog_settle(struct catalog *catalog, struct failure *failure)
{
	catalog->quiet = true;
	bool settled = settle(catalog, failure);
	catalog->quiet = false;
	return settled;
}

PGresult *catalog_query(struct catalog *catalog, const struct query *query, const char *const *parameters,
						struct failure *failure)
{
	if (!catalog_settle(catalog, failure))
		return NULL;
	PGresult *result = connection_query(&catalog->connection, query, parameters, failure);
	/* without a SQLSTATE it was not the server that refused: the connection is in the middle of something */
	if (result == NULL && (failure->sqlstate[0] == 0 || PQstatus(catalog->connection.pg) != CONNECTION_OK))
		catalog_close(catalog);
	return result;
}
