/* replication.c: see replication.h. */
#include "feed/replication.h"

#include <endian.h>
#include <poll.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/upstream/pgoutput.h"
#include "feed/encoding.h"
#include "feed/relation.h"
#include "feed/row.h"
#include "feed/describe.h"

/* How much one replication_step() takes before others have their turn: some milliseconds of work. */
enum { STEP_MESSAGES = 256, STEP_BYTES = 64 * 1024 };

/* XLogData: 'w', start of WAL data, end of WAL, time; keepalive: 'k', end of WAL, time, reply asked. */
enum { XLOGDATA_HEADER = 1 + 8 + 8 + 8, KEEPALIVE_SIZE = 1 + 8 + 8 + 1, STATUS_SIZE = 1 + 8 + 8 + 8 + 8 + 1 };

/* Microseconds from 1970 to 2000, where PostgreSQL's time begins. */
#define POSTGRES_EPOCH_US INT64_C(946684800000000)

struct transaction {
	bool open;
	uint64_t commit_lsn;
	int64_t commit_us;
	uint32_t xid;
	uint64_t n;   /* changes so far */
	uint64_t m;   /* messages since then */
	bool awaited; /* it is known whether others see it; asked once for all of its tables */
	bool visible; /* they do */
};

struct replication {
	struct connection connection;
	struct ring_writer *writer;
	struct ring_live *live;
	struct catalog *catalog;
	struct relation_cache *relations;
	struct transaction transaction;
	struct replication_received received;
	uint64_t received_lsn;
	uint64_t confirmed_lsn;
	int64_t patience_us;
	bool reply_asked;
	bool unsent;   /* libpq holds bytes that the socket did not take */
	char *blocked; /* the message that the ring had no room for, libpq's memory, or NULL */
	size_t blocked_size;
	struct buffer body;
	struct row_scratch row;
	struct pgoutput_scratch scratch;
	struct encoding *encoding; /* of what the server sends */
	struct buffer converted;
};

struct replication *replication_open(struct connection connection, struct ring_writer *writer,
									 struct ring_live *live, struct catalog *catalog, uint64_t from_lsn,
									 uint64_t confirmed_lsn)
{
	struct replication *replication = calloc(1, sizeof(*replication));
	struct relation_cache *relations = relation_cache_new();
	if (replication == NULL || relations == NULL || PQsetnonblocking(connection.pg, 1) != 0) {
		relation_cache_free(relations);
		free(replication);
		return NULL;
	}
	replication->connection = connection;
	replication->patience_us = connection_patience_us(&connection);
	replication->writer = writer;
	replication->live = live;
	replication->catalog = catalog;
	replication->relations = relations;
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
	relation_cache_free(replication->relations);
	row_scratch_free(&replication->row);
	buffer_free(&replication->body);
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
	return replication->received;
}

bool replication_reply_asked(const struct replication *replication)
{
	return replication->reply_asked;
}

/*
 * ---- what pgoutput says
 */

/* What became of one message. */
enum outcome { OUTCOME_DONE, OUTCOME_BLOCKED, OUTCOME_FAILED };

static enum outcome fail(struct failure *failure, const char *text)
{
	failure_set(failure, "the server sent what is not understood: %s", text);
	return OUTCOME_FAILED;
}

/* A transaction of which the ring has changes, but not the end; it is being repeated, or about to be. */
static bool ring_is_inside_transaction(const struct replication *replication)
{
	struct cursor last = ring_writer_last(replication->writer);
	return last.lsn != 0 && last.n != UINT64_MAX;
}

static void make_progress(struct replication *replication, uint64_t lsn)
{
	if (!replication->transaction.open && !ring_is_inside_transaction(replication) &&
		lsn > ring_writer_streamed_lsn(replication->writer))
		ring_writer_progress(replication->writer, lsn);
}

