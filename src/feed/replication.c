/* replication.c: see replication.h. */
#include "feed/replication.h"

#include <poll.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/upstream/pgoutput.h"
#include "core/upstream/walsender.h"
#include "feed/encoding.h"
#include "feed/transactions.h"

/* How much one replication_step() takes before others have their turn: some milliseconds of work. */
enum { STEP_MESSAGES = 256, STEP_BYTES = 64 * 1024 };

struct replication {
	struct connection connection;
	struct ring_live *live;
	struct transactions transactions;
	uint64_t received_bytes;
	uint64_t received_lsn;
	uint64_t confirmed_lsn;
	int64_t patience_us;
	bool reply_asked;
	bool unsent;   /* libpq holds bytes that the socket did not take */
	char *blocked; /* the message that the ring had no room for, libpq's memory, or NULL */
	size_t blocked_size;
	struct pgoutput_scratch scratch;
	struct encoding *encoding; /* of what the server sends */
	struct buffer converted;
};

struct replication *replication_open(struct connection connection, struct ring_writer *writer,
									 struct ring_live *live, struct catalog *catalog, uint64_t from_lsn,
									 uint64_t confirmed_lsn)
{
	struct replication *replication = calloc(1, sizeof(*replication));
	if (replication == NULL || !transactions_init(&replication->transactions, writer, catalog, from_lsn) ||
		PQsetnonblocking(connection.pg, 1) != 0) {
		if (replication != NULL)
			transactions_free(&replication->transactions);
		free(replication);
		return NULL;
	}
	replication->connection = connection;
	replication->patience_us = connection_patience_us(&connection);
	replication->live = live;
	replication->encoding = encoding_of(connection.pg);
	replication->received_lsn = from_lsn;
	replication->confirmed_lsn = confirmed_lsn;
	live_figure_set(&live->confirmed_lsn, confirmed_lsn);
	return replication;
}

void replication_close(struct replication *replication)
{
	if (replication == NULL)
		return;
	PQfreemem(replication->blocked);
	connection_close(&replication->connection);
	transactions_free(&replication->transactions);
	buffer_free(&replication->converted);
	free(replication);
}

int replication_socket(const struct replication *replication)
{
	return PQsocket(replication->connection.pg);
}

int64_t replication_patience_us(const struct replication *replication)
{
	return replication->patience_us;
}

bool replication_wants_to_write(const struct replication *replication)
{
	return replication->unsent;
}

struct replication_received replication_received(const struct replication *replication)
{
	return (struct replication_received){replication->transactions.ended, replication->received_bytes};
}

bool replication_reply_asked(const struct replication *replication)
{
	return replication->reply_asked;
}

/* ---- what the walsender says */

static enum outcome fail(struct failure *failure, const char *text)
{
	failure_of_protocol(failure, text);
	return OUTCOME_FAILED;
}

static void note_received(struct replication *replication, uint64_t lsn)
{
	if (lsn > replication->received_lsn)
		replication->received_lsn = lsn;
}

static enum outcome process_data(struct replication *replication, const struct walsender_message *data,
								 struct failure *failure)
{
	struct pgoutput_message message;
	const char *error = pgoutput_decode(data->payload, &replication->scratch, &message);

	if (error != NULL)
		return fail(failure, error);
	if (!encoding_convert_message(replication->encoding, data->payload, &message, &replication->converted)) {
		failure_set(failure, "out of memory");
		return OUTCOME_FAILED;
	}
	enum outcome outcome = transactions_take(&replication->transactions, &message, data->sent_us, failure);
	if (outcome != OUTCOME_BLOCKED)
		note_received(replication, data->lsn);
	return outcome;
}

static enum outcome process_copy(struct replication *replication, struct bytes copy, struct failure *failure)
{
	struct walsender_message message;
	const char *error = walsender_decode(copy, &message);

	if (error != NULL)
		return fail(failure, error);
	if (message.type == WALSENDER_DATA)
		return process_data(replication, &message, failure);
	note_received(replication, message.lsn);
	transactions_progress(&replication->transactions, message.lsn);
	replication->reply_asked = replication->reply_asked || message.reply_asked;
	return OUTCOME_DONE;
}

/* The stream has ended: why? */
static void explain_end(struct replication *replication, struct failure *failure)
{
	PGresult *result = PQgetResult(replication->connection.pg);
	if (result != NULL && PQresultStatus(result) == PGRES_FATAL_ERROR)
		failure_of_result(failure, "the stream broke", result);
	else
		failure_set(failure, "the server ended the stream");
	PQclear(result);
}

/* The next message, the one that was blocked first. Its size, 0 if there is none now, -1 if there will be
 * none. */
