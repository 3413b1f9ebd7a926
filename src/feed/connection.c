/* connection.c: see connection.h. */
#include "feed/connection.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/clock.h"
#include "feed/encoding.h"
#include "log.h"

/* As the server's own walreceiver, which gives up after 60 s of silence. */
enum { TCP_USER_TIMEOUT_MS = 30000 };

/*
 * The text form of values must not depend on settings of the role or the database, or a change that is sent
 * again would differ from itself. (Three are left as they are, so that regclass and its like, and money, look
 * as in the role's own sessions: search_path, quote_all_identifiers, lc_monetary.) Timeouts meant for
 * applications must not end the feed, nor must its queries wait for their serializable transactions.
 */
#define PINNED_OPTIONS                                                                                       \
	"-c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=3 -c bytea_output=hex -c TimeZone=UTC" \
	" -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0"                  \
	" -c default_transaction_deferrable=off"

/*
 * Queries find the operators of pg_catalog only: one of the same name, in a schema that others may create in,
 * would be somebody else's code run by the feed's role, often a superuser. And to list what is published
 * locks every table in it, from version 16 on, so that one which is locked for long would keep the stream
 * from asking anything.
 */
#define SQL_OPTIONS PINNED_OPTIONS " -c search_path=pg_catalog -c statement_timeout=5s -c lock_timeout=200ms"

/* A walsender that decodes without having anything to send speaks up after half of wal_sender_timeout, which
 * is sooner than connection_patience_us(). */
static const char *options_of(enum connection_kind kind)
{
	return kind == CONNECTION_SQL ? SQL_OPTIONS
								  : PINNED_OPTIONS " -c statement_timeout=0 -c wal_sender_timeout=60s";
}

/* The user's own `options`, then the pinned ones: of two settings of one name the later wins. */
static bool append_options(const char *conninfo, enum connection_kind kind, struct buffer *out,
						   struct failure *failure)
{
	char *message = NULL;
	PQconninfoOption *parsed = PQconninfoParse(conninfo, &message);
	if (parsed == NULL) {
		failure_set(failure, "conninfo: %s", message == NULL ? "out of memory" : message);
		PQfreemem(message);
		return false;
	}
	for (const PQconninfoOption *option = parsed; option->keyword != NULL; option++) {
		if (strcmp(option->keyword, "options") == 0 && option->val != NULL)
			buffer_printf(out, "%s ", option->val);
	}
	buffer_append_string(out, options_of(kind));
	PQconninfoFree(parsed);
	return buffer_string(out) != NULL || failure_set(failure, "out of memory");
}

/* What the server says unasked: a warning, or why it closes an idle connection. */
static void log_notice(void *unused, const char *message)
{
	(void)unused;
	log_line(LOG_LEVEL_INFO, "the server says: %s", message);
}

bool connection_start(struct connection *connection, const char *conninfo, enum connection_kind kind,
					  struct failure *failure)
{
	struct buffer options = {0};
	char user_timeout[16];
	snprintf(user_timeout, sizeof(user_timeout), "%d", TCP_USER_TIMEOUT_MS);
	if (!append_options(conninfo, kind, &options, failure)) {
		buffer_free(&options);
		return false;
	}
	/* what stands before dbname can be overridden by conninfo, what stands behind it cannot */
	const char *keywords[] = {"keepalives_idle",
							  "keepalives_interval",
							  "keepalives_count",
							  "tcp_user_timeout",
							  "fallback_application_name",
							  "dbname",
							  "options",
							  "client_encoding",
							  "replication",
							  NULL};
	const char *values[] = {"10",     "10",         "3",    user_timeout, "pg_changefeed",
							conninfo, options.data, "UTF8", "database",   NULL};
	PGconn *pg = PQconnectStartParams(keywords, values, 1);

	buffer_free(&options);
	if (pg == NULL)
		return failure_set(failure, "out of memory");
	if (PQstatus(pg) == CONNECTION_BAD) {
		failure_of_connection(failure, "cannot connect", pg);
		PQfinish(pg);
		return false;
	}
	PQsetNoticeProcessor(pg, log_notice, NULL);
	connection->pg = pg;
	return true;
}

/* Waits until the socket is ready for `events`. False: the deadline has passed, or it is to stop. */
static bool wait_for_socket(struct connection *connection, short events, int64_t deadline_us,
							struct failure *failure)
{
	for (;;) {
		struct pollfd fds[] = {{.fd = connection->stop_fd, .events = POLLIN},
							   {.fd = PQsocket(connection->pg), .events = events}};
		int64_t now_us = clock_monotonic_us();
		int ready = poll(fds, 2, clock_poll_timeout(now_us, deadline_us));
		if (ready < 0 && errno != EINTR)
			return failure_set(failure, "poll: %s", strerror(errno));
		if (ready > 0 && fds[0].revents != 0)
			return failure_set(failure, "stopping");
		if (ready > 0)
			return true;
		if (ready == 0 && clock_monotonic_us() >= deadline_us)
			return failure_set(failure, "the server did not answer in time");
	}
}

bool connection_open(struct connection *connection, const char *conninfo, enum connection_kind kind,
					 struct failure *failure)
{
	int64_t deadline_us = clock_monotonic_us() + CONNECTION_TIMEOUT_US;
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (!connection_start(connection, conninfo, kind, failure))
		return false;
	while (status != PGRES_POLLING_OK) {
		short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
		if (!wait_for_socket(connection, events, deadline_us, failure))
			break;
		status = PQconnectPoll(connection->pg);
		if (status == PGRES_POLLING_FAILED) {
			failure_of_connection(failure, "cannot connect", connection->pg);
			break;
		}
	}
	if (status == PGRES_POLLING_OK && connection_pin_rest(connection, failure))
		return true;
	connection_close(connection);
	return false;
}

