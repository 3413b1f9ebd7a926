/* document.c: reading a body, whose a change is, and what a view shows of it; see document.h. */
#include "core/render/document.h"

#include <stdio.h>

#include "core/msgpack_text.h"
#include "core/render/msgpack_check.h"

/* A body of usual size is unpacked without another allocation: a column takes 48 bytes there. */
enum { READER_CHUNK_SIZE = 64 * 1024 };

bool document_reader_init(struct document_reader *reader)
{
	return msgpack_zone_init(&reader->zone, READER_CHUNK_SIZE);
}

void document_reader_free(struct document_reader *reader)
{
	msgpack_zone_destroy(&reader->zone);
}

static bool is_array_of_str(const msgpack_object *object)
{
	if (object->type != MSGPACK_OBJECT_ARRAY)
		return false;
	for (uint32_t i = 0; i < object->via.array.size; i++) {
		if (object->via.array.ptr[i].type != MSGPACK_OBJECT_STR)
			return false;
	}
	return true;
}

static bool is_row(const msgpack_object *object)
{
	if (object->type != MSGPACK_OBJECT_MAP)
		return false;
	for (uint32_t i = 0; i < object->via.map.size; i++) {
		if (object->via.map.ptr[i].key.type != MSGPACK_OBJECT_STR)
			return false;
	}
	return true;
}

static bool take_message(const msgpack_object_array *body, struct document *document)
{
	if (body->size != MESSAGE_SIZE || body->ptr[MESSAGE_PREFIX].type != MSGPACK_OBJECT_STR ||
		(body->ptr[MESSAGE_CONTENT].type != MSGPACK_OBJECT_STR &&
		 body->ptr[MESSAGE_CONTENT].type != MSGPACK_OBJECT_BIN))
		return false;
	document->prefix = &body->ptr[MESSAGE_PREFIX];
	document->content = &body->ptr[MESSAGE_CONTENT];
	return true;
}

/* Puts the body's elements where they belong. Returns false if one has the wrong form. */
static bool take_elements(const msgpack_object_array *body, struct document *document)
{
	for (uint32_t i = 0; i < body->size && i < BODY_SIZE; i++) {
		const msgpack_object *element = &body->ptr[i];
		if (element->type == MSGPACK_OBJECT_NIL)
			continue;
		switch (i) {
		case BODY_DOCUMENT_ID:
			document->document_id = element;
			if (element->type != MSGPACK_OBJECT_STR)
				return false;
			break;
		case BODY_KEY:
			document->key = element;
			if (!is_array_of_str(element))
				return false;
			break;
		case BODY_NEW:
			document->new_row = element;
			if (!is_row(element))
				return false;
			break;
		case BODY_OLD:
			document->old_row = element;
			if (!is_row(element))
				return false;
			break;
		case BODY_UNCHANGED:
			document->unchanged = element;
			if (!is_array_of_str(element))
				return false;
			break;
		case BODY_OLD_ID:
			document->old_id = element;
			if (element->type != MSGPACK_OBJECT_STR)
				return false;
			break;
		}
	}
	return true;
}

/* What an operation cannot have is not shown, whatever the body holds. */
static void drop_unfitting(struct document *document)
{
	enum operation operation = document->operation;

	if (document->oversize || (operation != OPERATION_INSERT && operation != OPERATION_UPDATE))
		document->new_row = NULL;
	if (document->oversize || (operation != OPERATION_UPDATE && operation != OPERATION_DELETE))
		document->old_row = NULL;
	if (document->new_row == NULL ||
		(document->unchanged != NULL && document->unchanged->via.array.size == 0))
		document->unchanged = NULL;
}

enum document_read document_read(struct document_reader *reader, const struct change *change,
								 struct bytes schema, struct bytes name, struct bytes body,
								 struct document *ret_document)
{
	struct document document = {.change = change,
								.operation = change->operation,
								.schema = schema,
								.name = name,
								.oversize = (change->flags & CHANGE_OVERSIZE) != 0};
	bool is_message = change->operation == OPERATION_MESSAGE;
	msgpack_object root;
	size_t offset = 0;

	if (body.size > 0) {
		msgpack_zone_clear(&reader->zone);
		if (!msgpack_is_whole(body))
			return DOCUMENT_MALFORMED;
		msgpack_unpack_return result = msgpack_unpack(body.data, body.size, &offset, &reader->zone, &root);
		if (result == MSGPACK_UNPACK_NOMEM_ERROR)
			return DOCUMENT_NO_MEMORY;
		if (result != MSGPACK_UNPACK_SUCCESS || root.type != MSGPACK_OBJECT_ARRAY ||
			!(is_message ? take_message(&root.via.array, &document)
						 : take_elements(&root.via.array, &document)))
			return DOCUMENT_MALFORMED;
		drop_unfitting(&document);
	}
	*ret_document = document;
	return DOCUMENT_READ;
}

/* ---- tenants */

/* bytea as rows show it: \x and two digits for each byte. Empty if that is longer than any tenant. */
static struct bytes hex_of(struct bytes value, char ret_text[OWNER_TEXT_MAX])
{
	if (2 + 2 * value.size >= OWNER_TEXT_MAX)
		return (struct bytes){0};
	memcpy(ret_text, "\\x", 2);
	hex_write(ret_text + 2, value);
	return (struct bytes){ret_text, 2 + 2 * value.size};
}

