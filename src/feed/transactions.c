/* transactions.c: see transactions.h. */
#include "feed/transactions.h"

#include "feed/describe.h"

bool transactions_init(struct transactions *transactions, struct ring_writer *writer, struct catalog *catalog,
					   uint64_t from_lsn)
{
	*transactions =
		(struct transactions){.writer = writer, .catalog = catalog, .relations = relation_cache_new()};
	published_begin(&catalog->published, transactions->relations, from_lsn);
	return transactions->relations != NULL;
}

void transactions_free(struct transactions *transactions)
{
	published_begin(&transactions->catalog->published, NULL, 0);
	relation_cache_free(transactions->relations);
	row_scratch_free(&transactions->row);
	buffer_free(&transactions->body);
}

static enum outcome fail(struct failure *failure, const char *text)
{
	failure_of_protocol(failure, text);
	return OUTCOME_FAILED;
}

void transactions_progress(struct transactions *transactions, uint64_t lsn)
{
	/* a transaction that the ring has without its end is being repeated, or about to be */
	if (!transactions->current.open && ring_writer_inside(transactions->writer) == 0 &&
		lsn > ring_writer_streamed_lsn(transactions->writer))
		ring_writer_progress(transactions->writer, lsn);
}

static enum outcome begin_transaction(struct transactions *transactions,
									  const struct pgoutput_message *message, struct failure *failure)
{
	if (transactions->current.open)
		return fail(failure, "a transaction inside a transaction");
	relation_cache_sweep(transactions->relations);
	transactions->current = (struct transaction){
		.open = true,
		.commit_lsn = message->begin.commit_lsn,
		.commit_us = message->begin.commit_us,
		.xid = message->begin.xid,
	};
	return OUTCOME_DONE;
}

static enum outcome commit_transaction(struct transactions *transactions,
									   const struct pgoutput_message *message, struct failure *failure)
{
	struct transaction *transaction = &transactions->current;

	if (!transaction->open || message->commit.commit_lsn != transaction->commit_lsn)
		return fail(failure, "the end of a transaction that did not begin");
	if (ring_writer_inside(transactions->writer) == transaction->commit_lsn &&
		ring_writer_commit(transactions->writer, transaction->commit_lsn, message->commit.end_lsn,
						   transaction->commit_us, transaction->xid) == RING_WRITE_BLOCKED)
		return OUTCOME_BLOCKED;
	transaction->open = false;
	transactions->ended++;
	transactions_progress(transactions, message->commit.end_lsn);
	return OUTCOME_DONE;
}

/* Only its first change makes a relation a collection: of a partition that is published as its root, there is
 * none. */
static enum outcome remember_relation(struct transactions *transactions,
									  const struct pgoutput_message *message, struct failure *failure)
{
	if (relation_cache_put(transactions->relations, message) != NULL)
		return OUTCOME_DONE;
	failure_set(failure, "out of memory");
	return OUTCOME_FAILED;
}

static bool describe(struct transactions *transactions, struct relation *relation, struct failure *failure)
{
	struct transaction *transaction = &transactions->current;
	if (!transaction->awaited &&
		!visibility_await(transactions->catalog, transaction->xid, &transaction->visible, failure))
		return false;
	transaction->awaited = true;
	return describe_relation(relation, transactions->catalog, transaction->visible ? 0 : transaction->xid,
							 transaction->commit_us, failure);
}

/* Asks for all that is to be known of a relation, again if it was asked before. NULL on failure. */
static struct relation *describe_anew(struct transactions *transactions, struct relation *relation,
									  struct failure *failure)
{
	if (relation->ready)
		relation_reopen(relation);
	if (!describe(transactions, relation, failure))
		return NULL;
	relation->collection =
		published_mark(&transactions->catalog->published, relation->schema, relation->name);
	relation->ready = true;
	return relation;
}

/* The relation of a change, with all that is to be known of it. NULL on failure. */
static struct relation *relation_of(struct transactions *transactions, uint32_t oid, struct failure *failure)
{
	struct relation *relation = relation_cache_get(transactions->relations, oid);
	if (relation == NULL || !transactions->current.open) {
		fail(failure, "a change of a table that was not described");
		return NULL;
	}
	const struct transaction *transaction = &transactions->current;
	if (relation->ready && !relation_is_stale(relation, transaction->xid, transaction->commit_us))
		return relation;
	return describe_anew(transactions, relation, failure);
}

/* Whether the ring has what comes with this id: it is a repetition, to be dropped. */
static bool ring_has(const struct transactions *transactions, struct cursor id)
{
	return cursor_compare(id, ring_writer_last(transactions->writer)) <= 0;
}

static enum outcome outcome_of(enum ring_write written)
{
	return written == RING_WRITE_BLOCKED ? OUTCOME_BLOCKED : OUTCOME_DONE;
}

/* Appends a change with the body that was packed. */
static enum outcome append(struct transactions *transactions, const struct change *change,
						   struct failure *failure)
{
	if (transactions->body.failed) {
		failure_set(failure, "out of memory");
		return OUTCOME_FAILED;
	}
	return outcome_of(ring_writer_change(transactions->writer, change, buffer_bytes(&transactions->body)));
}

