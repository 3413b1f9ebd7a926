/*
 * upstream.c: see upstream.h. Commands: PostgreSQL's documentation, "Streaming Replication Protocol"
 * (protocol-replication.html).
 */
#include "feed/upstream.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/cursor.h"
#include "core/request/identifier.h"
#include "feed/encoding.h"
#include "log.h"

/* ---- what is there */

static const struct query inspect_query = {
	"cannot inspect the server",
	"SELECT pg_catalog.current_setting('wal_level'),"
	"       r.rolname, r.rolreplication OR r.rolsuper, pg_catalog.current_database(),"
	"       EXISTS (SELECT FROM pg_catalog.pg_publication p WHERE p.pubname = $2),"
	"       s.slot_name, s.plugin, s.two_phase, s.database, s.active_pid, s.wal_status,"
	"       COALESCE(s.confirmed_flush_lsn, '0/0') - '0/0'::pg_catalog.pg_lsn, " PUBLISHED_WAL_END
	",      pg_catalog.pg_is_in_recovery()"
	"  FROM pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = $1"
	" WHERE r.rolname = CURRENT_USER",
};

enum {
	INSPECT_WAL_LEVEL,
	INSPECT_ROLE,
	INSPECT_MAY_REPLICATE,
	INSPECT_DATABASE,
	INSPECT_PUBLICATION_EXISTS,
	INSPECT_SLOT,
	INSPECT_PLUGIN,
	INSPECT_TWO_PHASE,
	INSPECT_SLOT_DATABASE,
	INSPECT_ACTIVE_PID,
	INSPECT_WAL_STATUS,
	INSPECT_CONFIRMED,
	INSPECT_WAL_END,
	INSPECT_STANDBY,
};

static bool is_true(const PGresult *row, int column)
{
	return PQgetvalue(row, 0, column)[0] == 't';
}

static bool is_text(const PGresult *row, int column, const char *wanted)
{
	return strcmp(PQgetvalue(row, 0, column), wanted) == 0;
}

/* Also tells how far the slot is: it keeps WAL, whether or not it can be used. */
static void read_slot(struct upstream *upstream, const PGresult *row, struct ring_live *live)
{
	upstream->slot_exists = !PQgetisnull(row, 0, INSPECT_SLOT);
	upstream->slot_unusable = NULL;
	if (is_text(row, INSPECT_WAL_STATUS, "lost"))
		upstream->slot_unusable = "the server has removed WAL that it still needed";
	upstream->confirmed_lsn = strtoull(PQgetvalue(row, 0, INSPECT_CONFIRMED), NULL, 10);
	live_figure_set(&live->confirmed_lsn, upstream->confirmed_lsn);
}

static bool check_slot(const struct upstream *upstream, const PGresult *row, struct failure *failure)
{
	const char *database = PQgetvalue(row, 0, INSPECT_DATABASE);

	if (!upstream->slot_exists)
		return true;
	if (!is_text(row, INSPECT_PLUGIN, "pgoutput"))
		return failure_set(
			failure,
			"replication slot \"%s\" is of another kind (plugin \"%s\", not pgoutput): drop it or use "
			"another name for the slot",
			upstream->slot, PQgetvalue(row, 0, INSPECT_PLUGIN));
	if (is_true(row, INSPECT_TWO_PHASE))
		return failure_set(
			failure,
			"replication slot \"%s\" was made with two_phase, and would send transactions before "
			"they are committed: drop it or use another name for the slot",
			upstream->slot);
	if (!is_text(row, INSPECT_SLOT_DATABASE, database))
		return failure_set(
			failure,
			"replication slot \"%s\" belongs to database \"%s\", not \"%s\": drop it or use another name "
			"for the slot",
			upstream->slot, PQgetvalue(row, 0, INSPECT_SLOT_DATABASE), database);
	if (!PQgetisnull(row, 0, INSPECT_ACTIVE_PID))
		return failure_set(failure, "replication slot \"%s\" is in use by the server's process %s",
						   upstream->slot, PQgetvalue(row, 0, INSPECT_ACTIVE_PID));
	return true;
}

static bool set_no_publication(const struct upstream *upstream, const char *database, struct failure *failure)
{
	struct buffer identifier = {0};

	identifier_append(&identifier, bytes_of(upstream->publication));
	if (buffer_string(&identifier) == NULL)
		failure_set(failure, "out of memory");
	else
		failure_set(
			failure,
			"publication \"%s\" does not exist in database \"%s\": CREATE EXTENSION pg_changefeed; or "
			"CREATE PUBLICATION %s WITH (publish_via_partition_root); or, if it is the wrong database, name "
			"another with changefeed.database or --dbname",
			upstream->publication, database, identifier.data);
	buffer_free(&identifier);
	return false;
}

