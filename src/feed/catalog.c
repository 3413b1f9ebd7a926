/* catalog.c: see catalog.h. */
#include "feed/catalog.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "core/clock.h"
#include "feed/encoding.h"
#include "log.h"

enum {
	REFRESH_INTERVAL = 2 * SECOND,
	RECONNECT_INTERVAL = 1 * SECOND,
	REFRESH_SHARE = 20, /* by itself the refresh takes at most this fraction of the time */
};

static void transition(struct catalog *catalog, enum catalog_state next, int64_t deadline)
{
	assert(next == CATALOG_CLOSED || next == catalog->state + 1 ||
		   (next == CATALOG_IDLE && catalog->state == CATALOG_ASKING));
	catalog->state = next;
	catalog->deadline = deadline;
}

/* Until when the server's LSN counts as known; 0: it is not. The feed is the one writer. */
static void trust_wal_end(struct catalog *catalog, int64_t until)
{
	live_store(&catalog->published.live->server_lsn_until_us, until);
}

void catalog_init(struct catalog *catalog, const char *conninfo, const char *publication, int stop_fd,
				  struct ring *ring, struct ring_writer *writer)
{
	*catalog = (struct catalog){
		.conninfo = conninfo,
		.publication = publication,
		.stop_fd = stop_fd,
		.published = {.ring = ring, .live = ring_file_live(ring), .writer = writer},
		.state = CATALOG_CLOSED,
	};
	trust_wal_end(catalog, 0);
}

void catalog_close(struct catalog *catalog)
{
	PQclear(catalog->answer);
	PQfinish(catalog->connection);
	catalog->answer = NULL;
	catalog->connection = NULL;
	transition(catalog, CATALOG_CLOSED, 0);
}

/*
 * The stream does not need this connection now, so one that breaks is opened again; it is worth a line in the
 * log when that fails.
 */
static void give_up(struct catalog *catalog, const struct failure *failure)
{
	if (++catalog->failures == 2)
		log_line(LOG_LEVEL_WARNING, "the connection to the catalog: %s", failure->text);
	catalog->failure = *failure;
	trust_wal_end(catalog, 0);
	catalog_close(catalog);
	catalog->deadline = clock_monotonic_us() + RECONNECT_INTERVAL;
}

int catalog_poll(const struct catalog *catalog, short *ret_events)
{
	if (catalog->connection == NULL)
		return -1;
	*ret_events =
		catalog->state == CATALOG_OPENING && catalog->polling == PGRES_POLLING_WRITING ? POLLOUT : POLLIN;
	return PQsocket(catalog->connection);
}

int64_t catalog_deadline(const struct catalog *catalog)
{
	if (catalog->state == CATALOG_IDLE && catalog->wanted && catalog->earliest_refresh < catalog->deadline)
		return catalog->earliest_refresh;
	return catalog->deadline;
}

void catalog_want_refresh(struct catalog *catalog)
{
	catalog->wanted = true;
}

static void begin_connecting(struct catalog *catalog, int64_t now)
{
	struct failure failure;
	if (!connection_start(catalog->conninfo, CONNECTION_SQL, &catalog->connection, &failure)) {
		give_up(catalog, &failure);
		return;
	}
	catalog->polling = PGRES_POLLING_WRITING;
	transition(catalog, CATALOG_OPENING, now + CONNECTION_TIMEOUT);
}

static void go_on_connecting(struct catalog *catalog, int64_t now)
{
	struct failure failure;
	catalog->polling = PQconnectPoll(catalog->connection);
	if (catalog->polling == PGRES_POLLING_OK) {
		if (!connection_pin_rest(catalog->connection, catalog->stop_fd, &failure)) {
			give_up(catalog, &failure);
			return;
		}
		catalog->failures = 0;
		transition(catalog, CATALOG_IDLE, now);
	} else if (catalog->polling == PGRES_POLLING_FAILED) {
		failure_of_connection(&failure, "cannot connect", catalog->connection);
		give_up(catalog, &failure);
	}
}

