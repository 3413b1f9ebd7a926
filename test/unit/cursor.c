/* cursor.c: cursors as users write and read them. */
#include "tap.h"

#include "core/cursor.h"

static void accepts(const char *text, enum cursor_kind kind, uint64_t lsn, uint64_t n)
{
	struct start start = {0};
	bool parsed = cursor_parse(bytes_of(text), &start);
	ok(parsed && start.kind == kind && start.at.lsn == lsn && start.at.n == n, "accepts '%s'", text);
}

static void accepts_message(const char *text, uint64_t n, uint64_t m)
{
	struct start start = {0};
	bool parsed = cursor_parse(bytes_of(text), &start);
	ok(parsed && start.kind == CURSOR_EVENT && start.at.lsn == 23987096 && start.at.n == n && start.at.m == m,
	   "accepts '%s'", text);
}

static void refuses(const char *text)
{
	struct start start = {.kind = CURSOR_TIME, .since_us = 42};
	ok(!cursor_parse(bytes_of(text), &start) && start.kind == CURSOR_TIME && start.since_us == 42,
	   "refuses '%s'", text);
}

static void writes(struct cursor cursor, const char *wanted)
{
	struct buffer out = {0};
	cursor_append(&out, cursor);
	is_bytes(buffer_bytes(&out), wanted, "writes %s", wanted);
	buffer_free(&out);
}

int main(void)
{
	accepts("23987096-1", CURSOR_EVENT, 23987096, 1);
	accepts("18446744073709551615-18446744073709551615", CURSOR_EVENT, UINT64_MAX, UINT64_MAX);
	accepts_message("23987096-0", 0, 1);
	accepts_message("23987096-0.0.2", 0, 2);
	accepts_message("23987096-0.2.1", 2, 1);
	accepts_message("23987096-0.18446744073709551615.18446744073709551615", UINT64_MAX, UINT64_MAX);
	accepts("23987096", CURSOR_LSN, 23987096, 0);
	accepts("0/16E0478", CURSOR_LSN, 0x16E0478, 0);
	accepts("ffffffff/ABCDEF01", CURSOR_LSN, 0xffffffffabcdef01, 0);
	accepts("earliest", CURSOR_EARLIEST, 0, 0);
	accepts("0", CURSOR_EARLIEST, 0, 0);
	accepts("0/0", CURSOR_EARLIEST, 0, 0);
	accepts("0-0", CURSOR_EARLIEST, 0, 0);
	accepts("now", CURSOR_NOW, 0, 0);

	const char *const bad[] = {"",
							   "-",
							   "1-",
							   "-1",
							   "1-2-3",
							   "+1",
							   " 1",
							   "1 ",
							   "0x10",
							   "1/",
							   "/1",
							   "1/2/3",
							   "G/1",
							   "NOW",
							   "1.5",
							   "1e3",
							   "123456789/1",
							   "1/123456789",
							   "latest",
							   "-5",
							   "1--1",
							   "1-00",
							   "1-0.",
							   "1-0.1",
							   "1-0.1.",
							   "1-0.1.0",
							   "1-1.1.1",
							   "1-0.1.1.1",
							   "18446744073709551616",
							   "99999999999999999999",
							   "1-18446744073709551616"};
	for (size_t i = 0; i < COUNT(bad); i++)
		refuses(bad[i]);

	writes((struct cursor){23987096, 1, 0}, "23987096-1");
	writes((struct cursor){23987096, 0, 0}, "23987096");
	writes((struct cursor){UINT64_MAX, UINT64_MAX, 0}, "18446744073709551615-18446744073709551615");
	writes((struct cursor){23987096, 0, 1}, "23987096-0");
	writes((struct cursor){23987096, 0, 2}, "23987096-0.0.2");
	writes((struct cursor){23987096, 2, 1}, "23987096-0.2.1");
	writes((struct cursor){UINT64_MAX, UINT64_MAX, UINT64_MAX},
		   "18446744073709551615-0.18446744073709551615.18446744073709551615");
	ok(cursor_compare((struct cursor){1, 2, 1}, (struct cursor){1, 2, 0}) > 0,
	   "a message is behind its change");
	ok(cursor_compare((struct cursor){1, 2, 1}, (struct cursor){1, 3, 0}) < 0, "and before the next");
	ok(cursor_compare((struct cursor){1, 2, 0}, (struct cursor){1, 3, 0}) < 0,
	   "n orders within a transaction");
	ok(cursor_compare((struct cursor){2, 1, 0}, (struct cursor){1, 9, 0}) > 0, "the LSN orders first");
	ok(cursor_compare((struct cursor){2, 1, 0}, (struct cursor){2, 1, 0}) == 0, "equal cursors");
	return tap_end();
}
