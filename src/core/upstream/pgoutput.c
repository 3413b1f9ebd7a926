/*
 * pgoutput.c: see pgoutput.h.
 *
 * Every read is checked against what is left of the payload. A read beyond it gives zeros, leaves the input
 * empty and marked; so decoders read on without asking, and the mark is looked at once, at the end.
 */
#include "core/upstream/pgoutput.h"

struct input {
	const unsigned char *at;
	size_t left;
	bool truncated;
};

static const unsigned char *read_run(struct input *input, size_t size)
{
	if (size > input->left) {
		input->truncated = true;
		input->left = 0;
		return NULL;
	}
	const unsigned char *run = input->at;
	input->at += size;
	input->left -= size;
	return run;
}

static inline uint64_t read_big_endian(struct input *input, size_t size)
{
	const unsigned char *run = read_run(input, size);
	uint64_t number = 0;
	for (size_t i = 0; run != NULL && i < size; i++)
		number = number << 8 | run[i];
	return number;
}

static char read_char(struct input *input)
{
	return (char)read_big_endian(input, 1);
}

static uint32_t read_u32(struct input *input)
{
	return (uint32_t)read_big_endian(input, 4);
}

static uint64_t read_u64(struct input *input)
{
	return read_big_endian(input, 8);
}

/* Microseconds since 2000-01-01 on the wire, since 1970-01-01 returned. */
static int64_t read_time(struct input *input)
{
	const uint64_t epoch_us = UINT64_C(946684800) * 1000000;
	return (int64_t)(read_u64(input) + epoch_us);
}

static struct bytes read_bytes(struct input *input, size_t size)
{
	const unsigned char *run = read_run(input, size);
	return run == NULL ? BYTES("") : (struct bytes){(const char *)run, size};
}

/* A string that ends with a 0, which is not part of what is returned. */
static struct bytes read_string(struct input *input)
{
	const unsigned char *end = input->left == 0 ? NULL : memchr(input->at, 0, input->left);
	if (end == NULL) {
		read_run(input, input->left + 1);
		return BYTES("");
	}
	struct bytes string = read_bytes(input, (size_t)(end - input->at));
	read_run(input, 1);
	return string;
}

static const char *decode_begin(struct input *input, struct pgoutput_message *message)
{
	message->begin.commit_lsn = read_u64(input);
	message->begin.commit_us = read_time(input);
	message->begin.xid = read_u32(input);
	return NULL;
}

static const char *decode_commit(struct input *input, struct pgoutput_message *message)
{
	read_char(input); /* flags, which the protocol does not use */
	message->commit.commit_lsn = read_u64(input);
	message->commit.end_lsn = read_u64(input);
	message->commit.commit_us = read_time(input);
	return NULL;
}

static const char *decode_relation(struct input *input, struct pgoutput_column *columns,
								   struct pgoutput_message *message)
{
	message->relation.oid = read_u32(input);
	const char *raw_name = (const char *)input->at;
	message->relation.schema = read_string(input);
	if (message->relation.schema.size == 0)
		message->relation.schema = BYTES("pg_catalog");
	message->relation.name = read_string(input);
	message->relation.raw_name = (struct bytes){raw_name, (size_t)((const char *)input->at - raw_name)};
	message->relation.replica_identity = read_char(input);
	unsigned count = (unsigned)read_big_endian(input, 2);
	if (count > PGOUTPUT_COLUMNS_MAX)
		return "relation with too many columns";

	for (unsigned i = 0; i < count && !input->truncated; i++) {
		columns[i].is_identity = (read_char(input) & 1) != 0;
		columns[i].name = read_string(input);
		columns[i].type_oid = read_u32(input);
		read_u32(input); /* the type's modifier: the text of a value is enough */
	}
	message->relation.column_count = count;
	message->relation.columns = columns;
	return NULL;
}

static const char *decode_tuple(struct input *input, struct pgoutput_datum *columns,
								struct pgoutput_tuple *tuple)
{
	unsigned count = (unsigned)read_big_endian(input, 2);
	if (count > PGOUTPUT_COLUMNS_MAX)
		return "tuple with too many columns";