static enum outcome begin_transaction(struct replication *replication, const struct pgoutput_message *message,
									  struct failure *failure)
{
	if (replication->transaction.open)
		return fail(failure, "a transaction inside a transaction");
	relation_cache_sweep(replication->relations);
	replication->transaction = (struct transaction){
		.open = true,
		.commit_lsn = message->begin.commit_lsn,
		.commit_us = message->begin.commit_us,
		.xid = message->begin.xid,
	};
	return OUTCOME_DONE;
}

static enum outcome commit_transaction(struct replication *replication,
									   const struct pgoutput_message *message, struct failure *failure)
{
	struct transaction *transaction = &replication->transaction;
	struct cursor last = ring_writer_last(replication->writer);

	if (!transaction->open || message->commit.commit_lsn != transaction->commit_lsn)
		return fail(failure, "the end of a transaction that did not begin");
	bool ring_lacks_end = last.lsn == transaction->commit_lsn && last.n != UINT64_MAX;
	if (ring_lacks_end &&
		ring_writer_commit(replication->writer, transaction->commit_lsn, message->commit.end_lsn,
						   transaction->commit_us, transaction->xid) == RING_WRITE_BLOCKED)
		return OUTCOME_BLOCKED;
	transaction->open = false;
	replication->received.transactions++;
	make_progress(replication, message->commit.end_lsn);
	return OUTCOME_DONE;
}

/* Only its first change makes a relation a collection: of a partition that is published as its root, there is
 * none. */
static enum outcome remember_relation(struct replication *replication, const struct pgoutput_message *message,
									  struct failure *failure)
{
	if (relation_cache_put(replication->relations, message) != NULL)
		return OUTCOME_DONE;
	failure_set(failure, "out of memory");
	return OUTCOME_FAILED;
}

static bool describe(struct replication *replication, struct relation *relation, struct failure *failure)
{
	struct transaction *transaction = &replication->transaction;
	if (!transaction->awaited &&
		!await_visibility(replication->catalog, transaction->xid, &transaction->visible, failure))
		return false;
	transaction->awaited = true;
	return describe_relation(relation, replication->catalog, transaction->visible ? 0 : transaction->xid,
							 transaction->commit_us, failure);
}

/* The relation of a change, with all that is to be known of it. NULL on failure. */
static struct relation *relation_of(struct replication *replication, uint32_t oid, struct failure *failure)
{
	struct relation *relation = relation_cache_get(replication->relations, oid);
	if (relation == NULL || !replication->transaction.open) {
		fail(failure, "a change of a table that was not described");
		return NULL;
	}
	const struct transaction *transaction = &replication->transaction;
	if (relation->ready && !relation_is_stale(relation, transaction->xid, transaction->commit_us))
		return relation;
	if (relation->ready)
		relation_reopen(relation);
	if (!describe(replication, relation, failure))
		return NULL;
	relation->collection = published_mark(&replication->catalog->published, relation->schema, relation->name);
	relation->ready = true;
	return relation;
}

/* Whether the ring has what comes with this id: it is a repetition, to be dropped. */
static bool ring_has(const struct replication *replication, struct cursor id)
{
	return cursor_compare(id, ring_writer_last(replication->writer)) <= 0;
}