static bool check_server(struct upstream *upstream, const PGresult *row, struct failure *failure)
{
	snprintf(upstream->role, sizeof(upstream->role), "%s", PQgetvalue(row, 0, INSPECT_ROLE));
	upstream->may_replicate = is_true(row, INSPECT_MAY_REPLICATE);
	upstream->is_standby = is_true(row, INSPECT_STANDBY);
	if (!is_text(row, INSPECT_WAL_LEVEL, "logical"))
		return failure_set(
			failure, "wal_level is \"%s\": set wal_level = logical in postgresql.conf and restart PostgreSQL",
			PQgetvalue(row, 0, INSPECT_WAL_LEVEL));
	if (!is_true(row, INSPECT_PUBLICATION_EXISTS))
		return set_no_publication(upstream, PQgetvalue(row, 0, INSPECT_DATABASE), failure);
	return check_slot(upstream, row, failure);
}

bool upstream_inspect(struct upstream *upstream, struct catalog *catalog, struct failure *failure)
{
	const char *parameters[] = {upstream->slot, upstream->publication, NULL};
	PGresult *row = catalog_query(catalog, &inspect_query, parameters, failure);
	if (row == NULL)
		return false;
	if (PQntuples(row) == 1) {
		catalog_saw_wal_end(catalog, PQgetvalue(row, 0, INSPECT_WAL_END));
		read_slot(upstream, row, catalog->published.live);
	}
	bool found = PQntuples(row) == 1
					 ? check_server(upstream, row, failure)
					 : failure_set(failure, "the role of the connection does not exist any more");
	PQclear(row);
	return found;
}

/* 0 if it is none. */
static uint64_t parse_lsn(const char *text)
{
	uint64_t lsn = 0;
	lsn_parse(bytes_of(text), &lsn);
	return lsn;
}

static const struct query identify_query = {"cannot identify the server", "IDENTIFY_SYSTEM"};

/* The part of an identity that the server says. */
static struct ring_identity server_identity(const PGresult *row)
{
	return (struct ring_identity){
		.system_identifier = strtoull(PQgetvalue(row, 0, 0), NULL, 10),
		.timeline = (uint32_t)strtoul(PQgetvalue(row, 0, 1), NULL, 10),
	};
}

/* A connection that is older than the other one may have stayed with a server that its address no longer leads
 * to. */
static bool catalog_is_of(const struct ring_identity *identity, struct catalog *catalog,
						  struct failure *failure)
{
	PGresult *row = catalog_query(catalog, &identify_query, NULL, failure);
	if (row == NULL)
		return false;
	struct ring_identity other = server_identity(row);
	PQclear(row);
	if (other.system_identifier == identity->system_identifier && other.timeline == identity->timeline)
		return true;
	catalog_close(catalog);
	return failure_set(failure, "the two connections lead to different servers; both are made again");
}

bool upstream_identify(struct upstream *upstream, struct connection *replication, struct catalog *catalog,
					   struct failure *failure)
{
	struct ring_identity *identity = &upstream->identity;
	PGresult *row = connection_query(replication, &identify_query, NULL, failure);
	if (row == NULL)
		return false;
	*identity = server_identity(row);
	upstream->flushed_lsn = parse_lsn(PQgetvalue(row, 0, 2));
	snprintf(identity->database, sizeof(identity->database), "%s", PQgetvalue(row, 0, 3));
	snprintf(identity->slot, sizeof(identity->slot), "%s", upstream->slot);
	snprintf(identity->publication, sizeof(identity->publication), "%s", upstream->publication);
	PQclear(row);
	return catalog_is_of(identity, catalog, failure);
}

/* ---- the slot */

/* Sends the command "before slot after", the name of the slot quoted. */
static bool send_slot_command(const struct upstream *upstream, struct connection *replication,
							  const char *what, const char *before, const char *after,
							  struct failure *failure)
{
	struct buffer command = {0};
	char *name = PQescapeIdentifier(replication->pg, upstream->slot, strlen(upstream->slot));

	buffer_printf(&command, "%s %s %s", before, name == NULL ? "" : name, after);
	const char *text = name == NULL ? NULL : buffer_string(&command);
	bool sent = text == NULL ? failure_of_connection(failure, what, replication->pg)
							 : connection_send(replication, &(struct query){what, text}, NULL, failure);
	PQfreemem(name);
	buffer_free(&command);
	return sent;
}

static PGresult *slot_command(const struct upstream *upstream, struct connection *replication,
							  const char *what, const char *before, const char *after,
							  struct failure *failure)
{
	if (!send_slot_command(upstream, replication, what, before, after, failure))
		return NULL;
	return connection_answer(replication, what, failure);
}

