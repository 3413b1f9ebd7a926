/* cursor.c: see cursor.h. */
#include "core/cursor.h"

/* One half of it (pg_lsn_in): 1 to 8 hexadecimal digits. */
static bool parse_hex32(struct bytes text, uint64_t *ret_number)
{
	uint64_t number = 0;
	if (text.size == 0 || text.size > 8)
		return false;
	for (size_t i = 0; i < text.size; i++) {
		int digit = hex_digit(text.data[i]);
		if (digit < 0)
			return false;
		number = number << 4 | (unsigned)digit;
	}
	*ret_number = number;
	return true;
}

bool lsn_parse(struct bytes text, uint64_t *ret_lsn)
{
	struct bytes half;
	uint64_t high, low;

	if (!bytes_take_until(&text, '/', &half) || !parse_hex32(half, &high) || !parse_hex32(text, &low))
		return false;
	*ret_lsn = high << 32 | low;
	return true;
}

/* What stands behind the LSN of an event's id: n of a change; 0, or 0.n.m, of a message. */
static bool parse_place(struct bytes text, struct cursor *at)
{
	struct bytes first, n;

	if (bytes_equal(text, BYTES("0"))) {
		at->m = 1;
		return true;
	}
	if (!bytes_take_until(&text, '.', &first))
		return bytes_parse_u64(first, &at->n) && at->n > 0;
	return bytes_equal(first, BYTES("0")) && bytes_take_until(&text, '.', &n) && bytes_parse_u64(n, &at->n) &&
		   bytes_parse_u64(text, &at->m) && at->m > 0;
}

bool cursor_parse(struct bytes text, struct start *ret_start)
{
	struct start start = {.kind = CURSOR_LSN};
	struct bytes place = text, lsn;

	if (bytes_equal(text, BYTES("now"))) {
		start.kind = CURSOR_NOW;
	} else if (bytes_equal(text, BYTES("earliest"))) {
		start.kind = CURSOR_EARLIEST;
	} else if (bytes_take_until(&place, '-', &lsn)) {
		if (!bytes_parse_u64(lsn, &start.at.lsn) || !parse_place(place, &start.at))
			return false;
		start.kind = start.at.lsn == 0 ? CURSOR_EARLIEST : CURSOR_EVENT;
	} else {
		if (!bytes_parse_u64(text, &start.at.lsn) && !lsn_parse(text, &start.at.lsn))
			return false;
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