/* The next change of the transaction. Its body is packed already, or `row` says what to pack. */
static enum outcome append_change(struct replication *replication, const struct relation *relation,
								  enum operation operation, const struct pgoutput_message *row,
								  struct failure *failure)
{
	struct change change = {
		.id = {replication->transaction.commit_lsn, ++replication->transaction.n, 0},
		.commit_us = replication->transaction.commit_us,
		.xid = replication->transaction.xid,
		.collection = relation->collection,
		.operation = operation,
	};
	replication->transaction.m = 0;
	if (ring_has(replication, change.id))
		return OUTCOME_DONE;
	if (relation->collection == COLLECTION_NONE) {
		failure_set(failure, "the ring has no room for the names of more tables: make it larger");
		return OUTCOME_FAILED;
	}
	if (operation == OPERATION_TRUNCATE)
		row_pack_none(&replication->body);
	else if (!row_pack(relation, &row->row.old_row, &row->row.new_row, &replication->row, &replication->body))
		return fail(failure, "a row with another number of columns than its table");
	if (!replication->body.failed && replication->body.size > ring_writer_body_max(replication->writer)) {
		change.flags = CHANGE_OVERSIZE;
		buffer_free(&replication->body); /* its memory is not needed again soon */
		row_pack_key(relation, &row->row.old_row, &row->row.new_row, &replication->row, &replication->body);
	}
	if (replication->body.failed) {
		failure_set(failure, "out of memory");
		return OUTCOME_FAILED;
	}
	if (ring_writer_change(replication->writer, &change, buffer_bytes(&replication->body)) ==
		RING_WRITE_BLOCKED)
		return OUTCOME_BLOCKED;
	return OUTCOME_DONE;
}

static enum outcome append_row(struct replication *replication, enum operation operation,
							   const struct pgoutput_message *message, struct failure *failure)
{
	const struct relation *relation = relation_of(replication, message->row.oid, failure);
	if (relation == NULL)
		return OUTCOME_FAILED;
	return append_change(replication, relation, operation, message, failure);
}

static enum outcome append_truncate(struct replication *replication, const struct pgoutput_message *message,
									struct failure *failure)
{
	for (unsigned i = 0; i < message->truncate.relation_count; i++) {
		const struct relation *relation = relation_of(replication, pgoutput_truncated(message, i), failure);
		if (relation == NULL)
			return OUTCOME_FAILED;
		enum outcome outcome = append_change(replication, relation, OPERATION_TRUNCATE, message, failure);
		if (outcome != OUTCOME_DONE)
			return outcome;
	}
	return OUTCOME_DONE;
}

/*
 * A message of pg_logical_emit_message(). One that belongs to no transaction comes between transactions, and
 * is stored as one that has nothing else: the ring is never left in the middle of it. Its LSN is told as
 * where its record ends, which is where a commit record may begin: its own place is the last byte before.
 */
static enum outcome append_message(struct replication *replication, const struct pgoutput_message *message,
								   int64_t sent_us, struct failure *failure)
{
	struct transaction *transaction = &replication->transaction;
	bool transactional = message->message.transactional;
	struct bytes prefix = message->message.prefix, content = message->message.content;
	struct change change = {
		.id = {message->message.lsn - 1, 0, 1}, .commit_us = sent_us, .operation = OPERATION_MESSAGE};

	if (transactional != transaction->open || message->message.lsn == 0)
		return fail(failure, "a message in the wrong place");
	if (transactional) {
		change.id = (struct cursor){transaction->commit_lsn, transaction->n, ++transaction->m};
		change.commit_us = transaction->commit_us;
		change.xid = transaction->xid;
	}
	if (!ring_has(replication, change.id)) {
		row_pack_message(prefix, content, &replication->body);
		if (replication->body.failed) {
			failure_set(failure, "out of memory");
			return OUTCOME_FAILED;
		}
		if (ring_writer_change(replication->writer, &change, buffer_bytes(&replication->body)) ==
			RING_WRITE_BLOCKED)
			return OUTCOME_BLOCKED;
	}
	struct cursor last = ring_writer_last(replication->writer);
	if (transactional || last.lsn != change.id.lsn || last.n == UINT64_MAX)
		return OUTCOME_DONE;
	return ring_writer_commit(replication->writer, change.id.lsn, message->message.lsn, change.commit_us,
							  0) == RING_WRITE_BLOCKED
			   ? OUTCOME_BLOCKED
			   : OUTCOME_DONE;
}