static bool drop_slot(struct upstream *upstream, struct connection *replication, struct failure *failure)
{
	PGresult *result = slot_command(upstream, replication, "cannot drop the replication slot",
									"DROP_REPLICATION_SLOT", "", failure);
	if (result == NULL)
		return false;
	PQclear(result);
	return true;
}

/* The server goes on making a slot after its client has gone, unless it is told. */
static void cancel_command(PGconn *connection)
{
	char message[256];
	PGcancel *cancel = PQgetCancel(connection);
	if (cancel != NULL)
		PQcancel(cancel, message, sizeof(message));
	PQfreeCancel(cancel);
}

/*
 * Asks over the catalog's connection, which goes the same way, whether the server is at it. False: it does
 * not answer.
 */
static bool look_at_creation(const struct upstream *upstream, struct catalog *catalog, bool *ret_goes_on,
							 struct failure *failure)
{
	static const struct query query = {
		"cannot look at the new slot",
		"SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL",
	};
	const char *parameters[] = {upstream->slot, NULL};
	PGresult *rows = catalog_query(catalog, &query, parameters, failure);

	/* an error of the server is an answer, too */
	if (rows == NULL && failure->sqlstate[0] == 0)
		return false;
	*ret_goes_on = rows == NULL || PQntuples(rows) > 0;
	PQclear(rows);
	return true;
}

/*
 * The server waits for all transactions that are writing, as long as they take, and says nothing meanwhile. A
 * connection that hangs looks the same: so the server is asked.
 */
static bool wait_for_slot(const struct upstream *upstream, struct connection *replication,
						  struct catalog *catalog, struct failure *failure)
{
	int64_t interval_us = connection_patience_us(replication) / 2;
	bool went_on = true, goes_on;

	while (!connection_wait(replication, interval_us, failure)) {
		if (stop_asked(replication->stop_fd) || !look_at_creation(upstream, catalog, &goes_on, failure))
			return false;
		/* if it has just ended, the answer is on its way */
		if (!goes_on && !went_on)
			return failure_set(failure, "the server has ended the creation of the replication slot, and its "
										"answer does not arrive");
		went_on = goes_on;
	}
	return true;
}

static bool create_slot(struct upstream *upstream, struct connection *replication, struct catalog *catalog,
						struct failure *failure)
{
	static const char what[] = "cannot create the replication slot";
	PGresult *row = NULL;

	if (!send_slot_command(upstream, replication, what, "CREATE_REPLICATION_SLOT",
						   "LOGICAL pgoutput NOEXPORT_SNAPSHOT", failure))
		return false;
	if (wait_for_slot(upstream, replication, catalog, failure))
		row = connection_answer(replication, what, failure);
	if (row == NULL) {
		if (stop_asked(replication->stop_fd))
			cancel_command(replication->pg);
		return false;
	}
	upstream->slot_is_new = true;
	upstream->confirmed_lsn = parse_lsn(PQgetvalue(row, 0, 1));
	PQclear(row);
	log_line(LOG_LEVEL_INFO, "created replication slot \"%s\", which starts at " LSN_FORMAT, upstream->slot,
			 LSN_PARTS(upstream->confirmed_lsn));
	return true;
}

bool upstream_ensure_slot(struct upstream *upstream, struct connection *replication, struct catalog *catalog,
						  struct failure *failure)
{
	if (upstream->slot_exists && upstream->slot_unusable != NULL) {
		log_line(LOG_LEVEL_WARNING, "replication slot \"%s\" is dropped and made anew: %s", upstream->slot,
				 upstream->slot_unusable);
		if (!drop_slot(upstream, replication, failure))
			return false;
		upstream->slot_exists = false;
	}
	return upstream->slot_exists || create_slot(upstream, replication, catalog, failure);
}

/* ---- the history */

static bool misfit_of_identity(const struct ring_identity *ring, const struct ring_identity *upstream,
							   struct failure *ret_reason)
{
	if (ring->system_identifier != upstream->system_identifier)
		failure_set(ret_reason, "it is of the cluster %" PRIu64 ", and the server is %" PRIu64,
					ring->system_identifier, upstream->system_identifier);
	else if (ring->timeline != upstream->timeline)
		failure_set(ret_reason, "it is of timeline %u, and the server is on %u", ring->timeline,
					upstream->timeline);
	else if (strcmp(ring->database, upstream->database) != 0)
		failure_set(ret_reason, "it is of database \"%s\", not \"%s\"", ring->database, upstream->database);
	else if (strcmp(ring->slot, upstream->slot) != 0)
		failure_set(ret_reason,
					"it is of slot \"%s\", not \"%s\"; the old one holds WAL back until it is dropped",
					ring->slot, upstream->slot);
	else if (strcmp(ring->publication, upstream->publication) != 0)
		failure_set(ret_reason, "it is of publication \"%s\", not \"%s\"", ring->publication,
					upstream->publication);
	else
		return false;
	return true;
}

