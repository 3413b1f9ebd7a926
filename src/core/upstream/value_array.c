/*
 * value_array.c: arrays and vectors (PostgreSQL: src/backend/utils/adt/arrayfuncs.c, array_out).
 *
 * An array's lower bounds are left out, as to_jsonb does. Arrays are rectangular: all of one dimension have
 * the same length. Text that is not rectangular is none that PostgreSQL wrote.
 */
#include "core/upstream/value_kinds.h"

enum { DIMENSIONS_MAX = 6 }; /* PostgreSQL's MAXDIM */

struct shape {
	unsigned dimensions;
	uint32_t lengths[DIMENSIONS_MAX];
};

/* Takes off the digits of a bound, and returns what comes behind them, which is taken off, too. */
static int take_bound(struct nested_text *text)
{
	int c;
	do
		c = nested_text_next(text);
	while (c == '-' || (c >= '0' && c <= '9'));
	return c;
}

/* Takes off '[0:1][5:5]=', if it is there. */
static bool take_bounds(struct nested_text *text)
{
	if (nested_text_peek(*text) != '[')
		return true;
	int c;
	while ((c = nested_text_next(text)) == '[') {
		if (take_bound(text) != ':' || take_bound(text) != ']')
			return false;
	}
	return c == '=';
}

static bool take_element(struct nested_text *text, char delimiter, struct nested_text *ret_element)
{
	return nested_text_take_element(text, delimiter, '}', ret_element) &&
		   (nested_text_is_quoted(*ret_element, *text) || ret_element->at < ret_element->end);
}

static bool is_empty(struct nested_text text)
{
	return nested_text_next(&text) == '{' && nested_text_next(&text) == '}' && nested_text_next(&text) < 0;
}

/* Checks the text behind the bounds, and finds its shape. Elements are checked when they are packed. */
static bool measure(struct nested_text text, char delimiter, struct shape *ret_shape)
{
	struct shape shape = {0};
	struct nested_text element;
	uint32_t counts[DIMENSIONS_MAX];
	unsigned depth = 0;

	if (is_empty(text)) {
		*ret_shape = (struct shape){.dimensions = 1};
		return true;
	}
	do {
		for (; nested_text_peek(text) == '{'; nested_text_next(&text)) {
			if (depth == DIMENSIONS_MAX)
				return false;
			counts[depth++] = 0;
		}
		if (depth == 0 || (shape.dimensions > 0 && depth != shape.dimensions))
			return false;
		shape.dimensions = depth;
		if (!take_element(&text, delimiter, &element))
			return false;
		counts[depth - 1]++;
		/* what a brace closes is, as a whole, one element of the dimension around it */
		for (; depth > 0 && nested_text_peek(text) == '}'; nested_text_next(&text)) {
			uint32_t count = counts[--depth];
			if (shape.lengths[depth] != 0 && shape.lengths[depth] != count)
				return false;
			shape.lengths[depth] = count;
			if (depth > 0)
				counts[depth - 1]++;
		}
	} while (depth > 0 && nested_text_next(&text) == delimiter);
	*ret_shape = shape;
	return depth == 0 && nested_text_next(&text) < 0;
}

bool value_pack_array(msgpack_packer *out, const struct type *type, struct nested_text text, unsigned depth)
{
	struct shape shape;
	if (!take_bounds(&text) || !measure(text, type->delimiter, &shape) ||
		depth + shape.dimensions > VALUE_DEPTH_MAX)
		return false;

	unsigned dimension = 0;
	for (int c; (c = nested_text_peek(text)) >= 0;) {
		struct nested_text element;
		if (c == '{') {
			msgpack_pack_array(out, shape.lengths[dimension++]);
			nested_text_next(&text);
		} else if (c == '}') {
			dimension--;
			nested_text_next(&text);
		} else if (c == type->delimiter) {
			nested_text_next(&text);
		} else {
			take_element(&text, type->delimiter, &element);
			if (!nested_text_is_quoted(element, text) && nested_text_equal(element, BYTES("NULL")))
				msgpack_pack_nil(out);
			else
				value_pack_nested(out, type->element, element, depth + shape.dimensions);
		}
	}
	return true;
}

bool value_pack_vector(msgpack_packer *out, const struct type *type, struct nested_text text, unsigned depth)
{
	if (text.layers > 0 || depth == VALUE_DEPTH_MAX)
		return false;
	size_t count = text.at < text.end;
	for (const char *at = text.at; at < text.end; at++)
		count += *at == ' ';

	msgpack_pack_array(out, count);
	while (count-- > 0) {
		const char *space = memchr(text.at, ' ', (size_t)(text.end - text.at));
		const char *end = space == NULL ? text.end : space;
		value_pack_nested(out, type->element, (struct nested_text){text.at, end, 0}, depth + 1);
		text.at = count > 0 ? end + 1 : end;
	}
	return true;
}
