/* utf8.c: see utf8.h. */
#include "core/utf8.h"

static bool between(unsigned char byte, unsigned first, unsigned last)
{
	return byte >= first && byte <= last;
}

size_t utf8_sequence(struct bytes text)
{
	const unsigned char *at = (const unsigned char *)text.data;
	if (text.size >= 1 && at[0] < 0x80)
		return 1;
	if (text.size >= 2 && between(at[0], 0xC2, 0xDF) && between(at[1], 0x80, 0xBF))
		return 2;
	if (text.size >= 3 && between(at[0], 0xE0, 0xEF) &&
		between(at[1], at[0] == 0xE0 ? 0xA0 : 0x80, at[0] == 0xED ? 0x9F : 0xBF) &&
		between(at[2], 0x80, 0xBF))
		return 3;
	if (text.size >= 4 && between(at[0], 0xF0, 0xF4) &&
		between(at[1], at[0] == 0xF0 ? 0x90 : 0x80, at[0] == 0xF4 ? 0x8F : 0xBF) &&
		between(at[2], 0x80, 0xBF) && between(at[3], 0x80, 0xBF))
		return 4;
	return 0;
}

bool utf8_valid(struct bytes text)
{
	while (text.size > 0) {
		size_t size = utf8_sequence(text);
		if (size == 0)
			return false;
		text = bytes_from(text, size);
	}
	return true;
}

size_t utf8_whole(struct bytes text)
{
	for (size_t back = 1; back <= 4 && back <= text.size; back++) {
		size_t first = text.size - back;
		if (((unsigned char)text.data[first] & 0xC0) != 0x80)
			return utf8_sequence((struct bytes){text.data + first, back}) == back ? text.size : first;
	}
	return text.size;
}
