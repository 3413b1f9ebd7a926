/* value.c: value_pack() and the scalars; see value.h. The kinds that nest are in value_*.c. */
#include "core/upstream/value.h"

#include "core/msgpack_text.h"
#include "core/upstream/value_kinds.h"

static bool pack_boolean(msgpack_packer *out, struct bytes text)
{
	if (text.size != 1 || (text.data[0] != 't' && text.data[0] != 'f'))
		return false;
	pack_bool(out, text.data[0] == 't');
	return true;
}

static bool pack_integer(msgpack_packer *out, struct bytes text)
{
	bool negative = text.size > 0 && text.data[0] == '-';
	int64_t number = 0;
	if (text.size == negative || text.size - negative > 10)
		return false;
	for (size_t i = negative; i < text.size; i++) {
		unsigned digit = (unsigned char)text.data[i] - '0';
		if (digit > 9)
			return false;
		number = number * 10 + digit;
	}
	msgpack_pack_int64(out, negative ? -number : number);
	return true;
}

/* NaN and the infinities are no JSON numbers, and so become str. */
static bool pack_number(msgpack_packer *out, enum value_extension extension, struct bytes text)
{
	struct nested_text number = nested_text_of(text);
	if (!value_take_number(&number) || number.at != number.end)
		return false;
	msgpack_pack_ext_with_body(out, text.data, text.size, extension);
	return true;
}

/* bytea_output = hex: \x00ff */
static bool pack_bytea(msgpack_packer *out, struct nested_text text)
{
	if (nested_text_next(&text) != '\\' || nested_text_next(&text) != 'x')
		return false;
	size_t digits = 0;
	struct nested_text rest = text;
	for (int c; (c = nested_text_next(&rest)) >= 0; digits++) {
		if (hex_digit(c) < 0)
			return false;
	}
	if (digits % 2 != 0)
		return false;

	msgpack_pack_bin(out, digits / 2);
	char piece[512];
	for (size_t size; (size = nested_text_read(&text, piece, sizeof(piece))) > 0;) {
		for (size_t i = 0; i < size / 2; i++)
			piece[i] = (char)(hex_digit(piece[2 * i]) << 4 | hex_digit(piece[2 * i + 1]));
		msgpack_pack_bin_body(out, piece, size / 2);
	}
	return true;
}

/* Whether the pattern is in the text at `at`. In the pattern 0 is any digit, everything else itself. */
static bool matches(struct bytes text, size_t at, const char *pattern)
{
	for (; *pattern != 0; pattern++, at++) {
		if (at >= text.size)
			return false;
		bool is_digit = text.data[at] >= '0' && text.data[at] <= '9';
		if (*pattern == '0' ? !is_digit : text.data[at] != *pattern)
			return false;
	}
	return true;
}

static size_t skip_digits(struct bytes text, size_t at)
{
	while (matches(text, at, "0"))
		at++;
	return at;
}

/*
 * '2020-01-01 10:00:00.5+00 BC' becomes XSD's '2020-01-01T10:00:00.5+00:00 BC': a T between date and time,
 * and minutes in every zone. infinity has another form, and so stays as it is.
 */
static bool pack_timestamp(msgpack_packer *out, struct bytes text)
{
	size_t year_end = skip_digits(text, 0);
	if (year_end < 4 || !matches(text, year_end, "-00-00 00:00:00"))
		return false;
	size_t date_end = year_end + strlen("-00-00");
	size_t zone = year_end + strlen("-00-00 00:00:00");
	if (matches(text, zone, ".0"))
		zone = skip_digits(text, zone + 1);
	size_t end = zone;
	if (matches(text, zone, "+00") || matches(text, zone, "-00"))
		end += 3;
	bool without_minutes = end > zone && !matches(text, end, ":00");
	while (end > zone && matches(text, end, ":00"))
		end += 3;
	struct bytes era = {text.data + end, text.size - end};
	if (era.size > 0 && !bytes_equal(era, BYTES(" BC")))
		return false;

	msgpack_pack_str(out, text.size + (without_minutes ? 3 : 0));
	msgpack_pack_str_body(out, text.data, date_end);
	msgpack_pack_str_body(out, "T", 1);
	msgpack_pack_str_body(out, text.data + date_end + 1, end - date_end - 1);
	if (without_minutes)
		msgpack_pack_str_body(out, ":00", 3);
	msgpack_pack_str_body(out, era.data, era.size);
	return true;
}

static bool pack_scalar(msgpack_packer *out, enum type_kind kind, struct bytes text)
{
	switch (kind) {
	case TYPE_BOOL:
		return pack_boolean(out, text);
	case TYPE_INTEGER:
		return pack_integer(out, text);
	case TYPE_BIGINT:
		return pack_number(out, VALUE_BIGINT, text);
	case TYPE_FLOAT:
		return pack_number(out, VALUE_FLOAT, text);
	case TYPE_NUMERIC:
		return pack_number(out, VALUE_NUMERIC, text);
	case TYPE_TIMESTAMP:
		return pack_timestamp(out, text);
	default: /* TYPE_TEXT */
		return false;
	}
}

static bool pack_kind(msgpack_packer *out, const struct type *type, struct nested_text text, unsigned depth)
{
	switch (type->kind) {
	case TYPE_BYTEA:
		return pack_bytea(out, text);
	case TYPE_JSON:
		return value_pack_json(out, text);
	case TYPE_ARRAY:
		return value_pack_array(out, type, text, depth);
	case TYPE_VECTOR:
		return value_pack_vector(out, type, text, depth);
	case TYPE_COMPOSITE:
		return value_pack_composite(out, type, text, depth);
	case TYPE_HSTORE:
		return value_pack_hstore(out, text, depth);
	default: /* nothing in the text of the others is ever escaped, if it has their form */
		return text.layers == 0 &&
			   pack_scalar(out, type->kind, (struct bytes){text.at, (size_t)(text.end - text.at)});
	}
}

void value_pack_nested(msgpack_packer *out, const struct type *type, struct nested_text text, unsigned depth)
{
	text = nested_text_simplify(text);
	if (!pack_kind(out, type, text, depth))
		nested_text_pack_str(out, text);
}

void value_pack(msgpack_packer *out, const struct type *type, struct bytes text)
{
	value_pack_nested(out, type, nested_text_of(text), 0);
}
