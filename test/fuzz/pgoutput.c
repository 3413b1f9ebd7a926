/*
 * pgoutput.c: libFuzzer on one message of the replication protocol. Whatever comes is refused with a reason,
 * or everything in the decoded message lies within the payload. Needs src/core only.
 */
#include <stdlib.h>

#include "core/upstream/pgoutput.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_inside(struct bytes part, struct bytes payload)
{
	require(part.size == 0 || (part.data >= payload.data && part.size <= payload.size &&
							   part.data - payload.data <= (ptrdiff_t)(payload.size - part.size)));
}

static void check_tuple(const struct pgoutput_tuple *tuple, struct bytes payload)
{
	require(tuple->column_count <= PGOUTPUT_COLUMNS_MAX);
	for (unsigned i = 0; i < tuple->column_count; i++) {
		const struct pgoutput_datum *datum = &tuple->columns[i];
		require(datum->kind == PGOUTPUT_NULL || datum->kind == PGOUTPUT_UNCHANGED ||
				datum->kind == PGOUTPUT_TEXT);
		require(datum->kind == PGOUTPUT_TEXT || datum->text.size == 0);
		check_inside(datum->text, payload);
	}
}

static void check_relation(const struct pgoutput_message *message, struct bytes payload)
{
	require(message->relation.schema.size > 0);
	require(message->relation.column_count <= PGOUTPUT_COLUMNS_MAX);
	check_inside(message->relation.name, payload);
	for (unsigned i = 0; i < message->relation.column_count; i++)
		check_inside(message->relation.columns[i].name, payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pgoutput_scratch scratch;
	struct bytes payload = {(const char *)data, size};
	struct pgoutput_message message;

	if (pgoutput_decode(payload, &scratch, &message) != NULL)
		return 0;
	require(size > 0 && (char)message.type == payload.data[0]);
	switch (message.type) {
	case PGOUTPUT_RELATION:
		check_relation(&message, payload);
		break;
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		require(message.row.new_row.present == (message.type != PGOUTPUT_DELETE));
		require(message.row.old_row.present || message.type != PGOUTPUT_DELETE);
		check_tuple(&message.row.old_row, payload);
		check_tuple(&message.row.new_row, payload);
		break;
	case PGOUTPUT_TRUNCATE:
		check_inside(message.truncate.oids, payload);
		for (unsigned i = 0; i < message.truncate.relation_count; i++)
			pgoutput_truncated(&message, i);
		break;
	case PGOUTPUT_MESSAGE:
		check_inside(message.message.prefix, payload);
		check_inside(message.message.content, payload);
		break;
	default:
		break;
	}
	return 0;
}
