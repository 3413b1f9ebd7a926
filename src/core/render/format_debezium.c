/* format_debezium.c: the payload of Debezium's change event; see format.h. */
#include "core/msgpack_text.h"
#include "core/render/format.h"
#include "core/render/json.h"
#include "core/ring/live.h"

static const char *const operation_codes[OPERATION_COUNT] = {
	[OPERATION_INSERT] = "c",   [OPERATION_UPDATE] = "u",  [OPERATION_DELETE] = "d",
	[OPERATION_TRUNCATE] = "t", [OPERATION_MESSAGE] = "m",
};

/* Puts the separator of a member in front of it: `{` for the first. */
static void begin_member(struct buffer *out, bool *first)
{
	buffer_append_char(out, *first ? '{' : ',');
	*first = false;
}

/* A row, and the columns of it that are not known; null where there is none. */
static void append_row(struct buffer *out, const struct document *document, const struct view *view,
					   const msgpack_object *row, const msgpack_object *unknown)
{
	struct json_options options = {.numbers_as_strings = view->numbers_as_strings};
	bool first = true;

	if (row == NULL) {
		buffer_append_string(out, "null");
		return;
	}
	for (uint32_t i = 0; i < row->via.map.size; i++) {
		const msgpack_object_kv *member = &row->via.map.ptr[i];
		if (!document_shows(document, view, &member->key))
			continue;
		begin_member(out, &first);
		json_append_member(out, member, options);
	}
	for (uint32_t i = 0; unknown != NULL && i < unknown->via.array.size; i++) {
		const msgpack_object *name = &unknown->via.array.ptr[i];
		if (!document_shows(document, view, name))
			continue;
		begin_member(out, &first);
		json_append_string(out, str_bytes(name));
		buffer_append_string(out, ":\"__debezium_unavailable_value\"");
	}
	buffer_append_string(out, first ? "{}" : "}");
}

/* "ts_ms":1,"ts_us":1000,"ts_ns":1000000 */
static void append_times(struct buffer *out, const struct change *change)
{
	buffer_append_string(out, "\"ts_ms\":");
	buffer_append_i64(out, change_timestamp_ms(change));
	buffer_append_string(out, ",\"ts_us\":");
	buffer_append_i64(out, change->commit_us);
	buffer_append_string(out, ",\"ts_ns\":");
	buffer_append_i64(out, change->commit_us);
	buffer_append_string(out, change->commit_us == 0 ? "" : "000");
}

static void append_source(struct buffer *out, const struct document *document, const struct view *view)
{
	const struct change *change = document->change;

	buffer_append_string(out, "\"source\":{\"version\":\"" PG_CHANGEFEED_VERSION
							  "\",\"connector\":\"postgresql\",\"name\":");
	json_append_string(out, bytes_of(view->origin->slot));
	buffer_append_char(out, ',');
	append_times(out, change);
	buffer_append_string(out, ",\"snapshot\":\"false\",\"db\":");
	json_append_string(out, bytes_of(view->origin->database));
	buffer_append_string(out, ",\"sequence\":\"[\\\"");
	buffer_append_u64(out, change->id.lsn);
	buffer_append_string(out, "\\\",\\\"");
	buffer_append_u64(out, change->id.n);
	buffer_append_string(out, "\\\"]\",\"schema\":");
	json_append_string(out, document->schema);
	buffer_append_string(out, ",\"table\":");
	json_append_string(out, document->name);
	buffer_append_string(out, ",\"txId\":");
	if (change->xid == 0)
		buffer_append_string(out, "null");
	else
		buffer_append_u64(out, change->xid);
	buffer_append_string(out, ",\"lsn\":");
	buffer_append_u64(out, change->id.lsn);
	buffer_append_string(out, ",\"xmin\":null}");
}

/* Debezium's "message events". */
static void append_message(struct buffer *out, const struct document *document)
{
	buffer_append_string(out, ",\"message\":");
	if (document->prefix == NULL) {
		buffer_append_string(out, "null");
		return;
	}
	buffer_append_string(out, "{\"prefix\":");
	json_append_string(out, str_bytes(document->prefix));
	if (document->content != NULL) {
		buffer_append_string(out, ",\"content\":");
		json_append_base64(out, document_content_bytes(document->content));
	}
	buffer_append_char(out, '}');
}

void format_append_debezium(struct buffer *out, const struct document *document, const struct view *view)
{
	const struct change *change = document->change;
	bool has_rows = document->operation != OPERATION_TRUNCATE && document->operation != OPERATION_MESSAGE;

	buffer_append_char(out, '{');
	if (has_rows) {
		buffer_append_string(out, "\"before\":");
		append_row(out, document, view, document->old_row, NULL);
		buffer_append_string(out, ",\"after\":");
		append_row(out, document, view, document->new_row, document->unchanged);
		buffer_append_char(out, ',');
	}
	append_source(out, document, view);
	buffer_append_string(out, ",\"op\":\"");
	buffer_append_string(out, operation_codes[document->operation]);
	buffer_append_string(out, "\",");
	append_times(out, change);
	if (document->operation == OPERATION_MESSAGE)
		append_message(out, document);
	buffer_append_string(out, ",\"transaction\":null");
	if (document->oversize)
		buffer_append_string(out, ",\"oversize\":true");
	buffer_append_char(out, '}');
}