static enum outcome dispatch(struct replication *replication, const struct pgoutput_message *message,
							 int64_t sent_us, struct failure *failure)
{
	switch (message->type) {
	case PGOUTPUT_BEGIN:
		return begin_transaction(replication, message, failure);
	case PGOUTPUT_COMMIT:
		return commit_transaction(replication, message, failure);
	case PGOUTPUT_RELATION:
		return remember_relation(replication, message, failure);
	case PGOUTPUT_INSERT:
		return append_row(replication, OPERATION_INSERT, message, failure);
	case PGOUTPUT_UPDATE:
		return append_row(replication, OPERATION_UPDATE, message, failure);
	case PGOUTPUT_DELETE:
		return append_row(replication, OPERATION_DELETE, message, failure);
	case PGOUTPUT_TRUNCATE:
		return append_truncate(replication, message, failure);
	case PGOUTPUT_MESSAGE:
		return append_message(replication, message, sent_us, failure);
	case PGOUTPUT_ORIGIN:
	case PGOUTPUT_TYPE: /* precedes the Relation message that uses it, which asks the catalog anew */
		return OUTCOME_DONE;
	}
	return fail(failure, "a message of an unknown type");
}

/*
 * ---- what the walsender says
 */
static uint64_t read_u64(const char *at)
{
	uint64_t big_endian;
	memcpy(&big_endian, at, sizeof(big_endian));
	return be64toh(big_endian);
}

static void note_received(struct replication *replication, uint64_t lsn)
{
	if (lsn > replication->received_lsn)
		replication->received_lsn = lsn;
}

static enum outcome process_xlogdata(struct replication *replication, struct bytes copy,
									 struct failure *failure)
{
	struct bytes payload = {copy.data + XLOGDATA_HEADER, copy.size - XLOGDATA_HEADER};
	struct pgoutput_message message;
	struct transaction before = replication->transaction;
	int64_t sent_us = (int64_t)read_u64(copy.data + 17) + POSTGRES_EPOCH_US;

	const char *error = pgoutput_decode(payload, &replication->scratch, &message);
	if (error != NULL)
		return fail(failure, error);
	if (!encoding_convert_message(replication->encoding, payload, &message, &replication->converted)) {
		failure_set(failure, "out of memory");
		return OUTCOME_FAILED;
	}
	enum outcome outcome = dispatch(replication, &message, sent_us, failure);
	if (outcome == OUTCOME_BLOCKED)
		replication->transaction =
			before; /* it comes again, and what went into the ring is a repetition then */
	else
		note_received(replication, read_u64(copy.data + 1));
	return outcome;
}

static enum outcome process_copy(struct replication *replication, struct bytes copy, struct failure *failure)
{
	if (copy.size >= XLOGDATA_HEADER && copy.data[0] == 'w')
		return process_xlogdata(replication, copy, failure);
	if (copy.size >= KEEPALIVE_SIZE && copy.data[0] == 'k') {
		uint64_t end = read_u64(copy.data + 1);
		note_received(replication, end);
		make_progress(replication, end);
		replication->reply_asked = replication->reply_asked || copy.data[KEEPALIVE_SIZE - 1] != 0;
		return OUTCOME_DONE;
	}
	return fail(failure, "neither data nor a keepalive");
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
	if (size == -1)
		explain_end(replication, failure);
	else if (size == -2) {
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
	replication->received.bytes += bytes;
	live_figure_add(&replication->live->received_bytes_total, bytes);
	return step;
}

/*
 * ---- feedback
 */
static void put_u64(char *at, uint64_t number)
{
	uint64_t big_endian = htobe64(number);
	memcpy(at, &big_endian, sizeof(big_endian));
}

static bool send_status(struct replication *replication, uint64_t flushed_lsn, bool ask,
						struct failure *failure)
{
	char status[STATUS_SIZE] = {'r'};

	put_u64(status + 1, replication->received_lsn);
	put_u64(status + 9, flushed_lsn);
	put_u64(status + 17, flushed_lsn);
	put_u64(status + 25, (uint64_t)(clock_realtime_us() - POSTGRES_EPOCH_US));
	status[STATUS_SIZE - 1] = ask;
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
