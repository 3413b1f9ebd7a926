/* document_json.c: the document in JSON; see document.h. */
#include "core/msgpack_text.h"
#include "core/render/document.h"
#include "core/render/json.h"

static void append_row(struct buffer *out, const struct document *document, const struct view *view,
					   const msgpack_object *row)
{
	struct json_options options = {.numbers_as_strings = view->numbers_as_strings};
	char separator = '{';

	for (uint32_t i = 0; i < row->via.map.size; i++) {
		const msgpack_object_kv *member = &row->via.map.ptr[i];
		if (!document_shows(document, view, &member->key))
			continue;
		buffer_append_char(out, separator);
		json_append_member(out, member, options);
		separator = ',';
	}
	buffer_append_string(out, separator == '{' ? "{}" : "}");
}

static void append_unchanged(struct buffer *out, const struct document *document, const struct view *view)
{
	const msgpack_object_array *names = &document->unchanged->via.array;
	bool any = false;

	for (uint32_t i = 0; i < names->size; i++) {
		if (!document_shows(document, view, &names->ptr[i]))
			continue;
		buffer_append_string(out, any ? "," : ",\"unchanged\":[");
		json_append_string(out, str_bytes(&names->ptr[i]));
		any = true;
	}
	if (any)
		buffer_append_char(out, ']');
}

static void append_rows(struct buffer *out, const struct document *document, const struct view *view)
{
	if (document->new_row != NULL) {
		buffer_append_string(out, ",\"new\":");
		append_row(out, document, view, document->new_row);
	}
	if (document->old_row != NULL) {
		buffer_append_string(out, ",\"old\":");
		append_row(out, document, view, document->old_row);
	}
	if (document->unchanged != NULL)
		append_unchanged(out, document, view);
}

static void append_message(struct buffer *out, const struct document *document)
{
	buffer_append_string(out, ",\"transactional\":");
	buffer_append_string(out, document->change->xid != 0 ? "true" : "false");
	if (document->prefix == NULL)
		return;
	buffer_append_string(out, ",\"prefix\":");
	json_append_string(out, str_bytes(document->prefix));
	if (document->content == NULL)
		return;
	buffer_append_string(out, ",\"content\":");
	if (document->content->type == MSGPACK_OBJECT_STR) {
		json_append_string(out, str_bytes(document->content));
		return;
	}
	json_append_base64(out, document_content_bytes(document->content));
	buffer_append_string(out, ",\"base64\":true");
}

/* A name of the change's table. */
static void append_name(struct buffer *out, const struct document *document, struct bytes name)
{
	if (document->operation == OPERATION_MESSAGE)
		buffer_append_string(out, "null");
	else
		json_append_string(out, name);
}

void document_append_json(struct buffer *out, const struct document *document, const struct view *view,
						  enum document_layout layout)
{
	const struct change *change = document->change;

	buffer_append_char(out, '{');
	if (layout == DOCUMENT_EVENT) {
		buffer_append_string(out, "\"collection\":");
		append_name(out, document, document->name);
		buffer_append_char(out, ',');
	}
	buffer_append_string(out, "\"operation\":\"");
	buffer_append_string(out, operation_name(document->operation));
	buffer_append_string(out, "\",\"document_id\":");
	if (document->document_id != NULL)
		json_append_string(out, str_bytes(document->document_id));
	else
		buffer_append_string(out, "null");
	buffer_append_string(out, ",\"timestamp_ms\":");
	buffer_append_i64(out, change_timestamp_ms(change));
	buffer_append_string(out, ",\"lsn\":");
	buffer_append_u64(out, change->id.lsn);
	if (layout == DOCUMENT_ITEM) {
		buffer_append_string(out, ",\"collection\":");
		append_name(out, document, document->name);
	}
	buffer_append_string(out, ",\"id\":\"");
	cursor_append(out, change->id);
	buffer_append_string(out, "\",\"schema\":");
	append_name(out, document, document->schema);
	buffer_append_string(out, ",\"xid\":");
	if (change->xid == 0)
		buffer_append_string(out, "null");
	else
		buffer_append_u64(out, change->xid);
	if (document->oversize)
		buffer_append_string(out, ",\"oversize\":true");
	if (document->operation == OPERATION_MESSAGE)
		append_message(out, document);
	append_rows(out, document, view);
	buffer_append_char(out, '}');
}
