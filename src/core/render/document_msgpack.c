/*
 * document_msgpack.c: the document in MessagePack; see document.h. Text that stands for numbers and JSON in a
 * body becomes native here, as far as nothing is lost.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/msgpack_text.h"
#include "core/render/document.h"
#include "core/upstream/value.h"
#include "core/utf8.h"

/* Longer numbers than this are not tried as native ones. Without an exponent, as jsonb writes them, float64's
 * longest have some 345 characters. */
enum { NUMBER_SIZE_MAX = 400, FLOAT_DIGITS_MAX = 17 };

struct writer {
	struct buffer *out;
	msgpack_packer packer;
	bool numbers_as_strings;
};

/* A str is UTF-8, but what comes from a database in SQL_ASCII need not be. */
static void pack_repaired(struct writer *writer, struct bytes text)
{
	struct buffer repaired = {0};

	while (text.size > 0) {
		size_t size = utf8_sequence(text);
		if (size > 0)
			buffer_append(&repaired, text.data, size);
		else
			buffer_append_string(&repaired, UTF8_REPLACEMENT);
		size = size == 0 ? 1 : size;
		text = bytes_from(text, size);
	}
	writer->out->failed = writer->out->failed || repaired.failed;
	pack_str(&writer->packer, buffer_bytes(&repaired));
	buffer_free(&repaired);
}

static void pack_text(struct writer *writer, struct bytes text)
{
	if (utf8_valid(text))
		pack_str(&writer->packer, text);
	else
		pack_repaired(writer, text);
}

static void pack_name(struct writer *writer, const char *name)
{
	pack_text(writer, bytes_of(name));
}

/* ---- numbers */

static bool number_copy(struct bytes text, char ret_copy[NUMBER_SIZE_MAX + 1])
{
	if (text.size == 0 || text.size > NUMBER_SIZE_MAX)
		return false;
	memcpy(ret_copy, text.data, text.size);
	ret_copy[text.size] = '\0';
	return true;
}

static bool integer_parse(struct bytes text, int64_t *ret_number)
{
	char copy[NUMBER_SIZE_MAX + 1], *end;
	if (!number_copy(text, copy))
		return false;
	errno = 0;
	long long number = strtoll(copy, &end, 10);
	if (errno != 0 || *end != '\0')
		return false;
	*ret_number = number;
	return true;
}

static bool float_parse(struct bytes text, double *ret_number)
{
	char copy[NUMBER_SIZE_MAX + 1], *end;
	if (!number_copy(text, copy))
		return false;
	double number = strtod(copy, &end);
	if (*end != '\0')
		return false;
	*ret_number = number;
	return true;
}

/* Copies the significant digits of a number, before its exponent. Returns how many, or FLOAT_DIGITS_MAX + 1
 * if more. */
static int significant_digits(const char *number, size_t size, char ret_digits[FLOAT_DIGITS_MAX])
{
	int count = 0;
	for (size_t i = 0; i < size && number[i] != 'e' && number[i] != 'E'; i++) {
		if (number[i] < '0' || number[i] > '9' || (count == 0 && number[i] == '0'))
			continue;
		if (count == FLOAT_DIGITS_MAX)
			return FLOAT_DIGITS_MAX + 1;
		ret_digits[count++] = number[i];
	}
	return count;
}

/* Whether a number of JSON survives as int64 or float64: the float64 nearest to it gives back the same
 * digits. */
static bool number_is_native(struct bytes text)
{
	char digits[FLOAT_DIGITS_MAX], again[FLOAT_DIGITS_MAX], printed[FLOAT_DIGITS_MAX + 16];
	int64_t integer;
	double number;

	bool is_integer = true;
	for (size_t i = 0; i < text.size; i++)
		is_integer = is_integer && text.data[i] != '.' && (text.data[i] | 0x20) != 'e';
	if (is_integer)
		return integer_parse(text, &integer);
	if (!float_parse(text, &number))
		return false;
	int count = significant_digits(text.data, text.size, digits);
	if (count == 0)
		return true;
	if (count > FLOAT_DIGITS_MAX)
		return false;
	int size = snprintf(printed, sizeof(printed), "%.*e", count - 1, number);
	return significant_digits(printed, (size_t)size, again) == count &&
		   memcmp(digits, again, (size_t)count) == 0;
}

/* ---- JSON to MessagePack */

/* The length of the string, with its quotes, that `json` starts with. */
static size_t string_size(struct bytes json)
{
	size_t size = 1;
	while (size < json.size && json.data[size] != '"')
		size += json.data[size] == '\\' ? 2 : 1;
	return size < json.size ? size + 1 : json.size;
}