bool upstream_misfit(const struct upstream *upstream, const struct ring_writer *writer,
					 struct failure *ret_reason)
{
	struct ring_identity ring = ring_writer_identity(writer);
	uint64_t streamed = ring_writer_streamed_lsn(writer);
	uint64_t last = ring_writer_last(writer).lsn, end = last > streamed ? last : streamed;

	if (ring.system_identifier == 0)
		failure_set(ret_reason, "the ring is new");
	else if (misfit_of_identity(&ring, &upstream->identity, ret_reason))
		return true;
	else if (upstream->slot_is_new)
		failure_set(ret_reason, "it ends at " LSN_FORMAT ", and the slot is new and starts at " LSN_FORMAT,
					LSN_PARTS(streamed), LSN_PARTS(upstream->confirmed_lsn));
	else if (upstream->confirmed_lsn > streamed)
		failure_set(ret_reason,
					"it ends at " LSN_FORMAT ", and the slot goes on at " LSN_FORMAT
					": somebody else read or advanced it",
					LSN_PARTS(streamed), LSN_PARTS(upstream->confirmed_lsn));
	else if (upstream->flushed_lsn < end && !upstream->is_standby)
		failure_set(ret_reason,
					"it ends at " LSN_FORMAT ", beyond the server's WAL, which ends at " LSN_FORMAT,
					LSN_PARTS(end), LSN_PARTS(upstream->flushed_lsn));
	else
		return false;
	return true;
}

/* ---- the stream */

/* The publication's name as an identifier in a list, inside a string literal. */
static bool append_publication(struct connection *replication, const char *publication, struct buffer *out)
{
	struct buffer converted = {0};
	const char *text = encoding_from_utf8(encoding_of(replication->pg), publication, &converted);
	char *name = PQescapeIdentifier(replication->pg, text, strlen(text));

	buffer_free(&converted);
	if (name == NULL)
		return false;
	for (const char *c = name; *c != 0; c++) {
		if (*c == '\'')
			buffer_append_char(out, '\'');
		buffer_append_char(out, *c);
	}
	PQfreemem(name);
	return true;
}

static bool start_stream(const struct upstream *upstream, struct connection *replication, uint64_t from_lsn,
						 struct failure *failure)
{
	static const char what[] = "cannot start the stream";
	struct buffer options = {0};
	PGresult *result = NULL;

	/* protocol 1 without streaming and two_phase: a transaction comes as a whole, after its commit */
	buffer_printf(&options, "LOGICAL " LSN_FORMAT " (proto_version '1', messages 'true', publication_names '",
				  LSN_PARTS(from_lsn));
	bool quoted = append_publication(replication, upstream->publication, &options);
	buffer_append_string(&options, "')");
	const char *text = quoted ? buffer_string(&options) : NULL;
	if (text == NULL)
		failure_of_connection(failure, what, replication->pg);
	else
		result = slot_command(upstream, replication, what, "START_REPLICATION SLOT", text, failure);
	buffer_free(&options);
	if (result == NULL)
		return false;
	bool streaming = PQresultStatus(result) == PGRES_COPY_BOTH;
	PQclear(result);
	return streaming || failure_set(failure, "%s: the server did not begin to copy", what);
}

/*
 * The slot is ours from now on. Before, after it was inspected, somebody else can have moved it: then the
 * stream begins behind changes that the ring does not have.
 */
static bool check_start(const struct upstream *upstream, struct catalog *catalog, uint64_t from_lsn,
						struct failure *failure)
{
	static const struct query query = {
		"cannot look at the slot",
		"SELECT FROM pg_catalog.pg_replication_slots"
		" WHERE slot_name = $1 AND confirmed_flush_lsn <= $2::pg_catalog.pg_lsn",
	};
	char lsn[32];
	const char *parameters[] = {upstream->slot, lsn, NULL};

	snprintf(lsn, sizeof(lsn), LSN_FORMAT, LSN_PARTS(from_lsn));
	PGresult *rows = catalog_query(catalog, &query, parameters, failure);
	if (rows == NULL)
		return false;
	bool joins = PQntuples(rows) == 1;
	PQclear(rows);
	return joins || failure_set(failure, "somebody else has read or advanced the slot meanwhile");
}

bool upstream_start(const struct upstream *upstream, struct connection *replication, struct catalog *catalog,
					uint64_t from_lsn, struct failure *failure)
{
	return start_stream(upstream, replication, from_lsn, failure) &&
		   check_start(upstream, catalog, from_lsn, failure);
}
