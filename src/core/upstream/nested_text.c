/* nested_text.c: see nested_text.h. */
#include "core/upstream/nested_text.h"

int nested_text_peel(struct nested_text *text, unsigned layers)
{
	if (layers == 0)
		return text->at == text->end ? -1 : (unsigned char)*text->at++;
	int c = nested_text_peel(text, layers - 1);
	return c == '\\' || c == '"' ? nested_text_peel(text, layers - 1) : c;
}

bool nested_text_take(struct nested_text *text, const char *bytes)
{
	for (; *bytes != '\0'; bytes++) {
		if (nested_text_next(text) != *bytes)
			return false;
	}
	return true;
}

struct nested_text nested_text_simplify(struct nested_text text)
{
	size_t size = (size_t)(text.end - text.at);
	if (text.layers > 0 && memchr(text.at, '\\', size) == NULL && memchr(text.at, '"', size) == NULL)
		text.layers = 0;
	return text;
}

size_t nested_text_size(struct nested_text text)
{
	size_t size = 0;
	if (text.layers == 0)
		return (size_t)(text.end - text.at);
	while (nested_text_next(&text) >= 0)
		size++;
	return size;
}

bool nested_text_take_quoted(struct nested_text *text, struct nested_text *ret_inside)
{
	struct nested_text rest = *text;
	if (nested_text_next(&rest) != '"')
		return false;
	const char *from = rest.at;
	for (;;) {
		const char *to = rest.at;
		int c = nested_text_next(&rest);
		if (c == '"' && nested_text_peek(rest) != '"') {
			*ret_inside = (struct nested_text){from, to, text->layers + 1};
			*text = rest;
			return true;
		}
		if (c == '"' || c == '\\')
			c = nested_text_next(&rest);
		if (c < 0)
			return false;
	}
}

bool nested_text_take_element(struct nested_text *text, char delimiter, char closer,
							  struct nested_text *ret_element)
{
	if (nested_text_peek(*text) == '"')
		return nested_text_take_quoted(text, ret_element);

	struct nested_text rest = *text;
	for (;;) {
		const char *to = rest.at;
		int c = nested_text_next(&rest);
		if (c == delimiter || c == closer) {
			*ret_element = (struct nested_text){text->at, to, text->layers};
			text->at = to;
			return true;
		}
		if (c < 0 || c == '"' || c == '\\')
			return false;
	}
}

bool nested_text_equal(struct nested_text text, struct bytes bytes)
{
	return bytes_equal((struct bytes){text.at, (size_t)(text.end - text.at)}, bytes);
}

size_t nested_text_read(struct nested_text *text, char *ret_bytes, size_t capacity)
{
	size_t size = 0;
	while (size < capacity) {
		int c = nested_text_next(text);
		if (c < 0)
			break;
		ret_bytes[size++] = (char)c;
	}
	return size;
}

void nested_text_pack_str(msgpack_packer *out, struct nested_text text)
{
	size_t size = nested_text_size(text);
	msgpack_pack_str(out, size);
	if (text.layers == 0) {
		msgpack_pack_str_body(out, text.at, size);
		return;
	}
	char piece[256];
	while ((size = nested_text_read(&text, piece, sizeof(piece))) > 0)
		msgpack_pack_str_body(out, piece, size);
}