static void ask(struct catalog *catalog, bool only_wal_end, int64_t now)
{
	struct failure failure;
	const char *parameters[] = {catalog->publication};
	const char *query = only_wal_end ? published_wal_end_query : published_query;

	catalog->asks_wal_end = only_wal_end;
	if (connection_send(catalog->connection, "cannot ask", query, only_wal_end ? 0 : 1, parameters, &failure))
		transition(catalog, CATALOG_ASKING, now + CONNECTION_TIMEOUT);
	else
		give_up(catalog, &failure);
}

static void begin_refresh(struct catalog *catalog, int64_t now)
{
	/* read before the query, so that whoever asked earlier gets an answer that is not older than the question
	 */
	catalog->answering = live_load(&catalog->published.live->refresh_asked);
	catalog->wanted = false;
	catalog->asked_at = now;
	ask(catalog, false, now);
}

/* The next refresh comes after a pause that depends on how long this one took. */
static void end_refresh(struct catalog *catalog)
{
	int64_t now = clock_monotonic_us();
	int64_t took = now - catalog->asked_at;
	int64_t pause = took * REFRESH_SHARE > REFRESH_INTERVAL ? took * REFRESH_SHARE : REFRESH_INTERVAL;

	catalog->earliest_refresh = now + took;
	transition(catalog, CATALOG_IDLE, now + pause);
	trust_wal_end(catalog, now + pause + CONNECTION_TIMEOUT);
}

void catalog_saw_wal_end(struct catalog *catalog, const char *lsn)
{
	published_wal_end(&catalog->published, lsn);
	trust_wal_end(catalog, clock_monotonic_us() + REFRESH_INTERVAL + CONNECTION_TIMEOUT);
}

/*
 * The server refuses to say what is published, because a table in the publication has been locked for a while,
 * say. That stays as it was, and is asked again: the stream needs this connection for other questions. Where
 * the WAL ends can be asked all the same.
 */
static void put_off(struct catalog *catalog, const struct failure *failure)
{
	int64_t now = clock_monotonic_us();

	if (!catalog->put_off)
		log_line(LOG_LEVEL_WARNING, "%s; it is asked again", failure->text);
	catalog->put_off = true;
	catalog->wanted =
		catalog->wanted || catalog->answering != live_load(&catalog->published.live->refresh_done);
	transition(catalog, CATALOG_IDLE, now);
	ask(catalog, true, now);
}

static void take_answer(struct catalog *catalog)
{
	if (catalog->asks_wal_end) {
		published_wal_end(&catalog->published, PQgetvalue(catalog->answer, 0, 0));
		return;
	}
	published_apply(&catalog->published, catalog->answer);
	live_store(&catalog->published.live->refresh_done, catalog->answering);
	catalog->put_off = false;
}

/* Returns true if the answer was one. */
static bool apply_answer(struct catalog *catalog)
{
	struct failure failure;
	bool answered = PQresultStatus(catalog->answer) == PGRES_TUPLES_OK &&
					encoding_convert_result(encoding_of(catalog->connection), catalog->answer);

	if (answered)
		take_answer(catalog);
	else
		failure_of_result(&failure, "cannot read what is published", catalog->answer);
	PQclear(catalog->answer);
	catalog->answer = NULL;
	if (answered)
		end_refresh(catalog);
	else if (failure.sqlstate[0] != 0 && !catalog->asks_wal_end &&
			 PQstatus(catalog->connection) == CONNECTION_OK)
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
		if (!PQconsumeInput(catalog->connection)) {
			failure_of_connection(&failure, "connection lost", catalog->connection);
			give_up(catalog, &failure);
			return false;
		}
		while (!PQisBusy(catalog->connection)) {
			PGresult *result = PQgetResult(catalog->connection);
			if (result == NULL)
				return apply_answer(catalog);
			PQclear(catalog->answer);
			catalog->answer = result;
		}
	} while (connection_holds_back(catalog->connection));
	return false;
}