/* The next change of the transaction. `row`: the tuples to pack; unused for a TRUNCATE. */
static enum outcome append_change(struct transactions *transactions, const struct relation *relation,
								  enum operation operation, const struct pgoutput_message *row,
								  struct failure *failure)
{
	struct change change = {
		.id = {transactions->current.commit_lsn, ++transactions->current.n, 0},
		.commit_us = transactions->current.commit_us,
		.xid = transactions->current.xid,
		.collection = relation->collection,
		.operation = operation,
	};
	transactions->current.m = 0;
	if (ring_has(transactions, change.id))
		return OUTCOME_DONE;
	if (relation->collection == COLLECTION_NONE) {
		failure_set(failure, "the ring has no room for the names of more tables: make it larger");
		return OUTCOME_FAILED;
	}
	if (operation == OPERATION_TRUNCATE)
		row_pack_none(&transactions->body);
	else if (!row_pack(relation, &row->row.old_row, &row->row.new_row, &transactions->row,
					   &transactions->body))
		return fail(failure, "a row with another number of columns than its table");
	if (!transactions->body.failed && transactions->body.size > ring_writer_body_max(transactions->writer)) {
		change.flags = CHANGE_OVERSIZE;
		buffer_free(&transactions->body); /* its memory is not needed again soon */
		row_pack_key(relation, &row->row.old_row, &row->row.new_row, &transactions->row, &transactions->body);
	}
	return append(transactions, &change, failure);
}

/*
 * Whether the row says more than the Relation message did: of a partitioned table that was given FULL alone the
 * server does not describe it again.
 */
static bool row_is_of_full(const struct relation *relation, const struct pgoutput_message *message)
{
	return relation->replica_identity != 'f' && message->row.old_row.present &&
		   !message->row.old_row.key_only;
}

static enum outcome append_row(struct transactions *transactions, enum operation operation,
							   const struct pgoutput_message *message, struct failure *failure)
{
	struct relation *relation = relation_of(transactions, message->row.oid, failure);
	if (relation != NULL && row_is_of_full(relation, message)) {
		relation->replica_identity = 'f';
		relation = describe_anew(transactions, relation, failure);
	}
	if (relation == NULL)
		return OUTCOME_FAILED;
	return append_change(transactions, relation, operation, message, failure);
}

static enum outcome append_truncate(struct transactions *transactions, const struct pgoutput_message *message,
									struct failure *failure)
{
	for (unsigned i = 0; i < message->truncate.relation_count; i++) {
		const struct relation *relation = relation_of(transactions, pgoutput_truncated(message, i), failure);
		if (relation == NULL)
			return OUTCOME_FAILED;
		enum outcome outcome = append_change(transactions, relation, OPERATION_TRUNCATE, message, failure);
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
static enum outcome append_message(struct transactions *transactions, const struct pgoutput_message *message,
								   int64_t sent_us, struct failure *failure)
{
	struct transaction *transaction = &transactions->current;
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
	if (!ring_has(transactions, change.id)) {
		buffer_clear(&transactions->body);
		if (prefix.size + content.size > ring_writer_body_max(transactions->writer))
			change.flags = CHANGE_OVERSIZE;
		else
			row_pack_message(prefix, content, &transactions->body);
		enum outcome outcome = append(transactions, &change, failure);
		if (outcome != OUTCOME_DONE)
			return outcome;
	}
	if (transactional || ring_writer_inside(transactions->writer) != change.id.lsn)
		return OUTCOME_DONE;
	return outcome_of(
		ring_writer_commit(transactions->writer, change.id.lsn, message->message.lsn, change.commit_us, 0));
}

static enum outcome dispatch(struct transactions *transactions, const struct pgoutput_message *message,
							 int64_t sent_us, struct failure *failure)
{
	switch (message->type) {
	case PGOUTPUT_BEGIN:
		return begin_transaction(transactions, message, failure);
	case PGOUTPUT_COMMIT:
		return commit_transaction(transactions, message, failure);
	case PGOUTPUT_RELATION:
		return remember_relation(transactions, message, failure);
	case PGOUTPUT_INSERT:
		return append_row(transactions, OPERATION_INSERT, message, failure);
	case PGOUTPUT_UPDATE:
		return append_row(transactions, OPERATION_UPDATE, message, failure);
	case PGOUTPUT_DELETE:
		return append_row(transactions, OPERATION_DELETE, message, failure);
	case PGOUTPUT_TRUNCATE:
		return append_truncate(transactions, message, failure);
	case PGOUTPUT_MESSAGE:
		return append_message(transactions, message, sent_us, failure);
	case PGOUTPUT_ORIGIN:
	case PGOUTPUT_TYPE: /* precedes the Relation message that uses it, which asks the catalog again */
		return OUTCOME_DONE;
	}
	return fail(failure, "a message of an unknown type");
}

enum outcome transactions_take(struct transactions *transactions, const struct pgoutput_message *message,
							   int64_t sent_us, struct failure *failure)
{
	struct transaction before = transactions->current;
	enum outcome outcome = dispatch(transactions, message, sent_us, failure);

	if (outcome == OUTCOME_BLOCKED)
		transactions->current = before; /* what went into the ring already is a repetition then */
	return outcome;
}