void connection_close(struct connection *connection)
{
	PQfinish(connection->pg);
	connection->pg = NULL;
}

/* Returns true once PQgetResult() does not block. */
static bool wait_for_answer(struct connection *connection, int64_t deadline_us, struct failure *failure)
{
	while (PQisBusy(connection->pg)) {
		if (!connection_holds_back(connection) && !wait_for_socket(connection, POLLIN, deadline_us, failure))
			return false;
		if (!PQconsumeInput(connection->pg))
			break; /* PQgetResult makes an error result of it */
	}
	return true;
}

/* Takes the first result and waits for the end of the command; a COPY has no end yet. */
static PGresult *take_result(struct connection *connection, int64_t deadline_us, struct failure *failure)
{
	PGresult *first = NULL;
	for (;;) {
		if (!wait_for_answer(connection, deadline_us, failure)) {
			PQclear(first);
			return NULL;
		}
		PGresult *result = PQgetResult(connection->pg);
		if (result == NULL)
			return first;
		if (first != NULL) {
			PQclear(result);
			continue;
		}
		first = result;
		if (PQresultStatus(first) == PGRES_COPY_BOTH)
			return first;
	}
}

/* Writes the command with its parameters in place. Returns false out of memory, or if a parameter is not
 * valid text. */
static bool put_parameters(struct connection *connection, const char *sql, const char *const *parameters,
						   struct buffer *out)
{
	struct buffer converted = {0};
	int count = 0;

	while (parameters != NULL && parameters[count] != NULL)
		count++;
	for (; *sql != '\0'; sql++) {
		int parameter = sql[0] == '$' ? sql[1] - '1' : -1;
		if (parameter < 0 || parameter >= count) {
			buffer_append_char(out, *sql);
			continue;
		}
		const char *value =
			encoding_from_utf8(encoding_of(connection->pg), parameters[parameter], &converted);
		char *literal = PQescapeLiteral(connection->pg, value, strlen(value));
		if (literal == NULL)
			break;
		buffer_append_string(out, literal);
		PQfreemem(literal);
		sql++;
	}
	buffer_free(&converted);
	return *sql == '\0' && buffer_string(out) != NULL;
}

bool connection_send(struct connection *connection, const struct query *query, const char *const *parameters,
					 struct failure *failure)
{
	struct buffer command = {0};
	bool sent = put_parameters(connection, query->sql, parameters, &command) &&
				PQsendQuery(connection->pg, command.data);

	buffer_free(&command);
	if (!sent)
		failure_of_connection(failure, query->what, connection->pg);
	return sent;
}

bool connection_wait(struct connection *connection, int64_t timeout_us, struct failure *failure)
{
	return wait_for_answer(connection, clock_monotonic_us() + timeout_us, failure);
}

PGresult *connection_answer(struct connection *connection, const char *what, struct failure *failure)
{
	int64_t deadline_us = clock_monotonic_us() + CONNECTION_TIMEOUT_US;
	PGresult *result = take_result(connection, deadline_us, failure);
	if (result == NULL)
		return NULL;
	ExecStatusType status = PQresultStatus(result);
	bool done = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_COPY_BOTH;
	if (done && encoding_convert_result(encoding_of(connection->pg), result))
		return result;
	if (done)
		failure_set(failure, "out of memory");
	else
		failure_of_result(failure, what, result);
	PQclear(result);
	return NULL;
}

PGresult *connection_query(struct connection *connection, const struct query *query,
						   const char *const *parameters, struct failure *failure)
{
	if (!connection_send(connection, query, parameters, failure))
		return NULL;
	return connection_answer(connection, query->what, failure);
}

/* Sets one of the session's parameters. */
static bool set(struct connection *connection, const char *sql, const char *value, struct failure *failure)
{
	struct query query = {"cannot prepare the session", sql};
	PGresult *result = connection_query(connection, &query, (const char *[]){value, NULL}, failure);
	bool done = result != NULL;
	PQclear(result);
	return done;
}

bool connection_pin_rest(struct connection *connection, struct failure *failure)
{
	const char *encoding = encoding_to_ask_for(PQparameterStatus(connection->pg, "server_encoding"));

	if (encoding != NULL && !set(connection, "SET client_encoding = $1", encoding, failure))
		return false;
	return PQserverVersion(connection->pg) < 170000 ||
		   set(connection, "SET transaction_timeout = $1", "0", failure);
}

int64_t connection_patience_us(const struct connection *connection)
{
	PQconninfoOption *options = PQconninfo(connection->pg);
	int64_t milliseconds = 0;

	for (const PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++) {
		if (strcmp(option->keyword, "tcp_user_timeout") == 0 && option->val != NULL)
			milliseconds = strtoll(option->val, NULL, 10);
	}
	PQconninfoFree(options);
	return 2 * MILLISECOND * (milliseconds > 0 ? milliseconds : TCP_USER_TIMEOUT_MS);
}

bool connection_holds_back(const struct connection *connection)
{
	SSL *tls = PQsslStruct(connection->pg, "OpenSSL");
	return tls != NULL && SSL_pending(tls) > 0;
}

bool stop_asked(int stop_fd)
{
	struct pollfd fd = {.fd = stop_fd, .events = POLLIN};
	return poll(&fd, 1, 0) > 0;
}
