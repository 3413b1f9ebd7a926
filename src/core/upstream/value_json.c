/*
 * value_json.c: JSON text is checked before it is packed, because it goes into documents as it is.
 *
 * The catalog's idea of a composite can be newer than the change that is decoded, so a field that is json now
 * may hold any text; and in a database of the encoding SQL_ASCII, json is not UTF-8 by itself. It
 * deliberately does not normalise: members keep their order and their duplicates, numbers their digits.
 */
#include "core/upstream/value_kinds.h"
#include "core/utf8.h"

/* PostgreSQL's own parser gives up between 5,000 and 10,000 levels unless max_stack_depth is raised. */
enum { JSON_LEVELS_MAX = 16384 };

struct scan {
	struct nested_text rest;
	size_t space; /* bytes of white space outside of strings so far */
	bool line_break;
	unsigned level;
	uint64_t objects[JSON_LEVELS_MAX / 64]; /* bit i: level i is an object, not an array */
};

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool take_digits(struct nested_text *text)
{
	bool any = false;
	while (is_digit(nested_text_peek(*text))) {
		nested_text_next(text);
		any = true;
	}
	return any;
}

bool value_take_number(struct nested_text *text)
{
	if (nested_text_peek(*text) == '-')
		nested_text_next(text);
	if (nested_text_peek(*text) == '0')
		nested_text_next(text);
	else if (!take_digits(text))
		return false;
	if (nested_text_peek(*text) == '.') {
		nested_text_next(text);
		if (!take_digits(text))
			return false;
	}
	if ((nested_text_peek(*text) | 0x20) == 'e') {
		nested_text_next(text);
		if (nested_text_peek(*text) == '+' || nested_text_peek(*text) == '-')
			nested_text_next(text);
		if (!take_digits(text))
			return false;
	}
	return true;
}

static bool take_escape(struct nested_text *text)
{
	int c = nested_text_next(text);
	for (int i = 0; c == 'u' && i < 4; i++) {
		if (hex_digit(nested_text_next(text)) < 0)
			return false;
	}
	return c > 0 && strchr("\"\\/bfnrtu", c) != NULL;
}

static bool take_string(struct nested_text *text)
{
	if (nested_text_next(text) != '"')
		return false;
	for (;;) {
		int c = nested_text_next(text);
		if (c == '"')
			return true;
		if (c < 0x20 || (c == '\\' && !take_escape(text)))
			return false;
	}
}

static bool take_scalar(struct nested_text *text)
{
	switch (nested_text_peek(*text)) {
	case '"':
		return take_string(text);
	case 't':
		return nested_text_take(text, "true");
	case 'f':
		return nested_text_take(text, "false");
	case 'n':
		return nested_text_take(text, "null");
	default:
		return value_take_number(text);
	}
}

static bool is_space(int c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Takes white space off, and returns what comes behind it. */
static int skip_space(struct scan *scan)
{
	int c;
	while (is_space(c = nested_text_peek(scan->rest))) {
		nested_text_next(&scan->rest);
		scan->space++;
		scan->line_break |= c == '\n' || c == '\r';
	}
	return c;
}

static bool in_object(const struct scan *scan)
{
	return scan->objects[scan->level / 64] >> scan->level % 64 & 1;
}

static bool enter(struct scan *scan, bool object)
{
	if (++scan->level == JSON_LEVELS_MAX)
		return false;
	uint64_t *word = &scan->objects[scan->level / 64];
	uint64_t bit = UINT64_C(1) << scan->level % 64;
	uint64_t lower_levels = *word & (bit - 1);
	*word = lower_levels | (object ? bit : 0);
	return true;
}

/* Inside of an object, a member's name and colon come before its value. */
static bool take_name(struct scan *scan)
{
	if (!in_object(scan))
		return true;
	skip_space(scan);
	if (!take_string(&scan->rest) || skip_space(scan) != ':')
		return false;
	nested_text_next(&scan->rest);
	return true;
}

/* A scalar, or the beginning of a container up to its first value; or the whole of an empty one. */
static bool take_value(struct scan *scan, bool *ret_complete)
{
	int c = skip_space(scan);
	if (c != '{' && c != '[') {
		*ret_complete = true;
		return take_scalar(&scan->rest);
	}
	nested_text_next(&scan->rest);
	if (!enter(scan, c == '{'))
		return false;
	*ret_complete = skip_space(scan) == (c == '{' ? '}' : ']');
	return *ret_complete || take_name(scan);
}

/* Behind a value: closes the containers that end here, and goes on to the next value if there is one. */
static bool take_ends(struct scan *scan, bool *ret_next)
{
	while (scan->level > 0) {
		int c = skip_space(scan);
		nested_text_next(&scan->rest);
		if (c == ',') {
			*ret_next = true;
			return take_name(scan);
		}
		if (c != (in_object(scan) ? '}' : ']'))
			return false;
		scan->level--;
	}
	*ret_next = false;
	return skip_space(scan) == -1;
}

static bool scan_text(struct scan *scan)
{
	bool next = true;
	while (next) {
		bool complete;
		if (!take_value(scan, &complete) || (complete && !take_ends(scan, &next)))
			return false;
	}
	return true;
}

/* Packs well-formed JSON without the white space outside of strings. */
static void pack_compact(msgpack_packer *out, struct nested_text text)
{
	char piece[256];
	size_t size = 0;
	bool in_string = false;
	for (int c; (c = nested_text_next(&text)) >= 0;) {
		if (!in_string && is_space(c))
			continue;
		piece[size++] = (char)c;
		if (c == '\\')
			piece[size++] = (char)nested_text_next(&text);
		in_string ^= c == '"';
		if (size >= sizeof(piece) - 1) {
			msgpack_pack_ext_body(out, piece, size);
			size = 0;
		}
	}
	msgpack_pack_ext_body(out, piece, size);
}

bool value_pack_json(msgpack_packer *out, struct nested_text text)
{
	struct scan scan;
	scan.rest = text;
	scan.space = 0;
	scan.line_break = false;
	scan.level = 0;
	scan.objects[0] = 0; /* the other words are set when their first level is entered */
	/* what escapes add is ASCII, so the text is UTF-8 if what is inside of them is */
	if (!utf8_valid((struct bytes){text.at, (size_t)(text.end - text.at)}) || !scan_text(&scan))
		return false;

	size_t size = nested_text_size(text);
	if (text.layers == 0 && !scan.line_break) {
		msgpack_pack_ext_with_body(out, text.at, size, VALUE_JSON);
	} else {
		msgpack_pack_ext(out, size - scan.space, VALUE_JSON);
		pack_compact(out, text);
	}
	return true;
}