static size_t number_size(struct bytes json)
{
	size_t size = 0;
	while (size < json.size && json.data[size] != '\0' && strchr("0123456789+-.eE", json.data[size]) != NULL)
		size++;
	return size;
}

/* Copies JSON, with quotes around a number that would lose digits: the parser knows int64 and float64 only. */
static void quote_large_numbers(struct bytes json, struct buffer *out)
{
	while (json.size > 0) {
		size_t size = 1;
		bool quote = false;
		if (json.data[0] == '"') {
			size = string_size(json);
		} else if (json.data[0] == '-' || (json.data[0] >= '0' && json.data[0] <= '9')) {
			size = number_size(json);
			quote = !number_is_native((struct bytes){json.data, size});
		}
		if (quote)
			buffer_append_char(out, '"');
		buffer_append(out, json.data, size);
		if (quote)
			buffer_append_char(out, '"');
		json = bytes_from(json, size);
	}
}

static void pack_parsed(struct writer *writer, json_t *value)
{
	const char *name;
	size_t index;
	json_t *member;

	switch (json_typeof(value)) {
	case JSON_OBJECT:
		msgpack_pack_map(&writer->packer, json_object_size(value));
		json_object_foreach(value, name, member)
		{
			pack_name(writer, name);
			pack_parsed(writer, member);
		}
		break;
	case JSON_ARRAY:
		msgpack_pack_array(&writer->packer, json_array_size(value));
		json_array_foreach(value, index, member) pack_parsed(writer, member);
		break;
	case JSON_STRING:
		pack_text(writer, (struct bytes){json_string_value(value), json_string_length(value)});
		break;
	case JSON_INTEGER:
		msgpack_pack_int64(&writer->packer, json_integer_value(value));
		break;
	case JSON_REAL:
		msgpack_pack_double(&writer->packer, json_real_value(value));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		pack_bool(&writer->packer, json_is_true(value));
		break;
	case JSON_NULL:
		msgpack_pack_nil(&writer->packer);
		break;
	}
}

static void pack_json(struct writer *writer, struct bytes text)
{
	struct buffer safe = {0};
	json_error_t error;

	quote_large_numbers(text, &safe);
	if (safe.failed) {
		writer->out->failed = true;
	} else {
		/* of a member that comes twice the parser would keep the last */
		size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES;
		json_t *value = safe.size == 0 ? NULL : json_loadb(safe.data, safe.size, flags, &error);
		if (value != NULL)
			pack_parsed(writer, value);
		else
			pack_text(writer, text);
		json_decref(value);
	}
	buffer_free(&safe);
}

/* ---- values of a body */

static void pack_extension(struct writer *writer, const msgpack_object_ext *extension)
{
	struct bytes text = {extension->ptr, extension->size};
	int64_t integer;
	double number;

	if (extension->type == VALUE_JSON)
		pack_json(writer, text);
	else if (extension->type == VALUE_BIGINT && !writer->numbers_as_strings && integer_parse(text, &integer))
		msgpack_pack_int64(&writer->packer, integer);
	else if (extension->type == VALUE_FLOAT && float_parse(text, &number))
		msgpack_pack_double(&writer->packer, number);
	else
		pack_text(writer, text);
}

static void pack_value(struct writer *writer, const msgpack_object *value)
{
	switch (value->type) {
	case MSGPACK_OBJECT_ARRAY:
		msgpack_pack_array(&writer->packer, value->via.array.size);
		for (uint32_t i = 0; i < value->via.array.size; i++)
			pack_value(writer, &value->via.array.ptr[i]);
		break;
	case MSGPACK_OBJECT_MAP:
		msgpack_pack_map(&writer->packer, value->via.map.size);
		for (uint32_t i = 0; i < value->via.map.size; i++) {
			pack_value(writer, &value->via.map.ptr[i].key);
			pack_value(writer, &value->via.map.ptr[i].val);
		}
		break;
	case MSGPACK_OBJECT_STR:
		pack_text(writer, str_bytes(value));
		break;
	case MSGPACK_OBJECT_EXT:
		pack_extension(writer, &value->via.ext);
		break;
	default:
		msgpack_pack_object(&writer->packer, *value);
	}
}

/* ---- the document */

