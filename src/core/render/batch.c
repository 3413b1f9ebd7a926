/* batch.c: see batch.h. */
#include "core/render/batch.h"

#include "core/msgpack_text.h"
#include "core/render/format.h"

const char *batch_content_type(enum batch_format format)
{
	switch (format) {
	case BATCH_MSGPACK:
		return "application/msgpack";
	case BATCH_CLOUDEVENTS:
		return "application/cloudevents-batch+json";
	default:
		return "application/json";
	}
}

void batch_begin(struct batch *batch, enum batch_format format)
{
	buffer_clear(&batch->changes);
	batch->format = format;
	batch->count = 0;
	batch->lagged = 0;
	batch->reset = false;
}

void batch_add(struct batch *batch, const struct document *document, const struct view *view)
{
	struct document shown = document_shown(document, view);

	if (batch->format == BATCH_MSGPACK) {
		document_append_msgpack(&batch->changes, &shown, view, DOCUMENT_ITEM);
	} else {
		if (batch->count > 0)
			buffer_append_char(&batch->changes, ',');
		format_append(&batch->changes, &shown, view, DOCUMENT_ITEM);
	}
	batch->count++;
}

size_t batch_size(const struct batch *batch)
{
	return batch->changes.size;
}

static void end_json(const struct batch *batch, const struct batch_cursor *next, bool has_more,
					 struct buffer *out)
{
	buffer_append_string(out, "{\"changes\":[");
	buffer_append_bytes(out, buffer_bytes(&batch->changes));
	buffer_append_string(out, "],\"next_cursor\":{\"since_ms\":");
	buffer_append_i64(out, next->since_ms);
	buffer_append_string(out, ",\"since_lsn\":\"");
	cursor_append(out, next->since);
	buffer_append_string(out, "\"},\"has_more\":");
	buffer_append_string(out, has_more ? "true" : "false");
	buffer_append_string(out, ",\"count\":");
	buffer_append_u64(out, batch->count);
	if (batch->lagged > 0) {
		buffer_append_string(out, ",\"lagged\":");
		buffer_append_u64(out, batch->lagged);
	}
	if (batch->reset)
		buffer_append_string(out, ",\"reset\":true");
	buffer_append_char(out, '}');
}

/* CloudEvents, JSON Event Format, "JSON Batch Format": an array, and nothing beside it. */
static void end_cloudevents(const struct batch *batch, struct buffer *out)
{
	buffer_append_char(out, '[');
	buffer_append_bytes(out, buffer_bytes(&batch->changes));
	buffer_append_char(out, ']');
}

static void pack_cursor(msgpack_packer *packer, struct cursor cursor)
{
	char memory[CURSOR_TEXT_MAX];
	pack_str(packer, cursor_text(cursor, memory));
}

static void pack_name(msgpack_packer *packer, const char *name)
{
	pack_str(packer, bytes_of(name));
}

static void end_msgpack(const struct batch *batch, const struct batch_cursor *next, bool has_more,
						struct buffer *out)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, out, buffer_msgpack_write);
	msgpack_pack_map(&packer, 4 + (batch->lagged > 0) + batch->reset);
	pack_name(&packer, "changes");
	msgpack_pack_array(&packer, batch->count);
	buffer_append_bytes(out, buffer_bytes(&batch->changes));
	pack_name(&packer, "next_cursor");
	msgpack_pack_map(&packer, 2);
	pack_name(&packer, "since_ms");
	msgpack_pack_int64(&packer, next->since_ms);
	pack_name(&packer, "since_lsn");
	pack_cursor(&packer, next->since);
	pack_name(&packer, "has_more");
	pack_bool(&packer, has_more);
	pack_name(&packer, "count");
	msgpack_pack_unsigned_int(&packer, batch->count);
	if (batch->lagged > 0) {
		pack_name(&packer, "lagged");
		msgpack_pack_uint64(&packer, batch->lagged);
	}
	if (batch->reset) {
		pack_name(&packer, "reset");
		msgpack_pack_true(&packer);
	}
}

void batch_end(const struct batch *batch, const struct batch_cursor *next, bool has_more, struct buffer *out)
{
	if (batch->format == BATCH_MSGPACK)
		end_msgpack(batch, next, has_more, out);
	else if (batch->format == BATCH_CLOUDEVENTS)
		end_cloudevents(batch, out);
	else
		end_json(batch, next, has_more, out);
	if (batch->changes.failed)
		out->failed = true;
}

void batch_free(struct batch *batch)
{
	buffer_free(&batch->changes);
}