/* An idle connection becomes readable when the server closes it. */
static void look_at_idle(struct catalog *catalog, int64_t now)
{
	struct failure failure;
	if (!PQconsumeInput(catalog->connection)) {
		failure_of_connection(&failure, "connection lost", catalog->connection);
		give_up(catalog, &failure);
	} else if (now >= catalog_deadline(catalog))
		begin_refresh(catalog, now);
}

/* Moves the connection on, whether or not its socket is ready: libpq finds out itself. */
static bool move_on(struct catalog *catalog, int64_t now)
{
	switch (catalog->state) {
	case CATALOG_CLOSED:
		if (now >= catalog->deadline)
			begin_connecting(catalog, now);
		return false;
	case CATALOG_OPENING:
		go_on_connecting(catalog, now);
		return false;
	case CATALOG_IDLE:
		look_at_idle(catalog, now);
		return false;
	case CATALOG_ASKING:
		return go_on_refreshing(catalog);
	}
	return false;
}

static void watch_deadline(struct catalog *catalog, int64_t now)
{
	struct failure failure;
	if ((catalog->state == CATALOG_OPENING || catalog->state == CATALOG_ASKING) && now >= catalog->deadline) {
		failure_set(&failure, "the server did not answer in time");
		give_up(catalog, &failure);
	}
}

bool catalog_step(struct catalog *catalog, bool ready, int64_t now)
{
	bool due = now >= catalog_deadline(catalog);
	bool answered = false;

	if (ready || (due && (catalog->state == CATALOG_CLOSED || catalog->state == CATALOG_IDLE)))
		answered = move_on(catalog, now);
	watch_deadline(catalog, now);
	return answered;
}

/* Waits for the socket or the deadline, then moves on. False: it is to stop. */
static bool wait_and_step(struct catalog *catalog, struct failure *failure)
{
	struct pollfd fds[] = {{.fd = catalog->stop_fd, .events = POLLIN}, {.fd = -1}};
	int timeout = clock_poll_timeout(clock_monotonic_us(), catalog->deadline);

	fds[1].fd = catalog_poll(catalog, &fds[1].events);
	if (poll(fds, 2, timeout) < 0 && errno != EINTR)
		return failure_set(failure, "poll: %s", strerror(errno));
	if (fds[0].revents != 0)
		return failure_set(failure, "stopping");
	catalog_step(catalog, fds[1].revents != 0, clock_monotonic_us());
	return true;
}

bool catalog_settle(struct catalog *catalog, struct failure *failure)
{
	catalog->failures = 2; /* a failure in here is the caller's to report */
	if (catalog->state == CATALOG_IDLE && !PQconsumeInput(catalog->connection))
		catalog_close(catalog); /* the server closed it while nobody looked */
	if (catalog->state == CATALOG_CLOSED)
		begin_connecting(catalog, clock_monotonic_us());
	while (catalog->state == CATALOG_OPENING || catalog->state == CATALOG_ASKING)
		if (!wait_and_step(catalog, failure))
			return false;
	if (catalog->state != CATALOG_IDLE) {
		*failure = catalog->failure;
		return false;
	}
	catalog->failures = 0;
	return true;
}

PGresult *catalog_query(struct catalog *catalog, const char *what, const char *sql, int parameter_count,
						const char *const *parameters, struct failure *failure)
{
	if (!catalog_settle(catalog, failure))
		return NULL;
	PGresult *result = connection_query(catalog->connection, catalog->stop_fd, what, sql, parameter_count,
										parameters, failure);
	/* without a SQLSTATE it was not the server that refused, and the connection is in the middle of something
	 */
	if (result == NULL && (failure->sqlstate[0] == 0 || PQstatus(catalog->connection) != CONNECTION_OK))
		catalog_close(catalog);
	return result;
}