	for (unsigned i = 0; i < count; i++) {
		char kind = read_char(input);
		columns[i].text = BYTES("");
		if (input->truncated)
			return "truncated tuple";
		else if (kind == PGOUTPUT_TEXT)
			columns[i].text = read_bytes(input, read_u32(input));
		else if (kind == 'b')
			return "binary value, where text was asked for";
		else if (kind != PGOUTPUT_NULL && kind != PGOUTPUT_UNCHANGED)
			return "unknown kind of value in a tuple";
		columns[i].kind = (enum pgoutput_datum_kind)kind;
	}
	tuple->present = true;
	tuple->column_count = count;
	tuple->columns = columns;
	return input->truncated ? "truncated tuple" : NULL;
}

/* INSERT: N; UPDATE: [K or O] N; DELETE: K or O. */
static const char *decode_row(struct input *input, struct pgoutput_scratch *scratch,
							  struct pgoutput_message *message)
{
	message->row.oid = read_u32(input);
	message->row.old_row = message->row.new_row = (struct pgoutput_tuple){0};

	char part = read_char(input);
	if ((part == 'K' || part == 'O') && message->type != PGOUTPUT_INSERT) {
		const char *error = decode_tuple(input, scratch->old_columns, &message->row.old_row);
		message->row.old_row.key_only = part == 'K';
		if (error != NULL || message->type == PGOUTPUT_DELETE)
			return error;
		part = read_char(input);
	}
	if (part == 'N' && message->type != PGOUTPUT_DELETE)
		return decode_tuple(input, scratch->new_columns, &message->row.new_row);
	return "row message without the tuple that it has to have";
}

static const char *decode_truncate(struct input *input, struct pgoutput_message *message)
{
	message->truncate.relation_count = read_u32(input);
	read_char(input); /* CASCADE and RESTART IDENTITY: neither changes what is gone from these relations */
	message->truncate.oids = read_bytes(input, (size_t)message->truncate.relation_count * 4);
	return NULL;
}

static const char *decode_message(struct input *input, struct pgoutput_message *message)
{
	message->message.transactional = (read_char(input) & 1) != 0;
	message->message.lsn = read_u64(input);
	message->message.prefix = read_string(input);
	message->message.content = read_bytes(input, read_u32(input));
	return NULL;
}

static const char *decode_body(struct input *input, struct pgoutput_scratch *scratch,
							   struct pgoutput_message *message)
{
	switch (message->type) {
	case PGOUTPUT_BEGIN:
		return decode_begin(input, message);
	case PGOUTPUT_COMMIT:
		return decode_commit(input, message);
	case PGOUTPUT_RELATION:
		return decode_relation(input, scratch->columns, message);
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		return decode_row(input, scratch, message);
	case PGOUTPUT_TRUNCATE:
		return decode_truncate(input, message);
	case PGOUTPUT_MESSAGE:
		return decode_message(input, message);
	case PGOUTPUT_ORIGIN:
	case PGOUTPUT_TYPE:
		read_run(input, input->left);
		return NULL;
	}
	return "unknown message type";
}

const char *pgoutput_decode(struct bytes payload, struct pgoutput_scratch *scratch,
							struct pgoutput_message *ret_message)
{
	struct input input = {.at = (const unsigned char *)payload.data, .left = payload.size};
	if (payload.size == 0)
		return "empty message";
	ret_message->type = (enum pgoutput_type)read_char(&input);
	const char *error = decode_body(&input, scratch, ret_message);
	if (error != NULL)
		return error;
	if (input.truncated)
		return "truncated message";
	return input.left > 0 ? "bytes behind the end of the message" : NULL;
}

uint32_t pgoutput_truncated(const struct pgoutput_message *message, unsigned i)
{
	struct input input = {.at = (const unsigned char *)message->truncate.oids.data + (size_t)i * 4,
						  .left = 4};
	return read_u32(&input);
}
