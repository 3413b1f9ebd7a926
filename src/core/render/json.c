/* json.c: see json.h. */
#include "core/render/json.h"

#include <math.h>

#include "core/msgpack_text.h"
#include "core/upstream/value.h"
#include "core/utf8.h"

#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

/*
 * Whether eight bytes hold none that needs a look: no control character, quote, backslash or byte of a longer
 * sequence. In `x - EACH_BYTE(1)` a byte's high bit comes up if it was 0 (or by a borrow from one that was),
 * so the sum of all high bits is 0 only if no byte matched.
 */
static bool eight_are_plain(const char *at)
{
	uint64_t word;
	memcpy(&word, at, sizeof(word));
	uint64_t quote = word ^ EACH_BYTE('"');
	uint64_t backslash = word ^ EACH_BYTE('\\');
	uint64_t suspects = word | (word - EACH_BYTE(0x20)) | (quote - EACH_BYTE(1)) | (backslash - EACH_BYTE(1));
	return (suspects & EACH_BYTE(0x80)) == 0;
}

/* How many bytes at the start of `text` can be copied as they are. */
static size_t plain_run(struct bytes text)
{
	size_t run = 0;
	while (run < text.size) {
		if (text.size - run >= 8 && eight_are_plain(text.data + run)) {
			run += 8;
			continue;
		}
		unsigned char c = (unsigned char)text.data[run];
		if (c < 0x20 || c == '"' || c == '\\')
			break;
		size_t sequence = utf8_sequence(bytes_from(text, run));
		if (sequence == 0)
			break;
		run += sequence;
	}
	return run;
}

/* A byte that plain_run() stopped at. */
static void append_escaped(struct buffer *out, unsigned char c)
{
	static const char short_forms[0x20] = {
		['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};

	if (c >= 0x80)
		buffer_append_string(out, UTF8_REPLACEMENT);
	else if (c == '"' || c == '\\')
		buffer_append(out, (char[]){'\\', (char)c}, 2);
	else if (short_forms[c] != 0)
		buffer_append(out, (char[]){'\\', short_forms[c]}, 2);
	else
		buffer_append(out, (char[]){'\\', 'u', '0', '0', hex_digits[c >> 4], hex_digits[c & 15]}, 6);
}

void json_append_string(struct buffer *out, struct bytes text)
{
	buffer_append_char(out, '"');
	while (text.size > 0) {
		size_t run = plain_run(text);
		buffer_append(out, text.data, run);
		if (run < text.size)
			append_escaped(out, (unsigned char)text.data[run++]);
		text = bytes_from(text, run);
	}
	buffer_append_char(out, '"');
}

void json_append_base64(struct buffer *out, struct bytes value)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	buffer_append_char(out, '"');
	for (size_t at = 0; at < value.size; at += 3) {
		size_t count = value.size - at < 3 ? value.size - at : 3;
		uint32_t group = 0;
		char text[4];
		for (size_t i = 0; i < 3; i++)
			group = group << 8 | (i < count ? (unsigned char)value.data[at + i] : 0);
		for (size_t i = 0; i < 4; i++)
			text[i] = i <= count ? digits[group >> (18 - 6 * i) & 63] : '=';
		buffer_append(out, text, sizeof(text));
	}
	buffer_append_char(out, '"');
}

static void append_bytea(struct buffer *out, struct bytes value)
{
	char *to = buffer_reserve(out, value.size * 2 + 5);
	if (to == NULL)
		return;
	memcpy(to, "\"\\\\x", 4);
	hex_write(to + 4, value);
	to[4 + value.size * 2] = '"';
	out->size += value.size * 2 + 5;
}

static bool has_control(struct bytes text)
{
	unsigned found = 0;
	for (size_t i = 0; i < text.size; i++)
		found |= (unsigned char)text.data[i] < 0x20;
	return found != 0;
}

/* JSON text as it is, but on one line: valid JSON has control characters only between its tokens. */
static void append_json_text(struct buffer *out, struct bytes text)
{
	if (text.size == 0) {
		buffer_append_string(out, "null");
		return;
	}
	size_t from = out->size;
	buffer_append_bytes(out, text);
	if (!has_control(text))
		return;
	for (size_t i = from; i < out->size; i++) {
		if ((unsigned char)out->data[i] < 0x20)
			out->data[i] = ' ';
	}
}

static void append_extension(struct buffer *out, const msgpack_object_ext *extension,
							 struct json_options options)
{
	struct bytes text = {extension->ptr, extension->size};
	switch (extension->type) {
	case VALUE_BIGINT:
	case VALUE_NUMERIC:
		if (options.numbers_as_strings)
			json_append_string(out, text);
		else
			append_json_text(out, text);
		break;
	case VALUE_FLOAT:
		append_json_text(out, text);
		break;
	case VALUE_JSON:
		if (options.takes_json != NULL && !options.takes_json(text))
			json_append_string(out, text);
		else
			append_json_text(out, text);
		break;
	default:
		buffer_append_string(out, "null");
	}
}

static void append_float(struct buffer *out, double number)
{
	if (isfinite(number))
		buffer_printf(out, "%.17g", number);
	else
		buffer_append_string(out, "null");
}

static void append_array(struct buffer *out, const msgpack_object_array *array, struct json_options options)
{
	buffer_append_char(out, '[');
	for (uint32_t i = 0; i < array->size; i++) {
		if (i > 0)
			buffer_append_char(out, ',');
		json_append_value(out, &array->ptr[i], options);
	}
	buffer_append_char(out, ']');
}

static void append_map(struct buffer *out, const msgpack_object_map *map, struct json_options options)
{
	buffer_append_char(out, '{');
	for (uint32_t i = 0; i < map->size; i++) {
		if (i > 0)
			buffer_append_char(out, ',');
		json_append_member(out, &map->ptr[i], options);
	}
	buffer_append_char(out, '}');
}

void json_append_member(struct buffer *out, const msgpack_object_kv *member, struct json_options options)
{
	struct bytes name = member->key.type == MSGPACK_OBJECT_STR ? str_bytes(&member->key) : BYTES("");

	json_append_string(out, name);
	buffer_append_char(out, ':');
	json_append_value(out, &member->val, options);
}

void json_append_value(struct buffer *out, const msgpack_object *value, struct json_options options)
{
	switch (value->type) {
	case MSGPACK_OBJECT_NIL:
		buffer_append_string(out, "null");
		break;
	case MSGPACK_OBJECT_BOOLEAN:
		buffer_append_string(out, value->via.boolean ? "true" : "false");
		break;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		buffer_append_u64(out, value->via.u64);
		break;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		buffer_append_i64(out, value->via.i64);
		break;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		append_float(out, value->via.f64);
		break;
	case MSGPACK_OBJECT_STR:
		json_append_string(out, str_bytes(value));
		break;
	case MSGPACK_OBJECT_BIN:
		append_bytea(out, bin_bytes(value));
		break;
	case MSGPACK_OBJECT_ARRAY:
		append_array(out, &value->via.array, options);
		break;
	case MSGPACK_OBJECT_MAP:
		append_map(out, &value->via.map, options);
		break;
	case MSGPACK_OBJECT_EXT:
		append_extension(out, &value->via.ext, options);
		break;
	}
}
