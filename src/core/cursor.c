/* cursor.c: see cursor.h. */
#include "core/cursor.h"

bool cursor_parse_u64(struct bytes text, uint64_t *ret_number)
{
	uint64_t number = 0;
	if (text.size == 0 || text.size > 20)
		return false;
	for (size_t i = 0; i < text.size; i++) {
		unsigned digit = (unsigned char)text.data[i] - '0';
		if (digit > 9 || number > (UINT64_MAX - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*ret_number = number;
	return true;
}

/* One half of PostgreSQL's H/L notation (pg_lsn_in): 1 to 8 hexadecimal digits. */
static bool parse_hex32(struct bytes text, uint64_t *ret_number)
{
	uint64_t number = 0;
	if (text.size == 0 || text.size > 8)
		return false;
	for (size_t i = 0; i < text.size; i++) {
		char c = text.data[i];
		unsigned digit;
		if (c >= '0' && c <= '9')
			digit = (unsigned)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (unsigned)((c | 0x20) - 'a') + 10;
		else
			return false;
		number = number << 4 | digit;
	}
	*ret_number = number;
	return true;
}

/* Splits at the first `separator`. Returns false when there is none. */
static bool split(struct bytes text, char separator, struct bytes *ret_left, struct bytes *ret_right)
{
	const char *at = text.size == 0 ? NULL : memchr(text.data, separator, text.size);
	if (at == NULL)
		return false;
	size_t left = (size_t)(at - text.data);
	*ret_left = (struct bytes){text.data, left};
	*ret_right = (struct bytes){at + 1, text.size - left - 1};
	return true;
}

/* What stands behind the LSN of an event's id: n of a change; 0, or 0.n.m, of a message. */
static bool parse_place(struct bytes text, struct cursor *at)
{
	struct bytes zero, rest, n, m;

	if (bytes_equal(text, BYTES("0"))) {
		at->m = 1;
		return true;
	}
	if (!split(text, '.', &zero, &rest))
		return cursor_parse_u64(text, &at->n) && at->n > 0;
	return bytes_equal(zero, BYTES("0")) && split(rest, '.', &n, &m) && cursor_parse_u64(n, &at->n) &&
		   cursor_parse_u64(m, &at->m) && at->m > 0;
}

bool cursor_parse(struct bytes text, struct start *ret_start)
{
	struct start start = {.kind = CURSOR_LSN};
	struct bytes left, right;
	uint64_t high, low;

	if (bytes_equal(text, BYTES("now"))) {
		start.kind = CURSOR_NOW;
	} else if (bytes_equal(text, BYTES("earliest"))) {
		start.kind = CURSOR_EARLIEST;
	} else if (split(text, '-', &left, &right)) {
		if (!cursor_parse_u64(left, &start.at.lsn) || !parse_place(right, &start.at))
			return false;
		start.kind = start.at.lsn == 0 ? CURSOR_EARLIEST : CURSOR_EVENT;
	} else {
		if (split(text, '/', &left, &right)) {
			if (!parse_hex32(left, &high) || !parse_hex32(right, &low))
				return false;
			start.at.lsn = high << 32 | low;
		} else if (!cursor_parse_u64(text, &start.at.lsn)) {
			return false;
		}
		if (start.at.lsn == 0)
			start.kind = CURSOR_EARLIEST;
	}
	*ret_start = start;
	return true;
}

static char *put(char *to, struct bytes text)
{
	memcpy(to, text.data, text.size);
	return to + text.size;
}

static char *put_number(char *to, uint64_t number)
{
	char digits[U64_DIGITS_MAX];
	return put(to, bytes_of_u64(number, digits));
}

struct bytes cursor_text(struct cursor cursor, char ret_memory[CURSOR_TEXT_MAX])
{
	char *to = put_number(ret_memory, cursor.lsn);

	if (cursor.m == 0 && cursor.n > 0) {
		to = put_number(put(to, BYTES("-")), cursor.n);
	} else if (cursor.m > 0) {
		to = put(to, BYTES("-0"));
		if (cursor.n > 0 || cursor.m > 1) {
			to = put_number(put(to, BYTES(".")), cursor.n);
			to = put_number(put(to, BYTES(".")), cursor.m);
		}
	}
	return (struct bytes){ret_memory, (size_t)(to - ret_memory)};
}

void cursor_append(struct buffer *out, struct cursor cursor)
{
	char memory[CURSOR_TEXT_MAX];
	buffer_append_bytes(out, cursor_text(cursor, memory));
}