static int next_copy(struct replication *replication, char **ret_copy, struct failure *failure)
{
	if (replication->blocked != NULL) {
		*ret_copy = replication->blocked;
		replication->blocked = NULL;
		return (int)replication->blocked_size;
	}
	int size = PQgetCopyData(replication->connection.pg, ret_copy, 1);
	if (size == -1) {
		explain_end(replication, failure);
	} else if (size == -2) {
		failure_of_connection(failure, "the stream broke", replication->connection.pg);
		return -1;
	}
	return size;
}

/* Processes what libpq has read already, up to the limits of a step. */
static enum replication_step take_messages(struct replication *replication, unsigned *messages, size_t *bytes,
										   struct failure *failure)
{
	while (*messages < STEP_MESSAGES && *bytes < STEP_BYTES) {
		char *copy;
		int size = next_copy(replication, &copy, failure);
		if (size <= 0)
			return size == 0 ? REPLICATION_DRAINED : REPLICATION_FAILED;
		enum outcome outcome = process_copy(replication, (struct bytes){copy, (size_t)size}, failure);
		if (outcome == OUTCOME_BLOCKED) {
			replication->blocked = copy;
			replication->blocked_size = (size_t)size;
			return REPLICATION_BLOCKED;
		}
		PQfreemem(copy);
		if (outcome == OUTCOME_FAILED)
			return REPLICATION_FAILED;
		(*messages)++;
		*bytes += (size_t)size;
	}
	return REPLICATION_MORE;
}

/* Reads what the socket has; what it did not take before it may take now. */
static bool read_socket(struct replication *replication, struct failure *failure)
{
	int unsent = replication->unsent ? PQflush(replication->connection.pg) : 0;
	if (unsent < 0 || !PQconsumeInput(replication->connection.pg))
		return failure_of_connection(failure, "the stream broke", replication->connection.pg);
	replication->unsent = unsent > 0;
	return true;
}

enum replication_step replication_step(struct replication *replication, struct failure *failure)
{
	unsigned messages = 0;
	size_t bytes = 0;
	enum replication_step step;

	do {
		if (replication->blocked == NULL && !read_socket(replication, failure))
			return REPLICATION_FAILED;
		step = take_messages(replication, &messages, &bytes, failure);
	} while (step == REPLICATION_DRAINED && connection_holds_back(&replication->connection));
	replication->received_bytes += bytes;
	live_figure_add(&replication->live->received_bytes_total, bytes);
	return step;
}

/* ---- feedback */

static bool send_status(struct replication *replication, uint64_t flushed_lsn, bool ask,
						struct failure *failure)
{
	char status[WALSENDER_STATUS_SIZE];

	walsender_status(status, replication->received_lsn, flushed_lsn, clock_realtime_us(), ask);
	/* 0: libpq has no memory to queue it */
	if (PQputCopyData(replication->connection.pg, status, sizeof(status)) <= 0)
		return failure_of_connection(failure, "the stream broke", replication->connection.pg);
	return true;
}

bool replication_feedback(struct replication *replication, uint64_t durable_lsn, bool ask,
						  struct failure *failure)
{
	/*
	 * A consumer that has flushed less than it received counts as a synchronous standby under
	 * synchronous_standby_names = '*', and holds up commits and a fast shutdown of the server. One that never
	 * says what it flushed does neither. So the slot is confirmed by one message and the walsender forgets it
	 * by the next.
	 */
	if (durable_lsn > replication->confirmed_lsn && durable_lsn <= replication->received_lsn) {
		if (!send_status(replication, durable_lsn, false, failure))
			return false;
		replication->confirmed_lsn = durable_lsn;
		live_figure_set(&replication->live->confirmed_lsn, durable_lsn);
	}
	if (!send_status(replication, 0, ask, failure))
		return false;
	replication->reply_asked = false;
	int unsent = PQflush(replication->connection.pg);
	if (unsent < 0)
		return failure_of_connection(failure, "the stream broke", replication->connection.pg);
	replication->unsent = unsent > 0;
	return true;
}

void replication_end(struct replication *replication, int64_t timeout_us)
{
	int64_t deadline_us = clock_monotonic_us() + timeout_us;
	struct pollfd fd = {.fd = PQsocket(replication->connection.pg), .events = POLLIN};
	char *copy;
	int size;

	if (PQputCopyEnd(replication->connection.pg, NULL) <= 0 || PQflush(replication->connection.pg) != 0)
		return;
	/* in the middle of a transaction it may go on sending before it looks at what we said */
	while (clock_monotonic_us() < deadline_us &&
		   (size = PQgetCopyData(replication->connection.pg, &copy, 1)) >= 0) {
		if (size > 0)
			PQfreemem(copy);
		else if ((!connection_holds_back(&replication->connection) &&
				  poll(&fd, 1, clock_poll_timeout(clock_monotonic_us(), deadline_us)) <= 0) ||
				 !PQconsumeInput(replication->connection.pg))
			return;
	}
}