/* The text of a value as rows show it, but for the quotes that JSON has. What is no scalar has no such text, and
 * stands for tenant 1 as null does. */
static struct bytes owner_text(const msgpack_object *value, char ret_text[OWNER_TEXT_MAX])
{
	switch (value->type) {
	case MSGPACK_OBJECT_STR:
		return str_bytes(value);
	case MSGPACK_OBJECT_BIN:
		return hex_of(bin_bytes(value), ret_text);
	case MSGPACK_OBJECT_BOOLEAN:
		return value->via.boolean ? BYTES("true") : BYTES("false");
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		return bytes_of_u64(value->via.u64, ret_text);
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		snprintf(ret_text, OWNER_TEXT_MAX, "%lld", (long long)value->via.i64);
		return bytes_of(ret_text);
	case MSGPACK_OBJECT_EXT:
		return (struct bytes){value->via.ext.ptr, value->via.ext.size};
	default:
		return BYTES("1");
	}
}

static const msgpack_object *row_value(const msgpack_object *row, struct bytes column)
{
	for (uint32_t i = 0; i < row->via.map.size; i++) {
		if (bytes_equal(str_bytes(&row->via.map.ptr[i].key), column))
			return &row->via.map.ptr[i].val;
	}
	return NULL;
}

/* Whether the tenant is a value that is too large to be sent again: in neither row, but not absent. */
static bool tenant_is_unknown(const struct document *document, struct bytes tenant_column)
{
	for (uint32_t i = 0; document->unchanged != NULL && i < document->unchanged->via.array.size; i++) {
		if (bytes_equal(str_bytes(&document->unchanged->via.array.ptr[i]), tenant_column))
			return true;
	}
	return false;
}

static struct bytes owner_of(const msgpack_object *row, struct bytes tenant_column,
							 char ret_text[OWNER_TEXT_MAX])
{
	static const msgpack_object null = {.type = MSGPACK_OBJECT_NIL};
	const msgpack_object *value = row_value(row, tenant_column);

	return owner_text(value == NULL ? &null : value, ret_text);
}

void document_owners(const struct document *document, struct bytes tenant_column, struct owners *ret_owners)
{
	const msgpack_object *new_row = document->new_row, *old_row = document->old_row;
	/* an old row that is only a key does not say whose it was */
	bool old_tells = old_row != NULL && (new_row == NULL || row_value(old_row, tenant_column) != NULL);

	ret_owners->everybody =
		(new_row == NULL && old_row == NULL) || tenant_is_unknown(document, tenant_column);
	ret_owners->after = (struct bytes){0};
	if (new_row != NULL)
		ret_owners->after = owner_of(new_row, tenant_column, ret_owners->memory[0]);
	ret_owners->before = ret_owners->after;
	if (old_tells)
		ret_owners->before = owner_of(old_row, tenant_column, ret_owners->memory[1]);
}

bool document_matches_tenant(const struct document *document, struct bytes tenant_column, struct bytes tenant)
{
	struct owners owners;

	document_owners(document, tenant_column, &owners);
	return owners.everybody || bytes_equal(owners.before, tenant) || bytes_equal(owners.after, tenant);
}

/* ---- what is shown */

/* Shows a tenant what an UPDATE is to it. */
static void show_move(const struct document *document, const struct view *view, struct document *shown)
{
	struct owners owners;

	document_owners(document, view->tenant_column, &owners);
	bool before = bytes_equal(owners.before, view->tenant), after = bytes_equal(owners.after, view->tenant);
	if (document->operation != OPERATION_UPDATE || before == after)
		return;
	shown->operation = after ? OPERATION_INSERT : OPERATION_DELETE;
	if (before && document->old_id != NULL)
		shown->document_id = document->old_id;
	drop_unfitting(shown);
}

struct document document_shown(const struct document *document, const struct view *view)
{
	struct document shown = *document;

	if (view->key_only) {
		shown.content = NULL;
		if (view->format != FORMAT_DEBEZIUM) /* which has rows of the key then */
			shown.new_row = shown.old_row = shown.unchanged = NULL;
	}
	if (view->tenant_column.size == 0)
		return shown;
	if (tenant_is_unknown(document, view->tenant_column)) {
		shown.oversize = true;
		shown.new_row = shown.old_row = shown.unchanged = NULL;
	} else {
		show_move(document, view, &shown);
	}
	if (shown.oversize)
		shown.document_id = NULL;
	return shown;
}

bool document_shows(const struct document *document, const struct view *view, const msgpack_object *column)
{
	struct bytes name = str_bytes(column);

	if (view->column_count == 0 && !view->key_only)
		return true;
	for (unsigned i = 0; i < view->column_count && !view->key_only; i++) {
		if (bytes_equal(name, view->columns[i]))
			return true;
	}
	for (uint32_t i = 0; document->key != NULL && i < document->key->via.array.size; i++) {
		if (bytes_equal(name, str_bytes(&document->key->via.array.ptr[i])))
			return true;
	}
	return false;
}

struct bytes document_content_bytes(const msgpack_object *content)
{
	return content->type == MSGPACK_OBJECT_BIN ? bin_bytes(content) : str_bytes(content);
}
