/* pgoutput.c: see pgoutput.h. */
#include "core/upstream/pgoutput.h"

#include "core/upstream/wire.h"

static const char *decode_begin(struct wire *wire, struct pgoutput_message *message)
{
	message->begin.commit_lsn = wire_u64(wire);
	message->begin.commit_us = wire_time(wire);
	message->begin.xid = wire_u32(wire);
	return NULL;
}

static const char *decode_commit(struct wire *wire, struct pgoutput_message *message)
{
	wire_char(wire); /* flags, which the protocol does not use */
	message->commit.commit_lsn = wire_u64(wire);
	message->commit.end_lsn = wire_u64(wire);
	message->commit.commit_us = wire_time(wire);
	return NULL;
}

static const char *decode_relation(struct wire *wire, struct pgoutput_column *columns,
								   struct pgoutput_message *message)
{
	message->relation.oid = wire_u32(wire);
	const char *raw_name = (const char *)wire->at;
	message->relation.schema = wire_string(wire);
	if (message->relation.schema.size == 0)
		message->relation.schema = BYTES("pg_catalog");
	message->relation.name = wire_string(wire);
	message->relation.raw_name = (struct bytes){raw_name, (size_t)((const char *)wire->at - raw_name)};
	message->relation.replica_identity = wire_char(wire);
	unsigned count = (unsigned)wire_big_endian(wire, 2);
	if (count > PGOUTPUT_COLUMNS_MAX)
		return "relation with too many columns";

	for (unsigned i = 0; i < count && !wire->truncated; i++) {
		columns[i].is_identity = (wire_char(wire) & 1) != 0;
		columns[i].name = wire_string(wire);
		columns[i].type_oid = wire_u32(wire);
		wire_u32(wire); /* the type's modifier: the text of a value is enough */
	}
	message->relation.column_count = count;
	message->relation.columns = columns;
	return NULL;
}

static const char *decode_tuple(struct wire *wire, struct pgoutput_datum *columns,
								struct pgoutput_tuple *tuple)
{
	unsigned count = (unsigned)wire_big_endian(wire, 2);
	if (count > PGOUTPUT_COLUMNS_MAX)
		return "tuple with too many columns";

	for (unsigned i = 0; i < count; i++) {
		char kind = wire_char(wire);
		columns[i].text = BYTES("");
		if (wire->truncated)
			return "truncated tuple";
		else if (kind == PGOUTPUT_TEXT)
			columns[i].text = wire_bytes(wire, wire_u32(wire));
		else if (kind == 'b')
			return "binary value, where text was asked for";
		else if (kind != PGOUTPUT_NULL && kind != PGOUTPUT_UNCHANGED)
			return "unknown kind of value in a tuple";
		columns[i].kind = (enum pgoutput_datum_kind)kind;
	}
	tuple->present = true;
	tuple->column_count = count;
	tuple->columns = columns;
	return wire->truncated ? "truncated tuple" : NULL;
}

/* INSERT: N; UPDATE: [K or O] N; DELETE: K or O. */
static const char *decode_row(struct wire *wire, struct pgoutput_scratch *scratch,
							  struct pgoutput_message *message)
{
	message->row.oid = wire_u32(wire);
	message->row.old_row = message->row.new_row = (struct pgoutput_tuple){0};

	char part = wire_char(wire);
	if ((part == 'K' || part == 'O') && message->type != PGOUTPUT_INSERT) {
		const char *error = decode_tuple(wire, scratch->old_columns, &message->row.old_row);
		message->row.old_row.key_only = part == 'K';
		if (error != NULL || message->type == PGOUTPUT_DELETE)
			return error;
		part = wire_char(wire);
	}
	if (part == 'N' && message->type != PGOUTPUT_DELETE)
		return decode_tuple(wire, scratch->new_columns, &message->row.new_row);
	return "row message without the tuple that it has to have";
}

static const char *decode_truncate(struct wire *wire, struct pgoutput_message *message)
{
	message->truncate.relation_count = wire_u32(wire);
	wire_char(wire); /* CASCADE and RESTART IDENTITY: neither changes what is gone from these relations */
	message->truncate.oids = wire_bytes(wire, (size_t)message->truncate.relation_count * 4);
	return NULL;
}

static const char *decode_message(struct wire *wire, struct pgoutput_message *message)
{
	message->message.transactional = (wire_char(wire) & 1) != 0;
	message->message.lsn = wire_u64(wire);
	message->message.prefix = wire_string(wire);
	message->message.content = wire_bytes(wire, wire_u32(wire));
	return NULL;
}

static const char *decode_body(struct wire *wire, struct pgoutput_scratch *scratch,
							   struct pgoutput_message *message)
{
	switch (message->type) {
	case PGOUTPUT_BEGIN:
		return decode_begin(wire, message);
	case PGOUTPUT_COMMIT:
		return decode_commit(wire, message);
	case PGOUTPUT_RELATION:
		return decode_relation(wire, scratch->columns, message);
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		return decode_row(wire, scratch, message);
	case PGOUTPUT_TRUNCATE:
		return decode_truncate(wire, message);
	case PGOUTPUT_MESSAGE:
		return decode_message(wire, message);
	case PGOUTPUT_ORIGIN:
	case PGOUTPUT_TYPE:
		wire_run(wire, wire->left);
		return NULL;
	}
	return "unknown message type";
}

const char *pgoutput_decode(struct bytes payload, struct pgoutput_scratch *scratch,
							struct pgoutput_message *ret_message)
{
	struct wire wire = wire_of(payload);
	if (payload.size == 0)
		return "empty message";
	ret_message->type = (enum pgoutput_type)wire_char(&wire);
	const char *error = decode_body(&wire, scratch, ret_message);
	if (error != NULL)
		return error;
	if (wire.truncated)
		return "truncated message";
	return wire.left > 0 ? "bytes behind the end of the message" : NULL;
}

uint32_t pgoutput_truncated(const struct pgoutput_message *message, unsigned i)
{
	struct wire wire = wire_of((struct bytes){message->truncate.oids.data + (size_t)i * 4, 4});
	return wire_u32(&wire);
}
