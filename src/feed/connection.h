/*
 * connection.h: libpq without blocking: connections with the options that the feed relies on, and queries
 * that a request to stop interrupts.
 *
 * Data in: a conninfo string of libpq, SQL. Data out: PGconn, PGresult. Only the resolution of a host name
 * blocks, inside libpq.
 */
#ifndef CHANGEFEED_FEED_CONNECTION_H
#define CHANGEFEED_FEED_CONNECTION_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "feed/failure.h"

struct connection {
	PGconn *pg;  /* NULL: there is none */
	int stop_fd; /* readable, and stays so, when the process is to end: every wait also watches it */
};

/*
 * Both kinds are walsenders bound to the database, because a smart shutdown of the server waits for every
 * ordinary session to end by itself, and ours never would.
 */
enum connection_kind {
	CONNECTION_SQL,         /* for queries, with a statement timeout */
	CONNECTION_REPLICATION, /* for the stream, without one */
};

/* A command, and what its failure is called. */
struct query {
	const char *what;
	const char *sql;
};

/* How long to wait for a connection, and for an answer to a query. */
enum { CONNECTION_TIMEOUT_US = 10 * 1000 * 1000 };

/*
 * Begins to connect, with `stop_fd` set; go on with PQconnectPoll(). Pinned, whatever conninfo and the role's
 * settings say: the formats of dates, intervals, floats and bytea, the time zone, the encoding; for queries
 * also the search_path, pg_catalog alone. Returns false if conninfo is malformed or memory is out.
 */
bool connection_start(struct connection *connection, const char *conninfo, enum connection_kind kind,
					  struct failure *failure);

/*
 * Pins what connection_start() could not, because it depends on the server: where the database's encoding can
 * hold bytes that cannot be sent as UTF-8, it is asked for the bytes as they are (encoding.h); from version 17
 * on there is a limit to how long a transaction may take, and the decoding of a large one is a transaction.
 * Waits for the answers. Returns false if one does not come; then the connection is of no more use.
 */
bool connection_pin_rest(struct connection *connection, struct failure *failure);

/* Does both, and waits, CONNECTION_TIMEOUT_US at most. Returns false on failure or when it is to stop. */
bool connection_open(struct connection *connection, const char *conninfo, enum connection_kind kind,
					 struct failure *failure);

void connection_close(struct connection *connection);

/*
 * Sends a command, where $1 to $9 are replaced by the parameters as literals: a walsender does not know the
 * protocol's own parameters. They are UTF-8, as are the results; NULL stands behind the last, or for all of
 * them if there are none. Returns false on failure.
 */
bool connection_send(struct connection *connection, const struct query *query, const char *const *parameters,
					 struct failure *failure);

/*
 * Waits for the beginning of the answer to what was sent, `timeout_us` at most. Returns false if there is
 * none, or when it is to stop; the connection can be waited for again.
 */
bool connection_wait(struct connection *connection, int64_t timeout_us, struct failure *failure);

/*
 * The answer to what was sent, waited for CONNECTION_TIMEOUT_US at most. Returns a result that is the
 * caller's, with the status PGRES_COMMAND_OK, PGRES_TUPLES_OK or PGRES_COPY_BOTH; NULL on failure, after the
 * time, or when it is to stop. After a NULL for another reason than the server's error the connection is of
 * no more use.
 */
PGresult *connection_answer(struct connection *connection, const char *what, struct failure *failure);

/* connection_send() and connection_answer(). */
PGresult *connection_query(struct connection *connection, const struct query *query,
						   const char *const *parameters, struct failure *failure);

/*
 * How long a server may be silent although it was asked to answer: a proxy that hangs, or a machine behind
 * one that is gone, still acknowledges what TCP sends it. Twice the connection's tcp_user_timeout.
 */
int64_t connection_patience_us(const struct connection *connection);

/*
 * True if bytes of the server wait in OpenSSL, where no poll() shows them: read on before waiting. Records of
 * TLS may have 16 kB, libpq may have room for less, and older versions of it leave the rest there. What the
 * server has said may then be complete, and wait for what it says next. (GSSAPI's encryption does the same
 * and does not tell; to read on then is left to the newer versions.)
 */
bool connection_holds_back(const struct connection *connection);

/* True if the process was asked to end. */
bool stop_asked(int stop_fd);

#endif