static void pack_row(struct writer *writer, const struct document *document, const struct view *view,
					 const msgpack_object *row)
{
	const msgpack_object_map *map = &row->via.map;
	uint32_t count = 0;

	for (uint32_t i = 0; i < map->size; i++)
		count += document_shows(document, view, &map->ptr[i].key);
	msgpack_pack_map(&writer->packer, count);
	for (uint32_t i = 0; i < map->size; i++) {
		if (!document_shows(document, view, &map->ptr[i].key))
			continue;
		pack_value(writer, &map->ptr[i].key);
		pack_value(writer, &map->ptr[i].val);
	}
}

static uint32_t count_unchanged(const struct document *document, const struct view *view)
{
	uint32_t count = 0;
	for (uint32_t i = 0; document->unchanged != NULL && i < document->unchanged->via.array.size; i++)
		count += document_shows(document, view, &document->unchanged->via.array.ptr[i]);
	return count;
}

static void pack_unchanged(struct writer *writer, const struct document *document, const struct view *view,
						   uint32_t count)
{
	const msgpack_object_array *names = &document->unchanged->via.array;

	msgpack_pack_array(&writer->packer, count);
	for (uint32_t i = 0; i < names->size; i++) {
		if (document_shows(document, view, &names->ptr[i]))
			pack_value(writer, &names->ptr[i]);
	}
}

static void pack_id(struct writer *writer, struct cursor id)
{
	char memory[CURSOR_TEXT_MAX];
	pack_text(writer, cursor_text(id, memory));
}

/* A name of the change's table. */
static void pack_table_name(struct writer *writer, const struct document *document, struct bytes name)
{
	if (document->operation == OPERATION_MESSAGE)
		msgpack_pack_nil(&writer->packer);
	else
		pack_text(writer, name);
}

enum { HEAD_MEMBERS = 8 };

/* The members that every document has. */
static void pack_head(struct writer *writer, const struct document *document, enum document_layout layout)
{
	const struct change *change = document->change;

	if (layout == DOCUMENT_EVENT) {
		pack_name(writer, "collection");
		pack_table_name(writer, document, document->name);
	}
	pack_name(writer, "operation");
	pack_name(writer, operation_name(document->operation));
	pack_name(writer, "document_id");
	if (document->document_id != NULL)
		pack_value(writer, document->document_id);
	else
		msgpack_pack_nil(&writer->packer);
	pack_name(writer, "timestamp_ms");
	msgpack_pack_int64(&writer->packer, change_timestamp_ms(change));
	pack_name(writer, "lsn");
	msgpack_pack_uint64(&writer->packer, change->id.lsn);
	if (layout == DOCUMENT_ITEM) {
		pack_name(writer, "collection");
		pack_table_name(writer, document, document->name);
	}
	pack_name(writer, "id");
	pack_id(writer, change->id);
	pack_name(writer, "schema");
	pack_table_name(writer, document, document->schema);
	pack_name(writer, "xid");
	if (change->xid == 0)
		msgpack_pack_nil(&writer->packer);
	else
		msgpack_pack_uint32(&writer->packer, change->xid);
}

/* What a message has beside them. */
static void pack_message(struct writer *writer, const struct document *document)
{
	pack_name(writer, "transactional");
	pack_bool(&writer->packer, document->change->xid != 0);
	if (document->prefix == NULL)
		return;
	pack_name(writer, "prefix");
	pack_value(writer, document->prefix);
	if (document->content != NULL) {
		pack_name(writer, "content");
		pack_value(writer, document->content);
	}
}

void document_append_msgpack(struct buffer *out, const struct document *document, const struct view *view,
							 enum document_layout layout)
{
	struct writer writer = {.out = out, .numbers_as_strings = view->numbers_as_strings};
	uint32_t unchanged = count_unchanged(document, view);
	bool is_message = document->operation == OPERATION_MESSAGE;

	msgpack_packer_init(&writer.packer, out, buffer_msgpack_write);
	msgpack_pack_map(&writer.packer, HEAD_MEMBERS + document->oversize + is_message +
										 (document->prefix != NULL) + (document->content != NULL) +
										 (document->new_row != NULL) + (document->old_row != NULL) +
										 (unchanged > 0));
	pack_head(&writer, document, layout);
	if (document->oversize) {
		pack_name(&writer, "oversize");
		msgpack_pack_true(&writer.packer);
	}
	if (is_message)
		pack_message(&writer, document);
	if (document->new_row != NULL) {
		pack_name(&writer, "new");
		pack_row(&writer, document, view, document->new_row);
	}
	if (document->old_row != NULL) {
		pack_name(&writer, "old");
		pack_row(&writer, document, view, document->old_row);
	}
	if (unchanged > 0) {
		pack_name(&writer, "unchanged");
		pack_unchanged(&writer, document, view, unchanged);
	}
}
